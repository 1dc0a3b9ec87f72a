"""What the server answers about the room, as frozen values. Times are RFC 3339 texts, as everywhere."""

from __future__ import annotations

import msgspec

from neko_trio.protocol.events import Profile


class Member(msgspec.Struct, frozen=True):
    """Somebody who may log in, whether they have or not. ``id`` is also the id of their session."""

    id: str
    profile: Profile


class Stats(msgspec.Struct, frozen=True):
    """``GET /api/stats`` (server ``pkg/types/session.go``).

    The totals drift: a connection that was replaced counts again, and a server that had run for hours said one too few
    (both seen). Who is really connected stands in ``state.sessions``.
    """

    has_host: bool
    server_started_at: str
    total_users: int
    total_admins: int
    host_id: str | None = None
    last_user_left_at: str | None = None
    last_admin_left_at: str | None = None

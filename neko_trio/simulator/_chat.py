"""The chat plugin's rights (`server/internal/plugins/chat/manager.go`)."""

from collections.abc import Mapping
from typing import Any

from neko_trio.simulator._room import Room
from neko_trio.simulator._session import Session

__all__ = ["may_chat"]


def may_chat(room: Room, session: Session, right: str) -> bool:
    """Whether a session has `right`, "can_send" or "can_receive": the settings bind users, the profile everybody.

    Both default to yes. A value of another type forbids it: the server cannot read it.
    """
    if not room.chat_enabled:
        return False
    of_room, of_member = _value(room.settings.plugins, right), _value(session.profile.plugins, right)
    if not isinstance(of_room, bool) or not isinstance(of_member, bool):
        return False
    return (of_room or session.profile.is_admin) and of_member


def _value(plugins: Mapping[str, Any] | None, right: str) -> Any:
    return (plugins or {}).get(f"chat.{right}", True)

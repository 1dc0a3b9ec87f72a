"""Where a session's signaling and media come from: the network and aiortc, or the doubles of ``testing``."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import trio

from neko_trio._link import Socket
from neko_trio._ports.rest import RestCalls
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.url import ServerUrl

if TYPE_CHECKING:
    from neko_trio.media.bridge import Lease
    from neko_trio.media.peer_api import Peer, PeerSetup


class Media(Protocol):
    """Where peer connections come from."""

    async def prepare(self) -> None:
        """Do what would otherwise cost the first connect its time, such as imports."""
        ...

    def open_lease(self) -> AbstractAsyncContextManager[Lease]:
        """Hold the thread that carries the media."""
        ...

    def open_peer_connection(self, setup: PeerSetup) -> AbstractAsyncContextManager[Peer]:
        """Make the peer connection for one offer."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """One session's way to its server."""

    login: Callable[[], Awaitable[Credential]] | None
    """Log in; ``None`` when the caller brought a token."""
    credential: Credential | None
    logout: Callable[[Credential], Awaitable[None]]
    open_rest: Callable[[Credential], AbstractAsyncContextManager[RestCalls]]
    """The server's REST calls for the length of the block; nothing is dialled before the first."""
    dial: Callable[[Credential, float], AbstractAsyncContextManager[Socket]]
    """Open the WebSocket; TCP may take so many seconds, ``math.inf`` for as long as the caller's scope allows."""
    media: Media
    clock: Callable[[], float] = perf_counter
    """The clock of ``Frame.arrived``, in seconds."""


class AiortcMedia:
    """The real media: aiortc in its own thread."""

    async def prepare(self) -> None:
        await trio.to_thread.run_sync(_import_media)

    def open_lease(self) -> AbstractAsyncContextManager[Lease]:
        from neko_trio.media import bridge

        return bridge.open_lease()

    def open_peer_connection(self, setup: PeerSetup) -> AbstractAsyncContextManager[Peer]:
        from neko_trio.media import peer

        return peer.open_peer_connection(setup)


def _import_media() -> None:
    import neko_trio.media.peer  # noqa: F401 - half a second the first time, spent beside the login


def real_wiring(
    target: ServerUrl,
    *,
    username: str | None,
    password: str | None,
    token: str | None,
    ssl_context: ssl.SSLContext | None,
    media: Media | None,
) -> Wiring:
    """The network: REST for login and logout, a WebSocket for the link."""
    from neko_trio.signaling.web_socket import open_web_socket

    async def login() -> Credential:
        from neko_trio.signaling import rest

        assert password is not None
        answer = await rest.login(target, username or "", password, ssl_context=ssl_context)
        return answer.credential

    async def logout(credential: Credential) -> None:
        from neko_trio.signaling import rest

        await rest.logout(target, credential, ssl_context=ssl_context)

    def open_rest(credential: Credential) -> AbstractAsyncContextManager[RestCalls]:
        from neko_trio.signaling import rest

        return rest.open_rest(target, credential, ssl_context=ssl_context)

    def dial(credential: Credential, tcp_limit: float) -> AbstractAsyncContextManager[Socket]:
        return open_web_socket(target, credential, ssl_context=ssl_context, tcp_limit=tcp_limit)

    return Wiring(
        login=None if token is not None else login,
        credential=None if token is None else Credential.bearer(token),
        logout=logout,
        open_rest=open_rest,
        dial=dial,
        media=media or AiortcMedia(),
    )

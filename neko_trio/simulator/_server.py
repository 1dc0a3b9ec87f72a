"""`open_simulator`: a Neko v3 server in this process, with a desktop of its own."""

import io
import secrets
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from neko_trio._services import open_services
from neko_trio.errors import InvalidInput
from neko_trio.simulator._desktop import Copying, Desktop, LockedDesktop
from neko_trio.simulator._doors import BACKLOG, Doors
from neko_trio.simulator._events import Dispatcher
from neko_trio.simulator._faults import Faults
from neko_trio.simulator._files import FileOptions
from neko_trio.simulator._front import Front
from neko_trio.simulator._input import Desk
from neko_trio.simulator._journal import Journal
from neko_trio.simulator._limits import Limits
from neko_trio.simulator._media_api import MediaServer
from neko_trio.simulator._members import Members
from neko_trio.simulator._rest import Cookie, Rest
from neko_trio.simulator._rest_calls import ROUTES
from neko_trio.simulator._room import Room, Timings
from neko_trio.simulator._simulator import Simulator
from neko_trio.simulator._small_desktop import SmallDesktop
from neko_trio.simulator._values import Member, RoomSettings, ScreenSize, merged

if TYPE_CHECKING:
    from neko_trio.simulator._microphone import Microphone

__all__ = ["MediaOptions", "open_simulator"]

_PASSWORD_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOptions:
    """What a media server is made from."""

    desktop: LockedDesktop
    size: tuple[int, int]
    rate: int
    codec: str
    streams: tuple[str, ...]
    timings: Timings
    addresses: tuple[str, ...]
    """IP addresses at which peers are reached."""
    transports: tuple[str, ...] = ("udp",)
    nat1to1: str | None = None
    icelite: bool = False
    pre_encoded: bool
    microphone: "Microphone"


OpenMedia = Callable[[MediaOptions], AbstractAsyncContextManager[MediaServer]]


@asynccontextmanager
async def open_simulator(
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    size: tuple[int, int] = (1280, 720),
    rate: int = 25,
    codec: str = "vp8",
    desktop: Desktop | None = None,
    members: Mapping[str, Member] | None = None,
    settings: Mapping[str, Any] | None = None,
    password: str | None = None,
    admin_password: str | None = None,
    path_prefix: str = "",
    cookie: Cookie | None = None,
    ice_servers: tuple[Mapping[str, Any], ...] = (),
    streams: tuple[str, ...] = ("main",),
    addresses: tuple[str, ...] | None = None,
    transports: tuple[str, ...] = ("udp",),
    nat1to1: str | None = None,
    icelite: bool = False,
    touch: bool = False,
    screencast: bool = False,
    chat: bool = True,
    api_token: str | None = None,
    files: FileOptions | None = None,
    timings: Timings | None = None,
    pre_encoded: bool = False,
    microphone: bool = True,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    origins: tuple[str, ...] | None = None,
    media: OpenMedia | None = None,
) -> AsyncGenerator[Simulator, None]:
    """Serve until the end of the block; ready when it yields.

    `size` in pixels, `rate` in Hz, `codec` "vp8", "vp9", "h264" or "av1".  `host`: loopback unless told otherwise;
    `port` 0 takes a free one.  `addresses`: the IP addresses of its ICE candidates, by default those it listens on.
    `transports`: "udp", "tcp" (ICE-TCP, as `webrtc.tcpmux` has it) or both.  `nat1to1`: an IP address that candidates
    name instead of their own, right or wrong.  `icelite`: an ICE-lite agent, which answers checks and sends none.
    Passwords are random unless given.  `desktop`: an object with `render(now)` and `on_input(event)`.
    `members`: fixed members instead of "any name, the password decides"; admins may change them.  `chat`: whether the
    chat plugin is on.  `api_token`: who has it calls REST as an admin without a session.
    `settings`: fields of the room's settings.
    `ice_servers`: what clients are told to use, `{"urls": […], "username": …, "credential": …}`.
    `ssl_context` makes it https.  `pre_encoded`: two seconds of the desktop are encoded beforehand, and every watcher
    is played those, from a keyframe on: no encoder runs, for measuring clients; what is typed shows no effect.
    `files`: what of files and links is on, by default as at the server.
    `microphone`: whether clients' sound is taken (see `Simulator.microphone`).
    `touch`: there is a touch screen, as with the server's X input driver; without, touches do nothing.
    `limits`: what clients may do to it (see `Limits`).  `origins`: the web origins whose pages may open a WebSocket,
    "https://desk.example"; by default all, as at the server; programs, which name none, may always.
    `screencast`: whether there are single pictures for everybody; at the server they are off by default.

    Raises `InvalidInput` for settings that do not exist, `OSError` when the port cannot be had.  Cancelling ends it at
    once: clients see `system/disconnect "connection shutdown"` where there is time for it.
    """
    _check(size, rate, path_prefix, settings)
    if not transports or not {"udp", "tcp"}.issuperset(transports):
        raise InvalidInput(f'transports: "udp", "tcp" or both, not {transports!r}')
    from neko_trio.simulator._microphone import Microphone  # which loads av

    heard = Microphone(enabled=microphone)
    shown = SmallDesktop(size) if desktop is None else desktop
    locked = LockedDesktop(shown)
    patience = Timings() if timings is None else timings
    password = secrets.token_urlsafe(_PASSWORD_BYTES) if password is None else password
    admin_password = secrets.token_urlsafe(_PASSWORD_BYTES) if admin_password is None else admin_password
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    doors: Doors | None = None
    try:
        options = MediaOptions(
            desktop=locked,
            size=size,
            rate=rate,
            codec=codec,
            streams=streams,
            timings=patience,
            addresses=_own_addresses(listeners) if addresses is None else addresses,
            transports=transports,
            nat1to1=nat1to1,
            icelite=icelite,
            pre_encoded=pre_encoded,
            microphone=heard,
        )
        open_media = _real_media if media is None else media
        async with open_media(options) as media_server, open_services() as services:
            journal = Journal()
            room = Room(
                desk=Desk(locked, size, release_after=patience.key_release, touch=touch),
                screen=ScreenSize(*size, rate),
                settings=merged(dict(settings or {}), RoomSettings()),
                timings=patience,
                journal=journal,
                faults=Faults(journal),
                background=services,
                streams=streams,
                ice_servers=tuple(dict(server) for server in ice_servers),
                touch=touch,
                screencast=screencast,
                chat=chat,
                files=files,
                api_token=api_token,
                limits=limits,
            )
            if isinstance(shown, Copying):
                shown.on_copy = room.desk.copied
            dispatcher = Dispatcher(room, media_server)
            rest = Rest(
                room,
                dispatcher,
                Members(password, admin_password, members),
                ROUTES,
                screenshot=partial(_screenshot, room, locked),
                cookie=cookie,
                prefix=path_prefix,
            )
            front = Front(room, rest, dispatcher, ssl_context=ssl_context, origins=origins)
            services.start_soon(room.desk.run)
            services.start_soon(room.run_cursors)
            doors = room.faults.server = Doors(room, front, dispatcher, listeners)
            services.start_soon(doors.run)
            url = _url(host, listeners[0], path_prefix, secure=ssl_context is not None)
            try:
                yield Simulator(room, rest, shown, heard, url=url, password=password, admin_password=admin_password)
            finally:
                await doors.tell()  # noqa: ASYNC102 - shielded and bounded inside
    finally:
        with trio.CancelScope(shield=True):  # bounded: sockets that only listen
            for listener in listeners:
                await listener.aclose()
            if doors is not None:
                await doors.close()


def _check(size: tuple[int, int], rate: int, path_prefix: str, settings: Mapping[str, Any] | None) -> None:
    if min(size) < 16 or size[0] % 8 or size[1] % 2:
        raise InvalidInput("size: the width must be a multiple of 8, the height of 2, both at least 16")
    if not 1 <= rate <= 120:
        raise InvalidInput(f"rate: 1 to 120 frames per second, not {rate!r}")
    if path_prefix and (not path_prefix.startswith("/") or path_prefix.endswith("/")):
        raise InvalidInput('path_prefix must look like "/desk"')
    unknown = set(settings or {}) - set(RoomSettings.__struct_fields__)
    if unknown:
        raise InvalidInput(f"no such setting: {', '.join(sorted(unknown))}")


def _url(host: str, listener: trio.SocketListener, prefix: str, *, secure: bool) -> str:
    address = listener.socket.getsockname()
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"{'https' if secure else 'http'}://{shown}:{address[1]}{prefix}"


def _screenshot(room: Room, desktop: LockedDesktop, quality: int) -> bytes:
    """A JPEG of the screen as of now; in a worker thread."""
    from PIL import Image

    picture = desktop.picture(time.monotonic(), (room.screen.width, room.screen.height))
    encoded = io.BytesIO()
    Image.fromarray(picture.to_rgb()).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _own_addresses(listeners: list[trio.SocketListener]) -> tuple[str, ...]:
    """What the listeners are bound to; for "every address" loopback and the one that routes outwards."""
    found: dict[str, None] = {}
    for listener in listeners:
        address = listener.socket.getsockname()[0]
        if address in ("0.0.0.0", "::"):
            outwards = _routed_address(listener.socket.family)
            found.update(dict.fromkeys(("127.0.0.1" if address == "0.0.0.0" else "::1", *outwards)))
        else:
            found[address] = None
    return tuple(found)


def _routed_address(family: int) -> tuple[str, ...]:
    """The local address the system would send from.  Connecting a UDP socket sends nothing (RFC 5737, RFC 3849)."""
    remote = ("192.0.2.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(remote)
        except OSError:
            return ()
        return (str(probe.getsockname()[0]),)


@asynccontextmanager
async def _real_media(options: MediaOptions) -> AsyncGenerator[MediaServer, None]:
    from neko_trio.media.bridge import open_lease
    from neko_trio.simulator._ice import Network
    from neko_trio.simulator._media import open_media
    from neko_trio.simulator._offering_peer import PeerLimits

    limits = PeerLimits(connect=options.timings.connect_limit, silence=options.timings.silence_limit)
    async with (
        open_lease("simulator") as lease,
        open_media(
            lease,
            options.desktop,
            size=options.size,
            rate=options.rate,
            codec=options.codec,
            streams=options.streams,
            network=Network(options.addresses, options.transports, options.nat1to1, options.icelite),
            limits=limits,
            pre_encoded=options.pre_encoded,
            pipeline_delay=options.timings.pipeline_delay,
            microphone=options.microphone,
        ) as server,
    ):
        yield server

"""What the server answers about its screen by REST: its size, the sizes that it takes, and single pictures.

Facts: ``internal/api/room/screen.go``, ``internal/capture/screencast.go``, ``pkg/xorg/xorg.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import msgspec

from neko_trio._ports.bus import EventBus
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import Refusals, RestPort
from neko_trio._ports.state import StateCell
from neko_trio.desktop.pixels import whole
from neko_trio.errors import FeatureOff, InvalidInput, NekoError, NotAllowed, ProtocolViolation
from neko_trio.protocol.events import ScreenSize, ScreenUpdated, ServerEvent

if TYPE_CHECKING:
    from neko_trio._state import State

STEP = "screen"
"""``NekoError.step`` of everything here."""

LARGEST = 32_760
"""Pixels of a side: X counts them with 16 bits (``X11/Xproto.h``)."""

FASTEST = 1000
"""Hz. What X makes of it is another matter."""

PICTURE_LIMIT = 64 * 1024 * 1024
"""Bytes of a JPEG: four times that of the largest screen there is, at the best quality."""

_PATH = "/api/room/screen"


class ScreenCalls:
    """The calls about one session's screen; ``Screen`` has the documentation. Trio thread."""

    def __init__(self, state: StateCell[State], rest: RestPort, inputs: InputPort, bus: EventBus[ServerEvent]) -> None:
        self._state, self._rest, self._inputs, self._bus = state, rest, inputs, bus

    @property
    def size(self) -> ScreenSize:
        """As the server last said."""
        return self._state.value.screen

    async def set_size(self, width: SupportsIndex, height: SupportsIndex, rate: SupportsIndex) -> ScreenSize:
        """See ``Screen.set_size``."""
        wanted = _checked_size(width, height, rate)
        state = self._admin("change the size of the screen")
        with self._bus.expect(
            ScreenUpdated.event,
            lambda event: event.id == state.session_id and (event.width, event.height) == (wanted.width, wanted.height),
        ) as updated:
            await self._rest.call(
                "POST",
                _PATH,
                json=msgspec.structs.asdict(wanted),
                step=STEP,
                refusals={422: lambda message: _refused(wanted, message)},
            )
            await self._inputs.ask()  # the event was sent before the answer: behind a barrier it has been seen
        if not updated.arrived:
            raise ProtocolViolation("The server took the size, but sent no 'screen/updated'.", step=STEP)
        event = updated.value
        return ScreenSize(width=event.width, height=event.height, rate=event.rate)

    async def sizes(self) -> tuple[ScreenSize, ...]:
        """See ``Screen.sizes``."""
        self._admin("list the sizes of the screen")
        answer = await self._rest.call("GET", f"{_PATH}/configurations", step=STEP)
        try:
            return msgspec.convert(answer or [], tuple[ScreenSize, ...])
        except msgspec.ValidationError as error:
            raise ProtocolViolation(f"The server's list of sizes cannot be read: {error}.", step=STEP) from None

    async def screenshot(self, quality: SupportsIndex) -> bytes:
        """See ``Screen.screenshot``."""
        of_hundred = whole(quality, "quality")
        if not 1 <= of_hundred <= 100:
            raise InvalidInput(f"A JPEG quality is 1 to 100, not {of_hundred}.")
        self._admin("take a screenshot at the server", hint="screen.frame() is the picture of everybody's video.")
        return await self._jpeg(f"{_PATH}/shot.jpg?quality={of_hundred}", {})

    async def cast(self) -> bytes:
        """See ``Screen.cast``."""
        state = self._watcher()
        private = state.settings.private_mode and not state.profile.is_admin
        if not private and not state.screencast:
            raise _cast_off()
        return await self._jpeg(f"{_PATH}/cast.jpg", {400: lambda message: _no_cast(private, message)})

    async def _jpeg(self, path: str, refusals: Refusals) -> bytes:
        sink = _Bytes()
        await self._rest.download(path, sink, limit=PICTURE_LIMIT, step=STEP, refusals=refusals)
        picture = b"".join(sink.chunks)
        if not picture.startswith(b"\xff\xd8"):  # SOI: ITU-T T.81, table B.1
            raise ProtocolViolation("The server's picture is no JPEG.", step=STEP)
        return picture

    def _watcher(self) -> State:
        state = self._state.value
        if not state.profile.can_watch:
            raise NotAllowed("This member may not watch.", hint="An admin can grant it: can_watch.", step=STEP)
        return state

    def _admin(self, what: str, *, hint: str = "Log in with an admin's password.") -> State:
        state = self._watcher()
        if not state.profile.is_admin:
            raise NotAllowed(f"Only an admin may {what}.", hint=hint, step=STEP)
        return state


class _Bytes:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def begin(self, size: int | None) -> None:
        return

    async def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


def _checked_size(width: SupportsIndex, height: SupportsIndex, rate: SupportsIndex) -> ScreenSize:
    size = ScreenSize(width=whole(width, "width"), height=whole(height, "height"), rate=whole(rate, "rate"))
    if not (1 <= size.width <= LARGEST and 1 <= size.height <= LARGEST):
        raise InvalidInput(f"A screen is 1 to {LARGEST} pixels wide and high, not {size.width}x{size.height}.")
    if size.width % 8:
        fitting = " or ".join(str(each) for each in (size.width // 8 * 8, size.width // 8 * 8 + 8) if each)
        raise InvalidInput(f"The width of a screen is a multiple of 8, not {size.width}.", hint=f"Take {fitting}.")
    if not 1 <= size.rate <= FASTEST:
        raise InvalidInput(f"The rate of a screen is 1 to {FASTEST} Hz, not {size.rate}.")
    return size


def _refused(size: ScreenSize, message: str) -> NekoError:
    return InvalidInput(
        f"The server's X does not take {size.width}x{size.height} at {size.rate} Hz: {message!r}.",
        hint="screen.sizes() lists what it has; larger than at its start it cannot be as a rule.",
        step=STEP,
    )


def _cast_off() -> NekoError:
    return FeatureOff(
        "This server has no screencast.", hint="Its owner can turn it on: capture.screencast.enabled.", step=STEP
    )


def _no_cast(private: bool, message: str) -> NekoError:
    if private or "private" in message:
        return NotAllowed(
            "The room is in private mode: only admins see the desktop.",
            hint="Have an admin switch private mode off.",
            step=STEP,
        )
    return _cast_off()

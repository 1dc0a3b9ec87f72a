"""The room's broadcast: the server sends picture and sound to a streaming server, as a rule by RTMP."""

from __future__ import annotations

from functools import partial

from neko_trio.errors import InvalidInput, NotAllowed, ProtocolViolation
from neko_trio.protocol.events import BroadcastInfo, BroadcastStatus
from neko_trio.room.ports import STEP, RoomCalls, read

PATH = "/api/room/broadcast"


class Broadcast(RoomCalls):
    """One stream at a time, for admins: :class:`NotAllowed` at once for users. The address, which as a rule holds a
    key, is in no ``repr``, log or error."""

    async def status(self) -> BroadcastInfo:
        """Whether it runs: ``GET /api/room/broadcast``. A broadcast that was stopped may still name its address.

        ``state.broadcast`` has it as well. The server does not notice when the stream fails later on.
        """
        self._ports.need_admin("ask for the broadcast")
        info: BroadcastInfo = read(await self._ports.rest.call("GET", PATH, step=STEP), BroadcastInfo, "broadcast")
        return info

    async def start(self, url: str) -> None:
        """Broadcast to ``url``: ``POST /api/room/broadcast/start``. Returns when ``state.broadcast`` shows it.

        Raises :class:`InvalidInput` for an empty address, :class:`NotAllowed` when the room is broadcast already, and
        :class:`ProtocolViolation` when the server cannot start its pipeline. Cancelled, it may have been started.
        """
        if not isinstance(url, str) or not url or not url.isprintable():
            raise InvalidInput("The broadcast's address must be a text such as 'rtmp://host/app/key'.", step=STEP)
        self._ports.need_admin("start a broadcast")
        refusals = {
            422: lambda _: NotAllowed("The room is broadcast already.", hint="Stop that first.", step=STEP),
            500: lambda _: ProtocolViolation(
                "The server could not start the broadcast.", hint="Its log says what the pipeline lacks.", step=STEP
            ),
        }
        await self._ports.confirmed(
            BroadcastStatus,
            lambda event: event.is_active,
            partial(self._ports.rest.call, "POST", f"{PATH}/start", json={"url": url}, step=STEP, refusals=refusals),
        )

    async def stop(self) -> None:
        """End it: ``POST /api/room/broadcast/stop``. Returns when ``state.broadcast`` shows it.

        Raises :class:`NotAllowed` when there is none.
        """
        self._ports.need_admin("stop a broadcast")
        refusals = {422: lambda _: NotAllowed("The room is not broadcast.", step=STEP)}
        await self._ports.confirmed(
            BroadcastStatus,
            lambda event: not event.is_active,
            partial(self._ports.rest.call, "POST", f"{PATH}/stop", step=STEP, refusals=refusals),
        )

"""The input port: whole plans, one at a time, each over one channel, confirmed by a barrier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from neko_trio._ports.budget import Budget
from neko_trio._ports.channels import WAKE, Channel
from neko_trio._ports.grip import Grip
from neko_trio._ports.held import Held, Release
from neko_trio._ports.wired import WiredPort
from neko_trio._ports.wires import Wires, connection_gone, in_doubt
from neko_trio.errors import CallerError, InvalidInput, NekoError, SessionLost
from neko_trio.protocol.data_channel import ClientMessage, KeyDown, KeyUp

RELEASE_TIMEOUT = 2.0
"""Seconds that letting go may take where a gesture is cancelled."""


class InputPort(WiredPort):
    """Where mouse and keyboard hand over their plans. Trio thread only.

    A *plan* is a sequence of data-channel messages that belong together, such as those of a click. It goes out whole,
    after the plans before it, over the data channel while that is open and else over the WebSocket; before the channel
    changes, the barrier of the one left is waited for. ``admit`` is called right before each plan leaves and raises
    the typed error of a session that may not control the desktop now.
    """

    def __init__(
        self,
        *,
        admit: Callable[[], None],
        on_sent: Callable[[Sequence[ClientMessage]], None] = lambda _messages: None,
        goodbyes: Budget | None = None,
    ) -> None:
        """``on_sent`` is told what has left, right after it has. Must not raise."""
        self._admit = admit
        self._on_sent = on_sent
        self._turn = trio.Lock()
        self._grip = Grip()
        super().__init__(Wires(on_doubt=self._grip.doubt), goodbyes or Budget(RELEASE_TIMEOUT))
        self._role_losses = 0
        self._regain: Callable[[], Awaitable[None]] | None = None
        self._making_certain = 0
        self.certain = False
        """Whether :meth:`flush` asks over the WebSocket, too: a loss of the host role in between is then known."""
        self.plans_total = 0
        """Plans handed over so far."""
        self.messages_total = 0
        """Messages in them."""

    def go_away(self) -> None:
        """The link and its peer are gone, and others are being made: the next plan waits for them.

        Input that no barrier has confirmed is in doubt. What was held may still be, at the server, and so may what such
        input let go of: the first plan lets go of it, and presses keys again where the host role is wanted back
        (:meth:`lose_role` comes first, then).
        """
        if self._regain is None:
            self.lose_role()
        self._wires.go_away()

    # -- input

    def check(self) -> None:
        """Raise what :meth:`submit` would raise at once."""
        self._wires.raise_failure()
        if self._regain is None and not self._wires.away:
            self._admit()

    async def submit(self, plan: Sequence[ClientMessage], *, on_sending: Callable[[], None] = lambda: None) -> None:
        """Hand over a plan; return when it is in a bounded buffer on its way. A checkpoint.

        While the host role is away and wanted back (:meth:`lose_role`), or the connection is made anew
        (:meth:`go_away`), it waits for that first. Cancelled, the plan is sent whole or not at all. Raises what
        ``admit`` raises; ``InvalidInput`` for a second press of a held key; ``InputInDoubt`` when input sent *before*
        may have been lost with its connection, or with a role that was wanted back, told once, in which case nothing of
        this plan is sent; ``SessionLost`` or ``SessionClosed`` without a connection. ``on_sending`` is called right
        before the plan leaves: from then on it may have been sent.
        """
        while True:
            await self.wait_role()
            async with self._turn:
                self._wires.raise_failure()  # the end of the session says more than what it left of our rights
                if self._interrupted:
                    continue
                self._admit()
                channel = await self._wires.enter()
                if self._interrupted:
                    continue  # waiting for a barrier has cost us the host role, or the connection
                self._admit()
                messages, after = self._grip.held.after(plan)
                messages = [*self._grip.first(self._grip.held), *messages]
                on_sending()
                if messages:
                    await self._send(channel, messages, after)
                else:
                    self._grip.held = after  # all of it is held already
                return

    @property
    def _interrupted(self) -> bool:
        """Whether nothing can be sent now, and something is being done about it."""
        return self._regain is not None or self._wires.away

    @asynccontextmanager
    async def pressed(self, plan: Sequence[ClientMessage], releases: Sequence[Release]) -> AsyncIterator[None]:
        """:meth:`submit` a plan that presses, for a block that lets go by itself where it ends well.

        Where it does not, cancelled or by an error, what it still holds of ``releases`` is let go of here, bounded, and
        also when only the plan was cancelled after it may have left.
        """
        sending = False

        def note() -> None:
            nonlocal sending
            sending = True

        try:
            await self.submit(plan, on_sending=note)
            yield
        except BaseException as error:  # whatever ends the block, nothing stays pressed
            if sending:
                with trio.move_on_after(RELEASE_TIMEOUT, shield=True):
                    try:
                        await self.release(releases)
                    except NekoError as failed:
                        error.add_note(f"neko_trio: letting go failed as well: {failed}")
            raise

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A block in which the server itself moves the mouse and types: all input before has been handled, none leaves.

        Waits as :meth:`submit` does for a host role that is away, and for a connection. Raises ``InvalidInput`` while
        anything is held, which would spoil it, and what :meth:`flush` raises.
        """
        while True:
            await self.wait_role()
            async with self._turn:
                if self._interrupted:
                    continue
                if self._grip.held:
                    raise InvalidInput("Keys or buttons are held.", hint="Let go of them first.")
                await self._flush(in_turn=True)
                if self._interrupted:
                    continue
                yield
                return

    async def wait_role(self, *, tell: bool = True) -> None:
        """Wait while the host role is away and wanted back, or the connection is made anew. Not always a checkpoint.

        Raises what ended the session, and, where it waits, what is in doubt, which is told with that; ``tell=False``
        leaves that for the next plan or flush.
        """
        while self._interrupted:
            if tell:
                self._wires.raise_end()
            self._wires.raise_failure()
            await (self._wires.wait_back if self._regain is None else self._regain)()
        self._wires.raise_failure()

    async def release(self, releases: Sequence[Release]) -> None:
        """Let go of these, if they are still held. A checkpoint. Cancelled, they stay in ``held`` or have been let go.

        Without the host role, or without a connection, they are forgotten: nothing can be sent.
        """
        async with self._turn:
            messages, after = self._grip.without(releases)
            if self._interrupted or not messages:
                self._grip.held = after  # when the role is back, what was left pressed is let go before all else
                return
            try:
                await self._send_anyway(messages, after)
            except (CallerError, SessionLost):
                self._grip.forget()

    def pressed_at(self, releases: Sequence[Release]) -> float | None:
        """When the first of these went down that is still held, by trio's clock; ``None`` when none is."""
        return self._grip.pressed_at(releases)

    async def press_again(self, releases: Sequence[Release], *, before: float) -> None:
        """Let go of the keys among these that went down by ``before`` and are still held, and press them at once again.

        For the server this is a new press, of which it will let go by itself later. A checkpoint. Cancelled, all of it
        is sent or nothing. Without the host role, or without a connection, nothing is sent.
        """
        async with self._turn:
            if self._interrupted or self._grip.press_again:
                return  # the first plan with the role presses them
            held, due = self._grip.held, self._grip.down_since(releases, before)
            plan = [each for key in due if isinstance(key, KeyUp) for each in (key, KeyDown(key.keysym))]
            if not plan:
                return
            try:
                await self._send_anyway([*self._grip.first(held), *plan], held)
            except NekoError as error:  # the next plan tells it
                if not isinstance(error, CallerError | SessionLost):
                    self._wires.note_doubt(connection_gone)
                return
        # Confirmed by itself: else a connection that is lost later would put in doubt what its caller never sent.
        await self._wires.confirm()

    async def _send_anyway(self, messages: Sequence[ClientMessage], after: Held) -> None:
        """Send what must not wait, nor be told what is in doubt: that is left for the next plan or flush."""
        self._admit()
        channel = await self._wires.enter_anyway()
        self._admit()
        await self._send(channel, messages, after)

    async def release_held(self) -> None:
        """Let go of everything this session holds. See :meth:`release`."""
        while self._grip.held:
            await self.release(self._grip.held.releases)
        if self._grip.left_pressed:
            await self.release(())
        await trio.lowlevel.checkpoint()

    def lose_role(self, regain: Callable[[], Awaitable[None]] | None = None) -> None:
        """The host role is gone. With ``regain`` it is wanted back: plans wait in that call until :meth:`resume`.

        The server lets go of held keys and buttons when the role is released or reset, or its holder disconnected, but
        not when it is taken, given away or locked (``internal/websocket/handler``, ``internal/api/room/control.go``,
        ``internal/session/manager.go``): then they stay pressed for up to 10 s, and nothing can be sent; fingers it
        never lifts by itself any sooner. So the first plan with the role lets go of them, and once more of what was let
        go of last, which may have come too late.

        When it is wanted back, keys still held then are pressed again. A held button or finger is not, and input that
        no barrier has confirmed may have come too late: either is told once as ``InputInDoubt``.
        """
        self._role_losses += 1
        self._regain = regain
        self._grip.doubt(self._wires.releases)
        broken = self._grip.lose(returns=regain is not None)
        if regain is None:
            return
        if broken:
            self._wires.note_doubt(_gesture_broken)
        elif self._making_certain or self._wires.outstanding:
            self._wires.note_doubt(_role_gone)

    def resume(self) -> None:
        """The host role is back: plans leave again."""
        self._regain = None

    def give_up(self) -> NekoError | None:
        """The host role is not wanted back any more: return what there was to be told, and forget what was held."""
        self._regain = None
        self._grip.forget()
        return self._wires.take_doubt()

    @property
    def held(self) -> tuple[Release, ...]:
        """The messages that would let go of what may be held now, newest first."""
        return self._grip.held.releases

    async def flush(self) -> None:
        """Return when the server has handled all input before this. A checkpoint; no round trip when there was none.

        Cancelling is safe. Raises ``InputInDoubt`` when a connection ended before it confirmed its input, and
        ``SessionLost`` or ``SessionClosed`` when the session is over.
        """
        await self._flush()

    async def _flush(self, *, in_turn: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        self._wires.raise_end()
        last = self._wires.last
        if last is not None and last.outstanding:
            if not self.certain:
                await self._wires.barrier(last)
                await self._wake(in_turn)
                return
            self._making_certain += 1
            try:
                await self._wires.barrier(last)
                await self._wake(in_turn)
                await self.ask()
            finally:
                self._making_certain -= 1
            self._wires.raise_end()

    async def flush_media(self) -> bool:
        """:meth:`flush` and :meth:`drain_media`, in one round trip if the data channel carried the input."""
        data = self._wires.data
        flushes = data is not None and data is self._wires.last and data.outstanding > 0
        await self.flush()
        return flushes or await self.drain_media()

    # -- inside

    async def _send(self, channel: Channel, messages: Sequence[ClientMessage], after: Held) -> None:
        """Send them, which are ``self._grip.first(…)`` and what is to follow."""
        self._grip.sending(messages, after, trio.current_time())
        role_losses = self._role_losses
        await self._wires.send(channel, messages)
        if role_losses == self._role_losses:
            self._grip.sent(after, lost=channel.lost)
        elif self._regain is not None:
            self._grip.held = after.keys
        self.plans_total += 1
        self.messages_total += len(messages)
        self._on_sent(messages)

    async def _wake(self, in_turn: bool) -> None:
        """Touches that the server has handed on are X's once it looks: see :meth:`Channel.send`."""
        touched = self._wires.last
        if touched is None or not touched.touched or self._interrupted:
            return
        touched.touched = False
        try:
            if in_turn:  # the caller has it
                self._admit()
                channel, held = await self._wires.enter(), self._grip.held
                await self._send(channel, [*self._grip.first(held), WAKE], held)
            else:
                await self.submit([WAKE])
        except CallerError:
            return  # the host role is gone, and whoever needs it is told
        if self._wires.last is not None:
            await self._wires.barrier(self._wires.last)


def _role_gone() -> NekoError:
    return in_doubt("The host role was taken away before the server had confirmed the input before this.")


def _gesture_broken() -> NekoError:
    return in_doubt("The host role, or the connection, went away with a mouse button or finger down: a broken gesture.")

"""Typing, pressing and holding keys."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.alongside import alongside
from neko_trio._ports.inputs import RELEASE_TIMEOUT, InputPort
from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.clipboard_loan import PASTE_TIME, Loan, borrowed
from neko_trio.desktop.clipboard_values import checked
from neko_trio.desktop.key_map import STEP, KeyMap, Layout
from neko_trio.desktop.keys import CAPS_LOCK, SHIFTS, Key, checked_text, held_around, keys_of, text_plans
from neko_trio.errors import InputInDoubt, InvalidInput, NotAllowed, ServerUnreachable
from neko_trio.protocol.data_channel import KeyDown, KeyUp
from neko_trio.protocol.keysyms import char_of_keysym

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from neko_trio._ports.held import Release

CHUNK = 16
"""Characters of a text that are handed over together."""

PRESS_AGAIN = 8.0
"""Seconds after which a held key is pressed again: the server lets go of it after 10 (``internal/desktop/manager.go``),
which it counts from when the press arrives, and looks once a second."""

MAP_TIME = 0.5
"""Seconds that programs have for reading what was typed before the layout changes, and the layout before more is typed.

They look up a key when they read it, with the layout of that moment (seen), and the server does not say what they have
read. XTerm was up to 0.3 s behind after 15 characters on new spare keycodes, each of which changes its layout (seen).
"""

_BREAKS = re.compile(r"([\n\t]+)")
_MODIFIERS = ("shift", "capslock", "control", "alt", "numlock", "meta", "super", "altgr")


class Keyboard:
    """The keyboard of the desktop. Needs the host role: see ``session.control()``.

    Every call plans its messages first, and returns when they are in a bounded buffer on their way; ``flush()``
    confirms them. Calls raise :class:`~neko_trio.errors.InvalidInput` before anything is sent,
    :class:`~neko_trio.errors.NotAllowed`, :class:`~neko_trio.errors.HostTaken` or
    :class:`~neko_trio.errors.ControlLocked` without the host role, :class:`~neko_trio.errors.InputInDoubt` when input
    sent before may have been lost with its connection, and :class:`~neko_trio.errors.SessionLost` or
    :class:`~neko_trio.errors.SessionClosed` when the session is over.
    """

    def __init__(self, inputs: InputPort, key_map: KeyMap, clipboard: Clipboard, *, admit: Callable[[], None]) -> None:
        """``admit`` raises the typed error of a session that is not host."""
        self._inputs, self._map, self._clipboard, self._admit = inputs, key_map, clipboard, admit
        self._typed_at = self._spares_at = -math.inf  # the last key, and the last that had a spare keycode
        self._turn = trio.Lock()  # from what is known of the layout to the keys that go by it
        self.paste_time = PASTE_TIME
        """Seconds that a program has for reading the clipboard once :meth:`type` has told it to paste. More for
        programs that are slow to react: nothing says when they have read it."""

    @property
    def paste_chord(self) -> str:
        """The keys that make a program paste, ``"ctrl+v"`` unless set. See ``session.clipboard.paste_chord``."""
        return self._clipboard.paste_chord

    @paste_chord.setter
    def paste_chord(self, chord: str) -> None:
        keys_of(chord)
        self._clipboard.paste_chord = chord

    @property
    def spare_keycodes(self) -> int | None:
        """How many different characters beyond its layout the server can type; ``None`` for any number.

        It puts each on a spare keycode, and when none is left it loses the key without a word. There are some 13 to 19,
        for all its sessions together, until its layout is set; 12 are used unless this says otherwise. With ``None``
        nothing is counted, and :meth:`type` pastes nothing by itself; with 0 no spare keycode is used.
        """
        return self._map.spare_keycodes

    @spare_keycodes.setter
    def spare_keycodes(self, number: int | None) -> None:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise InvalidInput(f"spare_keycodes is a number from 0 on, or None, not {number!r}.", step=STEP)
        self._map.spare_keycodes = number

    async def type(self, text: str, *, paste: bool | None = None) -> None:
        """Type a text: any Unicode; a line break is Return, a tab is Tab. No other control characters.

        Characters are typed as a person types them on the server's layout, with Shift where it needs it. Those it does
        not have are put on the server's :attr:`spare_keycodes`; before the first, the layout is set anew, unchanged,
        which frees the spare keycodes that others have used, if somebody else may have used any.

        When the text has more of them than that, those stretches between its line breaks and tabs that have any are
        pasted by the clipboard instead; line breaks and tabs stay keys. ``paste=True`` pastes all of the text at once,
        line breaks and tabs too; ``paste=False`` never pastes, and raises :class:`~neko_trio.errors.InvalidInput`
        instead. Pasting needs the right ``can_access_clipboard``, no held keys, and :attr:`paste_chord`; a stretch
        takes :attr:`paste_time`, during which nothing more is typed, so that order holds. Then the clipboard has its
        former text, or HTML, again; see :func:`~neko_trio.desktop.clipboard_loan.borrowed`.

        While this session holds Shift, letters are capitals, and what needs no Shift but the space and line breaks is
        :class:`~neko_trio.errors.InvalidInput`.

        On a network that loses datagrams a key's release may come a second after its press, and a desktop that repeats
        keys then writes the character several times: paste, or type in a session with ``video="off"``, whose input goes
        by TCP, or switch the desktop's key repeat off (``xset r off``).

        Cancelled, it stops between two characters with no key down, or with a stretch pasted or not; the clipboard is
        put back all the same.
        """
        text = checked_text(text)
        if paste is not None and not isinstance(paste, bool):
            raise InvalidInput(f"paste is True, False or None, not {paste!r}.", step=STEP)
        self._inputs.check()
        if not text:
            await trio.lowlevel.checkpoint()
        elif paste:
            await self._type([text], frozenset([text]))
        else:
            await self._inputs.wait_role()
            async with self._turn:
                await self._learn()
                wanting = self._map.wanting(text)
                fits = self._map.fits(wanting)
                if fits:
                    await self._use(wanting)
            if fits:
                await self._type([text], frozenset())
            elif paste is False:
                raise self._too_many(wanting)
            else:
                stretches = [stretch for stretch in _BREAKS.split(text) if stretch]
                await self._type(stretches, frozenset(each for each in stretches if not wanting.isdisjoint(each)))

    async def press(self, combination: str) -> None:
        """Press keys together and let go of them: ``"ctrl+s"``, ``"Page_Up"``, ``"A"``.

        Names are X.Org's or common ones, in any case; while this session holds Shift, letters are the keys, as if they
        stood behind ``shift+``. Cancelled, all of it is sent or nothing.
        """
        keysyms = keys_of(combination, shifted=self._shift_held)
        await self._inputs.wait_role()
        async with self._turn:
            await self._find_keys(keysyms)
            await self._inputs.submit(held_around(keysyms, ()))

    @asynccontextmanager
    async def hold(self, combination: str) -> AsyncIterator[None]:
        """Hold keys down inside the block; they are let go on every way out of it.

        Holds of the same modifier may overlap. The server lets go by itself of what is held for 10 s; so after 8 s, and
        every 8 s from then on, the keys are let go and pressed at once again, in one plan: a program sees a release and
        a press that follow each other directly, and no input of this session in between.
        """
        keysyms = keys_of(combination, shifted=self._shift_held)
        await self._inputs.wait_role()
        async with self._turn:
            await self._find_keys(keysyms)
        releases = [KeyUp(keysym) for keysym in reversed(keysyms)]
        async with (
            self._inputs.pressed([KeyDown(keysym) for keysym in keysyms], releases),
            alongside(lambda: self._keep(releases)),
        ):
            yield
        with trio.move_on_after(RELEASE_TIMEOUT, shield=True):
            await self._inputs.release(releases)

    async def layout(self) -> Layout:
        """The server's keyboard layout now. Needs the right ``can_host``, not the role. Cancelling is safe."""
        return await self._map.layout()

    async def set_layout(self, layout: str, *, variant: str = "") -> None:
        """Set the server's keyboard layout, for everybody and until somebody sets another; it frees all spare keycodes.

        Programs are given half a second to read what was typed before, and half a second to read the new layout.
        Names are X.Org's: ``"us"``, ``"de"`` with ``variant="nodeadkeys"``. Raises
        :class:`~neko_trio.errors.InvalidInput` for a layout that the server does not have. Cancelled, it may have been
        set or not.
        """
        for name, value in (("layout", layout), ("variant", variant)):
            if not isinstance(value, str) or not re.fullmatch(r"[\w+:,()-]*", value, re.ASCII):
                raise InvalidInput(f"{name} is a name such as 'us', not {value!r}.", step=STEP)
        if not layout:
            raise InvalidInput("The layout has no name.", hint="Use X.Org's names, such as 'us' or 'de'.", step=STEP)
        self._admit()
        async with self._turn:
            await self._settle(self._typed_at)
            self._admit()
            await self._map.set(Layout(layout, variant))
            await trio.sleep(MAP_TIME)

    async def modifiers(self) -> dict[str, bool]:
        """Which modifiers are on: ``shift, capslock, control, alt, numlock, meta, super, altgr``.

        As X has them: held or locked. Needs the right ``can_host``, not the role. Cancelling is safe.
        """
        await self._inputs.flush()
        answer = await self._map.modifiers()
        return {name: answer.get(name) is True for name in _MODIFIERS}

    async def set_modifiers(self, **modifiers: bool) -> None:
        """Lock (``True``) or unlock (``False``) modifiers by name, as in :meth:`modifiers`: ``capslock=True``.

        What is locked stays on, for everybody and for each key and click, until it is unlocked. Cancelled, it may have
        been done or not.
        """
        wrong = {name for name, on in modifiers.items() if name not in _MODIFIERS or not isinstance(on, bool)}
        if wrong or not modifiers:
            raise InvalidInput(
                f"These are no modifiers to set: {', '.join(sorted(wrong)) or 'none at all'}.",
                hint=f"There are {', '.join(_MODIFIERS)}, each True or False.",
                step=STEP,
            )
        self._admit()
        async with self._turn:
            await self._inputs.flush()
            self._admit()
            await self._map.set_modifiers(modifiers)

    # -- inside

    async def _type(self, stretches: Sequence[str], pasted: frozenset[str]) -> None:
        if not pasted:
            for stretch in stretches:
                await self._press_all(stretch)
            return
        if self._inputs.held:
            raise InvalidInput("The text must be pasted, and keys are held.", hint="Let go of them first.", step=STEP)
        for stretch in pasted:
            checked(stretch)
        try:
            await self._inputs.wait_role()
            self._clipboard.check()
        except NotAllowed as error:
            error.add_note("neko_trio: the text must be pasted, the server has not enough spare keycodes for it")
            raise
        async with borrowed(self._clipboard, self._inputs, self.paste_time) as loan:
            for stretch in stretches:
                await self._put(stretch, loan if stretch in pasted else None)

    async def _put(self, stretch: str, loan: Loan | None) -> None:
        if loan is not None:
            await loan.paste(stretch)
        else:
            await self._press_all(stretch)

    async def _press_all(self, text: str) -> None:
        for start in range(0, len(text), CHUNK):
            chunk = text[start : start + CHUNK]
            await self._inputs.wait_role()
            async with self._turn:
                await self._learn()  # no news, unless another task or another host may have changed the layout
                typed = self._under_shift(chunk) if self._shift_held else chunk
                await self._claim(typed)
                for plan in text_plans(map(self._key, typed), CHUNK):
                    self._note(self._map.uses_spares(typed))
                    await self._inputs.submit(plan)

    @property
    def _shift_held(self) -> bool:
        return any(isinstance(key, KeyUp) and key.keysym in SHIFTS for key in self._inputs.held)

    def _under_shift(self, text: str) -> str:
        """What the keys give while Shift is held. Raises ``InvalidInput`` for what they don't: the server would put
        each such key on a spare keycode, and lose it when none is left."""
        shifted = "".join(char.upper() if len(char.upper()) == 1 else char for char in text)
        if not all(char in _LIKE_SHIFTED or self._key(char).shift for char in shifted):
            raise InvalidInput("The text has characters that cannot be typed while Shift is held.", step=STEP)
        return shifted

    def _key(self, char: str) -> Key:
        named = _KEYS.get(char)
        return named if named is not None else self._map.key(char)

    async def _learn(self) -> None:
        while not self._map.known:
            await self._inputs.flush()  # Caps Lock may be on its way
            away, losses = self._inputs.away, self._inputs.losses
            try:
                await self._map.learn()
            except ServerUnreachable as error:
                if not self._inputs.returns:
                    raise
                failure = error  # ``error`` itself is unbound after this block
            else:
                continue
            with suppress(InputInDoubt):  # of the question alone: the connection went away under it
                await self._inputs.ask()
            if not away and self._inputs.losses == losses:  # the WebSocket is well, and was
                raise failure

    async def _claim(self, chars: Iterable[str]) -> None:
        """Have spare keycodes for these characters. Raises ``InvalidInput`` when not enough of them are left."""
        wanting = self._map.wanting(chars)
        if not self._map.fits(wanting):
            raise self._too_many(wanting)
        await self._use(wanting)

    async def _use(self, wanting: frozenset[str]) -> None:
        """Have spare keycodes for these characters: there are enough, if none is in use by others."""
        if wanting and self._map.doubtful:
            await self._settle(self._spares_at)  # the other keys stay what they are
            self._admit()
            await self._map.secure()
        self._map.use(wanting)

    def _note(self, spares: bool) -> None:
        """Something is typed now."""
        self._typed_at = trio.current_time()
        if spares:
            self._spares_at = self._typed_at

    async def _settle(self, since: float) -> None:
        """All input has been handled, and programs have had the time to read what was typed at ``since``."""
        await self._inputs.flush()
        await trio.sleep(max(0.0, since + MAP_TIME - trio.current_time()))

    async def _find_keys(self, keysyms: Sequence[int]) -> None:
        """What is to be known of keys before they are pressed. Raises ``InvalidInput`` for what would be lost."""
        chars = {char for char in map(char_of_keysym, keysyms) if char is not None}
        if not all(map(str.isascii, chars)):
            self._inputs.check()
            await self._learn()
        await self._claim(chars)
        self._note(self._map.uses_spares(chars))
        if CAPS_LOCK in keysyms:
            self._map.forget_locks()

    async def _keep(self, releases: Sequence[Release]) -> None:
        """Press again what the server would let go of, for as long as it is held."""
        while True:
            pressed, now = self._inputs.pressed_at(releases), trio.current_time()
            due = (now if pressed is None else pressed) + PRESS_AGAIN
            await trio.sleep_until(due if due > now else now + PRESS_AGAIN)  # it was due, and the role is away
            await self._inputs.press_again(releases, before=trio.current_time() - PRESS_AGAIN + 0.5)

    def _too_many(self, wanting: frozenset[str]) -> InvalidInput:
        return InvalidInput(
            f"The text has {len(wanting)} characters that the server's layout does not have. At most "
            f"{self.spare_keycodes} spare keycodes are used for such, some by what was typed before: a character "
            "that finds none would be lost silently.",
            hint="Leave paste out, or set a layout that has them.",
            step=STEP,
        )


_LIKE_SHIFTED = " \n"
"""Characters whose keys give the same with Shift."""

_KEYS = {"\n": Key(0xFF0D, False), "\t": Key(0xFF09, False)}

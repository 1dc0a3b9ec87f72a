"""What this session has pressed, as far as it can know: what is down, and what a loss may have left down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neko_trio._ports.held import Held, Release, which
from neko_trio.protocol.data_channel import ClientMessage, KeyDown, KeyUp


class Grip:
    """What is held, and what must be let go of before all else. Trio thread only; nothing here waits.

    To let go of what is not down does no harm: the server refuses it without a word (its ``pkg/xorg/xorg.go`` and
    ``pkg/xinput/xinput.go``). So whatever may be down without this session's will is let go of, once more perhaps.
    """

    def __init__(self) -> None:
        self.held = Held()
        self._leftover: dict[Release, Release] = {}  # by which key, button or finger
        self._press_again = False
        self._pressed_at: dict[Release, float] = {}

    @property
    def left_pressed(self) -> bool:
        """Whether there is anything to let go of that is not held."""
        return bool(self._leftover)

    @property
    def press_again(self) -> bool:
        """Whether the server has let go since of keys that are held, or is about to."""
        return self._press_again

    def first(self, held: Held) -> list[ClientMessage]:
        """What goes before the next plan, so that what is down at the server is what is in ``held``."""
        return [*self._leftover.values(), *(held.presses if self._press_again else ())]

    def pressed_at(self, releases: Iterable[Release]) -> float | None:
        """When the first of these went down that is still held, by the clock that :meth:`sending` was told."""
        return min((at for key in releases if (at := self._since(key)) is not None), default=None)

    def down_since(self, releases: Iterable[Release], before: float) -> list[Release]:
        """Those of these that are held and went down by ``before``."""
        return [key for key in releases if (at := self._since(key)) is not None and at <= before]

    def _since(self, key: Release) -> float | None:
        return self._pressed_at.get(key) if self.held.has(key) else None

    # -- plans

    def sending(self, messages: Iterable[ClientMessage], after: Held, now: float) -> None:
        """They are being sent. Until it is certain that they were, what may be held is held."""
        self.held = self.held.joined(after)
        for message in messages:
            if isinstance(message, KeyDown):
                self._pressed_at[KeyUp(message.keysym)] = now
            elif isinstance(message, KeyUp):
                self._pressed_at.pop(message, None)

    def sent(self, after: Held, *, lost: bool) -> None:
        """They have left, what :meth:`first` says before them; ``lost``: on a channel that has gone meanwhile."""
        self.held = after
        if not lost:
            self._press_again = False
            self._leftover.clear()

    # -- losses

    def doubt(self, releases: Iterable[Release]) -> None:
        """These have left, and may not have arrived. What is held by now, again, is let go of in its own time."""
        self._leftover.update((which(release), release) for release in releases if not self.held.has(release))

    def lose(self, *, returns: bool) -> bool:
        """The host role has gone. Whether a gesture came apart, which cannot be taken up again.

        What was held may still be down. Where the role ``returns`` keys are pressed again then.
        """
        held, self.held = self.held, self.held.keys if returns else Held()
        self._leftover.update((which(release), release) for release in held.releases)
        self._press_again = bool(self.held)
        return len(held.releases) > len(self.held.releases)

    def forget(self) -> None:
        """Nothing is held any more; what a loss left down is let go of all the same."""
        self.held, self._press_again = Held(), False

    def without(self, releases: Sequence[Release]) -> tuple[list[ClientMessage], Held]:
        """What lets go of these, as far as they are held, and of what was left pressed; and what is held then."""
        messages, after = self.held.without(releases)
        return (self.first(after) if self._press_again else [*self._leftover.values(), *messages]), after

"""What is looked at in the pictures of the screen: what has changed, and where something is. For worker threads.

Each looks at one frame after the other and keeps what it needs of the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from neko_trio.desktop.pixels import Pixel
from neko_trio.desktop.regions import Box, box_in_picture, box_on_screen
from neko_trio.errors import InvalidInput

if TYPE_CHECKING:
    from neko_trio.desktop.comparing import Sight
    from neko_trio.desktop.templates import Wanted
    from neko_trio.media.frames import Frame

Check: TypeAlias = Callable[[], object]
"""Called now and then, raises when nobody wants the result any more."""

BLEEDING = 2
"""Pixels around one in which its colour shows: pictures have one value of colour for four pixels."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something on the screen looks different."""

    box: Box
    """(left, top, right, bottom) around all of it, px of the screen."""
    frame: Frame
    """The first frame that shows it, of those looked at."""
    frame_box: Box
    """The same box in px of the frame, as ``frame.crop`` takes it."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where on the screen a picture was found."""

    box: Box
    """(left, top, right, bottom), px of the screen."""
    frame: Frame
    """The frame it was found in."""
    frame_box: Box
    """The same box in px of the frame, as ``frame.crop`` takes it."""
    difference: float
    """How much the pixels differ from those looked for: root mean square, 0 to 255."""

    @property
    def center(self) -> Pixel:
        """The pixel of the screen in its middle: ``mouse.click(*match.center)``."""
        left, top, right, bottom = self.box
        return (left + right - 1) // 2, (top + bottom - 1) // 2


class Reference:
    """A part of the screen as it was, to compare frames with."""

    def __init__(self, region: Box | None, tolerance: float) -> None:
        self.region = region
        self._tolerance = tolerance
        self._sight: Sight | None = None
        self._sizes: object = None

    def advance(self, frame: Frame, _check: Check) -> Change | None:
        """What has changed in this frame since the last one that had changed; the first is where that begins.

        One of another size has changed as a whole. Raises :class:`~neko_trio.errors.InvalidInput` when the region is no
        longer on the screen.
        """
        from neko_trio.desktop.comparing import changed, sight

        sizes = frame.screen_size, frame.picture_size
        box = box_in_picture(self.region, *sizes)
        before, now = self._sight, sight(frame, box)
        known = before is not None and sizes == self._sizes
        found = changed(before, now, self._tolerance) if before is not None and known else box
        if found is None:
            return None
        self._sight, self._sizes = now, sizes
        if before is None:
            return None
        return Change(box_on_screen(found, frame.picture_size, frame.screen_size), frame, found)


class Search:
    """A picture that is looked for in one frame after the other."""

    def __init__(self, wanted: Wanted, region: Box | None, tolerance: float) -> None:
        self._wanted, self._region, self._tolerance = wanted, region, tolerance
        self._sight: Sight | None = None
        self._sizes: object = None

    def match(self, frame: Frame, check: Check) -> Match | None:
        """Where it is in this frame, of which only what differs from the frame before is searched.

        Raises :class:`~neko_trio.errors.InvalidInput` when the region is smaller than the picture, or no longer on the
        screen. ``check`` is called every few milliseconds, and may raise.
        """
        from neko_trio.desktop.comparing import changed, sight

        sizes = frame.screen_size, frame.picture_size
        box = box_in_picture(self._region, *sizes)
        template = self._wanted.template(*sizes)
        left, top, right, bottom = box
        if template.width > right - left or template.height > bottom - top:
            width, height = self._wanted.size
            raise InvalidInput(f"A picture of {width}x{height} is looked for in a smaller part of the screen.")
        before, now = self._sight, sight(frame, box)
        near = None
        if before is not None and sizes == self._sizes:
            near = changed(before, now, 0)
            if near is None:
                return None
            near = (
                near[0] - left - BLEEDING,
                near[1] - top - BLEEDING,
                near[2] - left + BLEEDING,
                near[3] - top + BLEEDING,
            )
        found = template.find(frame.crop(box).to_ndarray(), self._tolerance, near=near, check=check)
        self._sight, self._sizes = now, sizes
        if found is None:
            return None
        at = left + found.left, top + found.top
        frame_box = *at, at[0] + template.width, at[1] + template.height
        on_screen = box_on_screen(frame_box, frame.picture_size, frame.screen_size)
        return Match(on_screen, frame, frame_box, found.difference)

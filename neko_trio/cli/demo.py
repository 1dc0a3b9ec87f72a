"""``neko-trio demo``: a desktop in another process, connected to, typed at, clicked, and seen to react."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neko_trio.cli.app import conclude
from neko_trio.cli.options import Json, PictureFile, report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neko_trio import Frame, Session
    from neko_trio.simulator import SmallDesktop

    Box = tuple[int, int, int, int]
    Pixels = NDArray[np.int16]

TEXT = "Hello from neko-trio! Typed by a program, seen by a program."
PATIENCE = 5.0
"""Seconds that the picture may take to show what was done."""

CHANGE = 40
"""Difference of a colour value (of 255) from which a pixel counts as changed by the input, not by encoding."""

TILE = 8
"""Side in pixels of the squares that are judged each by itself: narrower than a letter."""

MARKED = 6
"""Changed pixels from which a tile counts: of fewer, encoding may leave nothing."""

BLINKED_OFF = 0.5
"""A moment, in seconds, at which the caret is not drawn."""


def demo(*, output: PictureFile = Path("neko-trio-demo.png"), json: Json = False) -> int:
    """Start an embedded desktop in another process, connect, type, click, wait for the picture to show it, save it."""

    def say(text: str) -> None:
        if not json:
            print(text, flush=True)

    async def work() -> dict[str, Any]:
        import neko_trio
        from neko_trio.simulator import open_simulator_process

        say("Starting a desktop in another process …")
        async with open_simulator_process() as server:
            say(f"Connecting to {server.url} …\n")
            async with neko_trio.open_session(
                server.url, username=server.username, password=server.password
            ) as session:
                first = await session.screen.frame()
                result = report(server.url, session, first)
                _show(result, say)
                frame = await _act(session, first, say)
                await frame.save(output)
                result["screenshot"] = str(output.absolute())
        say(f"Saved {result['screenshot']}, disconnected: nothing is left running.")
        return result

    return conclude(work, as_json=json, show=lambda _result: None)


def _show(result: dict[str, Any], say: Any) -> None:
    from neko_trio.cli.connect import path_line
    from neko_trio.cli.waterfall import waterfall_text

    say(waterfall_text(result["timeline"]))
    say(path_line(result) + "\n")


async def _act(session: Session, first: Frame, say: Any) -> Frame:
    from time import perf_counter

    from neko_trio.simulator import ButtonDown, ButtonUp, KeyDown, PointerMoved, SmallDesktop

    # The same program, here: what it shows after the same input is what the picture must show.
    expected = SmallDesktop(first.screen_size)
    x, y, width, height = expected.click_button
    async with session.control():
        say("Became host. Typing …")
        before = _look(expected, expected.text_area)
        for character in TEXT:
            expected.on_input(KeyDown(ord(character), character))
        started = perf_counter()
        await session.keyboard.type(TEXT)
        await session.flush()
        typed = perf_counter()
        frame = await _until_shown(session, before, _look(expected, expected.text_area), expected.text_area)
        say(
            f"  {len(TEXT)} characters: confirmed by the server after {(typed - started) * 1000:.1f} ms, "
            f"in the picture after {(frame.arrived - started) * 1000:.1f} ms"
        )
        middle = x + width // 2, y + height // 2
        expected.on_input(PointerMoved(*middle))
        before = _look(expected, expected.click_button)
        expected.on_input(ButtonDown(1, *middle))
        expected.on_input(ButtonUp(1, *middle))
        started = perf_counter()
        await session.mouse.click(*middle)
        frame = await _until_shown(session, before, _look(expected, expected.click_button), expected.click_button)
        say(f"  one click: in the picture after {(frame.arrived - started) * 1000:.1f} ms")
    return frame


def _look(desktop: SmallDesktop, box: Box) -> Pixels:
    """What the desktop shows in ``box``, without its blinking caret: (height, width, 3) int16 RGB."""
    import numpy as np

    x, y, width, height = box
    return desktop.render(BLINKED_OFF).to_rgb()[y : y + height, x : x + width].astype(np.int16)


async def _until_shown(session: Session, before: Pixels, after: Pixels, box: Box) -> Frame:
    """The first frame that shows in ``box`` what the input made of it, judged by the pixels that it changed."""
    import numpy as np
    import trio

    from neko_trio.errors import VideoStalled

    x, y, width, height = box
    changed = np.abs(after - before).max(axis=2) > CHANGE
    assert changed.any(), "input that changes nothing cannot be seen"
    with trio.move_on_after(PATIENCE):
        async with session.screen.frames() as frames:
            async for frame in frames:
                seen = frame.crop((x, y, x + width, y + height)).to_ndarray().astype(np.int16)
                if _shows(seen, before, after, changed):
                    return frame
    raise VideoStalled(f"The picture did not show the input within {PATIENCE:g} s.", step="demo")


def _shows(seen: Pixels, before: Pixels, after: Pixels, changed: NDArray[np.bool_]) -> bool:
    """Whether ``seen`` is ``after``, not ``before``: on the whole, and in each tile, so that no letter is missing."""
    import numpy as np

    to_after = np.abs(seen - after).sum(axis=2) * changed
    to_before = np.abs(seen - before).sum(axis=2) * changed
    tiles = _tiled(changed) >= MARKED
    return bool(to_after.sum() < to_before.sum() / 3 and (_tiled(to_after) < _tiled(to_before))[tiles].all())


def _tiled(values: NDArray[Any]) -> NDArray[np.int64]:
    """The sum in each tile."""
    import numpy as np

    height, width = values.shape
    rows = np.add.reduceat(values, np.arange(0, height, TILE), axis=0, dtype=np.int64)
    return np.add.reduceat(rows, np.arange(0, width, TILE), axis=1)

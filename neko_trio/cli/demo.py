"""``neko-trio demo``: a desktop in another process, connected to, typed at, clicked, and seen to react."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from neko_trio.cli.app import conclude
from neko_trio.cli.options import Json, first_frame, report

if TYPE_CHECKING:
    from neko_trio import Frame, Session

TEXT = "Hello from neko-trio! Typed by a program, seen by a program."
PATIENCE = 5.0
"""Seconds that the picture may take to show what was done."""

TOLERANCE = 6.0
"""Mean difference per colour value (of 255) up to which two pictures of the same thing differ by their encoding."""


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o", help="Where to save the picture; .png or .jpg.")] = Path(
        "neko-trio-demo.png"
    ),
    json: Json = False,
) -> int:
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
                first = await first_frame(session, PATIENCE)
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

    from neko_trio.simulator import SmallDesktop
    from neko_trio.simulator._input_events import ButtonDown, ButtonUp, KeyDown

    # The same program, here: what it shows after the same input is what the picture must show.
    expected = SmallDesktop(first.screen_size)
    x, y, width, height = expected.click_button
    async with session.control():
        say("Became host. Typing …")
        started = perf_counter()
        await session.keyboard.type(TEXT)
        await session.flush()
        typed = perf_counter()
        for character in TEXT:
            expected.on_input(KeyDown(ord(character), character))
        frame = await _until_shown(session, expected, expected.text_area)
        say(
            f"  {len(TEXT)} characters: confirmed by the server after {(typed - started) * 1000:.1f} ms, "
            f"in the picture after {(frame.arrived - started) * 1000:.1f} ms"
        )
        started = perf_counter()
        await session.mouse.click(x + width // 2, y + height // 2)
        expected.on_input(ButtonDown(1, x + width // 2, y + height // 2))
        expected.on_input(ButtonUp(1, x + width // 2, y + height // 2))
        frame = await _until_shown(session, expected, expected.click_button)
        say(f"  one click: in the picture after {(frame.arrived - started) * 1000:.1f} ms")
    return frame


async def _until_shown(session: Session, expected: Any, box: tuple[int, int, int, int]) -> Frame:
    """The first frame whose ``box`` looks like that of ``expected``."""
    import time

    import numpy as np
    import trio

    from neko_trio.errors import VideoStalled

    x, y, width, height = box
    part = (x, y, x + width, y + height)
    with trio.move_on_after(PATIENCE):
        async with session.screen.frames() as frames:
            async for frame in frames:
                wanted = expected.render(time.monotonic()).to_rgb()[y : y + height, x : x + width]
                seen = frame.crop(part).to_ndarray()
                if np.abs(wanted.astype(np.int16) - seen).mean() < TOLERANCE:
                    return frame
    raise VideoStalled(f"The picture did not show the input within {PATIENCE:g} s.", step="demo")

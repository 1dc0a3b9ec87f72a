"""``neko-trio connect``: does it work from here, and where does the time go?"""

from __future__ import annotations

from typing import Any

from neko_trio.cli.app import conclude
from neko_trio.cli.options import (
    Json,
    NoPrivateIce,
    Password,
    Stream,
    Timeout,
    Token,
    Url,
    Username,
    report,
    session_at,
)


def connect(
    url: Url = None,
    *,
    username: Username = None,
    password: Password = None,
    token: Token = None,
    stream: Stream = None,
    no_private_ice: NoPrivateIce = False,
    timeout: Timeout = 9,
    json: Json = False,
) -> int:
    """Connect, wait for the first frame, print the timeline of the connect."""

    async def work() -> dict[str, Any]:
        async with session_at(
            url, username, password, token, stream=stream, no_private_ice=no_private_ice, timeout=timeout
        ) as session:
            frame = await session.screen.frame()
            return report(str(url), session, frame)

    return conclude(work, as_json=json, show=_show)


def _show(result: dict[str, Any]) -> None:
    from neko_trio.cli.waterfall import waterfall_text

    print(waterfall_text(result["timeline"]))
    print(path_line(result))


def path_line(result: dict[str, Any]) -> str:
    """One line: picture size, codec, and the way the media take."""
    frame, pair = result["frame"], result["candidate_pair"]
    line = f"{frame['width']}x{frame['height']} {result['codec']}"
    if pair is None:
        return line
    ends = f"{pair['local']} ({pair['local_type']}) to {pair['remote']} ({pair['remote_type']})"
    return f"{line}, {ends} by {pair['protocol']}"

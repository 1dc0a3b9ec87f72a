"""``neko-trio screenshot``: one picture of a desktop, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neko_trio.cli.app import conclude
from neko_trio.cli.options import (
    Json,
    NoPrivateIce,
    Password,
    PictureFile,
    Stream,
    Timeout,
    Token,
    Url,
    Username,
    report,
    session_at,
)


def screenshot(
    url: Url = None,
    *,
    output: PictureFile = Path("screenshot.png"),
    username: Username = None,
    password: Password = None,
    token: Token = None,
    stream: Stream = None,
    no_private_ice: NoPrivateIce = False,
    timeout: Timeout = 9,
    json: Json = False,
) -> int:
    """Connect, wait for the first frame, save it."""

    async def work() -> dict[str, Any]:
        async with session_at(
            url, username, password, token, stream=stream, no_private_ice=no_private_ice, timeout=timeout
        ) as session:
            frame = await session.screen.frame()
            await frame.save(output)
            return {**report(str(url), session, frame), "screenshot": str(output.absolute())}

    return conclude(work, as_json=json, show=lambda result: print(result["screenshot"]))

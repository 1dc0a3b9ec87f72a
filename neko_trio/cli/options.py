"""The options that several commands share, and what comes out of a connected session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from neko_trio.errors import InvalidInput

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from neko_trio import Frame, Session

Url = Annotated[str | None, Parameter(env_var="NEKO_URL", help="The server's base URL, http or https.")]
Username = Annotated[str | None, Parameter(env_var="NEKO_USERNAME", help="Who to log in as.")]
Password = Annotated[
    str | None, Parameter(env_var="NEKO_PASSWORD", show_default=False, help="Safer in the environment: NEKO_PASSWORD.")
]
Token = Annotated[
    str | None,
    Parameter(
        env_var="NEKO_TOKEN", show_default=False, help="Use this token instead of logging in; goes before a password."
    ),
]
Stream = Annotated[str | None, Parameter(help="Id of the video stream; the server's default if not given.")]
PictureFile = Annotated[
    Path,
    Parameter(
        alias="-o", validator=validators.Path(ext=("png", "jpg", "jpeg")), help="Where to save it; .png or .jpg."
    ),
]
NoPrivateIce = Annotated[
    bool,
    Parameter(
        negative="",
        help="Refuse private addresses that the server names for its media: only public ones, and that of the URL.",
    ),
]
Timeout = Annotated[float, Parameter(help="Seconds until the desktop must be connected.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object on stdout and nothing else.")]


def session_at(
    url: str | None,
    username: str | None,
    password: str | None,
    token: str | None,
    *,
    stream: str | None = None,
    no_private_ice: bool = False,
    timeout: float = 9,
) -> AbstractAsyncContextManager[Session]:
    """``open_session`` with the options of a command; says which of them are missing."""
    import neko_trio

    if url is None:
        raise InvalidInput("No URL was given.", hint="Name the server, or set NEKO_URL.")
    if password is None and token is None:
        raise InvalidInput("No password was given.", hint="Use --password or --token, or set NEKO_PASSWORD.")
    return neko_trio.open_session(
        url,
        username=username or "neko-trio" if token is None else None,
        password=password if token is None else None,
        token=token,
        stream=stream,
        ice=neko_trio.IceOptions(allow_private=not no_private_ice),
        connect_timeout=timeout,
    )


def report(url: str, session: Session, frame: Frame) -> dict[str, Any]:
    """What ``connect --json`` prints."""
    peer = session.statistics().peer
    pair = peer.candidate_pair if peer is not None else None
    return {
        "url": url,
        "timeline": session.timeline.to_dict(),
        "frame": {"width": frame.size[0], "height": frame.size[1]},
        "codec": peer.codec if peer is not None else None,
        "candidate_pair": pair.to_dict() if pair is not None else None,
    }

"""What can be known to fail before anything is sent, said at once, where the server would be silent."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from neko_trio._reconnect import Reconnect
from neko_trio.errors import ConnectionRejected, InvalidInput, NotAllowed
from neko_trio.protocol.events import SystemInit

if TYPE_CHECKING:
    from neko_trio.media.peer_api import IceOptions

VideoMode = Literal["live", "on_demand", "off"]

LINGER = 0.2
"""Seconds: a burst of pictures, as of a dialog that opens, costs one switch; then five frames come in vain."""


@dataclass(frozen=True, slots=True)
class Options:
    """The checked options of one session."""

    video: VideoMode
    stream: str | None
    ice: IceOptions
    connect_timeout: float
    close_timeout: float
    linger: float = LINGER
    """Seconds for which the video stays on, on demand, after the last picture that was wanted."""
    audio: bool = False
    reconnect: Reconnect | None = None

    @property
    def wants_peer(self) -> bool:
        """Whether a peer connection is made: for pictures, for sound, or for both."""
        return self.video != "off" or self.audio


def checked_options(
    *,
    password: str | None,
    token: str | None,
    video: str,
    audio: bool,
    stream: str | None,
    ice: IceOptions | None,
    ssl_context: ssl.SSLContext | None = None,
    reconnect: object,
    connect_timeout: float,
    close_timeout: float,
    linger: float = LINGER,
) -> Options:
    """The options of ``open_session``, or :class:`InvalidInput` that says which is wrong."""
    from neko_trio.media.peer_api import IceOptions

    if (token is None) == (password is None):
        raise InvalidInput("Give either password= (with username=) or token=, exactly one of them.")
    if video not in get_args(VideoMode):
        raise InvalidInput(f'video={video!r} is none of "live", "on_demand", "off".')
    if not isinstance(audio, bool):
        raise InvalidInput(f"audio={audio!r} is neither True nor False.")
    if not (reconnect is None or isinstance(reconnect, bool | Reconnect)):
        raise InvalidInput(f"reconnect={reconnect!r} is none of None, True, False, and no neko_trio.Reconnect.")
    for name, seconds in (("connect_timeout", connect_timeout), ("close_timeout", close_timeout)):
        if not seconds > 0:  # NaN is not, either
            raise InvalidInput(f"{name}={seconds!r} must be a positive number of seconds.")
    if not 0 <= linger < math.inf:
        raise InvalidInput(f"linger={linger!r} must be a number of seconds, 0 or more.")
    ice = ice or IceOptions()
    if ice.ssl_context is None:
        ice = replace(ice, ssl_context=ssl_context)
    return Options(
        video=cast("VideoMode", video),
        stream=stream,
        ice=ice,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        linger=linger,
        audio=audio,
        reconnect=Reconnect() if reconnect is True else reconnect or None,
    )


def refuse_hopeless(init: SystemInit, options: Options) -> None:
    """Raise what ``system/init`` already says of rights, private mode and streams. The server would just be silent."""
    profile = init.sessions[init.session_id].profile
    if not profile.can_connect:
        raise ConnectionRejected(
            "This member may not connect (can_connect is off).", reason="connection disabled", step="init"
        )
    if not options.wants_peer:
        return
    if not profile.can_watch:
        raise NotAllowed(
            "This member may not watch the desktop (can_watch is off).",
            hint='Have an admin grant can_watch, or connect with video="off".',
            step="init",
        )
    if init.settings.private_mode and not profile.is_admin:
        raise NotAllowed(
            "The room is in private mode: only admins see the desktop.",
            hint='Have an admin switch private mode off, or connect with video="off".',
            step="init",
        )
    streams = init.webrtc.videos
    if options.stream is not None and options.stream not in streams:
        raise InvalidInput(
            f"The server has no stream {options.stream!r}; it has {', '.join(map(repr, streams)) or 'none'}.",
            hint="Leave stream=None for the server's default.",
            step="init",
        )

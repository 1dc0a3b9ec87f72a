"""The server's time limits."""

from dataclasses import dataclass

__all__ = ["Timings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The server's time limits in seconds; tests shorten them."""

    heartbeat: float = 10.0
    reconnect_grace: float = 5.0
    profile_grace: float = 1.0
    """Until the peer of a member who may no longer watch is closed."""
    cursors: float = 0.75
    key_release: float = 10.0
    connect_limit: float = 10.0
    silence_limit: float = 5.0
    drop: float = 0.4
    """That the server drags files with the mouse."""
    dialog: float = 1.6
    """That it types into a file chooser."""
    pipeline_delay: float = 0.0
    """From the capture of a picture to its encoding: 5 to 15 ms in a real server with little to do."""

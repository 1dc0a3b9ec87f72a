"""What the session's video switch and the one of its current peer know of each other."""

from __future__ import annotations

from typing import Protocol


class PeerSwitch(Protocol):
    """The switch at the current peer: ``_peer_video.PeerVideo``."""

    @property
    def on(self) -> bool:
        """What the server was last told."""
        ...

    @property
    def confirmed(self) -> bool:
        """Whether the server has answered everything it was told."""
        ...

    @property
    def off_since(self) -> float | None:
        """Since when nothing is sent, as the server confirmed (frames' clock, seconds); ``None``: it may be sent."""
        ...

    @property
    def latency(self) -> float:
        """That of the newest frame, in seconds: see ``Frame.latency``."""
        ...

    def wake(self) -> None:
        """The wishes have changed."""
        ...

    def packets_received(self) -> int:
        """Video packets so far."""
        ...


class Selection:
    """A stream asked for, until the server has confirmed or refused it, or a later wish has taken its place."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.refused = False

"""Named moments of a connection attempt, on one clock for both threads."""

from __future__ import annotations

from time import perf_counter

MARKS = (
    "start",
    "login",
    "dial",
    "websocket_open",
    "init_received",
    "request_sent",
    "offer_received",
    "peer_created",
    "remote_description_set",
    "local_description_set",
    "answer_sent",
    "ice_connected",
    "connected",
    "video_enabled",
    "data_channel_open",
    "first_packet",
    "first_frame",
)
"""Every name a timeline may hold, in the order of an undisturbed connect."""


class Timeline:
    """When each step of a connect happened.

    Marks are set once, from any thread (``dict.setdefault`` is atomic); the clock is ``time.perf_counter``, which the
    trio thread and the asyncio thread share. A later mark of the same name is ignored, so a timeline never moves.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self.mark("start")

    def mark(self, name: str, at: float | None = None) -> None:
        """Note that ``name`` happened now, or at ``at`` (seconds of ``time.perf_counter``). Any thread."""
        if name not in MARKS:
            raise ValueError(f"unknown mark {name!r}")
        self._at.setdefault(name, perf_counter() if at is None else at)

    def __contains__(self, name: object) -> bool:
        return name in self._at

    @property
    def marks(self) -> list[tuple[str, float]]:
        """``(name, seconds since "start")`` of every mark so far, ordered by time."""
        start = self._at["start"]
        return sorted(((name, at - start) for name, at in list(self._at.items())), key=lambda mark: mark[1])

    def between(self, first: str, second: str) -> float:
        """Seconds from ``first`` to ``second`` (negative when it was the other way round).

        Raises :class:`KeyError` when one of them has not happened.
        """
        return self._at[second] - self._at[first]

    def to_dict(self) -> dict[str, float]:
        """Milliseconds since ``start`` by name, rounded to a microsecond, ordered by time."""
        return {name: round(seconds * 1000, 3) for name, seconds in self.marks}

    def __repr__(self) -> str:
        return f"Timeline({self.to_dict()!r})"

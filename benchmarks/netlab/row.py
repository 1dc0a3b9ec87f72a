"""What a row of ``networks.py`` is: what the server is told, what network lies between, what the client is asked, what
must hold, and what proves that the row is what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from netlab.lab import Network

PLAIN = Network()
EPR = ("--webrtc.epr", "20000-20199")
"""The flags that give the server its UDP ports."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row must reach."""

    kind: Literal["connects", "ratio", "within", "fails"] = "connects"
    """``ratio``: connected, by the default row's, measured alternately. ``within``: connected, in milliseconds.
    ``fails``: with one of our errors, in time."""
    limit: float = 0.0

    def __str__(self) -> str:
        return {
            "connects": "connects",
            "ratio": f"connected <= {self.limit:g} x default",
            "within": f"connected <= {self.limit:g} ms",
            "fails": f"fails within {self.limit / 1000:g} s",
        }[self.kind]


CONNECTS = Goal()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the router must have counted for the row to be what it says."""

    counter: str
    some: bool = True
    """At least one packet; ``False``: none at all."""

    def holds(self, counters: Mapping[str, int]) -> bool:
        return (counters.get(self.counter, 0) > 0) is self.some

    def __str__(self) -> str:
        return f"{'some' if self.some else 'no'} packets counted as {self.counter}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row."""

    name: str
    what: str
    """In words, for the table's reader."""
    network: Network = PLAIN
    frontend: tuple[dict[str, Any], ...] | None = None
    """The ICE servers that clients are told; ``None``: one STUN server, which works."""
    backend: tuple[dict[str, Any], ...] | None = None
    """The server's own; ``None``: as the clients', if the server itself can use them, else the working STUN server."""
    flags: tuple[str, ...] = EPR
    announced: str | None = ""
    """What the server says its address is (``nat1to1``); empty: the one it has. ``None``: nothing, it looks."""
    codec: str = "VP8"
    encoder: str | None = None
    """GStreamer's element; ``None`` is the server's own pipeline."""
    watched: bool = False
    """Another watcher is there."""
    relay_only: bool = False
    simulator: Literal["", "plain", "stubborn"] = ""
    goal: Goal = CONNECTS
    pair: Mapping[str, str] = field(default_factory=dict)
    """What the path used must look like: fields of ``CandidatePair`` and how their values begin."""
    proofs: tuple[Proof, ...] = ()
    gives_role_back: bool = False
    """The server keeps the controlling role, and every connect must have noticed."""
    round_trip: tuple[float, float] = (0.0, 5.0)
    """Milliseconds that one must take, measured."""

    @property
    def paired(self) -> bool:
        """Whether the default row is measured alternately with this one."""
        return self.goal.kind == "ratio" or self.simulator == "stubborn"

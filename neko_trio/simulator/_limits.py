"""What clients may do to the server: how much, how many, how long, how often."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address

import trio

__all__ = ["Budget", "Limits", "LoginLimit"]

ADDRESSES = 4096
"""Addresses whose failed logins are remembered; beyond, the one that was quiet for longest is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The simulator's own bounds, which the real server mostly does not have; high enough for tests to see none."""

    connections: int = 1000
    """TCP connections; one more is closed at once."""
    sessions: int = 4096
    """Sessions, connected or not; a login more is refused with 503."""
    peers: int = 256
    """Peer connections; a `signal/request` more gets no answer."""
    failed_logins: int = 60
    """Failed logins of one address (IPv6: of one /64) at once; then 429 with `Retry-After`, whatever the password."""
    login_interval: float = 1.0
    """Seconds after which one failed login is forgotten."""
    head_seconds: float = 10.0
    """For the head of a request, from its first byte; and for a new connection to say anything."""
    idle_seconds: float = 120.0
    """Between two requests on one connection."""
    body_pause: float = 30.0
    """Between two parts of a body."""
    transfer_seconds: float = 600.0
    """For a whole body, and for a whole answer."""
    body: int = 64 * 2**20
    """Bytes of a body of somebody with a token."""
    unknown_body: int = 64 * 2**10
    """Bytes of anybody else's."""
    bodies: int = 256 * 2**20
    """Bytes of all bodies that are in memory."""
    unsent: int = 512 * 2**20
    """Bytes that wait for all clients together."""


class Budget:
    """Memory that many share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, count: int) -> bool:
        """False, and nothing is taken, when it would be more than there is."""
        if self.taken + count > self.limit:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        """What was taken is free again."""
        self.taken -= count


class LoginLimit:
    """Failed logins by address: a bucket that fills with each and leaks with time."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._interval = limits.failed_logins, limits.login_interval
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_for(self, address: str) -> float:
        """Seconds until somebody at this address may try again; 0.0: now."""
        count = self._count(_network(address))
        return max(0.0, (count - self._most + 1) * self._interval)

    def failed(self, address: str) -> None:
        """A login from there had the wrong password."""
        network = _network(address)
        self._failures[network] = self._count(network) + 1, trio.current_time()
        self._failures.move_to_end(network)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def _count(self, network: str) -> float:
        count, since = self._failures.get(network, (0.0, 0.0))
        return max(0.0, count - (trio.current_time() - since) / self._interval)


def _network(address: str) -> str:
    """Who has one IPv6 address has the 2⁶⁴ beside it."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(known) if known.version == 4 else known.exploded[:19]

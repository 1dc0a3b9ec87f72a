"""The lossy network itself: UDP sockets that stand for the two sides' addresses, and what happens in between.

Both sides are told of addresses of the network in place of each other's::

    client L ──▶ F, stands for R ══ weather ══▶ U, stands for L ──▶ R server

and the way back likewise. ICE sees an ordinary pair of host candidates on either side, whoever implements it.
"""

from __future__ import annotations

import asyncio
import heapq
import socket
from itertools import count
from threading import Lock

from neko_trio.simulator._weather import NetworkConditions, Weather

__all__ = ["Address", "Router"]

Address = tuple[str, int]
"""(IP address, port)."""

ADDRESS_LIMIT = 64
"""Addresses of either side that the network stands for."""
UNDER_WAY_LIMIT = 16_384
"""Datagrams under way."""
RECEIVE_BUFFER = 1 << 20
READS_AT_ONCE = 64
"""Datagrams taken from one socket before the others have their turn."""
LARGEST = 65_536


class _Side:
    """The sockets that stand for one side's addresses, before the other side's eyes."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather  # of what comes in here
        self.sockets: dict[Address, socket.socket] = {}
        self.opposite: _Side


class Router:
    """Forwards between a client and a server. Made and closed on its loop's thread."""

    def __init__(self, conditions: NetworkConditions, *, to_server: Weather, to_client: Weather) -> None:
        self.conditions = conditions
        """May be replaced at any time, from any thread."""
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._servers, self._clients = _Side(to_server), _Side(to_client)
        self._servers.opposite, self._clients.opposite = self._clients, self._servers
        self._under_way: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # -- any thread

    def instead_of_server(self, address: Address) -> Address:
        """Where a client sends what is for the server's ``address``. Raises ``OSError`` when there is no way to it."""
        return _name(self._stand_for(self._servers, address))

    def instead_of_client(self, address: Address) -> Address:
        """Where the server sends what is for the client's ``address``. Raises ``OSError``."""
        return _name(self._stand_for(self._clients, address))

    def _stand_for(self, side: _Side, address: Address) -> socket.socket:
        with self._lock:
            known = side.sockets.get(address)
            if known is not None:
                return known
            if self._closed or len(side.sockets) >= ADDRESS_LIMIT:
                raise OSError("the lossy network takes no more addresses")
            # A client's address is one of this machine, and so is what stands for it; what stands for the server's is
            # the one that the client would send from.
            made = _bound(address[0] if side is self._clients else _routed(address))
            side.sockets[address] = made
        self._loop.call_soon_threadsafe(self._listen, side, address, made)
        return made

    # -- on the loop

    def _listen(self, side: _Side, address: Address, sock: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(sock.fileno(), self._read, side, address, sock)

    def _read(self, side: _Side, stands_for: Address, sock: socket.socket) -> None:
        """Datagrams for ``stands_for`` came."""
        for _ in range(READS_AT_ONCE):
            try:
                datagram, sender = sock.recvfrom(LARGEST)
            except (BlockingIOError, ConnectionError):  # nothing more; or a datagram of ours was refused
                return
            self._carry(side, stands_for, datagram, (sender[0], sender[1]))

    def _carry(self, side: _Side, target: Address, datagram: bytes, sender: Address) -> None:
        arrivals = side.weather.fate(datagram, self.conditions)
        if not arrivals:
            return
        try:
            way = self._stand_for(side.opposite, sender)
        except OSError:
            side.weather.unroutable += 1
            return
        now = self._loop.time()
        for delay, arriving in arrivals:
            if len(self._under_way) >= UNDER_WAY_LIMIT:
                side.weather.unroutable += 1
            elif delay == 0 and not self._under_way:
                _send(way, arriving, target)
            else:
                heapq.heappush(self._under_way, (now + delay, next(self._numbers), way, arriving, target))
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._under_way:
            return
        due = self._under_way[0][0]
        if self._timer is not None and self._timer.when() <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, way, datagram, target = heapq.heappop(self._under_way)
            _send(way, datagram, target)
        self._set_timer()

    async def drain(self) -> None:
        """Wait until what has been sent by now has arrived, so that a goodbye is not lost with its network."""
        for side in (self._servers, self._clients):
            for address, sock in list(side.sockets.items()):
                self._read(side, address, sock)
        if self._under_way:
            await asyncio.sleep(max(due for due, *_ in self._under_way) - self._loop.time())
            self._deliver()

    def close(self) -> None:
        """Close the sockets; what is under way is lost."""
        with self._lock:
            self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._under_way.clear()
        for side in (self._servers, self._clients):
            for sock in side.sockets.values():
                self._loop.remove_reader(sock.fileno())
                sock.close()
            side.sockets.clear()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bound(host: str) -> socket.socket:
    sock = socket.socket(_family(host), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, 0))
    except BaseException:  # whatever it is: nothing stays open
        sock.close()
        raise
    return sock


def _routed(address: Address) -> str:
    """The local address that the system would send from: connecting a UDP socket sends nothing."""
    with socket.socket(_family(address[0]), socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _name(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return host, port


def _send(way: socket.socket, datagram: bytes, target: Address) -> None:
    try:
        way.sendto(datagram, target)
    except OSError:
        return  # a full buffer, an unreachable address, a socket closed meanwhile: lost, as in any network

"""A laboratory of network namespaces: a client, a router, a server and a relay, each on a machine of its own.

::

    client ── router ── server        10.71.1.0/24, 10.71.2.0/24, 10.71.3.0/24 (and fd71:1::/64 … when asked for)
                 └───── relay

The router forwards, and where asked masquerades, drops, counts and delays. Everything is made for one row of the
benchmark and removed with it, on every way out; nothing of the machine's own network is touched. Needs root, ``ip``
(iproute2) and ``nft`` (nftables).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import trio

from netlab.programs import run, running

PREFIX = "neko-lab"
"""How the names of namespaces begin, and those of directories: then comes our process id, then what it is."""
HOSTS = {"client": 1, "server": 2, "relay": 3}
MACHINES = ("client", "router", "relay", "server")
DEAD = "10.71.3.66"
"""Nobody: packets to it are dropped, silently, and counted."""
NOWHERE = "203.0.113.77"
"""An address of the documentation's (RFC 5737) that leads nowhere, for a server that announces a wrong one."""
STUN_PORT = 3478
TLS_PORT = 5349
MUX_PORT = 18139
BESIDE = (("10.72.1.2", 24), ("10.73.1.2", 24), ("fd72:1::2", 64))
"""Addresses of the client that lead nowhere, as those of a container bridge or of a VPN."""

COUNTERS = (
    *("dead", "blocked", "masqueraded", "unsolicited", "udp_to_server", "media_tcp_to_server"),
    *("udp_to_relay", "tcp_to_relay", "tls_to_relay", "client_address_at_server"),
)

Route = Literal["ip4", "ip6", "loopback", "alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What stands between the client and the server."""

    route: Route = "ip4"
    """``ip6``: the client has no IPv4 address. ``loopback``: the client is on the server's machine. ``alone``: so it
    is, and that machine has a loopback interface and no other."""
    nat: bool = False
    """The router masquerades the client, and lets nobody in that the client did not ask."""
    blocked: tuple[str, ...] = ()
    """nft expressions of what the router drops on its way from the client or to it."""
    addresses_beside: bool = False
    """The client has the addresses of BESIDE as well."""
    delay: float = 0.0
    """Seconds that each packet takes between the client and the router, each way."""
    resolver: Literal["refuses", "silent"] | None = None
    """The name server of all: none runs there, or it never answers."""


def address(host: str, network: Network) -> str:
    """Where a machine of this network is reached."""
    if network.route in ("loopback", "alone"):
        return "127.0.0.1"
    return f"fd71:{HOSTS[host]}::2" if network.route == "ip6" else f"10.71.{HOSTS[host]}.2"


class Lab:
    """One row's namespaces."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._prefix = f"{PREFIX}-{os.getpid()}-"

    def namespace(self, host: str) -> str:
        """The name of a machine's namespace; with the client on the server's machine both are one."""
        if host == "client" and self.network.route in ("loopback", "alone"):
            host = "server"
        if self.network.route == "alone":
            host = "server"
        return self._prefix + host

    @property
    def namespaces(self) -> list[str]:
        """All there may be."""
        return [self._prefix + name for name in MACHINES]

    def inside(self, host: str, *command: str) -> list[str]:
        """The command that runs a command on a machine."""
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def address(self, host: str) -> str:
        return address(host, self.network)

    @property
    def turn_address(self) -> str:
        """Where the STUN and TURN server is: IPv4 whatever the client has."""
        return "127.0.0.1" if self.network.route == "alone" else f"10.71.{HOSTS['relay']}.2"

    async def build(self) -> None:
        alone = self.network.route == "alone"
        names = MACHINES[-1:] if alone else MACHINES
        for name in names:
            self._write_resolver(name)
            await run("ip", "netns", "add", self._prefix + name)
            # Addresses are there at once, and not only after a second of asking whether another has them.
            at_once = "for one in all default; do echo 0 > /proc/sys/net/ipv6/conf/$one/accept_dad; done"
            await run("ip", "netns", "exec", self._prefix + name, "sh", "-c", at_once)
        for name in names:
            await self._ip(name, "link set lo up")
        if alone:
            return
        forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
        await run("ip", "netns", "exec", self._prefix + "router", "sh", "-c", forwarding)
        for host, number in HOSTS.items():
            await self._connect(host, number)
        # Only with a route do packets come as far as the rule that drops them without a word.
        await run("ip", "-n", self._prefix + "router", "route", "add", NOWHERE, "dev", "relay")
        await run("ip", "netns", "exec", self._prefix + "router", "nft", "-f", "-", text=self._rules())

    async def _connect(self, host: str, number: int) -> None:
        """A link between a machine and the router, with addresses and the way to all others."""
        ip6_only = self.network.route == "ip6" and host == "client"
        if not (host == "client" and self.network.delay):  # else the delaying forwarder makes the link
            await run(
                *("ip", "link", "add", "uplink", "netns", self._prefix + host, "type", "veth"),
                *("peer", "name", host, "netns", self._prefix + "router"),
            )
            await self._set_link_up(host, number, ip6_only)
        if host == "client" and self.network.addresses_beside:
            for index, (one, bits) in enumerate(BESIDE):
                await run(
                    *("ip", "link", "add", f"beside{index}", "netns", self._prefix + host, "type", "veth"),
                    *("peer", "name", f"beside{index}", "netns", self._prefix + "router"),
                )
                await self._ip("router", f"link set beside{index} up")
                nodad = "nodad" if ":" in one else ""
                await self._ip(host, f"address add {one}/{bits} dev beside{index} {nodad}\nlink set beside{index} up")

    async def _set_link_up(self, host: str, number: int, ip6_only: bool) -> None:
        ip4 = [] if ip6_only else [f"address add 10.71.{number}.2/24 dev uplink"]
        ip6 = [f"address add fd71:{number}::2/64 dev uplink nodad"] if self.network.route == "ip6" else []
        routes = [] if ip6_only else [f"route add default via 10.71.{number}.1"]
        routes += [f"-6 route add default via fd71:{number}::1"] if ip6 else []
        await self._ip("router", f"address add 10.71.{number}.1/24 dev {host}")
        if ip6:
            await self._ip("router", f"address add fd71:{number}::1/64 dev {host} nodad")
        await self._ip("router", f"link set {host} up")
        await self._ip(host, "\n".join([*ip4, *ip6, "link set uplink up"]))
        for route in routes:
            await run("ip", "-n", self._prefix + host, *route.split())

    async def adopt_client_link(self, device: str) -> None:
        """Give the client the other end of the delaying forwarder's link as its way to the router."""
        await run(
            *("ip", "-n", self._prefix + "router", "link", "set", device),
            *("netns", self._prefix + "client", "name", "uplink"),
        )
        await self._set_link_up("client", HOSTS["client"], ip6_only=False)

    def _rules(self) -> str:
        """The router's: what it drops, what it masquerades, and what it counts of what passes."""
        blocked = "\n".join(
            f'    iifname "client" {expression} counter name blocked drop\n'
            f'    oifname "client" {expression} counter name blocked drop'
            for expression in self.network.blocked
        )
        masquerade = '    iifname "client" counter name masqueraded masquerade' if self.network.nat else ""
        unsolicited = '    oifname "client" ct state new counter name unsolicited drop' if self.network.nat else ""
        to_server, to_relay = ('iifname "client" oifname "server"', 'iifname "client" oifname "relay"')
        return "\n".join(
            [
                "table inet lab {",
                *(f"  counter {name} {{}}" for name in COUNTERS),
                "  chain forward {",
                "    type filter hook forward priority 0;",
                f"    ip daddr {{ {DEAD}, {NOWHERE} }} counter name dead drop",
                blocked,
                unsolicited,
                f"    {to_server} meta l4proto udp counter name udp_to_server",
                f"    {to_server} tcp dport {MUX_PORT} counter name media_tcp_to_server",
                f"    {to_relay} meta l4proto udp counter name udp_to_relay",
                f"    {to_relay} tcp dport {STUN_PORT} counter name tcp_to_relay",
                f"    {to_relay} tcp dport {TLS_PORT} counter name tls_to_relay",
                "  }",
                "  chain leaving {",
                "    type filter hook postrouting priority 300;",
                '    oifname "server" ip saddr 10.71.1.0/24 counter name client_address_at_server',
                "  }",
                "  chain translating {",
                "    type nat hook postrouting priority 100;",
                masquerade,
                "  }",
                "}",
                "",
            ]
        )

    async def counters(self) -> dict[str, int]:
        """Packets that the router dropped or let pass, by what they were; none without a router."""
        if self.network.route == "alone":
            return {}
        text = await run("ip", "netns", "exec", self._prefix + "router", "nft", "-j", "list", "counters")
        return {
            entry["counter"]["name"]: int(entry["counter"]["packets"])
            for entry in json.loads(text)["nftables"]
            if "counter" in entry
        }

    def _write_resolver(self, name: str) -> None:
        """``ip netns exec`` shows /etc/netns/NAME/resolv.conf as /etc/resolv.conf (ip-netns(8))."""
        server = DEAD if self.network.resolver == "silent" and self.network.route != "alone" else "127.0.0.1"
        home = Path("/etc/netns", self._prefix + name)
        home.mkdir(parents=True, exist_ok=True)
        (home / "resolv.conf").write_text(f"nameserver {server}\n")

    async def _ip(self, name: str, batch: str) -> None:
        await run("ip", "-n", self._prefix + name, "-batch", "-", text=batch + "\n")


@asynccontextmanager
async def open_lab(network: Network) -> AsyncIterator[Lab]:
    """The namespaces of one row; gone, with whatever runs in them, at the end of the block."""
    lab = Lab(network)
    try:
        await lab.build()
        if network.delay:
            script = str(Path(__file__).with_name("delay.py"))
            command = lab.inside("router", sys.executable, script, "client", "far", str(network.delay))
            async with running("the delaying link", command, ready="forwarding"):
                await lab.adopt_client_link("far")
                yield lab
        else:
            yield lab
    finally:
        with trio.CancelScope(shield=True):  # a few commands of the system's
            await remove_namespaces(*lab.namespaces)


async def remove_namespaces(*names: str) -> None:
    """Remove those of these namespaces that are there, and end what runs in them."""
    for name in _there(names):
        for process in (await run("ip", "netns", "pids", name)).split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        await run("ip", "netns", "delete", name)
    for name in names:
        shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def _there(names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if Path("/run/netns", name).exists()]


def _alive(process: str) -> bool:
    return Path("/proc", process).exists()


async def remove_leftovers() -> None:
    """Remove what a laboratory left that was killed before it could tidy up."""
    for line in (await run("ip", "netns", "list")).splitlines():
        name = line.split(" ")[0]
        if name.startswith(f"{PREFIX}-") and not _alive(name.split("-")[2]):
            await remove_namespaces(name)
    for home in _left_homes():
        shutil.rmtree(home, ignore_errors=True)


def _left_homes() -> list[Path]:
    return [home for home in Path(gettempdir()).glob(f"{PREFIX}-*") if not _alive(home.name.split("-")[2])]


@asynccontextmanager
async def open_screen_namespace() -> AsyncIterator[list[str]]:
    """A namespace for what all rows share: by it a later run finds what a killed one left. Yields what to put before a
    command."""
    name = f"{PREFIX}-{os.getpid()}-screen"
    await run("ip", "netns", "add", name)
    try:
        yield ["ip", "netns", "exec", name]
    finally:
        with trio.CancelScope(shield=True):  # a few commands of the system's
            await remove_namespaces(name)


def missing_programs() -> str | None:
    """Why no laboratory can be had here; ``None`` when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root: run this as root (sudo)"
    absent = [program for program in ("ip", "nft", "Xvfb") if shutil.which(program) is None]
    packages = {"ip": "iproute2", "nft": "nftables", "Xvfb": "xvfb"}
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: apt install {' '.join(packages[one] for one in absent)})"
    return None

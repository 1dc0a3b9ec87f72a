"""What runs on a machine of the laboratory, one process each: our connects, the rival's, a second watcher, a simulator.

    python -m netlab.client '{"errand": "connect", "targets": {"row": URL}, "count": 50, …}'

Writes one line of JSON for each connect, so that what was measured is not lost with what hangs. ``networks.py`` starts
it and ends it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import sys
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neko_trio import IceOptions

FRAME_PATIENCE = 10.0
"""Seconds to wait for the first frame before the connect counts as failed."""
CONNECT_LIMIT = 25.0
"""Seconds after which a connect that neither succeeded nor failed counts as hanging; its own limits are below that."""
SAME_FAILURES = 3
"""Failures in a row after which a target is given up: one more would teach nothing."""
PAUSE = 0.05
"""Seconds between two connects."""
ROUND_TRIPS = 7
USERNAME = "benchmark"
PASSWORD = "neko"


def say(line: dict[str, Any]) -> None:
    """One line of JSON to whoever sent us."""
    print(json.dumps(line), flush=True)


class Collections:
    """The garbage collections of this process: when, how long, which generation. All threads wait meanwhile."""

    def __init__(self) -> None:
        self._began = 0.0
        self._seen: list[tuple[float, float, int]] = []
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = perf_counter()
        else:
            self._seen.append((self._began, perf_counter(), info["generation"]))

    def take(self, zero: float) -> list[dict[str, float]]:
        """Those since the last call, in milliseconds from ``zero`` (a reading of ``perf_counter``)."""
        taken, self._seen = self._seen, []
        return [
            {"at": (began - zero) * 1000, "ms": (ended - began) * 1000, "generation": generation}
            for began, ended, generation in taken
        ]


class Streak:
    """How often in a row each target failed."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def note(self, target: str, failed: bool) -> None:
        self._failures[target] = self._failures.get(target, 0) + 1 if failed else 0

    def hopeless(self, target: str) -> bool:
        return self._failures.get(target, 0) >= SAME_FAILURES


async def connect_once(url: str, ice: IceOptions, collections: Collections) -> dict[str, Any]:
    """One connect of ours, to the first decoded frame: moments in milliseconds from the dial, and by which path."""
    import trio

    import neko_trio

    collections.take(0.0)
    began = perf_counter()
    line: dict[str, Any]
    async with neko_trio.open_session(url, username=USERNAME, password=PASSWORD, ice=ice) as session:
        with trio.fail_after(FRAME_PATIENCE):
            await session.screen.frame()
        timeline = session.timeline
        zero = began + timeline.between("start", "dial")
        peer = session.statistics().peer
        assert peer is not None
        line = {
            "marks": {name: timeline.between("dial", name) * 1000 for name, _at in timeline.marks},
            "codec": peer.codec,
            "pair": asdict(peer.candidate_pair) if peer.candidate_pair else None,
            "role_given_back": peer.role_given_back,
            "gathering_errors": list(peer.gathering_errors),
            "collections": collections.take(zero),
        }
        leaving = perf_counter()
    return line | {"close": (perf_counter() - leaving) * 1000}


async def connect_many(errand: dict[str, Any]) -> None:
    """Our connects, to each target in turn, so that all of them see the same weather."""
    import trio

    import neko_trio

    ice = neko_trio.IceOptions(relay_only=errand["relay_only"], take_control=errand["take_control"])
    collections, streak, chance = Collections(), Streak(), random.Random(1)
    for number in range(errand["count"] + 1):
        for target, url in errand["targets"].items():
            if streak.hopeless(target):
                continue
            began = perf_counter()
            line: dict[str, Any] = {"target": target, "number": number}
            try:
                with trio.fail_after(CONNECT_LIMIT):
                    line |= await connect_once(url, ice, collections)
            except (neko_trio.NekoError, trio.TooSlowError) as error:
                line["failure"] = f"{type(error).__name__}: {error}"[:2500]
                line["step"] = getattr(error, "step", None)
                line["after"] = (perf_counter() - began) * 1000
            streak.note(target, "failure" in line)
            say(line)
            if errand["freeze"] and not number:
                gc.collect()
                gc.freeze()  # imported modules are not looked through again: gc, "Garbage Collector interface"
            # With another watcher there the pictures' rhythm goes on: not always at the same place in it.
            await trio.sleep(PAUSE + chance.uniform(0, errand["spread"]))


async def watch(errand: dict[str, Any]) -> None:
    """Another watcher of the same stream, until the end of the process."""
    import trio

    import neko_trio

    async with neko_trio.open_session(errand["targets"]["row"], username=USERNAME, password=PASSWORD) as session:
        await session.screen.frame()
        say({"watching": True})
        await trio.sleep_forever()


def rival(errand: dict[str, Any]) -> None:
    """The same connects with aiortc as its documentation shows it."""
    from plain_aiortc import connect_once as plain

    url, streak = errand["targets"]["row"], Streak()
    for number in range(errand["count"] + 1):
        if streak.hopeless("row"):
            break
        began = perf_counter()
        line: dict[str, Any] = {"target": "row", "number": number}
        try:
            line["marks"] = asyncio.run(
                plain(url, USERNAME, PASSWORD, relay_only=errand["relay_only"], patience=errand["patience"])
            )
        except Exception as error:  # noqa: BLE001 - whatever the rival fails with is what is measured
            line["failure"] = f"{type(error).__name__}: {error}"[:300]
            line["after"] = (perf_counter() - began) * 1000
        streak.note("row", "failure" in line)
        say(line)


def probe(errand: dict[str, Any]) -> None:
    """Wait until a STUN server answers; STUN has no other way to ask whether it is there (RFC 8489 §6.2.1)."""
    request = b"\0\1\0\0" + bytes.fromhex("2112a442") + bytes(12)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.1)
        sock.connect((errand["address"], errand["port"]))
        for _ in range(errand["times"]):
            try:
                sock.send(request)
                sock.recv(2048)
            except (TimeoutError, ConnectionRefusedError):
                continue
            say({"answers": True})
            return
    say({"answers": False})


def round_trip(errand: dict[str, Any]) -> None:
    """Milliseconds that a TCP connection takes to open, which is one round trip; the best of a few."""
    took = []
    for _ in range(ROUND_TRIPS):
        began = perf_counter()
        with socket.create_connection((errand["address"], errand["port"]), timeout=5):
            took.append((perf_counter() - began) * 1000)
    say({"milliseconds": min(took)})


async def simulator(errand: dict[str, Any]) -> None:
    """The embedded server, on request with an ICE agent that ignores role conflicts, as pion did once."""
    import trio

    from neko_trio.simulator import _ice, _ice_path, open_simulator

    class Stubborn(_ice.ServerAgent):
        """Drops what claims the controlling role, ignores the refusal of its own claims, and pings on at its ticks."""

        refused = False

        def request_received(self, message: Any, addr: tuple[str, int], protocol: Any) -> None:
            if "ICE-CONTROLLING" not in message.attributes:
                super().request_received(message, addr, protocol)

        def switch_role(self, ice_controlling: bool) -> None:
            self.refused = not ice_controlling

        def _ping(self, pair: Any, *, nominate: bool = False) -> None:
            refused, self.refused = self.refused, False
            if not refused:  # else the base class asks again at once, in its other role
                super()._ping(pair, nominate=nominate)

    if errand["stubborn"]:
        setattr(_ice_path, "ServerAgent", Stubborn)  # noqa: B010 - not a name it exports; this process serves one row
    async with open_simulator(host=errand["address"], port=errand["port"], password=PASSWORD):
        say({"serving": True})
        await trio.sleep_forever()


def main() -> None:
    import trio

    errand = json.loads(sys.argv[1])
    match errand["errand"]:
        case "connect":
            trio.run(connect_many, errand)
        case "watch":
            trio.run(watch, errand)
        case "simulator":
            trio.run(simulator, errand)
        case "rival":
            rival(errand)
        case "probe":
            probe(errand)
        case "round_trip":
            round_trip(errand)
        case other:
            raise SystemExit(f"no such errand: {other}")


if __name__ == "__main__":
    main()

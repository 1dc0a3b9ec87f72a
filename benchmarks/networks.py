"""How long does a connect take on every network that a user has, against a real server, and beside plain aiortc?

    sudo python benchmarks/networks.py --neko ~/neko                      # every row, 50 connects each
    sudo python benchmarks/networks.py --neko ~/neko --rows default,nat,tcpmux-only -n 300 --rival-n 20
    python benchmarks/networks.py --list

Each row is a server's configuration, a network and what the client is asked. The script makes that network out of
network namespaces, starts the server (the binary given by ``--neko``), an X server and a TURN server (coturn) in it,
connects from the client's namespace, and removes all of it again. It looks at what the network counted and at the path
used, so that a row is what it says. Times are milliseconds from the WebSocket's dial, the login not counted; the first
connect of each row warms up and is left out. A table goes to standard error, the figures as JSON to standard output.

Exit code 1: a row missed its goal, failed, hung, or was not what it says. A row whose program is missing is skipped
and says so. The server is built from its source, https://github.com/m1k1o/neko: ``cd server && go build ./cmd/neko``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from connect import summary
from netlab import (
    STUN_PORT,
    TLS_PORT,
    Lab,
    LabError,
    Program,
    end,
    missing_programs,
    open_lab,
    remove_leftovers,
    running,
)
from netrows import (
    CODEC_ENCODERS,
    FAILS_MS,
    ROWS,
    TURN_PASSWORD,
    TURN_USER,
    Row,
    pipeline,
    stun,
)

from neko_trio._timeline import MARKS

PORT = 18130
REFERENCE_PORT = 18131
SILENCE = 30.0
"""Seconds without a line from a client, after which it hangs and is killed."""
FAILING_CONNECTS = 3
"""Connects of a row that cannot connect."""
STEPS = MARKS[MARKS.index("dial") :]


@dataclass(slots=True)
class Workshop:
    """What all rows share."""

    arguments: argparse.Namespace
    home: Path
    display: str
    elements: frozenset[str]
    turnserver: bool
    authority: Path
    """The certificate of the TURN server, which is its own authority."""
    key: Path


@dataclass(slots=True)
class Taken:
    """What a client told of one target."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    hung: bool = False

    def milliseconds(self, mark: str) -> list[float]:
        return [run["marks"][mark] for run in self.runs if mark in run["marks"]]

    def figures(self) -> dict[str, Any]:
        marks = {mark: self.milliseconds(mark) for mark in ("connected", "first_frame")}
        failed = Counter(failure["failure"] for failure in self.failures)
        return {
            "connects": len(self.runs),
            "failures": dict(failed),
            "failed_after_ms": round(max((failure["after"] for failure in self.failures), default=0.0)) or None,
            "hung": self.hung,
            **{mark: rounded(values) for mark, values in marks.items() if values},
        }


def rounded(values: list[float]) -> dict[str, float]:
    return {key: round(value, 2) for key, value in summary(values).items()}


# -- the programs of a row


def why_not(row: Row, shop: Workshop) -> str | None:
    """Why this row cannot be measured here; ``None`` when it can."""
    if row.turn and not shop.turnserver:
        return "turnserver is not installed (Debian: apt install coturn)"
    if row.encoder and encoder_for(row, shop) is None:
        return f"no GStreamer element for {row.codec}: {', '.join(CODEC_ENCODERS[row.codec])}"
    if row.network.delay and not Path("/dev/net/tun").exists():
        return "this kernel has no TUN device (/dev/net/tun)"
    return None


def encoder_for(row: Row, shop: Workshop) -> str | None:
    return next((name for name in CODEC_ENCODERS[row.codec] if name in shop.elements), None)


def server_command(row: Row, lab: Lab, shop: Workshop, port: int) -> list[str]:
    where = lab.address("server")
    front = row.frontend if row.frontend is not None else (stun(),)
    back = row.backend if row.backend is not None else front
    announced = where if row.announced == "" else row.announced
    command = [
        *(str(shop.arguments.neko), "serve", "--legacy=false", "--desktop.input.enabled=false"),
        *("--server.bind", f"[{where}]:{port}" if ":" in where else f"{where}:{port}"),
        *("--webrtc.ip_retrieval_url", ""),
        *("--webrtc.iceservers.frontend", json.dumps(front), "--webrtc.iceservers.backend", json.dumps(back)),
        *(("--webrtc.nat1to1", announced) if announced else ()),
        *row.flags,
    ]
    if row.encoder:
        encoder = encoder_for(row, shop)
        assert encoder is not None
        command += ["--capture.video.codec", row.codec.lower()]
        command += ["--capture.video.pipeline", pipeline(encoder, shop.display)]
    return lab.inside("server", *command)


def errand(lab: Lab, host: str, name: str, **what: Any) -> list[str]:
    script = str(Path(__file__).with_name("netclient.py"))
    return lab.inside(host, sys.executable, script, json.dumps({"errand": name, **what}))


@asynccontextmanager
async def open_server(row: Row, lab: Lab, shop: Workshop, port: int, name: str) -> AsyncIterator[Program]:
    environment = {"DISPLAY": shop.display, "HOME": str(shop.home), "XDG_RUNTIME_DIR": str(shop.home)}
    if row.simulator:
        what = {"address": lab.address("server"), "port": port, "stubborn": row.simulator == "stubborn"}
        command, ready = errand(lab, "server", "simulator", **what), "serving"
    else:
        command, ready = server_command(row, lab, shop, port), "neko ready"
    async with running(name, command, ready=ready, env=environment) as program:
        yield program


@asynccontextmanager
async def open_relay(lab: Lab, shop: Workshop) -> AsyncIterator[None]:
    """coturn, answering. It is the STUN server of all rows, too."""
    where = lab.turn_address
    command = [
        *("turnserver", "-n", "--no-cli", "--no-dtls", "--fingerprint", "--lt-cred-mech", "--realm=lab"),
        *("--log-file=stdout", "--allow-loopback-peers", f"--pidfile={shop.home}/turnserver.pid"),
        *(f"--listening-ip={where}", f"--relay-ip={where}", f"--listening-port={STUN_PORT}"),
        *(f"--tls-listening-port={TLS_PORT}", f"--cert={shop.authority}", f"--pkey={shop.key}"),
        *("--min-port=49160", "--max-port=49400", f"--user={TURN_USER}:{TURN_PASSWORD}"),
    ]
    async with running("turnserver", lab.inside("relay", *command), ready="admin thread"):
        answer = await ask(errand(lab, "relay", "probe", address=where, port=STUN_PORT, times=100))
        if not answer["answers"]:
            raise LabError("turnserver does not answer")
        yield


async def ask(command: list[str]) -> dict[str, Any]:
    """The one line that an errand says."""
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode:
        raise LabError(f"{command[-1]}: {done.stderr.decode(errors='replace').strip()[-400:]}")
    line: dict[str, Any] = json.loads(done.stdout)
    return line


async def listen(command: list[str], environment: dict[str, str]) -> dict[str, Taken]:
    """All that a client says, by target. One that says nothing for SILENCE seconds hangs, and is killed."""
    taken: dict[str, Taken] = {}
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    rest = b""
    try:
        while True:
            with trio.move_on_after(SILENCE) as patience:
                part = await process.stdout.receive_some(65536)
            if patience.cancelled_caught:
                taken.setdefault("row", Taken()).hung = True
                return taken
            if not part:
                break
            *lines, rest = (rest + part).split(b"\n")
            for line in map(json.loads, lines):
                target = taken.setdefault(line["target"], Taken())
                if "failure" in line:
                    target.failures.append(line)
                elif line["number"]:
                    target.runs.append(line)
        if await process.wait():
            raise LabError(f"a client of the laboratory broke: exit code {process.returncode}, see above")
        return taken
    finally:
        with trio.CancelScope(shield=True):
            await end(process)


# -- a row


async def measure(row: Row, shop: Workshop) -> dict[str, Any]:
    """One row, all of it."""
    reference = Row(name="plain", what="", simulator="plain") if row.simulator else ROWS[0]
    trust = {"SSL_CERT_FILE": str(shop.authority)}
    count = FAILING_CONNECTS if row.goal.kind == "fails" else shop.arguments.count
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(open_lab(row.network))
        if shop.turnserver and (row.turn or row.network.route != "alone"):
            await stack.enter_async_context(open_relay(lab, shop))
        server = await stack.enter_async_context(open_server(row, lab, shop, PORT, "the server"))
        where = lab.address("server")
        shown = f"[{where}]" if ":" in where else where
        targets = {"row": f"http://{shown}:{PORT}"}
        if row.paired:
            await stack.enter_async_context(open_server(reference, lab, shop, REFERENCE_PORT, "the reference"))
            targets["reference"] = f"http://{shown}:{REFERENCE_PORT}"
        trip = (await ask(errand(lab, "client", "round_trip", address=where, port=PORT)))["milliseconds"]
        what = {"targets": targets, "relay_only": row.relay_only, "take_control": not shop.arguments.no_control}
        if row.watched:
            watcher = errand(lab, "client", "watch", **what)
            await stack.enter_async_context(running("the other watcher", watcher, ready="watching"))
        taken = await listen(errand(lab, "client", "connect", count=count, **what), trust)
        counters = await lab.counters()
        rival = Taken()
        if shop.arguments.rival_count:
            wanted = min(shop.arguments.rival_count, count)
            patience = shop.arguments.rival_patience
            asked = errand(lab, "client", "rival", count=wanted, patience=patience, **what)
            rival = (await listen(asked, trust)).get("row", rival)
        complaints = server.complaints()
    result = judged(row, taken, counters, trip)
    if shop.arguments.rival_count:
        result["rival_aiortc"] = rival.figures() | {"patience_s": shop.arguments.rival_patience}
    if result["problems"]:
        result["server_complaints"] = complaints
    return result


def judged(row: Row, taken: dict[str, Taken], counters: dict[str, int], trip: float) -> dict[str, Any]:
    """The row's figures, and what is wrong with them."""
    own = taken.get("row", Taken())
    figures = own.figures()
    result = {"what": row.what, "goal": str(row.goal), **figures, "round_trip_ms": round(trip, 3)}
    problems = list(goal_problems(row, own, taken.get("reference")))
    problems += [f"not what it says: {problem}" for problem in proof_problems(row, own, counters, trip)]
    if "reference" in taken:
        result["reference"] = taken["reference"].figures()
        result["ratio"] = ratio(own, taken["reference"])
    if row.network.delay and own.runs:
        result["round_trips"] = {
            mark: round(statistics.median(own.milliseconds(mark)) / trip, 2) for mark in ("connected", "first_frame")
        }
    result["steps"] = steps(own)
    result["collections"] = collections(own)
    result["pairs"] = dict(Counter(path(run) for run in own.runs))
    result["codecs"] = dict(Counter(str(run["codec"]) for run in own.runs))
    result["roles_given_back"] = sum(run["role_given_back"] for run in own.runs)
    result["gathering_errors"] = dict(Counter(error for run in own.runs for error in run["gathering_errors"]))
    result["packets"] = counters
    result["problems"] = problems
    return result


def goal_problems(row: Row, own: Taken, reference: Taken | None) -> list[str]:
    """Where the row misses its goal."""
    if own.hung:
        return [f"hangs: nothing heard for {SILENCE:g} s"]
    if row.goal.kind == "fails":
        late = [one for one in own.failures if one["after"] > FAILS_MS]
        unnamed = [one for one in own.failures if not one["failure"].startswith("IceFailed")]
        return [
            *(["connects, though nothing leads there"] if own.runs else []),
            *(["did not even try"] if not own.failures else []),
            *(f"fails after {one['after'] / 1000:.1f} s" for one in late),
            *(f"fails as {one['failure'][:80]}" for one in unnamed),
        ]
    found = [f"{len(own.failures)} failed"] if own.failures else []
    if not own.runs:
        return [*found, "never connects"]
    if row.goal.kind == "within":
        median = statistics.median(own.milliseconds("connected"))
        found += [f"connected after {median:.1f} ms"] if median > row.goal.limit else []
    elif row.goal.kind == "ratio":
        by = ratio(own, reference)
        found += ["the default row beside it failed"] if by is None else []
        found += (
            [f"connected after {by:.2f} x the default row's time"] if by is not None and by > row.goal.limit else []
        )
    return found


def ratio(own: Taken, reference: Taken | None) -> float | None:
    """Medians of connected, by the reference's."""
    if reference is None or not own.runs or not reference.runs:
        return None
    medians = [statistics.median(one.milliseconds("connected")) for one in (own, reference)]
    return round(medians[0] / medians[1], 3)


def proof_problems(row: Row, own: Taken, counters: dict[str, int], trip: float) -> list[str]:
    """Why the row is not what it says."""
    found = [f"expected {proof}" for proof in row.proofs if not proof.holds(counters)]
    low, high = row.round_trip
    if not low <= trip <= high:
        found.append(f"a round trip takes {trip:.1f} ms")
    wrong = Counter(path(run) for run in own.runs if not fits(row, run["pair"]))
    found += [f"{count} used {pair}" for pair, count in wrong.items()]
    codecs = {str(run["codec"]) for run in own.runs} - {row.codec}
    return [*found, *(f"the codec was {codec}" for codec in sorted(codecs))]


def fits(row: Row, pair: dict[str, str] | None) -> bool:
    return pair is not None and all(pair[name].startswith(begin) for name, begin in row.pair.items())


def path(run: dict[str, Any]) -> str:
    pair = run["pair"]
    return "no pair" if pair is None else f"{pair['local_type']} to {pair['remote_type']} over {pair['protocol']}"


def steps(own: Taken) -> dict[str, dict[str, float]]:
    """How long each step took, in milliseconds since the mark before it in the order of the handshake."""
    took: dict[str, list[float]] = {}
    for run in own.runs:
        marks = [name for name in STEPS if name in run["marks"]]
        for before, name in pairwise(marks):
            took.setdefault(name, []).append(run["marks"][name] - run["marks"][before])
    return {name: rounded(values) for name, values in took.items()}


def collections(own: Taken) -> dict[str, Any]:
    """Garbage collections of a millisecond or more between the dial and the first frame, by generation, and how much of
    each step's time they took in the connects that they hit."""
    by_generation: dict[str, list[float]] = {}
    hit: Counter[str] = Counter()
    for run in own.runs:
        ordered = sorted(run["marks"].items(), key=lambda mark: mark[1])
        for pause in run["collections"]:
            if pause["ms"] < 1 or not 0 <= pause["at"] <= run["marks"].get("first_frame", 0):
                continue
            by_generation.setdefault(f"generation {pause['generation']:g}", []).append(pause["ms"])
            hit[next((name for name, at in ordered if at > pause["at"]), "first_frame")] += 1
    return {
        "steps_hit": dict(hit),
        **{name: {"count": len(values), **rounded(values)} for name, values in sorted(by_generation.items())},
    }


# -- all of them


@asynccontextmanager
async def open_workshop(arguments: argparse.Namespace) -> AsyncIterator[Workshop]:
    import shutil

    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="neko-lab-")))
        screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "1920x1080x24", "+extension", "RANDR", "-noreset"]
        xvfb = await stack.enter_async_context(running("Xvfb", [*screen, "-nolisten", "tcp"], ready=r"^\d+$"))
        display = f":{next(line for line in reversed(xvfb.lines) if line.strip().isdigit()).strip()}"
        if shutil.which("xterm"):  # something to encode
            busy = [
                "sh",
                "-c",
                "echo drawing; exec xterm -geometry 100x30+50+50 -e sh -c 'while true; do date +%N; sleep 0.05; done'",
            ]
            await stack.enter_async_context(running("xterm", busy, ready="drawing", env={"DISPLAY": display}))
        authority, key = home / "authority.pem", home / "key.pem"
        write_certificate(authority, key, ("10.71.3.2",))
        yield Workshop(
            arguments,
            home,
            display,
            frozenset(await trio.to_thread.run_sync(installed_elements)),
            shutil.which("turnserver") is not None,
            authority,
            key,
        )


def installed_elements() -> list[str]:
    """Which of the encoders' GStreamer elements are installed. Asked in a process of its own, which may crash."""
    names = [name for encoders in CODEC_ENCODERS.values() for name in encoders]
    code = (
        "import ctypes, sys\n"
        "gst = ctypes.CDLL('libgstreamer-1.0.so.0')\n"
        "gst.gst_init(None, None)\n"
        "gst.gst_element_factory_find.restype = ctypes.c_void_p\n"
        "gst.gst_element_factory_find.argtypes = [ctypes.c_char_p]\n"
        "print(*[name for name in sys.argv[1:] if gst.gst_element_factory_find(name.encode())])"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    return done.stdout.split()


def write_certificate(certificate: Path, key: Path, addresses: tuple[str, ...]) -> None:
    """A self-signed certificate for these IP addresses, and its key."""
    import datetime
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "neko-lab")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in addresses]), False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    unprotected = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.touch(mode=0o600)
    key.write_bytes(private.private_bytes(pem, pkcs8, unprotected))


async def all_rows(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every row asked for, in order. A signal ends it early, and all of it."""
    results: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(end_by_signal, nursery.cancel_scope)
        await remove_leftovers()
        async with open_workshop(arguments) as shop:
            say(HEADER)
            for row in arguments.rows:
                reason = why_not(row, shop)
                results[row.name] = result = {"what": row.what, "skipped": reason}
                if reason is None:
                    try:
                        result |= await measure(row, shop)
                    except* LabError as group:
                        result["problems"] = [f"the laboratory: {error}" for error in leaves(group)]
                say(table_line(row, result))
        nursery.cancel_scope.cancel()
    return {
        "rows": results,
        "ended_early": len(results) < len(arguments.rows),
        "take_control": not arguments.no_control,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("neko-trio", "trio", "aiortc", "aioice", "av", "anyio")},
        },
        "processors": os.cpu_count(),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group of groups."""
    found = [leaves(one) if isinstance(one, BaseExceptionGroup) else [one] for one in group.exceptions]
    return [error for errors in found for error in errors]


async def end_by_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _number in signals:
            scope.cancel()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


HEADER = f"{'row':<22}{'connected':>10}{'p99':>8}{'frame':>9}{'p99':>8}{'ratio':>7}{'n':>5}  {'aiortc':<24}goal"


def table_line(row: Row, result: dict[str, Any]) -> str:
    """The row in the table: figures, the rival's, and whether the goal was met."""
    if result.get("skipped"):
        return f"{row.name:<22}skipped: {result['skipped']}"
    line = f"{row.name:<22}"
    for mark, width in (("connected", 10), ("first_frame", 9)):
        for key, wide in (("median", width), ("p99", 8)):
            line += f"{result[mark][key]:{wide}.1f}" if mark in result else f"{'-':>{wide}}"
    line += f"{result['ratio']:7.2f}" if result.get("ratio") else " " * 7
    line += f"{result.get('connects', 0):5}  {rival_cell(result.get('rival_aiortc')):<24}"
    line += "missed: " + "; ".join(result["problems"]) if result["problems"] else f"ok: {row.goal}"
    if row.goal.kind == "fails" and not result["problems"]:
        line += f" ({result['failed_after_ms'] / 1000:.1f} s)"
    if "round_trips" in result:
        line += " ({connected} and {first_frame} round trips)".format(**result["round_trips"])
    return line


def rival_cell(rival: dict[str, Any] | None) -> str:
    if rival is None:
        return ""
    if not rival["connects"]:
        why = next(iter(rival["failures"]), "nothing").split(":")[0]
        return "hangs" if rival["hung"] or why == "TimeoutError" else why[:22]
    failed = sum(rival["failures"].values())
    return f"{rival['connected']['median']:.0f} / {rival['first_frame']['median']:.0f}" + (
        f", {failed} failed" if failed else ""
    )


def rows_named(text: str) -> list[Row]:
    by_name = {row.name: row for row in ROWS}
    unknown = [name for name in text.split(",") if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(unknown)} (see --list)")
    return [by_name[name] for name in text.split(",")]


def neko_binary(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not os.access(path, os.X_OK) or path.is_dir():
        hint = "build one from https://github.com/m1k1o/neko with: cd server && go build -o neko ./cmd/neko"
        raise argparse.ArgumentTypeError(f"{text} is no program; {hint}")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--neko", type=neko_binary, metavar="PATH", help="a built server (see the end of this script's docstring)"
    )
    parser.add_argument("--rows", type=rows_named, default=list(ROWS), metavar="A,B", help="only these rows")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("-n", "--count", type=int, default=50, help="connects a row, besides the one that warms up")
    parser.add_argument("--rival-n", dest="rival_count", type=int, default=5, help="of plain aiortc; 0 leaves it out")
    parser.add_argument("--rival-patience", type=float, default=12.0, metavar="S", help="seconds until it hangs")
    parser.add_argument("--no-control", action="store_true", help="with IceOptions(take_control=False)")
    parser.add_argument("--json", metavar="FILE", default="-", help="the figures (- is standard output, the default)")
    arguments = parser.parse_args()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:<22}{row.what} [{row.goal}]")
        return 0
    if arguments.neko is None:
        parser.error("--neko PATH is needed: " + " ".join((__doc__ or "").split("\n\n")[-1].split()))
    problem = missing_programs()
    if problem:
        parser.error(problem)
    result = trio.run(all_rows, arguments)
    if result["ended_early"]:
        say("ended early: everything that was started is ended and removed")
    text = json.dumps(result, indent=2)
    if arguments.json == "-":
        print(text)
    else:
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    failed = result["ended_early"] or any(row.get("problems") for row in result["rows"].values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The workshop of all rows, and the programs of one: the server, the relay, what runs on the client's machine."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from netlab.lab import PREFIX, STUN_PORT, TLS_PORT, Lab, open_screen_namespace
from netlab.programs import LabError, Program, running
from netlab.row import Row
from netlab.rows import CODEC_ENCODERS, TURN_PASSWORD, TURN_USER, pipeline, stun


@dataclass(slots=True)
class Workshop:
    """What all rows share."""

    arguments: argparse.Namespace
    home: Path
    screen: Program
    display: str
    elements: frozenset[str]
    turnserver: bool
    authority: Path
    """The certificate of the TURN server, which is its own authority."""
    key: Path


def why_not(row: Row, shop: Workshop) -> str | None:
    """Why this row cannot be measured here; ``None`` when it can."""
    if not shop.turnserver and not row.simulator:
        return "turnserver, the STUN and TURN server, is not installed (Debian: apt install coturn)"
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
    """The command that runs an errand of ``netlab.client`` on a machine."""
    places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    python = ["env", f"PYTHONPATH={os.pathsep.join(places)}", sys.executable, "-P", "-m", "netlab.client"]
    return lab.inside(host, *python, json.dumps({"errand": name, **what}))


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


@asynccontextmanager
async def open_workshop(arguments: argparse.Namespace) -> AsyncIterator[Workshop]:
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix=f"{PREFIX}-{os.getpid()}-")))
        apart = await stack.enter_async_context(open_screen_namespace())
        xvfb, display = await stack.enter_async_context(open_screen(apart))
        if shutil.which("xterm"):  # something to encode
            busy = [
                *apart,
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
            xvfb,
            display,
            frozenset(await trio.to_thread.run_sync(installed_elements)),
            shutil.which("turnserver") is not None,
            authority,
            key,
        )


@asynccontextmanager
async def open_screen(apart: list[str]) -> AsyncIterator[tuple[Program, str]]:
    """An X server, and its display, which no other has."""
    with socket.socket(socket.AF_UNIX) as claim:
        display = f":{claim_display(claim)}"
        command = ["Xvfb", display, "-displayfd", "1", "-screen", "0", "1920x1080x24", "+extension", "RANDR"]
        everything = [*apart, *command, "-noreset", "-nolisten", "tcp"]
        async with running("Xvfb", everything, ready=rf"^{display[1:]}$") as screen:
            yield screen, display


def claim_display(claim: socket.socket) -> int:
    """The number of a display that is free, and ours as long as ``claim`` is open.

    An X server that is to say when it is ready (``-displayfd``) takes no lock, and would remove the socket of another
    that has the same number in another network namespace. So laboratories agree by a name that only one can bind.
    """
    for number in range(740, 900):
        if os.path.exists(f"/tmp/.X{number}-lock"):
            continue
        try:
            claim.bind(f"\0neko-lab-display-{number}")
        except OSError:
            continue
        return number
    raise LabError("no X display is free")


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

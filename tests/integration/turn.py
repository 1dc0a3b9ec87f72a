"""A TURN server of the test's own: coturn, on a free port of an address of this machine."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

INSTALLED = shutil.which("turnserver") is not None
READY_WITHIN = 10.0
"""Seconds that coturn may take to answer its first request."""
RETRANSMISSION = 0.1
"""Seconds between two binding requests, as STUN has no other way to ask whether a server is there (RFC 8489 §6.2.1)."""


@dataclass(frozen=True, slots=True)
class TurnServer:
    """Where it is and who may use it."""

    address: str
    port: int
    username: str
    password: str = field(repr=False)
    tls_port: int | None = None

    def ice_server(self, *, url: str | None = None, password: str | None = None) -> Mapping[str, object]:
        """As a Neko server's configuration names it."""
        return {
            "urls": [url or f"turn:{self.address}:{self.port}"],
            "username": self.username,
            "credential": self.password if password is None else password,
        }


def free_port(address: str) -> int:
    """A port that is free for UDP and TCP now."""
    for _ in range(20):  # a port that is free for one may be taken for the other
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((address, 0))
            port = int(udp.getsockname()[1])
            with contextlib.suppress(OSError):
                tcp.bind((address, port))
                return port
    raise OSError(f"no port of {address} is free for UDP and TCP")


@asynccontextmanager
async def open_turn_server(
    address: str = "127.0.0.1", *, certificate: bytes | None = None
) -> AsyncIterator[TurnServer]:
    """Start coturn; yield when it answers; end it with the block. ``certificate``: with its key, as PEM, for TLS."""
    tls_port = None if certificate is None else free_port(address)
    turn = TurnServer(address, free_port(address), "relay", secrets.token_hex(8), tls_port)
    with TemporaryDirectory() as home:
        tls = ["--no-tls"]
        if certificate is not None:
            pem = Path(home, "certificate.pem")
            await trio.Path(pem).write_bytes(certificate)
            tls = ["--tls-listening-port", str(tls_port), "--cert", str(pem), "--pkey", str(pem)]
        command = [
            *("turnserver", "-n", "--no-cli", *tls, "--no-dtls", "--fingerprint", "--lt-cred-mech"),
            *("--listening-ip", address, "--relay-ip", address, "--listening-port", str(turn.port)),
            *("--realm", "neko-trio", "--user", f"{turn.username}:{turn.password}", "--allow-loopback-peers"),
            *("--log-file", "stdout", "--userdb", str(Path(home, "db")), "--pidfile", str(Path(home, "pid"))),
        ]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home
        )
        try:
            with trio.fail_after(READY_WITHIN):
                await _answers(turn)
            yield turn
        finally:
            with trio.CancelScope(shield=True):  # it ends at once
                process.send_signal(signal.SIGKILL)
                await process.wait()


async def _answers(turn: TurnServer) -> None:
    """Ask until it answers: a binding request without attributes (RFC 8489 §5)."""
    request = bytes.fromhex("000100002112a442") + secrets.token_bytes(12)
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as asker:
        await asker.connect((turn.address, turn.port))
        while True:
            with contextlib.suppress(ConnectionRefusedError), trio.move_on_after(RETRANSMISSION):
                await asker.send(request)
                answer = await asker.recv(2048)
                if answer[8:20] == request[8:20]:
                    return
                continue
            await trio.sleep(RETRANSMISSION)  # refused at once: wait for the time of the next request

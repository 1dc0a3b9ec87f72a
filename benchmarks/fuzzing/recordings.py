"""What a real server sent: what all inputs are made of."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[2] / "tests" / "recordings"


@cache
def lines() -> tuple[dict[str, Any], ...]:
    """Every line of every recording."""
    found = []
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(found)


@cache
def messages() -> tuple[dict[str, Any], ...]:
    """The server's WebSocket messages, each once."""
    kept: dict[str, dict[str, Any]] = {}
    for line in lines():
        if line.get("dir") == "recv" and line.get("kind") == "ws" and isinstance(line.get("event"), str):
            message = {"event": line["event"]}
            if "payload" in line:
                message["payload"] = line["payload"]
            kept[json.dumps(message, sort_keys=True)] = message
    return tuple(kept.values())


def payloads(event: str) -> list[Any]:
    """The payloads of one event."""
    return [message["payload"] for message in messages() if message["event"] == event and "payload" in message]


@cache
def offers() -> tuple[str, ...]:
    """The offers, each once."""
    found = [
        payload["sdp"] for name in ("signal/provide", "signal/offer", "signal/restart") for payload in payloads(name)
    ]
    return tuple(dict.fromkeys(found))


@cache
def answers() -> tuple[tuple[int, Any], ...]:
    """The REST answers: status and body, ``None`` for none."""
    found = [(line["status"], line.get("body")) for line in lines() if line.get("kind") == "http" and "status" in line]
    return tuple(found)


@cache
def data_messages() -> tuple[bytes, ...]:
    """What the server sent over the data channel."""
    found = [bytes.fromhex(each["hex"]) for each in lines() if each.get("kind") == "dc" and each.get("dir") == "recv"]
    return tuple(dict.fromkeys(found))


@cache
def packets(codec: str) -> tuple[bytes, ...]:
    """Three seconds of RTP, as they came; the format is in the recordings' README."""
    data, at, found = (RECORDINGS / f"rtp-{codec.lower()}-720p.bin").read_bytes(), 0, []
    while at < len(data):
        size = struct.unpack_from(">IH", data, at)[1]
        found.append(data[at + 6 : at + 6 + size])
        at += 6 + size
    return tuple(found)


@cache
def microphone() -> tuple[str, ...]:
    """Answers of the server to a client's offer."""
    found: list[str] = []

    def gather(value: Any) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                gather(inner)
        elif isinstance(value, list):
            for inner in value:
                gather(inner)
        elif isinstance(value, str) and value.startswith("v=0"):
            found.append(value)

    gather(json.loads((RECORDINGS / "microphone.json").read_text(encoding="utf-8")))
    return tuple(dict.fromkeys(found))

"""Messages that should not be: what both rigs have a server say."""

from __future__ import annotations

import json
from typing import Any

GARBAGE_TEXT: tuple[str, ...] = (
    "",
    "{bad",
    "null",
    "[]",
    '"system/init"',
    "17",
    "{}",
    '{"event":5}',
    '{"event":"\\ud800","payload":{}}',
    '{"event":"no/such","payload":{"x":[1,2,3]}}',
    '{"payload":{"session_id":"agent-1"}}',
    '{"event":"control/host"}',
    "[" * 10_000,
    "\x00\x01\x02",
)
GARBAGE_BINARY: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xff\xfe\xfd" * 100,
    bytes(range(256)) * 16,
    b'{"event":"no/such","payload":{}}',
    b'{"event":"control/host","payload":5}',
)
GARBAGE_DATA: tuple[bytes, ...] = (
    b"",
    b"\x01",
    b"\xff\x00\x05hello",
    b"\x02\xff\xff" + bytes(20),
    b"\x03\x00\x13short",
    b"\x02\x00\x0f\x00\x10\x00\x10\x00\x00\x00\x00not a PNG",
)
_WRONG: tuple[Any, ...] = (
    None,
    5,
    "text",
    [],
    [{}],
    {"id": 5},
    {"id": [], "sessions": 7, "sdp": {}, "candidate": 1, "text": {}},
)
_EVENTS = (
    "system/admin",
    "system/settings",
    "session/created",
    "session/deleted",
    "session/profile",
    "session/state",
    "session/cursors",
    "control/host",
    "control/request",
    "screen/updated",
    "clipboard/updated",
    "broadcast/status",
    "send/unicast",
    "send/broadcast",
    "file_chooser_dialog/opened",
    "chat/init",
    "chat/message",
    "filetransfer/update",
    "openinapp/init",
    "signal/video",
    "signal/candidate",
    "signal/offer",
    "signal/answer",
)


def message(event: str, payload: object) -> str:
    """A message as it stands on the WebSocket."""
    return json.dumps({"event": event, "payload": payload})


WRONG_TYPES: tuple[str, ...] = tuple(
    message(event, payload)
    for event in _EVENTS
    for payload in _WRONG
    if (event, payload) != ("session/cursors", [])  # which is right: nobody's cursor is shown
)
AWAITED: dict[str, str] = {
    "init": message("system/init", {"session_id": 5, "sessions": []}),
    "offer": message("signal/provide", {"sdp": 5}),
    "video_enable": message("signal/video", {"disabled": "no"}),
}
"""By step: the message that is due, with a payload of the wrong shape."""


def large(megabytes: int) -> str:
    """A message of that size that means nothing to a client."""
    return message("no/such", "x" * (megabytes * 2**20))

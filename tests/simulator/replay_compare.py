"""Compares what a server said now with what the recorded one said: the declared normalisation and freedom of law 8.

*Normalised*: session ids, times, tokens, SDP secrets and numbers, ports, the pictures of cursors, and what belongs to
the recorded machine (its addresses, its X modes, its other sessions, its totals).  Everything else is compared as it
is, types too.

*Free*: the order between messages whose order the real server leaves to its threads (`FREE`): two histories are equal
when they differ only in such neighbours, that is when, for every two names that are not free, the messages of these
two names come in the same order in both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

PLUGINS = frozenset({"chat/init", "filetransfer/update", "openinapp/init"})
SIGNALS = frozenset(
    {"signal/candidate", "signal/provide", "signal/video", "signal/audio", "signal/restart", "session/state"}
)
FREE = (
    PLUGINS | {"session/created", "session/state"},  # each plugin greets by itself
    SIGNALS,  # candidates, the streams' answers and the connection's state come from threads of their own
    frozenset({"system/disconnect", "session/state"}),
)
CLOCKED = frozenset({"system/heartbeat"})
"""Comes by the clock: counted as there or not, anywhere."""
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")


def normal(message: dict[str, Any], ids: dict[str, str], *, recorded: bool) -> dict[str, Any] | None:
    """A message ready to be compared; None for one about sessions that the recording is not about."""
    kept = {key: value for key, value in message.items() if key not in ("t", "dir", "kind", "who")}
    names = {(old if recorded else new): f"<session {index}>" for index, (old, new) in enumerate(ids.items())}
    text = json.dumps(kept)
    for session_id, placeholder in names.items():
        text = text.replace(session_id, placeholder)
    kept = json.loads(text)
    payload = kept.get("payload")
    if kept.get("event", "").startswith("session/") and not str(payload["id"]).startswith("<session"):
        return None
    if "opening" in kept:
        return {"hex": "01<where the pointer stood when the channel opened>"}
    if "hex" in kept:
        return {"hex": _data(bytes.fromhex(kept["hex"]))}
    shown = {key: _value(key, value) for key, value in kept.items()}
    if kept.get("event") == "signal/candidate":
        # Whose it is: candidates of one gathering are a set, those of the next another one.
        shown["gathering"] = payload["candidate"].rpartition("ufrag ")[2]
    return shown


def _value(key: str, value: Any) -> Any:
    match value:
        case dict() if key == "sessions":
            return {name: _value("", each) for name, each in value.items() if name.startswith("<session")}
        case {"is_active": False} if key == "broadcast_status":
            return {"is_active": False}  # where it went to before stays there for ever
        case dict():
            return {name: _value(name, each) for name, each in value.items()}
        case list() if key == "screen_sizes_list" or _is_sizes(value):
            return "<sizes>"
        case list() if key == "urls":
            # Which address a server's ICE servers have is its own affair, as with candidates.
            return [re.sub(r"^(\w+:)[\w.-]+", r"\1<address>", str(url)) for url in value]
        case list():
            return [_value("", each) for each in value]
        case str() if key == "sdp":
            return sdp_lines(value)
        case str() if key == "candidate":
            return _candidate(value)
        case str() if key == "token":
            return "<token>"
        case str() if key == "set_cookie":
            return re.sub(r"=[^;]*; Expires=[^;]*", "=<token>; Expires=<time>", value)
        case str() if key.endswith(("_since", "_at")) or key == "created":
            return "<time>" if _TIME.match(value) else value
        case int() if key.startswith("total_"):
            return "<total>"
    return value


def _is_sizes(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(each, dict) and set(each) == {"width", "height", "rate"} for each in value)


def sdp_lines(sdp: str) -> list[str]:
    """The lines of a session description, without what is drawn by lot."""
    shown = sdp
    for pattern, replacement in (
        (r"(?m)^o=- \d+ \d+ ", "o=- <id> <version> "),
        (r"(?m)^a=fingerprint:sha-256 [0-9A-F:]{95}", "a=fingerprint:sha-256 <fingerprint>"),
        (r"(?m)^a=ice-ufrag:[A-Za-z+/0-9]{4,}", "a=ice-ufrag:<ufrag>"),
        (r"(?m)^a=ice-pwd:[A-Za-z+/0-9]{22,}", "a=ice-pwd:<pwd>"),
        (r"(?m)^a=ssrc:\d+ ", "a=ssrc:<ssrc> "),
    ):
        shown = re.sub(pattern, replacement, shown)
    lines = shown.split("\r\n")
    # pion keeps header extensions in a map: their order differs from one offer to the next.
    places = [index for index, line in enumerate(lines) if line.startswith("a=extmap:")]
    shown_lines = list(lines)
    for section in _sections(lines):
        inside = [index for index in places if index in section]
        for index, line in zip(inside, sorted(lines[index] for index in inside), strict=True):
            shown_lines[index] = line
    # Which candidates have been found when a description is written is a race; all are trickled anyway.
    return [line for line in shown_lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]


def _sections(lines: list[str]) -> list[range]:
    starts = [0, *(index for index, line in enumerate(lines) if line.startswith("m=")), len(lines)]
    return [range(start, end) for start, end in pairwise(starts)]


def _candidate(text: str) -> str:
    """A candidate by its form: which addresses a server has is its own affair."""
    shown = re.sub(r"(candidate:)\d+ (\d) (udp|tcp) \d+ \S+ \d+ ", r"\1<foundation> \2 \3 <priority> <address> ", text)
    shown = re.sub(r"raddr \S+ rport \d+", "raddr <address> rport <port>", shown)
    return re.sub(r"ufrag [A-Za-z]+", "ufrag <ufrag>", shown)


def _data(message: bytes) -> str:
    """A data-channel message: the picture of a cursor is the desktop's own, a pong's time the server's."""
    if (
        message[:1] == b"\x02"
        and message[11:19] == b"\x89PNG\r\n\x1a\n"
        and len(message) == int.from_bytes(message[1:3])
    ):
        return "<cursor image>"
    if message[:1] == b"\x03":
        return f"{message[:11].hex()}<server time>" if len(message) == 19 else message.hex()
    return message.hex()


def name_of(message: dict[str, Any]) -> str:
    if "hex" in message:
        return f"data {message['hex'][:2]}"
    return "closed" if "closed" in message else str(message.get("event", "answer"))


def differences(expected: list[dict[str, Any]], heard: list[dict[str, Any]]) -> list[str]:
    """What is missing, what is too much, and which order differs; empty when they are the same.  Both `gathered`."""
    wanted, got = _counted(expected), _counted(heard)
    found = [f"missing: {text}" for text in (wanted - got).elements()]
    found += [f"too much: {text}" for text in (got - wanted).elements() if name_of(json.loads(text)) not in CLOCKED]
    if found:
        return found
    names = sorted({name_of(message) for message in expected} - CLOCKED)
    for index, first in enumerate(names):
        for second in names[index:]:
            if first != second and any({first, second} <= group for group in FREE):
                continue
            before, now = _only(expected, first, second), _only(heard, first, second)
            if before != now:
                found.append(f"order of {first} and {second}: {before} became {now}")
    return found


def gathered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the candidates that differ from an earlier one of their gathering by their address alone."""
    kept: list[dict[str, Any]] = []
    seen: set[str] = set()
    for message in messages:
        text = json.dumps(message, sort_keys=True)
        if "gathering" not in message or text not in seen:
            kept.append({key: value for key, value in message.items() if key != "gathering"})
        seen.add(text)
    return kept


def _counted(messages: list[dict[str, Any]]) -> Counter[str]:
    counted = Counter(json.dumps(message, sort_keys=True) for message in messages)
    for text in counted:
        if name_of(json.loads(text)) in CLOCKED:
            counted[text] = 1
    return counted


def _only(messages: list[dict[str, Any]], *names: str) -> list[str]:
    """The messages of these names, in order; candidates that follow each other are a set."""
    kept: list[str] = []
    candidates: set[str] = set()
    for message in messages:
        if name_of(message) not in names:
            continue
        text = json.dumps(message, sort_keys=True)
        if name_of(message) == "signal/candidate":
            candidates.add(text)
            continue
        kept += [*sorted(candidates), text]
        candidates.clear()
    return [*kept, *sorted(candidates)]

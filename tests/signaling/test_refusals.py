from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.errors import ConnectionRejected, Kicked, LoginRefused, NekoError, Replaced
from neko_trio.signaling.refusals import refusal

RECORDINGS = Path(__file__).parent.parent / "recordings"


@pytest.mark.parametrize(
    ("message", "kind", "retryable"),
    [
        ("session not found", LoginRefused, False),
        ("session login disabled", LoginRefused, False),
        ("no authentication provided", ConnectionRejected, False),
        ("connection disabled", ConnectionRejected, False),
        ("already connected", ConnectionRejected, True),
        ("connection replaced", Replaced, False),
        ("session disconnected", Kicked, False),
        ("session deleted", Kicked, False),
        ("profile changed", ConnectionRejected, False),
        ("connection shutdown", ConnectionRejected, True),
        ("something new", ConnectionRejected, False),
    ],
)
def test_each_message_is_the_error_of_who_must_act(message: str, kind: type[NekoError], retryable: bool) -> None:
    error = refusal(message)
    assert type(error) is kind
    assert error.retryable is retryable
    assert message in str(error)
    if isinstance(error, ConnectionRejected):
        assert error.reason == message
    assert error.hint or message == "something new"


def test_every_refusal_in_the_recordings_is_a_known_one() -> None:
    messages = set()
    for path in RECORDINGS.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["dir"] == "recv" and entry.get("event") == "system/disconnect":
                messages.add(entry["payload"]["message"])
    assert len(messages) >= 4, "the recordings hold refusals"
    for message in messages:
        assert refusal(message).hint, message


@given(st.text())
def test_any_message_is_a_bounded_error(message: str) -> None:
    error = refusal(message)
    assert isinstance(error, NekoError)
    assert len(str(error)) < 2600


def test_a_long_message_is_cut_in_the_text_only() -> None:
    error = refusal("x" * 10_000)
    assert isinstance(error, ConnectionRejected)
    assert len(str(error)) < 300
    assert len(error.reason) == 10_000

"""Session descriptions: word by word the real server's offers, and answers of every kind read or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neko_trio.simulator._sdp import Description, read_description

RECORDINGS = Path(__file__).parent.parent / "recordings"
MICROPHONE: list[dict[str, Any]] = json.loads((RECORDINGS / "microphone.json").read_text())


def recorded(name: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]
    return [line["payload"] for line in lines if line.get("event") == event and "payload" in line]


def found(pattern: str, sdp: str) -> str:
    match = re.search(pattern, sdp)
    assert match
    return match[1]


def describe(sdp: str, codec: str) -> Description:
    """What would make us say the same."""
    audio, video = re.findall(r"a=ssrc:(\d+) cname", sdp)
    return Description(
        session=int(found(r"o=- (\d+)", sdp)),
        version=int(found(r"o=- \d+ (\d+)", sdp)),
        codec=codec,
        audio_ssrc=int(audio),
        video_ssrc=int(video),
        fingerprint=found(r"fingerprint:sha-256 (\S+)", sdp),
        ufrag=found(r"ice-ufrag:(\S+)", sdp),
        password=found(r"ice-pwd:(\S+)", sdp),
    )


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("handshake-vp8-user.jsonl", "vp8"),
        ("handshake-h264.jsonl", "h264"),
        ("handshake-vp9.jsonl", "vp9"),
        ("handshake-av1.jsonl", "av1"),
        ("restart.jsonl", "vp8"),
    ],
)
def test_offers_are_word_by_word_those_of_the_real_server(name: str, codec: str) -> None:
    for payload in recorded(name, "signal/provide"):
        assert describe(payload["sdp"], codec).offer() == payload["sdp"]


def test_the_offer_of_a_restart_too() -> None:
    [restart] = [payload["sdp"] for payload in recorded("restart.jsonl", "signal/restart")]
    answer = recorded("restart.jsonl", "signal/answer")[0]["sdp"]
    candidates = re.findall(r"a=candidate:(.*?)\r\n", restart)
    assert candidates
    assert describe(restart, "vp8").offer(after=answer, candidates=candidates) == restart


@pytest.mark.parametrize("name", [path.name for path in sorted(RECORDINGS.glob("*.jsonl"))])
def test_recorded_answers_are_read(name: str) -> None:
    for payload in recorded(name, "signal/answer"):
        answer = read_description(payload["sdp"])
        assert [media.kind for media in answer.media] == ["audio", "video", "application"]
        assert answer.ufrag == found(r"ice-ufrag:(\S+)", payload["sdp"])
        assert answer.setup == "active"
        assert answer.sctp_port == 5000
        assert answer.takes("video")
        assert {algorithm for algorithm, _ in answer.fingerprints} >= {"sha-256"}


def test_a_client_that_wants_no_audio_gets_none() -> None:
    sdp = recorded("handshake-vp8-user.jsonl", "signal/answer")[0]["sdp"]
    assert read_description(sdp).takes("audio")
    assert not read_description(sdp.replace("a=recvonly", "a=inactive", 1)).takes("audio")
    assert not read_description(re.sub("m=audio [0-9]+", "m=audio 0", sdp)).takes("audio")


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "av1"])
def test_video_is_taken_as_what_it_is_or_the_answer_is_refused(codec: str) -> None:
    sdp = recorded("handshake-vp8-user.jsonl", "signal/answer")[0]["sdp"]
    answer = sdp.replace("VP8/90000", f"{codec.upper()}/90000")
    read_description(answer).check_video(codec)
    other = "vp9" if codec == "vp8" else "vp8"
    with pytest.raises(ValueError, match="codec is not supported"):
        read_description(answer).check_video(other)
    declined = re.sub("m=video [0-9]+", "m=video 0", answer)
    read_description(declined).check_video(other)


def test_a_client_may_share_its_microphone() -> None:
    offer = recorded("handshake-vp8-user.jsonl", "signal/provide")[0]["sdp"]
    microphone = offer[offer.index("m=audio") : offer.index("m=video")].replace("a=mid:0", "a=mid:3")
    ours = describe(offer, "vp8")
    answer = ours.answer(read_description(offer + microphone), offer + microphone)
    lines = answer.splitlines()
    assert [line for line in lines if line.startswith("m=")][3] == "m=audio 9 UDP/TLS/RTP/SAVPF 111"
    assert "a=rtpmap:111 opus/48000/2" in lines[lines.index("a=mid:3") :]
    assert lines[-1] == "a=recvonly"
    assert "a=group:BUNDLE 0 1 2 3" in lines
    assert set(re.findall("a=setup:(.*)", answer.replace("\r", ""))) == {"passive"}
    read_description(answer)


@pytest.mark.parametrize("exchange", MICROPHONE, ids=lambda each: f"audio={each['audio']}, on={each['on']}")
def test_answers_to_a_microphone_are_word_by_word_those_of_the_real_server(exchange: dict[str, Any]) -> None:
    offer, answer = exchange["offer"], exchange["answer"]
    candidates = [line for line in answer.splitlines() if line.startswith("a=candidate:")]
    read = read_description(offer)
    ours = describe(answer, "vp8").answer(read, offer, candidates=[line.partition(":")[2] for line in candidates])
    # Header extensions and feedback come out of a map there: their order says nothing.
    assert sorted(ours.splitlines()) == sorted(answer.splitlines())
    assert [line for line in ours.splitlines() if not line.startswith("a=rtcp-fb")] == [
        line for line in answer.splitlines() if not line.startswith("a=rtcp-fb")
    ]
    assert (read.microphone is not None) is exchange["on"]


def test_two_tracks_in_one_line_are_refused() -> None:
    offer = MICROPHONE[0]["offer"]
    ssrc = re.search(r"a=ssrc:\d+ cname:neko-trio\r\n", offer)
    assert ssrc
    with pytest.raises(ValueError, match="semantics"):
        read_description(offer.replace(ssrc[0], f"{ssrc[0]}a=ssrc:5 cname:neko-trio\r\n")).check_tracks()
    read_description(offer.replace(ssrc[0], ssrc[0] * 2)).check_tracks()


SDP = recorded("handshake-vp8-user.jsonl", "signal/answer")[0]["sdp"]


@given(st.integers(0, len(SDP)), st.integers(0, len(SDP)), st.text(max_size=20))
@example(0, len(SDP), "")
@example(0, 0, "\x00")
def test_damaged_answers_are_read_or_refused_and_nothing_else(start: int, end: int, text: str) -> None:
    try:
        read_description(SDP[:start] + text + SDP[end:])
    except ValueError:
        return


@given(st.text())
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_description(text)

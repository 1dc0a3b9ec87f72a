"""Conformance to the real server's recordings: what it sent is what we would write, and the other way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neko_trio.protocol import Malformed, data_channel, events, requests
from neko_trio.protocol.candidates import parse_candidate
from neko_trio.protocol.sdp import read_offer, without_candidates

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*.jsonl"))

DROPPED = {'{"event": "control/paste"}'}
"""Well-formed messages of the recordings that the server drops: the payload that the event takes is missing."""


def lines(recording: Path, direction: str, kind: str) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in recording.read_text().splitlines()]
    return [line for line in read if line["kind"] == kind and line["dir"] == direction]


def messages(recording: Path, direction: str) -> list[dict[str, Any]]:
    of_socket = [line for line in lines(recording, direction, "ws") if "event" in line]
    return [{key: line[key] for key in ("event", "payload") if key in line} for line in of_socket]


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) >= 16
    assert sum(len(messages(path, "recv")) for path in RECORDINGS) >= 337
    assert sum(len(messages(path, "send")) for path in RECORDINGS) >= 84
    assert sum(len(lines(path, way, "dc")) for path in RECORDINGS for way in ("recv", "send")) >= 69


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_event_comes_back_as_the_server_wrote_it(recording: Path) -> None:
    for recorded in messages(recording, "recv"):
        event = events.decode(json.dumps(recorded))
        assert not isinstance(event, events.UnknownEvent)
        assert json.loads(events.encode(event)) == recorded
        assert events.decode(events.encode(event)) == event


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_request_comes_back_as_the_client_wrote_it(recording: Path) -> None:
    for recorded in messages(recording, "send"):
        if json.dumps(recorded) in DROPPED:
            with pytest.raises(Malformed, match="payload"):
                requests.decode(json.dumps(recorded))
        else:
            assert json.loads(requests.encode(requests.decode(json.dumps(recorded)))) == recorded


def test_the_raw_lines_are_dropped_as_the_server_dropped_them() -> None:
    raw = [line["raw"] for path in RECORDINGS for line in lines(path, "send", "ws") if "raw" in line]
    dropped = []
    for text in raw:
        try:
            assert isinstance(requests.decode(text), requests.UnknownRequest), text
        except Malformed:
            dropped.append(text)
    assert len(raw) == 4
    assert len(dropped) == 3


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_the_data_channel_comes_back_byte_for_byte(recording: Path) -> None:
    for line in lines(recording, "recv", "dc"):
        data = bytes.fromhex(line["hex"])
        assert data_channel.encode_server(data_channel.decode_server(data)) == data
    for line in lines(recording, "send", "dc"):
        data = bytes.fromhex(line["hex"])
        assert data_channel.encode(data_channel.decode_client(data)) == data


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_candidates_and_offers_are_read(recording: Path) -> None:
    for recorded in messages(recording, "recv") + messages(recording, "send"):
        payload = recorded.get("payload") or {}
        match recorded["event"]:
            case "signal/candidate":
                assert parse_candidate(payload["candidate"]).to_text() == payload["candidate"]
            case "signal/provide" | "signal/restart" if payload:
                offer = read_offer(payload["sdp"])
                assert offer.first_kind == "audio"
                codecs = [name for name in ("VP9", "H264", "AV1") if name.lower() in recording.stem]
                assert offer.video_codecs == tuple(codecs or ["VP8"])
                assert offer.ice_lite == ("icelite" in recording.stem)
                assert f"a=ice-ufrag:{offer.ice_ufrag}\r\n" in payload["sdp"]
                assert offer.has_data_channel
                # By the time of a restart the server has gathered, and writes its candidates into the offer.
                assert bool(offer.candidates) == (recorded["event"] == "signal/restart")
                assert (without_candidates(payload["sdp"]) == payload["sdp"]) == (not offer.candidates)
            case "signal/answer":
                assert len(read_offer(payload["sdp"]).candidates) == 1
                assert read_offer(without_candidates(payload["sdp"])).candidates == ()


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_candidates_name_the_offer_they_belong_to(recording: Path) -> None:
    received = messages(recording, "recv")
    offers = [m["payload"]["sdp"] for m in received if m["event"] in ("signal/provide", "signal/restart")]
    fragments = {read_offer(sdp).ice_ufrag for sdp in offers}
    for recorded in received:
        if recorded["event"] == "signal/candidate":
            assert parse_candidate(recorded["payload"]["candidate"]).ufrag in fragments

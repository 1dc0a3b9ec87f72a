from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from hypothesis import example, given
from hypothesis import strategies as st

from neko_trio.media.codec_alias import alias_codec
from neko_trio.protocol.sdp import read_offer, without_candidates

RECORDINGS = Path(__file__).parents[1] / "recordings"
CODECS = {
    "VP8": (96, None),
    "VP9": (98, "profile-id=2"),
    "AV1": (96, None),
    "H264": (102, "packetization-mode=0;profile-level-id=640c1f"),
}


def recorded_offer() -> str:
    lines = map(json.loads, (RECORDINGS / "handshake-h264.jsonl").read_text().splitlines())
    return str(next(line["payload"]["sdp"] for line in lines if line.get("event") == "signal/provide"))


OFFER = without_candidates(recorded_offer())


def offer_of(codec: str) -> str:
    """The real server's offer, with this codec instead of H264."""
    number, parameters = CODECS[codec]
    recorded = "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
    assert recorded in OFFER
    plain = OFFER.replace(recorded, f"a=fmtp:102 {parameters}\r\n" if parameters else "")
    return (
        plain.replace("H264/90000", f"{codec}/90000")
        .replace("SAVPF 102", f"SAVPF {number}")
        .replace(":102 ", f":{number} ")
    )


async def answer(sdp: str) -> str:
    connection = RTCPeerConnection()
    try:
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        return (await connection.createAnswer()).sdp
    finally:
        await connection.close()


def video_of(sdp: str) -> list[str]:
    return ("m=video" + sdp.partition("m=video")[2].partition("m=application")[0]).splitlines()


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_aiortc_answers_every_codec_with_its_own_name_and_parameters(codec: str) -> None:
    number, parameters = CODECS[codec]
    offer = alias_codec(offer_of(codec), codec)
    lines = video_of(offer.unalias(asyncio.run(answer(offer.sdp))))
    assert lines[0].split()[3:] == [str(number)]
    assert [line for line in lines if line.startswith("a=rtpmap")] == [f"a=rtpmap:{number} {codec}/90000"]
    expected = [f"a=fmtp:{number} {parameters}"] if parameters else []
    assert [line for line in lines if line.startswith("a=fmtp")] == expected
    assert f"a=rtcp-fb:{number} nack" in lines


def test_only_the_chosen_codec_is_left_and_the_rest_of_the_offer_as_it_is() -> None:
    more = [
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:120 vp9/90000",
        "a=rtcp-fb:120 nack",
        "a=rtcp-fb:96 nack",
    ]
    sdp = (
        offer_of("H264")
        .replace("SAVPF 102", "SAVPF 96 97 102 120")
        .replace("a=mid:1\r\n", "\r\n".join(["a=mid:1", *more, ""]))
    )
    assert read_offer(sdp).video_codecs == ("VP8", "H264", "VP9")
    aliased = alias_codec(sdp, "VP9")
    lines = video_of(aliased.sdp)
    assert lines[0] == "m=video 9 UDP/TLS/RTP/SAVPF 120"
    assert [line for line in lines if ":120" in line] == ["a=rtpmap:120 VP8/90000", "a=rtcp-fb:120 nack"]
    assert not [line for line in lines if line.startswith(("a=fmtp", "a=rtcp-fb:9", "a=rtcp-fb:10", "a=rtpmap:9"))]
    kept = [line for line in video_of(sdp)[1:] if not line.startswith(("a=fmtp", "a=rtpmap", "a=rtcp-fb"))]
    assert [line for line in lines[1:] if not line.startswith(("a=rtpmap", "a=rtcp-fb"))] == kept
    assert aliased.sdp.partition("m=video")[0] == sdp.partition("m=video")[0]
    assert aliased.unalias(aliased.sdp).count("a=rtpmap:120 vp9/90000\r\n") == 1


def test_a_codec_that_the_offer_lacks_changes_nothing() -> None:
    aliased = alias_codec(OFFER, "VP9")
    assert aliased.sdp == OFFER
    assert aliased.unalias(OFFER) == OFFER


def test_audio_of_the_same_payload_type_is_not_touched() -> None:
    offer = alias_codec(offer_of("VP9").replace(":98 ", ":111 ").replace("SAVPF 98", "SAVPF 111"), "VP9")
    assert "a=rtpmap:111 opus/48000/2" in offer.sdp
    assert "a=rtpmap:111 opus/48000/2" in offer.unalias(offer.sdp)


def test_audio_that_aiortc_does_not_know_is_called_opus_and_nothing_else_is_touched() -> None:
    offer = OFFER.replace("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 L16/44100/2")
    aliased = alias_codec(offer, None)
    assert aliased.sdp == OFFER.replace("a=fmtp:111 useinbandfec=1;stereo=1\r\n", "")
    assert "useinbandfec" in OFFER
    lines = aliased.unalias(asyncio.run(answer(aliased.sdp))).splitlines()
    assert "a=rtpmap:111 L16/44100/2" in lines
    assert not [line for line in lines if "opus" in line]
    assert alias_codec(OFFER, None).sdp == OFFER


@given(st.integers(0, len(OFFER)), st.integers(0, len(OFFER)), st.text(max_size=20))
@example(0, len(OFFER), "")
@example(0, len(OFFER), "m=video ")
@example(0, len(OFFER), "m=video 9\na=rtpmap:9 H264/90000")
def test_damaged_offers_raise_nothing(start: int, end: int, text: str) -> None:
    aliased = alias_codec(OFFER[:start] + text + OFFER[end:], "H264")
    aliased.unalias(OFFER)

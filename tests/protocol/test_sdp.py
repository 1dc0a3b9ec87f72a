"""What is read from an offer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed
from neko_trio.protocol.sdp import Offer, read_offer, without_candidates

CANDIDATE = "candidate:1 1 udp 1 192.0.2.1 5000 typ host"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 97 96 98 34\r\na=mid:0\r\na=ice-ufrag:abcd\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtpmap:97 h264/90000\r\na=rtpmap:98 rtx/90000\r\n"
    f"a={CANDIDATE}\r\na=end-of-candidates\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=ice-ufrag:efgh\r\n"
    f"a={CANDIDATE}\r\n"
)
WITHOUT = SDP.replace(f"a={CANDIDATE}\r\n", "").replace("a=end-of-candidates\r\n", "")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_an_offer(end: str) -> None:
    assert read_offer(SDP.replace("\r\n", end)) == Offer(
        first_kind="video",
        video_codecs=("H264", "VP8"),
        audio_codecs=("OPUS",),
        ice_lite=True,
        ice_ufrag="abcd",
        candidates=(CANDIDATE,),
        has_data_channel=False,
    )


def test_data_channel_and_session_level_credentials() -> None:
    offer = read_offer("v=0\na=ice-ufrag:top\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n")
    assert offer == Offer("application", (), (), False, "top", (), True)
    assert read_offer("v=0\nm=audio 9 RTP/AVP 0\n").ice_ufrag is None


def test_candidates_are_taken_out_and_nothing_else() -> None:
    assert without_candidates(SDP) == WITHOUT
    assert without_candidates(SDP.replace("\r\n", "\n")) == WITHOUT.replace("\r\n", "\n")
    assert without_candidates(f"v=0\r\na={CANDIDATE}") == "v=0\r\n"
    assert without_candidates("s=a=candidate:\r\n") == "s=a=candidate:\r\n"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "v=0", "v=0\r\nx", "v=0\r\nm=video\r\n", "v=0\r\nm=text 9 RTP/AVP 0\r\n", "m=audio 9 RTP/AVP 0"],
)
def test_what_is_no_sdp(text: str) -> None:
    with pytest.raises(Malformed, match="SDP"):
        read_offer(text)


LINES = st.lists(st.sampled_from(SDP.split("\r\n")) | st.text(max_size=12), max_size=20)


@given(LINES.map("\r\n".join))
def test_any_text_is_an_offer_or_malformed(text: str) -> None:
    stripped = without_candidates(text)
    assert without_candidates(stripped) == stripped
    try:
        offer = read_offer(text)
    except Malformed:
        return
    assert all(candidate.startswith("candidate:") for candidate in offer.candidates)
    assert read_offer(stripped) == Offer(
        offer.first_kind,
        offer.video_codecs,
        offer.audio_codecs,
        offer.ice_lite,
        offer.ice_ufrag,
        (),
        offer.has_data_channel,
    )

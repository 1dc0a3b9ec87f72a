from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neko_trio.errors import UnsupportedCodec
from neko_trio.media.depayload import FORMATS, BadPayload, depayload_h264, depayload_vp8, unsupported, video_format


@pytest.mark.parametrize(
    ("descriptor", "first"),
    [
        (b"\x10", True),  # S, partition 0
        (b"\x00", False),  # goes on
        (b"\x11", False),  # partition 1 begins
        (b"\x90\x80\x2a", True),  # 7-bit picture id
        (b"\x90\x80\xaa\x2a", True),  # 15-bit picture id
        (b"\x90\xe0\x80\x01\x02\x03", True),  # picture id, TL0PICIDX, TID
        (b"\x90\x30\x09", True),  # TID and KEYIDX share a byte
        (b"\x30", True),  # N: discardable
    ],
)
@pytest.mark.parametrize("key", [True, False])
def test_vp8_descriptor_is_cut_off_and_keyframes_are_seen(descriptor: bytes, first: bool, key: bool) -> None:
    content = bytes([0x10 if key else 0x11]) + b"picture"
    payload = depayload_vp8(descriptor + content)
    assert payload.data == content
    assert payload.key == payload.opens_key == (first and key)


@pytest.mark.parametrize("cut", [b"\x10", b"\x80", b"\x80\x80", b"\x80\x80\x80\x01", b"\x90\xff\x01\x02"])
def test_vp8_cut_short_is_refused(cut: bytes) -> None:
    with pytest.raises(BadPayload):
        depayload_vp8(cut)


def test_h264_single_unit() -> None:
    assert depayload_h264(b"\x65idr") == (b"\0\0\0\1\x65idr", False, True)
    assert depayload_h264(b"\x41slice") == (b"\0\0\0\1\x41slice", False, False)
    assert depayload_h264(b"\x67sps") == (b"\0\0\0\1\x67sps", True, False)


def test_h264_fragments_join_to_the_unit() -> None:
    unit = b"\x65abcdef"
    parts = [b"\x7c\x85abc", b"\x7c\x05de", b"\x7c\x45f"]  # FU indicator with NRI 3; FU header S, -, E with type 5
    payloads = [depayload_h264(part) for part in parts]
    assert b"".join(payload.data for payload in payloads) == b"\0\0\0\1" + unit
    assert all(payload.key for payload in payloads)
    assert not any(payload.opens_key for payload in payloads)


def test_h264_aggregate() -> None:
    payload = depayload_h264(b"\x78\x00\x04\x67sps\x00\x04\x68pps\x00\x02\x65i")
    assert payload.data == b"\0\0\0\1\x67sps\0\0\0\1\x68pps\0\0\0\1\x65i"
    assert payload.key
    assert payload.opens_key


@pytest.mark.parametrize(
    "bad",
    [b"\xe5idr", b"\x60", b"\x79x", b"\x7f", b"\x7c\x85", b"\x78", b"\x78\x00\x09\x67", b"\x78\x00\x00", b"\x78\x00"],
    ids=["forbidden bit", "type 0", "STAP-B", "type 31", "FU empty", "STAP empty", "STAP short", "size 0", "no size"],
)
def test_h264_garbage_is_refused(bad: bytes) -> None:
    with pytest.raises(BadPayload):
        depayload_h264(bad)


@given(codec=st.sampled_from(sorted(FORMATS)), payloads=st.lists(st.binary(min_size=1, max_size=64), min_size=1))
@example(codec="VP8", payloads=[b"\x80"])
@example(codec="VP9", payloads=[b"\x92\x80"])
@example(codec="AV1", payloads=[b"\x10\x92", b"\xc0\x00"])
def test_any_bytes_are_content_or_refused(codec: str, payloads: list[bytes]) -> None:
    video, accepted = FORMATS[codec], []
    for payload in payloads:
        try:
            accepted.append(video.depayload(payload).data)
        except BadPayload:
            continue
        assert accepted[-1]
    if accepted:
        try:
            assert video.join(accepted)
        except BadPayload:
            return


def test_formats_are_found_in_any_case_and_others_refused_by_name() -> None:
    assert video_format("vp8") is FORMATS["VP8"]
    assert video_format("Av1") is FORMATS["AV1"]
    with pytest.raises(UnsupportedCodec, match="H265") as caught:
        video_format("H265")
    assert caught.value.offered == ("H265",)


def test_what_cannot_be_decoded_is_named_with_what_can() -> None:
    assert str(unsupported(("H265",))) == (
        "The server offers H265 video; this client decodes VP8, VP9, H264 and AV1. "
        "Set the server's capture.video.codec, and its pipeline, to VP8, VP9, H264 or AV1."
    )

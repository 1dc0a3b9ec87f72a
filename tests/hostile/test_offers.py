"""Offers that are none, and recorded real offers with something wrong in them."""

from __future__ import annotations

import re

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neko_trio.errors import IceFailed, NekoError, ProtocolViolation, UnsupportedCodec
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import AnyStream, HostileNeko, message, recorded, recorded_offers

REAL = recorded_offers()
PATIENCE = 0.02
"""Seconds that the client may work on an offer that it has answered, before the server gives up."""


async def wait_and_send(stream: AnyStream, due: bytes) -> None:
    await trio.sleep(PATIENCE)
    await stream.send_all(due)


async def offered(sdp: str, *, token: bool, renegotiation: str | None = None) -> tuple[NekoError, HostileNeko]:
    """Offer this; when it is answered offer ``renegotiation``, and give up a little later."""
    after = [message("signal/close")]
    if renegotiation is not None:
        after.insert(0, message("signal/offer", {"sdp": renegotiation}))
    server = HostileNeko(
        sent={"offer": [message("signal/provide", {**recorded("signal/provide")[0], "sdp": sdp})], "answered": after}
    )
    server.goes_on["answered"] = wait_and_send
    async with server.served() as served, in_time(8):
        return await meet(served.url, token=token, connect_timeout=3), server


def lines(sdp: str) -> list[str]:
    return sdp.split("\r\n")


def session_part(sdp: str) -> str:
    return sdp.partition("m=")[0]


NONE: dict[str, str] = {
    "empty": "",
    "text": "hello",
    "blank": " \r\n ",
    "version only": "v=0\r\n",
    "no media": session_part(REAL[0]),
    "JSON": '{"type": "offer", "sdp": "v=0"}',
    "an answer's worth of nothing": "v=0\r\n" * 5000,
    "nul": "v=0\r\n\0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
    "other line ends": REAL[0].replace("\r\n", "\r"),
    "upside down": "\r\n".join(reversed(lines(REAL[0]))),
    "one long line": "v=0\r\ns=" + "x" * 3_000_000,
    "no mid": REAL[0].replace("a=mid:", "a=dim:"),
    "no fingerprint": REAL[0].replace("a=fingerprint:", "a=footprint:"),
    "no credentials": REAL[0].replace("a=ice-", "a=mice-"),
    "unknown kind": REAL[0].replace("m=audio", "m=smell"),
    "no direction": REAL[0].replace("a=sendrecv", ""),
    "no setup": REAL[0].replace("a=setup:", "a=upset:"),
    "both passive": REAL[0].replace("a=setup:actpass", "a=setup:passive"),
    "no bundle": REAL[0].replace("a=group:BUNDLE", "a=group:UNBUNDLE"),
    "half a bundle": REAL[0].replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1"),
    "a bundle of others": REAL[0].replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1 2 3"),
    "one mid for two": REAL[0].replace("a=mid:1", "a=mid:0"),
    "an unknown payload type": REAL[0].replace("a=rtcp-fb:96 nack", "a=fmtp:97 x=y"),
    "a hundred sections": REAL[0] + REAL[0][REAL[0].index("m=application") :] * 100,
}


@pytest.mark.parametrize("token", [False, True], ids=["password", "token"])
@pytest.mark.parametrize("name", NONE)
async def test_an_offer_that_is_none(name: str, token: bool) -> None:
    error, _ = await offered(NONE[name], token=token)
    assert isinstance(error, ProtocolViolation), repr(error)
    assert len(str(error)) < 500


async def test_codecs_that_nobody_decodes_are_named() -> None:
    sdp = re.sub(r" (VP8|VP9|H264|AV1)/", " QUIK/", REAL[0])
    assert "QUIK" in sdp
    error, _ = await offered(sdp, token=False)
    assert isinstance(error, UnsupportedCodec)
    assert error.offered == ("QUIK",)


@pytest.mark.parametrize("number", range(len(REAL)))
async def test_a_recorded_offer_is_answered(number: int) -> None:
    """The judge of the others: unharmed, each of them is answered, and only then the server gives up."""
    error, server = await offered(REAL[number], token=False)
    assert isinstance(error, IceFailed)
    assert "signal/answer" in server.events


ODD_LINES = [
    "a=candidate:1 1 udp 1 127.0.0.1 9 typ host",
    "a=candidate:garbage",
    "a=candidate:1 1 udp 99999999999999999999 ::1 99999 typ prflx raddr x rport y",
    "a=extmap:1",
    "a=extmap:999999 urn:x",
    "a=fingerprint:",
    "a=fingerprint:md4 00",
    "a=fingerprint:sha-256 ZZ:ZZ",
    "a=fmtp:96",
    "a=fmtp:96 apt=96",
    "a=fmtp:96 apt=x;;;=;",
    "a=fmtp:abc x",
    "a=group:BUNDLE",
    "a=group:BUNDLE 0 0 0 17",
    "a=ice-lite",
    "a=ice-options:",
    "a=ice-pwd:",
    "a=ice-pwd:ü",
    "a=ice-ufrag:",
    "a=ice-ufrag:ü:ü",
    "a=max-message-size:-1",
    "a=max-message-size:x",
    "a=mid:",
    "a=mid:0",
    "a=msid:",
    "a=rtcp:",
    "a=rtcp:x IN IP4 y",
    "a=rtcp-fb:* nack",
    "a=rtcp-fb:96",
    "a=rtcp-fb:x y z",
    "a=rtpmap:96",
    "a=rtpmap:96 VP8",
    "a=rtpmap:96 VP8/x",
    "a=rtpmap:96 VP8/90000/x",
    "a=rtpmap:999 VP8/90000",
    "a=rtpmap:x VP8/90000",
    "a=sctp-port:0",
    "a=sctp-port:x",
    "a=sctpmap:x",
    "a=setup:active",
    "a=setup:passive",
    "a=setup:x",
    "a=simulcast:send 1;2;3",
    "a=ssrc-group:FID",
    "a=ssrc-group:FID 1 x",
    "a=ssrc:",
    "a=ssrc:1",
    "a=ssrc:99999999999999999999 cname:x",
    "a=ssrc:x cname:y",
    "b=AS:x",
    "c=IN",
    "c=IN IP4 not.an.address",
    "c=IN IP6 ::zz",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "m=application 9 UDP/DTLS/SCTP x",
    "m=application 9 DTLS/SCTP 5000",
    "m=audio 0 UDP/TLS/RTP/SAVPF 0",
    "m=audio 9",
    "m=video -1 UDP/TLS/RTP/SAVPF 96",
    "m=video 9 UDP/TLS/RTP/SAVPF",
    "m=video 9 UDP/TLS/RTP/SAVPF x y",
    "m=video 99999999999 UDP/TLS/RTP/SAVPF 96",
    "o=",
    "t=",
    "v=1",
]
JUNK = st.sampled_from(["", " ", "0", "-1", "x", "9" * 30, "ü", "\0", "{}", "127.0.0.1", ":", "/", "🦀" * 20])


@st.composite
def harmed(draw: st.DrawFn) -> str:
    """A recorded offer with a few lines lost, repeated, moved, cut short, filled with junk, or odd ones put in."""
    found = lines(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found) - 1))
        match draw(st.sampled_from(["lose", "repeat", "move", "cut", "junk", "insert", "word", "end"])):
            case "lose":
                del found[at]
            case "repeat":
                found.insert(at, found[at])
            case "move":
                found.insert(draw(st.integers(0, len(found) - 1)), found.pop(at))
            case "cut":
                found[at] = found[at][: draw(st.integers(0, max(0, len(found[at]) - 1)))]
            case "junk":
                key, colon, _value = found[at].partition(":")
                found[at] = f"{key}{colon}{draw(JUNK)}"
            case "insert":
                found.insert(at, draw(st.sampled_from(ODD_LINES)))
            case "word":
                words = found[at].split(" ")
                words[draw(st.integers(0, len(words) - 1))] = draw(JUNK)
                found[at] = " ".join(words)
            case _:
                found = found[: at + 1]
        if not found:
            return ""
    return "\r\n".join(found)


often = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@given(sdp=harmed(), token=st.booleans())
@often
async def test_a_harmed_offer(sdp: str, token: bool) -> None:
    """Whatever it is taken for: one typed error, and nothing fails unseen in the asyncio thread."""
    error, _ = await offered(sdp, token=token)
    assert isinstance(error, IceFailed | ProtocolViolation | UnsupportedCodec), repr(error)


@given(sdp=harmed())
@settings(often, max_examples=25)
async def test_a_harmed_offer_for_the_running_peer(sdp: str) -> None:
    """A renegotiation that makes no sense is skipped, or answered: the peer that exists goes on."""
    error, _ = await offered(REAL[0], token=False, renegotiation=sdp)
    assert isinstance(error, IceFailed), repr(error)


@pytest.mark.parametrize("line", ODD_LINES)
async def test_an_odd_line_in_every_part(line: str) -> None:
    await offered(REAL[0].replace("a=mid:", f"{line}\r\na=mid:").replace("s=-", f"s=-\r\n{line}"), token=False)

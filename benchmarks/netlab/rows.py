"""The rows of ``networks.py``, as a table."""

from __future__ import annotations

from typing import Any

from netlab.lab import DEAD, MUX_PORT, NOWHERE, STUN_PORT, TLS_PORT, Network, address
from netlab.row import EPR, PLAIN, Goal, Proof, Row

TURN_USER = "neko"
TURN_PASSWORD = "trio"
UDP_BLOCKED = ("meta l4proto udp",)
TO_SERVER_BLOCKED = (f"ip daddr {address('server', PLAIN)} meta l4proto udp",)
DEAD_SERVER = Goal("ratio", 1.2)
"""A server that never answers may cost a connect no more than this, times the default row's."""
DIRECT = Goal("within", 50.0)
"""Milliseconds from the dial to connected over a relay, or over TCP."""
FAILS = Goal("fails", 12_000.0)
"""Milliseconds within which a connect that cannot succeed must have failed."""


TCPMUX = ("--webrtc.tcpmux", str(MUX_PORT))


def stun(host: str = "", port: int = STUN_PORT) -> dict[str, Any]:
    return {"urls": [f"stun:{host or address('relay', PLAIN)}:{port}"]}


def turn(
    transport: str = "udp", *, host: str = "", password: str = TURN_PASSWORD, tls: bool = False, port: int = STUN_PORT
) -> dict[str, Any]:
    scheme, port = ("turns", TLS_PORT) if tls else ("turn", port)
    url = f"{scheme}:{host or address('relay', PLAIN)}:{port}?transport={transport}"
    return {"urls": [url], "username": TURN_USER, "credential": password}


NAT = Network(nat=True)
UDP = {"protocol": "udp"}
DIRECT_UDP = {"protocol": "udp", "local_type": "host"}
RELAYED = {"local_type": "relay"}
TCP = {"protocol": "tcp"}
NO_UDP_TO_SERVER = Proof("udp_to_server", some=False)
NO_UDP_TO_RELAY = Proof("udp_to_relay", some=False)
BEHIND_NAT = (Proof("masqueraded"), Proof("unsolicited"), Proof("client_address_at_server", some=False))
LOCAL_TURN = turn(host="127.0.0.1")
CAPTURE = (
    "ximagesrc display-name={display} show-pointer=true use-damage=false ! video/x-raw,framerate=25/1 "
    "! videoconvert ! queue ! "
)
ENCODERS = {
    "x264enc": (
        "x264enc bitrate=4096 key-int-max=60 byte-stream=true tune=zerolatency speed-preset=veryfast "
        "! video/x-h264,stream-format=byte-stream,profile=constrained-baseline"
    ),
    "vp9enc": "vp9enc target-bitrate=2000000 cpu-used=8 deadline=1 keyframe-max-dist=30 lag-in-frames=0 end-usage=cbr",
    "av1enc": (
        # Not end-usage=cbr: libaom 3.6 then fails an assertion of its own now and then, and takes the server with it.
        "av1enc target-bitrate=2000 cpu-used=10 usage-profile=realtime keyframe-max-dist=30 lag-in-frames=0 "
        "end-usage=vbr"
    ),
    "svtav1enc": "svtav1enc preset=12 target-bitrate=2000 intra-period-length=30",
    "rav1enc": "rav1enc speed-preset=10 low-latency=true bitrate=2000000 max-key-frame-interval=30",
}
"""What each element is told; first of a codec that is installed is taken."""
CODEC_ENCODERS = {"H264": ("x264enc",), "VP9": ("vp9enc",), "AV1": ("av1enc", "svtav1enc", "rav1enc")}


def pipeline(encoder: str, display: str) -> str:
    """The server's pipeline for an encoder."""
    return CAPTURE.format(display=display) + ENCODERS[encoder] + " ! appsink name=appsink"


def by_relay_only(
    name: str, what: str, *servers: dict[str, Any], proofs: tuple[Proof, ...], connects: bool = True
) -> Row:
    """A client that may use relays only, of these ICE servers; its packets must not reach the server otherwise."""
    return Row(
        name=name,
        what=f"relay only, {what}",
        frontend=servers,
        backend=(stun(),),
        relay_only=True,
        goal=DIRECT if connects else FAILS,
        pair=RELAYED if connects else {},
        proofs=(*proofs, NO_UDP_TO_SERVER),
    )


ROWS: tuple[Row, ...] = (
    Row(name="default", what="a real address, a STUN server that answers", pair=UDP, proofs=(Proof("udp_to_server"),)),
    Row(
        name="loopback",
        what="client on the server's machine, which announces 127.0.0.1",
        network=Network(route="loopback"),
        pair=UDP,
        proofs=(NO_UDP_TO_SERVER,),
    ),
    Row(
        name="addresses",
        what="several addresses at the client, IPv6 among them, that lead nowhere",
        network=Network(addresses_beside=True),
        pair={"protocol": "udp", "local": "10.71.1.2"},
    ),
    Row(
        name="stun-silent",
        what="the STUN server never answers",
        frontend=(stun(DEAD),),
        goal=DEAD_SERVER,
        pair=UDP,
        proofs=(Proof("dead"),),
    ),
    Row(
        name="stun-no-name",
        what="the STUN server's name does not resolve, which is told at once",
        network=Network(resolver="refuses"),
        frontend=(stun("stun.example.invalid"),),
        goal=DEAD_SERVER,
        pair=UDP,
    ),
    Row(
        name="stun-silent-dns",
        what="the STUN server's name does not resolve, because the name server is silent",
        network=Network(resolver="silent"),
        frontend=(stun("stun.example.invalid"),),
        goal=DEAD_SERVER,
        pair=UDP,
        proofs=(Proof("dead"),),
    ),
    Row(
        name="servers-mixed",
        what="a dead STUN, a good STUN, TURN over UDP and over TCP",
        frontend=(stun(DEAD), stun(), turn(), turn("tcp")),
        backend=(stun(),),
        goal=DEAD_SERVER,
        pair=DIRECT_UDP,
        proofs=(Proof("dead"), Proof("udp_to_relay"), Proof("tcp_to_relay")),
    ),
    Row(
        name="turn-wrong-password",
        what="the TURN server refuses the credentials, the direct way works",
        frontend=(turn(password="wrong"),),
        backend=(stun(),),
        goal=DEAD_SERVER,
        pair=DIRECT_UDP,
        proofs=(Proof("udp_to_relay"),),
    ),
    Row(
        name="url-malformed",
        what="ICE servers whose URLs are none",
        frontend=({"urls": ["stun:", "stun:[::1", "turn:host:99999", "http://x/"]}, stun()),
        backend=(stun(),),
        goal=DEAD_SERVER,
        pair=UDP,
    ),
    Row(name="nat", what="client behind a masquerading NAT", network=NAT, pair=UDP, proofs=BEHIND_NAT),
    by_relay_only("relay-udp", "TURN over UDP", turn(), proofs=(Proof("udp_to_relay"),)),
    by_relay_only("relay-tcp", "TURN over TCP", turn("tcp"), proofs=(Proof("tcp_to_relay"), NO_UDP_TO_RELAY)),
    by_relay_only(
        "relay-tls",
        "turns: (TLS) with a certificate of a CA that the client was given",
        turn("tcp", tls=True),
        proofs=(Proof("tls_to_relay"), NO_UDP_TO_RELAY),
    ),
    by_relay_only(
        "relay-beside-dead",
        "a TURN server that never answers beside one that does",
        *(turn(host=DEAD), turn()),
        proofs=(Proof("dead"), Proof("udp_to_relay")),
    ),
    by_relay_only(
        "relay-wrong-password",
        "and the TURN server refuses the credentials: cannot connect",
        turn(password="wrong"),
        proofs=(Proof("udp_to_relay"),),
        connects=False,
    ),
    Row(
        name="udp-blocked-turn-tcp",
        what="a firewall drops the client's UDP; TURN over TCP is the only way",
        network=Network(blocked=UDP_BLOCKED),
        frontend=(turn(), turn("tcp")),
        backend=(stun(),),
        pair=RELAYED,
        proofs=(Proof("blocked"), Proof("tcp_to_relay"), NO_UDP_TO_SERVER),
    ),
    Row(
        name="udp-blocked",
        what="a firewall drops the client's UDP, and there is no other way: cannot connect",
        network=Network(blocked=UDP_BLOCKED),
        goal=FAILS,
        proofs=(Proof("blocked"), NO_UDP_TO_SERVER),
    ),
    Row(name="udpmux", what="one UDP port for all peers", flags=("--webrtc.udpmux", str(MUX_PORT)), pair=UDP),
    Row(name="icelite", what="the server is ICE lite", flags=("--webrtc.icelite", *EPR), pair=UDP),
    Row(
        name="tcpmux-only",
        what="the server has a TCP port and no other, UDP is dropped on the way",
        network=Network(blocked=TO_SERVER_BLOCKED),
        flags=TCPMUX,
        goal=DIRECT,
        pair=TCP,
        proofs=(Proof("media_tcp_to_server"), NO_UDP_TO_SERVER),
    ),
    Row(
        name="tcpmux-beside-udp",
        what="the server offers UDP and TCP, both work: UDP is to be used",
        flags=(*TCPMUX, *EPR),
        pair=UDP,
    ),
    Row(
        name="tcpmux-udp-blocked",
        what="the server offers UDP and TCP, UDP is dropped on the way",
        network=Network(blocked=TO_SERVER_BLOCKED),
        flags=(*TCPMUX, *EPR),
        pair=TCP,
        proofs=(Proof("blocked"), Proof("media_tcp_to_server"), NO_UDP_TO_SERVER),
    ),
    Row(
        name="no-trickle",
        what="all of the server's candidates stand in its offer",
        flags=("--webrtc.icetrickle=false", *EPR),
        pair=UDP,
    ),
    Row(
        name="nat1to1-wrong",
        what="the server announces an address that leads nowhere, and asks no STUN server",
        backend=(),
        announced=NOWHERE,
        pair=UDP,
        proofs=(Proof("dead"),),
    ),
    Row(
        name="nat1to1-wrong-nat",
        what="the same, and the client is behind NAT: only the WebSocket's address leads there",
        network=NAT,
        backend=(),
        announced=NOWHERE,
        pair=UDP,
        proofs=(*BEHIND_NAT, Proof("dead")),
    ),
    Row(
        name="ipv6",
        what="the client has IPv6 and nothing else",
        network=Network(route="ip6"),
        announced=None,
        pair={"protocol": "udp", "remote": "[fd71:2::2]"},
    ),
    Row(
        name="loopback-only",
        what="client and server on a machine without any interface but loopback, where the server needs a TURN server",
        network=Network(route="alone"),
        frontend=(LOCAL_TURN,),
        backend=(LOCAL_TURN,),
        announced=None,
        pair={"protocol": "udp", "local": "127.0.0.1", "remote": "127.0.0.1"},
    ),
    Row(
        name="estimator",
        what="the server's bandwidth estimator is on",
        flags=("--webrtc.estimator.enabled", *EPR),
        pair=UDP,
    ),
    Row(name="h264", what="H264, alone", codec="H264", encoder="x264enc", pair=UDP),
    Row(
        name="h264-watched", what="H264 beside another watcher", codec="H264", encoder="x264enc", watched=True, pair=UDP
    ),
    Row(name="vp8-watched", what="VP8 beside another watcher", watched=True, pair=UDP),
    Row(name="vp9", what="VP9", codec="VP9", encoder="vp9enc", pair=UDP),
    Row(name="av1", what="AV1", codec="AV1", encoder="av1enc", pair=UDP),
    Row(
        name="delay",
        what="a round trip of 50 ms",
        network=Network(delay=0.025),
        pair=UDP,
        round_trip=(50.0, 55.0),
    ),
    Row(
        name="role-conflict",
        what="a server that ignores role conflicts (simulated, beside an ordinary simulator)",
        simulator="stubborn",
        pair=UDP,
        gives_role_back=True,
    ),
)

"""The fault matrix: at which step, which fault, and what may come of it.

The vocabulary stands here; what each cell allows, in :mod:`tests.faults.rules`, was written by hand from the protocol
before anything was run. Both rigs judge by it, the one in virtual time and the one on real sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from neko_trio.errors import NekoError

# -- the steps, in the order of a session's life. A fault strikes when the step has begun and before it has ended.

STEPS: dict[str, str] = {
    "login": "POST /api/login has come, its answer is due",
    "dial": "TCP is being connected; nothing has been said",
    "upgrade": "GET /api/ws has come, its answer is due",
    "init": "the WebSocket is open, system/init is due",
    "request": "system/init has been sent, signal/request is due",
    "offer": "signal/request has come, candidates and signal/provide are due",
    "remote_description": "signal/provide has come, the client takes it in",
    "answer": "the client makes its answer",
    "candidates": "signal/answer has come, the client's candidates follow",
    "ice": "both sides look for a pair",
    "dtls": "a pair was found, DTLS is under way",
    "video_enable": "the peer is connected, signal/video has come and its answer is due",
    "first_frame": "signal/video was answered, no packet has been sent yet",
    "running": "frames flow",
    "on_demand": 'video="on_demand": the video is off, a picture is asked for next',
    "control": "the host role and a key are held, which was confirmed",
    "typing": "a text is being typed",
    "rest": "a REST call is under way",
    "renegotiation": "signal/offer has come for the peer that runs",
    "closing": "the block has ended, the goodbye is being said",
}
BEFORE_THE_LINK = ("login", "dial", "upgrade")
BEFORE_THE_OFFER = ("init", "request", "offer")
CONNECTING = ("remote_description", "answer", "candidates", "ice", "dtls")
RUNNING = ("first_frame", "running", "on_demand", "control", "typing", "rest", "renegotiation")
ON_THE_LINK = (*BEFORE_THE_OFFER, *CONNECTING, "video_enable", *RUNNING, "closing")
CONNECTED = ("video_enable", *RUNNING, "closing")

# -- the faults

CLOSE_CODES = (1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999)
"""RFC 6455 section 7.4 and the registry of IANA; 1005 is a close frame without a code. 1006 is no frame: ``fin``."""

REASONS: dict[str, str] = {
    "session_not_found": "session not found",
    "no_authentication": "no authentication provided",
    "login_disabled": "session login disabled",
    "connection_disabled": "connection disabled",
    "already_connected": "already connected",
    "replaced": "connection replaced",
    "kicked": "session disconnected",
    "deleted": "session deleted",
    "profile_changed": "profile changed",
    "shutdown": "connection shutdown",
    "unknown": "the moon is full",
}
"""The server's texts in ``system/disconnect`` (``internal/websocket/manager.go``, ``internal/session``)."""

STATUSES = (301, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504)

FAULTS: dict[str, str] = {
    "reset": "RST on the TCP connection",
    "fin": "TCP is closed without a close frame, as the server does it",
    "cut": "half of the next message, then FIN",
    "half_open": "TCP stays up, nothing comes through any more, either way, for good",
    "stall_short": "nothing comes through for half a second, then all of it",
    "stall_long": "nothing comes through for a minute, then all of it",
    "trickle": "what the server sends comes a few bytes at a time from here on, a second for all of it",
    "duplicate": "each message of the server comes twice from here on",
    "reordered_candidates": "the end of the candidates, then the candidates, the last one first, and again",
    "late_offer": "the offer comes two seconds late",
    "too_late_offer": "the offer comes when the connect has been given up",
    "second_offer": "another signal/provide, that nobody asked for",
    "signal_offer": "a signal/offer, that nobody asked for",
    "signal_restart": "a signal/restart, that nobody asked for",
    "offer_withdrawn": "signal/close",
    "message_20mb": "a message of 20 MB that means nothing to the client",
    "message_40mb": "one of 40 MB, beyond what the client takes",
    "garbage_text": "messages that are no JSON, no object, no event",
    "garbage_binary": "binary messages, of JSON and of nothing",
    "garbage_raw": "bytes in the TCP stream that are no frame and no HTTP",
    "garbage_data": "bytes on the data channel that are no message",
    "wrong_types": "the message that is due has a payload of the wrong shape, or messages of all kinds have",
    **{f"close_{code}": f"the server closes the WebSocket with {code}" for code in CLOSE_CODES},
    **{f"disconnect_{name}": f"system/disconnect {reason!r}, then FIN" for name, reason in REASONS.items()},
    **{f"http_{status}": f"an HTTP answer with {status}, not in Neko's format" for status in STATUSES},
    "restart_kept": "the server dies without a word and is back after half a second, with its tokens",
    "restart_forgotten": "the same, but it knows no token any more",
    "peer_loud": "the server's peer connection ends with a DTLS close and signal/close",
    "peer_silent": "the server's peer connection dies silently; signal/close follows after 5.2 s",
    "udp_blackhole": "no datagram comes through, either way, for good; the server notices by its own limit",
    "udp_blackhole_short": "the same for three quarters of a second",
    "udp_loss_5": "5 % of the datagrams are lost, either way",
    "udp_loss_30": "30 % of them",
    "udp_reorder": "a fifth of them come 10 ms late",
    "udp_duplicate": "a third of them come twice",
    "udp_corrupt": "a twentieth of them come with a bit turned over",
}
CLOSES = tuple(name for name in FAULTS if name.startswith("close_"))
DISCONNECTS = tuple(name for name in FAULTS if name.startswith("disconnect_"))
ANSWERS = tuple(name for name in FAULTS if name.startswith("http_"))
UDP = tuple(name for name in FAULTS if name.startswith("udp_"))

# -- the policies: what the session is told to do about it

POLICIES: dict[str, str] = {
    "off": "reconnect=None",
    "on": "reconnect=True",
    "again": "reconnect=True, and the fault strikes while a lost session is being made anew",
}
HANDSHAKE = (*BEFORE_THE_LINK, *BEFORE_THE_OFFER, *CONNECTING, "video_enable", "first_frame")
"""The steps that there are a second time."""

# -- what may come of it

WORKS = "works"
"""Nobody notices: within a second of the fault, all that was asked is done."""
LATER = "works later"
"""All that was asked is done, when the fault is over."""
NEW_LINK = "recovers by a new WebSocket"
NEW_LOGIN = "recovers by a new login"
NEW_PEER = "recovers by a new offer"
IN_DOUBT = ", InputInDoubt told"
"""Behind one that recovers: a call of input said that what went before it is in doubt, and nothing was repeated."""

REPEATED = ", a key repeated"
"""Behind one that works: a key whose release came late repeated meanwhile, as X does it (neko-protocol 5)."""


def connect(error: type[Exception]) -> str:
    """``open_session`` raises exactly this."""
    return f"connect: {error.__name__}"


def lost(error: type[NekoError]) -> str:
    """The block ends with ``SessionLost`` because of this; by itself: because the media connection has ended."""
    return f"lost: {error.__name__}"


def call(error: type[Exception]) -> str:
    """The call that was under way raises this, and the session goes on."""
    return f"call: {error.__name__}"


# -- how long it may take, in seconds from the fault on

AT_ONCE = "at once"
"""And a goodbye."""
SOON = "soon"
"""Two seconds: a fault that passes, a second try."""
CONNECT_TIMEOUT = "connect timeout"
LINK_WATCH = "link watch"
"""A silent WebSocket is asked after 5 s, and given up 6 s later."""
MEDIA_WATCH = "media watch"
"""A silent media connection is asked after 1.5 s, and given up 2.4 s later; the server says so after 5.2."""
MANY_LOSSES = "many losses"
"""SCTP waits a second, two, four before it sends again what was lost again; a text is hundreds of datagrams."""
RETRIED = "retried"
"""A try that runs into the connect timeout, and the next, which does not."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One step, one fault, one policy."""

    step: str
    fault: str
    policy: str = "off"

    def __str__(self) -> str:
        return f"{self.step}-{self.fault}-{self.policy}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may come of a cell, in what time, and why."""

    outcomes: frozenset[str]
    within: str
    why: str
    rigs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Impossible:
    """There is no such cell, and why."""

    why: str


def cells() -> Iterator[Cell]:
    """Every combination, the impossible ones too."""
    for policy in POLICIES:
        for step in STEPS:
            for fault in FAULTS:
                yield Cell(step, fault, policy)

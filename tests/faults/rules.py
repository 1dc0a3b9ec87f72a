"""What each cell of the fault matrix allows. Written by hand, from the protocol, before the first run.

The first rule that fits decides. ``off`` is for ``reconnect=None``; ``on`` for a session that reconnects, where it
differs; ``again`` for one that is being made anew at that moment. Until a session has been up once, nothing is tried
twice: the handshake's ``on`` is its ``off``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trio

from neko_trio.errors import (
    ConnectionRejected,
    ConnectTimeout,
    IceFailed,
    Kicked,
    LoginRefused,
    NekoError,
    NoOffer,
    NotNeko,
    ProtocolViolation,
    Replaced,
    ServerUnreachable,
    SessionLost,
    VideoStalled,
)
from tests.faults.table import (
    ANSWERS,
    AT_ONCE,
    BEFORE_THE_LINK,
    BEFORE_THE_OFFER,
    CLOSES,
    CONNECT_TIMEOUT,
    CONNECTING,
    DISCONNECTS,
    FAULTS,
    HANDSHAKE,
    IN_DOUBT,
    LATER,
    LINK_WATCH,
    MANY_LOSSES,
    MEDIA_WATCH,
    NEW_LINK,
    NEW_LOGIN,
    NEW_PEER,
    ON_THE_LINK,
    REPEATED,
    RETRIED,
    RUNNING,
    SOON,
    STEPS,
    UDP,
    WORKS,
    Allowed,
    Cell,
    Impossible,
    call,
    connect,
    lost,
)

ALL = tuple(STEPS)
UNREACHABLE = ServerUnreachable
TOO_SLOW = call(trio.TooSlowError)
AGAIN = (NEW_LINK, NEW_LOGIN, NEW_PEER)
"""A session that was being made anew is up in the end, whichever try it was."""
TOLD_OR_NOT = (NEW_LINK, NEW_LINK + IN_DOUBT)
"""While typing: whether the fault meets input that no barrier has confirmed is a matter of microseconds."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the cells of these steps and faults allow."""

    steps: Sequence[str]
    faults: Sequence[str]
    why: str
    off: Sequence[str] = ()
    within: str = AT_ONCE
    on: Sequence[str] | None = None
    on_within: str | None = None
    again: Sequence[str] | None = None
    again_within: str = SOON
    impossible: bool = False


def never(steps: Sequence[str], faults: Sequence[str], why: str) -> Rule:
    """There are no such cells."""
    return Rule(steps, faults, why, impossible=True)


def said(reason: str, error: type[NekoError], cure: str | None = None) -> Iterator[Rule]:
    """What becomes of a session that the server ends with a word; ``cure``: what helps against it, if anything."""
    fault, steps = (f"disconnect_{reason}",), (*BEFORE_THE_OFFER, *CONNECTING)
    why = "the server has said why" + (", and no retry cures it" if cure is None else "")
    again = [lost(error)] if cure is None else AGAIN
    yield Rule(steps, fault, why, [connect(error)], again=again)
    on = [connect(error), lost(error) if cure is None else cure]
    within = AT_ONCE if cure is None else SOON
    either = [connect(error), lost(error)]
    yield Rule(("video_enable",), fault, why, either, on=on, on_within=within, again=again)
    if cure is not None:
        typed = [cure, cure + IN_DOUBT]
        yield Rule(("typing",), fault, f"{why}; input that was not confirmed is in doubt", [lost(error)], on=typed)
    if cure == NEW_LOGIN:
        whose = f"{why}; a call with the old token fails, and is not repeated"
        yield Rule(("rest",), fault, whose, [lost(error)], on=[call(UNREACHABLE), call(LoginRefused)], on_within=SOON)
    yield Rule(RUNNING, fault, why, [lost(error)], on=[cure or lost(error)], on_within=within, again=again)


_NO_LINK_YET = "there is no WebSocket yet on which it could come"
_ENDS = ("reset", "fin", "cut")
_SILENCES = ("half_open", "stall_long")

RULES: list[Rule] = [
    # -- what cannot be
    never(
        BEFORE_THE_LINK,
        (*CLOSES, *DISCONNECTS, "second_offer", "signal_offer", "signal_restart", "offer_withdrawn"),
        _NO_LINK_YET,
    ),
    never(BEFORE_THE_LINK, ("message_40mb",), "the limit of HTTP answers is lower: message_20mb is beyond it"),
    never(("dial",), ("fin", "cut"), "a TCP connection that is closed before anything was asked: reset, but for RST"),
    never(
        ("dial",),
        ("trickle", "duplicate", "message_20mb", "garbage_text", "garbage_binary", "wrong_types", *ANSWERS),
        "the server has been asked nothing yet, and owes no message",
    ),
    never(
        [step for step in ALL if step not in ("login", "upgrade", "rest")],
        ANSWERS,
        "no HTTP answer is due at this step",
    ),
    never(
        (*BEFORE_THE_LINK, "init", "request"),
        ("reordered_candidates",),
        "the server has no candidates before signal/request",
    ),
    never(
        [step for step in ALL if step != "offer"],
        ("late_offer", "too_late_offer"),
        "the offer is due at that step alone; another one, later, is second_offer",
    ),
    never(("rest",), ("message_40mb",), "as message_40mb at running: it comes on the WebSocket, not on the call's"),
    never(
        (*BEFORE_THE_LINK, *BEFORE_THE_OFFER, *CONNECTING),
        ("garbage_data",),
        "the data channel opens when the peer is connected",
    ),
    never(
        (*BEFORE_THE_LINK, *BEFORE_THE_OFFER, "remote_description", "answer"),
        ("peer_loud", "peer_silent"),
        "no packet of a peer connection has been sent yet: the server ends it by signal/close, offer_withdrawn",
    ),
    never(
        ("candidates", "ice", "dtls"),
        ("peer_loud",),
        "without DTLS there is no DTLS close: the server says it by signal/close, offer_withdrawn",
    ),
    never(
        (*BEFORE_THE_LINK, *BEFORE_THE_OFFER, "remote_description", "answer", "candidates"),
        UDP,
        "no datagram has been sent yet: it strikes the first ones, which are those of the step ice",
    ),
    never(("video_enable",), UDP, "no datagram tells it from first_frame"),
    never(("renegotiation",), UDP, "it is on the WebSocket, and what UDP does beside it is what it does at running"),
    never(("rest",), UDP, "the call is on TCP, and what UDP does beside it is what it does at running"),
    # -- the end: nobody is left to be told
    Rule(
        ("closing",),
        tuple(FAULTS),
        "the block has ended well; what fails in the goodbye is logged, and close_timeout bounds it",
        (WORKS, LATER),
        SOON,
    ),
    # -- login: one HTTP exchange (docstring of signaling.rest.login; neko-protocol 1)
    Rule(
        ("login", "dial", "upgrade"),
        ("reset", "fin", "cut"),
        "TCP has ended before the answer was whole",
        [connect(UNREACHABLE)],
        again=AGAIN,
    ),
    Rule(
        ("login", "dial", "upgrade"),
        _SILENCES,
        "nobody answers, and nothing says more about it than the step",
        [connect(ConnectTimeout)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(BEFORE_THE_LINK, ("stall_short", "trickle"), "slow is not wrong", [LATER], SOON, again=AGAIN),
    Rule(
        BEFORE_THE_LINK,
        ("restart_kept", "restart_forgotten"),
        "no port listens while it is down; what it was asked before has died with it",
        [connect(UNREACHABLE)],
        again=AGAIN,
    ),
    Rule(("login",), ("duplicate",), "HTTP ends an answer by its length; the rest is not read", [WORKS], again=AGAIN),
    Rule(
        ("upgrade",),
        ("duplicate",),
        "behind the 101 everything is frames, and a second 101 is none",
        [connect(UNREACHABLE)],
        again=AGAIN,
    ),
    Rule(
        BEFORE_THE_LINK,
        ("garbage_text", "garbage_binary", "garbage_raw"),
        "whoever answers so is no Neko; once it was one it may be again, behind a proxy that babbles meanwhile",
        [connect(NotNeko)],
        again=AGAIN,
    ),
    Rule(
        ("login", "upgrade"),
        ("message_20mb",),
        "an answer to a login has at most a megabyte, the head of an upgrade 16 KiB: whoever sends more is no Neko",
        [connect(NotNeko)],
        again=AGAIN,
    ),
    Rule(("login", "upgrade"), ("wrong_types",), "JSON, but not Neko's", [connect(NotNeko)], again=AGAIN),
    Rule(
        ("login", "upgrade"),
        ("http_502", "http_503", "http_504"),
        "a proxy is there, and not the server behind it",
        [connect(UNREACHABLE)],
        again=AGAIN,
    ),
    Rule(
        ("login", "upgrade"),
        ANSWERS,
        "only a message in Neko's own format is a refusal of Neko's; anything else is somebody else's",
        [connect(NotNeko)],
        again=AGAIN,
    ),
    # -- a REST call: its own connection
    Rule(("rest",), _ENDS, "its TCP connection has ended; the session has another", [call(UNREACHABLE)]),
    Rule(("rest",), _SILENCES, "a call has no time limit but the caller's", [TOO_SLOW], SOON),
    Rule(("rest",), ("stall_short", "trickle"), "slow is not wrong", [LATER], SOON),
    Rule(("rest",), ("duplicate",), "the next call does not get the second answer to this one", [WORKS]),
    Rule(("rest",), ("message_20mb",), "JSON with 20 MB of blanks before it: answers may have 32", [WORKS, LATER]),
    Rule(("rest",), ("garbage_text", "garbage_binary", "garbage_raw"), "no Neko's answer", [call(NotNeko)]),
    Rule(("rest",), ("wrong_types",), "JSON of another shape than the protocol's", [call(ProtocolViolation)]),
    Rule(("rest",), ("http_502", "http_503", "http_504"), "a proxy without the server behind it", [call(UNREACHABLE)]),
    Rule(("rest",), ANSWERS, "an answer, but not in Neko's format", [call(NotNeko)]),
    Rule(
        ("rest",),
        ("restart_kept", "restart_forgotten"),
        "the call dies with the server, or meets nobody, or a dead token; what a call does is not repeated",
        [lost(UNREACHABLE)],
        on=[call(UNREACHABLE)],
        on_within=SOON,
    ),
    # -- the link ends
    Rule(
        (*BEFORE_THE_OFFER, *CONNECTING),
        (*_ENDS, *CLOSES, "garbage_raw", "message_40mb", "restart_kept", "restart_forgotten"),
        "the WebSocket has ended without a word of the server's; a close code is a proxy's, and says no more",
        [connect(UNREACHABLE)],
        again=AGAIN,
    ),
    Rule(
        ("video_enable",),
        (*_ENDS, *CLOSES, "garbage_raw", "message_40mb", "restart_kept"),
        "as before, and whether the block has been entered is a matter of microseconds",
        [connect(UNREACHABLE), lost(UNREACHABLE)],
        on=[connect(UNREACHABLE), NEW_LINK],
        on_within=SOON,
        again=AGAIN,
    ),
    Rule(
        ("video_enable",),
        ("restart_forgotten",),
        "as before",
        [connect(UNREACHABLE), lost(UNREACHABLE)],
        on=[connect(UNREACHABLE), NEW_LOGIN],
        on_within=SOON,
        again=AGAIN,
    ),
    Rule(
        ("typing",),
        (*_ENDS, *CLOSES, "garbage_raw", "message_40mb"),
        "the token lives, so a new WebSocket is all it takes; what was typed and not confirmed is in doubt",
        [lost(UNREACHABLE)],
        on=TOLD_OR_NOT,
        on_within=SOON,
    ),
    Rule(
        ("typing",),
        ("restart_kept",),
        "as a link's end; but the desktop has been away, too",
        [lost(UNREACHABLE)],
        on=TOLD_OR_NOT,
        on_within=SOON,
    ),
    Rule(
        ("typing",),
        ("restart_forgotten",),
        "the token is dead: log in again; what was typed and not confirmed is in doubt",
        [lost(UNREACHABLE)],
        on=[NEW_LOGIN, NEW_LOGIN + IN_DOUBT],
        on_within=SOON,
    ),
    Rule(
        RUNNING,
        (*_ENDS, *CLOSES, "garbage_raw", "message_40mb", "restart_kept"),
        "the token lives, so a new WebSocket is all it takes, and within 5 s the server keeps us host",
        [lost(UNREACHABLE)],
        on=[NEW_LINK],
        on_within=SOON,
        again=AGAIN,
    ),
    Rule(
        RUNNING,
        ("restart_forgotten",),
        "the server says 'session not found' to the token: log in again",
        [lost(UNREACHABLE)],
        on=[NEW_LOGIN],
        on_within=SOON,
        again=AGAIN,
    ),
    # -- the link falls silent
    Rule(
        ("init",),
        _SILENCES,
        "a WebSocket that says nothing is no Neko's",
        [connect(NotNeko)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ("request", "offer"),
        _SILENCES,
        "asked for an offer, none came",
        [connect(NoOffer)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ("remote_description", "answer"),
        _SILENCES,
        "the answer does not reach the server, so no check comes back",
        [connect(IceFailed)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ("candidates", "ice", "dtls", "video_enable", "on_demand"),
        _SILENCES,
        "the peer connects without the WebSocket, or is connected; but the video is not switched on, until the watchdog"
        " ends the link",
        [lost(UNREACHABLE)],
        LINK_WATCH,
        on=[NEW_LINK],
        again=AGAIN,
        again_within=LINK_WATCH,
    ),
    Rule(
        ("typing",),
        _SILENCES,
        "what is typed goes over the data channel, which is well; the WebSocket does not answer, and is given up",
        [lost(UNREACHABLE)],
        LINK_WATCH,
        on=TOLD_OR_NOT,
    ),
    Rule(
        RUNNING,
        _SILENCES,
        "the media go on; the WebSocket does not answer when it is asked, and is given up",
        [lost(UNREACHABLE)],
        LINK_WATCH,
        on=[NEW_LINK],
        again=AGAIN,
        again_within=LINK_WATCH,
    ),
    Rule(ON_THE_LINK, ("stall_short", "trickle"), "slow is not wrong", [WORKS, LATER], SOON, again=AGAIN),
    # -- messages that should not be
    Rule(
        ON_THE_LINK,
        ("duplicate",),
        "a second system/init of the same session, a second offer, candidate or answer changes nothing",
        [WORKS],
        again=AGAIN,
    ),
    Rule(
        ON_THE_LINK,
        ("reordered_candidates",),
        "candidates have no order (RFC 8838); those that are known are known",
        [WORKS],
        again=AGAIN,
    ),
    Rule(("offer",), ("late_offer",), "in time is in time", [LATER], SOON, again=AGAIN, again_within=RETRIED),
    Rule(
        ("offer",),
        ("too_late_offer",),
        "asked for an offer, none came in time",
        [connect(NoOffer)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ON_THE_LINK,
        ("second_offer",),
        "an offer nobody asked for is counted and ignored (design, law 1)",
        [WORKS],
        again=AGAIN,
    ),
    Rule(
        ON_THE_LINK,
        ("signal_offer",),
        "before the request ignored; before any provide it is the offer; after it, answered on the same peer",
        [WORKS],
        again=AGAIN,
    ),
    Rule(ON_THE_LINK, ("signal_restart",), "never asked for, so ignored (design, law 1)", [WORKS], again=AGAIN),
    Rule(
        BEFORE_THE_OFFER,
        ("offer_withdrawn",),
        "before the offer it speaks of a peer of before: ignored",
        [WORKS],
        again=AGAIN,
    ),
    Rule(
        CONNECTING,
        ("offer_withdrawn",),
        "the server has given the peer up before it was connected",
        [connect(IceFailed)],
        again=AGAIN,
    ),
    Rule(
        ("video_enable",),
        ("offer_withdrawn", "peer_loud"),
        "the peer is gone, and whether the block has been entered is a matter of microseconds",
        [connect(SessionLost), lost(SessionLost)],
        on=[connect(SessionLost), NEW_PEER],
        on_within=SOON,
        again=AGAIN,
    ),
    Rule(
        ("typing",),
        ("offer_withdrawn", "peer_loud"),
        "a new offer on the same WebSocket; what was typed and not confirmed is in doubt",
        [lost(SessionLost)],
        on=[NEW_PEER, NEW_PEER + IN_DOUBT],
        on_within=SOON,
    ),
    Rule(
        RUNNING,
        ("offer_withdrawn", "peer_loud"),
        "the peer is gone: a new offer on the same WebSocket",
        [lost(SessionLost)],
        on=[NEW_PEER],
        on_within=SOON,
        again=AGAIN,
    ),
    Rule(
        ON_THE_LINK,
        ("message_20mb", "garbage_text", "garbage_binary", "garbage_data"),
        "what cannot be read, or means nothing, is counted and skipped",
        [WORKS, LATER],
        SOON,
        again=AGAIN,
    ),
    Rule(
        ("init", "offer"),
        ("wrong_types",),
        "the one message that is waited for cannot be read, and there will be no other",
        [connect(ProtocolViolation)],
        again=[lost(ProtocolViolation)],
    ),
    Rule(ON_THE_LINK, ("wrong_types",), "what cannot be read is counted and skipped", [WORKS], again=AGAIN),
    # -- the server says why (docstrings of errors and of signaling.refusals)
    *said("session_not_found", LoginRefused, NEW_LOGIN),
    *said("no_authentication", ConnectionRejected),
    *said("login_disabled", LoginRefused),
    *said("connection_disabled", ConnectionRejected),
    *said("already_connected", ConnectionRejected, NEW_LINK),
    *said("replaced", Replaced),
    *said("kicked", Kicked),
    *said("deleted", Kicked),
    *said("profile_changed", ConnectionRejected),
    *said("shutdown", ConnectionRejected, NEW_LINK),
    *said("unknown", ConnectionRejected),
    # -- the peer falls silent
    Rule(
        ("candidates", "ice", "dtls"),
        ("peer_silent",),
        "no check, or no handshake, is answered",
        [connect(IceFailed)],
        CONNECT_TIMEOUT,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ("typing",),
        ("peer_silent",),
        "nothing is confirmed, and nothing comes: given up by the watchdog, or by the server",
        [lost(SessionLost)],
        MEDIA_WATCH,
        on=[NEW_PEER, NEW_PEER + IN_DOUBT],
    ),
    Rule(
        ("video_enable", *RUNNING),
        ("peer_silent",),
        "nothing comes: given up by the watchdog after 3.9 s, or by the server after 5.2",
        [lost(SessionLost)],
        MEDIA_WATCH,
        on=[NEW_PEER],
        again=AGAIN,
        again_within=MEDIA_WATCH,
    ),
    # -- the network under the peer
    Rule(
        ("ice", "dtls"),
        ("udp_blackhole",),
        "no datagram, no connection",
        [connect(IceFailed)],
        CONNECT_TIMEOUT,
        again=[lost(IceFailed), lost(ConnectTimeout), lost(NoOffer)],
        again_within=RETRIED,
    ),
    Rule(
        ("typing",),
        ("udp_blackhole",),
        "nothing is confirmed, and no new peer gets through either",
        [lost(SessionLost)],
        MEDIA_WATCH,
        on=[lost(IceFailed), lost(ConnectTimeout), lost(NoOffer)],
        on_within=RETRIED,
    ),
    Rule(
        RUNNING,
        ("udp_blackhole",),
        "nothing comes: as peer_silent; and no new peer gets through either, until the policy's limit, which cuts the"
        " last try where it stands",
        [lost(SessionLost)],
        MEDIA_WATCH,
        on=[lost(IceFailed), lost(ConnectTimeout), lost(NoOffer)],
        on_within=RETRIED,
        again=[lost(IceFailed), lost(ConnectTimeout), lost(NoOffer)],
        again_within=RETRIED,
    ),
    Rule(
        ("typing",),
        ("udp_blackhole_short", "udp_loss_5", "udp_loss_30", "udp_reorder", "udp_duplicate", "udp_corrupt"),
        "what was lost is sent again and the text is whole and in order; but press and release are two datagrams, and"
        " a key whose release is late repeats at the server",
        [WORKS, LATER, WORKS + REPEATED, LATER + REPEATED],
        MANY_LOSSES,
    ),
    Rule(
        ("ice", "dtls", *RUNNING),
        ("udp_blackhole_short",),
        "STUN, DTLS and SCTP send again what was lost; less than a second is no reason to give up",
        [WORKS, LATER],
        MEDIA_WATCH,
        again=AGAIN,
        again_within=MEDIA_WATCH,
    ),
    Rule(
        ("ice", "dtls"),
        ("udp_loss_30",),
        "each flight of DTLS is a few datagrams, of which every third is lost, and goes out again after 1, 2 and 4 s:"
        " one in some dozens does not get through in time; and a picture may take longer than anybody waits for one",
        [WORKS, LATER, connect(IceFailed), call(VideoStalled)],
        CONNECT_TIMEOUT,
        again=[*AGAIN, call(VideoStalled)],
        again_within=RETRIED,
    ),
    Rule(
        ("ice", "dtls"),
        ("udp_corrupt",),
        "what is damaged is dropped and sent again, but for the first messages of DTLS: those are protected by its last"
        " ones (RFC 5246 §7.4.9), and a bit turned over in them ends the handshake, on whichever side it is found",
        [WORKS, LATER, connect(ProtocolViolation), connect(IceFailed)],
        MEDIA_WATCH,
        again=AGAIN,
        again_within=RETRIED,
    ),
    Rule(
        ("ice", "dtls", *RUNNING),
        ("udp_loss_5", "udp_loss_30", "udp_reorder", "udp_duplicate", "udp_corrupt"),
        "what was lost or damaged is sent again, what comes twice is taken once",
        [WORKS, LATER],
        MEDIA_WATCH,
        again=AGAIN,
        again_within=MEDIA_WATCH,
    ),
]

AGAIN_IS_FOR = "a step of the handshake: the others are those of a session that runs"


def allowed(cell: Cell) -> Allowed | Impossible:
    """What may come of a cell. Raises :class:`LookupError` for one that nobody has thought of."""
    rule = rule_for(cell)
    if rule.impossible:
        return Impossible(rule.why)
    match cell.policy:
        case "off":
            outcomes, within = rule.off, rule.within
        case "on":
            outcomes = rule.off if rule.on is None else rule.on
            within = rule.on_within or rule.within
        case _ if cell.step not in HANDSHAKE:
            return Impossible(AGAIN_IS_FOR)
        case _:
            if rule.again is None:
                raise LookupError(f"nothing is said about {cell}")
            outcomes, within = rule.again, rule.again_within
    return Allowed(frozenset(outcomes), within, rule.why, rigs(cell))


_OF_HTTP = (
    "reset",
    "fin",
    "cut",
    "half_open",
    "stall_short",
    "stall_long",
    "trickle",
    "duplicate",
    "message_20mb",
    "garbage_text",
    "garbage_binary",
    "garbage_raw",
    "wrong_types",
    *ANSWERS,
)
_OF_BYTES = ("reset", "fin", "cut", "half_open", "stall_short", "stall_long", "trickle", "message_20mb")
_ON_SOCKETS = (*_OF_BYTES, "message_40mb", "garbage_raw", "restart_kept", "restart_forgotten", "peer_silent")


def rigs(cell: Cell) -> frozenset[str]:
    """Which rigs run a possible cell: ``virtual``, ``sockets`` or both.

    In virtual time a WebSocket has no bytes: how its stream ended is what the client's own WebSocket makes of it, 1006
    for RST, FIN and half a frame, 1002 for bytes that are no frame, 1009 for a message beyond the limit. That it does
    is what the same faults on sockets show, at those steps that differ on the wire.
    """
    if cell.step in BEFORE_THE_LINK or cell.fault in UDP:
        return frozenset({"sockets"})
    if cell.step == "rest" and cell.fault in _OF_HTTP:
        return frozenset({"sockets"})
    running = cell.step in ("running", "control", "typing") and cell.policy != "again"
    handshake = cell.step in ("init", "offer", "closing") and cell.policy == "off"
    if cell.fault in _ON_SOCKETS and (running or handshake):
        return frozenset({"virtual", "sockets"})
    return frozenset({"virtual"})


def rule_for(cell: Cell) -> Rule:
    """The first rule that fits."""
    for rule in RULES:
        if cell.step in rule.steps and cell.fault in rule.faults:
            return rule
    raise LookupError(f"nothing is said about {cell}")

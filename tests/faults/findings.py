"""What the matrix has found and nobody has mended yet: each is told as an expected failure, and has to be found."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.faults.table import Cell


@dataclass(frozen=True, slots=True)
class Finding:
    """Verdicts that look like this are known."""

    name: str
    verdict: re.Pattern[str]
    why: str
    cell: Cell
    """One in which it is found each time."""
    rig: str = "virtual"


_SAID = "(?:ConnectionRejected|Kicked|Replaced|LoginRefused)"

FINDINGS: tuple[Finding, ...] = (
    Finding(
        "lost without a cause",
        re.compile(r"lost: SessionLost instead of .*lost: (?!SessionLost)"),
        "SessionLost has no __cause__ where a caller was sending or asking when the link ended: nothing says why",
        Cell("running", "reset", "off"),
    ),
    Finding(
        "connect ends with SessionLost",
        re.compile(r"connect: SessionLost instead of connect: ServerUnreachable"),
        "a WebSocket that ends while the handshake sends leaves open_session as SessionLost",
        Cell("request", "close_1001", "off"),
    ),
    Finding(
        "the link's end is not the session's",
        re.compile(rf"call: {_SAID} instead of"),
        "whoever sends when the server says why gets that word itself, not SessionLost, even when the session recovers",
        Cell("running", "disconnect_kicked", "off"),
    ),
    Finding(
        "a right taken for a token",
        re.compile(
            r"recovers by a new login(, InputInDoubt told)? instead of (connect: LoginRefused or )?lost: LoginRefused"
            r"|connect: LoginRefused, and left behind|call: ServerUnreachable instead of lost: LoginRefused"
        ),
        "'session login disabled' is answered by a new login, and on a first connect the old one is not logged out",
        Cell("on_demand", "disconnect_login_disabled", "on"),
    ),
    Finding(
        "asked after ten seconds",
        re.compile(r"recovers by a new WebSocket, but only after 16\.\d+ s"),
        "LINK_QUIET is counted from the second window on that nothing came in: it takes 5 to 10 s",
        Cell("running", "half_open", "on"),
    ),
    Finding(
        "a hold's own presses",
        re.compile(r"call: InputInDoubt instead of recovers by a new WebSocket \(the media go on"),
        "the keys that a hold presses again every 8 s are not confirmed, and put input in doubt that nobody sent",
        Cell("control", "half_open", "on"),
    ),
    Finding(
        "an answer too many",
        re.compile(r"call: ProtocolViolation instead of works \(the next call"),
        "what comes behind an answer is taken for the answer to the next call on that connection (RFC 9112 section 9.2"
        " forbids it): it stands in h11's buffer, where the pool does not look",
        Cell("rest", "duplicate", "off"),
        "sockets",
    ),
    Finding(
        "no patience while it is made anew",
        re.compile(r"call: VideoStalled instead of (recovers by a new offer|lost: )"),
        "VideoStalled counts on while the connection is made anew, when pictures should simply wait",
        Cell("first_frame", "udp_blackhole", "again"),
        "sockets",
    ),
)


def known(verdict: str) -> Finding | None:
    """The finding that it is an instance of."""
    return next((finding for finding in FINDINGS if finding.verdict.match(verdict)), None)

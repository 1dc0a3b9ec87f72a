"""Whether an offer hangs together: what aiortc takes on trust and trips over later, in a task that nobody awaits."""

from __future__ import annotations

from aiortc.sdp import MediaDescription, SessionDescription

from neko_trio.protocol import Malformed
from neko_trio.protocol.sdp import without_candidates

__all__ = ["check_offer"]

SECTION_LIMIT = 16
"""Media sections of one offer; aiortc opens a socket's worth of objects for each. Neko sends three."""


def check_offer(sdp: str) -> None:
    """Raise :class:`Malformed` for an offer that one peer connection with one transport cannot be made from.

    Each media section needs credentials, a fingerprint, a setup role that leaves us the DTLS server's, and a name of
    its own; the bundle must hold all of these names and no other (RFC 8839 §5.4, RFC 8842 §5, RFC 9143 §7). Takes a
    tenth of a millisecond.
    """
    try:
        description = SessionDescription.parse(without_candidates(sdp))
    except (ValueError, KeyError, IndexError, AttributeError, AssertionError, TypeError, StopIteration) as error:
        raise Malformed(f"SDP: an attribute cannot be read ({type(error).__name__})") from None  # its text quotes it
    if len(description.media) > SECTION_LIMIT:
        raise Malformed(f"SDP: more than {SECTION_LIMIT} media sections")
    for media in description.media:
        reason = _why_unusable(media)
        if reason is not None:
            raise Malformed(f"SDP: the {media.kind} section has {reason}")
    names = [media.rtp.muxId for media in description.media]
    if len(set(names)) != len(names):
        raise Malformed("SDP: two media sections have the same mid")
    bundles = [group.items for group in description.group if group.semantic == "BUNDLE"]
    bundled = sorted(map(str, bundles[0])) if bundles else names[:1]
    if bundled != sorted(names):
        raise Malformed("SDP: the media sections are not one bundle")


def _why_unusable(media: MediaDescription) -> str | None:
    if not media.rtp.muxId:
        return "no mid"
    if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
        return "no ice-ufrag or ice-pwd"
    if media.dtls is None or not media.dtls.fingerprints:
        return "no fingerprint or setup role"
    if media.dtls.role == "server":
        return "the setup role that is ours (passive)"
    if media.kind in ("audio", "video") and media.direction is None:
        return "no direction"
    if media.kind == "application" and media.profile != "DTLS/SCTP" and media.sctp_port is None:
        return "no sctp-port"
    return None

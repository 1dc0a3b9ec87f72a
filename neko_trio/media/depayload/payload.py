"""What each codec's depayloader makes of an RTP payload."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BadPayload", "Payload"]


class BadPayload(ValueError):
    """The payload is none of this codec's, or the payloads of one picture do not fit together."""


class Payload(NamedTuple):
    """What one RTP packet carries."""

    data: bytes
    """Its piece of the picture, as the format's ``join`` wants it."""
    opens_key: bool
    """A picture can be started here without knowing anything before: surely its first piece, and of a keyframe."""
    key: bool
    """Carries a part of a keyframe that tells so (H264: of an IDR picture)."""

"""The one error of this package."""

from __future__ import annotations

__all__ = ["Malformed"]

_LONGEST_NAME = 80


class Malformed(ValueError):
    """Bytes, text or a value that the protocol does not allow.

    ``event`` is the name of the message when it is known, ``reason`` says what is wrong and where. Neither holds a
    value that was received, so that no text of a user and no credential gets into a log.
    """

    def __init__(self, reason: str, *, event: str | None = None) -> None:
        if event is not None and len(event) > _LONGEST_NAME:
            event = event[:_LONGEST_NAME] + "…"
        super().__init__(f"{event}: {reason}" if event else reason)
        self.event = event
        self.reason = reason

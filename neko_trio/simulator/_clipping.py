"""What a clipboard holds, form by form, as X programs see it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Clipping"]


@dataclass(frozen=True, slots=True)
class Clipping:
    """The forms that the clipboard's owner answers with, as bytes; ``None``: not that one."""

    text: bytes | None = None
    html: bytes | None = None
    image: bytes | None = None

    @classmethod
    def of_xclip(cls, content: bytes) -> Clipping:
        """What xclip owns: it answers every form with the same bytes (seen). The server sets the clipboard by it."""
        return cls(content, content, content)

    @property
    def shown(self) -> str | None:
        """The text as the server tells it: what is no UTF-8 is replaced (Go's ``encoding/json``)."""
        return None if self.text is None else self.text.decode("utf-8", "replace")

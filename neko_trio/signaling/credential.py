"""What proves to the server who we are: a bearer token or cookies. Sent in headers only, shown nowhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neko_trio.errors import InvalidInput

__all__ = ["Credential"]

_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)
# RFC 6265 section 4.1.1, without the optional quotes, which are then part of the value.
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e\"]*", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Made by :meth:`bearer` or :meth:`cookies`; ``repr`` names the kind only.

    The values are checked when it is made, because the HTTP library would repeat a bad header in its error.
    """

    _headers: tuple[tuple[str, str], ...]

    @classmethod
    def bearer(cls, token: str) -> Credential:
        """``Authorization: Bearer TOKEN``, spelled so: the server compares the word case-sensitively.

        Raises :class:`InvalidInput` for a token that cannot stand in a header.
        """
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise InvalidInput("The token is empty or contains blanks or characters that are not printable ASCII.")
        return cls((("Authorization", f"Bearer {token}"),))

    @classmethod
    def cookies(cls, cookies: dict[str, str]) -> Credential:
        """``Cookie: NAME=VALUE``, of a server with ``session.cookie.enabled`` (its login answer has no token then).

        Raises :class:`InvalidInput` for no cookie, or one that cannot stand in a header.
        """
        if not cookies:
            raise InvalidInput("There is no cookie.")
        for name, value in cookies.items():
            if not _COOKIE_NAME.fullmatch(name) or not _COOKIE_VALUE.fullmatch(value):
                raise InvalidInput("A cookie's name or value cannot stand in a header.")
        return cls((("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())),))

    def headers(self) -> list[tuple[str, str]]:
        """The headers to send, on REST calls and on the WebSocket's upgrade alike."""
        return list(self._headers)

    def __repr__(self) -> str:
        kind = "bearer" if self._headers[0][0] == "Authorization" else "cookies"
        return f"<Credential {kind}>"

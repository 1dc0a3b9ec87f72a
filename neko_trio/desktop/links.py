"""Opening a link in the desktop's own browser: the server's openinapp plugin."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import RestPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import FeatureOff, InvalidInput, NotAllowed

if TYPE_CHECKING:
    from neko_trio._state import State

LONGEST = 32 * 1024
"""Characters of a link. It becomes an argument of a command at the server; browsers take less."""

_SPACES = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff]")


class Links:
    """Links for the desktop to open. Needs the host role, or implicit hosting."""

    def __init__(
        self, state: StateCell[State], inputs: InputPort, rest: RestPort, *, admit: Callable[[], None]
    ) -> None:
        self._state = state
        self._inputs = inputs
        self._rest = rest
        self._admit = admit

    async def open(self, url: str) -> None:
        """See :meth:`neko_trio.Session.open_link`."""
        link = check_link(url)
        if self._state.value.opens_links is None:
            await self._inputs.ask()  # the server says so right after the connect, before it answers this
        if not self._state.value.opens_links:
            raise FeatureOff(
                "This server does not open links.",
                hint="Its owner can turn it on: openinapp.enabled.",
                step="open_link",
            )
        self._admit()
        await self._inputs.flush()  # what was typed before comes before
        self._admit()
        await self._rest.call(
            "POST",
            "/api/openinapp/openlink",
            json={"text": link},
            step="open_link",
            refusals={
                400: lambda message: InvalidInput(f"The server does not take this link: {message!r}."),
                403: lambda message: NotAllowed(f"The server refuses it: {message!r}.", step="open_link"),
                500: lambda message: FeatureOff(
                    f"The server could not start its command for links: {message!r}.",
                    hint="Its owner names the command: openinapp.open_command.",
                    step="open_link",
                ),
            },
        )


def check_link(url: object) -> str:
    """``url``, if it is a whole http or https URL; raises :class:`InvalidInput` otherwise. Its text stands in no error:
    links carry secrets."""
    if not isinstance(url, str):
        raise InvalidInput(f"A link is a text, not {type(url).__name__}.")
    if len(url) > LONGEST:
        raise InvalidInput(f"A link has at most {LONGEST} characters, not {len(url)}.")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or _SPACES.search(url):
        raise InvalidInput(
            "This is no link that the server opens.", hint='Write "https://example.org/path", without spaces.'
        )
    return url

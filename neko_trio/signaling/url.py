"""The server's base URL, checked once: everything behind it builds paths and headers from these four fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote, unquote, urlsplit

from neko_trio.errors import InvalidInput

__all__ = ["ServerUrl", "parse_server_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_.~-]+", re.ASCII)  # RFC 6874 §2
# What may stand unescaped in a path (RFC 3986 section 3.3), and "%", so that escapes of the caller stay as they are.
_PATH_SAFE = "/%:@!$&'()*+,;=~"
_EXAMPLE = "Write it as http://HOST:PORT or https://HOST[:PORT][/PREFIX]."


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a Neko server lives.

    ``host`` is a name in ASCII (IDNA), or an address without brackets; ``prefix`` is empty or begins with ``/`` and
    ends without one, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "https"

    @property
    def tls_name(self) -> str:
        """The name that the server's certificate must carry (an IPv6 zone is none of the server's business)."""
        return self.host.partition("%")[0]

    @property
    def authority(self) -> str:
        """The ``Host`` header: the port only where it is not the scheme's default (RFC 9110 section 7.2)."""
        host = f"[{self.tls_name}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def path(self, path: str) -> str:
        """``path`` (which begins with ``/``) below the prefix: what stands in the request line."""
        return f"{self.prefix}{path}"

    def http_url(self, path: str) -> str:
        """The absolute URL of ``path``."""
        host = self.host.replace("%", "%25")
        host = f"[{host}]" if ":" in host else host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path(path)}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_server_url(text: str) -> ServerUrl:
    """Read ``http(s)://HOST[:PORT][/PREFIX]``.

    Raises :class:`InvalidInput`, with a hint for the usual slips. The text itself is never repeated where it may hold
    a password or a token, that is when there is an ``@`` or a query in it.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"The server's URL must be a string, not {type(text).__name__}.", hint=_EXAMPLE)
    text = text.strip()
    if not text:
        raise InvalidInput("The server's URL is empty.", hint=_EXAMPLE)
    # urlsplit() would drop some of these silently, and none may reach a request line.
    if any(ch <= " " or ch == "\x7f" for ch in text) or "\\" in text:
        raise InvalidInput("The server's URL contains a blank, a backslash or a control character.", hint=_EXAMPLE)
    scheme = _scheme(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its message would repeat the text.
        raise InvalidInput("The server's URL has a bad host or port.", hint=_EXAMPLE) from None
    if "@" in parts.netloc:
        raise InvalidInput(
            "The server's URL must not contain a user name or password.",
            hint="Pass username= and password= (or token=) instead.",
        )
    if "?" in text or "#" in text:
        raise InvalidInput(
            "The server's URL must not have a query or a fragment.",
            hint="Give the base URL alone; a password or token goes into password= or token=.",
        )
    if not host:
        raise InvalidInput("The server's URL names no host.", hint=_EXAMPLE)
    if port == 0:
        raise InvalidInput("The server's URL names port 0.", hint=_EXAMPLE)
    return ServerUrl(scheme, _host(host), port or _DEFAULT_PORTS[scheme], _prefix(parts.path))


def _scheme(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    if not separator:
        # Not printable: half a surrogate pair, which no terminal and no log file takes.
        shown = text if text.isprintable() and not set("@?#") & set(text) else "HOST:PORT"
        raise InvalidInput("The server's URL has no scheme.", hint=f"Write http://{shown} or https://{shown}.")
    scheme = scheme.lower()
    if scheme in _DEFAULT_PORTS:
        return scheme
    if scheme in ("ws", "wss"):
        right = "http" if scheme == "ws" else "https"
        raise InvalidInput(
            f"The server's URL begins with {scheme}://.",
            hint=f"Give its base URL, which begins with {right}:// and has no /api/ws at its end.",
        )
    raise InvalidInput("The server's URL must begin with http:// or https://.", hint=_EXAMPLE)


def _host(host: str) -> str:
    if ":" in host:
        address, _, zone = unquote(host).partition("%")
        try:
            IPv6Address(address)
            if zone and not _ZONE.fullmatch(zone):
                raise ValueError
        except ValueError:
            raise InvalidInput("The server's URL has a bad IPv6 address.", hint=_EXAMPLE) from None
        return f"{address}%{zone}" if zone else address
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise InvalidInput("The server's URL has a bad host name.", hint=_EXAMPLE) from None
    if not _HOST_NAME.fullmatch(name):
        raise InvalidInput("The server's URL has a bad host name.", hint=_EXAMPLE)
    return name


def _prefix(path: str) -> str:
    prefix = path.rstrip("/")
    # REST and WebSocket clients disagree on whether "." and ".." are resolved before sending.
    if any(segment in (".", "..") for segment in prefix.split("/")):
        raise InvalidInput("The server's URL has '.' or '..' in its path.", hint="Write the path out.")
    try:
        return quote(prefix, safe=_PATH_SAFE)
    except UnicodeEncodeError:
        raise InvalidInput("The server's URL has a path that is no Unicode text.", hint=_EXAMPLE) from None

"""TCP and TLS to the server, and what their failures mean. Resolving happens here, in a thread trio may abandon."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Iterator, Sequence
from socket import gaierror

import trio

from neko_trio._services import interrupt_in
from neko_trio.errors import NekoError, ServerUnreachable
from neko_trio.signaling.url import ServerUrl

__all__ = ["Connection", "connect_failure", "open_stream", "tls_context"]

Connection = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def tls_context(url: ServerUrl, ssl_context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """The caller's context, else a fresh default one (which reads the system's certificates); ``None`` for http."""
    if not url.secure:
        return None
    return ssl.create_default_context() if ssl_context is None else ssl_context


async def open_stream(
    url: ServerUrl,
    *,
    ssl_context: ssl.SSLContext | None = None,
    addresses: Sequence[str] | None = None,
    tcp_limit: float = math.inf,
) -> tuple[Connection, tuple[str, int]]:
    """Connect to the server; returns the stream and the peer's address and port.

    ``addresses`` are tried one after the other instead of resolving the host. Raises :class:`ServerUnreachable`.
    Cancelling leaves nothing open. No time limit but the caller's, and ``tcp_limit``: seconds for the name and TCP.
    """
    tcp: trio.SocketStream | None = None
    with trio.move_on_after(tcp_limit):
        try:
            tcp = await _open_tcp(url, addresses)
        except OSError as error:
            raise connect_failure(url, error, step="dial") from None
        except BaseExceptionGroup as group:  # trio's own nursery of tries: a Ctrl-C in it leaves bare
            interrupt = interrupt_in(group)
            if interrupt is None:
                raise
            raise interrupt from None  # it struck one of trio's own tasks
    if tcp is None:
        raise ServerUnreachable(
            f"{url.host} port {url.port} did not answer within {tcp_limit:.1f} s.",
            hint="Is the network there, and does a firewall drop what is sent to that port?",
            step="dial",
        )
    try:
        peer = tcp.socket.getpeername()
        address = (str(peer[0]), int(peer[1]))
        context = tls_context(url, ssl_context)
        if context is None:
            return tcp, address
        # https_compatible: Go's server, like all HTTP servers, closes without TLS's own goodbye.
        tls = trio.SSLStream(tcp, context, server_hostname=url.tls_name, https_compatible=True)
        await tls.do_handshake()
    except (OSError, trio.BrokenResourceError) as error:
        tcp.socket.close()
        raise connect_failure(url, error, step="dial") from None
    except BaseException:  # cancelled, too: nothing stays open
        tcp.socket.close()
        raise
    return tls, address


async def _open_tcp(url: ServerUrl, addresses: Sequence[str] | None) -> trio.SocketStream:
    if not addresses:
        return await trio.open_tcp_stream(url.host, url.port)
    failures: list[OSError] = []
    for address in addresses:
        try:
            return await trio.open_tcp_stream(address, url.port)
        except OSError as error:
            failures.append(error)
    raise OSError("all addresses failed") from ExceptionGroup("addresses", failures)


def connect_failure(url: ServerUrl, error: BaseException, *, step: str) -> NekoError:
    """The typed error for a failed connect, from whatever the libraries wrapped around the operating system's."""
    causes = list(_causes(error))
    where = f"{url.host} port {url.port}"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _tls_failure(url, cause, step)
    for cause in causes:
        if isinstance(cause, gaierror):
            return ServerUnreachable(
                f"The name {url.host!r} cannot be resolved: {cause.strerror or cause}.",
                hint="Check the host in the URL, and the network's name service.",
                step=step,
            )
    # One reason for each address tried, each named once.
    reasons = list(dict.fromkeys(os.strerror(c.errno) for c in causes if isinstance(c, OSError) and c.errno))
    if not reasons and url.secure:
        return _cut_short(where, step)
    return ServerUnreachable(
        f"{where} cannot be reached: {', '.join(reasons) or 'the connection was closed'}.",
        hint="Is the server running, and is that its port?",
        step=step,
    )


_UNTRUSTED_ISSUER = "Pass an ssl_context= that trusts it: ssl.create_default_context(cafile=…)."
# By OpenSSL's codes (x509_vfy.h).
_UNTRUSTED = {
    9: "It is not valid yet: is this machine's clock right?",
    10: "The server's owner must renew it; or is this machine's clock wrong?",
    62: "Give the URL with a name that the certificate is for.",
    64: "Give the URL with a name or an address that the certificate is for.",
}
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA")


def _tls_failure(url: ServerUrl, error: ssl.SSLError, step: str) -> ServerUnreachable:
    where = f"{url.host} port {url.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerUnreachable(
            f"The certificate of {where} is not trusted: {error.verify_message}.",
            hint=_UNTRUSTED.get(error.verify_code, _UNTRUSTED_ISSUER),
            step=step,
            retryable=False,
        )
    reason = error.reason or "TLS failed"
    # OpenSSL's words for an answer that is no TLS record, before and since 3.2.
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return ServerUnreachable(
            f"{where} does not speak TLS.", hint="Write http:// instead of https://.", step=step, retryable=False
        )
    if isinstance(error, ssl.SSLEOFError):
        return _cut_short(where, step)
    text = reason.lower().replace("_", " ")
    hint = None
    if "ALERT" in reason and reason.endswith(_WANTS_CERTIFICATE):
        hint = "The server wants a client certificate: pass an ssl_context= with load_cert_chain(…)."
    return ServerUnreachable(f"TLS with {where} failed: {text}.", hint=hint, step=step, retryable=False)


def _cut_short(where: str, step: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"{where} closed the connection during the TLS handshake.",
        hint="Does the server speak plain http, or want a client certificate (ssl_context=)?",
        step=step,
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and everything below it: causes, contexts, and the members of groups. Each once."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting.extend(e for e in (current.__cause__, current.__context__) if e is not None)

"""What an HTTP answer that is not the expected one says about who must act. Shared by REST and the upgrade."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from neko_trio._ports.rest import NO_REFUSALS, Refusals
from neko_trio.errors import LoginRefused, NekoError, NotAllowed, NotNeko, ProtocolViolation, ServerUnreachable
from neko_trio.signaling.url import ServerUrl

__all__ = ["Answer", "read_answer", "read_json", "refusal_message", "refused_file", "unexpected"]

_SHOWN = 120
_BEHIND_A_PROXY = frozenset({502, 503, 504})
# Go's net/http, nginx and Apache tell a plain-text client of a TLS port in these words.
_WANTS_TLS = re.compile(rb"HTTPS (?:server|port)|SSL-enabled|TLS handshake", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, headers with lower-case names, and the body (of a refused upgrade: its beginning).

    Its repr has neither of these two: a login's token stands in the one or the other.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """The first header of that (lower-case) name, or an empty string."""
        return next((value for key, value in self.headers if key == name), "")


class _Refusal(msgspec.Struct):
    """Neko's error body: ``{"code": 401, "message": "Unauthorized"}`` (server ``pkg/utils/http.go``)."""

    code: int
    message: str


def read_json(body: bytes) -> object:
    """Decode JSON; raises ``ValueError`` for anything that is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def refusal_message(answer: Answer) -> str | None:
    """The message of Neko's error body, or ``None`` when the answer is not Neko's."""
    try:
        return msgspec.json.decode(answer.body, type=_Refusal).message[:_SHOWN]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_answer(url: ServerUrl, path: str, answer: Answer, *, step: str, refusals: Refusals = NO_REFUSALS) -> Any:
    """The decoded JSON of a successful answer, ``None`` for one without body; else raises what the status means.

    ``refusals`` says so for this call, by the server's message; see :func:`unexpected` for the rest.
    """
    if not 200 <= answer.status < 300:
        raise _refused(url, path, answer, step, refusals, refusal_message(answer))
    if not answer.body.strip():
        return None
    try:
        return read_json(answer.body)
    except ValueError:
        raise unexpected(url, path, answer, step=step) from None


def refused_file(url: ServerUrl, path: str, answer: Answer, *, step: str, refusals: Refusals) -> NekoError:
    """The error for an ``answer`` that is no file: as :func:`read_answer`, but Go's file server says 404 in plain text
    (``net/http``, ``ServeFile``)."""
    plain = answer.body.decode("ascii", "replace").strip()[:_SHOWN] if answer.status == 404 else None
    return _refused(url, path, answer, step, refusals, refusal_message(answer) or plain)


def _refused(
    url: ServerUrl, path: str, answer: Answer, step: str, refusals: Refusals, message: str | None
) -> NekoError:
    if answer.status in refusals and (message is not None or not answer.body):  # a panic is a 500 without a word
        return refusals[answer.status](message or "")
    return unexpected(url, path, answer, step=step)


def unexpected(url: ServerUrl, path: str, answer: Answer, *, step: str) -> NekoError:
    """The error for ``answer`` to a call of ``path``, whose status or shape is not what Neko gives on success.

    Answers in Neko's own error format become refusals of the caller; others mean that no Neko answered.
    """
    where = f"{url}{path}"
    status = answer.status
    if 300 <= status < 400:
        return NotNeko(f"{where} redirects{_target(answer)}.", hint="Give the URL it redirects to.", step=step)
    if status == 400 and not url.secure and _WANTS_TLS.search(answer.body):
        return NotNeko(f"{url} speaks TLS.", hint="Write https:// instead of http://.", step=step)
    if status in _BEHIND_A_PROXY:
        return ServerUnreachable(
            f"{where} answered {status}: a proxy is there, but not the server behind it.", step=step, retryable=True
        )
    message = refusal_message(answer)
    if message is None:
        return _not_neko(where, answer, step)
    if status == 401:
        return LoginRefused(f"{where} refused the credential: {message!r}.", step=step)
    if status == 403:
        return NotAllowed(f"{where} is not allowed: {message!r}.", step=step)
    return ProtocolViolation(f"{where} answered {status}: {message!r}.", step=step)


def _not_neko(where: str, answer: Answer, step: str) -> NotNeko:
    if answer.status == 404:
        hint = "Is the server below a path? Then the URL needs that prefix: http://HOST:PORT/PREFIX."
    elif answer.status in (401, 403, 407):
        hint = "Something in front of the server asks for a login of its own or blocks the call."
    else:
        hint = "Check host, port and path of the URL."
    kind = answer.header("content-type").partition(";")[0].strip()[:_SHOWN]
    return NotNeko(
        f"{where} answered {answer.status}{f' with {kind}' if kind else ''}, which is not Neko's.", hint=hint, step=step
    )


def _target(answer: Answer) -> str:
    """Where a redirect leads, without user info, query and fragment, which may carry secrets."""
    try:
        parts = urlsplit(answer.header("location"))
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    base = f"{parts.scheme}://{host}{f':{port}' if port else ''}" if parts.scheme and host else ""
    shown = f"{base}{parts.path}"[:_SHOWN]
    return f" to {shown!r}" if shown else ""

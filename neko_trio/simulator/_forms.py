"""Forms with files, read as Go's `mime/multipart` reads them (`Request.ParseMultipartForm`).

Written anew, neither the client's writer turned round nor a library's parser: those decode what browsers escape, and Go
takes a file name as it is quoted.
"""

import re
from dataclasses import dataclass, field

__all__ = ["Form", "FormFile", "read_form"]

MAX_PARTS = 1000
MAX_HEAD = 64 * 1024
"""Bytes of a part's header; Go's bound is larger, and for the whole form."""
MAX_VALUES = 10 * 2**20
"""Bytes of all values that are no files together."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE = re.compile(rf"\s*({_TOKEN}(?:/{_TOKEN})?)\s*")
_PARAMETER = re.compile(rf';\s*({_TOKEN})\s*=\s*(?:({_TOKEN})|"((?:[^"\\\r\n]|\\.)*)")\s*', re.DOTALL)
_ESCAPED = re.compile(r'\\([()<>@,;:\\"/\[\]?=])')
"""A backslash before anything else stands for itself, as Go has it for old browsers."""


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form: the last part of its name, and its bytes."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """The first value and all files of each name."""

    values: dict[str, str]
    files: dict[str, list[FormFile]]


def read_form(content_type: str, body: bytes) -> Form:
    """Raises `ValueError` for what Go refuses."""
    kind, parameters = _parameters(content_type)
    boundary = parameters.get("boundary", "")
    if kind not in ("multipart/form-data", "multipart/mixed") or not boundary:
        raise ValueError("no form, or no boundary")
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + body).split(delimiter)
    form, kept = Form({}, {}), 0
    for number, piece in enumerate(pieces[1:]):
        if piece.startswith(b"--"):
            return form
        if number >= MAX_PARTS:
            raise ValueError("too many parts")
        head, separator, data = piece.lstrip(b" \t").partition(b"\r\n\r\n")
        if not head.startswith(b"\r\n") or not separator or len(head) > MAX_HEAD:
            raise ValueError("a part without a header")
        name, filename = _disposition(head)
        if filename:
            form.files.setdefault(name, []).append(FormFile(_last(filename), data))
        elif name:
            kept += len(data)
            if kept > MAX_VALUES:
                raise ValueError("too much")
            form.values.setdefault(name, data.decode("utf-8", "replace"))
    raise ValueError("the form does not end")


def _disposition(head: bytes) -> tuple[str, str]:
    """The name of a part's field, and its file's; empty where there is none."""
    for line in head.decode("utf-8", "replace").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            kind, parameters = _parameters(value)
            if kind == "form-data":
                return parameters.get("name", ""), parameters.get("filename", "")
    return "", ""


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """A media type or disposition with its parameters; both empty when it is broken."""
    start = _TYPE.match(value)
    if start is None:
        return "", {}
    found: dict[str, str] = {}
    at = start.end()
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            return ("", {}) if value[at:].strip() not in ("", ";") else (start[1].lower(), found)
        plain, quoted = match[2], match[3]
        found[match[1].lower()] = plain if plain is not None else _ESCAPED.sub(r"\1", quoted)
        at = match.end()
    return start[1].lower(), found


def _last(path: str) -> str:
    """Go's `filepath.Base`."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"

"""The parts of a form with files, as bytes: ``multipart/form-data`` (RFC 7578) for Go's reader.

Go takes a quoted file name with backslash escapes (``mime``, ``consumeValue``), and the percent escapes of browsers and
of HTTP libraries as they stand: from those the file ``a"b`` arrives as ``a%22b``.
"""

from __future__ import annotations

__all__ = ["content_type", "end", "field", "file_head"]

FILE_END = b"\r\n"
"""What follows a file's bytes."""


def content_type(boundary: str) -> str:
    """The form's ``Content-Type``. The boundary must not occur in what is sent: take a long random one."""
    return f"multipart/form-data; boundary={boundary}"


def field(boundary: str, name: str, value: str) -> bytes:
    """A whole part with a plain value."""
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        boundary.encode("ascii"),
        name.encode("ascii"),
        value.encode("utf-8"),
    )


def file_head(boundary: str, name: str, filename: str) -> bytes:
    """What precedes a file's bytes. ``filename`` has no control characters: they would end the header."""
    quoted = filename.replace("\\", "\\\\").replace('"', '\\"')
    return (
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    ) % (boundary.encode("ascii"), name.encode("ascii"), quoted.encode("utf-8"))


def end(boundary: str) -> bytes:
    """What ends the form."""
    return b"--%b--\r\n" % boundary.encode("ascii")

"""What events and requests have in common: ``{"event": …, "payload": …}`` and one frozen struct for each event."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from neko_trio.protocol.malformed import Malformed

__all__ = ["Message", "ServerEvent", "convert_json", "decode_json", "encode_message", "malformed_json", "read_envelope"]

M = TypeVar("M", bound="Message")

_ABSENT = msgspec.Raw()
_ENUM_VALUE = re.compile(r"Invalid enum value '.*'", re.DOTALL)


class Message(msgspec.Struct, frozen=True):
    """Base of all messages. ``event`` is the wire name."""

    event: ClassVar[str]

    has_payload: ClassVar[bool] = True
    """Whether the message takes a payload."""

    @classmethod
    def from_payload(cls: type[M], payload: msgspec.Raw) -> M:
        """Build the message from its payload. Raises :class:`Malformed`, or what :func:`malformed_json` maps."""
        read: M = decode_json(cls, payload)
        return read

    def to_payload(self) -> object:
        """The value that goes out as ``payload``; ``msgspec.UNSET`` leaves it out."""
        return self if self.has_payload else msgspec.UNSET


class ServerEvent(Message, frozen=True):
    """Base of the server's events. ``event`` is the wire name, such as ``control/host``."""


class _Incoming(msgspec.Struct, frozen=True):
    event: str
    payload: msgspec.Raw = _ABSENT


class _Outgoing(msgspec.Struct, frozen=True):
    event: str
    payload: Any


@contextmanager
def malformed_json(event: str | None = None) -> Iterator[None]:
    """Turn everything that reading or writing JSON can raise into :class:`Malformed` of ``event``.

    The texts of msgspec name types and places, but values only of a closed choice, and those are cut out.
    """
    try:
        yield
    except Malformed as error:
        raise Malformed(error.reason, event=event) from error
    except RecursionError as error:
        raise Malformed("nested too deeply", event=event) from error
    except UnicodeError:
        # Its text quotes the input, and so would its traceback as a cause.
        raise Malformed("text that is not Unicode", event=event) from None
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        reason = _ENUM_VALUE.sub("Invalid enum value", str(error))
        raise Malformed(reason, event=event) from None  # what was cut out would be in the cause


@cache
def _decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def decode_json(type_: Any, text: str | bytes | msgspec.Raw) -> Any:
    """Decode JSON into ``type_`` with a cached decoder. Raises what :func:`malformed_json` maps."""
    return _decoder(type_).decode(text)


def convert_json(value: Any, type_: Any) -> Any:
    """Build ``type_`` from decoded JSON. Raises what :func:`malformed_json` maps."""
    return msgspec.convert(value, type_)


def read_envelope(text: str | bytes) -> tuple[str, msgspec.Raw | None]:
    """Split a message into its event name and its payload, ``None`` if there is none. Raises :class:`Malformed`."""
    with malformed_json():
        incoming: _Incoming = decode_json(_Incoming, text)
    payload = incoming.payload
    return incoming.event, None if len(memoryview(payload)) == 0 else payload


def encode_message(event: str, payload: object) -> str:
    """Write a message; ``msgspec.UNSET`` as ``payload`` leaves it out. Raises :class:`Malformed`."""
    with malformed_json(event):
        return msgspec.json.encode(_Outgoing(event, payload)).decode()

"""The requests about the room: the desktop's clipboard, keyboard and screen, messages, plugins."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from neko_trio.protocol.client_request import ClientRequest, Int16, Int64
from neko_trio.protocol.go_json import read_struct
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.values import hidden

__all__ = [
    "ChatMessage",
    "ClientHeartbeat",
    "ClipboardSet",
    "FileTransferUpdate",
    "KeyboardMap",
    "KeyboardModifiers",
    "LogEntry",
    "ScreenSet",
    "SendBroadcast",
    "SendUnicast",
    "SystemLogs",
]


class ClipboardSet(ClientRequest, frozen=True):
    """Sets the clipboard's text; host only."""

    event = "clipboard/set"
    text: str

    def __repr__(self) -> str:
        return f"ClipboardSet(text={hidden(self.text)})"


class KeyboardMap(ClientRequest, frozen=True):
    """Sets the keyboard layout, such as ``us`` or ``de``; host only. Frees the spare keycodes."""

    event = "keyboard/map"
    layout: str
    variant: str = ""


class KeyboardModifiers(ClientRequest, frozen=True, omit_defaults=True):
    """Locks or unlocks modifiers; ``None`` leaves one as it is. Host only."""

    event = "keyboard/modifiers"
    shift: bool | None = None
    capslock: bool | None = None
    control: bool | None = None
    alt: bool | None = None
    numlock: bool | None = None
    meta: bool | None = None
    super: bool | None = None
    altgr: bool | None = None


class ScreenSet(ClientRequest, frozen=True):
    """Sets the desktop's size in pixels and its rate in Hz; admins only."""

    event = "screen/set"
    width: Int64
    height: Int64
    rate: Int16


class SendUnicast(ClientRequest, frozen=True):
    """An opaque message to one session; to oneself it comes back after everything sent before was handled."""

    event = "send/unicast"
    receiver: str
    subject: str
    body: Any


class SendBroadcast(ClientRequest, frozen=True):
    """An opaque message to all other sessions."""

    event = "send/broadcast"
    subject: str
    body: Any


class ChatMessage(ClientRequest, frozen=True):
    """Say something; everyone gets it, the sender too."""

    event = "chat/message"
    text: str


class ClientHeartbeat(ClientRequest, frozen=True):
    """For proxies that cut idle connections; the server ignores it."""

    event = "client/heartbeat"
    has_payload: ClassVar[bool] = False


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line for the server's log; ``level`` as in zerolog: ``debug``, ``info``, ``warn``, ``error``."""

    level: str
    message: str
    fields: dict[str, Any] | None = None


class SystemLogs(ClientRequest, frozen=True):
    """Lines for the server's log. The payload is a list."""

    event = "system/logs"
    entries: tuple[LogEntry, ...]

    def to_payload(self) -> object:
        return self.entries

    @classmethod
    def from_json(cls, value: Any) -> SystemLogs:
        if not isinstance(value, (list, type(None))):
            raise Malformed("a list is due")
        return cls(entries=tuple(read_struct(entry, LogEntry) for entry in value or ()))


class FileTransferUpdate(ClientRequest, frozen=True):
    """Ask for the list of files."""

    event = "filetransfer/update"
    has_payload: ClassVar[bool] = False

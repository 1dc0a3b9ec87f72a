"""The base of a client's messages, and Go's integer types."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from neko_trio.protocol.go_json import read_struct
from neko_trio.protocol.message import Message

__all__ = ["ClientRequest", "Int16", "Int64", "UInt8", "UInt16", "UInt32"]

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Int16 = Annotated[int, msgspec.Meta(ge=-(2**15), le=2**15 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt16 = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
UInt8 = Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)]


class ClientRequest(Message, frozen=True):
    """Base of a client's messages. ``event`` is the wire name, such as ``control/move``."""

    @classmethod
    def from_json(cls, value: Any) -> ClientRequest:
        """Build the request from its decoded payload as the server would. Raises as ``read_struct``."""
        return read_struct(value, cls)

"""Neko's wire format as values: no I/O, no clock, no trio, no asyncio.

Internal: the public names are those of :mod:`neko_trio`.
"""

from neko_trio.protocol.malformed import Malformed

__all__ = ["Malformed"]

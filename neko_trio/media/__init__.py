"""Asyncio's side of the wall: bridge, ICE, peer connection, receiver, decoder, frames.

Internal: the public names are those of :mod:`neko_trio`.
"""

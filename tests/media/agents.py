"""ICE agents that meet on loopback."""

from __future__ import annotations

import asyncio

import aioice

from neko_trio.media.aiortc_private import StunMessage, StunProtocol
from neko_trio.media.ice import IceAgent
from neko_trio.simulator._ice import ServerAgent


def introduce(one: aioice.Connection, other: aioice.Connection) -> None:
    """Exchange what offer and answer carry, except candidates."""
    for agent, peer in ((one, other), (other, one)):
        agent.remote_username, agent.remote_password = peer.local_username, peer.local_password


async def asked_and_heard(agent: IceAgent) -> bool:
    """Ask, and say whether that is answered before either side speaks by itself."""
    before = agent.heard_at
    agent.ask()
    await asyncio.wait(agent.tasks.running, timeout=0.5)
    return agent.heard_at > before


class OldServer(ServerAgent):
    """As pion was before it resolved role conflicts: it ignores a check in its own role, and what such a check would
    have taught it."""

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        if not (self.ice_controlling and "ICE-CONTROLLING" in message.attributes):
            super().request_received(message, addr, protocol)

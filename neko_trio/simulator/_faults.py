"""Faults on request: each is a named async context manager of `simulator.faults`, in force while its block runs.

Each yields a `Fault` whose `hits` says how often it struck (`await fault.wait_hit()` waits for that), so that a test
can tell that what it survived did happen; the journal has each fault's beginning, first hit and end on the channel
"fault".
Several may be in force at once; of two that want the same message the one entered last decides.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from neko_trio.simulator._fault_book import Fault, ValueFault, checked
from neko_trio.simulator._faults_calls import CallFaults
from neko_trio.simulator._faults_media import MediaFaults
from neko_trio.simulator._faults_messages import MessageFaults

__all__ = ["Fault", "Faults"]


class Faults(CallFaults, MessageFaults, MediaFaults):
    """See the module, and the modules of its bases."""

    @asynccontextmanager
    async def stopped(self, *, goodbye: bool = False, keep: bool = False) -> AsyncGenerator[Fault, None]:
        """The server is not there while the block runs: its port refuses, its connections and peers are gone. Then it
        is back at the same port.

        Killed: without a word, not even a DTLS close; `goodbye`: as with SIGINT, `system/disconnect "connection
        shutdown"` before. Sessions, tokens, settings and the host are forgotten; `keep`: sessions and tokens are not,
        as with `session.file` at the server. The desktop stays as it is. Raises `OSError` when the port has been taken.
        """
        server = self.server
        assert server is not None  # a simulator's faults have one
        async with self.put(Fault("stopped")) as fault:
            await server.stop(goodbye=goodbye, keep=keep)
            fault.hit()
            try:
                yield fault
            finally:
                with trio.CancelScope(shield=True):  # bounded: it only listens again
                    await server.start()

    @asynccontextmanager
    async def restart(
        self, *, down: float = 0.0, goodbye: bool = False, keep: bool = False
    ) -> AsyncGenerator[Fault, None]:
        """The server is stopped, and back after `down` seconds: the block begins then. See `stopped`."""
        checked("down", down)
        async with self.stopped(goodbye=goodbye, keep=keep):
            await trio.sleep(down)
        async with self.put(Fault("restart")) as fault:
            fault.hit()
            yield fault

    @asynccontextmanager
    async def expire_tokens(self, *, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """Tokens of now are not known: 401, and `session not found` at the WebSocket. Open WebSockets stay; a new login
        gives a token that is known."""
        expired = frozenset() if self.server is None else self.server.tokens(session)
        async with self.put(ValueFault("expire_tokens", None, session, value=expired)) as fault:
            yield fault

    @asynccontextmanager
    async def lock_logins(self) -> AsyncGenerator[Fault, None]:
        """Logins of users are refused, 403 `logins are locked`; admins may. Nobody is told, unlike with the setting."""
        async with self.put(ValueFault("lock_logins", value=True)) as fault:
            yield fault

    def is_expired(self, token: str, who: str) -> bool:
        """Whether a token that the server knows is to be unknown."""
        for fault in self.in_force(ValueFault):
            if fault.name == "expire_tokens" and token in fault.value:
                fault.hit(who)
                return True
        return False

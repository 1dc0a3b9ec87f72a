"""STUN over one socket: aioice's protocol object with retransmission timers made for a handshake of 15 ms.

aioice repeats a lost request after 500 ms (RFC 8489 §6.2.1's default for unknown paths) and gives up after a minute.
A check that overtakes the answer is lost as a rule here, so the first repetition comes after 50 ms, the least that
RFC 8445 §14.3 has for one check every 50 ms; none comes later than 400 ms after the one before.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from aioice import stun

from neko_trio.media.aiortc_private import StunMessage, StunProtocol, TransactionBase
from neko_trio.media.ice_tasks import in_words

if TYPE_CHECKING:
    from neko_trio.media.ice import IceAgent

FIRST_RETRANSMISSION = 0.05
"""Seconds from a request to its first repetition; doubled for each one after."""
LONGEST_RETRANSMISSION = 0.4
"""Seconds between two transmissions, at most."""
REQUEST_LIMIT = 9.0
"""Seconds after which a request fails: the server gives its peer up at about 10 s."""
CONSENT_WAIT = 3.0
"""Seconds to wait for the answer to a request that is sent once (RFC 7675 consent checks)."""


def retransmission_delays() -> Sequence[float]:
    """Seconds to wait after each transmission, the last one until the request fails; their sum is REQUEST_LIMIT."""
    delays = []
    delay, total = FIRST_RETRANSMISSION, 0.0
    while total + delay < REQUEST_LIMIT:
        delays.append(delay)
        total += delay
        delay = min(2 * delay, LONGEST_RETRANSMISSION)
    return [*delays[:-1], delays[-1] + REQUEST_LIMIT - total]


MALFORMED = struct.error
"""What aioice trips over in a message: an attribute of another length than its kind has. Such a message is silently
ignored (RFC 8489 §6.3)."""


class Sender(Protocol):
    """What sends a request: a socket, or a TURN client."""

    def send_stun(self, message: StunMessage, addr: tuple[str, int]) -> None:
        """Send it once."""


class Transaction(TransactionBase):
    """One request until its answer: repeats it by the given delays.

    Takes the place of aioice's transaction, whose delays cannot be set; shares nothing with it but its type, which
    ``StunProtocol.transactions`` declares.
    """

    def __init__(
        self,
        request: StunMessage,
        address: tuple[str, int],
        protocol: Sender,
        integrity_key: bytes | None,
        delays: Sequence[float],
        *,
        long_term: bool = False,
    ) -> None:
        """``long_term``: of a credential whose realm and nonce the server says in an error that it does not sign."""
        self._request, self._address, self._protocol = request, address, protocol
        self._long_term = long_term
        self._integrity_key = integrity_key
        self._delays = delays
        self._answer: asyncio.Future[tuple[StunMessage, tuple[str, int]]] = asyncio.get_running_loop().create_future()

    def response_received(self, message: StunMessage, addr: tuple[str, int]) -> None:
        """Take an answer. One that is not authentic is ignored (RFC 8489 §9.1.4), and so is a second one."""
        if self._answer.done() or not self._is_authentic(message):
            return
        if message.message_class == stun.Class.RESPONSE:
            self._answer.set_result((message, addr))
        else:
            self._answer.set_exception(stun.TransactionFailed(message))

    def _is_authentic(self, message: StunMessage) -> bool:
        if self._integrity_key is None:
            return True
        is_error = message.message_class == stun.Class.ERROR
        if self._long_term and is_error and message.error_code in (401, 438):  # RFC 8489 §9.2.5
            return True
        return message.check_message_integrity(self._integrity_key)

    def fail(self, error: Exception) -> None:
        """No answer will come: ``run()`` raises this, unless there is one."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def run(self) -> tuple[StunMessage, tuple[str, int]]:
        """Send until answered. Raises aioice's ``TransactionFailed`` or ``TransactionTimeout``."""
        try:
            for delay in self._delays:
                self.send()
                await asyncio.wait((self._answer,), timeout=delay)
                if self._answer.done():
                    return self._answer.result()
            raise stun.TransactionTimeout
        finally:
            if not self._answer.cancel():
                self._answer.exception()  # retrieved, also when cancelled at the moment it came

    def send(self) -> None:
        """Send it once more, besides the timers."""
        self._protocol.send_stun(self._request, self._address)

    def is_to(self, address: tuple[str, int]) -> bool:
        """Whether this is the address it asks."""
        return self._address == address


class AgentSocket(StunProtocol):
    """One local candidate's socket. ``receiver`` is the :class:`~neko_trio.media.ice.IceAgent` it belongs to."""

    receiver: IceAgent
    failure: str | None = None
    """Why the last packet could not be sent."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Tell STUN from the rest by the first byte (RFC 7983 §7): aioice tries to read each packet as STUN first."""
        assert isinstance(data, bytes)
        if data and data[0] > 19:
            self.receiver.data_received(data, self.local_candidate.component)
        elif data:
            with suppress(MALFORMED):
                super().datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Keep why the system, or the relay, did not send."""
        self.failure = in_words(exc)

    async def request(
        self,
        request: StunMessage,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[StunMessage, tuple[str, int]]:
        """Send a request and return its answer; ``retransmissions=0`` sends it once."""
        if integrity_key is not None:
            request.add_message_integrity(integrity_key)
        delays = (CONSENT_WAIT,) if retransmissions == 0 else retransmission_delays()
        transaction = Transaction(request, addr, self, integrity_key, delays)
        self.transactions[request.transaction_id] = transaction
        if "ICE-CONTROLLING" in request.attributes and self.receiver.role_unsettled:
            # pion drops the request that makes it change its role (agent.go, handleRoleConflict), so that would cost
            # the first retransmission
            transaction.send()
        try:
            return await transaction.run()
        except stun.TransactionFailed as error:
            self.receiver.note_refusal(addr, error)
            raise
        finally:
            self.transactions.pop(request.transaction_id, None)

    def repeat_to(self, addr: tuple[str, int]) -> None:
        """Send the requests to this address that are still unanswered once more, at once."""
        for transaction in self.transactions.values():
            if isinstance(transaction, Transaction) and transaction.is_to(addr):
                transaction.send()

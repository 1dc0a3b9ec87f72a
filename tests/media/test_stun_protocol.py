"""STUN requests: when they are repeated, when they fail, and which answers count."""

from __future__ import annotations

import asyncio

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media import stun_protocol
from neko_trio.media.aiortc_private import StunMessage, StunProtocol
from neko_trio.media.stun_protocol import Transaction, retransmission_delays
from tests.loops import on_asyncio

SERVER = ("192.0.2.1", 3478)
KEY = b"a password that both know"


def test_the_delays_double_up_to_a_limit_and_end_in_time() -> None:
    delays = list(retransmission_delays())
    assert delays[:4] == [0.05, 0.1, 0.2, 0.4]
    assert sum(delays) == pytest.approx(stun_protocol.REQUEST_LIMIT)
    assert max(delays) < 2 * stun_protocol.LONGEST_RETRANSMISSION


class Wire(StunProtocol):
    """Takes what is sent; nothing answers by itself."""

    def __init__(self) -> None:
        self.sent: list[StunMessage] = []

    def send_stun(self, message: StunMessage, addr: tuple[str, int]) -> None:
        assert addr == SERVER
        self.sent.append(message)


def _answer(request: StunMessage, *, error: bool = False, key: bytes | None = KEY) -> StunMessage:
    answer = StunMessage(
        message_method=stun.Method.BINDING,
        message_class=stun.Class.ERROR if error else stun.Class.RESPONSE,
        transaction_id=request.transaction_id,
    )
    if error:
        answer.attributes["ERROR-CODE"] = (487, "Role Conflict")
    if key is not None:
        answer.add_message_integrity(key)
    return stun.parse_message(bytes(answer))


def _request() -> StunMessage:
    request = StunMessage(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.add_message_integrity(KEY)
    return request


@on_asyncio
async def test_a_request_is_repeated_until_it_is_answered() -> None:
    wire, request = Wire(), _request()
    transaction = Transaction(request, SERVER, wire, KEY, (0.01, 0.01, 5.0))
    running = asyncio.create_task(transaction.run())
    await asyncio.sleep(0.1)
    assert wire.sent == [request] * 3
    answer = _answer(request)
    transaction.response_received(answer, SERVER)
    assert await running == (answer, SERVER)
    transaction.response_received(answer, SERVER)  # twice does no harm
    assert len(wire.sent) == 3


@on_asyncio
async def test_a_request_that_nobody_answers_fails() -> None:
    wire = Wire()
    with pytest.raises(stun.TransactionTimeout):
        await Transaction(_request(), SERVER, wire, KEY, (0.01, 0.01)).run()
    assert len(wire.sent) == 2


@on_asyncio
async def test_an_error_is_raised_and_a_forged_answer_ignored() -> None:
    wire, request = Wire(), _request()
    transaction = Transaction(request, SERVER, wire, KEY, (5.0,))
    running = asyncio.create_task(transaction.run())
    await asyncio.sleep(0)
    for forged in (
        _answer(request, key=None),
        _answer(request, key=b"another"),
        _answer(request, error=True, key=None),
    ):
        transaction.response_received(forged, SERVER)
    await asyncio.sleep(0)
    assert not running.done()
    transaction.response_received(_answer(request, error=True), SERVER)
    with pytest.raises(stun.TransactionFailed, match="487"):
        await running


@on_asyncio
async def test_only_a_long_term_credential_is_asked_for_by_an_error_that_nobody_signed() -> None:
    for long_term in (False, True):
        wire, request = Wire(), _request()
        transaction = Transaction(request, SERVER, wire, KEY, (5.0,), long_term=long_term)
        running = asyncio.create_task(transaction.run())
        await asyncio.sleep(0)
        answer = StunMessage(stun.Method.BINDING, stun.Class.ERROR, request.transaction_id)
        answer.attributes["ERROR-CODE"] = (401, "Unauthorized")
        transaction.response_received(answer, SERVER)
        await asyncio.wait({running}, timeout=0.05)
        assert running.done() is long_term
        if long_term:
            with pytest.raises(stun.TransactionFailed, match="401"):
                await running
        else:
            transaction.fail(ConnectionError("it has gone"))
            with pytest.raises(ConnectionError, match="gone"):
                await running


@on_asyncio
async def test_a_cancelled_request_leaves_no_error_unheard() -> None:
    wire, request = Wire(), _request()
    transaction = Transaction(request, SERVER, wire, KEY, (5.0,))
    running = asyncio.create_task(transaction.run())
    await asyncio.sleep(0)
    transaction.response_received(_answer(request, error=True), SERVER)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@given(st.binary(max_size=64))
def test_no_datagram_makes_the_parser_raise_what_the_socket_does_not_catch(data: bytes) -> None:
    try:
        stun.parse_message(data)
    except ValueError:
        return

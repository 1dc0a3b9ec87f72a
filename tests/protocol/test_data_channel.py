"""The data channel's codec against golden bytes of the server's Go structs, and against everything else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    CursorImage,
    CursorPosition,
    KeyDown,
    KeyUp,
    Move,
    Ping,
    Pong,
    Scroll,
    ServerMessage,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
    decode_client,
    decode_server,
    encode,
    encode_server,
)

U8, U16, U32 = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
I16, I32 = st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1)
TIMES = st.integers(0, 2**53)
CLIENT: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(Move, U16, U16),
    st.builds(Scroll, I16, I16, st.booleans()),
    *[st.builds(kind, U32) for kind in (KeyDown, KeyUp, ButtonDown, ButtonUp)],
    st.builds(Ping, TIMES),
    *[st.builds(kind, U32, I32, I32, U8) for kind in (TouchBegin, TouchUpdate, TouchEnd)],
)
SERVER: st.SearchStrategy[ServerMessage] = st.one_of(
    st.builds(CursorPosition, U16, U16),
    st.builds(CursorImage, U16, U16, U16, U16, st.binary(max_size=99)),
    st.builds(Pong, TIMES, TIMES),
)

GOLDEN: list[tuple[ClientMessage, str]] = [
    (Move(258, 772), "01 0004 0102 0304"),
    (Scroll(-1, 2, True), "02 0005 ffff 0002 01"),
    (KeyDown(0x0100_20AC), "03 0004 010020ac"),
    (KeyUp(0xFF0D), "04 0004 0000ff0d"),
    (ButtonDown(1), "05 0004 00000001"),
    (ButtonUp(3), "06 0004 00000003"),
    # 2**32 - 1 milliseconds is the first that needs the high number
    (Ping(2**32 - 2), "07 0008 00000000 fffffffe"),
    (Ping(2**32 - 1), "07 0008 00000001 00000000"),
    (Ping(1_795_346_993_000), "07 0008 000001a2 0305110a"),
    (TouchBegin(7, -1, 2, 255), "08 000d 00000007 ffffffff 00000002 ff"),
    (TouchUpdate(7, 1, 2, 0), "09 000d 00000007 00000001 00000002 00"),
    (TouchEnd(7, 1, 2, 0), "0a 000d 00000007 00000001 00000002 00"),
]
GOLDEN_SERVER: list[tuple[ServerMessage, str]] = [
    (CursorPosition(258, 772), "01 0007 0102 0304"),
    (CursorImage(24, 25, 4, 5, b"PNG"), "02 000e 0018 0019 0004 0005 504e47"),
    (Pong(1, 2**32), "03 0013 00000000 00000001 00000001 00000001"),
]


@pytest.mark.parametrize(("message", "bytes_"), GOLDEN, ids=lambda value: str(value))
def test_golden_bytes_of_the_client(message: ClientMessage, bytes_: str) -> None:
    assert encode(message) == bytes.fromhex(bytes_)
    assert decode_client(bytes.fromhex(bytes_)) == message


@pytest.mark.parametrize(("message", "bytes_"), GOLDEN_SERVER, ids=lambda value: str(value))
def test_golden_bytes_of_the_server(message: ServerMessage, bytes_: str) -> None:
    assert encode_server(message) == bytes.fromhex(bytes_)
    assert decode_server(bytes.fromhex(bytes_)) == message


@given(CLIENT, st.binary(max_size=9))
def test_a_client_message_survives_the_wire(message: ClientMessage, behind: bytes) -> None:
    assert decode_client(encode(message)) == message
    assert decode_client(encode(message) + behind) == message  # what follows the first message is ignored


@given(SERVER)
def test_a_server_message_survives_the_wire(message: ServerMessage) -> None:
    assert decode_server(encode_server(message)) == message


@given(CLIENT)
def test_a_cut_message_is_malformed(message: ClientMessage) -> None:
    data = encode(message)
    for end in range(len(data)):
        with pytest.raises(Malformed):
            decode_client(data[:end])


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    for decode in (decode_client, decode_server):
        with suppress(Malformed):
            decode(data)


def test_the_old_scroll_has_no_control_key() -> None:
    assert decode_client(bytes.fromhex("02 0004 0001 fffe 01")) == Scroll(1, -2, False)
    assert decode_client(bytes.fromhex("02 0005 0001 fffe 02")) == Scroll(1, -2, True)


def test_a_cursor_image_longer_than_its_length_field() -> None:
    image = CursorImage(1, 2, 3, 4, bytes(70_000))
    assert decode_server(encode_server(image)) == image


@pytest.mark.parametrize("opcode", [0x00, 0x0B, 0xFF])
def test_unknown_opcodes(opcode: int) -> None:
    for decode in (decode_client, decode_server):
        with pytest.raises(Malformed, match="opcode"):
            decode(bytes([opcode]) + bytes(30))


@pytest.mark.parametrize(
    "message",
    [
        Move(-1, 0),
        Move(0, 65536),
        Move(1.5, 0),  # type: ignore[arg-type]
        Scroll(32768, 0),
        KeyDown(-1),
        KeyUp(2**32),
        Ping(-1),
        Ping(2**64),
        Ping(1.5),  # type: ignore[arg-type]
        TouchBegin(1, 0, 0, 256),
    ],
    ids=repr,
)
def test_numbers_that_do_not_fit(message: ClientMessage) -> None:
    with pytest.raises(Malformed):
        encode(message)

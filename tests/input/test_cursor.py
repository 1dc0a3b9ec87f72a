"""The pointer: its place and its picture, as a server tells them, honest or not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from trio.testing import MockClock

from neko_trio import Session
from neko_trio.desktop.cursor import CursorPort, check_image, decode
from neko_trio.errors import ProtocolViolation
from neko_trio.protocol import Malformed, events
from neko_trio.protocol.data_channel import (
    CursorImage,
    CursorPosition,
    Move,
    ServerMessage,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
    encode_server,
)
from neko_trio.protocol.events import ScreenSize
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARROW = np.zeros((20, 10, 4), np.uint8)
ARROW[:15, :8] = (255, 0, 0, 255)
ARROW[15:18, :8] = (0, 0, 255, 128)


def png(rgba: NDArray[np.uint8], **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def cursor_image(
    file: bytes = b"", *, size: tuple[int, int] = (10, 20), hotspot: tuple[int, int] = (2, 3)
) -> CursorImage:
    return CursorImage(*size, *hotspot, file or png(ARROW))


@pytest.fixture
def port() -> CursorPort:
    return CursorPort(lambda: ScreenSize(width=1280, height=720, rate=30))


async def test_nothing_is_known_before_both_are(port: CursorPort) -> None:
    assert (port.position, port.now, await port.pixels()) == (None, None, None)
    port.on_image(cursor_image())
    assert (port.position, port.now, await port.pixels()) == (None, None, None)
    port.on_position(CursorPosition(100, 200))
    cursor = port.now
    assert cursor is not None
    assert (cursor.position, cursor.size, cursor.hotspot) == ((100, 200), (10, 20), (2, 3))
    assert cursor.png == png(ARROW)
    assert "png" not in repr(cursor)
    pixels = await port.pixels()
    assert pixels is not None
    assert pixels[1] == (98, 197)
    assert (pixels[0] == ARROW).all()


async def test_a_picture_is_decoded_once_and_a_large_one_in_a_thread(
    port: CursorPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neko_trio.desktop import cursor as module

    large = np.full((200, 150, 4), 77, np.uint8)
    threads: list[bool] = []

    def watched(event: CursorImage) -> NDArray[np.uint8]:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            threads.append(True)
        else:
            threads.append(False)
        return decode(event)

    monkeypatch.setattr(module, "decode", watched)
    port.on_position(CursorPosition(1, 1))
    for image in (cursor_image(), cursor_image(png(large), size=(150, 200))):
        port.on_image(image)
        for _ in range(3):
            assert await port.pixels() is not None
            port.on_image(image)  # again the same
    assert threads == [False, True]


def test_the_pointer_goes_with_the_first_finger(port: CursorPort) -> None:
    """As X does it (seen with the server's driver)."""
    port.on_sent([TouchBegin(1, 10, 10, 255), TouchBegin(2, 500, 500, 255), TouchUpdate(2, 501, 501, 255)])
    assert port.position == (10, 10)
    port.on_sent([TouchUpdate(1, 11, 11, 255), TouchEnd(1, 12, 12, 0), TouchUpdate(2, 502, 502, 255)])
    assert port.position == (12, 12)
    port.on_sent([TouchBegin(1, 20, 20, 255), TouchEnd(1, 20, 20, 0), TouchEnd(2, 30, 30, 0)])
    assert port.position == (12, 12), "until none is down any more"
    port.on_sent([TouchBegin(2, 40, 40, 255)])
    assert port.position == (40, 40)
    port.on_sent([Move(5, 6)])
    assert port.position == (5, 6)


# -- what a server may send


HOSTILE = {
    "no PNG": cursor_image(b"GIF89a" + bytes(100)),
    "nothing": CursorImage(10, 20, 0, 0, b""),
    "another size": cursor_image(size=(20, 10)),
    "huge": cursor_image(png(np.zeros((1, 600, 4), np.uint8)), size=(600, 1)),
    "of no size": cursor_image(size=(0, 0), hotspot=(0, 0)),
    "hot spot outside": cursor_image(hotspot=(11, 0)),
    "too many bytes": cursor_image(png(ARROW) + bytes(2_000_000)),
    "the largest there is": CursorImage(65535, 65535, 0, 0, png(ARROW)),
}


@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_picture_that_is_not_to_be_trusted_is_refused(port: CursorPort, image: CursorImage) -> None:
    port.on_position(CursorPosition(1, 1))
    port.on_image(cursor_image())
    before = port.now
    with pytest.raises(Malformed, match="cursor image"):
        port.on_image(image)
    assert port.now == before


HEADER = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 20, 8, 6, 0, 0, 0))
BROKEN = {
    "its header alone": HEADER,
    "no pixels": HEADER + chunk(b"IEND", b""),
    "no zlib": HEADER + chunk(b"IDAT", b"rubbish") + chunk(b"IEND", b""),
    "cut off": png(ARROW)[:-20],
    "wrong checksum": png(ARROW)[:40] + b"\0" + png(ARROW)[41:],
    "no such colours": HEADER.replace(b"\x08\x06", b"\x07\x09", 1) + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("file", BROKEN.values(), ids=BROKEN.keys())
async def test_a_picture_that_cannot_be_decoded_is_told_when_it_is_wanted(port: CursorPort, file: bytes) -> None:
    port.on_position(CursorPosition(1, 1))
    try:
        port.on_image(cursor_image(file))
    except Malformed:
        return  # refused at once
    with pytest.raises(ProtocolViolation, match="pointer"):
        await port.pixels()
    port.on_image(cursor_image())
    assert await port.pixels() is not None


def test_what_grows_when_it_is_unpacked_is_not_unpacked() -> None:
    """A text of 50 MB in 50 kB, a profile, another picture: none of it is looked at."""
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "x" * 50_000_000, zip=True)
    file = png(ARROW, pnginfo=info)
    assert len(file) < 100_000
    assert (decode(cursor_image(file)) == ARROW).all()
    many = png(ARROW)
    many = many[:33] + chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + chunk(b"iCCP", b"a\0\0junk") + many[33:]
    assert (decode(cursor_image(many)) == ARROW).all()


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 8))
def test_any_damage_is_refused_or_told(junk: bytes, at: int, cut: int) -> None:
    whole = png(ARROW)
    image = cursor_image(whole[: at % len(whole)] + junk + whole[(at + cut) % len(whole) :])
    try:
        check_image(image)
        pixels = decode(image)
    except (Malformed, ProtocolViolation):
        return
    assert pixels.shape == (20, 10, 4)


# -- in a session


def tell(media: FakeMedia, messages: Sequence[ServerMessage]) -> None:
    for message in messages:
        media.peers[-1].setup.on_data(encode_server(message))


async def frame_with_cursor(session: Session, media: FakeMedia, size: tuple[int, int]) -> NDArray[np.uint8]:
    media.peers[-1].show(np.full((size[1], size[0], 3), 100, np.uint8))
    return (await session.screen.frame(cursor=True)).to_ndarray()


async def test_the_pointer_is_painted_on_request(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        assert session.screen.cursor is None
        assert (await frame_with_cursor(session, media, (1280, 720)) == 100).all(), "nothing is known yet"
        tell(media, [cursor_image(), CursorPosition(1279, 3)])
        assert session.mouse.position == (1279, 3)
        cursor = session.screen.cursor
        assert cursor is not None
        assert cursor.position == (1279, 3)
        pixels = await frame_with_cursor(session, media, (1280, 720))
        assert (pixels[:15, 1277:] == (255, 0, 0)).all(), "cut off at the edge"
        assert (pixels[15:18, 1277:] == (50, 50, 178)).all(), "half through"
        pixels[:18, 1277:] = 100
        assert (pixels == 100).all()
        assert (await session.screen.frame()).to_ndarray().max() == 100, "only on request"
        async with session.control():
            await session.mouse.move(640, 360)
            pixels = await frame_with_cursor(session, media, (640, 360))  # a stream of half the size
        assert (pixels[178 : 178 + 7, 319 : 319 + 4] == (255, 0, 0)).all()
        assert (pixels[:178] == 100).all()
        assert (pixels[188:] == 100).all()
        assert (pixels[:, 323:] == 100).all()


async def test_a_hostile_pointer_costs_nothing_but_a_count(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        tell(media, [CursorPosition(5, 5), cursor_image(), *HOSTILE.values()])
        assert session.statistics().messages_malformed == len(HOSTILE)
        assert session.screen.cursor is not None
        assert session.screen.cursor.png == png(ARROW)
        tell(media, [cursor_image(BROKEN["no zlib"])])
        media.peers[-1].show(np.zeros((720, 1280, 3), np.uint8))
        with pytest.raises(ProtocolViolation):
            await session.screen.frame(cursor=True)
        await session.screen.frame()


async def test_parts_of_the_screen_and_of_a_picture(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        assert session.screen.at(0.5, 0.25) == (640, 180)
        assert session.screen.at(1, 1) == (1279, 719)
        media.peers[-1].show(np.zeros((360, 640, 3), np.uint8))
        frame = await session.screen.frame()
        assert frame.at(0, 0) == (1, 1)  # the middle of a pixel of this picture
        assert frame.at(1, 1) == (1279, 719)
        assert frame.crop((320, 0, 640, 180)).at(0.5, 0.5) == (961, 181)
        server.send(events.ScreenUpdated(id="x", width=800, height=600, rate=30))
        await session.wait_state(lambda state: state.screen.width == 800)
        assert session.screen.at(1, 1) == (799, 599)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from neko_trio.desktop.clipboard_loan import PASTE_TIME
from neko_trio.desktop.key_map import Layout
from neko_trio.desktop.keyboard import CHUNK, MAP_TIME, Keyboard
from neko_trio.desktop.keys import SHIFT
from neko_trio.errors import HostTaken, InvalidInput, NotAllowed
from neko_trio.protocol.data_channel import KeyDown, KeyUp

if TYPE_CHECKING:
    from tests.input.conftest import Desk

CTRL = 0xFFE3


@pytest.fixture
def keyboard(desk: Desk) -> Keyboard:
    return desk.keyboard


def typed(desk: Desk) -> str:
    """What a program reads on a US layout: the server binds both cases of foreign letters to one spare key."""
    text = ""
    shift = False
    for message in desk.server.handled:
        if isinstance(message, KeyDown | KeyUp) and message.keysym == SHIFT:
            shift = isinstance(message, KeyDown)
        elif isinstance(message, KeyDown):
            keysym = message.keysym
            char = {0xFF0D: "\n", 0xFF09: "\t"}.get(keysym) or chr(keysym - 0x01000000 if keysym > 0xFFFF else keysym)
            text += char if shift or not char.isalpha() else char.lower()
    return text


async def test_type(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    text = "Grüße 👋, ÜBER Я\tund\nA1!~`"
    await keyboard.type(text)
    await desk.inputs.flush()
    assert typed(desk) == text
    assert desk.inputs.held == ()


async def test_nothing_to_type_is_a_checkpoint(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    with assert_checkpoints():
        await keyboard.type("")
    assert desk.server.hops == []


async def test_two_thousand_characters_and_out(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    desk.server.set_host(None)
    desk.server.data_delay = 0.00015  # the real server's pace
    text = "The quick Brown Fox. " * 95 + "12345"
    async with desk.control.control():
        await keyboard.type(text)
    assert typed(desk) == text
    assert not desk.state.value.is_host


async def test_cancelled_it_stops_between_characters_with_nothing_down(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    desk.server.data_delay = 0.01
    text = "AbCdEfGh" * 500
    with trio.move_on_after(15) as scope:
        await keyboard.type(text)
    assert scope.cancelled_caught
    assert desk.inputs.held == ()
    await desk.inputs.flush()
    arrived = typed(desk)
    assert 0 < len(arrived) < len(text)
    assert text.startswith(arrived)
    assert len(arrived) % CHUNK == 0
    downs = [message.keysym for message in desk.server.handled if isinstance(message, KeyDown)]
    ups = [message.keysym for message in desk.server.handled if isinstance(message, KeyUp)]
    assert sorted(downs) == sorted(ups)


async def test_what_cannot_be_typed_is_told_before_anything_is_sent(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    for wrong in ("abc\x00", "abc\ud800"):
        with pytest.raises(InvalidInput):
            await keyboard.type(wrong)
    with pytest.raises(InvalidInput):
        await keyboard.press("ctrl+nosuchkey")
    with pytest.raises(InvalidInput):
        async with keyboard.hold(""):
            raise AssertionError
    assert desk.server.hops == []


async def test_spare_keycodes_run_out(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    await keyboard.type("αβγδεζηθικ", paste=False)
    await keyboard.type("αβγ λμ", paste=False)
    sent = len(desk.server.hops)
    with pytest.raises(InvalidInput, match="12 spare keycodes"):
        await keyboard.type("abcυ", paste=False)
    with pytest.raises(InvalidInput, match="12 spare keycodes"):
        await keyboard.press("ctrl+υ")
    assert len(desk.server.hops) == sent
    await keyboard.type("abc αβγ", paste=False)
    keyboard.spare_keycodes = None
    await keyboard.type("υφχψω", paste=False)


async def test_what_others_may_have_used_is_freed_before_the_first(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    desk.x.layout = {"layout": "de", "variant": "nodeadkeys"}
    began = trio.current_time()
    await keyboard.press("a")
    assert desk.x.layouts_set == 0
    await keyboard.type("a1é")
    assert desk.x.layouts_set == 1
    assert desk.x.layout == {"layout": "de", "variant": "nodeadkeys"}
    assert trio.current_time() == began  # keys of the layout stay what they are: nothing to wait for
    await keyboard.type("éè")
    assert desk.x.layouts_set == 1
    desk.server.set_host("other-67890")
    desk.server.set_host("me-12345")
    await keyboard.type("é")
    assert desk.x.layouts_set == 2
    assert trio.current_time() == pytest.approx(began + MAP_TIME)  # until "éè" has been read


async def test_a_layout_has_characters_of_its_own(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    desk.x.layout = {"layout": "de", "variant": ""}
    text = "Grüße: 1/2 (x+y) * 'ja'"
    await keyboard.type(text, paste=False)
    await desk.inputs.flush()
    assert typed(desk) == text
    assert desk.x.layouts_set == 0
    shifts = [message.keysym for message in desk.server.handled if isinstance(message, KeyDown)]
    assert shifts[shifts.index(ord("/")) - 1] == SHIFT
    assert shifts[shifts.index(ord("+")) - 1] != SHIFT


async def test_on_a_layout_that_is_not_known_everything_may_need_a_spare_keycode(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    desk.x.layout = {"layout": "us", "variant": "dvorak"}
    with pytest.raises(InvalidInput):
        await keyboard.type("the quick brown fox jumps", paste=False)
    await keyboard.type("the quick fox", paste=False)


async def test_a_server_that_does_not_say_its_layout(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    del desk.front.on["GET", "/api/room/keyboard/map"]
    await keyboard.type("Grüße!")
    await desk.inputs.flush()
    assert typed(desk) == "Grüße!"


async def test_under_caps_lock_shift_is_held_for_small_letters(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    await keyboard.set_modifiers(capslock=True)
    assert (await keyboard.modifiers())["capslock"] is True
    await keyboard.type("aB1")
    await desk.inputs.flush()
    a, b, one = (ord(char) for char in "aB1")
    assert desk.server.handled == [
        *(KeyDown(SHIFT), KeyDown(a), KeyUp(a), KeyUp(SHIFT)),
        *(KeyDown(b), KeyUp(b), KeyDown(one), KeyUp(one)),
    ]
    desk.x.caps_lock = False
    await keyboard.press("capslock")
    await desk.inputs.flush()
    desk.server.handled.clear()
    await keyboard.type("a")
    await desk.inputs.flush()
    assert desk.server.handled == [KeyDown(a), KeyUp(a)]


async def test_too_much_for_the_spare_keycodes_is_pasted_and_the_clipboard_put_back(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    desk.x.put("what was there")
    desk.server.handled.clear()
    greek = "αβγδεζηθικλμνξοπρστυφχψω"
    pasted: list[str | None] = []
    asked = desk.inputs.submit

    async def submit(plan: list[object], **options: object) -> None:
        if plan[0] == KeyDown(CTRL):
            pasted.append(desk.x.text)
        await asked(plan, **options)  # type: ignore[arg-type]

    desk.inputs.submit = submit  # type: ignore[method-assign, assignment]
    before = trio.current_time()
    await keyboard.type(f"one\t{greek}\ntwo é")
    assert pasted == [greek, "two é"]
    assert trio.current_time() == pytest.approx(before + 2 * PASTE_TIME, abs=0.05)
    assert desk.x.text == "what was there"
    assert desk.x.layouts_set == 0
    assert typed(desk).replace(f"{chr(CTRL)}v", "<paste>") == "one\t<paste>\n<paste>"
    writes = [body for method, path, body in desk.front.calls if method == "POST"]
    assert writes == [{"text": greek}, {"text": "two é"}, {"text": "what was there"}]


@pytest.mark.parametrize(
    ("text", "html", "again"),
    [
        ("plain", None, {"text": "plain"}),
        ("", "<b>rich</b>", {"html": "<b>rich</b>"}),
        ("both", "<b>both</b>", {"text": "both"}),
        (None, None, {"text": ""}),
    ],
)
async def test_what_is_put_back(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock, text: str | None, html: str | None, again: object
) -> None:
    desk.x.text, desk.x.html = text, html
    await keyboard.type("a\nb", paste=True)
    assert [body for method, path, body in desk.front.calls if method == "POST"] == [{"text": "a\nb"}, again]


async def test_what_a_program_copies_meanwhile_stays(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    desk.x.put("before")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: keyboard.type("pasted", paste=True))
        await trio.sleep(PASTE_TIME / 2)
        desk.x.put("copied")
    assert desk.x.text == "copied"


async def test_pasting_is_refused_before_anything_is_sent(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    async with keyboard.hold("shift"):
        with pytest.raises(InvalidInput, match="held"):
            await keyboard.type("x", paste=True)
    desk.server.profile(can_access_clipboard=False)
    await desk.inputs.flush()
    handled = len(desk.server.handled)
    with pytest.raises(NotAllowed, match="clipboard"):
        await keyboard.type("x", paste=True)
    with pytest.raises(NotAllowed, match="clipboard"):
        await keyboard.type("abc αβγδεζηθικλμνξοπρστυφχψω")
    with pytest.raises(InvalidInput):
        await keyboard.type("x", paste=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        keyboard.paste_chord = "nosuchkey"
    assert len(desk.server.handled) == handled


async def test_the_chord_that_pastes(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    keyboard.paste_chord = "shift+Insert"
    await keyboard.type("x", paste=True)
    insert = 0xFF63
    assert desk.server.handled == [KeyDown(SHIFT), KeyDown(insert), KeyUp(insert), KeyUp(SHIFT)]


async def test_a_cancelled_paste_puts_the_clipboard_back(make_desk: type[Desk], autojump_clock: MockClock) -> None:
    length = 0.0
    for tenth in range(1000):
        desk = make_desk()
        desk.server.data_delay = desk.server.socket_delay = 0.01
        desk.x.text = "before"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.server.serve, "data")
            nursery.start_soon(desk.server.serve, "socket")
            began = trio.current_time()
            with trio.move_on_after(tenth / 500) as scope:
                await desk.keyboard.type("a\nb αβγδεζηθικλμνξοπρστυφχψω")
            length = trio.current_time() - began
            await desk.inputs.flush()
            nursery.cancel_scope.cancel()
        assert desk.x.text == "before"
        assert desk.inputs.held == ()
        assert length < PASTE_TIME + 2
        if not scope.cancelled_caught:
            assert tenth > 20
            return
    raise AssertionError("it never ended")


async def test_a_cancelled_paste_leaves_the_program_its_time(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    """It has been told to paste: what was there before would be pasted instead."""
    desk.x.put("before")
    with trio.move_on_after(PASTE_TIME / 4) as scope:
        await keyboard.type("pasted", paste=True)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(PASTE_TIME)
    assert desk.x.text == "before"


async def test_a_clipboard_that_cannot_be_put_back_is_told(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    desk.x.put("secret before")

    async def take_the_role() -> None:
        await trio.sleep(PASTE_TIME / 2)
        desk.server.set_host("other-67890")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_the_role)
        await keyboard.type("secret pasted", paste=True)
    assert "not put back" in caplog.text
    assert "secret" not in caplog.text


async def test_set_layout(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    assert await keyboard.layout() == Layout("us", "")
    await keyboard.type("z")
    began = trio.current_time()
    await keyboard.set_layout("de", variant="nodeadkeys")
    assert trio.current_time() == pytest.approx(began + 2 * MAP_TIME, abs=0.05)
    assert await keyboard.layout() == Layout("de", "nodeadkeys")
    with pytest.raises(InvalidInput, match="nowhere"):
        await keyboard.set_layout("nowhere")
    for wrong in ("", "d e", "a\n", None):
        with pytest.raises(InvalidInput):
            await keyboard.set_layout(wrong)  # type: ignore[arg-type]
    desk.server.set_host("other-67890")
    with pytest.raises(HostTaken):
        await keyboard.set_layout("us")
    with pytest.raises(HostTaken):
        await keyboard.set_modifiers(shift=True)
    desk.server.set_host("me-12345")
    for nothing in ({}, {"shift": 1}, {"hyper": True}):
        with pytest.raises(InvalidInput):
            await keyboard.set_modifiers(**nothing)


async def test_press(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    await keyboard.press("ctrl+shift+t")
    await desk.inputs.flush()
    t = ord("T")
    assert desk.server.handled == [KeyDown(CTRL), KeyDown(SHIFT), KeyDown(t), KeyUp(t), KeyUp(SHIFT), KeyUp(CTRL)]
    assert desk.server.hops == [6, 1]


async def test_hold(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    async with keyboard.hold("shift"), keyboard.hold("ctrl"):
        await keyboard.press("shift+Tab")
        async with keyboard.hold("shift"):
            pass
        assert desk.inputs.held == (KeyUp(CTRL), KeyUp(SHIFT))
    await desk.inputs.flush()
    tab = 0xFF09
    assert desk.server.handled == [
        *(KeyDown(SHIFT), KeyDown(CTRL), KeyDown(tab), KeyUp(tab), KeyUp(CTRL), KeyUp(SHIFT)),
    ]


@pytest.mark.parametrize("how", ["exception", "cancelled"])
async def test_a_held_key_is_let_go_on_every_way_out(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock, how: str
) -> None:
    with trio.CancelScope() as scope:
        try:
            async with keyboard.hold("ctrl+a"):
                if how == "exception":
                    raise KeyError
                scope.cancel()
                await trio.sleep_forever()
        except KeyError:
            pass
    await desk.inputs.flush()
    assert desk.server.handled == [KeyDown(CTRL), KeyDown(97), KeyUp(97), KeyUp(CTRL)]


async def test_letting_go_is_bounded(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with keyboard.hold("ctrl"):
            desk.data.stuck = trio.Event()
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3)
    assert desk.inputs.held == (KeyUp(CTRL),)


async def test_a_hold_whose_host_role_went(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    async with keyboard.hold("ctrl"):
        desk.server.set_host("other-67890")
    with pytest.raises(HostTaken):
        async with keyboard.hold("ctrl"):
            raise AssertionError
    assert desk.server.hops == [1]


async def test_a_long_hold_is_pressed_again_before_the_server_lets_go(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    async with keyboard.hold("ctrl"):
        await trio.sleep(5)
        async with keyboard.hold("ctrl+a"):
            await trio.sleep(20)
        await trio.sleep(5)
    await desk.inputs.flush()
    handled = desk.server.handled
    assert handled[0] == KeyDown(CTRL)
    assert handled[-1] == KeyUp(CTRL)
    for keysym in (CTRL, 97):
        mine = [message for message in handled if isinstance(message, KeyDown | KeyUp) and message.keysym == keysym]
        assert [type(message) for message in mine] == [KeyDown, KeyUp] * (len(mine) // 2)
        assert len(mine) == (8 if keysym == CTRL else 6)
    assert desk.inputs.held == ()


async def test_a_hold_over_a_role_that_went_ends_quietly(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    async with keyboard.hold("ctrl"):
        desk.server.set_host("other-67890")
        await trio.sleep(30)
    assert desk.server.hops == [1]


async def test_a_hold_whose_role_comes_back_is_pressed_by_the_first_plan(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    back = trio.Event()
    async with keyboard.hold("ctrl"):
        await desk.inputs.flush()
        desk.inputs.lose_role(back.wait)
        desk.inputs.resume()
        await trio.sleep(30)
        assert desk.server.handled == [KeyDown(CTRL)]
        await keyboard.press("a")
        await trio.sleep(9)
    await desk.inputs.flush()
    a = ord("a")
    assert desk.server.handled[1:] == [
        *(KeyUp(CTRL), KeyDown(CTRL), KeyDown(a), KeyUp(a)),
        *(KeyUp(CTRL), KeyDown(CTRL)),  # eight seconds after that
        KeyUp(CTRL),
    ]


async def test_what_a_hold_raises_leaves_bare(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with keyboard.hold("ctrl"):
            raise KeyError

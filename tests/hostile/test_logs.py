"""One line for each message of a flood would fill a disk: what a server causes to be logged is bounded in rate."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import neko_trio
from neko_trio import _log_rate
from neko_trio._log_rate import BURST, INTERVAL, SERVER_DRIVEN, LogRate, bound_logs
from tests.hostile.judge import in_time, logged
from tests.hostile.servers import PASSWORD, AnyStream, HostileNeko, message

PACKAGE = Path(neko_trio.__file__).parent


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(text: str, *values: object, level: int = logging.WARNING, name: str = "x") -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, text, values, None)


def test_a_burst_is_written_then_one_for_each_interval_which_tells_of_the_others() -> None:
    clock = Clock()
    rate = LogRate(clock)
    written = [rate.filter(record("skipped %s", number)) for number in range(1000)]
    assert written == [True] * BURST + [False] * (1000 - BURST)
    clock.now += INTERVAL
    told = record("skipped %s", "the last")
    assert rate.filter(told)
    assert told.getMessage() == f"skipped the last ({1000 - BURST} more like it were not logged)"
    assert not rate.filter(record("skipped %s", 1))
    clock.now += 100 * BURST * INTERVAL
    assert sum(rate.filter(record("skipped %s", number)) for number in range(100)) == BURST


def test_each_kind_of_line_has_its_own_bound_and_debugging_has_none() -> None:
    rate = LogRate(Clock())
    for number in range(100):
        rate.filter(record("one %s", number))
    assert rate.filter(record("another"))
    assert rate.filter(record("one %s", 1, name="elsewhere"))
    assert all(rate.filter(record("one %s", 1, level=logging.DEBUG)) for _ in range(100))


def test_every_logger_that_a_server_can_make_write_is_bounded() -> None:
    """By the code: modules that write about what came, of this client. Those about our own ends are not a server's."""
    ours = {"neko_trio.control", "neko_trio.clipboard", "neko_trio.keyboard", "neko_trio.services"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[1] in ("simulator", "testing", "cli"):
            continue
        text = path.read_text(encoding="utf-8")
        if re.search(r"logger\.(?:info|warning|error|exception)\(", text):
            name = re.search(r'getLogger\((?:"([^"]+)"|__name__)\)', text)
            assert name is not None, path
            found.add(name[1] or ".".join(parts))
    assert found - ours <= set(SERVER_DRIVEN)
    bound_logs()
    bound_logs()
    for logger in SERVER_DRIVEN:
        assert sum(isinstance(each, LogRate) for each in logging.getLogger(logger).filters) == 1


@pytest.mark.parametrize(
    "text",
    ["{bad", message("signal/restart", {"sdp": "v=0"}), message("signal/provide", {"sdp": "v=0"}), '{"event": 7}'],
    ids=["no json", "restart", "offer", "event of another type"],
)
async def test_a_flood_of_what_is_skipped_is_a_handful_of_lines(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_log_rate._RATE, "_kinds", {})

    async def flood(stream: AnyStream, due: bytes) -> None:
        await stream.send_all(due + (b"\x81" + bytes((len(text),)) + text.encode()) * 5000)
        end = message("cursor/last", {})
        await stream.send_all(b"\x81" + bytes((len(end),)) + end.encode())
        while await stream.receive_some():
            pass

    with logged() as lines:
        async with (
            HostileNeko({"init": flood}).served() as served,
            in_time(10),
            neko_trio.open_session(str(served.url), password=PASSWORD, video="off", close_timeout=1) as session,
            session.events("cursor/last") as last,
        ):
            await anext(last)
            assert session.statistics().messages_received >= 5000
    assert 1 <= sum("neko_trio" in line and "WARNING" in line for line in lines) <= 2 * BURST

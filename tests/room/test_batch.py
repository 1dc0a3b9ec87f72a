"""Several calls in one, and what the server's answer to them can hide."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from neko_trio.errors import InvalidInput, NekoError, NotNeko, ProtocolViolation
from neko_trio.events import Settings, SystemSettings
from tests.room.conftest import ME, RoomServer, opened

BATCH = ("POST", "/api/batch")


async def test_answers_are_in_the_order_of_the_calls_and_the_state_shows_them(autojump_clock: MockClock) -> None:
    server = RoomServer()

    def answer(_body: object) -> list[dict[str, Any]]:
        server.send(SystemSettings(id=ME, settings=Settings(private_mode=True)))
        return [
            {"path": "/api/room/settings", "method": "POST", "status": 204},
            {"path": "/api/members/x", "method": "GET", "status": 404, "body": {"code": 404, "message": "no"}},
        ]

    server.rest.on[BATCH] = answer
    async with opened(server) as session:
        done, refused = await session.room.batch(
            [("POST", "/api/room/settings", {"private_mode": True}), ("GET", "/api/members/x?a=b")]
        )
        assert (done.ok, done.status, done.body) == (True, 204, None)
        assert (refused.ok, refused.status, refused.body) == (False, 404, {"code": 404, "message": "no"})
        assert (refused.method, refused.path) == ("GET", "/api/members/x?a=b")
        assert session.state.settings.private_mode
        assert "message" not in repr(refused)
    assert server.rest.calls == [
        (
            *BATCH,
            [
                {"method": "POST", "path": "/api/room/settings", "body": {"private_mode": True}},
                {"method": "GET", "path": "/api/members/x?a=b"},
            ],
        )
    ]


REFUSED = [
    ("PUT", "/api/whoami"),
    ("get", "/api/whoami"),
    ("GET", "/health"),
    ("GET", "api/whoami"),
    ("GET", "/api/"),
    ("GET", "/api/a b"),
    ("GET", "/api/ü"),
    ("GET", "/api/x#y"),
    ("GET", "/api/ws"),
    ("POST", "/api/batch"),
    ("POST", "/api/batch/"),
    ("POST", "/api/login"),
    ("POST", "/api/logout"),
    ("GET", "/api/room/screen/shot.jpg?quality=50"),
    ("GET", "/api/room/screen/cast.jpg"),
    ("GET", "/api/room/clipboard/image.png"),
    ("GET", "/api/filetransfer?filename=x"),
    ("GET",),
    ("GET", "/api/whoami", {}, {}),
    "GET /api/whoami",
    ("GET", 3),
    ("POST", "/api/room/settings", {"x": float("nan")}),
    ("POST", "/api/room/settings", 1j),
]


@pytest.mark.parametrize("call", REFUSED, ids=str)
async def test_what_does_not_fit_in_a_batch_is_refused_with_all_that_is_in_it(
    autojump_clock: MockClock, call: Any
) -> None:
    server = RoomServer()
    async with opened(server) as session:
        with pytest.raises(InvalidInput):
            await session.room.batch([("GET", "/api/whoami"), call])
        assert server.rest.calls == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", ProtocolViolation),  # one of them was no JSON
        (b"<html>", NotNeko),
        ([], ProtocolViolation),
        ([{"status": 200}] * 2, ProtocolViolation),
        ([{"status": "200"}], ProtocolViolation),
        ({"status": 200}, ProtocolViolation),
    ],
)
async def test_an_answer_that_says_nothing(autojump_clock: MockClock, answer: object, kind: type[NekoError]) -> None:
    server = RoomServer()
    server.rest.on[BATCH] = lambda _: answer
    async with opened(server) as session:
        with pytest.raises(kind):
            await session.room.batch([("GET", "/api/whoami")])
        assert len(server.rest.calls) == 1

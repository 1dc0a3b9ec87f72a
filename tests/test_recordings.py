"""The client, held to what the real server sent: states, offers, candidates and refusals of the recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio._state import initial_state, reduce_state
from neko_trio.errors import ConnectionRejected, LoginRefused
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.jsonl"))
HANDSHAKES = [name for name in NAMES if name.startswith("handshake-")]


def lines(name: str) -> list[dict[str, Any]]:
    with (RECORDINGS / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def received(name: str) -> dict[str, list[dict[str, Any]]]:
    """The events of each WebSocket of a recording, from each ``system/init`` on."""
    sockets: dict[str, list[dict[str, Any]]] = {}
    for line in lines(name):
        if line["kind"] == "ws" and line["dir"] == "recv" and "event" in line:
            who = line.get("who", "")
            if line["event"] == "system/init":
                sockets[f"{who}{len(sockets)}"] = []
            for key in reversed(list(sockets)):
                if key.rstrip("0123456789") == who:
                    sockets[key].append(line)
                    break
    return {who: messages for who, messages in sockets.items() if messages}


def text(line: dict[str, Any]) -> str:
    return json.dumps({"event": line["event"], **({"payload": line["payload"]} if "payload" in line else {})})


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_what_the_server_said_last(name: str) -> None:
    """Told twice: by the reducer, and by looking at the JSON alone."""
    for who, messages in received(name).items():
        state = None
        for line in messages:
            event = events.decode(text(line))
            if isinstance(event, events.SystemInit) and state is None:
                state = initial_state(event)
            elif state is not None:
                state = reduce_state(state, event)
        assert state is not None, who
        init = messages[0]["payload"]
        host, screen, settings = init["control_host"].get("host_id"), init["screen_size"], init["settings"]
        everyone = set(init["sessions"])
        for line in messages:
            payload = line.get("payload") or {}
            match line["event"]:
                case "control/host":
                    host = payload.get("host_id")
                case "screen/updated":
                    screen = {key: payload[key] for key in ("width", "height", "rate")}
                case "system/settings":
                    settings = payload
                case "session/created":
                    everyone.add(payload["id"])
                case "session/deleted":
                    everyone.discard(payload["id"])
        assert state.host == host
        assert {"width": state.screen.width, "height": state.screen.height, "rate": state.screen.rate} == screen
        assert state.settings.private_mode == settings["private_mode"]
        assert state.settings.locked_controls == settings["locked_controls"]
        assert set(state.sessions) == everyone
        assert state.streams == tuple(init["webrtc"]["videos"])


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_recorded_handshake_is_followed(autojump_clock: MockClock, name: str) -> None:
    """Every candidate, early or late, reaches the one peer made from the recorded offer and its ICE servers."""
    (messages,) = received(name).values()
    server, media = ScriptedServer(), FakeMedia()
    init = events.decode(text(messages[0]))
    assert isinstance(init, events.SystemInit)
    server.init = init
    until_answer: list[dict[str, Any]] = []
    after_answer: list[dict[str, Any]] = []
    for line in messages[1:]:
        (after_answer if line["event"] in ("session/state", "signal/close") else until_answer).append(line)

    def respond(_request: requests.ClientRequest) -> None:
        for line in until_answer:
            server.send_text(text(line))

    server.on["signal/request"] = respond
    async with open_scripted_session(server, media) as session:
        await trio.testing.wait_all_tasks_blocked()
        (peer,) = media.peers
        provide = next(line["payload"] for line in messages if line["event"] == "signal/provide")
        assert peer.setup.offer_sdp == provide["sdp"]
        assert [list(ice.urls) for ice in peer.setup.ice_servers] == [ice["urls"] for ice in provide["iceservers"]]
        sent = [line["payload"]["candidate"] for line in messages if line["event"] == "signal/candidate"]
        assert len(peer.candidates) == len(sent) > 0
        assert [candidate.port for candidate in peer.candidates] == [int(one.split()[5]) for one in sent]
        assert session.statistics().messages_malformed == 0
        assert session.statistics().candidates_malformed == 0
    recorded = [
        {"event": line["event"], "payload": line.get("payload")}
        for line in lines(name)
        if line["kind"] == "ws" and line["dir"] == "send" and "event" in line
    ]
    ours = [json.loads(requests.encode(request)) for request in server.requests]
    # The same events with the same keys as the client of the recording sent, which the server accepted.
    for event in {line["event"] for line in recorded} & {line["event"] for line in ours}:
        theirs = next(line for line in recorded if line["event"] == event)
        mine = next(line for line in ours if line["event"] == event)
        assert set(mine["payload"]) <= set(theirs["payload"]) | {"usernameFragment", "disabled"}


async def test_the_recorded_refusals_are_typed(autojump_clock: MockClock) -> None:
    refused = [line for line in lines("rejected-token") if line.get("event") == "system/disconnect"]
    kinds: list[type[Exception]] = []
    for line in refused:
        server = ScriptedServer()
        server.init = None

        def refuse(server: ScriptedServer = server, line: dict[str, Any] = line) -> None:
            server.send_text(text(line))
            server.end(1006)

        server.on_connect = refuse
        with pytest.raises((LoginRefused, ConnectionRejected)) as caught:
            async with open_scripted_session(server, FakeMedia()):
                pass
        kinds.append(type(caught.value))
    assert kinds == [LoginRefused, LoginRefused, ConnectionRejected]

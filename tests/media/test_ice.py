"""The ICE agent against agents that behave as servers do: full, lite, deaf, stubborn, and absent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import perf_counter
from typing import cast

import aioice
import pytest
from aioice import stun

from neko_trio.media import ice, ice_candidates, ice_gathering, ice_tasks, stun_protocol
from neko_trio.media.aiortc_private import IceAgentBase, PairState, StunMessage, StunProtocol
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_gathering import IceServerAddress, bind_socket
from neko_trio.media.stun_protocol import AgentSocket
from neko_trio.protocol.ice_servers import parse_ice_url
from neko_trio.simulator._faults_media import PacketFault
from neko_trio.simulator._ice import Network, ServerAgent
from tests.loops import on_asyncio
from tests.media.agents import OldServer, asked_and_heard, introduce

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("one_address")]


class Server(IceAgentBase):
    """A full agent that offers: it controls, on loopback, with aioice's own pace or ours."""

    role_unsettled = False  # what AgentSocket asks its agent

    def note_refusal(self, addr: tuple[str, int], error: stun.TransactionFailed) -> None:
        """What AgentSocket tells its agent."""

    def __init__(self, protocol: Callable[[IceAgentBase], StunProtocol] = StunProtocol) -> None:
        super().__init__(ice_controlling=True)
        self._make = protocol
        self.requests: list[StunMessage] = []

    async def gather_candidates(self) -> None:
        self.begin_gathering()
        protocol = await bind_socket("127.0.0.1", lambda: self._make(self))
        self.sockets.append(protocol)
        self.own_candidates.append(protocol.local_candidate)
        self.end_gathering()

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        self.requests.append(message)
        super().request_received(message, addr, protocol)


class DropsFirst(Server):
    """As pion: a request that makes it change its role is used up by that."""

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        if self.ice_controlling and "ICE-CONTROLLING" in message.attributes:
            self.switch_role(ice_controlling=False)
            return
        super().request_received(message, addr, protocol)


class Deaf(AgentSocket):
    """Ignores error responses, as pion did before it resolved role conflicts."""

    def datagram_received(self, data: bytes | str, addr: tuple[object, ...]) -> None:
        if isinstance(data, bytes) and data[:2] == b"\x01\x11":  # a binding error response
            return
        super().datagram_received(data, addr)


class Stubborn(Server):
    """Never gives the role up, and answers nobody who claims it; nominates by its first check, as aioice does."""

    def __init__(self) -> None:
        super().__init__(Deaf)

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        if "ICE-CONTROLLING" not in message.attributes:
            super().request_received(message, addr, protocol)


def make_agent(
    told: list[aioice.Candidate] | None = None,
    *,
    server_address: str | None = "127.0.0.1",
    relay_only: bool = False,
    take_control: bool = True,
) -> IceAgent:
    agent = IceAgent(
        on_candidate=(told if told is not None else []).append,
        server_address=server_address,
        relay_only=relay_only,
        take_control=take_control,
    )
    agent.servers_complete()
    return agent


async def prepare(agent: IceAgent, server: Server) -> None:
    """Gather on both sides and introduce them to each other."""
    await server.gather_candidates()
    await agent.gather_candidates()
    introduce(agent, server)


async def handshake(agent: IceAgent, server: Server) -> float:
    """Connect the two; how long it took, in seconds."""
    await prepare(agent, server)
    for candidate in server.local_candidates:
        agent.accept_remote(candidate)
    for candidate in agent.local_candidates:
        await server.add_remote_candidate(candidate)
    began = perf_counter()
    agent.start_checks()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.connect())
        tasks.create_task(server.connect())
    took = perf_counter() - began
    await agent.send(b"\x16from the agent")
    assert await server.recv() == b"\x16from the agent"
    await server.send(b"\x16from the server")
    assert await agent.recv() == b"\x16from the server"
    return took


@pytest.mark.parametrize("take_control", [True, False])
@on_asyncio
async def test_connects_with_a_full_agent(take_control: bool) -> None:
    agent, server = make_agent(take_control=take_control), Server()
    took = await handshake(agent, server)
    assert agent.ice_controlling is not server.ice_controlling
    if not take_control:  # else whoever nominates first controls, and aioice's agent nominates by its first check
        assert not agent.ice_controlling
        assert not agent.role_given_back
    assert took < ice.UNANSWERED_LIMIT
    assert (agent.packets_sent, agent.packets_received) == (1, 1)
    assert agent.checks_received > 0
    await agent.close()
    await server.close()


async def reach(agent: IceAgent, server: Server) -> float:
    """Connect to a server that answers checks and sends none; how long it took, in seconds."""
    await prepare(agent, server)
    began = perf_counter()
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.05)  # so that the candidate comes late
    assert agent.checking
    agent.accept_remote(server.local_candidates[0])
    await asyncio.wait_for(connecting, 8)
    return perf_counter() - began


@pytest.mark.parametrize("kind", [Server, DropsFirst])
@on_asyncio
async def test_a_late_candidate_is_checked_at_once_and_twice(
    kind: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, because pion uses the first request up for changing its role."""
    monkeypatch.setattr(stun_protocol, "FIRST_RETRANSMISSION", 3.0)

    agent, server = make_agent(), kind()
    assert await reach(agent, server) < 2
    assert agent.ice_controlling
    assert not agent.role_given_back
    await agent.close()
    await server.close()


@on_asyncio
async def test_a_check_that_was_lost_is_repeated_when_the_servers_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun_protocol, "FIRST_RETRANSMISSION", 3.0)

    class BehindFirewall(Server):
        open = False

        def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
            if self.open:
                super().request_received(message, addr, protocol)

    agent, server = make_agent(), BehindFirewall()
    await prepare(agent, server)
    agent.accept_remote(server.local_candidates[0])
    await server.add_remote_candidate(agent.local_candidates[0])
    began = perf_counter()
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.05)
    server.open = True  # by the server's own packet
    await asyncio.gather(connecting, server.connect())
    assert perf_counter() - began < 2
    await agent.close()
    await server.close()


@on_asyncio
async def test_controlled_a_check_is_answered_by_one_even_after_ours_has_succeeded() -> None:
    agent, server = make_agent(take_control=False), Server()
    await prepare(agent, server)
    agent.accept_remote(server.local_candidates[0])
    server.add_remote(agent.local_candidates[0])
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.05)
    assert agent.check_list[0].state is PairState.SUCCEEDED
    assert agent.nominated_pair is None
    before = len(server.requests)
    request = server.build_request(server.check_list[0], nominate=False)
    request.add_message_integrity(agent.local_password.encode())
    server.sockets[0].send_stun(request, server.check_list[0].remote_addr)
    await asyncio.sleep(0.05)
    assert len(server.requests) == before + 1
    await asyncio.gather(connecting, server.connect())
    await agent.close()
    await server.close()


@on_asyncio
async def test_a_close_between_nomination_and_its_notice_is_a_close() -> None:
    class Closing(IceAgent):
        async def wait_checks(self) -> bool:
            nominated = await super().wait_checks()
            self.begin_closing()
            return nominated

    agent, server = Closing(on_candidate=lambda _: None, server_address="127.0.0.1"), Server()
    agent.servers_complete()
    with pytest.raises(ConnectionError):
        await reach(agent, server)
    assert agent.nominated_pair is not None
    await agent.close()
    await server.close()


@pytest.mark.parametrize("refuses", [False, True])
@on_asyncio
async def test_who_answers_when_asked_has_been_heard(refuses: bool) -> None:
    agent, server = make_agent(), Server()
    agent.ask()  # nobody is there yet
    assert not agent.tasks
    await handshake(agent, server)
    role = agent.ice_controlling
    if refuses:
        server.tie_breaker = ice.TAKES_CONTROL if role else 0
        server.switch_role(ice_controlling=role)
    assert await asked_and_heard(agent)
    assert agent.ice_controlling is role
    await server.close()
    assert not await asked_and_heard(agent)
    await agent.close()
    agent.ask()
    assert not agent.tasks


@on_asyncio
async def test_sockets_hold_a_keyframe() -> None:
    agent = make_agent()
    await agent.gather_candidates()
    got = agent.sockets[0].transport.get_extra_info("socket")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        default = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ice_gathering.RECEIVE_BUFFER)
        most = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # as much as the system allows
    assert got.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == most > default
    await agent.close()


@on_asyncio
async def test_a_server_that_ignores_role_conflicts_gets_its_role_back() -> None:
    agent, server = make_agent(), Stubborn()
    took = await handshake(agent, server)
    assert agent.role_given_back
    assert not agent.ice_controlling
    assert server.ice_controlling
    assert took < ice.UNANSWERED_LIMIT, "at the server's first nomination"
    await agent.close()
    await server.close()


async def meet(agent: IceAgent, server: ServerAgent, *, behind_nat: bool = False, first: bool = False) -> float:
    """Connect to a server as the simulator has it, which nominates as pion does; how long it took, in seconds.
    ``behind_nat``: it cannot know an address of ours. ``first``: it checks us before we check."""
    await server.open_sockets(lambda _: None)
    await agent.gather_candidates()
    introduce(agent, server)
    for candidate in server.local_candidates:
        agent.accept_remote(candidate)
    if not behind_nat:
        server.add_remote(agent.local_candidates[0])
    serving = asyncio.ensure_future(server.connect())
    if first:
        await asyncio.sleep(0.05)
        assert agent.checks_received > 0
    began = perf_counter()
    agent.start_checks()
    async with asyncio.timeout(5):
        await asyncio.gather(agent.connect(), serving)
    took = perf_counter() - began
    await agent.close()
    await server.close()
    return took


@on_asyncio
async def test_pions_role_is_taken_and_its_timers_with_it() -> None:
    for behind_nat in (False, True):
        agent, server = make_agent(), ServerAgent(keep_alive=2.0, network=Network())
        assert await meet(agent, server, behind_nat=behind_nat) < 0.15
        assert agent.ice_controlling
        assert not server.ice_controlling
        assert not agent.role_given_back


@pytest.mark.parametrize("first", [False, True])
@on_asyncio
async def test_an_old_pion_nominates_at_once_all_the_same(first: bool) -> None:
    agent, server = make_agent(), OldServer(keep_alive=2.0, network=Network())
    assert await meet(agent, server, first=first) < 0.15, "before pion's tick"
    assert agent.role_given_back
    assert server.ice_controlling


@on_asyncio
async def test_an_old_pion_that_cannot_reach_us_by_itself_is_let_nominate_in_time() -> None:
    agent, server = make_agent(), OldServer(keep_alive=2.0, network=Network())
    took = await meet(agent, server, behind_nat=True)
    assert agent.role_given_back
    assert took < 1.6, "pion's second for a client that it has learned"


class Yielded(ServerAgent):
    """Has given its role up, behind the answer to a check that it answered in it, and says no more of that."""

    def switch_role(self, ice_controlling: bool) -> None:
        if not ice_controlling:
            super().switch_role(ice_controlling)


@on_asyncio
async def test_a_role_given_back_too_soon_is_taken_again() -> None:
    """Else both sides would be controlled, and nobody would nominate (seen: 1 of 1,000 connects to a real server)."""
    agent, server = make_agent(), Yielded(keep_alive=0.2, network=Network())
    server.ice_controlling = False
    asyncio.get_running_loop().call_later(0.001, agent._give_role_back)
    assert await meet(agent, server) < 1.0
    assert agent.ice_controlling
    assert not agent.role_given_back


class Unheard:
    """A path on which no answer comes from the server until it is opened."""

    is_open = False

    def arrivals(self, data: bytes, *, to_client: bool, transport: str) -> list[tuple[float, bytes]]:
        answers = to_client and data[:1] == b"\x01"  # of either class (RFC 8489 §5)
        return [(0.0, data)] if self.is_open or not answers else []


@on_asyncio
async def test_a_server_that_was_nominated_for_without_our_knowing_is_claimed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ice, "UNANSWERED_LIMIT", 0.1)
    monkeypatch.setattr(ice, "NOMINATION_LIMIT", 0.1)
    agent, server, path = make_agent(), ServerAgent(keep_alive=2.0, network=Network()), Unheard()
    server.faults = (cast("PacketFault", path),)
    await server.open_sockets(lambda _: None)
    await agent.gather_candidates()
    introduce(agent, server)
    agent.accept_remote(server.local_candidates[0])
    server.add_remote(agent.local_candidates[0])
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await server.connect()  # our check has nominated, and that it was answered we do not hear
    while not agent.role_given_back:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    path.is_open = True
    connected, waiting = await asyncio.wait([connecting], timeout=2)
    if waiting:
        await agent.close()
    await asyncio.gather(connecting, return_exceptions=True)
    assert connected, "nobody nominates any more"
    assert agent.ice_controlling
    assert not agent.role_given_back
    await agent.close()
    await server.close()


class Mute(Server):
    """Answers nothing."""

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        self.requests.append(message)


@on_asyncio
async def test_forged_checks_take_no_role() -> None:
    """A nomination counts only from who knows the password."""
    agent, server = make_agent(), Mute()
    await prepare(agent, server)
    agent.accept_remote(server.local_candidates[0])
    server.add_remote(agent.local_candidates[0])
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.01)
    for password in ("forged", None):
        request = server.build_request(server.check_list[0], nominate=True)
        if password is not None:
            request.add_message_integrity(password.encode())
        server.sockets[0].send_stun(request, server.check_list[0].remote_addr)
    await asyncio.sleep(0.05)
    assert agent.checks_received == 2
    assert agent.ice_controlling
    assert not agent.role_given_back
    await agent.close()
    with pytest.raises(ConnectionError):
        await connecting
    await server.close()


@on_asyncio
async def test_a_lite_server_is_controlled_by_us() -> None:
    agent, server = make_agent(take_control=False), Server()
    server.ice_controlling = False
    agent.remote_is_lite = True
    agent.ice_controlling = True  # as aiortc sets it for a lite offer
    await handshake(agent, server)
    assert agent.ice_controlling
    await agent.close()
    await server.close()


@on_asyncio
async def test_no_check_leaves_before_start_checks() -> None:
    agent, server = make_agent(), Server()
    await prepare(agent, server)
    agent.accept_remote(server.local_candidates[0])
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.1)  # long enough for the first check and its repetition
    assert server.requests == []
    agent.start_checks()
    await server.add_remote_candidate(agent.local_candidates[0])
    await asyncio.gather(connecting, server.connect())
    assert server.requests != []
    await agent.close()
    await server.close()


@on_asyncio
async def test_dead_stun_and_turn_servers_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tasks, "TASK_LIMIT", 0.3)

    agent, server = make_agent(), Server()
    silent = await bind_socket("127.0.0.1", lambda: StunProtocol(server))
    asyncio.get_running_loop().remove_reader(silent.transport.get_extra_info("socket"))
    port = silent.local_candidate.port
    for url in (f"stun:127.0.0.1:{port}", f"turn:127.0.0.1:{port}", f"turn:127.0.0.1:{port}?transport=tcp"):
        agent.add_server(IceServerAddress(parse_ice_url(url), "127.0.0.1", "name", "secret"))
    took = await handshake(agent, server)
    assert took < 0.2
    await asyncio.sleep(0.4)
    assert len(agent.gathering_errors) == 3
    assert "secret" not in " ".join(agent.gathering_errors)
    await agent.close()
    await server.close()
    await silent.close()


class StunServer(asyncio.DatagramProtocol):
    """Answers binding requests as if the client stood behind the address 203.0.113.7."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = StunMessage(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.7", 4321)
        self._transport.sendto(bytes(answer), addr)


@on_asyncio
async def test_a_reflexive_candidate_is_told_once_the_answer_is_out() -> None:
    told: list[aioice.Candidate] = []
    agent = make_agent(told)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    agent.add_server(IceServerAddress(parse_ice_url(f"stun:127.0.0.1:{port}"), "127.0.0.1"))
    await agent.gather_candidates()
    assert [candidate.type for candidate in agent.local_candidates] == ["host"]
    async with asyncio.timeout(2):
        while gathering := agent.tasks.running:
            await asyncio.wait(gathering)
    assert [candidate.type for candidate in agent.local_candidates] == ["host", "srflx"]
    assert told == []
    agent.start_checks()
    assert [(candidate.type, candidate.host, candidate.port) for candidate in told] == [("srflx", "203.0.113.7", 4321)]
    await agent.close()
    transport.close()
    await asyncio.sleep(0)


@on_asyncio
async def test_without_any_candidate_the_answer_waits_for_a_server_and_then_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ice_tasks, "TASK_LIMIT", 0.2)

    agent = make_agent(relay_only=True)
    began = perf_counter()
    await agent.gather_candidates()
    assert perf_counter() - began < 0.1  # no server: nothing to wait for
    assert agent.local_candidates == []
    await agent.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        agent = make_agent(relay_only=True)
        agent.add_server(IceServerAddress(parse_ice_url(f"turn:127.0.0.1:{port}"), "127.0.0.1", "name", "secret"))
        began = perf_counter()
        await agent.gather_candidates()
        assert 0.15 < perf_counter() - began < 2
        assert agent.local_candidates == []
        assert agent.gathering_errors == [f"turn:127.0.0.1:{port}?transport=udp: no answer within 0.2 s"]
        await agent.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@on_asyncio
async def test_a_turn_server_that_is_not_there_is_known_at_once(transport: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    agent = make_agent(relay_only=True)
    url = parse_ice_url(f"turn:127.0.0.1:{port}?transport={transport}")
    agent.add_server(IceServerAddress(url, "127.0.0.1", "name", "secret"))
    began = perf_counter()
    await agent.gather_candidates()
    assert perf_counter() - began < 1
    (error,) = agent.gathering_errors
    assert "refused" in error or "Connect call failed" in error
    await agent.close()


@on_asyncio
async def test_a_server_that_never_answers_ends_in_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "ICE_LIMIT", 0.3)

    agent, server = make_agent(), Server()
    await agent.gather_candidates()
    introduce(agent, server)
    agent.accept_remote(aioice.Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host"))
    agent.start_checks()
    with pytest.raises(ConnectionError, match=r"0\.3 s"):
        await agent.connect()
    assert agent.failure == "no pair was nominated within 0.3 s"
    await agent.close()
    await server.close()


@on_asyncio
async def test_the_end_of_candidates_fails_at_once_when_nothing_can_be_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "OTHER_ADDRESSES_AFTER", 0.05)

    agent, server = make_agent(), Server()
    await agent.gather_candidates()
    introduce(agent, server)
    agent.accept_remote(aioice.Candidate("1", 1, "tcp", 1, "127.0.0.1", 9, "host", tcptype="active"))
    agent.accept_end()
    agent.start_checks()
    began = perf_counter()
    with pytest.raises(ConnectionError, match="every candidate pair failed"):
        await agent.connect()
    assert perf_counter() - began < 1
    assert agent.remotes_ignored == 1
    await agent.close()
    await server.close()


@on_asyncio
async def test_other_addresses_are_offered_only_when_nothing_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "OTHER_ADDRESSES_AFTER", 0.05)
    monkeypatch.setattr(ice_gathering, "host_addresses", lambda: ["127.0.0.2"])

    told: list[aioice.Candidate] = []
    agent, server = make_agent(told), Server()
    await handshake(agent, server)
    await asyncio.sleep(0.1)
    assert told == []
    await agent.close()
    await server.close()
    agent, server = make_agent(told), Server()
    await agent.gather_candidates()
    assert [candidate.host for candidate in agent.local_candidates] == ["127.0.0.1"]
    introduce(agent, server)
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0.1)
    assert [candidate.host for candidate in told] == ["127.0.0.2"]
    await agent.close()
    with pytest.raises(ConnectionError):
        await connecting
    await server.close()


def udp(host: str, port: int, kind: str = "host") -> aioice.Candidate:
    return aioice.Candidate("1", 1, "udp", 1, host, port, kind)


@on_asyncio
async def test_the_websockets_address_is_tried_with_each_port_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_candidates, "GUESS_LIMIT", 3)

    agent, server = make_agent(server_address="::ffff:127.0.0.1"), Server()
    await agent.gather_candidates()
    introduce(agent, server)
    passive = aioice.Candidate("1", 1, "tcp", 1, "203.0.113.9", 1000, "host", tcptype="passive")
    for candidate in (udp("203.0.113.9", 1000), udp("203.0.113.8", 1000), passive, udp("127.0.0.1", 2000)):
        agent.accept_remote(candidate)
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    await asyncio.sleep(0)
    assert agent.guesses == [], "not at once"
    await asyncio.sleep(ice.GUESS_AFTER + 0.05)
    found = [(guess.transport, guess.host, guess.port) for guess in agent.guesses]
    assert found == [("udp", "127.0.0.1", 1000), ("tcp", "127.0.0.1", 1000)]
    for port in range(1001, 1005):  # late ones, too, up to the bound
        agent.accept_remote(udp("203.0.113.9", port))
    assert {guess.port for guess in agent.guesses} == {1000, 1001, 1002}
    await agent.close()
    with pytest.raises(ConnectionError):
        await connecting
    await server.close()


@on_asyncio
async def test_a_wrong_address_costs_a_moment_and_a_right_one_nothing() -> None:
    network = Network(nat1to1="203.0.113.9", lite=True)
    agent, server = make_agent(), ServerAgent(keep_alive=2.0, network=network)
    agent.remote_is_lite = agent.ice_controlling = True
    assert await meet(agent, server, behind_nat=True) < ice.GUESS_AFTER + 0.15
    agent, server = make_agent(), ServerAgent(keep_alive=2.0, network=Network())
    await meet(agent, server)
    assert agent.guesses == []


@on_asyncio
async def test_an_address_routed_to_a_late_candidate_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_gathering, "routed_address", lambda target: "127.0.0.3" if target == "127.0.0.9" else None)

    told: list[aioice.Candidate] = []
    agent = make_agent(told)
    await agent.gather_candidates()
    assert [candidate.host for candidate in agent.local_candidates] == ["127.0.0.1"]
    agent.start_checks()
    agent.accept_remote(aioice.Candidate("1", 1, "udp", 1, "127.0.0.9", 9, "host"))
    async with asyncio.timeout(2):
        await asyncio.wait(agent.tasks.running)
    assert [candidate.host for candidate in told] == ["127.0.0.3"]
    await agent.close()


@on_asyncio
async def test_closing_ends_a_connect_that_waits() -> None:
    for start in (False, True):
        agent, server = make_agent(), Server()
        for url in ("turn:127.0.0.1:9", "stun:127.0.0.1:9"):  # nobody there, which UDP does not tell
            agent.add_server(IceServerAddress(parse_ice_url(url), "127.0.0.1", "name", "secret"))
        await agent.gather_candidates()
        introduce(agent, server)
        if start:
            agent.start_checks()
        connecting = asyncio.create_task(agent.connect())
        await asyncio.sleep(0.01)
        await agent.close()
        await agent.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(connecting, 1)
        await server.close()


@on_asyncio
async def test_remote_candidates_and_unread_datagrams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_candidates, "REMOTE_LIMIT", 3)
    monkeypatch.setattr(ice, "UNREAD_LIMIT", 3)

    agent = make_agent()
    for port in range(1, 6):
        agent.accept_remote(aioice.Candidate("1", 1, "udp", 1, "127.0.0.1", port, "host"))
    assert len(agent.known_remotes) == 3
    assert agent.remotes_ignored == 2
    for _ in range(5):
        agent.data_received(b"\x80", 1)
    assert (agent.unread, agent.packets_received, agent.packets_dropped) == (3, 3, 2)
    await agent.close()

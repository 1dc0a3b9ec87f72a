"""What needs no server: help, usage errors, and errors before the first byte is sent."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Iterator

import pytest

from neko_trio.cli import COMMANDS, HELP, main
from neko_trio.cli.app import app, run
from tests.cli.conftest import Run


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A loopback port that is taken, and where nobody listens: connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_help_answered_without_the_framework_names_the_commands_that_exist() -> None:
    registered = {name for name in app if not name.startswith("-")}
    assert registered == set(COMMANDS)
    for name, text in COMMANDS.items():
        assert f"  {name:<12}{text}" in HELP
        assert app[name].help == text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["help"], 0)])
def test_help(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["neko-trio", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr().out == HELP + "\n"


async def test_version_is_the_packages(command: Run) -> None:
    from importlib.metadata import version

    ended = await command("--version")
    assert (ended.code, ended.out, ended.err) == (0, version("neko-trio") + "\n", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nosuch"], "nosuch"),
        (["connect", "--bogus"], "--bogus"),
        (["connect", "--timeout", "soon"], "soon"),
        (["screenshot", "--output", "screen.bmp"], "screen.bmp"),
        (["serve", "--port", "99999"], "99999"),
        (["serve", "--rate", "0"], "0"),
        (["serve", "--codec", "av2"], "av2"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert said.out == ""


async def test_no_url(command: Run) -> None:
    ended = await command("connect")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "neko-trio: InvalidInput: No URL was given. Name the server, or set NEKO_URL.\n"


async def test_no_password(command: Run) -> None:
    ended = await command("connect", "http://127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert "No password was given." in ended.err


async def test_url_without_scheme(command: Run) -> None:
    ended = await command("screenshot", "127.0.0.1:1", "--password", "x")
    assert (ended.code, ended.out) == (1, "")
    assert "http://127.0.0.1:1" in ended.err
    assert "Traceback" not in ended.err


async def test_unreachable_server_in_words(command: Run, refusing_port: int) -> None:
    ended = await command("connect", f"http://127.0.0.1:{refusing_port}", "--password", "x")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"neko-trio: ServerUnreachable: 127.0.0.1 port {refusing_port} cannot be reached")
    assert "Traceback" not in ended.err


async def test_unreachable_server_as_json(command: Run, refusing_port: int) -> None:
    ended = await command("connect", "--json", NEKO_URL=f"http://127.0.0.1:{refusing_port}", NEKO_PASSWORD="x")
    assert (ended.code, ended.err) == (1, "")
    error = ended.object()["error"]
    assert set(error) == {"type", "message", "hint", "step", "retryable", "timeline"}
    assert (error["type"], error["step"], error["retryable"]) == ("ServerUnreachable", "login", True)
    assert error["timeline"] == {"start": 0.0}


async def test_a_port_that_is_taken(command: Run, refusing_port: int) -> None:
    ended = await command("serve", "--json", "--port", str(refusing_port))
    assert (ended.code, ended.err) == (1, "")
    assert f"127.0.0.1 port {refusing_port}" in ended.object()["error"]["message"]


async def test_a_desktop_of_impossible_size(command: Run) -> None:
    ended = await command("serve", "--width", "17")
    assert (ended.code, ended.out) == (1, "")
    assert "InvalidInput" in ended.err
    assert "Traceback" not in ended.err


def test_characters_that_the_terminal_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run(["connect", "--help"]) == 0
    terminal.write("█ …\n")
    terminal.flush()
    assert written.getvalue().endswith(b"? ?\n")

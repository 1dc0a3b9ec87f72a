"""The README is true: its programs run as they are printed, its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import neko_trio
from neko_trio._timeline import MARKS
from neko_trio.cli import COMMANDS
from neko_trio.cli.app import app

if TYPE_CHECKING:
    from neko_trio.testing import TestServer

README = (Path(neko_trio.__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


PROGRAMS = [block for block in blocks("python") if "def test_" not in block]
TESTS = [block for block in blocks("python") if "def test_" in block]


def heading_of(block: str) -> str:
    heading: str = re.findall(r"^## (.*)$", README[: README.index(block)], flags=re.MULTILINE)[-1]
    return heading.lower().replace(" ", "-")


async def run(*command: str, folder: Path, server: TestServer) -> str:
    """What the command printed; it must end with 0 and say nothing on standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NEKO_", "PYTEST_"))}
    environment |= {"NEKO_URL": server.url, "NEKO_PASSWORD": server.password, "PYTHONWARNINGS": "error"}
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
            env=environment,
        )
    assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()
    return done.stdout.decode()


@pytest.mark.real_time
@pytest.mark.parametrize("program", PROGRAMS, ids=heading_of)
async def test_program(program: str, tmp_path: Path, neko_simulator: TestServer) -> None:
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    await run("program.py", folder=tmp_path, server=neko_simulator)
    if "screen.png" in program:
        assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    if neko_simulator.simulator is not None:
        if program == PROGRAMS[0]:
            assert neko_simulator.simulator.desktop.text == "Grüße, desktop"  # type: ignore[attr-defined]
        assert neko_simulator.simulator.sessions == {}, "everyone has logged out"


@pytest.mark.real_time
@pytest.mark.parametrize("test_file", TESTS, ids=heading_of)
async def test_test_file(test_file: str, tmp_path: Path, neko_simulator: TestServer) -> None:
    (tmp_path / "test_it.py").write_text(test_file, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
    said = await run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path, server=neko_simulator)
    assert re.search(r"^[1-9]\d* passed in ", said, flags=re.MULTILINE), said


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {language for language in re.findall(r"^```(\w*)$", README, flags=re.MULTILINE) if language} == {
        *("console", "python", "text")
    }
    assert len(PROGRAMS) >= 6
    assert len(TESTS) >= 2
    assert README.count("```") == 2 * (len(blocks("console")) + len(blocks("python")) + len(blocks("text")))


def test_the_commands_of_a_fresh_machine_stand_at_the_top() -> None:
    first = blocks("console")[0].splitlines()
    assert README.index("```console") < README.index("\n## ")
    assert [line[:2] for line in first] == ["$ ", "$ "]
    assert first[0].endswith("neko-trio demo")
    assert first[1].endswith("pytest -q")


def test_the_printed_timeline_has_the_marks_that_there_are() -> None:
    rows = blocks("text")[0].splitlines()[:-1]
    assert tuple(row.split()[0] for row in rows) == MARKS


def test_the_table_of_commands_is_that_of_the_command_line() -> None:
    rows = dict(re.findall(r"^\| `neko-trio (\w+)[^`]*` \| .*? \| (.*) \|$", README, flags=re.MULTILINE))
    assert set(rows) == set(COMMANDS)
    documented = {name: set(re.findall(r"--[\w-]+", text)) for name, text in rows.items()}
    documented["screenshot"] |= documented["connect"]  # "and those of connect"
    for name, options in documented.items():
        real = {
            option
            for argument in app[name].assemble_argument_collection()
            for option in argument.names
            if option.startswith("--")
        }
        assert real - {"--json", "--url"} == options, name


def test_the_table_of_errors_is_the_tree() -> None:
    from neko_trio import errors

    rows = re.findall(r"^\| .*?\(`(\w+Error)`\) \| (.*) \|$", README, flags=re.MULTILINE)
    branches = {branch: set(re.findall(r"`(\w+)`", leaves)) - {"ValueError", "TimeoutError"} for branch, leaves in rows}
    for branch, leaves in branches.items():
        base = getattr(errors, branch)
        assert leaves == {
            name
            for name in errors.__all__
            if issubclass(getattr(errors, name), base) and getattr(errors, name) is not base
        }
    assert set(branches) == {"CallerError", "ServerError", "NetworkError"}

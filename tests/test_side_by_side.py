"""Who runs side by side, and that the run ends when one of the processes does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

pytest.importorskip("xdist", reason="pytest-xdist is not installed")

ROOT = Path(__file__).parent.parent

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Two dozen tests, which are run as these here are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)  # of the process that this one may be
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\ntestpaths = inner")
    pytester.makeconftest("from tests.side_by_side import pytest_cmdline_main, pytest_xdist_make_scheduler")
    inner = pytester.mkdir("inner")
    (inner / "test_it.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('number', range(24))\n"
        "def test_it(number):\n"
        "    assert 'PYTEST_XDIST_WORKER' in os.environ\n"
    )
    return pytester


async def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    command = (sys.executable, "-m", "pytest", *arguments)
    return await trio.to_thread.run_sync(lambda: project.run(*command, timeout=60))


@pytest.mark.parametrize("arguments", [[], ["-n", "1", "inner/test_it.py"]])
async def test_directories_run_side_by_side(project: pytest.Pytester, arguments: list[str]) -> None:
    (await run(project, *arguments)).assert_outcomes(passed=24)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inner/test_it.py"],
        ["inner", "inner/test_it.py::test_it"],
        ["-n", "0"],
        ["-p", "no:xdist"],
        ["-s"],
        ["--neko-url", "http://127.0.0.1:9"],
    ],
)
async def test_all_else_runs_one_after_the_other(project: pytest.Pytester, arguments: list[str]) -> None:
    result = await run(project, *arguments)
    result.assert_outcomes(failed=24)
    result.stdout.fnmatch_lines(["*'PYTEST_XDIST_WORKER' in *"])


async def test_the_one_room_of_a_server_is_not_shared_by_processes(project: pytest.Pytester) -> None:
    result = await run(project, "-n", "2", "--neko-url", "http://127.0.0.1:9")
    result.stderr.fnmatch_lines(["*run them one after the other*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("deadly", "group"), [(5, ""), (23, "@pytest.mark.xdist_group('together')\n")], ids=["each", "together"]
)
async def test_a_process_that_dies_costs_one_test(project: pytest.Pytester, deadly: int, group: str) -> None:
    (project.path / "inner" / "test_deadly.py").write_text(
        "import os, pytest\n"
        f"{group}"
        "@pytest.mark.parametrize('number', range(24))\n"
        "def test_deadly(number):\n"
        f"    if number == {deadly}:\n"
        "        os._exit(1)\n"
    )
    result = await run(project, "-n", "2", "--dist", "loadgroup")
    result.assert_outcomes(passed=47, failed=1)
    result.stdout.fnmatch_lines([f"*crashed while running *test_deadly[[]{deadly}[]]*"])

"""The house's rules, read off the source: who may import what, what is public, whose private names are whose.

`lint-imports` checks the order of our own modules (see pyproject.toml); this checks what it does not see, and needs
nothing that is not installed with the tests.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import neko_trio
import neko_trio.errors
import neko_trio.events
import neko_trio.simulator
import neko_trio.testing

PACKAGE = Path(neko_trio.__file__).parent
README = PACKAGE.parent / "README.md"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

PUBLIC = ("neko_trio", "neko_trio.events", "neko_trio.errors", "neko_trio.simulator", "neko_trio.testing")
PUBLIC_MODULES = {"__init__.py", "__main__.py", "errors.py", "events.py", "testing/plugin.py"}
"""Modules that may have a plain name outside of an internal package."""

BEHIND_THE_WALL = (
    "media/*",
    "simulator/_offering_peer.py",  # the simulator's peer, what it sends and hears, its ICE, the SDP it reads
    "simulator/_media_sender.py",
    "simulator/_media_listener.py",
    "simulator/_ice.py",
    "simulator/_ice_path.py",
    "simulator/_ice_tcp.py",
    "simulator/_sdp.py",
    "testing/_leaks.py",  # asks leased loops for their tasks
    "testing/_lossy*.py",  # the lossy network
)
SPEAKS_WEBSOCKET = ("signaling/web_socket.py", "simulator/_front.py", "simulator/_socket.py")
PRIVATE_NAMES = "media/aiortc_private.py"


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in the tree, for types only too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def tops_of(tree: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(tree)}


def is_among(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(module, pattern) for pattern in patterns)


# -- who imports what


def importers_of(*packages: str) -> list[str]:
    return [module for module in MODULES if tops_of(tree_of(module)) & set(packages)]


def test_asyncio_stays_behind_the_wall() -> None:
    importers = importers_of("asyncio", "aiortc", "aioice", "pylibsrtp", "pyee")
    assert [module for module in importers if not is_among(module, BEHIND_THE_WALL)] == []
    for pattern in BEHIND_THE_WALL:  # no exception that is not needed; the lossy network may come
        assert pattern == "testing/_lossy*.py" or any(fnmatch(module, pattern) for module in importers), pattern


def test_trio_websocket_is_imported_in_one_place_on_each_side() -> None:
    assert importers_of("trio_websocket") == sorted(SPEAKS_WEBSOCKET)


def test_the_wire_format_is_values() -> None:
    impure = {"asyncio", "os", "time", "datetime", "socket", "ssl", "threading", "random", "subprocess"}
    pure = (set(sys.stdlib_module_names) - impure) | {"neko_trio", "msgspec"}
    for module in MODULES:
        if module.startswith("protocol/"):
            names = imports_of(tree_of(module))
            assert {name.partition(".")[0] for name in names} <= pure, module
            assert all(name.startswith("neko_trio.protocol") for name in names if name.startswith("neko_trio")), module


@pytest.mark.parametrize("source", ["import asyncio.events", "def f():\n    from aiortc.sdp import x", "import aioice"])
def test_imports_are_seen_wherever_they_stand(source: str) -> None:
    assert tops_of(ast.parse(source)) & {"asyncio", "aiortc", "aioice"}


def imported_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


HEAVY = {"av", "aiortc", "aioice", "trio_websocket", "asyncio", "trio", "numpy", "httpx2", "PIL", "anyio"}


@pytest.mark.parametrize("module", PUBLIC[:1] + PUBLIC[2:] + ("neko_trio.cli", "neko_trio.testing.plugin"))
def test_importing_a_public_module_loads_nothing_heavy(module: str) -> None:
    if module == "neko_trio.testing.plugin":
        # pytest's own asyncio is not ours to count.
        baseline, loaded = imported_by("import pytest"), imported_by("import pytest, neko_trio.testing.plugin")
        assert loaded - baseline == {"neko_trio"}
    else:
        assert imported_by(f"import {module}").isdisjoint(HEAVY)


def test_naming_open_session_loads_no_media() -> None:
    loaded = imported_by("from neko_trio import open_session, Session; import neko_trio.events")
    assert loaded.isdisjoint({"av", "aiortc", "aioice", "asyncio"})
    assert imported_by("import neko_trio.media.peer") >= {"av", "aiortc", "aioice", "asyncio"}  # the check can fail


def test_the_plugin_imports_only_pytest_until_a_fixture_is_used() -> None:
    tree = tree_of("testing/plugin.py")
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert tops_of(ast.Module(list(at_import), [])) == {"__future__", "typing", "pytest"}


# -- what is public


def is_internal_package(folder: Path) -> bool:
    """Whether the package says so itself, at the start of a paragraph or sentence of its docstring."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return re.search(r"(?:^|[.\n] ?)Internal[.:]", docstring) is not None


def why_misplaced(module: str) -> str | None:
    path = PACKAGE / module
    if module in PUBLIC_MODULES or (path.stem.startswith("_") and path.stem != "__init__"):
        return None
    if path.stem == "__init__":
        is_public = f"neko_trio.{path.parent.name}" in PUBLIC
        return "public or internal, not both or neither" if is_internal_package(path.parent) == is_public else None
    if path.parent == PACKAGE:
        return "a module of the top level has a leading underscore"
    return None if is_internal_package(path.parent) else "a module of a public package has a leading underscore"


def test_every_module_is_internal_by_its_name_or_by_its_package() -> None:
    assert {module: why for module in MODULES if (why := why_misplaced(module))} == {}
    assert why_misplaced("simulator/desktop.py")
    assert why_misplaced("session.py")


def test_the_top_level_of_the_repository_is_as_the_design_says() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=README.parent, capture_output=True, text=True, check=False, timeout=30
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    tops = {name.partition("/")[0] for name in tracked.stdout.splitlines()}
    visible = {name for name in tops if not name.startswith(".")}
    assert visible <= {"pyproject.toml", "README.md", "LICENSE", "neko_trio", "tests", "benchmarks"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves_and_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        value = getattr(module, public)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, public
    with pytest.raises(AttributeError):
        getattr(module, "no_such_name")  # noqa: B009 - the static spelling is what mypy would refuse


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_those_that_the_readme_lists(name: str) -> None:
    documented = documented_names()
    documented["neko_trio"] |= documented["neko_trio.errors"]  # "and the errors"
    assert documented[name] == set(importlib.import_module(name).__all__)


def documented_names() -> dict[str, set[str]]:
    """The list under the README's heading "Names": a module, a colon, its names in code quotes."""
    section = README.read_text(encoding="utf-8").split("\n## Names\n", 1)[1].split("\n## ", 1)[0]
    entries = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        module, _, names = entry.partition(":")
        found[module.strip("`")] = set(re.findall(r"`(\w+)`", names))
    return found


def test_errors_are_one_tree_by_who_must_act() -> None:
    branches = {neko_trio.errors.CallerError, neko_trio.errors.ServerError, neko_trio.errors.NetworkError}
    for name in neko_trio.errors.__all__:
        error = getattr(neko_trio.errors, name)
        assert issubclass(error, neko_trio.errors.NekoError)
        assert error in (neko_trio.errors.NekoError, neko_trio.errors.MediaThreadLost) or branches & set(error.__mro__)
        assert getattr(neko_trio, name) is error


# -- private names of aiortc and aioice


def private_names_of(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """(name, is it of ``self`` or ``cls``) for each private attribute that is read, written, imported or named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("aiortc", "aioice"):
            yield from ((alias.name, False) for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            names = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
            yield from ((name, False) for name in names if isinstance(name, str) and is_private(name))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_definitions_in(tree: ast.AST) -> set[str]:
    """Private names that the tree defines: methods, functions, classes, fields, and attributes set on ``self``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return {name for name in found if is_private(name)}


@cache
def foreign_private_names() -> frozenset[str]:
    found: set[str] = set()
    for package in ("aiortc", "aioice"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        for folder in spec.submodule_search_locations:
            for path in Path(folder).rglob("*.py"):
                found |= private_definitions_in(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(found)


def foreign_names_touched(tree: ast.AST) -> set[str]:
    """Private names of aiortc and aioice that the tree touches. On ``self`` they may be our own of the same name."""
    own = private_definitions_in(tree)
    return {
        name
        for name, of_self in private_names_of(tree)
        if (name in foreign_private_names() and not (of_self and name in own)) or re.match(r"_(RTC|Rtp|Ice)\w*__", name)
    }


def test_private_names_of_aiortc_and_aioice_stand_in_one_module() -> None:
    touched = {m: foreign_names_touched(tree_of(m)) for m in MODULES if is_among(m, BEHIND_THE_WALL)}
    assert [module for module, names in touched.items() if names] == [PRIVATE_NAMES]


def test_subclasses_of_aiortc_and_aioice_shadow_no_private_name() -> None:
    """An own attribute of the same name would pass above, and overwrite the base's."""
    subclasses = 0
    for module in MODULES:
        if module == PRIVATE_NAMES or not is_among(module, BEHIND_THE_WALL):
            continue
        for cls in vars(importlib.import_module("neko_trio." + module.removesuffix(".py").replace("/", "."))).values():
            bases = [b for b in getattr(cls, "__mro__", ()) if b.__module__.partition(".")[0] in ("aiortc", "aioice")]
            if bases and cls.__module__.startswith("neko_trio."):
                theirs = {name for base in bases for name in private_definitions_in(source_of(base))}
                ours = {name for name, of_self in private_names_of(source_of(cls)) if of_self}
                assert not ours & theirs or cls.__module__.endswith("aiortc_private"), cls
                subclasses += 1
    assert subclasses, "the check has seen something"


def source_of(cls: type) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def test_the_one_module_has_them() -> None:
    assert len({name for name, _ in private_names_of(tree_of(PRIVATE_NAMES))} & foreign_private_names()) > 20


@pytest.mark.parametrize(
    "source",
    [
        "agent._nominated.clear()",
        "getattr(agent, '_check_list')",
        "from aiortc.rtcrtpreceiver import RemoteStreamTrack, _x\nagent._protocols",
        "class Agent(aioice.Connection):\n    def f(self):\n        return self._remote_candidates",
        "peer._RTCPeerConnection__transceivers",
    ],
)
def test_private_names_are_found(source: str) -> None:
    tree = ast.parse(source)
    assert foreign_names_touched(tree)


def test_own_private_names_are_not_mistaken_for_foreign_ones() -> None:
    tree = ast.parse(
        "class Own:\n    def __init__(self):\n        self._nominated = 1\n    def f(self):\n        self._nominated"
    )
    assert foreign_names_touched(tree) == set()

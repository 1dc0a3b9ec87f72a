"""The pytest plugin and the tools that tests of trio code around a desktop need.

The fixtures ``neko_simulator`` and ``neko_session`` come with pytest's plugin (:mod:`neko_trio.testing.plugin`).
:class:`FakeMedia` and :func:`open_scripted_session` run the same session code in virtual time, without sockets and
threads; :func:`cancel_at_every_step` sweeps a scenario over them; :func:`leak_check` finds what real ones leave behind.
:class:`LossyNetwork` stands between a real session and a real server and loses packets; :class:`MovingDesktop` shows
what became of the pictures.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neko_trio.simulator._weather import DirectionCounts, NetworkConditions
    from neko_trio.testing._fake_media import FakeMedia
    from neko_trio.testing._fake_peer import FakePeer
    from neko_trio.testing._leaks import leak_check
    from neko_trio.testing._lossy import LossyNetwork, NetworkCounts
    from neko_trio.testing._moving import MovingDesktop
    from neko_trio.testing._scripted import ScriptedServer, open_scripted_session
    from neko_trio.testing._scripted_rest import RestRefusal, ScriptedRest
    from neko_trio.testing._server import TestServer, external_server, open_test_server
    from neko_trio.testing._sweep import cancel_at_every_step

__all__ = [
    "DirectionCounts",
    "FakeMedia",
    "FakePeer",
    "LossyNetwork",
    "MovingDesktop",
    "NetworkConditions",
    "NetworkCounts",
    "RestRefusal",
    "ScriptedRest",
    "ScriptedServer",
    "TestServer",
    "cancel_at_every_step",
    "external_server",
    "leak_check",
    "open_scripted_session",
    "open_test_server",
]

_HOMES = {
    "DirectionCounts": "_lossy",
    "FakeMedia": "_fake_media",
    "FakePeer": "_fake_peer",
    "LossyNetwork": "_lossy",
    "MovingDesktop": "_moving",
    "NetworkConditions": "_lossy",
    "NetworkCounts": "_lossy",
    "RestRefusal": "_scripted_rest",
    "ScriptedRest": "_scripted_rest",
    "ScriptedServer": "_scripted",
    "TestServer": "_server",
    "cancel_at_every_step": "_sweep",
    "external_server": "_server",
    "leak_check": "_leaks",
    "open_scripted_session": "_scripted",
    "open_test_server": "_server",
}


def __getattr__(name: str) -> Any:
    # Lazily: pytest's plugin lives in this package, and is loaded by every pytest run of the environment.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

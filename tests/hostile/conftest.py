"""Fixtures of the hostile tests: certificates, and a check that nothing is left after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import neko_trio.media.peer  # noqa: F401 - half a second, which must not count against the first test's short timeout
from neko_trio.signaling import web_socket
from neko_trio.testing import leak_check
from tests.signaling.conftest import certificates as certificates


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread, descriptor, task or unseen failure is left after the test and its trio run."""
    with leak_check():
        yield


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these servers never answer a close frame."""
    monkeypatch.setattr(web_socket, "GOODBYE", 0.1)

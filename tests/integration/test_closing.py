"""A peer connection of aiortc's whose own close is cut off half-way, in a thread that other sessions keep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc import RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcsctptransport import RTCSctpTransport

import neko_trio
from neko_trio.media import closing
from neko_trio.media.bridge import open_lease
from neko_trio.testing import TestServer, leak_check
from tests.integration.conftest import unique

pytestmark = pytest.mark.real_time

STAGES = [RTCRtpTransceiver, RTCRtpReceiver, RTCRtpSender, RTCSctpTransport, RTCDtlsTransport]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
async def test_a_close_that_is_cut_off_leaves_nothing(
    apart: TestServer, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    monkeypatch.setattr(closing, "CLOSE_LIMIT", 0.05)
    began: list[object] = []
    stop = stage.stop

    async def hangs_once(self: Any) -> None:
        """As under overload: the first time it does not come to an end."""
        if not began:
            began.append(self)
            await asyncio.sleep(60)
        await stop(self)

    monkeypatch.setattr(stage, "stop", hangs_once)
    async with open_lease():  # the thread's own end would tidy up
        with leak_check():
            async with neko_trio.open_session(
                apart.url, username=unique("closing"), password=apart.password, audio=True
            ) as session:
                await session.screen.frame()
                kept = session  # what is left must not go by being forgotten
        assert kept.statistics().frames_shown > 0
    assert began

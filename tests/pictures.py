"""Frames for tests that need one and not its content."""

from __future__ import annotations

import av
import numpy as np
import trio

from neko_trio import Frame
from neko_trio.media.peer_api import PeerSetup


def frame(setup: PeerSetup, *, size: tuple[int, int] = (64, 48), value: int = 128) -> Frame:
    """A plain grey frame, numbered and described as the decoder's thread would."""
    pixels = np.full((size[1], size[0], 3), value, np.uint8)
    return Frame(
        setup.new_number(), trio.current_time(), setup.frame_context(), av.VideoFrame.from_ndarray(pixels, "rgb24")
    )

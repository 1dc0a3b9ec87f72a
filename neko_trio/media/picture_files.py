"""Pixels to bytes of a picture file. Synchronous, any thread, the GIL released for most of the work.

PNG goes through FFmpeg's encoder, which is more than twice as fast as Pillow's and writes the same pixels; JPEG goes
through Pillow, which gives the GIL away only while it writes to a real file descriptor.
"""

from __future__ import annotations

import io
import os
import sys

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neko_trio.errors import InvalidInput


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """A PNG file of ``rgb``, shape (height, width, 3), uint8. Lossless; compressed for speed, not for size."""
    height, width, _ = rgb.shape
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.options = {"pred": "up", "compression_level": "1"}
    encoder.thread_count = 1
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def encode_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file of ``rgb``, shape (height, width, 3), uint8. ``quality`` is 1 (worst) to 100.

    Raises :class:`~neko_trio.errors.InvalidInput` for another quality, or a picture above 65,500 px.
    """
    if not 1 <= quality <= 100:
        raise InvalidInput(f"A JPEG quality is 1 to 100, not {quality}.")
    if max(rgb.shape[:2]) > 65_500:
        raise InvalidInput("A JPEG file holds at most 65,500 px a side.", hint="Use PNG, or scaled().")
    image = Image.fromarray(rgb)
    if sys.platform != "linux":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()
    with open(os.memfd_create("neko-trio-jpeg"), "w+b") as file:
        image.save(file, "JPEG", quality=quality)
        file.seek(0)
        return file.read()

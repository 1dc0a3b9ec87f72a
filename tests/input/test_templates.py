"""What is given as a picture to look for."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from neko_trio.desktop.templates import wanted
from neko_trio.errors import InvalidInput


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """It would wait for its other end, in a thread that nobody can cancel."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    end = Timer(5, os.close, [writer])  # the broken code ends then, and the test fails instead of hanging
    end.start()
    with pytest.raises(InvalidInput, match="no regular file"):
        wanted(pipe)
    end.cancel()
    end.join()
    os.close(writer)


def test_a_folder_and_a_device_are_no_pictures(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(InvalidInput, match="no regular file"):
            wanted(path)


@pytest.mark.parametrize("image", [None, 5, b"png", object(), ["a.png"]])
def test_what_is_no_picture_at_all(image: Any) -> None:
    with pytest.raises(InvalidInput, match="an array, a path or a frame"):
        wanted(image)

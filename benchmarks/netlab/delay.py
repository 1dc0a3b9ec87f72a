"""A link with a delay, made of two TUN devices and a loop: for kernels without netem.

    delay.py NEAR FAR SECONDS      makes the devices in this namespace, prints "forwarding", forwards until ended

A packet that goes into one device comes out of the other that many seconds later, in order. Needs root.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
from collections import deque
from time import monotonic

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
LARGEST = 65536
MOST_WAITING = 20_000
"""Packets that wait, beyond which they are dropped as a full queue would."""


def open_device(name: str) -> int:
    """Make a TUN device; its file descriptor, which keeps it wherever it is moved (tun.rst of the kernel)."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def forward(near: int, far: int, delay: float) -> None:
    """Carry packets both ways, for ever."""
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - monotonic()) if waiting else None
        readable, _, _ = select.select((near, far), (), (), pause)
        for source, target in ((near, far), (far, near)):
            if source not in readable:
                continue
            try:
                packet = os.read(source, LARGEST)
            except BlockingIOError:
                continue
            if len(waiting) < MOST_WAITING:
                waiting.append((monotonic() + delay, target, packet))
        now = monotonic()
        while waiting and waiting[0][0] <= now:
            _due, target, packet = waiting.popleft()
            try:
                os.write(target, packet)
            except OSError:
                continue  # the device is down, or its queue is full: lost, as on a wire


def main() -> None:
    near, far, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])
    devices = open_device(near), open_device(far)
    print("forwarding", flush=True)
    forward(*devices, delay)


if __name__ == "__main__":
    main()

"""A script with a session, to be interrupted: says each moment it reaches on a line of its own.

python interrupted.py URL USERNAME < PASSWORD
"""

import signal
import sys

import trio

import neko_trio
from neko_trio._timeline import Timeline

_mark = Timeline.mark


def say(moment: str) -> None:
    sys.stdout.write(f"{moment}\n")
    sys.stdout.flush()


def mark(self: Timeline, name: str, at: float | None = None) -> None:
    _mark(self, name, at)
    say(name)


async def main(url: str, username: str, password: str) -> None:
    # Time for its goodbye on a busy machine; that it needs little of it is what the test looks at.
    async with neko_trio.open_session(url, username=username, password=password, close_timeout=10) as session:
        await session.screen.frame()
        async with session.control(wait=True):
            await session.mouse.down(5, 5)
            await session.flush()
            say("in_control")
            while True:
                await session.keyboard.type("abc " * 100)
                say("typing")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
    setattr(Timeline, "mark", mark)  # noqa: B010 - a method is replaced, which a type checker does not like to see
    _script, url, username = sys.argv
    trio.run(main, url, username, sys.stdin.readline().strip())

"""The neko-trio command. Internal: the command line is the interface.

``main`` answers ``--help`` and ``--version`` from a constant: the command framework alone takes a fifth of a second
to import, which is too long for a question that needs no computing. A test compares the constant with the commands.
"""

from __future__ import annotations

import sys

COMMANDS = {
    "demo": "Start an embedded desktop, connect to it, type and click, save a picture.",
    "connect": "Connect to a server, wait for the first frame, and say where the time went.",
    "screenshot": "Save a picture of a desktop.",
    "serve": "Run the embedded Neko v3 server until interrupted.",
}

HELP = "\n".join(
    [
        "Usage: neko-trio COMMAND [OPTIONS]",
        "",
        "Drive Neko v3 remote desktops.",
        "",
        "Commands:",
        *(f"  {name:<12}{text}" for name, text in COMMANDS.items()),
        "",
        "`neko-trio COMMAND --help` lists a command's options. Each takes --json: one JSON object on stdout.",
        "NEKO_URL, NEKO_USERNAME, NEKO_PASSWORD and NEKO_TOKEN are the defaults of the options of these names.",
    ]
)


def main() -> None:
    """Entry point of the ``neko-trio`` console script. Exits with 0 only when the command did what it was asked."""
    arguments = sys.argv[1:]
    if not arguments or arguments in (["--help"], ["-h"], ["help"]):
        print(HELP)
        sys.exit(0 if arguments else 2)
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(version("neko-trio"))
        sys.exit(0)
    from neko_trio.cli.app import run

    sys.exit(run(arguments))

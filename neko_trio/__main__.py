"""``python -m neko_trio``: the neko-trio command."""

from neko_trio.cli import main

main()

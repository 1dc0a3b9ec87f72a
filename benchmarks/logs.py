"""``--log``: what the sessions of a benchmark do, beside its figures."""

from __future__ import annotations

import argparse
import logging


def add_log_option(parser: argparse.ArgumentParser) -> None:
    """For :func:`log_as_wanted`."""
    parser.add_argument("--log", action="store_true", help="what the sessions do, with times, on standard error")


def log_as_wanted(arguments: argparse.Namespace) -> None:
    """Have the package's log written, if that was asked for; of others only warnings, where they say much."""
    if arguments.log:
        logging.basicConfig(level=logging.INFO, format="%(relativeCreated)8.0f %(name)s: %(message)s")
        for name in ("httpx2", "aioice"):
            logging.getLogger(name).setLevel(logging.WARNING)

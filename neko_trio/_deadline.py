"""What a connect that ran out of time is called: the most exact error that its last step allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neko_trio.errors import ConnectTimeout, NekoError, NoOffer, NotNeko

if TYPE_CHECKING:
    from neko_trio._handshake import Attempt

_WAITING_FOR = {
    "login": ("an answer to the login", "Is this the right port, and does the server answer at all?"),
    "dial": ("the WebSocket to open", "Does a proxy in between pass WebSocket upgrades on?"),
    "peer": ("the media thread", None),
    "remote_description": ("the media thread", None),
    "answer": ("an ICE candidate of this machine", "Are the TURN servers of the offer reachable?"),
}


def too_late(attempt: Attempt, seconds: float) -> NekoError:
    """The error for an attempt whose deadline has passed, named by the step it was in."""
    step, within = attempt.step, f"within {seconds:.3g} s"
    if step == "init":
        return NotNeko(
            f"The server accepted the WebSocket, but sent no system/init {within}.",
            hint="Is it a Neko v3 server (v2 speaks another protocol), and is the path prefix right?",
            step=step,
        )
    if step in ("request", "offer"):
        return NoOffer(
            f"The server sent no offer {within}.",
            hint="It says nothing when its video pipeline cannot start: look at its log for GStreamer errors.",
            step=step,
        )
    if step == "ice" and attempt.ice_failed is not None:
        return attempt.ice_failed(f"the offer was answered, but no connection came up {within}")
    what, hint = _WAITING_FOR.get(step, (f"step {step!r}", None))
    return ConnectTimeout(f"Gave up waiting for {what} {within}.", hint=hint, step=step)

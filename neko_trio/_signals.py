"""What the reader keeps for one peer: the offer, waited for once, and the candidates, in order."""

from __future__ import annotations

import trio

from neko_trio.protocol.events import SignalAnswer, SignalCandidate, SignalOffer, SignalProvide, SignalVideo

CANDIDATE_LIMIT = 256
"""Candidates kept for one peer. A server with a dozen interfaces sends a few dozen."""

OFFER_LIMIT = 4
"""Renegotiating offers kept while one is being answered. The server sends the next only after an answer."""


class OfferAlreadyTaken(RuntimeError):
    """The wait for the offer is single-use, and it was used: a bug of this library."""


class Answers:
    """The answers to this peer's ``signal/video`` or ``signal/audio``. They are counted: each says what is so when it
    is sent, which may be behind the next change already (server/internal/webrtc/peer.go, SetVideo, SetAudio)."""

    def __init__(self) -> None:
        self.owed = 0
        """Answers that are still to come."""
        self._news = trio.Event()

    def count(self) -> None:
        """The server has answered."""
        self.owed = max(0, self.owed - 1)
        self._news.set()
        self._news = trio.Event()

    async def settled(self) -> None:
        """Wait until no answer is owed. Not a checkpoint when none is."""
        while self.owed:
            await self._news.wait()


class VideoAnswers(Answers):
    """Those to ``signal/video``."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = ""
        """Id of the stream that the server says it sends."""

    def put(self, answer: SignalVideo) -> None:
        """The server has answered."""
        self.stream = answer.id or self.stream
        self.count()


class PeerSignals:
    """Everything the server signals for one ``signal/request``. Registered *before* the request is sent.

    The reader writes, and never waits: what has no room is counted. The peer's tasks read.
    """

    def __init__(self) -> None:
        self._offer: SignalProvide | None = None
        self._offered = trio.Event()
        self._taken = False
        self.closed = trio.Event()
        """Set by ``signal/close``: the server has given this peer up."""
        self.video = VideoAnswers()
        self.audio = Answers()
        self.answer: SignalAnswer | None = None
        """The newest answer to an offer of ours."""
        self.negotiating = trio.Lock()
        """Held while an offer, whoever's, waits for its answer: there is one at a time."""
        self._candidates_in, self.candidates = trio.open_memory_channel[SignalCandidate](CANDIDATE_LIMIT)
        self._offers_in, self.offers = trio.open_memory_channel[SignalOffer](OFFER_LIMIT)
        self.candidates_dropped = 0

    def put_offer(self, offer: SignalProvide) -> bool:
        """Deliver the offer. ``False`` when there was one before: nobody asked for this one."""
        if self._offer is not None:
            return False
        self._offer = offer
        self._offered.set()
        return True

    def put_renegotiation(self, offer: SignalOffer) -> bool:
        """Deliver an offer for the peer that exists. ``False`` when too many wait already."""
        try:
            self._offers_in.send_nowait(offer)
        except trio.WouldBlock:
            return False
        return True

    def put_candidate(self, candidate: SignalCandidate) -> None:
        """Keep a candidate, however early it comes."""
        try:
            self._candidates_in.send_nowait(candidate)
        except trio.WouldBlock:
            self.candidates_dropped += 1

    @property
    def offered(self) -> bool:
        """Whether the offer has come."""
        return self._offer is not None

    async def take_offer(self) -> SignalProvide:
        """Wait for the offer. Once: a second call raises :class:`OfferAlreadyTaken`.

        Cancelling while it waits leaves the offer untaken.
        """
        if self._taken:
            raise OfferAlreadyTaken("the offer of this peer was taken before")
        self._taken = True
        try:
            await self._offered.wait()
        except trio.Cancelled:
            self._taken = False
            raise
        assert self._offer is not None
        return self._offer

    def close(self) -> None:
        """Free the channels. What is still in them belonged to this peer alone."""
        self._candidates_in.close()
        self.candidates.close()
        self._offers_in.close()
        self.offers.close()

"""A peer connection in trio alone: every step is a checkpoint, takes as long as told, and can be made to fail."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from neko_trio.errors import IceFailed, InputInDoubt, SessionClosed
from neko_trio.protocol import data_channel
from neko_trio.protocol.candidates import Candidate, parse_candidate
from neko_trio.testing._fake_microphone import FakeMicrophone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neko_trio._ports.microphone import MicrophoneOptions, SoundQueue
    from neko_trio._services import Services
    from neko_trio.media.frames import Frame
    from neko_trio.media.peer_api import PeerSetup, PeerStatistics
    from neko_trio.testing._fake_media import FakeMedia
    from neko_trio.testing._fake_video import FakeVideo

__all__ = ["ANSWER", "FakePeer"]

ANSWER = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=fake answer\r\nt=0 0\r\n"


class FakePeer:
    """Implements :class:`~neko_trio.media.peer_api.Peer`. Made by :class:`FakeMedia`, one for each offer.

    ``calls`` lists the names of the calls in order. The data channel answers pings as the server does.
    """

    def __init__(self, media: FakeMedia, setup: PeerSetup) -> None:
        self._media = media
        self.setup = setup
        self.calls: list[str] = []
        self.candidates: list[Candidate] = []
        """Remote candidates, in the order they were handed over."""
        self.inputs: list[data_channel.ClientMessage] = []
        """What was sent on the data channel, decoded, pings left out."""
        self.closed = False
        self.quiet = False
        """Whether the server sends nothing by itself, and only answers when it is asked."""
        self._answered_at = trio.current_time()
        self.deaf_since: float | None = None
        """Since when nothing arrives from the server, nor at it (trio's clock): its process or the network is gone."""
        self.services: Services | None = None
        """Tasks as long as the peer."""
        self._connected = trio.Event()
        self._channel_open = trio.Event()
        self._ended = trio.Event()
        self._reason = ""
        self._shown = 0
        self.late = 0.0
        """Seconds that are said to be on top of the latency of the pictures that come by themselves."""
        self._earliest = -math.inf
        self._latency = 0.0
        self.microphone = FakeMicrophone()
        """The server's: what was sent to it."""
        self.captured: dict[int, float] = {}
        """When the pictures that came by themselves were captured (trio's clock), by the numbers of their frames."""

    async def _step(self, name: str) -> None:
        if self.closed:
            raise SessionClosed("This fake peer was closed.")
        self.calls.append(name)
        await trio.sleep(self._media.delays.get(name, 0))
        failure = self._media.failures.get(name)
        if failure is not None:
            raise failure

    async def set_remote_description(self) -> None:
        """Take the offer as it is."""
        await self._step("set_remote_description")
        self.setup.timeline.mark("remote_description_set")

    async def set_local_description(self) -> str:
        """An answer that says that it is none."""
        await self._step("set_local_description")
        self.setup.timeline.mark("local_description_set")
        return ANSWER

    def start_checks(self) -> None:
        """Note it; a local candidate is trickled right away."""
        self.calls.append("start_checks")
        self.setup.timeline.mark("answer_sent")
        self.setup.on_candidate("candidate:1 1 udp 2130706431 192.0.2.7 40000 typ host")

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        """Keep the candidate; garbage is refused as the real peer does."""
        await trio.lowlevel.checkpoint()
        if candidate:
            self.candidates.append(parse_candidate(candidate))

    async def wait_connected(self) -> None:
        """Connected as soon as the step's delay is over."""
        await self._step("wait_connected")
        for mark in ("ice_connected", "connected"):
            self.setup.timeline.mark(mark)
        self._connected.set()
        if self._media.data_channel:
            self._channel_open.set()

    async def wait_ended(self) -> str:
        """Until :meth:`end` or :meth:`aclose`."""
        await self._ended.wait()
        return self._reason

    async def wait_data_channel(self) -> None:
        """Open at ``connected``, unless ``FakeMedia(data_channel=False)``."""
        await self._channel_open.wait()
        self.setup.timeline.mark("data_channel_open")

    @property
    def data_channel_open(self) -> bool:
        """Whether input may go this way."""
        return self._channel_open.is_set() and not self.closed and not self._ended.is_set()

    async def send_data(self, messages: Sequence[bytes]) -> None:
        """Take all messages in one step, answer pings in order."""
        await trio.lowlevel.checkpoint()
        if not self.data_channel_open:
            raise InputInDoubt("The fake data channel is not open.")
        if self.deaf_since is not None:
            return
        for message in map(data_channel.decode_client, messages):
            if isinstance(message, data_channel.Ping):
                pong = data_channel.Pong(timestamp=message.timestamp, server_timestamp=message.timestamp)
                self._answered_at = trio.current_time()
                self.setup.on_data(data_channel.encode_server(pong))
            else:
                self.inputs.append(message)
                self._media.on_input(message)

    async def renegotiate(self, sdp: str) -> str:
        """Answer again."""
        await self._step("renegotiate")
        return ANSWER

    async def offer_microphone(self, *, on: bool) -> str:
        """An offer that says that it is none."""
        await self._step("offer_microphone")
        self.microphone.offers.append(on)
        return ANSWER

    async def start_microphone(self, answer: str, queue: SoundQueue, options: MicrophoneOptions) -> None:
        """Let :attr:`microphone` hear it from now on."""
        await self._step("start_microphone")
        if self.services is None:
            raise SessionClosed("This fake peer was closed.")
        self.microphone.start(self.services, queue, connected=lambda: self.deaf_since is None)

    async def stop_microphone(self) -> None:
        """A checkpoint, and done even when cancelled."""
        self.microphone.stop()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> PeerStatistics:
        """All zero but the codec and the video packets."""
        from neko_trio.media.peer_api import PeerStatistics
        from neko_trio.media.video_statistics import VideoStatistics

        codec = self._media.codec
        return PeerStatistics(
            codec=codec,
            video=VideoStatistics(codec=codec, packets_received=self._packets, latency=self._latency + self.late),
        )

    @property
    def _video(self) -> FakeVideo | None:
        """What sends packets of nothing: one for each picture are all there are, if the peer films, or is silent."""
        return None if self._media.silent or self._media.rate is not None else self._media.video

    @property
    def _packets(self) -> int:
        return self._shown + (self._video.packets if self._video is not None else 0)

    def expect_start(self, earliest: float) -> None:
        """Its frames are on time again."""
        self._earliest, self.late = earliest, 0.0

    @property
    def heard_at(self) -> float:
        """Now (trio's clock): the server sends something all the time, unless :attr:`quiet` or :attr:`deaf_since`."""
        if self.deaf_since is not None:
            return self.deaf_since
        return self._answered_at if self.quiet else trio.current_time()

    def ask(self) -> None:
        """The server answers at once, unless it is deaf."""
        if self.deaf_since is None:
            self._answered_at = trio.current_time()

    @property
    def video_packets(self) -> int:
        """Those that a server would have sent by now, and those of the pictures shown."""
        return self._packets

    def hold_stream(self, stream: str) -> None:
        """Nothing to do: none of its frames is on its way."""

    async def wait_packets(self, more_than: int) -> None:
        """Until there are more packets than that, or the peer has ended."""
        await trio.lowlevel.checkpoint()
        while self._packets <= more_than and not self._ended.is_set():
            with trio.move_on_at(self._video.next_packet_at if self._video is not None else math.inf):
                await self._media.video.wait_changed()

    def ice_failed(self, reason: str, *, step: str = "ice") -> IceFailed:
        """The reason, and the candidates that were handed over."""
        remote = tuple(candidate.to_text() for candidate in self.candidates)
        return IceFailed(f"No network path was found: {reason}.", remote=remote, step=step)

    async def aclose(self) -> None:
        """Close; a checkpoint, and done even when cancelled."""
        if not self.closed:
            self.closed = True
            self.calls.append("aclose")
            self._media.open_peers.discard(self)
            self._reason = self._reason or "it was closed"
            self._ended.set()
            self._media.video.note()
        await trio.sleep(self._media.delays.get("aclose", 0.0))

    # -- what a test does to it

    def show(self, picture: Frame | NDArray[np.uint8]) -> Frame:
        """Deliver a picture: a frame, or the pixels of one, (height, width, 3) uint8 RGB. Return it as a frame."""
        from neko_trio.media.frames import Frame, frame_from_rgb

        if not isinstance(picture, Frame):
            picture = frame_from_rgb(
                picture,
                number=self.setup.new_number(),
                context=self.setup.frame_context(),
                arrived=trio.current_time(),
            )
        self._shown += 1
        self._media.video.note()
        for mark in ("first_packet", "first_frame"):
            self.setup.timeline.mark(mark)
        self.setup.slot.put(picture)
        return picture

    def sound(self, samples: NDArray[np.int16], *, rate: int = 48_000) -> None:
        """Deliver a block of sound, (samples, channels) int16, if somebody listens. Only with ``audio=True``."""
        assert self.setup.audio is not None, "the session was opened without audio=True"
        self.setup.audio.note_packet()
        self.setup.audio.put(
            samples,
            rate=rate,
            arrived=trio.current_time(),
            lost=0,
            concealed=False,
            epoch=self.setup.frame_context().epoch,
        )

    async def film(self, rate: float) -> None:
        """Send pictures while the video is on: captured at the rate, each sent the pipeline's delay later."""
        import numpy as np

        from neko_trio.media.frames import frame_from_rgb

        media, video = self._media, self._media.video
        await self._connected.wait()
        while True:
            if video.disabled:
                await video.wait_changed()
                continue
            run = video.run
            started = trio.current_time() + max(0.0, media.start - media.pipeline_delay)
            key_arrived = 0.0
            for number in itertools.count():
                captured = started + number / rate
                with trio.move_on_at(captured + media.pipeline_delay):
                    while video.run == run:
                        await video.wait_changed()
                    break  # the pipeline has ended, and its frames with it
                if number == 0:
                    key_arrived = trio.current_time()
                    self._latency = key_arrived - self._earliest if self._earliest > -math.inf else 0.1
                picture = frame_from_rgb(
                    np.zeros((16, 16, 3), np.uint8),
                    number=self.setup.new_number(),
                    context=self.setup.frame_context(),
                    arrived=trio.current_time(),
                )
                self.captured[picture.number] = captured
                self.show(replace(picture, latency=self._latency + self.late, key_arrived=key_arrived))

    def end(self, reason: str) -> None:
        """Die, as after a loss of the network."""
        self._reason = reason
        self._ended.set()
        self._media.video.note()

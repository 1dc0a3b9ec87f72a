"""The sound's way from RTP packets to PCM blocks.

Internal: asyncio's side of the wall; what comes out goes into :class:`neko_trio._ports.audio.AudioPort`.
"""

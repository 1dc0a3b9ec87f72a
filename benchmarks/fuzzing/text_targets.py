"""What the server says in text: events, session descriptions, candidates, ICE servers, answers, names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath

from fuzzing import recordings
from fuzzing.mutation import TEXTS, JsonMutator, Mutator, dumps
from fuzzing.target import Check, Make, Target, must
from neko_trio._state import MAX_SESSIONS, initial_state, reduce_state
from neko_trio.desktop.file_names import check_local_name, check_name
from neko_trio.errors import InvalidInput, NekoError, ProtocolViolation
from neko_trio.media.audio.description import find_opus, make_offer, takes_sound, with_microphone
from neko_trio.media.codec_alias import alias_codec
from neko_trio.media.ice_servers import URL_LIMIT, server_urls
from neko_trio.media.offer_check import check_offer
from neko_trio.protocol import Malformed, events, multipart
from neko_trio.protocol.candidates import parse_candidate
from neko_trio.protocol.ice_servers import IceServer, parse_ice_url, read_ice_servers
from neko_trio.protocol.sdp import read_offer, without_candidates
from neko_trio.room.batch import _Item as BatchItem
from neko_trio.room.ports import read
from neko_trio.room.values import Member, Stats
from neko_trio.signaling.answers import Answer, read_answer, refusal_message, refused_file, unexpected
from neko_trio.signaling.refusals import refusal
from neko_trio.signaling.rest import _cookies as read_cookies
from neko_trio.signaling.rest import _LoginAnswer as LoginAnswer
from neko_trio.signaling.upgrade import Refused, UpgradeStream
from neko_trio.signaling.url import ServerUrl, parse_server_url

URL = ServerUrl("https", "desk.example", 443)
PATH = "/api/room/screen"
SECRET = "s3cret-of-the-input"
"""Put into inputs where an error must not repeat it."""


def text_of(data: bytes) -> str:
    """An input as text, with whatever is no Unicode in it."""
    return (
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
        if _is_wtf8(data)
        else data.decode("latin-1")
    )


def _is_wtf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def bytes_of(text: str) -> bytes:
    """The inverse of :func:`text_of`, for texts with half surrogates too."""
    return text.encode("utf-8", "surrogatepass")


# -- events


def make_events(rng: random.Random) -> Make:
    """Recorded messages, changed as JSON or as bytes; what comes may be a text or a binary message."""
    corpus = list(recordings.messages())
    by_value = JsonMutator(rng, corpus)
    by_byte = Mutator(
        rng, [dumps(message) for message in corpus], [b'"payload":', b"{", b"[" * 2000, b"\\ud800", b"1e999"]
    )

    def make() -> bytes:
        kind = b"t" if rng.random() < 0.8 else b"b"
        return kind + (dumps(by_value.make()) if rng.random() < 0.6 else by_byte.make())

    return make


def check_events() -> Check:
    """The reader's decoder, then the state: it never raises, and keeps no more than its bounds."""
    state = initial_state(_init())
    reduced = [state]

    def check(data: bytes) -> None:
        message: str | bytes = text_of(data[1:]) if data[:1] == b"t" else data[1:]
        try:
            event = events.decode(message)
        except Malformed as error:
            str(error).encode()
            return
        repr(event)
        with suppress(Malformed):  # half a surrogate pair has no JSON
            again = events.decode(events.encode(event))
            assert type(again) is type(event)
        if isinstance(event, events.SystemInit) and event.session_id not in event.sessions:
            return  # refused by the link
        if isinstance(event, events.SystemDisconnect):
            assert isinstance(refusal(event.message), NekoError)
        reduced[0] = reduce_state(reduced[0], event)
        assert len(reduced[0].sessions) <= MAX_SESSIONS
        if reduced[0].revision > 2000:
            reduced[0] = state

    return check


def _init() -> events.SystemInit:
    message = next(message for message in recordings.messages() if message["event"] == "system/init")
    event = events.decode(dumps(message))
    assert isinstance(event, events.SystemInit)
    return event


# -- session descriptions

SDP_TOKENS = [
    b"\r\n", b"\n", b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", b"m=audio 0 X 0\r\n", b"m=application 9 UDP/DTLS/SCTP x\r\n",
    b"a=mid:0\r\n", b"a=group:BUNDLE 0 1 2\r\n", b"a=rtpmap:96 VP8/90000\r\n", b"a=rtpmap:\r\n", b"a=fmtp:96 \r\n",
    b"a=ssrc:1 cname:x\r\n", b"a=ssrc-group:FID 1 2\r\n", b"a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    b"a=setup:passive\r\n", b"a=fingerprint:sha-256 00\r\n", b"a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",
    b"a=sctp-port:99999999999\r\n", b"a=max-message-size:-1\r\n", b"a=ice-lite\r\n", b"a=inactive\r\n",
    b"c=IN IP4 \r\n", b"a=rtcp:9 IN IP6 ::\r\n", b"a=msid: \r\n", b"a=crypto:1 X\r\n", b"b=AS:\r\n",
    b"a=simulcast:\r\n", b"a=rid:x send\r\n",
]  # fmt: skip


def make_sdp(rng: random.Random) -> Make:
    """Recorded offers with bytes, lines or attributes changed."""
    corpus = [offer.encode() for offer in recordings.offers()]
    by_byte = Mutator(rng, corpus, SDP_TOKENS)

    def make() -> bytes:
        if rng.random() < 0.5:
            return by_byte.make()
        lines = rng.choice(corpus).split(b"\r\n")
        for _ in range(1 + rng.randrange(4)):
            at = rng.randrange(len(lines))
            match rng.randrange(6):
                case 0:
                    del lines[at]
                case 1:
                    lines.insert(at, rng.choice(SDP_TOKENS).strip())
                case 2:
                    lines.insert(rng.randrange(len(lines)), lines[at])
                case 3:
                    key, _, value = lines[at].partition(b":")
                    words = value.split(b" ")
                    words[rng.randrange(len(words))] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
                    lines[at] = key + b":" + b" ".join(words)
                case 4:
                    lines[at] = lines[at].partition(rng.choice((b":", b" ", b"/")))[0]
                case _:
                    lines[at] = bytes(
                        rng.choice(b"0123456789 /:=-\xff") if rng.random() < 0.1 else c for c in lines[at]
                    )
            if not lines:
                lines = [b"v=0"]
        return b"\r\n".join(lines)

    return make


def check_sdp() -> Check:
    """Everything that looks at an offer before a peer connection does."""

    def check(data: bytes) -> None:
        sdp = text_of(data)
        try:
            offer = read_offer(sdp)
            check_offer(sdp)
        except Malformed:
            return
        for text in offer.candidates:
            with suppress(Malformed):
                parse_candidate(text)
        plain = without_candidates(sdp)
        assert "\na=candidate:" not in plain
        for codec in (None, *offer.video_codecs):
            aliased = alias_codec(plain, codec)
            aliased.unalias(aliased.sdp)

    return check


def make_answers(rng: random.Random) -> Make:
    """Recorded answers to a microphone's offer, changed."""
    return Mutator(rng, [sdp.encode() for sdp in recordings.microphone()], SDP_TOKENS).make


def check_answers() -> Check:
    """What is read from the server's answer, and written from ours. The server's is not ours to offer again."""
    ours = next(sdp for sdp in recordings.microphone() if find_opus(sdp) is not None)
    place = find_opus(ours)
    assert place is not None

    def check(data: bytes) -> None:
        takes_sound(text_of(data), place)
        make_offer(with_microphone(ours, place, 7), place, 7, version=1)

    return check


# -- candidates and ICE servers


def make_candidates(rng: random.Random) -> Make:
    """Recorded candidates and some of other kinds, with words and characters changed."""
    corpus = [payload["candidate"].encode() for payload in recordings.payloads("signal/candidate")]
    corpus += [
        b"candidate:1 1 tcp 1 2001:db8::1 9 typ host tcptype passive",
        b"candidate:1 1 udp 1 fe80::1%eth0 9 typ srflx raddr 0.0.0.0 rport 9 ufrag abc",
        b"a=candidate:1 1 UDP 1 4f3d0e4c.local 9 typ relay generation 0",
        b"candidate:1 1 udp 1 ::ffff:192.0.2.1 9 typ prflx network-cost 999",
    ]
    tokens = [b" typ host", b" raddr ", b"::", b"%", b".", b" 99999999999", b"\xd9\xa1", b" tcptype so", b"e" * 2000]
    by_byte = Mutator(rng, corpus, tokens)

    def make() -> bytes:
        if rng.random() < 0.5:
            return by_byte.make()
        words = by_byte.pick().split(b" ")
        words[rng.randrange(len(words))] = rng.choice((*tokens, b"", b"-1", b"0x10", b"65536", b"1.2.3", b"256.1.1.1"))
        return b" ".join(words)

    return make


def check_candidates() -> Check:
    """Parsed and written again it is the same; and aioice can take it where its host is an address."""

    def check(data: bytes) -> None:
        try:
            candidate = parse_candidate(text_of(data))
        except Malformed:
            return
        assert parse_candidate(candidate.to_text()) == candidate

    return check


def make_ice_servers(rng: random.Random) -> Make:
    """Lists in all spellings, with URLs of all kinds."""
    corpus = [{key: payload.get("iceservers")} for payload in recordings.payloads("signal/provide") for key in _KEYS]
    corpus += [
        {"ice": ["stun:a", {"url": "turn:[::1]:3478?transport=tcp", "username": "u", "password": SECRET}]},
        {"iceServers": [{"urls": ["turns:t.example", "stuns:192.0.2.1:5349"], "username": "u", "credential": SECRET}]},
    ]
    by_value = JsonMutator(rng, corpus)
    return lambda: dumps(by_value.make())


_KEYS = ("iceservers", "iceServers", "ice_servers", "ice")


def check_ice_servers() -> Check:
    """Never raises, whatever the list; what it takes can be used; nothing said of it holds a credential."""

    def check(data: bytes) -> None:
        try:
            payload = json.loads(text_of(data))
        except ValueError:
            return
        if not isinstance(payload, dict):
            return
        found = read_ice_servers(payload)
        notes: list[str] = []
        urls = server_urls(found.servers, note=notes.append)
        assert len(urls) <= URL_LIMIT
        assert SECRET not in repr((found, urls)) + "".join(notes)
        for server in found.servers:
            for url in server.urls:
                str(parse_ice_url(url))
        server_urls([IceServer(urls=(text_of(data[:200]),))], note=notes.append)

    return check


# -- HTTP


def make_rest(rng: random.Random) -> Make:
    """Recorded answers with other statuses, bodies and headers: status, a line of headers, the body."""
    corpus = [answer for answer in recordings.answers() if answer[1] is not None]
    by_value = JsonMutator(rng, [body for _, body in corpus])
    by_byte = Mutator(rng, [dumps(body) for _, body in corpus], [b"<html>", b"[" * 2000, b"\xff\xfe", b"\x00"])
    headers = Mutator(
        rng,
        [
            b"location: https://u:p@other.example:99999/x?token=1#y",
            b"set-cookie: NEKO_SESSION=abc; Path=/; HttpOnly",
            b"content-type: text/html; charset=utf-8",
            b"location: //[::1",
        ],
    )
    return lambda: (
        b"%d\n%s\n%s"
        % (
            rng.choice((200, 204, 301, 307, 400, 401, 403, 404, 422, 500, 502, rng.randrange(100, 1000))),
            headers.make().replace(b"\n", b""),
            dumps(by_value.make()) if rng.random() < 0.6 else by_byte.make(),
        )
    )


def check_rest() -> Check:
    """Every answer is a value or a typed error, whatever the call reads from it."""
    import msgspec

    types: Iterable[object] = (
        list[Member],
        Stats,
        list[BatchItem],
        events.Settings,
        events.ScreenSize,
        events.BroadcastInfo,
    )

    def check(data: bytes) -> None:
        status, _, rest = data.partition(b"\n")
        head, _, body = rest.partition(b"\n")
        name, _, value = head.decode("latin-1").partition(":")
        if not status.isdigit():
            return
        answer = Answer(int(status), ((name.lower(), value.strip()),), body)
        refusal_message(answer)
        read_cookies(answer)
        assert isinstance(unexpected(URL, PATH, answer, step="rest"), NekoError)
        assert isinstance(refused_file(URL, PATH, answer, step="rest", refusals={}), NekoError)
        try:
            decoded = read_answer(URL, PATH, answer, step="rest")
        except NekoError as error:
            must(len(str(error)) < 2000, "the error repeats the answer")
            return
        for type_ in types:
            with suppress(ProtocolViolation):
                read(decoded, type_, "answer")
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # as login() does
            msgspec.json.decode(body, type=LoginAnswer)

    return check


def make_upgrades(rng: random.Random) -> Make:
    """Answers to the WebSocket's upgrade, in pieces: pieces are what stands between two 0xff 0x00."""
    corpus = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b'HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{"code": 401}',
        b"HTTP/1.0 302 Found\nLocation: https://other.example/\n\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ]
    return Mutator(rng, corpus, [b"\r\n\r\n", b"\n\n", b"HTTP/1.1 ", b"\xff\x00", b": ", b"a: b\r\n" * 100]).make


def check_upgrades() -> Check:
    """The head is found or refused; what is kept of it does not grow behind it."""
    import trio

    def check(data: bytes) -> None:
        stream = UpgradeStream(None)  # type: ignore[arg-type]  # what it reads comes from here
        try:
            for piece in data.split(b"\xff\x00"):
                if piece:
                    stream._look(piece)
        except Refused as refused:
            must(isinstance(unexpected(URL, PATH, refused.answer, step="websocket"), NekoError), "no typed error")
        except trio.BrokenResourceError:
            pass
        assert len(stream.head) <= len(data)

    return check


# -- names and URLs


def _texts(tokens: list[str]) -> Callable[[random.Random], Make]:
    def make(rng: random.Random) -> Make:
        alphabet = [*tokens, *TEXTS, *"aB0 ./\\:%?#@[]-_\x00\x1f\x7f\x85é中😀\u202e\u2028"]
        corpus = [bytes_of(token) for token in tokens]
        by_byte = Mutator(rng, corpus, corpus)
        return lambda: (
            by_byte.make()
            if rng.random() < 0.3
            else bytes_of("".join(rng.choice(alphabet) for _ in range(1 + rng.randrange(6))))
        )

    return make


make_names = _texts(["report.pdf", "..", "../../etc/passwd", "C:\\x", "nul.txt", "com¹", "a" * 256, ".", "x..", "aux "])
make_urls = _texts(
    [
        "http://h:1", "https://[::1]:8080/p", "https://[fe80::1%25eth0]/", "ws://h", "http://user:pw@h", "http://h/?t=1",
        "http://ünï.example/ä", "http://h/../x", "//h", "http://xn--/", "http://h:99999", "http://[v1.x]/", "http://%41/",
    ]
)  # fmt: skip


def check_names() -> Check:
    """A name that passes is one file in its folder, here and on Windows; and arrives in a form as it is."""
    from neko_trio.simulator._forms import read_form

    def check(data: bytes) -> None:
        name = text_of(data)
        try:
            assert check_name(name) == name
        except InvalidInput as error:
            must(len(str(error)) < 1000, "the error repeats the name")
            return
        form = multipart.file_head("b", "files", name) + b"x" + multipart.FILE_END + multipart.end("b")
        (file,) = read_form(multipart.content_type("b"), form).files["files"]
        assert (file.name, file.data) == (name, b"x")
        for windows, path in ((False, PurePosixPath), (True, PureWindowsPath)):
            with suppress(InvalidInput):
                local = path("folder") / check_local_name(name, windows=windows)
                assert local.parent == path("folder")
                assert local.name == name

    return check


def check_urls() -> Check:
    """What passes is ASCII without blanks, as a request line needs it."""

    def check(data: bytes) -> None:
        try:
            url = parse_server_url(text_of(data))
        except InvalidInput as error:
            str(error).encode()
            return
        for text in (url.http_url("/api/ws"), url.authority, url.path("/x"), str(url)):
            assert text.isascii()
            assert not set(text) & set(" \r\n\t\x00#?\\")

    return check


TEXT_TARGETS = (
    Target("events", make_events, check_events, 3.0),
    Target("sdp", make_sdp, check_sdp, 0.5),
    Target("microphone-answers", make_answers, check_answers),
    Target("candidates", make_candidates, check_candidates, 3.0),
    Target("ice-servers", make_ice_servers, check_ice_servers),
    Target("rest-answers", make_rest, check_rest, 2.0),
    Target("upgrade-answers", make_upgrades, check_upgrades),
    Target("file-names", make_names, check_names, 2.0),
    Target("urls", make_urls, check_urls, 2.0),
)

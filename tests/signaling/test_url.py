from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.errors import InvalidInput
from neko_trio.signaling.url import ServerUrl, parse_server_url


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("http://desk", ServerUrl("http", "desk", 80), "http://desk"),
        ("https://desk/", ServerUrl("https", "desk", 443), "https://desk"),
        ("HTTP://Desk.Example:8080/", ServerUrl("http", "desk.example", 8080), "http://desk.example:8080"),
        (" https://desk:443/a/b// ", ServerUrl("https", "desk", 443, "/a/b"), "https://desk/a/b"),
        ("http://[::1]:8080/x", ServerUrl("http", "::1", 8080, "/x"), "http://[::1]:8080/x"),
        ("http://[fe80::1%25eth0]", ServerUrl("http", "fe80::1%eth0", 80), "http://[fe80::1]"),
        ("http://bücher.example", ServerUrl("http", "xn--bcher-kva.example", 80), "http://xn--bcher-kva.example"),
        ("http://desk/ä%20b", ServerUrl("http", "desk", 80, "/%C3%A4%20b"), "http://desk/%C3%A4%20b"),
        ("http://my_desk:1", ServerUrl("http", "my_desk", 1), "http://my_desk:1"),
    ],
)
def test_a_good_url_is_read(text: str, url: ServerUrl, shown: str) -> None:
    assert parse_server_url(text) == url
    assert str(url) == shown


def test_paths_stand_below_the_prefix() -> None:
    url = parse_server_url("https://desk:8443/prefix/")
    assert url.path("/api/ws") == "/prefix/api/ws"
    assert url.http_url("/api/login") == "https://desk:8443/prefix/api/login"
    assert url.authority == "desk:8443"
    assert parse_server_url("http://[fe80::1%25eth0]:81").http_url("/x") == "http://[fe80::1%25eth0]:81/x"
    assert parse_server_url("http://desk:443").authority == "desk:443", "443 is not http's default"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("desk.example:8080", "Write http://desk.example:8080"),
        ("localhost", "Write http://localhost"),
        ("ws://desk", "http://"),
        ("wss://desk/api/ws", "https://"),
        ("ftp://desk", "http:// or https://"),
        ("http://", "no host"),
        ("http://:8080", "no host"),
        ("http://desk:port", "bad host or port"),
        ("http://desk:70000", "bad host or port"),
        ("http://desk:-1", "bad host or port"),
        ("http://desk:0", "port 0"),
        ("http://[::1", "bad host or port"),
        ("http://[zz::1]", "bad"),
        ("http://des k", "blank"),
        ("http://desk\r\nX: y", "control"),
        ("http://desk/\tx", "blank"),
        ("http://desk\\x", "backslash"),
        ("http://a..b", "bad host name"),
        ("http://" + "a" * 64, "bad host name"),
        ("http://desk/a/../b", "'..'"),
        ("http://desk/\ud800", "no Unicode"),
        ("http://de%0ask", "bad host name"),
    ],
)
def test_a_bad_url_is_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_server_url(text)
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not bytes"):
        parse_server_url(b"http://desk")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "http://user:s3cret@desk",
        "user:s3cret@desk",
        "https://s3cret@desk:1/x",
        "http://desk/?token=s3cret",
        "desk/?pwd=s3cret",
        "http://desk/#s3cret",
        "ftp://user:s3cret@desk",
        "http://user:s3cret@desk:port",
        "http://user:s3cret@[::1",
        "http://user:s3c ret@desk",
        "http://user:s3cret\\@desk",
        "wss://user:s3cret@desk",
    ],
)
def test_what_may_be_a_secret_is_never_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_server_url(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3c" not in str(error)
        assert "s3c" not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@given(st.one_of(st.text(), st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), st.text(), st.text())))
def test_any_text_is_a_url_fit_for_a_request_line_or_invalid_input(text: str) -> None:
    try:
        url = parse_server_url(text)
    except InvalidInput:
        return
    line = url.path("/api/ws") + url.authority
    assert line.isascii()
    assert line.isprintable()
    assert " " not in line
    assert parse_server_url(url.http_url("")) == url

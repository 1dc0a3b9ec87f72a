from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.errors import InvalidInput
from neko_trio.signaling.credential import Credential


def test_a_token_is_a_bearer_header() -> None:
    assert Credential.bearer("abc").headers() == [("Authorization", "Bearer abc")]


def test_cookies_are_one_header() -> None:
    assert Credential.cookies({"NEKO_SESSION": "abc=", "lb": "1"}).headers() == [("Cookie", "NEKO_SESSION=abc=; lb=1")]


@pytest.mark.parametrize("credential", [Credential.bearer("s3cret"), Credential.cookies({"NEKO_SESSION": "s3cret"})])
def test_it_shows_its_kind_only(credential: Credential) -> None:
    assert "s3cret" not in f"{credential!r} {credential} {[credential]}"
    assert ("bearer" in repr(credential)) != ("cookies" in repr(credential))


@pytest.mark.parametrize("token", ["", " ", "s3cret\r\nX: y", "s3cret x", "s3crét", "s3cret\x00"])
def test_a_token_that_cannot_stand_in_a_header_is_refused_unseen(token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Credential.bearer(token)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize("cookies", [{}, {"a b": "s3cret"}, {"a": "s3cret;"}, {"a": "s3cret\n"}, {"": "s3cret"}])
def test_cookies_that_cannot_stand_in_a_header_are_refused_unseen(cookies: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Credential.cookies(cookies)
    assert "s3cret" not in str(caught.value)


@given(st.text())
def test_any_token_is_a_clean_header_or_refused(token: str) -> None:
    try:
        ((_, value),) = Credential.bearer(token).headers()
    except InvalidInput:
        return
    assert value == f"Bearer {token}"
    assert value.isascii()
    assert value.isprintable()

"""OAUTHBEARER by the example of RFC 7628 §4.1, XOAUTH2, and how a refusal is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.sasl.base import Challenge, Disproved, Failure, TokenClaim, TokenRefusal
from mssante.protocol.sasl.bearer import MAX_MESSAGE, BearerExchange

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
MESSAGE = (b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01")


def test_the_example_of_rfc_7628() -> None:
    assert BearerExchange(xoauth2=False).start(MESSAGE) == TokenClaim("user@example.com", TOKEN, "server.example.com", 143)


def test_asked_for() -> None:
    one = BearerExchange(xoauth2=False)
    assert one.start(None) == Challenge()
    assert one.respond(b"y,,\x01auth=bearer abc\x01\x01") == TokenClaim("", "abc")


def test_xoauth2() -> None:
    one = BearerExchange(xoauth2=True)
    assert one.start(b"user=a@b\x01auth=Bearer abc\x01\x01") == TokenClaim("a@b", "abc")
    answer = one.refuse(TokenRefusal(scope="imap"))
    assert isinstance(answer, Challenge)
    assert json.loads(answer.data) == {"status": "401", "schemes": "bearer", "scope": "imap"}
    assert one.respond(b"") == Disproved("a@b", guess=False)


def test_a_refusal_is_json_then_acknowledged() -> None:
    one = BearerExchange(xoauth2=False)
    one.start(MESSAGE)
    answer = one.refuse(TokenRefusal("invalid_token", "imap", "https://connexion.example/.well-known/openid-configuration"))
    assert isinstance(answer, Challenge)
    assert json.loads(answer.data) == {"status": "invalid_token", "scope": "imap",
                                       "openid-configuration": "https://connexion.example/.well-known/openid-configuration"}
    assert one.respond(b"\x01") == Disproved("user@example.com", guess=False)


def test_an_empty_token_asks_what_is_needed() -> None:
    assert BearerExchange(xoauth2=False).start(b"n,,\x01auth=\x01\x01") == TokenClaim("", "")


def test_a_token_is_never_shown() -> None:
    assert TOKEN not in repr(TokenClaim("a", TOKEN))


@pytest.mark.parametrize("data", [
    b"", b"\x01", b"n,,\x01\x01", b"n,,\x01host=x\x01\x01", MESSAGE[:-1], MESSAGE + b"x", MESSAGE.replace(b"n,a", b"p=tls-unique,a"),
    MESSAGE.replace(b"143", b"14x"), MESSAGE.replace(b"143", b"143000"), MESSAGE.replace(b"Bearer", b"Basic"),
    MESSAGE.replace(b"Bearer v", b"Bearer \xc3\xa9"), MESSAGE.replace(b"host", b"auth"), MESSAGE.replace(b"user", b"us\xff"),
    MESSAGE.replace(b"host=", b"h st="), b"n,,\x01auth=Bearer " + b"a" * MAX_MESSAGE + b"\x01\x01"])
def test_malformed(data: bytes) -> None:
    assert isinstance(BearerExchange(xoauth2=False).start(data), Failure)


@pytest.mark.parametrize("data", [b"", b"auth=Bearer abc\x01\x01", b"user=a\x01\x01", b"user=\x01auth=Bearer abc\x01\x01", MESSAGE])
def test_malformed_xoauth2(data: bytes) -> None:
    assert isinstance(BearerExchange(xoauth2=True).start(data), Failure)


@given(st.booleans(), st.binary(max_size=60) | st.tuples(st.binary(max_size=10)).map(lambda one: MESSAGE[:40] + one[0] + MESSAGE[40:]))
def test_any_octets_give_an_answer(xoauth2: bool, data: bytes) -> None:
    assert isinstance(BearerExchange(xoauth2=xoauth2).start(data), TokenClaim | Failure)

"""SASL exchanges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.sasl.base import (
    MAX_RESPONSE,
    Challenge,
    Credentials,
    Disproved,
    Failure,
    Proved,
    TokenClaim,
    Verifier,
    VerifierWanted,
    decode_initial,
    decode_response,
    encode_challenge,
)
from mssante.protocol.sasl.mechanisms import ALL, MECHANISMS, Circumstances, begin, offered

EVERYTHING = Circumstances(ALL, end_point=b"e" * 32, certificate_login="joe", tokens=True)


def _begin(name: str):  # type: ignore[no-untyped-def]
    exchange = begin(name, EVERYTHING)
    assert exchange is not None
    return exchange


def test_plain_at_once() -> None:
    assert _begin("plain").start(b"\x00joe\x00p\xc3\xa9") == Credentials("", "joe", "p\u00e9")
    assert _begin("PLAIN").start(b"box\x00joe\x00x") == Credentials("box", "joe", "x")
    assert _begin("PLAIN").start(b"joe\x00joe\x00x") == Credentials("", "joe", "x")


def test_plain_after_a_challenge() -> None:
    exchange = _begin("PLAIN")
    assert exchange.start(None) == Challenge(b"")
    assert exchange.respond(b"\x00joe\x00x") == Credentials("", "joe", "x")


@pytest.mark.parametrize("data", [
    b"", b"joe", b"\x00joe", b"\x00joe\x00", b"\x00\x00x", b"\x00joe\x00x\x00y", b"\x00jo\xff\x00x", b"\x00joe\x00\xff",
    b"\x00" + b"j" * 256 + b"\x00x", b"\x00joe\x00" + b"x" * 1025, b"a\xff\x00joe\x00x", b"\x00jo\ne\x00x",
])
def test_plain_refused(data: bytes) -> None:
    assert isinstance(_begin("PLAIN").start(data), Failure)


def test_login() -> None:
    exchange = _begin("LOGIN")
    assert exchange.start(None) == Challenge(b"Username:")
    assert exchange.respond(b"joe") == Challenge(b"Password:")
    assert exchange.respond(b"x y") == Credentials("", "joe", "x y")


def test_login_with_the_name_at_once() -> None:
    exchange = _begin("LOGIN")
    assert exchange.start(b"joe") == Challenge(b"Password:")
    assert isinstance(exchange.respond(b""), Failure)


@pytest.mark.parametrize("name", [b"", b"\xff", b"j" * 256, b"a\x00b"])
def test_login_refused(name: bytes) -> None:
    assert isinstance(_begin("LOGIN").start(name), Failure)


def test_unknown_mechanism() -> None:
    assert begin("CRAM-MD5", EVERYTHING) is None


def test_what_is_offered_depends_on_what_is_there() -> None:
    assert offered(EVERYTHING) == tuple(MECHANISMS)
    assert offered(Circumstances(ALL)) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert offered(Circumstances(frozenset({"PLAIN", "EXTERNAL"}), tokens=True)) == ("PLAIN",)
    assert offered(Circumstances()) == ()
    assert begin("EXTERNAL", Circumstances(ALL)) is None
    assert begin("OAUTHBEARER", Circumstances(ALL)) is None
    assert begin("SCRAM-SHA-256-PLUS", Circumstances(ALL)) is None


def test_external() -> None:
    assert _begin("EXTERNAL").start(None) == Challenge()
    assert _begin("EXTERNAL").start(b"") == Proved("", "joe")
    assert _begin("EXTERNAL").start(b"JOE") == Proved("", "joe")
    assert _begin("EXTERNAL").start(b"ann") == Proved("ann", "joe")
    assert isinstance(_begin("EXTERNAL").start(b"a\xff"), Failure)


def test_base64() -> None:
    assert decode_response(b"AGpvZQB4") == b"\x00joe\x00x"
    assert decode_response(b"") == b""
    assert decode_response(b"*") == Failure("authentication cancelled", cancelled=True)
    assert decode_initial(b"=") == b""
    assert encode_challenge(Challenge(b"Username:")) == b"VXNlcm5hbWU6"


@pytest.mark.parametrize("line", [b"AGp", b"AGpv ZQ==", b"====", b"A===", b"AGpvZQB4\r", b"\xff" * 4, b"A" * (MAX_RESPONSE + 4)])
def test_not_base64(line: bytes) -> None:
    answer = decode_response(line)
    assert isinstance(answer, Failure)
    assert not answer.cancelled


@pytest.mark.parametrize("word", [b"", b"*", b"x"])
def test_bad_initial_response(word: bytes) -> None:
    assert isinstance(decode_initial(word), Failure)


def test_a_password_is_never_shown() -> None:
    assert "hunter" not in repr(Credentials("", "joe", "hunter"))


@given(st.sampled_from(sorted(MECHANISMS)), st.none() | st.binary(max_size=40), st.lists(st.binary(max_size=40), max_size=3))
def test_any_octets_give_an_answer(name: str, initial: bytes | None, more: list[bytes]) -> None:
    exchange = _begin(name)
    answer = exchange.start(initial)
    for data in more:
        if isinstance(answer, VerifierWanted):
            answer = exchange.supply(Verifier(4096, b"salt", bytes(32), bytes(32)))
        if not isinstance(answer, Challenge):
            break
        answer = exchange.respond(data)
    assert isinstance(answer, Challenge | Credentials | Failure | VerifierWanted | Proved | Disproved | TokenClaim)
    assert not isinstance(answer, Proved) or answer.authcid == "joe"
    if isinstance(answer, Credentials):
        assert answer.authcid
        assert answer.password


@given(st.binary(max_size=40))
def test_any_line_decodes_or_fails(line: bytes) -> None:
    assert isinstance(decode_response(line), bytes | Failure)
    assert isinstance(decode_initial(line), bytes | Failure)

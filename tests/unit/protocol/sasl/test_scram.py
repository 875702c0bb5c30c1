"""SCRAM-SHA-256 by the vectors of RFC 7677 §3, its channel binding, and everything that a proof must not survive."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scram_client import (
    RFC_CLIENT_NONCE,
    RFC_ITERATIONS,
    RFC_PASSWORD,
    RFC_SALT,
    RFC_SERVER_NONCE,
    RFC_USER,
    ScramClient,
)

from mssante.protocol.sasl.base import Answer, Challenge, Disproved, Failure, Proved, Verifier, VerifierWanted
from mssante.protocol.sasl.mechanisms import new_nonce
from mssante.protocol.sasl.scram import ScramExchange, derive, read_verifier, write_verifier

END_POINT = bytes(range(48))  # of a certificate signed with SHA-384
FINAL = (b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
         b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")


def verifier(password: str = RFC_PASSWORD) -> Verifier:
    made = derive(password, RFC_SALT, RFC_ITERATIONS)
    assert made is not None
    return made


def exchange(*, plus: bool = False, end_point: bytes = b"") -> ScramExchange:
    return ScramExchange(RFC_SERVER_NONCE, plus=plus, end_point=end_point)


def server_first(one: ScramExchange, client: ScramClient, stored: Verifier | None = None) -> bytes:
    assert isinstance(one.start(client.first()), VerifierWanted)
    answer = one.supply(stored or verifier())
    assert isinstance(answer, Challenge)
    return answer.data


def test_the_example_of_rfc_7677() -> None:
    one = exchange()
    assert one.start(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == VerifierWanted("user")
    assert one.supply(verifier()) == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert one.respond(FINAL) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert one.respond(b"") == Proved("", "user", write_verifier(verifier()))


@pytest.mark.parametrize("place", [10, 40, len(FINAL) - 10])
def test_a_changed_octet_proves_nothing(place: int) -> None:
    one = exchange()
    server_first(one, ScramClient(RFC_USER, RFC_PASSWORD))
    changed = bytearray(FINAL)
    changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
    assert one.respond(bytes(changed)) == Disproved("user")


@pytest.mark.parametrize("proof", [b"", b"AAAA", b"A" * 43 + b"=", b"A" * 64])
def test_short_long_and_empty_proofs(proof: bytes) -> None:
    one = exchange()
    server_first(one, ScramClient(RFC_USER, RFC_PASSWORD))
    assert isinstance(one.respond(FINAL[:FINAL.index(b"p=") + 2] + proof), Disproved | Failure)


def test_a_verifier_that_fits_no_password() -> None:
    one, client = exchange(), ScramClient(RFC_USER, RFC_PASSWORD)
    first = server_first(one, client, Verifier(4096, b"salt", bytes(32), bytes(32)))
    assert one.respond(client.final(first)) == Disproved("user")


def test_channel_binding() -> None:
    one, client = exchange(plus=True, end_point=END_POINT), ScramClient(
        RFC_USER, RFC_PASSWORD, gs2="p=tls-server-end-point,,", binding=END_POINT)
    final = one.respond(client.final(server_first(one, client)))
    assert isinstance(final, Challenge) and client.trusts(final.data)
    assert isinstance(one.respond(b""), Proved)


@pytest.mark.parametrize("binding", [b"", END_POINT[:-1], bytes(48)])
def test_another_channel_proves_nothing(binding: bytes) -> None:
    one, client = exchange(plus=True, end_point=END_POINT), ScramClient(
        RFC_USER, RFC_PASSWORD, gs2="p=tls-server-end-point,,", binding=binding)
    assert one.respond(client.final(server_first(one, client))) == Disproved("user")


@pytest.mark.parametrize(("flag", "plus", "end_point", "word"), [
    ("y", False, END_POINT, "does-support"),  # the downgrade of RFC 5802 §6
    ("p=tls-server-end-point", False, END_POINT, "PLUS"),
    ("p=tls-unique", True, END_POINT, "unsupported"), ("p=tls-exporter", True, END_POINT, "unsupported"),
    ("n", True, END_POINT, "not-provided"), ("y", True, END_POINT, "not-provided"),
])
def test_flags_that_are_refused(flag: str, plus: bool, end_point: bytes, word: str) -> None:
    answer = exchange(plus=plus, end_point=end_point).start(f"{flag},,n=user,r=abc".encode())
    assert isinstance(answer, Failure) and answer.refused and word in answer.text


def test_a_client_may_say_that_we_do_not_bind_when_we_do_not() -> None:
    one, client = exchange(), ScramClient(RFC_USER, RFC_PASSWORD, gs2="y,,")
    assert isinstance(one.respond(client.final(server_first(one, client))), Challenge)
    bound = exchange(end_point=END_POINT)
    assert isinstance(bound.start(b"n,,n=user,r=abc"), VerifierWanted), "a client that cannot bind says n"


def test_the_gs2_header_is_signed() -> None:
    one, client = exchange(), ScramClient(RFC_USER, RFC_PASSWORD, gs2="n,,")
    first = server_first(one, client)
    client.binding = b64encode(b"y,,").decode()  # somebody changed the header on the way
    assert one.respond(client.final(first)) == Disproved("user")


def test_names() -> None:
    assert exchange().start(b"n,,n=a=2Cb=3Dc,r=x") == VerifierWanted("a,b=c")
    assert exchange().start("n,,n=\u2168\u00ad,r=x".encode()) == VerifierWanted("IX"), "SASLprep, RFC 4013 §3"
    one, client = exchange(), ScramClient(RFC_USER, RFC_PASSWORD, gs2="n,a=boss,")
    one.respond(client.final(server_first(one, client)))
    assert one.respond(b"") == Proved("boss", "user", write_verifier(verifier()))
    same, client = exchange(), ScramClient(RFC_USER, RFC_PASSWORD, gs2="n,a=user,")
    same.respond(client.final(server_first(same, client)))
    assert same.respond(b"") == Proved("", "user", write_verifier(verifier()))


@pytest.mark.parametrize("data", [
    b"", b"n,,", b"n,,n=,r=x", b"n,,n=user,r=", b"n,,n=user", b"n,,r=x,n=user", b"x,,n=user,r=x", b"n,n=user,r=x",
    b"n,,m=ext,n=user,r=x", b"n,,n=us=er,r=x", b"n,,n=us=2cer,r=x", b"n,,n=user,r=a b", b"n,,n=user,r=x,", b"n,,n=user,r=x,yy",
    b"n,,n=\xff,r=x", b"n,,n=a\x00b,r=x", b"n,,n=a\x07b,r=x", b"n,,n=" + b"u" * 300 + b",r=x", b"n,,n=user,r=" + b"x" * 257,
    b"n,,n=user,r=" + b"x" * 3000])
def test_malformed_first_messages(data: bytes) -> None:
    answer = exchange().start(data)
    assert isinstance(answer, Failure) and not answer.refused


@pytest.mark.parametrize("data", [b"", b"c=biws", b"p=AAAA", FINAL + b",x=y", FINAL.replace(b"c=", b"d="), b"*" * 3000])
def test_malformed_final_messages(data: bytes) -> None:
    one = exchange()
    server_first(one, ScramClient(RFC_USER, RFC_PASSWORD))
    assert isinstance(one.respond(data), Failure | Disproved)


def test_the_end_is_an_empty_line() -> None:
    one = exchange()
    server_first(one, ScramClient(RFC_USER, RFC_PASSWORD))
    one.respond(FINAL)
    assert isinstance(one.respond(b"more"), Failure)


def test_nonces() -> None:
    made = {new_nonce() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) >= 24 and "," not in one and one.isascii() and one.isprintable() for one in made)
    assert RFC_CLIENT_NONCE not in made


def test_the_stored_form() -> None:
    text = write_verifier(verifier())
    assert text.startswith("SCRAM-SHA-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert read_verifier(text) == verifier()
    assert "stored_key" not in repr(verifier())


@pytest.mark.parametrize("text", [
    "", "SCRAM-SHA-256", "SCRAM-SHA-1$4096$AAAA$AAAA$AAAA", "SCRAM-SHA-256$4095$AAAA$" + "A" * 43 + "=$" + "A" * 43 + "=",
    "SCRAM-SHA-256$4096$$" + "A" * 43 + "=$" + "A" * 43 + "=", "SCRAM-SHA-256$4096$!$" + "A" * 43 + "=$" + "A" * 43 + "=",
    "SCRAM-SHA-256$4096$AAAA$AAAA$AAAA", "SCRAM-SHA-256$-1$AAAA$AAAA$AAAA", "SCRAM-SHA-256$99999999$AAAA$AAAA$AAAA",
    "SCRAM-SHA-256$4096$AAAA$é$AAAA"])
def test_texts_that_are_no_verifier(text: str) -> None:
    assert read_verifier(text) is None


def test_a_password_that_saslprep_refuses_has_no_verifier() -> None:
    assert derive("a\u0007b", RFC_SALT, 4096) is None
    assert derive("", RFC_SALT, 4096) is None
    assert derive("\u2168", RFC_SALT, 4096) == derive("IX", RFC_SALT, 4096)


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"n,,n=user,r=abc", FINAL, b"c=biws,r=abc,p=AAAA"]), max_size=4))
def test_any_octets_give_an_answer_and_never_a_proof(messages: list[bytes]) -> None:
    one: ScramExchange = exchange()
    stored = Verifier(4096, RFC_SALT, bytes(32), bytes(32))
    answer: Answer = Challenge()
    for data in messages:
        answer = one.respond(data)
        if isinstance(answer, VerifierWanted):
            answer = one.supply(stored)
        if not isinstance(answer, Challenge):
            break
    assert isinstance(answer, Challenge | Failure | Disproved)

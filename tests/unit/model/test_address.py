"""Envelope addresses: what passes is safe on any wire, and one spelling of a domain is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.errors import InputFault
from mssante.model.address import MailAddress, normalise_domain, parse_envelope_address


@pytest.mark.parametrize(("text", "found"), [
    ("Docteur@A.MSSante.FR", MailAddress("Docteur", "a.mssante.fr")), ("a.b+c=d'e@x.fr", MailAddress("a.b+c=d'e", "x.fr")),
    ("!#$&*/?^_`{|}~-@x.fr", MailAddress("!#$&*/?^_`{|}~-", "x.fr")), ("x" * 64 + "@x.fr", MailAddress("x" * 64, "x.fr")),
    ("a@xn--hpital-ixa.fr", MailAddress("a", "xn--hpital-ixa.fr")), ("a@1.2-3.fr", MailAddress("a", "1.2-3.fr"))])
def test_good(text: str, found: MailAddress) -> None:
    assert parse_envelope_address(text) == found


@pytest.mark.parametrize(("text", "rule"), [
    ("", "ADR-SYNTAX"), ("a", "ADR-SYNTAX"), ("@x.fr", "ADR-SYNTAX"), ("a@", "ADR-DOMAIN"), ("a b@x.fr", "ADR-SYNTAX"), ("a@b@x.fr", "ADR-SYNTAX"),
    (".a@x.fr", "ADR-SYNTAX"), ("a.@x.fr", "ADR-SYNTAX"), ("a..b@x.fr", "ADR-SYNTAX"), ('"a"@x.fr', "ADR-SYNTAX"), ("a%b@x.fr", "ADR-SYNTAX"),
    ("<a@x.fr>", "ADR-SYNTAX"), ("a,b@x.fr", "ADR-SYNTAX"), ("a\r\n@x.fr", "ADR-SYNTAX"), ("a@x.fr\r\n", "ADR-DOMAIN"), ("a@x.fr\x00", "ADR-DOMAIN"),
    ("a@[127.0.0.1]", "ADR-DOMAIN"), ("a@localhost", "ADR-DOMAIN"), ("a@-x.fr", "ADR-DOMAIN"), ("a@x-.fr", "ADR-DOMAIN"), ("a@x..fr", "ADR-DOMAIN"),
    ("a@x.fr.", "ADR-DOMAIN"), ("a@x_y.fr", "ADR-DOMAIN"), ("a@" + "x" * 64 + ".fr", "ADR-DOMAIN"), ("x" * 65 + "@x.fr", "ADR-LENGTH"),
    ("x" * 250 + "@x.fr", "ADR-LENGTH"), ("é@x.fr", "ADR-SYNTAX"), ("a@hôpital.fr", "ADR-SYNTAX"), (" a@x.fr", "ADR-SYNTAX"),
    ("a@x.fr ", "ADR-DOMAIN"), ("a@ x.fr", "ADR-DOMAIN")])
def test_refused(text: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_envelope_address(text)
    assert caught.value.rule == rule
    assert len(text) < 3 or text not in str(caught.value), "an address is no part of a fault's text"


@pytest.mark.parametrize(("text", "found"), [
    ("été@x.fr", MailAddress("été", "x.fr")), ("a@HÔPITAL.fr", MailAddress("a", "xn--hpital-ixa.fr"))])
def test_utf8_when_asked(text: str, found: MailAddress) -> None:
    assert parse_envelope_address(text, True) == found


@pytest.mark.parametrize("text", ["é" * 33 + "@x.fr", "a\u0085b@x.fr", "a\u00a0b@x.fr", "a\u2028b@x.fr", "\x7f@x.fr", "a@\ud800.fr"])
def test_utf8_has_limits_too(text: str) -> None:
    with pytest.raises(InputFault):
        parse_envelope_address(text, True)


def test_the_key_ignores_case_and_the_text_keeps_it() -> None:
    one, two = MailAddress("Docteur", "x.fr"), MailAddress("docteur", "x.fr")
    assert one.key == two.key == "docteur@x.fr" and str(one) == "Docteur@x.fr" and one != two


@pytest.mark.parametrize(("text", "found"), [
    ("A.MSSANTE.FR.", "a.mssante.fr"), (" a.fr ", "a.fr"), ("HÔPITAL.fr", "xn--hpital-ixa.fr"), ("straße.de", "strasse.de")])
def test_domains(text: str, found: str) -> None:
    assert normalise_domain(text) == found == normalise_domain(found)


@pytest.mark.parametrize("text", ["", ".", "fr", "a..fr", "*.fr", "a b.fr", "a.fr/x", "a" * 64 + ".fr", ".".join(["a" * 60] * 5), "\u3002fr"])
def test_domains_refused(text: str) -> None:
    with pytest.raises(InputFault) as caught:
        normalise_domain(text)
    assert caught.value.rule == "ADR-DOMAIN"


@given(st.text(max_size=80), st.booleans())
def test_whatever_passes_is_safe_between_brackets(text: str, utf8: bool) -> None:
    for candidate in (text, f"{text}@x.fr", f"a@{text}"):
        try:
            found = parse_envelope_address(candidate, utf8)
        except InputFault:
            continue
        assert not set(str(found)) & set("<>\r\n\x00 \"%") and found.domain.isascii() and str(found).count("@") == 1
        assert parse_envelope_address(str(found), utf8) == found

"""Distinguished names: every quirk of the real list, and the counts measured on it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.pki import subject

from mssante.errors import InputFault
from mssante.trust.names import DnMode, dn_from_x509, name_key, parse_dn, printable, same_name, show_name

PLAIN = "CN=mss.ch.fr,OU=1870000015,O=C H U DE LIMOGES,ST=Haute-Vienne (87),C=FR"


@pytest.mark.parametrize("text", [
    PLAIN,
    "CN=mss.ch.fr, OU=1870000015, O=C H U DE LIMOGES, ST=Haute-Vienne (87), C=FR",
    "CN=mss.ch.fr,OU=1870000015,O=C H U  DE  LIMOGES,ST=Haute-Vienne(87),C=FR",
    'CN=mss.ch.fr,OU=1870000015,O="C H U  DE  LIMOGES",ST=Haute-Vienne (87),C=FR',
    "CN=MSS.CH.FR,OU=1870000015,O=C H U\u00a0 DE\u00a0LIMOGES,ST=HAUTE-VIENNE (87),C=fr",
    'CN="mss.ch.fr",OU=1870000015,O=C H U "DE LIMOGES",ST=Haute-Vienne  (87),C=FR',
    'CN=mss.ch.fr,OU=1870000015,O=C H U "DE LIMOGES,ST=Haute-Vienne (87),C=FR',
    "C=FR,ST=Haute-Vienne (87),O=C H U DE LIMOGES,OU=1870000015,CN=mss.ch.fr",
    "cn=mss.ch.fr,ou=1870000015,o=C H U DE LIMOGES,S=Haute-Vienne (87),c=FR",
    "2.5.4.3=mss.ch.fr,OU=1870000015,O=C H U DE LIMOGES,ST=Haute-Vienne (87),C=FR",
])
def test_spellings_of_one_holder(text: str) -> None:
    assert parse_dn(text).pairs == parse_dn(PLAIN).pairs
    assert all(same_name(parse_dn(text), parse_dn(PLAIN), mode) for mode in DnMode)


@pytest.mark.parametrize(("text", "attribute", "value"), [
    ('CN=x,O=CRLCC "PAUL STRAUSS",C=FR', "O", "crlcc paul strauss"),
    ('CN=x,O="A, OU=B",C=FR', "O", "a, ou=b"),
    ("CN=x,O=A\\, OU=B,C=FR", "O", "a, ou=b"),
    ("CN=x,O=SMITH, JONES,C=FR", "O", "smith, jones"),
    ("CN=x,ST=Puy-de-Do\u0302me (63),C=FR", "ST", "puy-de-dôme(63)"),
    ("CN=x,O=P\\C3\\B4le,C=FR", "O", "pôle"),
    ("CN=x,O=P\\F4le,C=FR", "O", "pôle"),
    ("CN=x,L=Paris (75),C=FR", "L", "paris (75)"),
    ("CN=x,O=Côte-d'Or + A=1,C=FR", "O", "côte-d'or + a=1"),
    ('CN=a"b,OU=c', "CN", 'a"b'),
])
def test_values(text: str, attribute: str, value: str) -> None:
    assert parse_dn(text).value(attribute) == value
    assert parse_dn(text).value("OU") == ("c" if "OU=c" in text else "")


@pytest.mark.parametrize("text", ["", "x", "=x", "CN", "CN=", "CN=x,OU=", ",CN=x", "mta.example.fr", "CN=x" + "y" * 1100,
                                  ",".join(f"OU={n}" for n in range(21))])
def test_refused(text: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_dn(text)
    assert caught.value.rule in ("DN-SYNTAXE", "DN-TAILLE")


@pytest.mark.parametrize(("other", "strict", "cn_ou", "cn"), [
    ("CN=h,OU=1,O=Renamed,C=FR", False, True, True),
    ("CN=h,OU=2,O=A,C=FR", False, False, True),
    ("CN=i,OU=1,O=A,C=FR", False, False, False),
    ("CN=h,O=A,C=FR", False, False, True),
    ("CN=h,OU=1,OU=2,O=A,C=FR", False, False, True),
    ("CN=h,CN=i,OU=1,O=A,C=FR", False, False, False),
    ("OU=1,CN=h,O=A,C=FR", False, True, True),
])
def test_modes(other: str, strict: bool, cn_ou: bool, cn: bool) -> None:
    first, second = parse_dn("CN=h,OU=1,O=A,C=FR"), parse_dn(other)
    found = tuple(same_name(first, second, mode) for mode in (DnMode.STRICT, DnMode.CN_OU, DnMode.CN))
    assert found == (strict, cn_ou, cn)


def test_without_ou_the_whole_name_is_compared() -> None:
    first, second = parse_dn("CN=h,O=A,C=FR"), parse_dn("CN=h,O=B,C=FR")
    assert not same_name(first, second, DnMode.CN_OU) and same_name(first, parse_dn("CN=H,O=a,C=FR"), DnMode.CN_OU)


def test_without_cn_nothing_is_the_same() -> None:
    name = parse_dn("OU=1,O=A,C=FR")
    assert not any(same_name(name, name, mode) for mode in DnMode)


def test_certificate_names_equal_the_text_of_the_list() -> None:
    name = dn_from_x509(subject("mss.ch.fr", "1870000015", 'CRLCC "PAUL, STRAUSS"'))
    assert [attribute for attribute, _ in name.pairs] == ["CN", "OU", "O", "ST", "C"]
    written = parse_dn('CN=MSS.ch.fr,OU=1870000015,O=CRLCC "PAUL, STRAUSS",ST=Paris(75),C=FR')
    assert name.pairs == written.pairs and hash(name_key(name, DnMode.STRICT)) == hash(written.pairs)
    assert parse_dn(subject("mss.ch.fr", "1870000015", 'A "B", C').rfc4514_string()).pairs == \
        dn_from_x509(subject("mss.ch.fr", "1870000015", 'A "B", C')).pairs


def test_a_comma_in_a_certificate_makes_no_attribute() -> None:
    sly = dn_from_x509(subject("h", "2", "x,OU=1"))
    assert not same_name(sly, parse_dn("CN=h,OU=1,O=x,C=FR"), DnMode.CN_OU)
    assert sly.value("O") == "x,ou=1"


def test_name_with_too_many_attributes() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(n)) for n in range(21)])
    with pytest.raises(InputFault):
        dn_from_x509(name)


def test_shown_names_are_printable_ascii() -> None:
    name = dn_from_x509(subject("h\x00\x1bé\u202e" + "x" * 40, "1"))
    assert show_name(name).startswith("CN=h????xxx") and show_name(name).isprintable()
    assert printable("a\r\nb", 10) == "a??b" and len(printable("x" * 999, 160)) == 160


def test_counts_of_the_real_list(shared_dir) -> None:  # type: ignore[no-untyped-def]
    import re

    text = (shared_dir / "data/whitelist/listeblanche-2025-03-13.xml").read_text()
    raw = set(re.findall(r"<DNCertificatOperateur>(.*?)</DNCertificatOperateur>", text))
    names = [parse_dn(one) for one in raw]
    assert len(raw) == 392
    assert [len({name_key(name, mode) for name in names}) for mode in (DnMode.STRICT, DnMode.CN_OU, DnMode.CN)] == [380, 377, 375]

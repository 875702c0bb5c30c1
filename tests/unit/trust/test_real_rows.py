"""The 6,554 rows of the real list of 2025-03-13: who is accepted as whom, in each mode (RQ-DN, F1.18).

For every certificate name of the list a certificate is issued whose subject holds that name as an authority writes it (quotes of
the text form taken off, UTF8String or PrintableString); it must be admitted for every domain of its rows, however the list spells
it, and for no other domain but those that the mode means. The counts and the pairs go to $MSSANTE_REPORT_DIR/real-rows.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from support.lab import report
from support.pki import FROM, UNTIL, build_igc, key_for, key_usage

from mssante.model.identity import DistinguishedName, OperatorIdentity
from mssante.model.reply import Allow
from mssante.protocol.xml import parse_xml
from mssante.trust.crl import CrlSet
from mssante.trust.decisions import admit_session, may_send, server_matches
from mssante.trust.names import DnMode, dn_from_x509, parse_dn, same_name
from mssante.trust.peer import PeerPolicy, identify
from mssante.trust.whitelist import Whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OIDS = {"CN": NameOID.COMMON_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "O": NameOID.ORGANIZATION_NAME,
        "ST": NameOID.STATE_OR_PROVINCE_NAME, "L": NameOID.LOCALITY_NAME, "C": NameOID.COUNTRY_NAME}
PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*\Z")


@pytest.fixture(scope="module")
def real(shared_dir: Path) -> Whitelist:
    raw = (shared_dir / "data/whitelist/listeblanche-2025-03-13.xml").read_bytes()
    return parse_whitelist(parse_xml(raw, max_bytes=len(raw)))


@pytest.fixture(scope="module")
def names(real: Whitelist) -> list[DistinguishedName]:
    """Every name as the list writes it, once: 392."""
    return list({entry.operator_dn.text: entry.operator_dn for entry in real.entries}.values())


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Read a name as a person does: attribute and value as written, without the quotes around a whole value."""
    found = []
    for part in re.split(r",\s*(?=(?:CN|OU|O|ST|L|C)\s*=)", text.strip()):
        attribute, _, value = part.partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found.append((attribute.strip(), value))
    return found


def subject(pairs: list[tuple[str, str]], *, printable: bool = False, country_first: bool = True) -> x509.Name:
    """Give the X.509 name of such pairs, country first as authorities write it."""
    attributes = []
    for attribute, value in reversed(pairs) if country_first else pairs:
        kind = _ASN1Type.PrintableString if attribute == "C" or (printable and PRINTABLE.match(value)) else _ASN1Type.UTF8String
        attributes.append(x509.NameAttribute(OIDS[attribute], value, _type=kind, _validate=False))
    return x509.Name(attributes)


def issued(name: x509.Name) -> x509.Certificate:
    """Give a SERV SSL certificate of the test hierarchy for a subject."""
    igc = build_igc()
    parent = igc.authority("organisations")
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(parent.certificate.subject)
               .public_key(key_for("real rows").public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(FROM).not_valid_after(UNTIL)
               .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
               .add_extension(key_usage("digital_signature", "key_encipherment"), critical=True))
    return builder.sign(parent.key, hashes.SHA256())


def identity_of(name: x509.Name, crls: CrlSet) -> OperatorIdentity:
    """Give what the certificate of a subject proves, by the door's own way."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return identify(issued(name).public_bytes(Encoding.DER), build_igc().anchors, crls, NOW, PeerPolicy())


def spellings(text: str) -> Iterator[tuple[str, x509.Name]]:
    """Give the same name as different authorities and tools write it."""
    pairs = pairs_of(text)
    yield "UTF8String", subject(pairs)
    yield "PrintableString", subject(pairs, printable=True)
    yield "CN first", subject(pairs, country_first=False)
    yield "capitals", subject([(attribute, value.upper()) for attribute, value in pairs])
    yield "small letters", subject([(attribute, value.lower()) for attribute, value in pairs])
    yield "decomposed accents", subject([(attribute, unicodedata.normalize("NFD", value)) for attribute, value in pairs])
    yield "single spaces", subject([(attribute, " ".join(value.split())) for attribute, value in pairs])
    yield "no-break spaces", subject([(attribute, value.replace(" ", "\u00a0")) for attribute, value in pairs])
    yield "space before (", subject([(attribute, re.sub(r" *\(", " (", value) if attribute == "ST" else value)
                                     for attribute, value in pairs])
    yield "no space before (", subject([(attribute, re.sub(r" *\(", "(", value) if attribute == "ST" else value)
                                        for attribute, value in pairs])


def test_every_certificate_of_the_list_is_admitted_for_every_row_in_every_mode(real: Whitelist, names: list[DistinguishedName],
                                                                              ) -> None:
    crls = build_igc().crl_set()
    identities = {name.text: identity_of(next(spellings(name.text))[1], crls) for name in names}
    assert len(identities) == 392
    for mode in DnMode:
        for entry in real.entries:
            identity = identities[entry.operator_dn.text]
            assert isinstance(may_send(identity, entry.domain, real, mode), Allow), (mode, entry.domain, entry.operator_dn.text)
            assert isinstance(server_matches(identity, entry.domain, real, mode), Allow)
        assert all(isinstance(admit_session(identity, real, mode), Allow) for identity in identities.values())


def test_every_spelling_of_every_name_is_the_same_in_every_mode(names: list[DistinguishedName]) -> None:
    count = 0
    for name in names:
        for how, shape in spellings(name.text):
            found = dn_from_x509(shape)
            for mode in DnMode:
                assert same_name(found, name, mode), (how, name.text, found.text)
                count += 1
    assert count == 392 * 10 * 3


def test_which_pairs_match_under_each_mode(real: Whitelist, names: list[DistinguishedName]) -> None:
    """No mode admits a certificate for a domain whose rows do not hold its host name; `cn_ou` none of another legal entity."""
    distinct = list({name.pairs: name for name in names}.values())
    assert len(distinct) == 380
    matching = {mode: [(one, two) for one, two in combinations(distinct, 2) if same_name(one, two, mode)] for mode in DnMode}
    assert matching[DnMode.STRICT] == []
    assert {(one.value("CN"), one.value("OU")) == (two.value("CN"), two.value("OU")) for one, two in matching[DnMode.CN_OU]} == {True}
    wider = [pair for pair in matching[DnMode.CN] if pair not in matching[DnMode.CN_OU]]
    assert all(one.value("OU") != two.value("OU") for one, two in wider)
    accepted = {mode: sum(len(real.domains_of(name, mode)) for name in distinct) for mode in DnMode}
    assert accepted[DnMode.STRICT] == len({(entry.domain, entry.operator_dn.pairs) for entry in real.entries})
    assert [len(matching[mode]) for mode in DnMode] == [0, 3, 5]
    lines = ["# The real list of 2025-03-13: rows and names", "",
             f"{real.entry_count} usable rows of 6,554, {real.domain_count} domains, 392 names as written, {len(distinct)} distinct.",
             "Each of the 392 names as a certificate (10 spellings x 3 modes = 11,760 comparisons): all accepted for all their rows.", "",
             "| mode | names that count as one (pairs) | (certificate, domain) pairs admitted | beyond the rows |", "|---|---|---|---|"]
    lines += [f"| {mode.value} | {len(matching[mode])} | {accepted[mode]} | {accepted[mode] - accepted[DnMode.STRICT]} |"
              for mode in DnMode]
    lines += ["", "Pairs of names that `cn_ou` takes for one holder (an organisation renamed):", ""]
    lines += [f"- {one.text}  =  {two.text}" for one, two in matching[DnMode.CN_OU]]
    lines += ["", "Pairs that `cn` alone would add (another legal entity under the same host name): refused by default", ""]
    lines += [f"- {one.text}  /  {two.text}" for one, two in wider]
    report("real-rows.md", "\n".join(lines))


@pytest.mark.parametrize("change", [
    ("OU", "3", "4"), ("OU", "$", "0"), ("CN", "^", "x"), ("CN", r"\.", "-"), ("CN", "$", "."), ("OU", "^.*$", "")])
def test_a_look_alike_is_nobody(real: Whitelist, names: list[DistinguishedName], change: tuple[str, str, str]) -> None:
    """One character of the host name or of the legal entity changed: not one of the 392 is taken for another, except an OU
    left out, which `cn` alone does not see."""
    attribute, old, new = change
    for name in names:
        pairs = [(key, re.sub(old, new, value, count=1) if key == attribute else value) for key, value in pairs_of(name.text)]
        if pairs == pairs_of(name.text):
            continue
        found = dn_from_x509(subject([(key, value) for key, value in pairs if value]))
        for mode in (DnMode.STRICT, DnMode.CN_OU):
            assert not real.knows_name(found, mode), (name.text, found.text)


def test_the_text_of_a_certificate_reads_back_as_its_name(names: list[DistinguishedName]) -> None:
    """What `explain` shows of a certificate, given to `whitelist lookup --dn`, is found."""
    for name in names:
        shown = dn_from_x509(subject(pairs_of(name.text))).text
        assert same_name(parse_dn(shown), name, DnMode.CN_OU), shown

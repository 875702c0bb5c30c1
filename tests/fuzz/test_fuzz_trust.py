"""Readers of the trust space under hostile input: names, lists, signatures, certificates, CRLs.

Whatever the octets, a reader gives a value or its own typed fault; nothing altered is believed as something else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ocspfiles import Answer
from support.pki import build_igc, der, signed_whitelist, whitelist_xml

from mssante.errors import InputFault, PeerFault
from mssante.protocol.xml import parse_xml
from mssante.trust.anchors import load_anchors
from mssante.trust.crl import CrlSet, RevocationStatus, parse_any_crl
from mssante.trust.names import MAX_DN, DnMode, dn_from_x509, name_key, normalise_value, parse_dn, same_name
from mssante.trust.ocsp import OcspFault, OcspPolicy, build_question, verify_answer
from mssante.trust.peer import PeerPolicy, identify
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
ANCHORS = IGC.anchors
LEAF, _ = IGC.leaf("mx.a.mssante.fr")
DN = "CN=mx.a.fr,OU=1,O=A,ST=Paris (75),C=FR"

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
hostile = st.lists(st.one_of(st.sampled_from(["CN=", "OU=", ",", ", ", "=", '"', "\\", "\\,", "\\2C", "\\C3", "(75)", "\u00a0",
                                              "\n", "\x00", "2.5.4.3=", "C=FR", "+", "#", "é"]), texts), max_size=30).map("".join)
edits = st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from(["set", "drop", "add", "cut", "copy"]),
                           st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)


def edited(raw: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """Apply edits to `raw`, positions taken modulo its length."""
    data = bytearray(raw)
    for at, kind, octets in changes:
        position = at % (len(data) + 1)
        if kind == "set":
            data[position:position + len(octets)] = octets
        elif kind == "drop":
            del data[position:position + len(octets)]
        elif kind == "add":
            data[position:position] = octets
        elif kind == "cut":
            del data[position:]
        else:
            data[position:position] = data[position:position + 40]
    return bytes(data)


@lru_cache(maxsize=1)
def good_list() -> bytes:
    return signed_whitelist([("a.mssante.fr", DN), ("b.mssante.fr", DN)], NOW)


@given(st.one_of(texts, hostile))
def test_a_name_is_read_or_refused(text: str) -> None:
    try:
        name = parse_dn(text)
    except InputFault as fault:
        assert fault.rule in ("DN-SYNTAXE", "DN-TAILLE")
        return
    assert len(text) <= MAX_DN and name.pairs
    assert all(attribute and value for attribute, value in name.pairs)
    for mode in DnMode:
        assert same_name(name, name, mode) is bool(name.value("CN"))
        assert hash(name_key(name, mode)) is not None


@given(st.sampled_from(["CN", "OU", "O", "ST", "L"]), texts)
def test_normal_form_is_stable(attribute: str, value: str) -> None:
    once = normalise_value(attribute, value)
    assert normalise_value(attribute, once) == once
    assert normalise_value(attribute, value.upper().lower()) == normalise_value(attribute, value.upper().lower().casefold())


values = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=16).filter(
    lambda text: text.strip(" \u00a0\"\\") == text and text.split())


@given(values, values, values)
def test_the_text_of_a_certificate_reads_back_as_its_name(cn: str, ou: str, o: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, o),
                      x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ou), x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    text = name.rfc4514_string()
    if len(text) <= MAX_DN:
        assert same_name(parse_dn(text), dn_from_x509(name), DnMode.STRICT)


@given(texts, texts)
def test_text_in_a_list_never_makes_another_domain_or_holder(domain: str, holder: str) -> None:
    usable = "".join(c for c in domain + "|" + holder if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd")
    first, _, second = usable.partition("|")
    rows = [("good.mssante.fr", DN), (first, DN), ("other.mssante.fr", second)]
    found = parse_whitelist(parse_xml(whitelist_xml(rows, NOW), max_bytes=1 << 20))
    assert found.entry_count + len(found.skipped) == 3
    assert [name.pairs for name in found.dns_for("good.mssante.fr")][:1] == [parse_dn(DN).pairs]
    for entry in found.entries:
        assert entry.domain.isascii() and entry.domain == entry.domain.lower() and entry.operator_dn.value("CN")


@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(good_list(), changes))))
@settings(max_examples=300)
def test_an_altered_list_is_refused_or_reads_the_same(raw: bytes) -> None:
    policy = IGC.signer_policy()
    try:
        found = parse_whitelist(verify_list_signature(raw, policy, NOW).root)
    except InputFault as fault:
        assert fault.rule
    else:
        assert found == parse_whitelist(verify_list_signature(good_list(), policy, NOW).root)


@given(edits.map(lambda changes: edited(whitelist_xml([("a.mssante.fr", DN)], NOW), changes)))
def test_a_list_of_any_shape_is_read_or_refused(raw: bytes) -> None:
    try:
        found = parse_whitelist(parse_xml(raw, max_bytes=1 << 20))
    except InputFault as fault:
        assert fault.rule
    else:
        assert found.entry_count >= 1 and found.generated_at.tzinfo is UTC


@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(der(LEAF), changes))))
@settings(max_examples=300)
def test_an_altered_certificate_is_nobody(raw: bytes) -> None:
    try:
        identity = identify(raw, ANCHORS, IGC.crl_set(), NOW, PeerPolicy())
    except PeerFault as fault:
        assert fault.rule.startswith("PEER-") and fault.public.isascii() and not fault.temporary
    else:
        assert raw == der(LEAF) and identity.names == ("mx.a.mssante.fr",)


CRL = IGC.crl([1, LEAF.serial_number, 1 << 100])


@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(CRL, changes))))
@settings(max_examples=300)
def test_an_altered_crl_is_refused(raw: bytes) -> None:
    try:
        found = parse_any_crl(raw, ANCHORS, NOW)
    except InputFault as fault:
        assert fault.rule.startswith("CRL-")
    else:
        status = CrlSet().admit(found).status(LEAF.serial_number, IGC.organisations.certificate, NOW)
        assert raw == CRL and status is RevocationStatus.REVOKED


QUESTION = build_question(LEAF, IGC.organisations.certificate, bytes(32))
OCSP = Answer(LEAF, IGC.organisations.certificate, (IGC.organisations.certificate, IGC.organisations.key), NOW, nonce=bytes(32)).der()


@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(OCSP, changes))))
@settings(max_examples=300)
def test_an_altered_ocsp_answer_is_refused_or_says_the_same(raw: bytes) -> None:
    try:
        found = verify_answer(raw, QUESTION, crls=CrlSet(), now=NOW, policy=OcspPolicy())
    except OcspFault as fault:
        assert fault.rule.startswith("OCSP-") and fault.public.isascii() and fault.temporary
    else:
        assert (found.status, found.this_update, found.fresh) == (RevocationStatus.GOOD, NOW, True)


@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(IGC.anchors_pem, changes)),
                 edits.map(lambda changes: edited(der(IGC.organisations.certificate), changes))))
@settings(max_examples=300)
def test_altered_anchors_admit_nobody_new(raw: bytes) -> None:
    try:
        found = load_anchors([raw], IGC.issuer_cns)
    except InputFault as fault:
        assert fault.rule.startswith("ANCRE-")
    else:
        known = IGC.organisations.certificate.public_key()
        assert not found.roots or [issuer.public_key() for issuer in found.issuers] == [known]

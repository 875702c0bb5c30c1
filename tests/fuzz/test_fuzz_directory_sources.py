"""Answers of remote directories: any octets give mailboxes or a typed error, never another fault."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.directory.fhir import EMAIL_TYPE, METADATA, FhirFault, read_page
from mssante.protocol.ldap.ber import LdapFault
from mssante.protocol.ldap.ber import element as tlv
from mssante.protocol.ldap.client import read_message
from mssante.protocol.ldap.filtertext import compile_filter, escaped

WORDS = st.sampled_from(["Bundle", "Practitioner", "PractitionerRole", "Organization", "email", "MSSANTE", EMAIL_TYPE, METADATA, "type", "next",
                         "a@b.mssante.fr", "PER", "listeRouge", "#a", "Practitioner/a"])
KEYS = st.sampled_from(["resourceType", "entry", "resource", "telecom", "system", "value", "extension", "url", "valueCoding", "code", "coding",
                        "valueBoolean", "valueCodeableConcept", "name", "identifier", "contained", "practitioner", "organization", "reference", "id",
                        "link", "relation", "qualification", "address", "rank", "meta", "lastUpdated"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=8), st.sampled_from(["Bundle", "Practitioner", "PractitionerRole", "Organization"]))
def test_any_document(document: dict[str, Any], kind: str) -> None:
    for whole in ({**document, "resourceType": kind}, {"resourceType": "Bundle", "entry": [{"resource": {**document, "resourceType": kind}}]}):
        try:
            page = read_page(json.dumps(whole).encode())
        except FhirFault:
            continue
        assert all(one.entry.address.isascii() and len(one.entry.address) <= 320 for one in page.mailboxes)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    for read in (read_page, read_message, lambda raw: read_message(tlv(0x30, b"\x02\x01\x01", tlv(0x64, raw)))):
        try:
            read(octets)
        except (FhirFault, LdapFault):
            pass


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_any_value_stays_a_value(value: str) -> None:
    try:
        octets = value.encode()
    except UnicodeEncodeError:
        return
    if octets:
        assert compile_filter(f"(mail={escaped(value)})") == tlv(0xA3, tlv(0x04, b"mail"), tlv(0x04, octets))
    try:
        compile_filter(value)
    except LdapFault:
        pass

"""Forged certificates are what they claim to be: readable, and refused by our own rules for the reason that was meant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support import pki

from mssante.attack.forge import Signer, attacker_key, authority, kept, leaf, load_leaf, renamed
from mssante.errors import PeerFault
from mssante.trust.crl import CrlSet
from mssante.trust.peer import PeerPolicy, identify

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def refused(certificate: x509.Certificate, igc: pki.TestIgc) -> str:
    """The rule by which our trust refuses it."""
    with pytest.raises(PeerFault) as caught:
        identify(certificate.public_bytes(Encoding.DER), igc.anchors, CrlSet(), NOW, PeerPolicy())
    return caught.value.rule


def test_each_lie_is_refused_for_its_own_reason() -> None:
    igc = pki.build_igc()
    issuer = igc.organisations.certificate
    name = pki.subject("mta.member.test", "318751275100020", "MEMBRE")
    true = Signer(issuer.subject, igc.organisations.key)
    assert refused(leaf(name, Signer(name, attacker_key("leaf")), NOW), igc) == "PEER-ISSUER"
    assert refused(leaf(name, Signer(issuer.subject, attacker_key("fake")), NOW), igc) == "PEER-ISSUER"
    assert refused(leaf(name, true, NOW, weak=True), igc) == "PEER-ISSUER"
    assert refused(leaf(name, true, NOW, authority=True), igc) == "PEER-CA"
    assert refused(leaf(name, true, NOW), igc) == "PEER-CRL-STALE", "a true one fails on nothing but the missing CRL"


def test_sha1_is_truly_signed(tmp_path: Path) -> None:
    name = pki.subject("mta.member.test")
    made = leaf(name, Signer(name, attacker_key("leaf")), NOW, weak=True)
    assert isinstance(made.signature_hash_algorithm, hashes.SHA1)
    attacker_key("leaf").public_key().verify(made.signature, made.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA1())


def test_names_serials_and_files(tmp_path: Path) -> None:
    name = renamed(pki.subject("mta.member.test", "1", "O"), NameOID.COMMON_NAME, "mta.other.test")
    assert [one.value for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["mta.other.test"]
    made = leaf(name, Signer(name, attacker_key("leaf")), NOW, serial=77)
    identity = kept(tmp_path, "x", made, authority(name, "fake", NOW))
    assert made.serial_number == 77 and load_leaf(identity.chain) == made
    assert identity.key.stat().st_mode & 0o777 == 0o600

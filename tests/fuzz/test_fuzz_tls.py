"""Certificates and keys with octets changed, cut or repeated: a typed refusal or a pair that OpenSSL takes or refuses; nothing else."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pki import certificate_pem, key_pem
from support.smtp_stage import IGC

from mssante.errors import OperatorFault
from mssante.services.tlskeys import Pair, read_pair

LEAF, KEY = IGC.leaf("mx.hopital.mssante.fr")
DER = LEAF.public_bytes(Encoding.DER)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def judged(folder: Path, certificate: bytes, key: bytes) -> None:
    """Read a pair, and load it when it was believed."""
    pair = Pair(folder / "c.pem", folder / "c.key")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    try:
        read_pair(pair, NOW, IGC.anchors).load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except OperatorFault as fault:
        assert fault.rule.startswith("TLS-") and fault.remedy


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_certificate_with_octets_changed(folder: Path, changes: list[tuple[int, int]]) -> None:
    raw = bytearray(DER)
    for place, octet in changes:
        raw[place] = octet
    judged(folder, b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(raw)) + b"-----END CERTIFICATE-----\n", key_pem(KEY))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 2000), st.booleans())
def test_files_cut_and_filled(folder: Path, filling: bytes, at: int, of_key: bool) -> None:
    certificate, key = certificate_pem(LEAF), key_pem(KEY)
    if of_key:
        key = key[:at] + filling + key[at:]
    else:
        certificate = certificate[:at] + filling + certificate[at:]
    judged(folder, certificate, key)

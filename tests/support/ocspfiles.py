"""OCSP answers made to order, true and forged, for tests only (RFC 6960 §4.2).

Made with asn1crypto and signed here, so that every field may be anything: dates, CertID, responder, nonce, algorithm, several
single answers, none. Called by tests of `trust.ocsp` and `services.revocation`, and by the table of revocation attacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from asn1crypto import ocsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.pki import TestIgc, der, key_for, key_usage, subject

Key = RSAPrivateKey | ec.EllipticCurvePrivateKey
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384()}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to make. certificate, issuer: whom it speaks of; signer: (certificate named, key); nonce None: none given."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    signer: tuple[x509.Certificate, Key]
    at: datetime
    status: str = "good"
    life: timedelta | None = timedelta(hours=1)
    produced: timedelta = timedelta(0)
    nonce: bytes | None = None
    delegates: Sequence[x509.Certificate] = ()
    by: str = "hash"
    digest: str = "sha1"
    algorithm: str = "sha256_rsa"
    serial: int | None = None
    singles: int = 1
    critical: str = ""
    altered: bool = False
    extra: dict[str, object] = field(default_factory=dict)

    def but(self, **changes: object) -> Answer:
        """Give the same with other fields."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def der(self) -> bytes:
        """Give the octets."""
        data = self._data()
        octets = data.dump()
        hash_name, kind = self.algorithm.split("_")
        key = self.signer[1]
        if kind == "ecdsa":
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            signature = key.sign(octets, ec.ECDSA(_HASHES[hash_name]))
        else:
            assert isinstance(key, RSAPrivateKey)
            signature = key.sign(octets, padding.PKCS1v15(), _HASHES[hash_name])
        if self.altered:
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        basic = {"tbs_response_data": data, "signature_algorithm": {"algorithm": self.algorithm}, "signature": signature}
        if self.delegates:
            basic["certs"] = [asn1.Certificate.load(der(one)) for one in self.delegates]
        return ocsp.OCSPResponse({"response_status": "successful", "response_bytes": {
            "response_type": "basic_ocsp_response", "response": ocsp.BasicOCSPResponse(basic)}}).dump()

    def _data(self) -> ocsp.ResponseData:
        named = asn1.Certificate.load(der(self.signer[0]))
        responder = ocsp.ResponderId({"by_key": named.public_key.sha1}) if self.by == "hash" else ocsp.ResponderId(
            {"by_name": named.subject})
        extensions: list[dict[str, object]] = []
        if self.nonce is not None:
            extensions.append({"extn_id": "nonce", "critical": False, "extn_value": ocsp.ParsableOctetString(
                ocsp.OctetString(self.nonce).dump())})
        if self.critical:
            extensions.append({"extn_id": self.critical, "critical": True, "extn_value": ocsp.ParsableOctetString(b"\x05\x00")})
        return ocsp.ResponseData({
            "version": "v1", "responder_id": responder, "produced_at": self.at + self.produced,
            "responses": [self._single() for _ in range(self.singles)], **({"response_extensions": extensions} if extensions else {})})

    def _single(self) -> dict[str, object]:
        issuer = asn1.Certificate.load(der(self.issuer))
        identifier = {"hash_algorithm": {"algorithm": self.digest},
                      "issuer_name_hash": hashlib.new(self.digest, issuer.subject.dump()).digest(),
                      "issuer_key_hash": hashlib.new(self.digest, bytes(issuer.public_key["public_key"])).digest(),
                      "serial_number": self.serial or self.certificate.serial_number}
        status = ocsp.CertStatus("revoked", {"revocation_time": self.at}) if self.status == "revoked" else ocsp.CertStatus(
            self.status, None)
        single: dict[str, object] = {"cert_id": identifier, "cert_status": status, "this_update": self.at}
        if self.life is not None:
            single["next_update"] = self.at + self.life
        return single | self.extra


def nonce_of(request: bytes) -> bytes:
    """Give the nonce of a request, as `Answer.nonce` wants it."""
    for extension in ocsp.OCSPRequest.load(request)["tbs_request"]["request_extensions"]:
        if extension["extn_id"].native == "nonce":
            return bytes(ocsp.OctetString.load(extension["extn_value"].contents))
    raise LookupError("no nonce")


@lru_cache(maxsize=64)
def _eku(*usages: str) -> tuple[x509.ObjectIdentifier, ...]:
    return tuple({"ocsp": ExtendedKeyUsageOID.OCSP_SIGNING, "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
                  "server": ExtendedKeyUsageOID.SERVER_AUTH}[one] for one in usages)


def delegate(igc: TestIgc, *, issuer: str = "organisations", eku: Sequence[str] = ("ocsp",), no_check: bool = True,
             not_before: datetime = datetime(2020, 1, 1, tzinfo=UTC), not_after: datetime = datetime(2040, 1, 1, tzinfo=UTC),
             ca: bool = False, usage: Sequence[str] = ("digital_signature",), key: Key | None = None, serial: int = 4242,
             extra: Sequence[tuple[x509.ExtensionType, bool]] = (), digest: hashes.HashAlgorithm | None = None,
             ) -> tuple[x509.Certificate, Key]:
    """Give (certificate, key) of a responder that an authority of the hierarchy named."""
    parent = igc.authority(issuer)
    own = key or key_for("ocsp responder")
    builder = (x509.CertificateBuilder().subject_name(subject("REPONDEUR OCSP DE TEST")).issuer_name(parent.certificate.subject)
               .public_key(own.public_key()).serial_number(serial).not_valid_before(not_before).not_valid_after(not_after)
               .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
               .add_extension(key_usage(*usage), critical=True))
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(_eku(*eku)), critical=False)
    if no_check:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(parent.key, digest or hashes.SHA256()), own  # type: ignore[arg-type]

"""Keys in files: what is read, what is refused, and that a forged wrapped key tells nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from support.envelopes import bob, bob_key, file_key, refusal, secret_p12, secret_pem, stranger
from support.pki import build_igc, certificate_pem, der, key_for, key_pem
from support.smime import alice, ec_key, person

from mssante.smime.keys import MAX_OCTETS, FileKey, fingerprint, load_key
from mssante.smime.values import OpeningKey, SigningKey, SmimeCode

CODES = SmimeCode


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("kind", ["rsa", "P-256", "P-384", "P-521"])
def test_every_clear_form_of_a_key_is_read(kind: str, encoding: Encoding, form: PrivateFormat) -> None:
    who = bob(kind)
    key = load_key(who.key.private_bytes(encoding, form, NoEncryption()), certificate_pem(who.certificate))
    assert key.certificate == who.certificate
    assert key.chain == ()


def test_a_key_under_password_needs_it() -> None:
    who = bob()
    locked = who.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    pem = certificate_pem(who.certificate)
    assert load_key(locked, pem, b"secret").certificate == who.certificate
    assert refusal(lambda: load_key(locked, pem, b"autre")) is CODES.UNREADABLE
    assert refusal(lambda: load_key(locked, pem)) is CODES.UNREADABLE


@pytest.mark.parametrize("kind", ["rsa", "P-384"])
def test_pkcs12_brings_its_certificates(kind: str) -> None:
    who = bob(kind)
    key = load_key(secret_p12(who, b"secret"), b"", b"secret")
    assert key.certificate == who.certificate
    assert key.chain == ()  # its authority is self-signed, hence left out
    assert refusal(lambda: load_key(secret_p12(who, b"secret"), b"", b"autre")) is CODES.UNREADABLE


def test_the_chain_is_ordered_by_signature_without_root_nor_strangers() -> None:
    igc = build_igc()
    certificate, key = igc.leaf("bal", usage=("key_encipherment",))
    bundle = certificate_pem(igc.root.certificate, igc.foreign.certificate, igc.personnes.certificate, igc.organisations.certificate,
                             certificate)
    loaded = load_key(key_pem(key), bundle)
    assert loaded.certificate == certificate
    assert loaded.chain == (igc.organisations.certificate,)  # `foreign` has the same name and another key


def test_of_two_certificates_of_the_key_the_one_that_ends_last_is_taken() -> None:
    igc = build_igc()
    old, key = igc.leaf("bal renouvelee", not_after=datetime(2026, 1, 1, tzinfo=UTC))
    new, _ = igc.leaf("bal renouvelee")
    assert load_key(key_pem(key), certificate_pem(old, new)).certificate == new
    assert load_key(key_pem(key), certificate_pem(new, old)).certificate == new


def test_a_certificate_in_der_is_read() -> None:
    assert load_key(secret_pem(bob().key), der(bob().certificate)).certificate == bob().certificate


def test_what_is_refused_and_how() -> None:
    who, pem = bob(), certificate_pem(bob().certificate)
    assert refusal(lambda: load_key(secret_pem(stranger().key), pem)) is CODES.USAGE
    assert refusal(lambda: load_key(secret_pem(who.key))) is CODES.USAGE
    assert refusal(lambda: load_key(b"rien", pem)) is CODES.UNREADABLE
    assert refusal(lambda: load_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", pem)) is CODES.UNREADABLE
    assert refusal(lambda: load_key(secret_pem(who.key), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")) is CODES.UNREADABLE
    assert refusal(lambda: load_key(b"0" * (MAX_OCTETS + 1), pem)) is CODES.LIMIT
    assert refusal(lambda: load_key(secret_pem(who.key), pem * 21)) is CODES.LIMIT


@pytest.mark.parametrize("key", [key_for("petite", 1024), ec.generate_private_key(ec.SECP256K1()), ec.generate_private_key(ec.BrainpoolP256R1()),
                                 ed25519.Ed25519PrivateKey.generate()], ids=["rsa1024", "secp256k1", "brainpool", "ed25519"])
def test_other_kinds_and_sizes_of_key_are_refused(key: object) -> None:
    who = person("faible@example.org", key)
    assert refusal(lambda: load_key(secret_pem(key), certificate_pem(who.certificate))) is CODES.ALGORITHM


def test_a_key_never_shows_itself() -> None:
    key = bob_key()
    assert repr(key) == f"FileKey({fingerprint(key.certificate)[:16]})"
    assert not hasattr(key, "__dict__")


def test_the_interfaces_are_those_of_values() -> None:
    signing: SigningKey = bob_key()
    opening: OpeningKey = bob_key()
    assert signing.certificate is opening.certificate


@pytest.mark.parametrize("kind", ["rsa", "P-256", "P-521"])
def test_sign(kind: str) -> None:
    signature = bob_key(kind).sign(b"octets")
    public = bob(kind).certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, b"octets", padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signature, b"octets", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_unwrap_oaep(name: str) -> None:
    public = bob().certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    algorithm = {"sha1": hashes.SHA1, "sha224": hashes.SHA224, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}[name]()
    wrapped = public.encrypt(b"k" * 32, padding.OAEP(padding.MGF1(hashes.SHA256()), algorithm, None))
    assert bob_key().unwrap(wrapped, oaep_hash=name, mgf_hash="sha256") == b"k" * 32
    assert refusal(lambda: bob_key().unwrap(wrapped, oaep_hash=name, mgf_hash="sha1")) is CODES.BROKEN


def test_a_forged_pkcs1_key_gives_a_key_and_no_fault() -> None:
    """Bleichenbacher: bad padding, bad first octet, bad length, zero, all ones: every answer is a key, never an error."""
    key = bob_key()
    size = bob().key.key_size // 8
    number = bob().key.public_key().public_numbers()
    good = b"\x00\x02" + b"\x11" * (size - 35) + b"\x00" + b"k" * 32

    def raw(block: bytes) -> bytes:
        return pow(int.from_bytes(block, "big"), number.e, number.n).to_bytes(size, "big")

    assert key.unwrap(raw(good), oaep_hash="", mgf_hash="") == b"k" * 32
    forged = [b"\x00\x01" + good[2:], b"\x01" + good[1:], good[:2] + b"\x11" * (size - 2), b"\x00\x02\x00" + good[3:], bytes(size)]
    for block in forged:
        assert key.unwrap(raw(block), oaep_hash="", mgf_hash="") != b"k" * 32
    for wrapped in (b"", b"\xff" * size, b"\x00" * (size + 1), b"short"):
        assert isinstance(key.unwrap(wrapped, oaep_hash="", mgf_hash=""), bytes)


def test_agree_only_on_the_curve() -> None:
    key = bob_key("P-256")
    peer = ec.generate_private_key(ec.SECP256R1())
    public = peer.public_key()
    expected = peer.exchange(ec.ECDH(), bob("P-256").key.public_key())
    whole = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert key.agree(whole) == expected
    assert key.agree(public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)) == expected
    outside = bytearray(whole)
    outside[-1] ^= 1
    other = ec_key("autre", "P-384").public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for point in (bytes(outside), other, b"\x00", b"", b"\x04" + bytes(64), whole[:-1], whole + b"\0", b"\x05" + whole[1:]):
        assert refusal(lambda point=point: key.agree(point)) is CODES.BROKEN


def test_a_key_of_the_other_kind_opens_nothing() -> None:
    assert refusal(lambda: bob_key("P-256").unwrap(b"x" * 256, oaep_hash="", mgf_hash="")) is CODES.BROKEN
    assert refusal(lambda: bob_key().agree(b"\x04" + bytes(64))) is CODES.BROKEN
    assert refusal(lambda: bob_key().unwrap(b"x" * 256, oaep_hash="md5", mgf_hash="sha1")) is CODES.ALGORITHM


def test_a_pair_is_asked_for_by_the_constructor_too() -> None:
    assert refusal(lambda: FileKey(bob().key, alice().certificate)) is CODES.USAGE
    assert file_key(alice()).certificate == alice().certificate

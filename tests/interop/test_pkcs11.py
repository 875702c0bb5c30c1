"""Keys kept in a token, with SoftHSM2: the same answers as keys in files, typed refusals, nothing told to a forger."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from support.lab import need_programs

from mssante.errors import MssFault, OperatorFault
from mssante.smime.keys import FileKey
from mssante.smime.values import SmimeFault
from mssante.transport.pkcs11 import TokenKey, open_token_key

pytestmark = pytest.mark.interop
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "4711"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the session, with the same keys in memory."""

    folder: Path
    module: str
    keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]
    certificates: dict[str, x509.Certificate]

    def reference(self, name: str, *, token: str = "essai%20MSSante", pin: str = "pin") -> str:
        return f"pkcs11:token={token};object={name};type=private?pin-source=file:{pin}&module-path={self.module}"

    opened: list[TokenKey]

    def open(self, name: str) -> TokenKey:
        key = open_token_key(self.reference(name), certificate=self.certificates[name], folder=self.folder)
        self.opened.append(key)
        return key


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    need_programs("softhsm2-util")
    pytest.importorskip("pkcs11")
    module = next((one for one in MODULES if Path(one).exists()), "")
    if not module:
        pytest.skip("the module of SoftHSM2 is not where Debian puts it")
    folder = tmp_path_factory.mktemp("token")
    (folder / "store").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/store\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    soft("--init-token", "--free", "--label", "essai MSSante", "--so-pin", "123456", "--pin", PIN)
    keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
        "rsa": rsa.generate_private_key(65537, 2048), "p256": ec.generate_private_key(ec.SECP256R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()), "agree": ec.generate_private_key(ec.SECP256R1())}
    for name in ("rsa", "p256"):  # p256: imported by the tool, which lets it sign and not derive
        path = folder / f"{name}.pem"
        path.write_bytes(keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        soft("--import", str(path), "--token", "essai MSSante", "--label", name, "--id", {"rsa": "01"}.get(name, "02"), "--pin", PIN)
        path.unlink()
    put_curve(module, "p521", keys["p521"], sign=True)
    put_curve(module, "agree", keys["agree"], sign=False)
    pin = folder / "pin"
    pin.write_text(PIN + "\n")
    pin.chmod(0o600)
    yield Token(folder, module, keys, {name: certificate(key) for name, key in keys.items()}, [])
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def put_curve(module: str, name: str, key: object, *, sign: bool) -> None:
    """Import an EC key that may derive."""
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    at, size = pkcs11.Attribute, (key.curve.key_size + 7) // 8
    with pkcs11.lib(module).get_token(token_label="essai MSSante").open(rw=True, user_pin=PIN) as session:
        session.create_object({
            at.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, at.KEY_TYPE: pkcs11.KeyType.EC, at.TOKEN: True, at.PRIVATE: True,
            at.SENSITIVE: True, at.LABEL: name, at.ID: b"\x07", at.SIGN: sign, at.DERIVE: True,
            at.EC_PARAMS: encode_named_curve_parameters(key.curve.name), at.VALUE: key.private_numbers().private_value.to_bytes(size, "big")})


@pytest.fixture(autouse=True)
def closed(token: Token) -> Iterator[None]:
    """No login outlives a test."""
    yield
    while token.opened:
        token.opened.pop().close()


def soft(*words: str) -> None:
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cardio@chu.mssante.test")])
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(5)
            .not_valid_before(NOW).not_valid_after(NOW + timedelta(days=900)).sign(key, hashes.SHA256()))


@pytest.mark.parametrize("name", ["rsa", "p256", "p521"])
def test_signatures_verify_under_the_certificate(token: Token, name: str) -> None:
    key = token.open(name)
    signature = key.sign(b"Bonjour\r\n")
    public = key.certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, b"Bonjour\r\n", padding.PKCS1v15(), hashes.SHA256())
        assert signature == FileKey(token.keys[name], key.certificate).sign(b"Bonjour\r\n")
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signature, b"Bonjour\r\n", ec.ECDSA(hashes.SHA256()))
    key.close()
    assert key.sign(b"x"), "a closed session opens again"


def test_content_keys_unwrap(token: Token) -> None:
    key, public = token.open("rsa"), token.keys["rsa"].public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    secret = os.urandom(32)
    assert key.unwrap(public.encrypt(secret, padding.PKCS1v15()), oaep_hash="", mgf_hash="") == secret
    sha1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    assert key.unwrap(public.encrypt(secret, sha1), oaep_hash="sha1", mgf_hash="sha1") == secret


def test_a_forger_learns_nothing(token: Token) -> None:
    """A bad PKCS#1 v1.5 block gives a random key of 32 octets, another one each time; a bad OAEP block always the same fault."""
    key, public = token.open("rsa"), token.keys["rsa"].public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    forged = pow(12345, 65537, public.public_numbers().n).to_bytes(256, "big")
    given = {key.unwrap(forged, oaep_hash="", mgf_hash="") for _ in range(5)}
    assert len(given) == 5 and {len(one) for one in given} == {32}
    assert len(key.unwrap(b"short", oaep_hash="", mgf_hash="")) == 32
    with pytest.raises(SmimeFault) as caught:
        key.unwrap(forged, oaep_hash="sha1", mgf_hash="sha1")
    assert caught.value.rule == "SMIME-DECHIFFREMENT"


def test_what_the_token_cannot_do_is_told(token: Token) -> None:
    """SoftHSM2 knows OAEP with SHA-1 alone: no guess, no software padding check beside it."""
    key, public = token.open("rsa"), token.keys["rsa"].public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(b"k" * 32, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    with pytest.raises(OperatorFault) as caught:
        key.unwrap(wrapped, oaep_hash="sha256", mgf_hash="sha256")
    assert caught.value.rule == "JETON-MECANISME" and caught.value.remedy
    with pytest.raises(MssFault):
        key.unwrap(wrapped, oaep_hash="md5", mgf_hash="md5")


@pytest.mark.parametrize("name", ["agree", "p521"])
def test_shared_secrets_agree(token: Token, name: str) -> None:
    key, file = token.open(name), FileKey(token.keys[name], token.certificates[name])
    own = token.keys[name]
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    other = ec.generate_private_key(own.curve).public_key()
    for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint):
        point = other.public_bytes(Encoding.X962, form)
        assert key.agree(point) == file.agree(point)
    point = bytearray(other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    point[-1] ^= 1
    for bad in (bytes(point), b"", b"\x00", b"\x04" + bytes(10)):
        with pytest.raises(SmimeFault):
            key.agree(bad)
    with pytest.raises(SmimeFault):
        key.unwrap(b"x" * 256, oaep_hash="", mgf_hash="")


def test_a_key_does_only_what_its_token_lets_it(token: Token) -> None:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for name, act in (("p256", lambda key: key.agree(point)), ("agree", lambda key: key.sign(b"x"))):
        with pytest.raises(OperatorFault) as caught:
            act(token.open(name))
        assert caught.value.rule == "JETON-USAGE"


def test_keys_of_one_token_share_its_login(token: Token) -> None:
    first, second = token.open("rsa"), token.open("p521")
    first.close()
    assert second.sign(b"x")
    second.close()
    second.close()
    assert first.sign(b"x"), "the last one logged out, and the next one logs in"


def test_the_key_must_be_the_certificates(token: Token) -> None:
    for name, other in (("rsa", rsa.generate_private_key(65537, 2048)), ("p256", ec.generate_private_key(ec.SECP256R1()))):
        with pytest.raises(OperatorFault) as caught:
            open_token_key(token.reference(name), certificate=certificate(other), folder=token.folder)
        assert caught.value.rule == "JETON-PAIRE"


def test_the_tokens_own_certificate_will_do(token: Token) -> None:
    import pkcs11
    from pkcs11.util.x509 import decode_x509_certificate

    raw = token.certificates["rsa"].public_bytes(Encoding.DER)
    with pytest.raises(OperatorFault) as caught:
        open_token_key(token.reference("rsa"), folder=token.folder)
    assert caught.value.rule == "JETON-CERTIFICAT"
    assert token.opened == []
    with pkcs11.lib(token.module).get_token(token_label="essai MSSante").open(rw=True, user_pin=PIN) as session:
        session.create_object({**decode_x509_certificate(raw), pkcs11.Attribute.TOKEN: True, pkcs11.Attribute.LABEL: "rsa"})
    key = open_token_key(token.reference("rsa"), folder=token.folder)
    token.opened.append(key)
    assert key.certificate == token.certificates["rsa"] and "TokenKey(" in repr(key)


@pytest.mark.parametrize(("rule", "name", "given"), [
    ("JETON-CLE", "absente", {}), ("JETON-ABSENT", "rsa", {"token": "autre"}), ("JETON-CODE", "rsa", {"pin": "absent"}),
    ("JETON-CODE", "rsa", {"pin": "wrong"}), ("JETON-CODE", "rsa", {"pin": "open"}), ("JETON-CODE", "rsa", {"pin": "empty"})])
def test_refusals_are_typed(token: Token, rule: str, name: str, given: dict[str, str]) -> None:
    for file, text, mode in (("wrong", "0000\n", 0o600), ("open", PIN, 0o644), ("empty", "\n", 0o600)):
        (token.folder / file).write_text(text)
        (token.folder / file).chmod(mode)
    with pytest.raises(OperatorFault) as caught:
        open_token_key(token.reference(name, **given), certificate=token.certificates["rsa"], folder=token.folder)
    assert caught.value.rule == rule and PIN not in str(caught.value)


def test_a_module_that_is_none_is_told(token: Token, tmp_path: Path) -> None:
    (tmp_path / "module.so").write_bytes(b"not a library")
    for module in (str(tmp_path / "module.so"), "/absent.so"):
        with pytest.raises(OperatorFault) as caught:
            open_token_key(f"pkcs11:token=a;object=b?module-path={module}", certificate=token.certificates["rsa"])
        assert caught.value.rule == "JETON-ABSENT"
    with pytest.raises(OperatorFault) as caught:
        open_token_key("pkcs11:token=a;object=b", certificate=token.certificates["rsa"])
    assert caught.value.rule == "JETON-REFERENCE"

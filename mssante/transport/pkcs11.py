"""Keys kept in a token (smart card, HSM, SoftHSM) through its PKCS#11 module: sign, unwrap, agree; the key never leaves it.

- The same interfaces as keys in files (`SigningKey`, `OpeningKey` of `smime.values`): nobody above knows where a key is kept.
- The certificate is the one given, or the token's own object of that name; the key is proven to be its pair when it is opened.
- One session a token, behind a lock (a session is not for two threads); a session that the token lost is opened once more.
- A forged PKCS#1 v1.5 block gives a random key, as `smime.keys` does (RFC 3218 §2.3.2); points outside the curve never reach the
  token. What the token cannot do is told as such (`JETON-MECANISME`).
- The PIN comes from a file that is its owner's only; it is never kept in a fault or a log. Calls block: use them in a thread.

Needs the extra `pkcs11` (python-pkcs11). TLS keys of the doors stay in files: see docs/certificates.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.protocol.pkcs11uri import TokenReference, parse_token_reference
from mssante.smime.framing import broken
from mssante.smime.keys import admitted_public_key, fingerprint

T = TypeVar("T")
MAX_PIN = 256
_REJECTED_OCTETS = 32
_HASHES = {"sha1": "SHA_1", "sha224": "SHA224", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
_MASKS = {"sha1": "SHA1", "sha224": "SHA224", "sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}


def _fault(french: str, english: str, rule: str, remedy: str = "", detail: str = "") -> OperatorFault:
    return OperatorFault(say(french, english), rule=rule, remedy=remedy, detail=detail)


def _library() -> Any:
    """Give the package, or say how to install it."""
    try:
        import pkcs11
    except ImportError as exc:
        raise _fault("le module Python des jetons n'est pas installé", "the Python package for tokens is not installed",
                     "JETON-PAQUET", "pip install mssante[pkcs11]") from exc
    return pkcs11


class _Login:
    """The one logged-in session of this process with a token, shared by its keys: PKCS#11 knows one login a process and token."""

    def __init__(self, reference: TokenReference) -> None:
        self._reference = reference
        self.lock = threading.Lock()
        self.users = 0
        self.session: Any = None
        self.generation = 0

    def open(self, pin: str | None) -> None:
        """Open the session when there is none. Raises faults of PKCS#11."""
        if self.session is not None:
            return
        wanted: dict[str, Any] = {"token_label": self._reference.token} if self._reference.token else {}
        if self._reference.serial:
            wanted["token_serial"] = self._reference.serial.encode()
        token = _library().lib(self._reference.module).get_token(**wanted)
        self.session = token.open(user_pin=pin) if pin else token.open()
        self.generation += 1

    def drop(self) -> None:
        """Forget the session, politely when the token still knows it."""
        session, self.session = self.session, None
        if session is not None:
            with contextlib.suppress(_library().PKCS11Error):
                session.close()


_LOGINS: dict[tuple[str, str, str], _Login] = {}
_LOGINS_LOCK = threading.Lock()


class _Session:
    """The handle of one private key in the token's shared session; found again once when the token lost it."""

    def __init__(self, reference: TokenReference, folder: Path) -> None:
        self._reference = reference
        self._folder = folder
        self._pkcs11 = _library()
        self._key: Any = None
        self._generation = 0
        self._closed = True
        self._login = self._share()

    def _share(self) -> _Login:
        reference = self._reference
        with _LOGINS_LOCK:
            return _LOGINS.setdefault((reference.module, reference.token, reference.serial), _Login(reference))

    def use(self, action: Callable[[Any, Any], T]) -> T:
        """Run `action(session, key)`. Raises OperatorFault when the token cannot be used; PKCS#11 faults of the act pass."""
        lost = (self._pkcs11.SessionHandleInvalid, self._pkcs11.SessionClosed, self._pkcs11.ObjectHandleInvalid,
                self._pkcs11.KeyHandleInvalid, self._pkcs11.DeviceRemoved, self._pkcs11.TokenNotPresent,
                self._pkcs11.UserNotLoggedIn)
        with self._login.lock:
            self._open()
            try:
                return action(self._login.session, self._key)
            except lost:
                self._login.drop()
                self._open()
                return action(self._login.session, self._key)

    def close(self) -> None:
        """Let the key go; the last key of a token logs out."""
        with self._login.lock:
            self._key = None
            if not self._closed:
                self._closed = True
                self._login.users -= 1
            if self._login.users <= 0:
                self._login.drop()

    def _open(self) -> None:
        login, reference = self._login, self._reference
        if self._key is not None and login.session is not None and self._generation == login.generation:
            return
        pin = read_pin(self._folder / reference.pin_file) if reference.pin_file else None
        try:
            login.open(pin)
            self._key = login.session.get_key(object_class=self._pkcs11.ObjectClass.PRIVATE_KEY, **self.names)
        except (self._pkcs11.PKCS11Error, RuntimeError, OSError) as exc:
            if login.users <= 0:
                login.drop()
            raise self._refused(exc) from exc
        self._generation = login.generation
        if self._closed:
            self._closed = False
            login.users += 1

    @property
    def names(self) -> dict[str, Any]:
        """How the key and its certificate are looked for."""
        names: dict[str, Any] = {"label": self._reference.object} if self._reference.object else {}
        return names | ({"id": self._reference.id} if self._reference.id else {})

    def _refused(self, exc: Exception) -> OperatorFault:
        kind = type(exc).__name__
        if kind in ("PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked", "PinExpired"):
            return _fault("le jeton refuse le code", "the token refuses the PIN", "JETON-CODE",
                          say("vérifiez pin-source avant de réessayer : un jeton se bloque après quelques essais",
                              "check pin-source before trying again: a token locks after a few tries"), kind)
        if kind in ("NoSuchKey", "MultipleObjectsReturned"):
            return _fault("le jeton n'a pas cette clé, ou en a plusieurs", "the token has not that key, or several", "JETON-CLE",
                          say("vérifiez object et id (pkcs11-tool --list-objects)",
                              "check object and id (pkcs11-tool --list-objects)"), kind)
        return _fault("le jeton ne répond pas", "the token does not answer", "JETON-ABSENT",
                      say("vérifiez module-path, token et que le jeton est branché",
                          "check module-path, token and that the token is plugged in"), kind)


def read_pin(path: Path) -> str:
    """Read a PIN file: its owner's only, one line, at most 256 octets. Raises OperatorFault `JETON-CODE`."""
    remedy = f"chmod 600 {path.name}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_PIN + 1)
    except OSError as exc:
        raise _fault(f"{path.name} ne se lit pas", f"{path.name} cannot be read", "JETON-CODE", remedy,
                     exc.strerror or "") from exc
    text = raw.decode("utf-8", "replace").strip("\r\n")
    if stat.S_IMODE(mode) & 0o077 or not text or len(raw) > MAX_PIN or "\n" in text:
        raise _fault(f"{path.name} n'est pas un fichier de code : une ligne, mode 0600",
                     f"{path.name} is not a PIN file: one line, mode 0600", "JETON-CODE", remedy)
    return text


class TokenKey:
    """A private key of a token with its certificate: `SigningKey` and `OpeningKey` of values. Made by `open_token_key`."""

    def __init__(self, session: _Session, certificate: x509.Certificate, chain: Sequence[x509.Certificate] = ()) -> None:
        self._session = session
        self._certificate = certificate
        self._chain = tuple(chain)
        self._public = admitted_public_key(certificate)
        self._pkcs11 = _library()
        self._prove()

    def __repr__(self) -> str:
        return f"TokenKey({fingerprint(self._certificate)[:16]})"

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        return self._certificate

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The authorities above it, nearest first, without the root."""
        return self._chain

    def close(self) -> None:
        """Log out of the token."""
        self._session.close()

    def sign(self, data: bytes) -> bytes:
        """Sign octets with SHA-256: RSA PKCS#1 v1.5, or ECDSA in DER (RFC 8551 §2.2). Raises OperatorFault."""
        mechanism = self._pkcs11.Mechanism
        if isinstance(self._public, rsa.RSAPublicKey):
            return self._act(lambda _, key: bytes(_able(key, "sign")(data, mechanism=mechanism.SHA256_RSA_PKCS)))
        digest = hashlib.sha256(data).digest()
        from pkcs11.util.ec import encode_ecdsa_signature

        return self._act(lambda _, key: bytes(encode_ecdsa_signature(_able(key, "sign")(digest, mechanism=mechanism.ECDSA))))

    def unwrap(self, wrapped: bytes, *, oaep_hash: str, mgf_hash: str) -> bytes:
        """Give the content key that RSA wrapped (see `OpeningKey.unwrap`); a forged PKCS#1 v1.5 block gives a random one."""
        if not isinstance(self._public, rsa.RSAPublicKey):
            raise broken()
        forged = (self._pkcs11.EncryptedDataInvalid, self._pkcs11.EncryptedDataLenRange, self._pkcs11.DataInvalid,
                  self._pkcs11.DataLenRange, self._pkcs11.FunctionFailed, self._pkcs11.GeneralError)
        mechanism, parameter = self._pkcs11.Mechanism.RSA_PKCS, None
        instead = os.urandom(_REJECTED_OCTETS)
        if oaep_hash:
            if oaep_hash not in _HASHES or mgf_hash not in _MASKS:
                raise _mechanism(f"OAEP {oaep_hash}/{mgf_hash}")
            mechanism = self._pkcs11.Mechanism.RSA_PKCS_OAEP
            parameter = (self._pkcs11.Mechanism[_HASHES[oaep_hash]], self._pkcs11.MGF[_MASKS[mgf_hash]], None)
        try:
            return self._act(lambda _, key: bytes(
                _able(key, "decrypt")(wrapped, mechanism=mechanism, mechanism_param=parameter)), forged)
        except forged:
            if oaep_hash:
                raise broken() from None
            return instead

    def agree(self, point: bytes) -> bytes:
        """Give the ECDH shared secret with a point of the key's own curve (RFC 5753 §3.1). Raises SmimeFault (`BROKEN`)."""
        if not isinstance(self._public, ec.EllipticCurvePublicKey):
            raise broken()
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._public.curve, point)
        except ValueError:
            raise broken() from None
        octets = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        size = (self._public.curve.key_size + 7) // 8
        return self._act(lambda _, key: self._derive(key, octets, size))

    def _derive(self, key: Any, point: bytes, size: int) -> bytes:
        attribute = self._pkcs11.Attribute
        secret = _able(key, "derive_key")(
            self._pkcs11.KeyType.GENERIC_SECRET, size * 8, mechanism=self._pkcs11.Mechanism.ECDH1_DERIVE,
            mechanism_param=(self._pkcs11.KDF.NULL, None, point), store=False,
            template={attribute.SENSITIVE: False, attribute.EXTRACTABLE: True})
        return bytes(secret[attribute.VALUE])

    def _act(self, action: Callable[[Any, Any], bytes], through: tuple[type[Exception], ...] = ()) -> bytes:
        """Use the key; what the token cannot do, and what it fails at, becomes a typed fault."""
        cannot = (self._pkcs11.MechanismInvalid, self._pkcs11.MechanismParamInvalid, self._pkcs11.FunctionNotSupported,
                  self._pkcs11.ArgumentsBad, self._pkcs11.KeyTypeInconsistent, NotImplementedError)
        try:
            return self._session.use(action)
        except through:
            raise
        except cannot as exc:
            raise _mechanism(type(exc).__name__) from exc
        except self._pkcs11.FunctionRejected as exc:
            raise _forbidden() from exc
        except self._pkcs11.PKCS11Error as exc:
            raise _fault("le jeton a échoué", "the token failed", "JETON-ABSENT", detail=type(exc).__name__) from exc

    def _prove(self) -> None:
        """The key must be the certificate's: RSA by modulus, EC by a secret that only the pair gives."""
        if isinstance(self._public, rsa.RSAPublicKey):
            raw = self._session.use(lambda _, key: bytes(key[self._pkcs11.Attribute.MODULUS]))
            same = int.from_bytes(raw, "big") == self._public.public_numbers().n
        else:
            same = self._proves_curve(self._public)
        if not same:
            raise _fault("la clé du jeton n'est pas celle du certificat", "the token's key is not the certificate's",
                         "JETON-PAIRE", say("donnez le certificat de cette clé", "give the certificate of that key"))

    def _proves_curve(self, public: ec.EllipticCurvePublicKey) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes

        probe = os.urandom(32)
        try:
            public.verify(self.sign(probe), probe, ec.ECDSA(hashes.SHA256()))
            return True
        except InvalidSignature:
            return False
        except OperatorFault:  # a key that may only agree
            other = ec.generate_private_key(public.curve)
            octets = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return self.agree(octets) == other.exchange(ec.ECDH(), public)


def _able(key: Any, act: str) -> Any:
    """Give a function of the key; the package leaves out those that the key's attributes forbid."""
    found = getattr(key, act, None)
    if found is None:
        raise _forbidden()
    return found


def _forbidden() -> OperatorFault:
    return _fault("le jeton interdit cet usage de la clé", "the token forbids this use of the key", "JETON-USAGE",
                  say("importez la clé avec CKA_SIGN, CKA_DECRYPT ou CKA_DERIVE",
                      "import the key with CKA_SIGN, CKA_DECRYPT or CKA_DERIVE"))


def _mechanism(name: str) -> OperatorFault:
    return _fault("le jeton ne sait pas faire cette opération", "the token cannot do this operation", "JETON-MECANISME",
                  say("demandez à l'expéditeur un autre chiffrement, ou mettez la clé en fichier",
                      "ask the sender for another encryption, or keep the key in a file"), name)


def open_token_key(reference: str, *, certificate: x509.Certificate | None = None, chain: Sequence[x509.Certificate] = (),
                   folder: Path = Path()) -> TokenKey:
    """Open the key that a `pkcs11:` reference names, prove that it is the certificate's.

    certificate None: the token's own certificate object of the same name; folder: paths in the reference are relative to it.
    Raises InputFault (`JETON-REFERENCE`, `JETON-PIN`), OperatorFault (`JETON-…`), SmimeFault (a certificate that S/MIME refuses).
    """
    found = parse_token_reference(reference)
    if not found.module:
        raise _fault("module-path est absent de la référence", "module-path is missing from the reference", "JETON-REFERENCE",
                     "module-path=/usr/lib/softhsm/libsofthsm2.so")
    session = _Session(found, folder)
    try:
        return TokenKey(session, certificate or _own_certificate(session), chain)
    except BaseException:
        session.close()
        raise


def _own_certificate(session: _Session) -> x509.Certificate:
    pkcs11 = _library()
    search = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.CERTIFICATE}
    names = session.names
    if "label" in names:
        search[pkcs11.Attribute.LABEL] = names["label"]
    if "id" in names:
        search[pkcs11.Attribute.ID] = names["id"]
    raws = session.use(lambda opened, _: [bytes(one[pkcs11.Attribute.VALUE]) for one in opened.get_objects(search)][:20])
    for raw in raws:
        try:
            return x509.load_der_x509_certificate(raw)
        except ValueError:
            continue
    raise _fault("le jeton n'a pas le certificat de cette clé", "the token has not the certificate of that key",
                 "JETON-CERTIFICAT", say("donnez le certificat en fichier", "give the certificate as a file"))

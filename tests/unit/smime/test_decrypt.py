"""What `open_message` opens, how the view is put together, and with which code each other thing is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher as Engine
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.envelopes import (
    AES256_CBC,
    AES256_GCM,
    BOB,
    PLAIN,
    TRIPLE_DES,
    bob,
    bob_key,
    cbc_content,
    content_info,
    envelope_message,
    enveloped,
    file_key,
    refusal,
    rewritten,
    secret_pem,
    stranger,
    structure_of,
)
from support.pki import certificate_pem
from support.smime import ENTITY, HandMade, alice, base64_lines, clear_entity, letter, mixed, opaque_entity, person

from mssante.errors import OperatorFault
from mssante.smime import decrypt
from mssante.smime.ber import CONTEXT_0, CONTEXT_1, CONTEXT_2, OCTET_STRING, PRIMITIVE_0, SEQUENCE, SET, der, der_integer, der_oid
from mssante.smime.cms import (
    ATTRIBUTE_CONTENT_TYPE,
    ID_AUTH_ENVELOPED_DATA,
    ID_COMPRESSED_DATA,
    ID_DATA,
    ID_SIGNED_DATA,
    certificate_name,
)
from mssante.smime.decrypt import Opened, open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.envelope import ContentCipher, Envelope, open_content
from mssante.smime.framing import NULL, algorithm, set_of
from mssante.smime.keys import fingerprint, load_key
from mssante.smime.layer import LayerKind
from mssante.smime.recipients import wrap_for
from mssante.smime.values import Cipher, SmimeCode, SmimeFault, SmimeLimits

CODES = SmimeCode
HASHES = {"sha1": hashes.SHA1(), "sha224": hashes.SHA224(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
HASH_OIDS = {"sha1": "1.3.14.3.2.26", "sha224": "2.16.840.1.101.3.4.2.4", "sha256": "2.16.840.1.101.3.4.2.1",
             "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}
STANDARD = {"sha1": "1.3.133.16.840.63.0.2", "sha224": "1.3.132.1.11.0", "sha256": "1.3.132.1.11.1", "sha384": "1.3.132.1.11.2",
            "sha512": "1.3.132.1.11.3"}
COFACTOR = {"sha1": "1.3.133.16.840.63.0.3", "sha224": "1.3.132.1.14.0", "sha256": "1.3.132.1.14.1", "sha384": "1.3.132.1.14.2",
            "sha512": "1.3.132.1.14.3"}
WRAPS = {16: "2.16.840.1.101.3.4.1.5", 24: "2.16.840.1.101.3.4.1.25", 32: "2.16.840.1.101.3.4.1.45"}
CURVES = {"P-256": "1.2.840.10045.3.1.7", "P-384": "1.3.132.0.34", "P-521": "1.3.132.0.35"}
KEY = b"0123456789abcdef0123456789abcdef"


def opens(structure: bytes, kind: str = "rsa", smime_type: bytes = b"enveloped-data") -> Opened:
    return open_message(envelope_message(structure, kind=smime_type), [bob_key(kind)])


def refused(structure: bytes, kind: str = "rsa", smime_type: bytes = b"enveloped-data") -> SmimeCode:
    return refusal(lambda: opens(structure, kind, smime_type))


def named(kind: str = "rsa") -> bytes:
    name = certificate_name(bob(kind).certificate.public_bytes(Encoding.DER))
    return der(SEQUENCE, name.issuer, der_integer(name.serial))


def key_id(kind: str = "rsa") -> bytes:
    return bob(kind).certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def transport(method: bytes, wrapped: bytes, *, rid: bytes | None = None, version: int = 0) -> bytes:
    return der(SEQUENCE, der_integer(version), named() if rid is None else rid, method, der(OCTET_STRING, wrapped))


def oaep(digest: str, mgf: str, *, label: bytes = b"", key: bytes = KEY, defaults: bool = False) -> bytes:
    public = bob().certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(key, padding.OAEP(padding.MGF1(HASHES[mgf]), HASHES[digest], label or None))
    fields = [der(CONTEXT_0, algorithm(HASH_OIDS[digest], NULL)),
              der(CONTEXT_1, algorithm("1.2.840.113549.1.1.8", algorithm(HASH_OIDS[mgf], NULL)))]
    if label:
        fields.append(der(CONTEXT_2, algorithm("1.2.840.113549.1.1.9", der(OCTET_STRING, label))))
    return transport(algorithm("1.2.840.113549.1.1.7", der(SEQUENCE, *([] if defaults else fields))), wrapped)


def agreed(kind: str, *, digest: str = "sha256", size: int = 32, oid: str = "", material: bytes | None = None, curve: bytes | None = b"",
           rid: bytes | None = None, wrap_null: bool = False, point: bytes | None = None, originator: bytes | None = None,
           wrap_oid: str = "") -> bytes:
    """Give KeyAgreeRecipientInfo by hand. curve: parameters of the originator's key, the right OID when empty, absent when None."""
    public = bob(kind).certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    own = ec.generate_private_key(public.curve)
    wrap = algorithm(wrap_oid or WRAPS[size], NULL if wrap_null else b"")
    user = der(CONTEXT_0, der(OCTET_STRING, material)) if material is not None else b""
    shared = der(SEQUENCE, wrap, user, der(CONTEXT_2, der(OCTET_STRING, (size * 8).to_bytes(4, "big"))))
    wrapping = X963KDF(HASHES[digest], size, shared).derive(own.exchange(ec.ECDH(), public))
    octets = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) if point is None else point
    parameters = der_oid(CURVES[kind]) if curve == b"" else curve or b""
    sender = originator or der(CONTEXT_1, algorithm("1.2.840.10045.2.1", parameters), der(0x03, b"\0" + octets))
    return der(CONTEXT_1, der_integer(3), der(CONTEXT_0, sender), der(CONTEXT_1, der(OCTET_STRING, material)) if material is not None else b"",
               algorithm(oid or STANDARD[digest], wrap),
               der(SEQUENCE, der(SEQUENCE, rid or named(kind), der(OCTET_STRING, keywrap.aes_key_wrap(wrapping, KEY)))))


def sealed(entity: bytes = PLAIN, *, key: bytes = KEY, nonce: bytes = b"n" * 12, attributes: bytes = b"", aad: bytes = b"", tag: int = 16,
           parameters: bytes | None = None, recipients: list[bytes] | None = None, tail: bytes = b"", oid: str = AES256_GCM) -> bytes:
    """Give AuthEnvelopedData by hand. attributes: the field as sent; aad: what the tag covers."""
    engine = Engine(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    if aad:
        engine.authenticate_additional_data(aad)
    content = engine.update(entity) + engine.finalize()
    given = der(SEQUENCE, der(OCTET_STRING, nonce), der_integer(tag)) if parameters is None else parameters
    return content_info(ID_AUTH_ENVELOPED_DATA, der_integer(0), set_of(recipients or [wrap_for(bob().certificate, key, oaep=True)]),
                        der(SEQUENCE, der_oid(ID_DATA), algorithm(oid, given), der(PRIMITIVE_0, content)), attributes,
                        der(OCTET_STRING, engine.tag[:tag]), tail)


# --- the view


def test_the_view_has_the_outer_fields_and_the_inner_content() -> None:
    entity = b"Subject: autre sujet\r\nFrom: mallory@attaque.example\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nMIME-Version: 1.0\r\nContent-Language: fr\r\n\r\nx\r\n"
    message = envelope_message(enveloped(entity, bob()), header=b"Content-Description: dehors\r\nReceived: from a\r\n\tby b\r\n")
    opened = open_message(message, [bob_key()])
    assert opened.message == (b"From: alice.martin@clinique.mssante.example\r\nTo: " + BOB.encode() + b"\r\nSubject: essai\r\nReceived: from a\r\n"
                              b"\tby b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nContent-Language: fr\r\n\r\nx\r\n")
    assert (opened.cipher, opened.method, opened.layers) == ("aes256-cbc", "rsa-oaep-sha256", 1)
    assert opened.key_fingerprint == fingerprint(bob().certificate)
    assert not opened.authenticated and not opened.remote_content and opened.inner is LayerKind.NONE


def test_a_content_without_fields_is_text() -> None:
    assert opens(enveloped(b"\r\ncorps\r\n", bob())).message.endswith(b"MIME-Version: 1.0\r\n\r\ncorps\r\n")


@pytest.mark.parametrize(("entity", "inner"), [
    (clear_entity(ENTITY, HandMade().build()), LayerKind.CLEAR_SIGNED), (opaque_entity(HandMade(attach=True).build()), LayerKind.OPAQUE_SIGNED),
    (PLAIN, LayerKind.NONE)])
@pytest.mark.parametrize("cipher", [Cipher.AES256_GCM, Cipher.AES256_CBC])
def test_what_stands_inside_is_told(entity: bytes, inner: LayerKind, cipher: Cipher) -> None:
    opened = open_message(encrypt_message(b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + entity, [bob().certificate], cipher=cipher), [bob_key()])
    assert opened.inner is inner
    assert opened.message == b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + entity


# --- the key


@pytest.mark.parametrize("digest", list(HASHES))
@pytest.mark.parametrize("mgf", list(HASHES))
def test_oaep_with_every_hash(digest: str, mgf: str) -> None:
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[oaep(digest, mgf)])).method == f"rsa-oaep-{digest}"


def test_oaep_defaults_are_sha1() -> None:
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[oaep("sha1", "sha1", defaults=True)])).method == "rsa-oaep-sha1"
    wrapped = bob().certificate.public_key().encrypt(KEY, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))  # type: ignore[union-attr,call-arg,arg-type]
    for parameters in (b"", NULL, der(SEQUENCE)):
        recipient = transport(algorithm("1.2.840.113549.1.1.7", parameters), wrapped)
        assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[recipient])).method == "rsa-oaep-sha1"


@pytest.mark.parametrize("kind", list(CURVES))
@pytest.mark.parametrize("digest", list(STANDARD))
@pytest.mark.parametrize("cofactor", [False, True])
def test_ecdh_with_every_hash(kind: str, digest: str, cofactor: bool) -> None:
    oid = COFACTOR[digest] if cofactor else STANDARD[digest]
    recipient = agreed(kind, digest=digest, oid=oid)
    assert opens(enveloped(PLAIN, bob(kind), key=KEY, recipients=[recipient], version=2), kind).method == f"ecdh-{digest}"


@pytest.mark.parametrize("form", [
    {"size": 16}, {"size": 24}, {"wrap_null": True}, {"material": b"matiere"}, {"material": b""}, {"curve": None}, {"curve": NULL},
    {"rid": der(CONTEXT_0, der(OCTET_STRING, key_id("P-256")))},
    {"rid": der(CONTEXT_0, der(OCTET_STRING, key_id("P-256")), der(0x18, b"20260101000000Z"))}], ids=lambda form: "+".join(form))
def test_ecdh_in_every_form(form: dict[str, object]) -> None:
    recipient = agreed("P-256", **form)  # type: ignore[arg-type]
    assert opens(enveloped(PLAIN, bob("P-256"), key=KEY, recipients=[recipient], version=2), "P-256").message.endswith(b"joint.\r\n")


@pytest.mark.parametrize(("form", "code"), [
    ({"curve": der_oid(CURVES["P-384"])}, CODES.BROKEN), ({"point": b"\x04" + bytes(64)}, CODES.BROKEN), ({"point": b"\x04" + b"\x01" * 64}, CODES.BROKEN),
    ({"point": b""}, CODES.ALGORITHM), ({"oid": "1.2.3.4"}, CODES.ALGORITHM), ({"oid": "1.3.133.16.840.63.0.16"}, CODES.ALGORITHM),
    ({"wrap_oid": "1.2.840.113549.1.9.16.3.6"}, CODES.ALGORITHM), ({"originator": named("P-256")}, CODES.ALGORITHM),
    ({"originator": der(CONTEXT_1, algorithm("1.3.101.110"), der(0x03, b"\0" + bytes(32)))}, CODES.ALGORITHM),
    ({"digest": "sha256", "oid": STANDARD["sha384"]}, CODES.BROKEN)],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value))
def test_ecdh_refused(form: dict[str, object], code: SmimeCode) -> None:
    recipient = agreed("P-256", **form)  # type: ignore[arg-type]
    assert refused(enveloped(PLAIN, bob("P-256"), key=KEY, recipients=[recipient], version=2), "P-256") is code


def test_recipient_by_key_identifier() -> None:
    public = bob().certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(KEY, padding.PKCS1v15())
    recipient = transport(algorithm("1.2.840.113549.1.1.1", NULL), wrapped, rid=der(PRIMITIVE_0, key_id()), version=2)
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[recipient], version=2)).method == "rsa-pkcs1v15"
    other = transport(algorithm("1.2.840.113549.1.1.1", NULL), wrapped, rid=der(PRIMITIVE_0, b"x" * 20), version=2)
    assert refused(enveloped(PLAIN, bob(), key=KEY, recipients=[other], version=2)) is CODES.NOT_FOR_US


def test_key_identifier_of_a_certificate_without_one_is_that_of_its_key() -> None:
    who = person(BOB, bob().key, usage=None, key_id=False)
    assert load_key(secret_pem(who.key), certificate_pem(who.certificate))
    wrapped = bob().certificate.public_key().encrypt(KEY, padding.PKCS1v15())  # type: ignore[union-attr,call-arg,arg-type]
    recipient = transport(algorithm("1.2.840.113549.1.1.1", NULL), wrapped, rid=der(PRIMITIVE_0, key_id()), version=2)
    message = envelope_message(enveloped(PLAIN, bob(), key=KEY, recipients=[recipient], version=2))
    assert open_message(message, [file_key(who)]).key_fingerprint == fingerprint(who.certificate)


def test_an_issuer_written_in_another_string_type_is_the_same() -> None:
    name = certificate_name(bob().certificate.public_bytes(Encoding.DER))
    assert b"\x0c\x0dTEST AC SMIME" in name.issuer
    rid = der(SEQUENCE, name.issuer.replace(b"\x0c\x0dTEST AC SMIME", b"\x13\x0dTest  AC SMIM"[:15].replace(b"  AC SMIM", b" AC SMIME")), der_integer(name.serial))
    wrapped = bob().certificate.public_key().encrypt(KEY, padding.PKCS1v15())  # type: ignore[union-attr,call-arg,arg-type]
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[transport(algorithm("1.2.840.113549.1.1.1", NULL), wrapped, rid=rid)]))


def test_the_right_key_among_several_and_recipients_among_many() -> None:
    message = encrypt_message(letter(), [stranger().certificate, bob("P-384").certificate, alice().certificate], cipher=Cipher.AES128_CBC)
    opened = open_message(message, [bob_key(), bob_key("P-256"), bob_key("P-384")])
    assert opened.key_fingerprint == fingerprint(bob("P-384").certificate)
    assert refusal(lambda: open_message(message, [])) is CODES.NOT_FOR_US


def test_other_kinds_of_recipient_are_passed_over() -> None:
    password = der(0xA3, der_integer(0), algorithm("1.2.3"), der(OCTET_STRING, b"x"))
    mine = wrap_for(bob().certificate, KEY, oaep=True)
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[password, mine]))
    assert refused(enveloped(PLAIN, bob(), key=KEY, recipients=[password])) is CODES.NOT_FOR_US


def test_a_method_not_read_before_one_that_is() -> None:
    strange = transport(algorithm("1.2.3.4", NULL), b"x" * 256)
    assert opens(enveloped(PLAIN, bob(), key=KEY, recipients=[strange, wrap_for(bob().certificate, KEY, oaep=True)]))


@pytest.mark.parametrize("recipient", [
    lambda: transport(algorithm("1.2.3.4", NULL), b"x" * 256), lambda: oaep("sha256", "sha256", label=b"etiquette"),
    lambda: transport(algorithm("1.2.840.113549.1.1.7", der(SEQUENCE, der(CONTEXT_0, algorithm("1.2.840.113549.2.5", NULL)))), b"x" * 256),
    lambda: transport(algorithm("1.2.840.113549.1.1.7", der(SEQUENCE, b"\xa5\x00")), b"x" * 256),
    lambda: agreed("P-256", rid=named("rsa"))], ids=["unknown", "label", "md5", "parameters", "ecdh-for-rsa"])
def test_methods_refused(recipient: Callable[[], bytes]) -> None:
    assert refused(enveloped(PLAIN, bob(), key=KEY, recipients=[recipient()])) is CODES.ALGORITHM


def test_an_rsa_method_for_an_ec_key_is_refused() -> None:
    recipient = transport(algorithm("1.2.840.113549.1.1.1", NULL), b"x" * 256, rid=named("P-256"))
    assert refused(enveloped(PLAIN, bob("P-256"), key=KEY, recipients=[recipient]), "P-256") is CODES.ALGORITHM


def test_every_wrapped_key_that_is_false_is_refused_alike() -> None:
    """RFC 3218: padding, length, hash: one code, one text."""
    public = bob().certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    pkcs1, v15 = algorithm("1.2.840.113549.1.1.1", NULL), padding.PKCS1v15()
    forged = [transport(pkcs1, os.urandom(256)), transport(pkcs1, b"\0" * 256), transport(pkcs1, b"\xff" * 256), transport(pkcs1, b""),
              transport(pkcs1, public.encrypt(b"court", v15)), transport(pkcs1, public.encrypt(b"x" * 24, v15)), transport(pkcs1, public.encrypt(b"y" * 32, v15)),
              transport(algorithm("1.2.840.113549.1.1.7"), public.encrypt(KEY, v15)), transport(algorithm("1.2.840.113549.1.1.7"), os.urandom(255))]
    texts = set()
    for recipient in forged:
        with pytest.raises(SmimeFault) as caught:
            opens(sealed(recipients=[recipient]), smime_type=b"authEnveloped-data")
        texts.add(str(caught.value))
    assert len(texts) == 1 and CODES.BROKEN.value in texts.pop()


def test_a_false_wrapped_key_is_only_seen_at_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3218 §2.3.2: the work done is the same, whatever was wrong with the key."""
    tries: list[bytes] = []

    def watched(envelope: Envelope, cipher: ContentCipher, key: bytes) -> bytes:
        tries.append(key)
        return open_content(envelope, cipher, key)

    monkeypatch.setattr(decrypt, "open_content", watched)
    oaep_false = transport(algorithm("1.2.840.113549.1.1.7"), os.urandom(256))
    forged = [(oaep_false, "rsa"), (transport(algorithm("1.2.840.113549.1.1.1", NULL), b"\0" * 256), "rsa"),
              (agreed("P-256", point=b"\x04" + bytes(64)), "P-256"), (agreed("P-256", oid=STANDARD["sha384"]), "P-256")]
    for recipient, kind in forged:
        assert refused(sealed(recipients=[recipient]), kind, smime_type=b"") is CODES.BROKEN
    assert len(set(tries)) == len(forged) and {len(key) for key in tries} == {32}


def test_a_key_that_cannot_be_used_is_our_fault_and_not_the_messages() -> None:
    class Token:
        certificate = bob().certificate

        def unwrap(self, wrapped: bytes, *, oaep_hash: str, mgf_hash: str) -> bytes:
            raise OperatorFault("jeton absent")

        def agree(self, point: bytes) -> bytes:
            raise OperatorFault("jeton absent")

    with pytest.raises(OperatorFault):
        open_message(encrypt_message(letter(), [bob().certificate]), [Token()])


# --- the content


@pytest.mark.parametrize(("oid", "size", "name"), [("2.16.840.1.101.3.4.1.2", 16, "aes128-cbc"), ("2.16.840.1.101.3.4.1.22", 24, "aes192-cbc"),
                                                   (AES256_CBC, 32, "aes256-cbc")])
def test_cbc_of_every_size(oid: str, size: int, name: str) -> None:
    assert opens(enveloped(PLAIN, bob(), oid=oid, key=os.urandom(size))).cipher == name


@pytest.mark.parametrize(("oid", "size", "name"), [("2.16.840.1.101.3.4.1.6", 16, "aes128-gcm"), ("2.16.840.1.101.3.4.1.26", 24, "aes192-gcm"),
                                                   (AES256_GCM, 32, "aes256-gcm")])
@pytest.mark.parametrize("tag", [12, 13, 16])
def test_gcm_of_every_size(oid: str, size: int, name: str, tag: int) -> None:
    opened = opens(sealed(oid=oid, key=os.urandom(size), tag=tag), smime_type=b"authEnveloped-data")
    assert opened.cipher == name and opened.authenticated


def test_gcm_default_tag_is_twelve_octets() -> None:
    assert opens(sealed(parameters=der(SEQUENCE, der(OCTET_STRING, b"n" * 12)), tag=12), smime_type=b"")


def test_gcm_with_authenticated_attributes() -> None:
    one = der(SEQUENCE, der_oid(ATTRIBUTE_CONTENT_TYPE), der(SET, der_oid(ID_DATA)))
    two = der(SEQUENCE, der_oid("1.2.3.4"), der(SET, der(OCTET_STRING, b"x")))
    covered = der(SET, *sorted([one, two]))
    assert opens(sealed(attributes=der(CONTEXT_1, two, one), aad=covered, tail=der(CONTEXT_2, two)), smime_type=b"")
    assert refused(sealed(attributes=der(CONTEXT_1, one), aad=covered), smime_type=b"") is CODES.BROKEN
    assert refused(sealed(attributes=der(CONTEXT_1, two)), smime_type=b"") is CODES.BROKEN
    lying = der(SEQUENCE, der_oid(ATTRIBUTE_CONTENT_TYPE), der(SET, der_oid(ID_SIGNED_DATA)))
    assert refused(sealed(attributes=der(CONTEXT_1, lying), aad=der(SET, lying)), smime_type=b"") is CODES.CONFUSED


def test_a_derived_key_is_read() -> None:
    """RFC 9709: the vector of its appendix A.1, then a message."""
    gcm = algorithm("2.16.840.1.101.3.4.1.6", der(SEQUENCE, der(OCTET_STRING, bytes.fromhex("5c79058ba2f43447639d29e2"))))
    derived = HKDF(hashes.SHA256(), 16, b"The Cryptographic Message Syntax", gcm).derive(bytes.fromhex("c702e7d0a9e064b09ba55245fb733cf3"))
    assert derived.hex() == "2124ffb29fac4e0fbbc7d5d87492bff3"
    inner = algorithm(AES256_GCM, der(SEQUENCE, der(OCTET_STRING, b"n" * 12), der_integer(16)))
    key = HKDF(hashes.SHA256(), 32, b"The Cryptographic Message Syntax", inner).derive(KEY)
    mine = [wrap_for(bob().certificate, KEY, oaep=True)]
    structure = sealed(key=key, oid="1.2.840.113549.1.9.16.3.31", parameters=inner, recipients=mine)
    assert opens(structure, smime_type=b"authEnveloped-data").cipher == "aes256-gcm"
    twice = sealed(key=key, oid="1.2.840.113549.1.9.16.3.31", parameters=algorithm("1.2.840.113549.1.9.16.3.31", inner), recipients=mine)
    assert refused(twice, smime_type=b"") is CODES.ALGORITHM


@pytest.mark.parametrize("oid", [TRIPLE_DES, "1.2.840.113549.3.2", "1.3.14.3.2.7", "2.16.840.1.101.3.4.1.47", "1.2.3.4"])
def test_other_ciphers_are_refused(oid: str) -> None:
    assert refused(enveloped(PLAIN, bob(), oid=oid)) is CODES.ALGORITHM


def test_weak_for_others_is_for_others() -> None:
    assert refused(enveloped(PLAIN, stranger(), oid=TRIPLE_DES)) is CODES.NOT_FOR_US


@pytest.mark.parametrize("tag", [0, 4, 8, 11, 17])
def test_short_tags_are_refused(tag: int) -> None:
    assert refused(sealed(tag=tag), smime_type=b"") is CODES.UNREADABLE


@pytest.mark.parametrize("structure", [
    lambda: sealed(tag=12, parameters=der(SEQUENCE, der(OCTET_STRING, b"n" * 12), der_integer(16))),
    lambda: sealed(parameters=der(SEQUENCE, der(OCTET_STRING, b"n" * 4), der_integer(16))), lambda: sealed(parameters=NULL), lambda: sealed(parameters=b""),
    lambda: enveloped(PLAIN, bob(), parameters=NULL), lambda: enveloped(PLAIN, bob(), parameters=der(OCTET_STRING, b"x" * 8)),
    lambda: enveloped(PLAIN, bob(), parameters=b"")])
def test_false_parameters_are_refused(structure: Callable[[], bytes]) -> None:
    assert refused(structure(), smime_type=b"") is CODES.UNREADABLE


@pytest.mark.parametrize("content", [b"", b"x" * 15, os.urandom(17), os.urandom(160)],
                         ids=["empty", "short", "17", "160"])
def test_false_cbc_content(content: bytes) -> None:
    assert refused(enveloped(PLAIN, bob(), content=content)) in (CODES.BROKEN, CODES.UNSAFE)


def test_every_false_padding_is_refused_alike() -> None:
    texts, vector = set(), b"v" * 16
    for tail in (b"\x00" * 16, b"\x11" * 16, b"\x01\x02", b"\x03\x03\x02\x03", b"\x10" * 15 + b"\x0f", b"\xff"):
        block = (PLAIN + b"." * 64)[:64 - len(tail)] + tail
        with pytest.raises(SmimeFault) as caught:
            opens(enveloped(PLAIN, bob(), key=KEY, vector=vector, content=cbc_content(block, KEY, vector, pad=False)))
        texts.add(str(caught.value))
    with pytest.raises(SmimeFault) as caught:
        opens(sealed(key=KEY, recipients=[wrap_for(bob().certificate, b"z" * 32, oaep=True)]), smime_type=b"")
    texts.add(str(caught.value))
    assert len(texts) == 1 and CODES.BROKEN.value in texts.pop()


def test_content_streamed_in_pieces_of_indefinite_length() -> None:
    vector = os.urandom(16)
    octets = cbc_content(PLAIN * 10, KEY, vector)
    pieces = b"".join(der(OCTET_STRING, octets[at:at + 100]) for at in range(0, len(octets), 100))

    def open_ended(tag: int, *parts: bytes) -> bytes:
        return bytes((tag, 0x80)) + b"".join(parts) + b"\0\0"

    content = open_ended(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, der(OCTET_STRING, vector)), open_ended(0xA0, pieces))
    structure = open_ended(SEQUENCE, der_oid("1.2.840.113549.1.7.3"), open_ended(CONTEXT_0, open_ended(
        SEQUENCE, der_integer(0), set_of([wrap_for(bob().certificate, KEY, oaep=False)]), content)))
    assert opens(structure).message.endswith(PLAIN * 9 + PLAIN)


def test_attributes_that_nothing_protects_are_passed_over() -> None:
    assert opens(enveloped(PLAIN, bob(), tail=der(CONTEXT_1, der(SEQUENCE, der_oid("1.2.3.4"), der(SET, b"\x05\x00")))))


def test_originators_certificates_are_passed_over() -> None:
    engine = enveloped(PLAIN, bob())
    assert opens(engine)
    mine = wrap_for(bob().certificate, KEY, oaep=True)
    vector = b"v" * 16
    structure = content_info("1.2.840.113549.1.7.3", der_integer(2), der(CONTEXT_0, der(CONTEXT_0, bob().certificate.public_bytes(Encoding.DER))),
                             set_of([mine]), der(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, der(OCTET_STRING, vector)),
                                                 der(PRIMITIVE_0, cbc_content(PLAIN, KEY, vector))))
    assert opens(structure)


# --- what is no message to open


def test_messages_that_are_not_encrypted_on_top() -> None:
    keys = [bob_key()]
    inner = encrypt_message(letter(), [bob().certificate])
    entity = inner[inner.index(b"Content-Type"):]
    head = b"From: a@b.example\r\nMIME-Version: 1.0\r\n"
    cases = {
        letter(): CODES.NONE, b"": CODES.NONE, b"\r\n": CODES.NONE, head + clear_entity(ENTITY, HandMade().build()): CODES.NONE,
        head + opaque_entity(HandMade(attach=True).build()): CODES.NONE,
        head + mixed(PLAIN, entity): CODES.UNSAFE, head + mixed(entity): CODES.UNSAFE, head + mixed(mixed(entity), PLAIN): CODES.UNSAFE,
        head + b"Content-Type: message/rfc822\r\n\r\n" + inner: CODES.UNSAFE,
        head + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n": CODES.UNREADABLE,
        head + opaque_entity(der(SEQUENCE, der_oid(ID_COMPRESSED_DATA), der(CONTEXT_0, NULL))): CODES.ALGORITHM,
    }
    for raw, code in cases.items():
        assert refusal(lambda raw=raw: open_message(raw, keys)) is code, raw[:300]


@pytest.mark.parametrize(("kind", "cipher", "code"), [
    (b"signed-data", Cipher.AES256_GCM, CODES.CONFUSED), (b"certs-only", Cipher.AES256_CBC, CODES.CONFUSED), (b"compressed-data", Cipher.AES256_CBC, CODES.CONFUSED),
    (b"authEnveloped-data", Cipher.AES256_CBC, CODES.CONFUSED), (b"nouveau", Cipher.AES256_GCM, CODES.CONFUSED),
    (b"enveloped-data", Cipher.AES256_GCM, None), (b"ENVELOPED-DATA", Cipher.AES256_CBC, None), (b"", Cipher.AES256_CBC, None), (b"", Cipher.AES256_GCM, None)])
def test_smime_type_that_lies(kind: bytes, cipher: Cipher, code: SmimeCode | None) -> None:
    structure = structure_of(encrypt_message(letter(), [bob().certificate], cipher=cipher))
    if code is None:
        assert opens(structure, smime_type=kind)
    else:
        assert refused(structure, smime_type=kind) is code


def test_forms_of_transport() -> None:
    structure = enveloped(PLAIN, bob())
    head = b"From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: application/x-pkcs7-mime; name=smime.p7m\r\n"
    assert open_message(head + b"Content-Transfer-Encoding: binary\r\n\r\n" + structure, [bob_key()])
    lost = b"From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert open_message(lost + base64_lines(structure), [bob_key()])
    twice = envelope_message(structure, header=b"Content-Type: application/pkcs7-mime\r\n")
    assert refusal(lambda: open_message(twice, [bob_key()])) is CODES.CONFUSED
    footer = envelope_message(structure) + b"-- \r\nPied de page de la passerelle\r\n"
    assert refusal(lambda: open_message(footer, [bob_key()])) is CODES.CONFUSED


@pytest.mark.parametrize("change", [
    lambda octets: octets.extend(b"\0"), lambda octets: octets.__delitem__(slice(-1, None)), lambda octets: octets.__delitem__(slice(40, None)),
    lambda octets: octets.__setitem__(1, 0x84), lambda octets: octets.__delitem__(slice(200, 300))])
def test_structures_cut_or_prolonged(change: Callable[[bytearray], object]) -> None:
    message = rewritten(encrypt_message(letter(), [bob().certificate]), change)
    assert refusal(lambda: open_message(message, [bob_key()])) is CODES.UNREADABLE


def test_structures_without_content_or_of_another_content() -> None:
    mine = set_of([wrap_for(bob().certificate, KEY, oaep=True)])
    method = algorithm(AES256_CBC, der(OCTET_STRING, b"v" * 16))
    assert refused(content_info("1.2.840.113549.1.7.3", der_integer(0), mine, der(SEQUENCE, der_oid(ID_DATA), method))) is CODES.UNREADABLE
    assert refused(enveloped(PLAIN, bob(), content_type=ID_SIGNED_DATA)) is CODES.CONFUSED


def test_ciphers_in_the_wrong_structure() -> None:
    """RFC 5083 §1: a GCM content is in AuthEnvelopedData, a CBC one is not."""
    gcm = der(SEQUENCE, der(OCTET_STRING, b"n" * 12), der_integer(16))
    assert refused(enveloped(PLAIN, bob(), oid=AES256_GCM, parameters=gcm)) is CODES.CONFUSED
    assert refused(sealed(oid=AES256_CBC, parameters=der(OCTET_STRING, b"v" * 16)), smime_type=b"") is CODES.CONFUSED


# --- limits


def test_limits() -> None:
    message = encrypt_message(letter(), [bob().certificate, alice().certificate])
    assert refusal(lambda: open_message(message, [bob_key()], limits=SmimeLimits(message_bytes=len(message) - 1))) is CODES.LIMIT
    assert refusal(lambda: open_message(message, [bob_key()], limits=SmimeLimits(count=1))) is CODES.LIMIT
    assert open_message(message, [bob_key()], limits=SmimeLimits(message_bytes=len(message), count=2))


def test_layers_of_encryption() -> None:
    message = letter()
    for _ in range(4):
        message = encrypt_message(message, [bob().certificate])
    opened = open_message(message, [bob_key()])
    assert opened.layers == 4 and opened.authenticated and opened.cipher == "+".join(["aes256-gcm"] * 4)
    assert opened.message == letter()
    assert open_message(message, [bob_key()], limits=SmimeLimits(depth=4)).layers == 4
    assert refusal(lambda: open_message(message, [bob_key()], limits=SmimeLimits(depth=3))) is CODES.LIMIT


def test_a_cbc_layer_anywhere_takes_the_proof_away() -> None:
    inside = encrypt_message(letter(), [bob().certificate], cipher=Cipher.AES256_CBC)
    opened = open_message(encrypt_message(inside, [bob().certificate]), [bob_key()])
    assert opened.layers == 2 and not opened.authenticated and opened.cipher == "aes256-gcm+aes256-cbc"


def test_an_inner_encryption_for_others_is_left_closed() -> None:
    inside = encrypt_message(letter(), [stranger().certificate])
    opened = open_message(encrypt_message(inside, [bob().certificate]), [bob_key()])
    assert opened.inner is LayerKind.AUTH_ENVELOPED and opened.layers == 1
    assert opened.message == inside


def test_compressed_content_is_refused() -> None:
    entity = opaque_entity(der(SEQUENCE, der_oid(ID_COMPRESSED_DATA), der(CONTEXT_0, NULL)))
    assert refused(sealed(entity), smime_type=b"") is CODES.ALGORITHM


# --- public vectors


def test_public_vectors(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "smime" / "cms"
    key = load_key((folder / "rsa_key.pem").read_bytes(), (folder / "rsa_ca.pem").read_bytes())

    def code(octets: bytes) -> SmimeCode:
        return refusal(lambda: open_message(envelope_message(octets), [key]))

    plain = open_message((folder / "made-aes128-cbc.eml").read_bytes(), [key])
    assert (plain.cipher, plain.method, plain.authenticated, plain.inner) == ("aes128-cbc", "rsa-pkcs1v15", False, LayerKind.NONE)
    signed = open_message((folder / "made-signed-then-encrypted.eml").read_bytes(), [key])
    assert (signed.cipher, signed.inner) == ("aes256-cbc", LayerKind.CLEAR_SIGNED)
    assert code(pem.unarmor((folder / "enveloped-for-someone-else.pem").read_bytes())[2]) is CODES.NOT_FOR_US
    assert code((folder / "enveloped-no-content.der").read_bytes()) is CODES.UNREADABLE
    # its content has no MIME header: the key opens, and the content must stay closed
    assert code(pem.unarmor((folder / "enveloped-rsa-oaep.pem").read_bytes())[2]) is CODES.UNSAFE

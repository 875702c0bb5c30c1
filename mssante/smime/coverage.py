"""What a signature covers in a message, and what a reader could be shown that it does not cover.

- A clear-signed message is exactly: a header of well-formed fields; multipart/signed whose parameters have one reading (none
  twice, no comment, no escape, a boundary of the letters that RFC 2046 §5.1.1 allows); two parts, the second one the signature
  (RFC 1847 §2.1, RFC 8551 §3.5.3). Anything else has two readings and is refused.
- The signed octets are those between the two delimiter lines as they were received, header of the part included, without the
  line end that belongs to the delimiter (RFC 2046 §5.1.1); nothing is normalised.
- Text before the first delimiter that is not one of the usual sentences, text after the last one, parts whose content comes from
  elsewhere: reported as gaps, since some readers show them.

Raises SmimeFault (CONFUSED, NO_SIGNER). Called by `smime.verify`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.lang import say
from mssante.protocol.mime.headers import MAX_HEADER_BYTES, find_header_end
from mssante.protocol.mime.scan import Part
from mssante.smime.cms import confused
from mssante.smime.layer import is_signature_part

_IDENTITY = (b"", b"7bit", b"8bit", b"binary")
_FIELD = re.compile(rb"[!-9;-~]+:[^\r\n\0]*(?:\r\n[ \t]+[^\s][^\r\n\0]*)*+\r\n")
# RFC 2045 §5.1 without comments, escapes nor RFC 2231; `/` outside of quotes is forbidden and common in `protocol`.
_MEDIA = re.compile(rb"multipart/signed(?:[ \t]*+;[ \t]*+[A-Za-z0-9.\-]{1,60}="
                    rb"(?:\"[^\"\\]*+\"|[A-Za-z0-9!#$%&'*+.^_`{|}~/\-]++))++[ \t]*+;?[ \t]*+", re.IGNORECASE)
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_MAX_PREAMBLE = 200
# What programs write there: "This is an S/MIME signed message", "This is a multi-part message in MIME format." Letters only, so
# that no link, number or address can stand in it.
_PREAMBLE = re.compile(rb"(?:this is|ceci est) an? [a-z/, \-]{1,80}(?:message|mime)[a-z/, \-]{0,60}\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClearSigned:
    """start, end: the signed octets; signature: the part that holds the CMS; gap: what is not covered, empty when nothing."""

    start: int
    end: int
    signature: Part
    gap: str


def check_header(raw: bytes, start: int = 0, stop: int | None = None) -> None:
    """Refuse a header, that of the message or of the part in [start, stop), that readers may cut or read in two ways.

    Raises SmimeFault (CONFUSED).

    RFC 5322 §2.2: fields only, each ended by CRLF, no line of blanks alone, no NUL, no bare CR or LF.
    """
    end = find_header_end(raw, start, stop)
    at = start
    while at < end:
        if raw.startswith(b"\r\n", at) and at + 2 == end:
            return
        found = _FIELD.match(raw, at, end)
        if found is None:
            break
        at = found.end()
    if at < end or end - start > MAX_HEADER_BYTES:
        raise confused("en-tête mal formé (ligne sans champ, fin de ligne isolée ou octet nul)",
                       "malformed header (line without a field, bare line end or NUL)")


def clear_signed(raw: bytes, root: Part) -> ClearSigned:
    """Give the two parts of a clear-signed message. root: its scanned root. Raises SmimeFault (CONFUSED)."""
    _check_parameters(root)
    if (root.headers.get(b"content-transfer-encoding") or b"").lower() not in _IDENTITY:
        raise confused("multipart/signed encodé", "multipart/signed with a transfer encoding")  # RFC 2045 §6.4
    if root.ambiguous or len(root.children) != 2:
        raise confused(f"multipart/signed de {len(root.children)} parties, ou sans fin claire",
                       f"multipart/signed of {len(root.children)} parts, or without a clear end")
    entity, signature = root.children
    if not is_signature_part(signature) or signature.media.subtype == b"octet-stream" or not _is_protocol(root, signature):
        raise confused("la seconde partie n'est pas la signature annoncée", "the second part is not the signature announced")
    check_header(raw, signature.header_start, signature.body_end)
    _check_ends(raw, root, entity, signature)
    return ClearSigned(entity.header_start, entity.body_end, signature, _gap(raw, root))


def _check_parameters(root: Part) -> None:
    """Refuse a Content-Type from which readers may take different boundaries. Raises SmimeFault (CONFUSED)."""
    names = [name for name, _ in root.media.parameters]
    if len(names) != len(set(names)) or {b"boundary", b"protocol"} - set(names):
        raise confused("multipart/signed : paramètres répétés ou absents", "multipart/signed: parameters repeated or missing")
    boundary = next(value for name, value in root.media.parameters if name == b"boundary")
    if not _MEDIA.fullmatch(root.headers.get(b"content-type") or b"") or not _BOUNDARY.fullmatch(boundary):
        raise confused("multipart/signed : paramètres mal écrits", "multipart/signed: malformed parameters")


def _is_protocol(root: Part, signature: Part) -> bool:
    """True when `protocol` names the type of the signature; with and without `x-` mean the same (RFC 8551 §3.5.3.1)."""
    protocol = next((value for name, value in root.media.parameters if name == b"protocol"), b"").strip().lower()
    return protocol.replace(b"/x-", b"/") == b"application/" + signature.media.subtype.removeprefix(b"x-")


def _check_ends(raw: bytes, root: Part, entity: Part, signature: Part) -> None:
    """Refuse bare CR or LF, and NUL, in what stands around the signed octets: readers cut such lines differently."""
    for start, end in ((root.body_start, entity.header_start), (entity.body_end, signature.body_end + 2)):
        block = raw[start:end]
        if not block.count(b"\r") == block.count(b"\n") == block.count(b"\r\n") or b"\0" in block:
            raise confused("fin de ligne isolée ou octet nul hors du contenu signé",
                           "bare line end or NUL outside of the signed content")


def _gap(raw: bytes, root: Part) -> str:
    """Say what of the message stands outside of its two parts and could be shown."""
    entity, signature = root.children
    delimiter = raw.rfind(b"\n", root.body_start, max(entity.header_start - 1, root.body_start)) + 1
    preamble = raw[root.body_start:max(delimiter, root.body_start)].strip()
    if preamble and (len(preamble) > _MAX_PREAMBLE or not _PREAMBLE.fullmatch(preamble)):
        return say("texte avant la partie signée", "text before the signed part")
    closing = raw.find(b"--", signature.body_end)
    line_end = raw.find(b"\n", closing if closing >= 0 else signature.body_end)
    if line_end >= 0 and raw[line_end:root.body_end].strip():
        return say("texte après la signature", "text after the signature")
    return ""


def external_gap(root: Part | None) -> str:
    """Say whether a signed entity holds parts whose content is elsewhere (RFC 2046 §5.2.2, §5.2.3); empty when none.

    root: the entity's scanned root, None when its header showed no part that could hold others.
    """
    pending = [root] if root is not None else []
    while pending:
        part = pending.pop()
        if part.media.type == b"message" and part.media.subtype in (b"external-body", b"partial"):
            return say("contenu pris hors du message", "content taken from outside of the message")
        pending.extend(part.children)
        if part.message is not None:
            pending.append(part.message)
    return ""

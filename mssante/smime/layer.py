"""Which S/MIME layer a message has on top, and whether S/MIME parts stand elsewhere in it (RFC 8551 §3).

- What counts is what the CMS structure says it is, not the `smime-type` parameter nor the name of the file.
- A message whose top is no S/MIME entity has no layer; S/MIME parts deeper down (a signed mail carried inside another, text put
  beside a signed or encrypted part) are told apart as `nested_signed` and `nested_encrypted`: such a part says nothing of the
  whole, and a clear part beside an encrypted one is the shape of EFAIL.
- Cheap: an ordinary message of text costs a search in its header, a multipart one scan of its parts (`mime.scan`, bounded on
  hostile MIME), nothing else.
- Never raises but in `cms_octets`; never decodes a body but the first octets of those that claim to be CMS.

Called by reception for each message, by `smime.verify`, `smime.sign`, `smime.decrypt`.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mssante.lang import say
from mssante.protocol.mime.headers import find_header_end
from mssante.protocol.mime.parameters import parameter, parse_disposition, raw_parameter
from mssante.protocol.mime.scan import DEFAULT, Part, is_ambiguous, scan
from mssante.smime.cms import (
    ID_AUTH_ENVELOPED_DATA,
    ID_ENVELOPED_DATA,
    ID_SIGNED_DATA,
    confused,
    content_type_of,
)
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits

_HEAD_LETTERS = 400  # of a base64 body, enough for the first fields of ContentInfo
_HEAD_OCTETS = 96
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")
_BLANKS = b"\r\n\t "
_PKCS7_MIME = (b"pkcs7-mime", b"x-pkcs7-mime")  # RFC 8551 §3.2, and what was written before the type was registered
_PKCS7_SIGNATURE = (b"pkcs7-signature", b"x-pkcs7-signature")
_PROTOCOLS = (b"application/pkcs7-signature", b"application/x-pkcs7-signature")
# One of these stands, in any case, in the header of every message that has a layer or may hold S/MIME parts.
_SIGNS = (b"multipart", b"pkcs7", b"octet-stream", b"rfc822", b"global", b"external-body", b"message/partial")


class LayerKind(StrEnum):
    """What stands on top. UNREADABLE: an S/MIME entity whose CMS is broken or of a kind that is not read
    (compressed), or a detached signature alone."""

    NONE = "none"
    CLEAR_SIGNED = "clear-signed"  # multipart/signed
    OPAQUE_SIGNED = "opaque-signed"
    ENVELOPED = "enveloped"
    AUTH_ENVELOPED = "auth-enveloped"
    UNREADABLE = "unreadable"


_KINDS = {ID_SIGNED_DATA: LayerKind.OPAQUE_SIGNED, ID_ENVELOPED_DATA: LayerKind.ENVELOPED,
          ID_AUTH_ENVELOPED_DATA: LayerKind.AUTH_ENVELOPED}
_ENCRYPTED = (LayerKind.ENVELOPED, LayerKind.AUTH_ENVELOPED)


@dataclass(frozen=True, slots=True)
class Layer:
    """What was found. root: the message's parts, None when the header alone was enough; nested_signed, nested_encrypted: such
    parts stand below a top that is no S/MIME entity; claimed: the `smime-type` parameter, for the log."""

    kind: LayerKind = LayerKind.NONE
    root: Part | None = None
    nested_signed: bool = False
    nested_encrypted: bool = False
    claimed: str = ""

    @property
    def is_signed(self) -> bool:
        """True when a signature stands on top."""
        return self.kind in (LayerKind.CLEAR_SIGNED, LayerKind.OPAQUE_SIGNED)

    @property
    def is_encrypted(self) -> bool:
        """True when an encrypted structure stands on top."""
        return self.kind in _ENCRYPTED


NO_LAYER = Layer()


def find_layer(raw: bytes) -> Layer:
    """Give the layer of a whole message, or of a MIME entity. raw: its octets, of any size; never raises.

    A message is octets with S/MIME inside an unknown container (archive, base64 of a whole message): none for us.
    """
    head = raw[:find_header_end(raw)].lower()
    if not any(sign in head for sign in _SIGNS):
        return NO_LAYER
    return layer_of(raw, scan(raw, DEFAULT))


def layer_of(raw: bytes, root: Part) -> Layer:
    """Give the layer of a message already scanned. root: what `mime.scan.scan(raw)` gave."""
    kind = LayerKind.UNREADABLE if is_signature_part(root) else part_kind(raw, root)
    if kind is not LayerKind.NONE:
        return Layer(kind, root, claimed=parameter(root.media.parameters, b"smime-type").lower()[:40])
    if root.headers.repeats(b"content-type") and any(b"pkcs7" in one.lower() for one in root.headers.all(b"content-type")):
        return Layer(LayerKind.UNREADABLE, root)  # S/MIME for those who take another of the fields than we do
    if not root.children and root.message is None:
        return NO_LAYER
    signed = encrypted = False
    for part in _below(root):
        found = part_kind(raw, part)
        signed = signed or found in (LayerKind.CLEAR_SIGNED, LayerKind.OPAQUE_SIGNED) or is_signature_part(part)
        encrypted = encrypted or found in (*_ENCRYPTED, LayerKind.UNREADABLE)
    return Layer(LayerKind.NONE, root, signed, encrypted)


def _below(root: Part) -> Iterator[Part]:
    """Give every part under the root."""
    pending = [*root.children, *((root.message,) if root.message else ())]
    while pending:
        part = pending.pop()
        yield part
        pending.extend(part.children)
        if part.message is not None:
            pending.append(part.message)


def part_kind(raw: bytes, part: Part) -> LayerKind:
    """Give what one part is, by its type and, for CMS, by the first octets of its body."""
    media = part.media
    if media.type == b"multipart":
        return _multipart_kind(part)
    if media.type != b"application":
        return LayerKind.NONE
    if media.subtype in _PKCS7_MIME:
        return _KINDS.get(_announced(raw, part), LayerKind.UNREADABLE)
    if media.subtype == b"octet-stream" and _file_name(part).endswith(".p7m"):
        return _KINDS.get(_announced(raw, part), LayerKind.NONE)  # RFC 8551 §3.2.1: some gateways lose the type
    return LayerKind.NONE


def _multipart_kind(part: Part) -> LayerKind:
    """multipart/signed for S/MIME: its protocol says so, or one of its parts is such a signature (RFC 1847 §2.1)."""
    if part.media.subtype != b"signed":
        return LayerKind.NONE
    protocol = raw_parameter(part.media.parameters, b"protocol").strip().lower()
    if protocol in _PROTOCOLS or any(is_signature_part(child) for child in part.children):
        return LayerKind.CLEAR_SIGNED
    return LayerKind.NONE


def is_signature_part(part: Part) -> bool:
    """True for a detached signature: its type, or the name `.p7s` on a part without a type."""
    media = part.media
    if media.type != b"application":
        return False
    return media.subtype in _PKCS7_SIGNATURE or (media.subtype == b"octet-stream" and _file_name(part).endswith(".p7s"))


def _file_name(part: Part) -> str:
    disposition = part.headers.get(b"content-disposition")
    given = parameter(parse_disposition(disposition)[1], b"filename") if disposition else ""
    return (given or parameter(part.media.parameters, b"name")).lower()


def _announced(raw: bytes, part: Part) -> str:
    """Give the content type that the CMS of a part announces, from its first octets; empty when there is none."""
    encoding = (part.headers.get(b"content-transfer-encoding") or b"").lower()
    start = part.body_start
    if encoding != b"base64":
        return content_type_of(raw[start:min(start + _HEAD_OCTETS, part.body_end)])
    letters = raw[start:min(start + _HEAD_LETTERS, part.body_end)].translate(None, _BLANKS)[:_HEAD_OCTETS // 3 * 4]
    try:
        return content_type_of(binascii.a2b_base64(letters[:len(letters) // 4 * 4]))
    except binascii.Error:
        return ""


def cms_octets(raw: bytes, part: Part, limits: SmimeLimits) -> bytes:
    """Give the CMS structure that the body of a part holds, its transfer encoding undone.

    Strict where readers differ: base64 with nothing but its letters, its padding and blanks. Raises SmimeFault: CONFUSED
    (ambiguous fields, octets that are no base64, unknown encoding), LIMIT.
    """
    if part.size > limits.message_bytes:
        raise SmimeFault("message S/MIME trop grand", SmimeCode.LIMIT, detail=say(
            f"{part.size} octets, limite {limits.message_bytes}", f"{part.size} octets, limit {limits.message_bytes}"))
    if is_ambiguous(part):
        raise confused("champs MIME répétés ou coupés", "MIME fields repeated or cut")
    encoding = (part.headers.get(b"content-transfer-encoding") or b"").lower()
    body = raw[part.body_start:part.body_end]
    if encoding in _IDENTITY:
        return body
    if encoding != b"base64":
        raise confused("encodage de transfert inattendu pour une structure CMS", "unexpected transfer encoding for CMS")
    try:
        return binascii.a2b_base64(body.translate(None, _BLANKS), strict_mode=True)
    except binascii.Error as exc:
        raise confused("base64 coupé ou mêlé d'autres octets", "base64 cut, or mixed with other octets") from exc

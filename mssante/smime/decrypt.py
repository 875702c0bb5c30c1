"""Opens an encrypted message with one of our keys, and says how far what came out may be believed (RFC 8551 §2, §3.3, §6).

- Only a message encrypted as a whole is opened: an encrypted part beside clear ones never is (EFAIL, direct exfiltration).
- The outcome is for the recipient and for our journal, never for the sender: who could learn whether a forged message opened
  would have an oracle (RFC 3218, RFC 8551 §6). A key or a content that does not fit gives one fault, `BROKEN`, without a reason.
- The view is a whole message: the outer header octet for octet without its Content-* fields, then the Content-* fields and the
  body that were inside. Other fields inside are not shown: the outer ones are those that the operators checked.
- CBC proves nothing of its content: `Opened.authenticated` says what does, and `safe_view` decides.
- Never reads a clock or a file, never logs a content; about four times the message in memory.

Called by `services` at reception; layers found below (signature) are theirs to verify with `smime.verify` on `Opened.message`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mssante.lang import say
from mssante.protocol.mime.headers import find_header_end
from mssante.protocol.mime.scan import scan
from mssante.smime.cms import ID_COMPRESSED_DATA, confused, content_type_of
from mssante.smime.efail import check_entity, check_header, has_remote_content, unsafe
from mssante.smime.envelope import content_cipher, open_content, read_envelope
from mssante.smime.framing import broken, field_lines, not_admitted, too_large, too_many_octets, unreadable
from mssante.smime.keys import fingerprint
from mssante.smime.layer import Layer, LayerKind, cms_octets, layer_of
from mssante.smime.recipients import Recipient, is_named, take_key
from mssante.smime.values import OpeningKey, SmimeCode, SmimeFault, SmimeLimits

DEFAULT_LIMITS = SmimeLimits()
_CLAIMS = {  # values of smime-type that each structure may carry (RFC 8551 §3.2.2); a GCM passed off as CBC is seen here
    LayerKind.ENVELOPED: ("", "enveloped-data"), LayerKind.AUTH_ENVELOPED: ("", "authenveloped-data", "enveloped-data")}
_UNREADABLE_TYPES = {ID_COMPRESSED_DATA: "zlib"}


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened message. message: RFC 5322, outer header and inner entity; cipher: `aes256-gcm`, or those of all layers from the
    outermost with `+` between; method: how the content key was wrapped, likewise; key_fingerprint: of the certificate whose key
    opened the outermost.

    inner: what stands on top of the content: the signature to verify, an encryption for none of our keys, or NONE.
    authenticated: every layer opened was GCM; a signature inside counts only once verified (`safe_view`).
    remote_content: the content holds HTML with references outside; layers: how many were opened.
    """

    message: bytes
    cipher: str
    method: str
    key_fingerprint: str
    inner: LayerKind = LayerKind.NONE
    authenticated: bool = False
    remote_content: bool = False
    layers: int = 1


@dataclass(frozen=True, slots=True)
class _Content:
    """One layer opened: the entity that was inside, and how."""

    entity: bytes
    cipher: str
    method: str
    key_fingerprint: str
    authenticated: bool


def open_message(raw: bytes, keys: Sequence[OpeningKey], *, limits: SmimeLimits = DEFAULT_LIMITS) -> Opened:
    """Open a message that is encrypted on top, and the encrypted layers right below it.

    raw: a whole message, at most `limits.message_bytes` octets; keys: ours, any of which may fit.
    Raises SmimeFault: NONE (not encrypted on top), NOT_FOR_US, BROKEN, UNSAFE, ALGORITHM, CONFUSED, UNREADABLE, LIMIT; and what a
    key raises when it cannot be used (OperatorFault).
    """
    if len(raw) > limits.message_bytes:
        raise too_many_octets(len(raw), limits)
    layer = layer_of(raw, scan(raw))
    _check_top(raw, layer, limits)
    content = _open_layer(raw, layer, keys, limits)
    ciphers, methods, authenticated, layers = [content.cipher], [content.method], content.authenticated, 1
    own, inner = content.key_fingerprint, layer_of(content.entity, scan(content.entity))
    while inner.is_encrypted:
        if layers >= limits.depth:
            raise too_large(f"plus de {limits.depth} chiffrements emboîtés", f"more than {limits.depth} nested encryptions")
        try:
            content = _open_layer(content.entity, inner, keys, limits)
        except SmimeFault as fault:
            if fault.code is SmimeCode.NOT_FOR_US:
                break
            raise
        layers += 1
        ciphers, methods = [*ciphers, content.cipher], [*methods, content.method]
        authenticated = authenticated and content.authenticated
        inner = layer_of(content.entity, scan(content.entity))
    if inner.kind is LayerKind.UNREADABLE:
        raise _unreadable_layer(content.entity, inner, limits)
    if not authenticated:
        check_entity(content.entity)
    return Opened(_joined(raw, content.entity), "+".join(ciphers), "+".join(methods), own, inner.kind, authenticated,
                  has_remote_content(content.entity), layers)


def safe_view(opened: Opened, *, signature_holds: bool) -> Opened:
    """Give the view back when it may be shown, by the rule of EFAIL: what is not authenticated shows nothing that fetches.

    signature_holds: `smime.verify` found the signature inside VALID, or false only for reasons of trust (chain, dates), that is
    the octets are those that somebody signed. Raises SmimeFault (`UNSAFE`) for a CBC content with a signature that does not
    hold, or without signature and with HTML that refers outside.
    """
    if opened.authenticated or signature_holds:
        return opened
    if opened.inner is not LayerKind.NONE:
        raise unsafe("signature interne fausse, en CBC : contenu peut-être altéré", "false signature inside, in CBC: altered?")
    if opened.remote_content:
        raise unsafe("HTML avec références extérieures, en CBC sans signature", "HTML with references outside, in CBC unsigned")
    return opened


def _check_top(raw: bytes, layer: Layer, limits: SmimeLimits) -> None:
    """Check that the encryption is the top of the message (RFC 8551 §3.3, EFAIL §4)."""
    if layer.is_encrypted:
        return
    if layer.kind is LayerKind.UNREADABLE:
        raise _unreadable_layer(raw, layer, limits)
    if layer.nested_encrypted:
        raise unsafe("partie chiffrée parmi des parties en clair", "encrypted part among clear ones")
    raise SmimeFault("message qui n'est pas chiffre", SmimeCode.NONE,
                     detail=say(f"couche du dessus : {layer.kind.value}", f"layer on top: {layer.kind.value}"))


def _unreadable_layer(raw: bytes, layer: Layer, limits: SmimeLimits) -> SmimeFault:
    """Give the fault of an S/MIME entity of another kind: compressed (RFC 3274), or broken."""
    try:
        kind = content_type_of(cms_octets(raw, layer.root, limits)[:64]) if layer.root is not None else ""
    except SmimeFault as fault:
        return fault
    if kind in _UNREADABLE_TYPES:
        return not_admitted("contenu comprimé (zlib)", "compressed content (zlib)")
    return unreadable("entité S/MIME sans structure chiffrée ni signée", "S/MIME entity neither encrypted nor signed")


def _open_layer(raw: bytes, layer: Layer, keys: Sequence[OpeningKey], limits: SmimeLimits) -> _Content:
    """Open the encrypted entity that a message or a content is."""
    if layer.root is None:
        raise unreadable("pas d'entité chiffrée", "no encrypted entity")
    if layer.claimed not in _CLAIMS[layer.kind]:
        raise confused(f"smime-type={layer.claimed} sur {layer.kind.value}", f"smime-type={layer.claimed} on {layer.kind.value}")
    envelope = read_envelope(cms_octets(raw, layer.root, limits), limits)
    pairs = [(recipient, key) for recipient in envelope.recipients for key in keys if is_named(recipient.name, key.certificate)]
    if not pairs:
        raise SmimeFault("message chiffre pour d'autres", SmimeCode.NOT_FOR_US,
                         detail=say(f"{len(envelope.recipients)} destinataire(s), aucune de nos {len(keys)} clé(s)",
                                    f"{len(envelope.recipients)} recipient(s), none of our {len(keys)} key(s)"),
                         remedy=say("l'expéditeur doit prendre le certificat actuel du destinataire",
                                    "the sender must take the recipient's present certificate"))
    cipher = content_cipher(envelope)
    content_key, method, key = _content_key(pairs, cipher.octets)
    entity = open_content(envelope, cipher, content_key)
    check_header(entity, authenticated=envelope.authenticated)
    return _Content(entity, cipher.name, method, fingerprint(key.certificate), envelope.authenticated)


def _content_key(pairs: Sequence[tuple[Recipient, OpeningKey]], size: int) -> tuple[bytes, str, OpeningKey]:
    """Take the content key by the first method that is read."""
    refused: SmimeFault | None = None
    for recipient, key in pairs[:4]:  # a key or two fit in good faith; each costs an RSA operation
        try:
            content_key, method = take_key(recipient, key, size)
        except SmimeFault as fault:
            refused = refused or fault
            continue
        return content_key, method, key
    raise refused or broken()


def _joined(raw: bytes, entity: bytes) -> bytes:
    """Give the readable message: outer fields but Content-*, inner Content-* fields, inner body (RFC 8551 §3.1)."""
    outer = raw[:find_header_end(raw)]
    body = find_header_end(entity)
    kept = field_lines(outer, content=False)
    if not any(line[:13].lower() == b"mime-version:" for line in kept):
        kept.append(b"MIME-Version: 1.0\r\n")
    return b"".join([*kept, *field_lines(entity[:body], content=True), b"\r\n", memoryview(entity)[body:]])

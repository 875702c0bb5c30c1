"""Encrypts a message for certificates (RFC 8551 §3.3): AES-GCM as AuthEnvelopedData (RFC 5083, RFC 5084), CBC as EnvelopedData.

- The outer header stays octet for octet but for its Content-* fields, which go inside with the body; the subject stays readable:
  the operators and the reader's list of messages need it (RFC 8551 §3.1), and `docs/smime.md` tells users so.
- AES-256-GCM unless told otherwise: CBC can be altered on the way by whoever carries it, and is for readers that know no other.
- One content key and one nonce a message, from the system's generator; a key of one use for each ECDH recipient.
- Every recipient opens it or none does: one certificate that is not for encryption refuses the whole.
- Never reads a clock: dates and revocation of certificates are the caller's to check. About three times the message in memory.

Called by `services` at submission; what it writes is read by `decrypt`, OpenSSL `cms` and mail programs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher as Engine
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from mssante.lang import say
from mssante.protocol.mime.headers import find_header_end
from mssante.smime.ber import CONTEXT_0, OCTET_STRING, PRIMITIVE_0, SEQUENCE, der, der_integer, der_oid
from mssante.smime.cms import ID_AUTH_ENVELOPED_DATA, ID_DATA, ID_ENVELOPED_DATA
from mssante.smime.framing import Octets, algorithm, around, base64_lines, field_lines, set_of, too_large, too_many_octets
from mssante.smime.keys import fingerprint
from mssante.smime.recipients import wrap_for
from mssante.smime.values import Cipher, SmimeCode, SmimeFault, SmimeLimits

DEFAULT_LIMITS = SmimeLimits()
_NONCE = 12  # RFC 5084 §3.2
_TAG = 16
_BLOCK = 16
_OIDS = {Cipher.AES256_GCM: ("2.16.840.1.101.3.4.1.46", 32), Cipher.AES128_GCM: ("2.16.840.1.101.3.4.1.6", 16),
         Cipher.AES256_CBC: ("2.16.840.1.101.3.4.1.42", 32), Cipher.AES128_CBC: ("2.16.840.1.101.3.4.1.2", 16)}
_AUTHENTICATED = (Cipher.AES256_GCM, Cipher.AES128_GCM)
_LONE = re.compile(rb"\r?\n")
_AGREED = 0xA1  # KeyAgreeRecipientInfo


def encrypt_message(raw: bytes, recipients: Sequence[x509.Certificate], *, cipher: Cipher = Cipher.AES256_GCM,
                    oaep: bool = True, limits: SmimeLimits = DEFAULT_LIMITS) -> bytes:
    """Give the message encrypted for certificates, as application/pkcs7-mime in base64 (RFC 8551 §3.3).

    raw: a whole RFC 5322 message, signed or not, at most `limits.message_bytes` octets; recipients: at least one, at most
    `limits.count`, repeats counted once; oaep: RSAES-OAEP with SHA-256 for RSA keys, else PKCS#1 v1.5, which every program reads.
    Raises SmimeFault: `USAGE` or `ALGORITHM` (a certificate cannot be encrypted for), `LIMIT`, `NOT_FOR_US` (no recipient).
    """
    wanted = list({fingerprint(one): one for one in recipients}.values())
    if not wanted:
        raise SmimeFault("aucun destinataire pour qui chiffrer", SmimeCode.NOT_FOR_US,
                         detail=say("aucun certificat donné", "no certificate was given"))
    if len(wanted) > limits.count:
        raise too_large(f"{len(wanted)} destinataires, limite {limits.count}",
                        f"{len(wanted)} recipients, limit {limits.count}")
    if len(raw) > limits.message_bytes:
        raise too_many_octets(len(raw), limits)
    content_key = os.urandom(_OIDS[cipher][1])
    wrapped = [wrap_for(one, content_key, oaep=oaep) for one in wanted]
    outer, entity = _divided(raw)
    authenticated = cipher in _AUTHENTICATED
    seal = _sealed_gcm if authenticated else _sealed_cbc
    # The structure lives no longer than its base64 takes to be made: a message of 30 MiB is held three times at most.
    letters = base64_lines(seal(entity, content_key, _OIDS[cipher][0], wrapped))
    kind = b"authEnveloped-data" if authenticated else b"enveloped-data"
    fields = (b"Content-Type: application/pkcs7-mime; smime-type=" + kind + b"; name=\"smime.p7m\"\r\n"
              b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n")
    return b"".join([*outer, fields, letters])


def _divided(raw: bytes) -> tuple[list[bytes], list[Octets]]:
    """Give (outer header lines, pieces of the inner entity) (RFC 8551 §3.1).

    A message whose line ends are all LF alone gets CRLF inside (RFC 8551 §3.1.1); mixed ones, which only binary parts have, stay.
    """
    end = find_header_end(raw)
    outer, inner = field_lines(raw[:end], content=False), field_lines(raw[:end], content=True)
    if not any(line[:13].lower() == b"mime-version:" for line in outer):
        outer.append(b"MIME-Version: 1.0\r\n")
    if not any(line[:13].lower() == b"content-type:" for line in inner):
        inner.append(b"Content-Type: text/plain\r\n")  # RFC 2045 §5.2: what its absence means
    if b"\r\n" in raw:
        return outer, [b"".join(inner) + b"\r\n", memoryview(raw)[end:]]
    whole = [_LONE.sub(b"\r\n", part) for part in (b"".join(outer), b"".join(inner), raw[end:])]
    return whole[:1], [whole[1] + b"\r\n", whole[2]]


def _sealed_gcm(entity: Sequence[Octets], key: bytes, oid: str, wrapped: Sequence[bytes]) -> list[Octets]:
    """Give ContentInfo with AuthEnvelopedData (RFC 5083 §2.1), by pieces."""
    nonce = os.urandom(_NONCE)
    engine = Engine(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    content = [engine.update(piece) for piece in entity]
    content.append(engine.finalize())
    method = algorithm(oid, der(SEQUENCE, der(OCTET_STRING, nonce), der_integer(_TAG)))
    fields = [der_integer(0), set_of(wrapped), *_encrypted(method, content), der(OCTET_STRING, engine.tag)]
    return _content_info(ID_AUTH_ENVELOPED_DATA, fields)


def _sealed_cbc(entity: Sequence[Octets], key: bytes, oid: str, wrapped: Sequence[bytes]) -> list[Octets]:
    """Give ContentInfo with EnvelopedData (RFC 5652 §6.1), by pieces."""
    vector = os.urandom(_BLOCK)
    engine = Engine(algorithms.AES(key), modes.CBC(vector)).encryptor()
    missing = _BLOCK - sum(len(piece) for piece in entity) % _BLOCK
    content = [engine.update(piece) for piece in (*entity, bytes((missing,)) * missing)]  # RFC 5652 §6.3
    content.append(engine.finalize())
    version = 2 if any(one[0] == _AGREED for one in wrapped) else 0
    fields = [der_integer(version), set_of(wrapped), *_encrypted(algorithm(oid, der(OCTET_STRING, vector)), content)]
    return _content_info(ID_ENVELOPED_DATA, fields)


def _encrypted(method: bytes, content: Sequence[bytes]) -> list[Octets]:
    """Give EncryptedContentInfo by pieces."""
    return around(SEQUENCE, [der_oid(ID_DATA), method, *around(PRIMITIVE_0, content)])


def _content_info(oid: str, fields: Sequence[Octets]) -> list[Octets]:
    return around(SEQUENCE, [der_oid(oid), *around(CONTEXT_0, around(SEQUENCE, fields))])

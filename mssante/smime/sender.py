"""Is the signer the author? (RFC 8550 §3, RELIABILITY §2 "S/MIME verdict".)

- The addresses of a certificate are its rfc822Name; the emailAddress of its subject counts only when it has none (RFC 8550 §3).
- The author is the one address of the one From field. Two of them, a Sender field that says another, a displayed name that is
  itself another address: never "signed by".
- Addresses compare as our mailboxes do: no case, domains as A-labels (`MailAddress.key`).
- Texts name domains, never a local part: it may identify a patient.

Never raises. Called by `smime.verify`, and by whoever learns a certificate.
"""

from __future__ import annotations

import re
import unicodedata

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.author import read_author
from mssante.protocol.mime.headers import Headers, decode_words
from mssante.smime.values import CERTIFICATE_FAULTS

_MAX_ADDRESSES = 50
_ADDRESS = re.compile(r"[^\s<>\"'(),;:\[\]]{1,64}@[^\s<>\"'(),;:\[\]]{1,255}")


def address_key(text: str) -> str:
    """Give the form under which two addresses are the same, or an empty text when it is no address."""
    try:
        return parse_envelope_address(text, utf8=True).key
    except InputFault:
        return ""


def certificate_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Give the e-mail addresses that a certificate is for, as it writes them; at most 50."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [str(value) for value in names.get_values_for_type(x509.RFC822Name)]
    except x509.ExtensionNotFound:
        found = []
    except CERTIFICATE_FAULTS:
        return ()  # an extension that cannot be read names nobody
    if not found:
        found = _subject_values(certificate, NameOID.EMAIL_ADDRESS)
    return tuple(found[:_MAX_ADDRESSES])


def common_name(certificate: x509.Certificate) -> str:
    """Give the CN of a certificate's subject, or an empty text."""
    found = _subject_values(certificate, NameOID.COMMON_NAME)
    return found[0] if found else ""


def _subject_values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    try:
        return [str(one.value) for one in certificate.subject.get_attributes_for_oid(oid)]
    except CERTIFICATE_FAULTS:
        return []


def signer_address(certificate: x509.Certificate, author: str) -> str:
    """Give the certificate's address that is the author's, else its first one, else an empty text."""
    found = certificate_addresses(certificate)
    key = address_key(author)
    return next((one for one in found if key and address_key(one) == key), found[0] if found else "")


def is_for(certificate: x509.Certificate, author: str) -> bool:
    """Tell whether a certificate is for this address."""
    key = address_key(author)
    return bool(key) and any(address_key(one) == key for one in certificate_addresses(certificate))


def author_gap(headers: Headers, author: str, *, inner: bool = False) -> str:
    """Say why a header does not show `author` and nobody else as its author; empty when it does.

    inner: the header of the signed entity (RFC 9788 and RFC 8551 §3.1), where From may be absent. At the top an entity without
    From is judged by `author` alone (what was decrypted has none).
    """
    where = say("dans le contenu signé", "inside the signed content") if inner else say("du message", "of the message")
    if headers.get(b"from") is not None:
        read = read_author(headers)
        if read.fields != 1 or len(read.addresses) != 1 or read.unreadable or read.addresses[0].key != address_key(author):
            return say(f"From {where} : {read.fields} champs, {len(read.addresses)} adresses, autre que l'auteur ou illisible",
                       f"From {where}: {read.fields} fields, {len(read.addresses)} addresses, not the author or unreadable")
        if _shows_other(headers.get(b"from") or b"", author):
            return say(f"le nom affiché du From {where} est une autre adresse",
                       f"the name shown by From {where} is another address")
    for value in headers.all(b"sender"):
        if not _is_only(value, author):
            return say(f"Sender {where} autre que From", f"Sender {where} is not From")
    return ""


def _is_only(value: bytes, author: str) -> bool:
    entries = parse_addresses(value)
    if len(entries) != 1 or entries[0].local is None or entries[0].domain is None or entries[0].route:
        return False
    address = (entries[0].local + b"@" + entries[0].domain).decode("utf-8", "replace")
    return address_key(address) == address_key(author) != ""


def _shows_other(value: bytes, author: str) -> bool:
    """True when the text beside the address reads as an address that is not the author's."""
    shown = " ".join(decode_words(entry.display) for entry in parse_addresses(value))
    plain = "".join(one for one in unicodedata.normalize("NFKC", shown) if unicodedata.category(one) not in ("Cf", "Cc"))
    key = address_key(author)
    return any(address_key(found.strip(".")) != key for found in _ADDRESS.findall(plain))


def domain_of(address: str) -> str:
    """Give the domain of an address for a text, or a dash."""
    return address.rpartition("@")[2][:100] or "-"

"""Distinguished names of the trust space: lenient reading, normal form, comparison (spec RQ-DN, §1.3).

- The white list writes the same holder in several ways (quotes, spaces, NBSP, accents, separators). Names are compared as
  ordered lists of (attribute, normalised value): NFC, NBSP to space, collapsed spaces, case-folded, quotes dropped (real
  entries hold wrapping, inner and missing ones; CN and OU lose wrapping ones only), for ST the space before `(` ignored.
- A name without CN never matches. A name without OU is compared whole in the `cn_ou` mode: the host name alone is never
  enough when the legal entity was asked for.
- Never reads a file, the clock or the network. Called by `whitelist`, `peer`, `signature` and the decisions.

Measured on the real list of 2025-03-13: 392 raw spellings, 380 names after this, 377 (CN, OU) pairs, 375 CNs.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.errors import InputFault
from mssante.model.identity import DistinguishedName

MAX_DN = 1024
MAX_PAIRS = 20


class DnMode(StrEnum):
    """How much of a name must agree: all pairs, CN and OU (default: host name and legal entity), or CN alone."""

    STRICT = "strict"
    CN_OU = "cn_ou"
    CN = "cn"


NameKey = tuple[tuple[str, str], ...]

_OIDS = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.COUNTRY_NAME: "C",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.GIVEN_NAME: "GIVENNAME",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "T",
    NameOID.ORGANIZATION_IDENTIFIER: "ORGANIZATIONIDENTIFIER",
}
_ALIASES = {"S": "ST", "SP": "ST", "EMAILADDRESS": "E", "COMMONNAME": "CN"} | {
    oid.dotted_string: short for oid, short in _OIDS.items()}
_IDENTIFYING = ("CN", "OU")
_KEYS = {DnMode.CN_OU: _IDENTIFYING, DnMode.CN: ("CN",)}
_ATTRIBUTE = r"(?:[A-Za-z][A-Za-z0-9\-]*|\d+(?:\.\d+)+)\s*="
# A value ends at a comma only when another attribute follows: inner commas and quotes stand unescaped in real entries. A
# value quoted from end to end (RFC 2253 §2.4 form) may hold anything, even `, OU=`.
_PAIR = re.compile(
    rf"\s*(?P<attribute>{_ATTRIBUTE})\s*"
    rf'(?P<value>"(?:[^"\\]|\\.)*"(?=\s*(?:,\s*{_ATTRIBUTE}|$))|(?:[^\\]|\\.)*?(?=,\s*{_ATTRIBUTE}|$))\s*(?:,|$)',
    re.DOTALL)
_ESCAPED_OCTETS = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPACES = re.compile(r"\s+")


def normalise_value(attribute: str, value: str) -> str:
    """Give the form of a value under which it is compared (RQ-DN)."""
    text = _SPACES.sub(" ", unicodedata.normalize("NFC", value)).strip()
    if '"' in text:
        wrapped = len(text) > 1 and text[0] == text[-1] == '"'
        text = (text[1:-1] if wrapped else text) if attribute in _IDENTIFYING else text.replace('"', "")
        text = _SPACES.sub(" ", text).strip()
    text = text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())
    return text.replace(" (", "(") if attribute == "ST" else text


def _octets_text(match: re.Match[str]) -> str:
    octets = bytes.fromhex(match[0].replace("\\", ""))
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _unescape(value: str) -> str:
    """Undo RFC 4514 §2.4 escapes; hex pairs are UTF-8 octets, read as Latin-1 when they are not."""
    if "\\" not in value:
        return value
    return _ESCAPE.sub(r"\1", _ESCAPED_OCTETS.sub(_octets_text, value))


def _from_specific(pairs: list[tuple[str, str]]) -> NameKey:
    """Put a name written from the country down (the order of X.500) in the order of RFC 4514 §2.1."""
    return tuple(reversed(pairs)) if len(pairs) > 1 and pairs[0][0] == "C" else tuple(pairs)


@lru_cache(maxsize=8192)
def parse_dn(text: str) -> DistinguishedName:
    """Read a DN as the white list writes it (at most 1024 characters), most specific attribute first.

    Lenient RFC 4514: `, ` separators, unescaped inner commas and quotes, quoted values. Raises InputFault
    (`DN-SYNTAXE`, `DN-TAILLE`).
    """
    if len(text) > MAX_DN:
        raise InputFault("distinguished name is too long", rule="DN-TAILLE", remedy=f"at most {MAX_DN} characters")
    pairs: list[tuple[str, str]] = []
    position = 0
    stripped = text.strip()
    while position < len(stripped) or not pairs:
        found = _PAIR.match(stripped, position)
        if found is None or len(pairs) >= MAX_PAIRS:
            raise InputFault("not a distinguished name", rule="DN-SYNTAXE", remedy="write CN=...,OU=...,O=...,C=...")
        attribute = found["attribute"].rstrip(" =\t\r\n\u00a0").upper()
        attribute = _ALIASES.get(attribute, attribute)
        value = normalise_value(attribute, _unescape(found["value"].strip()))
        if not value:
            raise InputFault(f"attribute {attribute} is empty", rule="DN-SYNTAXE", remedy="give it a value or leave it out")
        pairs.append((attribute, value))
        position = found.end()
    return DistinguishedName(_from_specific(pairs), stripped)


def dn_from_x509(name: x509.Name) -> DistinguishedName:
    """Give the DN of a certificate, most specific first. A name with several values in one RDN keeps them all.

    Raises InputFault (`DN-TAILLE`) above 20 attributes.
    """
    attributes = list(name)
    if len(attributes) > MAX_PAIRS:
        raise InputFault("distinguished name has too many attributes", rule="DN-TAILLE")
    pairs: list[tuple[str, str]] = []
    shown: list[str] = []
    for attribute in reversed(attributes):
        short = _OIDS.get(attribute.oid, attribute.oid.dotted_string)
        value = attribute.value if isinstance(attribute.value, str) else attribute.value.hex()
        pairs.append((short, normalise_value(short, value)))
        shown.append(f"{short}={value}")
    return DistinguishedName(_from_specific(pairs), ",".join(shown))


def name_key(name: DistinguishedName, mode: DnMode) -> NameKey:
    """Give the hashable part of a name that the mode compares, for look-ups by set membership.

    Several CN or OU are all part of it; without OU the `cn_ou` key is the whole name.
    """
    if mode is DnMode.STRICT:
        return name.pairs
    key = tuple([pair for wanted in _KEYS[mode] for pair in name.pairs if pair[0] == wanted])
    return name.pairs if mode is DnMode.CN_OU and (not key or key[-1][0] != "OU") else key


def same_name(first: DistinguishedName, second: DistinguishedName, mode: DnMode) -> bool:
    """Tell whether two names are the same holder under a mode; a name without CN is never the same as another."""
    return bool(first.value("CN")) and name_key(first, mode) == name_key(second, mode)


def show_name(name: DistinguishedName) -> str:
    """Give a subject as a reply may show it: CN and OU, printable ASCII, at most 160 characters."""
    text = f"CN={name.value('CN')},OU={name.value('OU')}" if name.value("OU") else f"CN={name.value('CN')}"
    return printable(text, 160)


def printable(text: str, limit: int) -> str:
    """Give text for an SMTP reply: anything but printable ASCII becomes `?`, cut at `limit` characters (RFC 5321 §4.2)."""
    return "".join([char if " " <= char <= "~" else "?" for char in text[:limit]])

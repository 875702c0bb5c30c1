"""Distinguished names of the trust space: lenient reading, normal form, comparison (spec RQ-DN, §1.3).

The white list writes the same holder in several ways (quotes, spaces, NBSP, accents, order separators). Names are compared
as ordered lists of (attribute, normalised value): NFC, NBSP to space, collapsed spaces, case-folded, quotes
dropped (real entries hold wrapping, inner and missing ones), and for ST the space before `(` ignored.

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
_ALIASES = {"S": "ST", "SP": "ST", "EMAILADDRESS": "E", "COMMONNAME": "CN"}
# a value ends at a comma only when another attribute follows: inner commas and quotes stand unescaped in real entries
_START = re.compile(r"(?:^|(?<!\\),)\s*([A-Za-z][A-Za-z0-9\-]*|\d+(?:\.\d+)+)\s*=")
_ESCAPE = re.compile(r"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)
_SPACES = re.compile(r"\s+")


def normalise_value(attribute: str, value: str) -> str:
    """Give the form of a value under which it is compared (RQ-DN)."""
    text = unicodedata.normalize("NFC", value).replace("\u00a0", " ").replace('"', "")
    text = _SPACES.sub(" ", text).strip().casefold()
    return text.replace(" (", "(") if attribute == "ST" else text


def _unescape(value: str) -> str:
    """Undo RFC 4514 §2.4 escapes; a hex pair is one octet, read as Latin-1 when alone."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if len(m[1]) == 2 else m[1], value) if "\\" in value else value


@lru_cache(maxsize=8192)
def parse_dn(text: str) -> DistinguishedName:
    """Read a DN as the white list writes it, most specific attribute first.

    Raises InputFault (`DN-SYNTAXE`, `DN-TAILLE`).
    """
    if len(text) > MAX_DN:
        raise InputFault("distinguished name is too long", rule="DN-TAILLE", remedy=f"at most {MAX_DN} characters")
    starts = list(_START.finditer(text))
    if not starts or text[:starts[0].start()].strip() or len(starts) > MAX_PAIRS:
        raise InputFault("not a distinguished name", rule="DN-SYNTAXE", remedy="write CN=...,OU=...,O=...,C=...")
    pairs = []
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        attribute = start[1].upper()
        attribute = _ALIASES.get(attribute, attribute)
        value = normalise_value(attribute, _unescape(text[start.end():end].strip()))
        if not value:
            raise InputFault(f"attribute {attribute} is empty", rule="DN-SYNTAXE")
        pairs.append((attribute, value))
    if len(pairs) > 1 and pairs[0][0] == "C":  # written from the country down: the order of X.500
        pairs.reverse()
    return DistinguishedName(tuple(pairs), text.strip())


def dn_from_x509(name: x509.Name) -> DistinguishedName:
    """Give the DN of a certificate, most specific first. A name with several values in one RDN keeps them all.

    Raises InputFault (`DN-TAILLE`) above 20 attributes.
    """
    attributes = list(name)
    if len(attributes) > MAX_PAIRS:
        raise InputFault("distinguished name has too many attributes", rule="DN-TAILLE")
    pairs = []
    shown = []
    for attribute in reversed(attributes):
        short = _OIDS.get(attribute.oid, attribute.oid.dotted_string)
        value = attribute.value if isinstance(attribute.value, str) else attribute.value.hex()
        pairs.append((short, normalise_value(short, value)))
        shown.append(f"{short}={value}")
    return DistinguishedName(tuple(pairs), ",".join(shown))


def name_key(name: DistinguishedName, mode: DnMode) -> NameKey:
    """Give the hashable part of a name that the mode compares. An empty key never matches (see `same_name`)."""
    if mode is DnMode.STRICT:
        return name.pairs
    wanted = ("CN", "OU") if mode is DnMode.CN_OU else ("CN",)
    return tuple((attribute, value) for attribute, value in name.pairs if attribute in wanted)


def same_name(first: DistinguishedName, second: DistinguishedName, mode: DnMode) -> bool:
    """Tell whether two names are the same holder under a mode; a name without CN is never the same as another."""
    return bool(first.value("CN")) and name_key(first, mode) == name_key(second, mode)

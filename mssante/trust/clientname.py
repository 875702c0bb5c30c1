"""The subject of a client's certificate as one text that names one application: what `account_identity` keeps (kind `dn`).

- Values are normalised as everywhere (`trust.names`: NFC, spaces, case), attribute for attribute, in the order of the
  certificate. No look-alike folding: another alphabet is another name.
- Stricter than the white list's comparison, for a name opens a mailbox here: an RDN with several values, an empty subject, a
  subject without CN, a value with a control character name nobody. Reordered RDNs are another name.
- Escapes make the text unambiguous: `,`, `=`, `+` and `\\` inside values are escaped, so no value can play another attribute.
Called by `services.client_certificates` and `services.identities`.
"""

from __future__ import annotations

import unicodedata

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.errors import InputFault
from mssante.trust.names import MAX_DN, MAX_PAIRS, normalise_value

_NAMES = {NameOID.COMMON_NAME: "CN", NameOID.ORGANIZATIONAL_UNIT_NAME: "OU", NameOID.ORGANIZATION_NAME: "O",
          NameOID.STATE_OR_PROVINCE_NAME: "ST", NameOID.LOCALITY_NAME: "L", NameOID.COUNTRY_NAME: "C"}
_ESCAPES = str.maketrans({one: "\\" + one for one in ",=+\\"})


def _refuse(why: str) -> InputFault:
    return InputFault(f"this subject names no application: {why}", rule="EXTERNE-NOM",
                      remedy="ask for a certificate of the ORG AUTH_CLI offer")


def subject_key(name: x509.Name) -> str:
    """Give the text under which a subject is kept and looked for: `C=fr,O=…,OU=…,CN=…`. Raises InputFault `EXTERNE-NOM`."""
    parts: list[str] = []
    if len(name.rdns) > MAX_PAIRS:
        raise _refuse("too many attributes")
    for rdn in name.rdns:
        attributes = list(rdn)
        if len(attributes) != 1:
            raise _refuse("several values in one RDN")
        attribute = attributes[0]
        short = _NAMES.get(attribute.oid, attribute.oid.dotted_string)
        if not isinstance(attribute.value, str) or len(attribute.value) > MAX_DN:
            raise _refuse(f"{short} is no text, or too long")
        if any(unicodedata.category(one).startswith("C") for one in attribute.value):
            raise _refuse(f"control or invisible character in {short}")
        value = normalise_value(short, attribute.value)
        if not value:
            raise _refuse(f"{short} is empty")
        parts.append(f"{short}={value.translate(_ESCAPES)}")
    if sum(part.startswith("CN=") for part in parts) != 1 or sum(map(len, parts)) > MAX_DN:
        raise _refuse("one CN is needed, and a bounded length")
    return ",".join(parts)

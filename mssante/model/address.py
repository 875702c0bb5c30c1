"""Envelope addresses and domains.

- `parse_envelope_address` accepts what RFC 5321 §4.1.2 calls Mailbox, in the dot-string form, with UTF-8 when allowed
  (RFC 6531); source routes, quoted local parts, address literals, `%` and `!` routing are refused: no MSSanté
  address needs them and each has carried an attack.
- Domains compare as lower-case A-labels (RFC 5891), by full string, without trailing dot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from mssante.errors import InputFault

MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3 (path of 256 with its brackets)
MAX_LOCAL = 64  # RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 253

_ATEXT = r"[A-Za-z0-9!#$&'*+/=?^_`{|}~\-]"  # RFC 5322 §3.2.3 less '%': no routing through us
_LOCAL = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")
_LOCAL_UTF8 = re.compile(r"(?:[A-Za-z0-9!#$&'*+/=?^_`{|}~\-]|[^\x00-\x9f\s])+"
                         r"(?:\.(?:[A-Za-z0-9!#$&'*+/=?^_`{|}~\-]|[^\x00-\x9f\s])+)*\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class MailAddress:
    """An address as it stands in an envelope. `domain` is the lower-case A-label form; `local` keeps its case."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """The form under which mailboxes are looked up: local part lower-cased too."""
        return f"{self.local.lower()}@{self.domain}"


@lru_cache(maxsize=8192)
def normalise_domain(text: str) -> str:
    """Give the lower-case A-label form of a domain name, without trailing dot.

    Raises InputFault (`ADR-DOMAIN`) when it is not a host name with at least two labels (RFC 5321 §2.3.5, RFC 5891).
    """
    name = text.strip().rstrip(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError as exc:
            raise InputFault("domain is not a valid internationalised name", rule="ADR-DOMAIN") from exc
    labels = name.split(".")
    if not name or len(name) > MAX_DOMAIN or len(labels) < 2 or not all(_LABEL.match(label) for label in labels):
        raise InputFault("domain is not a host name", rule="ADR-DOMAIN", remedy="use name@domain.tld")
    return name


@lru_cache(maxsize=8192)
def parse_envelope_address(text: str, utf8: bool = False) -> MailAddress:
    """Read `local@domain` without brackets; `utf8` when SMTPUTF8 was asked (RFC 6531 §3.3).

    Raises InputFault (`ADR-SYNTAX`, `ADR-LENGTH`, `ADR-DOMAIN`).
    """
    try:
        octets = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InputFault("address is not text", rule="ADR-SYNTAX") from exc
    if octets > MAX_ADDRESS:
        raise InputFault("address is too long", rule="ADR-LENGTH", remedy=f"at most {MAX_ADDRESS} octets")
    local, at, domain = text.rpartition("@")
    pattern = _LOCAL_UTF8 if utf8 else _LOCAL
    if not at or not pattern.match(local):
        raise InputFault("address is not of the form name@domain", rule="ADR-SYNTAX", remedy="use name@domain.tld")
    if len(local.encode()) > MAX_LOCAL:
        raise InputFault("local part is too long", rule="ADR-LENGTH", remedy=f"at most {MAX_LOCAL} octets")
    if not domain.isascii() and not utf8:
        raise InputFault("address needs SMTPUTF8", rule="ADR-SYNTAX")
    if domain.endswith(".") or domain != domain.strip():
        raise InputFault("domain ends with a dot or has white space around it", rule="ADR-DOMAIN")
    return MailAddress(local, normalise_domain(domain))

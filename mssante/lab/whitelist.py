"""The lab's white list: entries in the real XML shape, signed by the lab's ORG SIGN certificate.

- One `Domaine` per (domain, DN) in the published namespace, six children in the published order (spec §1.2, F1.8).
- Signing is `mssante.trust.signing`; the faults (altered, rolled back) are made here so that tests and `lab break` share them.
- Pure: instants are arguments. Called by `mssante.lab.infra`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mssante.trust.signing import sign_list

NAMESPACE = "https://listeblanche.mssante.fr/schema"
CONTACT = "contact@lab.invalid"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One authorised (domain, certificate) pair. dn: RFC 4514 text, CN first."""

    domain: str
    description: str
    dn: str


@dataclass(frozen=True, slots=True)
class ListSigner:
    """The ORG SIGN pair of the publisher (F1.13)."""

    certificate: x509.Certificate
    key: RSAPrivateKey


def stamp(when: datetime) -> str:
    """Give `YYYY-MM-DDTHH:MM:SSZ` in UTC (F1.9)."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unsigned_list(entries: Sequence[ListEntry], generated: datetime) -> bytes:
    """Give the list as UTF-8 XML without its signature (spec §1.2)."""
    date = stamp(generated)
    rows = [
        "    <Domaine>\n"
        f"      <Nom>{escape(entry.domain)}</Nom>\n"
        f"      <Description>{escape(entry.description)}</Description>\n"
        f"      <DNCertificatOperateur>{escape(entry.dn)}</DNCertificatOperateur>\n"
        f"      <ResponsableContact>{CONTACT}</ResponsableContact>\n"
        f"      <SupportContact>{CONTACT}</SupportContact>\n"
        f"      <DateMAJ>{date}</DateMAJ>\n"
        "    </Domaine>\n"
        for entry in entries
    ]
    text = (f'<?xml version="1.0" encoding="UTF-8"?>\n<ListeBlancheMSSante xmlns="{NAMESPACE}">\n'
            f"  <DateDeGeneration>{date}</DateDeGeneration>\n  <ListeDomaines>\n{''.join(rows)}"
            "  </ListeDomaines>\n</ListeBlancheMSSante>\n")
    return text.encode()


def signed_list(entries: Sequence[ListEntry], signer: ListSigner, generated: datetime) -> bytes:
    """Give the list with its enveloped XAdES-BASELINE-B signature (F1.12), both dated `generated`."""
    return sign_list(unsigned_list(entries, generated), signer.certificate, signer.key, generated)


def altered_list(signed: bytes) -> bytes:
    """Give the same list with one DN changed after signing: the digest no longer matches (F12.9)."""
    return signed.replace(b"<DNCertificatOperateur>CN=", b"<DNCertificatOperateur>CN=intrus.", 1)

"""What the lab publishes at a given instant: the list and the CRLs, whole or with the fault that is on.

- A document is made once and served until something about it changes: a fault, its age, or a file that a test put in
  `DIR/infra/published/`, which is served as it is (that is how tests publish lists and CRLs signed with the lab's keys).
- CRL numbers only grow, across restarts too (RFC 5280 §5.2.3): the last one is kept in `DIR/infra/state.json`.
- Reads keys from disk once; `now` is an argument. Used by `mssante.lab.infra` only.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mssante.errors import OperatorFault
from mssante.lab.faults import Fault, FaultFile
from mssante.lab.files import write_atomic
from mssante.lab.igc import Authority
from mssante.lab.manifest import Lab
from mssante.lab.plan import OPERATORS, PEERS
from mssante.lab.revocation import CRL_LIFE, CrlIssue, build_crl
from mssante.lab.whitelist import ListEntry, ListSigner, altered_list, signed_list

LIST_LIFE = timedelta(hours=24)
CRL_RENEWAL = timedelta(hours=1)
ROLL_BACK = timedelta(days=7)
REVOKED_FILE = "revoked.txt"
MAX_PUBLISHED = 128 * 1024 * 1024


def load_certificate(path: Path) -> x509.Certificate:
    """Give the first certificate of a PEM file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def load_key(path: Path) -> RSAPrivateKey:
    """Give the RSA key of a PEM file; raises OperatorFault (`LAB-KEY`) for another kind."""
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise OperatorFault("lab key is not RSA", detail=str(path), rule="LAB-KEY")
    return key


def load_authorities(lab: Lab) -> tuple[Authority, ...]:
    """Give the publishing authorities of a lab: organisations, root, personnes."""
    files = {"organisations": "ACI-EL-ORG", "root": "ACR-EL", "personnes": "ACI-EL-PP"}
    return tuple(Authority(name, stem, load_certificate(lab.path(f"igc/{name}.pem")), load_key(lab.path(f"igc/{name}.key")))
                 for name, stem in files.items())


def lab_entries(lab: Lab) -> list[ListEntry]:
    """Give the entries of the lab's list: one for each (domain, DN) pair that LAB.md calls listed."""
    def name_of(path: str) -> str:
        return load_certificate(lab.path(path)).subject.rfc4514_string()

    entries = [ListEntry(plan.domain, plan.title, name_of(f"{plan.name}/certs/mta.pem")) for plan in OPERATORS]
    gamma = name_of("peers/gamma.pem")
    for peer in PEERS:
        own = name_of(f"peers/{peer.name}.pem")
        if peer.listed_for:
            # the peer's DN is listed for that other domain; its own domain belongs to somebody else
            entries.append(ListEntry(peer.listed_for, peer.title, own))
            entries.append(ListEntry(peer.domain, peer.title, gamma))
        elif peer.listed:
            entries.append(ListEntry(peer.domain, peer.title, own))
    return entries


class Published:
    """Files that a test put in the lab's window: served instead of our own document."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """Give the content of a published file, or None; `name` is one of ours, never a client's path."""
        path = self._folder / name
        try:
            return path.read_bytes() if path.stat().st_size <= MAX_PUBLISHED else None
        except OSError:
            return None


class ListDesk:
    """Gives the white list to serve."""

    def __init__(self, entries: list[ListEntry], signer: ListSigner) -> None:
        self._entries = entries
        self._signer = signer
        self._made: dict[str, tuple[datetime, bytes]] = {}

    def current(self, faults: frozenset[Fault], now: datetime) -> bytes:
        """Give the signed list of the day, altered or rolled back when that fault is on."""
        if Fault.WHITELIST_ROLLED_BACK in faults:
            return self._variant("old", now, now - ROLL_BACK)
        good = self._variant("good", now, now)
        return altered_list(good) if Fault.WHITELIST_BAD_SIGNATURE in faults else good

    def _variant(self, name: str, now: datetime, generated: datetime) -> bytes:
        kept = self._made.get(name)
        if kept is None or now - kept[0] >= LIST_LIFE:
            kept = (now, signed_list(self._entries, self._signer, generated.replace(microsecond=0)))
            self._made[name] = kept
        return kept[1]


class RevocationDesk:
    """Gives the CRLs to serve and the set of revoked serials."""

    def __init__(self, lab: Lab, authorities: tuple[Authority, ...], *, now: datetime) -> None:
        self._authorities = {authority.file: authority for authority in authorities}
        self._state = lab.path("infra/state.json")
        self._beta = load_certificate(lab.path("beta/certs/mta.pem")).serial_number
        self._since = now
        self._revoked = {
            load_certificate(lab.path(f"peers/{peer.name}.pem")).serial_number: now - timedelta(days=1)
            for peer in PEERS if peer.revoked}
        self._made: dict[str, tuple[frozenset[object], datetime, bytes]] = {}
        self._published = Published(lab.path("infra/published"))

    def revoked(self, faults: frozenset[Fault], channel: str = "crl") -> dict[int, datetime]:
        """Give the revoked serials of ORGANISATIONS with the instant of each. channel: `crl` or `ocsp`, who asks."""
        found = {**self._revoked, **dict.fromkeys(self._further(channel), self._since.replace(microsecond=0))}
        if Fault.BETA_CERTIFICATE_REVOKED in faults:
            found[self._beta] = self._since.replace(microsecond=0)
        return found

    def _further(self, channel: str) -> frozenset[int]:
        """Give what a test revoked: lines `SERIAL` or `SERIAL crl|ocsp` (hexadecimal) of `infra/published/revoked.txt`."""
        lines = (self._published.read(REVOKED_FILE) or b"").decode("ascii", "replace").splitlines()
        words = [line.split() for line in lines]
        return frozenset(int(one[0], 16) for one in words if one and one[1:] in ([], [channel])
                         and all(sign in "0123456789abcdefABCDEF" for sign in one[0]))

    def current(self, file: str, faults: frozenset[Fault], now: datetime) -> bytes | None:
        """Give the DER CRL of the authority whose files are called `file`, or None for a name that is not ours.

        A new issue with the next number is made when a fault that concerns CRLs changes, and every hour.
        """
        authority = self._authorities.get(file)
        if authority is None:
            return None
        concerned: frozenset[object] = (faults & {Fault.CRL_EXPIRED, Fault.BETA_CERTIFICATE_REVOKED}) | self._further("crl")
        kept = self._made.get(file)
        if kept is None or kept[0] != concerned or now - kept[1] >= CRL_RENEWAL:
            kept = (concerned, now, self._issue(authority, faults, now))
            self._made[file] = kept
        return kept[2]

    def _issue(self, authority: Authority, faults: frozenset[Fault], now: datetime) -> bytes:
        moment = now.replace(microsecond=0)
        if Fault.CRL_EXPIRED in faults:
            issue = CrlIssue(self._next_number(), moment - timedelta(seconds=2), moment - timedelta(seconds=1))
        else:
            issue = CrlIssue(self._next_number(), moment, moment + CRL_LIFE)
        return build_crl(authority, self.revoked(faults) if authority.name == "organisations" else {}, issue)

    def _next_number(self) -> int:
        try:
            number = int(json.loads(self._state.read_bytes())["crl_number"]) + 1
        except (OSError, ValueError, KeyError, TypeError):
            number = 1
        write_atomic(self._state, json.dumps({"crl_number": number}).encode())
        return number


def load_list_desk(lab: Lab) -> ListDesk:
    """Give the desk of a lab from its files."""
    signer = ListSigner(load_certificate(lab.path(lab.trust("signer_certificate"))),
                        load_key(lab.path(lab.trust("signer_key"))))
    return ListDesk(lab_entries(lab), signer)


def fault_file(lab: Lab) -> FaultFile:
    """Give the fault file of a lab."""
    return FaultFile(lab.path("infra/faults.json"))

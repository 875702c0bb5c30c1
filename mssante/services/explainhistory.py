"""What is kept of the past, for replays: the white lists by date, and what the CRLs at hand say of a serial and since when.

- The list of an instant is the one that the journal names (its generation instant), else the last one adopted before it.
- A kept list is verified again, at the instant when it was adopted: one altered since on disk is told, never believed.
- A certificate revoked after the instant of a decision was not revoked for that decision: the entry's date decides.
- Reads files of the configuration's folders only, each within the limit of its kind; keeps at most four lists in memory.

Called by `services.explain`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from mssante.errors import InputFault
from mssante.storage.interfaces import WhitelistVersion
from mssante.trust.anchors import READ_FAULTS, TrustAnchors, certificate_id
from mssante.trust.crl import CrlSet, parse_crl
from mssante.trust.signature import SignerPolicy, verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist, read_instant

MAX_VERSIONS = 1000
MAX_KEPT = 4
ADOPTION = timedelta(seconds=1)  # the journal's instant of a message may stand a moment before the adoption that it used


@dataclass(frozen=True, slots=True)
class ListUsed:
    """The list of a past decision. exact: the journal named it; else it was the last one adopted. fault: why it is not read."""

    version: WhitelistVersion
    whitelist: Whitelist | None
    exact: bool
    fault: str = ""


class ListHistory:
    """The adopted lists, newest adoption first, and their files."""

    def __init__(self, folder: Path, versions: Sequence[WhitelistVersion], signer: SignerPolicy, max_bytes: int) -> None:
        self._folder = folder
        self._versions = list(versions)
        self._signer = replace(signer, crls=None)  # a signer revoked since does not undo what it signed before
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Whitelist] = OrderedDict()

    def at(self, instant: datetime, named: str = "") -> ListUsed | None:
        """Give the list in force at an instant; named: the generation instant, or day, that the journal holds."""
        adopted = [one for one in self._versions if one.adopted_at <= instant + ADOPTION]
        stamp = read_instant(named) if named else None
        exact = [one for one in adopted if stamp is not None and one.generated_at == stamp]
        same_day = [one for one in adopted if named and f"{one.generated_at:%Y-%m-%d}" == named[:10]]
        found = next(iter(exact or same_day or adopted), None)
        if found is None:
            return None
        try:
            return ListUsed(found, self.read(found), bool(exact))
        except InputFault as fault:
            return ListUsed(found, None, bool(exact), f"{fault.public} [{fault.rule}]")

    def read(self, version: WhitelistVersion) -> Whitelist:
        """Give a kept list, verified as it was when adopted. Raises InputFault (`LB-FICHIER`, `LB-…`, `XML-…`)."""
        found = self._kept.get(version.sha256)
        if found is not None:
            return found
        name = Path(version.file).name
        try:
            with (self._folder / name).open("rb") as file:
                raw = file.read(self._max_bytes + 1)
        except OSError as exc:
            raise InputFault(f"{name} is not kept any more", detail=exc.strerror or "", rule="LB-FICHIER") from exc
        if len(raw) > self._max_bytes or hashlib.sha256(raw).hexdigest() != version.sha256:
            raise InputFault(f"{name} is not the file that was adopted", rule="LB-FICHIER", remedy="restore it from a backup")
        found = parse_whitelist(verify_list_signature(raw, self._signer, version.adopted_at).root, version.sha256)
        self._kept[version.sha256] = found
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found

    def turned(self, test: Callable[[Whitelist], bool], after: datetime) -> WhitelistVersion | None:
        """Give the version adopted after an instant since which `test` says what it says of the newest one, or None.

        Looks by halves: log2 of the history is read. None too when a file on the way cannot be read, or nothing turned.
        """
        later = [one for one in reversed(self._versions) if one.adopted_at > after]
        if not later:
            return None
        try:
            wanted = test(self.read(later[-1]))
            low, high = 0, len(later) - 1
            while low < high:
                middle = (low + high) // 2
                if test(self.read(later[middle])) == wanted:
                    high = middle
                else:
                    low = middle + 1
        except InputFault:
            return None
        return later[low]


@dataclass(frozen=True, slots=True)
class CrlWord:
    """What a kept CRL says of one serial. revoked_on None: not in it."""

    number: int
    this_update: datetime
    next_update: datetime
    revoked_on: datetime | None


class CrlShelf:
    """The CRL files at hand (DER or PEM), each verified against our authorities before it says anything."""

    def __init__(self, files: Sequence[bytes], anchors: TrustAnchors, now: datetime) -> None:
        self._anchors = anchors
        self._parsed = []
        for raw in files:
            try:
                crl = x509.load_pem_x509_crl(raw) if raw[:64].lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl(raw)
                authority = next(one for one in anchors.authorities if one.subject == crl.issuer)
                self._parsed.append((crl, authority, parse_crl(raw, authority, now)))
            except (InputFault, StopIteration, *READ_FAULTS):
                continue

    def word(self, leaf_der: bytes, at: datetime) -> CrlWord | None:
        """Give what the CRL of a certificate's issuer says of it, or None when none is kept."""
        try:
            leaf = x509.load_der_x509_certificate(leaf_der)
            issuer = self._anchors.issuer_of(leaf, at)
        except READ_FAULTS:
            return None
        return self.word_of(leaf.serial_number, issuer) if issuer is not None else None

    def word_of(self, serial: int, issuer: x509.Certificate) -> CrlWord | None:
        """Give what the CRL of an authority says of a serial, or None when none is kept."""
        for crl, authority, facts in self._parsed:
            if certificate_id(authority) == certificate_id(issuer):
                entry = crl.get_revoked_certificate_by_serial_number(serial)
                return CrlWord(facts.number, facts.this_update, facts.next_update,
                               entry.revocation_date_utc if entry is not None else None)
        return None


def crls_at(crls: CrlSet, serial: int, word: CrlWord | None, at: datetime) -> CrlSet:
    """Give the CRLs as they would have spoken of a serial at an instant: one revoked later was not revoked yet."""
    if word is None or word.revoked_on is None or word.revoked_on <= at:
        return crls
    earlier = CrlSet()
    for crl in crls.every():
        earlier = earlier.admit(replace(crl, revoked=crl.revoked - {serial}))
    return earlier

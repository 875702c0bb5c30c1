"""The white list as an immutable value: which operator certificates may speak for which domain (spec §1).

- Built only from nodes whose signature was verified (`signature.SignedContent`); this module checks shape, not origin.
- Exact domain match, no wildcard, no inheritance; a domain may have several certificates, a certificate many domains.
- One bad entry is skipped and told, never fatal (spec §1.3); the text of an element is read whole, and an element that
  holds anything but text is a bad entry (a comment cannot split a name).
- Look-ups are set membership, prepared once for each comparison mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lxml import etree

from mssante.errors import InputFault
from mssante.model.address import normalise_domain
from mssante.model.identity import DistinguishedName
from mssante.trust.names import DnMode, NameKey, name_key, parse_dn

NAMESPACE = "https://listeblanche.mssante.fr/schema"
MAX_ENTRIES = 200_000
MAX_TEXT = 255  # the publisher's own limit of each field (F1.5)
_FIELDS = ("Nom", "Description", "DNCertificatOperateur", "ResponsableContact", "SupportContact", "DateMAJ")


@dataclass(frozen=True, slots=True)
class WhitelistEntry:
    """One row: a domain bound to one operator certificate. updated_at None when the date cannot be read."""

    domain: str
    description: str
    operator_dn: DistinguishedName
    support_contact: str
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """A row that could not be used: its rank from 1 and the rule."""

    rank: int
    rule: str


@dataclass(frozen=True, slots=True)
class Whitelist:
    """A list in force. sha256: hex digest of the published file."""

    generated_at: datetime
    sha256: str
    entries: tuple[WhitelistEntry, ...]
    skipped: tuple[SkippedEntry, ...]
    _bound: Mapping[DnMode, Mapping[str, frozenset[NameKey]]] = field(repr=False)
    _known: Mapping[DnMode, frozenset[NameKey]] = field(repr=False)

    @property
    def entry_count(self) -> int:
        """Usable rows."""
        return len(self.entries)

    @property
    def domain_count(self) -> int:
        """Distinct domains."""
        return len(self._bound[DnMode.STRICT])

    @property
    def name_counts(self) -> dict[str, int]:
        """Distinct names: as written, and after normalisation in each mode."""
        counts = {"raw": len({entry.operator_dn.text for entry in self.entries})}
        return counts | {mode.value: len(names) for mode, names in self._known.items()}

    def domains(self) -> frozenset[str]:
        """Give all domains."""
        return frozenset(self._bound[DnMode.STRICT])

    def knows_domain(self, domain: str) -> bool:
        """Tell whether a domain (lower-case A-label form) is listed."""
        return domain in self._bound[DnMode.STRICT]

    def knows_name(self, name: DistinguishedName, mode: DnMode) -> bool:
        """Tell whether a certificate subject is listed for at least one domain (F1.18)."""
        return bool(name.value("CN")) and name_key(name, mode) in self._known[mode]

    def binds(self, domain: str, name: DistinguishedName, mode: DnMode) -> bool:
        """Tell whether a certificate subject is listed for this very domain (F1.18)."""
        return bool(name.value("CN")) and name_key(name, mode) in self._bound[mode].get(domain, frozenset())

    def dns_for(self, domain: str) -> tuple[DistinguishedName, ...]:
        """Give the certificate subjects listed for a domain, in the list's order, without repeats."""
        found = {entry.operator_dn.pairs: entry.operator_dn for entry in self.entries if entry.domain == domain}
        return tuple(found.values())

    def domains_of(self, name: DistinguishedName, mode: DnMode) -> frozenset[str]:
        """Give the domains that a certificate subject may speak for."""
        key = name_key(name, mode)
        return frozenset(domain for domain, keys in self._bound[mode].items() if key in keys)


def read_instant(text: str) -> datetime | None:
    """Read `YYYY-MM-DDTHH:MM:SSZ` (F1.9), or give None."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _text(element: etree._Element) -> str:
    if len(element):
        raise InputFault("element holds more than text", rule="LB-ENTREE-FORME")
    text = (element.text or "").strip()
    if not text or len(text) > MAX_TEXT:
        raise InputFault("text is empty or too long", rule="LB-ENTREE-TEXTE")
    return text


def _entry(element: etree._Element) -> WhitelistEntry:
    values: dict[str, str] = {}
    for child in element:
        name = child.tag.removeprefix(f"{{{NAMESPACE}}}") if isinstance(child.tag, str) else ""
        if name not in _FIELDS:
            if not name:
                raise InputFault("entry holds something else than elements", rule="LB-ENTREE-FORME")
            continue
        if name in values:
            raise InputFault("entry repeats an element", rule="LB-ENTREE-FORME")
        values[name] = _text(child) if name in ("Nom", "DNCertificatOperateur") else (child.text or "").strip()[:MAX_TEXT]
    if "Nom" not in values or "DNCertificatOperateur" not in values:
        raise InputFault("entry lacks its name or its certificate", rule="LB-ENTREE-FORME")
    operator_dn = parse_dn(values["DNCertificatOperateur"])
    if not operator_dn.value("CN"):
        raise InputFault("certificate name has no CN", rule="LB-ENTREE-DN")
    return WhitelistEntry(normalise_domain(values["Nom"]), values.get("Description", ""), operator_dn,
                          values.get("SupportContact", ""), read_instant(values.get("DateMAJ", "")))


def _rows(root: etree._Element) -> tuple[datetime, Iterator[etree._Element]]:
    lead = f"{{{NAMESPACE}}}"
    if root.tag != lead + "ListeBlancheMSSante":
        raise InputFault("root element is not ListeBlancheMSSante", rule="LB-FORME", remedy="check whitelist_url")
    dates = root.findall(lead + "DateDeGeneration")
    lists = root.findall(lead + "ListeDomaines")
    if len(dates) != 1 or len(lists) != 1:
        raise InputFault("list needs one DateDeGeneration and one ListeDomaines", rule="LB-FORME")
    generated_at = read_instant(_text(dates[0]))
    if generated_at is None:
        raise InputFault("DateDeGeneration cannot be read", rule="LB-DATE")
    return generated_at, iter(lists[0].findall(lead + "Domaine"))


def parse_whitelist(root: etree._Element, sha256: str = "") -> Whitelist:
    """Give the list that a verified root element holds. Raises InputFault (`LB-FORME`, `LB-DATE`, `LB-VIDE`, `LB-TAILLE`)."""
    generated_at, rows = _rows(root)
    entries: list[WhitelistEntry] = []
    skipped: list[SkippedEntry] = []
    bound: dict[DnMode, dict[str, set[NameKey]]] = {mode: {} for mode in DnMode}
    for rank, row in enumerate(rows, 1):
        if rank > MAX_ENTRIES:
            raise InputFault("list has too many entries", rule="LB-TAILLE", remedy=f"at most {MAX_ENTRIES}")
        try:
            entry = _entry(row)
        except InputFault as fault:
            skipped.append(SkippedEntry(rank, fault.rule))
            continue
        entries.append(entry)
        for mode in DnMode:
            bound[mode].setdefault(entry.domain, set()).add(name_key(entry.operator_dn, mode))
    if not entries:
        raise InputFault("list has no usable entry", rule="LB-VIDE", remedy="keep the last good list")
    frozen = {mode: {domain: frozenset(keys) for domain, keys in names.items()} for mode, names in bound.items()}
    known = {mode: frozenset(key for keys in names.values() for key in keys) for mode, names in frozen.items()}
    return Whitelist(generated_at, sha256, tuple(entries), tuple(skipped), frozen, known)

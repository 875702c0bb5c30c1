"""The white list as an immutable value: which operator certificates may speak for which domain (spec §1).

- Built only from nodes whose signature was verified (`signature.SignedContent`); this module checks shape, not origin.
- Exact domain match, no wildcard, no inheritance; a domain may have several certificates, a certificate many domains.
- One bad entry is skipped and told, never fatal (spec §1.3); the text of an element is read whole, and an element that
  holds anything but text is a bad entry (a comment or an instruction cannot split a name).
- Look-ups are set membership, prepared once for each comparison mode. The value never changes: readers share it.

Called by `services.trustkeeper` (reading) and `decisions` (asking); tests build lists with `build_whitelist`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from lxml import etree

from mssante.errors import InputFault
from mssante.model.address import normalise_domain
from mssante.model.identity import DistinguishedName
from mssante.trust.names import DnMode, NameKey, name_key, parse_dn

NAMESPACE = "https://listeblanche.mssante.fr/schema"
MAX_ENTRIES = 200_000
MAX_TEXT = 255  # the publisher's own limit of each field (F1.5)
_LEAD = f"{{{NAMESPACE}}}"
_FIELDS = {_LEAD + name: name for name in (
    "Nom", "Description", "DNCertificatOperateur", "ResponsableContact", "SupportContact", "DateMAJ")}
_NOTHING: frozenset[NameKey] = frozenset()


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
    """A row that could not be used: its rank from 1, the rule and the reason in words (no value of the row)."""

    rank: int
    rule: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Whitelist:
    """A list in force. sha256: hex digest of the published file; signer: subject of who signed it, once verified.

    Made by `build_whitelist`.
    """

    generated_at: datetime
    sha256: str
    entries: tuple[WhitelistEntry, ...] = field(repr=False)
    skipped: tuple[SkippedEntry, ...] = field(repr=False)
    _bound: Mapping[DnMode, Mapping[str, frozenset[NameKey]]] = field(repr=False, compare=False)
    _known: Mapping[DnMode, frozenset[NameKey]] = field(repr=False, compare=False)
    _names: Mapping[str, tuple[DistinguishedName, ...]] = field(repr=False, compare=False)
    signer: str = field(default="", compare=False)

    @property
    def entry_count(self) -> int:
        """Usable rows."""
        return len(self.entries)

    @property
    def domain_count(self) -> int:
        """Distinct domains."""
        return len(self._names)

    @property
    def name_counts(self) -> dict[str, int]:
        """Distinct names: as written (`raw`), and after normalisation in each mode (`strict`, `cn_ou`, `cn`)."""
        counts = {"raw": len({entry.operator_dn.text for entry in self.entries})}
        return counts | {mode.value: len(names) for mode, names in self._known.items()}

    def domains(self) -> frozenset[str]:
        """Give all domains."""
        return frozenset(self._names)

    def knows_domain(self, domain: str) -> bool:
        """Tell whether a domain (lower-case A-label form) is listed."""
        return domain in self._names

    def knows_name(self, name: DistinguishedName, mode: DnMode) -> bool:
        """Tell whether a certificate subject is listed for at least one domain (F1.18)."""
        return bool(name.value("CN")) and name_key(name, mode) in self._known[mode]

    def binds(self, domain: str, name: DistinguishedName, mode: DnMode) -> bool:
        """Tell whether a certificate subject is listed for this very domain (F1.18)."""
        return bool(name.value("CN")) and name_key(name, mode) in self._bound[mode].get(domain, _NOTHING)

    def dns_for(self, domain: str) -> tuple[DistinguishedName, ...]:
        """Give the certificate subjects listed for a domain, in the list's order, without repeats."""
        return self._names.get(domain, ())

    def domains_of(self, name: DistinguishedName, mode: DnMode) -> frozenset[str]:
        """Give the domains that a certificate subject may speak for (walks all domains: for screens, not for mail)."""
        if not name.value("CN"):
            return frozenset()
        key = name_key(name, mode)
        return frozenset(domain for domain, keys in self._bound[mode].items() if key in keys)


def build_whitelist(entries: Iterable[WhitelistEntry], generated_at: datetime, sha256: str = "",
                    skipped: Iterable[SkippedEntry] = ()) -> Whitelist:
    """Give a list from its rows, with its look-up tables; exact repeats are harmless (spec §1.3)."""
    rows = tuple(entries)
    names: dict[str, dict[NameKey, DistinguishedName]] = {}
    for entry in rows:
        names.setdefault(entry.domain, {}).setdefault(entry.operator_dn.pairs, entry.operator_dn)
    distinct = {name.pairs: name for found in names.values() for name in found.values()}
    bound: dict[DnMode, Mapping[str, frozenset[NameKey]]] = {}
    known: dict[DnMode, frozenset[NameKey]] = {}
    for mode in DnMode:
        keys = {pairs: name_key(name, mode) for pairs, name in distinct.items()}
        bound[mode] = MappingProxyType({domain: frozenset([keys[pairs] for pairs in found])
                                        for domain, found in names.items()})
        known[mode] = frozenset(keys.values())
    by_domain = {domain: tuple(found.values()) for domain, found in names.items()}
    return Whitelist(generated_at, sha256, rows, tuple(skipped), MappingProxyType(bound), MappingProxyType(known),
                     MappingProxyType(by_domain))


def read_instant(text: str) -> datetime | None:
    """Read `YYYY-MM-DDTHH:MM:SSZ` (F1.9), or give None."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _text(element: etree._Element) -> str:
    """Give the whole text of an element, possibly empty. Raises InputFault when it holds more, or too much."""
    if len(element):
        raise InputFault("element holds more than text", rule="LB-ENTREE-FORME")
    text = (element.text or "").strip()
    if len(text) > MAX_TEXT:
        raise InputFault("text is too long", rule="LB-ENTREE-TEXTE", remedy=f"at most {MAX_TEXT} characters")
    return text


def _entry(element: etree._Element) -> WhitelistEntry:
    values: dict[str, str] = {}
    for child in element:
        if not isinstance(child.tag, str):
            raise InputFault("entry holds something else than elements", rule="LB-ENTREE-FORME")
        name = _FIELDS.get(child.tag)
        if name is None:  # a later version of the list may add elements
            continue
        if name in values:
            raise InputFault("entry repeats an element", rule="LB-ENTREE-FORME")
        values[name] = _text(child)
    if not values.get("Nom") or not values.get("DNCertificatOperateur"):
        raise InputFault("entry lacks its name or its certificate", rule="LB-ENTREE-FORME")
    operator_dn = parse_dn(values["DNCertificatOperateur"])
    if not operator_dn.value("CN"):
        raise InputFault("certificate name has no CN", rule="LB-ENTREE-DN")
    return WhitelistEntry(normalise_domain(values["Nom"]), values.get("Description", ""), operator_dn,
                          values.get("SupportContact", ""), read_instant(values.get("DateMAJ", "")))


def _rows(root: etree._Element) -> tuple[datetime, Iterator[etree._Element]]:
    if root.tag != _LEAD + "ListeBlancheMSSante":
        raise InputFault("root element is not ListeBlancheMSSante", rule="LB-FORME", remedy="check whitelist_url")
    dates = root.findall(_LEAD + "DateDeGeneration")
    lists = root.findall(_LEAD + "ListeDomaines")
    if len(dates) != 1 or len(lists) != 1:
        raise InputFault("list needs one DateDeGeneration and one ListeDomaines", rule="LB-FORME")
    generated_at = read_instant(_text(dates[0]))
    if generated_at is None:
        raise InputFault("DateDeGeneration cannot be read", rule="LB-DATE", remedy="YYYY-MM-DDTHH:MM:SSZ")
    return generated_at, lists[0].iterchildren(_LEAD + "Domaine")


def parse_whitelist(root: etree._Element, sha256: str = "") -> Whitelist:
    """Give the list that a verified root element holds; sha256: hex digest of the file it came in.

    At most 200,000 rows of six texts of 255 characters. Raises InputFault (`LB-FORME`, `LB-DATE`, `LB-VIDE`, `LB-TAILLE`).
    """
    generated_at, rows = _rows(root)
    entries: list[WhitelistEntry] = []
    skipped: list[SkippedEntry] = []
    for rank, row in enumerate(rows, 1):
        if rank > MAX_ENTRIES:
            raise InputFault("list has too many entries", rule="LB-TAILLE", remedy=f"at most {MAX_ENTRIES}")
        try:
            entries.append(_entry(row))
        except InputFault as fault:
            skipped.append(SkippedEntry(rank, fault.rule, fault.public))
    if not entries:
        raise InputFault("list has no usable entry", rule="LB-VIDE", remedy="keep the last good list")
    return build_whitelist(entries, generated_at, sha256, skipped)

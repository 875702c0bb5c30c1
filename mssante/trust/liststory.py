"""The difference of two white lists in words, for the terminal, the journal and the log (French, English beside).

- First what touches us (our domains, the citizen domain, queued mail, those we write to most), then operators, then counts.
- `story` names at most `SHOWN` domains a line unless `full`; `headline` is one line for the journal.
- Domains and certificate names are public facts of the list; no address, no person.

Called by `services.trustkeeper` and `cli.listhistory`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.lang import say
from mssante.model.identity import DistinguishedName
from mssante.trust.listdiff import ChangeKind, Consequences, ListDiff, Move, Operator, Touched, moves, organisation

SHOWN = 5
LINES = 12  # moves and operators told one by one


def _few(domains: Sequence[str], full: bool) -> str:
    shown = domains if full else domains[:SHOWN]
    rest = len(domains) - len(shown)
    return ", ".join(shown) + (f" … +{rest}" if rest else "")


def _names(names: Sequence[DistinguishedName]) -> str:
    """Give certificates as one reads them: `CN=a, CN=b (ORGANISATION)`, one bracket for each organisation."""
    by_title: dict[str, list[str]] = {}
    for name in names:
        by_title.setdefault(organisation(name), []).append(f"CN={name.value('CN')}")
    return " + ".join(f"{', '.join(dict.fromkeys(sorted(hosts)))} ({title})" for title, hosts in by_title.items())


def _count(count: int) -> str:
    return say(f"{count} domaine{'s' if count > 1 else ''}", f"{count} domain{'s' if count > 1 else ''}")


def _move(kind: ChangeKind, move: Move) -> str:
    count, gone, come = len(move.domains), _names(move.gone), _names(move.come)
    many = count > 1
    if kind is ChangeKind.MOVED:
        return _count(count) + say(f" {'passent' if many else 'passe'} de {gone} à {come}", f" moved from {gone} to {come}")
    if kind is ChangeKind.REPLACED:
        return _count(count) + say(f" {'changent' if many else 'change'} de certificat, même opérateur : {gone} -> {come}",
                                   f" changed certificate, same operator: {gone} -> {come}")
    if kind is ChangeKind.ADDED:
        return _count(count) + say(f" : un certificat de plus, bascule en cours : {come}",
                                   f": one more certificate, a rollover is under way: {come}")
    if kind is ChangeKind.RETIRED:
        return _count(count) + say(f" : ancien certificat retiré, bascule terminée : {gone}",
                                   f": an old certificate was retired, the rollover ended: {gone}")
    titles = " / ".join(dict.fromkeys(organisation(one) for one in move.gone))
    now = " / ".join(dict.fromkeys(organisation(one) for one in move.come))
    if titles == now:
        return _count(count) + say(f" : adresse de l'organisme réécrite, sans effet : {now}",
                                   f": the organisation's address is rewritten, no effect: {now}")
    return _count(count) + say(f" : l'organisme {titles} s'appelle maintenant {now}",
                               f": organisation {titles} is now called {now}")


def _what(touched: Touched) -> str:
    words = {"left": say("quitte la liste", "leaves the list"), "joined": say("entre dans la liste", "joins the list"),
             "moved": say("change d'opérateur", "changes operator"),
             "replaced": say("change de certificat", "changes certificate"),
             "added": say("gagne un certificat", "gains a certificate"), "retired": say("perd un ancien certificat",
                                                                                          "loses an old certificate"),
             "renamed": say("organisme renommé", "organisation renamed")}
    text = f"{touched.domain} : {words[touched.what]}"
    if touched.bound is not None:
        text += (say(", reste lié à notre certificat", ", still bound to our certificate") if touched.bound else
                 say(", N'EST PAS lié à notre certificat", ", is NOT bound to our certificate"))
    if touched.queued:
        text += say(f", {touched.queued} destinataire(s) en file", f", {touched.queued} queued recipient(s)")
    return text


def _for_us(effect: Consequences, full: bool) -> list[str]:
    most = 10_000 if full else LINES
    lines = [say("NOTRE DOMAINE ", "OUR DOMAIN ") + _what(one) for one in effect.own]
    if effect.citizen_lost:
        lines.append(say("LE DOMAINE CITOYEN n'est plus dans la liste", "THE CITIZEN DOMAIN is no longer in the list"))
    waiting = sum(one.queued for one in effect.queued)
    if waiting:
        lines.append(say(f"file d'attente : {waiting} destinataire(s) de {len(effect.queued)} domaine(s) touché(s)",
                         f"queue: {waiting} recipient(s) of {len(effect.queued)} touched domain(s)"))
        lines += [f"  {_what(one)}" for one in effect.queued[:most]]
    if effect.written:
        lines.append(say(f"parmi ceux à qui nous écrivons le plus : {len(effect.written)} touché(s)",
                         f"among those we write to most: {len(effect.written)} touched"))
        lines += [f"  {_what(one)}" for one in effect.written[:most]]
    return lines


def _operators(found: Sequence[Operator], words: str, most: int) -> list[str]:
    lines = [f"{words}{one.title} (OU={one.key}), {_count(one.domains)}" for one in found[:most]]
    return lines if len(found) <= most else [*lines, f"{words}… +{len(found) - most}"]


def story(diff: ListDiff, effect: Consequences | None = None, *, full: bool = False) -> list[str]:
    """Give the lines, what touches us first; one line when nothing changed."""
    lines = _for_us(effect, full) if effect is not None else []
    most = 10_000 if full else LINES
    for kind in ChangeKind:
        found = moves(diff, kind)
        for move in found[:most]:
            lines.append(_move(kind, move))
            if full or len(move.domains) <= SHOWN:
                lines.append(f"  {_few(move.domains, full)}")
        if len(found) > most:
            rest = sum(len(move.domains) for move in found[most:])
            lines.append(say(f"… et {len(found) - most} changements semblables, {_count(rest)}",
                             f"… and {len(found) - most} similar changes, {_count(rest)}"))
    lines += _operators(diff.new_operators, say("nouvel opérateur : ", "new operator: "), most)
    lines += _operators(diff.gone_operators, say("opérateur parti : ", "operator gone: "), most)
    for domains, french, english in ((diff.joined, ("entre", "entrent"), "joined"), (diff.left, ("sort", "sortent"), "left")):
        if domains:
            words = say(f"{french[len(domains) > 1]} : ", f"{english}: ")
            lines.append(f"{_count(len(domains))} {words}{_few(domains, full)}")
    if diff.texts:
        lines.append(_count(len(diff.texts)) + say(" : description ou contact seulement", ": description or contact only")
                     + (f" : {_few(diff.texts, full)}" if full else ""))
    return lines or [say("aucune différence", "no difference")]


def headline(diff: ListDiff, effect: Consequences | None = None) -> str:
    """Give one line of at most 600 characters: what touches us, the largest move, the counts."""
    counts = diff.counts()
    parts = [say(f"{counts['joined']} entrés, {counts['left']} sortis, {len(diff.rebound)} changés de certificat sur "
                 f"{diff.domains_before}",
                 f"{counts['joined']} joined, {counts['left']} left, {len(diff.rebound)} changed certificate of "
                 f"{diff.domains_before}")]
    largest = next(iter(moves(diff, ChangeKind.MOVED)), None)
    if largest is not None:
        parts.append(_move(ChangeKind.MOVED, largest))
    if effect is not None:
        parts = [*(line for line in _for_us(effect, False) if not line.startswith(" ")), *parts]
    return " ; ".join(parts)[:600]

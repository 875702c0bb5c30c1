"""What is asked of `mssante explain`: a trace, a journal event, an address, a domain, a certificate. Gathers; `explain` replays.

- An answer is a list of facts (name, value, state) and of decisions, with one verdict: what would happen now.
- An address is looked up under its pseudonym: a citizen's never leaves this module in clear, whatever was typed.
- Scans are bounded: `SCANNED` latest events for what no index finds, `SHOWN` decisions replayed.
- Changes nothing. Works without a database too (`stores` None): the certificate, the list and the CRLs are files.

Called by `mssante.cli.explain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from cryptography import x509

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import normalise_domain
from mssante.model.hold import Hold
from mssante.model.identity import DistinguishedName
from mssante.model.mailbox import Mailbox, Usage
from mssante.model.reply import Allow, Refuse
from mssante.services.explain import ACCEPTED, REFUSED, Explained, Replay, ReplayContext, certificate_shown
from mssante.services.privacy import Pseudonyms
from mssante.services.reception import mailbox_decision
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import JournalRow, QueueItem, Stores, Tx
from mssante.trust import explain
from mssante.trust.explain import CertificateFacts, Step
from mssante.trust.names import DnMode, parse_dn
from mssante.trust.profile_findings import Level, Use, findings_of
from mssante.trust.profiles import OFFER_WORDS, recognise
from mssante.trust.rules import Who, find_rule

T = TypeVar("T")
SCANNED = 2000
SHOWN = 5
QUEUE_LIMIT = 100_000
DOMAINS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so. name: stable, for programs; state: `ok`, `warn`, `fail`, or empty for what is neither."""

    name: str
    title: str
    value: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """kind: `trace`, `event`, `address`, `domain` or `certificate`; subject: what was asked, as it may be shown; steps: those of
    the decision that would be taken now, for a certificate."""

    kind: str
    subject: str
    facts: tuple[Fact, ...] = ()
    decisions: tuple[Explained, ...] = ()
    steps: tuple[Step, ...] = ()
    verdict: str = ""
    rule: str = ""
    who: Who | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """What of ours an explanation names. bound: our domains that the list in force binds to our certificate."""

    own_domains: frozenset[str]
    bound: frozenset[str]
    citizen: str
    routes: dict[str, str]


class Explainer:
    """Answers. One call, one answer; nothing is kept between them."""

    def __init__(self, stores: Stores | None, context: ReplayContext, pseudonyms: Pseudonyms, local: Local) -> None:
        self._stores = stores
        self._context = context
        self._pseudonyms = pseudonyms
        self._local = local

    async def _one(self, unit: Callable[[Stores, Tx], T | None]) -> T | None:
        stores = self._stores
        return None if stores is None else await stores.database.read(lambda tx: unit(stores, tx))

    async def _rows(self, unit: Callable[[Stores, Tx], list[T]]) -> list[T]:
        return await self._one(unit) or []

    # ------------------------------------------------------------ by trace, by event

    async def trace(self, trace_id: str) -> Answer:
        """Explain every event of a transaction. Raises InputFault `TRACE-INCONNUE`."""
        rows = await self._rows(lambda stores, tx: stores.journal.by_trace(tx, trace_id))
        if not rows:
            raise InputFault(say(f"trace inconnue ici : {trace_id}", f"trace is unknown here: {trace_id}"), rule="TRACE-INCONNUE",
                             remedy=say("vérifiez l'identifiant et le dossier --config", "check the id and the --config folder"))
        decisions = await self._decide(rows)
        waiting = [one for one in await self._queue() if one.trace_id == trace_id]
        last = decisions[-1]
        return Answer("trace", trace_id, tuple(self._queue_facts(waiting)), decisions, verdict=last.verdict, rule=last.rule,
                      who=last.who)

    async def event(self, sequence: int) -> Answer:
        """Explain one event by its number in the journal. Raises InputFault `JOURNAL-NUMERO`."""
        row = await self._one(lambda stores, tx: stores.journal.by_sequence(tx, sequence))
        if row is None:
            raise InputFault(say(f"pas d'événement n° {sequence}", f"no event number {sequence}"), rule="JOURNAL-NUMERO",
                             remedy="mssante journal list")
        (decision,) = await self._decide([row])
        return Answer("event", f"#{sequence}", (), (decision,), verdict=decision.verdict, rule=decision.rule, who=decision.who)

    async def _decide(self, rows: Sequence[JournalRow]) -> tuple[Explained, ...]:
        """Replay events, with the mailboxes and the certificates that they name at hand."""
        addresses = {str(row.payload.get("detail", "") or "").lower() for row in rows} - {""}
        found = await self._rows(lambda stores, tx: stores.accounts.mailboxes_by_address(tx, sorted(addresses)))
        boxes = {self._pseudonyms.public_address(box.address): box for box in found}
        ders = await self._certificates(rows)
        context = replace(self._context, certificates=ders.get, mailbox=lambda address: boxes.get(address.lower()))
        replay = Replay(context)
        return tuple(replay.decide(row) for row in rows)

    async def _certificates(self, rows: Sequence[JournalRow]) -> dict[str, bytes]:
        """Give the DER of the certificates that events name, as far as they are kept, by SHA-256."""
        domains = {""} | {domain for row in rows for domain in _domains_of(row)}
        names = {str(row.payload.get("certificate", "") or "") for row in rows} - {""}
        if not names:
            return {}

        def unit(stores: Stores, tx: Tx) -> dict[str, bytes]:
            return {one.fingerprint: one.der for domain in sorted(domains)[:DOMAINS_SHOWN]
                    for one in stores.peer_certificates.of_domain(tx, domain) if one.fingerprint in names}

        return await self._one(unit) or {}

    # ------------------------------------------------------------ by address

    async def address(self, text: str) -> Answer:
        """Explain an address: its mailbox or its operator, what waits for it, what happened lately. Raises InputFault `ADR-…`."""
        local_part, _, given = text.rpartition("@")
        domain = normalise_domain(given)
        key = f"{local_part}@{domain}".lower()
        shown = self._pseudonyms.public_address(key)
        facts, refusal = await self._place(key, shown, domain)
        waiting = [one for one in await self._queue(domain) if one.address.lower() == key]
        facts += self._queue_facts(waiting)
        facts += _hold_facts(await self._holds(), domain)
        events = await self._events(shown)
        rule = refusal.rule if refusal is not None else ""
        return Answer("address", shown, tuple(facts), await self._decide(events), verdict=REFUSED if refusal else ACCEPTED,
                      rule=rule, who=_who(rule))

    async def _place(self, key: str, shown: str, domain: str) -> tuple[list[Fact], Refuse | None]:
        """Give what an address is, and what refuses a message to it now."""
        if domain not in self._local.own_domains:
            return self._domain_facts(domain), self._relay_refusal(domain)
        boxes = await self._rows(lambda stores, tx: stores.accounts.mailboxes_by_address(tx, [key]))
        box = boxes[0] if boxes else None
        decision = mailbox_decision(box, shown)
        refusal = decision if isinstance(decision, Refuse) else None
        facts = [self._own_fact(domain)]
        if box is None:
            return [Fact("mailbox", say("boîte", "mailbox"), say("inconnue ici", "unknown here"), "fail"), *facts], refusal
        usage = await self._one(lambda stores, tx: stores.messages.usage(tx, box.id))
        state = "fail" if refusal else "ok"
        facts = [Fact("mailbox", say("boîte", "mailbox"), f"{box.type.value}, {box.state.value}", state), *facts]
        facts += _quota_facts(box, usage)
        if domain != self._local.citizen:
            facts += await self._holder_facts(box)
        return facts, refusal

    async def _holder_facts(self, box: Mailbox) -> list[Fact]:
        """Give who holds a mailbox and which logins open it; never asked for a citizen's."""
        accounts = await self._rows(lambda stores, tx: stores.accounts.list_accounts(tx))
        logins = [one.login + ("" if one.enabled else say(" (désactivé)", " (disabled)")) for one in accounts
                  if box.id in one.mailbox_ids]
        facts = [Fact("holder", say("titulaire", "holder"), box.holder_id)] if box.holder_id else []
        opened = ", ".join(logins[:DOMAINS_SHOWN]) or say("aucun", "none")
        return [*facts, Fact("logins", say("comptes qui l'ouvrent", "logins that open it"), opened, "ok" if logins else "warn")]

    def _own_fact(self, domain: str) -> Fact:
        title = say("domaine", "domain")
        if domain in self._local.bound:
            return Fact("domain", title, say("hébergé ici, lié à notre certificat", "hosted here, bound to ours"), "ok")
        return Fact("domain", title, say("hébergé ici, mais la liste ne le lie pas à notre certificat",
                                         "hosted here, but the list does not bind it to our certificate"), "fail")

    def _relay_refusal(self, domain: str) -> Refuse | None:
        state = TrustState(self._context.snapshot, self._context.clock)
        decision = state.may_relay_to(domain)
        return None if isinstance(decision, Allow) else decision

    # ------------------------------------------------------------ by domain

    async def domain(self, text: str) -> Answer:
        """Explain a domain: its rows, its route, what waits for it, what happened lately. Raises InputFault `ADR-DOMAIN`."""
        domain = normalise_domain(text)
        facts = [self._own_fact(domain)] if domain in self._local.own_domains else []
        facts += self._domain_facts(domain)
        facts += self._queue_facts(await self._queue(domain))
        facts += _hold_facts(await self._holds(), domain)
        refusal = self._relay_refusal(domain)
        rule = refusal.rule if refusal is not None else ""
        events = [row for row in await self._recent() if domain in _domains_of(row)][:SHOWN]
        return Answer("domain", domain, tuple(facts), await self._decide(events), verdict=REFUSED if refusal else ACCEPTED,
                      rule=rule, who=_who(rule))

    def _domain_facts(self, domain: str) -> list[Fact]:
        """Give what the list in force says of a domain, and our route to it."""
        whitelist = self._context.snapshot.whitelist
        if whitelist is None:
            return [Fact("list", say("liste", "list"), say("aucune liste en vigueur", "no list in force"), "fail")]
        facts = [Fact("list", say("liste", "list"), explain.list_title(whitelist))]
        rows = [entry for entry in whitelist.entries if entry.domain == domain]
        if not rows:
            near = explain.binding_text(domain, None, whitelist, self._context.snapshot.mode)
            return [*facts, Fact("row", say("ligne de la liste", "row of the list"), near, "fail")]
        for entry in rows[:DOMAINS_SHOWN]:
            updated = f" ({entry.updated_at:%Y-%m-%d})" if entry.updated_at else ""
            facts.append(Fact("row", say("ligne de la liste", "row of the list"),
                              explain.clean(entry.operator_dn.text) + updated, "ok"))
        contacts = sorted({explain.clean(entry.support_contact) for entry in rows if entry.support_contact})
        if contacts:
            facts.append(Fact("support", "support", ", ".join(contacts[:3])))
        if domain in self._local.routes:
            facts.append(Fact("route", say("route fixe", "fixed route"), self._local.routes[domain]))
        return facts

    # ------------------------------------------------------------ by certificate

    async def certificate(self, leaf_der: bytes, domain: str = "") -> Answer:
        """Explain a certificate as if a peer showed it now, for a domain when given. Raises InputFault `PEER-PARSE`."""
        facts = explain.read_facts(leaf_der)
        if facts is None:
            raise InputFault(say("ce certificat ne se lit pas", "this certificate cannot be read"), rule="PEER-PARSE",
                             remedy=say("donnez un certificat PEM ou DER de 16 Kio au plus",
                                        "give a PEM or DER certificate of at most 16 KiB"))
        wanted = normalise_domain(domain) if domain else ""
        snapshot, now = self._context.snapshot, self._context.clock.now()
        word = self._context.shelf.word(leaf_der, now)
        values = certificate_shown(facts, word, snapshot, now)
        if snapshot.whitelist is not None:
            values |= explain.list_values(facts.subject, wanted, snapshot.whitelist, snapshot.mode)
        crl_only = replace(snapshot, peer_policy=replace(snapshot.peer_policy, revocation="crl"))
        state = TrustState(crl_only, self._context.clock)
        admitted = state.admit(leaf_der)
        decision = admitted if isinstance(admitted, Refuse) else state.may_send(admitted, wanted or None)
        rule = decision.rule if isinstance(decision, Refuse) else ""
        steps = explain.lay_steps(explain.CERTIFICATE, values, rule)
        events = [row for row in await self._recent() if row.payload.get("certificate") == facts.fingerprint
                  or _same_subject(row, facts.subject)][:SHOWN]
        told = (*self._profile_facts(leaf_der), *self._certificate_facts(facts))
        return Answer("certificate", explain.clean(facts.subject.text), told,
                      await self._decide_with(events, leaf_der, facts.fingerprint), steps, _verdict(decision), rule, _who(rule))

    def _profile_facts(self, leaf_der: bytes) -> list[Fact]:
        """Give the IGC-Santé profile of a certificate and what departs from it."""
        snapshot = self._context.snapshot
        try:
            profile = recognise(x509.load_der_x509_certificate(leaf_der), snapshot.anchors.issuers)
        except InputFault as fault:
            return [Fact("profile", say("gabarit", "profile"), f"{fault.public} [{fault.rule}]", "fail")]
        use = Use(production=snapshot.peer_policy.production, eku=snapshot.peer_policy.eku)
        facts = [Fact("profile", say("gabarit", "profile"), f"{profile.offer.value} : {say(*OFFER_WORDS[profile.offer])}")]
        found = [one for one in findings_of(profile, use, self._context.clock.now()) if one.level is not Level.INFO]
        return facts + [Fact("finding", say("constat", "finding"), f"{say(*one.text)} [{one.rule}] ; {explain.clean(one.seen)}",
                             one.level.value) for one in found]

    async def _decide_with(self, rows: Sequence[JournalRow], leaf_der: bytes, fingerprint: str) -> tuple[Explained, ...]:
        """Replay events of a certificate that is at hand."""
        replay = Replay(replace(self._context, certificates=lambda name: leaf_der if name == fingerprint else None))
        return tuple(replay.decide(row) for row in rows)

    def _certificate_facts(self, facts: CertificateFacts) -> Iterable[Fact]:
        """Give what it may speak for in each mode, and what looks like it when that is nothing."""
        yield Fact("fingerprint", "SHA-256", facts.fingerprint)
        yield Fact("names", say("noms DNS", "DNS names"), ", ".join(facts.names) or say("aucun", "none"))
        whitelist, mode = self._context.snapshot.whitelist, self._context.snapshot.mode
        if whitelist is None:
            yield Fact("list", say("liste", "list"), say("aucune liste en vigueur", "no list in force"), "fail")
            return
        for one in DnMode:
            domains = sorted(whitelist.domains_of(facts.subject, one))
            more = f", … {len(domains) - DOMAINS_SHOWN}" if len(domains) > DOMAINS_SHOWN else ""
            current = say(" (en vigueur)", " (in force)") if one is mode else ""
            title = say(f"domaines, comparaison {one.value}{current}", f"domains by {one.value}{current}")
            yield Fact(f"domains_{one.value}", title, (", ".join(domains[:DOMAINS_SHOWN]) + more) or say("aucun", "none"),
                       "" if one is not mode else "ok" if domains else "fail")
        if not whitelist.knows_name(facts.subject, mode):
            for row in explain.nearest_rows(facts.subject, whitelist, mode):
                yield Fact("near", say("ligne proche", "near row"), row.text, "warn")

    # ------------------------------------------------------------ what several of them ask

    async def _queue(self, destination: str | None = None) -> list[QueueItem]:
        return await self._rows(lambda stores, tx: stores.queue.items(tx, destination=destination, limit=QUEUE_LIMIT))

    async def _holds(self) -> list[Hold]:
        return await self._rows(lambda stores, tx: stores.holds.all(tx))

    def _queue_facts(self, waiting: Sequence[QueueItem]) -> list[Fact]:
        if not waiting:
            return [Fact("queue", say("file", "queue"), say("rien en attente", "nothing waits"))]
        first = min(waiting, key=lambda one: one.next_attempt_at)
        reply = self._pseudonyms.public_text(first.last_reply, first.address)
        count = len(waiting)
        due, limit = explain.day(first.next_attempt_at), explain.day(first.expires_at)
        text = say(f"{count} destinataire(s) en attente, prochain essai {due}, limite {limit}",
                   f"{count} recipient(s) wait, next attempt {due}, limit {limit}")
        return [Fact("queue", say("file", "queue"), text + (f" ; {explain.clean(reply)}" if reply else ""), "warn")]

    async def _recent(self) -> list[JournalRow]:
        return await self._rows(lambda stores, tx: stores.journal.recent(tx, limit=SCANNED))

    async def _events(self, shown: str) -> list[JournalRow]:
        """Give the latest events about an address: as subject (by index), as recipient (by a scan)."""
        about = await self._rows(lambda stores, tx: stores.journal.recent(tx, subject=shown, limit=SHOWN))
        named = [row for row in await self._recent() if shown in _addresses_of(row)]
        found = {row.sequence: row for row in (*about, *named)}
        return [found[key] for key in sorted(found, reverse=True)[:SHOWN]]


# ------------------------------------------------------------ helpers


def _verdict(decision: Allow | Refuse) -> str:
    return REFUSED if isinstance(decision, Refuse) else ACCEPTED


def _who(rule: str) -> Who | None:
    known = find_rule(rule) if rule else None
    return known.who if known is not None else None


def _quota_facts(box: Mailbox, usage: Usage | None) -> list[Fact]:
    if usage is None:
        return []
    most = f" / {box.quota_bytes}" if box.quota_bytes else ""
    full = bool(box.quota_bytes) and usage.octets >= box.quota_bytes
    text = f"{usage.octets}{most} octets, {usage.messages} messages"
    return [Fact("quota", say("place", "room"), text, "fail" if full else "ok")]


def _hold_facts(holds: Sequence[Hold], domain: str) -> list[Fact]:
    return [Fact("hold", say("retenue", "hold"), say(
        f"{one.cause.value} depuis {explain.day(one.since)}, jusqu'au {explain.day(one.until)} ; {explain.clean(one.note)}",
        f"{one.cause.value} since {explain.day(one.since)}, until {explain.day(one.until)}; {explain.clean(one.note)}"), "warn")
        for one in holds if one.domain in ("", domain)]


_ADDRESS = re.compile(r"[^\s<>\"(),;:]{1,64}@[A-Za-z0-9.\-]{1,253}")


def _addresses_of(row: JournalRow) -> set[str]:
    """Give the addresses that an event names: its subject, sender, recipients, detail."""
    payload = row.payload
    texts = (row.subject, *(str(payload.get(key, "") or "") for key in ("from", "to", "detail")))
    return {one.lower() for text in texts for one in text.split() if "@" in one}


def _domains_of(row: JournalRow) -> set[str]:
    """Give the domains that an event names."""
    detail = str(row.payload.get("detail", "") or "").partition(" <- ")[0].lower()
    found = {one.rpartition("@")[2] for one in _addresses_of(row)}
    return found | ({detail} if detail and " " not in detail and "@" not in detail else set()) | {row.subject.lower()}


def _same_subject(row: JournalRow, subject: DistinguishedName) -> bool:
    """Tell whether an event that kept no fingerprint names the same holder."""
    text = str(row.payload.get("dn", "") or "")
    if not text or row.payload.get("certificate"):
        return False
    try:
        return parse_dn(text).pairs == subject.pairs
    except InputFault:
        return False

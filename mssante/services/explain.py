"""Replays decisions offline, from the journal, the kept lists and CRLs, and the configuration (`mssante explain`).

- What was decided is the journal's word; the replay lays both values beside it, and says whether the same state gives the same
  rule again (`confirmed`). Then it asks the very functions that decide (`TrustState`) what they would say today.
- A certificate is replayed whole when its DER is at hand (a file, or the store of peers' certificates); else from the subject
  that the journal holds.
- OCSP answers are not kept: a replay asks the CRL alone, and a rule of OCSP stays the journal's word.
- Changes nothing, asks no network. Citizens appear by their pseudonym only; no subject line, no content is read.

Called by `mssante.cli.explain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mssante.clock import Clock
from mssante.errors import InputFault, PeerFault
from mssante.lang import say
from mssante.model import replies
from mssante.model.identity import DistinguishedName, OperatorIdentity
from mssante.model.journal import JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.reply import Allow, Decision, Refuse
from mssante.services.explainhistory import CrlShelf, CrlWord, ListHistory, ListUsed, crls_at
from mssante.services.reception import mailbox_decision
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.storage.interfaces import JournalRow
from mssante.trust import explain
from mssante.trust.anchors import common_name
from mssante.trust.explain import CertificateFacts, Shown, Step
from mssante.trust.names import parse_dn
from mssante.trust.rules import Rule, Stage, Who, find_rule
from mssante.trust.whitelist import Whitelist

ACCEPTED, REFUSED, DEFERRED, NOTED = "accepted", "refused", "deferred", "noted"
_VERDICTS = {
    JournalKind.SESSION_REFUSED: REFUSED, JournalKind.SENDER_REFUSED: REFUSED, JournalKind.RECIPIENT_REFUSED: REFUSED,
    JournalKind.DATA_REFUSED: REFUSED, JournalKind.RECEIVED: ACCEPTED, JournalKind.SUBMITTED: ACCEPTED,
    JournalKind.RELAYED: ACCEPTED, JournalKind.DEFERRED: DEFERRED, JournalKind.BOUNCED: REFUSED,
    JournalKind.WHITELIST_REFUSED: REFUSED, JournalKind.CRL_REFUSED: REFUSED, JournalKind.LOGIN_REFUSED: REFUSED,
}
_INBOUND = (JournalKind.SESSION_REFUSED, JournalKind.SENDER_REFUSED, JournalKind.RECIPIENT_REFUSED, JournalKind.DATA_REFUSED,
            JournalKind.RECEIVED)
_OUTBOUND = (JournalKind.RELAYED, JournalKind.DEFERRED, JournalKind.BOUNCED)
_LAST = {JournalKind.RECEIVED: Stage.CONTENT, JournalKind.RELAYED: Stage.CONTENT}
_REMOTE_RULE = re.compile(r"\[([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*)\]")
_OUTSIDE = {"LB-DOMAINE", "HORS-ESPACE"}  # the same cause, told to an operator and to a user
_SUBMISSION = (Stage.SENDER, Stage.RECIPIENT, Stage.CONTENT)


@dataclass(frozen=True, slots=True)
class Today:
    """What would be decided now. changed: not what was decided then; since: the list since which, when it is the list's doing."""

    verdict: str
    rule: str
    text: str
    changed: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision. who: who must fix it, None when nothing must be; confirmed: the replay gives the journal's rule again, None
    when it could not be replayed; note: what the replay lacks; remote: the rule is the other operator's word."""

    event: JournalRow
    verdict: str
    rule: str
    steps: tuple[Step, ...] = ()
    used: ListUsed | None = None
    today: Today | None = None
    who: Who | None = None
    confirmed: bool | None = None
    note: str = ""
    remote: bool = False


@dataclass(frozen=True, slots=True)
class ReplayContext:
    """What replays stand on. snapshot: in force now, with the kept list and CRLs; certificates: DER by SHA-256, or None;
    mailbox: a mailbox of ours by its address as the journal holds it."""

    snapshot: TrustSnapshot
    history: ListHistory
    shelf: CrlShelf
    clock: Clock
    hosted: frozenset[str]
    certificates: Callable[[str], bytes | None] = lambda fingerprint: None
    mailbox: Callable[[str], Mailbox | None] = lambda address: None


@dataclass(slots=True)
class _Case:
    """One event, with what is known of it."""

    row: JournalRow
    rule: str
    domain: str
    facts: CertificateFacts | None = None
    name: DistinguishedName | None = None
    leaf: bytes = b""
    word: CrlWord | None = None
    used: ListUsed | None = None
    values: dict[Stage, Shown] = field(default_factory=dict)


class _Frozen:
    """A clock that stands still at the instant of a decision."""

    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    def now(self) -> datetime:
        """Give the instant."""
        return self._instant

    def monotonic(self) -> float:
        """Give nothing that moves."""
        return 0.0


class Replay:
    """Explains events of the journal."""

    def __init__(self, context: ReplayContext) -> None:
        policy = context.snapshot.peer_policy
        self._ocsp = policy.revocation != "crl"
        snapshot = replace(context.snapshot, peer_policy=replace(policy, revocation="crl"))
        self._context = replace(context, snapshot=snapshot)

    def decide(self, row: JournalRow) -> Explained:
        """Explain one event; one that decided nothing gets its rule's meaning only."""
        kind = row.kind
        if kind in _INBOUND and row.payload.get("rule") != "TLS-POIGNEE":
            return self._inbound(row)
        if kind in _OUTBOUND:
            return self._outbound(row)
        if kind == JournalKind.SUBMITTED:
            return self._submitted(row)
        rule = str(row.payload.get("rule", "") or "")
        steps = explain.lay_steps((Stage.TLS,), {Stage.TLS: Shown(
            explain.clean(str(row.payload.get("reason", ""))), "TLS 1.2 (ECDHE, AEAD), TLS 1.3")}, rule) if rule else ()
        return Explained(row, _verdict(kind, rule), rule, steps, who=_who(rule))

    # ------------------------------------------------------------ what came in

    def _inbound(self, row: JournalRow) -> Explained:
        case = self._case(row, str(row.payload.get("rule", "") or ""), _sender_domain(row))
        if not case.leaf and not row.payload.get("dn") and not row.payload.get("certificate") and row.kind != "session_refused":
            return self._submission_refused(case)
        stage = find_rule(case.rule)
        self._recipient_values(case)
        steps = explain.lay_steps(explain.INBOUND, case.values, case.rule, until=_LAST.get(JournalKind(row.kind)))
        again = self._again(case)
        known = stage is not None and stage.stage not in (Stage.RECIPIENT, Stage.CONTENT, Stage.TLS, Stage.SYSTEM)
        confirmed = again == case.rule if again is not None and (known or not case.rule) else None
        if self._ocsp and stage is not None and stage.stage is Stage.REVOCATION and not confirmed:
            confirmed = None  # an answer that is not kept decided
        who = _who(case.rule)
        if row.kind == JournalKind.SENDER_REFUSED and who is Who.SENDER:
            who = Who.PEER  # its domain is not listed: the operator that serves it has it listed
        return Explained(row, _verdict(row.kind, case.rule), case.rule, steps, case.used, self._today_inbound(case), who,
                         confirmed, self._note(case, confirmed))

    def _case(self, row: JournalRow, rule: str, domain: str) -> _Case:
        """Gather what is known of an event: its certificate, its list, both values of each step."""
        context, payload = self._context, row.payload
        case = _Case(row, rule, domain)
        case.leaf = context.certificates(str(payload.get("certificate", "") or "")) or b""
        case.facts = explain.read_facts(case.leaf)
        case.name = case.facts.subject if case.facts else _name(str(payload.get("dn", "") or ""))
        case.used = context.history.at(row.at, str(payload.get("list_at") or payload.get("list") or ""))
        if case.facts is not None:
            case.word = context.shelf.word(case.leaf, row.at)
            case.values |= certificate_shown(case.facts, case.word, context.snapshot, row.at)
        else:
            case.values |= _journalled(row, context.snapshot)
        whitelist = case.used.whitelist if case.used else None
        if whitelist is not None:
            case.values |= explain.list_values(case.name, domain, whitelist, context.snapshot.mode)
        else:
            fault = case.used.fault if case.used else say("aucune liste adoptée alors", "no list was adopted then")
            case.values[Stage.LIST] = Shown("", fault)
        return case

    def _state(self, case: _Case, at: datetime, whitelist: Whitelist | None) -> TrustState:
        """Give the deciding functions as they stood at an instant."""
        snapshot = self._context.snapshot
        crls = crls_at(snapshot.crls, case.facts.serial, case.word, at) if case.facts else snapshot.crls
        return TrustState(replace(snapshot, crls=crls, whitelist=whitelist), _Frozen(at))

    def _again(self, case: _Case) -> str | None:
        """Give the rule that the same state gives (empty: accepted), or None when too little of it is kept."""
        whitelist = case.used.whitelist if case.used else None
        if whitelist is None or case.name is None or _hidden(case):
            return None
        refusal = self._judge(self._state(case, case.row.at, whitelist), case)
        return refusal.rule if refusal is not None else ""

    def _judge(self, state: TrustState, case: _Case) -> Refuse | None:
        """Ask what decides sessions and senders; with the subject alone, the list's steps only."""
        if case.leaf:
            admitted = state.admit(case.leaf)
            if isinstance(admitted, Refuse):
                return admitted
            identity = admitted
        elif case.name is not None:
            identity = identity_of(case.name)
        else:
            return None
        domain = case.domain or None
        decision = state.may_send(identity, domain)
        return decision if isinstance(decision, Refuse) else None

    def _recipient_values(self, case: _Case) -> None:
        payload = case.row.payload
        rule = find_rule(case.rule)
        if case.row.kind == JournalKind.RECEIVED:
            case.values[Stage.RECIPIENT] = Shown(explain.clean(str(payload.get("to", ""))),
                                                 say("boîtes ouvertes", "open mailboxes"))
            case.values[Stage.CONTENT] = Shown(say(f"{payload.get('size', '?')} octets", f"{payload.get('size', '?')} octets"),
                                               say("From couvert par le certificat", "From covered by the certificate"))
        elif rule is not None and rule.stage is Stage.RECIPIENT:
            address = str(payload.get("detail", "") or "")
            case.values[Stage.RECIPIENT] = Shown(explain.clean(address), self._mailbox_text(address))
        elif rule is not None:
            case.values.setdefault(rule.stage, Shown(explain.clean(str(payload.get("detail", "") or ""))))

    def _mailbox_text(self, address: str) -> str:
        domain = address.rpartition("@")[2].lower()
        if domain not in self._context.hosted:
            return say("domaine non hébergé ici", "domain not hosted here")
        found = self._context.mailbox(address)
        return (say(f"aujourd'hui : {found.state.value}", f"today: {found.state.value}") if found is not None else
                say("aujourd'hui : inconnue", "today: unknown"))

    def _today_inbound(self, case: _Case) -> Today | None:
        """Say what would be decided now of the same peer, sender and recipient."""
        rule, now = find_rule(case.rule), self._context.clock.now()
        if rule is not None and rule.stage in (Stage.CONTENT, Stage.TLS, Stage.SYSTEM, Stage.SMIME):
            return None
        if (case.name is None and not case.leaf) or _hidden(case):
            return None
        refusal = self._judge(self._state(case, now, self._context.snapshot.whitelist), case)
        if refusal is None and rule is not None and rule.stage is Stage.RECIPIENT:
            refusal = self._recipient_now(str(case.row.payload.get("detail", "") or ""))
        return self._compare(case, refusal)

    def _recipient_now(self, address: str) -> Refuse | None:
        domain = address.rpartition("@")[2].lower()
        if domain not in self._context.hosted:
            return replies.not_ours(address) if domain else None
        decision = mailbox_decision(self._context.mailbox(address), address)
        return decision if isinstance(decision, Refuse) else None

    def _compare(self, case: _Case, refusal: Refuse | None) -> Today:
        """Lay today's decision beside that of then, and look for the list that changed it."""
        verdict = ACCEPTED if refusal is None else DEFERRED if not refusal.reply.permanent else REFUSED
        rule = refusal.rule if refusal is not None else ""
        if rule == case.rule or {rule, case.rule} == _OUTSIDE:
            return Today(verdict, rule, say("aujourd'hui : même décision", "today: the same decision"))
        since, cause = self._since(case)
        words = {ACCEPTED: say("accepté", "accepted"), REFUSED: say(f"refusé [{rule}]", f"refused [{rule}]"),
                 DEFERRED: say(f"différé [{rule}]", f"deferred [{rule}]")}[verdict]
        text = say(f"aujourd'hui : {words}", f"today: {words}") + (f", {cause}" if cause else "")
        return Today(verdict, rule, text, True, since)

    def _since(self, case: _Case) -> tuple[datetime | None, str]:
        """Find the list since which the domain or the certificate stands otherwise than then."""
        current, then = self._context.snapshot.whitelist, case.used.whitelist if case.used else None
        if current is None or then is None:
            return None, ""
        for test, came, went in _turns(case, self._context.snapshot):
            if test(current) == test(then):
                continue
            version = self._context.history.turned(test, case.row.at)
            if version is None:
                continue
            when = explain.day(version.generated_at)
            text = came if test(current) else went
            return version.generated_at, f"{text} {when}"
        return None, ""

    def _note(self, case: _Case, confirmed: bool | None) -> str:
        if confirmed is False:
            return say("le rejeu ne redonne pas cette règle : l'état d'alors (CRL, réglages) n'est pas tout gardé ; le journal "
                       "fait foi", "the replay does not give this rule again: the state of then (CRL, settings) is not all kept; "
                                   "the journal counts")
        if _hidden(case) and case.rule != "PEER-ABSENT":
            return say("certificat non gardé ; pour aujourd'hui : mssante explain FICHIER",
                       "certificate not kept; for today: mssante explain FILE")
        if not case.leaf and case.row.payload.get("certificate"):
            return say("certificat non gardé : rejeu à partir de son sujet", "certificate not kept: replayed from its subject")
        if self._ocsp:
            return say("OCSP n'est pas rejoué : la CRL seule l'est", "OCSP is not replayed: the CRL alone is")
        return ""

    # ------------------------------------------------------------ submission

    def _submission_refused(self, case: _Case) -> Explained:
        row, rule = case.row, find_rule(case.rule)
        detail = str(row.payload.get("detail", "") or "")
        values = {Stage.SENDER: Shown(explain.clean(row.subject), say("boîtes du compte", "mailboxes of the login"))}
        today = None
        if rule is not None and rule.id == "HORS-ESPACE":
            whitelist = case.used.whitelist if case.used else None
            listed = explain.binding_text(detail, None, whitelist, self._context.snapshot.mode) if whitelist else ""
            values[Stage.RECIPIENT] = Shown(explain.clean(detail), listed)
            case.domain = detail
            state = self._state(case, self._context.clock.now(), self._context.snapshot.whitelist)
            today = self._compare(case, _refusal(state.may_relay_to(detail)))
        elif rule is not None:
            values[rule.stage] = Shown(explain.clean(detail), self._mailbox_text(detail) if "@" in detail else "")
        steps = explain.lay_steps(_SUBMISSION, values, case.rule)
        return Explained(row, _verdict(row.kind, case.rule), case.rule, steps, case.used, today, _who(case.rule))

    def _submitted(self, row: JournalRow) -> Explained:
        case = self._case(row, "", "")
        domains = sorted({one.rpartition("@")[2] for one in str(row.payload.get("to", "")).split()})
        values = {Stage.SENDER: Shown(explain.clean(str(row.payload.get("from", ""))), say(
            f"boîte du compte {row.payload.get('login', '')}", f"mailbox of login {row.payload.get('login', '')}")),
            Stage.RECIPIENT: Shown(explain.clean(str(row.payload.get("to", ""))), say(
                f"{', '.join(domains)} : dans l'espace de confiance", f"{', '.join(domains)}: in the trust space")),
            Stage.CONTENT: Shown(f"{row.payload.get('size', '?')} octets")}
        return Explained(row, ACCEPTED, "", explain.lay_steps(_SUBMISSION, values, ""), case.used)

    # ------------------------------------------------------------ what went out

    def _outbound(self, row: JournalRow) -> Explained:
        payload = row.payload
        domain = str(payload.get("to", "") or "").rpartition("@")[2].lower()
        rule, reply = str(payload.get("rule", "") or ""), str(payload.get("reply", "") or "")
        case = self._case(row, rule, domain)
        heard = find_rule(rule)
        case.values.pop(Stage.SESSION, None)
        remote = str(payload.get("remote", "") or "")
        case.values[Stage.RELAY] = Shown(explain.clean(remote or reply))
        if payload.get("tls"):
            case.values[Stage.TLS] = Shown(explain.clean(str(payload["tls"])), "TLS 1.2 (ECDHE, AEAD), TLS 1.3")
        if heard is not None and heard.stage not in (Stage.RELAY,):
            known = case.values.get(heard.stage, Shown())
            case.values[heard.stage] = Shown(known.peer or explain.clean(reply), known.ours)
        steps = explain.lay_steps(explain.OUTBOUND, case.values, rule, until=_LAST.get(JournalKind(row.kind)))
        said = _REMOTE_RULE.findall(reply)
        theirs = not rule and row.kind != JournalKind.RELAYED
        if theirs:  # the other operator refused: its rule, when it is one of ours, is read from where it stands
            rule = next((one for one in reversed(said) if find_rule(one) is not None), "")
            steps = (*(step for step in steps if step.state is not explain.State.UNKNOWN),
                     Step(Stage.RECIPIENT, explain.State.FAIL, explain.clean(reply), "", rule))
        who = _who(rule, remote=theirs) if rule else Who.PEER if theirs else None
        return Explained(row, _verdict(row.kind, rule), rule, steps, case.used, self._today_outbound(case), who, remote=theirs)

    def _today_outbound(self, case: _Case) -> Today | None:
        """Say what would be decided now of the destination: listed, and its certificate bound, when it is known."""
        if case.row.kind == JournalKind.RELAYED or not case.domain:
            return None
        state = self._state(case, self._context.clock.now(), self._context.snapshot.whitelist)
        refusal = _refusal(state.may_relay_to(case.domain))
        if refusal is None and case.leaf:
            try:
                state.verify_server(case.leaf, case.domain)
            except PeerFault as fault:
                text = say(f"aujourd'hui : différé [{fault.rule}]", f"today: deferred [{fault.rule}]")
                return Today(DEFERRED, fault.rule, text, fault.rule != case.rule)
        rule = find_rule(case.rule)
        if refusal is None and (rule is None or rule.stage not in (Stage.BINDING, Stage.LIST, Stage.REVOCATION, Stage.DATES)):
            return None  # the network or the other operator refused: only another attempt can tell
        return self._compare(case, refusal)


# ------------------------------------------------------------ helpers


def certificate_shown(facts: CertificateFacts, word: CrlWord | None, snapshot: TrustSnapshot, at: datetime) -> dict[Stage, Shown]:
    """Give both values of the steps of a certificate at an instant, what the CRL says included."""
    values = explain.certificate_values(facts, snapshot.anchors, snapshot.peer_policy, at)
    values[Stage.REVOCATION] = Shown(values[Stage.REVOCATION].peer, crl_text(word))
    return values


def crl_text(word: CrlWord | None) -> str:
    """Give what the CRL at hand says of a certificate."""
    if word is None:
        return say("aucune CRL de cette autorité", "no CRL of this authority")
    issued = explain.day(word.this_update)
    head = say(f"CRL n° {word.number} du {issued}", f"CRL n° {word.number} of {issued}")
    if word.revoked_on is None:
        return head + say(f", non révoqué, vaut jusqu'au {explain.day(word.next_update)}",
                          f", not revoked, good until {explain.day(word.next_update)}")
    return head + say(f", révoqué le {explain.day(word.revoked_on)}", f", revoked on {explain.day(word.revoked_on)}")


def _journalled(row: JournalRow, snapshot: TrustSnapshot) -> dict[Stage, Shown]:
    """Give the values of a certificate from what the journal holds of it."""
    payload = row.payload
    values: dict[Stage, Shown] = {}
    if payload.get("dn"):
        head = str(payload.get("certificate", "") or "")[:16]
        values[Stage.CERTIFICATE] = Shown(explain.clean(str(payload["dn"])) + (f" (SHA-256 {head}…)" if head else ""))
    elif payload.get("rule") == "PEER-ABSENT":
        values[Stage.CERTIFICATE] = Shown(say("aucun", "none"), say("certificat exigé", "a certificate is required"))
    if payload.get("issuer"):
        admitted = ", ".join(sorted({common_name(one.subject) for one in snapshot.anchors.issuers}))
        values[Stage.ISSUER] = Shown(explain.clean(str(payload["issuer"])), admitted)
    if payload.get("not_after"):
        values[Stage.DATES] = Shown(f"{payload.get('not_before', '?')} – {payload['not_after']}", explain.day(row.at))
    if payload.get("serial"):
        values[Stage.REVOCATION] = Shown(say(f"numéro de série {payload['serial']}", f"serial number {payload['serial']}"))
    for stage, key in ((Stage.KEY, "key"), (Stage.USAGES, "usages")):
        if payload.get(key):
            values[stage] = Shown(explain.clean(str(payload[key])))
    return values


def _turns(case: _Case, snapshot: TrustSnapshot) -> list[tuple[Callable[[Whitelist], bool], str, str]]:
    """Give what a list may have changed, as tests, with the words for coming and going."""
    found: list[tuple[Callable[[Whitelist], bool], str, str]] = []
    domain, name, mode = case.domain, case.name, snapshot.mode
    if domain:
        found.append((lambda one: one.knows_domain(domain),
                      say("le domaine est entré dans la liste le", "the domain joined the list on"),
                      say("le domaine a quitté la liste le", "the domain left the list on")))
    if domain and name is not None:
        found.append((lambda one: one.binds(domain, name, mode),
                      say("ce certificat est lié au domaine depuis la liste du", "this certificate is bound since the list of"),
                      say("ce certificat n'est plus lié au domaine depuis la liste du",
                          "this certificate is no longer bound since the list of")))
    if name is not None:
        found.append((lambda one: one.knows_name(name, mode),
                      say("ce certificat est entré dans la liste le", "this certificate joined the list on"),
                      say("ce certificat a quitté la liste le", "this certificate left the list on")))
    return found


def _hidden(case: _Case) -> bool:
    """Tell whether a step before the list decided, of a certificate that is not at hand: its subject alone says nothing."""
    rule = find_rule(case.rule) if case.rule else None
    stages = explain.INBOUND[:explain.INBOUND.index(Stage.LIST)]
    return not case.leaf and rule is not None and rule.stage in stages


def _sender_domain(row: JournalRow) -> str:
    """Give the domain of the sender that an event speaks of, or nothing."""
    if row.kind == JournalKind.SESSION_REFUSED:
        return ""
    if row.kind == JournalKind.SENDER_REFUSED:
        detail = str(row.payload.get("detail", "") or "").partition(" <- ")[0]
        return detail.rpartition("@")[2].lower() if row.payload.get("rule") in ("LB-DOMAINE", "LB-LIAISON") else ""
    sender = str(row.payload.get("from", "") or row.subject)
    return sender.rpartition("@")[2].lower() if "@" in sender else ""


def _name(text: str) -> DistinguishedName | None:
    try:
        return parse_dn(text) if text else None
    except InputFault:
        return None


def identity_of(name: DistinguishedName) -> OperatorIdentity:
    """Give an identity of that subject that proves nothing: for the steps of the list alone."""
    return OperatorIdentity(name, "", 0, "", (name.value("CN"),), datetime.max.replace(tzinfo=UTC))


def _refusal(decision: Decision) -> Refuse | None:
    return None if isinstance(decision, Allow) else decision


def _verdict(kind: str, rule: str) -> str:
    try:
        found = _VERDICTS.get(JournalKind(kind), NOTED)
    except ValueError:
        return NOTED
    known = find_rule(rule)
    if found == REFUSED and known is not None and kind != JournalKind.BOUNCED and known.id in (
            "PEER-CRL-STALE", "LB-INDISPONIBLE", "BOITE-SUSPENDUE", "DISQUE-PLEIN"):
        return DEFERRED
    return found


def _who(rule: str, *, remote: bool = False) -> Who | None:
    """Give who must fix it; a rule that the other operator told is read from its side: its peer is us."""
    known: Rule | None = find_rule(rule) if rule else None
    if known is None:
        return None
    return {Who.PEER: Who.US, Who.US: Who.PEER}.get(known.who, known.who) if remote else known.who

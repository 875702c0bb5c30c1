"""Judges what a probe saw of another operator's door, rule by rule: a state, the evidence, who must fix it (`peerrules`).

- The certificate is judged by the functions that judge it on a delivery (`trust.peer`, `trust.decisions`), and explained as
  `trust.explain` does: both values stand in the evidence.
- What could not be seen is `skip`, with why: a door that hangs up early is not said to be well.
- Evidence is what the other side said, made printable, cut, its addresses masked: a reply may quote a person.
- Pure: `now` is an argument. Called by `mssante.cli.checkpeer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from mssante.errors import PeerFault
from mssante.lang import say
from mssante.model.reply import Refuse
from mssante.services.explain import certificate_shown, identity_of
from mssante.services.explainhistory import CrlShelf
from mssante.services.peerrules import PEER_RULES, PeerRule
from mssante.services.peervalues import Observed, Said, Talk
from mssante.services.truststate import TrustSnapshot
from mssante.trust.anchors import READ_FAULTS, issued_by
from mssante.trust.decisions import server_matches
from mssante.trust.explain import CertificateFacts, binding_text, clean, list_title, read_facts
from mssante.trust.peer import identify
from mssante.trust.rules import Stage, find_rule

WARN_DAYS = 30
SLOW_SECONDS = 5.0
ENOUGH_BYTES = 25_000_000
MAX_EVIDENCE = 500
_ADDRESS = re.compile(r"[^\s<>\"(),;:@]{1,64}@(?=[A-Za-z0-9.\-])")


class Level(StrEnum):
    """ok; warn: works, should be better; fail: breaks a rule; skip: could not be seen."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class PeerFinding:
    """One rule, as found. evidence: both values, in words; code: the rule of the catalogue that refuses, when there is one."""

    rule: PeerRule
    level: Level
    evidence: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Judges:
    """What the judgement stands on."""

    snapshot: TrustSnapshot
    shelf: CrlShelf
    now: datetime


Judged = tuple[Level, str, str]


def redact(text: str) -> str:
    """Give a text of somebody else as a report may hold it: printable, cut, local parts of addresses masked."""
    return clean(_ADDRESS.sub("…@", text), MAX_EVIDENCE)


def judge(seen: Observed, judges: Judges) -> tuple[PeerFinding, ...]:
    """Give all findings, in the order of their numbers."""
    case = _Case(seen, judges)
    found = []
    for number, rule in PEER_RULES.items():
        level, evidence, code = _JUDGES[number](case)
        found.append(PeerFinding(rule, level, redact(evidence), code))
    return tuple(found)


class _Case:
    """A probe with what several rules need of it."""

    def __init__(self, seen: Observed, judges: Judges) -> None:
        self.seen = seen
        self.judges = judges
        self.plain = seen.talks.get("plain")
        self.ours = seen.talks.get("ours")
        done = [talk.tls for talk in seen.talks.values() if talk.tls is not None and talk.tls.done]
        self.tls = self.ours.tls if self.ours is not None and self.ours.tls is not None and self.ours.tls.done else next(
            iter(done), None)
        self.leaf = self.tls.chain[0] if self.tls is not None and self.tls.chain else b""
        self.facts: CertificateFacts | None = read_facts(self.leaf)
        self.refusal = self._identify()

    def _identify(self) -> PeerFault | None:
        """Judge the certificate as a delivery does, its revocation by the CRL."""
        snapshot = self.judges.snapshot
        if not self.leaf:
            return None
        try:
            identify(self.leaf, snapshot.anchors, snapshot.crls, self.judges.now, snapshot.peer_policy)
        except PeerFault as fault:
            return fault
        return None

    def secured(self) -> set[str]:
        """Give the keywords of EHLO inside TLS, as we are known, else of whoever got so far."""
        hello = self.ours.find("EHLO", inside=True) if self.ours is not None else None
        if hello is None or hello.code != 250:
            return set()
        return {line.split()[0].upper() for line in hello.lines[1:] if line.split()}


def _skip(why: str = "") -> Judged:
    return Level.SKIP, why or say("non vu", "not seen"), ""


def _said(said: Said) -> str:
    """Give one exchange as evidence: the command, and the octets of the reply."""
    command = said.command.replace("\r\n", " + ")
    return f"{command} -> {said.text or said.fault or '-'}" + (f" [{said.fault}]" if said.fault and said.text else "")


def _fail(text: str, code: str = "") -> Judged:
    return Level.FAIL, text, code


def _ok(text: str) -> Judged:
    return Level.OK, text, ""


def _warn(text: str) -> Judged:
    return Level.WARN, text, ""


# ------------------------------------------------------------ before TLS


def _listed(case: _Case) -> Judged:
    whitelist = case.judges.snapshot.whitelist
    if whitelist is None:
        return _fail(say("aucune liste en vigueur chez nous", "we have no list in force"), "LB-INDISPONIBLE")
    rows = binding_text(case.seen.domain, None, whitelist, case.judges.snapshot.mode)
    text = f"{case.seen.domain} : {rows} ; {list_title(whitelist)}"
    return _ok(text) if whitelist.knows_domain(case.seen.domain) else _fail(text, "LB-DOMAINE")


def _hosts(case: _Case) -> Judged:
    seen = case.seen
    if seen.route == "given":
        return _skip(say("adresse donnée à la commande", "address given to the command"))
    if seen.dns_fault:
        return _fail(seen.dns_text or seen.dns_fault, seen.dns_fault)
    text = ", ".join(f"{door.host}[{door.address}]:{door.port}" for door in seen.doors)
    return _ok((say("route fixe : ", "fixed route: ") if seen.route == "route" else "") + text)


def _connection(case: _Case) -> Judged:
    if not case.seen.doors:
        return _skip()
    text = ", ".join(f"{one.host}[{one.address}]:{one.port} {one.fault or f'{one.seconds:.2f} s'}" for one in case.seen.doors)
    closed = [one for one in case.seen.doors if one.fault]
    if len(closed) == len(case.seen.doors):
        return _fail(text, "SMTP-CONNECT")
    return _warn(text) if closed else _ok(text)


def _of_plain(case: _Case, command: str, wanted: int) -> Judged:
    if case.plain is None:
        return _skip()
    said = case.plain.find(command)
    if said is None:
        return _fail(case.plain.detail, case.plain.fault) if case.plain.fault else _skip()
    return _ok(_said(said)) if said.code == wanted else _fail(_said(said), said.fault)


def _starttls(case: _Case) -> Judged:
    hello = case.plain.find("EHLO") if case.plain is not None else None
    if hello is None or hello.code != 250:
        return _skip()
    offers = any(line.split()[:1] == ["STARTTLS"] for line in (line.upper() for line in hello.lines[1:]))
    return _ok(_said(hello)) if offers else _fail(_said(hello), "SMTP-NO-STARTTLS")


def _clear_mail(case: _Case) -> Judged:
    said = case.plain.find("MAIL") if case.plain is not None else None
    if said is None:
        return _skip()
    if said.code == 250 or 300 <= said.code < 400:
        return _fail(_said(said))
    if said.code in (530, 0) or said.code >= 500:
        return _ok(_said(said))
    return _warn(_said(said))


def _injected(case: _Case) -> Judged:
    talk = case.seen.talks.get("injection")
    if talk is None:
        return _skip()
    if not talk.inside:
        last = talk.clear[-1] if talk.clear else None
        return _ok(_said(last)) if last is not None and last.command.startswith("STARTTLS") else _skip(talk.fault)
    codes = [one.code for one in talk.inside if one.code]
    text = say("réponses dans TLS à EHLO et QUIT : ", "replies inside TLS to EHLO and QUIT: ") + ", ".join(map(str, codes))
    ran = len(codes) > 2 or (len(codes) > 1 and 221 not in codes[:2])
    return _fail(text, "SMTP-STARTTLS-INJECTION") if ran else _ok(text)


# ------------------------------------------------------------ TLS


def _handshake(case: _Case) -> Judged:
    if case.tls is not None:
        return _ok(f"{case.tls.version} {case.tls.cipher}, {case.tls.seconds:.2f} s")
    if case.ours is not None and case.ours.tls is not None:
        return _fail(case.ours.tls.reason, "SMTP-TLS-HANDSHAKE")
    said = case.ours.find("STARTTLS") if case.ours is not None else None
    return _fail(_said(said), said.fault) if said is not None else _skip()


def _variant(case: _Case, name: str, *, wanted: bool) -> Judged:
    """Judge one offer: was it taken, and should it be?"""
    talk = case.seen.talks.get(name)
    if talk is None or talk.tls is None:
        return _skip(talk.fault if talk is not None else "")
    if talk.tls.done:
        text = f"{talk.tls.version} {talk.tls.cipher}"
        return _ok(text) if wanted else _fail(say("accepté : ", "accepted: ") + text)
    if talk.tls.reason == "timeout":
        return _skip(talk.tls.reason)
    if wanted:
        return _warn(say("refusé : ", "refused: ") + talk.tls.reason)
    return _ok(say("refusé : ", "refused: ") + talk.tls.reason)


# ------------------------------------------------------------ its certificate


def _chain(case: _Case) -> Judged:
    if case.tls is None:
        return _skip()
    if not case.leaf:
        return _fail(say("aucun certificat", "no certificate"), "SMTP-TLS-PEER")
    try:
        found = [x509.load_der_x509_certificate(one) for one in case.tls.chain]
    except READ_FAULTS:
        return _fail(say("certificat illisible", "unreadable certificate"), "PEER-PARSE")
    text = say(f"{len(found)} certificat(s)", f"{len(found)} certificate(s)")
    return _ok(text) if len(found) > 1 and issued_by(found[0], found[1]) else _warn(
        text + say(", sans l'autorité émettrice", ", without the issuing authority"))


def _certificate(case: _Case, *stages: Stage) -> Judged:
    """Judge some steps of the certificate: the fault decides, both values are the evidence."""
    if not case.leaf:
        return _skip()
    if case.facts is None:
        return _fail(say("certificat illisible", "unreadable certificate"), "PEER-PARSE")
    judges = case.judges
    values = certificate_shown(case.facts, judges.shelf.word(case.leaf, judges.now), judges.snapshot, judges.now)
    text = " ; ".join(say(f"vu {values[stage].peer}, attendu {values[stage].ours}",
                          f"seen {values[stage].peer}, expected {values[stage].ours}") for stage in stages)
    rule = find_rule(case.refusal.rule) if case.refusal is not None else None
    if rule is None or case.refusal is None:
        return _ok(text)
    if rule.stage in stages:
        return (_warn(f"{text} [{rule.id}]") if case.refusal.temporary else _fail(text, case.refusal.rule))
    order = list(Stage)
    if order.index(rule.stage) < order.index(stages[0]):
        return _skip(say(f"non jugé après {rule.id} ; {text}", f"not judged after {rule.id}; {text}"))
    return _ok(text)


def _dates(case: _Case) -> Judged:
    found = _certificate(case, Stage.DATES)
    if found[0] is Level.OK and case.facts is not None and (case.facts.not_after - case.judges.now).days < WARN_DAYS:
        return _warn(found[1])
    return found


def _bound(case: _Case) -> Judged:
    snapshot, facts = case.judges.snapshot, case.facts
    if facts is None or snapshot.whitelist is None:
        return _skip()
    listed = binding_text(case.seen.domain, facts.subject, snapshot.whitelist, snapshot.mode)
    text = say(f"vu {facts.subject.text} ; liste : {listed}", f"seen {facts.subject.text}; list: {listed}")
    if snapshot.whitelist.binds(case.seen.domain, facts.subject, snapshot.mode):
        return _ok(text)
    decision = server_matches(identity_of(facts.subject), case.seen.domain, snapshot.whitelist, snapshot.mode)
    return _fail(text, decision.rule if isinstance(decision, Refuse) else "LB-SERVEUR")


def _announced(case: _Case) -> Judged:
    hello = case.ours.find("EHLO", inside=True) if case.ours is not None else None
    hello = hello or (case.plain.find("EHLO") if case.plain is not None else None)
    if hello is None or hello.code != 250 or case.facts is None:
        return _skip()
    name = (hello.lines[0].split() or [""])[0].lower() if hello.lines else ""
    cn = case.facts.subject.value("CN")
    text = f"EHLO {name}, CN {cn}"
    return _ok(text) if name == cn else _warn(text)


def _host_name(case: _Case) -> Judged:
    if case.facts is None or case.seen.door is None or case.seen.route != "mx":
        return _skip(say("aucun nom de MX à comparer", "no MX name to compare"))
    names = {case.facts.subject.value("CN"), *case.facts.names}
    host = case.seen.door.host.lower()
    text = f"MX {host}, CN/SAN {', '.join(sorted(names))}"
    return _ok(text) if host in names else _warn(text)


# ------------------------------------------------------------ who may come in


def _stranger(case: _Case, name: str) -> Judged:
    """A peer that proves nothing must not get as far as an accepted MAIL."""
    talk: Talk | None = case.seen.talks.get(name)
    if talk is None or (talk.tls is None and not talk.clear):
        return _skip(talk.fault if talk is not None else "")
    if talk.tls is None:
        return _skip(say("STARTTLS refusé", "STARTTLS refused"))
    if not talk.tls.done:
        if talk.tls.reason == "timeout":
            return _skip(talk.tls.reason)
        return _ok(say("poignée de main refusée : ", "handshake refused: ") + talk.tls.reason)
    mail = talk.find("MAIL", inside=True)
    if mail is not None and mail.code == 250:
        return _fail(_said(mail), "PEER-ABSENT" if name == "without" else "PEER-ISSUER")
    refused = next((one for one in talk.inside if one.code >= 400 or one.fault), None)
    if refused is None or refused.fault == "SMTP-TIMEOUT":
        return _skip(talk.fault)
    return _ok(_said(refused))


def _admitted(case: _Case, which: int) -> Judged:
    """Our own MAIL, from nobody then from our domain."""
    if case.ours is None:
        return _skip()
    mails = [one for one in case.ours.inside if one.command.startswith("MAIL ")]
    if len(mails) > which:
        said = mails[which]
        if said.code == 250:
            return _ok(_said(said))
        return (_warn if 400 <= said.code < 500 else _fail)(_said(said))
    if which or case.ours.tls is None:
        return _skip()
    if not case.ours.tls.done:
        return _fail(case.ours.tls.reason, "SMTP-TLS-HANDSHAKE")
    refused = next((one for one in case.ours.inside if one.code != 250), None)
    return _fail(_said(refused), refused.fault) if refused is not None else _skip()


# ------------------------------------------------------------ extensions, times


def _size(case: _Case) -> Judged:
    if not case.secured():
        return _skip()
    hello = case.ours.find("EHLO", inside=True) if case.ours is not None else None
    line = next((one for one in hello.lines[1:] if one.upper().startswith("SIZE")), "") if hello is not None else ""
    words = line.split()
    if not words:
        return _warn(say("absent", "absent"))
    stated = int(words[1]) if len(words) > 1 and words[1].isascii() and words[1].isdigit() and len(words[1]) <= 20 else 0
    return _ok(line) if not stated or stated >= ENOUGH_BYTES else _warn(line)


def _keyword(case: _Case, word: str, *, needed: bool = False) -> Judged:
    keywords = case.secured()
    if not keywords:
        return _skip()
    if word in keywords:
        return _ok(word)
    return _fail(say("absent", "absent")) if needed else _warn(say("absent", "absent"))


def _no_second_tls(case: _Case) -> Judged:
    keywords = case.secured()
    if not keywords:
        return _skip()
    return _warn("STARTTLS") if "STARTTLS" in keywords else _ok(say("absent", "absent"))


def _times(case: _Case) -> Judged:
    waits = [(said.seconds, said.command.split(" ")[0]) for talk in (case.plain, case.ours) if talk is not None
             for said in (*talk.clear, *talk.inside)]
    if not waits:
        return _skip()
    slowest = max(waits)
    text = say(f"la plus lente : {slowest[1]} en {slowest[0]:.2f} s, en tout {case.seen.seconds:.1f} s",
               f"slowest: {slowest[1]} in {slowest[0]:.2f} s, in all {case.seen.seconds:.1f} s")
    return _warn(text) if slowest[0] > SLOW_SECONDS or case.seen.ended else _ok(text)


_JUDGES: dict[str, Callable[[_Case], Judged]] = {
    "P-01": _listed, "P-02": _hosts, "P-03": _connection,
    "P-04": lambda case: _of_plain(case, "greeting", 220), "P-05": lambda case: _of_plain(case, "EHLO", 250),
    "P-06": _starttls, "P-07": _clear_mail, "P-08": _injected, "P-09": _handshake,
    "P-10": lambda case: _variant(case, "tls1.3", wanted=True), "P-11": lambda case: _variant(case, "tls1.2", wanted=True),
    "P-12": lambda case: _variant(case, "tls1.1", wanted=False), "P-13": lambda case: _variant(case, "tls1.0", wanted=False),
    "P-14": lambda case: _variant(case, "cbc", wanted=False), "P-15": lambda case: _variant(case, "rsa", wanted=False),
    "P-16": _chain, "P-17": lambda case: _certificate(case, Stage.CERTIFICATE, Stage.ISSUER), "P-18": _dates,
    "P-19": lambda case: _certificate(case, Stage.USAGES, Stage.KEY), "P-20": lambda case: _certificate(case, Stage.REVOCATION),
    "P-21": _bound, "P-22": _announced, "P-23": _host_name,
    "P-24": lambda case: _stranger(case, "without"), "P-25": lambda case: _stranger(case, "foreign"),
    "P-26": lambda case: _admitted(case, 0), "P-27": lambda case: _admitted(case, 1), "P-28": _size,
    "P-29": lambda case: _keyword(case, "PIPELINING"), "P-30": lambda case: _keyword(case, "8BITMIME", needed=True),
    "P-31": lambda case: _keyword(case, "DSN", needed=True), "P-32": lambda case: _keyword(case, "ENHANCEDSTATUSCODES"),
    "P-33": _no_second_tls, "P-34": _times,
}

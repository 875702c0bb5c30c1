"""The TLS material of a running operator: read from the configuration's files, watched, swapped without a restart.

What is watched: the operator's pair (and the second one beside it), the next pair of a rollover, the users' pair, those of SNI,
the anchors, the client authorities of IMAP, `rollover.json`, and `reload.request` (`mssante cert reload`, as SIGHUP).

- Each of them stands for itself: one that is bad is refused, told (alarm metric `tls-…`, journal, log with rule and remedy) and
  the last good one goes on; the others are served. Never a stop.
- A swap is done in the event loop, all doors at once, after everything was read and every context was built in a thread: new
  handshakes have the new material, sessions under way go on, nothing waits.
- Anchors are swapped in one step with the doors' contexts; the CRLs of the authorities that remain stay in force.
- Contexts are renewed after `session_seconds`: that is how long a TLS session may be resumed.
- At start a pair that OpenSSL can use is served whatever its dates say; without one, the operator does not start.

Called by `app.py`. The rollover's steps are written by `mssante cert rollover` (`services.rollover_state`).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.clock import Clock
from mssante.config.model import Config, SniSection
from mssante.endpoints.tls_context import AlertingContext
from mssante.endpoints.tls_material import DoorPlan, DoorTls, build
from mssante.errors import MssFault, OperatorFault
from mssante.lang import say
from mssante.model.journal import JournalKind
from mssante.services.evidence import Evidence
from mssante.services.rollover_state import RELOAD_FILE, Rollover, Serve, read_rollover, rollover_file
from mssante.services.tlskeys import Pair, ReadPair, mark_of, read_pair, read_side_by_side
from mssante.services.tlswatch import Watched
from mssante.services.trustalarms import SourceAlarms
from mssante.services.trustkeeper import TrustKeeper
from mssante.transport.tls_offer import OutboundTls, outbound_context
from mssante.trust.anchors import TrustAnchors, load_anchors, read_certificates
from mssante.trust_setup import read_anchors

log = structlog.get_logger("tls")
Pairs = tuple[ReadPair, ...]


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """The anchors file as trust, as the white list's signature, and as OpenSSL take it."""

    anchors: TrustAnchors
    signers: TrustAnchors
    pem: str


@dataclass(frozen=True, slots=True)
class Served:
    """What is in force. operator: side by side, what peers see; trial: shown to `domains` by our own sessions, or None."""

    operator: tuple[ReadPair, ...]
    trial: ReadPair | None
    domains: frozenset[str]
    users: tuple[ReadPair, ...]


@dataclass(frozen=True, slots=True)
class _Contexts:
    operators: AlertingContext
    users: AlertingContext
    imap: AlertingContext
    outbound: ssl.SSLContext
    trial: ssl.SSLContext | None


class TlsKeeper:
    """Holds what the doors and the relay show. `operators`, `users`, `imap`: doors; `outbound`: our own sessions."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Read everything. Raises MssFault, OSError or ssl.SSLError when the doors could not be opened with it."""
        self._config = config
        self._clock = clock
        self._lenient = True
        self._in_force: Served | None = None
        tls, login = config.operator.tls, config.operator.login
        folder = config.path(tls.operator_certificate).parent
        self._rollover = Watched("tls-rollover", lambda: (folder / "rollover.json",), self._read_rollover, Rollover())
        self._anchors = Watched("tls-anchors", lambda: (config.path(config.operator.trust.anchors),), self._read_anchor_set,
                                self._read_anchor_set())
        self._operator: Watched[Pairs] = Watched("tls-operator", lambda: _files(self._operator_pairs()), self._read_operator,
                                                 self._read_operator())
        self._next: Watched[Pairs] = Watched("tls-next", lambda: _files(self._next_pairs()), self._read_next, ())
        users = _pair(config, tls.client_certificate, tls.client_key)
        self._users: Watched[Pairs] = Watched("tls-client", lambda: _files(users), partial(self._read_pairs, users, None),
                                              self._read_pairs(users, None))
        self._sni: list[Watched[Pairs]] = [
            Watched(f"tls-sni{rank}", partial(_files, _pair(config, one.certificate, one.key)), partial(self._read_sni, one), ())
            for rank, one in enumerate(tls.sni, 1)]
        client = (config.path(login.client_anchors),) if login.client_anchors is not None else ()
        self._client_anchors = Watched("tls-client-anchors", lambda: client, partial(_read_pem, client), _read_pem(client))
        self._reload_file = (folder / RELOAD_FILE,)
        self._reload_mark = mark_of(self._reload_file)
        self._wanted = asyncio.Event()
        self._asked = False
        self._renewed = clock.monotonic()
        self._keeper: TrustKeeper | None = None
        self._evidence: Evidence | None = None
        self._alarms: SourceAlarms | None = None
        self._read_changes(force=True)
        self._lenient = False
        self.served = self._in_force = self._plan()
        self._by_date = self._serves_next()
        contexts = self._build(self.served)
        self.operators, self.users, self.imap = DoorTls(contexts.operators), DoorTls(contexts.users), DoorTls(contexts.imap)
        self.outbound = OutboundTls(contexts.outbound)
        self.outbound.put(contexts.outbound, contexts.trial, self.served.domains)

    # ------------------------------------------------------------ reading

    @property
    def _parts(self) -> list[Watched[Any]]:
        """In the order in which they are read: the state says what the next pair is, the anchors judge the pairs."""
        return [self._rollover, self._anchors, self._client_anchors, self._operator, self._next, self._users, *self._sni]

    def _read_rollover(self) -> Rollover:
        return read_rollover(rollover_file(self._config.path(self._config.operator.tls.operator_certificate)))

    def _read_anchor_set(self) -> AnchorSet:
        """Read the anchors. Raises InputFault, OSError; OperatorFault `TLS-ANCRES` when they do not admit our own authority."""
        anchors = read_anchors(self._config)
        path = self._config.path(self._config.operator.trust.anchors)
        pem = _pem(path)
        if self._in_force is not None and self._admits_us(self._anchors.value.anchors) and not self._admits_us(anchors):
            raise OperatorFault(
                say("les nouvelles ancres n'admettent pas l'autorité de notre propre certificat",
                    "the new anchors do not admit the authority of our own certificate"), rule="TLS-ANCRES",
                remedy=say("ajoutez-la, ou changez d'abord de certificat", "add it, or change the certificate first"))
        signers = load_anchors([path.read_bytes()], self._config.operator.trust.signer_issuers)
        return AnchorSet(anchors, signers, pem)

    def _admits_us(self, anchors: TrustAnchors) -> bool:
        """Tell whether anchors admit the authority of the certificate that we serve."""
        return self._in_force is not None and anchors.issuer_of(self._in_force.operator[0].leaf, self._clock.now()) is not None

    def _operator_pairs(self) -> tuple[Pair, ...]:
        tls = self._config.operator.tls
        return (Pair(self._config.path(tls.operator_certificate), self._config.path(tls.operator_key)),
                *_pair(self._config, tls.second_certificate, tls.second_key))

    def _read_operator(self) -> tuple[ReadPair, ...]:
        return self._read_pairs(self._operator_pairs(), self._anchors.value.anchors)

    def _next_pairs(self) -> tuple[Pair, ...]:
        state, tls = self._rollover.value, self._config.operator.tls
        if state.next_certificate is not None and state.next_key is not None:
            return (Pair(state.next_certificate, state.next_key),)
        return _pair(self._config, tls.next_certificate, tls.next_key)

    def _read_next(self) -> tuple[ReadPair, ...]:
        """Read the next pair; one that comes into its dates before it is served is not there yet, and no fault."""
        found = tuple(read_pair(pair, self._clock.now(), self._anchors.value.anchors) for pair in self._next_pairs())
        for one in found:
            early = self._clock.now() < one.leaf.not_valid_before_utc
            if one.fault is not None and not (early and one.fault.rule == "TLS-DATES"):
                raise one.fault
        return found

    def _read_pairs(self, pairs: tuple[Pair, ...], issuers: TrustAnchors | None) -> tuple[ReadPair, ...]:
        """Read pairs; once we serve, one with a fault of any kind is refused. Raises OperatorFault."""
        found = read_side_by_side(pairs, self._clock.now(), issuers)
        for one in found:
            if one.fault is not None and not self._lenient:
                raise one.fault
        return found

    def _read_sni(self, section: SniSection) -> tuple[ReadPair, ...]:
        issuers = self._anchors.value.anchors if section.operators else None
        return self._read_pairs(_pair(self._config, section.certificate, section.key), issuers)

    def _read_changes(self, *, force: bool) -> set[str]:
        """Look at everything (in a thread once we serve); give the names of what was read anew."""
        return {part.name for part in self._parts if part.look(force=force)}

    # ------------------------------------------------------------ what is served

    def _serves_next(self) -> bool:
        """Tell whether peers are to see the next pair: the rollover says so, or its date came."""
        state, since = self._rollover.value, self._config.operator.tls.next_from
        if state.serve is Serve.NEXT:
            return True
        return state.next_certificate is None and since is not None and self._clock.now() >= since

    def _plan(self) -> Served:
        current, coming, users = self._operator.value, self._next.value, self._users.value
        state = self._rollover.value
        if coming and self._serves_next():
            operator = (coming[0], *(one for one in current[1:] if one.kind != coming[0].kind))
            return Served(operator, None, frozenset(), users or operator)
        domains = frozenset(state.try_peers if coming else ())
        return Served(current, coming[0] if domains else None, domains, users or current)

    def _build(self, served: Served) -> _Contexts:
        """Make all contexts. Raises OperatorFault, ssl.SSLError."""
        sections = list(zip(self._config.operator.tls.sni, self._sni, strict=True))
        every = {name: one.value[0] for section, one in sections if one.value for name in section.names}
        between = {name: one.value[0] for section, one in sections if one.value and section.operators for name in section.names}
        users = DoorPlan(served.users, every)
        return _Contexts(
            build(DoorPlan(served.operator, between, self._anchors.value.pem, people=False)), build(users),
            build(DoorPlan(served.users, every, self._client_anchors.value)), _outbound(served.operator),
            _outbound((served.trial,)) if served.trial is not None else None)

    # ------------------------------------------------------------ watching

    def watch(self, keeper: TrustKeeper, evidence: Evidence) -> None:
        """Say who takes new anchors, and where changes are told; before `run`."""
        self._keeper, self._evidence, self._alarms = keeper, evidence, SourceAlarms(evidence)

    def reload(self) -> None:
        """Read everything again now, changed or not (SIGHUP)."""
        self._asked = True
        self._wanted.set()

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self.look()
            except (MssFault, OSError, ssl.SSLError) as fault:
                log.error("tls_look_failed", rule=getattr(fault, "rule", ""), detail=str(fault)[:300])
            try:
                await asyncio.wait_for(self._wanted.wait(), self._config.operator.tls.watch_seconds)
            except TimeoutError:
                pass
            self._wanted.clear()

    async def look(self) -> bool:
        """Look once at everything; True when new contexts were put in force."""
        mark = mark_of(self._reload_file)
        force, self._asked, self._reload_mark = self._asked or mark != self._reload_mark, False, mark
        changed = await asyncio.to_thread(self._read_changes, force=force)
        self._tell_faults()
        by_date, now = self._serves_next(), self._clock.monotonic()
        if changed or by_date != self._by_date or now - self._renewed >= self._config.operator.tls.session_seconds:
            return await self._renew(changed)
        return False

    async def _renew(self, changed: set[str]) -> bool:
        """Build from what is good and put it in force; False when OpenSSL takes it not, and nothing changed then."""
        served = self._plan()
        try:
            contexts = await asyncio.to_thread(self._build, served)
        except (OperatorFault, ssl.SSLError) as fault:
            told = fault if isinstance(fault, OperatorFault) else OperatorFault(
                "OpenSSL refuses the new material", rule="TLS-CONTEXTE", detail=str(fault.reason))
            self._ring("tls-context", told)
            return False
        self._well("tls-context")
        for door, context in ((self.operators, contexts.operators), (self.users, contexts.users), (self.imap, contexts.imap)):
            door.put(context)
        if _shown(served) != _shown(self.served) or "tls-operator" in changed or "tls-next" in changed:
            self.outbound.put(contexts.outbound, contexts.trial, served.domains)
        self._tell_change(served)
        self.served = self._in_force = served
        self._by_date, self._renewed = self._serves_next(), self._clock.monotonic()
        if "tls-anchors" in changed and self._keeper is not None:
            await self._keeper.take_anchors(self._anchors.value.anchors, self._anchors.value.signers)
        return True

    # ------------------------------------------------------------ telling

    def _tell_faults(self) -> None:
        for part in self._parts:
            if part.fault is not None:
                self._ring(part.name, part.fault)
            else:
                self._well(part.name)

    def _ring(self, name: str, fault: MssFault) -> None:
        if self._alarms is not None:
            self._alarms.ring(name, JournalKind.TLS_REFUSED, fault)

    def _well(self, name: str) -> None:
        if self._alarms is not None:
            self._alarms.well(name)

    def _tell_change(self, served: Served) -> None:
        """Journal and log which certificates are served from now on, when they are others than before."""
        if _shown(served) == _shown(self.served) or self._evidence is None:
            return
        first = served.operator[0]
        facts: dict[str, str | int | float | bool | None] = {
            "operator": " ".join(one.fingerprint for one in served.operator), "before": self.served.operator[0].fingerprint,
            "users": served.users[0].fingerprint, "trial": served.trial.fingerprint if served.trial is not None else "",
            "try_peers": " ".join(sorted(served.domains))[:500], "not_after": first.leaf.not_valid_after_utc.isoformat()}
        self._evidence.write(self._evidence.event(JournalKind.TLS_CHANGED, first.fingerprint, facts))
        log.info("tls_changed", **facts)


def _shown(served: Served) -> tuple[object, ...]:
    return (tuple(one.fingerprint for one in served.operator), tuple(one.fingerprint for one in served.users),
            served.trial.fingerprint if served.trial is not None else "", served.domains)


def _outbound(pairs: tuple[ReadPair, ...]) -> ssl.SSLContext:
    context = outbound_context()
    for one in pairs:
        one.load_into(context)
    return context


def _pair(config: Config, certificate: Path | None, key: Path | None) -> tuple[Pair, ...]:
    return (Pair(config.path(certificate), config.path(key)),) if certificate is not None and key is not None else ()


def _files(pairs: tuple[Pair, ...]) -> tuple[Path, ...]:
    return tuple(path for pair in pairs for path in (pair.certificate, pair.key))


def _pem(path: Path) -> str:
    """Give the certificates of a file as PEM text. Raises InputFault, OSError."""
    return "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in read_certificates([path.read_bytes()]))


def _read_pem(paths: tuple[Path, ...]) -> str | None:
    return _pem(paths[0]) if paths else None

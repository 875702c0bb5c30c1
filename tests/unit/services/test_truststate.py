"""The snapshot in force: what it answers without a usable list, and how long an identity is believed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.clock import FakeClock
from support.pki import build_igc, der, dn_text, whitelist_xml

from mssante.errors import PeerFault
from mssante.model.identity import OperatorIdentity
from mssante.model.reply import Allow, Decision, Refuse
from mssante.protocol.xml import parse_xml
from mssante.services import truststate
from mssante.services.truststate import KEEP_IDENTITY, TrustSnapshot, TrustState
from mssante.trust.anchors import TrustAnchors
from mssante.trust.crl import CrlSet
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy, Proven
from mssante.trust.whitelist import Whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
LEAF, _ = IGC.leaf("mx.a.mssante.fr")
OTHER, _ = IGC.leaf("mx.b.mssante.fr")
UNLISTED, _ = IGC.leaf("mx.c.mssante.fr")
SHORT, _ = IGC.leaf("mx.a.mssante.fr", not_after=NOW + timedelta(seconds=20))


def whitelist(generated_at: datetime = NOW - timedelta(hours=1)) -> Whitelist:
    raw = whitelist_xml([("a.mssante.fr", dn_text(LEAF)), ("b.mssante.fr", dn_text(OTHER))], generated_at)
    return parse_whitelist(parse_xml(raw, max_bytes=1 << 20))


def snapshot(current: Whitelist | None, crls: CrlSet | None = None) -> TrustSnapshot:
    return TrustSnapshot(IGC.anchors, IGC.crl_set() if crls is None else crls, PeerPolicy(), DnMode.CN_OU,
                         timedelta(days=3), current)


def state(current: Whitelist | None = None, crls: CrlSet | None = None) -> tuple[TrustState, FakeClock]:
    clock = FakeClock(NOW)
    return TrustState(snapshot(current, crls), clock), clock


def refused(decision: Decision | OperatorIdentity) -> tuple[int, str]:
    assert isinstance(decision, Refuse)
    assert decision.reply.text.isascii()
    return decision.reply.code, decision.rule


def test_without_a_list_everything_between_operators_is_put_off() -> None:
    trust, _ = state()
    identity = trust.identify(der(LEAF))
    assert refused(trust.admit(der(LEAF))) == (451, "LB-INDISPONIBLE")
    assert refused(trust.may_send(identity, "a.mssante.fr")) == (451, "LB-INDISPONIBLE")
    assert refused(trust.may_send(identity, None)) == (451, "LB-INDISPONIBLE")
    assert refused(trust.may_relay_to("a.mssante.fr")) == (451, "LB-INDISPONIBLE")
    assert trust.list_date() == "aucune"
    with pytest.raises(PeerFault) as caught:
        trust.verify_server(der(LEAF), "a.mssante.fr")
    assert caught.value.rule == "LB-INDISPONIBLE"


@pytest.mark.parametrize(("age", "usable"), [
    (timedelta(0), True), (timedelta(days=3), True), (timedelta(days=3, seconds=1), False), (timedelta(days=400), False)])
def test_a_list_past_its_maximum_age_is_as_none(age: timedelta, usable: bool) -> None:
    trust, _ = state(whitelist(NOW - age))
    assert (trust.usable_list() is not None) is usable
    admitted = trust.admit(der(LEAF))
    if usable:
        assert isinstance(admitted, OperatorIdentity)
    else:
        assert refused(admitted) == (451, "LB-INDISPONIBLE")
        assert trust.list_date() != "aucune"


def test_a_list_grows_too_old_while_it_is_in_force() -> None:
    trust, clock = state(whitelist(NOW))
    assert isinstance(trust.may_relay_to("a.mssante.fr"), Allow)
    clock.advance(timedelta(days=3, seconds=1))
    assert refused(trust.may_relay_to("a.mssante.fr")) == (451, "LB-INDISPONIBLE")


def test_decisions_follow_the_list() -> None:
    trust, _ = state(whitelist())
    identity = trust.admit(der(LEAF))
    assert isinstance(identity, OperatorIdentity)
    assert isinstance(trust.may_send(identity, "a.mssante.fr"), Allow)
    assert isinstance(trust.may_send(identity, None), Allow)
    assert refused(trust.may_send(identity, "b.mssante.fr")) == (550, "LB-LIAISON")
    assert refused(trust.may_send(identity, "x.mssante.fr")) == (550, "LB-DOMAINE")
    assert refused(trust.admit(der(UNLISTED))) == (554, "LB-CERTIFICAT")
    decision = trust.may_relay_to("x.mssante.fr")
    assert isinstance(decision, Refuse) and decision.reply.permanent
    trust.verify_server(der(LEAF), "a.mssante.fr")
    with pytest.raises(PeerFault) as caught:
        trust.verify_server(der(LEAF), "b.mssante.fr")
    assert caught.value.rule == "LB-SERVEUR"


def test_a_bad_certificate_refuses_the_session_for_good_an_unknown_revocation_for_now() -> None:
    trust, _ = state(whitelist())
    foreign, _ = IGC.leaf("mx.a.mssante.fr", issuer="foreign")
    code, rule = refused(trust.admit(der(foreign)))
    assert code == 554 and rule.startswith("PEER-")
    without_crl, _ = state(whitelist(), CrlSet())
    code, rule = refused(without_crl.admit(der(LEAF)))
    assert code == 454 and rule.startswith("PEER-CRL")
    assert refused(trust.admit(b""))[1] == "PEER-ABSENT"


def test_an_identity_is_kept_for_a_minute_at_most_and_never_past_a_swap() -> None:
    trust, clock = state(whitelist())
    first = trust.identify(der(LEAF))
    assert trust.identify(der(LEAF)) is first
    clock.advance(KEEP_IDENTITY)
    again = trust.identify(der(LEAF))
    assert again is not first and again == first
    trust.swap(snapshot(whitelist(), IGC.crl_set([LEAF])))
    with pytest.raises(PeerFault) as caught:
        trust.identify(der(LEAF))
    assert caught.value.rule.startswith("PEER-REVO")
    assert not caught.value.temporary


def test_an_identity_is_never_kept_past_the_end_of_its_certificate() -> None:
    trust, clock = state(whitelist())
    trust.identify(der(SHORT))
    clock.advance(timedelta(seconds=21))
    with pytest.raises(PeerFault) as caught:
        trust.identify(der(SHORT))
    assert caught.value.rule.startswith("PEER-EXPIR")


def test_a_clock_set_back_does_not_lengthen_the_life_of_an_identity() -> None:
    trust, clock = state(whitelist())
    first = trust.identify(der(LEAF))
    clock.set(NOW - timedelta(days=1))
    assert trust.identify(der(LEAF)) is not first


def test_a_swap_takes_effect_on_the_binding_too() -> None:
    trust, _ = state(whitelist())
    identity = trust.identify(der(LEAF))
    raw = whitelist_xml([("b.mssante.fr", dn_text(OTHER))], NOW)
    trust.swap(replace(trust.snapshot, whitelist=parse_whitelist(parse_xml(raw, max_bytes=1 << 20))))
    assert refused(trust.may_send(identity, "a.mssante.fr")) == (550, "LB-DOMAINE")
    assert refused(trust.may_send(identity, None)) == (554, "LB-CERTIFICAT")


def test_the_memory_of_identities_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from mssante.services import truststate

    monkeypatch.setattr(truststate, "MAX_IDENTITIES", 1)
    trust, _ = state(whitelist())
    first = trust.identify(der(LEAF))
    trust.identify(der(OTHER))
    assert trust.identify(der(LEAF)) is not first


class Desk:
    """Tells what it was asked; `during` runs inside, as another task may while a session waits."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.asked: list[str] = []
        self.during = during
        self.fault: PeerFault | None = None

    def prepare(self, proven: Proven) -> Awaitable[None] | None:
        self.asked.append(f"prepare {proven.identity.names[0]}")
        return self._wait()

    async def _wait(self) -> None:
        self.during()

    def check(self, proven: Proven) -> None:
        self.asked.append(f"check {proven.identity.names[0]}")
        if self.fault is not None:
            raise self.fault


def with_ocsp(trust: TrustState) -> None:
    trust.swap(replace(trust.snapshot, peer_policy=PeerPolicy(revocation="ocsp")))


async def test_ocsp_is_asked_for_a_certificate_that_passed_everything_else() -> None:
    trust, _ = state(whitelist())
    desk = Desk()
    trust.ask_at(desk)
    assert trust.prepare(der(LEAF)) is None and isinstance(trust.admit(der(LEAF)), OperatorIdentity)
    assert desk.asked == [], "policy crl"
    with_ocsp(trust)
    foreign, _ = IGC.leaf("mx.a.mssante.fr", issuer="foreign")
    assert trust.prepare(der(foreign)) is None and trust.prepare(b"") is None
    assert refused(trust.admit(der(foreign)))[1] == "PEER-ISSUER" and desk.asked == []
    waiting = trust.prepare(der(LEAF))
    assert waiting is not None
    await waiting
    assert isinstance(trust.admit(der(LEAF)), OperatorIdentity)
    desk.fault = PeerFault("Certificat revoque", rule="PEER-REVOKED")
    assert refused(trust.admit(der(LEAF))) == (554, "PEER-REVOKED"), "asked at every decision: nothing is kept beside the desk"
    verifying = trust.verify_server(der(LEAF), "a.mssante.fr")
    assert verifying is not None
    with pytest.raises(PeerFault) as caught:
        await verifying
    assert caught.value.rule == "PEER-REVOKED"


async def test_a_snapshot_swapped_while_a_session_waits_is_the_one_that_decides() -> None:
    trust, _ = state(whitelist())
    trust.ask_at(Desk(lambda: trust.swap(replace(trust.snapshot, crls=IGC.crl_set([LEAF])))))
    with_ocsp(trust)
    waiting = trust.prepare(der(LEAF))
    assert waiting is not None
    await waiting
    assert refused(trust.admit(der(LEAF))) == (554, "PEER-REVOKED"), "what the former snapshot proved is forgotten"


def test_a_swap_in_the_middle_of_a_proof_leaves_nothing_of_the_former_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache belongs to the snapshot that the proof began with."""
    trust, _ = state(whitelist())
    honest = truststate.prove

    def slow(leaf: bytes, anchors: TrustAnchors, crls: CrlSet, now: datetime, policy: PeerPolicy) -> Proven:
        proven = honest(leaf, anchors, crls, now, policy)
        monkeypatch.setattr(truststate, "prove", honest)
        trust.swap(replace(trust.snapshot, crls=IGC.crl_set([LEAF])))
        return proven

    monkeypatch.setattr(truststate, "prove", slow)
    assert isinstance(trust.admit(der(LEAF)), OperatorIdentity), "decided on the snapshot of its beginning"
    assert refused(trust.admit(der(LEAF))) == (554, "PEER-REVOKED")

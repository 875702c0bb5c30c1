"""Which certificates are admitted for mail: the authorities of `smime.issuers` alone, their CRLs, TEST ones never in production."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.pki import EMAIL, ORGANISATIONS_CN, PERSONNES_CN, PRODUCT_CATEGORY, build_igc
from support.smime_stage import BOTH_USES, mail_leaf

from mssante.services.smime_trust import MailTrust
from mssante.services.truststate import TrustSnapshot
from mssante.smime.values import SmimeCode
from mssante.trust.anchors import load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.names import DnMode
from mssante.trust.path import Purpose
from mssante.trust.peer import PeerPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
ADDRESS = "docteur@a.mssante.fr"


def snapshot(*crls: bytes, watched: tuple[str, ...] = (), production: bool = False) -> TrustSnapshot:
    """The trust with these CRLs read under its anchors."""
    anchors = load_anchors([IGC.anchors_pem], (ORGANISATIONS_CN,), watched)
    held = CrlSet()
    for raw in crls:
        held = held.admit(parse_any_crl(raw, anchors, NOW))
    return TrustSnapshot(anchors, held, PeerPolicy(production=production), DnMode.CN_OU, timedelta(days=3))


def trust(given: TrustSnapshot, *cns: str) -> MailTrust:
    return MailTrust(lambda: given, cns or (ORGANISATIONS_CN,))


@pytest.mark.parametrize(("leaf", "code"), [
    ({}, SmimeCode.VALID), ({"issuer": "personnes"}, SmimeCode.CHAIN), ({"issuer": "foreign"}, SmimeCode.CHAIN),
    ({"issuer": "lookalike"}, SmimeCode.CHAIN), ({"serial": 0xDEAD}, SmimeCode.REVOKED),
    ({"not_after": NOW - timedelta(seconds=1)}, SmimeCode.EXPIRED), ({"not_before": NOW + timedelta(seconds=1)}, SmimeCode.EXPIRED),
    ({"usage": ("key_encipherment",)}, SmimeCode.USAGE)])
def test_a_signer_is_admitted_or_told_why_not(leaf: dict[str, Any], code: SmimeCode) -> None:
    assert trust(snapshot(IGC.crl([0xDEAD]))).check_signer(mail_leaf(ADDRESS, **leaf)[0], (), NOW) is code


def test_each_use_asks_for_its_own_key_usage() -> None:
    ours = trust(snapshot(IGC.crl()))
    only_signs = mail_leaf(ADDRESS, usage=("digital_signature",))[0]
    assert ours.check_signer(only_signs, (), NOW) is SmimeCode.VALID and ours.check_recipient(only_signs, NOW) is SmimeCode.USAGE


def test_a_sister_authority_is_admitted_when_named_and_its_crl_is_read() -> None:
    person = mail_leaf(ADDRESS, issuer="personnes")[0]
    admitted = (ORGANISATIONS_CN, PERSONNES_CN)
    both = snapshot(IGC.crl(), IGC.crl(issuer="personnes"), watched=admitted)
    assert trust(both, *admitted).check_signer(person, (), NOW) is SmimeCode.VALID
    assert trust(both).check_signer(person, (), NOW) is SmimeCode.CHAIN  # not named: not admitted
    without = snapshot(IGC.crl(), watched=admitted)
    assert trust(without, *admitted).check_signer(person, (), NOW) is SmimeCode.REVOCATION_UNKNOWN
    assert both.anchors.issuer_of(person, NOW) is None  # and admits no operator


def test_an_authority_revoked_by_its_root_admits_nobody() -> None:
    given = snapshot(IGC.crl(), IGC.crl([IGC.organisations.certificate], issuer="root"))
    assert trust(given).check_signer(mail_leaf(ADDRESS)[0], (), NOW) is SmimeCode.REVOKED


def test_what_a_message_brings_as_authority_is_not_used() -> None:
    rogue = mail_leaf(ADDRESS, issuer="lookalike")[0]
    assert trust(snapshot(IGC.crl())).check_signer(rogue, (IGC.lookalike.certificate,), NOW) is SmimeCode.CHAIN


@pytest.mark.parametrize(("category", "production", "code"), [
    (0x82, True, SmimeCode.CHAIN), (0x82, False, SmimeCode.VALID), (0x02, True, SmimeCode.VALID), (None, True, SmimeCode.VALID)])
def test_test_certificates_are_refused_in_production(category: int | None, production: bool, code: SmimeCode) -> None:
    leaf, _ = IGC.leaf(f"cat {category}", usage=BOTH_USES, eku=(EMAIL,), san=(), category=category)
    assert PRODUCT_CATEGORY.dotted_string.startswith("1.2.250")
    assert trust(snapshot(IGC.crl(), production=production)).check_signer(leaf, (), NOW) is code


def test_the_anchors_follow_the_trust_in_force() -> None:
    given = [snapshot(IGC.crl())]
    ours = MailTrust(lambda: given[0], (ORGANISATIONS_CN,))
    first = ours.anchors()
    given[0] = replace(given[0], crls=CrlSet())
    assert ours.anchors() is first  # anchors did not change
    given[0] = snapshot(IGC.crl())
    assert ours.anchors() is not first and ours.judge(mail_leaf(ADDRESS)[0], Purpose.ANY, NOW).valid

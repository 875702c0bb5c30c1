"""Whose a client certificate is: by subject, by fingerprint, and every certificate that must open nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.pki import CLIENT, EMAIL, SERVER, certificate_pem, der, key_for
from support.smtp_stage import ALICE, IGC, NOW, OURS, SmtpStage, build, trust_snapshot

from mssante.errors import InputFault
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxType
from mssante.services.client_certificates import MAX_KEPT, CertificateSettings, ClientCertificates
from mssante.services.identities import IdentityDesk, certificate_name
from mssante.storage.identities import DN
from mssante.storage.interfaces import NewMailbox
from mssante.trust.anchors import read_certificates
from mssante.trust.clientname import subject_key
from mssante.trust.crl import CrlSet

APP = f"resultats@{OURS}"
CN = "RESULTATS ALPHA"


def leaf(cn: str = CN, **changes: Any) -> x509.Certificate:
    """Give an ORG AUTH_CLI leaf (F3.8, F3.10)."""
    return IGC.leaf(cn, **{"usage": ("digital_signature",), "eku": (CLIENT,), "category": 0x83, **changes})[0]


GOOD = leaf()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    await made.stores.database.write(lambda tx: made.stores.accounts.create_mailboxes(tx, [NewMailbox(APP, MailboxType.APP, NOW)]))
    yield made
    await made.close()


def judge(stage: SmtpStage, **prints: str) -> ClientCertificates:
    settings = CertificateSettings(prints, lambda: read_certificates([IGC.anchors_pem]))
    return ClientCertificates(settings, stage.trust, stage.stores, clock=stage.clock, evidence=stage.evidence)


async def linked(stage: SmtpStage) -> ClientCertificates:
    await IdentityDesk(stage.stores, stage.clock).link_certificate(APP, certificate_pem(GOOD))
    one = judge(stage)
    await one.refresh()
    return one


async def test_a_linked_subject_opens_its_box(stage: SmtpStage) -> None:
    one = await linked(stage)
    assert one.login_of(der(GOOD)) == APP
    renewed = leaf(key=key_for("renewed"), serial=99)
    assert one.login_of(der(renewed)) == APP, "a renewed certificate keeps its subject"
    account = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, APP))
    assert account is not None and account.secret_hash == "" and account.enabled
    assert await stage.accounts.authenticate(APP, "", "192.0.2.9:1") is None, "no password opens it"
    await IdentityDesk(stage.stores, stage.clock).unlink(DN, subject_key(GOOD.subject))
    await one.refresh()
    assert one.login_of(der(GOOD)) == ""
    assert [row.payload["action"] for row in await stage.journal(JournalKind.IDENTITY_CHANGED)] == ["linked", "unlinked"]


@pytest.mark.parametrize(("shown", "rule"), [
    (leaf(issuer="foreign"), "PEER-ISSUER"), (leaf(issuer="lookalike"), "PEER-ISSUER"), (leaf(issuer="personnes"), "PEER-ISSUER"),
    (leaf(not_after=NOW - timedelta(seconds=1)), "PEER-EXPIRED"), (leaf(not_before=NOW + timedelta(days=1)), "PEER-NOT-YET"),
    (leaf(serial=0xDEAD), "PEER-REVOKED"), (leaf(eku=(SERVER, CLIENT)), "EXTERNE-OFFRE"), (leaf(eku=(EMAIL,)), "PEER-EKU"),
    (leaf(eku=(SERVER,)), "PEER-EKU"), (leaf(eku=None), "EXTERNE-OFFRE"), (leaf(ca=True), "PEER-CA"), (leaf(usage=("content_commitment",)), "PEER-USAGE"),
    (leaf(key_bits=1024, key=key_for("small client", 1024)), "PEER-KEY"), (leaf("RESULTATS BETA"), "EXTERNE-INCONNU"),
    (leaf(o="AUTRE ORGANISATION"), "EXTERNE-INCONNU"), (leaf(ou="318751275100021"), "EXTERNE-INCONNU"), (leaf("RESULTATS ALPHA 2"), "EXTERNE-INCONNU"),
    (leaf("RÉSULTATS ALPHA"), "EXTERNE-INCONNU"), (leaf("RESULT\u0410TS ALPHA"), "EXTERNE-INCONNU"),  # a Cyrillic A
    (leaf("RESULTATS\u200b ALPHA"), "EXTERNE-NOM"), (leaf("RESULTATS ALPHA\u0000"), "EXTERNE-NOM"), (leaf("RESULTATS ALPHA\u202e"), "EXTERNE-NOM"),
    (leaf("RESULTATS ALPHA,OU=318751275100020"), "EXTERNE-INCONNU"),
], ids=lambda one: one if isinstance(one, str) else "")
async def test_what_opens_nothing(stage: SmtpStage, shown: x509.Certificate, rule: str) -> None:
    one = await linked(stage)
    assert one.login_of(der(shown), "192.0.2.1:9") == ""
    assert one.login_of(der(shown), "192.0.2.1:10") == ""
    (row,) = await stage.journal(JournalKind.CERTIFICATE_REFUSED)
    assert row.payload["rule"] == rule, "told once"
    assert one.login_of(der(GOOD)) == APP, "the good one is not disturbed"


@pytest.mark.parametrize("raw", [b"", b"x" * 20000, b"\x30\x82\x01", der(GOOD)[:-1], der(GOOD) + b"\0"])
async def test_rubbish_opens_nothing(stage: SmtpStage, raw: bytes) -> None:
    assert (await linked(stage)).login_of(raw) == ""


def rebuilt(rdns: list[x509.RelativeDistinguishedName]) -> x509.Certificate:
    """Give a good leaf with another structure of the subject."""
    issuer = IGC.organisations
    builder = (x509.CertificateBuilder().subject_name(x509.Name(rdns)).issuer_name(issuer.certificate.subject)
               .public_key(GOOD.public_key()).serial_number(5).not_valid_before(GOOD.not_valid_before_utc).not_valid_after(GOOD.not_valid_after_utc))  # type: ignore[arg-type]
    for extension in GOOD.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    from cryptography.hazmat.primitives import hashes
    return builder.sign(issuer.key, hashes.SHA256())


@pytest.mark.parametrize(("shape", "rule"), [("reordered", "EXTERNE-INCONNU"), ("reversed", "EXTERNE-INCONNU"), ("multi-valued", "EXTERNE-NOM"),
                                             ("one RDN", "EXTERNE-NOM"), ("two CN", "EXTERNE-NOM"), ("no CN", "EXTERNE-NOM"), ("case and spaces", "")])
async def test_structures_of_the_subject(stage: SmtpStage, shape: str, rule: str) -> None:
    one = await linked(stage)
    parts = list(GOOD.subject)
    single = [x509.RelativeDistinguishedName([part]) for part in parts]
    other = {"reordered": [single[0], single[2], single[1], *single[3:]], "reversed": single[::-1],
             "multi-valued": [*single[:-2], x509.RelativeDistinguishedName(parts[-2:])], "one RDN": [x509.RelativeDistinguishedName(parts)],
             "two CN": [*single, single[-1]], "no CN": single[:-1],
             "case and spaces": [*single[:-1], x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, " resultats  Alpha ")])]}
    verdict = one.judge(der(rebuilt(other[shape])))
    assert (verdict.rule, verdict.login) == (rule, "" if rule else APP)


async def test_unknown_revocation_refuses_and_a_new_crl_acts_at_once(stage: SmtpStage) -> None:
    one = await linked(stage)
    assert one.login_of(der(GOOD)) == APP
    stage.trust.swap(replace(trust_snapshot(), crls=CrlSet()))
    assert one.judge(der(GOOD)).rule == "PEER-CRL-STALE" and one.login_of(der(GOOD)) == ""
    stage.trust.swap(replace(trust_snapshot(), crls=IGC.crl_set([GOOD])))
    assert one.judge(der(GOOD)).rule == "PEER-REVOKED"
    stage.trust.swap(trust_snapshot())
    assert one.login_of(der(GOOD)) == APP
    stage.trust.swap(replace(trust_snapshot(), peer_policy=replace(trust_snapshot().peer_policy, production=True)))
    assert one.judge(der(GOOD)).rule == "PEER-CATEGORY", "a TEST certificate in production"


async def test_a_judgement_does_not_outlive_the_certificate(stage: SmtpStage) -> None:
    await IdentityDesk(stage.stores, stage.clock).link_certificate(APP, certificate_pem(GOOD))
    short = leaf(not_after=NOW + timedelta(seconds=90))
    one = judge(stage)
    await one.refresh()
    assert one.login_of(der(short)) == APP
    stage.clock.advance(timedelta(seconds=91))
    assert one.login_of(der(short)) == ""


async def test_by_fingerprint(stage: SmtpStage) -> None:
    """An authority of `client_anchors` without CRL is admitted for a certificate named one by one, revocation known or not."""
    shown = {"good": leaf(issuer="personnes"), "foreign": leaf(issuer="foreign"), "expired": leaf(not_after=NOW - timedelta(days=1)),
             "server": leaf(eku=(SERVER,)), "revoked": leaf(serial=0xDEAD)}
    one = judge(stage, **{hashlib.sha256(der(each)).hexdigest(): ALICE for each in shown.values()})
    await one.refresh()
    assert {name: one.judge(der(each)).login or one.judge(der(each)).rule for name, each in shown.items()} == {
        "good": ALICE, "foreign": "CHEMIN-SIGNATURE", "expired": "CHEMIN-EXPIRE", "server": "CHEMIN-USAGE", "revoked": "CHEMIN-REVOQUE"}


async def test_memory_is_bounded(stage: SmtpStage) -> None:
    one = await linked(stage)
    for rank in range(MAX_KEPT + 10):
        one.login_of(b"%d" % rank)
    assert len(one._kept) <= MAX_KEPT and len(one._told) <= MAX_KEPT


async def test_links(stage: SmtpStage) -> None:
    desk = IdentityDesk(stage.stores, stage.clock)
    await desk.link_certificate(APP, certificate_pem(GOOD))
    for login, raw, rule in ((ALICE, certificate_pem(GOOD), "IDENTITE-PRISE"), (ALICE, certificate_pem(IGC.leaf("mx.a.fr")[0]), "EXTERNE-OFFRE"),
                             ("nobody", certificate_pem(leaf("AUTRE")), "COMPTE-INCONNU"), (ALICE, b"x", "ANCRE-LECTURE")):
        with pytest.raises(InputFault) as told:
            await desk.link_certificate(login, raw)
        assert told.value.rule == rule
    for login, subject, rule in ((ALICE, "é", "IDENTITE-FORME"), (ALICE, "", "IDENTITE-FORME"), (ALICE, "a" * 65, "IDENTITE-FORME"),
                                 ("nobody", "8997", "COMPTE-INCONNU")):
        with pytest.raises(InputFault) as told:
            await desk.link_subject(login, subject)
        assert told.value.rule == rule
    assert (await desk.link_subject(ALICE, " 8997 ")).value == "8997"
    assert [(one.kind, one.login) for one in await desk.list()] == [("dn", APP), ("psc", ALICE)]
    assert [one.value for one in await desk.list(ALICE)] == ["8997"]
    with pytest.raises(InputFault, match="COMPTE-INCONNU"):
        await desk.list("nobody")
    with pytest.raises(InputFault, match="IDENTITE-INCONNUE"):
        await desk.unlink("psc", "1")
    assert json.dumps(certificate_name(certificate_pem(GOOD))).startswith('"C=fr,ST=paris(75),O=')


def test_values_cannot_play_attributes() -> None:
    one = subject_key(leaf("A,OU=B").subject)
    other = subject_key(leaf("A", ou="B").subject)
    assert one != other and "CN=a\\,ou\\=b" in one

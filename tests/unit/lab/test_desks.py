"""What is published at a given instant, with and without faults."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import load_der_x509_crl

from mssante.errors import InputFault
from mssante.lab.desks import Published, RevocationDesk, lab_entries, load_authorities, load_certificate, load_list_desk
from mssante.lab.faults import Fault, FaultFile, parse_fault
from mssante.lab.manifest import Lab
from mssante.lab.plan import OPERATORS
from mssante.lab.whitelist import unsigned_list
from mssante.protocol.xml import parse_xml
from mssante.trust.signature import SignerPolicy, verify_list_signature
from mssante.trust.whitelist import parse_whitelist

NONE: frozenset[Fault] = frozenset()
NS = "{https://listeblanche.mssante.fr/schema}"


@pytest.fixture
def now(lab: Lab) -> datetime:
    return datetime.fromisoformat(lab.document["created"])


def number(der: bytes | None) -> int:
    assert der is not None
    return load_der_x509_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_entries_are_those_that_the_contract_calls_listed(lab: Lab) -> None:
    entries = {(one.domain, one.dn) for one in lab_entries(lab)}
    names = {path: load_certificate(lab.path(path)).subject.rfc4514_string()
             for path in ("alpha/certs/mta.pem", *(f"peers/{name}.pem" for name in lab.document["peers"]))}
    assert ("alpha.mssante.test", names["alpha/certs/mta.pem"]) in entries
    for listed in ("gamma", "revoked", "expired", "foreign_ca", "personnes"):
        assert (lab.document["peers"][listed]["domain"], names[f"peers/{listed}.pem"]) in entries
    assert "unlisted.mssante.test" not in {domain for domain, _ in entries}
    assert names["peers/unlisted.pem"] not in {dn for _, dn in entries}
    # the seventh peer is listed, but not for the domain that it will claim
    own = names["peers/other_name.pem"]
    assert ("delta.mssante.test", own) in entries and ("other-name.mssante.test", own) not in entries
    assert "other-name.mssante.test" in {domain for domain, _ in entries}
    assert {plan.domain for plan in OPERATORS} <= {domain for domain, _ in entries}


def test_list_has_the_published_shape(lab: Lab) -> None:
    root = parse_xml(unsigned_list(lab_entries(lab), datetime(2026, 1, 5, 8, tzinfo=UTC)), max_bytes=100_000)
    assert root.tag == NS + "ListeBlancheMSSante"
    assert [one.tag for one in root] == [NS + "DateDeGeneration", NS + "ListeDomaines"]
    assert root[0].text == "2026-01-05T08:00:00Z"
    for entry in root[1]:
        assert [one.tag[len(NS):] for one in entry] == [
            "Nom", "Description", "DNCertificatOperateur", "ResponsableContact", "SupportContact", "DateMAJ"]
        assert all(one.text for one in entry)


def signer_policy(lab: Lab) -> SignerPolicy:
    """The policy that the lab's own configuration gives to its operators."""
    from mssante.config.load import load_config
    from mssante.trust_setup import keeper_settings

    return keeper_settings(load_config(lab.path("alpha/operator_config"))).signer


def test_list_is_signed_and_altering_it_shows(lab: Lab, now: datetime) -> None:
    desk = load_list_desk(lab)
    good = desk.current(NONE, now)
    signed = verify_list_signature(good, signer_policy(lab), now)
    assert parse_whitelist(signed.root, "0" * 64).domain_count == len({one.domain for one in lab_entries(lab)})
    bad = desk.current(frozenset({Fault.WHITELIST_BAD_SIGNATURE}), now)
    assert bad != good
    with pytest.raises(InputFault):
        verify_list_signature(bad, signer_policy(lab), now)


def test_rolled_back_list_is_older_and_well_signed(lab: Lab, now: datetime) -> None:
    desk = load_list_desk(lab)
    good = verify_list_signature(desk.current(NONE, now), signer_policy(lab), now)
    old = verify_list_signature(desk.current(frozenset({Fault.WHITELIST_ROLLED_BACK}), now), signer_policy(lab), now)
    assert (parse_whitelist(good.root, "0" * 64).generated_at - parse_whitelist(old.root, "1" * 64).generated_at
            == timedelta(days=7))


def test_list_stays_the_same_for_a_day(lab: Lab, now: datetime) -> None:
    desk = load_list_desk(lab)
    first = desk.current(NONE, now)
    assert desk.current(NONE, now + timedelta(hours=23)) == first
    assert desk.current(NONE, now + timedelta(hours=24)) != first


def test_crl_follows_the_faults_with_growing_numbers(lab: Lab, now: datetime) -> None:
    desk = RevocationDesk(lab, load_authorities(lab), now=now)
    beta = load_certificate(lab.path("beta/certs/mta.pem")).serial_number
    revoked = load_certificate(lab.path("peers/revoked.pem")).serial_number
    plain = desk.current("ACI-EL-ORG", NONE, now)
    assert plain is not None and desk.current("ACI-EL-ORG", NONE, now) == plain
    crl = load_der_x509_crl(plain)
    assert crl.get_revoked_certificate_by_serial_number(revoked) is not None
    assert crl.get_revoked_certificate_by_serial_number(beta) is None
    assert crl.next_update_utc == now + timedelta(hours=24)

    broken = desk.current("ACI-EL-ORG", frozenset({Fault.BETA_CERTIFICATE_REVOKED}), now)
    assert broken is not None and number(broken) == number(plain) + 1
    assert load_der_x509_crl(broken).get_revoked_certificate_by_serial_number(beta) is not None

    expired = desk.current("ACI-EL-ORG", frozenset({Fault.CRL_EXPIRED}), now)
    assert expired is not None and number(expired) == number(broken) + 1
    ended = load_der_x509_crl(expired).next_update_utc
    assert ended is not None and ended < now

    healed = desk.current("ACI-EL-ORG", NONE, now)
    assert healed is not None and number(healed) == number(expired) + 1
    assert load_der_x509_crl(healed).get_revoked_certificate_by_serial_number(beta) is None


def test_crl_is_issued_anew_every_hour_and_numbers_survive_a_restart(lab: Lab, now: datetime) -> None:
    authorities = load_authorities(lab)
    desk = RevocationDesk(lab, authorities, now=now)
    first = desk.current("ACR-EL", NONE, now)
    later = desk.current("ACR-EL", NONE, now + timedelta(hours=1))
    assert number(later) > number(first)
    assert number(RevocationDesk(lab, authorities, now=now).current("ACR-EL", NONE, now)) > number(later)
    assert len(load_der_x509_crl(first or b"")) == 0
    assert desk.current("AUTRE", NONE, now) is None


def test_a_test_may_revoke_by_one_channel_or_by_both(lab: Lab, now: datetime) -> None:
    folder = lab.path("infra/published")
    folder.mkdir(exist_ok=True)
    desk = RevocationDesk(lab, load_authorities(lab), now=now)
    before = desk.current("ACI-EL-ORG", NONE, now)
    always = set(desk.revoked(NONE))
    try:
        (folder / "revoked.txt").write_text("a1 crl\nB2 ocsp\n\nc3\nnot-hexadecimal\nd4 ldap\n")
        assert set(desk.revoked(NONE)) - always == {0xA1, 0xC3}
        assert set(desk.revoked(NONE, "ocsp")) - always == {0xB2, 0xC3}
        during = desk.current("ACI-EL-ORG", NONE, now)
        assert number(during) == number(before) + 1
        assert load_der_x509_crl(during or b"").get_revoked_certificate_by_serial_number(0xA1) is not None
    finally:
        (folder / "revoked.txt").unlink()
    healed = desk.current("ACI-EL-ORG", NONE, now)
    assert number(healed) == number(during) + 1 and set(desk.revoked(NONE)) == always
    assert load_der_x509_crl(healed or b"").get_revoked_certificate_by_serial_number(0xA1) is None


def test_published_files_win(tmp_path: Path) -> None:
    assert Published(tmp_path).read("ACI-EL-ORG.crl") is None
    (tmp_path / "ACI-EL-ORG.crl").write_bytes(b"test")
    assert Published(tmp_path).read("ACI-EL-ORG.crl") == b"test"


def test_fault_file(tmp_path: Path) -> None:
    file = FaultFile(tmp_path / "infra" / "faults.json")
    assert file.read() == frozenset()
    file.write(frozenset({Fault.CRL_EXPIRED, Fault.DIRECTORY_DOWN}))
    assert file.read() == {Fault.CRL_EXPIRED, Fault.DIRECTORY_DOWN}
    for rubbish in ("", "[]", "{", json.dumps({"faults": 3}), json.dumps({"faults": ["no-such", 4]})):
        (tmp_path / "infra" / "faults.json").write_text(rubbish)
        assert file.read() == frozenset()


def test_unknown_fault_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputFault) as caught:
        parse_fault("whitelist-gone")
    assert "whitelist-gone" in caught.value.public and "beta-down" in caught.value.remedy

"""What stands on disk after a build, and what a build refuses to touch."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lab.build import MARKER, BuildOrder, build, check_folder, clear
from mssante.lab.configfiles import storage_url
from mssante.lab.manifest import FILE_NAME, Lab
from mssante.lab.plan import DOORS, OPERATORS, all_ports

CONTRACT_TRUST = {
    "anchors", "root_certificate", "root_key", "issuing_certificate", "issuing_key", "signer_certificate", "signer_key",
    "whitelist_url", "crl_url", "ocsp_url", "dns", "directory_fhir", "directory_extraction"}
CONTRACT_OPERATOR = {
    "name", "domain", "config", "pid", "smtp", "submission", "submissions", "imap", "imaps", "console", "metrics", "web",
    "certificate", "key", "accounts", "admin"}
CONTRACT_PEERS = {"gamma", "unlisted", "revoked", "expired", "foreign_ca", "personnes", "other_name"}


def test_lab_json_keeps_the_contract(lab: Lab) -> None:
    document = Lab.load(lab.folder).document
    assert document["version"] == 1
    assert set(document["trust"]) >= CONTRACT_TRUST
    assert [one["name"] for one in document["operators"]] == ["alpha", "beta", "citizen"]
    for operator in document["operators"]:
        assert set(operator) >= CONTRACT_OPERATOR
        assert operator["console"].startswith("https://127.0.0.1:") and operator["metrics"].endswith("/metrics")
        assert set(operator["admin"]) >= {"login", "password"}
    assert set(document["peers"]) == CONTRACT_PEERS
    assert all({"domain", "certificate", "key", "why"} <= set(peer) for peer in document["peers"].values())
    assert document["peers"]["gamma"]["smtp"] == f"127.0.0.1:{lab.base_port + 900}"


def test_accounts_in_lab_json(lab: Lab) -> None:
    alpha = lab.document["operators"][0]["accounts"]
    assert alpha[0]["rpps"] == "899700000011" and alpha[0]["type"] == "PER" and alpha[0]["password"]
    assert set(alpha[2]) >= {"address", "type", "certificate", "key"} and "password" not in alpha[2]
    assert [one["address"].partition("@")[0] for one in alpha[3:]] == ["user0001", "user0002", "big"]


def test_every_path_exists(lab: Lab) -> None:
    values = [value for key, value in lab.document["trust"].items() if key.endswith(("certificate", "key", "anchors"))]
    for operator in lab.document["operators"]:
        values += [operator["config"], operator["certificate"], operator["key"]]
        values += [one[key] for one in operator["accounts"] for key in ("certificate", "key", "smime_key") if key in one]
    values += [peer[key] for peer in lab.document["peers"].values() for key in ("certificate", "key")]
    assert len(values) > 25
    for value in values:
        assert not Path(value).is_absolute() and lab.path(value).exists(), value


def test_secrets_are_private(lab: Lab) -> None:
    assert stat.S_IMODE((lab.folder / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700


def test_ports_are_base_plus_fixed_offsets(lab: Lab) -> None:
    ports = all_ports(lab.base_port)
    assert len(set(ports.values())) == len(ports)
    assert {name: port - lab.base_port for name, port in ports.items()}["infra.whitelist"] == 10
    assert (ports["alpha.mllp"], ports["beta.mllp"], ports["hospital"]) == tuple(lab.base_port + rank for rank in (130, 131, 140))
    assert lab.operator("beta").address("mllp")[1] == lab.base_port + 131
    for plan, offset in zip(OPERATORS, (100, 110, 120), strict=True):
        entry = lab.operator(plan.name)
        assert [entry.address(door)[1] - lab.base_port for door in DOORS] == list(range(offset, offset + len(DOORS)))


def test_configuration_is_read_by_the_ordinary_loader(lab: Lab) -> None:
    for plan in OPERATORS:
        config = load_config(lab.path(f"{plan.name}/operator_config"))
        operator = config.operator
        assert operator.operator.hostname == plan.host
        assert [domain.name for domain in config.domains.domain] == [plan.domain]
        assert operator.trust.whitelist_url == lab.trust("whitelist_url")
        assert lab.trust("crl_url") in operator.trust.crl_urls
        assert operator.relay.dns_servers == (lab.trust("dns"),)
        assert operator.relay.routes["gamma.mssante.test"] == lab.document["peers"]["gamma"]["smtp"]
        assert plan.domain not in operator.relay.routes
        assert operator.trust.signer_cns == ("Liste Blanche LAB",)
        for path in (operator.tls.operator_certificate, operator.tls.operator_key, operator.trust.anchors):
            assert config.path(path).is_file()
        assert config.storage_url.startswith(f"sqlite:///{lab.folder}/{plan.name}/data/")
    citizens = load_config(lab.path("citizen/operator_config")).operator
    assert citizens.citizen.role == "operator" and citizens.citizen.returns == "mail"
    assert citizens.limits.message_bytes > citizens.citizen.max_bytes == 25_000_000  # F9.7: told by a later message


def test_loopback_only(lab: Lab) -> None:
    for plan in OPERATORS:
        listen = load_config(lab.path(f"{plan.name}/operator_config")).operator.listen
        assert {str(value).rpartition(":")[0] for value in listen.model_dump().values() if value} == {"127.0.0.1"}


@pytest.mark.parametrize(("template", "expected"), [
    ("", "sqlite:///../data/mssante.db"), ("postgresql+psycopg://h/mss?x=1", "postgresql+psycopg://h/mss_beta?x=1"),
    ("sqlite:////x/{operator}.db", "sqlite:////x/beta.db")])
def test_storage_url(template: str, expected: str) -> None:
    assert storage_url(template, "beta") == expected


def test_one_sqlite_file_for_three_operators_is_refused() -> None:
    with pytest.raises(InputFault, match="SQLite"):
        storage_url("sqlite:////x/all.db", "beta")


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "alpha").mkdir()
    (tmp_path / "alpha" / "thesis.txt").write_text("mine")
    for action in (check_folder, clear):
        with pytest.raises(InputFault) as caught:
            action(tmp_path)
        assert caught.value.rule == "LAB-FOLDER"
    with pytest.raises(InputFault):
        build(BuildOrder(tmp_path, 20000), datetime.now(UTC), lambda text: None)
    assert (tmp_path / "alpha" / "thesis.txt").read_text() == "mine"


def test_clear_removes_only_what_build_makes(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    for name in ("igc", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    clear(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [MARKER, "notes"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": 2}'])
def test_a_bad_lab_json_is_told_with_its_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(InputFault) as caught:
        Lab.load(tmp_path)
    assert caught.value.rule == "LAB-MANIFEST" and "--fresh" in caught.value.remedy


def test_no_lab_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputFault) as caught:
        Lab.load(tmp_path / "absent")
    assert caught.value.rule == "LAB-MISSING" and "lab up" in caught.value.remedy


def test_missing_operator_keys_are_a_typed_fault(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"version": 1, "operators": [{"name": "alpha"}], "trust": {}}')
    broken = Lab.load(tmp_path)
    with pytest.raises(InputFault):
        _ = broken.operators
    with pytest.raises(InputFault):
        broken.trust("anchors")

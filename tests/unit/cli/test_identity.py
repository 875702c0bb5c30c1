"""`mssante identity`: links, faults, JSON; and what the configuration must say about Pro Santé Connect."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clispace import Space
from support.pki import CLIENT, build_igc, certificate_pem

from mssante.config.cross import cross_problems
from mssante.config.model import OperatorConfig
from mssante.config.signin import PscSection
from mssante.signin_setup import discovery_of, issuer_of

APP = "resultats@alpha.mssante.test"
IGC = build_igc()


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    path = tmp_path / "app.pem"
    path.write_bytes(certificate_pem(IGC.leaf("APPLICATION", usage=("digital_signature",), eku=(CLIENT,), category=0x83)[0]))
    return str(path)


def test_a_certificate_opens_an_applicative_box(space: Space, certificate: str) -> None:
    assert space.run("mailbox", "add", APP, "--type", "APP").code == 0
    assert space.run("identity", "link", APP, "--certificate", certificate, "--json").json["kind"] == "dn"
    assert space.run("identity", "link", APP, "--psc", "899700000011").code == 0, "its login was made"
    listed = space.run("identity", "list", APP, "--json").json["identities"]
    assert [(one["kind"], one["login"]) for one in listed] == [("dn", APP), ("psc", APP)]
    assert listed[0]["identity"].endswith("CN=application") and APP in space.run("identity", "list").out
    taken = space.run("identity", "link", APP, "--certificate", certificate, "--json")
    assert taken.code == 1 and taken.json["rule"] == "IDENTITE-PRISE" and taken.json["detail"] == APP
    assert space.run("identity", "unlink", "--dn", listed[0]["identity"]).code == 0
    assert space.run("identity", "link", APP, "--certificate", certificate).code == 0
    assert space.run("identity", "unlink", "--certificate", certificate).code == 0
    assert space.run("identity", "unlink", "--psc", "899700000011").code == 0
    assert space.run("identity", "unlink", "--psc", "899700000011", "--json").json["rule"] == "IDENTITE-INCONNUE"
    changes = space.run("journal", "list", "--kind", "identity_changed", "--json").json["events"]
    assert [one["payload"]["action"] for one in changes] == ["unlinked", "unlinked", "linked", "unlinked", "linked", "linked"]


@pytest.mark.parametrize(("words", "code", "rule"), [
    (("link", "nul", "--psc", "8997"), 1, "COMPTE-INCONNU"), (("link", APP, "--psc", "é"), 1, "IDENTITE-FORME"),
    (("list", "nul"), 1, "COMPTE-INCONNU"), (("link", APP, "--certificate", "absent.pem"), 1, "EXTERNE-ILLISIBLE"),
    (("link", APP), 2, ""), (("unlink",), 2, ""), (("unlink", "--psc", "1", "--certificate", "x"), 2, "")])
def test_faults(space: Space, words: tuple[str, ...], code: int, rule: str) -> None:
    outcome = space.run("identity", *words)
    assert outcome.code == code and rule in outcome.err


def test_a_server_certificate_is_none_of_an_application(space: Space, tmp_path: Path) -> None:
    (tmp_path / "mx.pem").write_bytes(certificate_pem(IGC.leaf("mx.a.fr")[0]))
    outcome = space.run("identity", "link", APP, "--certificate", str(tmp_path / "mx.pem"))
    assert outcome.code == 1 and "EXTERNE-OFFRE" in outcome.err and "SERV SSL" in outcome.err


def test_the_real_addresses() -> None:
    """Spec §6.2."""
    realm = "/auth/realms/esante-wallet"
    assert issuer_of(PscSection(environment="production")) == f"https://auth.esw.esante.gouv.fr{realm}"
    assert discovery_of(PscSection(environment="bas")) == (
        f"https://auth.bas.psc.esante.gouv.fr{realm}/.well-known/wallet-openid-configuration")
    assert issuer_of(PscSection()) == "" and issuer_of(PscSection(environment="custom", issuer="https://x/r/")) == "https://x/r"


def test_what_tokens_need(space: Space) -> None:
    from mssante.config.load import load_config

    operator = load_config(space.config).operator

    def problems(**psc: object) -> list[str]:
        section = PscSection.model_validate(psc)
        return [one[0] for one in cross_problems(OperatorConfig.model_copy(operator, update={"psc": section})) if one[0].startswith("psc.")]

    assert problems() == []
    assert problems(environment="production") == ["psc.audiences"], "nobody's tokens are admitted by default"
    assert problems(environment="production", audiences=("lps",)) == []
    assert problems(environment="custom", audiences=("*",)) == ["psc.issuer"]
    assert problems(environment="custom", audiences=("*",), issuer="http://x", discovery_url="ftp://y") == ["psc.issuer", "psc.discovery_url"]
    assert problems(environment="bas", audiences=("*",), introspection=True) == ["psc.introspection"]

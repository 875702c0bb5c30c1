"""The gateway's configuration: what is refused before anything opens, and what services are given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from support.pki import pem_files
from support.smtp_stage import IGC, leaf

from mssante.config.documents import Hl7Application, Hl7Section
from mssante.errors import InputFault
from mssante.services.hl7values import Caller
from mssante.topics.hl7 import application_of, check_mailboxes, door_tls, link_tls

APPLICATION = {"name": "dpi", "mailbox": "DPI@Hopital.fr", "sending_application": "DPI", "networks": ("10.0.0.0/8",)}


def section(**changes: Any) -> Hl7Section:
    return Hl7Section(**{"enabled": True, "applications": (Hl7Application(**APPLICATION),), **changes})


def config(one: Hl7Section, folder: Path, **tls: Any) -> Any:
    given = SimpleNamespace(client_certificate=None, client_key=None, operator_certificate=Path("absent.pem"),
                            operator_key=Path("absent.key"), **{})
    for key, value in tls.items():
        setattr(given, key, value)
    return SimpleNamespace(operator=SimpleNamespace(hl7=one, tls=given), path=lambda value: folder / value)


def test_closed_by_default() -> None:
    assert (Hl7Section().enabled, Hl7Section().listen, Hl7Section().processing) == (False, "", ("P",))


@pytest.mark.parametrize("changes", [
    {"networks": ()}, {"networks": ("10.0.0.1/8",)}, {"networks": ("partout",)}, {"certificates": ("ab",)}, {"name": "Dpi Un"},
    {"connect_certificate": Path("c.pem"), "connect_tls": True}, {"connect_key": Path("c.key"), "connect_tls": True},
    {"connect_authorities": Path("c.pem")}, {"connect_name": "dpi"}, {"connect_certificate": Path("c.pem"), "connect_key": Path("c.key")},
    {"deliver": True}, {"connect": "10.0.0.1"}, {"charset": "UTF-16"}, {"mailbox": ""}, {"unknown": 1}])
def test_an_application_that_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Hl7Application(**{**APPLICATION, **changes})


@pytest.mark.parametrize("changes", [
    {"applications": ()}, {"applications": (Hl7Application(**APPLICATION),) * 2}, {"timezone": "Europe/Nulle-Part"},
    {"applications": (Hl7Application(**{**APPLICATION, "subjects": ("CN=dpi",)}),)}, {"client_authorities": Path("a.pem")},
    {"processing": ()}, {"processing": ("X",)}, {"message_bytes": 10},
    {"applications": (Hl7Application(**{**APPLICATION, "certificates": ("ab" * 32,)}),)},
    {"applications": tuple(Hl7Application(**{**APPLICATION, "name": name, "connect": "h:1", "deliver": True}) for name in ("a", "b"))}])
def test_a_section_that_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section(**changes)


def test_what_services_are_given() -> None:
    one = Hl7Application(**{**APPLICATION, "certificates": (":".join(["AB"] * 32),), "sending_facility": "CH", "structure_name": "CH",
                            "structure_number": "1990000001", "charset": "8859/15", "connect": "h:1", "deliver": True})
    made = application_of(section(tls=True, client_authorities=Path("a.pem"), timezone="Indian/Reunion"), one)
    assert (made.mailbox, made.source, made.gives, made.deliver) == ("dpi@hopital.fr", "hl7 dpi", True, True)
    assert (made.correspondents.to_application, made.correspondents.to_facility, made.correspondents.charset) == ("DPI", "CH", "8859/15")
    assert made.structure is not None
    assert str(made.zone) == "Indian/Reunion"
    assert made.admits(Caller.of("10.2.3.4", "ab" * 32))
    assert not made.admits(Caller.of("10.2.3.4"))
    assert not made.admits(Caller.of("11.2.3.4", "ab" * 32))
    assert not made.admits(Caller.of("::1", "ab" * 32))
    plain = application_of(section(), Hl7Application(**APPLICATION))
    assert (plain.structure, plain.gives, plain.correspondents.to_facility) == (None, False, "MSSANTE")


@pytest.mark.parametrize("name", ["dpi", "OU=DPI,O=CH,C=FR", "=", ""])
def test_a_name_that_cannot_be_read(name: str) -> None:
    one = Hl7Application(**{**APPLICATION, "subjects": (name,)})
    with pytest.raises(InputFault) as caught:
        application_of(section(), one)
    assert caught.value.rule == "HL7-DN"


def test_a_mailbox_of_somebody_else() -> None:
    made = application_of(section(), Hl7Application(**APPLICATION))
    check_mailboxes((made,), frozenset({"hopital.fr"}))
    with pytest.raises(InputFault) as caught:
        check_mailboxes((made,), frozenset({"autre.fr"}))
    assert caught.value.rule == "HL7-BOITE"


def test_tls_of_the_door_and_toward_an_application(tmp_path: Path) -> None:
    assert door_tls(config(section(), tmp_path)) is None
    with pytest.raises(InputFault) as caught:
        door_tls(config(section(tls=True), tmp_path))
    assert caught.value.rule == "HL7-TLS"
    certificate, key = pem_files(tmp_path, "server", *leaf("ours"))
    (tmp_path / "anchors.pem").write_bytes(IGC.anchors_pem)
    files = {"operator_certificate": certificate, "operator_key": key}
    asked = door_tls(config(section(tls=True, client_authorities=Path("anchors.pem")), tmp_path, **files))
    assert asked is not None
    assert asked.verify_mode.name == "CERT_REQUIRED"
    free = door_tls(config(section(tls=True), tmp_path, client_certificate=certificate, client_key=key))
    assert free is not None
    assert free.verify_mode.name == "CERT_NONE"
    with pytest.raises(InputFault):
        door_tls(config(section(tls=True, client_authorities=Path("absent.pem")), tmp_path, **files))
    one = Hl7Application(**{**APPLICATION, "connect": "h:1", "connect_tls": True, "connect_authorities": Path("anchors.pem")})
    toward = link_tls(config(section(), tmp_path), one)
    assert toward is not None
    assert (toward.check_hostname, toward.verify_mode.name) == (True, "CERT_REQUIRED")
    assert link_tls(config(section(), tmp_path), Hl7Application(**APPLICATION)) is None
    with pytest.raises(InputFault):
        link_tls(config(section(), tmp_path), one.model_copy(update={"connect_authorities": Path("absent.pem")}))

"""`mssante directory ask`: what each source says, its age, and what silence looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from support.clispace import DOMAIN, Space

from mssante.clock import SystemClock
from mssante.directory.values import DirectoryEntry, Source
from mssante.errors import OperatorFault
from mssante.services.directory_sources import RemoteSources
from mssante.topics import directory_use

ADDRESS = f"alice@{DOMAIN}"


class Client:
    def __init__(self, fault: bool = False) -> None:
        self.fault = fault

    async def find(self, address: str) -> Sequence[Any]:
        await asyncio.sleep(0)
        if self.fault:
            raise OperatorFault("x", rule="ANNUAIRE-INJOIGNABLE")
        entry = DirectoryEntry(ADDRESS, "PER", family_name="EXEMPLE", profession="Médecin", red_listed=True, source=Source.FHIR)
        return [type("Box", (), {"entry": entry, "certificates": (b"0",)})()] if address == ADDRESS else []

    async def close(self) -> None: ...


def with_client(monkeypatch: pytest.MonkeyPatch, **clients: Client) -> None:
    monkeypatch.setattr(directory_use, "remote_sources", lambda config, clock: RemoteSources(
        {Source(name): client for name, client in clients.items()}, None, SystemClock()) if clients else None)


def test_an_answer_is_told_with_its_age(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    with_client(monkeypatch, fhir=Client(), ldap=Client(fault=True))
    shown = space.run("directory", "ask", ADDRESS)
    assert shown.code == 0 and "EXEMPLE · Médecin · liste rouge" in shown.out and "il y a 0 s" in shown.out
    assert "ldap  pas de réponse [ANNUAIRE-INJOIGNABLE]" in shown.out and "1 certificat(s)" in shown.out
    document = json.loads(space.run("directory", "ask", ADDRESS.upper(), "--json").out)
    assert document["address"] == ADDRESS and [one["source"] for one in document["answers"]] == ["fhir", "ldap"]
    assert document["answers"][0]["age_seconds"] == 0 and document["answers"][1]["at"] is None


def test_no_address_and_no_source_are_told_apart(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    with_client(monkeypatch, fhir=Client())
    shown = space.run("directory", "ask", f"personne@{DOMAIN}")
    assert shown.code == 3 and "n'a pas cette adresse" in shown.out
    with_client(monkeypatch)
    shown = space.run("directory", "ask", ADDRESS)
    assert shown.code not in (0, 3) and "CFG-ANNUAIRE" in shown.err
    assert space.run("directory", "ask", "pas une adresse").code not in (0, 3)

"""`discovery`."""

from __future__ import annotations

import pytest
from support.clispace import DOMAIN, HOST, Space

from mssante.services.discovery import SrvRecord


def test_told_and_published(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    for door, port in (("imap", 143), ("imaps", 993), ("submission", 587), ("submissions", 465)):
        space.change(f'{door} = "127.0.0.1:0"', f'{door} = "127.0.0.1:{port}"')
    told = space.run("discovery")
    assert told.code == 0 and HOST in told.out and "STARTTLS" in told.out
    zone = space.run("discovery", DOMAIN, "--zone").out.splitlines()
    assert f"_imaps._tcp.{DOMAIN}. 3600 IN SRV 0 1 993 {HOST}." in zone
    document = space.run("discovery", DOMAIN.upper(), "--json").json
    assert {one["port"] for one in document["domains"][DOMAIN]} == {143, 993, 587, 465}
    assert "DECOUVERTE-DOMAINE" in space.run("discovery", "other.fr").err

    async def ask(owner: str, servers: object) -> list[SrvRecord]:
        return [] if "imaps" in owner else [SrvRecord(owner, 1, {"_imap": 143, "_submission": 587, "_submissions": 465}[
            owner.partition(".")[0]], HOST)]

    monkeypatch.setattr("mssante.transport.srv.ask_srv", ask)
    checked = space.run("discovery", DOMAIN, "--check", "--json")
    assert checked.code == 3 and checked.json["missing"] == [f"_imaps._tcp.{DOMAIN}. 3600 IN SRV 0 1 993 {HOST}."]

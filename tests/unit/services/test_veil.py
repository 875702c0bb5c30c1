"""The last guard of the journal: no citizen address in clear, whoever writes the event."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.privacy import Pseudonyms, Veil, load_key
from mssante.storage.open import StorageOptions, open_stores

DOMAIN = "patient.mssante.fr"
USER = f"279035121518989@{DOMAIN}"


@pytest.fixture
def veil(tmp_path: Path) -> Veil:
    return Veil(tmp_path / "pseudonym.key", DOMAIN)


def hidden(tmp_path: Path, address: str = USER) -> str:
    return Pseudonyms(load_key(tmp_path / "pseudonym.key"), DOMAIN).public_address(address)


def test_addresses_are_hidden_and_all_else_stays(veil: Veil, tmp_path: Path) -> None:
    assert veil("") == "" and veil("dr@a.mssante.fr") == "dr@a.mssante.fr" and veil(DOMAIN) == DOMAIN
    assert not (tmp_path / "pseudonym.key").exists(), "the key is made when it is needed"
    assert veil(USER) == hidden(tmp_path)
    assert veil(f"<{USER.upper()}>, x@b.fr {USER}") == f"<{hidden(tmp_path, USER.upper())}>, x@b.fr {hidden(tmp_path)}"
    assert "2790" not in veil(f'{{"to": "{USER}"}}')


def test_what_is_hidden_already_stays(veil: Veil) -> None:
    once = veil(f"a {USER} b")
    assert veil(once) == once


async def test_the_journal_keeps_nothing_in_clear(veil: Veil, tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/m.db", tmp_path / "blobs", StorageOptions(readers=1, veil=veil))
    try:
        event = JournalEvent(JournalKind.MAILBOX_CHANGED, datetime(2026, 11, 23, tzinfo=UTC), "", USER, {"address": USER, "size": 3})
        await stores.database.write(lambda tx: stores.journal.append(tx, [event]))
        (row,) = await stores.database.read(lambda tx: stores.journal.recent(tx))
        assert row.subject == hidden(tmp_path) == row.payload["address"] and row.payload["size"] == 3
        assert await stores.database.read(stores.journal.verify) is None, "the chain is over what is kept"
    finally:
        stores.close()

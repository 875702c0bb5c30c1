"""Citizen addresses outside sealed storage: a keyed hash, the same for the same person, useless without the key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mssante.services.privacy import KEY_OCTETS, Pseudonyms, load_key

DOMAIN = "patient.mssante.fr"
INS = "1850199302A0112"
ONE = Pseudonyms(b"a" * 32, DOMAIN)


def test_a_citizen_is_hidden_and_still_one_person() -> None:
    public = ONE.public_address(f"{INS}@{DOMAIN}")
    assert public.startswith("ins-") and public.endswith(f"@{DOMAIN}") and len(public) == len(f"ins-@{DOMAIN}") + 16
    assert ONE.public_address(f"{INS.lower()}@{DOMAIN}") == public
    assert ONE.public_address(f"{INS}@{DOMAIN.upper()}").startswith("ins-")
    assert ONE.public_address(f"2{INS[1:]}@{DOMAIN}") != public
    assert Pseudonyms(b"b" * 32, DOMAIN).public_address(f"{INS}@{DOMAIN}") != public


@pytest.mark.parametrize("address", ["x@a.mssante.fr", f"x@sub.{DOMAIN}", f"x@evil{DOMAIN}", "", "x", "<>"])
def test_others_are_not_hidden(address: str) -> None:
    assert ONE.public_address(address) == address


def test_what_quotes_a_citizen_is_cleaned() -> None:
    address = f"{INS}@{DOMAIN}"
    public = ONE.public_address(address).partition("@")[0]
    for text in (address, f"<{address}>: {INS.lower()} unknown", f"user {INS}", address.upper()):
        assert INS.lower() not in ONE.public_text(text, address).lower()
    assert ONE.public_text(f"550 <{address}> no", address) == f"550 <{public}@{DOMAIN}> no"
    assert ONE.public_text("550 x@a.fr no", "x@a.fr") == "550 x@a.fr no"


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "pseudonym.key"
    first = load_key(path)
    assert len(first) == KEY_OCTETS and load_key(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(tmp_path / "other.key") != first

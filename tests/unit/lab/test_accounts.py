"""Mailboxes of a lab: the plan, the generated ones, the CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from mssante.errors import InputFault
from mssante.lab.accounts import ExtraAccounts, all_accounts, parse_accounts_csv, read_accounts_file
from mssante.lab.plan import OPERATORS, operator_plan
from mssante.model.mailbox import MailboxType

HEADER = "operator,local_part,type,password\n"


def test_named_mailboxes() -> None:
    accounts = {one.address: one for one in all_accounts(operator_plan("alpha"), ExtraAccounts())}
    assert [one.type.value for one in accounts.values()] == ["PER", "ORG", "APP"]
    claire = accounts["claire.martin@alpha.mssante.test"]
    assert claire.holder_id == "899700000011" and claire.login == claire.address and len(claire.password) == 16
    application = accounts["resultats@alpha.mssante.test"]
    assert application.login == application.password == ""


def test_citizens_have_a_matricule_whose_key_is_right() -> None:
    for account in all_accounts(operator_plan("citizen"), ExtraAccounts()):
        matricule = account.address.partition("@")[0]
        assert int(matricule[13:]) == 97 - int(matricule[:13]) % 97  # spec F9.14


def test_generated_and_csv_mailboxes_come_after() -> None:
    rows = parse_accounts_csv(HEADER + "beta,u0,PER,bench\nbeta,Big.Box,ORG,bench\n")
    addresses = [one.address for one in all_accounts(operator_plan("beta"), ExtraAccounts(12, rows))]
    assert addresses[3] == "user0001@beta.mssante.test" and addresses[14] == "user0012@beta.mssante.test"
    assert addresses[15:] == ["u0@beta.mssante.test", "Big.Box@beta.mssante.test"]
    assert all_accounts(operator_plan("beta"), ExtraAccounts(0, rows))[3].type is MailboxType.PER


def test_passwords_differ_and_are_not_shown() -> None:
    accounts = [one for plan in OPERATORS for one in all_accounts(plan, ExtraAccounts(5)) if one.password]
    assert len({one.password for one in accounts}) == len(accounts)
    assert accounts[0].password not in repr(accounts[0])


@pytest.mark.parametrize(("line", "words"), [
    ("delta,u0,PER,x", "'delta'"), ("beta,u0,DOC,x", "'DOC'"), ("beta,u0,PER,", "no password"),
    ("beta,u 0,PER,x", "'u 0'"), ("beta,,PER,x", "''"), ("beta,u0", "''")])
def test_bad_line_is_named(line: str, words: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_accounts_csv(HEADER + "beta,ok,PER,x\n" + line + "\n")
    assert "line 3" in caught.value.public and words in caught.value.public and caught.value.rule == "LAB-ACCOUNTS"


@pytest.mark.parametrize("text", ["", "operator,local_part\nbeta,u0\n", "a,b,c,d\n"])
def test_header_is_asked_for(text: str) -> None:
    with pytest.raises(InputFault, match="header"):
        parse_accounts_csv(text)


def test_doubles_are_refused() -> None:
    rows = parse_accounts_csv(HEADER + "beta,Paul.Durand,PER,x\n")
    with pytest.raises(InputFault, match="twice"):
        all_accounts(operator_plan("beta"), ExtraAccounts(0, rows))
    with pytest.raises(InputFault, match="twice"):
        all_accounts(operator_plan("beta"), ExtraAccounts(1, parse_accounts_csv(HEADER + "beta,user0001,PER,x\n")))


def test_number_out_of_range() -> None:
    with pytest.raises(InputFault, match="out of range"):
        all_accounts(operator_plan("beta"), ExtraAccounts(10_000))


def test_file_faults(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="cannot be read"):
        read_accounts_file(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"beta,\xe9t\xe9,PER,x\n")
    with pytest.raises(InputFault, match="UTF-8"):
        read_accounts_file(tmp_path / "latin.csv")
    (tmp_path / "bom.csv").write_text(HEADER + "beta,u1,PER,x\n", encoding="utf-8-sig")
    assert read_accounts_file(tmp_path / "bom.csv")["beta"][0].address == "u1@beta.mssante.test"

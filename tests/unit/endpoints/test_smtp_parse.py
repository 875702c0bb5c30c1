"""Arguments of MAIL and RCPT, without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.endpoints.smtp_parse import MailCommand, ReplyFault, parse_mail, parse_rcpt
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient

DOCTOR = MailAddress("Docteur", "a.mssante.fr")


def refused(code: int, argument: str, *, rcpt: bool = False) -> None:
    with pytest.raises(ReplyFault) as caught:
        _ = parse_rcpt(argument, False) if rcpt else parse_mail(argument)
    assert caught.value.reply.code == code


@pytest.mark.parametrize(("argument", "found"), [
    ("FROM:<Docteur@a.mssante.fr>", MailCommand(DOCTOR)), ("from: <Docteur@A.MSSANTE.FR>", MailCommand(DOCTOR)),
    ("FROM:<>", MailCommand(None)), ("FROM:<> SIZE=0", MailCommand(None)),
    ("FROM:<Docteur@a.mssante.fr> SIZE=12 body=8bitmime ret=full ENVID=QQ314+2B159",
     MailCommand(DOCTOR, 12, "FULL", "QQ314+2B159")),
    ("FROM:<Docteur@a.mssante.fr>  SIZE=12   RET=HDRS", MailCommand(DOCTOR, 12, "HDRS")),
    ("FROM:<é@a.mssante.fr> SMTPUTF8", MailCommand(MailAddress("é", "a.mssante.fr"), smtputf8=True)),
    ("FROM:<x@hôpital.fr> SMTPUTF8", MailCommand(MailAddress("x", "xn--hpital-ixa.fr"), smtputf8=True))])
def test_mail(argument: str, found: MailCommand) -> None:
    assert parse_mail(argument) == found


@pytest.mark.parametrize(("code", "argument"), [
    (501, ""), (501, "FROM:"), (501, "FROM:Docteur@a.mssante.fr"), (501, "FROM:<Docteur@a.mssante.fr"), (501, "FROM:<<x@a.fr>>"),
    (501, "FROM:<x@a.fr>SIZE=1"), (501, "FROM :<x@a.fr>"), (501, "FROM:<x@a.fr> SIZE=٣"), (501, "FROM:<x@a.fr> SIZE="),
    (501, "FROM:<x@a.fr>\t"), (501, "FROM:<x\x01@a.fr>"), (501, "FROM:<x@a.fr> ENVID=" + "e" * 101), (501, "FROM:<x@a.fr> ENVID=+4g"),
    (553, "FROM:<x>"), (553, "FROM:<x@y@a.fr>"), (553, "FROM:<é@a.fr>"), (553, "FROM:<x@localhost>"), (553, "FROM:<@a.fr>"),
    (553, "FROM:< x@a.fr>"), (553, "FROM:<x@-a.fr>"), (553, "FROM:<" + "x" * 65 + "@a.fr>"), (555, "FROM:<x@a.fr> NOTIFY=NEVER"),
    (555, "FROM:<x@a.fr> BODY=7"), (555, "FROM:<x@a.fr> FOO"), (501, "FROM:<x@a.fr> size=1 SIZE=1")])
def test_mail_refused(code: int, argument: str) -> None:
    refused(code, argument)


def test_rcpt() -> None:
    assert parse_rcpt("TO:<Docteur@a.mssante.fr>", False) == Recipient(DOCTOR)
    assert parse_rcpt("to:<Docteur@a.mssante.fr> NOTIFY=success,delay ORCPT=rfc822;Bob@x+2Ey", False) == Recipient(
        DOCTOR, frozenset({"SUCCESS", "DELAY"}), "rfc822;Bob@x+2Ey")
    assert parse_rcpt("TO:<é@a.mssante.fr>", True).address.local == "é"


@pytest.mark.parametrize(("code", "argument"), [
    (501, "TO:<>"), (501, "TO:x@a.fr"), (501, "FROM:<x@a.fr>"), (501, "TO:<x@a.fr> NOTIFY=NEVER,FAILURE"), (501, "TO:<x@a.fr> NOTIFY=a"),
    (501, "TO:<x@a.fr> ORCPT=a"), (501, "TO:<x@a.fr> ORCPT=;a"), (501, "TO:<x@a.fr> ORCPT=rfc822;"),
    (501, "TO:<x@a.fr> ORCPT=rfc822;" + "a" * 501), (501, "TO:<x@a.fr> ORCPT=rfc822;é"), (553, "TO:<é@a.fr>"),
    (555, "TO:<x@a.fr> RET=FULL"), (501, "TO:<x@a.fr> NOTIFY=NEVER NOTIFY=NEVER")])
def test_rcpt_refused(code: int, argument: str) -> None:
    refused(code, argument, rcpt=True)


@given(st.text(alphabet=st.sampled_from("FROMTOfromto:<>@.= \r\n\x00+aé%!\"\\,;[]SIZENVDRCP0129-"), max_size=60))
def test_nothing_but_a_reply_comes_of_any_text(text: str) -> None:
    for line in (text, f"FROM:<{text}>", f"FROM:<x@a.fr> {text}", f"TO:<{text}>", f"TO:<x@a.fr> {text}"):
        try:
            found = parse_mail(line) if line.startswith("FROM") else parse_rcpt(line, True)
        except ReplyFault as fault:
            assert fault.reply.code in (501, 553, 555)
        else:
            address = found.sender if isinstance(found, MailCommand) else found.address
            assert not any(sign in str(address) for sign in "\r\n\x00<> \"%")


@pytest.mark.parametrize("word", ["postmaster", "Postmaster", "POSTMASTER"])
def test_postmaster_needs_no_domain(word: str) -> None:
    assert parse_rcpt(f"TO:<{word}>", False, "a.mssante.fr").address.key == "postmaster@a.mssante.fr"
    with pytest.raises(ReplyFault):
        parse_rcpt(f"TO:<{word}>", False)
    assert parse_rcpt(f"TO:<{word}@b.mssante.fr>", False, "a.mssante.fr").address.domain == "b.mssante.fr"

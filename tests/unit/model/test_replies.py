"""The table of replies: each is ASCII, in French, ends with its rule, and can be told from every other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from mssante.model import replies
from mssante.model.reply import Allow, Refuse, SmtpReply

ROOT = Path(__file__).resolve().parents[3] / "mssante"
CONSTANTS = {name: value for name, value in vars(replies).items() if isinstance(value, SmtpReply)}
MAKERS: dict[str, Callable[[str], SmtpReply]] = {
    "too_big": lambda _: replies.too_big(1000), "not_ours": lambda x: replies.not_ours(x).reply,
    "unknown_mailbox": lambda x: replies.unknown_mailbox(x).reply, "suspended_mailbox": lambda x: replies.suspended_mailbox(x).reply,
    "closed_mailbox": lambda x: replies.closed_mailbox(x).reply, "shut_mailbox": lambda x: replies.shut_mailbox(x).reply,
    "unopened_mailbox": lambda x: replies.unopened_mailbox(x).reply,
    "full_mailbox": lambda x: replies.full_mailbox(x, permanent=True).reply,
    "outside_trust_space": lambda _: replies.outside_trust_space("x.fr", "2026-03-01").reply,
    "no_send_right": lambda x: replies.no_send_right(x).reply,
    "sender_field_not_yours": lambda x: replies.sender_field_not_yours(x).reply,
    "not_your_address": lambda x: replies.not_your_address(x).reply, "from_not_sender": lambda x: replies.from_not_sender(x).reply,
    "from_not_bound": lambda _: replies.from_not_bound("x.fr").reply, "bad_ins": lambda _: replies.bad_ins("forme").reply,
    "preflight_failed": lambda _: replies.preflight_failed("XDM-HASH", 3).reply,
    "departure_forbidden": lambda _: replies.departure_forbidden("MASQUAGE-PS").reply,
    "no_certificate": lambda _: replies.no_certificate("x.fr", "SMIME-SANS-CERTIFICAT").reply,
    "no_signing_key": lambda _: replies.no_signing_key("SMIME-SANS-CLE").reply,
    "signing_key_failed": lambda _: replies.signing_key_failed().reply,
    "cannot_seal": lambda _: replies.cannot_seal("x.fr", "SMIME-CONFUS").reply,
    "recipient_unlisted": lambda _: replies.recipient_unlisted(["a" * 90 + "@x.fr", "b" * 90 + "@x.fr"]),
    "recipient_closed": lambda x: replies.recipient_closed("2026-03-01", "avis de non-remise", [x]),
    "not_in_directory": lambda x: replies.not_in_directory(x, ["a" * 90 + "@x.fr", "b" * 90 + "@x.fr"]).reply,
    "too_many_blind": lambda _: replies.too_many_blind(50).reply}
ALL = {**CONSTANTS, **{name: make("x@y.fr") for name, make in MAKERS.items()}}
REFUSALS = {name: reply for name, reply in ALL.items() if reply.code >= 400}
# Two rules cover more than one reply: what is wrong is the same, the text says where. Users are told to search by the rule.
SAME_RULE = [{"TLS_NO_ARGUMENT", "SYNTAX"}, {"BAD_ADDRESS", "BAD_SENDER"}]


def test_every_maker_is_here() -> None:
    made = {name for name, value in vars(replies).items() if callable(value) and not name.startswith("_")
            and getattr(value, "__module__", "") == replies.__name__}
    assert made == {*MAKERS, "accepted"}


@pytest.mark.parametrize("name", ALL)
def test_a_reply_is_one_line_of_ascii_with_its_rule_last(name: str) -> None:
    reply = ALL[name]
    raw = reply.encode()
    assert reply.text.isascii() and reply.text.isprintable() and b"?" not in raw and raw.endswith(b"\r\n")
    assert len(raw) <= 512, "RFC 5321 §4.5.3.1.5"
    if reply.code >= 400:
        assert reply.rule and reply.text.endswith(f" [{reply.rule}]") and re.fullmatch(r"[A-Z0-9\-]+", reply.rule)
        assert reply.enhanced.startswith(f"{reply.code // 100}."), "RFC 3463: the class is that of the code"
    else:
        assert not reply.rule


def test_a_refusal_is_known_by_its_code_and_rule() -> None:
    names = defaultdict(set)
    for name, reply in REFUSALS.items():
        names[reply.code, reply.rule].add(name)
    shared = [group for group in names.values() if len(group) > 1]
    assert shared == [group for group in SAME_RULE if group in shared] and len(shared) == len(SAME_RULE)
    assert len({(reply.code, reply.enhanced, reply.text) for reply in ALL.values()}) == len(ALL)


def test_every_reply_is_given_somewhere() -> None:
    """No reply is kept for later."""
    text = "".join(file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py") if file.name != "replies.py")
    unused = {name for name in [*CONSTANTS, *MAKERS, "accepted"] if not re.search(rf"\breplies\.{name}\b", text)}
    assert unused == set()


def test_codes_stay_in_the_table_of_the_framework() -> None:
    assert {reply.code for reply in REFUSALS.values()} <= {
        421, 450, 451, 452, 454, 500, 501, 502, 503, 504, 530, 535, 550, 552, 553, 554, 555}


def test_encoding() -> None:
    assert SmtpReply(250, "2.0.0", "OK").encode() == b"250 2.0.0 OK\r\n"
    assert SmtpReply(354, "", "Go").encode() == b"354 Go\r\n"
    assert SmtpReply(550, "5.7.1", "un\ndeux\ntrois [R]", "R").encode() == b"550-5.7.1 un\r\n550-5.7.1 deux\r\n550 5.7.1 trois [R]\r\n"
    assert SmtpReply(250, "", "é").encode() == b"250 ?\r\n"
    assert replies.accepted("01M8").encode() == b"250 2.0.0 Pris en charge 01M8\r\n"
    assert replies.NO_SPACE.permanent is False and replies.NO_FROM.permanent is True


def test_decisions() -> None:
    refusal = replies.not_ours("x@y.fr")
    assert isinstance(refusal, Refuse) and (refusal.rule, refusal.detail) == ("RELAIS-INTERDIT", "x@y.fr")
    assert "x@y.fr" not in refusal.reply.text and Allow() == Allow()

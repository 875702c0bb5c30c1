"""Values of messages, mailboxes, envelopes and outcomes."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from mssante.model.address import MailAddress
from mssante.model.envelope import Envelope, Recipient
from mssante.model.identity import DistinguishedName
from mssante.model.mailbox import MailboxState, MailboxType, SpecialUse
from mssante.model.message import NOBODY, Author, Flags
from mssante.model.outcome import Deferred, Delivered, Refused

A, B = MailAddress("A", "x.fr"), MailAddress("b", "x.fr")


@pytest.mark.parametrize(("author", "address", "only"), [
    (Author(1, (A,), 0), A, True), (Author(1, (A,), 0), MailAddress("a", "x.fr"), True), (Author(1, (A,), 0), B, False),
    (Author(1, (A,), 0), None, False), (Author(2, (A,), 0), A, False), (Author(1, (A, B), 0), A, False), (Author(1, (A,), 1), A, False),
    (Author(1, (A, A), 0), A, False), (NOBODY, A, False), (NOBODY, None, False)])
def test_the_only_author(author: Author, address: MailAddress | None, only: bool) -> None:
    assert author.is_only(address) is only


def test_a_name_gives_its_first_value() -> None:
    name = DistinguishedName((("CN", "mx"), ("OU", "1"), ("OU", "2"), ("C", "fr")), "CN=mx,OU=1,OU=2,C=FR")
    assert [name.value(one) for one in ("CN", "OU", "C", "O")] == ["mx", "1", "fr", ""]


def test_official_codes_and_flags() -> None:
    assert [one.value for one in MailboxType] == ["PER", "ORG", "APP", "CAB"]
    assert [one.value for one in MailboxState] == ["provisioned", "published", "active", "suspended", "closed", "purged"]
    assert [int(one) for one in Flags] == [1, 2, 4, 8, 16]
    assert {one.value for one in SpecialUse} == {"", "\\Drafts", "\\Sent", "\\Trash", "\\Junk", "\\Archive"}


def test_an_envelope_has_quiet_defaults() -> None:
    envelope = Envelope(None, (Recipient(A),))
    assert (envelope.ret, envelope.envid, envelope.smtputf8, envelope.body_8bit) == ("", "", False, False)
    assert envelope.recipients[0].notify == frozenset() and Refused("no").status == "5.0.0"
    assert Delivered("ok") != Deferred("ok")  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("module", ["address", "envelope", "identity", "journal", "mailbox", "message", "outcome", "reply"])
def test_values_are_frozen_and_slotted(module: str) -> None:
    found = [one for one in vars(importlib.import_module(f"mssante.model.{module}")).values()
             if dataclasses.is_dataclass(one) and isinstance(one, type)]
    assert found
    for one in found:
        assert one.__dataclass_params__.frozen and "__slots__" in vars(one), one.__name__  # type: ignore[attr-defined]

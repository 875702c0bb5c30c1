"""ACL: letters and their arithmetic, grammar of the commands, answers as bytes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.model.message import Flags
from mssante.protocol.imap import aclencode, rights
from mssante.protocol.imap.aclvalues import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.session import Command
from mssante.protocol.imap.values import List, ListReturn

LETTERS = st.text(alphabet=rights.ALL + "cd", max_size=15)


@pytest.mark.parametrize(("letters", "kept", "told"), [
    ("lrswida", "lrswitea", "lrswitead"), ("lrswikda", "lrswiktea", "lrswikteacd"), ("", "", ""), ("cc", "kx", "kxc"),
    ("tk", "kt", "ktcd"), ("lrp", "lrp", "lrp"), ("x", "x", "xc"), ("e", "e", "ed")])
def test_virtual_rights_are_expanded_and_told(letters: str, kept: str, told: str) -> None:
    assert rights.ordered(letters) == kept
    assert rights.told(kept) == told


@given(LETTERS, LETTERS)
def test_adding_then_taking_away_leaves_nothing_of_it(held: str, more: str) -> None:
    before = rights.ordered(held)
    added = rights.changed(before, "+", rights.ordered(more))
    assert set(added) == set(before) | set(rights.ordered(more))
    assert not set(rights.changed(added, "-", rights.ordered(more))) & set(rights.ordered(more))
    assert rights.changed(before, "", rights.ordered(more)) == rights.ordered(more)


@given(st.lists(st.tuples(st.sampled_from(["a", "-a", "anyone", "-anyone"]), LETTERS.map(rights.ordered)), max_size=4), LETTERS)
def test_what_is_denied_is_never_had_unless_it_lasts(rows: list[tuple[str, str]], lasting: str) -> None:
    held = set(rights.effective(rows, rights.ordered(lasting)))
    denied = {letter for name, letters in rows if name.startswith("-") for letter in letters}
    given_ = {letter for name, letters in rows if not name.startswith("-") for letter in letters}
    assert held == (given_ - denied) | set(rights.ordered(lasting))


def test_each_flag_has_its_right() -> None:
    of = {"s": Flags.SEEN, "t": Flags.DELETED, "w": Flags.ANSWERED | Flags.FLAGGED | Flags.DRAFT}
    for count in range(4):
        for letters in combinations("stw", count):
            wanted = sum(int(of[letter]) for letter in letters)
            assert rights.flag_mask("lr" + "".join(letters)) & 31 == wanted


@pytest.mark.parametrize(("line", "value"), [
    (b"SETACL INBOX bob lrs", SetAcl("INBOX", "bob", "", "lrs")),
    (b'SETACL "a b" "Bob@X" +cd', SetAcl("a b", "bob@x", "+", "kxte")),
    (b"SETACL INBOX -bob -w", SetAcl("INBOX", "-bob", "-", "w")),
    (b'SETACL INBOX anyone ""', SetAcl("INBOX", "anyone", "", "")),
    (b"SETACL INBOX bob +", SetAcl("INBOX", "bob", "+", "")),
    (b"setacl inbox {3+}\r\nbob lr", SetAcl("INBOX", "bob", "", "lr")),
    (b"DELETEACL INBOX bob", DeleteAcl("INBOX", "bob")),
    (b"GETACL INBOX", GetAcl("INBOX")),
    (b"LISTRIGHTS INBOX Bob", ListRights("INBOX", "bob", "Bob")),
    (b"MYRIGHTS INBOX", MyRights("INBOX"))])
def test_commands(parse: Callable[..., object], line: bytes, value: object) -> None:
    found = parse(line)
    assert isinstance(found, Command) and found.value == value


@pytest.mark.parametrize("line", [
    b"SETACL INBOX bob", b"SETACL INBOX bob lrQ", b"SETACL INBOX bob lrq", b"SETACL INBOX bob 0", b"SETACL INBOX bob ++l",
    b'SETACL INBOX "" l', b"SETACL INBOX - l", b'SETACL INBOX "a b" l', b"SETACL INBOX bob l more",
    b"SETACL INBOX " + b"b" * 300 + b" l", b'SETACL "" bob l', b"DELETEACL INBOX", b"GETACL", b"GETACL INBOX more",
    b"LISTRIGHTS INBOX", b"MYRIGHTS", b"MYRIGHTS INBOX bob"])
def test_malformed_commands(parse: Callable[..., object], line: bytes) -> None:
    assert isinstance(parse(line), ClientFault)


@pytest.mark.parametrize("name", [b"SETACL INBOX a l", b"DELETEACL INBOX a", b"GETACL INBOX", b"LISTRIGHTS INBOX a", b"MYRIGHTS INBOX"])
def test_not_before_login(parse: Callable[..., object], name: bytes) -> None:
    assert isinstance(parse(name, before_login=True), ClientFault)


def test_list_returns_rights(parse: Callable[..., object]) -> None:
    found = parse(b'LIST "" % RETURN (MYRIGHTS CHILDREN)')
    assert isinstance(found, Command) and isinstance(found.value, List)
    assert found.value.returns == ListReturn.MYRIGHTS | ListReturn.CHILDREN


def test_answers() -> None:
    assert aclencode.acl_line("INBOX", [("bob", "lr"), ("-b c", "te"), ("é", "")]) == (
        b'* ACL INBOX bob lr "-b c" ted {2}\r\n\xc3\xa9 ""\r\n')
    assert aclencode.acl_line("INBOX", [("é", "l")], utf8=True) == '* ACL INBOX "é" l\r\n'.encode()
    assert aclencode.acl_line("a b", []) == b'* ACL "a b"\r\n'
    assert aclencode.listrights_line("INBOX", "bob", ("", ["l", "r"])) == b'* LISTRIGHTS INBOX bob "" l r\r\n'
    assert aclencode.listrights_line("INBOX", "bob", ("lrc", [])) == b"* LISTRIGHTS INBOX bob lrc\r\n"
    assert aclencode.myrights_line("INBOX", "lrx") == b"* MYRIGHTS INBOX lrxc\r\n"
    assert aclencode.myrights_line("INBOX", "") == b'* MYRIGHTS INBOX ""\r\n'
    assert aclencode.namespace_line("Partages/") == b'* NAMESPACE (("" "/")) (("Partages/" "/")) NIL\r\n'
    assert aclencode.code_permanent_flags("lrs") == b"PERMANENTFLAGS (\\Seen)"
    assert aclencode.code_permanent_flags("lr") == b"PERMANENTFLAGS ()"
    assert aclencode.code_permanent_flags(rights.ALL).endswith(b"\\Draft \\*)")

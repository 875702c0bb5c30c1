"""The table of capabilities, and that it agrees with what is built."""

from __future__ import annotations

from mssante.protocol.imap.capabilities import CAPABILITIES, ENABLED_BY_CLIENT, announce
from mssante.protocol.imap.commands.table import PARSERS
from mssante.protocol.imap.session import STATES, ImapSession
from mssante.protocol.imap.values import State
from mssante.protocol.sasl.mechanisms import MECHANISMS


def test_before_tls_nothing_to_log_in_with() -> None:
    words = announce(State.NOT_AUTHENTICATED, False).split()
    assert b"LOGINDISABLED" in words
    assert b"STARTTLS" in words
    assert not [word for word in words if word.startswith(b"AUTH=") or word == b"SASL-IR"]


def test_inside_tls_before_login() -> None:
    words = announce(State.NOT_AUTHENTICATED, True, tuple(MECHANISMS)).split()
    assert b"LOGINDISABLED" not in words
    assert b"STARTTLS" not in words
    assert b"AUTH=EXTERNAL" not in announce(State.NOT_AUTHENTICATED, True, ("PLAIN", "SCRAM-SHA-256")).split()
    assert {word[5:].decode() for word in words if word.startswith(b"AUTH=")} == set(MECHANISMS)


def test_after_login() -> None:
    words = announce(State.AUTHENTICATED, True).split()
    assert words == announce(State.SELECTED, True).split()
    assert {b"IMAP4rev1", b"IMAP4rev2", b"IDLE", b"UIDPLUS", b"MOVE", b"CONDSTORE", b"LIST-STATUS"} <= set(words)
    assert not [word for word in words if word.startswith(b"AUTH=") or word == b"LOGINDISABLED"]


def test_each_name_once_with_a_source_and_a_dialogue() -> None:
    names = [line.name for line in CAPABILITIES]
    assert len(names) == len(set(names))
    assert all(line.source and line.dialogue for line in CAPABILITIES)


def test_what_can_be_enabled_is_announced() -> None:
    assert {line.name.upper() for line in CAPABILITIES} >= ENABLED_BY_CLIENT


def test_state_table_and_parsers_name_the_same_commands() -> None:
    assert set(STATES) == set(PARSERS)


def test_names_of_extensions_have_their_commands() -> None:
    commands = {"ID": "ID", "ENABLE": "ENABLE", "IDLE": "IDLE", "NAMESPACE": "NAMESPACE", "UNSELECT": "UNSELECT",
                "UIDPLUS": "UID EXPUNGE", "MOVE": "UID MOVE", "STARTTLS": "STARTTLS", "COMPRESS=DEFLATE": "COMPRESS",
                "UNAUTHENTICATE": "UNAUTHENTICATE"}
    announced = {line.name for line in CAPABILITIES}
    assert set(commands) <= announced
    assert set(commands.values()) <= set(PARSERS)


def test_greeting() -> None:
    line = ImapSession(tls=False).greeting("ready")
    assert line.startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED")
    assert line.endswith(b"] ready\r\n")

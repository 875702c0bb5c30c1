"""The attacker's connection against targets that are hostile too: bounded, typed, never hanging."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mssante.attack import dialogue, identities, smuggling
from mssante.attack.run import ALL, chosen, counts, play
from mssante.attack.values import Arms, Attack, Outcome, Result, Target, Verdict, one_line
from mssante.attack.wire import Wire, WireEnd
from mssante.errors import InputFault


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[Target]:
    """Serve connections on loopback with `talk` until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    talk(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Target("127.0.0.1", listener.getsockname()[1], "a.test", "x@a.test", seconds=0.5)
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        listener.close()
        thread.join(6)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff\x01 nothing of SMTP\r\n")
    connection.recv(1)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"2" * 200_000)
    connection.recv(1)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"220-more\r\n" * 500)
    connection.recv(1)


def leave(connection: socket.socket) -> None:
    connection.close()


def yes_man(connection: socket.socket) -> None:
    """Says yes to all that comes, before TLS."""
    connection.sendall(b"220 yes\r\n")
    while data := connection.recv(65536):
        connection.sendall(b"250 yes\r\n" * data.count(b"\r\n"))


@pytest.mark.parametrize(("talk", "word"), [
    (hang, "no reply in time"), (garbage, "not a reply"), (flood, "a line without end"), (endless, "a reply without end"),
    (leave, "closed")])
def test_a_hostile_target_ends_in_a_typed_fault(talk: Callable[[socket.socket], None], word: str) -> None:
    began = time.monotonic()
    with server(talk) as target, pytest.raises(WireEnd, match=word), Wire(target) as wire:
        wire.greet()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("talk", [hang, garbage, flood, endless, leave])
def test_no_attack_takes_silence_or_noise_for_a_fall(talk: Callable[[socket.socket], None], tmp_path: Path) -> None:
    attacks = [one for one in ALL if one.number in ("A-01", "B-01", "B-02", "B-03", "B-14")]
    with server(talk) as target:
        results = play(attacks, target, Arms(tmp_path), lambda _: None)
    assert all(one.outcome.verdict is not Verdict.FELL for one in results), [one.outcome for one in results]


def test_a_server_that_says_yes_in_clear_falls(tmp_path: Path) -> None:
    with server(yes_man) as target:
        (result,) = play(chosen(["B-01"]), target, Arms(tmp_path), lambda _: None)
    assert result.outcome.verdict is Verdict.FELL and "250 yes" in result.outcome.evidence


def test_what_cannot_be_played_is_skipped_and_says_what_is_missing(tmp_path: Path) -> None:
    target = Target("127.0.0.1", 9, "", "")
    needy = [one for one in (*identities.ATTACKS, *smuggling.ATTACKS) if one.number not in ("A-01",)]
    results = play(needy, target, Arms(tmp_path), lambda _: None)
    assert {one.outcome.verdict for one in results} == {Verdict.SKIPPED}
    assert all(one.outcome.evidence for one in results)
    assert counts(results)["skipped"] == len(needy)


def test_an_attack_that_breaks_does_not_stop_the_others(tmp_path: Path) -> None:
    def broken(target: Target, arms: Arms) -> Outcome:
        raise ZeroDivisionError("whatever")

    told: list[Result] = []
    results = play([Attack("Z-01", "x", "x", "-", broken), Attack("Z-02", "y", "y", "-", lambda *_: Outcome.held("no"))],
                   Target("127.0.0.1", 9), Arms(tmp_path), told.append)
    assert [one.outcome.verdict for one in results] == [Verdict.UNCLEAR, Verdict.HELD] and told == results


def test_numbers_are_stable_and_distinct() -> None:
    numbers = [one.number for one in ALL]
    assert len(set(numbers)) == len(numbers) and numbers == sorted(numbers)
    assert all(one.french and one.english and one.source for one in ALL)
    assert [one.number for one in chosen(["b-0"])] == [one.number for one in dialogue.ATTACKS if one.number < "B-10"]
    with pytest.raises(InputFault, match="ATTAQUE-NUMERO"):
        chosen(["Q"])


def test_evidence_is_one_printable_line() -> None:
    assert one_line(b"a\r\nb\x1b[31m\xff" + b"c" * 500).isprintable() and len(one_line("x" * 500)) == 200

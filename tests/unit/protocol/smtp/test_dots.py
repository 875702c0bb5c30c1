"""DATA framing: only CRLF.CRLF ends, bare octets are refused, the cut into chunks changes nothing."""

from __future__ import annotations

import pytest

from mssante.errors import InputFault
from mssante.protocol.smtp.dots import END_OF_DATA, DotReader, DotStuffer, stuff

NEXT = b"MAIL FROM:<evil@example.test>\r\n"

SMUGGLING = [  # RELIABILITY §2 "smuggling inbound": none of these is an end
    (b"\n.\n", "SMTP-BARE-LF"),
    (b"\n.\r\n", "SMTP-BARE-LF"),
    (b"\r\n.\n", "SMTP-BARE-LF"),
    (b"\r.\r", "SMTP-BARE-CR"),
    (b"\r.\r\n", "SMTP-BARE-CR"),
    (b"\r\n.\r", "SMTP-BARE-CR"),
    (b"\n.\r", "SMTP-BARE-LF"),
    (b"\r.\n", "SMTP-BARE-LF"),
    (b"\r\n\x00.\r\n", "SMTP-NUL"),
    (b"\r\n.\x00\r\n", "SMTP-NUL"),
    (b"\r\n.\r\r\n", "SMTP-BARE-CR"),
    (b"\r\r\n.\r\r\n", "SMTP-BARE-CR"),
    (b"\n\n.\r\n", "SMTP-BARE-LF"),
    (b"\r\n.\n\r", "SMTP-BARE-LF"),
]


def read(wire: bytes, *, step: int = 0, max_size: int = 0, max_line: int = 10_000) -> DotReader:
    reader = DotReader(max_size=max_size, max_line=max_line)
    step = step or max(len(wire), 1)
    for start in range(0, len(wire), step):
        reader.feed(memoryview(wire)[start:start + step])
    return reader


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize(("sequence", "rule"), SMUGGLING)
def test_smuggling_sequences_never_end_the_content(sequence: bytes, rule: str, step: int) -> None:
    content = b"Subject: a\r\n\r\nhello" + sequence + NEXT + b"RCPT TO:<x@y.test>\r\nDATA\r\nx"
    reader = read(content + b"\r\n.\r\nQUIT\r\n", step=step)
    assert reader.done
    assert reader.bad == rule
    assert reader.take() == []
    assert reader.rest == b"QUIT\r\n"


@pytest.mark.parametrize(("sequence", "rule"), SMUGGLING)
def test_smuggling_sequences_alone_leave_the_reader_waiting(sequence: bytes, rule: str) -> None:
    reader = read(b"hello" + sequence + NEXT)
    assert not reader.done
    assert reader.bad == rule


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b"a\r\n\r\n..\r\n..\r\n\r\n.\r\n", b"a\r\n\r\n.\r\n.\r\n\r\n"),
        (b"a.\r\nb.\r\n.\r\n", b"a.\r\nb.\r\n"),
    ],
)
def test_unstuffing(wire: bytes, content: bytes, step: int) -> None:
    reader = read(wire + b"NOOP\r\n", step=step)
    assert reader.done
    assert not reader.bad
    assert b"".join(reader.take()) == content
    assert reader.rest == b"NOOP\r\n"
    assert reader.size == len(content)


def test_take_gives_pieces_as_they_come() -> None:
    reader = DotReader(max_size=0)
    reader.feed(b"one\r\ntwo")
    assert b"".join(reader.take()) == b"one\r\ntwo"
    reader.feed(b" more\r\n.\r")
    assert b"".join(reader.take()) == b" more"
    reader.feed(b"\n")
    assert b"".join(reader.take()) == b"\r\n"
    assert reader.done


@pytest.mark.parametrize("step", [0, 1, 19])
@pytest.mark.parametrize(("extra", "bad"), [(0, ""), *((n, "SMTP-LINE") for n in (1, 2, 3, 50))])
def test_line_limit_is_exact(extra: int, bad: str, step: int) -> None:
    wire = b"short\r\n." + b"." * (20 + extra) + b"\r\nafter\r\n.\r\n"  # the stuffed dot is not counted
    reader = read(wire, max_line=20, step=step)
    assert (reader.done, reader.bad) == (True, bad)


def test_line_limit_over_a_line_that_never_ends() -> None:
    reader = read(b"x" * 1000, max_line=100, step=10)
    assert reader.bad == "SMTP-LINE"
    assert reader.take() == []


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize(("size", "bad"), [(100, ""), (101, "SMTP-SIZE")])
def test_size_limit_is_exact_and_keeps_nothing(size: int, bad: str, step: int) -> None:
    reader = read(b"x" * (size - 2) + b"\r\n.\r\nQUIT\r\n", max_size=100, step=step)
    assert (reader.done, reader.bad, reader.rest) == (True, bad, b"QUIT\r\n")
    assert bool(reader.take()) is not bool(bad)


def test_large_pieces_are_cut_and_keep_the_rest() -> None:
    body = (b"." + b"y" * 75 + b"\r\n") * 9000
    wire = b"".join(stuff(body)) + END_OF_DATA + b"Z" * 300_000
    reader = read(wire)
    assert reader.done
    assert b"".join(reader.take()) == body
    assert reader.rest == b"Z" * 300_000


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b""),
        (b".", b"..\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n"),
        (b"a\r\n.\r\nMAIL FROM:<>\r\n", b"a\r\n..\r\nMAIL FROM:<>\r\n"),
        (b"\r\n", b"\r\n"),
        (b"a\r\n\r\n.", b"a\r\n\r\n..\r\n"),
    ],
)
def test_stuffing(content: bytes, wire: bytes) -> None:
    assert b"".join(stuff(content)) == wire
    assert b"".join(stuff(content[i:i + 1] for i in range(len(content)))) == wire


@pytest.mark.parametrize(("sequence", "rule"), [*SMUGGLING, (b"\r.\r\nMAIL", "SMTP-BARE-CR"), (b"\r", "SMTP-BARE-CR")])
def test_stuffing_refuses_rather_than_rewrites(sequence: bytes, rule: str) -> None:
    if sequence in (b"\r\n.\x00\r\n", b"\r\n\x00.\r\n"):
        rule = "SMTP-NUL"
    with pytest.raises(InputFault) as caught:
        b"".join(stuff(b"signed" + sequence))
    assert caught.value.rule == rule
    with pytest.raises(InputFault):
        b"".join(stuff([b"signed", *(sequence[i:i + 1] for i in range(len(sequence)))]))


def test_stuffer_sends_nothing_of_a_cut_line_end_before_it_is_whole() -> None:
    stuffer = DotStuffer()
    assert stuffer.feed(b"a\r") == b"a"
    assert stuffer.feed(b"\n") == b""
    assert stuffer.feed(b".b") == b"\r\n..b"
    assert stuffer.finish() == b"\r\n"

"""Reading replies: one value per reply, bounded, whatever the cut."""

from __future__ import annotations

import pytest

from mssante.protocol.smtp.extensions import parse_extensions
from mssante.protocol.smtp.replies import MAX_LINES, Reply, ReplyParser, SmtpFault


def parse(data: bytes, step: int = 0) -> list[Reply]:
    parser = ReplyParser()
    replies = []
    step = step or max(len(data), 1)
    for start in range(0, len(data), step):
        parser.feed(data[start:start + step])
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_several_replies(step: int) -> None:
    data = b"250-2.1.5 first\r\n250 2.1.5 second\r\n354\r\n550 5.1.1 no such box\r\n450-\r\n450 later\r\n"
    assert parse(data, step) == [
        Reply(250, "2.1.5", ("first", "second")),
        Reply(354, "", ("",)),
        Reply(550, "5.1.1", ("no such box",)),
        Reply(450, "", ("", "later")),
    ]


def test_enhanced_code_of_another_class_is_text() -> None:
    assert parse(b"250 5.1.1 odd\r\n") == [Reply(250, "", ("5.1.1 odd",))]


def test_text_is_one_printable_line() -> None:
    (reply,) = parse("550-5.7.1 a\x1b[31m\tb\u202e\r\n550 5.7.1 réponse\r\n".encode() )
    assert reply.text == "550 5.7.1 a?[31m?b? / réponse"
    assert parse(b"550 \xff\xfe\r\n")[0].text == "550 \ufffd\ufffd"


@pytest.mark.parametrize(
    "data",
    [b"hello\r\n", b"25 x\r\n", b"2500 x\r\n", b"150 x\r\n", b"650 x\r\n", b"250x\r\n", b"250 x\n", b"250 a\rb\r\n",
     b"250 a\x00\r\n", b"250-a\r\n251 b\r\n", b"\r\n", b"250-a\r\nfoo\r\n"],
)
def test_what_is_no_reply_is_a_fault(data: bytes) -> None:
    with pytest.raises(SmtpFault) as caught:
        parse(data, 1)
    assert caught.value.rule == "SMTP-REPLY-SYNTAX"
    assert caught.value.temporary


@pytest.mark.parametrize(
    "data",
    [b"250 " + b"x" * 3000 + b"\r\n", b"250 " + b"x" * 3000, b"250-x\r\n" * (MAX_LINES + 1),
     (b"250-" + b"y" * 2000 + b"\r\n") * 40],
)
def test_limits(data: bytes) -> None:
    with pytest.raises(SmtpFault) as caught:
        parse(data, 1000)
    assert caught.value.rule == "SMTP-REPLY-LINE"


def test_flood_in_one_piece_is_a_fault() -> None:
    with pytest.raises(SmtpFault):
        ReplyParser().feed(b"x" * 300_000)


def test_extensions() -> None:
    (reply,) = parse(b"250-mx.beta.test\r\n250-pipelining\r\n250-SIZE 31457280\r\n250-DSN\r\n250-X-ODD \r\n"
                     b"250-AUTH PLAIN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
    found = parse_extensions(reply)
    assert (found.pipelining, found.dsn, found.eight_bit, found.smtputf8, found.size) == (True,) * 5
    assert not found.starttls
    assert found.size_limit == 31_457_280


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 30, "٣"])
def test_odd_size_is_no_limit(value: str) -> None:
    assert parse_extensions(Reply(250, "", ("mx", f"SIZE {value}"))).size_limit == 0


def test_greeting_word_is_no_extension() -> None:
    assert not parse_extensions(Reply(250, "", ("STARTTLS",))).starttls

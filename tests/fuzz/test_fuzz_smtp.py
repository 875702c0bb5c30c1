"""SMTP wire cores against naive references, under any cut into chunks."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.outcome import Delivered
from mssante.protocol.smtp.client import (
    Ended,
    Failed,
    Finished,
    Phase,
    Ready,
    SendBody,
    SmtpClient,
    StartTls,
    Transaction,
)
from mssante.protocol.smtp.dots import END_OF_DATA, DotReader, stuff
from mssante.protocol.smtp.outcomes import recipient_outcomes
from mssante.protocol.smtp.replies import ReplyParser, SmtpFault

pieces = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\r\n.", b"\r\n.\r\n", b"\x00", b"a", b"abcdefghijkl", b"\xe9"]),
    max_size=25,
).map(b"".join)
cuts = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def chunked(data: bytes, lengths: list[int]) -> list[bytes]:
    """Cut `data` by the lengths, the last one repeated."""
    parts, at, index = [], 0, 0
    while at < len(data):
        step = lengths[min(index, len(lengths) - 1)]
        parts.append(data[at:at + step])
        at, index = at + step, index + 1
    return parts


def reference(wire: bytes, max_size: int, max_line: int) -> tuple[bool, str, bytes, bytes]:
    """Read the same content slowly, by the words of RFC 5321."""
    position = (b"\r\n" + wire).find(b"\r\n.\r\n")
    if position < 0:
        return False, "", b"", b""
    content, rest = wire[:position], wire[position + 3:]
    bare = content.replace(b"\r\n", b"")
    lines = [line[1:] if line.startswith(b".") else line for line in content.split(b"\r\n")]
    plain = b"\r\n".join(lines)
    if b"\x00" in content:
        return True, "SMTP-NUL", b"", rest
    if b"\n" in bare:
        return True, "SMTP-BARE-LF", b"", rest
    if b"\r" in bare:
        return True, "SMTP-BARE-CR", b"", rest
    if any(len(line) > max_line for line in lines):
        return True, "SMTP-LINE", b"", rest
    if len(plain) > max_size:
        return True, "SMTP-SIZE", b"", rest
    return True, "", plain, rest


@settings(max_examples=600, deadline=None)
@given(pieces, cuts, st.integers(1, 60), st.integers(1, 15))
def test_reader_equals_reference_under_any_cut(
    content: bytes, lengths: list[int], max_size: int, max_line: int,
) -> None:
    wire = content + b"\r\n.\r\nQUIT\r\n"
    expected = reference(wire, max_size, max_line)
    for parts in ([wire], chunked(wire, lengths), chunked(wire, [1])):
        reader = DotReader(max_size=max_size, max_line=max_line)
        kept = []
        for part in parts:
            reader.feed(part)
            kept += reader.take()
        got = b"" if reader.bad else b"".join(kept)
        assert (reader.done, reader.bad, got, reader.rest) == expected


@settings(max_examples=300, deadline=None)
@given(pieces, cuts)
def test_what_is_stuffed_reads_back_or_is_refused(content: bytes, lengths: list[int]) -> None:
    bare = re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", content)
    try:
        wire = b"".join(stuff(chunked(content, lengths)))
    except InputFault:
        assert bare
        return
    assert not bare
    reader = DotReader(max_size=0)
    reader.feed(wire + END_OF_DATA)
    assert reader.done
    assert not reader.rest
    assert b"".join(reader.take()) == (content if content.endswith(b"\r\n") or not content else content + b"\r\n")


server_words = st.lists(
    st.sampled_from([
        b"220 mx\r\n", b"250 ok\r\n", b"250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n", b"250-", b"250 STARTTLS\r\n",
        b"354 go\r\n", b"421 bye\r\n", b"454 no\r\n", b"550 5.1.1 no\r\n", b"\r", b"\n", b"\x00", b"2", b"\xff\xfe\r\n",
        b"250-DSN\r\n", b"250 " + b"x" * 3000, b"221 bye\r\n", b"999 what\r\n"]),
    max_size=14)
TRANSACTION = Transaction(
    MailAddress("a", "alpha.test"), tuple(Recipient(MailAddress(name, "beta.test")) for name in ("b", "c")))


@settings(max_examples=500, deadline=None)
@given(server_words, cuts, st.booleans())
def test_client_survives_any_server_and_keeps_mail_out_of_clear(
    words: list[bytes], lengths: list[int], start_in_tls: bool,
) -> None:
    client = SmtpClient("mx.alpha.test")
    script = [b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n", b"250-mx\r\n250 PIPELINING\r\n"]
    script = script if start_in_tls else []
    events: list[object] = []
    in_tls = False
    dots = 0
    for data in [*script, *(part for word in words for part in chunked(word, lengths))]:
        fresh = client.receive(data)
        events += fresh
        for event in fresh:
            if isinstance(event, StartTls) and client.phase is Phase.HANDSHAKE:
                client.tls_established()
                in_tls = True
            elif isinstance(event, Ready | Finished) and client.phase is Phase.READY:
                client.begin(TRANSACTION)
            elif isinstance(event, SendBody) and client.phase is Phase.BODY:
                client.body_sent()
        sent = client.data_to_send()
        dots += sent.count(b".\r\n")
        assert in_tls or not re.search(rb"MAIL|RCPT|DATA|^\.", sent)
    outcomes = recipient_outcomes(client.replies, None, remote="mx", dsn=False)
    assert len(outcomes) == len(client.replies.recipients)
    assert dots or not any(isinstance(outcome, Delivered) for outcome in outcomes)
    assert sum(isinstance(event, Failed | Ended) for event in events) <= 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), cuts)
def test_replies_do_not_depend_on_the_cut(data: bytes, lengths: list[int]) -> None:
    wire = b"250-first\r\n250 second\r\n" + data + b"\r\n451 4.0.0 x\r\n"
    assert read_replies([wire]) == read_replies(chunked(wire, lengths)) == read_replies(chunked(wire, [1]))


def read_replies(parts: list[bytes]) -> list[object]:
    parser = ReplyParser()
    found: list[object] = []
    try:
        for part in parts:
            parser.feed(part)
            while (reply := parser.next_reply()) is not None:
                found.append(reply)
    except SmtpFault as fault:
        found.append(fault.rule)
    return found

"""Frames: whole, in pieces, joined, cut, too large, and what stands between them."""

from __future__ import annotations

import pytest

from mssante.protocol.hl7v2.mllp import HEAD, Frame, Framer, Oversized, Truncated, frame


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_frames_in_pieces_of_any_size(size: int) -> None:
    wire = frame(b"MSH|1\r") + frame(b"MSH|2\r") + b"\r\n" + frame(b"")
    framer = Framer(100)
    found = [event for start in range(0, len(wire), size) for event in framer.feed(wire[start:start + size])]
    assert found == [Frame(b"MSH|1\r"), Frame(b"MSH|2\r"), Frame(b"")]
    assert (framer.noise, framer.pending, framer.inside, framer.finish()) == (0, 0, False, [])


def test_octets_outside_frames_are_counted_and_passed_over() -> None:
    framer = Framer(100)
    assert framer.feed(b"GET / HTTP/1.1\r\n\r\n" + frame(b"x") + b"tail") == [Frame(b"x")]
    assert framer.noise == len("GET / HTTP/1.1") + len("tail")


def test_a_missing_cr_behind_the_end_is_forgiven() -> None:
    assert Framer(100).feed(b"\x0ba\x1c\x0bb\x1c\r") == [Frame(b"a"), Frame(b"b")]


def test_a_frame_inside_a_frame_cuts_the_first() -> None:
    assert Framer(100).feed(b"\x0bMSH|1\x0bMSH|2\x1c\r") == [Truncated(b"MSH|1", 5), Frame(b"MSH|2")]


def test_a_connection_that_ends_inside_a_frame() -> None:
    framer = Framer(100)
    assert framer.feed(b"\x0bMSH|1") == []
    assert framer.inside
    assert framer.finish() == [Truncated(b"MSH|1", 5)]


def test_an_oversized_frame_is_told_once_and_not_kept() -> None:
    framer = Framer(10_000)
    assert framer.feed(b"\x0b" + b"M" * 9_000) == []
    (event,) = framer.feed(b"N" * 2_000)
    assert isinstance(event, Oversized)
    assert event.head == b"M" * HEAD
    for _ in range(50):
        assert framer.feed(b"O" * 2_000) == []
        assert framer.pending == 0
    assert framer.feed(b"\x1c\r" + frame(b"next")) == [Frame(b"next")]
    framer.feed(b"\x0b" + b"M" * 20_000)
    assert framer.finish() == [], "told already"
    framer.feed(b"\x0b" + b"M" * 20_000)
    assert framer.feed(b"\x0bnext\x1c\r") == [Frame(b"next")], "nor when a new one cuts it"


def test_a_message_with_frame_characters_is_not_written() -> None:
    for octet in (b"\x0b", b"\x1c"):
        with pytest.raises(ValueError, match="frame character"):
            frame(b"a" + octet)

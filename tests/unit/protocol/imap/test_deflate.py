"""The deflate streams: any cut of the octets, bombs, the end of compression, and their memory."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap import deflate
from mssante.protocol.imap.deflate import Deflater, Inflater
from mssante.protocol.imap.faults import SessionEnd


def client(*writes: bytes, flush: int = zlib.Z_SYNC_FLUSH, level: int = 6) -> bytes:
    """Give what a client sends for these writes."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return b"".join(stream.compress(data) + stream.flush(flush) for data in writes)


def drain(inflater: Inflater, ahead: bytearray, size: int) -> bytes:
    found = b""
    while data := inflater.take(ahead, size):
        assert len(data) <= size
        found += data
    return found


def test_what_is_written_can_be_read_at_once() -> None:
    deflater, reader = Deflater(), zlib.decompressobj(-15)
    for data in (b"* OK hello\r\n", b"x" * 100_000, b"", bytes(range(256)) * 40):
        assert reader.decompress(deflater.write(data)) == data


@given(st.lists(st.tuples(st.binary(max_size=60) | st.just(b"+ idling\r\n* 4 EXISTS\r\n"), st.integers(0, 400)), max_size=8))
def test_a_write_may_be_filled_up_without_a_trace(writes: list[tuple[bytes, int]]) -> None:
    deflater, reader = Deflater(), zlib.decompressobj(-15)
    for data, at_least in writes:
        sent = deflater.write(data, at_least)
        assert len(sent) >= at_least
        assert reader.decompress(sent) == data, "at once, and what comes later still refers to the right octets"


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=300) | st.integers(0, 5000).map(lambda n: b"ab" * n), max_size=5),
       st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(1, 3000), st.sampled_from([0, 1, 9]))
def test_any_cut_gives_the_same_octets(writes: list[bytes], cuts: list[int], size: int, level: int) -> None:
    sent, inflater, found, place, turn = client(*writes, level=level), Inflater(), b"", 0, 0
    ahead = bytearray()
    while place < len(sent):
        step = cuts[turn % len(cuts)]
        ahead += sent[place:place + step]
        place, turn = place + step, turn + 1
        found += drain(inflater, ahead, size)
    assert found == b"".join(writes)
    assert not ahead


def test_no_more_is_inflated_than_asked() -> None:
    ahead, inflater = bytearray(client(b"\x00" * 30_000_000)), Inflater()
    assert len(ahead) < 40_000
    assert len(inflater.take(ahead, 8192)) == 8192
    assert ahead, "what was not inflated stays as it came"


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "ALLOWANCE", 1_000_000)
    ahead, inflater = bytearray(client(b"\x00" * 30_000_000)), Inflater()
    with pytest.raises(SessionEnd, match="swell"):
        drain(inflater, ahead, 65_536)
    honest = Inflater()
    mail = b"".join(b"Received: from mta%d.example by imap.example; line %d\r\n" % (n, n * 7919) for n in range(60_000))
    assert drain(honest, bytearray(client(mail)), 65_536) == mail


def test_octets_that_are_no_stream() -> None:
    with pytest.raises(SessionEnd, match="deflate"):
        drain(Inflater(), bytearray(b"a1 NOOP\r\n\xff\xff\xff"), 100)


def test_a_stream_that_ends_says_no_more() -> None:
    inflater, ahead = Inflater(), bytearray(client(b"a NOOP\r\n", flush=zlib.Z_FINISH) + b"b NOOP\r\n")
    assert inflater.take(ahead, 100) == b"a NOOP\r\n"
    with pytest.raises(SessionEnd, match="ended"):
        inflater.take(ahead, 100)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_plain_octets_may_follow_in_the_same_segment(flush: int, one_by_one: bool) -> None:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    sent = stream.compress(b"a NOOP\r\n") + stream.flush(zlib.Z_SYNC_FLUSH)
    sent += stream.compress(b"b UNAUTHENTICATE\r\n") + stream.flush(flush) + b"c NOOP\r\n"
    inflater, ahead, found = Inflater(), bytearray(), b""
    for place in range(len(sent)) if one_by_one else [0]:
        if inflater.over:
            ahead += sent[place:]
            break
        ahead += sent[place:place + 1] if one_by_one else sent
        while not found.endswith(b"UNAUTHENTICATE\r\n"):
            data = inflater.take(ahead, 65_536)
            found += data
            if not data:
                break
        if found.endswith(b"UNAUTHENTICATE\r\n"):
            inflater.end()
            if not inflater.over:
                assert inflater.take(ahead, 65_536) == b""
    assert found == b"a NOOP\r\nb UNAUTHENTICATE\r\n"
    assert inflater.over
    assert bytes(ahead) == b"c NOOP\r\n"

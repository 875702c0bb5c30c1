"""The field X-MSS-SMIME against octets of any kind: reading never raises, and nothing but our own line is genuine."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.services.smime_header import MAX_FIELDS, SmimeResult, find_results, result_line

KEY = b"k" * 32
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BODY = b"From: a@b.fr\r\nSubject: x\r\n\r\nBonjour\r\n"
RESULT = SmimeResult("SMIME-VALIDE", "SMIME-ABSENT", hashlib.sha256(BODY).hexdigest(), NOW, "T" * 26, "a@b.fr")
LINE = result_line(RESULT, KEY)
words = st.sampled_from([b"v=1", b"signature=SMIME-VALIDE", b"encryption=SMIME-ABSENT", b"h=" + RESULT.body_sha256.encode(), b"t=2026-03-01T12:00:00Z",
                         b"s=AAAA", b"k=00", b"=", b";", b"%", b"%0d%0aX: y", b"\r\n ", b"\t", b"\xff", b"s=" + b"A" * 44])


@settings(max_examples=300, deadline=None)
@given(st.lists(words | st.binary(max_size=20), max_size=20))
def test_a_field_made_of_our_words_is_not_ours(pieces: list[bytes]) -> None:
    raw = b"X-MSS-SMIME: " + b"; ".join(pieces) + b"\r\n" + BODY
    assert not any(one.genuine for one in find_results(raw, KEY))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_are_read(junk: bytes) -> None:
    found = list(find_results(junk + b"\r\nx-mss-smime:" + junk + b"\r\n\r\n" + junk, KEY))
    assert len(found) <= MAX_FIELDS and not any(one.genuine for one in found)


@settings(max_examples=300, deadline=None)
@given(st.integers(min_value=len("X-MSS-SMIME:"), max_value=len(LINE) - 3), st.integers(min_value=33, max_value=126))
def test_one_letter_changed_and_it_is_no_longer_ours(at: int, letter: int) -> None:
    """Blanks between the parameters count for nothing: the line may be folded again on its way."""
    if LINE[at] == letter or LINE[at:at + 1] in b" \r\n":
        return
    changed = LINE[:at] + bytes([letter]) + LINE[at + 1:]
    first = next(iter(find_results(changed + BODY, KEY)), None)
    assert first is None or not first.genuine or first.result == RESULT


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=40))
def test_what_is_written_is_read(signer: str, trace: str, folder: str) -> None:
    plain = [one.encode("utf-8", "replace").decode() for one in (signer, trace, folder)]
    result = SmimeResult("SMIME-VALIDE", "-", RESULT.body_sha256, NOW, plain[1], plain[0], "", plain[2])
    (found,) = find_results(result_line(result, KEY) + BODY, KEY)
    assert found.genuine and found.result == result

"""The part tree: structure, offsets, limits."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from mssante.protocol.mime.scan import Limits, Part, is_ambiguous, scan


def body(message: bytes, part: Part) -> bytes:
    return message[part.body_start:part.body_end]


TWO = (b"Content-Type: multipart/mixed; boundary=bd\r\n\r\npreamble\r\n--bd\r\n\r\none\r\n--bd \t\r\n"
       b"Content-Type: text/html\r\n\r\ntwo\r\nlines\r\n\r\n--bd--\r\nepilogue\r\n--bd\r\n\r\nnot a part\r\n")


def test_two_parts() -> None:
    root = scan(TWO)
    first, second = root.children
    assert body(TWO, first) == b"one" and (first.media.type, first.media.subtype) == (b"text", b"plain")
    assert body(TWO, second) == b"two\r\nlines\r\n" and second.lines == 2 and second.size == 12
    assert TWO[second.header_start:second.body_start] == b"Content-Type: text/html\r\n\r\n"
    assert not is_ambiguous(root)


def test_line_feeds_alone_give_the_same_tree() -> None:
    message = TWO.replace(b"\r\n", b"\n")
    assert [body(message, part) for part in scan(message).children] == [b"one", b"two\nlines\n"]


def test_boundary_that_begins_another() -> None:
    message = (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n"
               b"--bb\r\n\r\nx\r\n--bb--\r\n--b\r\n\r\ny\r\n--bx\r\n--b--z\r\n--b--\r\n")
    root = scan(message)
    inner, last = root.children
    assert [body(message, part) for part in inner.children] == [b"x"]
    assert body(message, last) == b"y\r\n--bx\r\n--b--z"


def test_outer_boundary_ends_inner_parts() -> None:
    message = (b"Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n"
               b"--in\r\n\r\nx\r\n--out\r\n\r\n--in\r\n--out--\r\n")
    root = scan(message)
    assert [body(message, part) for part in root.children[0].children] == [b"x"]
    assert root.children[0].ambiguous and not root.ambiguous
    assert body(message, root.children[1]) == b"--in"


def test_empty_parts_and_touching_delimiters() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n--b\r\nContent-Type: text/html\r\n--b--"
    parts = scan(message).children
    assert [body(message, part) for part in parts] == [b"", b"", b""]
    assert parts[2].media.subtype == b"html"


def test_unclosed_multipart_is_marked() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n"
    root = scan(message)
    assert body(message, root.children[0]) == b"x\r\n" and is_ambiguous(root)


@pytest.mark.parametrize("header", [
    b"Content-Type: multipart/mixed", b'Content-Type: multipart/mixed; boundary=""',
    b"Content-Type: multipart/mixed; boundary=absent", b"Content-Type: multipart/mixed; boundary=" + b"b" * 300,
    b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
])
def test_what_has_no_structure_is_an_opaque_leaf(header: bytes) -> None:
    root = scan(header + b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
    assert root.media.type == b"application" and not root.children and root.message is None and is_ambiguous(root)


def test_repeated_content_type_is_marked() -> None:
    root = scan(b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx")
    assert root.media.subtype == b"plain" and root.ambiguous


def test_embedded_message_and_digest() -> None:
    message = (b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: inner\r\n\r\ntext\r\nmore\r\n--b--\r\n")
    (part,) = scan(message).children
    assert part.media.subtype == b"rfc822" and part.message is not None
    assert part.message.headers.get(b"subject") == b"inner"
    assert body(message, part.message) == b"text\r\nmore" and part.lines == 3


def test_limits_leave_an_opaque_rest() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 10 + b"--b--\r\n"
    root = scan(message, Limits(parts=4))
    assert len(root.children) == 4 and root.children[-1].ambiguous
    assert body(message, root.children[-1]).count(b"--b\r\n") == 6
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(9))
    part, depth = scan(nested, Limits(depth=5)), 1
    while part.children:
        part, depth = part.children[0], depth + 1
    assert depth == 5 and part.media.type == b"application"


def test_false_delimiters_are_budgeted() -> None:
    message = (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + b"--bx\r\n" * 100
               + b"--b\r\n\r\nlast\r\n--b--\r\n")
    assert len(scan(message).children) == 2
    root = scan(message, Limits(false_hits=50))
    assert len(root.children) == 1 and root.children[0].media.type == b"application" and is_ambiguous(root)


def test_mapped_file_and_view_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(TWO)
    expected = [(part.body_start, part.body_end, part.lines) for part in scan(TWO).children]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert [(part.body_start, part.body_end, part.lines) for part in scan(mapped).children] == expected
    for view in (memoryview(TWO), memoryview(b"xx" + TWO)[2:]):
        assert [(part.body_start, part.body_end, part.lines) for part in scan(view).children] == expected

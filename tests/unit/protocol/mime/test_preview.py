"""The first words of messages: which part speaks, what of it is text, what stays closed."""

from __future__ import annotations

import pytest

from mssante.protocol.mime.preview import LENGTH, preview


def single(content_type: str, body: str, *, encoding: str = "8bit", charset: str = "utf-8", more: str = "") -> bytes:
    return (f"From: a@b.fr\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n{more}\r\n").encode() + body.encode(charset)


def multipart(subtype: str, *parts: bytes, more: str = "") -> bytes:
    inner = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts)
    return f"Content-Type: multipart/{subtype}; boundary=limit{more}\r\n\r\n".encode() + inner + b"--limit--\r\n"


PLAIN = single("text/plain; charset=utf-8", "Le texte simple.")
HTML = single("text/html; charset=utf-8", "<p>Le texte <b>riche</b>.</p>")
PDF = single("application/pdf", "%PDF-1.4 Rien a lire")


@pytest.mark.parametrize(("message", "words"), [
    (PLAIN, "Le texte simple."),
    (b"Subject: sans type\r\n\r\nBonjour,\r\n\r\n  ceci\test  un texte.\r\n", "Bonjour, ceci est un texte."),
    (HTML, "Le texte riche."),
    (single("text/plain; charset=iso-8859-1", "déjà", charset="latin-1"), "déjà"),
    (single("text/plain; charset=utf-8", "d=C3=A9j=C3=A0 vu, coup=\r\n=C3=A9", encoding="quoted-printable"), "déjà vu, coupé"),
    (single("text/plain; charset=utf-8", "ZMOpasOg", encoding="base64"), "déjà"),
    (single("text/plain", "x", encoding="x-uuencode"), ""),
    (multipart("alternative", HTML, PLAIN), "Le texte simple."),
    (multipart("alternative", HTML), "Le texte riche."),
    (multipart("mixed", PDF, HTML, PLAIN), "Le texte riche."),
    (multipart("mixed", multipart("related", HTML, PDF), PDF), "Le texte riche."),
    (multipart("signed", PLAIN, single("application/pkcs7-signature", "xx")), "Le texte simple."),
    (multipart("mixed", single("text/plain", "piece jointe", more="Content-Disposition: ATTACHMENT; filename=a.txt\r\n"), HTML), "Le texte riche."),
    (multipart("mixed", single("message/rfc822", "Subject: x\r\n\r\nembarqué"), PDF), ""),
    (multipart("encrypted", single("application/pgp-encrypted", "Version: 1"), PLAIN), ""),
    (single("application/pkcs7-mime; smime-type=enveloped-data", "MIAG", encoding="base64"), ""),
    (single("application/pkcs7-mime; smime-type=signed-data", "Qm9uam91cg==", encoding="base64"), ""),
    (single("text/calendar", "BEGIN:VCALENDAR"), ""),
    (PDF, ""), (b"", ""), (b"\r\n", ""), (b"Content-Type: multipart/mixed; boundary=x\r\n\r\nrien", ""),
])
def test_the_part_that_speaks(message: bytes, words: str) -> None:
    assert preview(message) == words


@pytest.mark.parametrize(("body", "words"), [
    ("<html><head><title>T</title><style>p{}</style></head><body>un<br>deux</body></html>", "un deux"),
    ("<p>a&amp;b &lt;c&gt; &eacute;&nbsp;&#233; &unknown;</p>", "a&b <c> é é &unknown;"),
    ("<!-- cache --><p>vu</p><script>x < 3 && y > 2</script>fin<style>jamais", "vu fin"),
    ("mot<b>coup</b>é <a href='x>y'>lien</a>", "motcoupé y'>lien"),
    ("<p>ouvert <img src=", "ouvert"), ("5 < 6 et 7 > 2", "5 < 6 et 7 > 2"), ("<!-- sans fin", ""),
    ("<TABLE><TR><TD>un</TD><TD>deux</TD></TR></TABLE>", "un deux"),
])
def test_markup_is_taken_out(body: str, words: str) -> None:
    assert preview(single("text/html; charset=utf-8", body)) == words


def test_it_is_short_and_printable() -> None:
    found = preview(single("text/plain; charset=utf-8", "é" * 300))
    assert found == "é" * LENGTH
    assert preview(single("text/plain; charset=utf-8", "mot " * 300)).endswith("mot")
    assert preview(single("text/plain; charset=utf-8", "a\x00b\x1bc\u200bd\u2028e")) == "abcd e"


def test_the_beginning_of_a_cut_message_is_enough() -> None:
    whole = multipart("mixed", PLAIN, single("application/octet-stream", "x" * 5000))
    assert preview(whole[:400]) == "Le texte simple."


@pytest.mark.parametrize("unit", ["<", "<!--", "<script", "<script>", "</script>", "&#", "<a ", "<b>", "&amp", "-->"])
def test_no_markup_takes_long(unit: str) -> None:
    """Work is linear: 64 KiB of any of these is done at once (a quadratic one would take minutes)."""
    assert len(preview(single("text/html", unit * 20_000))) <= LENGTH

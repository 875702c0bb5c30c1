"""Returns of the citizens' service: recognised, classified, told in words; what is no return is left alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.citizens import write

from mssante.model.address import MailAddress
from mssante.protocol.mime.headers import read_headers
from mssante.services.citizen_bounces import PATTERNS, NoteAbout, Pattern, classify_status, note, pattern, read_return
from mssante.services.citizen_house import ReturnAbout, return_message
from mssante.services.citizen_words import Cause

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
MES = "ne-pas-repondre@patient.mssante.fr"
ME = "dr@a.mssante.fr"


def back(text: str, subject: str = "Message non distribué", **headers: str) -> bytes:
    return write(MES, ME, subject=subject, text=text + "\n", In_Reply_To="<sent@a.mssante.fr>", **headers).raw  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "cause"), [
    ("Le profil Mon espace santé du patient est clos.", Cause.CLOSED),
    ("L'usager n'a pas activé son espace santé : compte non activé.", Cause.CLOSED),
    ("Le patient s’est opposé à la création de son espace.", Cause.CLOSED),
    ("Le patient n'a pas été trouvé.", Cause.UNKNOWN), ("L'adresse de messagerie saisie est invalide.", Cause.UNKNOWN),
    ("Bénéficiaire inconnu", Cause.UNKNOWN), ("INS invalide", Cause.UNKNOWN),
    ("La taille du message dépasse 25 Mo.", Cause.TOO_BIG), ("Votre message est trop volumineux", Cause.TOO_BIG),
    ("La conversation a été fermée par le professionnel.", Cause.NO_EXCHANGE),
    ("Vous n'êtes plus autorisé à écrire à ce patient.", Cause.NO_EXCHANGE), ("Motif technique 12.", Cause.OTHER)])
def test_texts(text: str, cause: Cause) -> None:
    found = read_return(back(text))
    assert found is not None and found.cause is cause and found.references[0] == "<sent@a.mssante.fr>"


@pytest.mark.parametrize(("status", "diagnostic", "cause"), [
    ("5.1.1", "", Cause.UNKNOWN), ("5.2.1", "x", Cause.CLOSED), ("5.3.4", "", Cause.TOO_BIG), ("5.0.0", "550 user unknown", Cause.UNKNOWN),
    ("5.0.0", "552 message size exceeds fixed limit", Cause.TOO_BIG), ("5.7.1", "refused", Cause.OTHER)])
def test_statuses(status: str, diagnostic: str, cause: Cause) -> None:
    assert classify_status(status, diagnostic) is cause


@pytest.mark.parametrize("cause", list(Cause))
def test_our_own_operator_writes_returns_that_are_recognised(cause: Cause) -> None:
    head = b"Message-ID: <sent@a.mssante.fr>\r\nSubject: x\r\n\r\n"
    raw = return_message(ReturnAbout(MailAddress("dr", "a.mssante.fr"), "patient.mssante.fr", cause, head, "mta.patient.mssante.fr"), NOW,
                         "T" * 26)
    found = read_return(raw)
    assert found is not None and found.cause is cause and "<sent@a.mssante.fr>" in found.references


def test_the_reference_is_found_in_the_returned_header_too() -> None:
    raw = back("Patient introuvable").replace(b"In-Reply-To: <sent@a.mssante.fr>\r\n", b"")
    raw = raw.replace(b"Content-Type: text/plain", b"Original-Message-ID: <other@a.mssante.fr>\r\nContent-Type: text/plain", 1)
    found = read_return(raw)
    assert found is not None and found.references == ("<other@a.mssante.fr>",)


@pytest.mark.parametrize("raw", [
    back("Je vous remercie.", subject="Re: votre message"), b"", b"\r\n\r\n",
    back("lu", subject="Message non distribué").replace(b"Content-Type: text/plain;", b"Content-Type: multipart/report; report-type=disposition-notification; boundary=x;"),
    b"Subject: Delivery Status Notification\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b.fr\r\n"
    b"Action: delayed\r\nStatus: 4.0.0\r\n\r\n--b--\r\n"])
def test_what_is_no_return(raw: bytes) -> None:
    assert read_return(raw) is None


def test_patterns_of_the_administrator_come_first() -> None:
    mine = (pattern("no_exchange", r"motif technique \d+"), *PATTERNS)
    found = read_return(back("Motif technique 12."), mine)
    assert found is not None and found.cause is Cause.NO_EXCHANGE
    with pytest.raises(ValueError, match="nothing"):
        pattern("nothing", "x")
    assert isinstance(mine[0], Pattern)


@given(st.binary(max_size=3000))
def test_any_octets(raw: bytes) -> None:
    read_return(raw)
    read_return(b"Subject: Message non distribue\r\n" + raw)


def test_the_note_is_threaded_and_names_nobody() -> None:
    about = NoteAbout(MailAddress("dr", "a.mssante.fr"), "<sent@a.mssante.fr>", "<first@a.mssante.fr>", "T" * 26, Cause.TOO_BIG, NOW)
    raw = note(about, now=NOW, trace_id="N" * 26, most_bytes=25_000_000)
    headers = read_headers(raw)
    assert (headers.get(b"in-reply-to") or b"").strip() == b"<sent@a.mssante.fr>" and b"<first@a.mssante.fr> <sent@a.mssante.fr>" in raw
    assert b"X-MSS-Echange: v=1; cause=too_big\r\n" in raw and b"Auto-Submitted: auto-generated\r\n" in raw
    assert b"patient.mssante" not in raw and b"T" * 26 in raw.replace(b"=\r\n", b"")

"""The rules toward citizens as a table: what is allowed, refused, doubted."""

from __future__ import annotations

import pytest

from mssante.documents.ins import OID_NIR, InsIdentity
from mssante.documents.patients import PatientsOf
from mssante.lang import set_language
from mssante.model.address import MailAddress
from mssante.model.mailbox import MailboxType
from mssante.model.reply import Allow, Refuse
from mssante.protocol.mime.headers import parse_headers
from mssante.services.citizen import (
    CitizenRules,
    End,
    Opinion,
    Outgoing,
    content_decision,
    doubtful_address,
    identifiers,
    is_sealed,
    read_end,
    recipient_decision,
    reply_to_of,
)
from mssante.services.citizen_words import Cause, cause_text, cause_title, refusal, refusal_rules

INS = "279035121518989"
RULES = CitizenRules("patient.mssante.test")
USER = MailAddress(INS, RULES.domain)
ME = InsIdentity(INS, OID_NIR, "A", "B", "19790328", "F")
CHILD = InsIdentity("215039999900172", OID_NIR, "A", "C", "20150312", "F")


def rule(opinion: Opinion) -> str:
    return opinion.decision.rule if isinstance(opinion.decision, Refuse) else ""


@pytest.mark.parametrize(("local", "wrong"), [
    (INS, ""), (INS[:13], "13 chiffres sans la cle"), ("279035121518988", "cle de controle"), ("camille", "forme du matricule"),
    ("", "forme du matricule"), ("2A9035121518989", "forme du matricule")])
def test_addresses(local: str, wrong: str) -> None:
    assert doubtful_address(local) == wrong


@pytest.mark.parametrize(("check", "wanted", "doubt"), [("reject", "INS-ADRESSE", ""), ("warn", "", "cle de controle"), ("off", "", "")])
def test_a_wrong_key_by_setting(check: str, wanted: str, doubt: str) -> None:
    opinion = recipient_decision(CitizenRules(RULES.domain, check), MailAddress("279035121518988", RULES.domain), declared_size=0,
                                 sender_type=MailboxType.PER)
    assert (rule(opinion), opinion.doubt) == (wanted, doubt)


@pytest.mark.parametrize(("size", "kind", "sender", "wanted"), [
    (0, MailboxType.PER, "a.mssante.test", ""), (25_000_000, MailboxType.ORG, "a.mssante.test", ""),
    (25_000_001, MailboxType.APP, "a.mssante.test", "TAILLE"), (0, MailboxType.CAB, "a.mssante.test", "CITOYEN-EXPEDITEUR"),
    (0, None, RULES.domain, "CITOYEN-PROFESSIONNELS")])
def test_recipients(size: int, kind: MailboxType | None, sender: str, wanted: str) -> None:
    rules = CitizenRules(RULES.domain, senders=frozenset({"PER", "ORG", "APP"}))
    assert rule(recipient_decision(rules, USER, declared_size=size, sender_type=kind, sender_domain=sender)) == wanted


def outgoing(head: bytes = b"Subject: x\r\n", *, size: int = 1000, ok: bool = True, to: tuple[MailAddress, ...] = (USER,)) -> Outgoing:
    return Outgoing(to, parse_headers(head), size, None, ok)


@pytest.mark.parametrize(("patients", "wanted"), [
    (None, ""), (PatientsOf((ME,), archives=1), ""), (PatientsOf((CHILD,), archives=1), "CITOYEN-AUTRE-PATIENT"),
    (PatientsOf((ME, CHILD), archives=2), "CITOYEN-DEUX-PATIENTS"), (PatientsOf((), 1, archives=1), "CITOYEN-INS-NON-QUALIFIE"),
    (PatientsOf((InsIdentity(INS, OID_NIR, "A"),), archives=1), "CITOYEN-INS-NON-QUALIFIE"),
    (PatientsOf((InsIdentity(INS, OID_NIR),), archives=1), ""),  # metadata alone hold no traits
    (PatientsOf((), 0, ("ZIP-CRYPT",), 1), "")])  # another check judges the archive
def test_documents(patients: PatientsOf | None, wanted: str) -> None:
    assert rule(content_decision(RULES, outgoing(), patients)) == wanted
    lenient = content_decision(CitizenRules(RULES.domain, other_patient="warn"), outgoing(), patients)
    assert isinstance(lenient.decision, Allow) and lenient.doubt == wanted


def test_a_letter_to_the_parent_of_the_patient_is_refused() -> None:
    """F9.6: the minor's own address; the exception of a representative does not exist, as the minor has a box of its own."""
    found = content_decision(RULES, outgoing(to=(USER, MailAddress(CHILD.matricule, RULES.domain))), PatientsOf((CHILD,), archives=1))
    assert rule(found) == "CITOYEN-AUTRE-PATIENT"


def test_corsica_in_either_case_is_one_person() -> None:
    corse = InsIdentity("179032A12151803", OID_NIR, "A", "B", "19790328", "M")
    assert rule(content_decision(RULES, outgoing(to=(MailAddress("179032a12151803", RULES.domain),)), PatientsOf((corse,)))) == ""


@pytest.mark.parametrize(("head", "is_it"), [
    (b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n", True),
    (b"Content-Type: Application/X-PKCS7-MIME\r\n", True), (b"Content-Type: multipart/encrypted; protocol=x\r\n", True),
    (b"Content-Type: application/octet-stream; name=\"smime.P7M\"\r\n", True),
    (b"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"\r\n", False), (b"Content-Type: text/plain\r\n", False),
    (b"", False)])
def test_what_only_smime_opens(head: bytes, is_it: bool) -> None:
    assert is_sealed(parse_headers(head)) is is_it
    assert rule(content_decision(RULES, outgoing(head), None)) == ("CITOYEN-CHIFFRE" if is_it else "")


def test_size_and_reply_to() -> None:
    assert rule(content_decision(RULES, outgoing(size=25_000_001), None)) == "TAILLE"
    assert rule(content_decision(RULES, outgoing(ok=False), None)) == "CITOYEN-REPLY-TO"


@pytest.mark.parametrize(("value", "wanted"), [
    (None, (None, True)), (b"Service <s@a.mssante.test>", (MailAddress("s", "a.mssante.test"), True)),
    (b"a@x.fr, b@x.fr", (None, False)), (b"", (None, False)), (b"\"a b\"@x.fr", (None, False)), (b"group: a@x.fr;", (MailAddress("a", "x.fr"), True))])
def test_reply_to(value: bytes | None, wanted: tuple[MailAddress | None, bool]) -> None:
    head = b"" if value is None else b"Reply-To: " + value + b"\r\n"
    assert reply_to_of(parse_headers(head)) == wanted
    assert reply_to_of(parse_headers(b"Reply-To: a@x.fr\r\nReply-To: b@x.fr\r\n")) == (None, False)


@pytest.mark.parametrize(("head", "wanted"), [
    (b"X-MSS-MES: FIN\r\n", End.HEADER), (b"X-MSS-MES:  FIN \r\n", End.HEADER), (b"X-MSS-MES: fin\r\n", End.NONE),
    (b"X-MSS-MES: NON\r\n", End.NONE), (b"Subject: [FIN]\r\n", End.SUBJECT), (b"Subject: [FIN] merci\r\n", End.NONE),
    (b"Subject: Re: [FIN]\r\n", End.NONE), (b"Subject: =?utf-8?q?=5BFIN=5D?=\r\n", End.SUBJECT), (b"Subject: [fin]\r\n", End.NONE)])
def test_the_end_of_an_exchange(head: bytes, wanted: End) -> None:
    assert read_end(parse_headers(head)) is wanted


def test_identifiers_are_told_once_in_order() -> None:
    assert identifiers("<a@x> junk <b@y>\r\n <a@x> <no space@z>") == ("<a@x>", "<b@y>")
    assert len(identifiers("".join(f"<{rank}@x>" for rank in range(500)))) == 100


def test_words_are_ascii_and_name_rule_and_remedy() -> None:
    for name in refusal_rules():
        reply = refusal(name).reply
        raw = reply.encode()
        assert reply.text.isascii() and len(raw) <= 512 and reply.text.endswith(f" [{name}]") and b"?" not in raw
        assert reply.enhanced.startswith(f"{reply.code // 100}.")
    try:
        for code in ("fr", "en"):
            set_language(code)
            for cause in Cause:
                assert cause_title(cause) and len(cause_text(cause, 25)) > 80
    finally:
        set_language("fr")

"""The verdict on a whole mail: what is looked at, what is said, which headers are computed. No engine here: rules are made up."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree
from support.handing import INS, NAMES, PDF, cda
from support.structured_mail import altered, archive, broken_hash, mail, plain_zip, structured

from mssante.documents.faults import DocumentFault
from mssante.documents.findings import Severity
from mssante.documents.preflight import Outcome, Preflight, Rule, Rules, examine_file, examine_message
from mssante.documents.preflight_words import remedy_for
from mssante.documents.remarks import MAX_REMARKS, MAX_WORDS, Remark, Source, one_line, plain_rule
from mssante.documents.schematron import Verdict

A, B = "a@a.mssante.fr", "b@a.mssante.fr"
IDENTIFIERS = {"RPPS-LUHN", "FINESS-LUHN"}  # the fictitious persons fail the checks of real numbers


def rules_said(found: Preflight) -> list[str]:
    return [one.rule for one in found.remarks if one.rule not in IDENTIFIERS]


def look(raw: bytes, rules: Rules | None = None) -> Preflight:
    return examine_message(raw, rules or Rules())


def test_a_good_message() -> None:
    found = look(structured(A, B))
    assert rules_said(found) == [] and found.errors == () and (found.archives, found.documents) == (1, 1)
    assert found.computed == (("X-MSS-CODECDA", "11488-4"), ("X-MSS-INS", "O")) and not found.nil


@pytest.mark.parametrize("raw", [
    mail(A, B, subject="Bonjour"), mail(A, B, ("photos.zip", plain_zip()), subject="Photos"), b"", b"\r\n", b"Subject: x\r\n\r\nx",
    mail(A, B, ("photos.zip", b"PK\x03\x04 casse"), subject="Photos"), mail(A, B, subject="Re: XDM/1.0/DDM+CR"),
    mail(A, B, extra="In-Reply-To: <x@y>\r\n"),
    b"Subject: XDM/1.0/DDM+CR\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\n"
    b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03",
    b"Subject: XDM/1.0/DDM+CR\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nlu\r\n--x--\r\n"])
def test_what_is_not_structured_is_nobodys_business(raw: bytes) -> None:
    found = look(raw)
    assert (found.outcome, found.remarks, found.archives, found.computed) == (Outcome.OK, (), 0, ())


@pytest.mark.parametrize(("raw", "said", "outcome"), [
    (structured(A, B, broken_hash(archive())), ["XDM-HASH"], Outcome.BLOCK),
    (structured(A, B, b"PK\x03\x04 casse"), ["ZIP-"], Outcome.BLOCK),
    (structured(A, B, plain_zip()), ["XDM-SUBSET"], Outcome.BLOCK),
    (structured(A, B, subject="CR de consultation"), ["MAIL-OBJET"], Outcome.WARN),
    (mail(A, B, ("IHE_XDM.ZIP", archive())), ["MAIL-PDF"], Outcome.WARN),
    (mail(A, B, ("IHE_XDM.ZIP", archive()), ("CR.pdf", b"<html>")), ["MAIL-PDF"], Outcome.WARN),
    (mail(A, B, ("dossier.zip", archive()), ("CR.pdf", PDF)), ["MAIL-NOM"], Outcome.WARN),
    (mail(A, B), ["MAIL-ARCHIVE"], Outcome.WARN),
    (structured(A, B, extra="X-MSS-CODECDA: 34112-3\r\n"), ["X-MSS-CODECDA"], Outcome.WARN),
    (structured(A, B, extra="X-MSS-INS: N\r\n"), ["X-MSS-INS"], Outcome.WARN),
    (structured(A, B, extra="X-MSS-INS: O\r\nX-MSS-CODECDA: 11488-4\r\n"), [], Outcome.WARN)])
def test_what_is_said(raw: bytes, said: list[str], outcome: Outcome) -> None:
    found = look(raw)
    assert [rule[:4] if rule.startswith("ZIP-") else rule for rule in rules_said(found)] == said
    assert found.outcome is outcome
    assert all(one.remedy and one.text and not any(word in one.text + one.rule for word in (INS, *NAMES)) for one in found.remarks)


def test_headers_that_are_there_are_left_alone() -> None:
    found = look(structured(A, B, extra="X-MSS-CODECDA: 11488-4\r\nX-MSS-NIL: DEV1\r\n"))
    assert found.computed == (("X-MSS-INS", "O"),) and found.nil


def test_a_hostile_type_makes_no_header_line() -> None:
    hostile = altered(archive(), b'<code code="11488-4"', b'<code code="1&#13;&#10;Bcc: x@y.fr"')
    found = look(structured(A, B, hostile))
    assert found.documents == 1 and "XDM-HASH" in rules_said(found)
    assert found.computed == ()


def test_an_embedded_message_is_somebody_elses() -> None:
    inner = structured(A, B, broken_hash(archive()))
    raw = (b"Subject: Tr: x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\nContent-Type: message/rfc822\r\n\r\n" + inner
           + b"\r\n--y--\r\n")
    assert look(raw).archives == 0


def judge(said: list[Remark], fired: int = 1) -> Rule:
    return Rule(lambda _root, _file: Verdict(fired, len(said), tuple(said)))


def remark(number: int = 0, **changes: Any) -> Remark:
    return Remark(**{"source": Source.SCHEMATRON, "rule": f"SCH-{number}", "file": "x", "line": number, "text": "t", "remedy": "r", **changes})


def test_schematrons_count_and_errors_come_first() -> None:
    warning = remark(1, severity=Severity.WARNING)
    found = examine_file("x.xml", cda(), Rules(None, (judge([warning], 3), judge([remark(2)], 4))))
    assert found.fired == 7 and found.outcome is Outcome.BLOCK and found.remarks[0].rule == "SCH-2" and warning in found.remarks


def test_a_schematron_for_other_documents_is_not_run() -> None:
    def never(_root: etree._Element, _file: str) -> Verdict:
        raise AssertionError

    assert examine_file("x.xml", cda(), Rules(None, (Rule(never, frozenset({"9.9"})),))).fired == 0


def test_a_rule_that_fails_stops_nothing() -> None:
    def breaks(_root: etree._Element, _file: str) -> Verdict:
        raise DocumentFault("x", detail="a value set is missing", rule="DOC-REGLES")

    found = examine_file("x.xml", cda(), Rules(None, (Rule(breaks),)))
    assert found.outcome is Outcome.WARN and "SCH-PANNE" in rules_said(found)


def test_remarks_are_bounded() -> None:
    found = examine_file("x.xml", cda(), Rules(None, (judge([remark(number) for number in range(3 * MAX_REMARKS)]),)))
    assert len(found.remarks) == MAX_REMARKS + 1 and found.remarks[-1].rule == "DOC-SUITE"


def test_a_file_is_judged_by_what_it_is() -> None:
    assert examine_file("x", archive(), Rules()).archives == 1
    assert examine_file("x", b"\xef\xbb\xbf" + cda(), Rules()).documents == 1
    assert examine_file("x", structured(A, B), Rules()).archives == 1
    ((one),) = examine_file("x.xml", b"<a>\n<b></a>", Rules()).remarks
    assert one.rule == "XML-SYNTAX" and one.line == 2 and one.severity is Severity.ERROR


def test_rules_and_words_fit_where_they_go() -> None:
    assert plain_rule("règle n° 1/é\r\n") == "r-gle-n-1" and plain_rule("\r\n") == "SANS-NOM" and len(plain_rule("x" * 500)) == 64
    assert one_line("a\r\nb\u202e\x00c") == "a b c" and len(one_line("x" * 5000)) == MAX_WORDS
    assert remedy_for("ZIP-BOMB") and remedy_for("INCONNUE") != remedy_for("XDM-HASH")

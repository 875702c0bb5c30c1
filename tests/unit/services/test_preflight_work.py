"""Rules from a folder, compiled and run by a real engine in a real worker: verdicts, changes of rules, hostile rules, bombs."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import workshop_jobs as jobs
from support.handing import cda
from support.ruleset import rule, schematron, write_rules

from mssante.documents.faults import DocumentFault
from mssante.documents.preflight import Outcome
from mssante.services.preflight_work import look_at_file
from mssante.services.rulebook import RuleBook
from mssante.services.rulefiles import Prepared
from mssante.services.workshop import Workshop, WorkshopLimits

BAD = (b'realmCode code="FR"', b'realmCode code="DE"')


@pytest.fixture
async def workshop(tmp_path: Path) -> AsyncIterator[Workshop]:
    (tmp_path / "cache").mkdir()
    (tmp_path / "rules").mkdir()
    one = Workshop(WorkshopLimits(memory_bytes=1_500_000_000, readable=(str(tmp_path / "rules"), str(tmp_path / "cache"))))
    await one.open()
    yield one
    await one.close()


def book(workshop: Workshop, tmp_path: Path, main: str | None = None) -> RuleBook:
    return RuleBook(workshop, write_rules(tmp_path / "rules", main), tmp_path / "cache", monotonic=iter(range(0, 10**6, 1000)).__next__)


async def test_verdicts(workshop: Workshop, tmp_path: Path) -> None:
    rules = await book(workshop, tmp_path).current()
    good = await workshop.run(look_at_file, "a.xml", cda(), rules)
    assert good.fired == 2 and good.documents == 1 and good.outcome is not Outcome.BLOCK and good.errors == ()
    raw = cda().replace(*BAD).replace(b"11488-4", b"99999-9")
    bad = await workshop.run(look_at_file, "a.xml", raw, rules)
    assert bad.outcome is Outcome.BLOCK
    assert [(one.rule, one.place, one.text) for one in bad.errors] == [
        ("SCH-R-PAYS", "/ClinicalDocument", "Le pays (realmCode) vaut FR."),
        ("SCH-R-TYPE", "/ClinicalDocument/code", "Le type est au jeu de valeurs.")]
    assert bad.errors[1].line == raw[:raw.index(b"99999-9")].count(b"\n") + 1


async def test_rules_that_change_are_taken_and_bad_ones_are_not(workshop: Workshop, tmp_path: Path) -> None:
    held = book(workshop, tmp_path)
    first = await held.current()
    assert await held.current() == first
    write_rules(tmp_path / "rules", schematron(rule("false()", ident="R-NEUVE")))
    second = await held.current()
    assert second.digest != first.digest
    assert "SCH-R-NEUVE" in [one.rule for one in (await workshop.run(look_at_file, "a.xml", cda(), second)).errors]
    write_rules(tmp_path / "rules", schematron(rule("unparsed-text('file:///etc/passwd') = ''")))
    assert await held.current() == second, "rules that cannot be used leave the former ones in force"
    again = RuleBook(workshop, tmp_path / "rules", tmp_path / "cache")
    with pytest.raises(DocumentFault) as caught:
        await again.current()
    assert caught.value.rule == "DOC-REGLES"


async def test_no_folder_no_rules_and_an_empty_one_is_a_fault(workshop: Workshop, tmp_path: Path) -> None:
    assert await RuleBook(workshop, None, tmp_path / "cache").current() == Prepared()
    for folder in (tmp_path / "rules", tmp_path / "absent"):
        with pytest.raises(DocumentFault) as caught:
            await RuleBook(workshop, folder, tmp_path / "cache").current()
        assert caught.value.rule == "DOC-REGLES"


async def test_models_choose_the_documents_of_a_schematron(workshop: Workshop, tmp_path: Path) -> None:
    held = book(workshop, tmp_path, schematron(rule("false()")))
    (tmp_path / "rules" / "modeles.toml").write_text('[modeles]\n"schematron/tete/tete.sch" = ["9.9.9"]\n')
    rules = await held.current()
    assert (await workshop.run(look_at_file, "a.xml", cda(), rules)).fired == 0
    raw = cda().replace(b"<templateId ", b'<templateId root="9.9.9"/><templateId ', 1)
    assert (await workshop.run(look_at_file, "a.xml", raw, rules)).fired > 0


async def test_rules_reach_neither_file_nor_socket(workshop: Workshop, tmp_path: Path) -> None:
    """Even stylesheets that the compiler has not refused: the engine refuses, and below it the kernel."""
    (tmp_path / "secret.xml").write_text("<s>SECRET</s>")
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0)
        address = f"http://127.0.0.1:{door.getsockname()[1]}/"
        for expression in ("unparsed-text('file:///etc/passwd')", f"doc('{(tmp_path / 'secret.xml').as_uri()}')", f"doc('{address}')",
                           f"unparsed-text('{address}')", "json-doc('file:///etc/passwd')", "collection('file:///etc')",
                           f"doc('jar:{address}x!/y')", f"doc('ftp{address[4:]}')"):
            said = await workshop.run(jobs.run_stylesheet, expression)
            assert said.startswith("DOC-REGLES ") and "root:" not in said and "SECRET" not in said, (expression, said)
        with pytest.raises(BlockingIOError):
            door.accept()


@pytest.mark.parametrize(("name", "raw", "rule_of"), [
    ("entité", b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><ClinicalDocument xmlns="urn:hl7-org:v3">&e;</ClinicalDocument>',
     "XML-DTD"),
    ("mille rires", b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><ClinicalDocument xmlns="urn:hl7-org:v3">&b;</ClinicalDocument>',
     "XML-DTD"),
    ("profond", b'<ClinicalDocument xmlns="urn:hl7-org:v3">' + b"<a>" * 5000 + b"</a>" * 5000 + b"</ClinicalDocument>", "XML-LIMIT"),
    ("large", b'<ClinicalDocument xmlns="urn:hl7-org:v3">' + b"<a/>" * 600_000 + b"</ClinicalDocument>", "XML-LIMIT"),
    ("coupé", b'<ClinicalDocument xmlns="urn:hl7-org:v3"><a>', "XML-SYNTAX"),
    ("autre", b'<?xml version="1.0" encoding="UTF-32"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>', "XML-ENCODING")])
async def test_hostile_documents_get_a_verdict(workshop: Workshop, tmp_path: Path, name: str, raw: bytes, rule_of: str) -> None:
    found = await workshop.run(look_at_file, "a.xml", raw, Prepared(), seconds=20)
    assert found.outcome is Outcome.BLOCK and [one.rule for one in found.remarks] == [rule_of], name


async def test_a_document_does_not_reach_out(workshop: Workshop, tmp_path: Path) -> None:
    """schemaLocation, stylesheet instructions and XInclude of a document are words, not addresses."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0)
        address = f"http://127.0.0.1:{door.getsockname()[1]}/x.xsd".encode()
        raw = cda().replace(b"<realmCode", b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
                            b"<realmCode", 1)
        raw = raw.replace(b"<ClinicalDocument ", b'<?xml-stylesheet type="text/xsl" href="' + address + b'"?><?xml-model href="' + address
                          + b'"?><ClinicalDocument xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:hl7-org:v3 '
                          + address + b'" ', 1)
        found = await workshop.run(look_at_file, "a.xml", raw, await book(workshop, tmp_path).current())
        assert found.documents == 1 and "root:" not in " ".join(one.text for one in found.remarks)
        with pytest.raises(BlockingIOError):
            door.accept()


async def test_a_rule_that_eats_time_or_memory_is_ended(workshop: Workshop, tmp_path: Path) -> None:
    for test, ends in (("count(for $a in 1 to 100000, $b in 1 to 100000, $c in 1 to 9 return $a * $b) = 1", "DOC-TEMPS"),
                       ("string-length(string-join(for $a in 1 to 200000000 return concat('xxxxxxxxxxxxxxxxxxxxxxxx', $a), '')) = 1", "")):
        rules = await book(workshop, tmp_path, schematron(rule(test))).current()
        with pytest.raises(DocumentFault) as caught:
            await workshop.run(look_at_file, "a.xml", cda(), rules, seconds=0.8)
        assert caught.value.rule == ends or (not ends and caught.value.rule in ("DOC-TEMPS", "DOC-MEMOIRE", "DOC-PANNE"))
    assert (await workshop.run(look_at_file, "a.xml", cda(), Prepared())).documents == 1

"""Schematrons that may not be compiled: whatever would open a file, an address or another program's door is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from support.ruleset import rule, schematron, write_rules

from mssante.documents.faults import DocumentFault
from mssante.documents.findings import Severity
from mssante.documents.schematron import _alone, _whole, read_report
from mssante.services.rulefiles import read_rules

_XSL = '<xsl:stylesheet version="2.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:saxon="http://saxon.sf.net/">'


def rules_of(folder: Path, main: str | None = None):  # type: ignore[no-untyped-def]
    return read_rules(write_rules(folder, main)).schematrons[0]


@pytest.mark.parametrize("expression", [
    "doc('file:///etc/passwd')", "document($x)", "fn:doc('x')", "unparsed-text('/etc/passwd')", "unparsed-text-lines('x')",
    "collection('file:///')", "uri-collection()", "environment-variable('HOME')", "json-doc('x')", "transform(map{})",
    "doc-available('http://127.0.0.1/')", "doc#1('x')", "function-lookup(xs:QName('fn:doc'),1)('x')", "doc(: x :)('/etc/passwd')",
    "Q{http://www.w3.org/2005/xpath-functions}doc('x')", "load-xquery-module('x')", "UNPARSED-TEXT('x')", "'a' || unparsed-text ('x')"])
def test_functions_that_reach_out_are_refused(tmp_path: Path, expression: str) -> None:
    """Readers of documents become ours (which knows the value sets only); all others are refused."""
    rules = rules_of(tmp_path)
    sheet = f'{_XSL}<xsl:template match="/"><xsl:if test="{expression.replace(chr(34), "&quot;")}"/></xsl:template></xsl:stylesheet>'
    try:
        made = _alone(sheet, rules).decode()
    except DocumentFault as fault:
        assert fault.rule == "DOC-REGLES"
        return
    assert expression.startswith(("doc(", "document(", "fn:doc(")) and "mss:read(" in made
    assert not [value for node in etree.fromstring(made.encode()).iter("{*}if") for value in node.attrib.values()
                if not str(value).startswith("mss:read(")]


@pytest.mark.parametrize("body", [
    '<xsl:include href="x.xsl"/>', '<xsl:import href="file:///etc/passwd"/>',
    '<xsl:template match="/"><xsl:result-document href="/tmp/x"/></xsl:template>',
    '<xsl:template match="/"><xsl:evaluate xpath="1"/></xsl:template>', '<xsl:use-package name="x"/>',
    '<xsl:template match="/"><xsl:source-document href="x"/></xsl:template>', '<saxon:import-query href="x"/>',
    '<xsl:template match="/" expand-text="yes">{1}</xsl:template>', '<xsl:template match="/" use-when="true()"/>'])
def test_elements_that_reach_out_are_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(DocumentFault) as caught:
        _alone(f"{_XSL}{body}</xsl:stylesheet>", rules_of(tmp_path))
    assert caught.value.rule == "DOC-REGLES"


@pytest.mark.parametrize("include", [
    '<include href="/etc/passwd"/>', '<include href="../../../etc/passwd"/>', '<include href="http://127.0.0.1/x.sch"/>',
    '<include href="include/absent.sch"/>', '<include href="tete.sch"/>', '<include/>',
    '<pattern documents="\'file:///etc/passwd\'"><rule context="/"/></pattern>',
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>',
    '<pattern xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="x"/>',
    '<pattern><rule context="/"><extends href="file:///etc/passwd"/></rule></pattern>'])
def test_files_outside_of_the_folder_are_refused(tmp_path: Path, include: str) -> None:
    rules = rules_of(tmp_path, schematron(include=include))
    with pytest.raises(DocumentFault) as caught:
        _whole(rules)
    assert caught.value.rule == "DOC-REGLES" and "root:" not in str(caught.value)


def test_value_sets_are_written_in(tmp_path: Path) -> None:
    made = _alone(f"{_XSL}<xsl:template match='/'><xsl:if test=\"@a = doc('include/codes.xml')//concept/@code\"/></xsl:template>"
                  "</xsl:stylesheet>", rules_of(tmp_path))
    assert b"mss:read('include/codes.xml')" in made and b"34112-3" in made


def test_words_of_a_message_are_no_call(tmp_path: Path) -> None:
    sheet = f"{_XSL}<xsl:template match='/'><x note='voir le document joint'/><xsl:if test=\"@a = 'documentation'\"/></xsl:template></xsl:stylesheet>"
    assert b"voir le document joint" in _alone(sheet, rules_of(tmp_path))
    assert rule("1 < 2 & \"a\"").startswith("<pattern")


def test_a_report_is_read_with_lines_and_severities() -> None:
    root = etree.fromstring(b'<a xmlns="urn:x">\n<b/>\n<b>\n<p:c xmlns:p="urn:y"/></b></a>')
    svrl = (b'<svrl:schematron-output xmlns:svrl="http://purl.oclc.org/dsdl/svrl"><svrl:fired-rule id="R1"/>'
            b'<svrl:failed-assert location="/*:a[namespace-uri()=\'urn:x\'][1]/*:b[namespace-uri()=\'urn:x\'][2]" role="warning">'
            b"<svrl:text>un  \n texte</svrl:text></svrl:failed-assert>"
            b'<svrl:successful-report id="R 2/3" location="/a/b[2]/p:c"><svrl:text>x</svrl:text></svrl:successful-report>'
            b'<svrl:failed-assert location="/nowhere[9]"><svrl:text>y</svrl:text></svrl:failed-assert></svrl:schematron-output>')
    found = read_report(svrl, root, "f.xml", "nom")
    assert (found.fired, found.failed) == (1, 3)
    assert [(one.rule, one.line, one.text, one.severity, one.place) for one in found.remarks] == [
        ("SCH-R1", 3, "un texte", Severity.WARNING, "/a/b[2]"), ("SCH-R-2-3", 4, "x", Severity.ERROR, "/a/b[2]/c"),
        ("SCH-R1", 0, "y", Severity.ERROR, "/nowhere[9]")]

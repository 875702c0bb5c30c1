"""ISO schematron of ANS, by the four steps of its XSLT 2 implementation (ISO/IEC 19757-3): include, expand, compile, run.

- `compile_schematron` turns the files of one schematron into one stylesheet that stands alone: included patterns are put in their
  place, value sets that the rules read (`doc('include/voc-….xml')`) are written into it. `run_schematron` runs it on a document
  and reads the report (SVRL) into remarks: line, rule, words of the rule.
- **Nothing is opened at the run.** A rule that reads a file which is not in its folder, a computed name, a text file, the
  environment, or that writes a document, is refused when compiled (`DOC-REGLES`); the engine is told to open no address at all;
  and the worker it runs in has neither files nor network (`services.confinement`).
- The engine is Saxon HE (saxonche), loaded when the first of these functions is called: both run in a worker only.

Rules, values and engine are the operator's files (`documents.rules_directory`); none is part of the program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from mssante.documents.faults import DocumentFault
from mssante.documents.findings import Severity
from mssante.documents.remarks import MAX_REMARKS, Remark, Source, one_line, plain_rule
from mssante.documents.schema import inside
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.xml import parse_xml

STEPS = ("iso_dsdl_include.xsl", "iso_abstract_expand.xsl", "iso_svrl_for_xslt2.xsl")
MAX_RULE_BYTES = 50 * 1024 * 1024
MAX_REPORT_BYTES = 50 * 1024 * 1024
MAX_INCLUDES = 5000
_SCH = "{http://purl.oclc.org/dsdl/schematron}"
_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
_XSL = "{http://www.w3.org/1999/XSL/Transform}"
_OURS = "urn:mssante:rules"
_READERS = re.compile(r"(?<![\w.$@-])(?:fn:)?(?:doc|document)\s*(?=\()")
_LITERALS = re.compile(r"'([^'<>\n]{1,200}\.xml)'|\"([^\"<>\n]{1,200}\.xml)\"", re.IGNORECASE)
_STRINGS = re.compile(r"'[^']*'|\"[^\"]*\"")
_FORBIDDEN = re.compile(
    r"(?<![\w.$@-])(?:\w+:)?(?:doc|document|doc-available|collection|uri-collection|unparsed-text(?:-lines|-available)?|json-doc|"
    r"environment-variable|available-environment-variables|transform|load-xquery-module|function-lookup|stream-available|"
    r"xml-to-json-doc|evaluate)\s*(?:\(|#)|Q\{", re.IGNORECASE)
_NO_ELEMENTS = frozenset({"import", "include", "import-schema", "use-package", "result-document", "source-document", "evaluate",
                          "stream", "merge-source", "document"})
_NO_ATTRIBUTES = frozenset({"expand-text", "use-when", "extension-element-prefixes"})
_PROTOCOLS = "http://saxon.sf.net/feature/allowedProtocols"
_REFUSING = {"http://saxon.sf.net/feature/disableXslEvaluate": "true",
             "http://saxon.sf.net/feature/allow-external-functions": "false"}


@dataclass(frozen=True, slots=True)
class SchematronFiles:
    """One schematron. name: path of its main file; files: path → content (its patterns and value sets), relative to the folder of
    rules; engine: the folder of the three stylesheets of `STEPS`."""

    name: str
    files: Mapping[str, bytes]
    engine: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """fired: rules that applied; failed: assertions that failed or reports that spoke."""

    fired: int
    failed: int
    remarks: tuple[Remark, ...]


def compile_schematron(rules: SchematronFiles) -> bytes:
    """Give the stylesheet of a schematron, standing alone. Raises DocumentFault (`DOC-REGLES`)."""
    text = etree.tostring(_whole(rules), encoding="unicode")
    engine, error = _engine("file")  # it imports its skeleton
    try:
        for step in STEPS:
            executable = engine.new_xslt30_processor().compile_stylesheet(stylesheet_file=f"{rules.engine}/{step}")
            text = executable.transform_to_string(xdm_node=engine.parse_xml(xml_text=_bare(text)))
    except error as fault:
        raise _unusable(rules.name, f"{step}: {one_line(str(fault))[:200]}") from fault
    finally:
        _engine("none")
    return _alone(text, rules)


def _unusable(name: str, detail: str) -> DocumentFault:
    return DocumentFault("a schematron cannot be used", detail=f"{name}: {detail}", rule="DOC-REGLES",
                         remedy="put back the rule files as published, with their engine")


def _bare(text: str) -> str:
    """Give a document without its declaration, whose encoding would not be true of a string."""
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text)


_started: list[Any] = []  # the one engine of this process: each reserves 32 GiB of address space


def _engine(protocols: str) -> tuple[Any, type[Exception]]:
    """Give the engine, set to open addresses of `protocols` only, and the class of its faults."""
    try:
        from saxonche import PySaxonApiError, PySaxonProcessor
    except ImportError as fault:
        raise DocumentFault("the XSLT engine is not installed", rule="DOC-REGLES", remedy="install saxonche") from fault
    if not _started:
        _started.append(PySaxonProcessor(license=False))
    for feature, value in {**_REFUSING, _PROTOCOLS: protocols}.items():
        _started[0].set_configuration_property(feature, value)
    return _started[0], PySaxonApiError


def _read(rules: SchematronFiles, path: str) -> etree._Element:
    raw = rules.files.get(path)
    if raw is None:
        raise _unusable(rules.name, f"{path} is missing")
    try:
        return parse_xml(raw, max_bytes=MAX_RULE_BYTES)
    except InputFault as fault:
        raise _unusable(rules.name, f"{path}: {fault.rule}") from fault


def _whole(rules: SchematronFiles) -> etree._Element:
    """Give the main file with its includes put in their place; no other way to reach a file may remain."""
    root = _read(rules, rules.name)
    waiting, seen = [(root, rules.name, 0)], 0
    while waiting:
        top, path, depth = waiting.pop()
        for node in list(top.iter(f"{_SCH}include")):
            target = inside(path, node.get("href", ""))
            seen += 1
            if target is None or depth > 20 or seen > MAX_INCLUDES:
                raise _unusable(rules.name, f"{path} includes a file outside of the folder, or too many")
            found = _read(rules, target)
            found.tail = node.tail
            holder = node.getparent()
            if holder is None:
                raise _unusable(rules.name, f"{path} is an include")
            holder.replace(node, found)
            waiting.append((found, target, depth + 1))
    for node in root.iter():
        name = str(node.tag)
        reaches = (name == f"{_SCH}extends" and node.get("href")) or (name == f"{_SCH}pattern" and node.get("documents"))
        if reaches or "XInclude" in name or any("xlink" in key for key, _value in _attributes(node)):
            raise _unusable(rules.name, "a rule reads another document")
    return root


def _alone(text: str, rules: SchematronFiles) -> bytes:
    """Give a compiled stylesheet that opens nothing: value sets written in, readers of files renamed to ours, others refused."""
    try:
        tree = parse_xml(_bare(text).encode(), max_bytes=4 * MAX_RULE_BYTES)
    except InputFault as fault:
        raise _unusable(rules.name, f"compiled: {fault.rule}") from fault
    spaces = {prefix: space for prefix, space in tree.nsmap.items() if prefix}
    root = etree.Element(tree.tag, {str(key): str(value) for key, value in tree.attrib.items()}, {**spaces, "mss": _OURS})
    root.extend(list(tree))
    sets: dict[str, str] = {}
    for node in root.iter(etree.Element):
        _check_element(node, rules.name)
        for key, value in _attributes(node):
            if "doc" in value.lower() or ".xml" in value.lower():
                sets.update(_value_sets(value, rules))
                if "doc" in value.lower():
                    node.set(key, _READERS.sub("mss:read", value))
            _check_attribute(node.get(key, ""), rules.name)
    _add_reader(root, sets)
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def _attributes(node: etree._Element) -> list[tuple[str, str]]:
    return [(str(key), str(value)) for key, value in node.attrib.items()]


def _check_element(node: etree._Element, name: str) -> None:
    space, _, local = str(node.tag).rpartition("}")
    if f"{space}}}" == _XSL and local in _NO_ELEMENTS:
        raise _unusable(name, f"xsl:{local} is not admitted")
    if "saxon.sf.net" in space or "java" in space.lower() or _OURS in space:
        raise _unusable(name, "an extension of the engine is not admitted")
    if any(key.rpartition("}")[2] in _NO_ATTRIBUTES for key, _value in _attributes(node)):
        raise _unusable(name, "expand-text, use-when and extensions are not admitted")


def _check_attribute(value: str, name: str) -> None:
    if "(" not in value and "#" not in value and "{" not in value:
        return
    if found := _FORBIDDEN.search(_STRINGS.sub("''", value)) or _FORBIDDEN.search(value):
        raise _unusable(name, f"a rule uses {found.group()[:40]}, which is not admitted")


def _value_sets(value: str, rules: SchematronFiles) -> Iterator[tuple[str, str]]:
    """Give the value sets named in an expression that are in the folder: as written, and their text."""
    for found in _LITERALS.finditer(value):
        written = found.group(1) or found.group(2)
        path = inside(rules.name, written)
        if path is not None and path in rules.files:
            yield written, etree.tostring(_read(rules, path), encoding="unicode")


def _add_reader(root: etree._Element, sets: Mapping[str, str]) -> None:
    """Write the value sets and the function that gives them into a stylesheet."""
    function = etree.SubElement(root, f"{_XSL}function", {"name": "mss:read", "as": "document-node()*"})
    etree.SubElement(function, f"{_XSL}param", {"name": "asked", "as": "item()*"})
    each = etree.SubElement(function, f"{_XSL}for-each", {"select": "$asked"})
    choose = etree.SubElement(each, f"{_XSL}choose")
    for number, (written, text) in enumerate(sorted(sets.items())):
        etree.SubElement(root, f"{_XSL}variable", {"name": f"mss:text{number}", "as": "xs:string", "{" + _OURS + "}own": "1"},
                         {"xs": "http://www.w3.org/2001/XMLSchema"}).append(_text(text))
        etree.SubElement(root, f"{_XSL}variable", {"name": f"mss:set{number}", "select": f"parse-xml($mss:text{number})"})
        when = etree.SubElement(choose, f"{_XSL}when", {"test": ". = '" + written.replace("'", "''") + "'"})
        etree.SubElement(when, f"{_XSL}sequence", {"select": f"$mss:set{number}"})
    otherwise = etree.SubElement(choose, f"{_XSL}otherwise")
    etree.SubElement(otherwise, f"{_XSL}sequence", {"select": "error(QName('urn:mssante:rules', 'mss:ABSENT'), string(.))"})


def _text(text: str) -> etree._Element:
    node = etree.Element(f"{_XSL}sequence", {"select": "string(.)"})
    node.tag = f"{_XSL}text"
    del node.attrib["select"]
    node.text = text
    return node


class Schematron:
    """A compiled schematron, ready to run; kept by a worker from one document to the next."""

    def __init__(self, name: str, stylesheet: bytes) -> None:
        """Compile. Raises DocumentFault (`DOC-REGLES`)."""
        self.name = name
        self._engine, self._error = _engine("none")
        try:
            self._executable = self._engine.new_xslt30_processor().compile_stylesheet(
                stylesheet_text=_bare(stylesheet.decode("utf-8")))
        except self._error as fault:
            raise _unusable(name, one_line(str(fault))[:200]) from fault

    def run(self, root: etree._Element, file: str) -> Verdict:
        """Judge a parsed document (the root of its file). Raises DocumentFault when the engine gives no report."""
        try:
            node = self._engine.parse_xml(xml_text=etree.tostring(root, encoding="unicode", with_tail=False))
            told = self._executable.transform_to_string(xdm_node=node)
        except self._error as fault:
            absent = "mss:ABSENT" in str(fault) or "ABSENT" in str(fault)
            raise _unusable(self.name, "a value set is missing" if absent else "a rule cannot be computed") from fault
        return read_report(_bare(told).encode(), root, file, plain_rule(self.name.rpartition("/")[2].removesuffix(".sch")))


def read_report(svrl: bytes, root: etree._Element, file: str, fallback: str) -> Verdict:
    """Read an SVRL report (ISO/IEC 19757-3, annex D) about the document `root`. fallback: name of a rule that has none."""
    try:
        report = parse_xml(svrl, max_bytes=MAX_REPORT_BYTES)
    except InputFault as fault:
        raise _unusable(fallback, f"report: {fault.rule}") from fault
    fired, failed, rule = 0, 0, ""
    remarks: list[Remark] = []
    for node in report:
        if node.tag == f"{_SVRL}fired-rule":
            fired, rule = fired + 1, node.get("id", "")
        elif node.tag in (f"{_SVRL}failed-assert", f"{_SVRL}successful-report"):
            failed += 1
            if len(remarks) < MAX_REMARKS:
                remarks.append(_remark(node, root, file, rule or fallback))
    return Verdict(fired, failed, tuple(remarks))


def _remark(node: etree._Element, root: etree._Element, file: str, fallback: str) -> Remark:
    place = node.get("location", "")
    element = _find(root, place)
    template = re.search(r"[?&]id=([A-Za-z0-9._-]+)", node.get("see", ""))
    rule = plain_rule(node.get("id") or (template.group(1) if template else "") or fallback)
    role = (node.get("role") or node.get("flag") or "").lower()
    severity = Severity.WARNING if role in ("warning", "warn", "info", "information", "hint") else Severity.ERROR
    words = one_line("".join(str(part) for part in node.itertext()))
    line = element.sourceline if element is not None else 0
    return Remark(Source.SCHEMATRON, f"SCH-{rule}"[:64], file, line if isinstance(line, int) else 0, words,
                  say("corrigez l'élément nommé dans le logiciel qui a produit le document",
                      "correct the element named in the software that made the document"), severity, _short(place))


_STEP = re.compile(r"/(?:@|\*:|([\w.-]+):)?([\w.-]+)(?:\[namespace-uri\(\)\s*=\s*'([^']*)'\])?(?:\[(\d+)\])?")


def _find(root: etree._Element, place: str) -> etree._Element | None:
    """Follow the path that the engine writes, /*:name[namespace-uri()='…'][n]/… or /prefix:name[n]/…; the last element."""
    current: etree._Element | None = None
    for number, step in enumerate(_STEP.finditer(place[:4000])):
        if step.group().startswith("/@"):
            break
        among = [root] if number == 0 else list(current) if current is not None else []
        same = [child for child in among if _named(child, step)]
        index = int(step.group(4) or 1)
        if not 1 <= index <= len(same):
            break
        current = same[index - 1]
    return current


def _named(child: etree._Element, step: re.Match[str]) -> bool:
    """Tell whether a step names an element: by its namespace when the step says it, else by its prefix as written."""
    space, _, local = str(child.tag).rpartition("}")
    if local != step.group(2):
        return False
    return space == "{" + step.group(3) if step.group(3) is not None else child.prefix == step.group(1) or "*:" in step.group()


def _short(place: str) -> str:
    """Give a path as a person reads it: /ClinicalDocument/author[2]."""
    steps = [f"{step.group(2)}[{step.group(4)}]" if step.group(4) not in (None, "1") else step.group(2)
             for step in _STEP.finditer(place[:4000])]
    return ("/" + "/".join(steps))[:300] if steps else ""

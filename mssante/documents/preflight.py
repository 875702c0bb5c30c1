"""The pre-flight of structured documents: every check of a document before it leaves, put together into one verdict.

- `examine_message` looks at a whole mail: its IHE_XDM archives (spec §8.1, §8.6), the CDA inside, the header lines and the
  subject that go with them (spec §7.1, ECO.2.1.3); `examine_file` at one file: a CDA, an archive, a mail.
- A CDA attached alone, and what an opaque signature holds (not encrypted), are judged alike.
- For each CDA: its header and identifiers, its metadata, the schema, the schematrons. An archive that is no XDM, a plain
  letter, a message that its author encrypted: nothing is said.
- `computed`: the X-MSS lines that the message lacks, made from its documents; never a change of what the author wrote.
- Pure: bytes in, values out. The rules are given ready (`Rules`); runs in a worker (`services.preflight_work`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lxml import etree

from mssante.documents.beginnings import ZIP, Kind, names_cda, trimmed
from mssante.documents.cda import CdaHeader, clinical_document, read_header
from mssante.documents.faults import DocumentFault
from mssante.documents.findings import Finding, Severity
from mssante.documents.mailfiles import ARCHIVE_NAME, CDA_TYPES, FileRemark, MailFile, Reading, files_of
from mssante.documents.metadata import cda_document, document_findings
from mssante.documents.preflight_words import remedy_for
from mssante.documents.remarks import MAX_REMARKS, Remark, Source, one_line, plain_rule
from mssante.documents.schema import SchemaFiles, schema_remarks
from mssante.documents.schematron import Verdict as RuleVerdict
from mssante.documents.subject import PREFIX, mss_headers, parse_subject
from mssante.documents.validate import entry_findings, name_findings
from mssante.documents.xdm import XdmArchive, XdmDocument, check, unpack
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.mime.headers import decode_words
from mssante.protocol.mime.scan import Part, scan

MAX_FILES = 20  # archives and documents of one message
MAX_ARCHIVE = 100 * 1024 * 1024
_READING = Reading(frozenset({Kind.ARCHIVE, Kind.XML, Kind.OTHER}), signed=True, most=1000, largest=MAX_ARCHIVE)
_SEEN_TYPES = 20


class Outcome(StrEnum):
    """OK: nothing to say; WARN: remarks that stop nothing; BLOCK: an error, refused under the policy `block`."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found. archives, documents: how many were looked at; fired: rules of schematrons that applied; computed: X-MSS
    lines (name, value) that the message lacks; nil: True when it carries X-MSS-NIL."""

    outcome: Outcome = Outcome.OK
    remarks: tuple[Remark, ...] = ()
    archives: int = 0
    documents: int = 0
    fired: int = 0
    computed: tuple[tuple[str, str], ...] = ()
    nil: bool = False

    @property
    def errors(self) -> tuple[Remark, ...]:
        """The remarks that block."""
        return tuple(one for one in self.remarks if one.severity is Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Rule:
    """A schematron ready to run. templates: roots of templateId of the documents it is for, empty: all."""

    run: Callable[[etree._Element, str], RuleVerdict]
    templates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """What documents are held against; none: header, metadata and archive only."""

    schema: SchemaFiles | None = None
    schematrons: tuple[Rule, ...] = ()


@dataclass(slots=True)
class _Tally:
    """What an examination gathers. headers: of the CDA inside archives, in order."""

    rules: Rules
    remarks: list[Remark]
    headers: list[CdaHeader]
    archives: int = 0
    documents: int = 0
    fired: int = 0

    def add(self, remarks: Iterable[Remark]) -> None:
        self.remarks.extend(remarks)

    def result(self, computed: tuple[tuple[str, str], ...] = (), *, nil: bool = False) -> Preflight:
        """Give the verdict, errors first, remarks bounded."""
        ordered = sorted(dict.fromkeys(self.remarks), key=lambda one: one.severity is not Severity.ERROR)
        more = len(ordered) - MAX_REMARKS
        kept = ordered[:MAX_REMARKS]
        if more > 0:
            kept.append(Remark(Source.SIZE, "DOC-SUITE", "", 0, say(f"{more} autres remarques", f"{more} more remarks"),
                               say("corrigez d'abord celles-ci", "correct these first"), Severity.WARNING))
        outcome = Outcome.OK if not kept else Outcome.BLOCK if kept[0].severity is Severity.ERROR else Outcome.WARN
        return Preflight(outcome, tuple(kept), self.archives, self.documents, self.fired, computed, nil)


def examine_file(name: str, raw: bytes, rules: Rules) -> Preflight:
    """Judge one file by what it is: an archive, a CDA, else a mail. Never raises for what is in it; DocumentFault when the rules
    cannot be used."""
    begin = trimmed(raw[:400])
    tally = _Tally(rules, [], [])
    if raw.startswith(ZIP):
        _archive(tally, name, raw, named=True)
    elif begin.startswith(b"<"):
        _cda(tally, name, raw)
    else:
        return examine_message(raw, rules)
    return tally.result()


def examine_message(raw: bytes, rules: Rules) -> Preflight:
    """Judge a whole mail. Never raises for what is in it; DocumentFault when the rules cannot be used."""
    root = scan(raw)
    tally = _Tally(rules, [], [])
    found = files_of(root, raw, _READING)
    pdf = any(one.named and one.begin.startswith(b"%PDF-") for one in found.files)
    judged = [one for one in found.files if one.kind is not Kind.OTHER]
    for file in judged[:MAX_FILES]:
        _file(tally, file)
    unread = dict.fromkeys([*found.remarks, *([FileRemark.MANY] if len(judged) > MAX_FILES else ())])
    tally.add(_unread(one) for one in unread)
    subject = decode_words(root.headers.get(b"subject") or b"", 10_000)
    if tally.archives:
        tally.add(_mail_remarks(subject, pdf=pdf))
        tally.add(_header_remarks(root, tally.headers))
    elif subject.strip().upper().startswith(PREFIX) and not _answers(root):
        tally.add([_mail_remark("MAIL-ARCHIVE", say("l'objet annonce une archive IHE_XDM, qui n'est pas jointe",
                                                    "the subject announces an IHE_XDM archive, which is not attached"))])
    nil = root.headers.get(b"x-mss-nil") is not None
    return tally.result(_computed(root, tally), nil=nil)


def _answers(root: Part) -> bool:
    """Tell whether a message answers another or reports on it (receipts repeat the subject), or hides what it holds."""
    media = root.media
    return root.headers.get(b"in-reply-to") is not None or (media.type, media.subtype) in (
        (b"multipart", b"report"), (b"multipart", b"encrypted"), (b"application", b"pkcs7-mime"),
        (b"application", b"x-pkcs7-mime"))


def _file(tally: _Tally, file: MailFile) -> None:
    """Look at an archive, or at an XML file that is a CDA; any other XML is nobody's business. Embedded messages are not looked
    into: they are somebody else's."""
    named = file.name.upper() == ARCHIVE_NAME
    if file.kind is Kind.XML:
        raw = file.octets()
        if names_cda(raw):
            _cda(tally, file.name, trimmed(raw))
        return
    _archive(tally, file.name, file.octets(), named=named)


def _unread(remark: FileRemark) -> Remark:
    """What could not be looked at: an error, so that nothing passes `block` unread."""
    text = {
        FileRemark.MANY: say(f"plus de {MAX_FILES} documents", f"more than {MAX_FILES} documents"),
        FileRemark.SIGNED: say("le contenu signé ne se lit pas", "the signed content cannot be read"),
        FileRemark.DEEP: say("trop de signatures l'une dans l'autre", "too many signatures inside one another"),
    }[remark]
    return Remark(Source.MAIL, remark.value, "", 0, text, remedy_for(remark.value))


def _archive(tally: _Tally, name: str, raw: bytes, *, named: bool) -> None:
    """Look at an archive. named: it is announced as an XDM; one that is not, and has no such folder, is nobody's business."""
    try:
        archive = unpack(raw)
    except InputFault as fault:
        if named:
            tally.archives += 1
            tally.add([Remark(Source.XDM, plain_rule(fault.rule), name, 0,
                              say(f"l'archive est refusée ({fault.rule})", f"the archive is refused ({fault.rule})"),
                              remedy_for(fault.rule))])
        return
    if not archive.subsets and not named:
        return
    tally.archives += 1
    if name and name.upper() != ARCHIVE_NAME:
        tally.add([_mail_remark("MAIL-NOM", say("l'archive ne s'appelle pas IHE_XDM.ZIP", "the archive is not named IHE_XDM.ZIP"),
                                name)])  # spec F8.1
    tally.add(_finding(Source.XDM, one) for one in (*check(archive), *name_findings(archive)))
    _contents(tally, archive)


def _contents(tally: _Tally, archive: XdmArchive) -> None:
    """Look at each document of an archive once."""
    seen: set[str] = set()
    for document in archive.documents:
        if document.path is None or document.content is None or document.path in seen:
            continue
        seen.add(document.path)
        if document.entry.mime_type.lower() in CDA_TYPES:
            _cda(tally, document.path, document.content, document)
            tally.add(_finding(Source.XDM, one) for one in entry_findings(document))
        elif document.entry.mime_type.lower() == "application/pdf" and b"%PDF-" not in document.content[:1024]:
            tally.documents += 1
            tally.add([Remark(Source.XDM, "XDM-PDF", document.path, 0,
                              say("le document annoncé en PDF n'en est pas un", "the document announced as PDF is none"),
                              remedy_for("XDM-PDF"))])
        else:
            tally.documents += 1


def _cda(tally: _Tally, file: str, raw: bytes, inside: XdmDocument | None = None) -> None:
    """Hold one CDA against all rules. inside: where it stands in an archive."""
    tally.documents += 1
    try:
        root, document = clinical_document(raw)
    except InputFault as fault:
        tally.add([_unreadable(file, fault)])
        return
    try:
        header = read_header(raw)
        if inside is not None:
            tally.headers.append(header)
        tally.add(_finding(Source.HEADER, one) for one in document_findings(cda_document(raw), file))
    except InputFault as fault:
        tally.add([_unreadable(file, fault)])
    if tally.rules.schema is not None:
        tally.add(schema_remarks(document, tally.rules.schema, file))
    templates = {node.get("root", "") for node in document.iterchildren("{urn:hl7-org:v3}templateId")}
    for rule in tally.rules.schematrons:
        if rule.templates and not rule.templates & templates:
            continue
        try:
            verdict = rule.run(root, file)
        except DocumentFault as fault:  # our rules fail on it: said, and nothing stops
            tally.add([Remark(Source.SCHEMATRON, "SCH-PANNE", file, 0,
                              say("une règle n'a pas pu être calculée sur ce document",
                                  "a rule could not be computed on this document")
                              + f" ({one_line(fault.detail)[:120]})", remedy_for("SCH-PANNE"), Severity.WARNING)])
            continue
        tally.fired += verdict.fired
        tally.add(verdict.remarks)


def _unreadable(file: str, fault: InputFault) -> Remark:
    line = fault.detail.removeprefix("line ") if fault.detail.startswith("line ") else "0"
    return Remark(Source.HEADER, plain_rule(fault.rule), file, int(line) if line.isdigit() else 0,
                  say(f"le document ne se lit pas ({fault.rule})", f"the document cannot be read ({fault.rule})"),
                  remedy_for(fault.rule))


def _finding(source: Source, found: Finding) -> Remark:
    return Remark(source, plain_rule(found.rule), found.file, 0, one_line(found.text), remedy_for(found.rule), found.severity)


def _mail_remark(rule: str, text: str, file: str = "") -> Remark:
    return Remark(Source.MAIL, rule, file, 0, text, remedy_for(rule), Severity.WARNING)


def _mail_remarks(subject: str, *, pdf: bool) -> list[Remark]:
    """What the letter around an archive lacks: its subject (ECO.2.1.3), the PDF beside it (ECO.2.1.5)."""
    out = []
    if not parse_subject(subject).structured:
        out.append(_mail_remark("MAIL-OBJET", say("l'objet ne commence pas par XDM/1.0/DDM+", "the subject lacks XDM/1.0/DDM+")))
    if not pdf:
        out.append(_mail_remark("MAIL-PDF", say("aucun PDF lisible n'est joint à côté de l'archive",
                                                "no readable PDF is attached beside the archive")))
    return out


def _wanted(headers: Sequence[CdaHeader]) -> dict[str, str]:
    try:
        return mss_headers(headers)
    except InputFault:
        return {}


def _header_remarks(root: Part, headers: Sequence[CdaHeader]) -> list[Remark]:
    """Compare X-MSS-CODECDA and X-MSS-INS, when the author wrote them, with the documents (ECO.2.4.1, ECO.2.4.2)."""
    out = []
    wanted = _wanted(headers)
    for name in ("X-MSS-CODECDA", "X-MSS-INS"):
        given = root.headers.get(name.lower().encode())
        if given is None:
            continue
        said = {word.strip() for word in given.decode("latin-1").split(",")}
        if name not in wanted or said != set(wanted[name].split(",")):
            shown = wanted.get(name, say("absent", "absent"))
            out.append(_mail_remark(name, say(f"l'en-tête {name} ne dit pas ce que portent les documents ; attendu : {shown}",
                                              f"header {name} does not say what the documents hold; expected: {shown}")))
    return out


def _computed(root: Part, tally: _Tally) -> tuple[tuple[str, str], ...]:
    """Give the X-MSS lines that are missing; only from the CDA of archives (spec §7.1), at most 20 types."""
    if not tally.headers or len(tally.headers) > _SEEN_TYPES:
        return ()
    return tuple((name, value) for name, value in _wanted(tally.headers).items()
                 if root.headers.get(name.lower().encode()) is None)

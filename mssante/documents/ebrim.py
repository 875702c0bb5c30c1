"""METADATA.XML: writing and reading the ebRIM form of a submission (ITI-TF 3 §4.2, ITI-32).

- The writer is strict: valid against the ebRIM 3.0 schema (slots, then name, then classifications, then identifiers).
- The reader is lenient, as real files ask for (ans-data §9): any order, any prefix even unbound, missing parts empty.
  It looks at local names only and refuses what is not a SubmitObjectsRequest.
- Bytes are parsed through the hardened helper only. Called by `xdm`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lxml import etree

from mssante.documents.cda import inner_text
from mssante.documents.codes import Code
from mssante.documents.hl7 import MAX_VALUE
from mssante.documents.metadata import Association, AuthorEntry, DocumentEntry, SubmissionSet
from mssante.errors import InputFault
from mssante.protocol.xml import parse_xml

MAX_METADATA_BYTES = 10 * 1024 * 1024
MAX_OBJECTS = 1000
MAX_ELEMENTS = 200_000

_LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
_RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
_OBJECT = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
_APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
_DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
_HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
_IHE_ASSOCIATION = "urn:ihe:iti:2007:AssociationType:"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DOCUMENT = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"

# ans-data §9: schemes of classifications and identifiers
_SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
_SET_AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
_SET_CONTENT = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
_SET_PATIENT = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
_SET_SOURCE = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
_SET_UNIQUE = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
_CLASS = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
_CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
_EVENT = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
_FORMAT = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
_FACILITY = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
_PRACTICE = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
_TYPE = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
_PATIENT = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
_UNIQUE = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"


class _Writer:
    """Builds the tree; gives each classification and identifier its own id."""

    def __init__(self) -> None:
        self.root = etree.Element(f"{{{_LCM}}}SubmitObjectsRequest", nsmap={"lcm": _LCM, "rim": _RIM})
        self.objects = etree.SubElement(self.root, f"{{{_RIM}}}RegistryObjectList")
        self._count = 0

    def node(self, parent: etree._Element, tag: str, /, **attributes: str) -> etree._Element:
        """Append one rim element."""
        return etree.SubElement(parent, f"{{{_RIM}}}{tag}", attributes)

    def slot(self, parent: etree._Element, name: str, values: Sequence[str]) -> None:
        """Append a slot when it has a value; a value longer than the schema allows is shortened."""
        if not any(values):
            return
        holder = self.node(self.node(parent, "Slot", name=name), "ValueList")
        for value in values:
            self.node(holder, "Value").text = value[:MAX_VALUE]

    def name(self, parent: etree._Element, text: str) -> None:
        """Append the Name element when there is a text."""
        if text:
            label = self.node(self.node(parent, "Name"), "LocalizedString", charset="UTF-8", value=text[:MAX_VALUE])
            label.set(_XML_LANG, "fr-FR")

    def classification(self, parent: etree._Element, scheme: str, code: Code | None) -> None:
        """Append a coded value with its scheme and label (ITI-TF 3 §4.2.3.1.2)."""
        if code is None or not code.code:
            return
        node = self._classification(parent, scheme, code.code)
        self.slot(node, "codingScheme", (code.scheme,))
        self.name(node, code.label or code.code)

    def authors(self, parent: etree._Element, scheme: str, authors: Sequence[AuthorEntry]) -> None:
        """Append one classification per author (ITI-TF 3 §4.2.3.1.4)."""
        for author in authors:
            if not any((author.person, author.institutions, author.specialties, author.roles)):
                continue
            node = self._classification(parent, scheme, "")
            self.slot(node, "authorInstitution", author.institutions)
            self.slot(node, "authorPerson", (author.person,))
            self.slot(node, "authorRole", author.roles)
            self.slot(node, "authorSpecialty", author.specialties)

    def _classification(self, parent: etree._Element, scheme: str, code: str) -> etree._Element:
        return self.node(parent, "Classification", id=self._next("cl"), classificationScheme=scheme,
                         classifiedObject=parent.get("id", ""), nodeRepresentation=code[:MAX_VALUE],
                         objectType=f"{_OBJECT}Classification")

    def set_node(self, parent: etree._Element) -> None:
        """Say that the package is a submission set (ITI-TF 3 §4.2.1.1)."""
        self.node(parent, "Classification", id=self._next("cl"), classificationNode=_SET_NODE,
                  classifiedObject=parent.get("id", ""), objectType=f"{_OBJECT}Classification")

    def identifier(self, parent: etree._Element, scheme: str, value: str, name: str) -> None:
        """Append an external identifier when it has a value."""
        if value:
            node = self.node(parent, "ExternalIdentifier", id=self._next("ei"), registryObject=parent.get("id", ""),
                             identificationScheme=scheme, value=value[:MAX_VALUE],
                             objectType=f"{_OBJECT}ExternalIdentifier")
            self.name(node, name)

    def association(self, link: Association) -> None:
        """Append an association of the submission."""
        member = link.kind == "HasMember"
        node = self.node(self.objects, "Association", id=self._next("as"), sourceObject=link.source,
                         associationType=_HAS_MEMBER if member else _IHE_ASSOCIATION + link.kind,
                         targetObject=link.target, objectType=f"{_OBJECT}Association")
        if member:
            self.slot(node, "SubmissionSetStatus", ("Original",))

    def _next(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:04d}"


def write_metadata(submission: SubmissionSet) -> bytes:
    """Give METADATA.XML as UTF-8 bytes, valid against the ebRIM 3.0 schema.

    Raises InputFault (`XDS-TEXT`) when a value holds a character that XML cannot carry.
    """
    writer = _Writer()
    try:
        _write_set(writer, submission)
        for entry in submission.documents:
            _write_entry(writer, entry)
        for link in submission.associations:
            writer.association(link)
    except ValueError as exc:  # lxml refuses control characters
        raise InputFault("metadata value holds a forbidden character", rule="XDS-TEXT",
                         remedy="remove control characters from the sender's facts") from exc
    raw = etree.tostring(writer.root, encoding="UTF-8", xml_declaration=True, pretty_print=True)
    return bytes(raw)


def _write_set(writer: _Writer, submission: SubmissionSet) -> None:
    package = writer.node(writer.objects, "RegistryPackage", id=submission.entry_id, status=_APPROVED,
                          objectType=f"{_OBJECT}RegistryPackage")
    writer.slot(package, "submissionTime", (submission.submitted,))
    writer.name(package, submission.title)
    writer.authors(package, _SET_AUTHOR, submission.authors)
    writer.classification(package, _SET_CONTENT, submission.content_type)
    writer.set_node(package)
    writer.identifier(package, _SET_PATIENT, submission.patient_id, "XDSSubmissionSet.patientId")
    writer.identifier(package, _SET_SOURCE, submission.source_id, "XDSSubmissionSet.sourceId")
    writer.identifier(package, _SET_UNIQUE, submission.unique_id, "XDSSubmissionSet.uniqueId")


def _write_entry(writer: _Writer, entry: DocumentEntry) -> None:
    node = writer.node(writer.objects, "ExtrinsicObject", id=entry.entry_id, mimeType=entry.mime_type,
                       status=_DEPRECATED if entry.deleted else _APPROVED, objectType=_DOCUMENT)
    slots = {"creationTime": (entry.created,), "hash": (entry.sha1,), "languageCode": (entry.language,),
             "legalAuthenticator": (entry.legal_authenticator,), "serviceStartTime": (entry.service_start,),
             "serviceStopTime": (entry.service_stop,), "size": (str(entry.size),) if entry.size >= 0 else (),
             "sourcePatientId": (entry.source_patient_id,), "sourcePatientInfo": entry.source_patient_info,
             "URI": (entry.uri,)}
    for name, values in slots.items():
        writer.slot(node, name, values)
    writer.name(node, entry.title)
    writer.authors(node, _AUTHOR, entry.authors)
    codes = [(_CLASS, entry.class_code), *((_CONFIDENTIALITY, code) for code in entry.confidentiality),
             *((_EVENT, code) for code in entry.events), (_FORMAT, entry.format_code), (_FACILITY, entry.facility),
             (_PRACTICE, entry.practice_setting), (_TYPE, entry.type_code)]
    for scheme, code in codes:
        writer.classification(node, scheme, code)
    writer.identifier(node, _PATIENT, entry.patient_id, "XDSDocumentEntry.patientId")
    writer.identifier(node, _UNIQUE, entry.unique_id, "XDSDocumentEntry.uniqueId")


def read_metadata(raw: bytes) -> SubmissionSet:
    """Read a METADATA.XML of the field, at most 10 MiB (ITI-32; lenient, see the module).

    Raises InputFault: `XML-…`, `XDS-ROOT` when it is not a submission, `XDS-LIMIT` beyond 1,000 objects.
    """
    root = _parse(raw)
    if _local(root) != "SubmitObjectsRequest":
        raise InputFault("METADATA.XML is not a submission", rule="XDS-ROOT",
                         remedy="root must be SubmitObjectsRequest")
    objects = [item for item in root.iter(etree.Element)
               if _local(item) in ("RegistryPackage", "ExtrinsicObject", "Association")]
    if len(objects) > MAX_OBJECTS:
        raise InputFault("METADATA.XML holds too many objects", rule="XDS-LIMIT", remedy=f"at most {MAX_OBJECTS}")
    packages = [item for item in objects if _local(item) == "RegistryPackage"]
    package = next((item for item in packages if _identifier(item, _SET_UNIQUE) or _identifier(item, _SET_SOURCE)),
                   packages[0] if packages else etree.Element("RegistryPackage"))
    return SubmissionSet(
        entry_id=package.get("id", ""), unique_id=_identifier(package, _SET_UNIQUE),
        source_id=_identifier(package, _SET_SOURCE), patient_id=_identifier(package, _SET_PATIENT),
        submitted=_first(_slot(package, "submissionTime")), title=_name(package),
        content_type=_first_code(package, _SET_CONTENT), authors=_authors(package, _SET_AUTHOR),
        documents=tuple(_read_entry(item) for item in objects if _local(item) == "ExtrinsicObject"),
        associations=tuple(Association(item.get("associationType", "").rpartition(":")[2], item.get("sourceObject", ""),
                                       item.get("targetObject", ""))
                           for item in objects if _local(item) == "Association"))


def _read_entry(node: etree._Element) -> DocumentEntry:
    size = _first(_slot(node, "size"))
    return DocumentEntry(
        entry_id=node.get("id", ""), unique_id=_identifier(node, _UNIQUE), mime_type=node.get("mimeType", ""),
        uri=_first(_slot(node, "URI")), sha1=_first(_slot(node, "hash")).lower(),
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else -1,
        created=_first(_slot(node, "creationTime")), language=_first(_slot(node, "languageCode")), title=_name(node),
        class_code=_first_code(node, _CLASS), type_code=_first_code(node, _TYPE),
        format_code=_first_code(node, _FORMAT),
        confidentiality=tuple(_codes(node, _CONFIDENTIALITY)), facility=_first_code(node, _FACILITY),
        practice_setting=_first_code(node, _PRACTICE), events=tuple(_codes(node, _EVENT)),
        service_start=_first(_slot(node, "serviceStartTime")), service_stop=_first(_slot(node, "serviceStopTime")),
        patient_id=_identifier(node, _PATIENT), source_patient_id=_first(_slot(node, "sourcePatientId")),
        source_patient_info=_slot(node, "sourcePatientInfo"), authors=_authors(node, _AUTHOR),
        legal_authenticator=_first(_slot(node, "legalAuthenticator")),
        deleted=node.get("status", "").rpartition(":")[2] == "Deprecated")


def _parse(raw: bytes) -> etree._Element:
    """Parse; when that fails, once more with the prefixes that nobody bound declared on the root (ans-data §9)."""
    try:
        return parse_xml(raw, max_bytes=MAX_METADATA_BYTES, max_elements=MAX_ELEMENTS)
    except InputFault as fault:
        repaired = _bind_prefixes(raw) if fault.rule == "XML-SYNTAX" else None
        if repaired is None:
            raise
        return parse_xml(repaired, max_bytes=MAX_METADATA_BYTES + 4096, max_elements=MAX_ELEMENTS)


def _bind_prefixes(raw: bytes) -> bytes | None:
    """Give `raw` with undeclared prefixes bound on its root element, or None when there is none to bind."""
    used = set(re.findall(rb"</?([A-Za-z_][\w.-]{0,40}):", raw)) | set(
        re.findall(rb"\s([A-Za-z_][\w.-]{0,40}):[\w.-]{1,60}\s{0,8}=", raw))
    missing = used - set(re.findall(rb"xmlns:([\w.-]{1,41})\s{0,8}=", raw)) - {b"xml", b"xmlns"}
    start = re.search(rb"<[A-Za-z_][\w.:-]{0,80}", raw)
    if start is None or not 0 < len(missing) <= 20:
        return None
    bindings = b"".join(b' xmlns:%s="urn:unbound:%s"' % (prefix, prefix) for prefix in sorted(missing))
    return raw[:start.end()] + bindings + raw[start.end():]


def _local(node: etree._Element) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _children(node: etree._Element, name: str) -> Iterator[etree._Element]:
    return (item for item in node if _local(item) == name)


def _slot(node: etree._Element, name: str) -> tuple[str, ...]:
    """Give the values of a slot, its name compared without case."""
    return tuple(inner_text(value).strip() for slot in _children(node, "Slot")
                 if slot.get("name", "").lower() == name.lower()
                 for holder in _children(slot, "ValueList") for value in _children(holder, "Value"))


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


def _name(node: etree._Element) -> str:
    return next((text.get("value", "") for name in _children(node, "Name")
                 for text in _children(name, "LocalizedString")), "")


def _identifier(node: etree._Element, scheme: str) -> str:
    return next((item.get("value", "") for item in _children(node, "ExternalIdentifier")
                 if _scheme(item, "identificationScheme") == scheme), "")


def _classified(node: etree._Element, scheme: str) -> Iterator[etree._Element]:
    return (item for item in _children(node, "Classification")
            if _scheme(item, "classificationScheme") == scheme)


def _scheme(node: etree._Element, attribute: str) -> str:
    """Give a scheme in lower case, without the blanks that some makers leave where they folded a line."""
    return "".join(node.get(attribute, "").split()).lower()


def _codes(node: etree._Element, scheme: str) -> Iterator[Code]:
    return (Code(item.get("nodeRepresentation", ""), _first(_slot(item, "codingScheme")), _name(item))
            for item in _classified(node, scheme))


def _first_code(node: etree._Element, scheme: str) -> Code | None:
    return next(_codes(node, scheme), None)


def _authors(node: etree._Element, scheme: str) -> tuple[AuthorEntry, ...]:
    return tuple(AuthorEntry(_first(_slot(item, "authorPerson")), _slot(item, "authorInstitution"),
                             _slot(item, "authorSpecialty"), _slot(item, "authorRole"))
                 for item in _classified(node, scheme))

"""Fuzzing of archives, metadata and CDA headers: a value or a typed InputFault, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.documents.cda import read_header
from mssante.documents.ebrim import read_metadata
from mssante.documents.hl7 import parse_stamp, read_cx, utc_digits
from mssante.documents.metadata import SenderFacts, cda_document, document_entry, document_findings
from mssante.documents.readable import readable
from mssante.documents.subject import mss_headers, parse_subject, pdf_name, strip_prefix
from mssante.documents.xdm import check, pack, unpack
from mssante.documents.ziparchive import MAX_TOTAL
from mssante.errors import InputFault

_CDA = """<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3">
<templateId root="1.2.250.1.213.1.1.1.29"/><id root="1.2.3" extension="x"/>
<code code="11490-0" codeSystem="2.16.840.1.113883.6.1"/><title>Été</title><effectiveTime value="20240106113623+0100"/>
<confidentialityCode code="N"/><recordTarget><patientRole><id root="1.2.250.1.213.1.4.10" extension="279035121518989"/>
<patient><name><family qualifier="BR">A</family><given>B C</given></name><birthTime value="19790328"/></patient>
</patientRole></recordTarget><author><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="801234567897"/>
</assignedAuthor></author><documentationOf><serviceEvent><effectiveTime><low value="2024"/></effectiveTime>
</serviceEvent></documentationOf><component><structuredBody><component><section><title>S</title>
<text>x<list><item>y</item></list></text></section></component></structuredBody></component></ClinicalDocument>""".encode()
_SENDER = SenderFacts("1.2.250.1.999.1", "CABINET", "1990000001")
_ZIP = pack([cda_document(_CDA)], _SENDER, datetime(2026, 11, 22, tzinfo=UTC))
_METADATA = next(member.content for member in unpack(_ZIP).files if member.path.endswith("METADATA.XML"))

_EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12)), min_size=1, max_size=6)
_FAST = settings(max_examples=300, deadline=None)


def _edited(raw: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Cut and insert at relative places."""
    for place, cut, added in edits:
        at = int(place * len(raw))
        raw = raw[:at] + added + raw[at + cut:]
    return raw


@_FAST
@given(st.one_of(st.binary(max_size=300), _EDITS.map(lambda edits: _edited(_ZIP, edits))))
def test_an_archive_is_read_or_refused(raw: bytes) -> None:
    try:
        archive = unpack(raw)
    except InputFault as fault:
        assert fault.rule.startswith("ZIP-")
        return
    assert sum(len(member.content) for member in archive.files) <= MAX_TOTAL
    assert all(finding.rule and "279035121518989" not in finding.text for finding in check(archive))


@_FAST
@given(_EDITS)
def test_a_header_is_read_or_refused(edits: list[tuple[float, int, bytes]]) -> None:
    raw = _edited(_CDA, edits)
    try:
        header = read_header(raw)
    except InputFault as fault:
        assert fault.rule.startswith(("XML-", "CDA-"))
        return
    document = cda_document(raw)
    assert document_entry(document).size == len(raw)
    document_findings(document)
    assert pdf_name(header).isascii()
    assert readable(raw, header).content
    try:
        mss_headers([header])
        pack([document], _SENDER, datetime(2026, 1, 1, tzinfo=UTC))
    except InputFault as fault:
        assert fault.rule


@_FAST
@given(_EDITS)
def test_metadata_is_read_or_refused(edits: list[tuple[float, int, bytes]]) -> None:
    try:
        submission = read_metadata(_edited(_METADATA, edits))
    except InputFault as fault:
        assert fault.rule.startswith(("XML-", "XDS-"))
        return
    assert all(entry.size >= -1 for entry in submission.documents)


@_FAST
@given(st.text(max_size=200))
def test_small_texts_never_raise(text: str) -> None:
    parse_stamp(text)
    assert utc_digits(text).isdigit() or utc_digits(text) == ""
    read_cx(text)
    assert isinstance(strip_prefix(text), str) and len(parse_subject(text).label) <= len(text)


@_FAST
@given(st.from_regex(r"[0-9]{4,16}(\.[0-9]{1,3})?([+-][0-9]{0,5})?", fullmatch=True))
def test_stamps_give_digits_or_nothing(text: str) -> None:
    assert utc_digits(text) == "" or utc_digits(text).isascii()

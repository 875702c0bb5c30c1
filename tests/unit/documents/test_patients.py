"""Whose documents a message carries."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import SMTP

import pytest
from support.citizens import archive, cda, write

from mssante.documents.patients import cx_identity, patients_of

INS, OTHER = "279035121518989", "162018885045327"


def message(*zips: bytes) -> bytes:
    return write("a@alpha.mssante.test", "b@beta.mssante.test", zipped=zips).raw


def test_a_letter_without_archive_names_nobody() -> None:
    found = patients_of(message())
    assert (found.archives, found.matricules, found.anonymous, found.unreadable) == (0, frozenset(), 0, ())


def test_one_patient_in_one_archive_of_two_documents() -> None:
    found = patients_of(message(archive(cda(INS), cda(INS, number=2))))
    assert found.archives == 1 and found.matricules == {INS} and found.anonymous == 0
    assert [one.qualified for one in found.identities] == [True]


def test_two_patients_in_two_archives() -> None:
    assert patients_of(message(archive(cda(INS)), archive(cda(OTHER, number=2)))).matricules == {INS, OTHER}


def with_file(name: str, content: bytes, *zips: bytes) -> bytes:
    made = BytesParser(policy=SMTP).parsebytes(write("a@alpha.mssante.test", "b@beta.mssante.test", zipped=zips).raw)
    made.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return made.as_bytes()


@pytest.mark.parametrize("name", ["cr.xml", "cr.pdf", "cr"])
def test_a_document_by_itself_names_its_patient(name: str) -> None:
    found = patients_of(with_file(name, cda(INS)))
    assert (found.matricules, found.archives, found.anonymous, found.unreadable) == ({INS}, 0, 0, ())
    assert patients_of(with_file(name, cda(OTHER), archive(cda(INS)))).matricules == {INS, OTHER}
    assert patients_of(with_file(name, cda(""))).anonymous == 1
    assert patients_of(with_file(name, b"<!DOCTYPE a>" + cda(INS).partition(b"?>")[2])).unreadable == ("XML-DTD",)
    assert patients_of(with_file(name, b"<?xml version='1.0'?><a/>")).unreadable == ()


def test_metadata_and_document_of_two_patients_both_count() -> None:
    import io
    import zipfile

    source = zipfile.ZipFile(io.BytesIO(archive(cda(INS))))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(INS.encode(), OTHER.encode()) if name.endswith("METADATA.XML") else content)
    assert patients_of(message(out.getvalue())).matricules == {INS, OTHER}


def test_documents_without_ins_and_broken_archives_are_told() -> None:
    assert patients_of(message(archive(cda("")))).anonymous == 1
    broken = patients_of(message(b"PK\x03\x04 nothing"))
    assert broken.archives == 1 and broken.unreadable and not broken.matricules


def test_identifiers_of_metadata() -> None:
    found = cx_identity("279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH")
    assert found is not None and found.matricule == INS and not found.qualified
    for wrong in ("", "279035121518989", "1^^^&1.2.3&ISO^PI", "^^^&1.2.250.1.213.1.4.8&ISO^NH", "a^b^c^d^e"):
        assert cx_identity(wrong) is None

"""`document show|unpack|pack`: what is told, what is not, and what is never written over."""

from __future__ import annotations

import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from support.citizens import cda
from support.clispace import Space

INS = "279035121518989"
PACK = ("--structure", "Centre de test", "--source-oid", "1.2.3")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lettre.xml"
    path.write_bytes(cda(INS))
    return path


def test_facts_without_the_patient_unless_asked(space: Space, file: Path) -> None:
    shown = space.run("document", "show", str(file), config=False)
    assert shown.code == 0 and "LOINC" in shown.out
    assert INS not in shown.out and "ins=" not in shown.out
    told = space.run("document", "show", str(file), "--identity", "--json", config=False).json["documents"][0]
    assert told["patient"]["ins"] == INS and told["level"] in ("N1", "N3") and told["octets"] == file.stat().st_size


def test_pack_unpack_gives_the_same_octets_and_overwrites_nothing(space: Space, file: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.zip", tmp_path / "out"
    assert space.run("document", "pack", str(file), "-o", str(archive), *PACK, config=False).code == 0
    before = archive.read_bytes()
    assert space.run("document", "pack", str(file), "-o", str(archive), *PACK, config=False).code == 1
    assert archive.read_bytes() == before
    assert space.run("document", "unpack", str(archive), str(folder), config=False).code == 0
    assert [one.read_bytes() for one in folder.iterdir()] == [file.read_bytes()]
    assert space.run("document", "unpack", str(archive), str(folder), config=False).code == 1
    mail = EmailMessage()
    mail["Subject"] = "XDM/1.0/DDM"
    mail.set_content("Bonjour")
    mail.add_attachment(before, "application", "zip", filename="IHE_XDM.ZIP")
    letter = tmp_path / "a.eml"
    letter.write_bytes(mail.as_bytes())
    shown = space.run("document", "show", str(letter), "--json", config=False)
    assert shown.code == 0 and shown.json["documents"][0]["place"].startswith("IHE_XDM.ZIP/IHE_XDM/SUBSET01/")


def test_two_patients_are_not_packed(space: Space, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "autre.xml"
    other.write_bytes(cda("162018885045327", number=2))
    found = space.run("document", "pack", str(file), str(other), "-o", str(tmp_path / "a.zip"), *PACK, config=False)
    assert found.code == 1 and "XDM-PATIENT" in found.err and not (tmp_path / "a.zip").exists()
    assert INS not in found.err + found.out


@pytest.mark.parametrize(("name", "content", "code", "word"), [
    ("vide.eml", b"Subject: x\r\n\r\nrien\r\n", 1, "PREFLIGHT-FICHIER"), ("x.xml", b"<a/>", 3, "CDA-ROOT"),
    ("b.zip", b"PK\x03\x04 coupe", 1, "ZIP-"), ("d.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 3, "XML-"), ("rien", b"", 1, "PREFLIGHT-FICHIER")])
def test_what_cannot_be_read_is_told(space: Space, tmp_path: Path, name: str, content: bytes, code: int, word: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = space.run("document", "show", str(path), config=False)
    assert (found.code, word in found.out + found.err) == (code, True), found.out + found.err


def test_names_of_an_archive_stay_in_the_folder(space: Space, file: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    assert space.run("document", "pack", str(file), "-o", str(archive), *PACK, config=False).code == 0
    strange = tmp_path / "b.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(strange, "w") as new:
        for one in old.namelist():
            content = old.read(one).replace(b"DOC0001.XML", b"-r;$(x).XML")
            new.writestr(one.replace("DOC0001.XML", "-r;$(x).XML"), content)
    folder = tmp_path / "out"
    space.run("document", "unpack", str(strange), str(folder), config=False)
    assert [one.name for one in folder.iterdir()] == ["001-r___x_.XML"]

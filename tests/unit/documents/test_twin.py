"""The readable twin: every element of a narrative, hostile documents, limits, and the two writers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from lxml import html
from support.twins import EVERYTHING, attacks, cda, media, narrative, png, unstructured

from mssante.documents import twin_narrative
from mssante.documents.pdf_twin import pdf_twin
from mssante.documents.pdftext import pdf_text
from mssante.documents.twin import Kind
from mssante.documents.twin_header import date_words, read_twin
from mssante.documents.twin_html import html_page, policy
from mssante.errors import InputFault
from mssante.lang import language, set_language

CANARY = "http://127.0.0.1:1/canary"
# what a page of ours may hold, and nothing else
TAGS = {"html", "head", "meta", "title", "style", "body", "a", "header", "h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "section", "dl", "dt",
        "dd", "main", "table", "thead", "tbody", "tr", "th", "td", "caption", "span", "br", "sub", "sup", "ul", "ol", "li", "img"}
ATTRIBUTES = {"lang", "charset", "name", "content", "http-equiv", "class", "href", "id", "tabindex", "role", "aria-label", "scope", "colspan",
              "rowspan", "alt", "src"}


@pytest.fixture(autouse=True)
def french() -> Iterator[None]:
    before = language()
    set_language("fr")
    yield
    set_language(before)


def page(raw: bytes) -> html.HtmlElement:
    return html.document_fromstring(html_page(read_twin(raw)).decode())


def text(raw: bytes) -> str:
    return " ".join(page(raw).text_content().split())


def test_every_element_is_shown() -> None:
    root = page(EVERYTHING)
    seen = " ".join(root.text_content().split())
    for words in ("Avant gras et deux", "H2O x2", "une note", "Titre de paragraphe", "Un paragraphe", "premier", "dedans", "pied", "ajout",
                  "voir (https://exemple.test/page)", "piege", "Une image", "Document PDF joint n° 1"):
        assert words in seen
    assert "SECRET-EFFACE" not in seen and "javascript" not in seen
    assert [one.text for one in root.iter("h1")] == ["Lettre d'essai"]
    header = next(root.iter("thead"))
    assert [(cell.tag, cell.get("scope"), cell.get("class")) for cell in header.iter("th", "td")] == [
        ("th", "col", None), ("td", None, None), ("th", "col", "right")]
    spans = [(cell.get("colspan"), cell.get("rowspan")) for cell in root.iter("td", "th") if cell.get("colspan") or cell.get("rowspan")]
    assert spans == [(None, "2"), ("2", None)]
    (image,) = root.iter("img")
    assert image.get("src", "").startswith("data:image/png;base64,"), "its octets say PNG, whatever it claims"
    assert image.get("alt")
    assert next(one.text for one in root.iter("ol")) is None and len(list(root.iter("ol"))) == 2, "an ordered list and the notes"


def test_the_header_says_who_and_what() -> None:
    seen = text(EVERYTHING)
    for words in ("TESTPATIENT", "CLAIRE", "15/01/1985", "féminin", "285017800000156 (NIR, qualifiée, identité de test)", "DR Paul TESTAUTEUR",
                  "DR TESTLECTEUR, Cabinet test", "02/01/2026 à 03:04", "remplace un document précédent", "normale"):
        assert words in seen, words


def test_a_patient_without_ins_is_said(shared_dir: Path) -> None:
    assert "absente de ce document" in text((shared_dir / "data/cda-altered/no-ins-ipp-only.xml").read_bytes())
    assert "non qualifiée" in text((shared_dir / "data/cda-altered/ins-but-traits-incomplete.xml").read_bytes())


@pytest.mark.parametrize("name", sorted(attacks(CANARY)))
def test_a_hostile_document_gives_an_inert_page(name: str) -> None:
    raw = attacks(CANARY)[name]
    root = page(raw)
    assert {one.tag for one in root.iter() if isinstance(one.tag, str)} <= TAGS
    assert {attribute for one in root.iter() if isinstance(one.tag, str) for attribute in one.attrib} <= ATTRIBUTES
    assert all(one.get("src", "").startswith("data:image/") for one in root.iter("img"))
    assert [one.get("href") for one in root.iter("a")] == ["#texte"]
    assert [one.get("http-equiv") for one in root.iter("meta") if one.get("http-equiv")] == ["Content-Security-Policy"]
    assert len(list(root.iter("style"))) == 1
    made = pdf_twin(read_twin(raw))
    assert made.standard == "PDF/A-1a"
    assert not re.search(rb"/(?:JavaScript|JS|Launch|URI|EmbeddedFile|OpenAction|AA)\b", made.content)


def test_text_of_a_hostile_document_is_text() -> None:
    assert "#read(\"/etc/passwd\") $x$ *a*" in text(attacks(CANARY)["typst"])
    assert "avant gnirts apres" in text(attacks(CANARY)["direction marks"]), "nothing turns the line round"
    assert "<script>" in text(attacks(CANARY)["script in text"])
    assert "root:" not in pdf_text(pdf_twin(read_twin(attacks(CANARY)["typst"])).content, 10_000, spent=lambda: False)


def test_the_policy_of_the_page_allows_its_own_style_only() -> None:
    content = html_page(read_twin(EVERYTHING)).decode()
    assert "default-src 'none'" in policy() and "script" not in policy() and "'unsafe-inline'" not in policy()
    assert content.index("Content-Security-Policy") < content.index("<style>")
    assert "http://" not in content.replace("https://exemple.test/page", "")


def test_headings_never_skip_a_level() -> None:
    deep = "<component><section><title>Un</title><text/>" + "<component><section>" * 3 + "<title>Quatre</title><text>x</text>" \
        + "</section></component>" * 3 + "</section></component>"
    root = page(cda(f"<structuredBody>{deep}</structuredBody>"))
    levels = [int(one.tag[1]) for one in root.iter("h1", "h2", "h3", "h4", "h5", "h6")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_bodies_of_level_one() -> None:
    pdf = b"%PDF-1.4\n1 0 obj\n%%EOF\n"
    made = read_twin(unstructured(pdf, "application/pdf"))
    assert made.files[0].content == pdf, "byte for byte"
    assert "Image" in next(page(unstructured(png(), "image/png")).iter("img")).get("alt", "")
    assert "ligne unligne deux" in text(unstructured(b"ligne un\nligne deux", "text/plain"))
    assert "non montré ici" in text(unstructured(b"{\\rtf1}", "text/rtf"))
    assert "illisible" in text(unstructured(b"", "application/pdf"))
    assert "pas de corps lisible" in text(cda("<structuredBody/>"))


def test_the_original_is_only_read() -> None:
    before = sha256(EVERYTHING).hexdigest()
    read_twin(EVERYTHING)
    assert sha256(EVERYTHING).hexdigest() == before


def test_the_writers_give_the_same_for_the_same() -> None:
    first, second = read_twin(EVERYTHING), read_twin(EVERYTHING)
    assert html_page(first) == html_page(second)
    assert pdf_twin(first).content == pdf_twin(second).content


def test_what_is_too_large_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "<tr><td>x</td></tr>" * 2100
    assert "trop grand" in text(narrative(f"<table><tbody>{rows}</tbody></table>"))
    cells = "<td>y</td>" * 100
    assert "trop grand" in text(narrative(f"<table><tr>{cells}</tr></table>"))
    deep = "<content>" * 60 + "au fond" + "</content>" * 60
    assert "au fond" in text(narrative(deep)) and "trop grand" in text(narrative(deep))
    monkeypatch.setattr(twin_narrative, "MAX_PICTURES", 10)
    big = narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", png()))
    made = twin_narrative.Narrative({}, octets=10)
    assert made.octets == 10 and read_twin(big).sections


def test_spans_that_lie_stay_in_the_grid() -> None:
    raw = narrative("<table><tbody><tr><td colspan='99999'>a</td><td rowspan='9999'>b</td></tr><tr><td colspan='0'>c</td></tr>"
                    "<tr><td colspan='-3'>d</td><td rowspan='x'>e</td></tr></tbody></table>")
    assert pdf_twin(read_twin(raw)).standard == "PDF/A-1a"
    assert "a" in text(raw)


def test_a_picture_with_transparency_is_put_on_white() -> None:
    raw = narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", png(alpha=True)))
    assert pdf_twin(read_twin(raw)).standard == "PDF/A-1a"


def test_a_broken_picture_leaves_its_words() -> None:
    raw = narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", png()[:40]))
    made = pdf_twin(read_twin(raw))
    assert made.standard == "PDF/A-1a" and "Image du document" in pdf_text(made.content, 10_000, spent=lambda: False)


def test_the_text_of_the_pdf_is_that_of_the_document() -> None:
    seen = " ".join(pdf_text(pdf_twin(read_twin(EVERYTHING)).content, 10_000, spent=lambda: False).split())
    for words in ("TESTPATIENT", "Un paragraphe", "premier", "pied", "285017800000156"):
        assert words in seen
    assert "SECRET" not in seen


def test_what_is_no_cda_is_refused() -> None:
    for raw in (b"", b"<x/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><ClinicalDocument xmlns='urn:hl7-org:v3'>&b;</ClinicalDocument>"):
        with pytest.raises(InputFault):
            read_twin(raw)


@pytest.mark.parametrize(("stamp", "words"), [
    ("20260102030405+0100", "02/01/2026 à 03:04"), ("20260102", "02/01/2026"), ("202601", "01/2026"), ("2026", "2026"),
    ("20261345", "20261345"), ("", ""), ("demain", "demain"), ("20260102000000+0100", "02/01/2026")])
def test_dates_in_words(stamp: str, words: str) -> None:
    assert date_words(stamp) == words


def test_every_document_of_the_field(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "data/cda").glob("*.xml"))
    assert len(paths) == 23
    for path in paths:
        made = read_twin(path.read_bytes())
        assert made.sections and made.groups[0].facts, path.name
        assert len(made.notices) == 1, path.name
        root = html.document_fromstring(html_page(made).decode())
        assert {one.tag for one in root.iter() if isinstance(one.tag, str)} <= TAGS
        assert pdf_twin(made).standard == "PDF/A-1a", path.name


def test_tables_keep_their_kind() -> None:
    made = read_twin(EVERYTHING)
    kinds = [one.kind for one in made.sections[0].blocks if not isinstance(one, str)]
    assert Kind.TABLE in kinds and Kind.ORDERED in kinds and Kind.FILE in kinds

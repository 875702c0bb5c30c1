"""The citizens' page in a real browser: code, list, reading, documents, answer with an attachment, large print, closing; and axe."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.citizens import DOMAIN, archive, cda, command, scan_for, submit, write
from support.lab import RunningLab, soon

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240),
              pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here")]

CLAIRE = "claire.martin@alpha.mssante.test"
INS = "279035121518989"
USER = f"{INS}@{DOMAIN}"
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


class Browser:
    """Chromium, without script for the pages: they must not need any."""

    def __init__(self, host: str, port: int, *, script: bool) -> None:
        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors", "--lang=fr",
                     f"--host-resolver-rules=MAP {host} 127.0.0.1", "--window-size=900,1300"):
            options.add_argument(word)
        content = {} if script else {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", {"intl.accept_languages": "fr", **content})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.base = f"https://{host}:{port}"

    def go(self, path: str) -> None:
        self.driver.get(self.base + path)

    def fill(self, name: str, value: str) -> None:
        self.driver.find_element(By.NAME, name).send_keys(value)

    def press(self, words: str) -> None:
        """Press the button (or link) of these words and wait for the next page."""
        old = self.driver.find_element(By.TAG_NAME, "html")
        self.driver.find_element(By.XPATH, f'//*[self::button or self::a][normalize-space()="{words}"]').send_keys(Keys.ENTER)
        WebDriverWait(self.driver, 10).until(lambda _: gone(old))

    @property
    def title(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "h1").text)

    def texts(self, selector: str) -> list[str]:
        return [one.text for one in self.driver.find_elements(By.CSS_SELECTOR, selector)]

    def picture(self, name: str) -> None:
        """Keep what is on the screen, for people."""
        folder = os.environ.get("MSSANTE_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            height = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["height"]
            self.driver.set_window_size(900, min(int(height) + 140, 4000))
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))
            self.driver.set_window_size(900, 1300)


def gone(element: Any) -> bool:
    try:
        element.is_enabled()
    except Exception:  # stale: the page was replaced
        return True
    return False


@pytest.fixture(params=[False], ids=["without script"])
def browser(running_lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[Browser]:
    made = Browser(f"mta.{DOMAIN}", running_lab.operator("citizen").address("web")[1], script=request.param)
    yield made
    with contextlib.suppress(Exception):
        made.driver.quit()


def new_code(lab: RunningLab) -> str:
    return command(lab, "citizen", "citizen", "code", USER).splitlines()[0]


def send(lab: RunningLab, **more: Any) -> Any:
    made = write(CLAIRE, USER, name="Dr Claire MARTIN", **more)
    moment, reply = submit(lab, CLAIRE, [USER], made.raw)
    assert (moment, reply.code) == ("end of DATA", 250), reply
    with lab.reader(USER) as reader:
        reader.wait_for(made.mark)
    return made


def test_a_person_reads_and_answers(running_lab: RunningLab, browser: Browser) -> None:
    made = send(running_lab, subject="XDM/1.0/DDM+Votre compte rendu de consultation", zipped=[archive(cda(INS))],
                text="Bonjour,\n\nVoici le compte rendu de votre consultation.\nPensez à votre bilan sanguin.\n\n<b>Bien à vous</b>,\nDr Martin\n",
                Disposition_Notification_To=CLAIRE)
    browser.go("/usager")
    browser.picture("1-entree")
    browser.fill("code", "AAAAA-BBBBB")
    browser.press("Entrer")
    assert browser.texts("[role=alert]")[0].startswith("Ce code n'est pas valable")
    browser.picture("2-code-refuse")
    code = new_code(running_lab)
    browser.fill("code", code.lower().replace("-", " "))
    browser.press("Entrer")
    assert browser.title == "Mes échanges" and "Votre compte rendu de consultation" in browser.texts("ul.echanges a")
    assert "Nouveau" in browser.texts(".neuf")
    browser.picture("3-liste")
    browser.press("Votre compte rendu de consultation")
    page = browser.driver.page_source
    assert browser.texts("article .qui") == ["Dr Claire MARTIN"] and "@" not in browser.driver.find_element(By.TAG_NAME, "body").text
    assert "<b>Bien" not in page and "&lt;b&gt;Bien" in page and INS not in page
    browser.picture("4-message")
    browser.press(next(one for one in browser.texts("ul.pieces a") if one.startswith("Lire")))
    assert browser.texts("main#texte") and browser.texts("h1") == [browser.driver.title] and INS not in browser.driver.current_url
    browser.picture("5-document")
    browser.press("Retour à l'échange")
    browser.press("Agrandir le texte")
    browser.press("Votre compte rendu de consultation")
    browser.picture("6-grands-caracteres")
    assert browser.driver.find_element(By.TAG_NAME, "html").get_attribute("class") == "grand"
    browser.fill("texte", "Merci docteur.\nVoici mon bilan.")
    with tempfile.TemporaryDirectory() as folder:
        wrong, sound = Path(folder) / "virus.exe", Path(folder) / "mon bilan.pdf"
        wrong.write_bytes(b"MZ\x00\x01")
        sound.write_bytes(PDF)
        browser.fill("pieces", str(wrong))
        browser.press("Envoyer ma réponse")
        assert "Ce fichier n'est pas admis" in browser.texts("[role=alert]")[0]
        assert browser.driver.find_element(By.NAME, "texte").get_attribute("value").startswith("Merci docteur."), "nothing typed is lost"
        browser.picture("7-piece-refusee")
        browser.fill("pieces", str(sound))
        browser.press("Envoyer ma réponse")
    assert browser.texts("[role=status]") == ["Votre réponse est partie."]
    browser.press("Texte normal")
    browser.press("Votre compte rendu de consultation")
    assert browser.texts("article.mien .qui") == ["Vous"]
    browser.picture("8-repondu")
    received(running_lab, made)
    closed(running_lab, browser, made)
    browser.press("Quitter")
    assert browser.title == "Ouvrir mon espace"
    browser.fill("code", code)
    browser.press("Entrer")
    assert browser.texts("[role=alert]"), "a code opens once"
    assert scan_for(running_lab, [INS, code, code.replace("-", ""), "compte rendu de consultation", "bilan sanguin", "EXEMPLE-LABO"]) == {}


def received(lab: RunningLab, made: Any) -> None:
    """The professional has the answer in its thread, and one read receipt."""
    def answered() -> bool:
        with lab.reader(CLAIRE) as reader:
            _, uids = reader.client.uid("SEARCH", "HEADER", "In-Reply-To", made.reference, "HEADER", "From", DOMAIN, "SUBJECT", "Re:")
            found = [reader.fetch(uid.decode()) for uid in (uids[0] or b"").split()]
        return any(b"mon bilan.pdf" in one and b"X-MSS-Echange: v=1; fil=" in one for one in found)

    def receipts() -> int:
        with lab.reader(CLAIRE) as reader:
            _, uids = reader.client.uid("SEARCH", "HEADER", "In-Reply-To", made.reference, "HEADER", "Content-Type", "disposition-notification")
            return len((uids[0] or b"").split())

    assert soon(answered), "the answer did not arrive"
    assert soon(lambda: receipts() == 1), "one read receipt (RFC 8098, F9.10)"


def closed(lab: RunningLab, browser: Browser, made: Any) -> None:
    """The professional closes the exchange: the page says so, and an answer typed before is refused."""
    browser.fill("texte", "Encore une question.")
    send(lab, subject="Fin de l'échange", In_Reply_To=made.reference, X_MSS_MES="FIN")
    browser.press("Envoyer ma réponse")
    assert "Cet échange est clos" in browser.texts("[role=alert]")[0]
    assert not browser.driver.find_elements(By.NAME, "texte")
    browser.picture("9-clos")


def test_the_pages_have_no_fault_that_axe_knows(running_lab: RunningLab) -> None:
    """axe-core, when it is there (MSSANTE_AXE: path of axe.min.js): no violation on any page, normal and large."""
    axe = os.environ.get("MSSANTE_AXE", "")
    if not axe or not Path(axe).is_file():
        pytest.skip("no axe-core here (MSSANTE_AXE)")
    made = Browser(f"mta.{DOMAIN}", running_lab.operator("citizen").address("web")[1], script=True)
    try:
        send(running_lab, subject="Pour axe", zipped=[archive(cda(INS))])
        found: dict[str, Any] = {}

        def judge(name: str) -> None:
            made.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
            made.driver.execute_script(Path(axe).read_text(encoding="utf-8"))
            for scheme in ("light", "dark"):
                made.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
                result = made.driver.execute_async_script("axe.run(document).then(arguments[0])")
                found.update({f"{name}, {scheme}: {one['id']}": [node["html"][:120] for node in one["nodes"]]
                              for one in result["violations"]})
                made.picture(f"axe {name} {scheme}")

        made.go("/usager")
        judge("sign in")
        made.fill("code", new_code(running_lab))
        made.press("Entrer")
        judge("list")
        made.press("Pour axe")
        judge("exchange")
        made.press(next(one for one in made.texts("ul.pieces a") if one.startswith("Lire")))
        judge("document")
        made.press("Retour à l'échange")
        made.press("Agrandir le texte")
        judge("list, large")
        made.press("Pour axe")
        judge("exchange, large")
        made.press(next(one for one in made.texts("ul.pieces a") if one.startswith("Lire")))
        judge("document, large")
        assert found == {}
    finally:
        made.driver.quit()

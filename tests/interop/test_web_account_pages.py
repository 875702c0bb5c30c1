"""Every page of the web account in Chromium: nothing wider than the screen, nothing that axe-core blames, light, dark and narrow.

Pictures go to `$MSSANTE_REPORT_DIR`; axe-core is run when `MSSANTE_AXE` names its axe.min.js.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser
from support.lab import RunningLab

from mssante.services.secondfactor import STEP_SECONDS, totp_code

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180),
              pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here")]
WIDE, NARROW = (900, 1200), (360, 740)


class Judge:
    """Looks at the page that is shown."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.found: dict[str, object] = {}
        self.seen: list[str] = []
        self._axe = Path(os.environ.get("MSSANTE_AXE") or "/nowhere")
        self._pictures = os.environ.get("MSSANTE_REPORT_DIR")

    def look(self, name: str) -> None:
        """Look at it on a screen and on a telephone, light and dark; only the window changes."""
        driver = self.browser.driver
        self.seen.append(name)
        for (width, height), scheme in ((WIDE, "light"), (NARROW, "dark"), (NARROW, "light")):
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            place = f"{name}, {width} px, {scheme}"
            wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide > 0:
                self.found[place + ": wider than the screen"] = wide
            self._blamed(place)
            if self._pictures and (width, scheme) != (NARROW[0], "light"):
                driver.save_screenshot(str(Path(self._pictures) / f"account-{name.replace(' ', '-')}-{scheme}.png"))
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def _blamed(self, place: str) -> None:
        driver = self.browser.driver
        if not self._axe.is_file():
            return
        driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
        driver.execute_script(self._axe.read_text(encoding="utf-8"))
        result = driver.execute_async_script("axe.run(document).then(arguments[0])")
        self.found.update({f"{place}: {one['id']}": [node["html"][:120] for node in one["nodes"]] for one in result["violations"]})


@pytest.fixture
def judge(running_lab: RunningLab) -> Iterator[Judge]:
    operator = running_lab.operator("alpha")
    browser = Browser(f"mta.{operator.domain}", operator.address("web")[1])
    yield Judge(browser)
    with contextlib.suppress(Exception):
        browser.driver.quit()


def test_every_page_fits_and_is_blameless(running_lab: RunningLab, judge: Judge) -> None:
    person = running_lab.operator("alpha").accounts[1]
    browser = judge.browser
    browser.go("/compte")
    judge.look("sign in")
    browser.fill(identifiant=person.login, secret="faux")
    browser.press("Continuer")
    judge.look("sign in refused")
    browser.fill(identifiant=person.login, secret=person.password)
    browser.press("Continuer")
    judge.look("overview")
    try:
        walk(judge, person.login, person.password)
    finally:
        code, out, error = running_lab.command("account", "factors", person.login, "--reset", "--config",
                                               running_lab.folder / "alpha/operator_config")
        assert code == 0, out + error
    assert judge.found == {} and len(judge.seen) == 15


def walk(judge: Judge, login: str, password: str) -> None:
    """Visit what is behind the login, with a first factor, an app password and a passkey."""
    browser = judge.browser
    for place, name in (("facteurs", "factors empty"), ("applications", "apps empty"), ("sessions", "sessions"), ("documents", "documents")):
        browser.go(f"/compte/{place}")
        judge.look(name)
    browser.go("/compte/facteurs/ajout")
    judge.look("factor added")
    secret = b32decode(browser.texts("#cle-totp")[0].replace(" ", ""))
    form = browser.driver.find_element(By.CSS_SELECTOR, "form[action='/compte/facteurs/totp']")
    form.find_element(By.NAME, "nom").send_keys("Téléphone d'un nom assez long pour ne pas tenir")
    browser.fill(code=totp_code(secret, int(time.time()) // STEP_SECONDS))
    browser.press("Ajouter")
    judge.look("recovery codes")
    options = VirtualAuthenticatorOptions()
    options.transport, options.has_user_verification, options.is_user_verified = "internal", True, True
    options.has_resident_key = True
    browser.driver.add_virtual_authenticator(options)
    browser.go("/compte/facteurs/ajout")
    browser.driver.find_element(By.ID, "nom-cle").send_keys("Ordinateur")
    browser.press("Créer la clé")
    judge.look("factors")
    browser.go("/compte/applications/ajout")
    judge.look("app password asked for")
    browser.fill(nom="Thunderbird du poste 12")
    browser.press("Créer")
    judge.look("app password made")
    browser.go("/compte/applications")
    judge.look("apps")
    browser.press("Se déconnecter")
    browser.fill(identifiant=login, secret=password)
    browser.press("Continuer")
    judge.look("proof")
    browser.fill(code="000000")
    browser.press("Vérifier")
    judge.look("proof refused")

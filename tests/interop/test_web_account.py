"""The web account in a real browser: time codes, passkeys on a virtual authenticator, app passwords really used."""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import smtplib
import ssl
import time
from base64 import b32decode
from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import Browser

from mssante.lab.manifest import Account, OperatorEntry
from mssante.services.secondfactor import STEP_SECONDS, totp_code

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

pytestmark = pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here")


@pytest.fixture
def browser(running_lab: Any) -> Iterator[Browser]:
    operator = running_lab.operator("alpha")
    made = Browser(f"mta.{operator.domain}", operator.address("web")[1])
    yield made
    with contextlib.suppress(Exception):
        made.driver.quit()


def imap_login(operator: OperatorEntry, login: str, password: str) -> bool:
    context = ssl._create_unverified_context()
    client = imaplib.IMAP4_SSL(*operator.address("imaps"), ssl_context=context, timeout=30)
    try:
        return client.login(login, password)[0] == "OK"
    except imaplib.IMAP4.error:
        return False
    finally:
        with contextlib.suppress(Exception):
            client.shutdown()


def smtp_login(operator: OperatorEntry, login: str, password: str) -> int:
    context = ssl._create_unverified_context()
    with smtplib.SMTP_SSL(*operator.address("submissions"), context=context, timeout=30) as client:
        client.ehlo("client.test")
        try:
            return int(client.login(login, password)[0])
        except smtplib.SMTPAuthenticationError as refusal:
            return refusal.smtp_code


def code_after(secret: bytes, used: str = "") -> str:
    """A code that was not used yet: the next step is admitted too."""
    step = int(time.time()) // STEP_SECONDS
    return next(code for code in (totp_code(secret, step), totp_code(secret, step + 1)) if code != used)


def test_a_person_protects_the_account_and_makes_app_passwords(running_lab: Any, browser: Browser) -> None:
    operator = running_lab.operator("alpha")
    person = operator.accounts[0]
    login, password = person.login, person.password

    # password, then a time code
    browser.go("/compte")
    browser.fill(identifiant=login, secret="faux")
    browser.press("Continuer")
    assert browser.texts("[role=alert]")[0] == "Identifiant ou mot de passe refusé."
    browser.fill(identifiant=login, secret=password)
    browser.press("Continuer")
    assert browser.title == "Votre compte" and person.address in browser.texts("td")[0]
    browser.go("/compte/facteurs/ajout")
    secret = b32decode(browser.texts("#cle-totp")[0].replace(" ", ""))
    form = browser.driver.find_element(By.CSS_SELECTOR, "form[action='/compte/facteurs/totp']")
    form.find_element(By.NAME, "nom").send_keys("Téléphone <b>")
    used = code_after(secret)
    browser.fill(code=used)
    browser.press("Ajouter")
    recovery = browser.texts(".secret")
    assert browser.title == "Codes de secours" and len(recovery) == 10
    try:
        protected(browser, operator, person, secret, used)
    finally:
        code, out, err = running_lab.command("account", "factors", login, "--reset", "--config",
                                             running_lab.folder / "alpha" / "operator_config")
        assert code == 0, out + err


def protected(browser: Browser, operator: OperatorEntry, person: Account, secret: bytes, used: str) -> None:
    login, password = person.login, person.password
    assert not imap_login(operator, login, password), "with a second factor, the main password opens the pages only"

    # an app password, really used, then revoked
    browser.go("/compte/applications/ajout")
    browser.fill(nom="Thunderbird")
    browser.press("Créer")
    app = browser.texts("#mot")[0]
    assert imap_login(operator, login, app) and imap_login(operator, login.upper(), app.replace("-", " "))
    assert smtp_login(operator, login, app) == 235
    browser.go("/compte/applications")
    browser.press("Révoquer")
    assert not imap_login(operator, login, app) and smtp_login(operator, login, app) == 535

    # a passkey, on a virtual authenticator that verifies its user
    options = VirtualAuthenticatorOptions()
    options.transport, options.has_user_verification, options.is_user_verified = "internal", True, True
    options.has_resident_key = True
    browser.driver.add_virtual_authenticator(options)
    browser.go("/compte/facteurs/ajout")
    browser.driver.find_element(By.ID, "nom-cle").send_keys("Ordinateur")
    browser.press("Créer la clé")
    assert browser.title == "Seconds facteurs" and {"Ordinateur", "Téléphone <b>"} <= set(browser.texts("td"))
    browser.press("Se déconnecter")
    browser.press("Utiliser une clé d'accès")
    assert browser.title == "Votre compte" and "clé d'accès" in browser.texts("section p")[0]

    # password, then the code of the telephone; the used one is refused
    browser.press("Se déconnecter")
    browser.fill(identifiant=login, secret=password)
    browser.press("Continuer")
    assert browser.title == "Confirmez que c'est vous"
    browser.go("/compte/applications/ajout")
    assert browser.title == "Confirmez que c'est vous", "no page opens before the second step"
    browser.fill(code=used)
    browser.press("Vérifier")
    assert browser.texts("[role=alert]")[0] == "Code ou clé refusé."
    browser.fill(code=code_after(secret, used))
    browser.press("Vérifier")
    assert browser.title == "Votre compte"

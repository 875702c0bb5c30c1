"""The web account against those who would misuse it: forged forms, fixed sessions, steps left out, markup in labels."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, build

from mssante.endpoints.account_apps import Apps
from mssante.endpoints.account_factors import Factors
from mssante.endpoints.account_html import Markup, page, tag
from mssante.endpoints.account_signin import Signin
from mssante.endpoints.account_site import BROWSER, SESSION, Desks, Settings, Site, preferred
from mssante.endpoints.web import WebDoor
from mssante.services import accounts as module
from mssante.services.apppasswords import AppPasswords
from mssante.services.passkeys import Ask, Passkeys
from mssante.services.secondfactor import STEP_SECONDS, SecondFactors, totp_code
from mssante.services.websession import SessionTimes, WebSessions
from mssante.storage.interfaces import Account

SECRET = b"12345678901234567890"
KEY = b"operator"


class Browser:
    """A client that keeps cookies by hand, as a browser over TLS would."""

    def __init__(self, client: aiohttp.ClientSession, base: str) -> None:
        self.client, self.base = client, base
        self.jar: dict[str, str] = {}
        self.html, self.status, self.headers, self.set = "", 0, {}, list[str]()

    async def ask(self, method: str, path: str, data: dict[str, str] | None = None, **headers: str) -> int:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items()), "Accept-Language": "fr"}
        if method == "POST":
            sent["Origin"] = self.base
        async with self.client.request(method, self.base + path, data=data, headers={**sent, **headers},
                                       allow_redirects=False) as answer:
            self.html, self.status, self.headers = await answer.text(), answer.status, dict(answer.headers)
            self.set = answer.headers.getall("Set-Cookie", [])
        for line in self.set:
            name, _, value = line.partition(";")[0].partition("=")
            self.jar[name] = value.strip('"')
            if not self.jar[name]:
                del self.jar[name]
        return self.status

    async def get(self, path: str) -> str:
        await self.ask("GET", path)
        return self.html

    def token(self) -> str:
        found = re.search(r'name="jeton" value="([0-9a-f]{64})"', self.html)
        assert found, self.html
        return found[1]

    async def post(self, path: str, /, **fields: str) -> int:
        return await self.ask("POST", path, {"jeton": self.token(), **fields})

    async def log_in(self, login: str = ALICE, password: str = PASSWORD) -> int:
        await self.get("/compte")
        return await self.post("/compte/connexion", identifiant=login, secret=password)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.services.guessing._delay", lambda doublings: 0.0)


@pytest.fixture
def desks(stage: SmtpStage) -> Desks:
    factors = SecondFactors(stage.stores, stage.clock, KEY)
    return Desks(stage.stores, stage.accounts, WebSessions(stage.stores, stage.clock, KEY, SessionTimes()), factors,
                 Passkeys(factors, stage.clock, KEY, host="mail.test", name="alpha"),
                 AppPasswords(stage.stores, stage.clock, stage.accounts))


@pytest.fixture
async def base(desks: Desks) -> AsyncIterator[str]:
    site, door = Site(desks, Settings("alpha <b>", "mail.test", "mail.test:993", "mail.test:465")), WebDoor(None)
    pages: tuple[Any, ...] = (Signin(site), Factors(site), Apps(site))
    port = await door.open("127.0.0.1:0", [route for one in pages for route in one.routes()])
    yield f"http://127.0.0.1:{port}"
    await door.close()


@pytest.fixture
async def browser(base: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Browser(client, base)


async def account(stage: SmtpStage, login: str = ALICE) -> Account:
    found = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, login))
    assert found is not None
    return found


def code(stage: SmtpStage, ahead: int = 0) -> str:
    return totp_code(SECRET, int(stage.clock.now().timestamp()) // STEP_SECONDS + ahead)


async def with_totp(stage: SmtpStage, desks: Desks) -> None:
    await desks.factors.add(await account(stage), "totp", "téléphone", SECRET)
    stage.accounts.forget(ALICE)


# ---------------------------------------------------------------- cookies, headers, language


async def test_cookies_and_headers(browser: Browser) -> None:
    assert await browser.ask("GET", "/compte") == 200
    assert await browser.log_in() == 303 and browser.headers["Location"] == "/compte"
    (line,) = [one for one in browser.set if one.startswith(f"{SESSION}=")]
    assert {part.strip().lower() for part in line.split(";")[1:]} == {"httponly", "secure", "samesite=strict", "path=/"}
    assert len(browser.jar[SESSION]) == 43
    await browser.get("/compte")
    policy = browser.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert browser.headers["X-Frame-Options"] == "DENY" and browser.headers["Cache-Control"] == "no-store"
    assert "<script>" not in browser.html and " style=" not in browser.html and " onclick" not in browser.html
    assert "alpha &lt;b&gt;" in browser.html and "alpha <b>" not in browser.html
    assert '<html lang="fr">' in browser.html
    await browser.ask("GET", "/compte", **{"Accept-Language": "en-GB,en;q=0.9,fr;q=0.5"})
    assert '<html lang="en">' in browser.html and "Your account" in browser.html


@pytest.mark.parametrize(("header", "code"), [
    ("", "fr"), ("de", "fr"), ("en", "en"), ("fr,en", "fr"), ("en;q=0.4, fr;q=0.9", "fr"), ("en;q=x", "fr"), ("EN-us", "en")])
def test_the_language_wanted(header: str, code: str) -> None:
    assert preferred(header) == code


def test_markup_is_escaped() -> None:
    nasty = "\"><script>alert(1)</script>'"
    shown = page(nasty, tag("p", nasty, title=nasty), operator=nasty)
    assert "<script>alert" not in shown and isinstance(tag("p"), Markup)


# ---------------------------------------------------------------- forged forms


async def test_forms_of_others_are_refused(browser: Browser, stage: SmtpStage) -> None:
    await browser.get("/compte")
    form = {"jeton": browser.token(), "identifiant": ALICE, "secret": PASSWORD}
    for origin in ("https://evil.test", "null", "", browser.base + ".evil.test", browser.base.replace("http:", "https:")):
        assert await browser.ask("POST", "/compte/connexion", form, Origin=origin) == 403, origin
    assert await browser.ask("POST", "/compte/connexion", {**form, "jeton": "0" * 64}) == 403
    assert await browser.ask("POST", "/compte/connexion", {**form, "jeton": "é"}) == 403
    assert await browser.ask("POST", "/compte/connexion", form, **{"Content-Type": "text/plain"}) == 415
    assert await browser.ask("POST", "/compte/connexion", {**form, "x": "y" * 70_000}) == 413
    assert SESSION not in browser.jar
    held, browser.jar = browser.jar, {BROWSER: "another-browser"}
    assert await browser.ask("POST", "/compte/connexion", form) == 403, "the token of another browser"
    browser.jar = held
    assert await browser.ask("POST", "/compte/connexion", form) == 303


async def test_every_act_wants_its_token(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await browser.log_in()
    for path in ("/compte/facteurs/totp", "/compte/facteurs/cle", "/compte/facteurs/retrait", "/compte/facteurs/secours",
                 "/compte/applications/ajout", "/compte/applications/retrait", "/compte/sessions/fin", "/compte/deconnexion",
                 "/compte/code", "/compte/cle"):
        assert await browser.ask("POST", path, {"jeton": "0" * 64}) == 403, path
    assert "Votre compte" in await browser.get("/compte")


# ---------------------------------------------------------------- sessions


async def test_a_login_never_keeps_the_cookie_that_it_was_given(browser: Browser) -> None:
    browser.jar[SESSION] = fixed = "A" * 43
    await browser.log_in()
    assert browser.jar[SESSION] != fixed
    first = browser.jar[SESSION]
    await browser.get("/compte/sessions")
    await browser.post("/compte/deconnexion")
    browser.jar[SESSION] = first
    assert "Connexion au compte" in await browser.get("/compte"), "a cookie does not outlive its logout"


async def test_a_session_ends(browser: Browser, stage: SmtpStage) -> None:
    await browser.log_in()
    stage.clock.advance(timedelta(minutes=29))
    assert "Votre compte" in await browser.get("/compte")
    stage.clock.advance(timedelta(minutes=29))
    assert "Votre compte" in await browser.get("/compte"), "used meanwhile"
    stage.clock.advance(timedelta(minutes=31))
    assert "Connexion au compte" in await browser.get("/compte")
    await browser.log_in()
    await stage.stores.database.write(lambda tx: stage.stores.accounts.update_account(
        tx, ALICE, secret_hash=module.hash_secret("nouveau"), enabled=None))
    assert "Connexion au compte" in await browser.get("/compte"), "the password was changed"
    await browser.log_in(BOB)
    await stage.stores.database.write(lambda tx: stage.stores.accounts.update_account(tx, BOB, secret_hash=None, enabled=False))
    assert "Connexion au compte" in await browser.get("/compte"), "disabled"


async def test_nobody_ends_the_session_of_another(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    token = await desks.sessions.start(await account(stage, BOB), "password", strong=False)
    (session,) = await desks.sessions.of((await account(stage, BOB)).id)
    await browser.log_in()
    await browser.get("/compte/sessions")
    await browser.post("/compte/sessions/fin", session=session.token_hash[:16])
    assert await desks.sessions.find(token) is not None


# ---------------------------------------------------------------- steps left out


async def test_no_page_opens_before_the_second_step(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await with_totp(stage, desks)
    await browser.log_in()
    assert "Confirmez" in await browser.get("/compte") and ALICE not in browser.html
    token = browser.token()
    for path in ("/compte/facteurs", "/compte/facteurs/ajout", "/compte/applications", "/compte/applications/ajout",
                 "/compte/sessions"):
        assert await browser.ask("GET", path) == 303 and browser.headers["Location"] == "/compte", path
    for path in ("/compte/applications/ajout", "/compte/facteurs/retrait", "/compte/facteurs/secours", "/compte/sessions/fin"):
        assert await browser.ask("POST", path, {"jeton": token}) == 303 and browser.headers["Location"] == "/compte", path
    assert await browser.ask("POST", "/compte/code", {"jeton": token, "secret": PASSWORD}) == 403, "the password is no factor"
    before = browser.jar[SESSION]
    await browser.get("/compte")
    assert await browser.post("/compte/code", code=code(stage), retour="https://evil.test") == 303
    assert browser.headers["Location"] == "/compte" and browser.jar[SESSION] != before, "a new cookie, and no open redirection"
    browser.jar[SESSION], after = before, browser.jar[SESSION]
    assert "Connexion au compte" in await browser.get("/compte"), "the old cookie is void"
    browser.jar[SESSION] = after
    assert "Votre compte" in await browser.get("/compte")


async def test_codes_are_not_guessed(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await with_totp(stage, desks)
    await browser.log_in()
    await browser.get("/compte")
    for _ in range(4):
        assert await browser.post("/compte/code", code="000000") == 403 and "Confirmez" in browser.html
    assert await browser.post("/compte/code", code="000000") == 403 and "reconnectez" in browser.html
    for _ in range(3):
        await browser.log_in()
        await browser.get("/compte")
        for _ in range(5):
            await browser.post("/compte/code", code="000000")
    await browser.log_in()
    await browser.get("/compte")
    assert await browser.post("/compte/code", code=code(stage)) == 429, "even the right one"
    kinds = [event.kind for event in await stage.journal()]
    assert kinds.count("login_refused") == 20 and "login" not in kinds


async def test_the_second_step_does_not_wait_for_ever(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await with_totp(stage, desks)
    await browser.log_in()
    await browser.get("/compte")
    stage.clock.advance(timedelta(minutes=5))
    assert await browser.post("/compte/code", code=code(stage)) == 303
    assert "Connexion au compte" in await browser.get("/compte")


async def test_risky_acts_want_a_fresh_proof(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await with_totp(stage, desks)
    await browser.log_in()
    await browser.get("/compte")
    await browser.post("/compte/code", code=code(stage))
    assert "Créer un mot de passe" in await browser.get("/compte/applications/ajout")
    stage.clock.advance(timedelta(minutes=11))
    form = {"nom": "x", "portee": "imap", "jours": "0"}
    assert await browser.post("/compte/applications/ajout", **form) == 303
    assert browser.headers["Location"] == "/compte/preuve?retour=applications"
    assert await desks.apps.list(await account(stage)) == []
    await browser.get("/compte/preuve?retour=applications")
    assert await browser.post("/compte/code", code=code(stage), retour="applications") == 303
    assert browser.headers["Location"] == "/compte/applications"
    await browser.get("/compte/applications/ajout")
    assert await browser.post("/compte/applications/ajout", **form | {"nom": "<script>alert(1)</script>"}) == 200
    assert "&lt;script&gt;" in browser.html and "<script>alert" not in browser.html
    assert "<script>alert" not in await browser.get("/compte/applications")


async def test_without_a_factor_no_app_password(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    await browser.log_in()
    await browser.get("/compte/applications")
    assert await browser.post("/compte/applications/ajout", nom="x", portee="imap", jours="0") == 403
    assert await desks.apps.list(await account(stage)) == []


async def test_the_first_factor(browser: Browser, stage: SmtpStage, desks: Desks) -> None:
    other = await desks.sessions.start(await account(stage), "password", strong=False)
    await browser.log_in()
    await browser.get("/compte/facteurs/ajout")
    assert await browser.post("/compte/facteurs/totp", nom="x", code="000000") == 403
    assert await browser.post("/compte/facteurs/totp", nom="x" * 200, code="000000") == 400
    await browser.get("/compte/facteurs/ajout")
    key = re.search(r'id="cle-totp">|class="secret" id="cle-totp">([A-Z2-7 ]+)<', browser.html)
    assert key
    from base64 import b32decode
    made = totp_code(b32decode(key[1].replace(" ", "")), int(stage.clock.now().timestamp()) // STEP_SECONDS)
    assert await browser.post("/compte/facteurs/totp", nom="x", code=made) == 200 and browser.html.count('class="secret"') == 10
    assert "Ajouter un second facteur" in await browser.get("/compte/facteurs"), "this session is strong"
    assert await desks.sessions.find(other) is None, "weaker ones are ended"


# ---------------------------------------------------------------- passkeys


async def test_challenges_serve_one_purpose_in_one_browser(stage: SmtpStage, desks: Desks) -> None:
    passkeys, ask = desks.passkeys, Ask("login", "browser", "https://mail.test")
    challenge = passkeys._challenge(ask)
    assert passkeys._fresh(challenge, ask)
    for other in (Ask("proof", "browser", ask.origin), Ask("login", "another", ask.origin)):
        assert not passkeys._fresh(challenge, other)
    assert not passkeys._fresh(challenge[:-1] + b"\0", ask) and not passkeys._fresh(b"", ask)
    passkeys._use(challenge)
    assert not passkeys._fresh(challenge, ask), "once"
    late = passkeys._challenge(ask)
    stage.clock.advance(timedelta(minutes=5))
    assert not passkeys._fresh(late, ask)


@pytest.mark.parametrize("origin", ["https://mail.test.evil.test", "http://mail.test", "https://evil.test", "https://127.0.0.1:1", ""])
def test_other_origins_have_no_passkeys(desks: Desks, origin: str) -> None:
    assert not desks.passkeys.serves(origin)
    assert desks.passkeys.serves("https://mail.test") and desks.passkeys.serves("https://mail.test:8443")


@pytest.mark.parametrize("response", ["", "x", "[]", "{}", '{"response": {}}', '{"response": {"clientDataJSON": "e30"}}',
                                      '{"response": {"clientDataJSON": 5}}', "[" * 10_000, "x" * 40_000])
async def test_broken_answers_prove_nothing(stage: SmtpStage, desks: Desks, response: str) -> None:
    ask = Ask("login", "browser", "https://mail.test")
    assert await desks.passkeys.prove(response, ask) == 0
    assert not await desks.passkeys.enrol(await account(stage), "x", response, ask)

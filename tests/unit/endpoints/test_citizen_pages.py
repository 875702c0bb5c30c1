"""The citizens' page over HTTP: headers, forms that are ours, what is shown and what is not, answers, portal. No browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from email.parser import BytesParser
from email.policy import SMTP
from http.cookies import SimpleCookie
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.citizen_stage import ALICE, CITIZEN, INS, REMOTE, USER, house, letter, send
from support.citizens import archive, cda, write
from support.smtp_stage import EXPIRY, SmtpStage, build

from mssante.documents.twin_html import policy
from mssante.endpoints.citizen_pages import CitizenPages
from mssante.endpoints.citizen_site import CitizenSite, PageSettings
from mssante.endpoints.web import _guard
from mssante.errors import InputFault
from mssante.services.citizen_signin import CitizenSignin, SigninSettings, portal_token
from mssante.services.citizen_space import CitizenSpace, SpaceSettings
from mssante.services.submission import Submission, SubmissionSettings
from mssante.services.workshop import Workshop, WorkshopLimits

KEY, PORTAL = b"p" * 32, "https://portail.chu.test"
PDF = b"%PDF-1.4\n"


@dataclass
class Person:
    """A citizen at a browser: cookies are kept by hand, as they are `Secure` and the test speaks plain HTTP."""

    client: TestClient[web.Request, web.Application]
    signin: CitizenSignin
    stage: SmtpStage
    cookies: dict[str, str]

    @property
    def origin(self) -> str:
        return str(self.client.make_url("/")).rstrip("/")

    async def call(self, method: str, path: str, *, origin: str | None = None, **more: object) -> tuple[int, str, aiohttp.ClientResponse]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST":
            headers["Origin"] = self.origin if origin is None else origin
        response = await self.client.request(method, path, headers=headers, allow_redirects=False, **more)  # type: ignore[arg-type]
        for line in response.headers.getall("Set-Cookie", []):
            for name, one in SimpleCookie(line).items():
                assert one["httponly"] and one["secure"] and one["samesite"] == "Strict" and name.startswith("__Host-")
                if one.value:
                    self.cookies[name] = one.value
                else:
                    self.cookies.pop(name, None)
        return response.status, (await response.read()).decode("utf-8", "replace"), response

    async def get(self, path: str = "/usager") -> str:
        status, text, _ = await self.call("GET", path)
        assert status == 200, text
        return text

    async def come_in(self) -> None:
        page = await self.get()
        code = await self.signin.issue(self.stage.mailboxes[USER])
        status, _, _ = await self.call("POST", "/usager/code", data={"code": code, "jeton": mark(page)})
        assert status == 303

    def link(self, page: str) -> str:
        return re.findall(r'href="(/usager/echange/[0-9a-f]{20})"', page)[0]


def mark(page: str) -> str:
    return re.findall(r'name="jeton" value="([0-9a-f]{64})"', page)[0]


def form(**fields: object) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, tuple):
            data.add_field(name, value[1], filename=value[0])
        else:
            data.add_field(name, str(value))
    return data


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    stage = await build(tmp_path)
    made = await house(stage)
    submission = Submission(stage.context, stage.accounts, SubmissionSettings("reject", {}, EXPIRY))
    workshop = Workshop(WorkshopLimits(memory_bytes=1_000_000_000))
    await workshop.open()
    space = CitizenSpace(stage.context, stage.stores, submission, made, SpaceSettings(100_000), workshop)
    signin = CitizenSignin(stage.stores, stage.clock, b"s" * 32, SigninSettings(CITIZEN, KEY))
    pages = CitizenPages(CitizenSite(signin, stage.accounts, PageSettings("CHU fictif", 100_000, frozenset({PORTAL}))), space)
    application = web.Application(middlewares=[_guard], client_max_size=300_000)
    application.add_routes(pages.routes())
    client = TestClient(TestServer(application))
    await client.start_server()
    yield Person(client, signin, stage, {})
    await client.close()
    await workshop.close()
    await stage.close()


async def receive(stage: SmtpStage, content: bytes, sender: str = REMOTE) -> None:
    wire = await stage.session(await stage.open("smtp"), "a")
    assert (await send(wire, sender, USER, content)).startswith("250 ")
    stage.clock.advance(timedelta(seconds=1))


async def test_headers_and_the_way_in(person: Person) -> None:
    status, page, response = await person.call("GET", "/usager")
    assert status == 200 and response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; form-action")
    assert response.headers["Cache-Control"] == "no-store" and response.headers["X-Frame-Options"] == "DENY"
    assert "<script" not in page and "style=" not in page and 'lang="fr"' in page and page.count("<h1>") == 1
    status, page, _ = await person.call("POST", "/usager/code", data={"code": "ZZZZZ-ZZZZZ", "jeton": mark(page)})
    assert status == 403 and "n&#x27;est pas valable" in page
    for path in ("/usager/echange/" + "0" * 20, "/usager/echange/" + "0" * 20 + "/document/0/0"):
        status, _, response = await person.call("GET", path)
        assert (status, response.headers["Location"]) == (303, "/usager")


@pytest.mark.parametrize(("origin", "token", "status"), [(None, True, 303), ("https://ailleurs.test", True, 403), ("", True, 403),
                                                         ("null", True, 403), (None, False, 403)])
async def test_only_our_own_forms(person: Person, origin: str | None, token: bool, status: int) -> None:
    page = await person.get()
    code = await person.signin.issue(person.stage.mailboxes[USER])
    found, _, _ = await person.call("POST", "/usager/code", origin=origin, data={"code": code, "jeton": mark(page) if token else "0" * 64})
    assert found == status


async def test_list_reading_and_documents(person: Person) -> None:
    content = write(REMOTE, USER, name="Dr_Claire_MARTIN_CHU", subject="XDM/1.0/DDM+Compte rendu <script>alert(1)</script>",
                    text="Bonjour <img src=x onerror=alert(1)>\n", zipped=[archive(cda(INS))]).raw
    await receive(person.stage, content)
    await person.come_in()
    page = await person.get()
    assert "Compte rendu &lt;script&gt;" in page and "XDM/1.0" not in page and "Nouveau" in page
    assert "Dr Claire MARTIN CHU" in page and "@" not in page and INS not in page
    place = person.link(page)
    page = await person.get(place)
    assert "&lt;img src=x" in page and "<img" not in page and "<script" not in page and "@" not in page
    document = re.findall(rf'href="({place}/document/0/\d+)"', page)[0]
    status, page, response = await person.call("GET", document)
    assert status == 200 and "Examen sans particularit" in page and '<main id="texte"' in page
    assert response.headers["Content-Security-Policy"] == f"{policy()}; frame-ancestors 'none'"
    assert response.headers["Cache-Control"] == "no-store" and response.headers["X-Frame-Options"] == "DENY"
    assert f'<a href="{place}">Retour à l&#x27;échange</a>' in page and f'<a href="{document}.pdf">' in page
    status, text, response = await person.call("GET", f"{document}.pdf")
    assert status == 200 and text.startswith("%PDF-1.")
    assert response.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''") and response.headers["Content-Disposition"].endswith(".pdf")
    assert "Nouveau" not in await person.get(), "it was read"
    for missing in ("document/0/99", "document/7/0", "document/0/99.pdf", "document/7/0.pdf"):
        assert (await person.call("GET", f"{place}/{missing}"))[0] == 404


async def test_a_cda_by_itself_and_one_whose_twin_cannot_be_made(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    made = BytesParser(policy=SMTP).parsebytes(write(REMOTE, USER, name="Dr A", subject="x", text="Bonjour\n").raw)
    for name, content in (("lettre.xml", cda(INS)), ("faux.xml", b"<ClinicalDocument/>")):
        made.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    raw = made.as_bytes()
    await receive(person.stage, raw)
    await person.come_in()
    place = person.link(await person.get())
    page = await person.get(place)
    (document,) = set(re.findall(rf'href="({place}/document/0/\d+)"', page))
    assert "faux <span" in page and '<main id="texte"' in await person.get(document)

    async def broken(*_: object, **__: object) -> bytes:
        raise InputFault("cannot", rule="DOC-PANNE")

    monkeypatch.setattr(Workshop, "run", broken)
    page = await person.get(document)
    assert "Examen sans particularit" in page and '<pre class="lettre">' in page, "its text, for want of better"
    assert (await person.call("GET", f"{document}.pdf"))[0] == 404


def hidden(raw: bytes) -> bytes:
    """Give a CDA that its author made invisible to the patient."""
    changed = re.sub(rb'<confidentialityCode[^>]*code="N"', lambda found: found.group().replace(b'"N"', b'"INVISIBLE_PATIENT"'), raw)
    assert changed != raw
    return changed


@pytest.mark.parametrize("form", ["archive", "alone", "text", "comment"])
async def test_what_is_invisible_to_the_patient_is_not_there(person: Person, form: str) -> None:
    """Neither the document nor the PDF beside it, which is its copy; the letter itself stays."""
    content = hidden(cda(INS))
    files = {"archive": ("IHE_XDM.ZIP", archive(content)), "alone": ("cr.xml", content), "text": ("cr.txt", content),
             "comment": ("cr.bin", b"<!-- x -->" + content.partition(b"?>")[2])}
    made = BytesParser(policy=SMTP).parsebytes(write(REMOTE, USER, name="Dr A", subject="x", text="Bonjour vous.\n").raw)
    for name, octets in (("copie.pdf", PDF), files[form]):
        made.add_attachment(octets, maintype="application", subtype="octet-stream", filename=name)
    await receive(person.stage, made.as_bytes())
    await person.come_in()
    place = person.link(await person.get())
    page = await person.get(place)
    assert "Bonjour vous." in page and "document/" not in page and "copie" not in page and "ne s&#x27;ouvre pas" not in page
    for number in range(3):
        for ending in ("", ".pdf"):
            assert (await person.call("GET", f"{place}/document/0/{number}{ending}"))[0] == 404


async def test_a_pdf_is_a_download_and_a_web_page_is_nothing(person: Person) -> None:
    raw = (b"From: Dr A <docteur@a.mssante.fr>\r\nTo: u\r\nSubject: x\r\nMessage-ID: <m@x>\r\nMIME-Version: 1.0\r\n"
           b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Bonjour&nbsp;<b>vous</b></p>"
           b"<script>x</script>\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=\"page.pdf\"\r\n\r\n<script>\r\n"
           b"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"../../a\"\r\n\r\n%PDF-1.4\r\n--b--\r\n")
    await receive(person.stage, raw)
    await person.come_in()
    place = person.link(await person.get())
    page = await person.get(place)
    assert "Bonjour" in page and "vous" in page and "page.pdf <span" in page and "ne s&#x27;ouvre pas ici" in page
    (number,) = re.findall(rf'href="{place}/document/0/(\d+)"', page)
    status, text, response = await person.call("GET", f"{place}/document/0/{number}")
    assert status == 200 and text.startswith("%PDF") and response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a.pdf"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert (await person.call("GET", f"{place}/document/0/0"))[0] == 404, "HTML named .pdf is not given out"


async def test_reading_sends_one_receipt(person: Person) -> None:
    await receive(person.stage, letter(REMOTE, USER, "one", Disposition_Notification_To=REMOTE))
    await person.come_in()
    place = person.link(await person.get())
    for _ in range(3):
        await person.get(place)
    sent = [item for item in await person.stage.queue() if item.address == REMOTE]
    assert len(sent) == 1 and sent[0].sender == ""


async def test_answer_with_attachment_then_closed(person: Person) -> None:
    stage = person.stage
    await receive(stage, letter(REMOTE, USER, "one"))
    await person.come_in()
    place = person.link(await person.get())
    token = mark(await person.get(place))
    for data, words in ((form(jeton=token, texte="  "), "Écrivez votre message"),
                        (form(jeton=token, texte="ok", pieces=("a.exe", b"MZ\0")), "n&#x27;est pas admis"),
                        (form(jeton=token, texte="ok", pieces=("a.pdf", PDF + b"x" * 100_001)), "trop grosses")):
        status, page, _ = await person.call("POST", f"{place}/reponse", data=data)
        assert status == 400 and words in page
        assert "ok" in page or words.startswith("Écrivez")
    assert (await person.call("POST", f"{place}/reponse", data=form(jeton="0" * 64, texte="x")))[0] == 403
    assert (await person.call("POST", f"{place}/reponse", origin="https://x.test", data=form(jeton=token, texte="x")))[0] == 403
    assert (await person.call("POST", f"{place}/reponse", data=form(jeton=token, texte="x", pieces=("a.pdf", PDF + b"x" * 700_000))))[0] == 413
    status, _, response = await person.call("POST", f"{place}/reponse", data=form(
        jeton=token, texte="Merci <b>docteur</b>", pieces=("bilan.pdf", PDF)))
    assert (status, response.headers["Location"]) == (303, "/usager?envoye=1")
    (queued,) = [item for item in await stage.queue() if item.address == REMOTE]
    (content,) = await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, [queued.message_id], with_body=True))
    raw = content.inline or b""
    assert b"In-Reply-To: <one@test>" in raw and b'filename="bilan.pdf"' in raw and b"Subject: Re: Suites" in raw
    assert '<article class="mien">' in await person.get(place)
    await receive(stage, letter(REMOTE, USER, "end", In_Reply_To="<one@test>", X_MSS_MES="FIN"))
    status, page, _ = await person.call("POST", f"{place}/reponse", data=form(jeton=token, texte="Encore une question"))
    assert status == 400 and "Cet échange est clos" in page and "<textarea" not in page and "Encore une question" in page
    assert not any(INS in f"{row.subject} {row.payload}" for row in await stage.journal())


async def test_large_print_and_leaving(person: Person) -> None:
    await person.come_in()
    token = mark(await person.get())
    assert (await person.call("POST", "/usager/taille", data={"jeton": token, "grand": "1"}))[0] == 303
    assert '<html lang="fr" class="grand">' in await person.get()
    assert (await person.call("POST", "/usager/taille", data={"jeton": token, "grand": "0"}))[0] == 303
    assert "grand" not in (await person.get()).partition("<body>")[0]
    held = dict(person.cookies)
    assert (await person.call("POST", "/usager/sortie", data={"jeton": token}))[0] == 303
    person.cookies.update(held)
    assert "Votre code de connexion" in await person.get(), "the session is over, whoever kept the cookie"


async def test_the_portal_of_the_establishment(person: Person) -> None:
    token = portal_token(KEY, INS, person.stage.clock.now(), unique="1")
    assert (await person.call("POST", "/usager/portail", data={"jeton": token}))[0] == 403, "from an origin that is not the portal's"
    status, page, _ = await person.call("POST", "/usager/portail", origin=PORTAL, data={"jeton": token})
    assert status == 200 and 'href="/usager"' in page
    assert "Mes échanges" in await person.get()
    person.cookies.clear()
    status, page, _ = await person.call("POST", "/usager/portail", origin=PORTAL, data={"jeton": token})
    assert status == 403 and INS not in page, "once"


async def test_large_print_holds_in_a_document(person: Person) -> None:
    await receive(person.stage, write(REMOTE, USER, name="Dr A", subject="x", text="y\n", zipped=[archive(cda(INS))]).raw)
    await person.come_in()
    page = await person.get()
    await person.call("POST", "/usager/taille", data={"grand": "1", "jeton": mark(page)})
    place = person.link(page)
    document = re.findall(rf'href="({place}/document/0/\d+)"', await person.get(place))[0]
    assert '<html lang="fr" class="large">' in re.sub(r'lang="[^"]*"', 'lang="fr"', await person.get(document))


async def test_another_citizens_exchange_is_not_there(person: Person) -> None:
    await receive(person.stage, letter(REMOTE, USER, "one"))
    await person.come_in()
    place = person.link(await person.get())
    stranger = person.stage.mailboxes[ALICE]
    person.cookies.clear()
    token = await person.signin.enter_by_code(await person.signin.issue(stranger))
    assert token == "" and (await person.call("GET", place))[0] == 303

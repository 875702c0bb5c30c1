"""`/usager`: the citizen signs in, sees exchanges, reads, opens documents, answers with attachments.

- Works with a keyboard, a screen reader and without script; every action is a link or a button of a form.
- The professional is a name (F9.3). Where the exchange is closed, the page says so in the place of the form.
- A document is a page of ours, or a download: nothing that somebody sent is ever run or framed. The page of a CDA is its
  twin (`documents.twin_html`), with its own policy; for want of one, its text.
See `citizen_site` for cookies, forms and headers; `services/citizen_space.py` for what is behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from aiohttp import web
from aiohttp.web_request import FileField

from mssante.documents.twin_html import Frame, policy
from mssante.endpoints.account_html import Markup, Piece, button, field, form, notice, tag
from mssante.endpoints.account_site import Stop
from mssante.endpoints.citizen_html import paragraphs
from mssante.endpoints.citizen_site import BROWSER, SESSION, SIZE, CitizenSite, citizen_style, is_large
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.mime.headers import decode_raw
from mssante.services.citizen_reading import FileListed, FileShown, LetterShown
from mssante.services.citizen_signin import CitizenVisit
from mssante.services.citizen_space import MAX_FILES, MAX_TEXT, CitizenSpace, ExchangeShown

MAX_EXTRA = 512 * 1024  # octets of an answer beside its files
MAX_LISTED = 100


class CitizenPages:
    """The pages."""

    def __init__(self, site: CitizenSite, space: CitizenSpace) -> None:
        self._site = site
        self._space = space

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        wrap = self._site.wrap
        one = "/usager/echange/{name:[0-9a-f]{20}}"
        return [web.get("/usager", wrap(self.home)), web.get("/usager/style.css", citizen_style),
                web.post("/usager/code", wrap(self.code)), web.post("/usager/portail", wrap(self.portal)),
                web.post("/usager/taille", wrap(self.size)), web.post("/usager/sortie", wrap(self.leave)),
                web.get(one, wrap(self.exchange)), web.post(f"{one}/reponse", wrap(self.answer)),
                web.get(one + "/document/{rank:[0-9]{1,4}}/{file:[0-9]{1,3}}", wrap(self.document)),
                web.get(one + "/document/{rank:[0-9]{1,4}}/{file:[0-9]{1,3}}.pdf", wrap(self.printed))]

    # ------------------------------------------------------------ coming in

    async def home(self, request: web.Request) -> web.StreamResponse:
        """The exchanges, or the way in."""
        visit = await self._site.visit(request)
        return self._sign_in(request) if visit is None else await self._list(request, visit)

    def _sign_in(self, request: web.Request, problem: str = "", status: int = 200) -> web.Response:
        site, browser = self._site, self._site.browser(request)
        response = site.page(
            request, say("Ouvrir mon espace", "Open my space"), notice(problem, bad=True) if problem else None,
            tag("p", say("Ici, vous lisez les messages de vos professionnels de santé et vous leur répondez.",
                         "Here you read the messages of your health professionals and answer them.")),
            form("/usager/code", site.signin.form_token(browser),
                 field(say("Votre code de connexion", "Your sign-in code"), "code",
                       hint=say("Dix lettres et chiffres, remis par votre établissement. Il sert une seule fois.",
                                "Ten letters and digits, given by your establishment. It opens once."),
                       required=True, autocomplete="one-time-code", autocapitalize="characters", spellcheck="false",
                       maxlength="20"),
                 button(say("Entrer", "Enter"))),
            tag("p", say("Pas de code ? Demandez-le à l'accueil de votre établissement, ou passez par son portail.",
                         "No code? Ask your establishment for one, or come by its portal.")), status=status)
        site.set_cookie(response, BROWSER, browser)
        return response

    async def code(self, request: web.Request) -> web.StreamResponse:
        """A code was typed."""
        site = self._site
        fields = await site.fields(request, request.cookies.get(BROWSER, ""))
        token = await site.signin.enter_by_code(fields.get("code", ""))
        if not token:
            await site.wrong(request)
            return self._sign_in(request, say(
                "Ce code n'est pas valable : il est faux, déjà utilisé ou trop ancien. Demandez-en un autre.",
                "This code is not valid: wrong, used already or too old. Ask for another one."),
                                              403)
        response = site.go("/usager")
        site.set_cookie(response, SESSION, token)
        site.set_cookie(response, BROWSER, "")
        return response

    async def portal(self, request: web.Request) -> web.StreamResponse:
        """A token of the establishment's portal. The page that answers has a link, not a redirection: a strict cookie is not sent
        along a navigation that began on another site."""
        site = self._site
        if not site.signin.has_portal or request.headers.get("Origin", "") not in site.settings.portal_origins:
            raise Stop(site.refusal(request, 403, say("Cette entrée n'est pas ouverte.", "This way in is not open.")))
        token = await site.signin.enter_by_portal((await site.fields(request, None)).get("jeton", ""))
        if not token:
            await site.wrong(request)
            return self._sign_in(request, say("Le portail n'a pas pu vous reconnaître. Recommencez depuis le portail.",
                                              "The portal could not identify you. Start again from the portal."), 403)
        response = site.page(request, say("Vous êtes connecté", "You are signed in"),
                             tag("p", tag("a", say("Voir mes échanges", "See my messages"), href="/usager")))
        site.set_cookie(response, SESSION, token)
        return response

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """The person leaves."""
        visit = await self._site.inside(request)
        await self._site.fields(request, visit.token)
        await self._site.signin.leave(visit.token)
        response = self._site.go("/usager")
        self._site.set_cookie(response, SESSION, "")
        return response

    async def size(self, request: web.Request) -> web.StreamResponse:
        """Large print on or off."""
        visit = await self._site.inside(request)
        fields = await self._site.fields(request, visit.token)
        response = self._site.go("/usager")
        self._site.set_cookie(response, SIZE, "1" if fields.get("grand") == "1" else "")
        return response

    # ------------------------------------------------------------ reading

    async def _list(self, request: web.Request, visit: CitizenVisit) -> web.Response:
        exchanges = await self._space.exchanges(visit.mailbox)
        unread = sum(1 for one in exchanges if one.unread)
        told = {0: say("Aucun nouveau message.", "No new message."), 1: say("Un échange a un nouveau message.",
                                                                            "One exchange has a new message.")}
        lead = told.get(unread, say(f"{unread} échanges ont de nouveaux messages.", f"{unread} exchanges have new messages."))
        body: Piece = tag("ul", *[_entry(one) for one in exchanges[:MAX_LISTED]], class_="echanges") if exchanges else tag("p",
                                                                                                                           say(
            "Vos professionnels de santé ne vous ont pas encore écrit.", "Your health professionals have not written yet."))
        sent = request.query.get("envoye") == "1"
        return self._site.page(
            request, say("Mes échanges", "My messages"),
            notice(say("Votre réponse est partie.", "Your answer was sent.")) if sent else None,
            tag("p", lead), body, visit=visit)

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """One exchange, read: its messages, their documents, the answer."""
        visit = await self._site.inside(request)
        shown = await self._found(request, visit)
        page = self._exchange_page(request, visit, shown)
        await self._space.opened(visit.mailbox, shown)
        return page

    async def _found(self, request: web.Request, visit: CitizenVisit) -> ExchangeShown:
        shown = await self._space.exchange(visit.mailbox, request.match_info["name"])
        if shown is None:
            raise Stop(self._site.refusal(request, 404,
                                          say("Cet échange n'existe plus.", "This exchange does not exist any more.")))
        return shown

    def _exchange_page(self, request: web.Request, visit: CitizenVisit, shown: ExchangeShown, problem: str = "", *,
                       typed: str = "") -> web.Response:
        """problem: why an answer was refused; typed: its text, which must not be lost."""
        return self._site.page(
            request, shown.subject, tag("p", tag("a", say("Retour à mes échanges", "Back to my messages"), href="/usager")),
            notice(problem, bad=True) if problem else None,
            tag("p", say("Avec ", "With "), tag("span", shown.who, class_="qui")),
            *[_letter(one, shown, rank) for rank, one in enumerate(shown.letters)],
            self._form(visit, shown, typed) if shown.open else _closed(typed), visit=visit, status=400 if problem else 200)

    def _form(self, visit: CitizenVisit, shown: ExchangeShown, typed: str) -> Markup:
        most = self._site.settings.attachment_bytes // 1_000_000
        return tag("section", tag("h2", say("Répondre", "Answer"), id="repondre"), form(
            f"/usager/echange/{shown.name}/reponse", self._site.signin.form_token(visit.token),
            tag("div", tag("label", say("Votre message", "Your message"), for_="texte"),
                tag("textarea", typed, name="texte", id="texte", required=True, maxlength=str(MAX_TEXT), rows="8"),
                class_="field"),
            tag("div", tag("label", say("Pièces jointes (facultatif)", "Attachments (optional)"), for_="pieces"),
                tag("span", say(f"PDF, photo (JPEG, PNG) ou texte ; {MAX_FILES} fichiers, {most} Mo en tout.",
                                f"PDF, picture (JPEG, PNG) or text; {MAX_FILES} files, {most} MB in all."), id="pieces-hint",
                    class_="hint"),
                tag("input", type="file", name="pieces", id="pieces", multiple=True, aria_describedby="pieces-hint",
                    accept=".pdf,.jpg,.jpeg,.png,.txt"), class_="field"),
            button(say("Envoyer ma réponse", "Send my answer")), enctype="multipart/form-data"), aria_labelledby="repondre")

    async def document(self, request: web.Request) -> web.StreamResponse:
        """One document: the twin of a CDA or a text on a page, anything else a download."""
        visit = await self._site.inside(request)
        found = await self._file(request, visit)
        words, place = say("Retour à l'échange", "Back to the exchange"), f"/usager/echange/{request.match_info['name']}"
        if found.is_cda:
            keep = say("Télécharger en PDF", "Download as PDF"), f"{request.path}.pdf"
            frame = Frame(((words, place), keep), is_large(request))
            page = await self._space.page(found, frame)
            if page is not None:
                return web.Response(body=page, content_type="text/html", charset="utf-8",
                                    headers={"Content-Security-Policy": f"{policy()}; frame-ancestors 'none'"})
            found = await self._space.plain(found)
        if found.media_type.startswith("text/plain"):
            back = tag("p", tag("a", words, href=place))
            return self._site.page(request, found.name, back, tag("pre", decode_raw(found.content), class_="lettre"), back,
                                   visit=visit)
        return _download(found.name, found.media_type, found.content)

    async def printed(self, request: web.Request) -> web.StreamResponse:
        """One CDA as a PDF, to keep."""
        found = await self._file(request, await self._site.inside(request))
        content = await self._space.pdf(found) if found.is_cda else None
        if content is None:
            raise self._unreadable(request)
        return _download(f"{found.name}.pdf", "application/pdf", content)

    async def _file(self, request: web.Request, visit: CitizenVisit) -> FileShown:
        asked = request.match_info
        found = await self._space.document(visit.mailbox, asked["name"], int(asked["rank"]), int(asked["file"]))
        if found is None:
            raise self._unreadable(request)
        return found

    def _unreadable(self, request: web.Request) -> Stop:
        return Stop(self._site.refusal(request, 404,
                                       say("Ce document n'est pas lisible ici.", "This document cannot be read here.")))

    # ------------------------------------------------------------ answering

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer was sent."""
        site, visit = self._site, await self._site.inside(request)
        site.check_origin(request)
        length = request.content_length
        if request.content_type != "multipart/form-data" or length is None or length > site.settings.attachment_bytes + MAX_EXTRA:
            return site.refusal(request, 413, say("Vos pièces jointes sont trop grosses.", "Your attachments are too big."))
        data = await request.post()
        site.check_token(request, visit.token, data)
        shown = await self._found(request, visit)
        text = data.get("texte", "")
        typed = text if isinstance(text, str) else ""
        try:
            files = self._space.checked_files([(one.filename, one.file.read()) for one in data.getall("pieces", [])
                                               if isinstance(one, FileField) and one.filename])
            await self._space.answer(visit.mailbox, shown, typed, files)
        except InputFault as fault:
            again = await self._found(request, visit)  # it may have been closed meanwhile
            return self._exchange_page(request, visit, again, f"{fault.public}.", typed=typed)
        return site.go("/usager?envoye=1")


def _download(name: str, media_type: str, content: bytes) -> web.Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return web.Response(body=content, content_type=media_type, headers={"Content-Disposition": disposition})


def _closed(typed: str) -> Markup:
    """What stands in the place of the form of a closed exchange."""
    lost = (tag("p", say("Votre texte, qui n'est pas parti :", "Your text, which was not sent:")),
            tag("pre", typed, class_="lettre")) if typed else ()
    return tag("section", tag("h2", say("Répondre", "Answer"), id="repondre"), tag("p", say(
        "Cet échange est clos : votre correspondant n'attend pas de réponse.",
        "This exchange is closed: no answer is expected.")), *lost, aria_labelledby="repondre")


def _entry(one: ExchangeShown) -> Markup:
    """One exchange of the list."""
    news = tag("span", say("Nouveau", "New"), class_="neuf") if one.unread else None
    state = say("Vous pouvez répondre", "You may answer") if one.open else say("Échange clos", "Closed")
    return tag("li", tag("a", one.subject, href=f"/usager/echange/{one.name}"), Markup(" "), news,
               tag("p", tag("span", one.who, class_="qui"), Markup(" · "), tag("span", _day(one.last_at), class_="quand"),
                   Markup(" · "), tag("span", state, class_="etat")))


def _letter(one: LetterShown, shown: ExchangeShown, rank: int) -> Markup:
    """One message of an exchange."""
    who = say("Vous", "You") if one.mine else (one.who or shown.who)
    files = tag("div", tag("h3", say("Documents", "Documents")), tag("ul", *[_file(listed, shown, rank) for listed in one.files],
                                                                     class_="pieces")) if one.files else None
    return tag("article", tag("h2", tag("span", who, class_="qui"), Markup(", "), tag("span", _day(one.at), class_="quand")),
               tag("div", paragraphs(one.text) if one.text else tag("p", say("(pas de texte)", "(no text)")), class_="lettre"),
               files,
               class_="mien" if one.mine else None)


def _file(listed: FileListed, shown: ExchangeShown, rank: int) -> Markup:
    """One document of a message."""
    size = f"{max(listed.size // 1000, 1)} Ko" if listed.size < 1_000_000 else f"{listed.size / 1_000_000:.1f} Mo".replace(".",
                                                                                                                           ",")
    if not listed.kind:
        return tag("li", f"{listed.name} ", tag("span", say("(ne s'ouvre pas ici)", "(cannot be opened here)"), class_="hint"))
    place = f"/usager/echange/{shown.name}/document/{rank}/{listed.number}"
    if listed.kind == "document":
        return tag("li", tag("a", f"{say('Lire', 'Read')} : {listed.name}", href=place), Markup(" · "),
                   tag("a", say("Télécharger en PDF", "Download as PDF"), tag("span", f" : {listed.name}", class_="entendu"),
                       href=f"{place}.pdf"))
    act = say("Lire", "Read") if listed.kind == "texte" else say("Télécharger", "Download")
    return tag("li", tag("a", f"{act} : {listed.name} ({listed.kind}, {size})", href=place))


def _day(at: datetime) -> str:
    """Give an instant as a person reads it."""
    return f"{at.astimezone():%d/%m/%Y %H:%M}"

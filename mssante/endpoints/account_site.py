"""The ground under the pages of the web account: cookies, forms that are ours, languages, headers.

- Cookies are `__Host-`, Secure, HttpOnly, SameSite=Strict: one names the browser before any login, one the session.
- A form is taken only from our own origin (Origin header), with the token of its cookie, urlencoded, up to `MAX_FORM` octets;
  anything else is 403, 413 or 415, and nothing was done.
- Redirections lead to fixed places only. Pages forbid framing, scripts and styles but our own two files, and caching.
- Answers never tell whether a login exists.
Base of `account_signin`, `account_factors`, `account_apps`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from aiohttp import web

from mssante.endpoints.account_html import SCRIPT, STYLE, Markup, Piece, form, hidden, notice, page, tag
from mssante.endpoints.web import peer_of
from mssante.errors import InputFault
from mssante.lang import language, say, set_language
from mssante.services.accounts import Accounts
from mssante.services.apppasswords import AppPasswords
from mssante.services.passkeys import Ask, Passkeys
from mssante.services.sasl import Caller, TryLater
from mssante.services.secondfactor import SecondFactors
from mssante.services.websession import Visit, WebSessions
from mssante.storage.interfaces import Stores

MAX_FORM = 64 * 1024
MAX_FIELDS = 50
SESSION = "__Host-mssante"
BROWSER = "__Host-mssante-avant"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; "
                               "frame-ancestors 'none'",
    "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",  # no-referrer would blank the Origin of our own forms
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin", "Vary": "Accept-Language, Cookie",
}
Fields = dict[str, list[str]]
Shown = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What pages tell. operator: its name; host, imap, submission, dav: where programs connect (`host:port`)."""

    operator: str
    host: str
    imap: str = ""
    submission: str = ""
    dav: str = ""
    documents: bool = False  # readable twins have a page


@dataclass(frozen=True, slots=True)
class Desks:
    """What pages ask."""

    stores: Stores
    accounts: Accounts
    sessions: WebSessions
    factors: SecondFactors
    passkeys: Passkeys
    apps: AppPasswords


class Stop(Exception):
    """Answer at once with this."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class Site:
    """What all pages share."""

    def __init__(self, desks: Desks, settings: Settings) -> None:
        self.desks = desks
        self.settings = settings

    # ------------------------------------------------------------------------------------------ answers

    def wrap(self, handler: Shown) -> Shown:
        """Give a handler whose page has its language, headers and faults."""
        async def wrapped(request: web.Request) -> web.StreamResponse:
            before = language()
            set_language(preferred(request.headers.get("Accept-Language", "")))
            try:
                response = await handler(request)
            except Stop as stop:
                response = stop.response
            except TryLater:
                response = self.page(request, say("Trop d'essais", "Too many tries"), notice(say(
                    "Trop d'essais autour de ce compte ou de ce réseau. Réessayez dans quelques minutes.",
                    "Too many tries around this login or network. Try again in some minutes."), bad=True), status=429)
                response.headers["Retry-After"] = "120"
            except InputFault as fault:
                response = self.page(request, say("Refusé", "Refused"),
                                     notice(f"{fault.public}. {fault.remedy} [{fault.rule}]", bad=True), status=400)
            finally:
                set_language(before)
            for name, value in HEADERS.items():
                response.headers[name] = value
            return response

        return wrapped

    def page(self, request: web.Request, title: str, *body: Piece, visit: Visit | None = None, status: int = 200,
             script: bool = False) -> web.Response:
        """Give a page; with the menu when somebody is fully there."""
        menu = self._menu(visit) if visit is not None and not visit.pending else None
        shown = page(title, *body, operator=self.settings.operator, menu=menu, script=script)
        return web.Response(text=shown, content_type="text/html", status=status)

    def _menu(self, visit: Visit) -> Markup:
        places = (("/compte", say("Vue d'ensemble", "Overview")), ("/compte/facteurs", say("Seconds facteurs", "Second factors")),
                  ("/compte/applications", say("Mots de passe d'application", "App passwords")),
                  ("/compte/sessions", "Sessions"),
                  *((("/compte/documents", "Documents"),) if self.settings.documents else ()))
        leave = form("/compte/deconnexion", self.token(visit), tag(
            "button", say("Se déconnecter", "Log out"), type="submit", class_="plain"))
        return tag("nav", tag("ul", *[tag("li", tag("a", words, href=place)) for place, words in places], tag("li", leave)),
                   aria_label=say("Compte", "Account"))

    @staticmethod
    def go(place: str) -> web.Response:
        """Send the browser to a page of ours."""
        return web.Response(status=303, headers={"Location": place})

    def refuse(self, request: web.Request, status: int, words: str) -> Stop:
        """Give a refusal to raise."""
        return Stop(self.page(request, say("Refusé", "Refused"), notice(words, bad=True),
                              tag("p", tag("a", say("Retour au compte", "Back to the account"), href="/compte")), status=status))

    # ------------------------------------------------------------------------------------------ who

    def caller(self, request: web.Request) -> Caller:
        """Give who asks."""
        return Caller(peer_of(request), "web")

    def origin(self, request: web.Request) -> str:
        """Give the origin that this request was made to."""
        return f"{request.scheme}://{request.host}"

    async def visit(self, request: web.Request) -> Visit | None:
        """Give the visit of a request, None when nobody is logged in."""
        return await self.desks.sessions.find(request.cookies.get(SESSION, ""))

    async def inside(self, request: web.Request) -> Visit:
        """Give the visit of somebody who is fully there, else stop at the login page."""
        visit = await self.visit(request)
        if visit is None or visit.pending:
            raise Stop(self.go("/compte"))
        return visit

    async def proven(self, request: web.Request, back: str) -> Visit:
        """Give the visit of somebody who proved all he has a short while ago, else stop at the page that asks for it.

        back: name of the page to come back to, one of `account_signin.BACK`."""
        visit = await self.inside(request)
        if not self.desks.sessions.is_fresh(visit):
            raise Stop(self.go(f"/compte/preuve?retour={back}"))
        return visit

    def browser(self, request: web.Request) -> str:
        """Give the name of a browser before login, a new one when it has none."""
        held = request.cookies.get(BROWSER, "")
        return held if 40 <= len(held) <= 50 and held.replace("-", "a").replace("_", "a").isalnum() else secrets.token_urlsafe(32)

    def set_cookie(self, response: web.Response, name: str, value: str) -> None:
        """Set (or, empty, remove) a cookie as it must be."""
        if value:
            response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="Strict")
        else:
            response.set_cookie(name, "", path="/", secure=True, httponly=True, samesite="Strict", max_age=0)

    # ------------------------------------------------------------------------------------------ forms

    def token(self, visit: Visit) -> str:
        """Give the token for the forms of a visit."""
        return self.desks.sessions.form_token(visit.token)

    async def fields(self, request: web.Request, cookie: str) -> Fields:
        """Give the fields of a form of ours, shown under this cookie; else stop."""
        if request.headers.get("Origin", "") != self.origin(request):
            raise self.refuse(request, 403, say("Cette demande ne vient pas de cette page.",
                                                "This does not come from this page."))
        if request.content_type != "application/x-www-form-urlencoded":
            raise self.refuse(request, 415, say("Forme de demande inconnue.", "Unknown form of request."))
        if request.content_length is None or request.content_length > MAX_FORM:
            raise self.refuse(request, 413, say("Demande trop longue.", "Request too long."))
        try:
            pairs = parse_qsl((await request.read()).decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            raise self.refuse(request, 400, say("Demande illisible.", "Unreadable request.")) from None
        fields: Fields = {}
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
        if not self.desks.sessions.form_is_ours(cookie, first(fields, "jeton")):
            raise self.refuse(request, 403, say("Cette page avait expiré. Recommencez.",
                                                "This page was out of date. Start again."))
        return fields

    # ------------------------------------------------------------------------------------------ passkeys

    def ask(self, request: web.Request, purpose: str, bound: str) -> Ask:
        """Give what an answer of a browser is judged against."""
        return Ask(purpose, bound, self.origin(request))

    def key_form(self, action: str, token: str, options: str, *extra: Piece, words: str, make: bool = False) -> Markup:
        """Give the form of a passkey: shown by the script where browsers know passkeys."""
        return form(action, token, hidden("reponse", ""), *extra, tag("button", words, type="submit"),
                    tag("span", say("La clé n'a pas répondu. Réessayez.", "The passkey did not answer. Try again."),
                        class_="notice bad",
                        role="alert", hidden=True, data_problem=True),
                    data_options=options, data_make="1" if make else None, hidden=True)


def first(fields: Fields, name: str) -> str:
    """Give the first value of a field, empty for none."""
    return fields.get(name, [""])[0]


def preferred(header: str) -> str:
    """Give `en` when a browser wants English before French (RFC 9110 §12.5.4), else `fr`."""
    weights = {"fr": 0.0, "en": 0.0}
    for part in header[:500].split(","):
        name, _, rest = part.strip().partition(";")
        code = name[:2].lower()
        if code in weights:
            try:
                weights[code] = max(weights[code], float(rest.strip().removeprefix("q=") or "1"))
            except ValueError:
                continue
    return "en" if weights["en"] > weights["fr"] else "fr"


def told(at: datetime | None) -> str:
    """Give an instant as a person reads it, in UTC."""
    return at.strftime("%d/%m/%Y %H:%M UTC") if at is not None else say("jamais", "never")


async def style(request: web.Request) -> web.Response:
    """The style sheet."""
    return web.Response(text=STYLE, content_type="text/css", headers={"Cache-Control": "max-age=3600"})


async def script(request: web.Request) -> web.Response:
    """The script of passkeys."""
    return web.Response(text=SCRIPT, content_type="text/javascript", headers={"Cache-Control": "max-age=3600"})

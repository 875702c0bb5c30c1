"""The ground under the citizens' page: cookies, forms that are ours, headers, sign in, large print.

- Cookies are `__Host-`, Secure, HttpOnly, SameSite=Strict: the session, the browser before it, the size of text. None names
  anybody.
- A form is taken from our own origin only, with the token of its cookie; the portal's token alone comes from elsewhere, from the
  origins that the configuration names, signed and once.
- No script, no style but our own file, no frame, no cache; URLs hold hashes only; no access log exists.
- Answers never tell whether a code or a person exists. Wrong codes are counted by network, with their delay
  (services/guessing.py).
Base of `citizen_pages`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

from mssante.endpoints.account_html import Markup, Piece, form, notice, tag
from mssante.endpoints.account_site import Shown, Stop, preferred
from mssante.endpoints.citizen_html import CITIZEN_STYLE, citizen_page
from mssante.endpoints.web import peer_of
from mssante.errors import InputFault
from mssante.lang import language, say, set_language
from mssante.services.accounts import Accounts
from mssante.services.citizen_signin import CitizenSignin, CitizenVisit
from mssante.services.sasl import Caller, TryLater

MAX_FORM = 16 * 1024
SESSION = "__Host-usager"
BROWSER = "__Host-usager-avant"
SIZE = "__Host-usager-taille"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
                               "frame-ancestors 'none'",
    "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",  # no-referrer would blank the Origin of our own forms
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()", "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Language, Cookie",
}


@dataclass(frozen=True, slots=True)
class PageSettings:
    """service: who offers the page; attachment_bytes: of an answer; portal_origins: where tokens of the portal come from."""

    service: str
    attachment_bytes: int
    portal_origins: frozenset[str] = frozenset()


class CitizenSite:
    """What all pages share."""

    def __init__(self, signin: CitizenSignin, accounts: Accounts, settings: PageSettings) -> None:
        self.signin = signin
        self.settings = settings
        self._accounts = accounts

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
                    "Trop de codes refusés. Réessayez dans quelques minutes.",
                    "Too many codes refused. Try again in some minutes."), bad=True), status=429)
                response.headers["Retry-After"] = "120"
            except InputFault as fault:
                response = self.refusal(request, 400, f"{fault.public}.")
            except web.HTTPRequestEntityTooLarge:
                response = self.refusal(request, 413, say("Votre envoi est trop gros.", "What you send is too big."))
            finally:
                set_language(before)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)  # the page of a document has its own policy
            return response

        return wrapped

    def page(self, request: web.Request, title: str, *body: Piece, visit: CitizenVisit | None = None, status: int = 200,
             ) -> web.Response:
        """Give a page, with its tools."""
        shown = citizen_page(title, *body, service=self.settings.service, tools=self._tools(request, visit),
                             large=is_large(request))
        return web.Response(text=shown, content_type="text/html", status=status)

    def _tools(self, request: web.Request, visit: CitizenVisit | None) -> Markup | None:
        if visit is None:
            return None
        token, large = self.signin.form_token(visit.token), is_large(request)
        words = say("Texte normal", "Normal text") if large else say("Agrandir le texte", "Larger text")
        return tag("div", form("/usager/taille", token, tag("input", type="hidden", name="grand", value="0" if large else "1"),
                               tag("button", words, type="submit", class_="plain")),
                   form("/usager/sortie", token, tag("button", say("Quitter", "Leave"), type="submit", class_="plain")),
                   class_="outils")

    @staticmethod
    def go(place: str) -> web.Response:
        """Send the browser to a page of ours."""
        return web.Response(status=303, headers={"Location": place})

    def refusal(self, request: web.Request, status: int, words: str) -> web.Response:
        """Give a refusal with the way back."""
        return self.page(request, say("Ce n'est pas possible", "This is not possible"), notice(words, bad=True),
                         tag("p", tag("a", say("Retour à mes échanges", "Back to my messages"), href="/usager")), status=status)

    # ------------------------------------------------------------ who

    async def visit(self, request: web.Request) -> CitizenVisit | None:
        """Give the visit of a request, None when nobody is there."""
        return await self.signin.find(request.cookies.get(SESSION, ""))

    async def inside(self, request: web.Request) -> CitizenVisit:
        """Give the visit of somebody who is there, else stop at the sign-in page."""
        visit = await self.visit(request)
        if visit is None:
            raise Stop(self.go("/usager"))
        return visit

    async def wrong(self, request: web.Request) -> None:
        """A code was wrong: its delay."""
        await self._accounts.disproved("", Caller(peer_of(request), "web"))

    def browser(self, request: web.Request) -> str:
        """Give the name of a browser before it signs in, a new one when it has none."""
        held = request.cookies.get(BROWSER, "")
        return held if len(held) == 43 and held.replace("-", "a").replace("_", "a").isalnum() else secrets.token_urlsafe(32)

    @staticmethod
    def set_cookie(response: web.Response, name: str, value: str) -> None:
        """Set (or, empty, remove) a cookie as it must be."""
        if value:
            response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="Strict")
        else:
            response.set_cookie(name, "", path="/", secure=True, httponly=True, samesite="Strict", max_age=0)

    # ------------------------------------------------------------ forms

    def check_origin(self, request: web.Request) -> None:
        """Stop unless a form comes from our own page."""
        if request.headers.get("Origin", "") != f"{request.scheme}://{request.host}":
            raise Stop(self.refusal(request, 403,
                                    say("Cette demande ne vient pas de cette page.", "This does not come from this page.")))

    def check_token(self, request: web.Request, cookie: str, fields: Mapping[str, object]) -> None:
        """Stop unless a form carries the token of its cookie."""
        if not self.signin.form_is_ours(cookie, str(fields.get("jeton", ""))):
            raise Stop(self.refusal(request, 403,
                                    say("Cette page avait expiré. Recommencez.", "This page was out of date. Start again.")))

    async def fields(self, request: web.Request, cookie: str | None) -> dict[str, str]:
        """Give the fields of a small form of ours; cookie None: of the portal, whose origin is checked by the caller."""
        if cookie is not None:
            self.check_origin(request)
        length = request.content_length
        if request.content_type != "application/x-www-form-urlencoded" or length is None or length > MAX_FORM:
            raise Stop(self.refusal(request, 413, say("Forme de demande inconnue.", "Unknown form of request.")))
        try:
            fields = dict(parse_qsl((await request.read()).decode("utf-8"), keep_blank_values=True, max_num_fields=20))
        except ValueError:
            raise Stop(self.refusal(request, 400, say("Demande illisible.", "Unreadable request."))) from None
        if cookie is not None:
            self.check_token(request, cookie, fields)
        return fields


def is_large(request: web.Request) -> bool:
    """True when the person chose large print."""
    return request.cookies.get(SIZE, "") == "1"


async def citizen_style(request: web.Request) -> web.Response:
    """The style sheet."""
    return web.Response(text=CITIZEN_STYLE, content_type="text/css", headers={"Cache-Control": "max-age=3600"})

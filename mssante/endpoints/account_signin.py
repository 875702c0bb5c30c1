"""`/compte`: login of the web account in one or two steps, proof before risky acts, logout, sessions, what the account opens.

- Password, then the second factor when there is one; or a passkey alone, which is two. Until the second step is done the session
  gives nothing else. Other ways (Pro Santé Connect) end in `Signin.enter`.
- Each step gives a new cookie. A wrong code counts as a failed login and ends the session at the fifth.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from mssante.endpoints.account_html import Markup, Piece, button, field, form, hidden, notice, table, tag
from mssante.endpoints.account_site import BROWSER, SESSION, Site, first, script, style, told
from mssante.lang import say
from mssante.services.secondfactor import PASSKEY, RECOVERY, TOTP
from mssante.services.websession import Visit, session_name
from mssante.storage.interfaces import Account

BACK = {"facteurs": "/compte/facteurs", "applications": "/compte/applications", "sessions": "/compte/sessions", "": "/compte"}
WRONG_IN_SESSION = 5
MAX_COUNTED = 10_000


def method_words(method: str) -> str:
    """Give how a session was begun, as a person reads it."""
    word = method.partition(":")[0]
    return {"password": say("mot de passe", "password"), "totp": say("mot de passe et code", "password and code"),
            "passkey": say("clé d'accès", "passkey"), "recovery": say("code de secours", "recovery code"),
            "psc": "Pro Santé Connect"}.get(word, word)


class Signin:
    """The pages of who is there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._wrong: dict[str, int] = {}  # wrong codes by session, oldest first

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        wrap = self._site.wrap
        return [web.get("/compte", wrap(self.home)), web.get("/compte/style.css", style), web.get("/compte/cles.js", script),
                web.post("/compte/connexion", wrap(self.password)), web.post("/compte/code", wrap(self.code)),
                web.post("/compte/cle", wrap(self.passkey)), web.post("/compte/deconnexion", wrap(self.leave)),
                web.get("/compte/preuve", wrap(self.proof_page)), web.get("/compte/sessions", wrap(self.sessions)),
                web.post("/compte/sessions/fin", wrap(self.end_session))]

    # ------------------------------------------------------------------------------------------ login

    async def home(self, request: web.Request) -> web.StreamResponse:
        """The overview, the second step, or the login."""
        visit = await self._site.visit(request)
        if visit is None:
            return self.login_page(request)
        if visit.pending:
            return await self._proof(request, visit, "")
        return await self._overview(request, visit)

    def login_page(self, request: web.Request, problem: str = "", status: int = 200) -> web.Response:
        """The login page, with a token bound to this browser."""
        site, browser = self._site, self._site.browser(request)
        token = site.desks.sessions.form_token(browser)
        keys: Markup | None = None
        if site.desks.passkeys.serves(site.origin(request)):
            options = site.desks.passkeys.request([], site.ask(request, "login", browser))
            keys = tag("section", tag("h2", say("Sans mot de passe", "Without password")), site.key_form(
                "/compte/cle", token, options, words=say("Utiliser une clé d'accès", "Use a passkey")))
        response = site.page(
            request, say("Connexion au compte", "Log in to the account"), notice(problem, bad=True) if problem else None,
            tag("section", form(
                "/compte/connexion", token,
                field(say("Adresse ou identifiant", "Address or login"), "identifiant", autocomplete="username", required=True,
                      autocapitalize="none", spellcheck="false", maxlength="254"),
                field(say("Mot de passe", "Password"), "secret", kind="password", autocomplete="current-password", required=True),
                button(say("Continuer", "Continue")))), keys, status=status, script=True)
        site.set_cookie(response, BROWSER, browser)
        return response

    async def password(self, request: web.Request) -> web.StreamResponse:
        """The first step."""
        site = self._site
        fields = await site.fields(request, request.cookies.get(BROWSER, ""))
        caller = site.caller(request)
        account = await site.desks.accounts.first_step(first(fields, "identifiant"), first(fields, "secret"), caller)
        if account is None:
            return self.login_page(request, say("Identifiant ou mot de passe refusé.", "Login or password refused."), 403)
        if await site.desks.factors.of(account.id):
            return await self._begin(request, account, "password", strong=False)
        return await self.enter(request, account, "password", strong=False)

    async def enter(self, request: web.Request, account: Account, method: str, *, strong: bool) -> web.StreamResponse:
        """Somebody proved all that was asked: begin the session. strong: two factors were proven. The way in for every method."""
        accepted = await self._site.desks.accounts.proved(account.login, self._site.caller(request))
        if accepted is None:
            return self.login_page(request, say("Connexion refusée.", "Login refused."), 403)
        return await self._begin(request, accepted, method, strong=strong)

    async def _begin(self, request: web.Request, account: Account, method: str, *, strong: bool) -> web.Response:
        former = await self._site.visit(request)
        same = former is not None and former.account.id == account.id
        token = await self._site.desks.sessions.start(account, method, strong=strong,
                                                      former=request.cookies.get(SESSION, "") if same else "")
        response = self._site.go("/compte")
        self._site.set_cookie(response, SESSION, token)
        self._site.set_cookie(response, BROWSER, "")
        return response

    async def passkey(self, request: web.Request) -> web.StreamResponse:
        """A passkey: login when nobody is there, else the second step or a new proof."""
        site, visit = self._site, await self._site.visit(request)
        bound = visit.token if visit is not None else request.cookies.get(BROWSER, "")
        fields = await site.fields(request, bound)
        ask = site.ask(request, "proof" if visit is not None else "login", bound)
        found = await site.desks.passkeys.prove(first(fields, "reponse"), ask, account_id=visit.account.id if visit else 0)
        if visit is not None:
            return await self._proven(request, visit, PASSKEY if found else "", first(fields, "retour"))
        login = await site.desks.stores.database.read(
            lambda tx: site.desks.stores.credentials.login_of(tx, found), quick=True) if found else ""
        account = await site.desks.stores.database.read(
            lambda tx: site.desks.stores.accounts.account_by_login(tx, login), quick=True) if login else None
        if account is None:
            await site.desks.accounts.disproved("", site.caller(request))
            return self.login_page(request, say("Clé d'accès refusée.", "Passkey refused."), 403)
        return await self.enter(request, account, PASSKEY, strong=True)

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """Logout."""
        visit = await self._site.visit(request)
        if visit is not None:
            await self._site.fields(request, visit.token)
            await self._site.desks.sessions.end(visit.account, visit.session.token_hash)
        response = self._site.go("/compte")
        self._site.set_cookie(response, SESSION, "")
        return response

    # ------------------------------------------------------------------------------------------ second step and proofs

    async def proof_page(self, request: web.Request) -> web.StreamResponse:
        """A new proof before a risky act."""
        visit = await self._site.visit(request)
        if visit is None:
            return self._site.go("/compte")
        return await self._proof(request, visit, request.query.get("retour", ""))

    async def _proof(self, request: web.Request, visit: Visit, back: str, problem: str = "", status: int = 200) -> web.Response:
        site, back = self._site, back if back in BACK else ""
        factors = await site.desks.factors.of(visit.account.id)
        kinds, token = {one.kind for one in factors}, site.token(visit)
        parts: list[Piece] = [notice(problem, bad=True) if problem else None]
        if PASSKEY in kinds and site.desks.passkeys.serves(site.origin(request)):
            options = site.desks.passkeys.request(factors, site.ask(request, "proof", visit.token))
            parts.append(tag("section", tag("h2", say("Clé d'accès", "Passkey")), site.key_form(
                "/compte/cle", token, options, hidden("retour", back), words=say("Utiliser la clé d'accès", "Use the passkey"))))
        if kinds & {TOTP, RECOVERY}:
            parts.append(tag("section", form(
                "/compte/code", token, hidden("retour", back),
                field(say("Code à six chiffres, ou code de secours", "Six-digit code, or recovery code"), "code", required=True,
                      autocomplete="one-time-code", maxlength="40", autocapitalize="none"), button(say("Vérifier", "Check")))))
        if not visit.factors:
            parts.append(tag("section", form(
                "/compte/code", token, hidden("retour", back),
                field(say("Mot de passe du compte", "Password of the account"), "secret", kind="password", required=True,
                      autocomplete="current-password"), button(say("Vérifier", "Check")))))
        parts.append(form("/compte/deconnexion", token, button(say("Abandonner", "Give up"),
                                                               kind="plain")) if visit.pending else None)
        return site.page(request, say("Confirmez que c'est vous", "Confirm that it is you"), *parts, visit=visit, status=status,
                         script=True)

    async def code(self, request: web.Request) -> web.StreamResponse:
        """A code (or, without any factor, the password again)."""
        site, visit = self._site, await self._site.visit(request)
        if visit is None:
            return site.go("/compte")
        fields = await site.fields(request, visit.token)
        if visit.factors:
            proof = await site.desks.factors.check_code(visit.account.id, first(fields, "code"))
            return await self._proven(request, visit, proof.kind if proof else "", first(fields, "retour"))
        found = await site.desks.accounts.first_step(visit.account.login, first(fields, "secret"), site.caller(request))
        if found is None:
            return await self._proof(request, visit, first(fields, "retour"), say("Mot de passe refusé.", "Password refused."),
                                     403)
        response = await self._begin(request, visit.account, "password", strong=False)
        response.headers["Location"] = BACK.get(first(fields, "retour"), "/compte")
        return response

    async def _proven(self, request: web.Request, visit: Visit, kind: str, back: str) -> web.StreamResponse:
        """The outcome of a second step. kind: of the factor that was proven, empty when none was."""
        site, name = self._site, visit.session.token_hash
        if not kind:
            await site.desks.accounts.disproved(visit.account.login, site.caller(request))
            wrong = self._wrong.pop(name, 0) + 1
            if len(self._wrong) >= MAX_COUNTED:
                del self._wrong[next(iter(self._wrong))]
            self._wrong[name] = wrong
            if wrong < WRONG_IN_SESSION:
                return await self._proof(request, visit, back, say("Code ou clé refusé.", "Code or passkey refused."), 403)
            await site.desks.sessions.end(visit.account, name)
            return self.login_page(request, say("Trop de codes refusés : reconnectez-vous.",
                                                "Too many codes refused: log in again."), 403)
        if visit.pending and await site.desks.accounts.proved(visit.account.login, site.caller(request)) is None:
            return site.go("/compte")
        token = await site.desks.sessions.strengthen(visit, kind)
        response = site.go(BACK.get(back, "/compte"))
        site.set_cookie(response, SESSION, token)
        return response

    # ------------------------------------------------------------------------------------------ overview, sessions

    async def _overview(self, request: web.Request, visit: Visit) -> web.Response:
        stores, now = self._site.desks.stores, visit.session.seen_at
        opened = await stores.database.read(lambda tx: stores.delegations.of_account(tx, visit.account.id))
        rows: list[list[Piece]] = [
            [one.address, say("titulaire", "holder") if one.own else ", ".join(sorted(str(right.value) for right in one.rights)),
             told(one.until) if one.until else say("sans fin", "no end")] for one in opened if one.runs(now)]
        advice = None if visit.factors else notice(say(
            "Ce compte n'a pas de second facteur : ajoutez-en un pour le protéger et créer des mots de passe d'application.",
            "This account has no second factor: add one to protect it and to make app passwords."))
        return self._site.page(
            request, say("Votre compte", "Your account"), advice,
            tag("section", tag("h2", visit.account.login),
                tag("p", say(f"Connecté par {method_words(visit.session.method)} depuis le {told(visit.session.created_at)}.",
                             f"Logged in by {method_words(visit.session.method)} since {told(visit.session.created_at)}."))),
            tag("section", tag("h2", say("Boîtes", "Mailboxes")), table(
                say("Boîtes que ce compte ouvre", "Mailboxes that this login opens"),
                [say("Boîte", "Mailbox"), say("Droits", "Rights"), say("Jusqu'au", "Until")], rows)), visit=visit)

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """The sessions of the account."""
        site, visit = self._site, await self._site.inside(request)
        token = site.token(visit)
        rows: list[list[Piece]] = []
        for one in reversed(await site.desks.sessions.of(visit.account.id)):
            here = one.token_hash == visit.session.token_hash
            end: Piece = say("cette session", "this session") if here else form(
                "/compte/sessions/fin", token, hidden("session", session_name(one)),
                button(say("Terminer", "End"), kind="danger", aria_label=say(
                    f"Terminer la session du {told(one.created_at)}", f"End the session of {told(one.created_at)}")))
            rows.append([method_words(one.method), told(one.created_at), told(one.seen_at), end])
        return site.page(request, "Sessions", tag(
            "section", table(say("Sessions web ouvertes", "Open web sessions"), [
                say("Connexion", "Login"), say("Début", "Begin"), say("Dernier usage", "Last use"), say("Fin", "End")], rows),
            form("/compte/sessions/fin", token, hidden("session", "autres"),
                 button(say("Terminer toutes les autres", "End all others"), kind="danger"))), visit=visit)

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        """End a session, or all others."""
        site, visit = self._site, await self._site.inside(request)
        fields = await site.fields(request, visit.token)
        if first(fields, "session") == "autres":
            await site.desks.sessions.end_others(visit.account, visit.token)
        else:
            await site.desks.sessions.end(visit.account, first(fields, "session"))
        return site.go("/compte/sessions")

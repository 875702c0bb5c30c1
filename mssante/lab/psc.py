"""The lab's look-alike of Pro Santé Connect: an OpenID Connect provider over HTTPS, on the paths of the real one (spec §6.2).

Discovery (`openid-configuration` and `wallet-openid-configuration`), JWKS, authorization with a page where a tester chooses a
professional of the lab, code with PKCE, refresh tokens that rotate, userinfo, introspection, logout. Beside them, for tests
only, under `…/lab/`: `mint` (any token, also the bad ones), `rotate` (new signing key).

- `GET …/auth?…&login_hint=NUMBER&prompt=none` answers at once with a code for that professional: the form for machines.
- Redirections go to loopback addresses only (RFC 8252 §7.3): this provider gives anybody any identity, and must be of no use
  outside the lab.
"""

from __future__ import annotations

import hmac
import html
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import unquote_plus, urlencode, urlsplit

from aiohttp import web

from mssante.clock import Clock
from mssante.lab.manifest import Lab
from mssante.lab.plan import HOST, PSC_REALM, psc_issuer
from mssante.lab.psc_tokens import (
    ACCESS_LIFE,
    CLIENTS,
    CODE_LIFE,
    REFRESH_LIFE,
    Grant,
    Mint,
    Order,
    Sessions,
    TokenFault,
    pkce_fits,
)
from mssante.model.mailbox import MailboxType

CONNECT = f"{PSC_REALM}/protocol/openid-connect"
MAX_FORM = 16 * 1024
_PAGE = """<!doctype html><html lang="fr"><meta charset="utf-8"><title>Pro Santé Connect LAB</title>
<h1>Pro Santé Connect LAB</h1><p>Fournisseur d'identité de laboratoire : choisissez un professionnel fictif.</p>
<form method="post" action="{action}">{fields}<select name="subject">{options}</select>
<button type="submit">Se connecter</button></form></html>"""


def people_of(lab: Lab) -> dict[str, str]:
    """Give the professionals of a lab: display name by national identifier."""
    return {one.holder_id: one.display_name or one.address for operator in lab.operators for one in operator.accounts
            if one.type is MailboxType.PER and one.holder_id}


def _error(code: str, status: int = 400) -> web.Response:
    """Give an error of OAuth (RFC 6749 §5.2)."""
    return web.json_response({"error": code}, status=status, headers={"Cache-Control": "no-store"})


def _loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in (HOST, "localhost", "::1")


class PscSite:
    """The provider of one lab."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        self._people = people_of(lab)
        self._clock = clock
        self._mint = Mint(psc_issuer(lab.base_port))
        self._sessions = Sessions()

    # ------------------------------------------------------------ what is published

    async def discovery(self, request: web.Request) -> web.Response:
        """Give the discovery document (OpenID Connect Discovery §4.2)."""
        at = self._mint.issuer.removesuffix(PSC_REALM) + CONNECT
        return web.json_response({
            "issuer": self._mint.issuer, "authorization_endpoint": f"{at}/auth", "token_endpoint": f"{at}/token",
            "userinfo_endpoint": f"{at}/userinfo", "jwks_uri": f"{at}/certs", "end_session_endpoint": f"{at}/logout",
            "introspection_endpoint": f"{at}/token/introspect", "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "scope_all"], "acr_values_supported": ["eidas1"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"]})

    async def keys(self, request: web.Request) -> web.Response:
        """Give the JWKS."""
        return web.json_response(self._mint.jwks())

    # ------------------------------------------------------------ authorization

    async def authorize(self, request: web.Request) -> web.Response:
        """Show the page of choice, or answer a machine at once (RFC 6749 §4.1.1)."""
        asked = dict(request.query)
        fault = self._bad_request(asked)
        if fault:
            return _error(fault)
        if asked.get("prompt") == "none" and asked.get("login_hint") in self._people:
            return self._redirect(asked, asked["login_hint"])
        fields = "".join(f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
                         for name, value in asked.items())
        options = "".join(f'<option value="{html.escape(number)}">{html.escape(f"{name} ({number})")}</option>'
                          for number, name in self._people.items())
        page = _PAGE.format(action=f"{CONNECT}/auth", fields=fields, options=options)
        return web.Response(text=page, content_type="text/html", headers={
            "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"})

    async def choose(self, request: web.Request) -> web.Response:
        """Take the choice made on the page."""
        asked = await _form(request)
        fault = self._bad_request(asked)
        subject = asked.get("subject", "")
        return _error(fault or "access_denied") if fault or subject not in self._people else self._redirect(asked, subject)

    def _bad_request(self, asked: Mapping[str, str]) -> str:
        if asked.get("client_id", "") not in CLIENTS:
            return "unauthorized_client"
        if not _loopback(asked.get("redirect_uri", "")) or asked.get("response_type") != "code":
            return "invalid_request"
        if "openid" not in asked.get("scope", "").split():
            return "invalid_scope"
        public = not CLIENTS[asked["client_id"]]
        wants_pkce = public or bool(asked.get("code_challenge"))
        return "invalid_request" if wants_pkce and asked.get("code_challenge_method") != "S256" else ""

    def _redirect(self, asked: Mapping[str, str], subject: str) -> web.Response:
        grant = Grant(subject, asked["client_id"], secrets.token_urlsafe(12), self._clock.now() + CODE_LIFE,
                      asked["redirect_uri"], asked.get("code_challenge", ""), asked.get("nonce", ""))
        code = self._sessions.put(self._sessions.codes, grant)
        answer = {"code": code, "session_state": grant.session, "iss": self._mint.issuer}  # RFC 9207 §2
        if "state" in asked:
            answer["state"] = asked["state"]
        mark = "&" if "?" in asked["redirect_uri"] else "?"
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}{mark}{urlencode(answer)}",
                                                 "Cache-Control": "no-store"})

    # ------------------------------------------------------------ tokens

    async def token(self, request: web.Request) -> web.Response:
        """Change a code or a refresh token for tokens (RFC 6749 §4.1.3, §6)."""
        form = await _form(request)
        client = self._client(request, form)
        if client is None:
            return _error("invalid_client", 401)
        now = self._clock.now()
        match form.get("grant_type"):
            case "authorization_code":
                grant = Sessions.take(self._sessions.codes, form.get("code", ""), now)
                good = grant is not None and grant.redirect_uri == form.get("redirect_uri") and (
                    not grant.challenge or pkce_fits(form.get("code_verifier", ""), grant.challenge))
            case "refresh_token":
                grant = Sessions.take(self._sessions.refreshes, form.get("refresh_token", ""), now)
                good = grant is not None and grant.session not in self._sessions.ended
            case _:
                return _error("unsupported_grant_type")
        if grant is None or not good or grant.client != client:
            return _error("invalid_grant")
        return web.json_response(self._issue(grant), headers={"Cache-Control": "no-store"})

    def _issue(self, grant: Grant) -> dict[str, object]:
        now = self._clock.now()
        order = Order(grant.subject, grant.client, self._people.get(grant.subject, ""), grant.session)
        again = Grant(grant.subject, grant.client, grant.session, now + REFRESH_LIFE)
        return {"access_token": self._mint.access(order, now), "token_type": "Bearer", "expires_in": _seconds(ACCESS_LIFE),
                "refresh_token": self._sessions.put(self._sessions.refreshes, again),
                "refresh_expires_in": _seconds(REFRESH_LIFE),
                "id_token": self._mint.identity(order, now, grant.nonce), "scope": order.scope, "session_state": grant.session}

    def _client(self, request: web.Request, form: Mapping[str, str]) -> str | None:
        """Give the client that proved itself, by Authorization or in the form; None otherwise (RFC 6749 §2.3)."""
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, words = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                name, _, secret = b64decode(words, validate=True).decode("utf-8").partition(":")
            except (Base64Error, ValueError):
                return None
            name, secret = unquote_plus(name), unquote_plus(secret)
        wanted = CLIENTS.get(name)
        return name if wanted is not None and hmac.compare_digest(wanted.encode(), secret.encode()) else None

    async def userinfo(self, request: web.Request) -> web.Response:
        """Tell who a token is for (OpenID Connect Core §5.3)."""
        claims = self._live(request.headers.get("Authorization", "").partition(" ")[2])
        if claims is None:
            return web.json_response({"error": "invalid_token"}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.json_response({name: claims[name] for name in ("sub", "SubjectNameID", "preferred_username", "name")})

    def _live(self, token: str) -> dict[str, object] | None:
        claims = self._mint.read(token, self._clock.now())
        return None if claims is None or claims.get("session_state") in self._sessions.ended else claims

    async def introspect(self, request: web.Request) -> web.Response:
        """Tell whether a token is good now (RFC 7662 §2.2); a client with a secret may ask."""
        form = await _form(request)
        client = self._client(request, form)
        if client is None or not CLIENTS[client]:
            return _error("invalid_client", 401)
        claims = self._live(form.get("token", ""))
        return web.json_response({"active": False} if claims is None else {"active": True, **claims})

    async def logout(self, request: web.Request) -> web.Response:
        """End the session of a refresh or an access token."""
        form = await _form(request)
        grant = self._sessions.refreshes.pop(form.get("refresh_token", ""), None)
        claims = self._mint.read(form.get("token", ""), self._clock.now()) or {}
        session = grant.session if grant is not None else str(claims.get("session_state", ""))
        if session:
            self._sessions.ended.add(session)
        return web.Response(status=204)

    # ------------------------------------------------------------ for tests

    async def mint(self, request: web.Request) -> web.Response:
        """Give an access token for anybody, good or bad: `subject`, `client_id`, `fault` (`TokenFault`)."""
        form = await _form(request)
        subject = form.get("subject", "")
        try:
            fault = TokenFault(form["fault"]) if form.get("fault") else None
        except ValueError:
            return _error("invalid_request")
        if not subject:
            return _error("invalid_request")
        name = self._people.get(subject, "")
        order = Order(subject, form.get("client_id") or "lab-lps", name, secrets.token_urlsafe(12), fault=fault)
        return web.json_response({"access_token": self._mint.access(order, self._clock.now()), "token_type": "Bearer",
                                  "expires_in": _seconds(ACCESS_LIFE)}, headers={"Cache-Control": "no-store"})

    async def rotate(self, request: web.Request) -> web.Response:
        """Sign with a new key from now on."""
        return web.json_response({"kid": self._mint.rotate()})

    def application(self) -> web.Application:
        """Give the web application."""
        application = web.Application(client_max_size=MAX_FORM)
        router = application.router
        for name in ("openid-configuration", "wallet-openid-configuration"):
            router.add_get(f"{PSC_REALM}/.well-known/{name}", self.discovery)
        router.add_get(f"{CONNECT}/certs", self.keys)
        router.add_get(f"{CONNECT}/auth", self.authorize)
        router.add_post(f"{CONNECT}/auth", self.choose)
        router.add_post(f"{CONNECT}/token", self.token)
        router.add_get(f"{CONNECT}/userinfo", self.userinfo)
        router.add_post(f"{CONNECT}/userinfo", self.userinfo)
        router.add_post(f"{CONNECT}/token/introspect", self.introspect)
        router.add_post(f"{CONNECT}/logout", self.logout)
        router.add_post(f"{PSC_REALM}/lab/mint", self.mint)
        router.add_post(f"{PSC_REALM}/lab/rotate", self.rotate)
        return application


def _seconds(life: timedelta) -> int:
    return int(life.total_seconds())


async def _form(request: web.Request) -> dict[str, str]:
    """Read a form of texts; a name that comes twice refuses (RFC 6749 §3.1)."""
    found: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str) or name in found:
            raise web.HTTPBadRequest
        found[name] = value
    return found

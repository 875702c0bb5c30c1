"""`/compte/facteurs`: second factors of the account: time codes, passkeys, recovery codes.

- Every change needs a fresh proof: of a factor when the account has one, of the password for the first.
- A time code's secret waits in memory, for this session alone, until a code of it was given; it is shown only then.
- The first factor makes the recovery codes, shown once. The session becomes strong with the factor that it just proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes

from aiohttp import web

from mssante.endpoints.account_html import Markup, Piece, button, field, form, hidden, notice, table, tag
from mssante.endpoints.account_site import SESSION, Site, first, told
from mssante.lang import say
from mssante.services.apppasswords import checked_label
from mssante.services.secondfactor import PASSKEY, RECOVERY, TOTP, TOTP_OCTETS, totp_key, totp_uri
from mssante.services.websession import Visit

MAX_PENDING = 1_000


class Factors:
    """The pages of second factors."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._pending: dict[str, bytes] = {}  # secrets of time codes not yet enrolled, by session, oldest first

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        wrap = self._site.wrap
        return [web.get("/compte/facteurs", wrap(self.show)), web.get("/compte/facteurs/ajout", wrap(self.adding)),
                web.post("/compte/facteurs/totp", wrap(self.add_totp)), web.post("/compte/facteurs/cle", wrap(self.add_key)),
                web.post("/compte/facteurs/retrait", wrap(self.remove)), web.post("/compte/facteurs/secours", wrap(self.codes))]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The factors of the account."""
        site, visit = self._site, await self._site.inside(request)
        held = await site.desks.factors.of(visit.account.id)
        kinds = {TOTP: say("code à six chiffres", "six-digit code"), PASSKEY: say("clé d'accès", "passkey")}
        token = site.token(visit)
        rows: list[list[Piece]] = []
        for one in held:
            if one.kind in kinds:
                remove = form("/compte/facteurs/retrait", token, hidden("facteur", str(one.id)), button(
                    say("Retirer", "Remove"), kind="danger", aria_label=say(f"Retirer {one.label}", f"Remove {one.label}")))
                rows.append([one.label, kinds[one.kind], told(one.created_at), told(one.last_used_at), remove])
        left = sum(one.kind == RECOVERY for one in held)
        listed: Piece = table(say("Seconds facteurs du compte", "Second factors of the account"), [
            say("Nom", "Name"), say("Genre", "Kind"), say("Ajouté", "Added"), say("Utilisé", "Used"), say("Retrait", "Removal")],
            rows) if rows else tag("p", say("Aucun second facteur.", "No second factor."))
        recovery = tag("section", tag("h2", say("Codes de secours", "Recovery codes")),
                       tag("p", say(f"Il en reste {left}.", f"{left} are left.")),
                       form("/compte/facteurs/secours", token,
                            button(say("Faire de nouveaux codes", "Make new codes"), kind="plain"))
                       ) if held else None
        return site.page(request, say("Seconds facteurs", "Second factors"), tag(
            "section", listed, tag("p", tag("a", say("Ajouter un second facteur", "Add a second factor"),
                                            href="/compte/facteurs/ajout"))), recovery, visit=visit)

    # ------------------------------------------------------------------------------------------ adding

    async def adding(self, request: web.Request) -> web.StreamResponse:
        """The page that adds one."""
        return await self._adding(request, await self._site.proven(request, "facteurs"))

    async def _adding(self, request: web.Request, visit: Visit, problem: str = "", status: int = 200) -> web.Response:
        site, name = self._site, visit.session.token_hash
        secret = self._pending.pop(name, b"") or token_bytes(TOTP_OCTETS)
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[name] = secret
        token = site.token(visit)
        label = field(say("Nom de l'appareil", "Name of the device"), "nom", required=True, maxlength="100")
        uri = totp_uri(secret, visit.account.login, site.settings.operator)
        codes = tag("section", tag("h2", say("Application de codes", "Code application")),
                    tag("p", say("Dans l'application, ajoutez un compte avec cette clé :",
                                 "In the application, add an account with this key:")),
                    tag("p", totp_key(secret), class_="secret", id="cle-totp"),
                    tag("p", tag("a", say("Ouvrir l'application sur ce téléphone", "Open the application on this telephone"),
                                 href=uri)),
                    form("/compte/facteurs/totp", token, label,
                         field(say("Code affiché", "Code shown"), "code", required=True, inputmode="numeric", maxlength="10",
                               autocomplete="one-time-code"), button(say("Ajouter", "Add"))))
        return site.page(request, say("Ajouter un second facteur", "Add a second factor"),
                         notice(problem, bad=True) if problem else None, await self._key_part(request, visit, token), codes,
                         visit=visit, status=status, script=True)

    async def _key_part(self, request: web.Request, visit: Visit, token: str) -> Markup | None:
        site = self._site
        if not site.desks.passkeys.serves(site.origin(request)):
            return None
        held = await site.desks.factors.of(visit.account.id)
        options = site.desks.passkeys.enrolment(visit.account, held, site.ask(request, "enrol", visit.token))
        label = tag("p", tag("label", say("Nom de la clé", "Name of the passkey"), for_="nom-cle"),
                    tag("input", name="nom", id="nom-cle", required=True, maxlength="100"), class_="field")
        return tag("section", tag("h2", say("Clé d'accès", "Passkey")), tag("p", say(
            "Empreinte, visage ou code de cet appareil, ou clé de sécurité.",
            "Finger, face or PIN of this device, or a security key.")),
            site.key_form("/compte/facteurs/cle", token, options, label, words=say("Créer la clé", "Make the passkey"),
                          make=True))

    async def add_totp(self, request: web.Request) -> web.StreamResponse:
        """Enrol a time code."""
        site, visit = self._site, await self._site.proven(request, "facteurs")
        fields = await site.fields(request, visit.token)
        secret, label = self._pending.get(visit.session.token_hash, b""), checked_label(first(fields, "nom"))
        if not secret or not await site.desks.factors.add_totp(visit.account, label, secret, first(fields, "code")):
            return await self._adding(request, visit, say("Code refusé : vérifiez l'heure de l'appareil.",
                                                          "Code refused: check the clock of the device."), 403)
        self._pending.pop(visit.session.token_hash, None)
        return await self._added(request, visit, TOTP)

    async def add_key(self, request: web.Request) -> web.StreamResponse:
        """Enrol a passkey."""
        site, visit = self._site, await self._site.proven(request, "facteurs")
        fields = await site.fields(request, visit.token)
        ask, label = site.ask(request, "enrol", visit.token), checked_label(first(fields, "nom"))
        if not await site.desks.passkeys.enrol(visit.account, label, first(fields, "reponse"), ask):
            return await self._adding(request, visit, say("Clé refusée.", "Passkey refused."), 403)
        return await self._added(request, visit, PASSKEY)

    async def _added(self, request: web.Request, visit: Visit, kind: str) -> web.Response:
        """A factor was added: the account is told anew, the session is strong; the first one brings recovery codes."""
        site = self._site
        site.desks.accounts.forget(visit.account.login)
        token = await site.desks.sessions.strengthen(visit, kind)
        if visit.factors:
            response = site.go("/compte/facteurs")
        else:
            await site.desks.sessions.end_others(visit.account, token)
            response = self._codes_page(request, await site.desks.factors.make_codes(visit.account))
        site.set_cookie(response, SESSION, token)
        return response

    # ------------------------------------------------------------------------------------------ recovery codes, removal

    async def codes(self, request: web.Request) -> web.StreamResponse:
        """Make new recovery codes."""
        site, visit = self._site, await self._site.proven(request, "facteurs")
        await site.fields(request, visit.token)
        if not visit.factors:
            raise site.refuse(request, 403, say("Ajoutez d'abord un second facteur.", "Add a second factor first."))
        return self._codes_page(request, await site.desks.factors.make_codes(visit.account))

    def _codes_page(self, request: web.Request, codes: list[str]) -> web.Response:
        return self._site.page(
            request, say("Codes de secours", "Recovery codes"),
            notice(say("Notez ces codes maintenant : ils ne seront plus montrés. Chacun sert une fois.",
                       "Write these codes down now: they are not shown again. Each serves once.")),
            tag("section", tag("ul", *[tag("li", tag("span", code, class_="secret")) for code in codes])),
            tag("p", tag("a", say("C'est noté", "Done"), href="/compte/facteurs")))

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Take a factor away."""
        site, visit = self._site, await self._site.proven(request, "facteurs")
        number = first(await site.fields(request, visit.token), "facteur")
        if number.isascii() and number.isdecimal() and len(number) < 19:
            await site.desks.factors.remove(visit.account, int(number))
            site.desks.accounts.forget(visit.account.login)
        return site.go("/compte/facteurs")

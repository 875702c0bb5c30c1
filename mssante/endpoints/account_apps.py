"""`/compte/applications`: app passwords: made after a fresh proof of a second factor, shown once with the settings, revoked.

An account without a second factor makes none: its password alone must not give lasting ways in.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from mssante.endpoints.account_html import Markup, Piece, button, field, form, hidden, notice, table, tag
from mssante.endpoints.account_site import Site, first, told
from mssante.lang import say
from mssante.services.apppasswords import MAX_DAYS, SCOPES, NewAppPassword


def scope_words(scope: str) -> str:
    """Give what a scope opens, as a person reads it."""
    return {"imap": say("lire le courrier (IMAP)", "read mail (IMAP)"), "submission": say("envoyer (SMTP)", "send (SMTP)"),
            "managesieve": say("filtres (ManageSieve)", "filters (ManageSieve)"),
            "ldap": say("annuaire (LDAP)", "directory (LDAP)"),
            "carddav": say("contacts (CardDAV)", "contacts (CardDAV)")}.get(scope, scope)


class Apps:
    """The pages of app passwords."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        wrap = self._site.wrap
        return [web.get("/compte/applications", wrap(self.show)), web.get("/compte/applications/ajout", wrap(self.adding)),
                web.post("/compte/applications/ajout", wrap(self.create)),
                web.post("/compte/applications/retrait", wrap(self.revoke))]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The app passwords of the account."""
        site, visit = self._site, await self._site.inside(request)
        token = site.token(visit)
        rows: list[list[Piece]] = []
        for one in await site.desks.apps.list(visit.account):
            revoke = form("/compte/applications/retrait", token, hidden("mot", one.handle), button(
                say("Révoquer", "Revoke"), kind="danger", aria_label=say(f"Révoquer {one.label}", f"Revoke {one.label}")))
            rows.append([one.label, ", ".join(scope_words(scope) for scope in sorted(one.scopes)), one.handle,
                         told(one.last_used_at), told(one.expires_at) if one.expires_at else say("sans fin", "no end"), revoke])
        listed: Piece = table(say("Mots de passe d'application", "App passwords"), [
            say("Programme", "Program"), say("Ouvre", "Opens"), say("Repère", "Handle"), say("Utilisé", "Used"),
            say("Expire", "Expires"),
            say("Révocation", "Revocation")], rows) if rows else tag("p", say("Aucun.", "None."))
        make: Piece = tag("p", tag("a", say("Créer un mot de passe d'application", "Make an app password"),
                                   href="/compte/applications/ajout"))
        if not visit.factors:
            make = notice(say("Ajoutez d'abord un second facteur.", "Add a second factor first."))
        return site.page(request, say("Mots de passe d'application", "App passwords"), tag(
            "section",
            tag("p", say("Un mot de passe par programme (Thunderbird, Outlook, téléphone) : vous pouvez le révoquer seul.",
                                    "One password per program (Thunderbird, Outlook, telephone): each can be revoked alone.")),
            listed, make), visit=visit)

    async def adding(self, request: web.Request) -> web.StreamResponse:
        """The page that makes one."""
        site, visit = self._site, await self._site.proven(request, "applications")
        if not visit.factors:
            return site.go("/compte/applications")
        boxes = [tag("p", tag("label", tag("input", type="checkbox", name="portee", value=scope,
                                           checked=scope in ("imap", "submission")),
                              f" {scope_words(scope)}")) for scope in SCOPES]
        return site.page(request, say("Créer un mot de passe d'application", "Make an app password"), tag("section", form(
            "/compte/applications/ajout", site.token(visit),
            field(say("Pour quel programme ?", "For which program?"), "nom", required=True, maxlength="100",
                  hint=say("Par exemple : Thunderbird du cabinet", "For example: Thunderbird at the office")),
            tag("fieldset", tag("legend", say("Ce qu'il ouvre", "What it opens")), *boxes),
            field(say("Durée en jours (0 : sans fin)", "Life in days (0: no end)"), "jours", kind="number", value="365", min="0",
                  max=str(MAX_DAYS), required=True), button(say("Créer", "Make")))), visit=visit)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make one and show it, once."""
        site, visit = self._site, await self._site.proven(request, "applications")
        fields = await site.fields(request, visit.token)
        if not visit.factors:
            raise site.refuse(request, 403, say("Ajoutez d'abord un second facteur.", "Add a second factor first."))
        days = first(fields, "jours")
        made = await site.desks.apps.create(visit.account, first(fields, "nom"), fields.get("portee", []),
                                            days=int(days) if days.isascii() and days.isdecimal() and len(days) < 6 else -1)
        return site.page(
            request, say("Mot de passe créé", "Password made"),
            notice(say("Copiez-le maintenant : il ne sera plus montré.", "Copy it now: it is not shown again.")),
            tag("section", tag("h2", made.stored.label), tag("p", made.password, class_="secret", id="mot")),
            self._settings(visit.account.login, made), tag("p", tag("a", say("C'est fait", "Done"), href="/compte/applications")),
            visit=visit)

    def _settings(self, login: str, made: NewAppPassword) -> Markup:
        """The settings to copy into a program."""
        ways = self._site.settings
        lines: list[tuple[str, str]] = [(say("Identifiant", "Login"), login)]
        for scope, words, value in (("imap", say("Réception IMAP (SSL/TLS)", "Incoming IMAP (SSL/TLS)"), ways.imap),
                                    ("submission", say("Envoi SMTP (SSL/TLS)", "Outgoing SMTP (SSL/TLS)"), ways.submission),
                                    ("carddav", "CardDAV", ways.dav)):
            if scope in made.stored.scopes and value:
                lines.append((words, value))
        lines += [(say("Authentification", "Authentication"), say("mot de passe normal", "normal password")),
                  (say("Identifiant pour SCRAM (« mot de passe chiffré »)", "Login for SCRAM (\"encrypted password\")"),
                   f"{login}/{made.stored.handle}")]
        pairs = [piece for words, value in lines for piece in (tag("dt", words), tag("dd", value))]
        return tag("section", tag("h2", say("Réglages pour Thunderbird, Outlook, téléphone",
                                            "Settings for Thunderbird, Outlook, telephone")),
                   tag("dl", *pairs))

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """Revoke one: never asks for a proof, since it only takes away."""
        site, visit = self._site, await self._site.inside(request)
        await site.desks.apps.revoke(visit.account, first(await site.fields(request, visit.token), "mot"))
        return site.go("/compte/applications")

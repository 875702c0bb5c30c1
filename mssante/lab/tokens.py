"""Access tokens of the lab's Pro Santé Connect, for testers and tests: asked for over HTTPS, as everybody would.

`ask` uses the provider's test form, `walk` the whole authorization with code and PKCE. Called by `lab.commands` and tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import IO, Any

from mssante.errors import InputFault, OperatorFault
from mssante.lab.manifest import Lab
from mssante.lang import say

SECONDS = 10.0
MAX_ANSWER = 64 * 1024
REDIRECT = "http://127.0.0.1:9/retour"  # where nobody listens: the code is read from the redirection itself


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a whole authorization gives."""

    access: str
    refresh: str
    identity: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """Redirections are answers."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
                         newurl: str) -> None:
        return None


class TokenDesk:
    """A client of the lab's provider."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._issuer = lab.trust("psc_issuer")
        context = ssl.create_default_context(cafile=str(lab.path(lab.trust("anchors"))))
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Stay())

    def subject_of(self, login: str) -> str:
        """Give the national identifier of a professional's login or address. Raises InputFault (`LAB-PSC`)."""
        for operator in self._lab.operators:
            account = operator.account(login)
            if account is not None and account.holder_id:
                return account.holder_id
        raise InputFault(say(f"{login} n'a pas d'identité Pro Santé Connect", f"{login} has no Pro Santé Connect identity"),
                         rule="LAB-PSC", remedy="--subject 8997…")

    def ask(self, subject: str, *, fault: str = "", client: str = "") -> str:
        """Give an access token for anybody; fault: see `lab.psc_tokens.TokenFault`. Raises OperatorFault (`LAB-PSC`)."""
        form = {"subject": subject, "fault": fault, "client_id": client}
        return str(self.post("/lab/mint", {name: value for name, value in form.items() if value})["access_token"])

    def rotate(self) -> str:
        """Make the provider sign with a new key; give its name."""
        return str(self.post("/lab/rotate", {})["kid"])

    def walk(self, subject: str, client: str = "lab-lps") -> TokenSet:
        """Log a professional in: authorization, code, PKCE, tokens."""
        verifier, state = secrets.token_urlsafe(40), secrets.token_urlsafe(12)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urllib.parse.urlencode({
            "client_id": client, "response_type": "code", "scope": "openid scope_all", "redirect_uri": REDIRECT, "state": state,
            "acr_values": "eidas1", "code_challenge": challenge, "code_challenge_method": "S256", "login_hint": subject,
            "prompt": "none"})
        back = self._open(f"{self._issuer}/protocol/openid-connect/auth?{query}")
        answer = urllib.parse.parse_qs(urllib.parse.urlsplit(str(back[1].get("Location", ""))).query)
        if answer.get("state") != [state]:
            raise OperatorFault("the provider gave no code", rule="LAB-PSC", detail=back[2][:200].decode("utf-8", "replace"))
        return self._tokens({"grant_type": "authorization_code", "code": answer["code"][0], "redirect_uri": REDIRECT,
                             "client_id": client, "code_verifier": verifier})

    def refresh(self, tokens: TokenSet, client: str = "lab-lps") -> TokenSet:
        """Give new tokens for a refresh token."""
        return self._tokens({"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": client})

    def _tokens(self, form: dict[str, str]) -> TokenSet:
        found = self.post("/protocol/openid-connect/token", form)
        return TokenSet(str(found["access_token"]), str(found["refresh_token"]), str(found["id_token"]))

    def post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        """Send a form to a path of the realm; give the JSON answer, empty for none. Raises OperatorFault (`LAB-PSC`)."""
        status, _, body = self._open(self._issuer + path, form)
        if status not in (200, 204):
            raise OperatorFault("the provider refused", rule="LAB-PSC", detail=body[:200].decode("utf-8", "replace"))
        value: dict[str, Any] = json.loads(body) if body else {}
        return value

    def _open(self, url: str, form: dict[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(url, data)  # noqa: S310 - the issuer of lab.json is https
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return answer.status, dict(answer.headers), answer.read(MAX_ANSWER)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, dict(answer.headers), answer.read(MAX_ANSWER)
        except OSError as exc:
            raise OperatorFault(say("Pro Santé Connect du laboratoire ne répond pas",
                                    "the lab's Pro Santé Connect does not answer"), detail=type(exc).__name__, rule="LAB-PSC",
                                remedy="mssante lab up") from exc

"""The lab's Pro Santé Connect over its own HTTPS: discovery, code with PKCE, refresh, introspection, logout, what it refuses."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest
import pytest_asyncio

from mssante.clock import SystemClock
from mssante.errors import InputFault, OperatorFault
from mssante.lab.infra import Infra
from mssante.lab.manifest import Lab
from mssante.lab.psc_tokens import TokenFault
from mssante.lab.tokens import TokenDesk
from mssante.services.psc_keys import KeySettings, ProviderKeys
from mssante.services.psc_token import TokenFault as Refused
from mssante.services.psc_token import TokenPolicy, TokenReason, verify
from mssante.transport.jwks import HttpProvider

CLAIRE = "899700000011"


@pytest_asyncio.fixture
async def running(lab: Lab) -> AsyncIterator[Lab]:
    infra = Infra(lab, SystemClock())
    await infra.start()
    yield lab
    await infra.stop()


class Realm:
    """A client that asks for anything."""

    def __init__(self, lab: Lab) -> None:
        self.issuer = lab.trust("psc_issuer")
        self.anchors = lab.path(lab.trust("anchors"))

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        context = ssl.create_default_context(cafile=str(self.anchors))
        url = path if path.startswith("https") else self.issuer + path
        async with aiohttp.ClientSession() as session, session.request(method, url, ssl=context, allow_redirects=False, **options) as answer:
            raw = await answer.read()
            return answer.status, answer.headers, json.loads(raw) if "json" in answer.content_type else raw.decode()


AUTH = {"client_id": "lab-lps", "response_type": "code", "scope": "openid scope_all", "redirect_uri": "http://127.0.0.1:9/x", "state": "s",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"}  # RFC 7636 appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


async def code(realm: Realm, **changes: str) -> str:
    status, headers, _ = await realm.ask("GET", "/protocol/openid-connect/auth", params={
        **AUTH, "login_hint": CLAIRE, "prompt": "none", **changes})
    assert status == 302
    answer = parse_qs(urlsplit(headers["Location"]).query)
    assert answer["state"] == ["s"] and answer["iss"] == [realm.issuer]
    return answer["code"][0]


async def test_discovery_says_where_everything_is(running: Lab) -> None:
    realm = Realm(running)
    documents = [(await realm.ask("GET", f"/.well-known/{name}"))[2] for name in ("openid-configuration", "wallet-openid-configuration")]
    assert documents[0] == documents[1] and documents[0]["issuer"] == realm.issuer
    status, _, keys = await realm.ask("GET", documents[0]["jwks_uri"])
    assert status == 200 and [one["alg"] for one in keys["keys"]] == ["RS256"]


async def test_the_page_lets_a_tester_choose(running: Lab) -> None:
    realm = Realm(running)
    status, headers, page = await realm.ask("GET", "/protocol/openid-connect/auth", params={**AUTH, "state": '"><script>'})
    assert status == 200 and "Claire MARTIN" in page and "<script>" not in page and "default-src 'none'" in headers["Content-Security-Policy"]
    status, headers, _ = await realm.ask("POST", "/protocol/openid-connect/auth", data={**AUTH, "subject": CLAIRE})
    assert status == 302 and "code=" in headers["Location"]
    assert (await realm.ask("POST", "/protocol/openid-connect/auth", data={**AUTH, "subject": "1"}))[0] == 400


@pytest.mark.parametrize("changes", [{"client_id": "x"}, {"redirect_uri": "https://evil.example/"}, {"redirect_uri": "http://127.0.0.1.evil.example/"},
                                     {"response_type": "token"}, {"scope": "mail"}, {"code_challenge_method": "plain"}, {"redirect_uri": "javascript:1"}])
async def test_requests_that_get_no_code(running: Lab, changes: dict[str, str]) -> None:
    assert (await Realm(running).ask("GET", "/protocol/openid-connect/auth", params={**AUTH, "login_hint": CLAIRE, "prompt": "none", **changes}))[0] == 400


async def test_a_code_is_used_once_by_who_asked_for_it(running: Lab) -> None:
    realm = Realm(running)
    good = {"grant_type": "authorization_code", "client_id": "lab-lps", "redirect_uri": AUTH["redirect_uri"], "code_verifier": VERIFIER}
    for change in ({"code_verifier": "x" * 43}, {"redirect_uri": "http://127.0.0.1:9/y"}, {"client_id": "lab-autre-service"}, {"code": "x"}):
        status, _, answer = await realm.ask("POST", "/protocol/openid-connect/token", data={**good, "code": await code(realm), **change})
        assert (status, answer["error"]) == (400, "invalid_grant"), change
    one = await code(realm)
    status, _, found = await realm.ask("POST", "/protocol/openid-connect/token", data={**good, "code": one})
    assert status == 200 and found["expires_in"] == 240
    assert (await realm.ask("POST", "/protocol/openid-connect/token", data={**good, "code": one}))[0] == 400
    claims = jwt.decode(found["access_token"], options={"verify_signature": False})
    assert claims["SubjectNameID"] == claims["preferred_username"] == CLAIRE and claims["acr"] == "eidas1" and claims["azp"] == "lab-lps"
    assert claims["exp"] - claims["iat"] == 240 and claims["iss"] == realm.issuer
    status, _, who = await realm.ask("GET", "/protocol/openid-connect/userinfo", headers={"Authorization": f"Bearer {found['access_token']}"})
    assert status == 200 and who["SubjectNameID"] == CLAIRE
    again = {"grant_type": "refresh_token", "refresh_token": found["refresh_token"], "client_id": "lab-lps"}
    assert (await realm.ask("POST", "/protocol/openid-connect/token", data=again))[0] == 200
    assert (await realm.ask("POST", "/protocol/openid-connect/token", data=again))[0] == 400, "refresh tokens rotate"


async def test_a_token_does_not_outlive_its_session_for_who_asks(running: Lab) -> None:
    """Replay after logout: by itself the token is good until its end; introspection tells."""
    realm, desk = Realm(running), TokenDesk(running)
    tokens = await asyncio.to_thread(desk.walk, CLAIRE)
    provider = HttpProvider(realm.anchors, "lab-operator", "secret-of-the-lab-operator")
    where = f"{realm.issuer}/protocol/openid-connect/token/introspect"

    async def active() -> bool:
        return bool(json.loads(await provider.ask(where, {"token": tokens.access}, max_bytes=10_000))["active"])

    assert await active()
    for other in (HttpProvider(realm.anchors, "lab-operator", "x"), HttpProvider(realm.anchors, "lab-lps"), HttpProvider(realm.anchors)):
        with pytest.raises(OperatorFault, match="HTTP-STATUS"):
            await other.ask(where, {"token": tokens.access}, max_bytes=10_000)
    await asyncio.to_thread(desk.post, "/protocol/openid-connect/logout", {"refresh_token": tokens.refresh})
    assert not await active()
    with pytest.raises(OperatorFault, match="invalid_grant"):
        await asyncio.to_thread(desk.refresh, tokens)


async def test_our_operator_reads_its_keys_and_judges_every_bad_token(running: Lab) -> None:
    realm, desk = Realm(running), TokenDesk(running)
    keys = ProviderKeys(HttpProvider(realm.anchors), KeySettings(realm.issuer, realm.issuer + "/.well-known/wallet-openid-configuration",
                                                                 floor_seconds=0), SystemClock())
    policy = TokenPolicy(realm.issuer, frozenset({"lab-lps"}))

    async def judged(fault: str) -> str:
        text = await asyncio.to_thread(lambda: desk.ask(CLAIRE, fault=fault))
        kid = "inconnue" if fault == "kid" else jwt.get_unverified_header(text)["kid"]
        try:
            return verify(text, await keys.having(kid), policy, SystemClock().now()).subject
        except Refused as refused:
            return refused.reason.value

    R = TokenReason
    wanted = {TokenFault.EXPIRED: R.EXPIRED, TokenFault.EARLY: R.EARLY, TokenFault.OLD: R.AGE, TokenFault.AUDIENCE: R.AUDIENCE,
              TokenFault.ISSUER: R.ISSUER, TokenFault.KEY: R.SIGNATURE, TokenFault.KID: R.KEY, TokenFault.NONE: R.ALGORITHM,
              TokenFault.HS256: R.ALGORITHM, TokenFault.ACR: R.LEVEL, TokenFault.IDENTITY: R.KIND, TokenFault.NO_SUBJECT: R.SUBJECT}
    assert {fault: await judged(fault.value) for fault in TokenFault} == wanted
    assert await judged("") == CLAIRE
    await asyncio.to_thread(desk.rotate)
    assert await judged("") == CLAIRE, "a new key is found by its name"


async def test_what_the_desk_says_when_it_cannot(running: Lab, lab: Lab) -> None:
    desk = TokenDesk(running)
    assert desk.subject_of("claire.martin@alpha.mssante.test") == CLAIRE
    with pytest.raises(InputFault, match="LAB-PSC"):
        desk.subject_of("personne@alpha.mssante.test")
    with pytest.raises(OperatorFault, match="LAB-PSC"):
        await asyncio.to_thread(lambda: desk.ask(CLAIRE, fault="unheard-of"))


async def test_https_only_and_bounded(running: Lab) -> None:
    realm = Realm(running)
    provider = HttpProvider(realm.anchors)
    with pytest.raises(OperatorFault, match="HTTP-SCHEME"):
        await provider.document(realm.issuer.replace("https", "http"), max_bytes=10)
    with pytest.raises(OperatorFault, match="HTTP-SIZE"):
        await provider.document(realm.issuer + "/.well-known/openid-configuration", max_bytes=10)
    with pytest.raises(OperatorFault, match="HTTP-STATUS"):
        await provider.document(realm.issuer + "/nothing", max_bytes=10)
    with pytest.raises(OperatorFault, match="HTTP-UNREACHABLE"):
        await HttpProvider(None).document(realm.issuer + "/.well-known/openid-configuration", max_bytes=9999)

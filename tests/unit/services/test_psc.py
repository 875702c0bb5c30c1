"""Pro Santé Connect tokens: every rule, every attack on JWT that we know of, keys that rotate, and whose box a token opens."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.pki import key_for
from support.smtp_stage import ALICE, BOB, NOW, OURS, SmtpStage, build

from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxType
from mssante.protocol.sasl.base import Challenge, TokenClaim, TokenRefusal
from mssante.protocol.sasl.mechanisms import ALL, Circumstances, begin
from mssante.services.accounts import Accounts
from mssante.services.psc import PscChecker, PscSettings, holder_forms
from mssante.services.psc_keys import KeySettings, ProviderKeys, read_discovery, read_jwks
from mssante.services.psc_token import MAX_TOKEN, TokenFault, TokenPolicy, TokenReason, verify
from mssante.services.sasl import Accepted, Caller, NotChecked, Refused, TokenGrant, follow
from mssante.storage.interfaces import NewMailbox

ISSUER = "https://psc.example/auth/realms/r"
SUBJECT = "899700000011"
KEY, OTHER = key_for("psc"), key_for("psc other")
POLICY = TokenPolicy(ISSUER, frozenset({"lps"}))
IMAP = Caller("192.0.2.1:4000", "imap")
R = TokenReason


@lru_cache(maxsize=1)
def elliptic() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kind = jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys) or [public(KEY, "k1"), public(elliptic(), "ec")]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    made = {"iss": ISSUER, "aud": "account", "azp": "lps", "iat": now, "exp": now + 240, "acr": "eidas1", "SubjectNameID": SUBJECT,
            "scope": "openid scope_all", "typ": "Bearer", "sub": "x", **changes}
    return {name: value for name, value in made.items() if value is not ...}


def token(key: Any = KEY, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    if algorithm == "RS256":
        return signed({"alg": "RS256", "typ": "JWT", "kid": "k1", **(headers or {})}, claims(**changes), key)
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": "k1", **(headers or {})})


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(head: Any, body: Any, key: Any = KEY) -> str:
    """Sign any two parts, as RS256."""
    said = f"{b64(head)}.{b64(body)}"
    return f"{said}.{b64(key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def refusal(text: str, policy: TokenPolicy = POLICY, keys: bytes = b"", now: Any = NOW) -> TokenReason:
    with pytest.raises(TokenFault) as told:
        verify(text, read_jwks(keys or jwks()), policy, now)
    assert not [part for part in text.split(".") if len(part) > 20 and part in repr(told.value) + told.value.detail]
    return told.value.reason


# ------------------------------------------------------------ one token


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(KEY, "RS256", "k1"), (KEY, "PS256", "k1"), (elliptic(), "ES256", "ec")])
def test_a_good_token(key: Any, algorithm: str, kid: str) -> None:
    facts = verify(token(key, algorithm, {"kid": kid}), read_jwks(jwks()), POLICY, NOW)
    assert (facts.subject, facts.client, facts.acr) == (SUBJECT, "lps", "eidas1")
    assert facts.expires_at == NOW + timedelta(minutes=4)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"iss": ISSUER + "/"}, R.ISSUER), ({"iss": ISSUER.upper()}, R.ISSUER), ({"iss": [ISSUER]}, R.ISSUER), ({"iss": ...}, R.ISSUER),
    ({"azp": "other"}, R.AUDIENCE), ({"azp": "other", "aud": ["lps", "account"]}, R.AUDIENCE), ({"azp": ["lps"]}, R.AUDIENCE),
    ({"azp": ..., "aud": ["lps", "other"]}, R.AUDIENCE), ({"azp": ..., "aud": ...}, R.AUDIENCE), ({"azp": ..., "aud": []}, R.AUDIENCE),
    ({"azp": ..., "aud": {"lps": 1}}, R.AUDIENCE), ({"azp": "*"}, R.AUDIENCE), ({"azp": ""}, R.AUDIENCE), ({"azp": "LPS"}, R.AUDIENCE),
    ({"typ": "ID"}, R.KIND), ({"typ": "Refresh"}, R.KIND), ({"typ": "id"}, R.KIND), ({"nonce": "n", "at_hash": "h"}, R.KIND),
    ({"exp": int(NOW.timestamp()) - 30}, R.EXPIRED), ({"exp": ...}, R.SHAPE), ({"exp": "2026"}, R.SHAPE), ({"exp": True}, R.SHAPE),
    ({"exp": 1e300}, R.SHAPE), ({"exp": -1}, R.SHAPE), ({"exp": float("inf")}, R.SHAPE), ({"exp": float("nan")}, R.SHAPE),
    ({"iat": ...}, R.SHAPE), ({"iat": int(NOW.timestamp()) + 31}, R.EARLY), ({"nbf": int(NOW.timestamp()) + 31}, R.EARLY),
    ({"iat": int(NOW.timestamp()) - 931}, R.AGE), ({"iat": 0, "exp": int(NOW.timestamp()) + 10**6}, R.AGE),
    ({"acr": "eidas0"}, R.LEVEL), ({"acr": ["eidas1"]}, R.LEVEL), ({"acr": ...}, R.LEVEL), ({"acr": 1}, R.LEVEL),
    ({"SubjectNameID": ...}, R.SUBJECT), ({"SubjectNameID": ""}, R.SUBJECT), ({"SubjectNameID": 899700000011}, R.SUBJECT),
    ({"SubjectNameID": "8997\n"}, R.SUBJECT), ({"SubjectNameID": "８９９７"}, R.SUBJECT), ({"SubjectNameID": "1" * 65}, R.SUBJECT),
    ({"SubjectNameID": " 8997"}, R.SUBJECT), ({"SubjectNameID": None, "preferred_username": SUBJECT}, R.SUBJECT),
])
def test_claims(changes: dict[str, Any], reason: TokenReason) -> None:
    assert refusal(token(**changes)) is reason


@pytest.mark.parametrize("changes", [
    {"azp": ..., "aud": "lps"}, {"azp": ..., "aud": ["lps"]}, {"aud": ["x", "y"]}, {"exp": int(NOW.timestamp()) - 29},
    {"iat": int(NOW.timestamp()) + 30}, {"nbf": int(NOW.timestamp())}, {"iat": int(NOW.timestamp()) - 930}, {"typ": ...},
    {"SubjectNameID": ..., "preferred_username": SUBJECT}, {"scope": ...}])
def test_what_is_admitted_too(changes: dict[str, Any]) -> None:
    assert verify(token(**changes), read_jwks(jwks()), POLICY, NOW).subject == SUBJECT


def test_settings() -> None:
    wide = TokenPolicy(ISSUER, frozenset({"*"}), frozenset({"eidas2", "eidas1"}), frozenset({"mail"}), "id", timedelta(0), timedelta(60))
    assert refusal(token(azp="any", id="7"), wide) is R.SCOPE
    assert verify(token(azp="any", id="7", scope="openid mail"), read_jwks(jwks()), wide, NOW).subject == "7"
    assert refusal(token(), TokenPolicy(ISSUER, frozenset())) is R.AUDIENCE, "an empty list admits nobody"
    assert refusal(token(id="7", scope="mail"), wide, now=NOW + timedelta(minutes=4)) is R.EXPIRED, "no leeway: the end is excluded"


def test_unsigned_and_confused() -> None:
    """RFC 8725 §2.1: `none`, and our public key taken for an HMAC secret."""
    body = claims()
    for none in ("none", "None", "NONE", "nOnE"):
        for end in ("", b64(b"x")):
            assert refusal(f"{b64({'alg': none, 'kid': 'k1'})}.{b64(body)}.{end}") is R.ALGORITHM
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for secret in (pem, spki, b"", b"secret"):
            said = f"{b64({'alg': algorithm, 'kid': 'k1'})}.{b64(body)}"
            assert refusal(f"{said}.{b64(hmac.digest(secret, said.encode(), digest))}") is R.ALGORITHM
    for other in ("RS512", "RS384", "ES384", "EdDSA", "RS1", "dir", "RSA-OAEP", 256, None, ["RS256"], {"alg": "RS256"}, "rs256"):
        assert refusal(signed({"alg": other, "kid": "k1"}, body)) is R.ALGORITHM
    assert refusal(f"{b64({'alg': 'RS256', 'kid': 'k1'})}.{b64(body)}.") in (R.SIGNATURE, R.SHAPE), "a signature that is empty"
    assert refusal(token(elliptic(), "ES256")) is R.ALGORITHM, "an RSA key does not check ES256"
    only = jwks(public(KEY, "k1", alg="PS256"))
    assert refusal(token(), keys=only) is R.ALGORITHM, "the JWKS says which algorithm a key is for"
    assert verify(token(algorithm="PS256"), read_jwks(only), POLICY, NOW)


@pytest.mark.parametrize("kid", ["k2", "../../etc/passwd", "' OR 1=1 --", "k1\0", "https://evil.example/jwks", "K1", "k1 ", "", 1, None,
                                 ["k1"], {"k1": 1}, "x" * 201])
def test_the_name_of_a_key_is_only_a_name(kid: Any) -> None:
    assert refusal(signed({"alg": "RS256", "kid": kid}, claims())) is R.KEY


def test_keys_in_the_header_are_never_looked_at() -> None:
    """RFC 8725 §3.10: the attacker's own key in `jwk`, `jku`, `x5u` or `x5c`, with the name of a good one."""
    own = public(OTHER, "k1")
    for more in ({"jwk": own}, {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/x"}, {"x5c": ["AAAA"]}, {}):
        assert refusal(signed({"alg": "RS256", "kid": "k1", **more}, claims(), OTHER)) is R.SIGNATURE
        assert verify(signed({"alg": "RS256", "kid": "k1", **more}, claims()), read_jwks(jwks()), POLICY, NOW)


@pytest.mark.parametrize("more", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"cty": "JWT"}, {"typ": "dpop+jwt"},
                                  {"typ": "logout+jwt"}, {"typ": 1}, {"zip": "DEF", "cty": "JWT"}])
def test_headers_that_must_be_understood(more: dict[str, Any]) -> None:
    assert refusal(signed({"alg": "RS256", "kid": "k1", **more}, claims())) is R.HEADER


@pytest.mark.parametrize("text", [
    "", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", token()[:-1] + "=", token() + "\n", " " + token(), token().replace(".", "..", 1),
    "a" * (MAX_TOKEN + 1), f"{b64([])}.{b64({})}.x", f"{b64('x')}.{b64({})}.x", f"{b64(b'{')}.{b64({})}.x", f"{b64(b'[' * 4000)}.e30.x",
    f"{b64(bytes(range(128, 256)))}.e30.x", b64({"alg": "RS256", "kid": "k1"}) + ".é.x",
    signed({"alg": "RS256", "kid": "k1"}, b'{"iss": "a", "iss": "b"}'), signed({"alg": "RS256", "kid": "k1"}, token().encode()),
    signed({"alg": "RS256", "kid": "k1"}, [claims()]), signed({"alg": "RS256", "kid": "k1"}, {str(one): 1 for one in range(101)}),
    signed(b'{"alg": "RS256", "kid": "k1", "alg": "none"}', claims())])
def test_shapes(text: str) -> None:
    assert refusal(text) is R.SHAPE


def test_a_signature_is_of_this_text_by_this_key() -> None:
    head, body, signature = token().split(".")
    assert refusal(f"{head}.{b64(claims(SubjectNameID='1'))}.{signature}") is R.SIGNATURE
    assert refusal(f"{head}.{body}.{token(acr='x').split('.')[2]}") is R.SIGNATURE
    assert refusal(token(OTHER)) is R.SIGNATURE
    assert refusal(token(OTHER, iss="https://evil.example", exp=0)) is R.SIGNATURE, "of a bad signature nothing else is told"


# ------------------------------------------------------------ keys


def test_key_sets() -> None:
    weak = key_for("weak psc", 1024)
    kept = read_jwks(jwks(public(KEY, "k1"), public(weak, "weak"), public(KEY, "enc", use="enc"), {"kty": "oct", "kid": "o", "k": "AA"},
                          public(KEY, "hs", alg="HS256"), {**public(KEY, "x"), "kid": 1}, {"kty": "RSA", "kid": "e"}, "x",  # type: ignore[arg-type]
                          {"kty": "RSA", "kid": "bad", "n": "!!", "e": "AQAB"}, public(ec.generate_private_key(ec.SECP384R1()), "p384"),
                          {"kty": "RSA", "kid": "private", **dict.fromkeys("nedpq", "AQAB")}))
    assert set(kept.by_kid) == {"k1"}
    for bad in (b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', jwks(public(weak, "w")), jwks(public(KEY, "a"), public(OTHER, "a")),
                jwks(*[public(KEY, f"k{one}") for one in range(51)]), b"[" * 5000):
        with pytest.raises(OperatorFault, match="PSC-FOURNISSEUR"):
            read_jwks(bad)


def discovery(**changes: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": "https://psc.example/certs",
                       "introspection_endpoint": "https://psc.example/introspect", **changes}).encode()


def test_discovery_leads_nowhere_else() -> None:
    assert read_discovery(discovery(), ISSUER).keys_url == "https://psc.example/certs"
    assert read_discovery(discovery(introspection_endpoint="https://evil.example/"), ISSUER).introspection_url == ""
    for change in ({"issuer": ISSUER + "x"}, {"issuer": None}, {"jwks_uri": "http://psc.example/certs"}, {"jwks_uri": "file:///etc/passwd"},
                   {"jwks_uri": "https://psc.example@evil.example/"}, {"jwks_uri": "https://psc.example.evil/"}, {"jwks_uri": 1},
                   {"jwks_uri": "https://psc.example:444/certs"}, {"jwks_uri": "https://[x"}, {"jwks_uri": "https://psc.example/" + "x" * 1000}):
        with pytest.raises(OperatorFault, match="PSC-FOURNISSEUR"):
            read_discovery(discovery(**change), ISSUER)


class FakeProvider:
    """A provider that counts."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {ISSUER + "/d": discovery(), "https://psc.example/certs": jwks()}
        self.asked: list[str] = []
        self.active: Any = {"active": True}

    async def document(self, url: str, *, max_bytes: int) -> bytes:
        self.asked.append(url)
        if url not in self.answers:
            raise OperatorFault("down", rule="HTTP-UNREACHABLE")
        return self.answers[url]

    async def ask(self, url: str, form: Mapping[str, str], *, max_bytes: int) -> bytes:
        assert url == "https://psc.example/introspect" and form["token"]
        self.asked.append(url)
        if self.active is None:
            raise OperatorFault("down", rule="HTTP-UNREACHABLE")
        return self.active if isinstance(self.active, bytes) else json.dumps(self.active).encode()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def ring(stage: SmtpStage, provider: FakeProvider) -> ProviderKeys:
    return ProviderKeys(provider, KeySettings(ISSUER, ISSUER + "/d", 3600, 30), stage.clock)


async def test_keys_are_kept_and_rotate(stage: SmtpStage) -> None:
    provider = FakeProvider()
    keys = ring(stage, provider)
    for _ in range(5):
        assert "k1" in (await keys.having("k1")).by_kid
    assert len(provider.asked) == 2
    provider.answers["https://psc.example/certs"] = jwks(public(KEY, "k1"), public(OTHER, "k2"))
    assert "k2" not in (await keys.having("k2")).by_kid, "read a moment ago"
    stage.clock.advance(timedelta(seconds=30))
    assert "k2" in (await keys.having("k2")).by_kid
    for rank in range(1000):
        await keys.having(f"made-up-{rank}")
    assert len(provider.asked) == 4, "names that nobody knows cost one reading each floor"
    stage.clock.advance(timedelta(hours=1))
    await keys.having("k1")
    assert len(provider.asked) == 6


async def test_the_last_good_keys_stay(stage: SmtpStage) -> None:
    provider = FakeProvider()
    keys = ring(stage, provider)
    await keys.having("k1")
    for answers in ({}, {ISSUER + "/d": b"rubbish"}, {ISSUER + "/d": discovery(), "https://psc.example/certs": b'{"keys": []}'}):
        provider.answers = answers
        stage.clock.advance(timedelta(hours=2))
        assert "k1" in (await keys.having("k1")).by_kid
    provider.answers = {ISSUER + "/d": discovery(), "https://psc.example/certs": jwks(public(OTHER, "k2"))}
    stage.clock.advance(timedelta(hours=2))
    assert set((await keys.having("k1")).by_kid) == {"k2"}, "a key taken away by the provider opens nothing any more"


async def test_without_keys_nobody_gets_in_and_the_provider_is_asked_again(stage: SmtpStage) -> None:
    provider = FakeProvider()
    good, provider.answers = provider.answers, {}
    keys = ring(stage, provider)
    for _ in range(3):
        with pytest.raises(OperatorFault, match="PSC-INJOIGNABLE"):
            await keys.having("k1")
    assert len(provider.asked) == 1
    provider.answers = good
    stage.clock.advance(timedelta(seconds=30))
    assert await keys.having("k1")


# ------------------------------------------------------------ whose box

SERVICE = f"cardio@{OURS}"
NIGHT = f"nuit@{OURS}"


async def people(stage: SmtpStage) -> None:
    """alice holds her PER box and opens cardio@; bob has an ORG box of his own; nobody opens nuit@."""
    accounts = stage.stores.accounts

    def unit(tx: Any) -> None:
        made = accounts.create_mailboxes(tx, [
            NewMailbox(f"claire@{OURS}", MailboxType.PER, NOW, holder_id=SUBJECT), NewMailbox(SERVICE, MailboxType.ORG, NOW, holder_id="1990000011"),
            NewMailbox(NIGHT, MailboxType.ORG, NOW, holder_id="1990000011"), NewMailbox(f"paul@{OURS}", MailboxType.PER, NOW, holder_id="99700000773")])
        accounts.create_accounts(tx, [("claire", "", (made[0].id, made[1].id)), (NIGHT, "", (made[2].id,)), (f"paul@{OURS}", "", (made[3].id,))])

    await stage.stores.database.write(unit)


def checker(stage: SmtpStage, **settings: Any) -> tuple[PscChecker, FakeProvider]:
    provider = FakeProvider()
    return PscChecker(PscSettings(POLICY, ISSUER + "/d", **settings), ring(stage, provider), provider, stage.stores, clock=stage.clock,
                      evidence=stage.evidence), provider


async def reason(stage: SmtpStage, one: PscChecker, claim: TokenClaim, caller: Caller = IMAP) -> str:
    """Check a claim that is refused; give the rule that the journal tells."""
    try:
        assert await one.check(claim, caller) == TokenRefusal("invalid_token", "mail", ISSUER + "/d")
        rule = ""
    except NotChecked as fault:
        rule = fault.rule  # only the provider's silence is: the token was not judged
    row = (await stage.journal(JournalKind.TOKEN_REFUSED))[-1]
    assert claim.token not in json.dumps(row.payload) and row.payload["protocol"] == caller.protocol
    assert (row.payload["rule"] == R.PROVIDER) == (rule == R.PROVIDER)
    return str(row.payload["rule"])


async def test_whose_box_a_token_opens(stage: SmtpStage) -> None:
    await people(stage)
    one, _ = checker(stage)
    boxes = {box.address: box.id for box in await stage.stores.database.read(lambda tx: stage.stores.accounts.list_mailboxes(tx))}
    hours = 43200.0
    for name, box in (("", 0), ("claire", 0), ("CLAIRE ", 0), (f"claire@{OURS}", 0), (SERVICE, boxes[SERVICE]), (SERVICE.upper(), boxes[SERVICE])):
        assert await one.check(TokenClaim(name, token()), IMAP) == TokenGrant("claire", box, hours), name
    for name in (NIGHT, ALICE, f"paul@{OURS}", "nobody@x", "claire@", "' or 1=1", f"claire@{OURS}.evil"):
        assert await reason(stage, one, TokenClaim(name, token())) == R.HOLDER, name
    assert await one.check(TokenClaim("", token(SubjectNameID="899700000773")), IMAP) == TokenGrant(f"paul@{OURS}", 0, hours), "RPPS alone"
    assert await reason(stage, one, TokenClaim("", token(SubjectNameID="899700000999"))) == R.HOLDER
    assert await reason(stage, one, TokenClaim("", token(SubjectNameID="1990000011"))) == R.HOLDER, "an ORG box is nobody's identity"


async def test_filters_of_a_team_are_not_opened_by_a_token_of_a_member(stage: SmtpStage) -> None:
    """Filters are those of one's own mailbox (docs/filters.md), whatever box the token names."""
    await people(stage)
    one, _ = checker(stage)
    sieve = Caller("192.0.2.1:4000", "managesieve")
    assert await one.check(TokenClaim("claire", token()), sieve) == TokenGrant("claire", 0, 43200.0)
    assert await reason(stage, one, TokenClaim(SERVICE, token()), sieve) == R.HOLDER


async def test_links_name_people_whose_box_does_not(stage: SmtpStage) -> None:
    await people(stage)
    one, _ = checker(stage)
    bob = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, BOB))
    assert bob is not None
    await stage.stores.database.write(lambda tx: stage.stores.identities.link(tx, "psc", "8123", bob.id, NOW))
    assert await one.check(TokenClaim(BOB, token(SubjectNameID="8123")), IMAP) == TokenGrant(BOB, 0, 43200.0)
    await stage.stores.database.write(lambda tx: stage.stores.identities.link(tx, "psc", SUBJECT, bob.id, NOW))
    assert await reason(stage, one, TokenClaim("", token())) == R.AMBIGUOUS, "two logins, none named"
    assert await one.check(TokenClaim(SERVICE, token()), IMAP), "a name settles it"
    await stage.stores.database.write(lambda tx: stage.stores.accounts.update_account(tx, BOB, enabled=False))
    assert await one.check(TokenClaim("", token()), IMAP) == TokenGrant("claire", 0, 43200.0)
    assert await reason(stage, one, TokenClaim(BOB, token(SubjectNameID="8123"))) == R.DISABLED


def test_forms_of_a_holder() -> None:
    assert holder_forms("899700000011") == ("899700000011", "99700000011")
    assert holder_forms("0123456789") == ("0123456789", "123456789")
    for alone in ("8", "89970000001", "399700000011", "8997000000x1", "8９9700000011"):
        assert holder_forms(alone) == (alone,)


async def test_the_person_s_own_account_opens_the_box_first(stage: SmtpStage) -> None:
    await people(stage)
    one, _ = checker(stage)
    accounts = Accounts(stage.stores, stage.executor, stage.clock, stage.evidence, checker=one)
    assert accounts.takes_tokens
    own = await accounts.token(TokenClaim("", token()), IMAP)
    service = await accounts.token(TokenClaim(SERVICE, token()), IMAP)
    assert isinstance(own, Accepted) and isinstance(service, Accepted)
    assert service.account.login == own.account.login == "claire", "the journal tells the person"
    assert service.account.mailbox_ids == own.account.mailbox_ids and own.account.opened == 0
    assert service.account.opened == own.account.mailbox_ids[1], "opened in its place, and still not its own"
    assert [row.subject for row in await stage.journal(JournalKind.LOGIN)] == ["claire", "claire"]


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("initial", [True, False])
async def test_a_whole_exchange(stage: SmtpStage, mechanism: str, initial: bool) -> None:
    await people(stage)
    one, _ = checker(stage)
    accounts = Accounts(stage.stores, stage.executor, stage.clock, stage.evidence, checker=one)
    have = Circumstances(ALL, tokens=True)

    async def run(text: str) -> tuple[list[bytes], Any]:
        exchange = begin(mechanism, have)
        assert exchange is not None
        said = {"OAUTHBEARER": f"n,a=claire,\1auth=Bearer {text}\1\1", "XOAUTH2": f"user=claire\1auth=Bearer {text}\1\1"}[mechanism].encode()
        told: list[bytes] = []
        if not initial:
            assert exchange.start(None) == Challenge(), "an empty challenge"
        step = await follow(accounts, exchange, exchange.start(said) if initial else exchange.respond(said), IMAP)
        while isinstance(step, Challenge):
            told.append(step.data)
            step = await follow(accounts, exchange, exchange.respond(b"\1" if mechanism == "OAUTHBEARER" else b""), IMAP)
        return told, step

    told, step = await run(token())
    assert told == [] and isinstance(step, Accepted) and step.seconds == 43200.0
    told, step = await run(token(exp=1))
    assert step == Refused() and len(told) == 1
    spoken = json.loads(told[0])
    assert spoken == ({"status": "401", "schemes": "bearer", "scope": "mail"} if mechanism == "XOAUTH2" else
                      {"status": "invalid_token", "scope": "mail", "openid-configuration": ISSUER + "/d"})
    told, step = await run(token())
    assert isinstance(step, Accepted), "a refused token slows nobody down (ECO.1.2.3)"
    assert not await stage.journal(JournalKind.LOGIN_REFUSED)


async def test_sessions_end_with_their_token_when_asked(stage: SmtpStage) -> None:
    await people(stage)
    one, _ = checker(stage, with_token=True)
    granted = await one.check(TokenClaim("", token()), IMAP)
    assert isinstance(granted, TokenGrant) and granted.seconds == 240.0
    granted = await one.check(TokenClaim("", token(exp=int(NOW.timestamp()) - 5)), IMAP)
    assert isinstance(granted, TokenGrant) and granted.seconds == 1.0, "within the leeway: a second to say so"


async def test_introspection(stage: SmtpStage) -> None:
    await people(stage)
    one, provider = checker(stage, introspection=True)
    assert isinstance(await one.check(TokenClaim("", token()), IMAP), TokenGrant)
    for answer, rule in (({"active": False}, R.INACTIVE), ({"active": "true"}, R.INACTIVE), ({}, R.INACTIVE), ([], R.INACTIVE),
                         (b"rubbish", R.PROVIDER), (None, R.PROVIDER)):
        provider.active = answer
        assert await reason(stage, one, TokenClaim("", token())) == rule
    asked = len(provider.asked)
    assert await reason(stage, one, TokenClaim("", token(exp=1))) == R.EXPIRED
    assert len(provider.asked) == asked, "what we refuse is not asked about"


async def test_rubbish_costs_the_provider_nothing(stage: SmtpStage) -> None:
    one, provider = checker(stage)
    for text in ("rubbish", f"{b64({'alg': 'none', 'kid': 'k9'})}.e30."):
        await reason(stage, one, TokenClaim("", text))
    assert provider.asked == []
    provider.answers = {}
    assert await reason(stage, one, TokenClaim("", token())) == R.PROVIDER


async def test_the_name_of_a_citizen_is_not_journalled(stage: SmtpStage) -> None:
    one, _ = checker(stage)
    await one.check(TokenClaim("279035121518989@patient.mssante.fr", token()), IMAP)
    row = (await stage.journal(JournalKind.TOKEN_REFUSED))[-1]
    assert "279035121518989" not in row.subject + json.dumps(row.payload)

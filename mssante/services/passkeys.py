"""Passkeys (W3C Web Authentication level 2): what a browser is asked, and what it answers judged.

- Relying party: the host name of the web door. User verification (PIN, finger) is required each time, so that a passkey alone is
  two factors; the origin must be ours, the signature count must not go back (a cloned key).
- A challenge serves once, for five minutes, for one purpose, in the browser that asked for it: it carries its end and a keyed
  hash over a value of a cookie, and those answered well are remembered until then. Nothing is kept for those not answered.
- Discoverable: who logs in is read from the user handle that the key gives back, checked by the signature under the public key
  kept for that account. Nobody learns from a page whether a login exists or has a key.
Never raises what the library raises: a bad answer is `None`. Called by `endpoints/account_*.py`.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

import structlog
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mssante.clock import Clock
from mssante.services.secondfactor import PASSKEY, SecondFactors
from mssante.storage.credentials import SecondFactor
from mssante.storage.interfaces import Account

log = structlog.get_logger("passkeys")
CHALLENGE_SECONDS = 300
MAX_RESPONSE = 32 * 1024  # octets of an answer of a browser
MAX_USED = 10_000
_NONCE, _END, _MARK = 16, 8, 32


@dataclass(frozen=True, slots=True)
class Ask:
    """What an answer is judged against. purpose: `login`, `proof`, `enrol`; bound: value of the browser's cookie; origin:
    `https://host[:port]` that the request was made to."""

    purpose: str
    bound: str
    origin: str


class Passkeys:
    """The relying party."""

    def __init__(self, factors: SecondFactors, clock: Clock, secret: bytes, *, host: str, name: str) -> None:
        """secret: the operator's own; host: of the web door, without port; name: as users know the operator."""
        self._factors = factors
        self._clock = clock
        self._key = hmac.digest(secret, b"passkey challenges", "sha256")
        self._host = host
        self._name = name
        self._used: dict[bytes, int] = {}

    @property
    def host(self) -> str:
        """The relying party identifier."""
        return self._host

    def serves(self, origin: str) -> bool:
        """Whether pages of this origin may use passkeys."""
        return origin == f"https://{self._host}" or origin.startswith(f"https://{self._host}:")

    # ------------------------------------------------------------------------------------------ challenges

    def _challenge(self, ask: Ask) -> bytes:
        end = int(self._clock.now().timestamp()) + CHALLENGE_SECONDS
        head = secrets.token_bytes(_NONCE) + end.to_bytes(_END, "big")
        return head + self._mark(head, ask)

    def _mark(self, head: bytes, ask: Ask) -> bytes:
        return hmac.digest(self._key, head + f"{ask.purpose}\0{ask.bound}".encode("utf-8", "surrogatepass"), "sha256")

    def _fresh(self, challenge: bytes, ask: Ask) -> bool:
        """Whether a challenge is ours, for this, not over and not used."""
        head, mark = challenge[:_NONCE + _END], challenge[_NONCE + _END:]
        if len(challenge) != _NONCE + _END + _MARK or not hmac.compare_digest(mark, self._mark(head, ask)):
            return False
        return int.from_bytes(head[_NONCE:], "big") > self._clock.now().timestamp() and challenge not in self._used

    def _use(self, challenge: bytes) -> None:
        now = int(self._clock.now().timestamp())
        if len(self._used) >= MAX_USED:
            self._used = {one: end for one, end in self._used.items() if end > now}
        self._used[challenge] = now + CHALLENGE_SECONDS

    # ------------------------------------------------------------------------------------------ asking

    def enrolment(self, account: Account, held: list[SecondFactor], ask: Ask) -> str:
        """Give the options (JSON) with which a browser makes a passkey for an account."""
        return options_to_json(generate_registration_options(
            rp_id=self._host, rp_name=self._name, user_name=account.login, user_display_name=account.login,
            user_id=_handle(account.id), challenge=self._challenge(ask), timeout=CHALLENGE_SECONDS * 1000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED),
            exclude_credentials=self._descriptors(held)))

    def request(self, held: list[SecondFactor], ask: Ask) -> str:
        """Give the options (JSON) with which a browser proves a passkey: one of those held, any when there are none."""
        return options_to_json(generate_authentication_options(
            rp_id=self._host, challenge=self._challenge(ask), timeout=CHALLENGE_SECONDS * 1000,
            allow_credentials=self._descriptors(held), user_verification=UserVerificationRequirement.REQUIRED))

    def _descriptors(self, held: list[SecondFactor]) -> list[PublicKeyCredentialDescriptor]:
        return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(self._read(one)["id"]))
                for one in held if one.kind == PASSKEY]

    # ------------------------------------------------------------------------------------------ judging

    async def enrol(self, account: Account, label: str, response: str, ask: Ask) -> bool:
        """Keep the passkey that a browser made; False when its answer is not good. Raises InputFault `COMPTE-FACTEURS`."""
        read = _parsed(response)
        challenge = self._answered(read, ask)
        if read is None or challenge is None:
            return False
        try:
            made = verify_registration_response(
                credential=read, expected_challenge=challenge, expected_rp_id=self._host, expected_origin=ask.origin,
                require_user_verification=True)
        except Exception as fault:  # the border: the library raises many kinds on hostile input
            log.info("passkey_refused", step="enrol", fault=type(fault).__name__)
            return False
        self._use(challenge)
        kept = {"id": bytes_to_base64url(made.credential_id), "key": bytes_to_base64url(made.credential_public_key)}
        for one in await self._factors.of(account.id):
            if one.kind == PASSKEY and self._read(one)["id"] == kept["id"]:
                return False
        await self._factors.add(account, PASSKEY, label, json.dumps(kept).encode("ascii"), counter=made.sign_count)
        return True

    async def prove(self, response: str, ask: Ask, *, account_id: int = 0) -> int:
        """Give the account that an answer proves, 0 for none. account_id: the only one admitted, 0 for any."""
        read = _parsed(response)
        challenge = self._answered(read, ask)
        if read is None or challenge is None:
            return 0
        whose = account_id or _account_of(read)
        for factor in await self._factors.of(whose) if whose else []:
            if factor.kind == PASSKEY and self._read(factor)["id"] == read.get("id") and _account_of(read) in (0,
                                                                                                               factor.account_id):
                return await self._judge(factor, read, challenge, ask)
        return 0

    async def _judge(self, factor: SecondFactor, read: dict[str, Any], challenge: bytes, ask: Ask) -> int:
        try:
            found = verify_authentication_response(
                credential=read, expected_challenge=challenge, expected_rp_id=self._host, expected_origin=ask.origin,
                credential_public_key=base64url_to_bytes(self._read(factor)["key"]), credential_current_sign_count=factor.counter,
                require_user_verification=True)
        except Exception as fault:  # the border: the library raises many kinds on hostile input
            log.info("passkey_refused", step="prove", fault=type(fault).__name__)
            return 0
        if challenge in self._used:  # two answers at once
            return 0
        self._use(challenge)
        # keys that count nothing always say 0 (Web Authentication §6.1.1): their use is written without a count
        good = await (self._factors.used(factor, found.new_sign_count) if found.new_sign_count else self._factors.touched(factor))
        return factor.account_id if good else 0

    def _answered(self, read: dict[str, Any] | None, ask: Ask) -> bytes | None:
        """Give the challenge that an answer is for, None when it is not one of ours that may still be answered."""
        try:
            client = json.loads(base64url_to_bytes(read["response"]["clientDataJSON"])) if read is not None else {}
            challenge = base64url_to_bytes(client["challenge"])
        except (ValueError, KeyError, TypeError):
            return None
        return challenge if self.serves(ask.origin) and self._fresh(challenge, ask) else None

    def _read(self, factor: SecondFactor) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._factors.open(factor))
        return found


def _parsed(response: str) -> dict[str, Any] | None:
    if not 0 < len(response) <= MAX_RESPONSE:
        return None
    try:
        read = json.loads(response)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) and isinstance(read.get("response"), dict) else None


def _handle(account_id: int) -> bytes:
    return account_id.to_bytes(8, "big")


def _account_of(read: dict[str, Any]) -> int:
    """Give the account that a user handle names, 0 for none."""
    try:
        handle = base64url_to_bytes(read["response"].get("userHandle") or "")
    except (ValueError, TypeError, AttributeError):
        return 0
    return int.from_bytes(handle, "big") if len(handle) == 8 and handle[0] < 128 else 0

"""Second factors of the web account: time codes (TOTP), passkeys' storage, recovery codes; what is stored is sealed.

- TOTP (RFC 6238): SHA-1, 30 seconds, six digits, one step of tolerance either side; the last step used is kept, so that a code
  serves once. Passkeys are judged by `services.passkeys`; here they are kept.
- Recovery codes: ten of 80 bits, kept as keyed hashes, each good once; new ones replace the old.
- Sealed by AES-256-GCM under a key derived from the operator's secret, bound to account and kind: a row copied to another account
  opens nothing.
- Wrong codes are limited per account, whoever tries: only a holder of the password gets so far.
Every change writes its journal event in the same transaction. Called by `endpoints/account_*.py` and `cli/account_apps.py`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.appshape import ALPHABET
from mssante.services.sasl import TryLater
from mssante.services.throttle import Window
from mssante.storage.credentials import SecondFactor
from mssante.storage.interfaces import Account, Stores, Tx

TOTP = "totp"
PASSKEY = "passkey"
RECOVERY = "recovery"
STEP_SECONDS = 30
DIGITS = 6
TOTP_OCTETS = 20  # RFC 4226 §4: 128 bits at least, 160 recommended
RECOVERY_CODES = 10
RECOVERY_LENGTH = 16  # characters of the alphabet: 79 bits
MAX_FACTORS = 10
WRONG_CODES = 20  # of one account within WRONG_SECONDS
WRONG_SECONDS = 3600.0
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Proof:
    """A factor was proven. left: recovery codes that remain, -1 when it was none of them."""

    kind: str
    left: int = -1


def totp_code(secret: bytes, step: int) -> str:
    """Give the code of a step (RFC 4226 §5.3, RFC 6238 §4.2)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    at = digest[-1] & 15
    value = int.from_bytes(digest[at:at + 4], "big") & 0x7FFF_FFFF
    return f"{value % 10 ** DIGITS:0{DIGITS}d}"


def totp_step(secret: bytes, code: str, now: datetime) -> int:
    """Give the step whose code this is, within one step of now; 0 for none. Every step is compared, in constant time."""
    current, found = int(now.timestamp()) // STEP_SECONDS, 0
    for step in range(max(0, current - 1), current + 2):
        if hmac.compare_digest(totp_code(secret, step).encode(), code.encode("utf-8", "surrogatepass")):
            found = step
    return found


def totp_key(secret: bytes) -> str:
    """Give a secret as a person types it into a program: base32 in groups of four."""
    text = b32encode(secret).decode("ascii").rstrip("=")
    return " ".join(text[at:at + 4] for at in range(0, len(text), 4))


def totp_uri(secret: bytes, login: str, issuer: str) -> str:
    """Give the `otpauth:` address that programs on a telephone read."""
    label = quote(f"{issuer}:{login}", safe="")
    return f"otpauth://totp/{label}?secret={totp_key(secret).replace(' ', '')}&issuer={quote(issuer, safe='')}"


class SecondFactors:
    """The factors of accounts."""

    def __init__(self, stores: Stores, clock: Clock, secret: bytes) -> None:
        """secret: the operator's own."""
        self._stores = stores
        self._clock = clock
        self._seal = AESGCM(hmac.digest(secret, b"seal of second factors", "sha256"))
        self._codes = hmac.digest(secret, b"recovery codes", "sha256")
        self._wrong = Window(WRONG_SECONDS)

    # ------------------------------------------------------------------------------------------ reading

    async def of(self, account_id: int) -> list[SecondFactor]:
        """Give the factors of an account, oldest first."""
        return await self._stores.database.read(lambda tx: self._stores.credentials.factors(tx, account_id), quick=True)

    def open(self, factor: SecondFactor) -> bytes:
        """Give the sealed part of a factor. Raises InputFault `COMPTE-FACTEUR` when it was not sealed here for this account."""
        try:
            return self._seal.decrypt(factor.secret[:_NONCE], factor.secret[_NONCE:], _bound(factor.account_id, factor.kind))
        except (InvalidTag, ValueError) as fault:
            raise InputFault(say("second facteur illisible", "unreadable second factor"), rule="COMPTE-FACTEUR",
                             remedy="mssante account factors --reset") from fault

    # ------------------------------------------------------------------------------------------ proving

    async def check_code(self, account_id: int, code: str) -> Proof | None:
        """Check a time code or a recovery code; None when it is wrong or used. Raises TryLater after too many wrong ones."""
        now = self._clock.monotonic()
        if self._wrong.count(str(account_id), now) >= WRONG_CODES:
            raise TryLater()
        typed = re.sub(r"[\s-]", "", code[:64]).lower()
        proof = None
        if re.fullmatch(r"[0-9]{6}", typed):
            proof = await self._check_totp(account_id, typed)
        elif len(typed) == RECOVERY_LENGTH:
            proof = await self._check_recovery(account_id, typed)
        if proof is None:
            self._wrong.add(str(account_id), now)
        return proof

    async def _check_totp(self, account_id: int, code: str) -> Proof | None:
        for factor in await self.of(account_id):
            if factor.kind != TOTP:
                continue
            step = totp_step(self.open(factor), code, self._clock.now())
            if step and await self.used(factor, step):
                return Proof(TOTP)
        return None

    async def used(self, factor: SecondFactor, counter: int) -> bool:
        """Write a use of a factor; False when its counter is not above the one kept: a replay."""
        now = self._clock.now()
        return await self._stores.database.write(lambda tx: self._stores.credentials.use_factor(tx, factor.id, counter, now))

    async def touched(self, factor: SecondFactor) -> bool:
        """Write a use of a factor that counts nothing; False when it is gone."""
        now = self._clock.now()
        return await self._stores.database.write(lambda tx: self._stores.credentials.touch_factor(tx, factor.id, now))

    async def _check_recovery(self, account_id: int, code: str) -> Proof | None:
        mark = self._mark(account_id, code)

        def unit(tx: Tx) -> Proof | None:
            held = [one for one in self._stores.credentials.factors(tx, account_id) if one.kind == RECOVERY]
            for factor in held:
                if hmac.compare_digest(factor.secret, mark) and self._stores.credentials.remove_factor(tx, account_id, factor.id):
                    return Proof(RECOVERY, len(held) - 1)
            return None

        return await self._stores.database.write(unit)

    def _mark(self, account_id: int, code: str) -> bytes:
        return hmac.digest(self._codes, f"{account_id}:{code}".encode("utf-8", "surrogatepass"), "sha256")

    # ------------------------------------------------------------------------------------------ changing

    async def add_totp(self, account: Account, label: str, secret: bytes, code: str) -> bool:
        """Enrol a time code once a code of it was given; False when that code is wrong. Raises InputFault `COMPTE-FACTEURS`."""
        step = totp_step(secret, re.sub(r"\s", "", code[:64]), self._clock.now())
        if step:
            await self.add(account, TOTP, label, secret, counter=step)
        return bool(step)

    async def add(self, account: Account, kind: str, label: str, secret: bytes, *, counter: int = 0) -> SecondFactor:
        """Seal and keep a factor. Raises InputFault `COMPTE-FACTEURS` when there are too many."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._seal.encrypt(nonce, secret, _bound(account.id, kind))
        factor = SecondFactor(account.id, kind, label, sealed, counter, self._clock.now())

        def unit(tx: Tx) -> SecondFactor:
            held = [one for one in self._stores.credentials.factors(tx, account.id) if one.kind != RECOVERY]
            if len(held) >= MAX_FACTORS:
                raise InputFault(say(f"déjà {MAX_FACTORS} seconds facteurs", f"{MAX_FACTORS} second factors already"),
                                 rule="COMPTE-FACTEURS", remedy=say("retirez-en un", "remove one"))
            stored = self._stores.credentials.add_factor(tx, factor)
            self._tell(tx, account.login, "factor_added", {"factor": kind})
            return stored

        return await self._stores.database.write(unit)

    async def remove(self, account: Account, factor_id: int) -> bool:
        """Take a factor away; False when this account has none of that id. The recovery codes go with the last one."""
        def unit(tx: Tx) -> bool:
            held = self._stores.credentials.factors(tx, account.id)
            kind = next((one.kind for one in held if one.id == factor_id and one.kind != RECOVERY), "")
            if not kind or not self._stores.credentials.remove_factor(tx, account.id, factor_id):
                return False
            if not any(one.kind != RECOVERY and one.id != factor_id for one in held):
                self._stores.credentials.remove_factors(tx, account.id, RECOVERY)
            self._tell(tx, account.login, "factor_removed", {"factor": kind})
            return True

        return await self._stores.database.write(unit)

    async def make_codes(self, account: Account, *, by: str = "") -> list[str]:
        """Give new recovery codes, `abcd-efgh-jkmn-pqrs`, shown once; the old ones are void."""
        codes = ["".join(secrets.choice(ALPHABET) for _ in range(RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
        now = self._clock.now()

        def unit(tx: Tx) -> None:
            self._stores.credentials.remove_factors(tx, account.id, RECOVERY)
            for code in codes:
                self._stores.credentials.add_factor(tx, SecondFactor(account.id, RECOVERY, "", self._mark(account.id, code), 0,
                                                                     now))
            self._tell(tx, account.login, "recovery_codes", {"by": by} if by else {})

        await self._stores.database.write(unit)
        return ["-".join(code[at:at + 4] for at in range(0, RECOVERY_LENGTH, 4)) for code in codes]

    async def reset(self, account: Account, *, by: str) -> int:
        """Take all factors and web sessions of an account away (a telephone was lost); give how many factors.

        App passwords stay: they are revoked one by one."""
        def unit(tx: Tx) -> int:
            gone = self._stores.credentials.remove_factors(tx, account.id)
            ended = self._stores.credentials.remove_sessions(tx, account.id)
            self._tell(tx, account.login, "factors_reset", {"by": by, "factors": gone, "sessions": ended})
            return gone

        return await self._stores.database.write(unit)

    def _tell(self, tx: Tx, login: str, action: str, more: dict[str, str | int]) -> None:
        self._stores.journal.append(tx, [JournalEvent(JournalKind.ACCOUNT_CHANGED, self._clock.now(), "", login,
                                                     {"action": action, **more})])


def _bound(account_id: int, kind: str) -> bytes:
    return f"{kind}:{account_id}".encode("ascii")

"""Client of the directory's FHIR read API, v2 (spec §4.4): an address on the three carriers, and what changed since an instant.

- The base URL is the configuration's alone: no redirect is followed, and a `next` link only when its scheme, host, port and path
  stay under that base. At most 100 pages, each link once.
- Server authenticated by the configured anchors; the `ESANTE-API-KEY` comes from a file, read at each call (renewed with no
  restart), and is never in a log or an error.
- 30 s a request (F4.12), 4 MiB an answer, FHIR JSON only, no content coding. 429 and 5xx: up to two more tries after
  `Retry-After` or a growing delay when that is short; after five failures in a row the circuit opens and nothing is sent until
  it closes again. All faults are `RemoteFault`: the caller decides, mail never waits on them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp

from mssante.clock import Clock
from mssante.directory.fhir import CARRIERS, MAX_OCTETS, FhirFault, FhirMailbox, FhirPage, parse_json, read_outcome, read_page
from mssante.errors import MssFault, OperatorFault
from mssante.lang import say

MAX_PAGES = 100
MAX_KEY = 4096
TRIES = 3
LONGEST_PAUSE = 20.0
_JSON_TYPES = frozenset({"application/fhir+json", "application/json"})


class RemoteFault(OperatorFault):
    """A directory source did not give a usable answer. rule: `ANNUAIRE-…`."""


@dataclass(frozen=True, slots=True)
class FhirTarget:
    """What is asked. url: base of the read API; anchors: PEM of the only authorities trusted; open_seconds: how long the circuit
    stays open; failures: in a row, to open it."""

    url: str
    anchors: Path
    api_key_file: Path | None = None
    timeout_seconds: float = 30.0
    failures: int = 5
    open_seconds: float = 60.0


class Circuit:
    """Stops asking a source that fails: closed, open for a time that doubles up to an hour, then one try."""

    def __init__(self, clock: Clock, failures: int, seconds: float) -> None:
        self._clock = clock
        self._most = failures
        self._seconds = seconds
        self._failed = 0
        self._until = 0.0

    @property
    def open_for(self) -> float:
        """Seconds before the next question is let through, 0 when it may go."""
        return max(self._until - self._clock.monotonic(), 0.0) if self._failed >= self._most else 0.0

    def check(self) -> None:
        """Raise RemoteFault (`ANNUAIRE-COUPE`) while it is open."""
        left = self.open_for
        if left:
            raise RemoteFault(say("source d'annuaire en échec, laissée en paix un moment",
                                  "directory source keeps failing, left alone for a while"),
                              detail=f"{int(left) + 1} s", rule="ANNUAIRE-COUPE")
        if self._failed >= self._most:
            self._until = self._clock.monotonic() + self._seconds  # this one goes; the others wait for its result

    def good(self) -> None:
        """The source answered."""
        self._failed = 0

    def bad(self, seconds: float = 0.0) -> None:
        """The source failed; seconds: how long it asks to be left alone (0: our own pace)."""
        self._failed += 1
        if seconds:
            self._failed = max(self._failed, self._most)
        if self._failed >= self._most:
            own = min(self._seconds * 2 ** min(self._failed - self._most, 10), 3600.0)
            self._until = self._clock.monotonic() + max(own, min(seconds, 86400.0))


class FhirDirectory:
    """The read API as one source. Safe for concurrent calls; `close` when done."""

    def __init__(self, target: FhirTarget, clock: Clock) -> None:
        self._target = target
        self._base = target.url.rstrip("/")
        self._origin = _origin(self._base)
        self.circuit = Circuit(clock, target.failures, target.open_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def find(self, address: str) -> list[FhirMailbox]:
        """Give the mailboxes of exactly this address on the three carriers (F4.15; api-mss-fhir §3.1). Raises RemoteFault."""
        wanted = address.lower()
        answers = await asyncio.gather(*(self._all(carrier, wanted) for carrier in CARRIERS), return_exceptions=True)
        found: list[FhirMailbox] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            found += [one for one in answer if one.entry.address == wanted]  # others of the same carrier are not the question
        return found

    async def _all(self, carrier: str, address: str) -> list[FhirMailbox]:
        return [one async for page in self._pages(carrier, {"mailbox-mss:exact": address}) for one in page.mailboxes]

    async def changed_since(self, instant: datetime, carrier: str) -> AsyncIterator[FhirPage]:
        """Give the pages of what changed on one carrier since an aware instant (`_lastUpdated`, F4.17). Raises RemoteFault."""
        async for page in self._pages(carrier, {"_lastUpdated": f"ge{instant.isoformat(timespec='seconds')}"}):
            yield page

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------------------------------ pages

    async def _pages(self, carrier: str, query: dict[str, str]) -> AsyncIterator[FhirPage]:
        url, seen = f"{self._base}/{carrier}?{urlencode(query)}", set[str]()
        while url:
            if url in seen or len(seen) >= MAX_PAGES:
                raise RemoteFault(say("pagination sans fin de l'annuaire", "endless paging of the directory"),
                                  detail=f"{len(seen)} pages", rule="ANNUAIRE-PAGES")
            seen.add(url)
            page = await self._page(url)
            yield page
            url = self._follow(page.next, carrier, url) if page.next else ""

    def _follow(self, link: str, carrier: str, current: str) -> str:
        """Give the next page's URL when it stays on this API's own resource, without a fragment."""
        try:
            there = urljoin(current, link)
            parts = urlsplit(there)
        except ValueError:
            there, parts = "", urlsplit("")
        path = urlsplit(self._base).path
        if _origin(there) != self._origin or parts.path.rstrip("/") not in (f"{path}/{carrier}", path):
            raise RemoteFault(say("l'annuaire renvoie vers une autre adresse, ce qui n'est pas suivi",
                                  "the directory sends elsewhere, which is not followed"), rule="ANNUAIRE-RENVOI")
        query = urlencode(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50))
        return f"{self._base.removesuffix(path)}{parts.path}?{query}"

    async def _page(self, url: str) -> FhirPage:
        self.circuit.check()
        try:
            page = await self._tried(url)
        except RemoteFault as fault:
            if fault.rule not in ("ANNUAIRE-REFUS",):  # the source works: it is the question that it does not like
                self.circuit.bad(_asked(fault))
            raise
        self.circuit.good()
        return page

    async def _tried(self, url: str) -> FhirPage:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._once(url)
            except _Later as fault:
                pause = fault.seconds or 0.5 * 2 ** attempt
                if attempt == TRIES or pause > LONGEST_PAUSE:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(self, url: str) -> FhirPage:
        try:
            async with self._opened().get(url, headers=self._headers(), allow_redirects=False) as response:
                body = await _body(response)
                _status(response, body)
                return read_page(body)
        except FhirFault as fault:
            raise RemoteFault(fault.public, detail=f"{fault.detail} {fault.rule}".strip(), rule="ANNUAIRE-REPONSE") from fault
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise _unreachable(exc) from exc

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            tls: ssl.SSLContext | bool = True
            if self._base.startswith("https://"):
                tls = ssl.create_default_context(cafile=str(self._target.anchors))
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._target.timeout_seconds), auto_decompress=False,
                connector=aiohttp.TCPConnector(ssl=tls, limit=8), cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/fhir+json", "Accept-Encoding": "identity"}
        if self._target.api_key_file is not None:
            headers["ESANTE-API-KEY"] = read_key(self._target.api_key_file)
        return headers


class _Later(RemoteFault):
    """429 or 5xx. seconds: what Retry-After asked for, 0 when it asked nothing."""

    seconds: float = 0.0


def read_key(path: Path) -> str:
    """Give the API key of a file (one line of printable ASCII). Raises RemoteFault (`ANNUAIRE-CLE`); the key is in no error."""
    try:
        with path.open("rb") as stream:
            key = stream.read(MAX_KEY).strip().decode("ascii")
    except (OSError, ValueError) as exc:
        key, cause = "", type(exc).__name__
    else:
        cause = "empty"
    if not key or not key.isprintable():
        raise RemoteFault(say("clé d'API de l'annuaire illisible", "the directory's API key cannot be read"), detail=cause,
                          rule="ANNUAIRE-CLE", remedy="directory.fhir_api_key_file")
    return key


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "", "", None
    return (parts.scheme, (parts.hostname or "").lower(), port) if not parts.username and not parts.fragment else ("", "", None)


def _asked(fault: MssFault) -> float:
    return fault.seconds if isinstance(fault, _Later) else 0.0


def _unreachable(exc: Exception) -> RemoteFault:
    return RemoteFault(say("annuaire injoignable", "the directory cannot be reached"), detail=type(exc).__name__,
                       rule="ANNUAIRE-INJOIGNABLE")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RemoteFault(say("l'annuaire a comprimé sa réponse sans qu'on le demande",
                              "the directory compressed its answer unasked"),
                          rule="ANNUAIRE-CODAGE")
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65536):
        size += len(part)
        if size > MAX_OCTETS:
            raise RemoteFault(say("réponse de l'annuaire trop grosse", "the directory's answer is too large"),
                              detail=f"> {MAX_OCTETS} octets", rule="ANNUAIRE-TAILLE")
        parts.append(part)
    return b"".join(parts)


def _status(response: aiohttp.ClientResponse, body: bytes) -> None:
    """Raise what a status other than 200 of FHIR JSON means."""
    status = response.status
    if 300 <= status < 400:
        raise RemoteFault(say("l'annuaire renvoie vers une autre adresse, ce qui n'est pas suivi",
                              "the directory sends elsewhere, which is not followed"), detail=f"HTTP {status}",
                          rule="ANNUAIRE-RENVOI")
    told = _told(body)
    if status == 429 or status >= 500:
        later = _Later(say("annuaire surchargé ou en panne", "the directory is overloaded or broken"),
                       detail=f"HTTP {status} {told}".strip(), rule="ANNUAIRE-TARD")
        wait = response.headers.get("Retry-After", "")
        later.seconds = min(float(wait), 86400.0) if wait.isascii() and wait.isdigit() and len(wait) < 9 else 0.0
        raise later
    if status in (401, 403):
        raise RemoteFault(say("l'annuaire refuse notre clé d'API", "the directory refuses our API key"),
                          detail=f"HTTP {status} {told}".strip(), rule="ANNUAIRE-CLE", remedy="directory.fhir_api_key_file")
    if status != 200:
        raise RemoteFault(say("l'annuaire refuse la question", "the directory refuses the question"),
                          detail=f"HTTP {status} {told}".strip(), rule="ANNUAIRE-REFUS")
    if response.content_type not in _JSON_TYPES:
        raise RemoteFault(say("la réponse de l'annuaire n'est pas du FHIR JSON", "the directory's answer is not FHIR JSON"),
                          detail=response.content_type[:60], rule="ANNUAIRE-TYPE")


def _told(body: bytes) -> str:
    """Give the code of an OperationOutcome; its text may repeat the question, so it is not kept."""
    try:
        return read_outcome(parse_json(body)).code
    except FhirFault:
        return ""

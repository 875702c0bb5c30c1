"""Carries publications by FHIR Patch to the national directory (api-mss-fhir §3.2): conditional PATCH, bounded, typed answers.

- The address called is the configuration's alone: no redirect is followed, no link of an answer is fetched.
- Server authenticated by the configured anchors; ourselves by an API key from a file and, where asked, a client certificate.
- The answer is the state: a 200 whose resource contradicts the change is not believed.
- Draft interface, not open yet (F4.5): statuses that the drafts do not agree on are taken by their meaning.
Never raises but on cancellation; never logs an address, a key or a body.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from mssante.directory.patch import parameters
from mssante.services.publication_port import Answer, Change, Receipt, SendResult

MAX_ANSWER = 4 * 1024 * 1024
MAX_KEY = 4096
CONTENT_TYPE = "application/fhir+json"


@dataclass(frozen=True, slots=True)
class PatchTarget:
    """Where to. url: base of the write API; anchors: PEM of the authorities trusted for https."""

    url: str
    anchors: Path
    api_key_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_seconds: float = 30.0


class FhirPatchDriver:
    """`services.publication_port.PublicationDriver` over FHIR Patch."""

    def __init__(self, target: PatchTarget) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None

    async def send(self, change: Change) -> Answer:
        """Send one change and give the answer."""
        query = urlencode({"identifier": f"{change.key_system}|{change.key_value}"})
        url = f"{self._target.url.rstrip('/')}/{change.carrier}?{query}"
        try:
            async with self._opened().patch(url, data=json.dumps(parameters(change.operations)).encode(),
                                            headers=self._headers(), allow_redirects=False) as response:
                body = await response.content.read(MAX_ANSWER + 1)
                while len(body) <= MAX_ANSWER and (more := await response.content.read(65536)):
                    body += more
                return _answer(response.status, dict(response.headers), _document(body), change)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            return Answer(SendResult.LATER, "PUB-INJOIGNABLE", type(exc).__name__)

    async def receipts(self) -> list[Receipt]:
        """Answers are immediate here."""
        return []

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            tls: ssl.SSLContext | bool = True
            if self._target.url.startswith("https://"):
                tls = ssl.create_default_context(cafile=str(self._target.anchors))
                if self._target.certificate is not None:
                    tls.load_cert_chain(self._target.certificate, self._target.key)
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._target.timeout_seconds),
                connector=aiohttp.TCPConnector(ssl=tls, limit=2))
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        if self._target.api_key_file is not None:  # read each time: a key is renewed without a restart
            headers["ESANTE-API-KEY"] = self._target.api_key_file.read_text(encoding="ascii")[:MAX_KEY].strip()
        return headers


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_ANSWER:
        raise ValueError("answer is too large")
    try:
        found = json.loads(body) if body.strip() else {}
    except RecursionError as exc:
        raise ValueError("answer is nested too deep") from exc
    return found if isinstance(found, dict) else {}


def _answer(status: int, headers: dict[str, str], document: dict[str, Any], change: Change) -> Answer:
    """Give what an HTTP answer means (api-mss-fhir §3.2)."""
    rule = f"PUB-{status}"
    if status in (200, 204):
        if not _consistent(document, change):
            return Answer(SendResult.LATER, "PUB-REPONSE", "the answered state is not the one asked for")
        version = headers.get("ETag") or str(document.get("meta", {}).get("versionId", "") if isinstance(
            document.get("meta"), dict) else "")
        return Answer(SendResult.ACCEPTED, version=version[:100])
    code = _issue_code(document)
    if status == 422:
        kinds = {one.kind for one in change.operations}
        if code == "conflict" and "insert" in kinds:
            return Answer(SendResult.EXISTS, rule, code)
        if code == "not-found" and kinds != {"insert"}:
            return Answer(SendResult.GONE, rule, code)
    if status in (408, 425, 429) or status >= 500 or status in (401, 403):  # ours to mend: the change itself is not judged
        wait = headers.get("Retry-After", "")
        return Answer(SendResult.LATER, rule, code, after_seconds=min(float(wait), 86400.0) if wait.isdigit() else 0)
    return Answer(SendResult.REFUSED, rule, code)


def _issue_code(document: dict[str, Any]) -> str:
    issues = document.get("issue")
    first = issues[0] if isinstance(issues, list) and issues and isinstance(issues[0], dict) else {}
    code = first.get("code", "")
    return code[:60] if isinstance(code, str) and code.isascii() else ""


def _consistent(document: dict[str, Any], change: Change) -> bool:
    """Tell if an answered resource shows the entries that we left, and not those that we took away; yes when it shows none."""
    telecom = document.get("telecom")
    if document.get("resourceType") != change.carrier or not isinstance(telecom, list):
        return True
    there = {str(one.get("value", "")).lower() for one in telecom if isinstance(one, dict)}
    kept = {box.address for box in change.boxes if box.holder == (change.carrier, change.key_system, change.key_value)}
    return kept <= there and not (set(change.addresses) - kept) & there

"""Documents handed in by real HTTP to a running operator: through to the other operator and back, and kill -9 in the middle of 200.

- A program posts a PDF with its facts for a doctor of beta and waits for webhooks: relayed, then read, when the doctor's software
  sends its receipt. The same document dropped as a file goes the same way, its receipt is written again.
- 200 files dropped in a watched folder while alpha is killed at random moments and started again: none lost, none doubled, each with
  its receipt, nothing left behind.
- 200 POSTs by 8 connections while alpha is killed twice and started again; each program tries again until it gets an answer,
  as its manual says. At the end: 200 keys answered, 200 messages in the mailbox, none twice.
The configuration of alpha is put back at the end.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.handing import INS, NAMES, PDF
from support.lab import Reader, RunningLab, report, soon

from mssante.model.address import parse_envelope_address
from mssante.protocol.reports.mdn import MdnRequest, build_mdn

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CLAIRE, SERVICE = "claire.martin@alpha.mssante.test", "secretariat.cardio@alpha.mssante.test"
PAUL = "paul.durand@beta.mssante.test"
POSTS, CONNECTIONS, KILLS = 200, 8, 2
FILES, FILE_KILLS = int(os.environ.get("MSSANTE_DROP_FILES", "200")), int(os.environ.get("MSSANTE_DROP_KILLS", "3"))
SEED = int(os.environ.get("MSSANTE_CRASH_SEED", "20261123"))
FACTS: dict[str, Any] = {
    "patient": {"family_birth": NAMES[0], "given_birth": NAMES[1], "birth_date": "1979-03-28", "sex": "F", "ins": INS,
                "ins_oid": "1.2.250.1.213.1.4.10"},
    "author": {"number": "899700000001", "family": "TESTMEDECIN"},
    "structure": {"number": "1990000001", "name": "Centre de test", "practice": "ETABLISSEMENT", "facility": "SA01"},
    "code": "11488-4", "title": "CR de consultation", "created": "2026-02-28T10:30:00+01:00"}


def asked(*to: str, **changes: Any) -> dict[str, Any]:
    return {"to": list(to), "documents": [{"pdf": base64.b64encode(PDF).decode(), "facts": FACTS}], **changes}


@dataclass
class Programs:
    """A hospital's software: it posts, it is told, it drops files."""

    lab: RunningLab
    token: str
    folder: Path
    secret: bytes = b""
    hook: str = ""
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "https://{}:{}".format(*self.lab.address("alpha", "web"))

    async def call(self, session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        async with session.request(method, self.url + path, headers=headers, **more) as answer:
            return answer.status, await answer.json(content_type=None)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.lab.anchors()), timeout=aiohttp.ClientTimeout(total=20))

    def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        async def one() -> tuple[int, Any]:
            async with self.session() as session:
                return await self.call(session, method, path, **more)

        return asyncio.run(one())

    def events(self, document: str) -> list[str]:
        return [one["type"] for one in (json.loads(body) for _, body in list(self.told)) if one.get("document") == document]


def receiver(programs: Programs) -> ThreadingHTTPServer:
    """Give a server of webhooks with a certificate of the lab; the first post is answered 500."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            programs.told.append((dict(self.headers), body))
            self.send_response(500 if len(programs.told) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*programs.lab.peer_files("alpha"))
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def programs(running_lab: RunningLab) -> Iterator[Programs]:
    lab = running_lab
    config = lab.folder / "alpha" / "operator_config"
    kept = (config / "operator.toml").read_text(encoding="utf-8")
    folder = lab.folder / "alpha" / "depot"
    folder.mkdir(exist_ok=True)
    made = Programs(lab, "", folder)
    server = receiver(made)
    host = f"127.0.0.1:{server.server_address[1]}"
    (config / "operator.toml").write_text(kept + (
        f'\n[handover]\nwebhook_hosts = ["{host}"]\nwebhook_private = true\nwebhook_authorities = "{lab.anchors_file}"\n'
        f'requests_per_minute = 100000\nfolder_seconds = 0.2\nfolders = {{ "{SERVICE}" = "{folder}" }}\n'), encoding="utf-8")
    code, out, error = lab.command("token", "create", "dpi", "-s", "documents:send", "-s", "events", "-m", CLAIRE, "--json", "-c", config)
    assert code == 0, error
    made.token = json.loads(out)["token"]
    code, out, error = lab.command("webhook", "add", CLAIRE, f"https://{host}/mss", "--owner", "dpi", "--json", "-c", config)
    assert code == 0, error
    hook = json.loads(out)
    made.hook, made.secret = hook["id"], base64.b64decode(hook["secret"][6:])
    lab.kill("alpha")
    lab.start("alpha")
    yield made
    server.shutdown()
    lab.command("webhook", "remove", made.hook, "-c", config)
    (config / "operator.toml").write_text(kept, encoding="utf-8")
    lab.kill("alpha")
    lab.start("alpha")


def message_ids(reader: Reader) -> Counter[str]:
    """Count the messages of INBOX by Message-ID."""
    reader.client.select("INBOX")
    _, answer = reader.client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (Message-ID)])")
    return Counter(one[1].partition(b":")[2].strip().decode() for one in answer if isinstance(one, tuple))


def read_by_paul(lab: RunningLab, message_id: str) -> None:
    """The doctor's software found the document and sends its receipt (RFC 8098)."""
    paul = lab.operator("beta").account(PAUL)
    assert paul is not None
    raw = build_mdn(MdnRequest(
        sender=parse_envelope_address(PAUL), to=parse_envelope_address(CLAIRE), final_recipient=parse_envelope_address(PAUL),
        original_message_id=message_id, subject="Lu", text="Lu.", now=datetime.now(UTC), trace_id="m" * 26, reporting_ua="test"))
    with lab.wire("beta", "submission") as wire:
        wire.read_reply()
        wire.ask(b"EHLO logiciel.test")
        wire.ask(b"STARTTLS")
        wire.start_tls(lab.anchors())
        wire.ask(b"EHLO logiciel.test")
        word = base64.b64encode(f"\0{paul.login}\0{paul.password}".encode())
        assert wire.ask(b"AUTH PLAIN " + word).code == 235
        assert wire.deliver(PAUL, [CLAIRE], raw).code == 250


def test_a_document_goes_and_what_becomes_of_it_comes_back(programs: Programs) -> None:
    status, got = programs.ask("POST", "/api/v1/documents", json=asked(PAUL, read_receipt=True), headers={"Idempotency-Key": "cr-1"})
    assert status == 202, got
    assert soon(lambda: "document.relayed" in programs.events(got["id"]))
    with programs.lab.reader(PAUL) as reader:
        assert soon(lambda: message_ids(reader)[got["message_id"]] == 1)
    read_by_paul(programs.lab, got["message_id"])
    assert soon(lambda: "document.read" in programs.events(got["id"]))
    _, told = programs.ask("GET", f"/api/v1/documents/{got['id']}")
    assert told["state"] == "read" and [one["address"] for one in told["recipients"]] == [PAUL]
    page: Any = {"next": 0, "more": True}
    mine = []
    while page["more"]:  # other files may have sent by this lab before
        _, page = programs.ask("GET", f"/api/v1/events?limit=500&after={page['next']}")
        mine += [one for one in page["events"] if one.get("document") == got["id"]]
    assert [one["type"] for one in mine] == ["document.accepted", "document.relayed", "document.read"]
    by_hook = {json.loads(body)["id"]: json.loads(body) for _, body in programs.told}
    assert [by_hook[one["id"]] for one in mine] == mine, "both ways tell the same"


def test_a_dropped_file_goes_and_its_receipt_follows(programs: Programs) -> None:
    (programs.folder / "cr 7.pdf").write_bytes(PDF)
    draft = programs.folder / ".cr 7.json"
    draft.write_text(json.dumps({"to": [PAUL], "facts": FACTS}), encoding="utf-8")
    draft.rename(programs.folder / "cr 7.json")
    receipt = programs.folder / "envoyes" / "cr 7.recu.json"
    assert soon(receipt.exists)
    assert soon(lambda: json.loads(receipt.read_text(encoding="utf-8"))["state"] == "relayed")
    assert sorted(one.name for one in programs.folder.iterdir() if one.is_file()) == []
    (programs.folder / "faux.pdf").write_bytes(b"rien")
    (programs.folder / "faux.json").write_text(json.dumps({"to": [PAUL], "facts": FACTS}), encoding="utf-8")
    words = programs.folder / "refus" / "faux.refus.txt"
    assert soon(words.exists) and "N1-PDF" in words.read_text(encoding="utf-8")


def test_webhooks_are_signed_and_hold_no_identity(programs: Programs) -> None:
    assert programs.told
    for headers, body in programs.told:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(programs.secret, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert not any(word.encode() in body for word in (INS, *NAMES)) and b"XDM" not in body
    first = programs.told[0][0]["webhook-id"]
    assert soon(lambda: first in {headers["webhook-id"] for headers, _ in programs.told[1:]}), "500 once: told again"
    config = programs.lab.folder / "alpha" / "operator_config"
    before = len(programs.told)
    assert programs.lab.command("webhook", "test", programs.hook, "-c", config)[0] == 0
    assert soon(lambda: len(programs.told) == before + 1) and json.loads(programs.told[-1][1])["type"] == "webhook.test"
    code, out, error = programs.lab.command("webhook", "replay", programs.hook, "--since", "2026-01-01T00:00:00Z", "--json", "-c", config)
    assert code == 0, error
    assert soon(lambda: len(programs.told) >= before + 1 + json.loads(out)["replayed"] > before + 1)


def test_opposition_by_command_stops_the_api_and_a_reason_passes(programs: Programs) -> None:
    config = programs.lab.folder / "alpha" / "operator_config"

    def opposition(*words: str) -> int:
        command = [sys.executable, "-m", "mssante", "opposition", *words, "-c", str(config)]
        return subprocess.run(command, input=f"{INS}\n".encode(), check=False, stdout=subprocess.DEVNULL, timeout=60).returncode

    assert opposition("add", "--by", "accueil", "--reason", "demande du patient") == 0
    try:
        status, body = programs.ask("POST", "/api/v1/documents", json=asked(PAUL), headers={"Idempotency-Key": "opp-1"})
        assert (status, body["title"]) == (422, "OPPOSITION-PATIENT") and opposition("check") == 3
        status, _ = programs.ask("POST", "/api/v1/documents", json=asked(PAUL, override="urgence, accord oral du patient"),
                                 headers={"Idempotency-Key": "opp-1"})
        assert status == 202
    finally:
        assert opposition("remove", "--by", "accueil", "--reason", "fin du test") == 0
    assert INS not in programs.lab.log("alpha")


def test_kill_nine_among_two_hundred_dropped_files(programs: Programs) -> None:
    lab, chance, folder = programs.lab, random.Random(SEED), programs.folder
    sent = folder / "envoyes"
    before = {one.name for one in sent.iterdir()} if sent.is_dir() else set()
    with lab.reader(CLAIRE) as reader:
        known = set(message_ids(reader))
    request = json.dumps({"to": [CLAIRE], "facts": FACTS})
    for rank in range(FILES):
        (folder / f"lot-{rank:04d}.pdf").write_bytes(PDF + b"\n%% %d\n" % rank)
        (folder / f"lot-{rank:04d}.json").write_text(request, encoding="utf-8")

    def put_away() -> int:
        return sum(one.name.startswith("lot-") and one.name.endswith(".json") for one in sent.iterdir()) if sent.is_dir() else 0

    seen_at = []
    for rank in range(FILE_KILLS):
        goal = 2 * FILES * rank // (FILE_KILLS + 1) + chance.randrange(1, 2 * FILES // (FILE_KILLS + 2))
        soon(lambda goal=goal: put_away() >= goal, 60)
        lab.kill("alpha")
        seen_at.append(put_away() // 2)
        lab.start("alpha")
    assert soon(lambda: put_away() == 2 * FILES, 60)

    def left() -> list[str]:
        return sorted(one.name for one in folder.iterdir() if one.is_file()) + [one.name for one in (folder / ".suivi").glob("*.move")]

    assert soon(lambda: left() == [], 20), left()
    names = {one.name for one in sent.iterdir() if not one.name.startswith(".")} - before
    assert names == {f"lot-{rank:04d}{end}" for rank in range(FILES) for end in (".pdf", ".json", ".recu.json")}
    receipts = [json.loads((sent / f"lot-{rank:04d}.recu.json").read_text(encoding="utf-8")) for rank in range(FILES)]
    assert len({one["id"] for one in receipts}) == FILES
    with lab.reader(CLAIRE) as reader:
        found = Counter({name: count for name, count in message_ids(reader).items() if name not in known})
    expected = {one["message_id"] for one in receipts}
    lost, doubled = expected - set(found), [name for name, count in found.items() if count > 1]
    report("dropfolder.md", f"seed {SEED}, {FILES} files, {FILE_KILLS} kills (pairs put away at each: {seen_at}); "
           f"found {sum(found.values())}, lost {len(lost)}, doubled {len(doubled)}, unknown {len(set(found) - expected)}")
    assert (lost, doubled, set(found) - expected) == (set(), [], set())


def test_kill_nine_in_the_middle_of_two_hundred_posts(programs: Programs) -> None:
    lab, chance = programs.lab, random.Random(SEED)
    counts: Counter[str] = Counter()
    answers: dict[str, str] = {}

    async def worker(keys: list[str]) -> None:
        async with programs.session() as session:
            while keys:
                key = keys.pop()
                while key not in answers:
                    try:
                        status, body = await programs.call(session, "POST", "/api/v1/documents", headers={"Idempotency-Key": key},
                                                           json=asked(CLAIRE, subject=f"remise {key}"))
                    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                        counts["broken"] += 1
                        await asyncio.sleep(0.05)
                        continue
                    if status == 503:
                        counts["later"] += 1
                        await asyncio.sleep(0.05)
                        continue
                    assert status == 202, body
                    counts["repeated"] += body["repeated"]
                    answers[key] = body["message_id"]

    async def killer() -> None:
        loop = asyncio.get_running_loop()
        for rank in range(KILLS):
            while len(answers) < POSTS * (rank + 1) // (KILLS + 1) + chance.randrange(10):
                await asyncio.sleep(0.002)
            await loop.run_in_executor(None, lab.kill, "alpha")
            await loop.run_in_executor(None, lab.start, "alpha")

    async def run() -> None:
        keys = [f"kill-{rank}" for rank in range(POSTS)]
        await asyncio.gather(killer(), *[worker(keys) for _ in range(CONNECTIONS)])

    asyncio.run(run())
    with lab.reader(CLAIRE) as reader:
        ids = message_ids(reader)
    lost = [key for key, message_id in answers.items() if not ids[message_id]]
    doubled = [key for key, message_id in answers.items() if ids[message_id] > 1]
    subjects = len(set(answers.values()))
    report("handover.md", f"# {POSTS} POST, kill -9\n\n| envoyés | tués | liens rompus | réponses répétées | perdus | doublés |\n|---|---|---|---|---|---|\n"
           f"| {POSTS} | {KILLS} | {counts['broken']} | {counts['repeated']} | {len(lost)} | {len(doubled)} |\n")
    assert (lost, doubled, subjects, len(answers)) == ([], [], POSTS, POSTS) and counts["broken"] > 0
    sent_here = sum(1 for message_id in ids if message_id in set(answers.values()))
    assert sent_here == POSTS

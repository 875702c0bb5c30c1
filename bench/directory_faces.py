"""Measures the directory over the wire: type-ahead over LDAPS and over the HTTP API of a running lab, keystroke by keystroke.

    mssante lab up LAB ; (alpha's `extraction_url` emptied, so that its keeper leaves the mirror alone)
    python bench/directory_generate.py Extraction_Correspondance_MSSante_202611230600.txt
    mssante directory import Extraction_….txt --force -c LAB/alpha/operator_config
    python bench/directory_faces.py LAB [--users N] [--strokes N]

Faces: `ldaps` on one connection; `ldaps_each` with a connection, TLS and a bind for each keystroke, as Thunderbird 153 does it;
both with the filter that it sends and its limit of 100; `http` is `/api/directory/search` on one connection with an API token.
A stroke counts from the first octet sent to the last one read. The client runs on the same machine. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mssante.protocol.ldap.ber import LdapFault, message_size
from mssante.protocol.ldap.client import MAX_ANSWER, Query, bind_request, read_message, search_request, unbind_request
from mssante.protocol.ldap.filtertext import escaped

BASE = "ou=annuaire,o=mssante"
TYPED = ("martin", "dr martin par", "cardiologie lyon", "medecin marseille", "marie dubois", "secretariat medical", "jean pier",
         "infirmier mar", "laboratoire", "thomas petit", "urgences", "pharmacien nice", "clinique cardiologie toulouse",
         "bernard sophie", "claire mar", "m", "durand nicolas", "moreau cath", "hopital saint", "centre hospitalier ren",
         "lefebvre is", "garcia", "roux phil", "fournier m")
QUESTIONS = 1100  # of one token: the API takes 1,200 a minute


@dataclass(frozen=True, slots=True)
class Place:
    """What is asked. login, password: of a mailbox of alpha."""

    ldaps: tuple[str, int]
    web: tuple[str, int]
    login: str
    password: str
    anchors: Path
    config: Path


def place(lab: Path) -> Place:
    """Read `lab.json`."""
    alpha: dict[str, Any] = json.loads((lab / "lab.json").read_text(encoding="utf-8"))["operators"][0]
    account = next(one for one in alpha["accounts"] if one.get("password"))

    def address(url: str) -> tuple[str, int]:
        host, _, port = url.partition("://")[2].rpartition(":")
        return host, int(port)

    return Place(address(alpha["ldaps"]), address(alpha["web"]), account["login"], account["password"],
                 lab / "igc" / "anchors.pem", lab / alpha["config"])


def thunderbird(text: str) -> str:
    """Give the filter of Thunderbird's autocomplete: `%v` is all, `%v1` the first word, `%v2-` the others."""
    first, _, rest = text.partition(" ")
    whole, one, others = escaped(text), escaped(first), escaped(rest.strip())
    return f"(|(cn=*{one}*{others + '*' if others else ''})(mail=*{whole}*)(givenName=*{one}*)(sn=*{whole}*))"


class LdapFace:
    """One LDAPS connection, bound."""

    def __init__(self, where: Place, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(where.ldaps, timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire = context.wrap_socket(plain, server_hostname=where.ldaps[0])
        self._buffer = b""
        self._wire.sendall(bind_request(1, where.login, where.password))
        if (code := self._answers()[0]) != 0:
            raise SystemExit(f"bind: {code}")

    def _answers(self) -> tuple[int, int]:
        entries = 0
        while True:
            size = message_size(self._buffer, MAX_ANSWER) if len(self._buffer) >= 2 else None
            if size is None or len(self._buffer) < size:
                more = self._wire.recv(65536)
                if not more:
                    raise LdapFault("closed", rule="LDAP-FORME")
                self._buffer += more
                continue
            message, self._buffer = read_message(self._buffer[:size]), self._buffer[size:]
            if message.result is not None:
                return message.result.code, entries
            entries += 1

    def ask(self, text: str) -> int:
        """Search; give how many came."""
        asked = Query(BASE, thunderbird(text), ("cn", "mail"), size_limit=100, time_limit=0, page=100)
        self._wire.sendall(search_request(2, asked))
        code, entries = self._answers()
        if code not in (0, 4):
            raise SystemExit(f"{text}: code {code}")
        return entries

    def close(self) -> None:
        """Leave."""
        self._wire.sendall(unbind_request(3))
        self._wire.close()


class HttpFace:
    """One HTTPS connection; a token for every `QUESTIONS` questions."""

    def __init__(self, where: Place, context: ssl.SSLContext) -> None:
        self._where = where
        self._left = 0
        self._headers: dict[str, str] = {}
        self._client = http.client.HTTPSConnection(*where.web, context=context, timeout=30)
        self._client.connect()
        self._client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def prepare(self) -> None:
        """Have a token with questions left; not part of a stroke."""
        if self._left == 0:
            done = subprocess.run([sys.executable, "-m", "mssante", "token", "create", "bench", "-s", "directory", "-c",
                                   str(self._where.config), "--json"], check=True, capture_output=True, text=True)
            self._headers = {"Authorization": f"Bearer {json.loads(done.stdout)['token']}"}
            self._left = QUESTIONS
        self._left -= 1

    def ask(self, text: str) -> int:
        """Search; give how many came."""
        self._client.request("GET", "/api/directory/search?" + urllib.parse.urlencode({"q": text}), headers=self._headers)
        answer = self._client.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{text}: {answer.status} {body[:200]!r}")
        return len(json.loads(body)["entries"])


def spread(seconds: list[float]) -> dict[str, float]:
    """Give p50, p95, p99 and the worst, in milliseconds."""
    ordered = sorted(seconds)
    return {name: round(1000 * ordered[min(int(len(ordered) * part), len(ordered) - 1)], 1)
            for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}


def typists(users: int, work: Callable[[int, list[float], list[int]], None]) -> dict[str, Any]:
    """Run `work` for each user at once; give the figures of all."""
    times: list[list[float]] = [[] for _ in range(users)]
    counts: list[list[int]] = [[] for _ in range(users)]
    threads = [threading.Thread(target=work, args=(at, times[at], counts[at])) for at in range(users)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    together = [second for some in times for second in some]
    found = [count for some in counts for count in some]
    return {**spread(together), "strokes": len(together), "a_second": round(len(together) / (time.perf_counter() - began)),
            "answered": round(sum(count > 0 for count in found) / len(found), 3),
            "mean_entries": round(sum(found) / len(found), 1)}


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", type=Path)
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--strokes", type=int, default=600, help="of each user on each face")
    options = parser.parse_args()
    where = place(options.lab)
    context = ssl.create_default_context(cafile=str(where.anchors))
    strokes = [text[:end] for text in TYPED for end in range(1, len(text) + 1) if text[end - 1] != " "]

    def hand(at: int) -> list[str]:
        return random.Random(at).choices(strokes, k=options.strokes)

    def timed(call: Callable[[str], int], text: str, times: list[float], counts: list[int]) -> None:
        began = time.perf_counter()
        counts.append(call(text))
        times.append(time.perf_counter() - began)

    def ldaps(at: int, times: list[float], counts: list[int]) -> None:
        face = LdapFace(where, context)
        for text in hand(at):
            timed(face.ask, text, times, counts)
        face.close()

    def ldaps_each(at: int, times: list[float], counts: list[int]) -> None:
        def whole(text: str) -> int:
            face = LdapFace(where, context)
            found = face.ask(text)
            face.close()
            return found

        for text in hand(at):
            timed(whole, text, times, counts)

    def web(at: int, times: list[float], counts: list[int]) -> None:
        face = HttpFace(where, context)
        for text in hand(at):
            face.prepare()
            timed(face.ask, text, times, counts)

    report: dict[str, Any] = {"users": options.users, "load_before": os.getloadavg(), "cores": os.cpu_count()}
    for name, work in (("ldaps", ldaps), ("ldaps_each", ldaps_each), ("http", web)):
        report[name] = typists(options.users, work)
    report["load_after"] = os.getloadavg()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

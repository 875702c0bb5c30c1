"""The full-text index on messages of about 10 KB: reading texts, putting them in, size, and how long each kind of search takes.

    python bench/text_index.py [--messages 10000] [--octets 10240]

No server: what `services/imap/textindex.py` and the indexer call. The texts are drawn from 16 words, so that a phrase of two
of them meets every message: the hard case. Prints medians in milliseconds.
"""

from __future__ import annotations

import argparse
import base64
import random
import statistics
import tempfile
import time
from pathlib import Path

from mssante.documents.messagetext import message_text
from mssante.protocol.imap.searchform import normal
from mssante.storage.open import open_text_index
from mssante.storage.search import IndexedText, TextQuery

WORDS = ("patient", "consultation", "traitement", "examen", "biologie", "courrier", "suivi", "dossier", "medecin", "hopital",
         "resultat", "analyse", "ordonnance", "service", "cardiologie", "imagerie")
QUESTIONS = (("TEXT", "absent4711"), ("BODY", "cardiologie imagerie"), ("BODY", "cardiologie"), ("BODY", "diolog"),
             ("BODY", "e im"), ("TEXT", "<7@bench.test>"), ("BODY", "e"))
REPEATS = 15


def message(number: int, octets: int) -> bytes:
    """Give a message with a text and an attachment that no one can read."""
    rng = random.Random(number)
    text = "\r\n".join(" ".join(rng.choices(WORDS, k=8)) for _ in range(10))
    head = f"From: Bench <a@b.test>\r\nTo: <u@b.test>\r\nSubject: Compte rendu {number}\r\nMessage-ID: <{number}@bench.test>\r\n"
    junk = base64.encodebytes(rng.randbytes(max(57, (octets - len(head) - len(text) - 300) * 3 // 4))).replace(b"\n", b"\r\n")
    return (f"{head}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
            f"{text}\r\n--b\r\nContent-Type: application/pdf; name=cr.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            ).encode() + junk + b"--b--\r\n"


def run(count: int, octets: int) -> None:
    """Measure."""
    mail = [message(number, octets) for number in range(1, count + 1)]
    start = time.perf_counter()
    texts = [IndexedText(number, *message_text(b"", body)) for number, body in enumerate(mail, 1)]
    print(f"texts read   {count / (time.perf_counter() - start):8.0f} messages/s")
    with tempfile.TemporaryDirectory() as folder:
        index = open_text_index(Path(folder))
        start = time.perf_counter()
        for first in range(0, count, 200):
            index.add(1, texts[first:first + 200])
        print(f"put in       {count / (time.perf_counter() - start):8.0f} messages/s")
        index.settle(1)
        print(f"index        {index.octets(1) / 1e6:8.1f} MB for {sum(map(len, mail)) / 1e6:.1f} MB of mail")
        index.close()
        ids = range(1, count + 1)
        for place, text in QUESTIONS:
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                found = index.find(TextQuery(1, normal(text), place == "TEXT"), ids).found
                times.append((time.perf_counter() - start) * 1e3)
            print(f"{place} {text!r:24} first {times[0]:7.2f}  median {statistics.median(times):7.2f}  found {len(found)}")
        index.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--octets", type=int, default=10_240)
    chosen = parser.parse_args()
    run(chosen.messages, chosen.octets)

"""What packing costs and whether it holds: `python bench/documents_report.py [--shared ../shared]`.

For each public CDA: header read, archive packed with its PDF (a whole letter), archive read and checked with its document;
medians of 5 in milliseconds, remarks of the check, whether the document comes out with the same octets; then letters a second.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from mssante.documents.cda import read_header
from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.documents.validate import entry_findings, name_findings
from mssante.documents.xdm import check, unpack

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SENDER = SenderFacts("2.25.1", "Banc d'essai")


def timed(work: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """Give what the work gives, and the median of its milliseconds."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        made = work()
        spent.append((time.perf_counter() - start) * 1000)
    return made, statistics.median(spent)


def examined(raw: bytes) -> tuple[bytes, list[str]]:
    """Read an archive back: its document, and the rules that something is said of."""
    archive = unpack(raw)
    about = [one for document in archive.documents for one in entry_findings(document)]
    found = [*check(archive), *name_findings(archive), *about]
    return archive.documents[0].content or b"", [one.rule for one in found]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", default="../shared", type=Path)
    shared = parser.parse_args().shared
    print("| document | KB | header ms | letter ms | read and check ms | remarks | same octets |\n|---|---|---|---|---|---|---|")
    packing = reading = 0.0
    paths = sorted((shared / "data/cda").glob("*.xml"))
    for path in paths:
        raw = path.read_bytes()
        _, header = timed(lambda raw=raw: read_header(raw))
        made, letter = timed(lambda raw=raw: structured_letter([raw], SENDER, now=NOW))
        (inside, rules), read = timed(lambda made=made: examined(made.attachments[0].content))
        same = sha256(inside).digest() == sha256(raw).digest()
        packing, reading = packing + letter, reading + read
        said = " ".join(rules) or "0"
        print(f"| {path.name[:44]} | {len(raw) // 1024} | {header:.1f} | {letter:.1f} | {read:.1f} | {said} | {same} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    letters, archives = len(paths) * 1000 / packing, len(paths) * 1000 / reading
    print(f"\n{len(paths)} documents: {letters:.0f} letters a second, {archives:.0f} archives read and checked, peak {peak} MiB")


if __name__ == "__main__":
    main()

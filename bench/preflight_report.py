"""What the pre-flight says of the documents of ANS, and what it costs.

    python bench/preflight_report.py [--data ../shared/data] [--rounds 5]

A worker process as in the server, the rules of ANS (schema, schematron of the header). For each of the 23 documents: rules
fired and assertions failed beside the baseline, remarks of the schema, milliseconds (median of the rounds, through the pipe and
back). Then: documents per second one after the other, preparation of the rules, start of a worker, and the memory of the worker
for the largest document, and for made-up ones of 10 and 40 MB. Exit code 3 when a verdict is not that of the baseline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from mssante.documents.preflight import Preflight
from mssante.documents.remarks import Source
from mssante.services.preflight_work import look_at_file, warm
from mssante.services.rulebook import RuleBook
from mssante.services.rulefiles import Prepared
from mssante.services.workshop import Workshop, WorkshopLimits


def rules_folder(data: Path, place: Path) -> Path:
    """Copy what the rules are made of into one folder, as an operator does."""
    for name in ("schematron", "xsd/cda"):
        for file in (data / name).rglob("*"):
            if file.is_file():
                target = place / name / file.relative_to(data / name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    return place


def larger(raw: bytes, octets: int) -> bytes:
    """Give an N1 document whose PDF weighs that much."""
    start = raw.index(b">", raw.index(b"<text", raw.index(b"nonXMLBody"))) + 1
    return raw[:start] + b64encode(b"%PDF-1.4\n" + b"0" * (octets * 3 // 4)) + raw[raw.index(b"</text>", start):]


async def one(workshop: Workshop, rules: Prepared, file: Path, rounds: int) -> tuple[Preflight, float]:
    """Judge a document some times; give the verdict and the median of milliseconds."""
    raw, spent = file.read_bytes(), []
    for _ in range(rounds):
        began = time.perf_counter()
        found = await workshop.run(look_at_file, file.name, raw, rules, seconds=60)
        spent.append((time.perf_counter() - began) * 1000)
    return found, statistics.median(spent)


async def measure(data: Path, rounds: int) -> int:
    """Print the table; give how many verdicts differ."""
    with tempfile.TemporaryDirectory() as name:
        folder, cache = rules_folder(data, Path(name) / "rules"), Path(name) / "cache"
        cache.mkdir()
        limits = WorkshopLimits(readable=(str(folder), str(cache)))
        workshop = Workshop(limits)
        await workshop.open()
        began = time.perf_counter()
        rules = await RuleBook(workshop, folder, cache).current()
        prepared = time.perf_counter() - began
        await workshop.close()
        workshop = Workshop(limits)
        await workshop.open()
        began = time.perf_counter()
        await workshop.run(warm, rules, seconds=120)
        started = time.perf_counter() - began
        try:
            return await table(workshop, rules, data, rounds, (prepared, started))
        finally:
            await workshop.close()


async def table(workshop: Workshop, rules: Prepared, data: Path, rounds: int, costs: tuple[float, float]) -> int:
    """Print everything."""
    files = sorted((data / "cda").glob("*.xml"))
    baseline: dict[str, Any] = json.loads((data / "cda" / "schematron-baseline.json").read_text())["documents"]
    for file in files:
        await workshop.run(look_at_file, file.name, file.read_bytes(), rules, seconds=60)  # value sets are read once
    different, all_ms = 0, 0.0
    print(f"{'document':58} {'octets':>7} {'fired':>5} {'base':>5} {'failed':>6} {'base':>4} {'schema':>6} {'ms':>7}")
    for file in files:
        found, spent = await one(workshop, rules, file, rounds)
        failed = sum(1 for remark in found.remarks if remark.source is Source.SCHEMATRON)
        wanted, wrong = baseline[file.name]["fired"], sum(baseline[file.name]["failed"].values())
        schema = sum(1 for remark in found.remarks if remark.source is Source.SCHEMA)
        same = (found.fired, failed) == (wanted, wrong)
        different += not same
        all_ms += spent
        print(f"{file.name:58} {file.stat().st_size:7} {found.fired:5} {wanted:5} {failed:6} {wrong:4} {schema:6} {spent:7.1f}"
              f"{'' if same else '  DIFFERENT'}")
    print(f"{len(files)} documents, {len(files) - different} verdicts as the baseline, {different} different")
    print(f"per document {all_ms / len(files):.1f} ms, {1000 * len(files) / all_ms:.1f} documents per second (one worker)")
    print(f"rules prepared in {costs[0]:.1f} s (once), worker ready in {costs[1]:.1f} s")
    print(f"worker, peak after all: {workshop.cost.peak_bytes / 1e6:.0f} MB")
    largest = max(files, key=lambda file: file.stat().st_size)
    n1 = (data / "cda" / "IMG_CR_IMG_2024.01_CDA-R2-Niveau-1.xml").read_bytes()
    made = (("N1 of 10 MB", larger(n1, 10_000_000)), ("N1 of 40 MB", larger(n1, 40_000_000)))
    for label, raw in ((largest.name, largest.read_bytes()), *made):
        began = time.perf_counter()
        found = await workshop.run(look_at_file, "large.xml", raw, rules, seconds=120)
        print(f"{label}: {len(raw)} octets, {found.fired} fired, {len(found.errors)} errors, "
              f"{(time.perf_counter() - began) * 1000:.0f} ms, worker peak {workshop.cost.peak_bytes / 1e6:.0f} MB")
    return different


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    sys.exit(3 if asyncio.run(measure(given.data, given.rounds)) else 0)


if __name__ == "__main__":
    main()

"""Measures the directory's mirror on a generated extraction: import, a day's change, exact lookups, type-ahead, near addresses.

    python bench/directory_generate.py DAY0.txt ; python bench/directory_generate.py DAY1.txt --day 1
    python bench/directory_bench.py FOLDER DAY0.txt DAY1.txt

Prints one JSON object. The mirror is made in FOLDER; a mirror there already is only asked.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from mssante.directory.values import DirectoryQuery
from mssante.storage.mirror import ImportRequest
from mssante.storage.sql.mirror import SqliteMirror

NAME = "Extraction_Correspondance_MSSante_"
TYPED = ("martin", "dr martin par", "cardiologie lyon", "medecin marseille", "marie dubois", "secretariat medical", "jean pier",
         "infirmier mar", "laboratoire", "thomas petit", "urgences", "pharmacien nice", "chirurgien lyon infirmier", "a b c d",
         "medecin medecine", "clinique cardiologie toulouse", "bernard sophie medecin", "m")
WORST = ("ma", "m", "dr martin par", "cardiologie lyon", "medec", "medecin", "medecin m", "chirurgien lyon infirmier")


def spread(seconds: list[float]) -> dict[str, float]:
    """Give p50, p95, p99 and the worst, in milliseconds."""
    ordered = sorted(seconds)
    return {name: round(1000 * ordered[min(int(len(ordered) * part), len(ordered) - 1)], 2)
            for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}


def timed(call: Callable[[str], object], values: Iterable[str]) -> list[float]:
    """Give how long each call took."""
    found = []
    for value in values:
        began = time.perf_counter()
        call(value)
        found.append(time.perf_counter() - began)
    return found


def take(mirror: SqliteMirror, path: Path, day: int) -> dict[str, object]:
    """Import a file and tell what it cost."""
    began, used = time.perf_counter(), time.process_time()
    done = mirror.adopt(ImportRequest(path, f"{NAME}2026110{day}0730.txt", datetime(2026, 11, 20, tzinfo=UTC)))
    assert done is not None
    return {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - used, 1),
            "rows": done.rows,
            "added": done.added, "removed": done.removed, "changed": done.changed,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    options = parser.parse_args()
    mirror = SqliteMirror(options.folder)
    report: dict[str, object] = {}
    if mirror.state().latest is None:
        for day, path in enumerate(options.files, 1):
            report[f"import_{day}"] = take(mirror, path, day)
    state = mirror.state()
    report |= {"entries": state.entries, "addresses": state.addresses, "octets": state.octets}
    random_ = random.Random(1)
    some = [entry for word in ("ma", "be", "du", "le", "sec", "lab", "po")
            for entry in mirror.search(DirectoryQuery(word, limit=200))]
    known = [random_.choice(some).address for _ in range(2000)]
    names = [f"{one.family_name} {one.given_name}".lower() for one in random_.sample(some, 150)]
    strokes = [text[:end] for text in (*TYPED, *names)
               for end in range(1, len(text) + 1) if text[:end].strip()]
    random_.shuffle(strokes)
    slipped = [one[:at] + one[at + 1:] for one in known[:200] if (at := random_.randrange(1, one.index("@")))]
    report["exact_ms"] = spread(timed(mirror.find, known))
    report["type_ahead_ms"] = spread(timed(lambda text: mirror.search(DirectoryQuery(text)), strokes))
    report["type_ahead_near_69_ms"] = spread(
        timed(lambda text: mirror.search(DirectoryQuery(text, near_department="69")), strokes))
    report["type_ahead_org_ms"] = spread(timed(lambda text: mirror.search(DirectoryQuery(text, type="ORG")), strokes))
    report["strokes"] = len(strokes)
    report["worst_ms"] = {text: spread(timed(lambda one: mirror.search(DirectoryQuery(one)), [text] * 15))["p50"]
                          for text in WORST}
    report["near_ms"] = spread(timed(mirror.near, slipped))
    report["near_right"] = sum(right in mirror.near(slip) for right, slip in zip(known, slipped, strict=False)) / len(slipped)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

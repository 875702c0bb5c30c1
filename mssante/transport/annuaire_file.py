"""Carries publications as files, for a program that feeds the directory by another way (F4.4).

- Each change is one file `publication-<instant>-<rank>.json`, written whole under another name and then renamed: nobody reads
  half of one. It holds the entries in plain form and the same operations as FHIR Patch.
- The program answers by a file of the same name that ends in `.ok`, or in `.ko` with a reason of one line; both files then move
  into `done/`. Until then the entries are `sent`. A pair that cannot be read stays where it is.
- The sequence goes on from the files that are there: two lives of the process never write the same name.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

from mssante.clock import Clock
from mssante.directory.patch import parameters
from mssante.services.publication_port import Answer, Change, Receipt, SendResult

MAX_REASON = 500
MAX_FILE = 1024 * 1024
MAX_RECEIPTS = 500  # of one call


class FileDriver:
    """`services.publication_port.PublicationDriver` over a folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def send(self, change: Change) -> Answer:
        """Write one file. A folder that cannot be written is tried again later."""
        try:
            name = await asyncio.to_thread(self._write, change)
        except OSError as exc:
            return Answer(SendResult.LATER, "PUB-DOSSIER", type(exc).__name__)
        return Answer(SendResult.TAKEN, version=name)

    async def receipts(self) -> list[Receipt]:
        """Give what the other program answered since the last call."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError:
            return []

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, change: Change) -> str:
        (self._folder / "done").mkdir(mode=0o700, parents=True, exist_ok=True)
        left = {box.address for box in change.boxes if box.holder == (change.carrier, change.key_system, change.key_value)}
        document = {
            "holder": {"resource": change.carrier, "system": change.key_system, "value": change.key_value},
            "publish": [asdict(box) for box in change.boxes if box.address in left],
            "withdraw": [address for address in change.addresses if address not in left],
            "patch": parameters(change.operations)}
        stem = f"publication-{self._clock.now():%Y%m%dT%H%M%S%f}"
        rank = 1
        while (self._folder / f"{stem}-{rank}.json").exists() or (self._folder / "done" / f"{stem}-{rank}.json").exists():
            rank += 1
        path = self._folder / f"{stem}-{rank}.json"
        descriptor = os.open(path.with_suffix(".tmp"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, ensure_ascii=False, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        path.with_suffix(".tmp").rename(path)
        self._sync()
        return path.stem

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self) -> list[Receipt]:
        found: list[Receipt] = []
        answers = sorted(one for one in self._folder.glob("publication-*") if one.suffix in (".ok", ".ko"))
        for answer in answers[:MAX_RECEIPTS]:
            path = answer.with_suffix(".json")
            if not path.is_file() or path.stat().st_size > MAX_FILE:
                continue
            addresses = _addresses(path.read_bytes())
            if not addresses:
                continue
            with answer.open("rb") as stream:
                reason = stream.read(MAX_REASON).decode("utf-8", "replace").strip().partition("\n")[0]
            found += [Receipt(address, path.stem, answer.suffix == ".ok", reason) for address in addresses]
            for one in (path, answer):
                one.rename(self._folder / "done" / one.name)
        return found


def _addresses(body: bytes) -> list[str]:
    """Give the addresses of one of our files, none when it is no more what we wrote."""
    try:
        document = json.loads(body)
        found = [one["address"] for one in document["publish"]] + document["withdraw"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return found if all(isinstance(one, str) for one in found) else []

"""The write side of the lab's directory: conditional FHIR Patch as the draft guide describes it (api-mss-fhir §3.2).

- Each operator has an API key (`DIR/<operator>/certs/annuaire.key`) and may touch addresses of its own domain only.
- What was patched is kept in `DIR/directory/patched.json`: a directory that restarts has not forgotten.
- Readers never see a red-listed mailbox (F4.3). The text extraction stays the one of the day on which the lab was built.
Pure but for `load` and `save`; called by `mssante.lab.infra`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mssante.directory.patch import METADATA, PatchRefused, apply_patch
from mssante.lab.annuaire import Resource
from mssante.lab.files import write_atomic
from mssante.lab.plan import OPERATORS, OperatorPlan

MAX_BYTES = 64 * 1024 * 1024


def api_key(plan: OperatorPlan) -> str:
    """Give the API key of an operator: the lab's secrets are nobody's."""
    return f"lab-annuaire-{plan.name}"


def public_view(resource: Resource) -> Resource:
    """Give a resource as readers get it: without red-listed mailboxes."""
    return {**resource, "telecom": [one for one in resource.get("telecom", ()) if not _red_listed(one)]}


def _red_listed(entry: Resource) -> bool:
    return any(child.get("url") == "listeRouge" and child.get("valueBoolean") is True
               for one in entry.get("extension", ()) if one.get("url") == METADATA for child in one.get("extension", ()))


@dataclass(frozen=True, slots=True)
class PatchRequest:
    """A PATCH as it came. id or identifier (`system|value`), the other empty."""

    kind: str
    key: str
    id: str = ""
    identifier: str = ""


def patch(resources: dict[str, list[Resource]], request: PatchRequest, body: object) -> Resource:
    """Apply a PATCH to the resources; give the new one. Raises PatchRefused."""
    plan = next((one for one in OPERATORS if request.key == api_key(one)), None)
    if plan is None:
        raise PatchRefused(401, "security", "API key is missing or unknown")
    listed = resources.get(request.kind)
    if listed is None:
        raise PatchRefused(404, "not-found", "unknown resource type")
    found = [rank for rank, one in enumerate(listed) if _is(one, request)]
    if len(found) != 1:
        raise PatchRefused(412 if found else 404, "conflict" if found else "not-found", f"{len(found)} resources match")
    before = listed[found[0]]
    after = apply_patch(before, body)
    for address in _touched(before, after):
        if address.rpartition("@")[2] != plan.domain:
            raise PatchRefused(403, "forbidden", "this mailbox is another operator's")
    version = int(before.get("meta", {}).get("versionId", "1")) + 1
    listed[found[0]] = after | {"meta": {"versionId": str(version)}}
    return listed[found[0]]


def _is(resource: Resource, request: PatchRequest) -> bool:
    if request.id:
        return bool(resource["id"] == request.id)
    system, bar, value = request.identifier.rpartition("|")
    return bool(bar) and any(one.get("system") == system and one.get("value") == value for one in resource.get("identifier", ()))


def _touched(before: Resource, after: Resource) -> set[str]:
    """Give the addresses whose entries differ."""
    def entries(resource: Resource) -> set[str]:
        return {json.dumps(one, sort_keys=True) for one in resource.get("telecom", ())}

    return {str(json.loads(one).get("value", "")).lower() for one in entries(before) ^ entries(after)}


def load(folder: Path, resources: dict[str, list[Resource]]) -> dict[str, list[Resource]]:
    """Give the resources with what was patched before put in place."""
    try:
        kept: dict[str, Any] = json.loads((folder / "directory" / "patched.json").read_bytes()[:MAX_BYTES])
    except (OSError, ValueError):
        return resources
    return {kind: [kept.get(f"{kind}/{one['id']}", one) for one in listed] for kind, listed in resources.items()}


def save(folder: Path, resources: dict[str, list[Resource]]) -> None:
    """Keep what was patched."""
    kept = {f"{kind}/{one['id']}": one for kind, listed in resources.items() for one in listed if "meta" in one}
    (folder / "directory").mkdir(mode=0o700, exist_ok=True)
    write_atomic(folder / "directory" / "patched.json", json.dumps(kept, ensure_ascii=False).encode(), private=True)

"""PATCH of SCIM (RFC 7644 §3.5.2): operations applied to a copy of a document.

- `add`, `replace`, `remove`; without a path, the value is an object of attributes; a path may hold a filter of values
  (`emails[type eq "work"].value`). Names of operations in any case, as widespread clients write them.
- What a document may hold is decided after, by who cleans it: an operation on an attribute that is not ours changes nothing.
- `id`, `meta`, `schemas` are read-only: `mutability`. Bounded: `MAX_OPERATIONS`.
Called by `services/scim.py`.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from mssante.protocol.scim.filters import Tree, attribute_path, fits, read_filter
from mssante.protocol.scim.values import PATCH_OP, Document, ScimFault, key_of

MAX_OPERATIONS = 100
MAX_PATH = 512
_READ_ONLY = frozenset(("id", "meta", "schemas", "groups"))
_PATH = re.compile(r"(?P<name>[^\[\]]+?)(?:\[(?P<filter>.*)\](?:\.(?P<sub>[A-Za-z][\w\-$]{0,60}))?)?\Z", re.DOTALL)


def _path_fault(why: str) -> ScimFault:
    return ScimFault(400, f"path: {why}", "invalidPath")


def apply_patch(document: Document, request: Document) -> Document:
    """Give a document after a PATCH request; the one given is left as it is. Raises ScimFault."""
    operations = request.get(key_of(request, "Operations"))
    schemas = request.get("schemas")
    if not isinstance(schemas, list) or PATCH_OP not in schemas or not isinstance(operations, list):
        raise ScimFault(400, "a PatchOp with Operations is expected", "invalidSyntax")
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise ScimFault(400, f"1 to {MAX_OPERATIONS} operations", "invalidSyntax")
    after = copy.deepcopy(document)
    for one in operations:
        if not isinstance(one, dict):
            raise ScimFault(400, "an operation is an object", "invalidSyntax")
        _apply(after, one)
    return after


def _apply(document: Document, operation: Document) -> None:
    word, path, value = operation.get("op"), operation.get("path"), operation.get("value")
    word = word.lower() if isinstance(word, str) else ""
    if word not in ("add", "replace", "remove"):
        raise ScimFault(400, "op: add, replace or remove", "invalidSyntax")
    if path is None or path == "":
        if word == "remove":
            raise ScimFault(400, "remove needs a path", "noTarget")
        if not isinstance(value, dict):
            raise ScimFault(400, "without a path the value is an object", "invalidValue")
        for name, inner in value.items():
            _at(document, word, str(name), inner)
        return
    if not isinstance(path, str) or len(path) > MAX_PATH:
        raise _path_fault("a string is expected")
    _at(document, word, path, value)


def _at(document: Document, word: str, path: str, value: Any) -> None:
    found = _PATH.match(path.strip())
    if found is None:
        raise _path_fault("unreadable")
    try:
        whole_urn = found["name"] in document and found["name"].startswith("urn:")
        parts = (found["name"],) if whole_urn or (found["name"].startswith("urn:") and isinstance(value, dict)) \
            else attribute_path(found["name"])
        tree = read_filter(found["filter"]) if found["filter"] is not None else None
    except ScimFault as fault:
        raise _path_fault("unreadable") if fault.kind == "invalidFilter" and found["filter"] is None else fault from None
    parts = tuple(part for part in parts if not part.startswith("urn:ietf:")) or parts
    if parts[0].lower() in _READ_ONLY:
        raise ScimFault(400, f"{parts[0]} is read-only", "mutability")
    holder = document
    for part in parts[:-1]:
        inner = holder.setdefault(key_of(holder, part), {})
        if not isinstance(inner, dict):
            raise _path_fault("this attribute has no sub-attribute")
        holder = inner
    if tree is not None:
        _in_values(holder, parts[-1], word, (tree, found["sub"] or ""), value)
    else:
        _set(holder, parts[-1], word, value)


def _set(holder: Document, name: str, word: str, value: Any) -> None:
    key = key_of(holder, name)
    standing = holder.get(key)
    if word == "remove":
        if isinstance(standing, list) and isinstance(value, list):  # widespread: members to remove given as value
            gone = [one.get("value") if isinstance(one, dict) else one for one in value]
            holder[key] = [one for one in standing if (one.get("value") if isinstance(one, dict) else one) not in gone]
        else:
            holder.pop(key, None)
    elif word == "add" and isinstance(standing, list):
        more = value if isinstance(value, list) else [value]
        holder[key] = [*standing, *[one for one in more if one not in standing]]
    elif word == "add" and isinstance(standing, dict) and isinstance(value, dict):
        holder[key] = {**standing, **value}
    else:
        holder[key] = value


def _in_values(holder: Document, name: str, word: str, chosen: tuple[Tree, str], value: Any) -> None:
    """Change those values of a multi-valued attribute that fit a filter."""
    key, (tree, sub) = key_of(holder, name), chosen
    standing = holder.get(key)
    values = standing if isinstance(standing, list) else []
    hits = [one for one in values if isinstance(one, dict) and fits(tree, one)]
    if not hits:
        if word == "replace":
            raise ScimFault(400, "no value fits the filter", "noTarget")  # RFC 7644 §3.5.2.3
        return
    for one in hits:
        if sub:
            _set(one, sub, word, value)
        elif word == "remove":
            values.remove(one)
        elif isinstance(value, dict):
            one.update(value)
        else:
            raise ScimFault(400, "a value of this attribute is an object", "invalidValue")
    holder[key] = values

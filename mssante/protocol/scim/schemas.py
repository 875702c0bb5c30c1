"""What this server says of itself in SCIM (RFC 7643 §5-7, RFC 7644 §4): configuration, types, schemas; attribute selection.

The attributes named here are the only ones read from a client and the only ones given back (`services/scim_documents.py` keeps to
them, a test compares both). Called by `endpoints/scim.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mssante.protocol.scim.values import GROUP, HOLDER, LIST, USER, Document, ScimFault, key_of

MAX_RESULTS = 200
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"


def _attribute(name: str, kind: str = "string", **more: Any) -> Document:
    base: Document = {"name": name, "type": kind, "multiValued": False, "description": name, "required": False,
                      "mutability": "readWrite", "returned": "default"}
    if kind == "string":
        base |= {"caseExact": False, "uniqueness": "none"}
    return base | more


USER_SCHEMA: Document = {
    "schemas": [_SCHEMA], "id": USER, "name": "User", "description": "A login with its personal mailbox", "attributes": [
        _attribute("userName", required=True, uniqueness="server", description="The login"),
        _attribute("name", "complex", subAttributes=[_attribute("formatted"), _attribute("familyName"), _attribute("givenName")]),
        _attribute("displayName"), _attribute("title"), _attribute("preferredLanguage"),
        _attribute("active", "boolean", description="False: the login is disabled, its mailbox suspended, its delegations ended"),
        _attribute("emails", "complex", multiValued=True, description="The primary one becomes the mailbox", subAttributes=[
            _attribute("value"), _attribute("type"), _attribute("primary", "boolean")]),
        _attribute("groups", "complex", multiValued=True, mutability="readOnly", subAttributes=[
            _attribute("value", mutability="readOnly"), _attribute("display", mutability="readOnly"),
            _attribute("$ref", "reference", mutability="readOnly", referenceTypes=["Group"])])],
    "meta": {"resourceType": "Schema", "location": f"/scim/v2/Schemas/{USER}"}}
HOLDER_SCHEMA: Document = {
    "schemas": [_SCHEMA], "id": HOLDER, "name": "Holder", "description": "Who holds the mailbox in the national directory",
    "attributes": [
        _attribute("holderId", mutability="immutable", description="RPPS number with its check digit"),
        _attribute("mailbox", mutability="readOnly", description="Address of the mailbox here")],
    "meta": {"resourceType": "Schema", "location": f"/scim/v2/Schemas/{HOLDER}"}}
GROUP_SCHEMA: Document = {
    "schemas": [_SCHEMA], "id": GROUP, "name": "Group", "description": "A shared mailbox (ORG) and who opens it", "attributes": [
        _attribute("displayName", mutability="readOnly", description="Address of the mailbox"),
        _attribute("members", "complex", multiValued=True, subAttributes=[
            _attribute("value", mutability="immutable"), _attribute("display", mutability="readOnly"),
            _attribute("$ref", "reference", mutability="immutable", referenceTypes=["User"]),
            _attribute("type", mutability="immutable")])],
    "meta": {"resourceType": "Schema", "location": f"/scim/v2/Schemas/{GROUP}"}}
SCHEMAS = (USER_SCHEMA, HOLDER_SCHEMA, GROUP_SCHEMA)
RESOURCE_TYPES: tuple[Document, ...] = (
    {"schemas": [_TYPE], "id": "User", "name": "User", "endpoint": "/Users", "description": "Logins", "schema": USER,
     "schemaExtensions": [{"schema": HOLDER, "required": False}],
     "meta": {"resourceType": "ResourceType", "location": "/scim/v2/ResourceTypes/User"}},
    {"schemas": [_TYPE], "id": "Group", "name": "Group", "endpoint": "/Groups", "description": "Teams of shared mailboxes",
     "schema": GROUP, "meta": {"resourceType": "ResourceType", "location": "/scim/v2/ResourceTypes/Group"}})
SERVICE_PROVIDER: Document = {
    "schemas": [_CONFIG], "patch": {"supported": True}, "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
    "filter": {"supported": True, "maxResults": MAX_RESULTS}, "changePassword": {"supported": False},
    "sort": {"supported": False}, "etag": {"supported": True},
    "authenticationSchemes": [{"type": "oauthbearertoken", "name": "Bearer", "description": "API token of scope scim",
                               "specUri": "https://www.rfc-editor.org/rfc/rfc6750", "primary": True}],
    "meta": {"resourceType": "ServiceProviderConfig", "location": "/scim/v2/ServiceProviderConfig"}}


def listed(resources: Sequence[Document], total: int, start: int) -> Document:
    """Give a ListResponse (RFC 7644 §3.4.2)."""
    return {"schemas": [LIST], "totalResults": total, "startIndex": start, "itemsPerPage": len(resources),
            "Resources": list(resources)}


def selected(document: Document, attributes: str, excluded: str) -> Document:
    """Give a resource with the attributes asked (RFC 7644 §3.9); `schemas`, `id` and `meta` always stand. Raises ScimFault."""
    if not attributes and not excluded:
        return document
    if attributes and excluded:
        raise ScimFault(400, "attributes or excludedAttributes, not both", "invalidValue")
    names = [name.strip() for name in (attributes or excluded).split(",") if name.strip()][:100]
    always = ("schemas", "id", "meta") if excluded else ("schemas", "id")
    out: Document = {key: document[key] for key in always if key in document} if attributes else dict(document)
    for name in names:
        _select(document, out, name, keep=bool(attributes), always=always)
    return out


def _select(document: Document, out: Document, name: str, *, keep: bool, always: Sequence[str]) -> None:
    if name.lower().startswith("urn:ietf:"):
        name = name.rpartition(":")[2]
    if name.lower().startswith(HOLDER.lower()):
        head, sub = HOLDER, name[len(HOLDER) + 1:]
    else:
        head, _, sub = name.partition(".")
    key = key_of(document, head)
    if key not in document or key in always:
        return
    if not sub:
        if keep:
            out[key] = document[key]
        else:
            out.pop(key, None)
        return
    values = document[key]
    cut = [_cut(one, sub, keep=keep) for one in values] if isinstance(values, list) else _cut(values, sub, keep=keep)
    standing = out.get(key)
    if keep and isinstance(standing, dict) and isinstance(cut, dict):
        cut = {**standing, **cut}
    elif keep and isinstance(standing, list) and isinstance(cut, list):
        cut = [{**before, **one} for before, one in zip(standing, cut, strict=True)]
    out[key] = cut


def _cut(value: Any, sub: str, *, keep: bool) -> Any:
    if not isinstance(value, dict):
        return value
    key = key_of(value, sub)
    if keep:
        return {key: value[key]} if key in value else {}
    return {name: inner for name, inner in value.items() if name != key}

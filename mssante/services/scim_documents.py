"""What is kept of a SCIM document, and nothing else: the border against mass assignment (RFC 7643 §4.1).

- Only attributes of `protocol.scim.schemas` that a client may write; everything else is left out without a word (RFC 7644 §3.3):
  passwords, roles, entitlements, rights, `groups`, states.
- Every value has a type and a length; the number of addresses is bounded.
Called by `services/scim.py`.
"""

from __future__ import annotations

from typing import Any

from mssante.errors import InputFault
from mssante.model.address import parse_envelope_address
from mssante.protocol.scim.values import HOLDER, MAX_MEMBERS, MAX_VALUES, Document, ScimFault, invalid, pick, text, truth

MAX_LOGIN = 254
PLAIN = ("externalId", "displayName", "title", "preferredLanguage")
NAMES = ("formatted", "familyName", "givenName")


def clean_user(raw: Any) -> Document:
    """Give what is kept of a user. Raises ScimFault `invalidSyntax`, `invalidValue`."""
    if not isinstance(raw, dict):
        raise ScimFault(400, "a JSON object is expected", "invalidSyntax")
    login = text(pick(raw, "userName") or "", "userName", limit=MAX_LOGIN)
    if not login or any(character.isspace() for character in login):
        raise invalid("userName", "required, without white space")
    out: Document = {"userName": login}
    for name in PLAIN:
        value = pick(raw, name)
        if value is not None:
            out[name] = text(value, name)
    name_parts = _complex(pick(raw, "name"), "name", NAMES)
    if name_parts:
        out["name"] = name_parts
    emails = _emails(pick(raw, "emails"))
    if emails:
        out["emails"] = emails
    active = pick(raw, "active")
    if active is not None:
        out["active"] = truth(active, "active")
    held = _complex(pick(raw, HOLDER), HOLDER, ("holderId",))
    if held.get("holderId"):
        out[HOLDER] = held
    return out


def _complex(value: Any, attribute: str, names: tuple[str, ...]) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(attribute, "an object is expected")
    found = {name: pick(value, name) for name in names}
    return {name: text(inner, f"{attribute}.{name}") for name, inner in found.items() if inner is not None}


def _emails(value: Any) -> list[Document]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_VALUES:
        raise invalid("emails", f"a list of at most {MAX_VALUES}")
    out: list[Document] = []
    for one in value:
        if not isinstance(one, dict):
            raise invalid("emails", "a list of objects")
        kept: Document = {"value": text(pick(one, "value") or "", "emails.value", limit=MAX_LOGIN)}
        if not kept["value"]:
            raise invalid("emails.value", "required")
        kind, primary = pick(one, "type"), pick(one, "primary")
        if kind is not None:
            kept["type"] = text(kind, "emails.type")
        if primary is not None:
            kept["primary"] = truth(primary, "emails.primary")
        out.append(kept)
    if sum(bool(one.get("primary")) for one in out) > 1:
        raise invalid("emails", "one primary at most")
    return out


def home_address(user: Document, domains: frozenset[str]) -> str:
    """Give the address that a user's mailbox gets: the primary one first, then the others, then the user name; empty when none is
    in a domain of ours. Raises ScimFault for one of ours that cannot be."""
    emails = sorted(user.get("emails", ()), key=lambda one: not one.get("primary", False))
    for value in (*[one["value"] for one in emails], user["userName"]):
        try:
            found = parse_envelope_address(value)
        except InputFault:
            continue
        if found.domain in domains:
            if found.local.lower() == "postmaster" or not found.local.isascii():
                raise invalid("emails", "this address is not for a person")
            return found.key
    return ""


def member_ids(raw: Any) -> tuple[str, ...]:
    """Give the ids of the members of a group document. Raises ScimFault."""
    value = pick(raw, "members") if isinstance(raw, dict) else None
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_MEMBERS:
        raise invalid("members", f"a list of at most {MAX_MEMBERS}")
    found = [text(pick(one, "value") or "", "members.value") if isinstance(one, dict) else "" for one in value]
    if not all(found):
        raise invalid("members.value", "required")
    return tuple(dict.fromkeys(found))

"""SCIM from outside: any filter, any PATCH, any document ends in a value or in a ScimFault."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.errors import InputFault
from mssante.protocol.scim.filters import fits, read_filter
from mssante.protocol.scim.patch import apply_patch
from mssante.protocol.scim.schemas import selected
from mssante.protocol.scim.values import HOLDER, PATCH_OP, ScimFault
from mssante.services.delegations import parse_members
from mssante.services.scim_documents import clean_user, member_ids

WORDS = st.sampled_from(["userName", "emails", "emails.value", "name.givenName", "eq", "ne", "co", "pr", "and", "or", "not", "(", ")", "[",
                         "]", '"x"', "true", "null", "1e9", HOLDER + ":holderId", "meta", "members", '"\\u0000"', "urn:a:b:c", ".", ""])
FILTERS = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=14).map(" ".join))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12))
NAMES = st.one_of(st.sampled_from(["userName", "emails", "name", "active", "value", "primary", "type", "members", HOLDER, "holderId",
                                   "givenName", "op", "path", "Operations", "schemas"]), st.text(max_size=8))
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)), max_leaves=12)
DOCUMENT = {"schemas": ["x"], "id": "1", "userName": "lea", "emails": [{"value": "a@b", "type": "work"}], "name": {"givenName": "L"},
            "active": True, "members": [{"value": "1"}], HOLDER: {"holderId": "1"}}


@settings(max_examples=300, deadline=None)
@given(FILTERS, st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_filter_on_any_document(text: str, document: dict[str, Any]) -> None:
    try:
        tree = read_filter(text)
    except ScimFault as fault:
        assert fault.kind == "invalidFilter"
        return
    for one in (document, DOCUMENT):
        assert fits(tree, one) in (True, False)


OPERATIONS = st.fixed_dictionaries(
    {"op": st.one_of(st.sampled_from(["add", "Replace", "remove"]), LEAVES)},
    optional={"path": st.one_of(FILTERS, NAMES, st.builds('{}[{}].{}'.format, NAMES, FILTERS, NAMES), LEAVES), "value": VALUES})


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(OPERATIONS, VALUES), max_size=4))
def test_any_patch(operations: list[Any]) -> None:
    before = repr(DOCUMENT)
    try:
        after = apply_patch(DOCUMENT, {"schemas": [PATCH_OP], "Operations": operations})
    except ScimFault:
        pass
    else:
        assert (after["id"], after["schemas"]) == ("1", ["x"])
        for clean in (clean_user, member_ids):
            try:
                clean(after)
            except ScimFault:
                pass
    assert repr(DOCUMENT) == before


@settings(max_examples=200, deadline=None)
@given(VALUES, st.text(max_size=40), st.text(max_size=40))
def test_any_document_and_any_selection(value: Any, attributes: str, excluded: str) -> None:
    for clean in (clean_user, member_ids):
        try:
            clean(value)
        except ScimFault:
            pass
    try:
        found = selected(DOCUMENT, attributes, excluded)
    except ScimFault:
        return
    assert {"schemas", "id"} <= set(found)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(["lea", "@2026-12-31", ":read", ":", "@", ";", " ", ",send", "T0", "Z"]),
                                                max_size=8).map("".join)))
def test_any_list_of_members(text: str) -> None:
    try:
        found = parse_members(text)
    except InputFault as fault:
        assert fault.rule.startswith("DELEGATION-")
        return
    assert all(one.login and one.rights for one in found)

"""Requests of programs: whatever the JSON, the files or the notes hold, a request or a typed fault without its values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.documents.masking import departing
from mssante.errors import InputFault
from mssante.services.dropfolder import _name_of, request_of
from mssante.services.handed import HandedDocument
from mssante.services.handrequest import Asker, parse_json, read_request
from mssante.services.opposition import hide_numbers
from mssante.services.webhooks import checked_url

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NAMES = st.sampled_from(["to", "cc", "documents", "pdf", "cda", "facts", "patient", "author", "structure", "code", "created", "ins",
                         "part", "masking", "final", "override", "root", "extension", "birth_date", "x"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=20)
ASKER = Asker("token 1", "k", "token 1", "a@b.fr")
SECRET = "TESTPATIENTSECRET"


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_any_json_is_a_request_or_a_typed_fault(value: Any) -> None:
    try:
        made = read_request(value, ASKER, {}.get)
    except InputFault as fault:
        assert fault.rule in ("N1-FAIT", "REMISE-FORME") and fault.remedy.isprintable()
        return
    assert isinstance(made, HandedDocument) and len(made.fingerprint()) == 64


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.just(SECRET) | st.lists(st.just(SECRET), max_size=2), max_size=8))
def test_a_fault_never_holds_a_value(value: dict[str, Any]) -> None:
    try:
        read_request({"documents": [{"pdf": "", "facts": value}], **value}, ASKER, {}.get)
    except InputFault as fault:
        assert SECRET not in f"{fault}{fault.detail}"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.pdf", "a.xml", "a.zip"]), VALUES)
def test_any_pair_of_files(content: bytes, name: str, value: Any) -> None:
    for facts in (content, json.dumps(value).encode()):
        try:
            request_of("a@b.fr", "k" * 64, name, content, facts)
        except InputFault as fault:
            assert fault.rule


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_octets(raw: bytes) -> None:
    try:
        parse_json(raw)
    except InputFault as fault:
        assert fault.rule == "REMISE-JSON"
    name = _name_of(raw)
    assert "/" not in name and "\0" not in name
    assert departing(raw).documents == 0


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://dpi.test", "https://dpi.test:", "https://dpi.test@"]))
def test_a_url_that_passes_names_an_allowed_host(text: str, head: str) -> None:
    try:
        url = checked_url(head + text, ("dpi.test",))
    except InputFault as fault:
        assert fault.rule in ("WEBHOOK-URL", "WEBHOOK-HOTE")
        return
    host = url.removeprefix("https://").removeprefix("HTTPS://").split("/")[0].split("?")[0].lower()
    assert host in ("dpi.test", "dpi.test:443", "dpi.test:")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.from_regex(r"[1-478][0-9]{14}", fullmatch=True), st.text(max_size=30))
def test_a_matricule_never_stays_in_a_reason(before: str, matricule: str, after: str) -> None:
    assert matricule not in hide_numbers(before + matricule + after)

"""The OpenAPI 3.1 description of the documents API, served at `/api/openapi.json` with that of the directory."""

from __future__ import annotations

from typing import Any

from mssante.services.handevents import KINDS

_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean", "default": False}
_LIST: dict[str, Any] = {"type": "array", "items": _TEXT}
_CODE: dict[str, Any] = {"oneOf": [_TEXT, {"type": "object", "required": ["code"], "properties": {
    "code": _TEXT, "scheme": _TEXT, "label": _TEXT}}]}
_IDENTIFIER: dict[str, Any] = {"oneOf": [{"type": "string", "description": "racine, ou racine^extension"}, {
    "type": "object", "required": ["root"], "properties": {"root": _TEXT, "extension": _TEXT}}]}
_INSTANT: dict[str, Any] = {"type": "string", "format": "date-time"}
_CONTENT: dict[str, Any] = {"oneOf": [{"type": "string", "contentEncoding": "base64"}, {
    "type": "object", "required": ["part"], "properties": {"part": {"type": "string", "description": "nom d'une partie"}}}]}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_PERSON = _closed(["number", "family"], number=_TEXT, family=_TEXT, given=_TEXT, prefix=_TEXT, suffix=_TEXT, specialty=_CODE,
                  root=_TEXT)
SCHEMAS: dict[str, Any] = {
    "PdfFacts": _closed(
        ["patient", "author", "structure", "code", "title", "created"],
        patient=_closed(["family_birth", "given_birth", "birth_date", "sex"], family_birth=_TEXT, given_birth=_TEXT,
                        birth_date={"type": "string", "format": "date"}, sex={"enum": ["M", "F", "U"]}, ins=_TEXT, ins_oid=_TEXT,
                        local_id=_IDENTIFIER, all_given=_TEXT, family_used=_TEXT, given_used=_TEXT, birth_place=_TEXT,
                        telecoms=_LIST),
        author=_PERSON, signer=_PERSON,
        structure=_closed(["number", "name", "practice", "facility"], number=_TEXT, name=_TEXT, practice=_CODE, facility=_CODE,
                          root=_TEXT),
        code=_CODE, title=_TEXT, created=_INSTANT, id=_IDENTIFIER, set_id=_IDENTIFIER,
        version={"type": "integer", "minimum": 1}, confidentiality={"enum": ["N", "R", "V"]}, act=_CODE, started=_INSTANT,
        stopped=_INSTANT, encounter=_IDENTIFIER, replaces={"type": "array", "items": _IDENTIFIER}),
    "DocumentRequest": _closed(
        ["to", "documents"], mailbox=_TEXT, to=_LIST, cc=_LIST, subject=_TEXT, text=_TEXT,
        documents={"type": "array", "minItems": 1, "maxItems": 100, "items": _closed(
            [], cda=_CONTENT, pdf=_CONTENT, facts=_ref("PdfFacts"))},
        masking={"type": "array", "items": {"enum": ["MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"]}},
        action={"enum": ["send", "replace", "delete"]}, final=_FLAG, delivery_receipt=_FLAG, read_receipt=_FLAG, reply_to=_TEXT,
        in_reply_to=_TEXT, sender_name=_TEXT, override=_TEXT),
    "Accepted": {"type": "object", "properties": {"id": _TEXT, "trace_id": _TEXT, "message_id": _TEXT, "accepted_at": _INSTANT,
                                                  "repeated": {"type": "boolean"}}},
    "DocumentStatus": {"type": "object", "properties": {
        "id": _TEXT, "trace_id": _TEXT, "message_id": _TEXT, "mailbox": _TEXT, "accepted_at": _INSTANT, "updated_at": _INSTANT,
        "key": _TEXT, "state": {"enum": ["queued", "relayed", "delivered", "read", "failed"]}, "documents": {"type": "integer"},
        "size": {"type": "integer"}, "recipients": {"type": "array", "items": {"type": "object", "properties": {
            "address": _TEXT, "state": {"enum": ["queued", "relayed", "delivered", "read", "failed"]}, "at": _INSTANT,
            "detail": _TEXT}}}}},
    "Event": {"type": "object", "required": ["id", "type", "at", "mailbox", "trace_id"], "properties": {
        "id": _TEXT, "type": {"enum": list(KINDS)}, "at": _INSTANT, "mailbox": _TEXT, "trace_id": _TEXT, "document": _TEXT,
        "recipient": _TEXT, "state": _TEXT, "detail": _TEXT, "sender": _TEXT, "size": {"type": "integer"}}},
}


def _json(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_REFUSALS: dict[str, Any] = {status: {"description": text, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
                             for status, text in {
    "400": "demande mal formée", "401": "sans jeton", "403": "portée ou boîte hors du jeton", "404": "inconnu de ce jeton",
    "408": "corps trop lent",
    "409": "clé déjà employée pour un autre contenu", "413": "trop grand", "415": "type non admis",
    "422": "document ou destinataire refusé", "429": "trop de demandes", "503": "à retenter plus tard"}.items()}


def _but(*statuses: str) -> dict[str, Any]:
    return {status: _REFUSALS[status] for status in statuses}


_KEY = {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string", "maxLength": 200}}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_WHOLE = {"type": "integer", "minimum": 0}
PATHS: dict[str, Any] = {
    "/api/v1/documents": {"post": {
        "summary": "Remet un document : un message est composé, contrôlé et accepté une seule fois", "security": [{"token": []}],
        "parameters": [_KEY], "requestBody": {"required": True, "content": {
            "application/json": {"schema": _ref("DocumentRequest")},
            "multipart/form-data": {"schema": {"type": "object", "required": ["request"], "properties": {
                "request": _ref("DocumentRequest")}, "additionalProperties": {"type": "string", "format": "binary"}}}}},
        "responses": {"202": _json(_ref("Accepted"), "accepté, durable"),
                      **_but("400", "401", "403", "408", "409", "413", "415", "422", "429", "503")}}},
    "/api/v1/documents/{id}": {"get": {
        "summary": "Ce qu'est devenu un document, par destinataire", "security": [{"token": []}], "parameters": [_ID],
        "responses": {"200": _json(_ref("DocumentStatus"), "trouvé"), **_but("401", "403", "404", "429", "503")}}},
    "/api/v1/events": {"get": {
        "summary": "Évènements après une place du journal", "security": [{"token": []}], "parameters": [
            {"name": "after", "in": "query", "schema": {**_WHOLE, "default": 0}},
            {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}}],
        "responses": {"200": _json({"type": "object", "properties": {
            "events": {"type": "array", "items": _ref("Event")}, "next": _WHOLE, "more": {"type": "boolean"}}}, "dans l'ordre"),
            **_but("400", "401", "403", "429", "503")}}},
    "/api/v1/webhooks/{id}/replay": {"post": {
        "summary": "Redit à un webhook ses évènements depuis un instant", "security": [{"token": []}], "parameters": [
            _ID, {"name": "since", "in": "query", "required": True, "schema": _INSTANT}],
        "responses": {"202": _json({"type": "object", "properties": {"replayed": _WHOLE}}, "seront redits"),
                      **_but("401", "403", "404", "422", "429", "503")}}},
}

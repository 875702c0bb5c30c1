"""Names of SCIM 2.0, its typed refusals, and the readers of values from outside (RFC 7643, RFC 7644).

- Everything read is bounded: lengths, numbers of values, depth. A wrong value is a `ScimFault` with the `scimType` of RFC 7644
  §3.12; its text names the attribute, never the value.
Called by the other modules of this package, `services/scim*.py` and `endpoints/scim.py`.
"""

from __future__ import annotations

from typing import Any

from mssante.errors import InputFault

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
HOLDER = "urn:mssante:params:scim:schemas:extension:1.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
MAX_TEXT = 512  # characters of one value
MAX_VALUES = 20  # of a multi-valued attribute of a user
MAX_MEMBERS = 1000
Document = dict[str, Any]


class ScimFault(InputFault):
    """A request that is refused. status: of HTTP; kind: `scimType`, may be empty."""

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(detail, rule=f"SCIM-{kind.upper() or status}")
        self.status = status
        self.kind = kind

    def document(self) -> Document:
        """Give the body of the answer (RFC 7644 §3.12)."""
        body: Document = {"schemas": [ERROR], "status": str(self.status), "detail": self.public}
        return {**body, "scimType": self.kind} if self.kind else body


def invalid(attribute: str, why: str) -> ScimFault:
    """Give the refusal of a value (RFC 7644 §3.12 `invalidValue`)."""
    return ScimFault(400, f"{attribute[:80]}: {why}", "invalidValue")


def text(value: Any, attribute: str, *, limit: int = MAX_TEXT) -> str:
    """Give a text value, stripped. Raises ScimFault when it is none, too long, or holds control characters."""
    if not isinstance(value, str):
        raise invalid(attribute, "a string is expected")
    found = value.strip()
    if len(found) > limit or not all(character.isprintable() for character in found):
        raise invalid(attribute, f"at most {limit} printable characters")
    return found


def truth(value: Any, attribute: str) -> bool:
    """Give a boolean; `"True"` and `"False"` are read too, as widespread clients write them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise invalid(attribute, "true or false is expected")


def key_of(document: Document, name: str) -> str:
    """Give the key under which an attribute stands in a document, whatever the case (RFC 7643 §2.1), or the name itself."""
    lowered = name.lower()
    return next((key for key in document if key.lower() == lowered), name)


def pick(document: Document, name: str) -> Any:
    """Give the value of an attribute, None when it is absent."""
    return document.get(key_of(document, name))

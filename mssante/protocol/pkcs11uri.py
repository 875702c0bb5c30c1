"""Names of keys kept in a token: the `pkcs11:` URI (RFC 7512), read strictly.

- `pkcs11:token=…;object=…;id=…?module-path=…&pin-source=file:…`: the attributes that a key of ours needs, and no other.
- A PIN is a secret: it is named by file (`pin-source`), never written in a reference; `pin-value` is refused.
- An unknown or repeated attribute is refused: half a name could designate another key.
- Pure. Called by `transport.pkcs11`, configuration checks and `cli`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mssante.errors import InputFault
from mssante.lang import say

SCHEME = "pkcs11:"
MAX_OCTETS = 2048
_PATH = ("token", "object", "id", "type", "serial", "manufacturer", "model")
_QUERY = ("module-path", "pin-source")


@dataclass(frozen=True, slots=True)
class TokenReference:
    """A key of a token. token, serial: which token (one of them at least); object, id: which key (one at least);
    module, pin_file: paths, as written."""

    token: str = ""
    serial: str = ""
    object: str = ""
    id: bytes = b""
    module: str = ""
    pin_file: str = ""


def is_token_reference(text: str) -> bool:
    """Tell whether a key's reference names a token (RFC 7512 §2.3: the scheme is compared in any case)."""
    return text.strip().lower().startswith(SCHEME)


def parse_token_reference(text: str) -> TokenReference:
    """Read a reference. Raises InputFault (`JETON-REFERENCE`, `JETON-PIN`)."""
    text = text.strip()
    if not is_token_reference(text):
        raise _fault("une référence de jeton commence par pkcs11:", "a token reference begins with pkcs11:")
    if len(text) > MAX_OCTETS:
        raise _fault(f"référence de plus de {MAX_OCTETS} octets", f"reference of more than {MAX_OCTETS} octets")
    path, _, query = text[len(SCHEME):].partition("?")
    values = _attributes(path, ";", _PATH) | _attributes(query, "&", (*_QUERY, "pin-value"))
    if "pin-value" in values:
        raise InputFault(say("le code du jeton ne s'écrit pas dans une référence", "a PIN is not written in a reference"),
                         rule="JETON-PIN", remedy="pin-source=file:/chemin/du/fichier (0600)")
    if values.get("type", b"private") != b"private":
        raise _fault("type doit être private", "type must be private")
    pin = _text(values, "pin-source")
    if pin and not pin.startswith("file:"):
        raise _fault("pin-source doit être file:…", "pin-source must be file:…")
    found = TokenReference(_text(values, "token"), _text(values, "serial"), _text(values, "object"), values.get("id", b""),
                           _text(values, "module-path"), pin.removeprefix("file:").removeprefix("//"))
    if not (found.token or found.serial) or not (found.object or found.id):
        raise _fault("il faut token ou serial, et object ou id", "token or serial, and object or id, are needed")
    return found


def _attributes(part: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for item in part.split(separator) if part else ():
        name, equals, value = item.partition("=")
        if not equals or name not in known or name in values:
            raise _fault(f"attribut refusé : {name[:40]}", f"attribute refused: {name[:40]}")
        values[name] = unquote_to_bytes(value)
    return values


def _text(values: dict[str, bytes], name: str) -> str:
    try:
        text = values.get(name, b"").decode("utf-8")
    except UnicodeDecodeError:
        raise _fault(f"{name} n'est pas de l'UTF-8", f"{name} is not UTF-8") from None
    if any(not char.isprintable() for char in text):
        raise _fault(f"{name} a un caractère de contrôle", f"{name} has a control character")
    return text


def _fault(french: str, english: str) -> InputFault:
    return InputFault(say(french, english), rule="JETON-REFERENCE",
                      remedy="pkcs11:token=…;object=…?module-path=/…/module.so&pin-source=file:/…")

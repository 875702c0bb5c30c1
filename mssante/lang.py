"""French first, English beside it: the two texts of a sentence stand on the same line of code.

`say(fr, en)` picks by the language of the current context (set once by the command line or by a request). French is the
default; English is asked by `--lang en` or by the locale.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

_language: ContextVar[str] = ContextVar("language", default="fr")


def set_language(code: str) -> None:
    """Choose `fr` or `en` for the current context; anything else counts as `en`."""
    _language.set("fr" if code.lower().startswith("fr") else "en")


def language() -> str:
    """Give the current language, `fr` or `en`."""
    return _language.get()


def language_from_environment() -> str:
    """Give `en` when the locale names a language that is not French, else `fr` (C and POSIX count as French)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "fr" if value.lower().startswith(("fr", "c", "posix")) else "en"
    return "fr"


def say(fr: str, en: str) -> str:
    """Give the sentence in the current language."""
    return fr if _language.get() == "fr" else en

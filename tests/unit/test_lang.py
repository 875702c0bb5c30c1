"""French unless English is asked; the choice belongs to a context."""

from __future__ import annotations

import contextvars

import pytest

from mssante.lang import language, language_from_environment, say, set_language


def in_context(code: str | None) -> tuple[str, str]:
    def speak() -> tuple[str, str]:
        if code is not None:
            set_language(code)
        return language(), say("bonjour", "hello")
    return contextvars.Context().run(speak)


@pytest.mark.parametrize(("code", "found"), [
    (None, ("fr", "bonjour")), ("fr", ("fr", "bonjour")), ("FR_fr.UTF-8", ("fr", "bonjour")), ("en", ("en", "hello")), ("de", ("en", "hello")),
    ("", ("en", "hello"))])
def test_the_choice(code: str | None, found: tuple[str, str]) -> None:
    assert in_context(code) == found
    assert in_context(None) == ("fr", "bonjour"), "another context is not touched"


@pytest.mark.parametrize(("environment", "found"), [
    ({}, "fr"), ({"LANG": "fr_FR.UTF-8"}, "fr"), ({"LANG": "C.UTF-8"}, "fr"), ({"LANG": "POSIX"}, "fr"), ({"LANG": "en_GB.UTF-8"}, "en"),
    ({"LANG": "fr_FR", "LC_ALL": "en_US"}, "en"), ({"LANG": "en_US", "LC_MESSAGES": "fr_FR"}, "fr"), ({"LANG": "de_DE", "LC_ALL": ""}, "en")])
def test_the_locale(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], found: str) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language_from_environment() == found

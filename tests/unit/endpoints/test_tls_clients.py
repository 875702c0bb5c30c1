"""The verify callback of OpenSSL set from Python: used where it is known to be right, left alone elsewhere."""

from __future__ import annotations

import ssl
import sys

import pytest
from support.smtp_stage import IGC

from mssante.endpoints import tls_clients
from mssante.endpoints.tls_clients import ask_anybody
from mssante.endpoints.tls_context import AlertingContext, door_context

PEM = IGC.anchors_pem.decode()


def test_this_python_is_known() -> None:
    """When this fails on a new Python: read PySSLContext in `_ssl.c`, run test_imap_login.py, then move the bound (ADR 0018)."""
    assert tls_clients.KNOWN[0] <= sys.version_info[:2] < tls_clients.KNOWN[1]
    for kind in (ssl.SSLContext, AlertingContext):
        context = kind(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        assert ask_anybody(context, PEM) and context.verify_mode is ssl.CERT_OPTIONAL
        assert ask_anybody(context, ""), "no authority to name is no fault"


@pytest.mark.parametrize("case", ["python", "library", "implementation", "disagree"])
def test_elsewhere_nothing_is_touched(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if case == "python":
        monkeypatch.setattr(tls_clients, "KNOWN", ((3, 0), (3, 1)))
    if case == "library":
        monkeypatch.setattr(tls_clients, "_library", lambda: None)
    if case == "implementation":
        monkeypatch.setattr(sys.implementation, "name", "other")
    if case == "disagree":
        class Lying(ssl.SSLContext):
            options = 12345  # type: ignore[assignment]
        context = Lying(ssl.PROTOCOL_TLS_SERVER)
    assert not ask_anybody(context, PEM)


def test_doors_between_operators_keep_openssl_s_judgement() -> None:
    assert door_context(PEM, people=False).verify_mode is ssl.CERT_OPTIONAL
    assert door_context(None, people=True).verify_mode is ssl.CERT_NONE, "nobody is asked where nothing is configured"

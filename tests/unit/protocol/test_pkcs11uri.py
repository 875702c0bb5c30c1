"""References of keys in tokens: read strictly, secrets refused, never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.errors import InputFault
from mssante.protocol.pkcs11uri import TokenReference, is_token_reference, parse_token_reference


def test_a_whole_reference() -> None:
    found = parse_token_reference("pkcs11:token=Mon%20jeton;object=cardio;id=%01%ff;type=private"
                                  "?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:///etc/mssante/pin")
    assert found == TokenReference("Mon jeton", "", "cardio", b"\x01\xff", "/usr/lib/softhsm/libsofthsm2.so", "/etc/mssante/pin")
    assert parse_token_reference("PKCS11:serial=12;id=%00").id == b"\0"
    assert is_token_reference(" pkcs11:x") and not is_token_reference("file:pkcs11:")


@pytest.mark.parametrize(("text", "rule"), [
    ("file:x", "JETON-REFERENCE"), ("pkcs11:", "JETON-REFERENCE"), ("pkcs11:token=a", "JETON-REFERENCE"),
    ("pkcs11:object=a", "JETON-REFERENCE"), ("pkcs11:token=a;token=b;object=c", "JETON-REFERENCE"),
    ("pkcs11:token=a;object=b;type=public", "JETON-REFERENCE"), ("pkcs11:token=a;object=b;slot-id=1", "JETON-REFERENCE"),
    ("pkcs11:token=a;object=b?pin-value=1234", "JETON-PIN"), ("pkcs11:token=a;object=b?pin-source=env:PIN", "JETON-REFERENCE"),
    ("pkcs11:token=%ff;object=b", "JETON-REFERENCE"), ("pkcs11:token=a%0a;object=b", "JETON-REFERENCE"),
    ("pkcs11:token=a;object", "JETON-REFERENCE"), ("pkcs11:token=" + "a" * 3000, "JETON-REFERENCE")])
def test_refusals(text: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_token_reference(text)
    assert caught.value.rule == rule and caught.value.remedy and "1234" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_nothing_crashes(text: str) -> None:
    for whole in (text, "pkcs11:" + text, "pkcs11:token=a;object=b?" + text):
        try:
            parse_token_reference(whole)
        except InputFault:
            pass

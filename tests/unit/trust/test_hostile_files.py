"""List files that are not what they seem: bombs, other encodings, truncation. Each is refused quickly, whatever it holds."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from support.pki import TestIgc

from mssante.errors import InputFault
from mssante.trust.signature import SignerPolicy, verify_list_signature


def rule(raw: bytes, policy: SignerPolicy, now: datetime) -> str:
    """Verify what must not pass; give the rule that refused. Never longer than a second of CPU."""
    start = time.process_time()
    with pytest.raises(InputFault) as caught:
        verify_list_signature(raw, policy, now)
    assert time.process_time() - start < 1
    return caught.value.rule


@pytest.fixture(scope="module")
def policy(igc: TestIgc) -> SignerPolicy:
    return igc.signer_policy()


def bomb(entity: str, reference: str = "&z;") -> bytes:
    return f'<?xml version="1.0"?><!DOCTYPE r [{entity}]><r>{reference}</r>'.encode()


LAUGHS = '<!ENTITY a "ha">' + "".join(f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">' for n in range(24))


@pytest.mark.parametrize(("raw", "expected"), [
    (bomb(LAUGHS, "&y;"), "XML-DTD"),
    (bomb(f'<!ENTITY z "{"x" * 100_000}">', "&z;" * 100_000), "XML-DTD"),
    (bomb('<!ENTITY z SYSTEM "file:///etc/passwd">'), "XML-DTD"),
    (bomb('<!ENTITY z SYSTEM "http://127.0.0.1:9/">'), "XML-DTD"),
    (b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><r/>', "XML-DTD"),
    (bomb('<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd">%p;'), "XML-DTD"),
    (b"<a>" * 200_000 + b"</a>" * 200_000, "XML-LIMIT"),
    (b'<?xml version="1.0" encoding="UTF-7"?><r/>', "XML-ENCODING"),
    ('<?xml version="1.0" encoding="UTF-16"?><r/>'.encode("utf-16"), "XML-ENCODING"),
    (b'<?xml version="1.0" encoding="UTF-16"?><r/>', "XML-ENCODING"),
    (b"", "XML-SYNTAX"), (b"\0", "XML-ENCODING"), (b"<r>&z;</r>", "XML-SYNTAX"), (b"<r/>", "LB-SIGNATURE-ABSENT"),
    (b'<r xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd"/></r>', "LB-SIGNATURE-ABSENT"),
], ids=["laughs", "quadratic", "file", "http", "external-dtd", "parameter", "deep", "utf7", "utf16", "utf16-label", "empty",
        "nul", "unknown-entity", "unsigned", "xinclude"])
def test_bombs(policy: SignerPolicy, now: datetime, raw: bytes, expected: str) -> None:
    assert rule(raw, policy, now) == expected


def test_slow_canonicalisation(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    """libxml2 sorts attributes and searches prefixes in quadratic time: 200,000 would take more than a minute."""
    attributes = " ".join(f'a{n}="1"' for n in range(200_000)).encode()
    assert rule(signed.replace(b"<ListeDomaines>", b"<ListeDomaines " + attributes + b">"), policy, now) == "LB-SIGNATURE-FORM"
    prefixes = " ".join(f'xmlns:n{n}="u{n}"' for n in range(20_000)).encode()
    assert rule(signed.replace(b"<ListeDomaines>", b"<ListeDomaines " + prefixes + b">"), policy, now) == "LB-SIGNATURE-FORM"
    relative = signed.replace(b"<ListeDomaines>", b'<ListeDomaines xmlns:r="relative">')
    assert rule(relative, policy, now) in ("LB-SIGNATURE-FORM", "LB-DIGEST")


def test_include_and_dtd_in_a_signed_list(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    include = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
    assert rule(signed.replace(b"<ListeDomaines>", b"<ListeDomaines>" + include), policy, now) == "LB-DIGEST"
    assert rule(signed.replace(b"<ListeBlanche", b"<!DOCTYPE ListeBlancheMSSante><ListeBlanche", 1), policy, now) == "XML-DTD"


def test_truncated(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    for length in range(0, len(signed) - 1, 97):
        assert rule(signed[:length], policy, now).startswith(("XML-", "LB-"))


def test_too_large(policy: SignerPolicy, now: datetime) -> None:
    assert rule(b"<r>" + b" " * (64 << 20) + b"</r>", policy, now) == "XML-SIZE"

"""Signing keeps the content octet by octet, and what it makes verifies."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives import hashes
from lxml import etree
from support.pki import TestIgc, whitelist_xml

from mssante.errors import InputFault
from mssante.trust.signature import DS, XADES, verify_list_signature
from mssante.trust.signing import sign_list

ROWS = [("a.mssante.fr", "CN=mta.a.fr,OU=1,C=FR")]


@pytest.mark.parametrize("change", [
    lambda raw: raw,
    lambda raw: raw.replace(b"\n", b"\r\n"),
    lambda raw: raw.replace(b"\n", b"").replace(b"    ", b""),
    lambda raw: raw + b"<!-- end -->\n",
    lambda raw: raw.replace(b"</ListeBlancheMSSante>", b"</ListeBlancheMSSante  >"),
    lambda raw: raw.replace(b"a.mssante.fr", b"<![CDATA[a.mssante.fr]]>"),
    lambda raw: raw.replace(b"Domaine de test", "Établissement & co".replace("&", "&amp;").encode()),
    lambda raw: b"\xef\xbb\xbf" + raw,
    lambda raw: raw.decode().replace("UTF-8", "ISO-8859-1").replace("de test", "dédié").encode("latin-1"),
], ids=["plain", "crlf", "one-line", "comment", "spaced-end", "cdata", "accents", "bom", "latin-1"])
def test_content_stays(igc: TestIgc, now: datetime, change: object) -> None:
    raw = change(whitelist_xml(ROWS, now))  # type: ignore[operator]
    signed = sign_list(raw, *igc.list_signer(), now, chain=[igc.organisations.certificate])
    start, end = signed.index(b"<ds:Signature "), signed.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    assert signed[:start] + signed[end:] == raw
    content = verify_list_signature(signed, igc.signer_policy(), now)
    assert etree.tostring(content.root, method="c14n", exclusive=True, with_comments=False) == \
        etree.tostring(etree.fromstring(raw), method="c14n", exclusive=True, with_comments=False)


def test_shape_of_the_drim_sample(igc: TestIgc, now: datetime) -> None:
    paris = now.astimezone(timezone(timedelta(hours=1))).replace(microsecond=5)
    certificate, key = igc.list_signer()
    signed = sign_list(whitelist_xml(ROWS, now), certificate, key, paris, chain=[igc.organisations.certificate])
    assert signed == sign_list(whitelist_xml(ROWS, now), certificate, key, paris, chain=[igc.organisations.certificate])
    signature = etree.fromstring(signed)[-1]
    assert [child.tag for child in signature] == [f"{{{DS}}}{n}" for n in ("SignedInfo", "SignatureValue", "KeyInfo", "Object")]
    paths = ("SignedSignatureProperties/x:SigningTime",
             "SignedSignatureProperties/x:SigningCertificateV2/x:Cert/x:IssuerSerialV2",
             "SignedDataObjectProperties/x:DataObjectFormat/x:MimeType")
    texts = [signature.findtext(f".//x:SignedProperties/x:{path}", namespaces={"x": XADES}) for path in paths]
    assert texts[0] == "2026-03-01T12:00:00Z" and texts[1] and texts[2] == "text/xml"
    assert len(signature.findall(f".//{{{DS}}}X509Certificate")) == 2
    assert verify_list_signature(signed, igc.signer_policy(), now).certificate.fingerprint(hashes.SHA256()) == \
        certificate.fingerprint(hashes.SHA256())


def test_refusals(igc: TestIgc, now: datetime) -> None:
    certificate, key = igc.list_signer()
    raw = whitelist_xml(ROWS, now)
    with pytest.raises(InputFault) as caught:
        sign_list(sign_list(raw, certificate, key, now), certificate, key, now)
    assert caught.value.rule == "LB-SIGNATURE-MANY"
    for odd in (b"<a/>", raw + b"<!-- </x> -->"):
        with pytest.raises(InputFault) as caught:
            sign_list(odd, certificate, key, now)
        assert caught.value.rule == "LB-FORME"
    with pytest.raises(InputFault):
        sign_list(b"<a>", certificate, key, now)

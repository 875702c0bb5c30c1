"""Attacks on the white list's signature (RELIABILITY §2, rows "whitelist signature" and "XML bombs").

Each is refused with its own rule and quickly; what is accepted gives the list that was signed, to the letter.
"""

from __future__ import annotations

import hmac
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from lxml import etree
from support.pki import SIGNER_CN, SIGNER_OU, build_igc, key_for, whitelist_xml
from support.xades import DS, EXC, SHA1, Forge, canonical, filter2, transform

from mssante.errors import InputFault
from mssante.model.reply import Refuse
from mssante.trust.decisions import ListPolicy, admit_list
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IGC = build_igc()
SIGNER = IGC.list_signer()
POLICY = IGC.signer_policy()
DN = "CN=mx.a.fr,OU=1,O=A,ST=Paris (75),C=FR"
EVIL_DN = "CN=evil.fr,OU=6,O=EVIL,ST=Paris (75),C=FR"
RAW = whitelist_xml([("a.mssante.fr", DN), ("b.mssante.fr", DN)], NOW)
FORGE = Forge(*SIGNER)
EVIL_ROW = (b"<Domaine><Nom>evil.mssante.fr</Nom><DNCertificatOperateur>" + EVIL_DN.encode() +
            b"</DNCertificatOperateur></Domaine>")
EVIL_LIST = b"<ListeDomaines>" + EVIL_ROW + b"</ListeDomaines>"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"


@lru_cache(maxsize=1)
def signed() -> bytes:
    return FORGE.list(RAW)


def accept(raw: bytes) -> Whitelist:
    return parse_whitelist(verify_list_signature(raw, POLICY, NOW).root)


def refuse(raw: bytes, now: datetime = NOW) -> str:
    """Give the rule under which a list is refused; fails when it is accepted or slow."""
    start = time.process_time()
    with pytest.raises(InputFault) as caught:
        parse_whitelist(verify_list_signature(raw, POLICY, now).root)
    assert time.process_time() - start < 1
    assert caught.value.rule
    return caught.value.rule


def put(raw: bytes, before: bytes, what: bytes) -> bytes:
    assert raw.count(before) == 1
    return raw.replace(before, what + before)


def test_what_the_other_signer_signs_is_accepted() -> None:
    found = accept(signed())
    assert found.domains() == {"a.mssante.fr", "b.mssante.fr"} and found.generated_at == NOW
    assert found == accept(signed())


# ---------------------------------------------------------------- moved, wrapped, repeated


def with_id(raw: bytes, value: bytes = b"list") -> bytes:
    return raw.replace(b"<ListeBlancheMSSante ", b'<ListeBlancheMSSante Id="' + value + b'" ')


def body(raw: bytes) -> bytes:
    """Give a document without its XML declaration."""
    return raw[raw.index(b"<ListeBlanche"):]


def evil_root(content: bytes, attributes: bytes = b"") -> bytes:
    return (b'<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema"' + attributes +
            b"><DateDeGeneration>2026-03-01T12:00:00Z</DateDeGeneration>" + EVIL_LIST + content + b"</ListeBlancheMSSante>")


def by_id() -> tuple[bytes, bytes]:
    """A list whose signature refers to its root by Id: (the list without signature, the signature)."""
    plain = with_id(RAW)
    return plain, replace(FORGE, uri="#list").signature(plain)


def test_a_reference_to_the_root_by_its_id_is_accepted() -> None:
    plain, signature = by_id()
    assert accept(put(plain, b"</ListeBlancheMSSante>", signature)).domains() == {"a.mssante.fr", "b.mssante.fr"}


def wrapping() -> dict[str, tuple[bytes, str]]:
    good = signed()
    signature = FORGE.signature(RAW)
    plain, signature_by_id = by_id()
    end = b"</ListeBlancheMSSante>"
    return {
        "whole list inside an evil root": (evil_root(body(good)), "LB-SIGNATURE-PLACE"),
        "evil root, true list beside its signature": (evil_root(body(RAW) + signature), "LB-DIGEST"),
        "evil root, true list by Id beside": (evil_root(body(plain) + signature_by_id), "LB-REFERENCE"),
        "evil root with the same Id": (evil_root(body(plain) + signature_by_id, b' Id="list"'), "LB-REFERENCE"),
        "evil root with the same id, lower case": (evil_root(body(plain) + signature_by_id, b' id="list"'), "LB-REFERENCE"),
        "evil root with the same xml:id": (evil_root(body(plain) + signature_by_id, b' xml:id="list"'), "LB-REFERENCE"),
        "true list inside the Object": (evil_root(signature_by_id.replace(b"</ds:Object>", body(plain) + b"</ds:Object>")),
                                        "LB-REFERENCE"),
        "true list inside a second Object": (evil_root(signature_by_id.replace(
            b"</ds:Object>", b"</ds:Object><ds:Object>" + body(plain) + b"</ds:Object>")), "LB-SIGNATURE-FORM"),
        "only one entry signed": (replace(FORGE, uri="#one", covered=b"<x/>").list(
            RAW.replace(b"<Domaine>", b'<Domaine Id="one">', 1)), "LB-REFERENCE"),
        "reference to the signed properties": (replace(FORGE, uri="#props").list(RAW), "LB-REFERENCE"),
        "entry after the signature": (put(good, end, EVIL_ROW), "LB-SIGNATURE-PLACE"),
        "second list after the signature": (put(good, end, EVIL_LIST), "LB-SIGNATURE-PLACE"),
        "second list before the signature": (put(good, b"<ds:Signature ", EVIL_LIST), "LB-DIGEST"),
        "second list before the signed one": (put(good, b"<ListeDomaines>", EVIL_LIST), "LB-DIGEST"),
        "entry in the list": (put(good, b"</ListeDomaines>", EVIL_ROW), "LB-DIGEST"),
        "entry taken out": (good.replace(good[good.index(b"<Domaine>"):good.index(b"</Domaine>") + 10], b""), "LB-DIGEST"),
        "attribute on the root": (good.replace(b"<ListeBlancheMSSante ", b'<ListeBlancheMSSante x="1" '), "LB-DIGEST"),
        "root renamed": (good.replace(b"ListeBlancheMSSante", b"ListeBlancheAutre"), "LB-DIGEST"),
        "signature twice": (good.replace(signature, signature + signature), "LB-SIGNATURE-MANY"),
        "signature inside the list": (put(RAW, b"</ListeDomaines>", signature), "LB-SIGNATURE-PLACE"),
        "signature first": (RAW.replace(b"<DateDeGeneration>", signature + b"<DateDeGeneration>"), "LB-SIGNATURE-PLACE"),
        "signature inside a signature": (good.replace(b"</ds:Object>", signature + b"</ds:Object>"), "LB-SIGNATURE-MANY"),
        "signature of another list": (put(RAW.replace(b"a.mssante.fr", b"e.mssante.fr"), end, signature), "LB-DIGEST"),
        "unsigned": (RAW, "LB-SIGNATURE-ABSENT"),
        "signature in another namespace": (good.replace(DS.encode(), b"urn:other"), "LB-SIGNATURE-ABSENT"),
        "truncated": (good[:-10], "XML-SYNTAX"),
        "cut after the signature": (good[:good.index(end)], "XML-SYNTAX"),
        "two roots": (good + body(RAW), "XML-SYNTAX"),
        "processing instruction in a name": (good.replace(b"a.mssante.fr", b"a.<?x?>mssante.fr", 1), "LB-DIGEST"),
        "processing instruction before the root": (put(good, b"<ListeBlancheMSSante ", b"<?x y?>"), "LB-DIGEST"),
        "CDATA with other text": (good.replace(b"a.mssante.fr", b"<![CDATA[e.mssante.fr]]>", 1), "LB-DIGEST"),
        "XInclude": (put(good, b"</ListeDomaines>", b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" '
                                                    b'href="file:///etc/passwd" parse="text"/>'), "LB-DIGEST"),
        "DTD": (put(good, b"<ListeBlancheMSSante ", b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'), "XML-DTD"),
        "DTD that gives an attribute an ID": (put(good, b"<ListeBlancheMSSante ",
                                                  b"<!DOCTYPE x [<!ATTLIST Domaine n ID #IMPLIED>]>"), "XML-DTD"),
    }


@pytest.mark.parametrize("name", sorted(wrapping()))
def test_moved_wrapped_and_repeated_content(name: str) -> None:
    raw, rule = wrapping()[name]
    assert refuse(raw) == rule


def test_what_a_comment_splits_is_read_whole() -> None:
    """Canonical octets hold no comment: the name that was signed is the name that is read, never its first half."""
    split = signed().replace(b"a.mssante.fr", b"a.mssante.fr<!-- -->", 1).replace(b"CN=mx.a.fr", b"CN=mx<!-- x -->.a.fr", 1)
    assert accept(split) == accept(signed())


@pytest.mark.parametrize("raw", [
    signed().replace(b"</ds:Object>", EVIL_LIST + b"</ds:Object>"),
    signed().replace(b"<ListeBlancheMSSante ", b"<!-- x --><ListeBlancheMSSante "),
    signed() + b"<!-- x -->\n",
    signed().replace(b"a.mssante.fr", b"<![CDATA[a.mssante.fr]]>", 1),
    signed().replace(b"a.mssante.fr", b"&#97;.mssante.fr", 1),
    signed().replace(b"    <ListeDomaines>", b"    <ListeDomaines  >"),
    signed().replace(b"\n", b"\r\n"),
])
def test_what_canonical_form_does_not_see_changes_nothing(raw: bytes) -> None:
    assert accept(raw) == accept(signed())


# ---------------------------------------------------------------- algorithms, references, keys


def hmac_with_the_public_key(key: RSAPrivateKey, octets: bytes) -> bytes:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hmac.digest(public, octets, "sha256")


def with_comments(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=True)


XSLT = ('<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"><xsl:template match="/">'
        "<xsl:text>x</xsl:text></xsl:template></xsl:stylesheet>")
TRANSFORMS = {
    "none": "",
    "canonicalisation alone": transform(EXC),
    "removal alone": filter2(),
    "twice": filter2() + filter2() + transform(EXC),
    "order": transform(EXC) + filter2(),
    "with comments": filter2() + transform(EXC + "WithComments"),
    "XSLT": filter2() + transform("http://www.w3.org/TR/1999/REC-xslt-19991116", XSLT) + transform(EXC),
    "XSLT in place of removal": transform("http://www.w3.org/TR/1999/REC-xslt-19991116", XSLT) + transform(EXC),
    "XPath 1.0": transform("http://www.w3.org/TR/1999/REC-xpath-19991116", "<ds:XPath>not(self::Domaine)</ds:XPath>")
    + transform(EXC),
    "base64": transform(DS + "base64") + transform(EXC),
    "filter of everything": filter2("/descendant::*") + transform(EXC),
    "filter of entries too": filter2("/descendant::ds:Signature | //*[local-name()='Domaine'][2]") + transform(EXC),
    "filter intersect": filter2(kind="intersect") + transform(EXC),
    "filter union": filter2(kind="union") + transform(EXC),
    "filter with another ds": filter2(namespace="https://listeblanche.mssante.fr/schema") + transform(EXC),
    "filter twice in one": transform("http://www.w3.org/2002/06/xmldsig-filter2", filter2()[filter2().index("<f2"):-15] * 2)
    + transform(EXC),
    "enveloped with a child": transform(DS + "enveloped-signature", "<ds:x/>") + transform(EXC),
    "canonicalisation with a parameter": filter2() + transform(EXC, "<ds:x/>"),
    "unknown": filter2() + transform("urn:unknown"),
    "no algorithm": filter2() + "<ds:Transform/>",
    "foreign element": filter2() + transform(EXC) + "<ds:x/>",
}


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_transforms_outside_the_list_are_refused(name: str) -> None:
    assert refuse(replace(FORGE, transforms=TRANSFORMS[name]).list(RAW)) == "LB-ALGORITHM"


def test_transforms_of_the_signed_properties_are_checked_too() -> None:
    for transforms in ("", filter2(), transform(EXC + "WithComments"), transform(EXC) * 2):
        assert refuse(replace(FORGE, properties_transforms=transforms).list(RAW)) == "LB-ALGORITHM"


def test_the_enveloped_transform_is_accepted() -> None:
    raw = replace(FORGE, transforms=transform(DS + "enveloped-signature") + transform(EXC)).list(RAW)
    assert accept(raw) == accept(signed())


@pytest.mark.parametrize(("change", "rule"), [
    ({"digest": SHA1}, "LB-ALGORITHM"),
    ({"digest": DS + "md5"}, "LB-ALGORITHM"),
    ({"properties_digest": SHA1}, "LB-ALGORITHM"),
    ({"certificate_digest": SHA1}, "LB-ALGORITHM"),
    ({"method": DS + "rsa-sha1"}, "LB-ALGORITHM"),
    ({"method": MORE + "rsa-md5"}, "LB-ALGORITHM"),
    ({"method": DS + "dsa-sha1"}, "LB-ALGORITHM"),
    ({"method": MORE + "ecdsa-sha256"}, "LB-ALGORITHM"),
    ({"method": ""}, "LB-ALGORITHM"),
    ({"method": "http://www.w3.org/2000/09/xmldsig#hmac-sha1", "sign": hmac_with_the_public_key}, "LB-ALGORITHM"),
    ({"method": MORE + "hmac-sha256", "sign": hmac_with_the_public_key}, "LB-ALGORITHM"),
    ({"method": MORE + "hmac-sha256", "sign": lambda key, octets: b"",
      "method_content": "<ds:HMACOutputLength>0</ds:HMACOutputLength>"}, "LB-ALGORITHM"),
    ({"method_content": "<ds:HMACOutputLength>0</ds:HMACOutputLength>"}, "LB-ALGORITHM"),
    ({"canonicalisation": EXC + "WithComments", "info_octets": with_comments}, "LB-ALGORITHM"),
    ({"canonicalisation": ""}, "LB-ALGORITHM"),
    ({"canonicalisation": "urn:minimal"}, "LB-ALGORITHM"),
    ({"sign": lambda key, octets: b""}, "LB-SIGNATURE-VALUE"),
    ({"sign": lambda key, octets: b"\x00" * 256}, "LB-SIGNATURE-VALUE"),
    ({"sign": lambda key, octets: b"\x01" + b"\x00" * 999}, "LB-SIGNATURE-VALUE"),
    ({"sign": lambda key, octets: key.sign(octets, padding.PKCS1v15(), hashes.SHA512())}, "LB-SIGNATURE-VALUE"),
    ({"sign": lambda key, octets: key.sign(b"other", padding.PKCS1v15(), hashes.SHA256())}, "LB-SIGNATURE-VALUE"),
    ({"uri": None}, "LB-REFERENCE"),
    ({"uri": "#"}, "LB-REFERENCE"),
    ({"uri": "#absent"}, "LB-REFERENCE"),
    ({"uri": "#sig"}, "LB-REFERENCE"),
    ({"uri": "#xpointer(/)"}, "LB-REFERENCE"),
    ({"uri": "#xpointer(id('list'))"}, "LB-REFERENCE"),
    ({"uri": "http://127.0.0.1:9/list.xml"}, "LB-REFERENCE"),
    ({"uri": "file:///etc/passwd"}, "LB-REFERENCE"),
    ({"uri": "list.xml"}, "LB-REFERENCE"),
    ({"references": lambda document, properties: ""}, "LB-REFERENCE"),
    ({"references": lambda document, properties: document}, "LB-REFERENCE"),
    ({"references": lambda document, properties: properties}, "LB-REFERENCE"),
    ({"references": lambda document, properties: document * 2 + properties}, "LB-REFERENCE"),
    ({"references": lambda document, properties: document + properties * 2}, "LB-REFERENCE"),
    ({"references": lambda document, properties: document + properties.replace("#props", "#sig")}, "LB-REFERENCE"),
    ({"covered": b"anything"}, "LB-DIGEST"),
    ({"signing_time": "yesterday"}, "LB-SIGNATURE-TIME"),
    ({"signing_time": ""}, "LB-SIGNATURE-TIME"),
    ({"signing_time": "2026-03-01T12:00:00"}, "LB-SIGNATURE-TIME"),
    ({"signing_time": "0001-01-01T00:00:00+23:59"}, ""),
    ({"signing_time": "9999-12-31T23:59:59-23:59"}, ""),
    ({"key_info": ()}, "LB-SIGNER-LINK"),
    ({"named": IGC.organisations.certificate}, "LB-SIGNER-LINK"),
    ({"key_info": (IGC.organisations.certificate, IGC.root.certificate)}, "LB-SIGNER-LINK"),
])
def test_a_signature_made_otherwise(change: dict[str, object], rule: str) -> None:
    raw = replace(FORGE, **change).list(RAW)  # type: ignore[arg-type]
    if rule:
        assert refuse(raw) == rule
    else:
        assert accept(raw) == accept(signed())


def test_a_chain_in_key_info_is_no_matter() -> None:
    assert accept(replace(FORGE, key_info=(IGC.root.certificate, SIGNER[0], IGC.organisations.certificate)).list(RAW)) \
        == accept(signed())


def forged_keys() -> dict[str, tuple[bytes, str]]:
    pirate = key_for("pirate")
    foreign = IGC.list_signer(issuer="foreign", key=pirate)
    lookalike = IGC.list_signer(issuer="lookalike", key=pirate)
    own_issuer = IGC.leaf("mx.pirate.fr", key=pirate)
    return {
        "true certificate, other key": (Forge(SIGNER[0], pirate).list(RAW), "LB-SIGNATURE-VALUE"),
        "foreign certificate of the same name": (Forge(*foreign).list(RAW), "LB-SIGNER-CHAIN"),
        "look-alike authority": (Forge(*lookalike).list(RAW), "LB-SIGNER-CHAIN"),
        "true certificate named, foreign one first": (
            Forge(SIGNER[0], pirate, key_info=(foreign[0], SIGNER[0])).list(RAW), "LB-SIGNATURE-VALUE"),
        "foreign one named, true one first": (
            Forge(*foreign, key_info=(SIGNER[0], foreign[0])).list(RAW), "LB-SIGNER-CHAIN"),
        "operator's certificate": (Forge(*own_issuer).list(RAW), "LB-SIGNER"),
        "authority itself": (Forge(IGC.organisations.certificate, IGC.organisations.key).list(RAW), "LB-SIGNER"),
        "sister authority": (Forge(*IGC.list_signer(issuer="personnes")).list(RAW), "LB-SIGNER-CHAIN"),
    }


@pytest.mark.parametrize("name", sorted(forged_keys()))
def test_a_signature_by_someone_else(name: str) -> None:
    raw, rule = forged_keys()[name]
    assert refuse(raw).startswith(rule)


@pytest.mark.parametrize(("signer", "rule"), [
    (lambda: IGC.list_signer("Liste Blanche Pirate"), "LB-SIGNER-NAME"),
    (lambda: IGC.list_signer(SIGNER_CN + " "), ""),
    (lambda: IGC.list_signer(SIGNER_CN.upper()), ""),
    (lambda: IGC.list_signer(ou="318751275100021"), "LB-SIGNER-NAME"),
    (lambda: IGC.list_signer(ou=""), "LB-SIGNER-NAME"),
    (lambda: IGC.leaf(SIGNER_OU, ou=SIGNER_CN, usage=("digital_signature",), eku=None), "LB-SIGNER-NAME"),
    (lambda: IGC.list_signer(not_after=NOW - timedelta(seconds=1)), "LB-SIGNER-EXPIRED"),
    (lambda: IGC.list_signer(not_before=NOW + timedelta(seconds=1)), "LB-SIGNER-EXPIRED"),
    (lambda: IGC.list_signer(not_after=NOW), ""),
    (lambda: IGC.list_signer(usage=("content_commitment",)), ""),
    (lambda: IGC.list_signer(usage=("key_encipherment",)), "LB-SIGNER-USAGE"),
    (lambda: IGC.list_signer(usage=None), "LB-SIGNER-USAGE"),
    (lambda: IGC.list_signer(ca=True), "LB-SIGNER-USAGE"),
])
def test_the_signer_policy(signer: Callable[[], tuple[object, RSAPrivateKey]], rule: str) -> None:
    raw = Forge(*signer()).list(RAW)  # type: ignore[arg-type]
    if rule:
        assert refuse(raw) == rule
    else:
        assert accept(raw) == accept(signed())


def test_a_revoked_signer_is_refused_an_unknown_state_is_not() -> None:
    revoked = replace(POLICY, crls=IGC.crl_set([SIGNER[0]]))
    with pytest.raises(InputFault) as caught:
        verify_list_signature(signed(), revoked, NOW)
    assert caught.value.rule == "LB-SIGNER-REVOKED"
    verify_list_signature(signed(), replace(POLICY, crls=IGC.crl_set()), NOW)


def test_dates_of_the_signer_are_checked_at_load_or_at_signing_time_by_policy() -> None:
    signer = IGC.list_signer(not_after=NOW + timedelta(hours=1))
    raw = Forge(*signer).list(RAW)
    later = NOW + timedelta(days=30)
    assert refuse(raw, later) == "LB-SIGNER-EXPIRED"
    at_signing_time = IGC.signer_policy(at_signing_time=True)
    verify_list_signature(raw, at_signing_time, later)
    for text, rule in (("0001-01-01T00:00:00+23:59", "LB-SIGNER-CHAIN"), ("9999-12-31T23:59:59-23:59", "LB-SIGNATURE-TIME")):
        with pytest.raises(InputFault) as caught:
            verify_list_signature(Forge(*signer, signing_time=text).list(RAW), at_signing_time, later)
        assert caught.value.rule == rule


def test_an_old_list_replayed_is_refused_by_the_admission() -> None:
    old = Forge(*SIGNER).list(whitelist_xml([("a.mssante.fr", DN), ("b.mssante.fr", DN)], NOW - timedelta(hours=5)))
    decision = admit_list(accept(old), accept(signed()), NOW, ListPolicy())
    assert isinstance(decision, Refuse) and decision.rule == "LB-RECUL"


# ---------------------------------------------------------------- bombs and encodings


def bombs() -> dict[str, tuple[bytes, str]]:
    laughs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(10))
    after = b'<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">'
    utf7 = body(signed()).decode().replace("+", "+-").replace("<", "+ADw-").encode()
    return {
        "billion laughs": (f"<!DOCTYPE x [{laughs}]><x>&e9;</x>".encode(), "XML-DTD"),
        "quadratic": (f'<!DOCTYPE x [<!ENTITY a "{"a" * 50000}">]><x>{"&a;" * 50000}</x>'.encode(), "XML-DTD"),
        "external entity": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "XML-DTD"),
        "external entity over http": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:9/">]><x>&a;</x>', "XML-DTD"),
        "parameter entity": (b'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/"> %a;]><x/>', "XML-DTD"),
        "entity never declared": (signed().replace(b"a.mssante.fr", b"&a;.mssante.fr", 1), "XML-SYNTAX"),
        "deep": (b"<a>" * 200_000 + b"</a>" * 200_000, "XML-LIMIT"),
        "deep and open": (after + b"<a>" * 200_000, "XML-LIMIT"),
        "attributes of the root": (signed().replace(b"<ListeBlancheMSSante ", b"<ListeBlancheMSSante " + b" ".join(
            b'a%d="1"' % n for n in range(200_000)) + b" "), "LB-SIGNATURE-FORM"),
        "attributes of an entry": (signed().replace(b"<Domaine>", b"<Domaine " + b" ".join(
            b'a%d="1"' % n for n in range(200_000)) + b">", 1), "LB-SIGNATURE-FORM"),
        "namespaces": (signed().replace(b"<ListeBlancheMSSante ", b"<ListeBlancheMSSante " + b" ".join(
            b'xmlns:a%d="u"' % n for n in range(20_000)) + b" "), "LB-SIGNATURE-FORM"),
        "certificates": (signed().replace(b"<ds:X509Certificate>", b"<ds:X509Certificate>AAAA</ds:X509Certificate>" * 50_000
                                          + b"<ds:X509Certificate>"), "LB-SIGNER-LINK"),
        "UTF-16": (signed().decode().replace("UTF-8", "UTF-16").encode("utf-16"), "XML-ENCODING"),
        "UTF-16 without mark": (signed().decode().replace("UTF-8", "UTF-16").encode("utf-16-le"), "XML-ENCODING"),
        "UTF-32": (signed().decode().replace("UTF-8", "UTF-32").encode("utf-32"), "XML-ENCODING"),
        "UTF-7 label": (signed().replace(b"UTF-8", b"UTF-7"), "XML-ENCODING"),
        "UTF-7 octets": (b'<?xml version="1.0" encoding="UTF-7"?>' + utf7, "XML-ENCODING"),
        "UTF-7 label far away": (b'<?xml version="1.0"' + b" " * 400 + b'encoding="UTF-7"?>' + utf7, "XML-ENCODING"),
        "empty": (b"", "XML-SYNTAX"),
        "NUL": (signed().replace(b"a.mssante.fr", b"a.\x00mssante.fr", 1), "XML-SYNTAX"),
        "wrong UTF-8": (signed().replace(b"a.mssante.fr", b"a.\xffmssante.fr", 1), "XML-SYNTAX"),
    }


@pytest.mark.parametrize("name", sorted(bombs()))
def test_bombs_and_encodings(name: str) -> None:
    raw, rule = bombs()[name]
    assert refuse(raw) == rule


def test_random_mutations_are_refused_or_change_nothing() -> None:
    """2,000 seeded mutations of one to three octets: what is still accepted reads as the very same list."""
    chance = random.Random(20260301)
    good, wanted = signed(), accept(signed())
    accepted = 0
    for _ in range(2000):
        mutant = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            position = chance.randrange(len(mutant))
            match chance.randrange(4):
                case 0:
                    mutant[position] ^= 1 << chance.randrange(8)
                case 1:
                    mutant[position] = chance.randrange(256)
                case 2:
                    del mutant[position]
                case _:
                    mutant[position:position] = chance.choice((b"<", b">", b'"', b"&", b" ", b"\n", b"a", b"<!-- -->", b"\xc3"))
        try:
            found = accept(bytes(mutant))
        except InputFault as fault:
            assert fault.rule
        else:
            accepted += 1
            assert found == wanted
    assert accepted < 200


def test_the_forge_signs_what_it_says() -> None:
    """The table above is only worth something if the same forge, used well, is believed."""
    octets = canonical(etree.fromstring(RAW))
    assert accept(replace(FORGE, covered=octets).list(RAW)) == accept(signed())

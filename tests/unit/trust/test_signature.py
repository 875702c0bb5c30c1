"""The list's signature: what verifies, and every way to cheat. Forgeries are sealed anew with the *true* key where the point is
that the shape is refused, not that a digest differs."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree
from support.pki import SIGNER_CN, TestIgc, der, key_for, signed_whitelist, whitelist_xml

from mssante.errors import InputFault
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet, parse_crl
from mssante.trust.signature import C14N, DS, ENVELOPED, EXC_C14N, RSA_PSS, XADES, SignerPolicy, verify_list_signature
from mssante.trust.signing import sign_list
from mssante.trust.whitelist import parse_whitelist

DN = "CN=mta.a.fr,OU=1750000000,O=A,ST=Paris (75),C=FR"
EVIL = "CN=evil.fr,OU=666,O=E,ST=Paris (75),C=FR"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
NS = {"ds": DS, "xades": XADES, "f": "http://www.w3.org/2002/06/xmldsig-filter2"}
Edit = Callable[[etree._Element], None]
Sealer = Callable[[bytes], bytes]


def rule(raw: bytes, policy: SignerPolicy, now: datetime) -> str:
    """Verify what must not pass; give the rule that refused. Never longer than a second of CPU."""
    start = time.process_time()
    with pytest.raises(InputFault) as caught:
        verify_list_signature(raw, policy, now)
    assert time.process_time() - start < 1
    assert caught.value.rule and caught.value.public
    return caught.value.rule


def find(root: etree._Element, path: str) -> etree._Element:
    found = root.xpath(path, namespaces=NS)
    assert isinstance(found, list) and found, path
    element = found[0]
    assert isinstance(element, etree._Element)
    return element


def canonical(node: etree._Element, exclusive: bool = True) -> bytes:
    return etree.tostring(node, method="c14n", exclusive=exclusive, with_comments=False)


def fill_digests(root: etree._Element, algorithm: str = "sha256") -> None:
    """Write true digests of the root less its signature, and of the signed properties."""
    bare = deepcopy(root)
    for signature in bare.xpath("//ds:Signature", namespaces=NS):
        before = signature.getprevious()
        before.tail = (before.tail or "") + (signature.tail or "")
        signature.getparent().remove(signature)
    texts = [canonical(bare), canonical(find(root, "//xades:SignedProperties"))]
    for value, octets in zip(root.xpath("//ds:Reference/ds:DigestValue", namespaces=NS), texts, strict=False):
        value.text = base64.b64encode(hashlib.new(algorithm, octets).digest()).decode()


def rsa_sealer(key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm | None = None) -> Sealer:
    return lambda octets: key.sign(octets, padding.PKCS1v15(), algorithm or hashes.SHA256())


def forge(raw: bytes, edit: Edit, seal: Sealer | None, *, digests: str = "sha256", exclusive: bool = True) -> bytes:
    """Change a signed list and, with `seal`, sign it anew as its true owner would."""
    root = etree.fromstring(raw)
    edit(root)
    if seal is not None:
        if digests:
            fill_digests(root, digests)
        value = find(root, "//ds:Signature/ds:SignatureValue")
        value.text = base64.b64encode(seal(canonical(find(root, "//ds:SignedInfo"), exclusive))).decode()
    return etree.tostring(root)


def attribute(path: str, name: str, value: str | None) -> Edit:
    def edit(root: etree._Element) -> None:
        element = find(root, path)
        if value is None:
            del element.attrib[name]
        else:
            element.set(name, value)
    return edit


def insert(path: str, xml: str, index: int = 0) -> Edit:
    return lambda root: find(root, path).insert(index, etree.fromstring(xml))


def remove(path: str) -> Edit:
    def edit(root: etree._Element) -> None:
        element = find(root, path)
        element.getparent().remove(element)  # type: ignore[union-attr]
    return edit


def again(path: str) -> Edit:
    """Put a second one, without its identifiers, at the end of the same parent."""
    def edit(root: etree._Element) -> None:
        element = find(root, path)
        twin = deepcopy(element)
        for one in twin.iter():
            one.attrib.pop("Id", None)
        element.getparent().append(twin)  # type: ignore[union-attr]
    return edit


def both(*edits: Edit) -> Edit:
    def edit(root: etree._Element) -> None:
        for one in edits:
            one(root)
    return edit


@pytest.fixture(scope="module")
def policy(igc: TestIgc) -> SignerPolicy:
    return igc.signer_policy()


@pytest.fixture(scope="module")
def seal(igc: TestIgc) -> Sealer:
    return rsa_sealer(igc.list_signer()[1])


# ------------------------------------------------------------ what verifies


def test_good_list(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    content = verify_list_signature(signed, policy, now)
    found = parse_whitelist(content.root)
    assert found.domains() == {"a.mssante.fr", "b.mssante.fr"}
    assert content.signer.value("CN") == SIGNER_CN.casefold() and content.signing_time == now + timedelta(minutes=1)
    assert find(content.root, "/*").find(f".//{{{DS}}}Signature") is None, "the signature itself is not content"


def test_sealing_again_is_faithful(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    """The forging tool makes good signatures when nothing is forged: refusals below are due to the forgery."""
    raw = forge(signed, lambda root: None, seal)
    assert parse_whitelist(verify_list_signature(raw, policy, now).root).domain_count == 2


def test_drim_sample(shared_dir: Path) -> None:
    folder = shared_dir / "data/whitelist"
    anchors = load_anchors([(folder / "igc-sante-test/ac-elementaire-organisations-test.pem").read_bytes()])
    policy = SignerPolicy(anchors, ("Liste Blanche DRIM-M",), ("318751275100020",))
    raw, at = (folder / "drim-m-signed.xml").read_bytes(), datetime(2025, 3, 1, tzinfo=UTC)
    content = verify_list_signature(raw, policy, at)
    assert len(content.root.findall(".//{*}Domaine")) == 6
    assert content.signing_time == datetime(2024, 7, 12, 5, 37, 19, tzinfo=UTC)
    assert rule((folder / "drim-m-signature-removed.xml").read_bytes(), policy, at) == "LB-SIGNATURE-ABSENT"
    assert rule(raw.replace(b"db1.111.", b"db2.111.", 1), policy, at) == "LB-DIGEST"
    late = datetime(2026, 9, 13, tzinfo=UTC)
    assert rule(raw, policy, late) == "LB-SIGNER-EXPIRED"
    assert verify_list_signature(raw, replace(policy, at_signing_time=True), late).signer == content.signer
    for other in (replace(policy, cns=("Liste Blanche MSSante",)), replace(policy, ous=("1",)), replace(policy, cns=(), ous=())):
        assert rule(raw, other, at) == "LB-SIGNER-NAME"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_digest_and_rsa_variants(signed: bytes, policy: SignerPolicy, now: datetime, igc: TestIgc, algorithm: str) -> None:
    digest = {"sha256": "http://www.w3.org/2001/04/xmlenc#sha256", "sha384": MORE + "sha384",
              "sha512": "http://www.w3.org/2001/04/xmlenc#sha512"}[algorithm]
    chosen = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[algorithm]
    edit = both(attribute("(//ds:Reference)[1]/ds:DigestMethod", "Algorithm", digest),
                attribute("(//ds:Reference)[2]/ds:DigestMethod", "Algorithm", digest),
                attribute("//ds:SignatureMethod", "Algorithm", MORE + "rsa-" + algorithm))
    raw = forge(signed, edit, rsa_sealer(igc.list_signer()[1], chosen), digests=algorithm)
    assert verify_list_signature(raw, policy, now)


def test_rsa_pss(signed: bytes, policy: SignerPolicy, now: datetime, igc: TestIgc) -> None:
    key = igc.list_signer()[1]
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    edit = attribute("//ds:SignatureMethod", "Algorithm", RSA_PSS)
    assert verify_list_signature(forge(signed, edit, lambda o: key.sign(o, scheme, hashes.SHA256())), policy, now)
    assert rule(forge(signed, edit, rsa_sealer(key)), policy, now) == "LB-SIGNATURE-VALUE"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_ecdsa(igc: TestIgc, policy: SignerPolicy, now: datetime, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    certificate, _ = igc.list_signer(key=key)  # type: ignore[arg-type]
    raw = sign_list(whitelist_xml([("a.mssante.fr", DN)], now), certificate, key, now)
    assert verify_list_signature(raw, policy, now)

    octets = base64.b64decode(find(etree.fromstring(raw), "//ds:SignatureValue").text or "")
    half = len(octets) // 2
    for other in (b"\0" + octets[:half] + b"\0" + octets[half:], octets[:half] + b"\0" + octets[half:], octets[:half], b""):
        text = base64.b64encode(other).decode()
        stretched = forge(raw, lambda root, text=text: setattr(find(root, "//ds:SignatureValue"), "text", text), None)  # type: ignore[misc]
        assert rule(stretched, policy, now) == "LB-SIGNATURE-VALUE"


@pytest.mark.parametrize("method", C14N)
def test_inclusive_canonicalisation_of_signed_info(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer,
                                                   method: str) -> None:
    edit = attribute("//ds:CanonicalizationMethod", "Algorithm", method)
    octets = canonical(find(etree.fromstring(signed), "//ds:SignedInfo"), exclusive=False)
    assert octets.startswith(b'<ds:SignedInfo xmlns="https://listeblanche.mssante.fr/schema" '  # C14N §2.3, written by hand
                             b'xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:CanonicalizationMethod Algorithm=')
    assert verify_list_signature(forge(signed, edit, seal, exclusive=False), policy, now)
    assert rule(forge(signed, edit, seal, exclusive=True), policy, now) == "LB-SIGNATURE-VALUE"


def test_enveloped_transform_and_root_id(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    def enveloped(root: etree._Element) -> None:
        transform = find(root, "(//ds:Transform)[1]")
        transform.set("Algorithm", ENVELOPED)
        transform.remove(transform[0])
    assert verify_list_signature(forge(signed, enveloped, seal), policy, now)
    by_id = both(enveloped, attribute("/*", "Id", "list"), attribute("(//ds:Reference)[1]", "URI", "#list"))
    assert verify_list_signature(forge(signed, by_id, seal), policy, now)


def test_sha2_signing_certificate_v1(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    def rename(root: etree._Element) -> None:
        find(root, "//xades:SigningCertificateV2").tag = f"{{{XADES}}}SigningCertificate"
    assert verify_list_signature(forge(signed, rename, seal), policy, now)


def test_comments_outside_text_do_no_harm_and_vanish(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    raw = signed.replace(b"<ListeDomaines>", b"<!-- note --><ListeDomaines>").replace(b"a.mssante.fr", b"a.mssan<!-- -->te.fr")
    content = verify_list_signature(raw, policy, now)
    assert parse_whitelist(content.root).domains() == {"a.mssante.fr", "b.mssante.fr"}, "read whole, never cut at the comment"


# ------------------------------------------------------------ wrapping: what is read is what was signed


def split(signed: bytes) -> tuple[bytes, bytes, bytes]:
    """(content before the signature, the signature, the end tag)."""
    start, end = signed.index(b"<ds:Signature "), signed.rindex(b"</ds:Signature>") + len(b"</ds:Signature>")
    return signed[:start], signed[start:end], signed[end:]


def evil_list(now: datetime) -> bytes:
    return whitelist_xml([("a.mssante.fr", EVIL)], now)


def body(raw: bytes) -> bytes:
    """A list without its XML declaration."""
    return raw[raw.index(b"<ListeBlanche"):]


def test_wrapped_root(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    before, signature, end = split(signed)
    evil, _, evil_end = evil_list(now).rpartition(b"</ListeBlancheMSSante>")[0], b"", b"</ListeBlancheMSSante>"
    inner = body(before) + end
    assert rule(evil + body(signed) + evil_end, policy, now) == "LB-SIGNATURE-PLACE"
    assert rule(evil + inner + signature + evil_end, policy, now) == "LB-DIGEST"
    hidden = signature.replace(b"</ds:Signature>", b"<ds:Object>" + inner + b"</ds:Object></ds:Signature>")
    assert rule(evil + hidden + evil_end, policy, now) == "LB-SIGNATURE-FORM"
    inside = signature.replace(b"<ds:Object>", b"<ds:Object>" + inner)
    assert rule(evil + inside + evil_end, policy, now) == "LB-DIGEST"


def test_wrapped_root_by_id(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    by_id = forge(signed, both(attribute("/*", "Id", "list"), attribute("(//ds:Reference)[1]", "URI", "#list")), seal)
    assert verify_list_signature(by_id, policy, now)
    before, signature, end = split(by_id)
    evil = evil_list(now).rpartition(b"</ListeBlancheMSSante>")[0]
    assert rule(evil + body(before) + end + signature + end, policy, now) == "LB-REFERENCE"
    twin = evil.replace(b"<ListeBlancheMSSante ", b'<ListeBlancheMSSante Id="list" ')
    assert rule(twin + body(before) + end + signature + end, policy, now) == "LB-REFERENCE"
    assert rule(twin + signature + end, policy, now) == "LB-DIGEST"
    for name in ("id", "ID", "xml:id"):
        other = evil.replace(b"<ListeBlancheMSSante ", f'<ListeBlancheMSSante {name}="list" '.encode())
        assert rule(other + body(before) + end + signature + end, policy, now) == "LB-REFERENCE"


def test_only_one_entry_signed(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    edit = both(attribute("//*[local-name()='Domaine'][1]", "Id", "d1"), attribute("(//ds:Reference)[1]", "URI", "#d1"))
    assert rule(forge(signed, edit, seal), policy, now) == "LB-REFERENCE"


ROW = (b'<Domaine xmlns="https://listeblanche.mssante.fr/schema"><Nom>x.mssante.fr</Nom><DNCertificatOperateur>' + EVIL.encode()
       + b"</DNCertificatOperateur></Domaine>")


@pytest.mark.parametrize(("where", "expected"), [
    (b"<ListeDomaines>", "LB-DIGEST"), (b"</ds:Signature>", "LB-SIGNATURE-PLACE"), (b"</ds:Object>", "LB-DIGEST*"),
    (b"<ds:KeyInfo>", "LB-DIGEST*"), (b"<ds:SignedInfo>", "LB-SIGNATURE-VALUE")])
def test_entry_added(signed: bytes, policy: SignerPolicy, now: datetime, where: bytes, expected: str) -> None:
    """After the signature: refused. Inside it, where it signs nothing: verified content does not have it."""
    after = where.startswith(b"</ds:Sig") or not where.startswith(b"</")
    raw = signed.replace(where, where + ROW if after else ROW + where, 1)
    if expected.endswith("*"):
        assert parse_whitelist(verify_list_signature(raw, policy, now).root).domains() == {"a.mssante.fr", "b.mssante.fr"}
    else:
        assert rule(raw, policy, now) == expected


def test_second_list_before_the_signed_one(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    raw = signed.replace(b"<ListeDomaines>", b"<ListeDomaines>" + ROW + b"</ListeDomaines><ListeDomaines>", 1)
    assert rule(raw, policy, now) == "LB-DIGEST"
    assert rule(evil_list(now) + body(signed), policy, now) == "XML-SYNTAX"


def test_number_and_place_of_signatures(signed: bytes, policy: SignerPolicy, now: datetime) -> None:
    before, signature, end = split(signed)
    assert rule(before + end, policy, now) == "LB-SIGNATURE-ABSENT"
    assert rule(before + signature + signature + end, policy, now) == "LB-SIGNATURE-MANY"
    nested = signature.replace(b"<ds:Object>", b"<ds:Object>" + signature, 1)
    assert rule(before + nested + end, policy, now) == "LB-SIGNATURE-MANY"
    assert rule(before.replace(b"<ListeDomaines>", b"<ListeDomaines>" + signature) + end, policy, now) == "LB-SIGNATURE-PLACE"
    assert rule(before.replace(b"<DateDe", signature + b"<DateDe", 1) + end, policy, now) == "LB-SIGNATURE-PLACE"
    assert rule(signature, policy, now) == "LB-SIGNATURE-PLACE"
    other = signature.replace(b"http://www.w3.org/2000/09/xmldsig#\" Id", b"http://www.w3.org/2000/09/xmldsig\" Id")
    assert rule(before + other + end, policy, now) == "LB-SIGNATURE-ABSENT"


def test_duplicate_id(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    identifier = find(etree.fromstring(signed), "//xades:SignedProperties").get("Id") or ""
    for path in ("/*", "//ds:Object", "//ds:KeyInfo"):
        assert rule(forge(signed, attribute(path, "Id", identifier), seal), policy, now) == "LB-REFERENCE"


def test_properties_elsewhere(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    def swap(root: etree._Element) -> None:
        """The signed properties move to the content, others take their place."""
        real = find(root, "//xades:SignedProperties")
        fake = deepcopy(real)
        fake.set("Id", "fake")
        real.getparent().append(fake)  # type: ignore[union-attr]
        find(root, "/*").insert(0, real)
    assert rule(forge(signed, swap, seal, digests=""), policy, now) == "LB-REFERENCE"
    assert rule(forge(signed, attribute("//xades:QualifyingProperties", "Target", "#other"), seal), policy, now) == "LB-REFERENCE"
    assert rule(forge(signed, attribute("//ds:Signature", "Id", None), seal), policy, now) == "LB-REFERENCE"
    assert rule(forge(signed, remove("//xades:QualifyingProperties"), None), policy, now) == "LB-SIGNATURE-FORM"


# ------------------------------------------------------------ references, algorithms: refused though well sealed

DOCUMENT = "(//ds:Reference)[1]"
FILTER = "//f:XPath"


@pytest.mark.parametrize(("edit", "expected"), [
    (attribute(DOCUMENT, "URI", "http://example.invalid/list.xml"), "LB-REFERENCE"),
    (attribute(DOCUMENT, "URI", "file:///etc/passwd"), "LB-REFERENCE"),
    (attribute(DOCUMENT, "URI", "#xpointer(/)"), "LB-REFERENCE"),
    (attribute(DOCUMENT, "URI", "#"), "LB-REFERENCE"),
    (attribute(DOCUMENT, "URI", None), "LB-REFERENCE"),
    (attribute("(//ds:Reference)[2]", "URI", ""), "LB-REFERENCE"),
    (attribute("(//ds:Reference)[2]", "Type", None), "LB-REFERENCE"),
    (attribute(DOCUMENT, "Type", "http://uri.etsi.org/01903#SignedProperties"), "LB-REFERENCE"),
    (remove(DOCUMENT), "LB-REFERENCE"),
    (remove("(//ds:Reference)[2]"), "LB-REFERENCE"),
    (both(remove(DOCUMENT), remove("//ds:Reference")), "LB-REFERENCE"),
    (again(DOCUMENT), "LB-REFERENCE"),
    (again("(//ds:Reference)[2]"), "LB-REFERENCE"),
    (attribute("//ds:SignatureMethod", "Algorithm", DS + "rsa-sha1"), "LB-ALGORITHM"),
    (attribute("//ds:SignatureMethod", "Algorithm", DS + "dsa-sha1"), "LB-ALGORITHM"),
    (attribute("//ds:SignatureMethod", "Algorithm", MORE + "hmac-sha256"), "LB-ALGORITHM"),
    (attribute("//ds:SignatureMethod", "Algorithm", MORE + "ecdsa-sha256"), "LB-ALGORITHM"),
    (attribute("//ds:SignatureMethod", "Algorithm", ""), "LB-ALGORITHM"),
    (attribute("//ds:SignatureMethod", "Algorithm", None), "LB-ALGORITHM"),
    (insert("//ds:SignatureMethod", f'<ds:HMACOutputLength xmlns:ds="{DS}">0</ds:HMACOutputLength>'), "LB-ALGORITHM"),
    (attribute(DOCUMENT + "/ds:DigestMethod", "Algorithm", SHA1), "LB-ALGORITHM"),
    (attribute("(//ds:Reference)[2]/ds:DigestMethod", "Algorithm", SHA1), "LB-ALGORITHM"),
    (attribute("//ds:CanonicalizationMethod", "Algorithm", EXC_C14N + "WithComments"), "LB-ALGORITHM"),
    (attribute("//ds:CanonicalizationMethod", "Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116"), "LB-ALGORITHM"),
    (attribute("(//ds:Transform)[2]", "Algorithm", EXC_C14N + "WithComments"), "LB-ALGORITHM"),
    (attribute("(//ds:Transform)[1]", "Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116"), "LB-ALGORITHM"),
    (attribute("(//ds:Transform)[1]", "Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116"), "LB-ALGORITHM"),
    (attribute("(//ds:Transform)[1]", "Algorithm", DS + "base64"), "LB-ALGORITHM"),
    (attribute(FILTER, "Filter", "intersect"), "LB-ALGORITHM"),
    (attribute(FILTER, "Filter", "union"), "LB-ALGORITHM"),
    (lambda root: setattr(find(root, FILTER), "text", "//*"), "LB-ALGORITHM"),
    (lambda root: setattr(find(root, FILTER), "text", "/descendant::ds:Signature | //*[local-name()='Domaine']"), "LB-ALGORITHM"),
    (lambda root: find(root, "(//ds:Transforms)[1]").append(deepcopy(find(root, "(//ds:Transform)[2]"))), "LB-ALGORITHM"),
    (remove("(//ds:Transform)[2]"), "LB-ALGORITHM"),
    (remove("(//ds:Transforms)[1]"), "LB-ALGORITHM"),
    (remove("(//ds:Transforms)[2]"), "LB-ALGORITHM"),
    (insert("(//ds:Transform)[2]", "<x/>"), "LB-ALGORITHM"),
    (insert("(//ds:Transforms)[1]", "<x/>"), "LB-ALGORITHM"),
    (remove("//ds:SignedInfo"), "LB-SIGNATURE-FORM"),
    (remove("//ds:SignatureValue"), "LB-SIGNATURE-FORM"),
    (remove("//ds:KeyInfo"), "LB-SIGNATURE-FORM"),
    (remove("//ds:Object"), "LB-SIGNATURE-FORM"),
    (again("//ds:SignedInfo"), "LB-SIGNATURE-FORM"),
    (again("//ds:SignatureValue"), "LB-SIGNATURE-FORM"),
    (lambda root: setattr(find(root, "//ds:X509Certificate"), "text", "é"), "LB-SIGNATURE-FORM"),
    (remove("//xades:SigningTime"), "LB-SIGNATURE-TIME"),
    (lambda root: setattr(find(root, "//xades:SigningTime"), "text", "2026-03-01T12:00:00"), "LB-SIGNATURE-TIME"),
    (remove("//ds:X509Certificate"), "LB-SIGNER-LINK"),
    (remove("//xades:SigningCertificateV2"), "LB-SIGNER-LINK"),
    (remove("//xades:CertDigest"), "LB-SIGNER-LINK"),
    (attribute("//xades:CertDigest/ds:DigestMethod", "Algorithm", SHA1), "LB-ALGORITHM"),
    (lambda root: find(root, "//xades:SignedSignatureProperties").append(
        deepcopy(find(root, "//xades:SigningCertificateV2"))), "LB-SIGNER-LINK"),
])
def test_shape_is_refused_though_well_sealed(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer, edit: Edit,
                                             expected: str) -> None:
    sealable = etree.fromstring(signed)
    edit(sealable)
    whole = sealable.xpath("//ds:SignedInfo and //ds:SignatureValue and //xades:SignedProperties", namespaces=NS)
    assert rule(forge(signed, edit, seal if whole else None), policy, now) == expected


def test_hmac_with_the_public_key(signed: bytes, policy: SignerPolicy, now: datetime, igc: TestIgc) -> None:
    public = igc.list_signer()[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def mac(octets: bytes) -> bytes:
        found = hmac.HMAC(public, hashes.SHA256())
        found.update(octets)
        return found.finalize()
    for name in (DS + "hmac-sha1", MORE + "hmac-sha256"):
        assert rule(forge(signed, attribute("//ds:SignatureMethod", "Algorithm", name), mac), policy, now) == "LB-ALGORITHM"


# ------------------------------------------------------------ the signer


def other_key() -> rsa.RSAPrivateKey:
    return key_for("attacker")


def made(igc: TestIgc, now: datetime, **options: object) -> bytes:
    return signed_whitelist([("a.mssante.fr", EVIL)], now, signer=igc.list_signer(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("options", "expected"), [
    ({"issuer": "foreign", "key": key_for("attacker")}, "LB-SIGNER-CHAIN"),
    ({"issuer": "lookalike"}, "LB-SIGNER-CHAIN"),
    ({"issuer": "personnes"}, "LB-SIGNER-CHAIN"),
    ({"issuer": "root"}, "LB-SIGNER-CHAIN"),
    ({"cn": "Liste Blanche MSSante 2"}, "LB-SIGNER-NAME"),
    ({"ou": "318751275100021"}, "LB-SIGNER-NAME"),
    ({"ou": ""}, "LB-SIGNER-NAME"),
    ({"not_after": datetime(2026, 3, 1, 11, tzinfo=UTC)}, "LB-SIGNER-EXPIRED"),
    ({"not_before": datetime(2026, 3, 1, 13, tzinfo=UTC)}, "LB-SIGNER-EXPIRED"),
    ({"usage": ("key_encipherment",)}, "LB-SIGNER-USAGE"),
    ({"usage": None}, "LB-SIGNER-USAGE"),
    ({"ca": True}, "LB-SIGNER-USAGE"),
    ({"key": key_for("weak", 1024)}, "LB-ALGORITHM"),
])
def test_signer_refused(igc: TestIgc, policy: SignerPolicy, now: datetime, options: dict[str, object], expected: str) -> None:
    assert rule(made(igc, now, **options), policy, now) == expected


def test_an_operator_may_not_sign_a_list(igc: TestIgc, policy: SignerPolicy, now: datetime) -> None:
    """Every operator holds a certificate of the same authority: neither its name nor its usage admits it."""
    raw = signed_whitelist([("a.mssante.fr", EVIL)], now, signer=igc.leaf("mta.evil.fr"))
    for one in (policy, replace(policy, cns=(), ous=()), replace(policy, cns=("mta.evil.fr",))):
        assert rule(raw, one, now) in ("LB-SIGNER-NAME", "LB-SIGNER-USAGE")
    assert rule(raw, replace(policy, cns=("mta.evil.fr",)), now) == "LB-SIGNER-USAGE"
    assert rule(made(igc, now), replace(policy, cns=(), ous=()), now) == "LB-SIGNER-NAME"


def test_self_signed_twin_and_other_key(igc: TestIgc, policy: SignerPolicy, now: datetime, signed: bytes) -> None:
    true_certificate, _ = igc.list_signer()
    name = true_certificate.subject
    twin = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(other_key().public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9)).sign(other_key(), hashes.SHA256()))
    unsigned = whitelist_xml([("a.mssante.fr", EVIL)], now)
    assert rule(sign_list(unsigned, twin, other_key(), now), policy, now) == "LB-SIGNER-CHAIN"
    # the true certificate shown, another key's signature
    assert rule(sign_list(unsigned, true_certificate, other_key(), now), policy, now) == "LB-SIGNATURE-VALUE"
    # the attacker's certificate put beside or in place of the one that the signed properties name
    mine = base64.b64encode(der(twin)).decode()
    swapped = forge(signed, lambda root: setattr(find(root, "//ds:X509Certificate"), "text", mine), rsa_sealer(other_key()))
    assert rule(swapped, policy, now) == "LB-SIGNER-LINK"
    beside = insert("//ds:X509Data", f'<ds:X509Certificate xmlns:ds="{DS}">{mine}</ds:X509Certificate>')
    assert verify_list_signature(forge(signed, beside, None), policy, now).certificate.fingerprint(hashes.SHA256())
    assert rule(forge(signed, beside, rsa_sealer(other_key())), policy, now) == "LB-SIGNATURE-VALUE"


def test_intermediate_in_keyinfo_is_not_believed(igc: TestIgc, policy: SignerPolicy, now: datetime) -> None:
    certificate, key = igc.list_signer(issuer="foreign", key=other_key())
    raw = sign_list(whitelist_xml([("a.mssante.fr", EVIL)], now), certificate, key, now, chain=[igc.foreign.certificate])
    assert rule(raw, policy, now) == "LB-SIGNER-CHAIN"


def test_validity_at_signing_or_load_time(igc: TestIgc, policy: SignerPolicy, now: datetime) -> None:
    old = signed_whitelist([("a.mssante.fr", DN)], now, signer=igc.list_signer(not_after=now + timedelta(days=1)))
    late = now + timedelta(days=30)
    assert rule(old, policy, late) == "LB-SIGNER-EXPIRED"
    assert verify_list_signature(old, replace(policy, at_signing_time=True), late)
    future = signed_whitelist([("a.mssante.fr", DN)], now, signing_time=now + timedelta(days=3))
    assert rule(future, replace(policy, at_signing_time=True), now) == "LB-SIGNATURE-TIME"


def test_revocation_of_the_signer(igc: TestIgc, policy: SignerPolicy, now: datetime, signed: bytes) -> None:
    content = verify_list_signature(signed, policy, now)
    issuer = igc.organisations.certificate
    revoked = CrlSet().admit(parse_crl(igc.crl([content.certificate]), issuer, now))
    assert rule(signed, replace(policy, crls=revoked), now) == "LB-SIGNER-REVOKED"
    good = CrlSet().admit(parse_crl(igc.crl([1]), issuer, now))
    assert verify_list_signature(signed, replace(policy, crls=good), now)
    authority = CrlSet().admit(parse_crl(igc.crl([issuer], issuer="root"), igc.root.certificate, now))
    assert rule(signed, replace(policy, crls=authority), now) == "LB-SIGNER-REVOKED"


def test_expired_authority(igc: TestIgc, policy: SignerPolicy, now: datetime, signed: bytes) -> None:
    assert rule(signed, policy, datetime(2046, 1, 1, tzinfo=UTC)) == "LB-SIGNER-CHAIN"
    nobody = replace(policy, anchors=TrustAnchors(policy.anchors.roots, ()))
    assert rule(signed, nobody, now) == "LB-SIGNER-CHAIN"


# ------------------------------------------------------------ altered


@pytest.mark.parametrize(("old", "new"), [
    (b"a.mssante.fr", b"c.mssante.fr"), (b"mta.a.fr", b"mta.e.fr"), (b"2026-03-01T12", b"2026-03-02T12"),
    (b"</Domaine>", b"</Domaine> "), (b"Domaine de test", b"Domaine de&#32;test "),
    (b"<ListeDomaines>", b"<ListeDomaines><?x y?>"), (b"<ListeDomaines>", b'<ListeDomaines x="1">'),
    (b"1750000000", b"1750000009"),
])
def test_altered(signed: bytes, policy: SignerPolicy, now: datetime, old: bytes, new: bytes) -> None:
    assert old in signed and rule(signed.replace(old, new, 1), policy, now) == "LB-DIGEST"


def test_altered_signature_parts(signed: bytes, policy: SignerPolicy, now: datetime, seal: Sealer) -> None:
    later = forge(signed, lambda root: setattr(find(root, "//xades:SigningTime"), "text", "2026-03-01T12:00:01Z"), None)
    assert rule(later, policy, now) == "LB-DIGEST"
    unsealed = forge(signed, lambda root: fill_digests(root), None).replace(b"a.mssante.fr", b"c.mssante.fr")
    assert rule(unsealed, policy, now) == "LB-DIGEST"

    def evil(root: etree._Element) -> None:
        find(root, "//*[local-name()='Nom']").text = "c.mssante.fr"
        fill_digests(root)
    assert rule(forge(signed, evil, None), policy, now) == "LB-SIGNATURE-VALUE"

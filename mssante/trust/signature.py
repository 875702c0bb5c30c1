"""The white list's signature: enveloped XAdES-BASELINE-B, verified before anything is believed (spec §1.5, RQ-SIG).

- What is given back is the root parsed anew from exactly the canonical octets that were verified: an element that the
  signature does not cover does not exist for us.
- One signature, last child of the root; one reference to the document, one to its signed properties; algorithms from short
  allow-lists; no SHA-1, no HMAC, no XSLT, no XPath but the fixed "subtract signatures" filter, no URI outside the document.
- The signer: chain to our anchors, dates, key usage, CN and OU allow-lists, revocation when a CRL is known.

Raises InputFault with a rule `LB-…` for each way to fail. Pure: no network, `now` is given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from lxml import etree

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.identity import DistinguishedName
from mssante.protocol.xml import parse_xml
from mssante.trust.anchors import TrustAnchors, issued_by
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.names import dn_from_x509, normalise_value

MAX_BYTES = 64 * 1024 * 1024
MAX_KEYINFO_CERTIFICATES = 10
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = DS + "enveloped-signature"
SIGNED_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"
SUBTRACT = "/descendant::ds:Signature"
_XMLENC = "http://www.w3.org/2001/04/xmlenc#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
DIGESTS = {_XMLENC + "sha256": "sha256", _MORE + "sha384": "sha384", _XMLENC + "sha512": "sha512"}
_RSA = {_MORE + "rsa-sha256": hashes.SHA256, _MORE + "rsa-sha384": hashes.SHA384, _MORE + "rsa-sha512": hashes.SHA512}
_ECDSA = {_MORE + "ecdsa-sha256": hashes.SHA256, _MORE + "ecdsa-sha384": hashes.SHA384}


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """Who may sign. cns, ous: allow-lists (empty: any); at_signing_time: dates checked then, else at load time."""

    anchors: TrustAnchors
    cns: tuple[str, ...] = ()
    ous: tuple[str, ...] = ()
    at_signing_time: bool = False
    crls: CrlSet | None = None


@dataclass(frozen=True, slots=True)
class SignedContent:
    """What the signature covers. root: parsed from the verified canonical octets."""

    root: etree._Element
    signer: DistinguishedName
    signing_time: datetime
    certificate: x509.Certificate


def _fault(rule: str, fr: str, en: str) -> InputFault:
    return InputFault(say(fr, en), rule=rule, remedy=say("la dernière liste bonne reste en vigueur",
                                                         "the last good list stays in force"))


def _one(parent: etree._Element, name: str, namespace: str = DS) -> etree._Element:
    """Give the only child of that name. Raises InputFault `LB-SIGNATURE-FORME`."""
    found = parent.findall(f"{{{namespace}}}{name}")
    if len(found) != 1:
        raise _fault("LB-SIGNATURE-FORME", f"la signature doit avoir un seul {name}", f"signature needs exactly one {name}")
    return found[0]


def _octets(element: etree._Element) -> bytes:
    if len(element):
        raise _fault("LB-SIGNATURE-FORME", "valeur de signature mal formée", "signature value is malformed")
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _fault("LB-SIGNATURE-FORME", "valeur base64 illisible", "unreadable base64 value") from exc


def _canonical(node: etree._Element | etree._ElementTree[etree._Element], prefixes: list[str] | None = None) -> bytes:
    return etree.tostring(node, method="c14n", exclusive=True, with_comments=False,
                          inclusive_ns_prefixes=prefixes or None)


def _find_signature(root: etree._Element) -> etree._Element:
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if not signatures:
        raise _fault("LB-SIGNATURE-ABSENTE", "liste non signée", "list is not signed")
    if len(signatures) > 1:
        raise _fault("LB-SIGNATURE-NOMBRE", "plusieurs signatures", "several signatures")
    elements = [child for child in root if isinstance(child.tag, str)]
    if signatures[0].getparent() is not root or elements[-1] is not signatures[0]:
        raise _fault("LB-SIGNATURE-PLACE", "la signature n'est pas le dernier enfant de la racine",
                     "signature is not the last child of the root")
    return signatures[0]


def _ids(root: etree._Element) -> dict[str, etree._Element]:
    """Give elements by identifier; an identifier that stands twice is a wrapping attempt."""
    found: dict[str, etree._Element] = {}
    for element in root.iter(etree.Element):
        for name in ("Id", "ID", "id", "{http://www.w3.org/XML/1998/namespace}id"):
            value = element.get(name)
            if value is not None:
                if value in found:
                    raise _fault("LB-REFERENCE", "identifiant en double", "duplicate identifier")
                found[value] = element
    return found


def _prefixes(transform: etree._Element) -> list[str]:
    found = transform.findall(f"{{{EXC_C14N}}}InclusiveNamespaces")
    if len(found) != len(transform) or len(found) > 1:
        raise _fault("LB-ALGORITHME", "paramètre de transformation refusé", "transform parameter refused")
    return (found[0].get("PrefixList") or "").split() if found else []


def _is_removal(transform: etree._Element) -> bool:
    """Tell whether a transform takes the signature out of the document, in one of the two accepted ways."""
    algorithm = transform.get("Algorithm")
    if algorithm == ENVELOPED:
        return not len(transform)
    if algorithm != FILTER2 or len(transform) != 1:
        return False
    path = transform[0]
    return (path.tag == f"{{{FILTER2}}}XPath" and path.get("Filter") == "subtract"
            and (path.text or "").strip() == SUBTRACT and path.nsmap.get("ds") == DS and not len(path))


def _transforms(reference: etree._Element) -> list[etree._Element]:
    holders = reference.findall(f"{{{DS}}}Transforms")
    if len(holders) > 1:
        raise _fault("LB-SIGNATURE-FORME", "plusieurs Transforms", "several Transforms")
    transforms = list(holders[0]) if holders else []
    if any(t.tag != f"{{{DS}}}Transform" for t in transforms):
        raise _fault("LB-ALGORITHME", "transformation inconnue", "unknown transform")
    return transforms


def _without_signature(root: etree._Element) -> etree._ElementTree[etree._Element]:
    """Give a copy of the document less its signature; the white space around it stays, as the transform wants."""
    tree = deepcopy(root.getroottree())
    copy = tree.getroot()
    signature = copy.find(f"{{{DS}}}Signature")
    if signature is not None:
        before = signature.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + (signature.tail or "")
        else:
            copy.text = (copy.text or "") + (signature.tail or "")
        copy.remove(signature)
    return tree


def _digest_matches(reference: etree._Element, octets: bytes) -> bool:
    algorithm = _one(reference, "DigestMethod").get("Algorithm") or ""
    if algorithm not in DIGESTS:
        raise _fault("LB-ALGORITHME", "algorithme d'empreinte refusé", "digest algorithm refused")
    found = hashlib.new(DIGESTS[algorithm], octets).digest()
    return hmac.compare_digest(found, _octets(_one(reference, "DigestValue")))


def _document_octets(reference: etree._Element, root: etree._Element, ids: dict[str, etree._Element]) -> bytes:
    uri = reference.get("URI")
    if uri != "" and (not uri or uri[0] != "#" or ids.get(uri[1:]) is not root):
        raise _fault("LB-REFERENCE", "la signature ne porte pas sur la racine", "signature does not cover the root")
    transforms = _transforms(reference)
    if len(transforms) != 2 or not _is_removal(transforms[0]) or transforms[1].get("Algorithm") != EXC_C14N:
        raise _fault("LB-ALGORITHME", "transformations refusées", "transforms refused")
    tree = _without_signature(root)
    return _canonical(tree if uri == "" else tree.getroot(), _prefixes(transforms[1]))


def _properties_octets(reference: etree._Element, signature: etree._Element,
                       ids: dict[str, etree._Element]) -> tuple[bytes, etree._Element]:
    qualifying = _one(_one(signature, "Object"), "QualifyingProperties", XADES)
    properties = _one(qualifying, "SignedProperties", XADES)
    uri = reference.get("URI") or ""
    if uri[:1] != "#" or ids.get(uri[1:]) is not properties:
        raise _fault("LB-REFERENCE", "propriétés signées introuvables", "signed properties not found")
    transforms = _transforms(reference)
    if len(transforms) != 1 or transforms[0].get("Algorithm") != EXC_C14N:
        raise _fault("LB-ALGORITHME", "transformations refusées", "transforms refused")
    return _canonical(properties, _prefixes(transforms[0])), properties


def _references(signed_info: etree._Element) -> tuple[etree._Element, etree._Element]:
    """Give (document reference, properties reference): exactly these two."""
    references = signed_info.findall(f"{{{DS}}}Reference")
    about = [r for r in references if r.get("Type") == SIGNED_PROPERTIES]
    document = [r for r in references if r.get("Type") != SIGNED_PROPERTIES]
    if len(about) != 1 or len(document) != 1:
        raise _fault("LB-REFERENCE", "il faut deux références : document et propriétés signées",
                     "exactly two references are needed: document and signed properties")
    return document[0], about[0]


def _signer_certificate(signature: etree._Element, properties: etree._Element) -> x509.Certificate:
    """Give the KeyInfo certificate that the signed properties name by digest (XAdES SigningCertificateV2 or V1)."""
    certificates = list(_one(signature, "KeyInfo").iter(f"{{{DS}}}X509Certificate"))[:MAX_KEYINFO_CERTIFICATES]
    holders = [e for e in properties.iter(f"{{{XADES}}}SigningCertificateV2", f"{{{XADES}}}SigningCertificate")]
    if len(holders) != 1 or not certificates:
        raise _fault("LB-SIGNATAIRE-LIEN", "certificat du signataire non désigné", "signer certificate is not named")
    named = holders[0].find(f"{{{XADES}}}Cert/{{{XADES}}}CertDigest")
    if named is None:
        raise _fault("LB-SIGNATAIRE-LIEN", "empreinte du certificat absente", "certificate digest is missing")
    for element in certificates:
        der = _octets(element)
        if _digest_matches(named, der):
            try:
                return x509.load_der_x509_certificate(der)
            except ValueError as exc:
                raise _fault("LB-SIGNATAIRE-LIEN", "certificat illisible", "unreadable certificate") from exc
    raise _fault("LB-SIGNATAIRE-LIEN", "le certificat n'est pas celui désigné", "certificate is not the one named")


def _check_value(signature: etree._Element, certificate: x509.Certificate) -> None:
    """Verify SignatureValue over the canonical SignedInfo."""
    signed_info = _one(signature, "SignedInfo")
    method = _one(signed_info, "CanonicalizationMethod")
    if method.get("Algorithm") != EXC_C14N:
        raise _fault("LB-ALGORITHME", "canonicalisation refusée", "canonicalisation refused")
    octets = _canonical(signed_info, _prefixes(method))
    value = _octets(_one(signature, "SignatureValue"))
    chosen = _one(signed_info, "SignatureMethod")
    algorithm = chosen.get("Algorithm") or ""
    if len(chosen):
        raise _fault("LB-ALGORITHME", "paramètre de signature refusé", "signature parameter refused")
    key = certificate.public_key()
    try:
        if algorithm in _RSA and isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
            key.verify(value, octets, padding.PKCS1v15(), _RSA[algorithm]())
        elif algorithm in _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            half = len(value) // 2
            pair = utils.encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
            key.verify(pair, octets, ec.ECDSA(_ECDSA[algorithm]()))
        else:
            raise _fault("LB-ALGORITHME", "algorithme de signature refusé", "signature algorithm refused")
    except InvalidSignature as exc:
        raise _fault("LB-SIGNATURE-VALEUR", "signature fausse : liste altérée", "signature is wrong: list was altered") from exc


def _signing_time(properties: etree._Element) -> datetime:
    element = properties.find(f"{{{XADES}}}SignedSignatureProperties/{{{XADES}}}SigningTime")
    try:
        found = datetime.fromisoformat(((element.text if element is not None else "") or "").strip())
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise _fault("LB-SIGNATURE-DATE", "date de signature illisible", "unreadable signing time")
    return found


def _check_signer(certificate: x509.Certificate, policy: SignerPolicy, instant: datetime, now: datetime) -> DistinguishedName:
    """Apply the signer policy (F1.13, F1.14)."""
    issuers = [i for i in policy.anchors.issuers_named(certificate.issuer) if issued_by(certificate, i)]
    if not issuers:
        raise _fault("LB-SIGNATAIRE-CHAINE", "signataire hors de nos autorités", "signer is under none of our authorities")
    if not certificate.not_valid_before_utc <= instant <= certificate.not_valid_after_utc:
        raise _fault("LB-SIGNATAIRE-EXPIRE", "certificat du signataire hors dates", "signer certificate is out of date")
    _check_signer_usage(certificate)
    name = dn_from_x509(certificate.subject)
    for attribute, allowed in (("CN", policy.cns), ("OU", policy.ous)):
        if allowed and name.value(attribute) not in {normalise_value(attribute, one) for one in allowed}:
            raise _fault("LB-SIGNATAIRE-NOM", f"{attribute} du signataire non admis", f"signer {attribute} is not allowed")
    if policy.crls is not None and policy.crls.status(
            certificate.serial_number, issuers[0], now) is RevocationStatus.REVOKED:
        raise _fault("LB-SIGNATAIRE-REVOQUE", "certificat du signataire révoqué", "signer certificate is revoked")
    return name


def _check_signer_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        constraints = [e.value for e in certificate.extensions if isinstance(e.value, x509.BasicConstraints)]
    except (x509.ExtensionNotFound, ValueError) as exc:
        raise _fault("LB-SIGNATAIRE-USAGE", "usage de clé absent", "key usage is missing") from exc
    if not (usage.digital_signature or usage.content_commitment) or any(c.ca for c in constraints):
        raise _fault("LB-SIGNATAIRE-USAGE", "ce certificat ne peut pas signer", "this certificate may not sign")


def verify_list_signature(raw: bytes, policy: SignerPolicy, now: datetime) -> SignedContent:
    """Verify a published list (at most 64 MiB) and give what its signature covers. Raises InputFault (`LB-…`, `XML-…`)."""
    root = parse_xml(raw, max_bytes=MAX_BYTES)
    signature = _find_signature(root)
    ids = _ids(root)
    document_reference, properties_reference = _references(_one(signature, "SignedInfo"))
    document = _document_octets(document_reference, root, ids)
    properties_octets, properties = _properties_octets(properties_reference, signature, ids)
    certificate = _signer_certificate(signature, properties)
    _check_value(signature, certificate)
    if not _digest_matches(document_reference, document) or not _digest_matches(properties_reference, properties_octets):
        raise _fault("LB-EMPREINTE", "contenu altéré depuis la signature", "content was altered after signing")
    signing_time = _signing_time(properties)
    signer = _check_signer(certificate, policy, signing_time if policy.at_signing_time else now, now)
    return SignedContent(parse_xml(document, max_bytes=MAX_BYTES), signer, signing_time, certificate)

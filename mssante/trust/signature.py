"""The white list's signature: enveloped XAdES-BASELINE-B, verified before anything is believed (spec §1.5, RQ-SIG).

- What is given back is the root parsed anew from exactly the canonical octets that were verified: an element that the
  signature does not cover does not exist for us.
- One signature, last child of the root; one reference to the document, one to its signed properties; algorithms from short
  allow-lists; no SHA-1, no HMAC, no XSLT, no XPath but the fixed "subtract signatures" filter, no URI outside the document.
- The signer: chain to our anchors, dates, key usage, CN and OU allow-lists (a policy that names nobody admits nobody: every
  operator holds a certificate of the same authority), revocation when a CRL is known.
- The attacker's work is bounded before canonicalisation, which libxml2 does in quadratic time of attributes and prefixes.

Raises InputFault with a rule `LB-…` for each way to fail. Never reads the network or the clock: `now` is given. Called by
`services.trustkeeper`; `signing` makes what this reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import ExtendedKeyUsageOID
from lxml import etree

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.identity import DistinguishedName
from mssante.protocol.xml import parse_xml
from mssante.trust.anchors import READ_FAULTS, TrustAnchors, in_dates, read_der
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.names import dn_from_x509, normalise_value

MAX_BYTES = 64 * 1024 * 1024
MAX_KEYINFO_CERTIFICATES = 10
MAX_ATTRIBUTES = 64  # of one element; the real list has none, its signature three
MAX_PREFIXES = 200  # namespace prefixes declared in the whole file
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
CLOCK_SKEW = timedelta(days=1)
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N = ("http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11")
ENVELOPED = DS + "enveloped-signature"
SIGNED_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"
SUBTRACT = "/descendant::ds:Signature"
_XMLENC = "http://www.w3.org/2001/04/xmlenc#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
DIGESTS = {_XMLENC + "sha256": "sha256", _MORE + "sha384": "sha384", _XMLENC + "sha512": "sha512"}
RSA_PSS = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"
_RSA: dict[str, hashes.HashAlgorithm] = {
    _MORE + "rsa-sha256": hashes.SHA256(), _MORE + "rsa-sha384": hashes.SHA384(), _MORE + "rsa-sha512": hashes.SHA512()}
_ECDSA: dict[str, hashes.HashAlgorithm] = {_MORE + "ecdsa-sha256": hashes.SHA256(), _MORE + "ecdsa-sha384": hashes.SHA384()}
_CURVE_OCTETS = {"secp256r1": 32, "secp384r1": 48, "secp521r1": 66}
_ENCODINGS = frozenset({"UTF-8", "US-ASCII", "ISO-8859-1", "ISO-8859-15"})
_OF_SIGNATURE = f"{{{XADES}}}SignedSignatureProperties/{{{XADES}}}"
_TLS_USAGES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """Who may sign. cns, ous: allow-lists, at least one of them not empty (an empty one beside it: any);
    at_signing_time: dates checked then, else at load time; crls: None or an unknown state lets pass, revoked refuses."""

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


def _fault(rule: str, fr: str, en: str, remedy: str = "") -> InputFault:
    return InputFault(say(fr, en), rule=rule, remedy=remedy or say(
        "la dernière liste bonne reste en vigueur ; prévenir l'ANS si cela dure",
        "the last good list stays in force; tell ANS if it lasts"))


def _check_bounds(raw: bytes, root: etree._Element) -> None:
    """Refuse what would make canonicalisation slow: many prefixes, many attributes (200,000 attributes: 90 s)."""
    if raw.count(b"xmlns:") > MAX_PREFIXES or any(len(element.attrib) > MAX_ATTRIBUTES for element in root.iter(etree.Element)):
        raise _fault("LB-SIGNATURE-FORM", "trop d'attributs ou de préfixes", "too many attributes or prefixes")


def _one(parent: etree._Element, name: str, namespace: str = DS) -> etree._Element:
    """Give the only child of that name. Raises InputFault `LB-SIGNATURE-FORM`."""
    found = parent.findall(f"{{{namespace}}}{name}")
    if len(found) != 1:
        raise _fault("LB-SIGNATURE-FORM", f"la signature doit avoir un seul {name}", f"signature needs exactly one {name}")
    return found[0]


def _octets(element: etree._Element) -> bytes:
    if len(element):
        raise _fault("LB-SIGNATURE-FORM", "valeur de signature mal formée", "signature value is malformed")
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _fault("LB-SIGNATURE-FORM", "valeur base64 illisible", "unreadable base64 value") from exc


def _canonical(node: etree._Element | etree._ElementTree, prefixes: list[str] | None = None, *,
               exclusive: bool = True) -> bytes:
    try:
        return etree.tostring(node, method="c14n", exclusive=exclusive, with_comments=False,
                              inclusive_ns_prefixes=prefixes or None)
    except etree.C14NError as exc:
        raise _fault("LB-SIGNATURE-FORM", "canonicalisation impossible", "cannot be canonicalised") from exc


def _find_signature(root: etree._Element) -> etree._Element:
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if not signatures:
        raise _fault("LB-SIGNATURE-ABSENT", "liste non signée", "list is not signed")
    if len(signatures) > 1:
        raise _fault("LB-SIGNATURE-MANY", "plusieurs signatures", "several signatures")
    elements = [child for child in root if isinstance(child.tag, str)]
    if not elements or elements[-1] is not signatures[0]:
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
        raise _fault("LB-ALGORITHM", "paramètre de transformation refusé", "transform parameter refused")
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
        raise _fault("LB-SIGNATURE-FORM", "plusieurs Transforms", "several Transforms")
    transforms = list(holders[0]) if holders else []
    if any(t.tag != f"{{{DS}}}Transform" for t in transforms):
        raise _fault("LB-ALGORITHM", "transformation inconnue", "unknown transform")
    return transforms


def _without_signature(root: etree._Element) -> etree._ElementTree:
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
        raise _fault("LB-ALGORITHM", "algorithme d'empreinte refusé", "digest algorithm refused")
    found = hashlib.new(DIGESTS[algorithm], octets).digest()
    return hmac.compare_digest(found, _octets(_one(reference, "DigestValue")))


def _document_octets(reference: etree._Element, root: etree._Element, ids: dict[str, etree._Element]) -> bytes:
    uri = reference.get("URI")
    if uri != "" and (not uri or uri[0] != "#" or ids.get(uri[1:]) is not root):
        raise _fault("LB-REFERENCE", "la signature ne porte pas sur la racine", "signature does not cover the root")
    transforms = _transforms(reference)
    if len(transforms) != 2 or not _is_removal(transforms[0]) or transforms[1].get("Algorithm") != EXC_C14N:
        raise _fault("LB-ALGORITHM", "transformations refusées", "transforms refused")
    tree = _without_signature(root)
    return _canonical(tree if uri == "" else tree.getroot(), _prefixes(transforms[1]))


def _properties_octets(reference: etree._Element, signature: etree._Element,
                       ids: dict[str, etree._Element]) -> tuple[bytes, etree._Element]:
    """Give the signed properties of *this* signature and their canonical octets (XAdES, EN 319 132-1 §4.3)."""
    qualifying = _one(_one(signature, "Object"), "QualifyingProperties", XADES)
    properties = _one(qualifying, "SignedProperties", XADES)
    uri = reference.get("URI") or ""
    if uri[:1] != "#" or ids.get(uri[1:]) is not properties:
        raise _fault("LB-REFERENCE", "propriétés signées introuvables", "signed properties not found")
    if not signature.get("Id") or qualifying.get("Target") != f"#{signature.get('Id')}":
        raise _fault("LB-REFERENCE", "propriétés d'une autre signature", "properties of another signature")
    transforms = _transforms(reference)
    if len(transforms) != 1 or transforms[0].get("Algorithm") != EXC_C14N:
        raise _fault("LB-ALGORITHM", "transformations refusées", "transforms refused")
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
    holders = [e for name in ("SigningCertificateV2", "SigningCertificate")
               for e in properties.findall(_OF_SIGNATURE + name)]
    if len(holders) != 1 or not certificates:
        raise _fault("LB-SIGNER-LINK", "certificat du signataire non désigné", "signer certificate is not named")
    named = holders[0].find(f"{{{XADES}}}Cert/{{{XADES}}}CertDigest")
    if named is None:
        raise _fault("LB-SIGNER-LINK", "empreinte du certificat absente", "certificate digest is missing")
    for element in certificates:
        der = _octets(element)
        if _digest_matches(named, der):
            try:
                return read_der(der)
            except READ_FAULTS as exc:
                raise _fault("LB-SIGNER-LINK", "certificat illisible", "unreadable certificate") from exc
    raise _fault("LB-SIGNER-LINK", "le certificat n'est pas celui désigné", "certificate is not the one named")


def _signed_info_octets(signed_info: etree._Element) -> bytes:
    method = _one(signed_info, "CanonicalizationMethod")
    algorithm = method.get("Algorithm")
    if algorithm == EXC_C14N:
        return _canonical(signed_info, _prefixes(method))
    if algorithm in C14N and not len(method):
        return _canonical(signed_info, exclusive=False)
    raise _fault("LB-ALGORITHM", "canonicalisation refusée", "canonicalisation refused")


def _check_value(signature: etree._Element, certificate: x509.Certificate) -> None:
    """Verify SignatureValue over the canonical SignedInfo (XMLDSig §3.2.2)."""
    signed_info = _one(signature, "SignedInfo")
    octets = _signed_info_octets(signed_info)
    value = _octets(_one(signature, "SignatureValue"))
    chosen = _one(signed_info, "SignatureMethod")
    if len(chosen):
        raise _fault("LB-ALGORITHM", "paramètre de signature refusé", "signature parameter refused")
    try:
        _verify(certificate.public_key(), chosen.get("Algorithm") or "", value, octets)
    except InvalidSignature as exc:
        raise _fault("LB-SIGNATURE-VALUE", "signature fausse : liste altérée", "signature is wrong: list was altered") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _fault("LB-ALGORITHM", "clé du signataire refusée", "signer key refused") from exc


def _verify(key: object, algorithm: str, value: bytes, octets: bytes) -> None:
    """Verify with the algorithm of the allow-list that fits the key. Raises InvalidSignature, InputFault `LB-ALGORITHM`."""
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        if algorithm in _RSA:
            return key.verify(value, octets, padding.PKCS1v15(), _RSA[algorithm])
        if algorithm == RSA_PSS:  # RFC 9231 §2.3.10: the salt is as long as the digest
            scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
            return key.verify(value, octets, scheme, hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _ECDSA and key.curve.name in _CURVE_OCTETS:
        half = _CURVE_OCTETS[key.curve.name]
        if len(value) != 2 * half:  # RFC 9231 §2.3.6: r and s, each as long as the curve's order
            raise InvalidSignature
        pair = utils.encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
        return key.verify(pair, octets, ec.ECDSA(_ECDSA[algorithm]))
    raise _fault("LB-ALGORITHM", "algorithme de signature refusé", "signature algorithm refused")


def _signing_time(properties: etree._Element) -> datetime:
    """Read SigningTime (EN 319 132-1 §5.2.1); it must tell its zone."""
    element = properties.find(_OF_SIGNATURE + "SigningTime")
    try:
        found = datetime.fromisoformat(((element.text if element is not None else "") or "").strip())
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise _fault("LB-SIGNATURE-TIME", "date de signature illisible", "unreadable signing time")
    return found


def _instant(signing_time: datetime, policy: SignerPolicy, now: datetime) -> datetime:
    """Give the instant at which the signer's dates are judged: now, or the signing time, which is then not the future."""
    if not policy.at_signing_time:
        return now
    if signing_time > now + CLOCK_SKEW:
        raise _fault("LB-SIGNATURE-TIME", "signature datée du futur", "signature comes from the future",
                     say("vérifier l'horloge", "check the clock"))
    return signing_time


def _check_signer(certificate: x509.Certificate, policy: SignerPolicy, instant: datetime, now: datetime) -> DistinguishedName:
    """Apply the signer policy (F1.13, F1.14); give the signer's name."""
    issuer = policy.anchors.issuer_of(certificate, instant)
    if issuer is None:
        raise _fault("LB-SIGNER-CHAIN", "signataire hors de nos autorités", "signer is under none of our authorities",
                     say("vérifier `anchors` et `signer_issuers`", "check `anchors` and `signer_issuers`"))
    if not in_dates(certificate, instant):
        raise _fault("LB-SIGNER-EXPIRED", f"certificat du signataire hors dates (fin {certificate.not_valid_after_utc:%Y-%m-%d})",
                     f"signer certificate is out of date (ends {certificate.not_valid_after_utc:%Y-%m-%d})")
    _check_signer_usage(certificate)
    name = _check_signer_name(certificate, policy)
    if policy.crls is not None and (policy.crls.authority_revoked(issuer, policy.anchors) or policy.crls.status(
            certificate.serial_number, issuer, now) is RevocationStatus.REVOKED):
        raise _fault("LB-SIGNER-REVOKED", "certificat du signataire révoqué", "signer certificate is revoked")
    return name


def _check_signer_name(certificate: x509.Certificate, policy: SignerPolicy) -> DistinguishedName:
    """CN and OU allow-lists; every CN and every OU of the certificate must be in them."""
    remedy = say("régler `signer_cns` et `signer_ous`", "set `signer_cns` and `signer_ous`")
    if not policy.cns and not policy.ous:
        raise _fault("LB-SIGNER-NAME", "aucun signataire n'est admis par la configuration",
                     "the configuration admits no signer", remedy)
    try:
        name = dn_from_x509(certificate.subject)
    except (InputFault, *READ_FAULTS) as exc:
        raise _fault("LB-SIGNER-NAME", "nom du signataire illisible", "unreadable signer name", remedy) from exc
    for attribute, allowed in (("CN", policy.cns), ("OU", policy.ous)):
        seen = {value for key, value in name.pairs if key == attribute}
        if allowed and (not seen or not seen <= {normalise_value(attribute, one) for one in allowed}):
            raise _fault("LB-SIGNER-NAME", f"{attribute} du signataire non admis", f"signer {attribute} is not allowed", remedy)
    return name


def _check_signer_usage(certificate: x509.Certificate) -> None:
    """A seal (F3.10): digitalSignature or nonRepudiation, not a CA, not a certificate meant for TLS alone."""
    fault = _fault("LB-SIGNER-USAGE", "ce certificat ne peut pas signer une liste", "this certificate may not sign a list")
    try:
        extensions = certificate.extensions
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        if not (usage.digital_signature or usage.content_commitment):
            raise fault
        for extension in extensions:
            value = extension.value
            if isinstance(value, x509.BasicConstraints) and value.ca:
                raise fault
            if isinstance(value, x509.ExtendedKeyUsage) and set(value) <= _TLS_USAGES:
                raise fault
    except (x509.ExtensionNotFound, *READ_FAULTS) as exc:
        raise fault from exc


def verify_list_signature(raw: bytes, policy: SignerPolicy, now: datetime) -> SignedContent:
    """Verify a published list (at most 64 MiB, UTF-8 or ISO-8859-1/15) and give what its signature covers.

    Raises InputFault: `XML-…` for the file; `LB-SIGNATURE-ABSENT`, `-MANY`, `-PLACE`, `-FORM`, `-TIME`, `-VALUE`,
    `LB-ALGORITHM`, `LB-REFERENCE`, `LB-DIGEST` for the signature; `LB-SIGNER-LINK`, `-CHAIN`, `-EXPIRED`, `-USAGE`, `-NAME`,
    `-REVOKED` for the signer (XMLDSig, EN 319 132-1, F1.12-F1.14).
    """
    root = parse_xml(raw, max_bytes=MAX_BYTES)
    if (root.getroottree().docinfo.encoding or "UTF-8").upper() not in _ENCODINGS:  # a declaration padded out of sight
        raise _fault("XML-ENCODING", "codage du fichier refusé", "encoding of the file is refused")
    signature = _find_signature(root)
    _check_bounds(raw, root)
    ids = _ids(root)
    document_reference, properties_reference = _references(_one(signature, "SignedInfo"))
    properties_octets, properties = _properties_octets(properties_reference, signature, ids)
    certificate = _signer_certificate(signature, properties)
    signing_time = _signing_time(properties)
    signer = _check_signer(certificate, policy, _instant(signing_time, policy, now), now)
    _check_value(signature, certificate)
    document = _document_octets(document_reference, root, ids)
    if not _digest_matches(document_reference, document) or not _digest_matches(properties_reference, properties_octets):
        raise _fault("LB-DIGEST", "contenu altéré depuis la signature", "content was altered after signing")
    return SignedContent(parse_xml(document, max_bytes=MAX_BYTES), signer, signing_time, certificate)

"""Signs a list as XAdES-BASELINE-B, the shape of the ANS sample (spec F1.12). Used by the lab's publisher and by tests.

The content is not reformatted: the signature is inserted before the end tag of the root, everything else stays.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from mssante.errors import InputFault
from mssante.protocol.xml import parse_xml
from mssante.trust.signature import DS, EXC_C14N, FILTER2, MAX_BYTES, SIGNED_PROPERTIES, SUBTRACT, XADES

_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _canonical(node: etree._Element | etree._ElementTree[etree._Element]) -> bytes:
    return etree.tostring(node, method="c14n", exclusive=True, with_comments=False)


def _properties(identifier: str, certificate: x509.Certificate, signing_time: datetime) -> str:
    digest = _b64(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())
    return (f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#{identifier}">'
            f'<xades:SignedProperties Id="xades-{identifier}"><xades:SignedSignatureProperties>'
            f'<xades:SigningTime>{signing_time:%Y-%m-%dT%H:%M:%SZ}</xades:SigningTime><xades:SigningCertificateV2>'
            f'<xades:Cert><xades:CertDigest><ds:DigestMethod xmlns:ds="{DS}" Algorithm="{_SHA256}"/>'
            f'<ds:DigestValue xmlns:ds="{DS}">{digest}</ds:DigestValue></xades:CertDigest></xades:Cert>'
            '</xades:SigningCertificateV2></xades:SignedSignatureProperties></xades:SignedProperties>'
            '</xades:QualifyingProperties>')


def _reference(attributes: str, transforms: str, octets: bytes) -> str:
    return (f'<ds:Reference {attributes}><ds:Transforms>{transforms}<ds:Transform Algorithm="{EXC_C14N}"/>'
            f'</ds:Transforms><ds:DigestMethod Algorithm="{_SHA256}"/>'
            f'<ds:DigestValue>{_b64(hashlib.sha256(octets).digest())}</ds:DigestValue></ds:Reference>')


def sign_list(raw: bytes, certificate: x509.Certificate, key: rsa.RSAPrivateKey, signing_time: datetime) -> bytes:
    """Give `raw` (an unsigned list, UTF-8) with its signature as last child of the root.

    Raises InputFault when it is signed already or cannot be read.
    """
    root = parse_xml(raw, max_bytes=MAX_BYTES)
    if root.find(f"{{{DS}}}Signature") is not None:
        raise InputFault("list is signed already", rule="LB-SIGNATURE-NOMBRE")
    identifier = "id-" + uuid.uuid4().hex
    properties = _properties(identifier, certificate, signing_time)
    signed_properties = etree.fromstring(properties)[0]
    removal = (f'<ds:Transform Algorithm="{FILTER2}"><dsig-filter2:XPath xmlns:dsig-filter2="{FILTER2}" '
               f'Filter="subtract">{SUBTRACT}</dsig-filter2:XPath></ds:Transform>')
    signed_info = (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXC_C14N}"/><ds:SignatureMethod Algorithm="{_RSA_SHA256}"/>'
        + _reference(f'Id="r-{identifier}" URI=""', removal, _canonical(root.getroottree()))
        + _reference(f'Type="{SIGNED_PROPERTIES}" URI="#xades-{identifier}"', "", _canonical(signed_properties))
        + "</ds:SignedInfo>")
    head = f'<ds:Signature xmlns:ds="{DS}" Id="{identifier}">'
    octets = _canonical(etree.fromstring(f"{head}{signed_info}</ds:Signature>")[0])
    value = _b64(key.sign(octets, padding.PKCS1v15(), hashes.SHA256()))
    subject = _b64(certificate.public_bytes(Encoding.DER))
    signature = (f'{head}{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>'
                 f'<ds:X509Certificate>{subject}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>'
                 f'<ds:Object>{properties}</ds:Object></ds:Signature>')
    end = raw.rindex(b"</")
    return raw[:end] + signature.encode() + raw[end:]

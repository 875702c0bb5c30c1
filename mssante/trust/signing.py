"""Signs a list as XAdES-BASELINE-B, the shape of the ANS sample (spec F1.12). Called by the lab's publisher, by tests and by
whoever publishes a list of this family.

- The content is not reformatted: the signature is inserted before the end tag of the root, every other octet stays.
- The same content, certificate, key (RSA) and time give the same file: identifiers come from a digest, not from chance.
- Never reads the clock or a key file. What it makes is read by `signature.verify_list_signature`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from mssante.errors import InputFault
from mssante.protocol.xml import parse_xml
from mssante.trust.signature import DS, EXC_C14N, FILTER2, MAX_BYTES, SIGNED_PROPERTIES, SUBTRACT, XADES

_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _canonical(node: etree._Element | etree._ElementTree) -> bytes:
    return etree.tostring(node, method="c14n", exclusive=True, with_comments=False)


def _der(tag: int, content: bytes) -> bytes:
    """Give one DER value (X.690 §8.1); contents below 64 KiB."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    return bytes((tag, 0x81, size)) + content if size < 0x100 else bytes((tag, 0x82, size >> 8, size & 0xFF)) + content


def _issuer_serial(certificate: x509.Certificate) -> str:
    """Give IssuerSerialV2 (EN 319 132-1 §5.2.2): SEQUENCE of GeneralNames with one directoryName, then the serial."""
    names = _der(0x30, _der(0xA4, certificate.issuer.public_bytes()))
    serial = certificate.serial_number
    return _b64(_der(0x30, names + _der(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True))))


def _properties(identifier: str, certificate: x509.Certificate, signing_time: datetime) -> str:
    digest = _b64(hashlib.sha512(certificate.public_bytes(Encoding.DER)).digest())
    return (f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#{identifier}">'
            f'<xades:SignedProperties Id="xades-{identifier}"><xades:SignedSignatureProperties>'
            f'<xades:SigningTime>{signing_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</xades:SigningTime>'
            f'<xades:SigningCertificateV2><xades:Cert><xades:CertDigest><ds:DigestMethod xmlns:ds="{DS}" Algorithm="{_SHA512}"/>'
            f'<ds:DigestValue xmlns:ds="{DS}">{digest}</ds:DigestValue></xades:CertDigest>'
            f'<xades:IssuerSerialV2>{_issuer_serial(certificate)}</xades:IssuerSerialV2></xades:Cert>'
            '</xades:SigningCertificateV2></xades:SignedSignatureProperties><xades:SignedDataObjectProperties>'
            f'<xades:DataObjectFormat ObjectReference="#r-{identifier}-1"><xades:MimeType>text/xml</xades:MimeType>'
            '</xades:DataObjectFormat></xades:SignedDataObjectProperties></xades:SignedProperties>'
            '</xades:QualifyingProperties>')


def _reference(attributes: str, transforms: str, octets: bytes) -> str:
    return (f'<ds:Reference {attributes}><ds:Transforms>{transforms}<ds:Transform Algorithm="{EXC_C14N}"/>'
            f'</ds:Transforms><ds:DigestMethod Algorithm="{_SHA256}"/>'
            f'<ds:DigestValue>{_b64(hashlib.sha256(octets).digest())}</ds:DigestValue></ds:Reference>')


def _signed_info(identifier: str, root: etree._Element, properties: str, method: str) -> str:
    signed_properties = etree.fromstring(properties)[0]  # written above, not read from outside
    removal = (f'<ds:Transform Algorithm="{FILTER2}"><dsig-filter2:XPath xmlns:dsig-filter2="{FILTER2}" '
               f'Filter="subtract">{SUBTRACT}</dsig-filter2:XPath></ds:Transform>')
    return (f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXC_C14N}"/><ds:SignatureMethod Algorithm="{method}"/>'
            + _reference(f'Id="r-{identifier}-1" URI=""', removal, _canonical(root.getroottree()))
            + _reference(f'Type="{SIGNED_PROPERTIES}" URI="#xades-{identifier}"', "", _canonical(signed_properties))
            + "</ds:SignedInfo>")


def _sign(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, octets: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
    first, second = utils.decode_dss_signature(key.sign(octets, ec.ECDSA(hashes.SHA256())))
    half = (key.curve.key_size + 7) // 8  # RFC 9231 §2.3.6
    return first.to_bytes(half, "big") + second.to_bytes(half, "big")


def _insert(raw: bytes, signature: bytes) -> bytes:
    """Put the signature before the root's end tag. Raises InputFault when the file has no such end to insert at."""
    tail = raw.rfind(b"</")
    signed = raw[:tail] + signature + raw[tail:]
    try:
        if tail >= 0 and parse_xml(signed, max_bytes=MAX_BYTES)[-1].tag == f"{{{DS}}}Signature":
            return signed
    except (InputFault, IndexError):
        pass
    raise InputFault("list has no end tag to sign before", rule="LB-FORME", remedy="end the file with its root's end tag")


def sign_list(raw: bytes, certificate: x509.Certificate, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
              signing_time: datetime, *, chain: Sequence[x509.Certificate] = ()) -> bytes:
    """Give `raw` (an unsigned list, UTF-8, at most 64 MiB) with its signature as last child of the root.

    signing_time: aware, kept to the second; chain: further certificates for KeyInfo, issuer first (EN 319 132-1, F1.12).
    Raises InputFault when it is signed already (`LB-SIGNATURE-MANY`), cannot be read (`XML-…`) or ends oddly (`LB-FORME`).
    """
    root = parse_xml(raw, max_bytes=MAX_BYTES)
    if next(root.iter(f"{{{DS}}}Signature"), None) is not None:
        raise InputFault("list is signed already", rule="LB-SIGNATURE-MANY")
    der = certificate.public_bytes(Encoding.DER)
    stamp = f"{signing_time.astimezone(UTC):%Y%m%d%H%M%S}".encode()
    identifier = "id-" + hashlib.sha256(raw + der + stamp).hexdigest()[:32]
    properties = _properties(identifier, certificate, signing_time)
    method = _RSA_SHA256 if isinstance(key, rsa.RSAPrivateKey) else _ECDSA_SHA256
    signed_info = _signed_info(identifier, root, properties, method)
    head = f'<ds:Signature xmlns:ds="{DS}" Id="{identifier}">'
    octets = _canonical(etree.fromstring(f"{head}{signed_info}</ds:Signature>")[0])
    certificates = "".join(f"<ds:X509Certificate>{_b64(one.public_bytes(Encoding.DER))}</ds:X509Certificate>"
                           for one in (certificate, *chain))
    signature = (f'{head}{signed_info}<ds:SignatureValue Id="value-{identifier}">{_b64(_sign(key, octets))}</ds:SignatureValue>'
                 f'<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo>'
                 f'<ds:Object>{properties}</ds:Object></ds:Signature>')
    return _insert(raw, signature.encode())

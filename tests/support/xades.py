"""A signer that does what it is told, for tests of the verifier: any algorithm, any reference, any covered octets.

Written apart from `mssante.trust.signing`, so that the verifier is not tested against its own twin alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
SHA1 = DS + "sha1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_DIGESTS = {SHA1: hashlib.sha1, SHA256: hashlib.sha256, DS + "md5": hashlib.md5}


def b64(data: bytes) -> str:
    """Give base64 text."""
    return base64.b64encode(data).decode()


def filter2(path: str = "/descendant::ds:Signature", kind: str = "subtract", namespace: str = DS) -> str:
    """Give an XPath Filter 2.0 transform."""
    return (f'<ds:Transform Algorithm="{FILTER2}"><f2:XPath xmlns:f2="{FILTER2}" xmlns:ds="{namespace}" Filter="{kind}">{path}'
            '</f2:XPath></ds:Transform>')


def transform(algorithm: str, content: str = "") -> str:
    """Give a transform."""
    return f'<ds:Transform Algorithm="{algorithm}">{content}</ds:Transform>'


def pkcs1(key: RSAPrivateKey, octets: bytes) -> bytes:
    """Sign with RSA and SHA-256."""
    return key.sign(octets, padding.PKCS1v15(), hashes.SHA256())


def canonical(element: etree._Element) -> bytes:
    """Give the exclusive canonical form of an element."""
    return etree.tostring(element, method="c14n", exclusive=True)


@dataclass(frozen=True)
class Forge:
    """How to sign. covered: octets whose digest stands in the document reference (None: the whole file); references:
    changes the two references; changed: changes the finished signature (its value stays)."""

    certificate: x509.Certificate
    key: RSAPrivateKey
    signing_time: str = "2026-03-01T12:00:00Z"
    uri: str | None = ""
    transforms: str = field(default_factory=lambda: filter2() + transform(EXC))
    digest: str = SHA256
    canonicalisation: str = EXC
    method: str = RSA_SHA256
    method_content: str = ""
    covered: bytes | None = None
    named: x509.Certificate | None = None
    key_info: Sequence[x509.Certificate] | None = None
    properties_transforms: str = field(default_factory=lambda: transform(EXC))
    references: Callable[[str, str], str] = lambda document, properties: document + properties
    sign: Callable[[RSAPrivateKey, bytes], bytes] = pkcs1
    info_octets: Callable[[etree._Element], bytes] = canonical
    properties_digest: str = SHA256
    certificate_digest: str = SHA256

    def _reference(self, attributes: str, transforms: str, digest: str, octets: bytes) -> str:
        return (f'<ds:Reference {attributes}><ds:Transforms>{transforms}</ds:Transforms><ds:DigestMethod Algorithm="{digest}"/>'
                f'<ds:DigestValue>{b64(_DIGESTS[digest](octets).digest())}</ds:DigestValue></ds:Reference>')

    def _properties(self) -> str:
        der = (self.named or self.certificate).public_bytes(Encoding.DER)
        return (f'<x:QualifyingProperties xmlns:x="{XADES}" Target="#sig"><x:SignedProperties Id="props">'
                f'<x:SignedSignatureProperties><x:SigningTime>{self.signing_time}</x:SigningTime><x:SigningCertificateV2><x:Cert>'
                f'<x:CertDigest><ds:DigestMethod xmlns:ds="{DS}" Algorithm="{self.certificate_digest}"/>'
                f'<ds:DigestValue xmlns:ds="{DS}">{b64(_DIGESTS[self.certificate_digest](der).digest())}</ds:DigestValue>'
                '</x:CertDigest></x:Cert></x:SigningCertificateV2></x:SignedSignatureProperties></x:SignedProperties>'
                '</x:QualifyingProperties>')

    def signature(self, raw: bytes) -> bytes:
        """Give the Signature element for a list."""
        parser = etree.XMLParser(remove_comments=True, resolve_entities=False)
        covered = self.covered if self.covered is not None else canonical(etree.fromstring(raw, parser))
        properties = self._properties()
        uri = "" if self.uri is None else f'URI="{self.uri}"'
        document = self._reference(uri, self.transforms, self.digest, covered)
        about = self._reference(f'Type="{PROPERTIES_TYPE}" URI="#props"', self.properties_transforms, self.properties_digest,
                                canonical(etree.fromstring(properties)[0]))
        info = (f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{self.canonicalisation}"/>'
                f'<ds:SignatureMethod Algorithm="{self.method}">{self.method_content}</ds:SignatureMethod>'
                f'{self.references(document, about)}</ds:SignedInfo>')
        head = f'<ds:Signature xmlns:ds="{DS}" Id="sig">'
        value = self.sign(self.key, self.info_octets(etree.fromstring(f"{head}{info}</ds:Signature>")[0]))
        held = "".join(f"<ds:X509Certificate>{b64(one.public_bytes(Encoding.DER))}</ds:X509Certificate>"
                       for one in (self.key_info if self.key_info is not None else (self.certificate,)))
        return (f"{head}{info}<ds:SignatureValue>{b64(value)}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{held}</ds:X509Data>"
                f"</ds:KeyInfo><ds:Object>{properties}</ds:Object></ds:Signature>").encode()

    def list(self, raw: bytes) -> bytes:
        """Give a list with its signature as last child of the root."""
        end = raw.rindex(b"</")
        return raw[:end] + self.signature(raw) + raw[end:]


def stamp(instant: datetime) -> str:
    """Give the text of a SigningTime."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

"""Is a mail certificate admitted? S/MIME's question put to the trust in force (`trust.path`, spec §3.3, RFC 8550 §4).

- Admitted authorities are those of the operator's anchors whose CN stands in `smime.issuers`; each under a pinned root. What a
  message brings as intermediates is not needed and not used: IGC-Santé issuers have no authority below them (F3.2).
- Dates, usage, keys, revocation of the certificate by the CRLs in force and of its authority by the root's. A state that cannot
  be told is `SMIME-REVOCATION`, never "good". OCSP is not asked: with `trust.revocation = "ocsp"` the CRLs are needed too.
- In production, certificates of the TEST categories admit nobody (F3.11).
- Pure reads of a snapshot: any thread may ask. Called by `opening`, `sealing`, `cli/smime`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509

from mssante.services.truststate import TrustSnapshot
from mssante.smime.values import SmimeCode
from mssante.trust.anchors import READ_FAULTS, TrustAnchors, common_name
from mssante.trust.crl import RevocationStatus, distribution_points
from mssante.trust.path import PathCode, PathResult, PathRules, Purpose, validate_path
from mssante.trust.peer import PRODUCT_CATEGORY

_CODES = {
    PathCode.VALID: SmimeCode.VALID, PathCode.EXPIRED: SmimeCode.EXPIRED, PathCode.NOT_YET: SmimeCode.EXPIRED,
    PathCode.REVOKED: SmimeCode.REVOKED, PathCode.REVOCATION: SmimeCode.REVOCATION_UNKNOWN, PathCode.PURPOSE: SmimeCode.USAGE,
    PathCode.ALGORITHM: SmimeCode.ALGORITHM, PathCode.UNREADABLE: SmimeCode.UNREADABLE, PathCode.LIMIT: SmimeCode.LIMIT,
}


class MailTrust:
    """Decides on certificates of correspondents."""

    def __init__(self, snapshot: Callable[[], TrustSnapshot], issuer_cns: Sequence[str]) -> None:
        """snapshot: the trust in force; issuer_cns: CN of the authorities admitted for mail, compared exactly."""
        self._snapshot = snapshot
        self._cns = frozenset(issuer_cns)
        self._known: tuple[TrustAnchors, TrustAnchors] | None = None

    def anchors(self) -> TrustAnchors:
        """Give the anchors for mail: the pinned roots, and the admitted authorities under them."""
        whole = self._snapshot().anchors
        known = self._known
        if known is None or known[0] is not whole:
            issuers = tuple(one for one in (*whole.issuers, *whole.watched) if common_name(one.subject) in self._cns)
            known = self._known = (whole, TrustAnchors(whole.roots, issuers))
        return known[1]

    def judge(self, certificate: x509.Certificate, purpose: Purpose, at: datetime) -> PathResult:
        """Give the whole result for a certificate at an instant, with what a reader may want to know."""
        anchors = self.anchors()
        tops = anchors.roots or anchors.issuers
        return validate_path(certificate, anchors.issuers, tops, at, rules=PathRules(purpose=purpose, status=self._status))

    def check_signer(self, certificate: x509.Certificate, others: Sequence[x509.Certificate], at: datetime) -> SmimeCode:
        """Decide on who signed (`smime.values.CertificateCheck`)."""
        return self._code(certificate, Purpose.SIGN_MAIL, at)

    def check_recipient(self, certificate: x509.Certificate, at: datetime) -> SmimeCode:
        """Decide whether a message may be encrypted for a certificate."""
        return self._code(certificate, Purpose.ENCRYPT_MAIL, at)

    def _code(self, certificate: x509.Certificate, purpose: Purpose, at: datetime) -> SmimeCode:
        code = _CODES.get(self.judge(certificate, purpose, at).code, SmimeCode.CHAIN)
        if code is SmimeCode.VALID and self._snapshot().peer_policy.production and _is_test(certificate):
            return SmimeCode.CHAIN
        return code

    def _status(self, certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> RevocationStatus:
        """Tell the state of one link: of a certificate by its authority's CRLs, of an authority by the root's (F3.3)."""
        snapshot, anchors = self._snapshot(), self.anchors()
        if certificate in anchors.issuers:
            revoked = snapshot.crls.authority_revoked(certificate, anchors)
            return RevocationStatus.REVOKED if revoked else RevocationStatus.GOOD
        return snapshot.crls.status(certificate.serial_number, issuer, at, snapshot.peer_policy.crl_grace,
                                    distribution_points(certificate))


def _is_test(certificate: x509.Certificate) -> bool:
    """True for the TEST categories 80 to 8F, and for a category that cannot be read (F3.11: OCTET STRING of one octet)."""
    try:
        value = certificate.extensions.get_extension_for_oid(PRODUCT_CATEGORY).value
    except x509.ExtensionNotFound:
        return False
    except READ_FAULTS:
        return True
    octets = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    return len(octets) != 3 or octets[:2] != b"\x04\x01" or bool(octets[2] & 0x80)

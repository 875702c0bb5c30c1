"""Path validation (RFC 5280 §6) from a certificate to a LIST of anchors, through a bag of intermediates in any order.

- Keys decide: a candidate counts only once its signature was verified. The search is bounded (depth 10, 200 tries), so that
  a bag made to be walked for ever ends in `CHEMIN-LIMITE`.
- From the anchor down: dates, basicConstraints, path length, keyCertSign, name constraints, certificate policies (initial
  any-policy), unknown critical extensions, state of revocation of every link by callback. What is not processed is refused.
- An anchor is no more than its name and key, but what it says of itself is obeyed too: dates, CA, path length, names.
- Several anchors of one name, cross certificates and rolled-over authorities are walked: one good path is enough, and when
  none is, the result tells of the path that came farthest.
- Never fetches a certificate, never reads a URL in one. Called by S/MIME (services), `cli`, and whoever judges a chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mssante.trust.anchors import READ_FAULTS, certificate_id, check_readable, common_name
from mssante.trust.crl import RevocationStatus
from mssante.trust.pathnames import NameConstraintState, NormalName, normal_name
from mssante.trust.pathpolicy import PolicyState
from mssante.trust.pathvalues import (
    MAX_CERTIFICATE,
    MAX_INTERMEDIATES,
    PathCode,
    PathFault,
    PathResult,
    PathRules,
    Purpose,
)

__all__ = ["PathCode", "PathResult", "PathRules", "Purpose", "validate_path"]

_MAX_RSA_BITS = 16384  # beyond it a verification costs more than a message
_POLICY_MAPPINGS = x509.ObjectIdentifier("2.5.29.33")
_PROCESSED = frozenset({
    ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.INHIBIT_ANY_POLICY, ExtensionOID.NAME_CONSTRAINTS, ExtensionOID.ISSUER_ALTERNATIVE_NAME, _POLICY_MAPPINGS})
_EKU = {Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
        Purpose.SIGN_MAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION, Purpose.ENCRYPT_MAIL: ExtendedKeyUsageOID.EMAIL_PROTECTION}
_PATH_RANK = {PathCode.ISSUER: 0, PathCode.SIGNATURE: 1, PathCode.ALGORITHM: 1}


def validate_path(leaf: x509.Certificate, intermediates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate],
                  at: datetime, *, rules: PathRules | None = None) -> PathResult:
    """Find and judge a path from `leaf` to one of `anchors` at an instant (aware, UTC).

    intermediates: at most 1000, in any order, untrusted; anchors: trusted, roots or not. Never raises for what a certificate
    holds: the result tells.
    """
    search = _Search(intermediates, anchors, at, rules or PathRules())
    return search.run(leaf)


class _Search:
    """One search: the bags by name, the budget, the failure that came farthest."""

    def __init__(self, intermediates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], at: datetime,
                 rules: PathRules) -> None:
        self._rules = rules
        self._at = at
        self._tries = 0
        self._spent = False
        self._anchors = _by_name(anchors)
        self._bag = _by_name(intermediates[:MAX_INTERMEDIATES])
        self._too_many = len(intermediates) > MAX_INTERMEDIATES
        self._worst: tuple[int, int, PathResult] | None = None

    def run(self, leaf: x509.Certificate) -> PathResult:
        """Give the result."""
        if self._too_many:
            return PathResult(PathCode.LIMIT, (leaf,), detail="intermediates")
        try:
            check_readable(leaf)
            if len(leaf.public_bytes(Encoding.DER)) > MAX_CERTIFICATE:
                return PathResult(PathCode.LIMIT, (leaf,), detail="certificate size")
            found = self._walk((leaf,))
        except READ_FAULTS:
            return PathResult(PathCode.UNREADABLE, (leaf,))
        if found is not None:
            return found
        if self._spent:
            return PathResult(PathCode.LIMIT, (leaf,), detail="tries", tries=self._tries)
        if self._worst is None:
            return PathResult(PathCode.ISSUER, (leaf,), common_name(leaf.subject), _shown(leaf.issuer), tries=self._tries)
        return self._worst[2]

    def _walk(self, path: tuple[x509.Certificate, ...]) -> PathResult | None:
        """Extend a path whose signatures are good; give the first valid result."""
        last = path[-1]
        wanted = normal_name(last.issuer)
        for anchor in self._signers(last, self._anchors.get(wanted, ()), path):
            result = self._judge((*path, anchor))
            if result is not None:
                return result
        if len(path) > self._rules.depth:
            self._note(PathResult(PathCode.LIMIT, path, common_name(last.subject), "depth"))
            return None
        candidates = self._bag.get(wanted, ())
        if not candidates and wanted not in self._anchors:
            self._note(PathResult(PathCode.ISSUER, path, common_name(last.subject), _shown(last.issuer)))
        for issuer in self._signers(last, candidates, path):
            result = self._walk((*path, issuer))
            if result is not None:
                return result
        return None

    def _signers(self, child: x509.Certificate, candidates: Sequence[x509.Certificate],
                 path: tuple[x509.Certificate, ...]) -> Iterator[x509.Certificate]:
        """Give the candidates, not in the path yet, whose key signed the child."""
        for candidate in candidates:
            if candidate in path:
                continue
            if not self._spend():
                return
            code = _signed_by(child, candidate, self._rules)
            if code is None:
                yield candidate
            else:
                self._note(PathResult(code, (*path, candidate), common_name(child.subject), _shown(child.issuer)))

    def _spend(self) -> bool:
        self._tries += 1
        self._spent = self._spent or self._tries > self._rules.tries
        return not self._spent

    def _judge(self, path: tuple[x509.Certificate, ...]) -> PathResult | None:
        if not self._spend():
            return None
        try:
            policies = _process(path, self._at, self._rules)
        except PathFault as fault:
            culprit = common_name(fault.certificate.subject) if fault.certificate is not None else ""
            self._note(PathResult(fault.code, path, culprit, fault.detail))
            return None
        except READ_FAULTS:
            self._note(PathResult(PathCode.UNREADABLE, path))
            return None
        return PathResult(PathCode.VALID, path, policies=policies, tries=self._tries)

    def _note(self, result: PathResult) -> None:
        """Keep the failure that tells most: a whole path first, then the longest."""
        rank = (_PATH_RANK.get(result.code, 2), len(result.path))
        if self._worst is None or rank > self._worst[:2]:
            self._worst = (*rank, result)


def _by_name(certificates: Sequence[x509.Certificate]) -> dict[NormalName, list[x509.Certificate]]:
    """Sort a bag by subject, doubles and what cannot be read left out."""
    found: dict[NormalName, list[x509.Certificate]] = {}
    seen: set[str] = set()
    for one in certificates:
        try:
            check_readable(one)
            mark = certificate_id(one)
            if mark in seen or len(one.public_bytes(Encoding.DER)) > MAX_CERTIFICATE:
                continue
            found.setdefault(normal_name(one.subject), []).append(one)
        except READ_FAULTS:
            continue
        seen.add(mark)
    return found


def _shown(name: x509.Name) -> str:
    return common_name(name) or name.rfc4514_string()[:120]


def _signed_by(child: x509.Certificate, issuer: x509.Certificate, rules: PathRules) -> PathCode | None:
    """Verify one signature (RFC 5280 §6.1.3 a 1); give None, or why not."""
    try:
        key = issuer.public_key()
        named = child.signature_hash_algorithm
        if not isinstance(named, rules.hashes) or not _strong(key, rules):
            return PathCode.ALGORITHM
        if isinstance(key, rsa.RSAPublicKey):
            parameters = child.signature_algorithm_parameters
            if not isinstance(parameters, padding.PKCS1v15 | padding.PSS):
                return PathCode.ALGORITHM
            key.verify(child.signature, child.tbs_certificate_bytes, parameters, named)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(child.signature, child.tbs_certificate_bytes, ec.ECDSA(named))
    except InvalidSignature:
        return PathCode.SIGNATURE
    except READ_FAULTS:
        return PathCode.ALGORITHM
    return None


def _strong(key: object, rules: PathRules) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return rules.rsa_bits <= key.key_size <= _MAX_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)


def _process(path: tuple[x509.Certificate, ...], at: datetime, rules: PathRules) -> frozenset[str]:
    """Judge a whole path, leaf first, anchor last, signatures good already; give the leaf's policies. Raises PathFault."""
    anchor, below = path[-1], tuple(reversed(path[:-1]))
    names, policy = NameConstraintState(), PolicyState(len(below))
    _check_dates(anchor, at)
    _check_critical(anchor)
    left = _room(anchor, len(below))
    names.add(anchor)
    issuer = anchor
    server = rules.purpose is Purpose.SERVER
    for rank, certificate in enumerate(below):
        final = rank == len(below) - 1
        self_issued = normal_name(certificate.subject) == normal_name(certificate.issuer)
        _check_dates(certificate, at)
        _check_critical(certificate)
        if final or not self_issued:
            names.check(certificate, server=server and final)
        policy.take(certificate, final=final, self_issued=self_issued)
        if not final:
            names.add(certificate)
            if not self_issued:
                if left <= 0:
                    raise PathFault(PathCode.LENGTH, certificate, "pathLenConstraint")
                left -= 1
            left = min(left, _room(certificate, left))
            _check_extended(certificate, rules.purpose)
        _check_status(certificate, issuer, at, rules)
        issuer = certificate
    _check_leaf(below[-1], rules)
    return policy.policies


def _check_dates(certificate: x509.Certificate, at: datetime) -> None:
    if at > certificate.not_valid_after_utc:
        raise PathFault(PathCode.EXPIRED, certificate, f"{certificate.not_valid_after_utc:%Y-%m-%d}")
    if at < certificate.not_valid_before_utc:
        raise PathFault(PathCode.NOT_YET, certificate, f"{certificate.not_valid_before_utc:%Y-%m-%d}")


def _room(authority: x509.Certificate, most: int) -> int:
    """Give how many authorities may follow (at most `most`). Raises PathFault when it is none (RFC 5280 §6.1.4 k, m, n)."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise PathFault(PathCode.AUTHORITY, authority, "no basicConstraints") from None
    if not constraints.ca:
        raise PathFault(PathCode.AUTHORITY, authority, "basicConstraints CA:FALSE")
    for extension in authority.extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.key_cert_sign:
            raise PathFault(PathCode.AUTHORITY, authority, "keyUsage without keyCertSign")
    return most if constraints.path_length is None else min(most, constraints.path_length)


def _check_critical(certificate: x509.Certificate) -> None:
    """RFC 5280 §4.2: an unknown critical extension refuses; version 1 certificates are leaves at most."""
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _PROCESSED:
            raise PathFault(PathCode.CRITICAL, certificate, extension.oid.dotted_string)


def _check_extended(authority: x509.Certificate, purpose: Purpose) -> None:
    """An authority that limits its own extended usages limits those below it: what browsers and OpenSSL do too."""
    wanted = _EKU.get(purpose)
    for extension in authority.extensions:
        value = extension.value
        if wanted is not None and isinstance(value, x509.ExtendedKeyUsage) and not _grants(value, wanted):
            raise PathFault(PathCode.PURPOSE, authority, "extendedKeyUsage")


def _grants(usage: x509.ExtendedKeyUsage, wanted: x509.ObjectIdentifier) -> bool:
    return wanted in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _check_status(certificate: x509.Certificate, issuer: x509.Certificate, at: datetime, rules: PathRules) -> None:
    if rules.status is None:
        return
    status = rules.status(certificate, issuer, at)
    if status is RevocationStatus.REVOKED:
        raise PathFault(PathCode.REVOKED, certificate, f"{certificate.serial_number:x}")
    if status is not RevocationStatus.GOOD:
        raise PathFault(PathCode.REVOCATION, certificate, _shown(issuer.subject))


def _check_leaf(leaf: x509.Certificate, rules: PathRules) -> None:
    """Key and usages of the leaf for the purpose (RFC 5280 §4.2.1.3, §4.2.1.12; RFC 8550 §4.4)."""
    try:
        strong = _strong(leaf.public_key(), rules)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        strong = False
    if not strong:
        raise PathFault(PathCode.ALGORITHM, leaf, "public key")
    if rules.purpose is Purpose.ANY:
        return
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not _usable(value, rules.purpose):
            raise PathFault(PathCode.PURPOSE, leaf, "keyUsage")
        if isinstance(value, x509.ExtendedKeyUsage) and not _grants(value, _EKU[rules.purpose]):
            raise PathFault(PathCode.PURPOSE, leaf, "extendedKeyUsage")
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise PathFault(PathCode.PURPOSE, leaf, "basicConstraints CA:TRUE")


def _usable(usage: x509.KeyUsage, purpose: Purpose) -> bool:
    if purpose is Purpose.ENCRYPT_MAIL:
        return usage.key_encipherment or usage.key_agreement
    if purpose is Purpose.SIGN_MAIL:
        return usage.digital_signature or usage.content_commitment
    return usage.digital_signature

"""Certificate policies of a path: the valid policy graph (RFC 5280 §6.1.3 d-f, §6.1.4 a-b and h-j, as RFC 9618 §5 rewrote it).

- A graph, not a tree: one node for each policy of a depth, so that hostile mappings cannot make it grow exponentially.
- The initial policy set is any-policy; nothing is asked for at the start (no initial-explicit-policy): what the certificates
  themselves demand (requireExplicitPolicy, inhibitAnyPolicy, inhibitPolicyMapping) is obeyed.
- Pure; driven certificate by certificate from the anchor down. Called by `path`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from asn1crypto import x509 as asn1
from cryptography import x509

from mssante.trust.pathvalues import PathCode, PathFault

ANY = "2.5.29.32.0"
MAPPINGS = "2.5.29.33"
MAX_POLICIES = 256


@dataclass(slots=True)
class _Node:
    expected: set[str]
    parents: set[str] = field(default_factory=set)


_Level = dict[str, _Node]


class PolicyState:
    """The variables of RFC 5280 §6.1.2 that policies need."""

    def __init__(self, length: int) -> None:
        """length: certificates of the path, without the anchor."""
        self._explicit = self._inhibit_any = self._mapping = length + 1
        self._levels: list[_Level] | None = [{ANY: _Node({ANY})}]

    @property
    def policies(self) -> frozenset[str]:
        """The policies valid for the last certificate taken in."""
        return frozenset(self._levels[-1]) if self._levels else frozenset()

    def take(self, certificate: x509.Certificate, *, final: bool, self_issued: bool) -> None:
        """Take the next certificate in. Raises PathFault."""
        self._certificate_policies(certificate, any_counts=self._inhibit_any > 0 or (not final and self_issued))
        self._demand(certificate)
        if not final:
            self._mappings(certificate)
        if final or not self_issued:
            self._explicit = max(self._explicit - 1, 0)
            self._mapping = max(self._mapping - 1, 0)
            self._inhibit_any = max(self._inhibit_any - 1, 0)
        self._constraints(certificate, final=final)
        if final:
            self._demand(certificate)

    def _demand(self, certificate: x509.Certificate) -> None:
        if self._explicit == 0 and self._levels is None:
            raise PathFault(PathCode.POLICY, certificate, "no explicit policy")

    def _certificate_policies(self, certificate: x509.Certificate, *, any_counts: bool) -> None:
        if self._levels is None:
            return
        try:
            found = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
        except x509.ExtensionNotFound:
            self._levels = None
            return
        named = {one.policy_identifier.dotted_string for one in found}
        if len(named) > MAX_POLICIES:
            raise PathFault(PathCode.LIMIT, certificate, "certificate policies")
        above = self._levels[-1]
        by_expected: dict[str, set[str]] = {}
        for policy, node in above.items():
            for expected in node.expected:
                by_expected.setdefault(expected, set()).add(policy)
        level: _Level = {}
        for policy in named - {ANY}:
            parents = by_expected.get(policy) or ({ANY} if ANY in above else set())
            if parents:
                level[policy] = _Node({policy}, set(parents))
        if ANY in named and any_counts:
            for expected, parents in by_expected.items():
                if expected not in level:
                    level[expected] = _Node({expected}, set(parents))
        self._levels.append(level)
        self._prune()

    def _prune(self) -> None:
        """Remove the nodes above the last level that lead nowhere; an empty graph is none at all."""
        levels = self._levels
        if levels is None:
            return
        for above, below in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
            alive = {parent for node in below.values() for parent in node.parents}
            for policy in set(above) - alive:
                del above[policy]
        if not levels[0] or not levels[-1]:
            self._levels = None

    def _mappings(self, certificate: x509.Certificate) -> None:
        """RFC 5280 §6.1.4 a-b."""
        mapped = _read_mappings(certificate)
        for own, theirs in mapped.items():
            if self._levels is None:
                return
            level = self._levels[-1]
            if self._mapping == 0:
                level.pop(own, None)
                self._prune()
            elif own in level:
                level[own].expected = set(theirs)
            elif ANY in level:
                level[own] = _Node(set(theirs), set(level[ANY].parents))

    def _constraints(self, certificate: x509.Certificate, *, final: bool) -> None:
        """RFC 5280 §6.1.4 i-j; of the last certificate only requireExplicitPolicy 0 counts (§6.1.5 b)."""
        for extension in certificate.extensions:
            value = extension.value
            if isinstance(value, x509.PolicyConstraints):
                explicit = value.require_explicit_policy
                if explicit is not None and (not final or explicit == 0):
                    self._explicit = min(self._explicit, explicit)
                if value.inhibit_policy_mapping is not None and not final:
                    self._mapping = min(self._mapping, value.inhibit_policy_mapping)
            elif isinstance(value, x509.InhibitAnyPolicy) and not final:
                self._inhibit_any = min(self._inhibit_any, value.skip_certs)


def _read_mappings(certificate: x509.Certificate) -> dict[str, set[str]]:
    """Give issuerDomainPolicy -> subjectDomainPolicies. Raises PathFault: anyPolicy may not be mapped."""
    found = [one.value for one in certificate.extensions if one.oid.dotted_string == MAPPINGS]
    if not found:
        return {}
    try:
        raw = found[0].value if isinstance(found[0], x509.UnrecognizedExtension) else b""
        pairs = [(one["issuer_domain_policy"].dotted, one["subject_domain_policy"].dotted)
                 for one in asn1.PolicyMappings.load(raw, strict=True)]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        raise PathFault(PathCode.UNREADABLE, certificate, "policyMappings") from exc
    if len(pairs) > MAX_POLICIES:
        raise PathFault(PathCode.LIMIT, certificate, "policyMappings")
    mapped: dict[str, set[str]] = {}
    for own, theirs in pairs:
        if ANY in (own, theirs):
            raise PathFault(PathCode.POLICY, certificate, "anyPolicy is mapped")
        mapped.setdefault(own, set()).add(theirs)
    return mapped

"""Names of a path: comparison of distinguished names (RFC 5280 §7.1) and name constraints (§4.2.1.10).

- Constraints on directory names, mail addresses, DNS names, URIs and IP addresses are processed. A constraint of another
  form refuses every certificate below it that bears a name of that form, and a name that cannot be judged is refused.
- Mail addresses in the subject, and host names in the CN of a server, are held to the constraints too: others read them.
- Bounded: at most 256 names a certificate and 256 subtrees an authority; never a regular expression on hostile text.
- Pure. Called by `path`.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.trust.pathvalues import PathCode, PathFault

MAX_NAMES = 256
NormalName = tuple[frozenset[tuple[str, str]], ...]


def normal_name(name: x509.Name) -> NormalName:
    """Give the form of a DN under which it is compared: NFKC, case-folded, blanks collapsed, whatever its string types."""
    return tuple(frozenset((one.oid.dotted_string, _normal(one.value)) for one in rdn) for rdn in name.rdns)


def _normal(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).split())


@dataclass(frozen=True, slots=True)
class LeafNames:
    """The names of a certificate, by the type of GeneralName that holds them."""

    directory: tuple[x509.Name, ...]
    mail: tuple[str, ...]
    dns: tuple[str, ...]
    uri: tuple[str, ...]
    ip: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]
    others: frozenset[type[x509.GeneralName]] = field(default_factory=frozenset)


def names_of(certificate: x509.Certificate, *, server: bool) -> LeafNames:
    """Give the names to be judged. server: the CN is read as a host name when no dNSName stands beside it.

    Raises PathFault (`LIMIT`).
    """
    try:
        found = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        found = []
    if len(found) > MAX_NAMES or len(list(certificate.subject)) > MAX_NAMES:
        raise PathFault(PathCode.LIMIT, certificate, "subjectAltName")
    dns = [one.value for one in found if isinstance(one, x509.DNSName)]
    if server and not dns:
        dns = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME) if "." in str(one.value)]
    mail = [one.value for one in found if isinstance(one, x509.RFC822Name)]
    mail += [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    directory = [one.value for one in found if isinstance(one, x509.DirectoryName)]
    known = (x509.DNSName, x509.RFC822Name, x509.DirectoryName, x509.UniformResourceIdentifier, x509.IPAddress)
    return LeafNames(
        (*([certificate.subject] if list(certificate.subject) else []), *directory), tuple(mail), tuple(dns),
        tuple(one.value for one in found if isinstance(one, x509.UniformResourceIdentifier)),
        tuple(one.value for one in found if isinstance(one, x509.IPAddress)
              and isinstance(one.value, ipaddress.IPv4Address | ipaddress.IPv6Address)),
        frozenset(type(one) for one in found if not isinstance(one, known)))


class NameConstraintState:
    """permitted_subtrees and excluded_subtrees of RFC 5280 §6.1.2: every authority's lists, kept apart."""

    def __init__(self) -> None:
        self._permitted: list[Sequence[x509.GeneralName]] = []
        self._excluded: list[x509.GeneralName] = []

    def add(self, certificate: x509.Certificate) -> None:
        """Take in the constraints of an authority (RFC 5280 §6.1.4 g). Raises PathFault (`LIMIT`)."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return
        permitted, excluded = list(found.permitted_subtrees or ()), list(found.excluded_subtrees or ())
        if len(permitted) + len(excluded) > MAX_NAMES:
            raise PathFault(PathCode.LIMIT, certificate, "nameConstraints")
        if permitted:
            self._permitted.append(permitted)
        self._excluded += excluded

    def check(self, certificate: x509.Certificate, *, server: bool) -> None:
        """Check the names of a certificate (RFC 5280 §6.1.3 b-c). Raises PathFault (`NAMES`)."""
        if not self._permitted and not self._excluded:
            return
        names = names_of(certificate, server=server)
        for one in self._excluded:
            if not _known(one):
                _refuse_others(certificate, one, names)
            elif _touches(one, names):
                raise PathFault(PathCode.NAMES, certificate, f"excluded subtree {_shown(one)}")
        for subtrees in self._permitted:
            _check_permitted(certificate, subtrees, names)


def _check_permitted(certificate: x509.Certificate, subtrees: Sequence[x509.GeneralName], names: LeafNames) -> None:
    """Every name of a form that the list speaks of must be in one of its subtrees."""
    for one in subtrees:
        if not _known(one):
            _refuse_others(certificate, one, names)
    for form, values in (
            (x509.DirectoryName, names.directory), (x509.RFC822Name, names.mail), (x509.DNSName, names.dns),
            (x509.UniformResourceIdentifier, names.uri), (x509.IPAddress, names.ip)):
        own = [one for one in subtrees if isinstance(one, form)]
        if own and not all(any(_within(one, value) for one in own) for value in values):
            raise PathFault(PathCode.NAMES, certificate, f"outside permitted subtree {_shown(own[0])}")


def _known(subtree: x509.GeneralName) -> bool:
    return isinstance(subtree, x509.DirectoryName | x509.RFC822Name | x509.DNSName | x509.UniformResourceIdentifier
                      | x509.IPAddress)


def _refuse_others(certificate: x509.Certificate, subtree: x509.GeneralName, names: LeafNames) -> None:
    if type(subtree) in names.others:
        raise PathFault(PathCode.NAMES, certificate, f"constraint on {type(subtree).__name__} cannot be judged")


def _shown(subtree: x509.GeneralName) -> str:
    value = subtree.value
    return (value.rfc4514_string() if isinstance(value, x509.Name) else str(value))[:120]


def _touches(subtree: x509.GeneralName, names: LeafNames) -> bool:
    """Tell whether an excluded subtree holds one of the names; a name that cannot be judged counts as held."""
    if isinstance(subtree, x509.DirectoryName):
        return any(_within(subtree, one) for one in names.directory)
    if isinstance(subtree, x509.RFC822Name):
        return any(_within(subtree, one) or "@" not in one for one in names.mail)
    if isinstance(subtree, x509.DNSName):
        return any(_within(subtree, one) or _covers(one, subtree.value) for one in names.dns)
    if isinstance(subtree, x509.UniformResourceIdentifier):
        return any(_within(subtree, one) or not _uri_host(one) for one in names.uri)
    return any(_within(subtree, one) for one in names.ip)


def _covers(name: str, excluded: str) -> bool:
    """Tell whether a wildcard stands for names of an excluded subtree (`*.a.fr` against `b.a.fr`)."""
    return name.startswith("*.") and _host_within(name[2:], excluded.lstrip("."), below=True)


def _within(subtree: x509.GeneralName, value: object) -> bool:
    """Tell whether a name is in a subtree of its own form."""
    if isinstance(subtree, x509.DirectoryName):
        base = normal_name(subtree.value)
        return isinstance(value, x509.Name) and normal_name(value)[:len(base)] == base
    if isinstance(subtree, x509.RFC822Name):
        return _mail_within(subtree.value, str(value))
    if isinstance(subtree, x509.DNSName):
        return _host_within(subtree.value, str(value), below=True)
    if isinstance(subtree, x509.UniformResourceIdentifier):
        host = _uri_host(str(value))
        return bool(host) and _host_within(subtree.value, host, below=False)
    network = subtree.value
    return (isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network)
            and isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address) and value in network)


def _host_within(base: str, host: str, *, below: bool) -> bool:
    """Compare host names. below: names under `base` are in it too (DNS); a leading dot always means only those below."""
    base, host = base.lower().rstrip("."), host.lower().rstrip(".")
    if base.startswith("."):
        return host.endswith(base) and len(host) > len(base)
    return host == base or (below and (not base or host.endswith("." + base)))


def _mail_within(base: str, address: str) -> bool:
    """Compare a mail address with a subtree: one mailbox, all of a host, or the hosts below a domain."""
    local, at, host = address.rpartition("@")
    if not at:
        return False
    if "@" in base:
        wanted, _, base_host = base.rpartition("@")
        return local == wanted and host.lower() == base_host.lower()
    return _host_within(base, host, below=False) if base else True


def _uri_host(text: str) -> str:
    """Give the host of a URI when it is a name (RFC 5280 §4.2.1.10), else nothing."""
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""

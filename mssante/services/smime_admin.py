"""What the command line asks about S/MIME: wishes and keys of mailboxes, certificates of correspondents.

Works beside a running server, which sees a change within 5 s. Every change writes its journal event in the same transaction:
fingerprints and references, never a key. Called by `cli/smime.py` and the lab.
"""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.services.smime_keys import MailKey, signs
from mssante.smime.certificates import can_encrypt
from mssante.smime.keys import admitted_public_key, fingerprint
from mssante.smime.sender import certificate_addresses, is_for
from mssante.storage.interfaces import CertificateSource, KnownCertificate, MailboxSmime, Stores, Tx

SHORTEST_MARK = 8


class SmimeDesk:
    """Administration over open stores."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    # ------------------------------------------------------------ mailboxes

    def _mailbox_tx(self, tx: Tx, address: str) -> Mailbox:
        found = self._stores.accounts.mailboxes_by_address(tx, [address.lower()])
        if not found:
            raise InputFault(say(f"boîte inconnue : {address}", f"unknown mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return found[0]

    def _wishes_tx(self, tx: Tx, box: Mailbox) -> MailboxSmime:
        return self._stores.smime.policies(tx, [box.id]).get(box.id) or MailboxSmime(box.id)

    def _note_tx(self, tx: Tx, kind: JournalKind, subject: str, **facts: str) -> None:
        payload: dict[str, str | int | float | bool | None] = {**facts}
        self._stores.journal.append(tx, [JournalEvent(kind, self._clock.now(), "", subject, payload)])

    async def policies(self) -> list[tuple[str, MailboxSmime]]:
        """Give (address, wishes) of the mailboxes that have some."""
        return await self._stores.database.read(lambda tx: self._stores.smime.all_policies(tx))

    async def policy(self, address: str) -> MailboxSmime:
        """Give the wishes of a mailbox. Raises InputFault `BAL-INCONNUE`."""
        return await self._stores.database.read(lambda tx: self._wishes_tx(tx, self._mailbox_tx(tx, address)))

    async def set_policy(self, address: str, *, outgoing: str | None = None, incoming: str | None = None) -> MailboxSmime:
        """Set those wishes that are given, empty for the operator's own; give all. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> MailboxSmime:
            box = self._mailbox_tx(tx, address)
            held = self._wishes_tx(tx, box)
            wanted = replace(held, outgoing=held.outgoing if outgoing is None else outgoing,
                             incoming=held.incoming if incoming is None else incoming)
            self._stores.smime.put_policy(tx, wanted)
            self._note_tx(tx, JournalKind.MAILBOX_CHANGED, box.address, action="smime_policy", outgoing=wanted.outgoing,
                          incoming=wanted.incoming)
            return wanted

        return await self._stores.database.write(unit)

    # ------------------------------------------------------------ keys

    async def add_key(self, address: str, reference: str, key: MailKey) -> MailboxSmime:
        """Put a key first among those of a mailbox: it signs from now on, the others still open. Its certificate becomes known.

        Raises InputFault `BAL-INCONNUE`, `SMIME-CLE-ADRESSE`, `SMIME-CLE-USAGE`.
        """
        certificate = key.certificate
        _check_key(certificate, address)

        def unit(tx: Tx) -> MailboxSmime:
            box = self._mailbox_tx(tx, address)
            held = self._wishes_tx(tx, box)
            wanted = replace(held, keys=(reference, *(one for one in held.keys if one != reference)))
            self._stores.smime.put_policy(tx, wanted)
            if can_encrypt(certificate):
                self._stores.smime.put_certificate(tx, self._known(box.address, certificate))
            self._note_tx(tx, JournalKind.MAILBOX_CHANGED, box.address, action="smime_key_added", reference=reference[:200],
                          certificate=fingerprint(certificate))
            return wanted

        return await self._stores.database.write(unit)

    async def remove_key(self, address: str, reference: str, certificate: x509.Certificate | None = None) -> MailboxSmime:
        """Take a key away from a mailbox (its file stays), and its certificate from those that we encrypt to.

        certificate: of that key, None when it cannot be opened any more. Raises InputFault `BAL-INCONNUE`, `SMIME-CLE-INCONNUE`.
        """
        def unit(tx: Tx) -> MailboxSmime:
            box = self._mailbox_tx(tx, address)
            held = self._wishes_tx(tx, box)
            if reference not in held.keys:
                raise InputFault(say(f"cette boîte n'a pas la clé {reference}", f"this mailbox has no key {reference}"),
                                 rule="SMIME-CLE-INCONNUE", remedy=", ".join(held.keys) or "mssante smime key list")
            wanted = replace(held, keys=tuple(one for one in held.keys if one != reference))
            self._stores.smime.put_policy(tx, wanted)
            if certificate is not None:
                self._stores.smime.remove_certificate(tx, box.address, fingerprint(certificate))
            self._note_tx(tx, JournalKind.MAILBOX_CHANGED, box.address, action="smime_key_removed", reference=reference[:200])
            return wanted

        return await self._stores.database.write(unit)

    # ------------------------------------------------------------ certificates of correspondents

    def _known(self, address: str, certificate: x509.Certificate) -> KnownCertificate:
        now = self._clock.now()
        return KnownCertificate(address, fingerprint(certificate), CertificateSource.LOCAL,
                                certificate.public_bytes(Encoding.DER), certificate.not_valid_after_utc, now, now)

    async def certificates(self, address: str = "", *, limit: int = 1000) -> list[KnownCertificate]:
        """Give what is known of an address, or of all."""
        if address:
            key = _address(address)
            return await self._stores.database.read(lambda tx: self._stores.smime.certificates(tx, [key]))
        return await self._stores.database.read(lambda tx: self._stores.smime.all_certificates(tx, limit=limit))

    async def add_certificate(self, address: str, certificate: x509.Certificate) -> KnownCertificate:
        """Make a certificate of a correspondent known. Raises InputFault `SMIME-CLE-USAGE`, SmimeFault `SMIME-ALGORITHME`."""
        key = _address(address)
        if not can_encrypt(certificate):
            raise _wrong_use(say("chiffrer", "encryption"))
        admitted_public_key(certificate)
        known = self._known(key, certificate)

        def unit(tx: Tx) -> None:
            self._stores.smime.put_certificate(tx, known)
            self._note_tx(tx, JournalKind.SMIME_CERTIFICATE, key, action="added", certificate=known.fingerprint)

        await self._stores.database.write(unit)
        return known

    async def remove_certificate(self, address: str, mark: str, *, refuse: str = "") -> KnownCertificate:
        """Remove a certificate, or with a reason keep it as refused: neither used nor learnt again.

        mark: how its fingerprint begins, 8 digits or more. Raises InputFault `SMIME-CERTIFICAT-INCONNU`.
        """
        key, lead = _address(address), mark.lower().replace(":", "")

        def unit(tx: Tx) -> KnownCertificate:
            held = self._stores.smime.certificates(tx, [key])
            found = [one for one in held if one.fingerprint.startswith(lead)] if len(lead) >= SHORTEST_MARK else []
            if len(found) != 1:
                raise InputFault(say(f"aucun certificat unique {mark} pour {address}",
                                     f"no single certificate {mark} of {address}"), rule="SMIME-CERTIFICAT-INCONNU",
                                 remedy=", ".join(one.fingerprint[:16] for one in held[:10]) or "mssante smime certificate list")
            if refuse:
                self._stores.smime.refuse_certificate(tx, key, found[0].fingerprint, refuse)
            else:
                self._stores.smime.remove_certificate(tx, key, found[0].fingerprint)
            self._note_tx(tx, JournalKind.SMIME_CERTIFICATE, key, action="refused" if refuse else "removed",
                          certificate=found[0].fingerprint, reason=refuse[:200])
            return found[0]

        return await self._stores.database.write(unit)

    async def forget(self, address: str) -> int:
        """Remove what was learnt of an address; give how many."""
        key = _address(address)

        def unit(tx: Tx) -> int:
            count = self._stores.smime.forget(tx, key)
            if count:
                self._note_tx(tx, JournalKind.SMIME_CERTIFICATE, key, action="forgotten", count=str(count))
            return count

        return await self._stores.database.write(unit)


def _address(text: str) -> str:
    """Give the key of an address. Raises InputFault."""
    return parse_envelope_address(text, utf8=True).key


def _check_key(certificate: x509.Certificate, address: str) -> None:
    """A key of a mailbox names it, and is of use. Raises InputFault."""
    if not is_for(certificate, address):
        named = ", ".join(certificate_addresses(certificate)[:5]) or say("aucune adresse", "no address")
        raise InputFault(say(f"le certificat est pour {named}, la boîte est {address}",
                             f"the certificate is for {named}, the mailbox is {address}"), rule="SMIME-CLE-ADRESSE",
                         remedy=say("demandez à l'IGC-Santé un certificat SERV S/MIME pour cette adresse",
                                    "ask IGC-Santé for a SERV S/MIME certificate of this address"))
    if not signs(certificate) and not can_encrypt(certificate):
        raise _wrong_use(say("signer ni chiffrer du courrier", "signing or encrypting mail"))


def _wrong_use(use: str) -> InputFault:
    return InputFault(say(f"ce certificat n'est pas fait pour {use}", f"this certificate is not for {use}"),
                      rule="SMIME-CLE-USAGE", remedy=say("offre SERV S/MIME : keyUsage digitalSignature et keyEncipherment",
                                 "offer SERV S/MIME: keyUsage digitalSignature and keyEncipherment"))

"""S/MIME on the stage of SMTP tests: certificates of mailboxes and correspondents, key files, policies, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from support.pki import EMAIL, ORGANISATIONS_CN, build_igc, certificate_pem, der, key_pem
from support.smtp_stage import NOW, SmtpStage

from mssante.model.journal import JournalKind
from mssante.model.message import StoredMessage
from mssante.services.opening import Opening, OpeningParts
from mssante.services.sealing import Sealing, SealingParts
from mssante.services.smime_certificates import CertificateFinder, DirectoryCertificates, Learner
from mssante.services.smime_header import FoundResult, derive_key, find_results
from mssante.services.smime_keys import FileKeyOpener, KeyRing
from mssante.services.smime_policy import SmimeSettings, Wishes
from mssante.services.smime_trust import MailTrust
from mssante.smime.keys import FileKey, fingerprint
from mssante.storage.interfaces import CertificateSource, KnownCertificate, MailboxSmime, Tx

BOTH_USES = ("digital_signature", "content_commitment", "key_encipherment")
FIELD_KEY = derive_key(b"k" * 32)


@lru_cache(maxsize=64)
def mail_leaf(address: str, *, issuer: str = "organisations", usage: tuple[str, ...] = BOTH_USES, serial: int | None = None,
              **dates: Any) -> tuple[x509.Certificate, RSAPrivateKey]:
    """Give a SERV S/MIME certificate of an address and its key (F3.9)."""
    names = (x509.SubjectAlternativeName([x509.RFC822Name(address)]), False)
    return build_igc().leaf(f"mail {address}", issuer=issuer, usage=usage, eku=(EMAIL,), san=(), serial=serial, extra=[names], **dates)


def mail_key(address: str, **changes: Any) -> FileKey:
    """Give the key of a correspondent, to sign with."""
    certificate, key = mail_leaf(address, **changes)
    return FileKey(key, certificate)


def put_key(folder: Path, name: str, certificate: x509.Certificate, key: RSAPrivateKey) -> str:
    """Write a key file of mode 0600 with its certificate; give its reference."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(key_pem(key) + certificate_pem(certificate))
    return f"file:{name}"


@dataclass
class SmimeSpace:
    """S/MIME of a stage."""

    stage: SmtpStage
    folder: Path
    settings: SmimeSettings
    ring: KeyRing
    wishes: Wishes
    trust: MailTrust
    learner: Learner
    directory: DirectoryCertificates | None = None

    def build(self, **changes: Any) -> None:
        """Put the services in place, with other settings."""
        stage, self.settings = self.stage, replace(self.settings, **changes)
        self.learner = Learner(stage.stores, stage.clock, self.settings.learnt)
        inline = stage.context.settings.inline_limit_bytes
        stage.context.opening = Opening(OpeningParts(self.settings, self.wishes, self.ring, self.trust, self.learner, stage.stores,
                                                     stage.executor, stage.clock, inline, FIELD_KEY))
        finder = CertificateFinder(stage.stores, self.trust, self.directory)
        stage.context.sealing = Sealing(SealingParts(self.settings, self.wishes, self.ring, finder, stage.stores.blobs,
                                                     stage.executor, stage.clock, inline))

    async def give_key(self, address: str, *, outgoing: str = "", incoming: str = "", **leaf: Any) -> FileKey:
        """Give a mailbox of ours a key in a file, and maybe wishes."""
        certificate, key = mail_leaf(address, **leaf)
        name = put_key(self.folder, f"{address}.pem", certificate, key)
        await self.wish(address, outgoing=outgoing, incoming=incoming, keys=(name,))
        return FileKey(key, certificate)

    async def wish(self, address: str, **wishes: Any) -> None:
        """Set the wishes of a mailbox."""
        policy = MailboxSmime(self.stage.mailboxes[address].id, **wishes)
        await self.stage.stores.database.write(lambda tx: self.stage.stores.smime.put_policy(tx, policy))
        self.wishes.forget()

    async def know(self, address: str, certificate: x509.Certificate, source: CertificateSource = CertificateSource.LOCAL) -> None:
        """Put a certificate of a correspondent into the store."""
        known = KnownCertificate(address, fingerprint(certificate), source, der(certificate), certificate.not_valid_after_utc, NOW, NOW)
        await self.stage.stores.database.write(lambda tx: self.stage.stores.smime.put_certificate(tx, known))

    async def known(self, address: str) -> list[KnownCertificate]:
        """Give what is known of an address, once all is written."""
        await self.learner.flush()
        return await self.stage.stores.database.read(lambda tx: self.stage.stores.smime.certificates(tx, [address]))

    async def folder_of(self, address: str, name: str) -> list[StoredMessage]:
        """Give the messages of a folder of a mailbox, in order; none when there is no such folder."""
        stores, box = self.stage.stores, self.stage.mailboxes[address]

        def unit(tx: Tx) -> list[StoredMessage]:
            found = [one for one in stores.folders.of_mailbox(tx, box.id) if one.name == name]
            if not found:
                return []
            ids = [row.message_id for row in stores.messages.snapshot(tx, found[0].id)[1]]
            contents = {one.id: one for one in stores.messages.contents(tx, ids, with_body=True)}
            return [contents[one] for one in ids]

        return await stores.database.read(unit)

    async def queued(self) -> list[StoredMessage]:
        """Give the messages in the queue."""
        ids = list(dict.fromkeys(item.message_id for item in await self.stage.queue()))
        return await self.stage.stores.database.read(lambda tx: self.stage.stores.messages.contents(tx, ids, with_body=True))

    def body(self, message: StoredMessage) -> bytes:
        """Give the body of a stored message."""
        return message.inline if message.inline is not None else self.stage.stores.blobs.read(message.blob or "")

    def whole(self, message: StoredMessage) -> bytes:
        """Give a stored message as a reader gets it."""
        return message.prefix + self.body(message)

    def results(self, message: StoredMessage) -> list[FoundResult]:
        """Give the fields X-MSS-SMIME of a stored message."""
        return list(find_results(self.whole(message), FIELD_KEY))

    async def events(self, kind: JournalKind) -> list[dict[str, Any]]:
        """Give the payloads of the events of a kind, oldest first."""
        return [row.payload for row in await self.stage.journal(kind)]


def smime_space(stage: SmtpStage, folder: Path, **settings: Any) -> SmimeSpace:
    """Put S/MIME on a stage."""
    ring = KeyRing({"file": FileKeyOpener(folder)})
    space = SmimeSpace(stage, folder, SmimeSettings(), ring, Wishes(stage.stores, stage.clock),
                       MailTrust(lambda: stage.trust.snapshot, (ORGANISATIONS_CN,)), Learner(stage.stores, stage.clock, 5))
    space.build(**settings)
    return space

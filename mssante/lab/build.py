"""Builds a lab on disk: certificates, peers, configuration folders, mailboxes, and last of all `lab.json`.

- `lab.json` is written last: a folder without it is an unfinished lab and is built again.
- Nothing outside the folder is touched; a folder that holds something else than a lab is refused, never emptied.
- Mailboxes are created through the operator's own administration (`mssante.services.admin`), never by SQL of ours.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mssante.errors import InputFault
from mssante.lab.accounts import Account, ExtraAccounts, all_accounts, new_password
from mssante.lab.annuaire_write import api_key
from mssante.lab.configfiles import LabSettings, write_config
from mssante.lab.files import write_atomic
from mssante.lab.igc import (
    CA_KEY_BITS,
    LEAF_KEY_BITS,
    LEAF_LIFE,
    Authority,
    Hierarchy,
    LeafOrder,
    Offer,
    Publication,
    Subject,
    build_hierarchy,
    certificate_pem,
    generate_keys,
    issue_leaf,
    key_pem,
)
from mssante.lab.manifest import FILE_NAME, Lab, account_document
from mssante.lab.plan import (
    DOORS,
    HL7_NAMES,
    HOSPITAL_OF,
    HOSPITAL_OFFSET,
    HOST,
    LIST_PATH,
    LIST_SIGNER_CN,
    OPERATORS,
    PEERS,
    OperatorPlan,
    PeerPlan,
    fictitious_siret,
    infra_ports,
    operator_plan,
    psc_issuer,
)
from mssante.lang import say
from mssante.model.mailbox import MailboxType

MARKER = ".mssante-lab"
FOLDERS = ("igc", "peers", "infra", "log", "run", "hospital", *(plan.name for plan in OPERATORS))
SIGNER_STRUCTURE = "3" + fictitious_siret(20)
SERVER_STRUCTURE = "3" + fictitious_siret(21)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What a lab is asked to be. storage: database URL or empty for SQLite; workers: processes per operator; hospital: with the
    little hospital beside alpha."""

    folder: Path
    base_port: int
    extra: ExtraAccounts = field(default_factory=ExtraAccounts)
    storage: str = ""
    workers: int = 1
    hospital: bool = False


@dataclass(frozen=True, slots=True)
class Identities:
    """All that was generated: the hierarchy, its addresses, and the leaf keys by name."""

    hierarchy: Hierarchy
    publication: Publication
    keys: dict[str, RSAPrivateKey]
    now: datetime

    def leaf(self, offer: Offer, subject: Subject, key: str, *, issuer: str = "organisations",
             ended: bool = False) -> x509.Certificate:
        """Issue a certificate valid from a month ago, or ended since yesterday."""
        start = self.now - (LEAF_LIFE if ended else timedelta(days=30))
        end = self.now - timedelta(days=1) if ended else self.now + LEAF_LIFE - timedelta(days=30)
        order = LeafOrder(offer, subject, self.keys[key], start, end)
        return issue_leaf(self.hierarchy.issuer(issuer), order, self.publication)


def publication_for(base_port: int) -> Publication:
    """Give the addresses of CRL and OCSP of a lab."""
    ports = infra_ports(base_port)
    return Publication(f"http://{HOST}:{ports['crl']}", f"http://{HOST}:{ports['ocsp']}/")


def _people() -> list[tuple[OperatorPlan, str]]:
    """The professionals' mailboxes that get an S/MIME certificate: (operator, local part)."""
    return [(plan, one.local_part) for plan in OPERATORS for one in plan.accounts
            if one.type is MailboxType.PER and one.holder_id]


def make_identities(base_port: int, now: datetime) -> Identities:
    """Generate every key of a lab and its hierarchy."""
    sizes = dict.fromkeys(("root", "organisations", "personnes"), CA_KEY_BITS)
    names = ["foreign", "list-signer", "whitelist-server", *(plan.name for plan in OPERATORS),
             *(f"app-{plan.name}" for plan in OPERATORS), *(f"peer-{peer.name}" for peer in PEERS),
             *(f"smime-{local}@{plan.domain}" for plan, local in _people())]
    sizes.update(dict.fromkeys(names, LEAF_KEY_BITS))
    keys = generate_keys(sizes)
    publication = publication_for(base_port)
    return Identities(build_hierarchy(keys, publication, now=now), publication, keys, now)


def _write_pair(stem: Path, key: RSAPrivateKey, *certificates: x509.Certificate) -> None:
    write_atomic(stem.with_name(stem.name + ".pem"), certificate_pem(*certificates))
    write_atomic(stem.with_name(stem.name + ".key"), key_pem(key), private=True)


def write_igc(folder: Path, identities: Identities) -> bytes:
    """Write `igc/`; give the anchors (root and ORGANISATIONS) as PEM."""
    hierarchy = identities.hierarchy
    anchors = certificate_pem(hierarchy.root.certificate, hierarchy.organisations.certificate)
    write_atomic(folder / "anchors.pem", anchors)
    for authority in (hierarchy.root, hierarchy.organisations, hierarchy.personnes, hierarchy.foreign):
        _write_pair(folder / authority.name, authority.key, authority.certificate)
    signer = identities.leaf(Offer.ORG_SIGN, Subject(LIST_SIGNER_CN, SIGNER_STRUCTURE, "PUBLICATION LISTE LAB"),
                             "list-signer")
    _write_pair(folder / "list-signer", identities.keys["list-signer"], signer)
    server = identities.leaf(Offer.SERV_SSL, Subject("liste.mssante.test", SERVER_STRUCTURE, "SERVICES COMMUNS LAB"),
                             "whitelist-server")
    _write_pair(folder / "whitelist-server", identities.keys["whitelist-server"], server,
                hierarchy.organisations.certificate)
    return anchors


def _chain(authority: Authority, leaf: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """What a server sends: its certificate and the one that issued it, never the root (RFC 8446 §4.4.2)."""
    return (leaf, authority.certificate)


def write_peers(folder: Path, identities: Identities) -> None:
    """Write the certificate chain and key of every peer into `peers/`."""
    for peer in PEERS:
        subject = Subject(peer.host, peer.structure, peer.title)
        leaf = identities.leaf(Offer.SERV_SSL, subject, f"peer-{peer.name}", issuer=peer.issuer, ended=peer.expired)
        _write_pair(folder / peer.name, identities.keys[f"peer-{peer.name}"],
                    *_chain(identities.hierarchy.issuer(peer.issuer), leaf))


def write_operator(folder: Path, plan: OperatorPlan, *, identities: Identities, anchors: bytes) -> None:
    """Write the certificates of one operator: its MTA, its application mailboxes, its professionals' S/MIME."""
    issuer = identities.hierarchy.organisations
    certs = folder / plan.name / "certs"
    write_atomic(certs / "anchors.pem", anchors)
    write_atomic(certs / "annuaire.key", api_key(plan).encode(), private=True)
    mta = identities.leaf(Offer.SERV_SSL, Subject(plan.host, plan.structure, plan.title), plan.name)
    _write_pair(certs / "mta", identities.keys[plan.name], *_chain(issuer, mta))
    if any(one.type is MailboxType.APP for one in plan.accounts):
        key = f"app-{plan.name}"
        application = identities.leaf(
            Offer.ORG_AUTH_CLI, Subject(f"RESULTATS {plan.name.upper()} LAB", plan.structure, plan.title), key)
        _write_pair(certs / "resultats", identities.keys[key], *_chain(issuer, application))
    for owner, local in _people():
        if owner is plan:
            address = f"{local}@{plan.domain}"
            subject = Subject(f"{local} LAB", plan.structure, plan.title, address)
            _write_pair(certs / f"smime-{local}", identities.keys[f"smime-{address}"],
                        identities.leaf(Offer.SERV_SMIME, subject, f"smime-{address}"), issuer.certificate)
    for name in ("data", "whitelist"):
        (folder / plan.name / name).mkdir(parents=True, exist_ok=True)


def with_certificates(plan: OperatorPlan, account: Account) -> Account:
    """Give the account with the paths of the certificates that `write_operator` made for it."""
    local = account.address.partition("@")[0]
    named = {one.local_part: one for one in plan.accounts}.get(local)
    if named is None:
        return account
    stem = f"{plan.name}/certs"
    if account.type is MailboxType.APP:
        return replace(account, certificate=f"{stem}/{local}.pem", key=f"{stem}/{local}.key")
    if named.type is MailboxType.PER and named.holder_id:
        return replace(account, smime_certificate=f"{stem}/smime-{local}.pem", smime_key=f"{stem}/smime-{local}.key")
    return account


async def create_mailboxes(config: Path, accounts: tuple[Account, ...]) -> None:
    """Create the mailboxes and logins of one operator in its own database, and give the professionals their S/MIME keys."""
    from mssante.app import open_admin  # the composition root is heavy: only building needs it
    from mssante.clock import SystemClock
    from mssante.config.load import load_config
    from mssante.services.admin import MailboxSpec
    from mssante.services.identities import IdentityDesk
    from mssante.services.smime_admin import SmimeDesk
    from mssante.smime_setup import key_ring

    specs = [MailboxSpec(one.address, one.type, one.login, one.password, one.holder_id, one.display_name)
             for one in accounts]
    loaded = load_config(config)
    async with open_admin(loaded) as admin:
        await admin.create_mailboxes(specs)
        for one in accounts:
            if one.certificate:
                pem = (loaded.folder.parent.parent / one.certificate).read_bytes()
                await IdentityDesk(admin.stores, SystemClock()).link_certificate(one.address, pem)
            if one.smime_key:
                reference = f"file:{Path(one.smime_key).name}"
                await SmimeDesk(admin.stores, SystemClock()).add_key(one.address, reference, key_ring(loaded).open(reference))


def _operator_document(plan: OperatorPlan, base: int, accounts: tuple[Account, ...]) -> dict[str, Any]:
    doors = {door: f"{HOST}:{plan.port(base, door)}" for door in DOORS}
    doors["console"] = f"https://{doors['console']}"
    doors["web"] = f"https://{doors['web']}"
    doors["ldaps"] = f"ldaps://{doors['ldaps']}"
    doors["metrics"] = f"http://{doors['metrics']}/metrics"
    hl7: dict[str, Any] = {}
    if plan.hl7_mailbox:
        hl7 = {"mllp": f"{HOST}:{plan.mllp_port(base)}", "hl7": {**HL7_NAMES, "mailbox": plan.hl7_mailbox}}
    return {"name": plan.name, "domain": plan.domain, "config": f"{plan.name}/operator_config", "pid": None, **doors, **hl7,
            "host": plan.host, "certificate": f"{plan.name}/certs/mta.pem", "key": f"{plan.name}/certs/mta.key",
            "accounts": [account_document(one) for one in accounts],
            "admin": {"login": "admin", "password": new_password()}}


def _peer_document(peer: PeerPlan, base: int) -> dict[str, str]:
    document = {"domain": peer.domain, "certificate": f"peers/{peer.name}.pem", "key": f"peers/{peer.name}.key",
                "smtp": f"{HOST}:{base + peer.offset}", "host": peer.host, "why": peer.why}
    if peer.listed_for:
        document["listed_for"] = peer.listed_for
    return document


def trust_document(base_port: int) -> dict[str, str]:
    """Give the `trust` object of `lab.json`."""
    ports = infra_ports(base_port)
    at = f"http://{HOST}"
    return {
        "anchors": "igc/anchors.pem", "root_certificate": "igc/root.pem", "root_key": "igc/root.key",
        "issuing_certificate": "igc/organisations.pem", "issuing_key": "igc/organisations.key",
        "personnes_certificate": "igc/personnes.pem", "personnes_key": "igc/personnes.key",
        "signer_certificate": "igc/list-signer.pem", "signer_key": "igc/list-signer.key",
        "whitelist_url": f"https://{HOST}:{ports['whitelist']}{LIST_PATH}",
        "crl_url": f"{at}:{ports['crl']}/ACI-EL-ORG.crl", "root_crl_url": f"{at}:{ports['crl']}/ACR-EL.crl",
        "ocsp_url": f"{at}:{ports['ocsp']}/", "dns": f"{HOST}:{ports['dns']}",
        "directory_fhir": f"{at}:{ports['directory']}/fhir/v2",
        "directory_extraction": f"{at}:{ports['directory']}/extraction",
        "published": "infra/published", "psc_issuer": psc_issuer(base_port),
    }


def check_folder(folder: Path) -> None:
    """Raise InputFault (`LAB-FOLDER`) when the folder holds something that is not a lab."""
    if folder.exists() and not folder.is_dir():
        raise InputFault(say(f"{folder} n'est pas un dossier", f"{folder} is not a folder"), rule="LAB-FOLDER")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise InputFault(say(f"{folder} contient autre chose qu'un laboratoire",
                             f"{folder} holds something else than a lab"), rule="LAB-FOLDER",
                         remedy=say("donnez un dossier vide ou nouveau", "give an empty or a new folder"))


def clear(folder: Path) -> None:
    """Remove what `build` makes, and only that; the folder must be a lab or empty. Raises InputFault (`LAB-FOLDER`)."""
    check_folder(folder)
    (folder / FILE_NAME).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def build(order: BuildOrder, now: datetime, progress: Progress) -> Lab:
    """Build a whole lab in `order.folder`, which is cleared first; give it. Raises InputFault, OSError."""
    folder = order.folder.resolve()
    accounts = {plan.name: tuple(with_certificates(plan, one) for one in all_accounts(plan, order.extra))
                for plan in OPERATORS}
    clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # its files are passwords and keys
    (folder / MARKER).touch()
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    progress(say("clés et certificats", "keys and certificates"))
    identities = make_identities(order.base_port, now.replace(microsecond=0))
    anchors = write_igc(folder / "igc", identities)
    write_peers(folder / "peers", identities)
    settings = LabSettings(order.base_port, SIGNER_STRUCTURE, order.storage, order.hospital)
    for plan in OPERATORS:
        write_operator(folder, plan, identities=identities, anchors=anchors)
        write_config(folder / plan.name / "operator_config", plan, settings)
    for name, members in accounts.items():
        progress(say(f"{name} : {len(members)} boîtes", f"{name}: {len(members)} mailboxes"))
        asyncio.run(create_mailboxes(folder / operator_plan(name).name / "operator_config", members))
    document: dict[str, Any] = {
        "version": 1, "created": now.isoformat(timespec="seconds"), "base_port": order.base_port,
        "workers": order.workers, "infra": {"pid": None}, "trust": trust_document(order.base_port),
        "operators": [_operator_document(plan, order.base_port, accounts[plan.name]) for plan in OPERATORS],
        "peers": {peer.name: _peer_document(peer, order.base_port) for peer in PEERS},
    }
    if order.hospital:
        (folder / "hospital").mkdir(exist_ok=True)
        document["hospital"] = {"operator": HOSPITAL_OF, "folder": "hospital", "pid": None,
                                "mllp": f"{HOST}:{order.base_port + HOSPITAL_OFFSET}"}
    lab = Lab(folder, document)
    lab.save()
    return lab

"""`mssante smime …`: wishes and keys of mailboxes, certificates of correspondents, check of a message, meaning of the codes.

A running server takes up a change within 5 s. Private keys stay in their files or tokens: references alone are stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli import smime_check
from mssante.cli.common import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer_config,
    emit,
    instant,
    progress,
    read_limited,
    table,
)
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault, MssFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.smime_admin import SmimeDesk
    from mssante.services.smime_trust import MailTrust
    from mssante.storage.interfaces import KnownCertificate, MailboxSmime

app = typer.Typer(no_args_is_help=True, help="S/MIME : clés, certificats, règles, vérification (S/MIME)")
keys = typer.Typer(no_args_is_help=True, help="Clés des boîtes (keys of mailboxes)")
certificates = typer.Typer(no_args_is_help=True, help="Certificats des correspondants (certificates of correspondents)")
policies = typer.Typer(no_args_is_help=True, help="Règles d'une boîte (what a mailbox wants)")
app.add_typer(keys, name="key")
app.add_typer(certificates, name="certificate")
app.add_typer(policies, name="policy")
app.command("check")(smime_check.check)
app.command("codes")(smime_check.codes)

Mailbox = Annotated[str, typer.Argument(metavar="MAILBOX", help="Boîte d'ici, nom@domaine (mailbox of ours)")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="nom@domaine (name@domain)")]
Reference = Annotated[str, typer.Argument(
    metavar="REFERENCE", help="file:NOM, file:NOM,password=NOM (dans smime.keys_folder), pkcs11:…")]
MAX_CERTIFICATE = 64 * 1024


class OutgoingWish(StrEnum):
    """Words of --outgoing."""

    DEFAULT = "default"
    NEVER = "never"
    SIGN = "sign"
    ENCRYPT = "encrypt"
    BOTH = "both"


class IncomingWish(StrEnum):
    """Words of --incoming."""

    DEFAULT = "default"
    OFF = "off"
    VERIFY = "verify"
    OPEN = "open"


def _desk(admin: Admin) -> SmimeDesk:
    from mssante.clock import SystemClock
    from mssante.services.smime_admin import SmimeDesk

    return SmimeDesk(admin.stores, SystemClock())


def _off_notice(config: Config) -> list[str]:
    if config.operator.smime.enabled:
        return []
    return [say("S/MIME est éteint : smime.enabled = false dans operator.toml",
                "S/MIME is off: smime.enabled = false in operator.toml")]


# ------------------------------------------------------------------ keys


def _key_state(config: Config, trust: MailTrust, reference: str) -> dict[str, Any]:
    """Open a key and tell what it is worth now."""
    from mssante.smime.keys import fingerprint
    from mssante.smime_setup import key_ring
    from mssante.trust.path import Purpose

    try:
        certificate = key_ring(config).open(reference).certificate
    except MssFault as fault:
        return {"reference": reference, "state": fault.rule, "detail": str(fault)}
    result = trust.judge(certificate, Purpose.SIGN_MAIL, datetime.now(UTC))
    return {"reference": reference, "state": "ok" if result.valid else result.code.value, "detail": result.detail,
            "certificate": fingerprint(certificate), "not_after": instant(certificate.not_valid_after_utc)}


def _key_lines(rows: list[dict[str, Any]]) -> list[str]:
    return table((say("clé", "key"), say("état", "state"), say("certificat", "certificate"), say("fin", "ends"), ""),
                 [(one["reference"], one["state"], one.get("certificate", "")[:16], (one.get("not_after") or "")[:10],
                   one["detail"]) for one in rows])


@keys.command("add")
def key_add(mailbox: Mailbox, reference: Reference, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Donne une clé à une boîte : elle signe désormais, les précédentes ouvrent encore (gives a mailbox a key)."""
    from mssante.smime_setup import key_ring

    loaded = load_config(config)
    key = key_ring(loaded).open(reference)
    wishes = administer_config(loaded, lambda admin: _desk(admin).add_key(mailbox, reference, key))
    state = _key_state(loaded, smime_check.offline_trust(loaded), reference)
    emit(as_json, {"ok": True, "mailbox": mailbox.lower(), "keys": list(wishes.keys), "key": state},
         say(f"clé donnée à {mailbox.lower()}", f"key given to {mailbox.lower()}"), *_key_lines([state]), *_off_notice(loaded))


@keys.command("list")
def key_list(mailbox: Annotated[str, typer.Argument(metavar="[MAILBOX]")] = "", config: ConfigFolder = DEFAULT_CONFIG,
             as_json: AsJson = False) -> None:
    """Liste les clés et dit si elles servent (lists keys, and whether they can be used)."""
    loaded = load_config(config)
    with progress(say("lecture des clés", "reading keys"), as_json):
        trust = smime_check.offline_trust(loaded)
        found = _wishes_of(loaded, mailbox)
        rows = [{"mailbox": address, **_key_state(loaded, trust, one)} for address, wishes in found for one in wishes.keys]
    lines = []
    for address in dict.fromkeys(row["mailbox"] for row in rows):
        lines += [address, *(f"  {text}" for text in _key_lines([row for row in rows if row["mailbox"] == address]))]
    emit(as_json, {"ok": True, "keys": rows}, *(lines or [say("aucune clé", "no key")]), *_off_notice(loaded))


def _wishes_of(config: Config, mailbox: str) -> list[tuple[str, MailboxSmime]]:
    async def read(admin: Admin) -> list[tuple[str, MailboxSmime]]:
        if mailbox:
            return [(mailbox.lower(), await _desk(admin).policy(mailbox))]
        return await _desk(admin).policies()

    return administer_config(config, read)


@keys.command("remove")
def key_remove(mailbox: Mailbox, reference: Reference, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Retire une clé à une boîte ; le fichier reste (takes a key away; its file stays)."""
    from mssante.smime_setup import key_ring

    loaded = load_config(config)
    try:
        certificate = key_ring(loaded).open(reference).certificate
    except MssFault:  # its file is gone: `certificate list` shows what is left to remove
        certificate = None
    wishes = administer_config(loaded, lambda admin: _desk(admin).remove_key(mailbox, reference, certificate))
    emit(as_json, {"ok": True, "mailbox": mailbox.lower(), "keys": list(wishes.keys)},
         say(f"clé retirée ; il reste : {', '.join(wishes.keys) or 'aucune'}",
             f"key removed; left: {', '.join(wishes.keys) or 'none'}"))


# ------------------------------------------------------------------ policies


@policies.command("show")
def policy_show(mailbox: Annotated[str, typer.Argument(metavar="[MAILBOX]")] = "", config: ConfigFolder = DEFAULT_CONFIG,
                as_json: AsJson = False) -> None:
    """Montre les règles de l'opérateur et celles des boîtes (shows the operator's settings and the mailboxes' wishes)."""
    loaded = load_config(config)
    found = _wishes_of(loaded, mailbox)
    section = loaded.operator.smime
    routes = " ".join(f"{domain}={wish}" for domain, wish in section.routes.items())
    rows = [(address, one.outgoing or "default", one.incoming or "default", " ".join(one.keys)) for address, one in found]
    boxes = [{"mailbox": address, "outgoing": out, "incoming": into, "keys": names.split()} for address, out, into, names in rows]
    emit(as_json, {"ok": True, "enabled": section.enabled, "outgoing": section.outgoing, "incoming": section.incoming,
                   "fallback": section.fallback, "routes": dict(section.routes), "mailboxes": boxes},
         say(f"opérateur : envoi {section.outgoing}, réception {section.incoming}, à défaut {section.fallback} ; {routes}",
             f"operator: outgoing {section.outgoing}, incoming {section.incoming}, fallback {section.fallback}; {routes}"),
         *table((say("boîte", "mailbox"), say("envoi", "outgoing"), say("réception", "incoming"), say("clés", "keys")), rows),
         *_off_notice(loaded))


@policies.command("set")
def policy_set(
    mailbox: Mailbox,
    outgoing: Annotated[OutgoingWish | None, typer.Option("--outgoing", help="À l'envoi (outgoing)")] = None,
    incoming: Annotated[IncomingWish | None, typer.Option("--incoming", help="À la réception (incoming)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Règle une boîte ; default : comme l'opérateur (sets a mailbox; default: as the operator).

    Un domaine dont la règle est « never » l'emporte (a route « never » wins).
    """
    if outgoing is None and incoming is None:
        raise typer.BadParameter("--outgoing | --incoming", param_hint="policy set")
    loaded = load_config(config)
    words = {name: "" if value == "default" else value.value for name, value in (("outgoing", outgoing), ("incoming", incoming))
             if value is not None}
    wishes = administer_config(loaded, lambda admin: _desk(admin).set_policy(mailbox, **words))
    emit(as_json, {"ok": True, "mailbox": mailbox.lower(), "outgoing": wishes.outgoing or "default",
                   "incoming": wishes.incoming or "default"},
         say(f"{mailbox.lower()} : envoi {wishes.outgoing or 'default'}, réception {wishes.incoming or 'default'}",
             f"{mailbox.lower()}: outgoing {wishes.outgoing or 'default'}, incoming {wishes.incoming or 'default'}"),
         *_off_notice(loaded))


# ------------------------------------------------------------------ certificates


@certificates.command("add")
def certificate_add(address: Address, file: Annotated[Path, typer.Argument(metavar="FILE", help="PEM ou DER")],
                    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Fait connaître le certificat d'un correspondant (makes a correspondent's certificate known)."""
    from mssante.trust.anchors import read_certificates

    loaded = load_config(config)
    certificate = read_certificates([read_limited(file, MAX_CERTIFICATE, "SMIME-CERTIFICAT")])[0]
    known = administer_config(loaded, lambda admin: _desk(admin).add_certificate(address, certificate))
    shown = _certificate_documents(smime_check.offline_trust(loaded), [known])
    emit(as_json, {"ok": True, "certificate": shown[0]}, *_certificate_lines(shown), *_off_notice(loaded))


@certificates.command("list")
def certificate_list(address: Annotated[str, typer.Argument(metavar="[ADDRESS]")] = "", limit: Limit = 1000,
                     config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les certificats connus et leur état (lists the certificates known, and their state)."""
    loaded = load_config(config)
    with progress(say("lecture des certificats", "reading certificates"), as_json):
        found = administer_config(loaded, lambda admin: _desk(admin).certificates(address, limit=limit))
        shown = _certificate_documents(smime_check.offline_trust(loaded), found)
    emit(as_json, {"ok": True, "certificates": shown}, *_certificate_lines(shown))


def _certificate_documents(trust: MailTrust, found: list[KnownCertificate]) -> list[dict[str, Any]]:
    from mssante.smime.certificates import load_certificate
    from mssante.trust.path import Purpose

    shown = []
    for one in found:
        certificate = load_certificate(one.der)
        result = trust.judge(certificate, Purpose.ENCRYPT_MAIL, datetime.now(UTC)) if certificate is not None else None
        state = "SMIME-ILLISIBLE" if result is None else "ok" if result.valid else result.code.value
        shown.append({"address": one.address, "fingerprint": one.fingerprint, "source": one.source.value, "state": state,
                      "refused": one.refused, "not_after": instant(one.not_after), "first_seen": instant(one.first_seen),
                      "last_seen": instant(one.last_seen)})
    return shown


def _certificate_lines(shown: list[dict[str, Any]]) -> list[str]:
    heads = (say("adresse", "address"), say("empreinte", "fingerprint"), "source", say("état", "state"), say("fin", "ends"),
             say("vu le", "seen"))
    return table(heads, [(one["address"], one["fingerprint"][:16], one["source"],
                          say(f"refusé : {one['refused']}", f"refused: {one['refused']}") if one["refused"] else one["state"],
                          one["not_after"][:10], one["last_seen"][:10]) for one in shown])


@certificates.command("remove")
def certificate_remove(
    address: Address,
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT",
                                               help="Empreinte ou ses 8 premiers chiffres (or its first 8 digits)")],
    refuse: Annotated[str, typer.Option("--refuse", metavar="REASON", help="Le garder comme refusé : ni utilisé ni réappris "
                                                                           "(keep it as refused: not used, not learnt)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Retire un certificat, ou le refuse (removes a certificate, or refuses it)."""
    loaded = load_config(config)
    gone = administer_config(loaded, lambda admin: _desk(admin).remove_certificate(address, fingerprint, refuse=refuse))
    done = say("refusé", "refused") if refuse else say("retiré", "removed")
    emit(as_json, {"ok": True, "address": gone.address, "fingerprint": gone.fingerprint, "refused": refuse},
         f"{gone.address} {gone.fingerprint[:16]} : {done}")


@certificates.command("forget")
def certificate_forget(address: Address, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Oublie ce qui a été appris d'une adresse (forgets what was learnt of an address)."""
    count = administer_config(load_config(config), lambda admin: _desk(admin).forget(address))
    if not count:
        raise InputFault(say(f"rien n'a été appris de {address}", f"nothing was learnt of {address}"),
                         rule="SMIME-CERTIFICAT-INCONNU", remedy="mssante smime certificate list")
    emit(as_json, {"ok": True, "address": address.lower(), "forgotten": count},
         say(f"{count} certificat(s) oublié(s)", f"{count} certificate(s) forgotten"))

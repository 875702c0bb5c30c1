"""How mail clients find their settings: one table of offers, written in the words of each kind of client.

- The table comes from the configuration alone: doors that are open, their public host and ports, TLS, and which logins each
  takes. What is told for a domain is the same for every address of it: nobody learns which mailboxes exist.
- `autoconfig` (Thunderbird), `autodiscover` (Outlook), `apple_profile` (iPhone, Mac), `srv_records` (RFC 6186, RFC 8314 §5.1,
  RFC 6764, RFC 5804 §1.8; ECO.1.1.9 asks clinical software to use them): all read the same `Discovery`.
- A client that cannot do Pro Santé Connect is told a password: an application password of the user's account page.
Pure; served by `endpoints.discovery`, printed by `mssante discovery`.
"""

from __future__ import annotations

import plistlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from xml.sax.saxutils import escape, quoteattr

OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
AUTODISCOVER = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_NAMESPACE = uuid.UUID("6f9619ff-8b86-5f11-b42d-00c04fc964ff")  # any fixed one: ids of profiles stay the same


class Service(StrEnum):
    """What a door serves."""

    IMAP = "imap"
    SUBMISSION = "submission"
    LDAP = "ldap"
    SIEVE = "sieve"
    WEB = "web"


class Login(StrEnum):
    """How one logs in: an application password, Pro Santé Connect, or a certificate of an application."""

    PASSWORD = "password"  # noqa: S105 -- the name of a way, not a secret
    PSC = "psc"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Offer:
    """One door as the world sees it. implicit: TLS from the first octet, else STARTTLS."""

    service: Service
    host: str
    port: int
    implicit: bool
    logins: tuple[Login, ...]


@dataclass(frozen=True, slots=True)
class Discovery:
    """All there is to tell about a domain. carddav: address book on the web door."""

    domain: str
    name: str
    offers: tuple[Offer, ...]
    carddav: bool = False
    help_url: str = ""
    ldap_base: str = ""

    def of(self, service: Service, *, login: Login | None = None) -> list[Offer]:
        """Give the offers of a service that take a login, implicit TLS first (RFC 8314 §3)."""
        found = [one for one in self.offers if one.service is service and (login is None or login in one.logins)]
        return sorted(found, key=lambda one: not one.implicit)

    @property
    def web(self) -> str:
        """Base of the web door, empty when it is closed."""
        for one in self.of(Service.WEB):
            return f"https://{one.host}" + (f":{one.port}" if one.port != 443 else "")
        return ""


# ------------------------------------------------------------------------------------------ Mozilla

_MOZILLA = {Login.PASSWORD: "password-cleartext", Login.PSC: "OAuth2", Login.CERTIFICATE: "TLS-client-cert"}


def autoconfig(found: Discovery) -> str:
    """Give Mozilla's client configuration 1.1 (`/.well-known/autoconfig/mail/config-v1.1.xml`)."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<clientConfig version="1.1">',
             f"  <emailProvider id={quoteattr(found.domain)}>", f"    <domain>{escape(found.domain)}</domain>",
             f"    <displayName>{escape(found.name)}</displayName>",
             f"    <displayShortName>{escape(found.name[:40])}</displayShortName>"]
    for element, kind, service in (("incomingServer", "imap", Service.IMAP), ("outgoingServer", "smtp", Service.SUBMISSION)):
        for login in (Login.PASSWORD, Login.PSC):  # the first one that a client knows is taken
            for offer in found.of(service, login=login):
                lines += [f'    <{element} type="{kind}">', f"      <hostname>{escape(offer.host)}</hostname>",
                          f"      <port>{offer.port}</port>",
                          f"      <socketType>{'SSL' if offer.implicit else 'STARTTLS'}</socketType>",
                          f"      <authentication>{_MOZILLA[login]}</authentication>",
                          "      <username>%EMAILADDRESS%</username>", f"    </{element}>"]
    if found.help_url:
        lines += [f"    <documentation url={quoteattr(found.help_url)}>",
                  '      <descr lang="fr">Utilisez un mot de passe d\'application</descr>',
                  '      <descr lang="en">Use an application password</descr>', "    </documentation>"]
    lines.append("  </emailProvider>")
    if found.carddav and found.web:
        lines += ['  <addressBook type="carddav">', "    <username>%EMAILADDRESS%</username>",
                  "    <authentication>http-basic</authentication>", f"    <serverURL>{escape(found.web)}/carddav/</serverURL>",
                  "  </addressBook>"]
    return "\n".join([*lines, "</clientConfig>", ""])


# ------------------------------------------------------------------------------------------ Microsoft


def autodiscover(found: Discovery, address: str) -> str:
    """Give the answer to an Autodiscover request of Outlook for IMAP and SMTP ([MS-OXDSCLI] §2.2.4.1). address: asked for."""
    protocols = []
    for kind, service in (("IMAP", Service.IMAP), ("SMTP", Service.SUBMISSION)):
        for offer in found.of(service, login=Login.PASSWORD):
            protocols.append(
                f"      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{escape(offer.host)}</Server>\n"
                f"        <Port>{offer.port}</Port>\n        <DomainRequired>off</DomainRequired>\n"
                f"        <LoginName>{escape(address)}</LoginName>\n        <SPA>off</SPA>\n"
                f"        <SSL>{'on' if offer.implicit else 'off'}</SSL>\n"
                f"        <Encryption>{'SSL' if offer.implicit else 'TLS'}</Encryption>\n"
                "        <AuthRequired>on</AuthRequired>\n      </Protocol>")
            break  # Outlook takes one of each
    body = "\n".join(protocols)
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover xmlns="{AUTODISCOVER}">\n  <Response xmlns="{OUTLOOK}">\n'
            f"    <User>\n      <DisplayName>{escape(found.name)}</DisplayName>\n    </User>\n"
            f"    <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n{body}\n    </Account>\n"
            "  </Response>\n</Autodiscover>\n")


def autodiscover_error(code: int, message: str, time: str) -> str:
    """Give an Autodiscover error ([MS-OXDSCLI] §2.2.4.1.1.2): 600 request, 601 schema, 500 address. time: `hh:mm:ss.fffffff`."""
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover xmlns="{AUTODISCOVER}">\n  <Response>\n'
            f'    <Error Time="{escape(time)}" Id="0">\n      <ErrorCode>{code}</ErrorCode>\n'
            f"      <Message>{escape(message)}</Message>\n      <DebugData />\n    </Error>\n  </Response>\n</Autodiscover>\n")


# ------------------------------------------------------------------------------------------ Apple


def apple_profile(found: Discovery, address: str) -> bytes:
    """Give a configuration profile (`.mobileconfig`) for mail and contacts; passwords are asked for by the device."""
    imap = next(iter(found.of(Service.IMAP, login=Login.PASSWORD)), None)
    smtp = next(iter(found.of(Service.SUBMISSION, login=Login.PASSWORD)), None)
    payloads: list[dict[str, object]] = []
    if imap is not None and smtp is not None:
        payloads.append(_payload("com.apple.mail.managed", found, address, {
            "EmailAccountType": "EmailTypeIMAP", "EmailAddress": address, "EmailAccountDescription": found.name,
            "IncomingMailServerAuthentication": "EmailAuthPassword", "IncomingMailServerHostName": imap.host,
            "IncomingMailServerPortNumber": imap.port, "IncomingMailServerUseSSL": True, "IncomingMailServerUsername": address,
            "OutgoingMailServerAuthentication": "EmailAuthPassword", "OutgoingMailServerHostName": smtp.host,
            "OutgoingMailServerPortNumber": smtp.port, "OutgoingMailServerUseSSL": True, "OutgoingMailServerUsername": address,
            "OutgoingPasswordSameAsIncomingPassword": True, "PreventMove": True, "PreventAppSheet": False}))
    web = next(iter(found.of(Service.WEB)), None)
    if found.carddav and web is not None:
        payloads.append(_payload("com.apple.carddav.account", found, address, {
            "CardDAVAccountDescription": f"{found.name} – annuaire", "CardDAVHostName": web.host, "CardDAVPort": web.port,
            "CardDAVUseSSL": True, "CardDAVUsername": address, "CardDAVPrincipalURL": "/carddav/"}))
    return plistlib.dumps(_payload("Configuration", found, address, {
        "PayloadContent": payloads, "PayloadOrganization": found.name, "PayloadRemovalDisallowed": False}))


def _payload(kind: str, found: Discovery, address: str, values: dict[str, object]) -> dict[str, object]:
    return {"PayloadType": kind, "PayloadVersion": 1, "PayloadDisplayName": found.name,
            "PayloadIdentifier": f"{found.domain}.{kind.rpartition('.')[2].lower()}",
            "PayloadUUID": str(uuid.uuid5(_NAMESPACE, f"{kind} {address}")).upper(), **values}


# ------------------------------------------------------------------------------------------ DNS

_SRV = {(Service.IMAP, True): "_imaps", (Service.IMAP, False): "_imap", (Service.SUBMISSION, True): "_submissions",
        (Service.SUBMISSION, False): "_submission", (Service.LDAP, True): "_ldaps", (Service.SIEVE, False): "_sieve"}


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """One SRV record (RFC 2782)."""

    owner: str
    priority: int
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.owner}. 3600 IN SRV {self.priority} 1 {self.port} {self.target}."


def srv_records(found: Discovery) -> list[SrvRecord]:
    """Give the records that a domain should have: implicit TLS before STARTTLS (RFC 8314 §5.1)."""
    records = [SrvRecord(f"{_SRV[one.service, one.implicit]}._tcp.{found.domain}", 0 if one.implicit else 10, one.port, one.host)
               for one in found.offers if (one.service, one.implicit) in _SRV]
    if found.carddav:
        records += [SrvRecord(f"_carddavs._tcp.{found.domain}", 0, one.port, one.host) for one in found.of(Service.WEB)[:1]]
    return sorted(records, key=lambda one: (one.owner, one.priority))


def missing_records(wanted: Sequence[SrvRecord], seen: Sequence[SrvRecord]) -> list[SrvRecord]:
    """Give the wanted records that DNS does not have (priorities are the owner's choice)."""
    there = {(one.owner, one.port, one.target.lower()) for one in seen}
    return [one for one in wanted if (one.owner, one.port, one.target.lower()) not in there]

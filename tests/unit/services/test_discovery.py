"""What mail clients are told: the same table in four languages, hostile names inert, no word about which mailboxes exist."""

from __future__ import annotations

import plistlib
from collections.abc import AsyncIterator
from xml.etree import ElementTree

import aiohttp
import pytest
from support.clock import FakeClock

from mssante.endpoints.discovery import DiscoveryEndpoint
from mssante.endpoints.web import WebDoor
from mssante.services.discovery import (
    Discovery,
    Login,
    Offer,
    Service,
    SrvRecord,
    apple_profile,
    autoconfig,
    autodiscover,
    missing_records,
    srv_records,
)

BOTH = (Login.PASSWORD, Login.PSC)
HOSTILE = 'CHU <b> & "Fils" \' ]]>'
OFFERS = (Offer(Service.IMAP, "mta.x.fr", 143, False, BOTH), Offer(Service.IMAP, "mta.x.fr", 993, True, BOTH),
          Offer(Service.SUBMISSION, "mta.x.fr", 465, True, BOTH), Offer(Service.SUBMISSION, "mta.x.fr", 587, False, BOTH),
          Offer(Service.LDAP, "mta.x.fr", 636, True, (Login.PASSWORD,)), Offer(Service.SIEVE, "mta.x.fr", 4190, False, (Login.PASSWORD,)),
          Offer(Service.WEB, "mta.x.fr", 8443, True, (Login.PASSWORD,)))
FOUND = Discovery("x.mssante.fr", HOSTILE, OFFERS, True, "https://aide.x.fr/?a=1&b=2")


def test_thunderbird_reads_passwords_first_then_psc() -> None:
    root = ElementTree.fromstring(autoconfig(FOUND))
    told = [(one.findtext("port"), one.findtext("socketType"), one.findtext("authentication"), one.findtext("username"))
            for one in root.iter("incomingServer")]
    assert told == [(port, kind, way, "%EMAILADDRESS%") for way in ("password-cleartext", "OAuth2")
                    for port, kind in (("993", "SSL"), ("143", "STARTTLS"))]
    assert [one.findtext("port") for one in root.iter("outgoingServer")] == ["465", "587", "465", "587"]
    assert root.findtext("emailProvider/displayName") == HOSTILE
    assert root.findtext("addressBook/serverURL") == "https://mta.x.fr:8443/carddav/"


def test_outlook_gets_one_of_each() -> None:
    address = 'a&b"<c>@x.mssante.fr'
    root = ElementTree.fromstring(autodiscover(FOUND, address).encode())
    told = [{child.tag.rpartition("}")[2]: child.text for child in one} for one in root.iter() if one.tag.endswith("}Protocol")]
    assert [(one["Type"], one["Port"], one["SSL"], one["LoginName"]) for one in told] == [
        ("IMAP", "993", "on", address), ("SMTP", "465", "on", address)]


def test_apple_reads_mail_and_contacts() -> None:
    profile = plistlib.loads(apple_profile(FOUND, "a@x.mssante.fr"))
    mail, contacts = profile["PayloadContent"]
    assert (mail["IncomingMailServerPortNumber"], mail["OutgoingMailServerPortNumber"], mail["EmailAddress"]) == (993, 465, "a@x.mssante.fr")
    assert contacts["CardDAVPort"] == 8443 and profile["PayloadDisplayName"] == HOSTILE
    assert "Password" not in {key for key in mail if mail[key] and key.endswith("Password") and key != "OutgoingPasswordSameAsIncomingPassword"}
    assert apple_profile(FOUND, "a@x.mssante.fr") == apple_profile(FOUND, "a@x.mssante.fr") != apple_profile(FOUND, "b@x.mssante.fr")
    bare = Discovery("x.fr", "x", ())
    assert plistlib.loads(apple_profile(bare, "a@x.fr"))["PayloadContent"] == [] and bare.web == ""


def test_dns() -> None:
    records = srv_records(FOUND)
    assert [str(one) for one in records] == [
        "_carddavs._tcp.x.mssante.fr. 3600 IN SRV 0 1 8443 mta.x.fr.", "_imap._tcp.x.mssante.fr. 3600 IN SRV 10 1 143 mta.x.fr.",
        "_imaps._tcp.x.mssante.fr. 3600 IN SRV 0 1 993 mta.x.fr.", "_ldaps._tcp.x.mssante.fr. 3600 IN SRV 0 1 636 mta.x.fr.",
        "_sieve._tcp.x.mssante.fr. 3600 IN SRV 10 1 4190 mta.x.fr.", "_submission._tcp.x.mssante.fr. 3600 IN SRV 10 1 587 mta.x.fr.",
        "_submissions._tcp.x.mssante.fr. 3600 IN SRV 0 1 465 mta.x.fr."]
    seen = [SrvRecord(one.owner, 5, one.port, one.target.upper()) for one in records[1:]]
    assert missing_records(records, seen) == records[:1]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    door = WebDoor(None)
    port = await door.open("127.0.0.1:0", DiscoveryEndpoint({"x.mssante.fr": FOUND}, FakeClock()).routes())
    yield f"http://127.0.0.1:{port}"
    await door.close()


def outlook(address: str, schema: str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a") -> bytes:
    return (f"<Autodiscover xmlns='http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006'><Request>"
            f"<EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
            "</Request></Autodiscover>").encode()


@pytest.mark.parametrize(("path", "host", "status", "words"), [
    ("/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=a@x.mssante.fr", "", 200, "993"),
    ("/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=nobody@X.mssante.FR", "", 200, "993"),
    ("/mail/config-v1.1.xml", "autoconfig.x.mssante.fr", 200, "993"),
    ("/.well-known/autoconfig/mail/config-v1.1.xml", "x.mssante.fr", 200, "993"),
    ("/mail/config-v1.1.xml?emailaddress=a@other.fr", "", 404, "DECOUVERTE-DOMAINE"),
    ("/mail/config-v1.1.xml?emailaddress=a%0d%0ab@x.mssante.fr", "", 404, "DECOUVERTE"),
    ("/mail/config-v1.1.xml?emailaddress=" + "a" * 300 + "@x.mssante.fr", "", 404, ""),
    ("/mail.mobileconfig?address=a@x.mssante.fr", "", 200, "IncomingMailServerHostName"),
    ("/mail.mobileconfig?address=x.mssante.fr", "", 404, "DECOUVERTE"), ("/mail.mobileconfig", "", 404, "DECOUVERTE"),
    ("/autodiscover/autodiscover.json?Email=a@x.mssante.fr&Protocol=Autodiscoverv1", "", 200, "autodiscover.xml"),
    ("/autodiscover/autodiscover.json/v1.0/a@x.mssante.fr?Protocol=AutodiscoverV1", "", 200, "autodiscover.xml"),
    ("/autodiscover/autodiscover.json?Email=a@x.mssante.fr&Protocol=ActiveSync", "", 400, "ProtocolNotSupported"),
    ("/autodiscover/autodiscover.json?Email=a@y.fr&Protocol=Autodiscoverv1", "", 404, "InvalidDomain")])
async def test_over_http(url: str, path: str, host: str, status: int, words: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(url + path, headers={"Host": host} if host else {}) as answer:
        assert answer.status == status and words in await answer.text()


@pytest.mark.parametrize(("body", "words"), [
    (outlook("a@x.mssante.fr"), "<Port>993</Port>"), (outlook("a@y.fr"), "<ErrorCode>500</ErrorCode>"),
    (outlook("x.mssante.fr"), "<ErrorCode>500</ErrorCode>"), (outlook("a@x.mssante.fr", "mobilesync"), "<ErrorCode>601</ErrorCode>"),
    (b"", "<ErrorCode>600"), (b"<a", "<ErrorCode>600"), (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "600"),
    (b"<a>" * 30 + b"</a>" * 30, "600"), (b" " * 20_000, "600")])
async def test_outlook_over_http(url: str, body: bytes, words: str) -> None:
    async with aiohttp.ClientSession() as client, client.post(url + "/autodiscover/autodiscover.xml", data=body) as answer:
        text = await answer.text()
        assert answer.status == 200 and words in text and "root:" not in text
        ElementTree.fromstring(text)

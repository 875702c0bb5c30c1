"""The shared services over real sockets: what a client gets, and what it gets while a fault is on."""

from __future__ import annotations

import asyncio
import io
import ssl
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import dns.asyncquery
import dns.message
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_der_x509_crl, ocsp

from mssante.clock import SystemClock
from mssante.lab.desks import fault_file, load_certificate
from mssante.lab.faults import Fault
from mssante.lab.infra import Infra
from mssante.lab.manifest import Lab
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.ocsp import OcspPolicy, build_question, verify_answer


@pytest_asyncio.fixture
async def running(lab: Lab) -> AsyncIterator[Lab]:
    fault_file(lab).write(frozenset())
    infra = Infra(lab, SystemClock())
    await infra.start()
    yield lab
    await infra.stop()
    fault_file(lab).write(frozenset())


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), auto_decompress=False) as session:
        yield session


def anchors(lab: Lab) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab.path(lab.trust("anchors"))))


def set_faults(lab: Lab, *faults: Fault) -> None:
    fault_file(lab).write(frozenset(faults))


async def test_list_over_https_with_conditional_get(running: Lab, http: aiohttp.ClientSession) -> None:
    url = running.trust("whitelist_url")
    async with http.get(url, ssl=anchors(running)) as answer:
        assert answer.status == 200
        body, tag = await answer.read(), answer.headers["ETag"]
    assert b"<Nom>alpha.mssante.test</Nom>" in body and b"Signature" in body
    async with http.get(url, ssl=anchors(running), headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304 and not await answer.read()
    set_faults(running, Fault.WHITELIST_BAD_SIGNATURE)
    async with http.get(url, ssl=anchors(running), headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200 and await answer.read() != body
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await http.get(url, ssl=ssl.create_default_context())


async def test_list_unreachable(running: Lab, http: aiohttp.ClientSession) -> None:
    set_faults(running, Fault.WHITELIST_UNREACHABLE)
    with pytest.raises(aiohttp.ClientError):
        await http.get(running.trust("whitelist_url"), ssl=anchors(running))
    set_faults(running)
    async with http.get(running.trust("whitelist_url"), ssl=anchors(running)) as answer:
        assert answer.status == 200


async def test_published_list_is_served_as_it_is(running: Lab, http: aiohttp.ClientSession) -> None:
    path = running.path(running.trust("published")) / "listeblanchemssante.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"<test/>")
    try:
        async with http.get(running.trust("whitelist_url"), ssl=anchors(running)) as answer:
            assert await answer.read() == b"<test/>"
    finally:
        path.unlink()


async def test_crl_and_authorities(running: Lab, http: aiohttp.ClientSession) -> None:
    beta = load_certificate(running.path("beta/certs/mta.pem")).serial_number

    async def crl() -> bytes:
        async with http.get(running.trust("crl_url")) as answer:
            assert (answer.status, answer.content_type) == (200, "application/pkix-crl")
            return await answer.read()

    assert load_der_x509_crl(await crl()).get_revoked_certificate_by_serial_number(beta) is None
    set_faults(running, Fault.BETA_CERTIFICATE_REVOKED)
    assert load_der_x509_crl(await crl()).get_revoked_certificate_by_serial_number(beta) is not None
    async with http.get(running.trust("root_crl_url")) as answer:
        assert load_der_x509_crl(await answer.read()).issuer == load_certificate(running.path("igc/root.pem")).subject
    base = running.trust("crl_url").rpartition("/")[0]
    async with http.get(f"{base}/AC/ACI-EL-ORG.cer") as answer:
        assert load_der_x509_certificate(await answer.read()) == load_certificate(running.path("igc/organisations.pem"))
    for path in ("AUTRE.crl", "AC/AUTRE.cer", "..%2Flab.json", "lab.json"):
        async with http.get(f"{base}/{path}") as answer:
            assert answer.status == 404, path


async def test_ocsp_follows_the_fault(running: Lab, http: aiohttp.ClientSession) -> None:
    beta = load_certificate(running.path("beta/certs/mta.pem"))
    issuer = load_certificate(running.path("igc/organisations.pem"))
    request = ocsp.OCSPRequestBuilder().add_certificate(beta, issuer, hashes.SHA256()).build().public_bytes(Encoding.DER)

    async def status() -> ocsp.OCSPCertStatus:
        async with http.post(running.trust("ocsp_url"), data=request) as answer:
            assert answer.content_type == "application/ocsp-response"
            return ocsp.load_der_ocsp_response(await answer.read()).certificate_status

    assert await status() is ocsp.OCSPCertStatus.GOOD
    set_faults(running, Fault.BETA_CERTIFICATE_REVOKED)
    assert await status() is ocsp.OCSPCertStatus.REVOKED


async def test_a_delegated_responder_answers_beside_the_authority(running: Lab, http: aiohttp.ClientSession) -> None:
    """Both answers are believed by what the operators run; the one is signed by the authority, the other by its delegate."""
    beta = load_certificate(running.path("beta/certs/mta.pem"))
    issuer = load_certificate(running.path("igc/organisations.pem"))
    question = build_question(beta, issuer, bytes(32))
    delegates = []
    for path in ("", "delegated"):
        async with http.post(running.trust("ocsp_url") + path, data=question.der) as answer:
            raw = await answer.read()
        found = verify_answer(raw, question, crls=CrlSet(), now=datetime.now(UTC), policy=OcspPolicy(nonce_required=True))
        assert found.status is RevocationStatus.GOOD and found.fresh
        delegates.append(found.delegate)
    assert delegates[0] == "" and len(delegates[1]) == 64


async def test_dns_over_udp_and_tcp(running: Lab) -> None:
    host, _, port = running.trust("dns").rpartition(":")
    query = dns.message.make_query("beta.mssante.test", "MX")
    for answer in (await dns.asyncquery.udp(query, host, port=int(port), timeout=5),
                   await dns.asyncquery.tcp(query, host, port=int(port), timeout=5)):
        assert [str(one) for one in answer.answer[0]] == ["10 mta.beta.mssante.test."]


async def test_dns_over_tcp_closes_on_rubbish(running: Lab) -> None:
    host, _, port = running.trust("dns").rpartition(":")
    for rubbish in (b"\xff\xff", b"\x00\x03abc"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(rubbish)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_extraction(running: Lab, http: aiohttp.ClientSession) -> None:
    url = running.trust("directory_extraction")
    async with http.head(url) as answer:
        name = answer.headers["Content-Disposition"]
    assert "Extraction_Correspondance_MSSante_" in name and name.endswith('.zip"')
    async with http.get(url) as answer:
        with zipfile.ZipFile(io.BytesIO(await answer.read())) as archive:
            assert b"claire.martin@alpha.mssante.test" in archive.read(archive.namelist()[0])


async def test_fhir(running: Lab, http: aiohttp.ClientSession) -> None:
    base = running.trust("directory_fhir")
    key = {"ESANTE-API-KEY": "any"}
    query = {"mailbox-mss:exact": "paul.durand@beta.mssante.test"}
    async with http.get(f"{base}/Practitioner", params=query, headers=key) as answer:
        assert answer.content_type == "application/fhir+json"
        bundle = await answer.json(content_type=None)
    async with http.post(f"{base}/Practitioner/_search", data=query, headers=key) as answer:
        assert await answer.json(content_type=None) == bundle
    assert bundle["total"] == 1
    async with http.get(bundle["entry"][0]["fullUrl"]) as answer:
        assert await answer.json(content_type=None) == bundle["entry"][0]["resource"]
    for path, status in (("Practitioner?mailbox-mss-type=PER", 400), ("Device", 404), ("Practitioner/none", 404)):
        async with http.get(f"{base}/{path}") as answer:
            assert answer.status == status
            assert (await answer.json(content_type=None))["resourceType"] == "OperationOutcome"


async def test_directory_down(running: Lab, http: aiohttp.ClientSession) -> None:
    set_faults(running, Fault.DIRECTORY_DOWN)
    for url in (running.trust("directory_extraction"), running.trust("directory_fhir") + "/Practitioner"):
        with pytest.raises(aiohttp.ClientError):
            await http.get(url)
    async with http.get(running.trust("crl_url")) as answer:
        assert answer.status == 200

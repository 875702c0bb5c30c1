"""The generated certificates have the profiles of IGC-Santé (spec §3) and chain as they should."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mssante.lab.igc import ORGANISATIONS_NAME, PERSONNES_NAME, POLICY, PRODUCT_CATEGORY, ROOT_NAME
from mssante.lab.manifest import Lab
from mssante.lab.plan import LIST_SIGNER_CN, OPERATORS, PEERS, luhn_digit


def first(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def bits(certificate: x509.Certificate) -> int:
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    return key.key_size


def cn(name: x509.Name) -> str:
    return str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def all_certificates(lab: Lab) -> dict[str, x509.Certificate]:
    return {str(path.relative_to(lab.folder)): first(path) for path in lab.folder.glob("*/**/*.pem")
            if path.name != "anchors.pem"}


def test_authorities(lab: Lab) -> None:
    root, organisations = first(lab.path("igc/root.pem")), first(lab.path("igc/organisations.pem"))
    assert (cn(root.subject), cn(organisations.subject)) == (ROOT_NAME, ORGANISATIONS_NAME)
    assert cn(first(lab.path("igc/personnes.pem")).subject) == PERSONNES_NAME
    assert bits(root) == bits(organisations) == 4096
    units = [one.value for one in root.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    assert units == ["0002 187512751", "IGC-SANTE LAB"]
    basic = organisations.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value.ca and basic.value.path_length == 0
    usage = organisations.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and usage.crl_sign and not usage.digital_signature
    organisations.verify_directly_issued_by(root)
    points = organisations.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None and points[0].full_name[0].value.endswith("/ACR-EL.crl")


def test_operator_certificate_is_serv_ssl(lab: Lab) -> None:
    for plan in OPERATORS:
        leaf = first(lab.path(f"{plan.name}/certs/mta.pem"))
        assert leaf.subject.rfc4514_string() == (
            f"CN={plan.host},OU={plan.structure},O={plan.title},ST=Paris (75),C=FR")
        assert plan.structure[0] == "3" and len(plan.structure) == 15
        assert luhn_digit(plan.structure[1:-1]) == plan.structure[-1]
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical and usage.value.digital_signature and usage.value.key_encipherment
        extended = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert extended == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [plan.host, "localhost"]
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
        assert bits(leaf) == 2048
        leaf.verify_directly_issued_by(first(lab.path("igc/organisations.pem")))


def test_list_signer_is_org_sign(lab: Lab) -> None:
    leaf = first(lab.path(lab.trust("signer_certificate")))
    assert cn(leaf.subject) == LIST_SIGNER_CN
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.content_commitment and not usage.key_encipherment
    extended = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert extended == [ExtendedKeyUsageOID.EMAIL_PROTECTION]


def test_application_and_smime_certificates(lab: Lab) -> None:
    application = first(lab.path("alpha/certs/resultats.pem"))
    assert list(application.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH]
    smime = first(lab.path("alpha/certs/smime-claire.martin.pem"))
    names = smime.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["claire.martin@alpha.mssante.test"]


def test_every_leaf_has_the_igc_extensions(lab: Lab) -> None:
    categories = set()
    for name, leaf in all_certificates(lab).items():
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            continue
        category = leaf.extensions.get_extension_for_oid(PRODUCT_CATEGORY).value
        assert isinstance(category, x509.UnrecognizedExtension)
        categories.add(category.value)
        policies = leaf.extensions.get_extension_for_class(x509.CertificatePolicies).value
        assert [one.policy_identifier for one in policies] == [POLICY], name
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        assert lab.trust("ocsp_url") in [one.access_location.value for one in access]
        points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert points[0].full_name is not None and points[0].full_name[0].value.startswith("http://127.0.0.1:")
        leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert categories == {b"\x04\x01\x82", b"\x04\x01\x83"}


def test_every_subject_is_marked_lab(lab: Lab) -> None:
    found = all_certificates(lab)
    assert len(found) >= 20
    for name, certificate in found.items():
        assert "LAB" in certificate.subject.rfc4514_string(), name


def test_serials_and_keys_differ(lab: Lab) -> None:
    found = all_certificates(lab).values()
    assert len({one.serial_number for one in found}) == len(found)
    assert len({one.public_key().public_numbers().n for one in found}) == len(found)  # type: ignore[union-attr]


def test_private_keys_are_private(lab: Lab) -> None:
    keys = list(lab.folder.glob("*/**/*.key"))
    assert len(keys) >= 18
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_peers_are_what_their_why_says(lab: Lab) -> None:
    organisations, personnes = first(lab.path("igc/organisations.pem")), first(lab.path("igc/personnes.pem"))
    for peer in PEERS:
        chain = x509.load_pem_x509_certificates(lab.path(f"peers/{peer.name}.pem").read_bytes())
        leaf = chain[0]
        assert cn(leaf.subject) == peer.host
        issuer = {"organisations": organisations, "personnes": personnes}.get(peer.issuer)
        if issuer is not None:
            assert chain[1] == issuer
            leaf.verify_directly_issued_by(issuer)
        else:
            with pytest.raises(ValueError):
                leaf.verify_directly_issued_by(organisations)
        created = lab.document["created"]
        assert (leaf.not_valid_after_utc.isoformat() < created) == peer.expired


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_agrees(lab: Lab) -> None:
    def verdict(path: str, *options: str) -> bool:
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(lab.path(lab.trust("anchors"))), *options,
                   str(lab.path(path))]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0

    for path in ("alpha/certs/mta.pem", "beta/certs/mta.pem", "citizen/certs/mta.pem", "igc/whitelist-server.pem"):
        assert verdict(path, "-purpose", "sslserver"), path
    assert verdict("alpha/certs/mta.pem", "-purpose", "sslclient")
    assert verdict("alpha/certs/resultats.pem", "-purpose", "sslclient")
    assert not verdict("alpha/certs/resultats.pem", "-purpose", "sslserver")
    assert verdict("igc/list-signer.pem", "-purpose", "smimesign")
    assert verdict("peers/gamma.pem")
    assert not verdict("peers/expired.pem")
    assert not verdict("peers/foreign_ca.pem")

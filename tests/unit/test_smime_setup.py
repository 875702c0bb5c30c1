"""S/MIME from the configuration: settings, routes, nothing built when it is off, keys in a token."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.pki import der, key_pem
from support.smime_stage import mail_leaf

from mssante.config.model import (
    CitizenSection,
    Config,
    DomainsConfig,
    DomainSection,
    OperatorConfig,
    OperatorSection,
    SmimeSection,
)
from mssante.errors import OperatorFault
from mssante.services.smime_policy import Incoming, Outgoing
from mssante.smime.decrypt import open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher
from mssante.smime_setup import add_smime, key_ring, smime_settings

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
ADDRESS = "alice@hopital.mssante.fr"
LETTER = f"From: {ADDRESS}\r\nTo: x@a.fr\r\nSubject: Essai\r\n\r\nBonjour.\r\n".encode()


def config(folder: Path = Path(), **smime: Any) -> Config:
    """A configuration with this section."""
    domains = DomainsConfig(domain=(DomainSection(name="a.mssante.fr"),), citizen=CitizenSection(domain="patient.mssante.test"))
    operator = OperatorConfig(operator=OperatorSection(name="a", hostname="mta.a.mssante.fr"), smime=SmimeSection(**smime))
    return Config(folder=folder, operator=operator, domains=domains)


def test_settings_come_from_the_section() -> None:
    found = smime_settings(config(outgoing="both", incoming="open", fallback="refuse", cipher="aes128-cbc", routes={"CHU.mssante.fr": "sign"}))
    assert (found.outgoing, found.incoming, found.refuses, found.cipher) == (Outgoing.BOTH, Incoming.OPEN, True, Cipher.AES128_CBC)
    assert found.routes == {"patient.mssante.test": Outgoing.NEVER, "chu.mssante.fr": Outgoing.SIGN}
    assert smime_settings(config()).routes["patient.mssante.fr"] is Outgoing.NEVER
    spoken = smime_settings(config(routes={"patient.mssante.test": "sign"}))
    assert spoken.routes == {"patient.mssante.test": Outgoing.NEVER}, "whatever an administrator wrote: nobody there opens S/MIME"


def test_nothing_is_built_when_it_is_off() -> None:
    context: Any = SimpleNamespace(opening=None, sealing=None)
    add_smime(context, config(enabled=False), None, secret=b"k" * 32)  # type: ignore[arg-type]
    assert context.opening is None and context.sealing is None


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference of a key in a SoftHSM token."""
    pkcs11 = pytest.importorskip("pkcs11")
    if shutil.which("softhsm2-util") is None or not MODULE.exists():
        pytest.skip("softhsm2 is not installed on this machine")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm.conf"))
    certificate, key = mail_leaf(ADDRESS)
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    for words in (("--init-token", "--free", "--label", "smime-setup", "--so-pin", "1234"),
                  ("--import", str(tmp_path / "key.pem"), "--token", "smime-setup", "--label", "alice", "--id", "a1")):
        subprocess.run(["softhsm2-util", *words, "--pin", "1234"], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    library = pkcs11.lib(str(MODULE))
    library.reinitialize()  # another test of this process may have read other tokens
    kind, name = pkcs11.Attribute, pkcs11.ObjectClass
    with library.get_token(token_label="smime-setup").open(rw=True, user_pin="1234") as session:
        session.create_object({
            kind.CLASS: name.CERTIFICATE, kind.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509, kind.TOKEN: True, kind.LABEL: "alice",
            kind.ID: b"\xa1", kind.SUBJECT: certificate.subject.public_bytes(), kind.VALUE: der(certificate)})
    (tmp_path / "pin").touch(mode=0o600)
    (tmp_path / "pin").write_text("1234\n")
    return f"pkcs11:token=smime-setup;object=alice?module-path={MODULE}&pin-source=file:pin"


def test_a_key_in_a_token_signs_and_opens(token: str, tmp_path: Path) -> None:
    ring = key_ring(config(tmp_path))
    key = ring.open(token)
    assert ring.open(token) is key and key.certificate == mail_leaf(ADDRESS)[0]
    signed = sign_message(LETTER, key, now=datetime(2026, 3, 1, tzinfo=UTC))
    opened = open_message(encrypt_message(signed, [key.certificate], oaep=False), [key])
    assert b"Bonjour." in opened.message
    with pytest.raises(OperatorFault):
        ring.open(token.replace("object=alice", "object=absent"))


def test_a_reference_of_a_token_that_cannot_be_read() -> None:
    with pytest.raises(OperatorFault) as refused:
        key_ring(config()).open("pkcs11:pin-value=1234")
    assert "1234" not in str(refused.value)

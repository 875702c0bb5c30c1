"""The national list of 2025-03-13, signed by a test signer: the whole path from octets to decisions (spec §1.3, §1.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.pki import build_igc

from mssante.trust.names import DnMode, parse_dn
from mssante.trust.signature import verify_list_signature
from mssante.trust.signing import sign_list
from mssante.trust.whitelist import Whitelist, parse_whitelist

AT = datetime(2025, 3, 13, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def real(shared_dir: Path) -> Whitelist:
    igc = build_igc()
    raw = (shared_dir / "data/whitelist/listeblanche-2025-03-13.xml").read_bytes()
    signed = sign_list(raw, *igc.list_signer(), AT)
    return parse_whitelist(verify_list_signature(signed, igc.signer_policy(), AT).root)


def test_every_row_is_read_or_told(real: Whitelist) -> None:
    """6,554 rows, 5,002 names; one name is a mailbox (`…@ase.ditepbeziers.mssante.fr`) and so is nobody's domain."""
    assert real.entry_count + len(real.skipped) == 6554
    assert [(one.rank, one.rule) for one in real.skipped] == [(6055, "ADR-DOMAIN")]
    assert real.domain_count == 5001
    assert real.generated_at == datetime(2025, 3, 13, 14, 54, 10, tzinfo=UTC)
    assert real.name_counts == {"raw": 392, "strict": 380, "cn_ou": 377, "cn": 375}
    assert all(entry.updated_at is not None and entry.description for entry in real.entries)


def test_well_known_entries(real: Whitelist) -> None:
    for domain in ("medecin.mssante.fr", "pharmacien.mssante.fr"):
        assert {name.value("CN") for name in real.dns_for(domain)} >= {"bus.mssante.fr", "proxysmtp.mssante.fr"}
    for name in real.dns_for("patient.mssante.fr"):
        assert real.binds("patient.mssante.fr", name, DnMode.CN_OU)
        assert not real.binds("medecin.mssante.fr", name, DnMode.CN_OU)
    assert real.knows_domain("interop-mssante.apicrypt.org") and not real.knows_domain("apicrypt.org")
    assert not real.knows_domain("mssante.fr") and not real.knows_domain("absent.medecin.mssante.fr")
    assert len(real.domains_of(parse_dn("CN=medimail-asip.mipih.fr,OU=318310021300028"), DnMode.CN_OU)) > 1000


def test_several_certificates_and_several_entities_for_one_domain(real: Whitelist) -> None:
    several = [domain for domain in real.domains() if len({name.value("OU") for name in real.dns_for(domain)}) > 1]
    assert len(several) == 414
    for domain in several[:20]:
        assert all(real.binds(domain, name, DnMode.STRICT) for name in real.dns_for(domain))

"""Keys, chains and anchors replaced while the operator serves: what is put in force, what is refused, what is told."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from support.clock import FakeClock
from support.pki import TestIgc, authority, certificate_pem, key_for, key_pem, pem_files
from support.smtp_stage import IGC
from support.tls_memory import Ends, client, shake

from mssante.config.model import (
    Config,
    DomainsConfig,
    DomainSection,
    LoginSection,
    OperatorConfig,
    OperatorSection,
    TlsSection,
    TrustSection,
)
from mssante.endpoints.tls_material import DoorTls
from mssante.errors import MssFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import REGISTRY
from mssante.services.rollover_state import (
    Rollover,
    ask_reload,
    declare,
    retire,
    rollover_file,
    switch,
    switch_back,
    try_with,
    write_rollover,
)
from mssante.tls_setup import TlsKeeper
from mssante.trust.anchors import TrustAnchors

HOST = "mx.hopital.mssante.fr"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEER = "b.mssante.fr"


class Told:
    """The journal, and who takes anchors."""

    def __init__(self) -> None:
        self.events: list[JournalEvent] = []
        self.anchors: list[TrustAnchors] = []

    def event(self, kind: JournalKind, subject: str, payload: dict[str, Any]) -> JournalEvent:
        return JournalEvent(kind, NOW, "", subject, payload)

    def write(self, event: JournalEvent) -> None:
        self.events.append(event)

    async def take_anchors(self, anchors: TrustAnchors, signers: TrustAnchors) -> None:
        self.anchors.append(anchors)

    @property
    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events]

    @property
    def rules(self) -> list[object]:
        return [event.payload["rule"] for event in self.events if event.kind is JournalKind.TLS_REFUSED]


class Space:
    """The folder of an operator. `put` writes a pair; `names` maps our certificates to the words of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[bytes, str] = {}
        self.clock = FakeClock(NOW)
        self.told = Told()
        self.ticks = 0
        self.put("mta", "first")
        self.anchors = folder / "anchors.pem"
        self.write(self.anchors, IGC.anchors_pem)

    def write(self, path: Path, raw: bytes) -> None:
        """Write a file with a time of its own: no two writes look alike."""
        path.write_bytes(raw)
        self.ticks += 1
        os.utime(path, ns=(self.ticks, self.ticks))

    def put(self, file: str, word: str, *, igc: TestIgc = IGC, **profile: Any) -> None:
        """Write a new pair; the served one will be called `word`."""
        leaf, key = igc.leaf(HOST, key=key_for(f"setup {word}"), **profile)
        self.names[leaf.fingerprint(leaf.signature_hash_algorithm)] = word  # type: ignore[arg-type]
        self.write(self.folder / f"{file}.pem", certificate_pem(leaf))
        self.write(self.folder / f"{file}.key", key_pem(key))

    def config(self, *, login: dict[str, Any] | None = None, **tls: Any) -> Config:
        section = TlsSection(operator_certificate=Path("mta.pem"), operator_key=Path("mta.key"), **tls)
        operator = OperatorConfig(operator=OperatorSection(name="a", hostname=HOST), tls=section,
                                  trust=TrustSection(anchors=Path("anchors.pem"), issuers=IGC.issuer_cns, signer_issuers=IGC.issuer_cns), login=LoginSection(**login or {}))
        return Config(folder=self.folder, operator=operator, domains=DomainsConfig(domain=(DomainSection(name="hopital.mssante.fr"),)))

    def keeper(self, **tls: Any) -> TlsKeeper:
        made = TlsKeeper(self.config(**tls), self.clock)
        made.watch(self.told, self.told)  # type: ignore[arg-type]
        return made

    def word(self, raw: bytes) -> str:
        leaf = x509.load_der_x509_certificate(raw)
        return self.names[leaf.fingerprint(leaf.signature_hash_algorithm)]  # type: ignore[arg-type]

    def served(self, door: DoorTls, name: str | None = None) -> str:
        """Give the word of what a new client of a door is shown."""
        return self.word(shake(door.starttls, client(), name=name).shown)

    def shown_to(self, keeper: TlsKeeper, domain: str) -> str:
        """Give the word of what our own sessions show to a domain."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*pem_files(self.folder / "peer", "peer", *IGC.leaf("mx.b.mssante.fr")))
        server.load_verify_locations(cadata=certificate_pem(IGC.organisations.certificate, IGC.root.certificate).decode())
        server.verify_mode = ssl.CERT_REQUIRED
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        ends: Ends = shake(server, keeper.outbound.context(domain))
        return self.word(ends.server.getpeercert(True) or b"")

    def rollover(self, state: Rollover) -> None:
        write_rollover(rollover_file(self.folder / "mta.pem"), state)

    @property
    def next(self) -> Rollover:
        return declare(Rollover(), self.folder / "next.pem", self.folder / "next.key", NOW)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path)


def alarm(source: str) -> float | None:
    return REGISTRY.get_sample_value("mssante_trust_alarm", {"source": source})


# ---------------------------------------------------------------- one pair


async def test_a_new_pair_is_served_without_a_restart_everywhere(space: Space) -> None:
    keeper = space.keeper()
    held = (keeper.operators.starttls, keeper.users.implicit, keeper.imap.implicit)
    assert not await keeper.look()
    session = shake(held[0], client())
    space.put("mta", "second")
    assert await keeper.look()
    for front in held:
        assert space.word(shake(front, client()).shown) == "second"
    assert space.shown_to(keeper, PEER) == "second" and session.say(b"on") == b"on"
    assert space.told.kinds == ["tls_changed"] and alarm("tls-operator") == 0
    assert not await keeper.look()


@pytest.mark.parametrize(("word", "profile", "rule"), [
    ("old", {"not_after": NOW - timedelta(days=1)}, "TLS-DATES"), ("early", {"not_before": NOW + timedelta(days=1)}, "TLS-DATES"),
    ("person", {"issuer": "personnes"}, "TLS-EMETTEUR"), ("authority", {"ca": True}, "TLS-USAGE")])
async def test_a_bad_new_pair_is_refused_and_the_former_one_serves_on(space: Space, word: str, profile: dict[str, Any], rule: str) -> None:
    keeper = space.keeper()
    space.put("mta", word, **profile)
    assert not await keeper.look() and space.told.events == [], "a copy under way is no alarm yet"
    for _ in range(3):
        assert not await keeper.look()
    assert space.served(keeper.operators) == "first" and space.told.rules == [rule] and alarm("tls-operator") == 1
    space.put("mta", "third")
    assert await keeper.look()
    assert space.served(keeper.operators) == "third" and alarm("tls-operator") == 0


async def test_what_is_not_valid_yet_is_served_when_it_is(space: Space) -> None:
    keeper = space.keeper()
    space.put("mta", "tomorrow", not_before=NOW + timedelta(days=1))
    assert not await keeper.look() and not await keeper.look()
    space.clock.advance(timedelta(days=1, seconds=1))
    assert await keeper.look() and space.served(keeper.operators) == "tomorrow"


async def test_a_key_that_comes_after_its_certificate(space: Space) -> None:
    keeper = space.keeper()
    leaf, key = IGC.leaf(HOST, key=key_for("setup late"))
    space.names[leaf.fingerprint(leaf.signature_hash_algorithm)] = "late"  # type: ignore[arg-type]
    space.write(space.folder / "mta.pem", certificate_pem(leaf))
    assert not await keeper.look()
    space.write(space.folder / "mta.key", key_pem(key))
    assert await keeper.look()
    assert space.served(keeper.operators) == "late" and space.told.rules == []


async def test_renewal_does_not_read_what_was_refused(space: Space) -> None:
    keeper = space.keeper(session_seconds=600)
    before = keeper.operators.starttls.current
    (space.folder / "mta.key").write_bytes(b"")
    assert not await keeper.look()
    space.clock.advance(timedelta(seconds=601))
    assert await keeper.look(), "the tickets' keys change"
    assert keeper.operators.starttls.current is not before and space.served(keeper.operators) == "first"
    assert not await keeper.look()


async def test_a_reload_reads_all_again(space: Space) -> None:
    keeper = space.keeper()
    before = keeper.operators.starttls.current
    ask_reload(space.folder / "mta.pem")
    assert await keeper.look() and keeper.operators.starttls.current is not before
    keeper.reload()
    assert await keeper.look() and not await keeper.look()
    assert space.told.events == [], "nothing else is served than before"


def test_a_start_with_an_expired_pair_serves_it_and_one_without_pair_does_not_start(space: Space) -> None:
    space.put("mta", "old", not_after=NOW - timedelta(days=1))
    assert space.served(space.keeper().operators) == "old"
    (space.folder / "mta.key").unlink()
    with pytest.raises(MssFault, match="TLS-LECTURE"):
        space.keeper()


# ---------------------------------------------------------------- two pairs live


async def test_a_rollover_from_declaration_to_retirement(space: Space) -> None:
    keeper = space.keeper()
    space.put("next", "next")
    space.rollover(space.next)
    await keeper.look()
    assert (space.served(keeper.operators), space.shown_to(keeper, PEER)) == ("first", "first")
    trying = try_with(space.next, (PEER,), NOW)
    space.rollover(trying)
    assert await keeper.look()
    assert space.shown_to(keeper, PEER) == "next" and space.shown_to(keeper, "a.mssante.fr") == "first"
    assert space.served(keeper.operators) == space.served(keeper.users) == "first"
    space.rollover(switch(trying, NOW))
    assert await keeper.look()
    assert {space.served(keeper.operators), space.served(keeper.imap), space.shown_to(keeper, "a.mssante.fr")} == {"next"}
    space.rollover(switch_back(switch(trying, NOW), NOW))
    assert await keeper.look() and space.served(keeper.operators) == "first"
    space.rollover(switch(trying, NOW))
    await keeper.look()
    for end in ("pem", "key"):  # the command line puts the next pair in the configured files, then says so
        shutil.copy(space.folder / f"next.{end}", space.folder / f"mta.{end}")
        await keeper.look()
        assert space.served(keeper.operators) == "next"
    space.rollover(retire(switch(trying, NOW), "00", NOW))
    (space.folder / "next.key").unlink()
    await keeper.look()
    assert space.served(keeper.operators) == space.shown_to(keeper, PEER) == "next"
    assert space.told.rules == [] and space.told.kinds == ["tls_changed"] * 4


async def test_a_next_pair_that_is_bad_is_told_and_never_served(space: Space) -> None:
    keeper = space.keeper()
    space.put("next", "old next", not_after=NOW - timedelta(days=1))
    space.rollover(switch(space.next, NOW))
    assert await keeper.look(), "the state was read"
    await keeper.look()
    assert space.served(keeper.operators) == "first" and space.told.rules == ["TLS-DATES"] and alarm("tls-next") == 1
    space.put("next", "good next")
    assert await keeper.look() and space.served(keeper.operators) == "good next"


async def test_a_state_that_cannot_be_read_leaves_the_one_in_force(space: Space) -> None:
    space.put("next", "next")
    space.rollover(switch(space.next, NOW))
    keeper = space.keeper()
    assert space.served(keeper.operators) == "next", "a restart in the middle of a rollover"
    space.write(space.folder / "rollover.json", b"{")
    assert not await keeper.look() and not await keeper.look()
    assert space.served(keeper.operators) == "next" and space.told.rules == ["ROLL-FILE"]


async def test_a_date_switches_too(space: Space) -> None:
    space.put("next", "next", not_before=NOW + timedelta(hours=1))
    keeper = space.keeper(next_certificate=Path("next.pem"), next_key=Path("next.key"), next_from=NOW + timedelta(hours=2))
    assert space.served(keeper.operators) == "first" and not await keeper.look()
    assert space.told.rules == [], "not in its dates yet, and not served yet"
    space.clock.advance(timedelta(hours=2))
    assert await keeper.look() and space.served(keeper.operators) == "next" == space.shown_to(keeper, PEER)


async def test_rsa_and_ecdsa_side_by_side_and_over_a_rollover(space: Space) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf, _ = IGC.leaf(HOST, key=key)  # type: ignore[arg-type]
    space.names[leaf.fingerprint(leaf.signature_hash_algorithm)] = "ec"  # type: ignore[arg-type]
    space.write(space.folder / "ec.pem", certificate_pem(leaf))
    space.write(space.folder / "ec.key", key_pem(key))  # type: ignore[arg-type]
    keeper = space.keeper(second_certificate=Path("ec.pem"), second_key=Path("ec.key"))
    curves = client(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+aECDSA+AESGCM")
    primes = client(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+aRSA+AESGCM")
    assert [space.word(shake(keeper.operators.starttls, one).shown) for one in (curves, primes)] == ["ec", "first"]
    space.put("next", "next")
    space.rollover(switch(space.next, NOW))
    await keeper.look()
    assert [space.word(shake(keeper.operators.starttls, one).shown) for one in (curves, primes)] == ["ec", "next"]


# ---------------------------------------------------------------- users, names


async def test_the_users_pair_and_those_by_name(space: Space) -> None:
    space.put("imap", "users", issuer="foreign")
    space.put("autre", "by name", issuer="foreign")
    space.put("entre", "between")
    keeper = space.keeper(client_certificate=Path("imap.pem"), client_key=Path("imap.key"), sni=(
        {"names": ("imap.autre.fr",), "certificate": Path("autre.pem"), "key": Path("autre.key")},
        {"names": ("mx.autre.fr",), "certificate": Path("entre.pem"), "key": Path("entre.key"), "operators": True}))
    for door in (keeper.users, keeper.imap):
        assert [space.served(door, name) for name in (None, "imap.autre.fr", "mx.autre.fr", "x.fr")] == ["users", "by name", "between", "users"]
    assert [space.served(keeper.operators, name) for name in (None, "imap.autre.fr", "mx.autre.fr")] == ["first", "first", "between"]
    space.put("autre", "by name, later", issuer="foreign")
    assert await keeper.look() and space.served(keeper.imap, "imap.autre.fr") == "by name, later"
    space.put("entre", "between, of a stranger", issuer="foreign")
    assert not await keeper.look() and not await keeper.look()
    assert space.served(keeper.operators, "mx.autre.fr") == "between" and space.told.rules == ["TLS-EMETTEUR"]


# ---------------------------------------------------------------- anchors


def with_sister(word: str) -> tuple[TestIgc, bytes]:
    """Another generation of the issuing authority under the same root, and the anchors file that has it alone."""
    sister = authority(IGC.issuer_cns[0], f"sister {word}", IGC.root)
    made = TestIgc(IGC.root, sister, IGC.personnes, IGC.foreign, IGC.lookalike)
    return made, certificate_pem(IGC.root.certificate, sister.certificate)


async def test_new_anchors_are_put_in_force_with_the_doors(space: Space) -> None:
    keeper = space.keeper()
    sister, alone = with_sister("one")
    mine = client(version=ssl.TLSVersion.TLSv1_2)
    mine.load_cert_chain(*pem_files(space.folder / "client", "c", *sister.leaf("mx.a.mssante.fr")))
    with pytest.raises(ssl.SSLError):
        shake(keeper.operators.starttls, mine)
    space.write(space.anchors, IGC.anchors_pem + alone)
    assert await keeper.look()
    assert shake(keeper.operators.starttls, mine).server.getpeercert(True)
    assert [len(one.issuers) for one in space.told.anchors] == [2] and space.told.events == []


@pytest.mark.parametrize("case", ["empty", "rubbish", "no issuer", "not ours"])
async def test_bad_anchors_are_refused(space: Space, case: str) -> None:
    keeper = space.keeper()
    raw = {"empty": b"", "rubbish": os.urandom(500), "no issuer": certificate_pem(IGC.root.certificate), "not ours": with_sister("two")[1]}[case]
    space.write(space.anchors, raw)
    assert not await keeper.look() and not await keeper.look()
    assert space.told.anchors == [] and alarm("tls-anchors") == 1
    assert space.told.rules == [{"empty": "ANCRE-LECTURE", "rubbish": "ANCRE-LECTURE", "no issuer": "ANCRE-EMETTEUR", "not ours": "TLS-ANCRES"}[case]]
    assert space.served(keeper.operators) == "first"


async def test_the_client_authorities_of_imap_are_swapped(space: Space) -> None:
    authorities = space.folder / "users.pem"
    space.write(authorities, certificate_pem(IGC.personnes.certificate))
    keeper = space.keeper(login={"client_anchors": Path("users.pem")})
    mine = client(version=ssl.TLSVersion.TLSv1_2)
    far = datetime(2090, 1, 1, tzinfo=UTC)
    mine.load_cert_chain(*pem_files(space.folder / "client", "c", *IGC.leaf("poste", not_after=far)))
    before = keeper.imap.starttls.current
    assert shake(keeper.imap.starttls, mine).server.getpeercert(True), "whatever it is: others judge it"
    assert not shake(keeper.users.starttls, mine).server.getpeercert(True), "the web asks for none"
    space.write(authorities, certificate_pem(IGC.organisations.certificate))
    assert await keeper.look() and keeper.imap.starttls.current is not before
    assert shake(keeper.imap.starttls, mine).server.getpeercert(True)


# ---------------------------------------------------------------- nothing leaks


async def test_no_key_is_told(space: Space) -> None:
    keeper = space.keeper()
    secret = key_pem(key_for("setup first")).decode().splitlines()[1]
    space.write(space.folder / "mta.pem", key_pem(key_for("setup first")))
    await keeper.look()
    await keeper.look()
    assert space.told.rules and secret not in json.dumps([event.payload for event in space.told.events]) + repr(keeper.served)

"""`cert rollover`: the whole way from declare to retire, every step refused out of order, the peers' own words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clispace import DOMAIN, HOST, Outcome, Space, mode
from support.pki import build_igc, certificate_pem, key_for, pem_files
from support.smtp_receiver import Identity, Receiver

from mssante.cli import certrollover
from mssante.services.rollover_state import Serve, Stage, read_rollover

NOW = datetime.now(UTC)
IGC = build_igc()


@pytest.fixture
def coming(space: Space) -> tuple[Path, Path]:
    """The next pair: another organisation's name, so another DN."""
    certificate, key = IGC.leaf(HOST, o="NOUVEAU NOM", not_after=NOW + timedelta(days=900), key=key_for("coming"))
    return pem_files(space.root / "certs" / "next", "mta", [certificate, IGC.organisations.certificate], key)


def adopt(space: Space, *rows: Any) -> None:
    space.run("whitelist", "adopt", str(space.write_list(f"{len(rows)}.xml", list(rows), datetime.now(UTC) - timedelta(minutes=len(rows)))),
              "--force")


def step(space: Space, *words: str) -> Outcome:
    outcome = space.run("cert", "rollover", *words, "--json")
    assert outcome.code in (0, 1, 3), outcome.err
    return outcome


def stage(space: Space) -> tuple[Stage, Serve]:
    state = read_rollover(space.root / "certs" / "rollover.json")
    return state.stage, state.serve


def declared(space: Space, coming: tuple[Path, Path]) -> Outcome:
    return step(space, "declare", *map(str, coming))


class Peer:
    """A receiver in a thread of its own, for a command line that runs its own loop."""

    def __init__(self, folder: Path) -> None:
        certificate, key = IGC.leaf("mx.beta.mssante.test")
        paths = pem_files(folder, "beta", certificate, key)
        self.receiver = Receiver(Identity(*paths, b""))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.receiver.__aenter__(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.receiver.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def beta(space: Space) -> Iterator[Receiver]:
    peer = Peer(space.root / "beta")
    with (space.config / "operator.toml").open("a") as file:
        file.write(f'[relay.routes]\n"beta.mssante.test" = "127.0.0.1:{peer.receiver.port}"\n')
    yield peer.receiver
    peer.close()


def test_the_whole_way(space: Space, leaf: Any, coming: tuple[Path, Path], beta: Receiver) -> None:
    adopt(space, (DOMAIN, leaf[0]))
    before = (space.root / "certs" / "mta.pem").read_bytes()
    assert step(space, "status").json["stage"] == "none"

    outcome = declared(space, coming)
    assert outcome.code == 0 and not outcome.json["same_dn"]
    assert outcome.json["dn"] == f"CN={HOST},OU=318751275100020,O=NOUVEAU NOM,ST=Paris (75),C=FR"
    assert stage(space) == (Stage.DECLARED, Serve.CURRENT)

    space.change("[trust]", '[trust]\ndn_mode = "strict"')
    outcome = step(space, "seen")
    assert outcome.code == 3 and outcome.json["missing"] == [DOMAIN]
    outcome = step(space, "switch")
    assert outcome.code == 1 and outcome.json["rule"] == "BASCULE-LISTE" and DOMAIN in outcome.json["error"]

    new = IGC.leaf(HOST, o="NOUVEAU NOM", key=key_for("coming"))[0]
    adopt(space, (DOMAIN, leaf[0]), (DOMAIN, new))
    assert step(space, "seen").code == 0
    assert step(space, "switch").json["rule"] == "BASCULE-ESSAI"

    outcome = step(space, "try", "beta.mssante.test")
    assert outcome.code == 0, outcome.out
    (tried,) = outcome.json["tried"]
    assert tried["accepted"] and tried["step"] == "MAIL" and tried["server"] == "mx.beta.mssante.test" and tried["server_rule"] == ""
    assert f"MAIL FROM:<postmaster@{DOMAIN}>" in beta.sealed and not beta.contents
    state = read_rollover(space.root / "certs" / "rollover.json")
    assert state.stage is Stage.TRYING and state.try_peers == ("beta.mssante.test",)

    assert step(space, "switch").code == 0 and stage(space) == (Stage.SWITCHED, Serve.NEXT)
    assert step(space, "back").code == 0 and stage(space) == (Stage.DECLARED, Serve.CURRENT)
    assert step(space, "switch", "--force").code == 0
    assert step(space, "status").json["next"]["domains"] == [{"domain": DOMAIN, "bound": True}]

    outcome = step(space, "retire")
    assert outcome.code == 0 and stage(space) == (Stage.RETIRED, Serve.CURRENT)
    assert (space.root / "certs" / "mta.pem").read_bytes() == coming[0].read_bytes()
    assert (space.root / "certs" / "mta.key").read_bytes() == coming[1].read_bytes() and mode(space.root / "certs" / "mta.key") == 0o600
    kept = space.root / "certs" / "retired"
    assert (kept / f"{outcome.json['retired'][:16]}.pem").read_bytes() == before and mode(kept) == 0o700
    assert mode(kept / f"{outcome.json['retired'][:16]}.key") == 0o600
    assert "next" not in step(space, "status").json


def test_the_words_of_a_peer_that_refuses(space: Space, coming: tuple[Path, Path], beta: Receiver) -> None:
    declared(space, coming)
    beta.on["MAIL"] = "554 5.7.1 Certificat absent de la liste blanche [PEER-CERT-NOT-LISTED]"
    outcome = step(space, "try", "beta.mssante.test")
    assert outcome.code == 3 and "[PEER-CERT-NOT-LISTED]" in outcome.json["tried"][0]["reply"]
    assert stage(space) == (Stage.DECLARED, Serve.CURRENT), "a peer that refuses sees nothing of it"
    text = space.run("cert", "rollover", "try", "beta.mssante.test").out
    assert "REFUSÉ" in text and "Certificat absent" in text


def test_a_domain_without_route_is_told(space: Space, coming: tuple[Path, Path]) -> None:
    declared(space, coming)
    with (space.config / "operator.toml").open("a") as file:
        file.write('[relay]\ndns_servers = ["127.0.0.1:1"]\n[relay.routes]\n"gone.mssante.test" = "127.0.0.1:1"\n')
    outcome = step(space, "try", "gone.mssante.test")
    assert outcome.code == 3 and outcome.json["tried"][0]["step"] == "connect"


@pytest.mark.parametrize("words", [("seen",), ("try", "b.test"), ("switch",), ("switch", "--force"), ("back",), ("retire",), ("abandon",)])
def test_no_step_without_the_one_before(space: Space, words: tuple[str, ...]) -> None:
    outcome = step(space, *words)
    assert outcome.code == 1 and outcome.json["rule"] in ("BASCULE-RIEN", "ROLL-ORDER") and outcome.json["remedy"]
    assert stage(space) == (Stage.NONE, Serve.CURRENT)


def test_retire_before_switch_moves_nothing(space: Space, coming: tuple[Path, Path]) -> None:
    declared(space, coming)
    before = (space.root / "certs" / "mta.pem").read_bytes()
    assert step(space, "retire").json["rule"] == "ROLL-ORDER"
    assert (space.root / "certs" / "mta.pem").read_bytes() == before and not (space.root / "certs" / "retired").exists()
    assert step(space, "abandon").code == 0 and stage(space) == (Stage.NONE, Serve.CURRENT)


def test_a_retire_cut_short_is_done_again(space: Space, coming: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine stops between key and certificate: the former key is not lost, the second call ends it."""
    former = (space.root / "certs" / "mta.key").read_bytes()
    declared(space, coming)
    assert step(space, "switch", "--force").code == 0
    true_copy, calls = certrollover._copy, []

    def copy(source: Path, target: Path, bits: int) -> None:
        calls.append(target)
        if len(calls) == 4:
            raise OSError("stopped")
        true_copy(source, target, bits)

    with monkeypatch.context() as patch:
        patch.setattr(certrollover, "_copy", copy)
        assert step(space, "retire").json["rule"] == "BASCULE-ECRITURE"
    assert (space.root / "certs" / "mta.key").read_bytes() == coming[1].read_bytes() and stage(space)[0] is Stage.SWITCHED
    outcome = step(space, "retire")
    assert outcome.code == 0 and stage(space)[0] is Stage.RETIRED
    assert (space.root / "certs" / "mta.pem").read_bytes() == coming[0].read_bytes()
    assert (space.root / "certs" / "retired" / f"{outcome.json['retired'][:16]}.key").read_bytes() == former


def test_a_renewal_with_the_same_name_needs_no_declaration(space: Space, leaf: Any) -> None:
    adopt(space, (DOMAIN, leaf[0]))
    same = pem_files(space.root / "certs" / "same", "mta", [IGC.leaf(HOST, key=key_for("same"))[0]], key_for("same"))
    outcome = declared(space, same)
    assert outcome.code == 0 and outcome.json["same_dn"] and step(space, "seen").code == 0


def given(space: Space, **order: Any) -> tuple[Path, Path]:
    certificate, key = IGC.leaf(order.pop("cn", HOST), key=key_for("given"), **order)
    return pem_files(space.root / "certs" / "given", "mta", certificate, key)


@pytest.mark.parametrize(("order", "words"), [
    ({"issuer": "foreign"}, "PROFIL-AUTORITE, PEER-ISSUER"), ({"not_after": NOW - timedelta(days=1)}, "PROFIL-EXPIRE, PEER-EXPIRED"),
    ({"cn": "autre.mssante.test"}, "PROFIL-NOM"), ({"usage": ("key_encipherment",)}, "PROFIL-USAGE, PEER-USAGE")])
def test_a_pair_that_peers_would_refuse_needs_force(space: Space, order: dict[str, Any], words: str) -> None:
    pair = given(space, **order)
    outcome = declared(space, pair)
    assert outcome.code == 1 and outcome.json["rule"] == "BASCULE-PROFIL" and words in outcome.json["error"]
    assert stage(space)[0] is Stage.NONE
    assert step(space, "declare", *map(str, pair), "--force").code == 0


def test_a_pair_that_is_none_is_never_forced(space: Space, coming: tuple[Path, Path]) -> None:
    certificate, key = coming
    for words, rule in (((str(certificate), str(space.root / "certs" / "mta.key")), "CLE-AUTRE"), ((str(key), str(key)), "ANCRE-LECTURE"),
                        ((str(space.root / "certs" / "mta.pem"), str(space.root / "certs" / "mta.key")), "BASCULE-MEME"),
                        (("/absent", str(key)), "CERT-LECTURE")):
        outcome = step(space, "declare", *words, "--force")
        assert (outcome.code, outcome.json["rule"]) == (1, rule)
    key.chmod(0o644)
    assert step(space, "declare", str(certificate), str(key), "--force").json["rule"] == "BASCULE-CLE"


def test_a_next_pair_that_vanished_is_not_switched_to(space: Space, coming: tuple[Path, Path]) -> None:
    declared(space, coming)
    coming[1].write_bytes((space.root / "certs" / "mta.key").read_bytes())
    assert step(space, "switch", "--force").json["rule"] == "CLE-AUTRE"
    coming[0].unlink()
    assert step(space, "status").json["rule"] == "CERT-LECTURE"


def test_a_state_that_cannot_be_read_is_told(space: Space) -> None:
    (space.root / "certs" / "rollover.json").write_text("{")
    assert step(space, "status").json["rule"] == "ROLL-FILE"


def test_reload_leaves_its_mark(space: Space) -> None:
    assert space.run("cert", "reload").code == 0
    assert (space.root / "certs" / "reload.request").exists()


def test_status_speaks(space: Space, coming: tuple[Path, Path], leaf: Any) -> None:
    adopt(space, (DOMAIN, leaf[0]))
    declared(space, coming)
    text = space.run("cert", "rollover", "status").out
    assert "étape : declared" in text and "O=NOUVEAU NOM" in text and "étape suivante" in text
    assert certificate_pem(leaf[0])

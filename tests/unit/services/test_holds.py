"""Hold instead of bounce: begun by what fails, nothing dialled nor bounced meanwhile, released by itself, given up at its limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.pki import build_igc
from support.relay_stage import ALICE, LATER, LEASE, OK, REMOTE, RelayStage, build_relay
from support.smtp_stage import EXPIRY, NOW, OURS, leaf, trust_snapshot

from mssante.model.hold import Hold, HoldCause
from mssante.model.journal import JournalKind
from mssante.model.outcome import Deferred, Refused
from mssante.model.reply import Allow, Refuse
from mssante.observability.metrics import REGISTRY
from mssante.routing.holding import ORDER, TEXTS, cause_of_rule, held_reply, refuses_us, words
from mssante.services import relay as relay_module
from mssante.services.holds import HoldKeeper, HoldSettings
from mssante.services.settlement import SettlementContext, Settler, retry_policy
from mssante.storage.interfaces import QueueItem
from mssante.trust.whitelist import build_whitelist

DOMAIN = REMOTE.rpartition("@")[2]
OTHER = "infirmier@b.mssante.fr"
HOUR = timedelta(hours=1)
LIMIT = timedelta(hours=96)
PROBE = timedelta(minutes=12)  # above the first delay, below the second
CHANGED = Deferred("Le serveur presente un autre certificat", "mx.a.mssante.fr", "LB-SERVEUR")
STALE = Deferred("Etat de revocation inconnu", "mx.a.mssante.fr", "PEER-CRL-STALE")
NOT_US = Refused("550 5.7.1 Le certificat n'est pas celui que la liste lie [LB-LIAISON]", "5.7.1", "mx.a.mssante.fr")


class HeldStage:
    """The relay's stage with a keeper of holds, driven by hand."""

    def __init__(self, stage: RelayStage) -> None:
        self.relay = stage
        self.smtp = stage.smtp
        self.settings = HoldSettings(dict.fromkeys(HoldCause, LIMIT), timedelta(hours=12), PROBE, EXPIRY)
        self.new_keeper()

    def new_keeper(self, **changed: object) -> None:
        """Begin a life of keeper, settler and relay on the same tables."""
        smtp = self.smtp
        self.settings = replace(self.settings, **changed)  # type: ignore[arg-type]
        self.holds = HoldKeeper(smtp.stores, smtp.trust, smtp.evidence, smtp.clock, self.settings)
        smtp.trust.keeps_new_mail = self.holds.keeps_new_mail
        stage = self.relay
        stage.new_life()
        context = SettlementContext(smtp.stores, smtp.clock, retry_policy(300, 14_400, 4, 48), smtp.reporter, smtp.addresses,
                                    smtp.mailroom, smtp.evidence, frozenset({OURS}), self.holds)
        stage.settler = stage.relay._settler = Settler(context)
        stage.relay._gate = self.holds
        self.holds.released = stage.relay.kick

    async def table(self) -> list[Hold]:
        """Give the holds written."""
        return await self.smtp.stores.database.read(lambda tx: self.smtp.stores.holds.all(tx))

    async def round(self) -> None:
        """One round of the keeper."""
        await self.holds.once()

    async def events(self, kind: JournalKind) -> list[dict[str, object]]:
        """Give the payloads of a kind."""
        return [dict(event.payload) for event in await self.smtp.journal(kind)]

    async def new_life(self, **changed: object) -> None:
        """End the relay's life and begin another, of the keeper too."""
        await self.relay.relay.stop(1)
        assert self.relay.runner is not None
        await self.relay.runner
        self.new_keeper(**changed)
        await self.relay.start()

    async def rested(self, attempts: int) -> None:
        """Wait until the one recipient was tried more often than that and rests, or is gone."""
        def ready(items: list[QueueItem]) -> bool:
            wait = items[0].next_attempt_at - self.smtp.clock.now() if items else HOUR
            return not items or (items[0].attempts > attempts and timedelta(0) < wait != LEASE)

        await self.relay.until_queue(ready)

    async def next_attempt(self) -> None:
        """Move the clock to the next due time and let the relay settle once more. The list stays young."""
        trust = self.smtp.trust
        assert trust.snapshot.whitelist is not None
        if self.smtp.clock.now() - trust.snapshot.whitelist.generated_at > timedelta(days=2):
            restore(self)
        before = (await self.smtp.queue())[0].attempts
        self.relay.to((await self.smtp.queue())[0].next_attempt_at)
        self.relay.relay.kick()
        await self.rested(before)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[HeldStage]:
    made = await build_relay(tmp_path)
    held = HeldStage(made)
    await made.start()
    yield held
    await made.close()


def without(stage: HeldStage, domain: str) -> None:
    """Take a domain out of the list in force."""
    trust = stage.smtp.trust
    assert trust.snapshot.whitelist is not None
    rows = [entry for entry in trust.snapshot.whitelist.entries if entry.domain != domain]
    trust.swap(replace(trust.snapshot, whitelist=build_whitelist(rows, stage.smtp.clock.now())))


def restore(stage: HeldStage) -> None:
    """Put the whole list in force again, fresh."""
    found = trust_snapshot()
    assert found.whitelist is not None
    stage.smtp.trust.swap(replace(found, whitelist=replace(found.whitelist, generated_at=stage.smtp.clock.now())))


async def test_a_peer_with_another_certificate_is_held_tried_slowly_and_released_by_itself(stage: HeldStage) -> None:
    mailer = stage.relay.mailer
    mailer.answers[DOMAIN] = CHANGED
    await stage.relay.put([REMOTE])
    (item,) = await stage.relay.settled(1)
    assert item.last_reply.startswith("Retenu, rien n'est perdu") and "[LB-SERVEUR]" in item.last_reply
    await stage.round()
    (hold,) = await stage.table()
    assert (hold.cause, hold.domain, hold.until - hold.since, hold.note) == (
        HoldCause.PEER_CERTIFICATE, DOMAIN, LIMIT, "LB-SERVEUR")
    await stage.next_attempt()  # five minutes later: held, not dialled
    assert len(mailer.batches) == 1
    assert (await stage.smtp.queue())[0].last_reply.endswith("[RETENUE-PAIR]")
    await stage.next_attempt()  # past the probe: one try
    assert len(mailer.batches) == 2
    mailer.answers[DOMAIN] = OK
    stage.smtp.clock.advance(PROBE)
    stage.holds._counted = None
    await stage.round()  # has one recipient tried now
    await stage.relay.empty()
    await stage.round()
    assert await stage.table() == []
    assert [event["because"] for event in await stage.events(JournalKind.HOLD_ENDED)] == ["a try passed"]
    assert JournalKind.BOUNCED not in await stage.relay.kinds()


async def test_the_others_of_a_destination_go_as_soon_as_one_try_passes(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = CHANGED
    for _ in range(3):
        await stage.relay.put([REMOTE])
    await stage.relay.settled(1, 3)
    await stage.round()
    assert len(stage.relay.mailer.batches) == 1, "one attempt tells it; the others are not dialled"
    stage.relay.mailer.answers.clear()
    stage.smtp.clock.advance(PROBE)
    stage.holds._counted = None
    await stage.round()
    await stage.relay.until(lambda: len(stage.relay.mailer.batches) >= 2)
    while await stage.smtp.queue():
        await stage.round()
    assert sorted(stage.relay.mailer.recipients()) == [REMOTE] * 4


async def test_held_mail_outlives_its_expiry_and_is_given_up_past_the_limit_with_words(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = CHANGED
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    await stage.round()
    told = []
    while stage.smtp.clock.now() < NOW + timedelta(hours=90):
        await stage.next_attempt()
        await stage.round()
        told = await stage.relay.reports()
    assert stage.smtp.clock.now() > NOW + EXPIRY
    (delay,) = told  # one notice, which says why, and until when
    assert delay.recipients[0].action == "delayed" and "Retenu" in delay.recipients[0].diagnostic
    text = (await stage.smtp.bodies(ALICE))[0].decode()
    assert "certificat qui n'est pas admis" in text.replace("=\r\n", "") and "Thu, 05 Mar 2026 12:00" in text
    stage.relay.to(NOW + LIMIT + HOUR)
    restore(stage)
    await stage.round()
    (hold,) = await stage.table()
    assert "limite atteinte" in hold.note, "the row stays: the same trouble begins no second hold"
    assert [event["because"] for event in await stage.events(JournalKind.HOLD_ENDED)] == ["age limit"]
    stage.relay.relay.kick()
    await stage.relay.empty()
    failure = (await stage.relay.reports())[-1]
    assert failure.recipients[0].action == "failed" and "Retenu 96 h puis abandonne" in failure.recipients[0].diagnostic
    stage.holds._counted = None
    await stage.round()
    assert await stage.table() == [], "nothing waits any more"


async def test_after_a_hold_mail_lives_for_its_tail(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = CHANGED
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    await stage.round()
    while stage.smtp.clock.now() < NOW + timedelta(hours=60):
        await stage.next_attempt()
    stage.relay.mailer.answers[DOMAIN] = LATER  # the certificate is right again, the server is busy
    stage.smtp.clock.advance(PROBE)
    stage.holds._counted = None
    before = stage.smtp.clock.now()
    stage.holds.after(DOMAIN, replace(await stage.relay.mailer.deliver(_batch()), certificate="ab"))
    tried = (await stage.smtp.queue())[0].attempts
    await stage.round()
    await stage.rested(tried)
    (item,) = await stage.smtp.queue()
    assert item.expires_at == before + timedelta(hours=12) and await stage.table() == []
    while await stage.smtp.queue():
        await stage.next_attempt()
    assert before + timedelta(hours=11) < stage.smtp.clock.now() <= before + timedelta(hours=13)


def _batch() -> object:
    from mssante.model.address import parse_envelope_address
    from mssante.model.envelope import Recipient
    from mssante.services.ports import RelayBatch

    return RelayBatch(DOMAIN, None, (Recipient(parse_envelope_address(REMOTE)),), [b"x"], 1)


async def test_revocation_unknown_holds_everybody_until_fresh_crls_come(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = STALE
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    await stage.round()
    (hold,) = await stage.table()
    assert (hold.cause, hold.domain) == (HoldCause.CRL_EXPIRED, "")
    assert stage.holds.covering("b.mssante.fr") is not None
    stage.relay.mailer.answers.clear()
    await stage.round()
    assert len(await stage.table()) == 1, "the same CRLs: nothing new"
    trust = stage.smtp.trust
    trust.swap(replace(trust.snapshot, crls=build_igc().crl_set([leaf("revoked")[0]])))
    await stage.round()
    await stage.relay.empty()
    assert [event["because"] for event in await stage.events(JournalKind.HOLD_ENDED)] == ["fresh CRLs are in force"]


async def test_a_list_too_old_holds_all_takes_new_mail_and_lets_all_go_with_the_next_list(stage: HeldStage) -> None:
    await stage.round()
    stage.smtp.clock.advance(timedelta(days=3))
    trust = stage.smtp.trust
    assert trust.usable_list() is None
    assert isinstance(trust.may_queue_for(DOMAIN), Allow), "taken before the keeper even looked"
    refused = trust.may_queue_for("nulle.part.fr")
    assert isinstance(refused, Refuse) and refused.rule == "HORS-ESPACE"
    await stage.relay.put([REMOTE])
    (item,) = await stage.relay.settled(1)
    assert item.last_reply.endswith("[RETENUE-LISTE]") and stage.relay.mailer.batches == []
    await stage.round()
    assert [(hold.cause, hold.domain) for hold in await stage.table()] == [(HoldCause.LIST_TOO_OLD, "")]
    restore(stage)
    await stage.round()
    await stage.relay.empty()
    assert stage.relay.mailer.recipients() == [REMOTE] and await stage.table() == []


async def test_past_the_limit_of_an_old_list_new_mail_is_refused_for_now(stage: HeldStage) -> None:
    stage.smtp.clock.advance(timedelta(days=3))
    await stage.round()
    stage.smtp.clock.advance(LIMIT)
    await stage.round()
    decision = stage.smtp.trust.may_queue_for(DOMAIN)
    assert isinstance(decision, Refuse) and decision.reply.code == 451
    restore(stage)
    await stage.round()
    assert isinstance(stage.smtp.trust.may_queue_for(DOMAIN), Allow) and await stage.table() == []


async def test_without_any_list_nothing_is_taken(stage: HeldStage) -> None:
    trust = stage.smtp.trust
    trust.swap(replace(trust.snapshot, whitelist=None))
    await stage.round()
    assert isinstance(trust.may_queue_for(DOMAIN), Refuse) and await stage.table() == []
    await stage.relay.put([REMOTE])
    (item,) = await stage.relay.settled(1)
    assert "[LB-INDISPONIBLE]" in item.last_reply


async def test_a_domain_that_left_the_list_waits_and_leaves_when_it_is_back(stage: HeldStage) -> None:
    without(stage, DOMAIN)
    await stage.relay.put([REMOTE, OTHER])
    await stage.relay.settled(1)
    assert stage.relay.mailer.recipients() == [OTHER]
    await stage.round()
    (hold,) = await stage.table()
    assert (hold.cause, hold.domain) == (HoldCause.DOMAIN_LEFT, DOMAIN)
    assert isinstance(stage.smtp.trust.may_queue_for(DOMAIN), Refuse), "new mail is told at once"
    restore(stage)
    await stage.round()
    await stage.relay.empty()
    assert stage.relay.mailer.recipients() == [OTHER, REMOTE]


async def test_a_domain_that_stays_away_is_refused_past_the_limit(stage: HeldStage) -> None:
    without(stage, DOMAIN)
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    await stage.round()
    trust = stage.smtp.trust
    stage.relay.to(NOW + LIMIT)
    assert trust.snapshot.whitelist is not None
    trust.swap(replace(trust.snapshot, whitelist=replace(trust.snapshot.whitelist, generated_at=stage.smtp.clock.now())))
    stage.relay.relay.kick()
    await stage.relay.empty()
    assert (await stage.relay.event(JournalKind.BOUNCED))["rule"] == "HORS-ESPACE"


async def test_a_peer_that_refuses_our_certificate_holds_its_domain_instead_of_a_bounce(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = NOT_US
    await stage.relay.put([REMOTE])
    (item,) = await stage.relay.settled(1)
    assert "LB-LIAISON" in item.last_reply
    await stage.round()
    (hold,) = await stage.table()
    assert (hold.cause, hold.domain, hold.note) == (HoldCause.OWN_CERTIFICATE, DOMAIN, "LB-LIAISON")
    stage.relay.mailer.answers.clear()
    stage.smtp.clock.advance(PROBE)
    stage.holds._counted = None
    await stage.round()
    await stage.relay.empty()
    await stage.round()
    assert await stage.table() == []


async def test_an_ordinary_refusal_is_still_a_bounce(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = Refused("550 5.7.1 Message refused by policy", "5.7.1", "mx.a.mssante.fr")
    await stage.relay.put([REMOTE])
    await stage.relay.empty()
    await stage.round()
    assert JournalKind.BOUNCED in await stage.relay.kinds() and await stage.table() == []


async def test_our_own_certificate_past_its_end_holds_all(stage: HeldStage) -> None:
    end = [NOW - HOUR]
    await stage.new_life(own_end=lambda: end[0])
    await stage.round()
    (hold,) = await stage.table()
    assert (hold.cause, hold.domain) == (HoldCause.OWN_CERTIFICATE, "")
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    assert stage.relay.mailer.batches == []
    end[0] = NOW + LIMIT
    stage.holds._counted = None
    await stage.round()
    await stage.relay.empty()


async def test_a_cause_that_is_switched_off_holds_nothing(stage: HeldStage) -> None:
    await stage.new_life(limits=dict.fromkeys(HoldCause, timedelta(0)))
    without(stage, DOMAIN)
    await stage.relay.put([REMOTE])
    await stage.relay.empty()
    await stage.round()
    assert (await stage.relay.event(JournalKind.BOUNCED))["rule"] == "HORS-ESPACE" and await stage.table() == []
    stage.smtp.clock.advance(timedelta(days=4))
    assert isinstance(stage.smtp.trust.may_queue_for("b.mssante.fr"), Refuse)


async def test_what_the_command_line_begins_and_releases_is_obeyed(stage: HeldStage) -> None:
    stores, now = stage.smtp.stores, stage.smtp.clock.now()
    asked = Hold(HoldCause.MANUAL, DOMAIN, now, now + HOUR, False, "maintenance")
    assert await stores.database.write(lambda tx: stores.holds.put(tx, asked))
    await stage.round()
    await stage.relay.put([REMOTE, OTHER])
    await stage.relay.until_queue(lambda items: len(items) == 1 and bool(items[0].last_reply))
    assert stage.relay.mailer.recipients() == [OTHER]
    assert await stores.database.write(lambda tx: stores.holds.remove(tx, asked))
    assert await stores.database.write(lambda tx: stores.holds.let_go(tx, DOMAIN, now, now)) == 1
    await stage.round()
    await stage.relay.empty()
    assert stage.relay.mailer.recipients() == [OTHER, REMOTE]


async def test_a_new_life_remembers_the_holds(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = CHANGED
    await stage.relay.put([REMOTE])
    await stage.relay.settled(1)
    await stage.round()
    (before,) = await stage.table()
    await stage.new_life()
    await stage.round()
    assert stage.holds.covering(DOMAIN) == before


async def test_recipients_that_wait_are_counted_by_cause(stage: HeldStage) -> None:
    stage.relay.mailer.answers[DOMAIN] = CHANGED
    await stage.relay.put([REMOTE, f"autre@{DOMAIN}"])
    await stage.relay.settled(1, 2)
    await stage.round()
    stage.holds._counted = None
    await stage.round()
    assert REGISTRY.get_sample_value("mssante_queue_held_recipients", {"cause": "peer-certificate-changed"}) == 2
    assert REGISTRY.get_sample_value("mssante_queue_held_recipients", {"cause": "manual"}) == 0


async def test_holds_that_follow_one_another_do_not_keep_a_letter_for_ever(stage: HeldStage) -> None:
    stage.holds._begin(HoldCause.PEER_CERTIFICATE, DOMAIN, "x")
    created = NOW - timedelta(days=6)
    longest = created + EXPIRY + LIMIT + timedelta(hours=12)
    assert stage.holds.deadline(DOMAIN, created, created + EXPIRY) == longest
    assert stage.holds.deadline("b.mssante.fr", created, created + EXPIRY) == created + EXPIRY


async def test_a_hold_that_ends_before_it_was_written_leaves_nothing(stage: HeldStage) -> None:
    hold = stage.holds._begin(HoldCause.PEER_CERTIFICATE, DOMAIN, "x")
    assert hold is not None
    stage.holds._end(hold, "at once")
    again = stage.holds._begin(HoldCause.PEER_CERTIFICATE, DOMAIN, "y")
    await stage.round()
    assert [one.note for one in await stage.table()] == ["y"] and again is not None
    assert len(await stage.events(JournalKind.HOLD_STARTED)) == 1
    assert await stage.events(JournalKind.HOLD_ENDED) == []


@pytest.mark.parametrize(("rule", "cause"), [
    ("LB-SERVEUR", HoldCause.PEER_CERTIFICATE), ("PEER-REVOKED", HoldCause.PEER_CERTIFICATE),
    ("PEER-EXPIRED", HoldCause.PEER_CERTIFICATE), ("PEER-CRL-STALE", HoldCause.CRL_EXPIRED),
    ("LB-INDISPONIBLE", HoldCause.LIST_TOO_OLD), ("SMTP-CONNECT", None), ("", None), ("DNS-PRIVATE", None)])
def test_which_rule_means_which_cause(rule: str, cause: HoldCause | None) -> None:
    assert cause_of_rule(rule) is cause


def test_whose_refusals_are_about_us() -> None:
    assert refuses_us("554 5.7.1 Certificat expire [PEER-EXPIRED]") == "PEER-EXPIRED"
    assert refuses_us("454 4.7.0 Etat de revocation inconnu [PEER-CRL-STALE]") == "", "their trouble, not ours"
    assert refuses_us("550 5.1.1 Boite inconnue [BAL-INCONNUE]") == ""


def test_every_cause_has_its_words() -> None:
    assert set(TEXTS) == set(HoldCause) == set(ORDER)
    for cause in HoldCause:
        hold = Hold(cause, "", NOW, NOW + LIMIT)
        assert held_reply(hold).isascii() and "2026-03-05 12:00 UTC" in held_reply(hold)
        assert all(words(hold)) and TEXTS[cause].rule.startswith(relay_module.NOT_DIALLED)

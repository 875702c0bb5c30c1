"""Gauges and counters of HL7 and hand-over: what they show, and that nothing else gets into their labels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.hl7 import HERE, application, order, settings
from support.smtp_stage import ALICE, SmtpStage, build

from mssante.observability.metrics import REGISTRY
from mssante.protocol.hl7v2.faults import Hl7Code
from mssante.services.handgauges import HandGauges
from mssante.services.hl7gateway import Gateway, GatewayParts
from mssante.services.hl7outbox import _bounded
from mssante.storage.interfacing import OPEN, OutboxItem, RepairItem
from mssante.storage.webhooks import WebhookEvent


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mssante_{name}", labels) or 0.0


async def test_what_waits_is_shown_and_goes_back_to_nothing(stage: SmtpStage) -> None:
    now, stores = stage.clock.now(), stage.stores
    item = OutboxItem("jauge", "mdm", "C1", "mdm 7/1", b"", 3, 7, "T" * 26, now - timedelta(seconds=90), now)
    repair = RepairItem("jauge", 3, 7, "T" * 26, "902", "", OPEN, now, now)
    event = WebhookEvent("wh_1", "evt_1", "document.read", "{}", now - timedelta(seconds=30), now)
    gauges = HandGauges(stores, stage.clock, ["muette"])
    await stores.database.write(lambda tx: (
        stores.interfacing.put(tx, item), stores.interfacing.add_repair(tx, repair), stores.webhooks.add_events(tx, [event])))
    await gauges.step()
    assert value("hospital_outbox_messages", application="jauge") == 1
    assert value("hospital_outbox_oldest_seconds", application="jauge") == 90
    assert value("hospital_repairs_open", application="jauge") == 1
    assert REGISTRY.get_sample_value("mssante_hospital_outbox_messages", {"application": "muette"}) == 0
    assert (value("webhook_events_waiting"), value("webhook_oldest_seconds")) == (1, 30)
    head = await stores.database.read(lambda tx: stores.interfacing.head(tx, "jauge"))
    assert head is not None
    await stores.database.write(lambda tx: (stores.interfacing.settle(tx, head.sequence, "given", "AA"), stores.webhooks.remove(tx, "wh_1")))
    await gauges.step()
    assert value("hospital_outbox_messages", application="jauge") == value("hospital_outbox_oldest_seconds", application="jauge") == 0
    assert (value("webhook_events_waiting"), value("webhook_oldest_seconds")) == (0, 0)


async def test_refused_messages_count_by_application_and_code(stage: SmtpStage) -> None:
    gateway = Gateway(GatewayParts(stage.stores, stage.clock, None, (application(ALICE),), settings(), lambda _: None))  # type: ignore[arg-type]
    refused = {"application": "?", "result": "refused"}
    before = value("hospital_messages_in_total", code="103", **refused), value("hospital_messages_in_total", code="100", **refused)
    await gateway.take(order(("a@a.mssante.fr",)).replace(b"|DPI|", b"|AUTRE|"), HERE)
    await gateway.take(b"rien", HERE)
    after = value("hospital_messages_in_total", code="103", **refused), value("hospital_messages_in_total", code="100", **refused)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


def test_what_applications_answer_is_bounded() -> None:
    assert [_bounded(one) for one in ("", "902", "207", "DUPONT Jeanne", "999")] == ["", "902", "207", "other", "other"]
    assert {_bounded(str(rank)) for rank in range(2000)} == {"other", *(str(int(one)) for one in Hl7Code), *map(str, range(900, 907))}

"""Metrics: one registry, names of one form, labels from closed sets, none of which could hold a person."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mssante.observability import metrics
from mssante.observability.metrics import REGISTRY, exposition

ROOT = Path(__file__).resolve().parents[3] / "mssante"
DEFINED = {name for name in vars(metrics) if name.isupper() and name != "REGISTRY"}


def test_the_exposition_can_be_read() -> None:
    families = list(text_string_to_metric_families(exposition().decode()))
    assert {family.name for family in families} >= {"mssante_messages_received", "mssante_queue_recipients", "mssante_logins"}
    assert all(re.fullmatch(r"mssante(_[a-z]+)+", family.name) and family.documentation for family in families)
    assert not [family.name for family in families if family.name.startswith(("python_", "process_"))]


def test_labels_are_of_closed_sets() -> None:
    allowed = {"route", "result", "stage", "rule", "protocol", "state", "door", "source", "limit", "cause", "side", "kind",
               "application", "code"}  # names of the configuration, of an HL7 table
    for family in REGISTRY.collect():
        for sample in family.samples:
            assert set(sample.labels) <= allowed


def test_every_metric_moves_somewhere() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py") if file.name != "metrics.py")
    moved = re.compile(r"\b_?([A-Z_]+)(?:\.labels\((?:[^()]|\([^()]*\))*\))?\.(?:inc|set|dec)\(")
    assert {name.lstrip("_") for name in moved.findall(text)} == DEFINED

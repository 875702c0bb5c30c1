"""The pre-flight of structured documents, connected: rules from `[documents]`, the workshop of the ground, a check of departures.

After masking, which may refuse for less work; before the citizens' desk, which notes what leaves. With `preflight = "off"`:
nothing.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from mssante.errors import OperatorFault
from mssante.model.address import parse_envelope_address
from mssante.services.preflight import PreflightCheck, PreflightParts
from mssante.services.rulebook import RuleBook
from mssante.topics.base import Ground, Topic


class PreflightTopic(Topic):
    """Adds the check to the departures of this operator."""

    def __init__(self, ground: Ground) -> None:
        section, config = ground.config.operator.documents, ground.config
        self._rules: RuleBook | None = None
        if section.preflight == "off":
            return
        if ground.workshop is None:
            raise OperatorFault("no workshop on the ground", rule="DOC-PANNE", remedy="the workshop topic comes first")
        folder = config.path(section.rules_directory) if section.rules_directory is not None else None
        self._rules = RuleBook(ground.workshop, folder, config.path(section.rules_cache), executor=ground.executor,
                               monotonic=ground.clock.monotonic)
        self._preparing = folder is not None
        ground.context.departure.checks.append(PreflightCheck(PreflightParts(
            section.preflight, ground.workshop, self._rules, ground.executor, ground.evidence,
            parse_envelope_address(f"postmaster@{config.domains.domain[0].name}"), section.preflight_seconds,
            section.preflight_report == "all")))

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Prepare the rules before the first document needs them."""
        return (self._rules.warm(),) if self._rules is not None and self._preparing else ()

"""The report of `mssante check peer`: lines for a terminal, one JSON object, one HTML page.

The page stands alone (no script, no font, no address that a browser would fetch; a policy forbids them all), says its language,
has its landmarks (header, main, footer, a link past the header), tells states by words and signs besides colours, and escapes
every text of the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from mssante.lang import language, say
from mssante.services.peercheck import Level, PeerFinding
from mssante.services.peervalues import Observed
from mssante.trust.rules import who_name

_MARKS = {Level.OK: ("bon      ", "ok    "), Level.WARN: ("attention", "warn  "), Level.FAIL: ("ÉCHEC    ", "FAIL  "),
          Level.SKIP: ("non vu   ", "skip  ")}
_SIGNS = {Level.OK: "✓", Level.WARN: "!", Level.FAIL: "✗", Level.SKIP: "–"}
_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; color: #1a1a1a; background: #fff }
a.skip { position: absolute; left: -999rem } a.skip:focus { left: 1rem; background: #fff; padding: .5rem }
table { border-collapse: collapse; width: 100% } caption { text-align: left; font-weight: bold; padding: .5rem 0 }
th, td { border: 1px solid #767676; padding: .4rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere }
thead th { background: #eee } .state { white-space: nowrap; font-weight: bold }
tr.ok .state { color: #0b5d1e } tr.warn .state { color: #7a4a00 }
tr.fail .state { color: #a30000 } tr.skip .state { color: #4a4a4a }
dt { font-weight: bold } dd { margin: 0 0 .5rem 0 } @media print { a.skip { display: none } }
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says. operator: who checked; at: when."""

    seen: Observed
    findings: Sequence[PeerFinding]
    operator: str
    at: datetime

    def count(self, level: Level) -> int:
        """Count the findings of a level."""
        return sum(one.level is level for one in self.findings)

    @property
    def failed(self) -> bool:
        """Whether something breaks a rule."""
        return self.count(Level.FAIL) > 0

    @property
    def door(self) -> str:
        """The door that was checked, or nothing."""
        door = self.seen.door
        return f"{door.host}[{door.address}]:{door.port}" if door is not None else ""

    @property
    def summary(self) -> str:
        """The counts in words."""
        counts = [self.count(level) for level in (Level.OK, Level.WARN, Level.FAIL, Level.SKIP)]
        words = say("{} bons, {} à regarder, {} en échec, {} non vus", "{} ok, {} to look at, {} failed, {} not seen")
        return words.format(*counts)


def document(report: Report) -> dict[str, Any]:
    """Give the report as JSON holds it."""
    return {"ok": not report.failed, "domain": report.seen.domain, "door": report.door, "at": report.at.isoformat(),
            "operator": report.operator, "seconds": round(report.seen.seconds, 3), "ended": report.seen.ended,
            "counts": {level.value: report.count(level) for level in Level},
            "findings": [{"number": one.rule.number, "state": one.level.value, "title": say(*one.rule.title),
                          "evidence": one.evidence, "source": one.rule.source, "rule": one.code,
                          "remedy": say(*one.rule.remedy) if _mends(one) else "", "who": one.rule.who.value}
                         for one in report.findings]}


def _mends(one: PeerFinding) -> bool:
    return one.level in (Level.FAIL, Level.WARN)


def lines(report: Report) -> list[str]:
    """Give the report for a terminal."""
    found = [say(f"domaine {report.seen.domain}, porte {report.door or '-'}",
                 f"domain {report.seen.domain}, door {report.door or '-'}"), ""]
    for one in report.findings:
        code = f" [{one.code}]" if one.code else ""
        found.append(f"{say(*_MARKS[one.level])} {one.rule.number}  {say(*one.rule.title)} : {one.evidence}{code}")
        if _mends(one):
            found.append(f"{'':16}-> {who_name(one.rule.who)} : {say(*one.rule.remedy)} ({one.rule.source})")
    return [*found, "", report.summary]


def html(report: Report) -> str:
    """Give the report as one HTML page."""
    title = say(f"Contrôle de l'opérateur de {report.seen.domain}", f"Check of the operator of {report.seen.domain}")
    facts = ((say("Domaine", "Domain"), report.seen.domain), (say("Porte", "Door"), report.door or "-"),
             (say("Vu par", "Seen by"), report.operator), (say("Instant", "Instant"), f"{report.at:%Y-%m-%d %H:%M:%S} UTC"),
             (say("Bilan", "Summary"), report.summary))
    facts_html = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    heads = (say("Règle", "Rule"), say("État", "State"), say("Ce qui est demandé", "What is asked"), say("Vu", "Seen"),
             say("Source", "Source"), say("Remède", "Remedy"))
    head_html = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    rows = "\n".join(_row(one) for one in report.findings)
    skip = say("Aller aux résultats", "Go to the results")
    caption = say("Règles, dans l'ordre de leurs numéros", "Rules, in the order of their numbers")
    made = say("Écrit par mssante check peer ; aucun message n'a été envoyé.",
               "Written by mssante check peer; no message was sent.")
    return f"""<!DOCTYPE html>
<html lang="{language()}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<a class="skip" href="#results">{escape(skip)}</a>
<header>
<h1>{escape(title)}</h1>
<dl>
{facts_html}
</dl>
</header>
<main id="results">
<table>
<caption>{escape(caption)}</caption>
<thead><tr>{head_html}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</main>
<footer><p>{escape(made)}</p></footer>
</body>
</html>
"""


def _row(one: PeerFinding) -> str:
    state = f"{_SIGNS[one.level]} {say(*_MARKS[one.level]).strip()}"
    remedy = f"{who_name(one.rule.who)} : {say(*one.rule.remedy)}" if _mends(one) else ""
    seen = one.evidence + (f" [{one.code}]" if one.code else "")
    cells = "".join(f"<td>{escape(text)}</td>" for text in (say(*one.rule.title), seen, one.rule.source, remedy))
    return (f'<tr class="{one.level.value}"><th scope="row">{escape(one.rule.number)}</th>'
            f'<td class="state">{escape(state)}</td>{cells}</tr>')

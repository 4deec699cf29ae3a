"""One cell in words: what came of it, what was expected, and the facts that a person needs to go on from there.

Rule: pure functions on one cell of ``verdicts.json``. Whoever speaks of a single cell (a test case, a test of pytest, a
comparison) takes these words, so that the same cell reads the same everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from testbed.causes import CAUSES, FINDINGS, Inconclusive, inconclusive_as
from testbed.judge.explain import fix
from testbed.judge.unmeasured import STRAINED
from testbed.model import Outcome
from testbed.record.verdicts import AlternativeEntry, CellEntry, ExpectedEntry
from testbed.report import circumstances, looks, words
from testbed.report.grid import State, state

OVER = {"tls": " over TLS", "cleartext": " in cleartext"}
OPEN = "the standards leave it open"
GATHERED = (STRAINED, *FINDINGS)
"""Causes that are one story, although the explanation of each cell has numbers of its own: how long it waited, its share."""
THIS_MACHINE = "this machine, which was too busy"
"""Where to mend what is undecided for it."""
RECORD = "observations.jsonl#"
"""How a piece of evidence begins that is a line of the record."""


def unstable(cell: CellEntry) -> bool:
    """Whether its attempts disagreed under the same conditions: a finding about the pair, neither a failure nor a pass."""
    return cell["outcome"] == Outcome.INCONCLUSIVE.value and inconclusive_as(cell.get("cause")) is Inconclusive.FINDING


def describe(cell: CellEntry | None) -> str:
    """``delivered over TLSv1.3, external``, ``bounced: dialback-failed``"""
    if cell is None:
        return "not in the run"
    if unstable(cell):
        return str(cell["cause"])
    if cell["outcome"] != Outcome.DELIVERED.value:
        return f"{cell['outcome']}: {cell['cause']}" if cell.get("cause") else str(cell["outcome"])
    channel, amount = cell.get("channel") or {}, state(cell)
    if amount is State.UNSEEN:
        return looks.STATES[State.UNSEEN].name
    over = "in cleartext" if amount is State.CLEARTEXT else f"over {channel.get('tls_version') or 'TLS'}"
    return f"delivered {over}, {channel.get('authentication') or 'proof of identity unobserved'}"


def expected(cell: CellEntry) -> str:
    """``delivered over TLS``, ``bounced: tls-required``, or both with "or" between them where the standards leave it open."""
    return " or ".join(map(_outcome, admitted(cell)))


def admitted(cell: CellEntry) -> list[ExpectedEntry | AlternativeEntry]:
    """Everything that would be as expected: one, or more where the standards leave it open."""
    return [cell["expected"], *cell["expected"].get("alternatives", ())]


def outcomes(cell: CellEntry) -> str:
    """``delivered``, ``bounced or delivered``: what is expected, without over what and why."""
    return " or ".join(dict.fromkeys(e["outcome"] for e in admitted(cell)))


def left_open(cells: Collection[CellEntry]) -> list[str]:
    """``In 110 of 132 results the standards leave open what happens: 78 delivered, 32 bounced.``; empty if in none."""
    free = [cell for cell in cells if len(admitted(cell)) > 1]
    if not free:
        return []
    counts = Counter(str(cell["outcome"]) for cell in free).most_common()
    what = words.listing([f"{n:,} {outcome}" for outcome, n in counts])
    return [f"In {len(free):,} of {words.count(len(cells), 'result')} the standards leave open what happens: {what}."]


def because(cell: CellEntry) -> str:
    """The clause that says what is expected; where the standards leave it open, that and the clause of each outcome."""
    choices = admitted(cell)
    if len(choices) == 1:
        return choices[0]["because"]
    return f"{OPEN}: " + "; ".join(f"{_outcome(choice)} by {choice['because']}" for choice in choices)


def _outcome(expectation: ExpectedEntry | AlternativeEntry) -> str:
    cause = f": {word}" if (word := expectation.get("cause")) else ""
    return f"{expectation['outcome']}{OVER.get(expectation.get('encryption') or '', '')}{cause}"


def headline(cell: CellEntry) -> str:
    """``bounced: dialback-failed, expected delivered over TLS``"""
    return f"{describe(cell)}, expected {expected(cell)}"


def facts(cell: CellEntry) -> Iterator[tuple[str, str]]:
    """Name and text of what the verdict says; none is empty."""
    yield "outcome", describe(cell)
    if channel := [str(v) for v in (cell.get("channel") or {}).values() if v is not None and not isinstance(v, bool)]:
        yield "channel", ", ".join(channel)
    if cell.get("cause"):
        yield "cause", f"{cell['cause']}" + (f" (seen by: {source})" if (source := cell.get("cause_from")) else "")
        yield "fix at", fix_at(cell)
    yield "because", str(cell.get("explanation") or "no explanation was recorded")
    if undecided := undecided_remedy(cell):
        yield "remedy", undecided
    why = because(cell)
    yield "expected", expected(cell) + (f": {why}" if why else "")
    yield from circumstances.facts(cell)


def fix_at(cell: CellEntry) -> str:
    """Whose it is to change something: ``the receiver``; of a machine that was too busy, the machine."""
    return THIS_MACHINE if cell.get("cause") == STRAINED else words.fault(cell.get("fault"))


def undecided_remedy(cell: CellEntry) -> str:
    """What to do about an inconclusive cell whose verdict lists no remedy: that of its cause; empty of all others."""
    if cell.get("outcome") != Outcome.INCONCLUSIVE.value or (cause := cell.get("cause") or "") not in GATHERED:
        return ""
    return fix(cell.get("remedies") or (), cell.get("fault")) or CAUSES[cause].remedy


def evidence(cell: CellEntry, run: str) -> Iterator[str]:
    """Where to look: the record once with all its lines, then each log. ``run`` is how a person names the run's folder."""
    places = [str(place) for place in cell.get("evidence") or ()]
    if lines := [place.removeprefix(RECORD) for place in places if place.startswith(RECORD)]:
        yield f"{run}/observations.jsonl, lines {', '.join(lines)}"
    yield from (f"{run}/{place}" for place in places if not place.startswith(RECORD))


def command(cell: CellEntry, run: str) -> str:
    """The command that tells the whole story of its pair."""
    return f"testbed explain {run} {cell['sender']} {cell['receiver']}"

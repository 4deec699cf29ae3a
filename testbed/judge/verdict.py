"""Goes through every planned cell and says outcome, channel, cause, fault, expectation. Pure.

What a cell means, and which of its attempts decides, stands in `weigh`; the cause of a failure is found by `rules`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from testbed.causes import CAUSES, Inconclusive, inconclusive_as
from testbed.judge.case import Case, case_of, gaps_of
from testbed.judge.channel import channel_of
from testbed.judge.evidence import Attempt, Evidence
from testbed.judge.explain import explain, without_cause
from testbed.judge.faults import fault_of, untimely
from testbed.judge.federation import Federation, expectation_of
from testbed.judge.interference import interference_of
from testbed.judge.rules import cause_of
from testbed.judge.strained import strained
from testbed.judge.unmeasured import SERVER, TESTBED, Void, not_expressible, reason_of, why_no_attempt, why_void
from testbed.judge.weigh import Weighed, weigh
from testbed.model import SCHEMA, Cell, Expectation, Outcome, all_visible
from testbed.record import legs
from testbed.record.manifest import PlannedServer, PlannedSettings
from testbed.record.observations import RUN_RESUMED, TIMING, Observation
from testbed.record.store import Record, planned_cells
from testbed.record.verdicts import (
    CellEntry,
    Channel,
    ControlEntry,
    FailedServerEntry,
    Fault,
    ResumedEntry,
    ServerEntry,
    SettingsEntry,
    Verdict,
    Verdicts,
    unexplained,
)
from testbed.shares import tell

FIRST, LAST = "first", "last"
"""When the control pair is measured."""


def judge_run(record: Record) -> Verdicts:
    """``verdicts.json`` of a record. What servers and files say is in the record as it was, and from here on `visible`."""
    evidence, federation = Evidence(record), Federation.of(record.manifest)
    manifest = record.manifest
    resumed = [_resumed(o) for o in record.observations if o.kind == RUN_RESUMED.word]
    cells = [judge_cell(evidence, federation, cell).to_json() for cell in planned_cells(manifest)]
    verdicts: Verdicts = {
        **({"resumed": resumed} if resumed else {}),  # type: ignore[typeddict-item]  # mypy sees no key in it
        "schema": SCHEMA,
        "run": record.id,
        "scenario": manifest["scenario"],
        "title": manifest["title"],
        "started": manifest["started"],
        "timers": manifest["timers"],
        "seed": manifest.get("seed"),
        "revision": manifest.get("revision"),
        "machine": manifest.get("machine"),
        "isolated": manifest["isolated"],
        "complete": record.complete,
        "servers": [_server(s, evidence.versions.get((s["implementation"], s["release"]))) for s in manifest["servers"]],
        "phases": [
            {"name": p["name"], "settings": {domain: _settings(s) for domain, s in p["settings"].items()}}
            for p in manifest["phases"]
        ],
        "controls": _controls(evidence, [p["name"] for p in manifest["phases"]] if record.complete else []),
        "storms": [
            {"phase": phase, "epoch": epoch, "sender": s["sender"], "receiver": s["receiver"], "cut": s["cut"]}
            for (phase, epoch), storms in evidence.storms.items()
            for s in storms
        ],
        "timing": {stage: s for o in record.observations if o.kind == TIMING.word for stage, s in o.data.items()},
        "cells": cells,
    }
    if "stretch" in manifest:
        verdicts["stretch"] = manifest["stretch"]
    if busy := strained(evidence, cells, manifest):
        verdicts["strained"] = busy
    if failed := _failed_servers(evidence, cells):
        verdicts["failed_servers"] = failed
    shown: Verdicts = all_visible(verdicts)
    return shown


def _resumed(o: Observation) -> ResumedEntry:
    """When a run was interrupted and went on, and with what."""
    times = (dt.datetime.fromtimestamp(t, dt.UTC).isoformat(timespec="seconds") for t in (o.data["interrupted"], o.time))
    interrupted, resumed = times
    entry: ResumedEntry = {"interrupted": interrupted, "resumed": resumed, "phases": o.data["phases"], "cells": o.data["cells"]}
    return {**entry, "differs": o.data["differs"]} if o.data.get("differs") else entry


def _controls(evidence: Evidence, ended: Sequence[str]) -> list[ControlEntry]:
    """The control pairs of a run; and, as not passed, those of which no line tells, though their phases have ``ended``.

    Each phase ends with one, and the first phase of a leg begins with one. Records that are older than `phase-complete` are taken
    as they are: the oldest had no control pair.
    """
    entries: list[ControlEntry] = [
        {"phase": o.phase, "when": o.data["when"], "ok": o.data["ok"], "reason": o.data.get("reason")}
        for _, o in evidence.controls
    ]
    attempted = {cell.partition("/")[0] for cell, attempts in evidence.attempts.items() if attempts}
    phases = [phase for phase in ended if phase in evidence.phases_ended & attempted]
    there = {(entry["phase"], entry["when"]) for entry in entries}
    wanted = [(phases[0], FIRST)] if phases and FIRST not in {when for _, when in there} else []
    wanted += [(phase, LAST) for phase in phases if (phase, LAST) not in there]
    absent = "the record does not tell of it"
    return entries + [{"phase": phase, "when": when, "ok": False, "reason": absent} for phase, when in wanted]


def measured(cell: CellEntry) -> bool:
    """Whether something was found out of a cell: what became of the stanza, or that it differs from attempt to attempt."""
    if cell["outcome"] == Outcome.INCONCLUSIVE.value:
        return inconclusive_as(cell["cause"]) is Inconclusive.FINDING
    return cell["outcome"] != Outcome.UNSUPPORTED.value


def exit_status(verdicts: Verdicts) -> int:
    """0 as expected · 1 surprises · 3 the testbed could not tell.

    It could not tell where the control pair did not get through or is not told of, a server failed, a cell is inconclusive, was
    delivered over a channel that the wire did not show, or failed as expected for a reason whose evidence was not taken in. An
    image that is unavailable is reported, but fails no run.
    """
    cells = verdicts["cells"]
    # What differs from attempt to attempt under the same conditions is the servers' own: a surprise, no failure to tell.
    cannot = [c for c in cells if c["outcome"] == "inconclusive" and inconclusive_as(c["cause"]) is Inconclusive.CANNOT_TELL]
    unseen = [c for c in cells if c["outcome"] == "delivered" and c["channel"].get("encryption") is None]
    failed = [c for c in verdicts.get("controls", []) if not c["ok"]]
    if (
        not verdicts["complete"]
        or failed
        or verdicts.get("failed_servers")
        or cannot
        or unseen
        or any(unexplained(c) and not c["surprise"] for c in cells)
        or not any(map(measured, cells))
    ):
        return 3
    return 1 if any(c["surprise"] for c in cells) else 0


def _failed_servers(evidence: Evidence, cells: Sequence[CellEntry]) -> list[FailedServerEntry]:
    """Every server that failed in an epoch, in the order in which it was noted.

    Not those of a try of the control pair after which it got through with fresh servers: that is what it is tried again for.
    """
    failed: list[FailedServerEntry] = []
    made_good = {(o.phase or "", legs.repeated(o.epoch or "")) for _, o in evidence.controls if o.data["ok"]}
    for (phase, epoch, domain), (number, o) in evidence.failures.items():
        if (phase, epoch) in made_good:
            continue
        started = evidence.started.get((phase, epoch, domain))
        void = [c for c in cells if c["cause"] == SERVER and c["phase"] == phase and domain in (c["sender"], c["receiver"])]
        failed.append(
            {
                "phase": phase,
                "epoch": epoch,
                "domain": domain,
                "reason": reason_of(o),
                "seconds": None if started is None else round(max(o.time - started, 0.0), 3),
                "undecided": len(void),
                "evidence": [f"observations.jsonl#{number}"],
            }
        )
    return failed


def _server(planned: PlannedServer, version: str | None) -> ServerEntry:
    """A server, with the version that its running package stated."""
    entry: ServerEntry = {
        "domain": planned["domain"],
        "implementation": planned["implementation"],
        "release": planned["release"],
        "title": planned["title"],
        "index": planned["index"],
        "unavailable": planned["unavailable"],
        "version": version,
    }
    return {**entry, "mine": True} if planned.get("mine") else entry


def _settings(planned: PlannedSettings) -> SettingsEntry:
    return {
        "policy": planned["policy"],
        "certificate": planned["certificate"],
        "dimensions": dict(planned["dimensions"]),
        "unsupported": planned["unsupported"],
    }


# --- one cell ---------------------------------------------------------------------------------------------------------


def judge_cell(evidence: Evidence, federation: Federation, cell: Cell) -> Verdict:
    """The judgement of one cell."""
    expected = expectation_of(federation, cell)
    if reason := not_expressible(federation, cell):
        return Verdict(cell, Outcome.UNSUPPORTED, Channel(), "policy-not-expressible", None, reason, expected, False, None, 0)
    attempts = evidence.attempts.get(cell.id, [])
    if not attempts:
        return _inconclusive(cell, expected, *why_no_attempt(evidence, federation, cell))
    weighed = weigh(attempts, lambda attempt: None if why_void(evidence, cell, attempt) else outcome_of(attempt))
    if weighed.outcome is not None:
        verdict = _conclusive(evidence, federation, cell, weighed, weighed.outcome, expected)
        if not (weighed.mute and verdict.surprise):
            return verdict
        weighed = Weighed(weighed.mute, None)  # nobody is charged with what may be what a strained start has left behind
    if weighed.flaky:
        told = tell(weighed.shares) if any(s.delivered for s in weighed.shares.values()) else ", ".join(weighed.flaky)
        text = f"attempts under the same conditions came out differently: {told}"
        return replace(
            _inconclusive(cell, expected, "unstable", text, len(attempts)),
            surprise=True,
            flaky=weighed.flaky,
            shares=weighed.shares,
            evidence=references(evidence, cell, weighed.deciding),
        )
    cause, text = why_void(evidence, cell, weighed.deciding) or Void(TESTBED, "nothing was seen")
    void = _inconclusive(cell, expected, cause, text, len(attempts))
    return replace(void, evidence=references(evidence, cell, weighed.deciding))


def _inconclusive(cell: Cell, expected: Expectation, cause: str, text: str, attempts: int = 0) -> Verdict:
    """Nobody can say: counted as neither delivery nor its opposite."""
    fault = CAUSES[cause].fault
    whose = Fault(fault) if fault else None
    return Verdict(cell, Outcome.INCONCLUSIVE, Channel(), cause, whose, text, expected, False, None, attempts)


def _conclusive(
    evidence: Evidence, federation: Federation, cell: Cell, weighed: Weighed, outcome: Outcome, expected: Expectation
) -> Verdict:
    """The judgement of a cell whose attempts say what became of the stanza."""
    deciding = weighed.deciding
    answered = deciding.received or deciding.bounced
    channel = channel_of(evidence, cell, deciding) if outcome is Outcome.DELIVERED else Channel()
    found = None if outcome is Outcome.DELIVERED else _cause_of(evidence, federation, cell, deciding)
    surprise = not expected.agrees(outcome, channel.encryption, found.cause if found else None)
    doubted = (cell.phase, frozenset((cell.sender, cell.receiver))) in evidence.unconfirmed
    confirmed = None
    if surprise or doubted or outcome is not Outcome.DELIVERED:
        confirmed = weighed.alone if surprise or doubted else weighed.agreeing > 1
    verdict = Verdict(
        cell=cell,
        outcome=outcome,
        channel=channel,
        cause=None,
        fault=None,
        explanation=delivered_over(channel, None if channel.encryption else gaps_of(evidence, cell, deciding).get("wire")),
        expected=expected,
        surprise=surprise,
        seconds=round(answered - (deciding.sent or deciding.started), 3) if answered else None,
        attempts=len(evidence.attempts[cell.id]),
        evidence=references(evidence, cell, deciding),
        shares=weighed.shares,
        history_dependent=weighed.history,
        interference=interference_of(evidence, cell, weighed),
        confirmed=confirmed,
    )
    return _with_cause(verdict, federation, found) if found else verdict


class Found(NamedTuple):
    """Why an attempt failed."""

    case: Case
    cause: str | None
    """None if it cannot be said."""
    sources: str
    """Those that named it, or what is missing: see `rules.cause_of`."""


def _cause_of(evidence: Evidence, federation: Federation, cell: Cell, deciding: Attempt) -> Found:
    case = case_of(evidence, federation, cell, deciding)
    return Found(case, *cause_of(case))


def _with_cause(verdict: Verdict, federation: Federation, found: Found) -> Verdict:
    """A failure, with its cause, whose fault it is, and what would fix it."""
    case, cause, sources = found
    if cause is None:
        explanation = without_cause(verdict.outcome, sources)
        return replace(verdict, explanation=explanation.text, reason=explanation.reason, confirmed=None)
    fault = fault_of(cause, case)
    (sender, _), (receiver, _) = federation.ends(verdict.cell)
    clock = untimely(cause, case)
    explanation = explain(verdict.outcome, cause, fault, sender, receiver, federation.remedies, untimely=clock)
    return replace(
        verdict,
        cause=cause,
        cause_from=sources,
        fault=fault,
        explanation=explanation.text,
        reason=explanation.reason,
        remedies=explanation.remedies,
    )


def outcome_of(attempt: Attempt) -> Outcome:
    """What the clients saw; a receipt counts even if an error came too."""
    if attempt.received:
        return Outcome.DELIVERED
    return Outcome.BOUNCED if attempt.bounced else Outcome.LOST


def delivered_over(channel: Channel, gap: str | None = None) -> str:
    """The explanation of a delivery: over what, how the sender's domain was proven, and why (``gap``) the wire is not known."""
    over = {"tls": f"over {channel.tls_version or 'TLS'}", "cleartext": "in cleartext"}.get(
        channel.encryption or "", "over an unobserved channel"
    )
    proven = {"external": ", authenticated by certificate", "dialback": ", authenticated by dialback"}.get(
        channel.authentication or "", ""
    )
    return f"delivered {over}{proven}" + (f": {gap}" if gap else "")


def references(evidence: Evidence, cell: Cell, attempt: Attempt) -> tuple[str, ...]:
    """Where to look: lines of the record, and both logs, as far as they were read."""
    streams = [number for number, _ in evidence.streams(cell, attempt.epoch)][:3]
    lines = [f"observations.jsonl#{number}" for number in [*attempt.lines, *streams]]
    read = [d for d in (cell.sender, cell.receiver) if not evidence.intake.log_gap(cell.phase, attempt.epoch, d)]
    return (*lines, *(f"evidence/{cell.phase}/{attempt.epoch}/{d}.log.gz" for d in read))

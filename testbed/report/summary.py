"""What the matrix says, counted: per phase and between phases, with the paragraph for people.

Rule: a pure function of ``verdicts.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from testbed.model import SCHEMA
from testbed.record.verdicts import Verdicts
from testbed.report import failed
from testbed.report.changes import Change, causes, changes
from testbed.report.grid import KINDS, Address, Grid, Kind, State, grid, judged
from testbed.report.paragraph import ATTRIBUTES, paragraph


def summary(verdicts: Verdicts) -> dict[str, Any]:
    """The content of ``summary.json``: counts per phase, per consecutive change and for the cutover, and the paragraph."""
    matrix = grid(verdicts)
    steps = list(zip(matrix.phases, matrix.phases[1:], strict=False))
    return {
        "schema": SCHEMA,
        "run": verdicts.get("run"),
        "scenario": verdicts.get("scenario"),
        "title": verdicts.get("title"),
        "started": verdicts.get("started"),
        "timers": verdicts.get("timers"),
        **({"stretch": verdicts["stretch"]} if "stretch" in verdicts else {}),
        "complete": bool(verdicts.get("complete", False)),
        **({"resumed": verdicts["resumed"]} if "resumed" in verdicts else {}),
        "servers": len(matrix.members),
        "pairs": len({address[:2] for address in matrix.addresses}),
        "exchanges": list(matrix.exchanges),
        "versions": matrix.versions,
        "failed_servers": failed.sentences(verdicts.get("failed_servers") or []),
        "phases": [_phase(matrix, name) for name in matrix.phases],
        "cutover": _between(matrix, matrix.phases[0], matrix.phases[-1]) if steps else None,
        "changes": [_between(matrix, before, after) for before, after in steps],
        "paragraph": paragraph(verdicts),
    }


def _phase(matrix: Grid, name: str) -> dict[str, Any]:
    states = Counter(s for _, s in matrix.states(name))
    recorded = list(matrix.cells[name].values())
    return {
        "name": name,
        "cells": len(matrix.addresses),
        "delivered": judged(states)[0],
        "states": {s.value: states[s] for s in State},
        "outcomes": dict(Counter(cell["outcome"] for cell in recorded)),
        "encryption": {
            "tls": sum(states[s] for s in State if KINDS[s] is Kind.TLS),
            "cleartext": states[State.CLEARTEXT],
            "unseen": states[State.UNSEEN],
        },
        "causes": causes(matrix, name),
        "surprises": sum(bool(cell.get("surprise")) for cell in recorded),
    }


def _between(matrix: Grid, before: str, after: str) -> dict[str, Any]:
    by_address = changes(matrix, before, after)
    counts = Counter(by_address.values())
    failures = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
    return {
        "before": before,
        "after": after,
        "classes": {change.value: counts[change] for change in Change},
        "causes": causes(matrix, after, only=failures),
        "groups": {name: _blocks(matrix, failures, by_address, name) for name in ("policy", "implementation")},
    }


def _blocks(matrix: Grid, failures: list[Address], every: Iterable[Address], attribute: str) -> list[dict[str, Any]]:
    label = {member.domain: ATTRIBUTES[attribute](member) for member in matrix.members}
    hit = Counter((label[a], label[b]) for a, b, _ in failures)
    total = Counter((label[a], label[b]) for a, b, _ in every)
    return [{"sender": s, "receiver": r, "newly-broken": n, "of": total[s, r]} for (s, r), n in hit.most_common()]


def render_json(verdicts: Verdicts) -> str:
    """``summary.json``."""
    return json.dumps(summary(verdicts), indent=2, ensure_ascii=False) + "\n"


RENDERS = {"summary.json": render_json}

"""Every fault of every table: what a run with it owes. A short set in `make test`, the long one in `make faults`.

Set FAULTS_SEED to draw other moments, FAULTS_TIMES to run each that often, FAULTS_LOG to a file to which each run adds one line
(`table.py` makes the page from it).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from fault import SCENARIO, Fault, families
from harness import Bench, Case, Reference

pytestmark = pytest.mark.engine
SEED = int(os.environ.get("FAULTS_SEED", "1"))
TIMES = int(os.environ.get("FAULTS_TIMES", "0"))


def rows() -> list[object]:
    """One test per fault and repetition; of a short one the first also runs in `make test`."""
    found = []
    for family in families():
        for fault in family.faults:
            for number in range(TIMES or fault.times):
                marks = [] if fault.short and number == 0 else [pytest.mark.faults]
                if fault.defect:
                    marks.append(pytest.mark.xfail(reason=fault.defect, strict=True))
                found.append(pytest.param(fault, SEED + number, id=f"{family.name}-{fault.name}-{SEED + number}", marks=marks))
    return found


@pytest.mark.parametrize(("fault", "seed"), rows())
def test_a_run_with_a_fault_owes_what_every_run_owes(
    fault: Fault, seed: int, request: pytest.FixtureRequest, reference: Reference, folder: Path
) -> None:
    bench: Bench = request.getfixturevalue("own_bench" if fault.own_engine else "bench")
    compared = reference if fault.scenario == SCENARIO else None
    case, began, wrong = Case(fault, seed, bench, folder, compared), time.monotonic(), ["the fault could not be injected"]
    try:
        case.play()
        wrong = case.violations(full=not fault.short)
    finally:
        case.cleanup.close()
        note(case, time.monotonic() - began, wrong)
    assert not wrong, "\n".join(wrong)


def note(case: Case, seconds: float, wrong: list[str]) -> None:
    """One line for docs/reliability.md."""
    if log := os.environ.get("FAULTS_LOG"):
        line = {
            "fault": case.fault.name, "seed": case.seed, "status": case.status, "seconds": round(seconds, 1),
            "said": case.error.strip().splitlines()[-1:], "decided": case.decided, "wrong": wrong,
        }  # fmt: skip
        with Path(log).open("a") as file:
            file.write(json.dumps(line) + "\n")

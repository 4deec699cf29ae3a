"""docs/reliability.md has a row for every fault, as it is injected today; a defect there is one that its test knows."""

from __future__ import annotations

from collections import Counter

import pytest
from fault import Fault, families
from table import PAGE, row, seen

FAULTS = [fault for family in families() for fault in family.faults]


def rows() -> dict[str, list[str]]:
    """Fault -> the columns of its row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    columns = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]
    return {c[0]: c for c in columns}


def test_every_fault_has_its_own_name() -> None:
    assert [name for name, times in Counter(f.name for f in FAULTS).items() if times > 1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_every_fault_stands_in_the_page_as_it_is_injected(fault: Fault) -> None:
    _, how, end, runs, _, verdict = rows()[fault.name]
    assert (how, end) == (fault.how, fault.must)
    assert verdict == ("not run" if runs == "0" else "defect" if fault.defect else "held"), (
        "make faults, then tests/faults/table.py"
    )


def test_a_row_says_what_was_seen() -> None:
    fault = FAULTS[0]
    runs = [
        {"status": 3, "decided": 2, "wrong": []},
        {"status": 3, "decided": 6, "wrong": []},
        {"status": -9, "decided": 3, "wrong": []},
    ]
    assert seen(runs) == "killed, status 3 2 times; 2 to 6 of 12 cells decided"
    assert row(fault, runs).endswith("| held |\n")
    assert row(fault, [{"status": 0, "decided": 12, "wrong": ["something"]}]).endswith("| defect |\n")
    assert row(fault, []).endswith("| not run |\n")

"""Writes the tables of docs/reliability.md from the faults and from what their runs noted (FAULTS_LOG). As a command:

python tests/faults/table.py results/faults.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fault import Family, Fault, families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin (tests/faults/table.py) -->\n", "<!-- faults: end -->\n"
CELLS = 12
"""Of the scenario."""
HEAD = "| fault | injected | must end | runs | seen | verdict |\n| --- | --- | --- | --- | --- | --- |\n"
Run = Mapping[str, Any]


def seen(runs: Sequence[Run]) -> str:
    """What came of the runs of one fault: exit statuses, and how many cells were decided."""
    statuses = Counter("killed" if r["status"] == -9 else f"status {r['status']}" for r in runs)
    how = ", ".join(f"{status} {times} times" if times > 1 else status for status, times in sorted(statuses.items()))
    low, high = min(r["decided"] for r in runs), max(r["decided"] for r in runs)
    return f"{how}; {low if low == high else f'{low} to {high}'} of {CELLS} cells decided"


def row(fault: Fault, runs: Sequence[Run]) -> str:
    """One line of the table."""
    verdict = "not run" if not runs else "defect" if fault.defect or any(r["wrong"] for r in runs) else "held"
    what = seen(runs) if runs else ""
    return f"| {fault.name} | {fault.how} | {fault.must} | {len(runs)} | {what} | {verdict} |\n"


def tables(found: Iterable[Family], runs: Mapping[str, Sequence[Run]]) -> str:
    """All tables, one a family."""
    parts = []
    for family in found:
        rows = "".join(row(fault, runs.get(fault.name, ())) for fault in family.faults)
        parts.append(f"### {family.title}\n\n{HEAD}{rows}")
    return "\n".join(parts)


def load(paths: Iterable[Path]) -> dict[str, list[Run]]:
    """Fault -> its runs, in order."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for path in paths:
        for line in path.read_text().splitlines():
            run = json.loads(line)
            runs[run["fault"]].append(run)
    return runs


def main(paths: Sequence[str]) -> None:
    """Rewrite what stands between the marks."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(families(), load(map(Path, paths)))}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""That a run was interrupted and resumed, in words for every report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.report import words


def parts(verdicts: Mapping[str, Any]) -> str:
    """``in 2 parts: interrupted at …, resumed at … (6 cells of 'after' were missing)``; empty for a run in one go."""
    resumed = verdicts.get("resumed") or []
    if not resumed:
        return ""
    return f"in {len(resumed) + 1} parts: " + "; ".join(map(_part, resumed))


def _part(entry: Mapping[str, Any]) -> str:
    where = ", ".join(f"'{phase}'" for phase in entry["phases"])
    missing = f"{words.count(entry['cells'], 'cell')} of {where} {'was' if entry['cells'] == 1 else 'were'} missing"
    differs = f"; not as before: {', '.join(entry['differs'])}" if entry.get("differs") else ""
    return f"interrupted at {_moment(entry['interrupted'])}, resumed at {_moment(entry['resumed'])} ({missing}{differs})"


def _moment(iso: str) -> str:
    return iso[:16].replace("T", " ") + " UTC"

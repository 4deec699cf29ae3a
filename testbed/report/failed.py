"""Servers that failed while a run was measured, in words: every report says it before all else.

Rule: a pure function of the verdicts, or of what a comparison keeps of them; the reason is the record's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.record.legs import ALONE, CONTROL, epoch_kind
from testbed.report import words

WHERE = {ALONE: ", measured alone", CONTROL: ", in the control pair"}
"""The kind of an epoch -> what a sentence adds."""
MOST = 5
"""Servers that are named; of more it is said how many."""


def sentences(failed: Sequence[Mapping[str, Any]], most: int = MOST) -> list[str]:
    """One sentence for each of the ``failed_servers`` of the verdicts; beyond ``most`` one that counts them."""
    shown = [sentence(entry) for entry in failed[:most]]
    rest = len(failed) - len(shown)
    return [*shown, *([f"{words.count(rest, 'more server')} failed."] if rest else [])]


def sentence(entry: Mapping[str, Any]) -> str:
    """``b.example failed in 'after', 3.2 s after its start: the server ended with status 1; 2 results are undecided …``"""
    where = WHERE.get(epoch_kind(str(entry["epoch"])), "")
    seconds = entry.get("seconds")
    after = "" if seconds is None else f", {seconds:.1f} s after its start"
    return f"The server {entry['domain']} failed in '{entry['phase']}'{where}{after}: {entry['reason']}{_undecided(entry)}."


def _undecided(entry: Mapping[str, Any]) -> str:
    n = entry.get("undecided") or 0
    return f"; {words.count(n, 'result')} {'is' if n == 1 else 'are'} undecided because of it" if n else ""

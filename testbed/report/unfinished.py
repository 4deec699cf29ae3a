"""What a run leaves open that was cut short, or in which a server failed: in words, with the command that measures it.

Rule: pure functions of the verdicts. The end of a run is not charged to the testbed: a signal of the user's may have caused it.
"""

from __future__ import annotations

from collections import Counter

from testbed.judge.unmeasured import ENDED, TESTBED
from testbed.judge.verdict import exit_status
from testbed.model import Outcome
from testbed.record.verdicts import CellEntry, Verdicts
from testbed.report import words
from testbed.report.grid import State, state

CAUSE = "the run ended before it was measured to its end"
"""Completes "because", of cells whose word for the cause is the testbed's."""
UNOBSERVED = "over an unobserved channel: "
"""After it an explanation says why the wire is not known."""


def cut_off(cell: CellEntry) -> bool:
    """Whether nothing is known of a cell because the run ended before it was measured to its end."""
    undecided = cell["outcome"] == Outcome.INCONCLUSIVE.value and cell.get("cause") == TESTBED
    return undecided and str(cell.get("explanation") or "").startswith(ENDED)


def count_cut_off(cells: list[CellEntry]) -> list[str]:
    """``2 results were not measured to the end, because the run ended before: …``; empty if there is none."""
    n = sum(map(cut_off, cells))
    verb, counts = ("was", "it counts") if n == 1 else ("were", "they count")
    told = f"{words.count(n, 'result')} {verb} not measured to the end, because the run ended before"
    return [f"{told}: {counts} as neither success nor failure."] if n else []


def unseen(cells: list[CellEntry]) -> Counter[str]:
    """Deliveries of which the encryption is not known, by the reason why the wire was not read; "" where it was read."""
    found = [str(cell.get("explanation") or "") for cell in cells if state(cell) is State.UNSEEN]
    return Counter(explanation.partition(UNOBSERVED)[2] for explanation in found)


def unseen_sentences(cells: list[CellEntry]) -> list[str]:
    """What is to be said of them, a sentence for each reason."""
    sentences = []
    for gap, n in unseen(cells).most_common():
        what = words.count(n, "delivery", "deliveries")
        if gap:
            sentences.append(f"The encryption of {what} is not known: {gap}.")
        else:
            sentences.append(f"{what} left no trace on the wire that would show the encryption.")
    return sentences


def resume(verdicts: Verdicts) -> str:
    """What measures the rest of a run that was cut short; empty of a complete one."""
    return "" if verdicts.get("complete", False) else f"The command 'testbed run --resume {verdicts['run']}' measures the rest."


def after_failure(verdicts: Verdicts) -> list[str]:
    """Why a run in which a server failed has the exit status 3, and what to do; empty if none failed."""
    failed = verdicts.get("failed_servers") or []
    if not failed:
        return []
    why = "The exit status is 3 because a server failed" + ("" if undecided(verdicts) else ", although every result is known")
    domains = {entry["domain"] for entry in failed}
    cells = [cell for cell in verdicts["cells"] if domains & {cell["sender"], cell["receiver"]}]
    cells.sort(key=lambda cell: cell["outcome"] != Outcome.INCONCLUSIVE.value)
    if not cells:  # of the control pair
        return [f"{why}. Read its log, and run the scenario again."]
    pair = f"{cells[0]['sender']} {cells[0]['receiver']}"
    which = "its pair" if len(cells) == 1 else "one of its pairs"
    return [f"{why}. Read its log. The command 'testbed rerun {verdicts['run']} {pair}' measures {which} again, alone."]


def undecided(verdicts: Verdicts) -> bool:
    """Whether the testbed could not tell everything, servers that failed left aside."""
    return exit_status({**verdicts, "failed_servers": []}) == 3

"""What the terminal shows of a domain: its parts, shared by the story of one (`story`) and the table of many (`table`). Pure.

Colours come from `report.looks`; every answer is a word too, so that nothing is told by colour alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from testbed.causes import VOCABULARY
from testbed.probe.findings import Finding
from testbed.probe.ladder import Answer, Judgement
from testbed.probe.seen import Seen
from testbed.report.grid import State
from testbed.report.looks import STATES

LABEL = 15
"""Width of the story's left column."""
SHOWN = {Answer.YES: "yes", Answer.NO: "no", Answer.UNKNOWN: "cannot say"}
LOOKS = {
    Answer.YES: STATES[State.TLS_EXTERNAL].sgr,
    Answer.NO: STATES[State.BOUNCED].sgr,
    Answer.UNKNOWN: STATES[State.INCONCLUSIVE].sgr,
}
ORDER = [Answer.NO, Answer.UNKNOWN, Answer.YES]
"""Worst first."""
DEFECTS = {cause.word: cause.short for cause in VOCABULARY if cause.short}


@dataclass(frozen=True)
class Peer:
    """One domain with all that is said of it; the judgement of the policy that was asked about stands apart."""

    seen: Seen
    asked: Judgement
    ladder: Sequence[Judgement]
    findings: Sequence[Finding]


class Page:
    """Lines of at most so many columns, with or without colour."""

    def __init__(self, *, colour: bool, width: int) -> None:
        self.colour, self.width = colour, max(width, 60)
        self.lines: list[str] = []

    def paint(self, text: str, sgr: str) -> str:
        """The text in a colour, if there are any."""
        return f"\x1b[{sgr}m{text}\x1b[0m" if self.colour and text.strip() else text

    def add(self, text: str = "") -> None:
        """One line as it is."""
        self.lines.append(text)

    def fact(self, label: str, text: str, sgr: str = "0") -> None:
        """A label, and text wrapped beside it, in a colour if it is to be seen first."""
        lines = textwrap.wrap(text, self.width - LABEL - 2, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            shown = self.paint(line, sgr) if sgr != "0" else line
            self.add("  " + self.paint(f"{'' if number else label:<{LABEL}}", "2") + shown)

    def render(self) -> str:
        """Everything, ending with a line break."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


def numbers(texts: Iterable[str], notes: list[str]) -> str:
    """The numbers of notes, which are added to the list where they are new."""
    notes += [t for t in dict.fromkeys(texts) if t not in notes]
    return ", ".join(str(n) for n in sorted(notes.index(t) + 1 for t in set(texts)))


def list_notes(page: Page, notes: Sequence[str]) -> None:
    """What "cannot say" depends on, by number."""
    for number, note in enumerate(notes, start=1):
        if number == 1:
            page.add()
        page.fact("" if number > 1 else "depends on", f"{number}. {note}")


def explain(page: Page, causes: Collection[str]) -> None:
    """What the words of causes mean."""
    for number, cause in enumerate(c for c in VOCABULARY if c.word in causes):
        if number == 0:
            page.add()
        page.fact("" if number else "no because", f"{cause.word}: {cause.meaning} ({cause.clause})")

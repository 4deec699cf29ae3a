"""A comparison as a person reads it: terminal text, and Markdown for a comment at a change.

Rule: pure functions on the sheet of a comparison. Colour only repeats what the marks say.
"""

from __future__ import annotations

import functools
import html
import textwrap
from itertools import pairwise

from testbed.report import looks
from testbed.report.changes import Change
from testbed.report.diff_sheet import MARKS, Document, Row, sheet
from testbed.report.grid import ARROW, State
from testbed.report.prose import say

MOST_ROWS, FEW_ROWS = 20, 6
"""Cells that a terminal shows of one change, and of one that is no reason to worry; the other forms show them all."""

SGR = {
    "worse": looks.STATES[State.BOUNCED].sgr,
    "unknown": looks.STATES[State.INCONCLUSIVE].sgr,
    "other": looks.STATES[State.CLEARTEXT].sgr,
    "better": looks.CHANGES[Change.SECURED].sgr,
    "known": looks.STATES[State.UNSUPPORTED].sgr,
}
FILLS = {
    "worse": looks.STATES[State.BOUNCED].fill,
    "unknown": looks.CHANGES[Change.WEAKENED].fill,
    "other": looks.STATES[State.CLEARTEXT].fill,
    "better": looks.CHANGES[Change.SECURED].fill,
    "known": looks.CHANGES[Change.BROKEN_BEFORE_AND_AFTER].fill,
}


# --- text -------------------------------------------------------------------------------------------------------------


def render_text(doc: Document, *, colour: bool, width: int) -> str:
    """For a terminal; the verdict stands last, where it stays on the screen. ``colour`` adds colour sequences."""

    def paint(text: str, tone: str) -> str:
        return f"\x1b[{SGR[tone]}m{text}\x1b[0m" if colour and tone else text

    wrap = functools.partial(textwrap.wrap, width=width, break_on_hyphens=False, break_long_words=False)
    s = sheet(doc)
    out = [paint(line, "unknown") for alarm in s.alarms for line in wrap(alarm, subsequent_indent="    ")]
    out += [f"{name}  {text}" for name, text in s.sides]
    if s.differences:
        out += ["", paint("The two sides differ in more than their results:", "other")]
        out += [line for d in s.differences for line in wrap(d, initial_indent="  ", subsequent_indent="    ")]
    exchanges = len({row.exchange for section in s.sections for group in section.groups for row in group.rows}) > 1
    for section in s.sections:
        out += ["", paint(f"{MARKS[section.tone]} {section.title} ({section.count:,})", section.tone)]
        for group in section.groups:
            lines = wrap(group.head, initial_indent="  ", subsequent_indent="    ")
            lines += [x for n in group.notes for x in wrap(n, initial_indent="    ", subsequent_indent="    ")]
            out += lines + _table(group.rows, exchanges, MOST_ROWS if section.tone in ("worse", "unknown") else FEW_ROWS)
    if s.counts:
        out += ["", " · ".join(paint(f"{n:,} {what}", tone if n else "") for what, n, tone in s.counts)]
    out += ["", paint(s.verdict, s.tone)]
    return "\n".join(out) + "\n"


def _table(rows: tuple[Row, ...], exchanges: bool, most: int) -> list[str]:
    shown = rows[:most]
    if not shown:
        return []
    phase, sender = max(len(r.phase) for r in shown), max(len(r.sender) for r in shown)
    lines = [
        f"      {r.phase:<{phase}}  {r.sender:<{sender}}{ARROW}{r.receiver}" + (f"  {r.exchange}" if exchanges else "")
        for r in shown
    ]
    return lines + ([f"      … and {len(rows) - most:,} more"] if len(rows) > most else [])


# --- Markdown ---------------------------------------------------------------------------------------------------------


def render_markdown(doc: Document) -> str:
    """For a comment at a change: the verdict first, long lists folded."""
    text = say("diff.md.j2", s=sheet(doc), md=marked, most=MOST_ROWS)
    lines = text.splitlines()
    return "\n".join(line for line, after in pairwise([*lines, ""]) if line or after) + "\n"  # one empty line is enough


def marked(text: str) -> str:
    """Text without markup of its own."""
    escaped = html.escape(text, quote=False)
    for char in "\\`*_|[]":
        escaped = escaped.replace(char, "\\" + char)
    return escaped

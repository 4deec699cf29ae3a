"""A comparison as one small page of its own: no script, no other file, for light and dark screens.

Rule: the same sheet as the text, laid out; everything from a run or a file is escaped by the template engine.
"""

from __future__ import annotations

from testbed.report.diff import FILLS
from testbed.report.diff_sheet import MARKS, TONES, Document, sheet
from testbed.report.prose import say

OPEN_ROWS = 40
"""A longer list of cells begins folded."""

INKS = {"worse": "#fff", "unknown": "#fff", "other": "#1a1a1a", "better": "#fff", "known": "#1a1a1a"}


def render_html(doc: Document) -> str:
    """One page that needs nothing else."""
    return say("diff.html.j2", s=sheet(doc), marks=MARKS, tones=TONES, fills=FILLS, on=INKS, open_rows=OPEN_ROWS)

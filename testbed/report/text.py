"""The same matrix for a terminal: one ASCII character per pair, numbered rows and columns, and a key.

Rule: a pure function from the verdicts to text of a given width. What went otherwise than it ought to comes first, the one
paragraph last, where it stays on the screen. Colour only repeats what the characters say.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import pairwise
from typing import Any

from testbed.causes import UNKNOWN
from testbed.record.verdicts import Verdicts
from testbed.report import busy, looks, unfinished, words
from testbed.report.cell import because, outcomes
from testbed.report.changes import Change, causes, changes, doubtful
from testbed.report.circumstances import CIRCUMSTANCES
from testbed.report.failed import sentences
from testbed.report.grid import ARROW, Grid, Member, State, grid, judged
from testbed.report.interruptions import parts
from testbed.report.looks import Look
from testbed.report.paragraph import paragraph

NARROWEST = 60
MOST_SURPRISES = 20
MOST_CAUSES = 12
MOST_CIRCUMSTANCES = 10
FILE_WIDTH = 120
"""Of the text that is kept in a file."""

Paint = Callable[[str, str], str]


def _coloured(text: str, sgr: str) -> str:
    return f"\x1b[{sgr}m{text}\x1b[0m"


def _bare(text: str, _sgr: str) -> str:
    return text


def render_text(verdicts: Verdicts, *, colour: bool, width: int) -> str:
    """Surprises, the key, a matrix per phase, the matrix of changes, and the paragraph; no line is wider than ``width``.

    ``width`` below 60 is taken as 60. ``colour`` adds the terminal's colour sequences, which have no width.
    """
    matrix = grid(verdicts)
    width = max(width, NARROWEST)
    paint: Paint = _coloured if colour else _bare
    out = _head(verdicts, width, paint) + _surprises(matrix, width, paint) + _key(matrix, width, paint)
    for exchange in matrix.exchanges:
        of = matrix.of(exchange)
        for phase in matrix.phases:
            states = {a[:2]: s for a, s in matrix.states(phase, exchange)}
            counts = Counter(states.values())
            delivered, known = judged(counts)
            through = f"{delivered:,} of {words.count(known, 'pair')} got through" if known else "no pair could be judged"
            unknown = counts.total() - known
            rest = f" ({unknown:,} could not be judged)" if known and unknown else ""
            out += _title(f"Phase '{phase}'{of}: {through}{rest}", width, paint)
            place = matrix.phases.index(phase)
            out += _matrix(matrix, states, looks.STATES, (place, place), width, paint) + _legend(
                counts, looks.STATES, width, paint
            )
            out += _reasons("Why the others did not:", causes(matrix, phase, exchange), width)
        if len(matrix.phases) > 1:
            first, last = matrix.phases[0], matrix.phases[-1]
            by_address = changes(matrix, first, last, exchange)
            broken = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
            unknown = len(doubtful(matrix, by_address))
            how_many = f"{words.count(len(broken), 'pair')} newly broken"
            if unknown:
                how_many = f"{'at least ' if broken else ''}{how_many}, {unknown:,} unknown"
            out += _title(f"From '{first}' to '{last}'{of}: {how_many}", width, paint)
            by_pair = {address[:2]: change for address, change in by_address.items()}
            out += _matrix(matrix, by_pair, looks.CHANGES, (len(matrix.phases) - 1, 0), width, paint)
            out += _legend(Counter(by_address.values()), looks.CHANGES, width, paint)
            out += _reasons("Why they broke:", causes(matrix, last, exchange, only=broken), width)
    out += _circumstances(verdicts, width, paint)
    out += _title("In short", width, paint) + textwrap.wrap(paragraph(verdicts, busy_told=True), width)
    out += _unknown(verdicts, width, paint)
    return "\n".join(line.rstrip() for line in out) + "\n"


def _title(text: str, width: int, paint: Paint) -> list[str]:
    text = words.shorten(text, width)
    return ["", paint(text, "1"), "=" * len(text)]


def _head(verdicts: Verdicts, width: int, paint: Paint) -> list[str]:
    title = str(verdicts.get("title") or verdicts.get("scenario") or "")
    shown = {"run": verdicts.get("run"), "started": verdicts.get("started"), "timers": words.timers_of(verdicts)}
    facts = [f"{key}: {value}" for key, value in shown.items() if value]
    facts += [f"measured {of}"] if (of := parts(verdicts)) else []
    lines = [paint(line, "1") for line in textwrap.wrap(title, width)] + textwrap.wrap(" · ".join(facts), width)
    alarms = sentences(verdicts.get("failed_servers") or []) + unfinished.after_failure(verdicts)
    alarms += [] if verdicts.get("complete", False) else [f"{words.CUT_SHORT.capitalize()}."]
    alarms += [
        f"The control failed ({c['when']} in '{c['phase']}'): {words.CONTROL_FAILED}: {c.get('reason')}. Do not trust this phase."
        for c in verdicts.get("controls", [])
        if not c["ok"]
    ]
    alarms += busy.sentences(verdicts)
    return lines + [paint(line, looks.STATES[State.BOUNCED].sgr) for alarm in alarms for line in textwrap.wrap(alarm, width)]


def _surprises(matrix: Grid, width: int, paint: Paint) -> list[str]:
    surprises = [
        (phase, cell)
        for phase in matrix.phases
        for address in matrix.addresses
        if (cell := matrix.cell(phase, address)) is not None and cell.get("surprise")
    ]
    if not surprises:
        return []
    number = {member.domain: member.number for member in matrix.members}
    out = _title(f"{looks.UNPREDICTED.capitalize()}: {words.count(len(surprises), 'result')}", width, paint)
    for phase, cell in surprises[:MOST_SURPRISES]:
        pair = f"{number[cell['sender']]}{ARROW}{number[cell['receiver']]}"
        exchange = f" {cell['exchange']}" if len(matrix.exchanges) > 1 else ""
        cause = f" ({cell['cause']})" if cell.get("cause") else ""
        why = because(cell)
        ought = f"expected {outcomes(cell)}" + (f" [{why}]" if why else "")
        line = f"{phase} {pair}{exchange}: {cell['outcome']}{cause}; {ought}. {cell.get('explanation') or ''}"
        out += textwrap.wrap(line, width, subsequent_indent="    ", max_lines=5, placeholder=" …")
    if len(surprises) > MOST_SURPRISES:
        out.append(f"... and {len(surprises) - MOST_SURPRISES:,} more")
    return out


def _circumstances(verdicts: Verdicts, width: int, paint: Paint) -> list[str]:
    """What one should know before one believes a cell: order, third parties, attempts that disagreed or were not repeated."""
    out: list[str] = []
    for circumstance in CIRCUMSTANCES:
        cells = [cell for cell in verdicts["cells"] if circumstance.of(cell)]
        if not cells:
            continue
        out += _title(f"{circumstance.title}: {words.count(len(cells), 'result')}", width, paint)
        for cell in cells[:MOST_CIRCUMSTANCES]:
            line = f"{cell['phase']} {cell['sender']}{ARROW}{cell['receiver']}: {circumstance.detail(cell)}"
            out += textwrap.wrap(line, width, subsequent_indent="    ", max_lines=3, placeholder=" …")
        if len(cells) > MOST_CIRCUMSTANCES:
            out.append(f"... and {len(cells) - MOST_CIRCUMSTANCES:,} more")
    return out


def _unknown(verdicts: Verdicts, width: int, paint: Paint) -> list[str]:
    """Cells whose cause nobody could name: each is a bug of the testbed."""
    ids = [c["id"] for c in verdicts["cells"] if c.get("cause") == UNKNOWN]
    return _title(f"A bug of the testbed: {words.count(len(ids), 'cause')} unknown", width, paint) + ids if ids else []


def _key(matrix: Grid, width: int, paint: Paint) -> list[str]:
    """Which number is which server. Columns that are the same of all stand once, above."""

    def settings(values: tuple[str, ...]) -> str:
        steps = [values[0], *(b for a, b in pairwise(values) if a != b)]
        return ARROW.join(steps)

    columns: list[tuple[str, list[str]]] = [
        ("No.", [str(m.number) for m in matrix.members]),
        ("implementation", [m.label for m in matrix.members]),
        ("policy", [settings(m.policies) for m in matrix.members]),
        ("certificate", [settings(m.certificates) for m in matrix.members]),
        ("domain", [m.domain for m in matrix.members]),
        ("version", [m.version or "?" for m in matrix.members]),
    ]
    out = _title(f"{words.count(len(matrix.members), 'server')}: rows send, columns receive", width, paint)
    same = [(head, cells[0]) for head, cells in columns[2:4] if len(set(cells)) == 1]
    out += [f"{head} of all servers: {value}" for head, value in same] if len(matrix.members) > 1 else []
    columns = [column for column in columns if column[0] not in {head for head, _ in same} or len(matrix.members) < 2]
    sizes = [max([len(head), *map(len, cells)]) for head, cells in columns]
    if sum(sizes) + 2 * (len(sizes) - 1) > width:
        # Versions belong to implementations: the one column that can stand elsewhere, and shorter.
        versions = [f"{name} {' / '.join(known) or '?'}" for name, known in matrix.versions.items()]
        out += textwrap.wrap("versions: " + ", ".join(versions), width, subsequent_indent="    ")
        columns, sizes = columns[:-1], sizes[:-1]
    while sum(sizes) + 2 * (len(sizes) - 1) > width and max(sizes[1:]) > 6:
        widest = max(range(1, len(sizes)), key=lambda place: sizes[place])
        sizes[widest] -= 1
    rows = [[head for head, _ in columns], *(list(row) for row in zip(*(cells for _, cells in columns), strict=True))]
    for row in rows:
        cells = [words.shorten(cell, size) for cell, size in zip(row, sizes, strict=True)]
        out.append("  ".join([cells[0].rjust(sizes[0]), *(c.ljust(s) for c, s in zip(cells[1:], sizes[1:], strict=True))]))
    return out


def _matrix(
    matrix: Grid,
    results: Mapping[tuple[str, str], Enum],
    table: Mapping[Any, Look],
    policy: tuple[int, int],
    width: int,
    paint: Paint,
) -> list[str]:
    """The rows, in as many blocks of columns as the width asks for. ``policy`` is the phase to name it of, and since when."""
    if not matrix.members:
        return []
    digits = max(len(str(m.number)) for m in matrix.members)
    groups = {depth: {span.start for span in matrix.spans(depth, 0)} for depth in (1, 2)}
    software = min(max(len(m.implementation) for m in matrix.members), 24)
    policies = {span.start: span.label for span in matrix.spans(2, *policy)}
    room = min(max(map(len, policies.values())), 28)
    margin = software + 1 + digits + 1
    # Two characters a cell look square, the policies help: each is had if the whole still fits in one block.
    step, named = next(
        (k for k in ((2, True), (1, True), (2, False)) if margin + k[1] * (room + 1) + _length(matrix, groups, k[0]) <= width),
        (1, False),
    )
    margin += named * (room + 1)
    out: list[str] = []
    for start, stop in _blocks(matrix, groups, step, width - margin):
        out.append("")
        for line in range(digits):
            numbers = [str(m.number).rjust(digits)[line] for m in matrix.members[start:stop]]
            out.append(" " * margin + _joined(numbers, start, groups, step))
        for row, member in enumerate(matrix.members):
            if row and row in groups[1]:
                out.append("")
            head = f"{words.shorten(member.implementation, software) if row in groups[1] else '':<{software}} "
            head += f"{words.shorten(policies.get(row, ''), room):<{room}} " if named else ""
            cells = [_char(results, member, other, table, paint) for other in matrix.members[start:stop]]
            out.append(f"{head}{member.number:>{digits}} " + _joined(cells, start, groups, step))
    return out


def _char(
    results: Mapping[tuple[str, str], Enum], sender: Member, receiver: Member, table: Mapping[Any, Look], paint: Paint
) -> str:
    result = results.get((sender.domain, receiver.domain))
    if result is None:
        return looks.SELF_CHAR if sender is receiver else " "
    return paint(table[result].char, table[result].sgr)


def _gap(column: int, groups: Mapping[int, set[int]], step: int) -> str:
    """What stands before a column that is not the first of its line."""
    if column in groups[1]:
        return " | " if step > 1 else "|"
    return " " * (step - 1)


def _joined(cells: list[str], start: int, groups: Mapping[int, set[int]], step: int) -> str:
    return "".join((_gap(start + i, groups, step) if i else "") + cell for i, cell in enumerate(cells))


def _length(matrix: Grid, groups: Mapping[int, set[int]], step: int) -> int:
    return sum(1 + (len(_gap(i, groups, step)) if i else 0) for i in range(len(matrix.members)))


def _blocks(matrix: Grid, groups: Mapping[int, set[int]], step: int, room: int) -> Iterator[tuple[int, int]]:
    """Ranges of columns that fit, broken between groups where that leaves a block at least half full."""
    start, n = 0, len(matrix.members)
    while start < n:
        stop, used = start, 0
        while stop < n:
            used += 1 + (len(_gap(stop, groups, step)) if stop > start else 0)
            if used > room:
                break
            stop += 1
        stop = max(stop, start + 1)
        if stop < n:
            breaks = [
                i for depth in (1, 2) for i in sorted(groups[depth], reverse=True) if start + (stop - start) / 2 <= i <= stop
            ]
            stop = breaks[0] if breaks else stop
        yield start, stop
        start = stop


def _legend(counts: Mapping[Any, int], table: Mapping[Any, Look], width: int, paint: Paint) -> list[str]:
    entries = [(look, counts[result]) for result, look in table.items() if counts.get(result)]
    room = max((len(look.label) for look, _ in entries), default=0)
    digits = max((len(f"{n:,}") for _, n in entries), default=0)
    plain = [f"{look.char} {look.label:<{room}} {n:>{digits},}" for look, n in entries]
    each = max((len(entry) for entry in plain), default=1) + 3
    per_line = max(1, (width + 3) // each)
    lines = [""]
    height = -(-len(plain) // per_line)
    for row in range(height):
        line = ""
        for i in range(row, len(plain), height):
            look, text = entries[i][0], plain[i]
            line += paint(look.char, look.sgr) + text[1:] + " " * (each - len(text))
        lines.append(line)
    return lines


def _reasons(head: str, rows: list[dict[str, Any]], width: int) -> list[str]:
    if not rows:
        return []
    digits = len(f"{rows[0]['count']:,}")
    names = [row["cause"] or words.UNKNOWN for row in rows[:MOST_CAUSES]]
    room = max(map(len, names))
    out = ["", head]
    for name, row in zip(names, rows, strict=False):
        faults = ", ".join(f"{fault} {n:,}" for fault, n in row["fault"].items() if fault in words.FAULTS)
        text = row["words"] + (f" [fix at: {faults}]" if faults else "")
        lead = f"  {row['count']:>{digits},}  {name:<{room}}  "
        out += textwrap.wrap(text, width, initial_indent=lead, subsequent_indent=" " * min(len(lead), width // 2))
    if rest := rows[MOST_CAUSES:]:
        out.append(f"  {sum(row['count'] for row in rest):>{digits},}  {words.count(len(rest), 'other cause')}")
    return out


def plain(text: str) -> str:
    """The text without its colour sequences."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# --- the file ---------------------------------------------------------------------------------------------------------


def render_file(verdicts: Verdicts) -> str:
    """``matrix.txt``: without colour, as wide as a file may be."""
    return render_text(verdicts, colour=False, width=FILE_WIDTH)


RENDERS = {"matrix.txt": render_file}

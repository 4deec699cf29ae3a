"""The result on one page of GitHub-flavoured Markdown, for the page of a CI job or a comment: what is wrong comes first.

Rule: a pure function from the verdicts to text of at most 60,000 bytes (a comment takes 65,536), whatever the size of the
run: what does not fit is counted, and the table of all cells is named. Names out of a scenario stand in code spans, and
nothing in any text is markup, a mention or a link.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.judge.verdict import exit_status
from testbed.record.verdicts import Verdicts
from testbed.report import busy, unfinished, words
from testbed.report.cell import GATHERED, admitted, because
from testbed.report.changes import Change, causes, changes, doubtful
from testbed.report.circumstances import UNCONFIRMED
from testbed.report.failed import sentences
from testbed.report.grid import Grid, grid, judged
from testbed.report.interruptions import parts
from testbed.report.looks import ORDER, STATES
from testbed.report.paragraph import paragraph
from testbed.report.prose import say

LIMIT = 60_000
"""Bytes."""
MOST = (30, 12, 4, 1)
"""Rows of a table, tried in turn until the page fits."""
LONGEST = 400
"""Characters of an explanation or a remedy."""
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and halves of pairs."""
SPAN = re.compile("(`[^`\n]+`)")
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$])")


@dataclass(frozen=True)
class Table:
    """A table of the page, cut to what fits."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    noun: str
    """What a row is."""
    of: int
    """How many there would be."""
    numbers: bool = False

    @property
    def hidden(self) -> int:
        """How many rows were left out."""
        return self.of - len(self.rows)


def render(verdicts: Verdicts) -> str:
    """``summary.md``. KeyError if the verdicts lack a key of schema 1."""
    matrix, page = grid(verdicts), ""
    for most in MOST:
        page = _page(verdicts, matrix, most)
        if len(page.encode()) <= LIMIT:
            return page
    # Only hundreds of phases or of kilobyte-long names come to this.
    cut = page.encode()[: LIMIT - 100].decode(errors="ignore").rpartition("\n")[0]
    return f"{cut}\n\nThe rest does not fit here.\n"


def _page(verdicts: Verdicts, matrix: Grid, most: int) -> str:
    versions = [f"{code(name)} {text(' / '.join(known), 80) or '(version unknown)'}" for name, known in matrix.versions.items()]
    shown = {"run": verdicts.get("run"), "scenario": verdicts.get("scenario"), "timers": words.timers_of(verdicts)}
    facts = [f"{key} {code(value)}" for key, value in shown.items() if value]
    facts += [text(of, LONGEST)] if (of := parts(verdicts)) else []
    return say(
        "summary.md.j2",
        title=text(verdicts.get("title") or verdicts.get("scenario") or "Federation"),
        result=_result(verdicts),
        failed=[text(sentence, LONGEST) for sentence in sentences(verdicts.get("failed_servers") or [], most)],
        remedies=[text(sentence, 2 * LONGEST) for sentence in unfinished.after_failure(verdicts) + busy.sentences(verdicts)],
        paragraph=text(paragraph(verdicts, busy_told=True), 2000),
        surprises=_surprises(verdicts, matrix, most),
        unknown=_cannot_say(verdicts, most),
        counts=_counts(matrix, most),
        broken=_newly_broken(matrix, most) if len(matrix.phases) > 1 else None,
        causes=_causes(matrix, most),
        measured=[*_some(versions, most), *facts],
    )


def _result(verdicts: Verdicts) -> str:
    n = sum(bool(c.get("surprise")) for c in verdicts["cells"])
    surprises = f"{words.count(n, 'result')} not as expected"
    if exit_status(verdicts) == 3 and not unfinished.undecided(verdicts):
        return "Every result is known, but a server failed" + (f"; {surprises}." if n else ".")
    if exit_status(verdicts) == 3:
        return "The testbed could not tell everything" + (f"; {surprises}." if n else ".")
    return f"{surprises[0].upper()}{surprises[1:]}." if n else "Everything as expected."


@dataclass(frozen=True)
class Surprises:
    """Results that are not as expected, pairs of which the same is true in one row."""

    results: int
    pairs: Table


def _surprises(verdicts: Verdicts, matrix: Grid, most: int) -> Surprises | None:
    cells = [cell for phase in matrix.phases for cell in verdicts["cells"] if cell["phase"] == phase and cell.get("surprise")]
    if not cells:
        return None
    rows: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        got = _outcome(cell["outcome"], cell.get("cause") or (cell.get("channel") or {}).get("encryption"))
        ought = " or ".join(_outcome(e["outcome"], e.get("cause") or e.get("encryption")) for e in admitted(cell))
        why = text(cell.get("explanation"), LONGEST) + f"; expected because: {text(because(cell), LONGEST)}"
        doubt = f"; {UNCONFIRMED.phrase}" if UNCONFIRMED.of(cell) else ""
        rows.setdefault((code(cell["sender"]), code(cell["receiver"]), got, ought, why + doubt), []).append(cell["phase"])
    listed = [(*row, ", ".join(_some([code(p) for p in phases], most))) for row, phases in rows.items()]
    head = ("sender", "receiver", "came out", "expected", "why", "in phase")
    return Surprises(len(cells), Table(head, listed[:most], "pair", len(listed)))


def _cannot_say(verdicts: Verdicts, most: int) -> Table | None:
    failed = [c for c in verdicts.get("controls") or () if not c["ok"]]
    unknown = Counter(
        words.cause(cause) if (cause := c.get("cause")) in GATHERED else str(c.get("explanation") or words.cause(cause))
        for c in verdicts["cells"]
        if c["outcome"] == "inconclusive"
    )
    rows = [("1", f"control pair, {text(c['when'])} of {code(c['phase'])}: {text(c.get('reason'), LONGEST)}") for c in failed]
    rows += [(f"{n:,}", text(reason, LONGEST)) for reason, n in unknown.most_common()]
    for gap, n in unfinished.unseen(verdicts["cells"]).most_common():
        rows.append((f"{n:,}", f"delivered, but the encryption is not known: {text(gap, LONGEST)}" if gap else words.UNSEEN_WIRE))
    rows += [] if verdicts.get("complete", False) else [("", words.CUT_SHORT)]
    return Table(("results", "why"), rows[:most], "reason", len(rows)) if rows else None


def _counts(matrix: Grid, most: int) -> Table:
    counts = {phase: Counter(s for _, s in matrix.states(phase)) for phase in matrix.phases}
    shown = [s for s in ORDER if any(states[s] for states in counts.values())]
    rows = []
    for phase in matrix.phases if len(matrix.phases) <= 2 * most else (*matrix.phases[:most], *matrix.phases[-most:]):
        states = counts[phase]
        delivered, known = judged(states)
        surprises = sum(bool(cell.get("surprise")) for cell in matrix.cells[phase].values())
        share = words.percent(delivered, known) if known else ""
        rows.append((code(phase), f"{delivered:,} of {known:,}", share, *(f"{states[s]:,}" for s in shown), f"{surprises:,}"))
    heads = (STATES[s].name for s in shown)
    return Table(("phase", "got through", "share", *heads, "surprises"), rows, "phase", len(matrix.phases), numbers=True)


@dataclass(frozen=True)
class Broken:
    """What was delivered in the first phase and is not in the last."""

    unknown: int
    """Of how many that were delivered in the first phase nothing is known in the last."""
    first: str
    last: str
    reasons: Table
    pairs: Table


def _newly_broken(matrix: Grid, most: int) -> Broken:
    first, last = matrix.phases[0], matrix.phases[-1]
    by_address = changes(matrix, first, last)
    broken = [a for a, change in by_address.items() if change is Change.NEWLY_BROKEN]
    groups: dict[tuple[str | None, str | None, str], int] = Counter()
    for address in broken:
        cell = matrix.cells[last][address]
        groups[cell.get("cause"), cell.get("fault"), str(cell.get("explanation") or "")] += 1
    listed = sorted(groups.items(), key=lambda item: (-item[1], str(item[0])))
    reasons = [
        (f"{n:,}", code(cause or words.UNKNOWN), words.fault(fault), text(why, LONGEST))
        for (cause, fault, why), n in listed[:most]
    ]
    exchange = ("exchange",) if len(matrix.exchanges) > 1 else ()
    pairs = []
    for address in broken[: 2 * most]:
        cell = matrix.cells[last][address]
        which = address if exchange else address[:2]
        pairs.append((*(code(part) for part in which), code(cell.get("cause") or words.UNKNOWN), text(cell["outcome"])))
    return Broken(
        len(doubtful(matrix, by_address)),
        code(first),
        code(last),
        Table(("pairs", "cause", "fix at", "what happened, and how to fix it"), reasons, "reason", len(listed)),
        Table(("sender", "receiver", *exchange, "cause", "outcome"), pairs, "pair", len(broken)),
    )


def _causes(matrix: Grid, most: int) -> Table | None:
    phases = matrix.phases if len(matrix.phases) <= 6 else (matrix.phases[0], matrix.phases[-1])
    counts: dict[str | None, dict[str, int]] = {}
    for phase in phases:
        for row in causes(matrix, phase):
            counts.setdefault(row["cause"], {})[phase] = row["count"]
    listed = sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0] or ""))
    rows = [
        (code(cause or words.UNKNOWN), text(words.cause(cause)), *(f"{by_phase.get(p, 0):,}" for p in phases))
        for cause, by_phase in listed[:most]
    ]
    return Table(("cause", "because", *(code(p) for p in phases)), rows, "cause", len(listed)) if listed else None


# --- markup -----------------------------------------------------------------------------------------------------------


def _line(value: Any) -> str:
    """On one line, and without what no page may hold."""
    return UNFIT.sub("\ufffd", " ".join(str("" if value is None else value).split()))


def code(value: Any) -> str:
    """A code span that holds the value whatever is in it, in a table too; a dash if there is none."""
    shown = _line(value).replace("|", "\\|")
    if not shown:
        return "-"
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{shown}{space}{fence}"


def text(value: Any, longest: int = 200) -> str:
    """Plain text: what would be markup is escaped, but for whole code spans; cut at the end if need be."""
    shown = _line(value)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    parts = SPAN.split(shown)
    return "".join(code(part[1:-1]) if SPAN.fullmatch(part) and part[1:-1].strip() else _escaped(part) for part in parts)


def _escaped(part: str) -> str:
    part = SPECIAL.sub(r"\\\1", part.replace("&", "&amp;"))
    # GitHub makes mentions and links of these, escaped or not.
    part = re.sub(r"#(?=\d)", "&#35;", part)
    return part.replace("@", "&#64;").replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def _outcome(outcome: Any, detail: Any) -> str:
    return text(outcome or "?") + (f" ({code(detail)})" if detail else "")


def _some(items: list[str], most: int) -> list[str]:
    return items if len(items) <= most else [*items[:most], f"{len(items) - most:,} more"]


RENDERS: Mapping[str, Callable[[Verdicts], str]] = {"summary.md": render}

"""What a comparison has to show, as one sheet of sections: the same for a terminal, for Markdown and for the page.

Rule: made of the JSON document of `testbed diff --json` alone, by pure functions; which kind of change is good or bad is
already in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.report import words
from testbed.report.failed import sentences
from testbed.report.grid import ARROW

Document = Mapping[str, Any]
"""What ``testbed diff --json`` gives, of two runs or of a run and its known failures."""

MARKS = {"worse": "!", "unknown": "?", "other": "~", "better": "+", "known": "="}
TONES = {"worse": "worse", "unknown": "could not tell", "other": "changed", "better": "better", "known": "known"}

TITLES: dict[tuple[str, str], str] = {
    ("newly-failing", "worse"): "Newly failing",
    ("newly-failing", "better"): "No longer delivered, as expected",
    ("newly-unstable", "worse"): "Newly unstable: attempts under the same conditions disagree",
    ("newly-unstable", "better"): "Newly unstable: it always failed before",
    ("no-longer-unstable", "worse"): "No longer unstable: always wrong now",
    ("no-longer-unstable", "better"): "No longer unstable",
    ("fails-otherwise", "worse"): "Fails in another way",
    ("fails-otherwise", "better"): "Fails in another way",
    ("changed-cause", "worse"): "Fails for another cause",
    ("changed-cause", "other"): "Fails for another cause",
    ("changed-cause", "better"): "Fails for another cause",
    ("changed-channel", "worse"): "Weaker channel",
    ("changed-channel", "other"): "Another channel",
    ("changed-channel", "better"): "Stronger channel",
    ("newly-surprising", "worse"): "Newly surprising: the same result, but the expectation changed",
    ("no-longer-surprising", "better"): "No longer surprising: the same result, but the expectation changed",
    ("newly-passing", "worse"): "Newly delivered, although it should fail",
    ("newly-passing", "better"): "Newly passing",
    ("could-not-tell", "unknown"): "Could not tell",
    ("missing", "unknown"): "Missing: only A has them",
    ("new", "worse"): "New and surprising: only B has them",
    ("new", "other"): "New: only B has them",
    ("new", "unknown"): "New: could not tell",
    ("newly-unsupported", "unknown"): "No longer supported: a server lacks the setting now",
    ("newly-supported", "worse"): "Newly supported and surprising",
    ("newly-supported", "other"): "Newly supported",
}
"""Kind and direction to the heading; every pair that a diff can contain."""


@dataclass(frozen=True)
class Row:
    """One cell."""

    phase: str
    sender: str
    receiver: str
    exchange: str


@dataclass(frozen=True)
class Group:
    """Cells to which the same happened."""

    head: str
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Section:
    """One kind of change."""

    title: str
    tone: str
    groups: tuple[Group, ...]

    @property
    def count(self) -> int:
        """How many cells, or entries where it speaks of those."""
        return sum(len(group.rows) for group in self.groups) or len(self.groups)


@dataclass(frozen=True)
class Sheet:
    """All that is shown, in the order in which it is shown."""

    title: str
    sides: tuple[tuple[str, str], ...]
    differences: tuple[str, ...]
    sections: tuple[Section, ...]
    verdict: str
    tone: str
    alarms: tuple[str, ...] = ()
    """What makes the rest doubtful. Shown first."""
    counts: tuple[tuple[str, int, str], ...] = field(default=())
    """Words, number, tone."""


def sheet(doc: Document) -> Sheet:
    """A comparison as it is to be shown. KeyError if a key of its schema is absent."""
    return _of_baseline(doc) if doc["compared"] == "baseline" else _of_runs(doc)


# --- two runs ---------------------------------------------------------------------------------------------------------


def _of_runs(doc: Document) -> Sheet:
    sections: dict[tuple[str, str], dict[tuple[str, tuple[str, ...]], list[Row]]] = {}
    for change in doc["changes"]:
        notes = _notes(change)
        groups = sections.setdefault((change["kind"], change["direction"]), {})
        groups.setdefault((_what(change), notes), []).append(_row(change))
    ranked = sorted(sections.items(), key=lambda s: list(MARKS).index(s[0][1]))
    counts = doc["counts"]
    return Sheet(
        title=f"{doc['a']['run']}{ARROW}{doc['b']['run']}",
        sides=(("A", _side(doc["a"])), ("B", _side(doc["b"]))),
        differences=tuple(map(_difference, doc["differences"])),
        sections=tuple(
            Section(TITLES[kind, direction], direction, tuple(Group(*key, tuple(rows)) for key, rows in groups.items()))
            for (kind, direction), groups in ranked
        ),
        verdict=_verdict(doc),
        alarms=_alarms(doc),
        tone={0: "better", 1: "worse", 3: "unknown"}[doc["status"]],
        counts=(*((TONES[d], counts[d], d) for d in ("worse", "unknown", "other", "better")), ("the same", counts["same"], "")),
    )


def _alarms(doc: Document) -> tuple[str, ...]:
    """The servers that failed, on either side."""
    sides = ((name, doc[key].get("failed_servers") or []) for name, key in (("A", "a"), ("B", "b")))
    return tuple(f"{name}: {sentence}" for name, failed in sides for sentence in sentences(failed))


def _verdict(doc: Document) -> str:
    counts = doc["counts"]
    if doc["status"] == 1:
        return f"{words.count(counts['worse'], 'cell')} changed for the worse."
    cut = [side["run"] for side in (doc["a"], doc["b"]) if not side["complete"]]
    if doc["status"] == 3:
        why = [f"{words.count(counts['unknown'], 'cell')} that one side could not tell"] if counts["unknown"] else []
        why += [f"{run} was cut short" for run in cut]
        why += [f"a server of {s['run']} failed" for s in (doc["a"], doc["b"]) if s.get("failed_servers")]
        why += [f"a control pair of {s['run']} did not get through" for s in (doc["a"], doc["b"]) if s["controls_failed"]]
        return (
            "Nothing is known to have changed for the worse, but the testbed could not tell everything: " + "; ".join(why) + "."
        )
    if not any(counts[d] for d in ("better", "other", "unknown")):
        return f"Nothing changed in {words.count(counts['same'], 'cell')}."
    return "Nothing changed for the worse."


def _what(change: Mapping[str, Any]) -> str:
    a, b = change["a"], change["b"]
    if a is None or b is None:
        return str((a or b)["text"])
    if not change["channel"] or "encryption" in change["channel"]:
        return f"{a['text']}{ARROW}{b['text']}"
    facts = [
        f"{k.replace('_', ' ').replace('tls', 'TLS')} {_fact(before)}{ARROW}{_fact(after)}"
        for k, (before, after) in change["channel"].items()
    ]
    return "delivered; " + ", ".join(facts)


def _fact(value: Any) -> str:
    return {True: "yes", False: "no", None: "unobserved"}[value] if value in (True, False, None) else str(value)


def _notes(change: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if change["surprise"] == "newly":
        notes.append(f"now a surprise: expected {change['b']['expected']}")
    elif change["surprise"]:
        notes.append("no longer a surprise")
    elif (change["b"] or change["a"])["surprise"]:
        still = "still a surprise" if change["a"] and change["b"] else "a surprise"
        notes.append(f"{still}: expected {(change['b'] or change['a'])['expected']}")
    for name, side in (("A", change["a"]), ("B", change["b"])):
        notes += [f"{name}: {doubt}" for doubt in (side or {}).get("doubts", ())]
    return tuple(notes)


def _row(cell: Mapping[str, Any]) -> Row:
    return Row(cell["phase"], cell["sender"], cell["receiver"], cell["exchange"])


def _side(side: Mapping[str, Any]) -> str:
    started = f", {str(side['started'])[:16].replace('T', ' ')}" if side.get("started") else ""
    cut = "" if side["complete"] else ", cut short"
    return f"{side['run']} (scenario {side['scenario']}, timers {side['timers']}{started}{cut})"


def _difference(d: Mapping[str, Any]) -> str:
    if isinstance(d["a"], list):
        parts = [f"{side}: {', '.join(map(str, d[key]))}" for side, key in (("A", "a"), ("B", "b")) if d[key]]
        return f"{d['what']}: {'; '.join(parts)}"
    whom = d.get("domains", [])
    of = f" of {whom[0]}" if len(whom) == 1 else f" of {len(whom)} servers" if whom else ""
    named = {
        "isolated": {True: "every pair alone", False: "in the mesh"},
        "kept": {True: "earlier, by the rules of that time", False: "now"},
    }.get(d["what"], {})
    what = {"isolated": "measured", "kept": "judged", "testbed": "testbed (its revision)"}.get(d["what"], d["what"])
    return f"{what}{of}: {named.get(d['a'], d['a'])}{ARROW}{named.get(d['b'], d['b'])}"


# --- a run and its known failures -------------------------------------------------------------------------------------


NOUNS = {
    "unknown": ("unknown failure", "unknown failures"),
    "changed": ("known cell that fails in another way", "known cells that fail in another way"),
    "expired": ("expired entry", "expired entries"),
    "passing": ("known failure that no longer fails", "known failures that no longer fail"),
}
"""What makes a run differ from its baseline, by key of the document."""


def _of_baseline(doc: Document) -> Sheet:
    known = sum(len(e["cells"]) for e in doc["known"])
    remedy = "remove the entry, or set `may_pass: true` if it comes and goes"
    parts: dict[str, tuple[str, str, tuple[Group, ...]]] = {
        "unknown": ("Unknown failures: no entry covers them", "worse", _alike(doc["unknown"], _surprise)),
        "changed": ("Known cells that fail in another way", "worse", _alike(doc["changed"], _otherwise)),
        "expired": ("Expired entries: they accept nothing", "worse", _entries(doc["expired"])),
        "passing": (
            f"Known failures that no longer fail: {remedy}",
            "worse" if doc["strict"] else "other",
            _entries(doc["passing"]),
        ),
        "undecided": ("Could not tell", "unknown", _alike(doc["undecided"], lambda c: str(c["text"]))),
        "unmatched": ("Entries that match no cell of this run", "other", _entries(doc["unmatched"])),
        "known": (f"Known failures in {words.count(known, 'cell')}", "known", _entries(doc["known"], rows=False)),
    }
    sections = {key: Section(*part) for key, part in parts.items() if part[2]}
    if doc["status"] == 1:
        counts = [
            words.count(len(doc[key]) if key == "expired" else section.count, *NOUNS[key])
            for key, section in sections.items()
            if section.tone == "worse"
        ]
        verdict = f"Not as the baseline says: {words.listing(counts)}."
    elif doc["status"] == 3:
        why = ": a server failed" if doc["b"].get("failed_servers") else ""
        verdict = f"No failure beyond the known ones was seen, but the testbed could not tell everything{why}."
    else:
        verdict = "No failure beyond the known ones." if known else "No failure, and no known one."
    a = doc["a"]
    origin = f", accepted from {words.listing(a['runs'])}" if a["runs"] else ""
    return Sheet(
        title=f"{doc['b']['run']} against {a['file']}",
        sides=(("A", f"{a['file']} ({words.count(a['entries'], 'entry', 'entries')}{origin})"), ("B", _side(doc["b"]))),
        differences=tuple(map(_difference, doc["differences"])),
        sections=tuple(sections.values()),
        verdict=verdict,
        alarms=_alarms(doc),
        tone={0: "better", 1: "worse", 3: "unknown"}[doc["status"]],
    )


def _alike(cells: Iterable[Mapping[str, Any]], head: Callable[[Mapping[str, Any]], str]) -> tuple[Group, ...]:
    """Cells with the same head and doubts, together."""
    groups: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for cell in cells:
        groups.setdefault((head(cell), tuple(cell["doubts"])), []).append(_row(cell))
    return tuple(Group(*key, tuple(rows)) for key, rows in groups.items())


def _surprise(cell: Mapping[str, Any]) -> str:
    return f"{cell['text']}; expected {cell['expected']}"


def _otherwise(cell: Mapping[str, Any]) -> str:
    return f"{_surprise(cell)}; {_place(cell['entry'])} accepts {cell['entry']['failure']}"


def _entries(entries: Iterable[Mapping[str, Any]], *, rows: bool = True) -> tuple[Group, ...]:
    return tuple(Group(_entry(e), _words(e), tuple(map(_row, e.get("cells", ()))) if rows else ()) for e in entries)


def _place(entry: Mapping[str, Any]) -> str:
    return f"{entry['file']}:{entry['line']}"


def _entry(entry: Mapping[str, Any]) -> str:
    until = f", until {entry['expires']}" if entry["expires"] else ""
    return f"{_place(entry)}: {_where(entry['where'])}: {entry['failure']}{until}"


def _words(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry[k]) for k in ("reason", "link") if entry[k])


def _where(where: Mapping[str, Any]) -> str:
    """A selector in one line: ``before: name@release encrypted → any``"""

    def text(value: Any) -> str:
        return "|".join(map(str, value)) if isinstance(value, list) else str(value)

    sides = [", ".join(map(text, (where.get(side) or {}).values())) or "any" for side in ("sender", "receiver")]
    own = " ".join(text(where[k]) for k in ("phase", "exchange") if k in where)
    return (f"{own}: " if own else "") + ARROW.join(sides)

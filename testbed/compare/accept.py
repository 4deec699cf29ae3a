"""Writing down the surprises of a run as known failures: few entries where that is safe, and the same file every time.

Rule: an entry covers failures of one kind and nothing that passed, was undecided, or failed otherwise; it names every
value that its cells have, so that it accepts what happened and no more. What a person wrote into an entry is kept.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import FoldedScalarString

from testbed.compare.baseline import FACETS, Baseline, BaselineFile, Entry, EntryForm, EntryWhere, SideWhere, facets
from testbed.compare.cells import Subject, cannot_say, passes
from testbed.model import SCHEMA, InputError, Outcome
from testbed.record.verdicts import CellEntry, unexplained
from testbed.report.circumstances import SHARES
from testbed.report.grid import ROLES

HEAD = """# Known failures: cells that differ from the expectation, each with the one failure that is accepted for it.
# Written by `testbed baseline accept`; `reason`, `link`, `expires` and `may_pass` are yours to edit and are kept.
"""
SIDES = [(), *((f,) for f in FACETS[1:]), *itertools.combinations(FACETS[1:], 2), FACETS[1:], ("domain",)]
"""The sets of facets by which an entry may select a sender or a receiver."""
WIDTH = 120

Key = tuple[str, str]
"""Whose facet: ``("cell", "phase")``, ``("sender", "policy")``, …"""
KEYS: tuple[Key, ...] = (
    ("cell", "phase"),
    ("cell", "exchange"),
    *((side, facet) for side in ("sender", "receiver") for facet in FACETS),
)
Selector = dict[Key, tuple[str, ...]]
"""What is stated, with its values; a key that is absent matches everything."""
Failure = tuple[str, tuple[str, ...], str | None]
"""Outcome, causes, encryption of a delivery."""


@dataclass(frozen=True)
class Notes:
    """What a person adds to an entry."""

    reason: str
    link: str | None = None
    expires: dt.date | None = None
    may_pass: bool = False


@dataclass
class Accepted:
    """A new baseline, and what became of the old one's entries."""

    entries: list[EntryForm]
    counts: list[int] = field(default_factory=list)
    """Per entry: how many failures of the run it accepts."""
    kept: int = 0
    added: int = 0
    gone: list[Entry] = field(default_factory=list)
    """Entries of which nothing fails any more."""
    other: list[Entry] = field(default_factory=list)
    """Entries none of whose cells is in the run: kept as they are."""
    renewed: list[Entry] = field(default_factory=list)
    """Expired entries whose failures are still there, and are accepted again."""
    undecided: int = 0


def accept(subjects: list[Subject], notes: Notes, old: Baseline | None, today: dt.date) -> Accepted:
    """A baseline that accepts every surprise of the runs, which are of one scenario and stand in order of time.

    A cell that failed in one of them and passed in another comes and goes: its entry has `may_pass`. Entries of ``old`` that are
    still exact stay as they are; of one that is not, the failures that remain are grouped anew under its notes, with the expiry
    of ``notes`` where its own has passed. Raises InputError if a run is incomplete or of another scenario.
    """
    newest = subjects[-1]
    for subject in subjects:
        _check(subject, newest)
    history = {id_: [s.cells[id_] for s in subjects if id_ in s.cells] for id_ in newest.cells}
    passed = {id_ for id_, cells in history.items() if any(map(passes, cells))}
    failures = {id_: [c for c in cells if acceptable(c)] for id_, cells in history.items()}
    shaky = passed | {id_ for id_, cells in failures.items() if any(c.get("flaky") or SHARES.of(c) for c in cells)}
    result = Accepted([], undecided=sum(cannot_say(c) or unexplained(c) for c in newest.cells.values()))
    inherited: dict[str, Notes] = {}
    for entry in old.entries if old else ():
        form = entry.form
        selected = [id_ for id_, cell in newest.cells.items() if entry.selects(newest, cell)]
        failing = [id_ for id_ in selected if any(map(entry.is_failure_of, failures[id_]))]
        mended = not form.may_pass and any(id_ in passed for id_ in selected)
        expires = notes.expires if entry.expired(today) else form.expires
        if not selected:
            result.other.append(entry)
            result.entries.append(form)
        elif mended and not failing:
            result.gone.append(entry)
        elif mended:
            result.renewed += [entry] if entry.expired(today) else []
            for id_ in failing:
                inherited.setdefault(id_, Notes(form.reason, form.link, expires))
        else:
            result.entries.append(form.model_copy(update={"expires": expires}))
            result.kept += 1
            result.renewed += [entry] if entry.expired(today) else []
            for id_ in failing:
                failures[id_] = [c for c in failures[id_] if not entry.is_failure_of(c)]
    new = list(_entries(newest, failures, shaky, inherited, notes))
    result.added = len(new)
    result.entries = sorted([*result.entries, *new], key=_order)
    result.counts = [_count(newest, history, Entry(form, 0)) for form in result.entries]
    return result


def _check(subject: Subject, newest: Subject) -> None:
    run, verdicts = subject.run, subject.verdicts
    if not verdicts.get("complete"):
        raise InputError(f"{run} was cut short: it cannot be accepted", value=run, hint="run it again")
    for key in ("scenario", "timers"):
        if verdicts.get(key) != newest.verdicts.get(key):
            raise InputError(
                f"{run} and {newest.run} differ in {key}: {verdicts.get(key)}, {newest.verdicts.get(key)}",
                value=run,
                hint="a baseline belongs to one scenario with one kind of timers",
            )


def acceptable(cell: CellEntry) -> bool:
    """A surprise that the testbed is sure of: whose attempts disagreed belongs to them, what it cannot tell does not."""
    return bool(cell["surprise"]) and not cannot_say(cell) and not unexplained(cell)


def _count(subject: Subject, history: dict[str, list[CellEntry]], entry: Entry) -> int:
    return sum(
        any(acceptable(c) and entry.is_failure_of(c) for c in cells)
        for id_, cells in history.items()
        if entry.selects(subject, subject.cells[id_])
    )


def _entries(
    subject: Subject, failures: dict[str, list[CellEntry]], shaky: set[str], inherited: dict[str, Notes], notes: Notes
) -> Iterator[EntryForm]:
    groups: dict[tuple[Failure, Notes], set[str]] = {}
    for id_, cells in failures.items():
        causes: dict[tuple[str, str | None], set[str]] = {}
        for cell in cells:
            delivered = cell["outcome"] == Outcome.DELIVERED.value
            over = (cell.get("channel") or {}).get("encryption") if delivered else None
            words = causes.setdefault((cell["outcome"], over), set())
            words |= set() if delivered else {str(cell.get("cause"))}
        entry_notes = replace(inherited.get(id_, notes), may_pass=id_ in shaky)
        for (outcome, over), words in causes.items():
            groups.setdefault(((outcome, tuple(sorted(words)), over), entry_notes), set()).add(id_)
    for (failure, entry_notes), ids in groups.items():
        for selector in group(subject, list(subject.cells.values()), ids):
            yield EntryForm(
                where=_where(selector),
                outcome=failure[0],  # type: ignore[arg-type]  # acceptable() lets no other through
                cause=_one_or_more(failure[1]) if failure[1] else None,
                encryption=failure[2],  # type: ignore[arg-type]
                reason=entry_notes.reason,
                link=entry_notes.link,
                expires=entry_notes.expires,
                may_pass=entry_notes.may_pass,
            )


# --- grouping ---------------------------------------------------------------------------------------------------------


class Field:
    """The cells of a run as bits, so that a selector's reach is a few operations on whole numbers."""

    def __init__(self, subject: Subject, cells: list[CellEntry], wanted: set[str]) -> None:
        self.facts = [_facts(subject, c) for c in cells]
        self.bits: dict[tuple[Key, str], int] = {}
        for place, fact in enumerate(self.facts):
            for key, value in fact.items():
                self.bits[key, value] = self.bits.get((key, value), 0) | 1 << place
        self.everything = (1 << len(cells)) - 1
        self.wanted = sum(1 << n for n, c in enumerate(cells) if c["id"] in wanted)
        # a cell that cannot be had with these servers can neither fail nor pass
        unsupported = sum(1 << n for n, c in enumerate(cells) if c["outcome"] == Outcome.UNSUPPORTED.value)
        self.forbidden = self.everything & ~self.wanted & ~unsupported

    def reach(self, selector: Selector) -> int:
        """The cells that it selects."""
        mask = self.everything
        for key, values in selector.items():
            among = 0
            for value in values:
                among |= self.bits[key, value]
            mask &= among
        return mask


def group(subject: Subject, cells: list[CellEntry], wanted: set[str]) -> list[Selector]:
    """Few selectors (by a greedy choice) which cover the cells ``wanted`` and no other that was measured."""
    grid = Field(subject, cells, wanted)
    best: dict[int, Selector] = {}
    for place, fact in enumerate(grid.facts):
        if not grid.wanted >> place & 1:
            continue
        for keys in _shapes():
            selector: Selector = {k: (fact[k],) for k in keys}
            mask = grid.reach(selector)
            if mask & grid.forbidden:
                continue
            mask &= grid.wanted
            if mask not in best or _rank(selector) < _rank(best[mask]):
                best[mask] = selector
    ranked = sorted(best.items(), key=lambda b: _rank(b[1]))
    left, selectors = grid.wanted, []
    while left:
        mask, chosen = max(ranked, key=lambda b: (b[0] & left).bit_count())  # the first of equals: the ranking decides
        selectors.append(_stated(grid, mask, {key[0] for key in chosen if key[1] == "domain"}))
        left &= ~mask
    return _merged(grid, selectors)


def _facts(subject: Subject, cell: CellEntry) -> dict[Key, str]:
    facts: dict[Key, str] = {("cell", "phase"): cell["phase"], ("cell", "exchange"): cell["exchange"]}
    for role in ROLES:
        facts |= {(role, name): texts[0] for name, texts in facets(subject, cell["phase"], cell[role]).items()}
    return facts


def _shapes() -> Iterator[tuple[Key, ...]]:
    """Every set of keys that a selector may state."""
    for own in ((), ("phase",), ("exchange",), ("phase", "exchange")):
        for sender, receiver in itertools.product(SIDES, repeat=2):
            yield (
                *(("cell", k) for k in own),
                *(("sender", k) for k in sender),
                *(("receiver", k) for k in receiver),
            )


def _rank(selector: Selector) -> tuple[int, int, list[tuple[Key, tuple[str, ...]]]]:
    """Among selectors of the same cells: what the servers are rather than their names, then few words, then the alphabet."""
    return sum(key[1] == "domain" for key in selector), len(selector), _spelled(selector)


def _stated(grid: Field, mask: int, by_domain: set[str]) -> Selector:
    """The selector with every value that its cells have; left away only what they have all values of, and more than one."""
    facts = [fact for n, fact in enumerate(grid.facts) if mask >> n & 1]
    selector: Selector = {}
    for key in KEYS:
        side, name = key
        if side != "cell" and (side in by_domain) != (name == "domain"):
            continue
        values = {f[key] for f in facts}
        if len(values) == 1 or values != {f[key] for f in grid.facts}:
            selector[key] = tuple(sorted(values))
    return selector


def _merged(grid: Field, selectors: list[Selector]) -> list[Selector]:
    """Two selectors become one, as long as there are two whose union covers nothing that is forbidden."""
    merged = sorted(selectors, key=_spelled)
    while True:
        unions = ((a, b, _union(a, b)) for a, b in itertools.combinations(merged, 2))
        safe = next(((a, b, u) for a, b, u in unions if u is not None and not grid.reach(u) & grid.forbidden), None)
        if safe is None:
            return merged
        a, b, union = safe
        merged = sorted([s for s in merged if s is not a and s is not b] + [union], key=_spelled)


def _union(a: Selector, b: Selector) -> Selector | None:
    """Both in one, or None where that would be hard to read: software and domains are listed only if nothing else differs."""
    if a.keys() != b.keys() and not (a.keys() ^ b.keys()) <= {("cell", "phase"), ("cell", "exchange")}:
        return None
    differing = [k for k in a.keys() & b.keys() if a[k] != b[k]]
    if len(differing) > 1 and any(k[1] in ("implementation", "domain") for k in differing):
        return None
    return {k: tuple(sorted({*a[k], *b[k]})) for k in KEYS if k in a and k in b}


def _spelled(selector: Selector) -> list[tuple[Key, tuple[str, ...]]]:
    return sorted(selector.items())


def _where(selector: Selector) -> EntryWhere:
    def side(name: str) -> SideWhere:
        return SideWhere(**{k[1]: _one_or_more(v) for k, v in selector.items() if k[0] == name})

    own: dict[str, Any] = {k[1]: _one_or_more(v) for k, v in selector.items() if k[0] == "cell"}
    return EntryWhere(**own, sender=side("sender"), receiver=side("receiver"))


def _one_or_more(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


# --- the file ---------------------------------------------------------------------------------------------------------


def _order(form: EntryForm) -> tuple[Any, ...]:
    where = form.where
    sides = [[_text(getattr(side, f)) for f in FACETS] for side in (where.sender, where.receiver)]
    return *sides, _text(where.phase), _text(where.exchange), form.outcome, _text(form.cause), form.reason


def _text(value: str | list[str] | None) -> str:
    return "|".join(value) if isinstance(value, list) else value or ""


def render(subjects: list[Subject], accepted: Accepted) -> str:
    """The file's text; the same for the same runs and notes."""
    subject = subjects[-1]
    root = CommentedMap()
    root["schema"] = SCHEMA
    root["scenario"] = subject.verdicts["scenario"]
    if subject.verdicts.get("timers"):
        root["timers"] = subject.verdicts["timers"]
    root["run"] = _flow(_one_or_more(tuple(s.run for s in subjects)))
    root["versions"] = dict(sorted(subject.versions.items()))
    entries = CommentedSeq()
    for form, count in zip(accepted.entries, accepted.counts, strict=True):
        node = _node(form)
        node.yaml_add_eol_comment(f"{count} cell{'' if count == 1 else 's'}", key="outcome" if form.cause is None else "cause")
        entries.append(node)
    root["entries"] = entries
    yaml = YAML()
    yaml.width = WIDTH
    yaml.representer.ignore_aliases = lambda *_: True  # each entry can be taken out by itself
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(root, stream)
    return HEAD + stream.getvalue()


def _node(form: EntryForm) -> CommentedMap:
    node = CommentedMap()
    where = CommentedMap()
    for key in ("phase", "exchange"):
        if (value := getattr(form.where, key)) is not None:
            where[key] = _flow(value)
    for key in ("sender", "receiver"):
        if facts := getattr(form.where, key).model_dump(exclude_none=True):
            side = CommentedMap((k, _flow(v)) for k, v in facts.items())
            side.fa.set_flow_style()
            where[key] = side
    node["where"] = where
    node["outcome"] = form.outcome
    if form.cause is not None:
        node["cause"] = _flow(form.cause)
    if form.encryption is not None:
        node["encryption"] = form.encryption
    node["reason"] = FoldedScalarString(form.reason) if "\n" in form.reason else form.reason
    for key in ("link", "expires"):
        if (value := getattr(form, key)) is not None:
            node[key] = value
    if form.may_pass:
        node["may_pass"] = True
    return node


def _flow(value: str | Iterable[str]) -> Any:
    if isinstance(value, str):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence


__all__ = ["Accepted", "BaselineFile", "Notes", "accept", "group", "render"]

"""Known failures: the form of the file, whom an entry covers, and what a run says about it.

A baseline accepts *surprises* only: cells that came out otherwise than the table of expectations says. A failure that the
policies ask for is as expected and needs no entry. An entry is a selector and the exact failure; the same cells failing for
another cause are a new failure, and cells that no longer fail are reported, so that the list can only shrink knowingly.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.causes import CAUSES, FINDINGS
from testbed.compare.cells import Subject, brief, cannot_say, passes, software
from testbed.model import SCHEMA, all_visible
from testbed.record.verdicts import CellEntry, unexplained
from testbed.report.grid import PLACE
from testbed.yamlfile import Document

Globs = str | list[str]
FACETS = ("domain", "implementation", "policy", "certificate")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SideWhere(_Strict):
    """A server in the phase of the cell: every key must match; a key takes one glob or a list of them."""

    domain: Globs | None = Field(default=None, description="glob over the domain")
    implementation: Globs | None = Field(default=None, description="glob over `name@release` or `name`")
    policy: Globs | None = Field(default=None, description="glob over the policy's name in that phase")
    certificate: Globs | None = Field(default=None, description="glob over the certificate profile in that phase")


class EntryWhere(_Strict):
    """The cells that an entry speaks of: every key must match."""

    phase: Globs | None = Field(default=None, description="glob over the phase's name")
    exchange: Globs | None = Field(default=None, description="glob over the exchange")
    sender: SideWhere = SideWhere()
    receiver: SideWhere = SideWhere()


class EntryForm(_Strict):
    """One known failure."""

    where: EntryWhere
    outcome: Literal["bounced", "lost", "delivered", "inconclusive"] = Field(
        description="what happens instead of the expected; `delivered` although it should fail, or over another channel;"
        " `inconclusive` only for a pair that is `unstable`"
    )
    cause: Globs | None = Field(default=None, description="the cause, or a list of causes; for every outcome but `delivered`")
    encryption: Literal["tls", "cleartext"] | None = Field(default=None, description="for `delivered`: over what")
    reason: str = Field(pattern=r"\S", description="why this is accepted, in words")
    link: str | None = Field(default=None, description="where it is tracked: a ticket, a mail, a commit")
    expires: dt.date | None = Field(default=None, description="the last day on which the entry holds, as YYYY-MM-DD")
    may_pass: bool = Field(default=False, description="the failure comes and goes: a cell that passes is not reported")


class BaselineFile(_Strict):
    """Known failures of a scenario, for `--baseline`."""

    schema_: Literal[1] = Field(alias="schema", description="version of this form")
    scenario: str | None = Field(default=None, description="name of the scenario that it was accepted from")
    timers: Literal["short", "stock"] | None = Field(default=None, description="timers of the run that it was accepted from")
    run: str | list[str] | None = Field(default=None, description="the run or the runs that it was last accepted from")
    versions: dict[str, str] = Field(default={}, description="what that run measured: `name@release` to version")
    entries: list[EntryForm]


@dataclass(frozen=True)
class Entry:
    """A known failure and the line that it begins on."""

    form: EntryForm
    line: int

    def selects(self, sides: Subject, cell: CellEntry) -> bool:
        """Whether ``where`` matches the cell."""
        where = self.form.where
        return (
            _matches(where.phase, (cell["phase"],))
            and _matches(where.exchange, (cell["exchange"],))
            and all(
                _matches(getattr(side, facet), texts)
                for side, domain in ((where.sender, cell["sender"]), (where.receiver, cell["receiver"]))
                for facet, texts in facets(sides, cell["phase"], domain).items()
            )
        )

    def is_failure_of(self, cell: CellEntry) -> bool:
        """Whether what happened in the cell is what the entry accepts."""
        if cell["outcome"] != self.form.outcome:
            return False
        if self.form.outcome == "delivered":
            return self.form.encryption in (None, (cell.get("channel") or {}).get("encryption"))
        return cell.get("cause") in _listed(self.form.cause or [])

    def accepts(self, cell: CellEntry, today: dt.date) -> bool:
        """Whether it is that failure, and the entry still holds."""
        return self.is_failure_of(cell) and not self.expired(today)

    def expired(self, today: dt.date) -> bool:
        """Whether its last day is over."""
        return self.form.expires is not None and today > self.form.expires

    @property
    def failure(self) -> str:
        """``bounced: dialback-failed``"""
        what = " or ".join(_listed(self.form.cause or [])) or self.form.encryption
        return f"{self.form.outcome}: {what}" if what else self.form.outcome


@dataclass(frozen=True)
class Baseline:
    """A file of known failures that was read."""

    file: str
    form: BaselineFile
    entries: tuple[Entry, ...]


def facets(subject: Subject, phase: str, domain: str) -> dict[str, tuple[str, ...]]:
    """What each key of a sender or receiver is compared with."""
    server = subject.servers[domain]
    settings = subject.settings.get(phase, {}).get(domain)
    return {
        "domain": (domain,),
        "implementation": (software(server), str(server["implementation"])),
        "policy": (str(settings["policy"] if settings else None),),
        "certificate": (str(settings["certificate"] if settings else None),),
    }


def _matches(globs: Globs | None, texts: Iterable[str]) -> bool:
    return globs is None or any(fnmatch.fnmatchcase(text, glob) for text in texts for glob in _listed(globs))


def _listed(value: Globs) -> list[str]:
    return value if isinstance(value, list) else [value]


# --- the file ---------------------------------------------------------------------------------------------------------


def load(path: Path) -> Baseline:
    """A baseline file. Raises InputError with file and line."""
    document = Document(path)
    form = document.validate(BaselineFile)
    for place, entry in enumerate(form.entries):
        _check(document, ["entries", place], entry)
    return Baseline(document.file, form, tuple(Entry(e, document.line(["entries", n])) for n, e in enumerate(form.entries)))


def _check(document: Document, place: list[str | int], entry: EntryForm) -> None:
    if entry.where == EntryWhere():
        raise document.error("this selects every cell", [*place, "where"], hint='write `phase: "*"` if that is what you mean')
    if entry.outcome == "delivered":
        if entry.cause is not None:
            raise document.error(
                "a delivery has no cause",
                [*place, "cause"],
                value=entry.cause,
                hint="leave it out; `encryption:` says over what it was delivered",
            )
        return
    if entry.outcome == "inconclusive" and (entry.cause or []) not in FINDINGS:
        raise document.error(
            "an inconclusive result is no known failure",
            [*place, "outcome"],
            value=entry.outcome,
            hint=f"only `cause: {' or '.join(FINDINGS)}` is a finding about the pair: its attempts disagree",
        )
    if entry.encryption is not None:
        raise document.error(
            "only a delivery has an encryption", [*place, "encryption"], value=entry.encryption, hint="leave it out"
        )
    if not entry.cause:
        raise document.error(
            "the key `cause` is missing", place, allowed=CAUSES, hint="the same cells failing for another cause are a new failure"
        )
    for number, cause in enumerate(_listed(entry.cause)):
        if cause not in CAUSES:
            where = [*place, "cause", number] if isinstance(entry.cause, list) else [*place, "cause"]
            raise document.error(f"unknown cause `{cause}`", where, value=cause, allowed=CAUSES)


# --- a run against it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """What a run says about its known failures, and what it has beyond them."""

    baseline: Baseline
    subject: Subject
    strict: bool
    today: dt.date
    known: dict[int, list[CellEntry]] = field(default_factory=dict)
    """Place of an entry -> the failures that it accepts."""
    unknown: list[CellEntry] = field(default_factory=list)
    """Surprises that no entry speaks of."""
    changed: list[tuple[CellEntry, Entry]] = field(default_factory=list)
    """Surprises whose cells an entry speaks of, but which are other failures."""
    passing: dict[int, list[CellEntry]] = field(default_factory=dict)
    """Place of an entry -> its cells that came out as expected."""
    expired: list[Entry] = field(default_factory=list)
    unmatched: list[Entry] = field(default_factory=list)
    """Entries none of whose cells is in the run."""
    undecided: list[CellEntry] = field(default_factory=list)

    def status(self, *, could_not_tell: bool) -> int:
        """1 unknown, changed or expired, or (strict) passing · 3 the testbed could not tell · 0 all is known."""
        if self.unknown or self.changed or self.expired or (self.strict and self.passing):
            return 1
        return 3 if could_not_tell or any(map(unexplained, self.undecided)) else 0


def check(baseline: Baseline, subject: Subject, today: dt.date, *, strict: bool = True) -> Gate:
    """Hold a run against its known failures. An expired entry accepts nothing."""
    gate = Gate(baseline, subject, strict, today)
    gate.expired.extend(e for e in baseline.entries if e.expired(today))
    matched: set[int] = set()
    for cell in subject.cells.values():
        selecting = [n for n, e in enumerate(baseline.entries) if e.selects(subject, cell)]
        matched.update(selecting)
        if cannot_say(cell) or (unexplained(cell) and _might_be_known(baseline, cell, selecting)):
            gate.undecided.append(cell)
        elif cell["surprise"]:
            _weigh(gate, cell, selecting)
        elif passes(cell):
            for n in selecting:
                if not baseline.entries[n].form.may_pass:
                    gate.passing.setdefault(n, []).append(cell)
    gate.unmatched.extend(e for n, e in enumerate(baseline.entries) if n not in matched)
    return gate


def _might_be_known(baseline: Baseline, cell: CellEntry, selecting: Iterable[int]) -> bool:
    """Of a failure without a cause: whether it is as expected, or one cause of an entry would make it the known one."""
    return not cell["surprise"] or any(baseline.entries[n].form.outcome == cell["outcome"] for n in selecting)


def _weigh(gate: Gate, cell: CellEntry, selecting: list[int]) -> None:
    entries = gate.baseline.entries
    accepting = [n for n in selecting if entries[n].is_failure_of(cell)]
    valid = [n for n in selecting if entries[n].accepts(cell, gate.today)]
    if valid:
        gate.known.setdefault(valid[0], []).append(cell)
    elif selecting and not accepting:
        gate.changed.append((cell, entries[selecting[0]]))
    elif not accepting:
        gate.unknown.append(cell)
    # what only an expired entry accepts is named with that entry


def document(gate: Gate, *, could_not_tell: bool) -> dict[str, Any]:
    """The gate as JSON, with every text `visible`."""
    base = gate.baseline
    differences = [
        {"what": what, "a": a, "b": b}
        for what, a, b in (
            ("scenario", base.form.scenario, gate.subject.verdicts["scenario"]),
            ("timers", base.form.timers, gate.subject.verdicts.get("timers")),
            *(
                (f"version of {name}", version, gate.subject.versions[name])
                for name, version in sorted(base.form.versions.items())
                if name in gate.subject.versions
            ),
        )
        if a is not None and a != b
    ]
    expired = {id(e) for e in gate.expired}
    whole: dict[str, Any] = {
        "schema": SCHEMA,
        "compared": "baseline",
        "a": {"file": base.file, "runs": _listed(base.form.run or []), "entries": len(base.entries)},
        "b": gate.subject.to_json(),
        "differences": differences,
        "strict": gate.strict,
        "unknown": [_cell(c) for c in gate.unknown],
        "changed": [_cell(c) | {"entry": _entry(e, base)} for c, e in gate.changed],
        "expired": [_entry(e, base) | {"cells": _covered(e, gate)} for e in gate.expired],
        "passing": [_entry(base.entries[n], base) | {"cells": [_cell(c) for c in cells]} for n, cells in gate.passing.items()],
        "unmatched": [_entry(e, base) for e in gate.unmatched if id(e) not in expired],
        "undecided": [_cell(c) for c in gate.undecided],
        "known": [
            _entry(base.entries[n], base) | {"cells": [_cell(c) for c in cells]} for n, cells in sorted(gate.known.items())
        ],
        "status": gate.status(could_not_tell=could_not_tell),
    }
    shown: dict[str, Any] = all_visible(whole)
    return shown


def _cell(cell: CellEntry) -> dict[str, Any]:
    return {"id": cell["id"]} | {key: cell[key] for key in PLACE} | (brief(cell) or {})


def _covered(entry: Entry, gate: Gate) -> list[dict[str, Any]]:
    """The failures that an expired entry would accept."""
    failures = (c for c in gate.subject.cells.values() if c["surprise"] and entry.is_failure_of(c))
    return [_cell(c) for c in failures if entry.selects(gate.subject, c)]


def _entry(entry: Entry, baseline: Baseline) -> dict[str, Any]:
    form = entry.form
    return {
        "file": baseline.file,
        "line": entry.line,
        "where": form.where.model_dump(exclude_none=True, exclude_defaults=True),
        "failure": entry.failure,
        "reason": form.reason,
        "link": form.link,
        "expires": form.expires.isoformat() if form.expires else None,
    }

"""What a session knows of each scenario: its plan, its verdicts, and what the known failures say of them.

Rule: scenarios, records and verdicts in, facts out; starts nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from testbed import campaign
from testbed.compare import baseline, files
from testbed.compare.baseline import Baseline, Entry, Gate
from testbed.compare.cells import Subject, subject
from testbed.model import InputError, Plan
from testbed.pytest_plugin.markers import Words
from testbed.pytest_plugin.options import Options
from testbed.record.verdicts import CellEntry, Verdicts


@dataclass(frozen=True)
class Judged:
    """The verdicts of a run, held against the known failures."""

    subject: Subject
    path: Path | None = None
    """The folder of the run, if there is one."""
    gates: tuple[Gate, ...] = ()
    """One for each file of known failures."""

    @functools.cached_property
    def trouble(self) -> str | None:
        """Why no cell of the run can be relied on; None if they can."""
        return trouble_of(self.subject.verdicts)

    def accepted(self, cell: str) -> tuple[Baseline, Entry] | None:
        """The entry that accepts what happened in the cell (its id)."""
        return next(self._entries(cell, lambda gate: gate.known), None)

    def passing(self, cell: str) -> tuple[Baseline, Entry] | None:
        """The entry that lists the cell (its id) as a failure, though it came out as expected."""
        return next(self._entries(cell, lambda gate: gate.passing), None)

    def _entries(self, cell: str, cells_of: Callable[[Gate], Mapping[int, list[CellEntry]]]) -> Iterator[tuple[Baseline, Entry]]:
        for gate in self.gates:
            for place, cells in cells_of(gate).items():
                if any(c["id"] == cell for c in cells):
                    yield gate.baseline, gate.baseline.entries[place]

    def not_accepted(self, cell: CellEntry) -> Iterator[str]:
        """Entries that speak of the cell, and why they do not accept what happened."""
        for gate in self.gates:
            for changed, entry in gate.changed:
                if changed["id"] == cell["id"]:
                    yield f"another failure: {gate.baseline.file}:{entry.line} accepts {entry.failure}"
            for entry in gate.expired:
                if entry.selects(self.subject, cell) and entry.is_failure_of(cell):
                    yield f"accepted until {entry.form.expires}, by {gate.baseline.file}:{entry.line}: {entry.form.reason}"


def trouble_of(verdicts: Verdicts) -> str | None:
    """Why no cell of a run can be relied on; None if they can."""
    if not verdicts.get("complete"):
        return f"the run {verdicts['run']} was cut short, so nothing in it can be relied on: its record has no closing line"
    for control in verdicts.get("controls") or ():
        if not control["ok"]:
            where = f"phase {control['phase']}, {control['when']}"
            return (
                f"the control pair, which must always get through, did not ({where}), so nothing in the run {verdicts['run']} "
                f"can be relied on: {control.get('reason') or 'no reason was recorded'}"
            )
    return None


@dataclass
class Federation:
    """A scenario, and what is known of its cells."""

    number: int
    path: Path
    plan: Plan
    baselines: tuple[Baseline, ...] = ()
    selected: list[str] = field(default_factory=list)
    """Ids of the cells that are tests of this session."""
    judged: Judged | None = None
    """None until it was measured, or an existing run was read."""
    trouble: str | None = None
    """Why no cell can be relied on."""

    @functools.cached_property
    def words(self) -> Words:
        """The markers of its cells."""
        return Words(self.plan)

    def accept(self, verdicts: Subject, path: Path | None) -> None:
        """Take verdicts, and hold them against the known failures."""
        today = dt.date.today()
        self.judged = Judged(verdicts, path, tuple(baseline.check(b, verdicts, today) for b in self.baselines))
        self.trouble = self.judged.trouble


def load(options: Options) -> tuple[Federation, ...]:
    """The scenarios of a session, with the runs that are to be reported. Raises InputError."""
    baselines = [baseline.load(path) for path in options.baselines]
    plans = [campaign.plan(path, **asdict(options.candidates)).plan for path in options.scenarios]
    if options.baselines_named:
        _refuse_strangers(baselines, plans)
    federations = tuple(
        Federation(number, path, plan, tuple(b for b in baselines if b.form.scenario in (None, plan.scenario)))
        for number, (path, plan) in enumerate(zip(options.scenarios, plans, strict=True))
    )
    if options.runs:
        _report(options.runs, options.results, federations)
    return federations


def _refuse_strangers(baselines: Iterable[Baseline], plans: Iterable[Plan]) -> None:
    """A baseline that was named and speaks of none of the scenarios. Raises InputError."""
    scenarios = tuple(plan.scenario for plan in plans)
    for known in baselines:
        name = known.form.scenario
        if name is not None and name not in scenarios:
            hint = "name the baseline of this scenario, or take `scenario:` out of the file"
            raise InputError(
                f"known failures of the scenario `{name}`", file=known.file, value=name, allowed=scenarios, hint=hint
            )


def _report(runs: Iterable[str], results: Path, federations: Iterable[Federation]) -> None:
    """Take the verdicts of existing runs, by their scenario. Raises InputError for one that has none here, or the reverse."""
    scenarios = tuple(f.plan.scenario for f in federations)
    for name in runs:
        verdicts, path = _verdicts(name, results)
        scenario = verdicts.verdicts["scenario"]
        if scenario not in scenarios:
            raise InputError(
                f"a run of the scenario `{scenario}`", file=name, value=name, allowed=scenarios,
                hint="give its scenario with --federation",
            )  # fmt: skip
        for federation in federations:
            if federation.plan.scenario == scenario:
                federation.accept(verdicts, path)
    for federation in federations:
        if federation.judged is None:
            raise InputError(
                "no run to report", file=str(federation.path), hint="name one with --federation-run for each scenario"
            )


def _verdicts(name: str, results: Path) -> tuple[Subject, Path | None]:
    """A run, judged again, and its folder; or verdicts that were kept as a file, which have none."""
    if name.endswith(".json"):
        return files.verdicts(Path(name)), None
    run = campaign.judge(name, results)
    return subject(run.verdicts), run.path

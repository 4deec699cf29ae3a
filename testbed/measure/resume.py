"""What an interrupted run lacks, whether to measure that now would be the same run, and the leg that measures it.

Rule: a phase that was measured whole is kept as it is; any other is measured again from its start, because its servers, its wire
and its logs are gone. The manifest that would be written now has to be the one that was written: what may differ is listed here.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.measure.conductor import Leg, close
from testbed.measure.journal import Journal
from testbed.model import InputError
from testbed.record.legs import answered_cells, complete_phases, legs_of
from testbed.record.manifest import Manifest, OrderedRun
from testbed.record.observations import RUN_RESUMED
from testbed.record.store import UNTOUCHED, Record, Writer, planned_cells

# --- what is missing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lack:
    """What an interrupted run lacks."""

    leg: int
    """The number of the leg that measures it."""
    phases: tuple[str, ...]
    """Those that were not measured whole, in the plan's order; empty: only the closing record is missing."""
    cells: int
    """Theirs."""
    interrupted: float
    """Unix seconds: the last observation."""
    spent: float
    """Seconds that the legs so far took."""


def lack_of(record: Record) -> Lack:
    """What is missing of a record that is not complete. Raises InputError if its manifest does not say when it began."""
    whole = whole_phases(record)
    phases = tuple(p["name"] for p in record.manifest["phases"] if p["name"] not in whole)
    began = last = _moment(record)
    spent = 0.0
    for o in record.observations:
        if o.kind == RUN_RESUMED.word:
            spent += last - began
            began = last = o.time
        last = max(last, o.time)
    cells = sum(cell.phase in phases for cell in planned_cells(record.manifest))
    return Lack(legs_of(record.observations) + 1, phases, cells, last, spent + last - began)


def whole_phases(record: Record) -> set[str]:
    """The phases that were measured whole: their evidence is there, and the answer of every planned cell that can have one."""
    complete, answered = complete_phases(record.observations), answered_cells(record.observations)
    absent = {s["domain"] for s in record.manifest["servers"] if s["unavailable"]}
    settings = {p["name"]: p["settings"] for p in record.manifest["phases"]}
    unanswered = set()
    for cell in planned_cells(record.manifest):
        known = answered[cell.phase, complete.get(cell.phase, 0)]
        ends = {cell.sender, cell.receiver}
        expressible = not any(settings[cell.phase][domain]["unsupported"] for domain in ends)
        if cell.id not in known and expressible and not ends & (known | absent):
            unanswered.add(cell.phase)
    return complete.keys() - unanswered


def _moment(record: Record) -> float:
    """When the run began, in Unix seconds. Raises InputError."""
    started = record.manifest["started"]
    try:
        return dt.datetime.fromisoformat(started).timestamp()
    except (ValueError, OverflowError):
        file = str(record.path / "manifest.json")
        raise InputError(f"`started` is no time: {started!r}", file=file, value=started, hint=UNTOUCHED) from None


# --- whether it is the same run -----------------------------------------------------------------------------------------

IGNORED = (
    "schema", "run", "started", "argv", "title", "description", "file", "remedies", "stretch",
    "revision", "machine.python", "machine.kernel", "machine.cpus",
)  # fmt: skip
"""Keys of the manifest that may differ: they change nothing of what is measured."""
NOTED = ("revision", "machine.python", "machine.kernel", "machine.cpus")
"""Of these, what is noted if it does."""
ISSUED = ("fingerprint", "not_after")
"""Certificates are issued anew, under the same profiles: no key is kept."""
OF_SERVERS = ("servers", "phases", "planned", "certificates")
"""Keys of the manifest that follow from which servers there are."""
MOST = 8
"""Differences that are listed."""
SHOWN = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Row:
    """What a difference is about, and what to do."""

    key: str
    """Of the manifest: what its path begins with."""
    what: str
    """Before the rest of the path."""
    remedy: str


AGAIN = "or run the scenario again"
AS_IT_WAS = "leave SCENARIO and its options out: the manifest has them; or give them as they were"
ROWS = (
    Row("images.", "image ", f"bring the image back (`docker load`) or its folder in images/ (git), {AGAIN}"),
    Row("machine.engine", "version of the engine", f"resume it on an engine of that version, {AGAIN}"),
    Row("sources.testbed", "the testbed's code that measures", f"check out the revision that began the run, {AGAIN}"),
    Row("sources.", "folder of ", f"restore the folder's templates and log patterns (git), {AGAIN}"),
    Row("unavailable.", "unavailable image ", AGAIN.removeprefix("or ")),
    Row("", "", AS_IT_WAS),
)
"""The first whose key fits is it."""


def _servers_apart(recorded: Manifest, now: OrderedRun) -> list[str]:
    """In words, which servers one of the two has and the other has not."""
    was, is_ = ({server["domain"] for server in manifest["servers"]} for manifest in (recorded, now))
    gone = [f"server {domain}: was in the scenario, is no more" for domain in sorted(was - is_)]
    return gone + [f"server {domain}: was not in the scenario, is now" for domain in sorted(is_ - was)]


def refuse_another(file: Path, recorded: Manifest, now: OrderedRun) -> None:
    """Raise InputError if the manifest that would be written ``now`` is not the one that a run began with."""
    old, new = dict(_leaves(recorded)), dict(_leaves(now))
    keys = [k for k in dict.fromkeys([*old, *new]) if old.get(k) != new.get(k) and k not in IGNORED]
    if not keys:
        return
    rows = {key: next(row for row in ROWS if key.startswith(row.key)) for key in keys}
    apart = _servers_apart(recorded, now)
    # what differs because the servers do would hide it
    listed = [k for k in keys if not (apart and k.startswith(OF_SERVERS))]
    lines = [f"{rows[k].what}{k.removeprefix(rows[k].key)}: was {_shown(old.get(k))}, is {_shown(new.get(k))}" for k in listed]
    if any(k.startswith("sources.testbed") for k in keys):
        lines.append(f"revision: was {_shown(recorded.get('revision'))}, is {_shown(now.get('revision'))}")
    lines = [*apart, *lines]
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    raise InputError(
        "this run cannot be resumed: it would not be measured as it was begun",
        details=(*lines[:MOST], *more),
        file=str(file),
        value=keys[0],
        hint="; ".join(dict.fromkeys(row.remedy for row in rows.values())),
    )


def noted(recorded: Manifest, now: OrderedRun) -> list[str]:
    """What is not as it was, and is no reason to refuse."""
    old, new = dict(_leaves(recorded)), dict(_leaves(now))
    return [f"{k}: was {_shown(old.get(k))}, is {_shown(new.get(k))}" for k in NOTED if old.get(k) != new.get(k)]


# --- the leg that measures it -------------------------------------------------------------------------------------------


def leg_of(writer: Writer, record: Record, lack: Lack, *, argv: Sequence[str], differs: list[str]) -> Leg:
    """What measures the ``lack`` of a record into it; until it begins, the record is as it was."""

    def begin(content: OrderedRun) -> None:
        cut = writer.resume(record)
        Journal(writer).note(
            RUN_RESUMED, leg=lack.leg, interrupted=lack.interrupted, phases=list(lack.phases), cells=lack.cells, argv=list(argv),
            cut=cut, differs=differs, certificates=certificates(content, lack.phases),
        )  # fmt: skip

    return Leg(begin, lack.phases, lack.spent, record.manifest.get("stretch"))


def finish(writer: Writer, record: Record, lack: Lack) -> None:
    """Close a record that lacks nothing else."""
    writer.resume(record)
    close(Journal(writer), {"total": lack.spent})


def certificates(content: OrderedRun, phases: Collection[str]) -> list[list[str]]:
    """Domain, profile, fingerprint and end of each certificate that some of the ``phases`` use."""
    settings = [item for p in content["phases"] if p["name"] in phases for item in p["settings"].items()]
    issued = {(d, s["certificate"]): [d, s["certificate"], s["fingerprint"], s["not_after"]] for d, s in settings}
    return list(issued.values())


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, by its path; the items of a list by what names them."""
    if isinstance(value, Mapping):
        for key, of in value.items():
            if key not in ISSUED:
                yield from _leaves(of, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for item in value:
            name = item.get("domain") or item.get("name") or f"{item.get('implementation')}@{item.get('release')}"
            yield from _leaves(item, f"{path}[{name}]")
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

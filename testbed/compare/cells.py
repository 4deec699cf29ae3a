"""What a comparison knows of one run: its cells by id, what its servers are and how each was set, in which words to say it.

Rule: pure functions on verdicts; the only file here that knows their keys for servers and phases. The words of one cell are those
of the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from testbed.causes import Inconclusive, inconclusive_as
from testbed.model import Outcome, all_visible
from testbed.record.manifest import Manifest
from testbed.record.verdicts import CellEntry, ServerEntry, SettingsEntry, Verdicts, unexplained
from testbed.report.cell import describe, outcomes, unstable
from testbed.report.circumstances import doubts
from testbed.report.grid import State, state

CANNOT_SAY = {State.UNSEEN, State.INCONCLUSIVE, State.MISSING}
"""As in the exit status of a run: a delivery over a channel that the wire did not show says nothing about encryption."""
FAILED = {State.BOUNCED, State.LOST}


@dataclass(frozen=True)
class Subject:
    """One side of a comparison: verdicts, and what the run's manifest adds where there is one."""

    verdicts: Verdicts
    seed: int | None = None
    revision: str | None = None
    """Of the testbed that measured."""
    kept: bool = False
    """The verdicts were judged earlier and kept, perhaps by other rules than today's."""

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.verdicts["run"])

    @cached_property
    def cells(self) -> dict[str, CellEntry]:
        """Every cell of the record, by its id."""
        return {c["id"]: c for c in self.verdicts["cells"]}

    @cached_property
    def servers(self) -> dict[str, ServerEntry]:
        """By domain."""
        return {s["domain"]: s for s in self.verdicts["servers"]}

    @cached_property
    def settings(self) -> dict[str, Mapping[str, SettingsEntry]]:
        """By phase and domain."""
        return {p["name"]: p.get("settings") or {} for p in self.verdicts["phases"]}

    @property
    def sound(self) -> bool:
        """Whether the run came to its end, its control pairs got through, and no server failed."""
        controls = all(c["ok"] for c in self.verdicts.get("controls", []))
        return bool(self.verdicts.get("complete")) and controls and not self.verdicts.get("failed_servers")

    @property
    def versions(self) -> dict[str, str]:
        """What ran, by `name@release`."""
        return {software(s): version for s in self.verdicts["servers"] if (version := s.get("version"))}

    def to_json(self) -> dict[str, Any]:
        """What a reader wants to know of a side."""
        v = self.verdicts
        return {
            "run": self.run,
            "scenario": v["scenario"],
            "started": v.get("started"),
            "timers": v.get("timers"),
            **({"stretch": stretch} if (stretch := v.get("stretch", 1)) > 1 else {}),
            "isolated": v.get("isolated"),
            "complete": bool(v.get("complete")),
            "controls_failed": [c for c in v.get("controls", []) if not c["ok"]],
            "kept": self.kept,
            "seed": self.seed,
            "revision": self.revision,
            "versions": self.versions,
            **({"failed_servers": list(failed)} if (failed := v.get("failed_servers")) else {}),
        }


def subject(verdicts: Verdicts, manifest: Manifest | None = None) -> Subject:
    """A side of a comparison, of the verdicts and, where the whole run is there, of its manifest."""
    if manifest is None:
        return Subject(verdicts)
    return Subject(verdicts, manifest.get("seed"), all_visible(manifest.get("revision")))


def software(server: ServerEntry) -> str:
    """``name@release``"""
    return f"{server['implementation']}@{server['release']}"


def cannot_say(cell: CellEntry | None) -> bool:
    """Whether nothing follows from the cell, for or against its servers."""
    return state(cell) in CANNOT_SAY and not (cell and unstable(cell))


def absent(cell: CellEntry) -> bool:
    """Whether there was nothing to measure: an image could not be built."""
    return cell["outcome"] == Outcome.INCONCLUSIVE.value and inconclusive_as(cell.get("cause")) is Inconclusive.ABSENT


def passes(cell: CellEntry) -> bool:
    """Whether the cell came out as expected, and the testbed can say so."""
    known = not cannot_say(cell) and not unexplained(cell)
    return not cell["surprise"] and known and cell["outcome"] != Outcome.UNSUPPORTED.value


def brief(cell: CellEntry | None) -> dict[str, Any] | None:
    """The cell as a comparison shows it."""
    if cell is None:
        return None
    return {
        "outcome": cell["outcome"],
        "cause": cell.get("cause"),
        "channel": cell.get("channel"),
        "expected": outcomes(cell),
        "surprise": bool(cell["surprise"]),
        "text": describe(cell),
        "doubts": doubts(cell),
    }


@dataclass(frozen=True)
class Difference:
    """One fact in which the two sides are not the same subject."""

    what: str
    a: Any
    b: Any
    domains: tuple[str, ...] = field(default=())
    """Whom it concerns, where not all."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document of a diff."""
        return {"what": self.what, "a": self.a, "b": self.b} | ({"domains": list(self.domains)} if self.domains else {})


def differences(a: Subject, b: Subject) -> list[Difference]:
    """In what the two runs differ besides their results: a diff of different timers is a diff of different subjects."""
    left, right = a.to_json(), b.to_json()
    rows = [Difference(k, left[k], right[k]) for k in ("scenario", "timers", "isolated", "kept") if left[k] != right[k]]
    if (stretch := [side.get("stretch", 1) for side in (left, right)])[0] != stretch[1]:
        rows.append(Difference("how many times as long as usual the short timers were", *stretch))
    rows += [
        Difference(name, left[k], right[k])
        for k, name in (("seed", "seed"), ("revision", "testbed"))
        if left[k] is not None and right[k] is not None and left[k] != right[k]
    ]
    for name in sorted(a.versions.keys() & b.versions.keys()):
        if a.versions[name] != b.versions[name]:
            rows.append(Difference(f"version of {name}", a.versions[name], b.versions[name]))
    rows += _settings(a, b)
    names = (("servers", list(a.servers), list(b.servers)), ("phases", list(a.settings), list(b.settings)))
    for what, of_a, of_b in names:
        only_a, only_b = [n for n in of_a if n not in of_b], [n for n in of_b if n not in of_a]
        if only_a or only_b:
            rows.append(Difference(f"{what} that only one side has", only_a, only_b))
    return rows


def _settings(a: Subject, b: Subject) -> list[Difference]:
    """Servers of one domain that are other software, or set otherwise in a phase of the same name; alike ones as one."""
    domains: dict[tuple[str, Any, Any], list[str]] = {}
    for domain in a.servers:
        if domain not in b.servers:
            continue
        names = software(a.servers[domain]), software(b.servers[domain])
        if names[0] != names[1]:
            domains.setdefault(("software", *names), []).append(domain)
        for phase in a.settings:
            left, right = a.settings[phase].get(domain), b.settings.get(phase, {}).get(domain)
            for key in ("policy", "certificate"):
                if left and right and left.get(key) != right.get(key):
                    domains.setdefault((f"{key} in phase '{phase}'", left.get(key), right.get(key)), []).append(domain)
    return [Difference(*key, tuple(alike)) for key, alike in domains.items()]

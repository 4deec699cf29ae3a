"""results/<run-id>/: append, load, schema version. Nothing that was written as an observation is ever rewritten.

A run without the closing record is incomplete, and says so; everything under ``derived/`` can be deleted and made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from testbed.model import SCHEMA, Cell, InputError
from testbed.record.observations import RUN_COMPLETE, Observation, Source

DEFAULT_RESULTS = Path("results")
CLOSING = RUN_COMPLETE.word


class Writer:
    """The record of a run in the making."""

    def __init__(self, results: Path, scenario: str) -> None:
        """Make the run's folder. Raises InputError if that is not possible."""
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        try:
            for number in range(1, 100):
                self.path = results / (f"{scenario}-{stamp}" + (f"-{number}" if number > 1 else ""))
                try:
                    self.path.mkdir(parents=True)
                    break
                except FileExistsError:
                    continue
        except OSError as error:
            raise InputError(
                f"results cannot be written: {error.strerror}", file=str(results), hint="choose another folder with --results"
            ) from None
        self.id = self.path.name
        self._file = (self.path / "observations.jsonl").open("a", encoding="utf-8")
        self.count = 0

    def manifest(self, content: dict[str, Any]) -> None:
        """Write ``manifest.json``; once, before the first container starts."""
        target = self.path / "manifest.json"
        if target.exists():
            raise FileExistsError(target)
        target.write_text(json.dumps({"schema": SCHEMA, "run": self.id, **content}, indent=1) + "\n")

    def append(self, observation: Observation) -> None:
        """Add one observation."""
        record = {k: v for k, v in dataclasses.asdict(observation).items() if v not in (None, {})}
        record["source"] = observation.source.value
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
        self.count += 1

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if not self._file.closed:
            self._file.flush()

    def evidence(self, *parts: str) -> Path:
        """A path under ``evidence/``, its folder made."""
        path = self.path.joinpath("evidence", *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close(self, observation: Observation | None) -> None:
        """End the record, with the closing observation if the run is complete; point ``latest`` at it."""
        if observation:
            self.append(observation)
        self._file.close()
        link = self.path.parent / "latest"
        with contextlib.suppress(OSError):
            temporary = link.with_name(f".latest-{os.getpid()}")
            temporary.symlink_to(self.path.name)
            temporary.replace(link)


@dataclasses.dataclass(frozen=True)
class Record:
    """A run that was read back."""

    path: Path
    manifest: dict[str, Any]
    observations: tuple[Observation, ...]
    complete: bool

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.manifest["run"])


def find(run: str, results: Path = DEFAULT_RESULTS) -> Path:
    """The folder of a run: a path, a run id, or ``latest``. Raises InputError with what there is."""
    for candidate in (Path(run), results / run):
        if (candidate / "manifest.json").is_file():
            return candidate.resolve()
    there = runs(results)
    hint = "`testbed run SCENARIO` makes one" if not there else "a run is named by its id, its path, or `latest`"
    raise InputError(f"no run `{run}`", file=str(results), value=run, allowed=tuple(there[:12]), hint=hint)


def runs(results: Path = DEFAULT_RESULTS) -> list[str]:
    """The ids of the runs in a folder, in reverse order of their names."""
    return sorted((p.parent.name for p in results.glob("*/manifest.json") if not p.parent.is_symlink()), reverse=True)


def load(path: Path) -> Record:
    """Read a run back. Raises InputError if its schema is another one or a line is damaged (a cut last line is passed over)."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"a damaged manifest: {error}", file=str(path / "manifest.json")) from None
    if not isinstance(manifest, dict):
        raise InputError("a damaged manifest: not a mapping", file=str(path / "manifest.json"), line=1)
    if manifest.get("schema") != SCHEMA:
        raise InputError(
            f"schema {manifest.get('schema')} is not {SCHEMA}",
            file=str(path / "manifest.json"),
            line=1,
            hint="use the release that wrote it",
        )
    observations = tuple(_read(path / "observations.jsonl"))
    complete = any(o.kind == CLOSING for o in observations[-1:])
    return Record(path, manifest, observations, complete)


def _read(path: Path) -> Iterator[Observation]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the record cannot be read: {error}", file=str(path)) from None
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):  # the process was killed in the middle of a line: the run is incomplete anyway
                return
            raise InputError("a damaged line", file=str(path), line=number) from None
        try:
            record["source"] = Source(record["source"])
            yield Observation(**record)
        except (KeyError, TypeError, ValueError):
            raise InputError("not an observation", file=str(path), line=number, value=line) from None


def planned_cells(manifest: dict[str, Any]) -> list[Cell]:
    """Every cell that the run was to measure."""
    exchanges = manifest["exchanges"]
    return [Cell(p["name"], a, b, x) for p in manifest["phases"] for x in exchanges for a, b in _pairs(manifest["planned"])]


def _pairs(planned: dict[str, list[str]]) -> Iterable[tuple[str, str]]:
    for sender, receivers in planned.items():
        for receiver in receivers:
            yield sender, receiver


def write_derived(path: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files under ``derived/``; each appears whole or not at all."""
    folder = path / "derived"
    folder.mkdir(exist_ok=True)
    written = []
    for name, data in files:
        target = folder / name
        temporary = target.with_name(f".{name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(target)
        written.append(target)
    return written

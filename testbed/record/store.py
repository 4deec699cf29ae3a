"""results/<run-id>/: append, load, schema version. Nothing that was written as an observation is ever rewritten.

A run without the closing record is incomplete, and says so; everything under ``derived/`` can be deleted and made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from testbed import reading
from testbed.model import SCHEMA, Cell, InputError, StorageError
from testbed.record import observations as kinds
from testbed.record.appending import Appender, stored
from testbed.record.documents import checked, judged_forms, manifest_form
from testbed.record.files import link_whole, write_whole
from testbed.record.legs import legs_of
from testbed.record.manifest import Manifest, OrderedRun
from testbed.record.observations import Observation, Source
from testbed.record.whole import manifest_whole

DEFAULT_RESULTS = Path("results")
UNTOUCHED = "a record is never edited: take it from where it was measured, or run the scenario again"
CLOSING = kinds.RUN_COMPLETE.word
MOST_RECORD = 4 << 30
"""Bytes of a record; a hundred times what a run of 400 servers writes."""
LONG_LINE = 4 << 20
"""Characters of a line; the longest lists the pairs of a phase that were not measured again alone."""
COMPACT = json.JSONEncoder(separators=(",", ":")).encode
YEAR_5000 = 95617584000.0  # as Unix seconds


class Writer:
    """The record of a run in the making. Use as a context: it is closed when the block is left, however it is left.

    Nobody else writes to the run meanwhile, in this process or another: the record is locked (flock(2)).
    """

    leg, count = 1, 0
    """Which part of the run this is, and the observations that there are."""
    begun = False
    """Whether there is something to report: the manifest is written."""
    _newest = False
    """Whether ``latest`` is to be this run."""

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
            self._file = _locked(self.path)
        except OSError as error:
            raise InputError(
                f"results cannot be written: {error.strerror}", file=str(results), hint="choose another folder with --results"
            ) from None

    @classmethod
    def again(cls, path: Path) -> Writer:
        """The writer of a run that is there; the record stays as it is until `resume`. Raises InputError if it still goes on."""
        writer = cls.__new__(cls)
        writer.path, writer.begun = path, True
        try:
            writer._file = _locked(path)
        except OSError as error:
            raise InputError(f"the record cannot be written: {error.strerror}", file=str(path)) from None
        return writer

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def label(self) -> str:
        """What containers of this leg are labelled with: those of a leg that was killed may still be there."""
        return f"{self.id}.{self.leg}" if self.leg > 1 else self.id

    def resume(self, record: Record) -> int:
        """Go on behind the last observation of the ``record`` that was read. Returns the bytes of an unfinished line, now gone.

        A line whose writer was killed is no observation unless it is whole. Raises StorageError; InputError if the evidence would
        be written elsewhere.
        """
        _stays(self.path, self.path / "evidence")
        self.leg, self.count, self._newest = legs_of(record.observations) + 1, len(record.observations), True
        file = self.path / "observations.jsonl"
        with stored(file):
            written = file.read_bytes()
            whole = written.rfind(b"\n") + 1
            if _is_json(written[whole:]):
                self._file.write("\n")
                return 0
            os.truncate(file, whole)
            return len(written) - whole

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # what could not be written is the news only where nothing else is
        with contextlib.suppress(StorageError) if kind else contextlib.nullcontext():
            self.close(None)

    def manifest(self, content: OrderedRun) -> None:
        """Write ``manifest.json``; once, before the first container starts. Raises FileExistsError, StorageError."""
        target = self.path / "manifest.json"
        if target.exists():
            raise FileExistsError(target)
        manifest: Manifest = {"schema": SCHEMA, "run": self.id, **content}
        with stored(target):
            write_whole(target, (json.dumps(manifest, indent=1) + "\n").encode())
        self.begun = self._newest = True
        self._point_to_it()

    def chosen(self, **keys: Any) -> None:
        """Add to ``manifest.json`` what was chosen when the run had begun: keys that it does not have. Raises StorageError."""
        target = self.path / "manifest.json"
        with stored(target):
            manifest = json.loads(target.read_bytes())
            write_whole(target, (json.dumps({**keys, **manifest}, indent=1) + "\n").encode())

    def append(self, observation: Observation) -> None:
        """Add one observation; within a second the operating system has it. Raises StorageError."""
        record = {k: v for k, v in vars(observation).items() if v is not None and v != {}}
        record["source"] = observation.source.value
        self._file.write(COMPACT(record) + "\n")
        self.count += 1

    def flush(self) -> None:
        """Hand everything to the operating system. Raises StorageError."""
        self._file.flush()

    def keep(self, data: bytes, *parts: str) -> None:
        """Write a file under ``evidence/``. Raises StorageError; InputError if a link there leads out of the run."""
        path = self.path.joinpath("evidence", *parts)
        _stays(self.path, path.parent)
        with stored(path):
            if not path.parent.is_dir():
                os.stat(self.path)  # noqa: PTH116 - a folder that was removed is not made again: the record is not in it
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def close(self, observation: Observation | None) -> None:
        """End the record, with the closing observation if the run is complete; point ``latest`` at it. Done once.

        Raises StorageError if something of it could not be written.
        """
        if self._file.closed:
            return
        try:
            if observation:
                self.append(observation)
        finally:
            self._file.close()
        if not self.begun and not self.count:  # interrupted before there was anything to keep
            with contextlib.suppress(OSError):
                (self.path / "observations.jsonl").unlink()
                self.path.rmdir()
            return
        if self._newest:
            self._point_to_it()

    def _point_to_it(self) -> None:
        """Let ``latest`` be this run: from its manifest on, since a run that is killed is resumed by that name too."""
        with contextlib.suppress(OSError):
            link_whole(self.path.parent / "latest", self.path.name)


def _locked(run: Path) -> Appender:
    """The record of a run, to be appended to by nobody else. Raises InputError if somebody does, OSError."""
    record = Appender(run / "observations.jsonl")
    try:
        fcntl.flock(record.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        record.close()
        hint = "wait until it has ended, or interrupt it"
        raise InputError("this run still goes on, in another process", file=str(run), hint=hint) from None
    except OSError:
        pass  # a file system without locks
    return record


def _is_json(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class Record:
    """A run that was read back."""

    path: Path
    manifest: Manifest
    observations: tuple[Observation, ...]
    complete: bool

    @property
    def id(self) -> str:
        """The run's id."""
        return self.manifest["run"]


def find(run: str, results: Path = DEFAULT_RESULTS) -> Path:
    """The folder of a run: a path, a run id, or ``latest``. Raises InputError with what there is."""
    for candidate in (Path(run), results / run):
        with contextlib.suppress(OSError, RuntimeError):  # a name that is too long, a folder that may not be looked into, a loop
            if (candidate / "manifest.json").is_file():
                return candidate.resolve()
    there = runs(results)
    hint = "`testbed run SCENARIO` makes one" if not there else "a run is named by its id, its path, or `latest`"
    raise InputError(f"no run `{run}`", file=str(results), value=run, allowed=tuple(there[:12]), hint=hint)


def runs(results: Path = DEFAULT_RESULTS) -> list[str]:
    """The ids of the runs in a folder, in reverse order of their names."""
    try:
        there = [p.parent.name for p in results.glob("*/manifest.json") if p.is_file() and not p.parent.is_symlink()]
    except OSError as error:
        raise InputError(f"cannot be listed: {reading.reason(error)}", file=str(results), hint="choose another folder") from None
    return sorted(there, reverse=True)


def load(path: Path) -> Record:
    """Read a run back. Raises InputError if its schema is another one or a line is damaged (a cut last line is passed over)."""
    file = str(path / "manifest.json")
    manifest = reading.document(path / "manifest.json", what="a damaged manifest", hint=UNTOUCHED)
    if not isinstance(manifest, dict):
        raise InputError("a damaged manifest: not a mapping", file=file, line=1, hint=UNTOUCHED)
    if manifest.get("schema") != SCHEMA:
        raise InputError(
            f"schema {manifest.get('schema')} is not {SCHEMA}", file=file, line=1, hint="use the release that wrote it"
        )
    manifest = checked(manifest_form(), manifest, file=file, hint=UNTOUCHED)
    manifest_whole(manifest, file=file, hint=UNTOUCHED)
    with _no_collection():
        observations = tuple(_read(path / "observations.jsonl"))
    complete = any(o.kind == CLOSING for o in observations[-1:])
    return Record(path, manifest, observations, complete)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: of reading a long record, in which nothing is garbage, it is a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read(path: Path) -> Iterator[Observation]:
    try:
        lines = reading.text(path, MOST_RECORD, hint=UNTOUCHED).split("\n")
    except FileNotFoundError:
        raise InputError("the record cannot be read: no such file", file=str(path), hint=UNTOUCHED) from None
    forms, tally = judged_forms(), _Tally()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = reading.parsed(line) if len(line) < LONG_LINE else _too_long()
        except ValueError as error:
            if number == len(lines):  # the process was killed in the middle of a line: the run is incomplete anyway
                return
            what = "" if isinstance(error, json.JSONDecodeError) else f": {error}"
            raise InputError(f"a damaged line{what}", file=str(path), line=number, hint=UNTOUCHED) from None
        try:
            if form := forms.get(record["kind"]):
                checked(form, record, file=str(path), line=number, hint=UNTOUCHED)
            record["source"] = Source(record["source"])
            observation = Observation(**record)
        except (KeyError, TypeError, ValueError):
            raise InputError("not an observation", file=str(path), line=number, value=line, hint=UNTOUCHED) from None
        if not _sound(observation):
            raise InputError("not an observation", file=str(path), line=number, value=line, hint=UNTOUCHED)
        if trouble := tally.trouble(observation, last=number + 1 >= len(lines)):
            raise InputError(trouble, file=str(path), line=number, hint=UNTOUCHED)
        yield observation


class _Tally:
    """What there is of a record so far: lines that say how many there are before them are held to it."""

    def __init__(self) -> None:
        self.lines = 0
        self.streams: Counter[str | None] = Counter()
        """Phase -> streams that no `wire-taken-in` has counted yet."""

    def trouble(self, o: Observation, *, last: bool) -> str | None:
        """Why this line and those before it are not what was written; None if they are. ``last``: no line is behind it."""
        trouble = None
        match o.kind:
            case kinds.STREAM.word:
                self.streams[o.phase] += 1
            case kinds.RUN_RESUMED.word:
                self.streams.clear()
            case kinds.WIRE_TAKEN_IN.word if (there := self.streams.pop(o.phase, 0)) != o.data["streams"]:
                trouble = f"it counts {o.data['streams']} streams in phase '{o.phase}', and {there} stand before it"
            case kinds.RUN_COMPLETE.word if last and self.lines != o.data["observations"]:
                trouble = f"it counts {o.data['observations']} observations before it, and there are {self.lines}"
        self.lines += 1
        return f"lines are missing, or are there twice: {trouble}" if trouble else None


def _too_long() -> Any:
    raise ValueError(f"longer than {reading.size(LONG_LINE)}")


def _sound(observation: Observation) -> bool:
    """Whether what every observation has is of its type, whatever its kind."""
    return (
        isinstance(observation.time, int | float)
        and 0 <= observation.time < YEAR_5000
        and (observation.kind != kinds.RUN_RESUMED.word or 0 <= observation.data["interrupted"] < YEAR_5000)
        and isinstance(observation.kind, str)
        and isinstance(observation.data, dict)
        and all(value is None or isinstance(value, str) for value in (observation.phase, observation.epoch, observation.cell))
    )


def planned_cells(manifest: Manifest) -> list[Cell]:
    """Every cell that the run was to measure."""
    exchanges = manifest["exchanges"]
    return [Cell(p["name"], a, b, x) for p in manifest["phases"] for x in exchanges for a, b in _pairs(manifest["planned"])]


def _pairs(planned: dict[str, list[str]]) -> Iterable[tuple[str, str]]:
    for sender, receivers in planned.items():
        for receiver in receivers:
            yield sender, receiver


def write_derived(path: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files under ``derived/``; each appears whole or not at all.

    Raises StorageError, or InputError if something else is in the way, or a link that leads out of the run.
    """
    folder = path / "derived"
    _stays(path, folder)
    written = []
    with stored(folder), _free(folder):
        folder.mkdir(exist_ok=True)
    for name, data in files:
        target = folder / name
        with stored(target), _free(target):
            write_whole(target, data)
        written.append(target)
    return written


def _stays(run: Path, folder: Path) -> None:
    """Raise InputError if ``folder``, which is to be written to, leads out of the run: somebody else may have made that."""
    reading.inside(run, str(folder.relative_to(run)), hint="remove the link: only a run's own folder is written to")


@contextlib.contextmanager
def _free(target: Path) -> Iterator[None]:
    """Something else in the place of a file or a folder is an InputError."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        hint = "remove it: all of `derived` is made again"
        raise InputError(f"cannot be written: {error.strerror}", file=str(target), hint=hint) from None

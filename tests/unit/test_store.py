"""A run is appended to, read back, and never rewritten; what was cut or damaged is said, not guessed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.compare.cells import subject
from testbed.model import SCHEMA, InputError
from testbed.record.files import write_whole
from testbed.record.observations import RUN_RESUMED, WIRE_TAKEN_IN, Observation, Source
from testbed.record.store import CLOSING, Writer, find, load, planned_cells, write_derived

DIMENSIONS = {"encryption": "offered", "authentication": ["dialback"], "tls_min": None, "tls_max": None, "forward_secrecy": "any"}
SETTINGS: dict[str, Any] = {
    "policy": "opportunistic", "certificate": "ca", "defect": None, "dimensions": DIMENSIONS, "effective": DIMENSIONS,
    "unsupported": None,
}  # fmt: skip
SERVER: dict[str, Any] = {
    "implementation": "toy", "release": "trixie", "title": "Toy", "policy": "opportunistic", "certificate": "ca", "image": None,
    "unavailable": None, "mechanisms": ["dialback"], "dialback_over_verified": False,
}  # fmt: skip
DOMAINS = ("a.example", "b.example")
MANIFEST: dict[str, Any] = {
    "scenario": "t",
    "title": "T",
    "started": "2014-05-19T00:00:00+00:00",
    "timers": "short",
    "isolated": False,
    "servers": [{**SERVER, "domain": domain, "index": index} for index, domain in enumerate(DOMAINS)],
    "exchanges": ["message"],
    "phases": [{"name": name, "settings": dict.fromkeys(DOMAINS, SETTINGS)} for name in ("before", "after")],
    "planned": {"a.example": ["b.example"], "b.example": ["a.example"]},
}
STREAM = {"sender": "a.example", "receiver": "b.example", "start": 3.0, "end": 3.5, "tokens": [], "umlaut": "ü"}
SEEN = [
    Observation(1.5, Source.ENGINE, "attempt", "before", "mesh", "before/a.example/b.example/message", {"token": "cell-1"}),
    Observation(2.0, Source.RECEIVER, "received", "before", "mesh", "before/a.example/b.example/message", {"token": "cell-1"}),
    Observation(3.0, Source.WIRE, "stream", "before", "mesh", None, STREAM),
]
LAST = Observation(4.0, Source.ENGINE, CLOSING, data={"observations": 3})


def written(results: Path, closing: Observation | None = LAST) -> Path:
    writer = Writer(results, "t")
    writer.manifest(MANIFEST)
    for observation in SEEN:
        writer.append(observation)
    writer.close(closing)
    return writer.path


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    record = load(written(tmp_path))
    assert list(record.observations) == [*SEEN, LAST]
    assert record.complete
    assert record.id == record.path.name
    assert record.manifest == {"schema": SCHEMA, "run": record.id, **MANIFEST}


def test_what_is_chosen_when_the_run_has_begun_is_added_to_its_manifest_and_replaces_nothing(tmp_path: Path) -> None:
    with Writer(tmp_path, "two") as writer:
        writer.manifest(MANIFEST)
        writer.chosen(stretch=3, timers="stock")
    manifest = load(writer.path).manifest
    assert manifest["stretch"] == 3
    assert manifest["timers"] == MANIFEST["timers"]


def test_an_observation_is_one_line_without_what_is_empty(tmp_path: Path) -> None:
    lines = (written(tmp_path) / "observations.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[3]) == {"time": 4.0, "source": "engine", "kind": CLOSING, "data": {"observations": 3}}


def test_a_record_is_closed_and_the_latest_whatever_ends_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "t")

    def fail() -> None:
        with writer:
            writer.manifest(MANIFEST)
            writer.append(SEEN[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "latest").resolve() == writer.path.resolve()
    assert load(writer.path).observations == (SEEN[0],), "nothing waits in a buffer"
    with Writer(tmp_path, "other") as later:
        later.manifest(MANIFEST)
        later.close(replace(LAST, data={"observations": 0}))
        later.close(None)
    assert load(later.path).complete
    assert later.path != writer.path
    with pytest.raises(ValueError, match="closed"):
        later.append(SEEN[0])


def test_without_the_closing_record_a_run_is_incomplete(tmp_path: Path) -> None:
    record = load(written(tmp_path, None))
    assert not record.complete
    assert len(record.observations) == 3


def test_a_closing_record_in_the_middle_closes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    with (path / "observations.jsonl").open("a") as file:
        file.write('{"time":5,"source":"engine","kind":"late"}\n')
    assert not load(path).complete


def test_a_last_line_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    """The process was killed while it wrote: everything before the cut counts."""
    path = written(tmp_path)
    file = path / "observations.jsonl"
    file.write_text(file.read_text()[:-20])
    record = load(path)
    assert list(record.observations) == SEEN
    assert not record.complete


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = (path / "observations.jsonl").read_text().splitlines()
    lines[1] = lines[1][:-9]
    (path / "observations.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"observations\.jsonl:2: a damaged line"):
        load(path)


@pytest.mark.parametrize(
    "line", ['{"time":1,"source":"nobody","kind":"x"}', '{"time":1,"kind":"x"}', "[]", '{"source":"wire","tim":1}']
)
def test_a_line_that_is_no_observation_is_named_too(line: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = (path / "observations.jsonl").read_text().splitlines()
    (path / "observations.jsonl").write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"observations\.jsonl:2: "):
        load(path)


def _without(path: Path, *gone: int) -> None:
    file = path / "observations.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for number, line in enumerate(lines, 1) if number not in gone))


def test_a_closing_record_that_counts_more_lines_than_there_are_is_a_damaged_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    _without(path, 2)
    with pytest.raises(InputError, match=r"observations\.jsonl:3: lines are missing.*: it counts 3 observations .*there are 2"):
        load(path)
    with (path / "observations.jsonl").open("a") as file:  # nor does a torn line behind it excuse that
        file.write('{"time":5,')
    with pytest.raises(InputError, match=r"observations\.jsonl:3: lines are missing"):
        load(path)


@pytest.mark.parametrize("streams", [0, 2])
def test_a_capture_of_which_streams_are_missing_is_a_damaged_record(streams: int, tmp_path: Path) -> None:
    taken_in = {"status": 0, "streams": streams, "until": None}
    path = written(tmp_path, WIRE_TAKEN_IN.at(4.0, taken_in, phase="before"))
    with pytest.raises(InputError, match=rf"observations\.jsonl:4: .*it counts {streams} streams in phase 'before', and 1 stand"):
        load(path)


def test_a_capture_of_a_later_leg_counts_its_own_streams(tmp_path: Path) -> None:
    resumed = {"leg": 2, "interrupted": 3.0, "phases": ["before"], "cells": 2, "argv": [], "certificates": []}
    path = written(tmp_path, RUN_RESUMED.at(4.0, resumed))
    with (path / "observations.jsonl").open("a") as file:
        file.write('{"time":5,"source":"engine","kind":"wire-taken-in","phase":"before",')
        file.write('"data":{"status":0,"streams":0,"until":null}}\n')
    assert len(load(path).observations) == 5


@pytest.mark.parametrize("interrupted", [10**30, -1e18, -1, float("1e300")])
def test_a_time_of_an_interruption_that_is_no_time_is_named(interrupted: float, tmp_path: Path) -> None:
    resumed = {"leg": 2, "interrupted": interrupted, "phases": [], "cells": 0, "argv": [], "certificates": []}
    path = written(tmp_path, RUN_RESUMED.at(4.0, resumed))
    with pytest.raises(InputError, match=r"observations\.jsonl:4: not an observation"):
        load(path)


def test_nothing_is_written_behind_a_link_that_leads_out_of_the_run(tmp_path: Path) -> None:
    path, elsewhere = written(tmp_path / "results", None), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (path / "derived").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads out of its folder"):
        write_derived(path, [("verdicts.json", b"{}")])
    (path / "evidence").symlink_to(elsewhere)
    with Writer.again(path) as writer:
        with pytest.raises(InputError, match="leads out of its folder"):
            writer.resume(load(path))
        with pytest.raises(InputError, match="leads out of its folder"):
            writer.keep(b"", "before", "mesh", "a.example.log.gz")
    assert not list(elsewhere.iterdir())


def test_half_a_surrogate_pair_in_a_revision_is_visible_in_a_comparison() -> None:
    manifest: Any = {**MANIFEST, "revision": "\ud800"}
    verdicts: Any = {"cells": []}
    assert subject(verdicts, manifest).revision == "\\ud800"


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "manifest.json").write_text(json.dumps({**MANIFEST, "schema": SCHEMA + 1, "run": "x"}))
    with pytest.raises(InputError, match=rf"manifest\.json:1: schema {SCHEMA + 1} is not {SCHEMA}") as error:
        load(path)
    assert error.value.hint


@pytest.mark.parametrize(
    ("change", "key", "shown"),
    [
        (lambda m: m.pop("planned"), "planned", "missing"),
        (lambda m: m["phases"][0].pop("settings"), "phases[0].settings", "missing"),
        (lambda m: m.update(servers={}), "servers", "{}"),
        (lambda m: m.update(isolated="no"), "isolated", "'no'"),
        (lambda m: m["planned"].update({"a.example": "b.example"}), "planned.a.example", "'b.example'"),
        (lambda m: m.update(phases=[["before"]]), "phases[0]", "['before']"),
        (lambda m: m["phases"][0]["settings"].update({"a.example": {"policy": 1}}), "phases[0].settings.a.example", ""),
    ],
)
def test_a_manifest_that_does_not_fit_names_file_key_value_and_remedy(
    change: Callable[[Any], object], key: str, shown: str, tmp_path: Path
) -> None:
    path = written(tmp_path)
    manifest = copy.deepcopy({"schema": SCHEMA, "run": "x", **MANIFEST})
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError) as error:
        load(path)
    assert str(path / "manifest.json") in str(error.value)
    assert f"`{key}" in error.value.message
    assert shown in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"time":1,"source":"engine","kind":"attempt","phase":"p","epoch":"mesh","cell":"c","data":{}}',
            "`data.token` is missing",
        ),
        (
            '{"time":1,"source":"engine","kind":"strain","phase":"p","epoch":"mesh","cell":"c","data":{"token":"t","window":4.0,'
            '"limit":2.0,"processor":3.0,"disk":-100.0,"memory":0.0,"stolen":0.0,"source":"pressure"}}',
            "`data.disk` cannot be -100.0: it has to be greater than or equal to 0",
        ),
        ('{"time":1,"source":"wire","kind":"stream","phase":"p","epoch":"mesh","data":{"sender":1}}', "data"),
        ('{"time":"now","source":"sender","kind":"sent","phase":"p","epoch":"e","cell":"c","data":{"token":"t"}}', "`time`"),
        ('{"time":1,"source":"wire","kind":"sent","phase":"p","epoch":"e","cell":"c","data":{"token":"t"}}', "`source`"),
    ],
)
def test_an_observation_that_verdicts_depend_on_and_does_not_fit_is_named_with_its_line(
    line: str, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path)
    lines = (path / "observations.jsonl").read_text().splitlines()
    (path / "observations.jsonl").write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"observations\.jsonl:2: ") as error:
        load(path)
    assert said in error.value.message
    assert error.value.hint


def test_what_verdicts_do_not_depend_on_is_read_whatever_it_holds(tmp_path: Path) -> None:
    path = written(tmp_path)
    with (path / "observations.jsonl").open("a") as file:
        file.write('{"time":5,"source":"engine","kind":"pressure","data":{"median":"high"}}\n')
    assert load(path).observations[-1].data == {"median": "high"}


@pytest.mark.parametrize("text", ["", '{"schema": 1,', "[]"])
def test_a_damaged_manifest_is_input(text: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        load(path)


def test_a_run_without_observations_is_input(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "observations.jsonl").unlink()
    with pytest.raises(InputError, match=r"observations\.jsonl"):
        load(path)


def test_the_manifest_is_written_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "t")
    writer.manifest(MANIFEST)
    with pytest.raises(FileExistsError):
        writer.manifest(MANIFEST)
    writer.close(None)


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    paths = [written(tmp_path) for _ in range(3)]
    assert len(set(paths)) == 3


def test_latest_is_the_newest(tmp_path: Path) -> None:
    first, second = written(tmp_path), written(tmp_path, None)
    assert find("latest", tmp_path) == second.resolve()
    assert find(first.name, tmp_path) == find(str(first), tmp_path) == first.resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([first.name, second.name, "latest"])


def test_a_run_that_is_not_there_lists_the_newest_first(tmp_path: Path) -> None:
    for name in ("t-1", "t-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="no run `t-3`") as error:
        find("t-3", tmp_path)
    assert error.value.allowed == ("t-2", "t-1")
    assert error.value.hint
    with pytest.raises(InputError, match="testbed run"):
        find("latest", tmp_path / "empty")


def test_results_that_are_a_file_are_input(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match="cannot be written") as error:
        Writer(tmp_path / "results", "t")
    assert "--results" in str(error.value)


def test_planned_cells_are_those_of_the_manifest_in_order() -> None:
    assert [c.id for c in planned_cells(MANIFEST)] == [
        "before/a.example/b.example/message",
        "before/b.example/a.example/message",
        "after/a.example/b.example/message",
        "after/b.example/a.example/message",
    ]


def test_a_derived_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """A reader of the old file goes on reading the old file, and a report that fails leaves the one before it."""
    write_derived(tmp_path, [("report.html", b"old")])
    with (tmp_path / "derived" / "report.html").open("rb") as reader:
        write_derived(tmp_path, [("report.html", b"new and longer")])
        assert reader.read() == b"old"

    def failing() -> object:
        yield "report.html", b"newer"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_derived(tmp_path, failing())  # type: ignore[arg-type]
    assert (tmp_path / "derived" / "report.html").read_bytes() == b"newer"
    assert [p.name for p in (tmp_path / "derived").iterdir()] == ["report.html"]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "inside").write_text("old")
    with pytest.raises(OSError, match="there"):
        write_whole(tmp_path / "there", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "inside").read_text() == "old"


@pytest.mark.parametrize("name", ["manifest.json", "observations.jsonl"])
def test_nesting_beyond_what_can_be_read_is_said(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    text = (path / name).read_text()
    (path / name).write_text("[" * 100_000 + ("\n" + text if name.endswith("jsonl") else ""))
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_a_word_that_a_newer_testbed_adds_is_no_reason_to_refuse_a_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    line = {"time": 3.0, "source": "log", "kind": "s2s-authenticated", "phase": "before", "epoch": "mesh"}
    line["data"] = {"server": "a.example", "peer": "b.example", "mechanism": "dane", "direction": "out", "line": 1}
    with (path / "observations.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert load(path).observations[-1].data["mechanism"] == "dane"


def test_what_is_wrong_is_said_in_words_of_json(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"confirm": [5]}))
    with pytest.raises(InputError, match=r"`confirm` cannot be \[5\]: it has to be (an integer|null)"):
        load(path)

"""Whatever is damaged in a run's folder, and whatever stands in a file that a command reads: one clear error, or none.

Never a traceback, never status 1 (which means surprises), never a wait for a pipe; and what is damaged is named with its file.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed import campaign, reading, unforeseen
from testbed.cli import main
from testbed.compare import accept as acceptance
from testbed.compare import baseline, diff, files, history
from testbed.compare.cells import Subject, subject
from testbed.judge.verdict import exit_status
from testbed.model import EngineError, TestbedError
from testbed.plan import image_files, recorded, scenario
from testbed.plan.catalog import Catalog
from testbed.record import store
from testbed.report import diff as diff_report
from testbed.report import diff_page, formats, history_text
from testbed.report.story import story

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = frozenset(("settings", "planned", "images", "unavailable", "remedies", "files"))
"""Keys of documents below which keys are names."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, with verdicts and a log."""
    path = tmp_path / "results" / "r1"
    shutil.copytree(GOLDEN / "handshake", path)
    campaign.judge(path)
    store.write_derived(path, [("verdicts.json", json.dumps(campaign.judge(path).verdicts).encode())])
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")


def ended(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    """The exit status of a command."""
    monkeypatch.setattr("sys.argv", ["testbed", *argv])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def no_measuring(*_: object, **__: object) -> None:
    raise EngineError("it would be measured")


def commands(run: Path) -> dict[str, list[str]]:
    """Every command that reads a run."""
    manifest = json.loads((GOLDEN / "handshake" / "manifest.json").read_text())
    pair = [s["domain"] for s in manifest["servers"]][:2]
    there, out = str(run), str(run.parent.parent / "out")
    verdicts = str(run / "derived" / "verdicts.json")
    return {
        "report": ["report", there, "--quiet"],
        "report one": ["report", there, "--format", "text"],
        "explain": ["explain", there, *pair],
        "diff": ["diff", there, there],
        "diff kept": ["diff", verdicts, verdicts],
        "history": ["history", str(run.parent)],
        "history again": ["history", str(run.parent), "--judge"],
        "plot": ["plot", there, "matrix", "--format", "svg", "--output", f"{out}.svg"],
        "rerun": ["rerun", there, *pair, "--quiet"],
        "accept": ["baseline", "accept", there, "--reason", "x", "--output", f"{out}.yaml"],
    }


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(content) and None


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in a file's place."""

    def damage_(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return damage_


def edited(**changes: Any) -> Callable[[Path], None]:
    def damage_(run: Path) -> None:
        manifest = json.loads((run / "manifest.json").read_text())
        for key, value in changes.items():
            manifest.pop(key)
            if value is not None:
                manifest[key] = value
        (run / "manifest.json").write_text(json.dumps(manifest))

    return damage_


def no_derived(run: Path) -> None:
    shutil.rmtree(run / "derived")
    (run / "derived").write_text("")


DEEP = b"[" * 200_000
MANIFEST: dict[str, Callable[[Path], None]] = {
    "not JSON": put("manifest.json", b"{"),
    "empty": put("manifest.json", b""),
    "bytes": put("manifest.json", b"\xff\xfe\x00"),
    "deep": put("manifest.json", DEEP),
    "deep and whole": put("manifest.json", b'{"schema": 1, "machine": ' + b"[" * 500 + b"]" * 500 + b"}"),
    "a list": put("manifest.json", b"[]"),
    "another schema": put("manifest.json", b'{"schema": 99}'),
    "nothing but the schema": put("manifest.json", b'{"schema": 1}'),
    "no number": put("manifest.json", b'{"schema": NaN}'),
    "no servers": edited(servers=[]),
    "no key": edited(phases=None),
    "another type": edited(planned=[]),
    "an exchange that climbs": edited(exchanges=["../../x"]),
    "nobody planned": edited(planned={"nobody.example": ["nowhere.example"]}),
    "no phases": edited(phases=[]),
}
RECORD: dict[str, Callable[[Path], None]] = {
    "a pipe": instead("observations.jsonl", os.mkfifo),
    "a folder": instead("observations.jsonl", Path.mkdir),
    "gone": instead("observations.jsonl", lambda _: None),
    "a link into the void": instead("observations.jsonl", lambda p: p.symlink_to("nowhere")),
    "a link to itself": instead("observations.jsonl", lambda p: p.symlink_to(p.name)),
    "a device": instead("observations.jsonl", lambda p: p.symlink_to("/dev/zero")),
    "bytes": put("observations.jsonl", b"\xff\xfe\x00"),
    "deep": put("observations.jsonl", DEEP + b"\n{}\n"),
    "another type": put("observations.jsonl", b'{"time":"x","source":"wire","kind":"stream"}\n{}\n'),
    "no number": put("observations.jsonl", b'{"time":1e999,"source":"engine","kind":"x"}\n{}\n'),
    "lists": put("observations.jsonl", b"[]\n[]\n"),
}
DERIVED: dict[str, Callable[[Path], None]] = {
    "a file": no_derived,
    "nonsense": put("derived/verdicts.json", b'{"schema": 1, "cells": 7}'),
    "deep": put("derived/verdicts.json", DEEP),
    "bytes": put("derived/verdicts.json", b"\xff\xfe\x00"),
    "a pipe": instead("derived/verdicts.json", os.mkfifo),
    "a folder": instead("derived/verdicts.json", Path.mkdir),
}
FROM_VERDICTS = ("diff kept",)
"""Commands that read the kept verdicts alone, and care for no record."""
PASSES_OVER = ("history", "history again")
"""Commands that name a run that cannot be read and go on; with no other run there is nothing to tell."""


def check(command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], allowed: set[int]) -> None:
    monkeypatch.setattr(campaign, "measure", no_measuring)
    status = ended(monkeypatch, *commands(run)[command])
    told = capfd.readouterr().err
    assert status in allowed, told
    assert "Traceback" not in told
    assert not unforeseen.folder().exists(), told
    if status == 2:
        assert told.startswith("error: "), told
        assert command in PASSES_OVER or str(run) in told
        assert "hint: " in told


@pytest.mark.parametrize("command", commands(Path("r")))
@pytest.mark.parametrize("what", MANIFEST)
def test_a_damaged_manifest_is_one_error(
    what: str, command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    MANIFEST[what](run)
    kept = {"history", "diff kept"}  # they read verdicts that were kept
    check(command, run, monkeypatch, capfd, {0, 3} if command in kept else {2})


@pytest.mark.parametrize("command", commands(Path("r")))
@pytest.mark.parametrize("what", RECORD)
def test_a_damaged_record_is_one_error(
    what: str, command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    RECORD[what](run)
    # `rerun` needs the manifest alone, but that is read with the record
    check(command, run, monkeypatch, capfd, {0, 2, 3} if command == "history" else {0, 3} if command == "diff kept" else {2})


@pytest.mark.parametrize("command", [c for c in commands(Path("r")) if c != "report"])
@pytest.mark.parametrize("what", DERIVED)
def test_what_is_wrong_with_kept_verdicts_is_said_to_whoever_asks_for_them(
    what: str, command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    DERIVED[what](run)
    judged_again = {1}  # this record has surprises
    check(command, run, monkeypatch, capfd, {"diff kept": {2}, "report one": judged_again}.get(command, {0, 3}))


def test_a_file_in_the_place_of_the_reports_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    no_derived(run)
    check("report", run, monkeypatch, capfd, {2})


def strange(results: Path) -> None:
    """What may lie in a folder of results."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "a file").write_text("x")
    (results / "folder" / "manifest.json").mkdir(parents=True)
    (results / "pipe").mkdir()
    os.mkfifo(results / "pipe" / "manifest.json")
    (results / "loop").symlink_to("loop")
    (results / "void").symlink_to("nowhere")
    (results / "ctrl\x1b[2J\n").mkdir()
    (results / "ctrl\x1b[2J\n" / "manifest.json").write_text("{")
    (results / "latest").symlink_to("nowhere")


@pytest.mark.parametrize("name", ["latest", "loop", "void", "pipe", "folder", "a file", "x" * 5000, "ctrl\x1b[2J\n", ""])
def test_strange_things_among_the_runs_disturb_nobody(
    name: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    strange(run.parent)
    for command in ("report", "explain", "rerun"):
        arguments = ["a.example", "b.example"] if command != "report" else []
        assert ended(monkeypatch, command, name, *arguments, "--results", str(run.parent)) == 2
    assert ended(monkeypatch, "history", str(run.parent)) in (0, 3)
    told = capfd.readouterr()
    assert "Traceback" not in told.err
    assert "\x1b" not in told.err + told.out


def test_a_history_of_kept_verdicts_writes_no_picture_elsewhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A picture's name has the scenario and its timers in it."""
    shutil.copytree(run, run.parent / "r2")
    kept = run.parent / "r2" / "derived" / "verdicts.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"timers": "../../../x"}))
    shutil.copytree(run, run.parent / "r3")
    kept = run.parent / "r3" / "derived" / "verdicts.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"scenario": "../../../x"}))
    fine = {"pictures", "cache"}  # a plotter keeps its list of fonts
    there = {p for p in tmp_path.rglob("*") if not fine & set(p.parts)}
    assert ended(monkeypatch, "history", str(run.parent), "--picture", str(tmp_path / "pictures" / "h.svg")) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert {p for p in tmp_path.rglob("*") if not fine & set(p.parts)} == there


def test_the_longest_names_that_a_scenario_may_have_are_plain() -> None:
    assert reading.plain(f"{'a' * 63}.{'b' * 48}.example.log.gz")
    assert not any(map(reading.plain, ("", ".", "..", "a/b", "-a", "a b", "a\n", "a" * 201)))


# --- every value of every document ------------------------------------------------------------------------------------


def use(verdicts: Any, record: store.Record | None = None) -> None:
    """All that is made of verdicts but for pictures. Raises TestbedError or nothing."""
    side = subject(verdicts, record.manifest if record else None)
    exit_status(verdicts)
    for name in ("csv", "junit", "markdown", "text", "summary", "json", "html"):
        assert formats.render(verdicts, name)
    document = diff.document(side, side)
    assert diff_report.render_text(document, colour=False, width=100)
    assert diff_report.render_markdown(document)
    assert diff_page.render_html(document)
    history_text.render_text(history.document([side]), colour=False, width=100)
    accepted = acceptance.accept([side], acceptance.Notes("x", None, None), None, dt.date(2026, 1, 1))
    assert acceptance.render([side], accepted)
    cell = next(iter(verdicts["cells"]), None)
    if record and cell:
        assert story(record, verdicts, cell["sender"], cell["receiver"])


def tried(use_it: Callable[[], object], where: object) -> None:
    try:
        use_it()
    except TestbedError:
        pass
    except Exception as error:
        error.add_note(f"damaged: {where}")
        raise


def judged(run: Path) -> None:
    judged_run = campaign.judge(run)
    use(judged_run.verdicts, judged_run.record)


def measured_again(run: Path, catalog: Catalog) -> None:
    record = store.load(run)
    domains = [s["domain"] for s in record.manifest["servers"]]
    recorded.restore(record.manifest, catalog)
    plan = recorded.plan_of(record.manifest, [(domains[0], domains[1])])
    assert plan.cells


def test_every_value_of_a_manifest_may_be_wrong(tmp_path: Path, catalog: Catalog) -> None:
    run = tmp_path / "r1"
    shutil.copytree(GOLDEN / "nothing-seen", run)
    manifest = json.loads((run / "manifest.json").read_text())
    for place in damage.places(manifest, names=NAMES):
        for wrong in damage.WRONG:
            (run / "manifest.json").write_text(json.dumps(damage.damaged(manifest, place, wrong)))
            tried(lambda: judged(run), (place, wrong))
            tried(lambda: measured_again(run, catalog), (place, wrong))


def test_every_value_of_kept_verdicts_may_be_wrong(tmp_path: Path) -> None:
    run = tmp_path / "r1"
    shutil.copytree(GOLDEN / "interference", run)
    verdicts, file = campaign.judge(run).verdicts, tmp_path / "verdicts.json"
    for place in damage.places(verdicts, names=NAMES):
        for wrong in damage.WRONG:
            file.write_text(json.dumps(damage.damaged(verdicts, place, wrong)))
            tried(lambda: use(files.verdicts(file).verdicts), (place, wrong))


@pytest.mark.parametrize("golden", ["nothing-seen", "handshake"])
def test_every_value_of_an_observation_may_be_wrong(golden: str, tmp_path: Path) -> None:
    run = tmp_path / "r1"
    shutil.copytree(GOLDEN / golden, run)
    lines = (run / "observations.jsonl").read_text().splitlines()
    first = {json.loads(line)["kind"]: number for number, line in reversed(list(enumerate(lines)))}
    for number in first.values():
        observation = json.loads(lines[number])
        for place in damage.places(observation):
            for wrong in damage.WRONG:
                line = json.dumps(damage.damaged(observation, place, wrong))
                (run / "observations.jsonl").write_text("\n".join([*lines[:number], line, *lines[number + 1 :], ""]))
                tried(lambda: judged(run), (observation["kind"], place, wrong))


# --- whatever the bytes -----------------------------------------------------------------------------------------------

QUICK = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
KEYS = ["name", "title", "servers", "phases", "set", "where", "policy", "config", "match", "entries", "patterns"]
SMALL = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
        st.sampled_from(["prosody@trixie", "../../x", "\x1b[2J", "2001-99-99", "!!int x", "&a [*a]", "{{ 7*7 }}", "1e999"]),
    ),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=5),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


def readers(catalog: Catalog) -> dict[str, Callable[[Path], object]]:
    """What reads a file that people write."""
    return {
        "scenario.yaml": lambda p: scenario.load(p, catalog),
        "image.yaml": lambda p: image_files.read_image(p.parent),
        "logs.yaml": image_files.read_logs,
        "known.yaml": baseline.load,
    }


WHOLE = {
    "scenario.yaml": Path(__file__).parents[2] / "scenarios" / "test-days.yaml",
    "image.yaml": Path(__file__).parents[2] / "images" / "jabberd2" / "image.yaml",
    "logs.yaml": GOLDEN / "mix.yaml",
    "known.yaml": GOLDEN / "compare" / "known.yaml",
}


@pytest.mark.parametrize("name", WHOLE)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | SMALL.map(json.dumps).map(str.encode))
@QUICK
def test_whatever_the_bytes_of_a_file_that_people_write(name: str, content: bytes, tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    tried(lambda: readers(catalog)[name](path), content)


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@QUICK
def test_a_file_that_people_write_with_a_piece_replaced(name: str, data: st.DataObject, tmp_path: Path, catalog: Catalog) -> None:
    text = WHOLE[name].read_text()[:3000]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    piece = data.draw(st.text(max_size=8) | st.sampled_from(["&a ", "*a", "[", "{", "- ", "!!binary x", "? ", "<<: ", ": ", "%"]))
    path = tmp_path / name
    path.write_text(text[:start] + piece + text[end:], errors="surrogatepass")
    tried(lambda: readers(catalog)[name](path), path.read_bytes())


@given(lines=st.lists(st.binary(max_size=80) | SMALL.map(json.dumps).map(str.encode), max_size=4))
@QUICK
def test_whatever_the_lines_of_a_record(lines: list[bytes], tmp_path: Path) -> None:
    run = tmp_path / "r1"
    if not run.exists():
        shutil.copytree(GOLDEN / "nothing-seen", run)
    (run / "observations.jsonl").write_bytes(b"\n".join(lines))
    tried(lambda: judged(run), lines)


def test_kept_verdicts_are_as_visible_as_new_ones(run: Path) -> None:
    file = run / "derived" / "verdicts.json"
    verdicts = json.loads(file.read_text()) | {"title": "a\x1b[2Jb"}
    file.write_text(json.dumps(verdicts))
    side = files.verdicts(file)
    assert isinstance(side, Subject)
    assert side.verdicts["title"] == r"a\x1b[2Jb"

"""What an interrupted run lacks, when it may go on, what of its record counts then, and that nobody else writes meanwhile."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed import campaign
from testbed.cli import main
from testbed.display import Lines
from testbed.engine.images import Images
from testbed.judge.evidence import Evidence
from testbed.judge.verdict import exit_status, judge_run
from testbed.measure import manifest, pki, resume
from testbed.measure.conductor import phase_after_phase
from testbed.measure.epoch import Epoch
from testbed.measure.journal import Journal
from testbed.measure.manifest import Manner
from testbed.model import InputError, Phase, Plan
from testbed.plan import candidates, recorded, scenario
from testbed.plan import catalog as catalogs
from testbed.plan.candidates import Planned
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.record import legs, store
from testbed.record import observations as kinds
from testbed.record.observations import Observation, misfits
from testbed.record.store import Record, Writer
from testbed.report import render_all
from testbed.report.interruptions import parts

A, B = "a.example", "b.example"
STARTED = dt.datetime(2026, 11, 28, 16, 0, tzinfo=dt.UTC)
BEGAN = STARTED.timestamp()

SCENARIO = f"""name: two
title: Two servers
servers:
  - {{implementation: prosody@trixie, policy: opportunistic, domain: {A}}}
  - {{implementation: prosody@trixie, policy: cleartext, domain: {B}}}
phases:
  - name: before
  - name: after
    where: {{policy: opportunistic}}
    set: {{policy: encrypted}}
"""


@pytest.fixture
def plan(tmp_path: Path, catalog: Catalog) -> Plan:
    file = tmp_path / "two.yaml"
    file.write_text(SCENARIO)
    return scenario.load(file, catalog)


@pytest.fixture
def ordered(plan: Plan, catalog: Catalog) -> Any:
    """The manifest of a run of the plan."""
    content = manifest.build(plan, catalog, IMAGES, Manner(), issued(plan), engine="27.1")
    return {**content, "argv": ["run", "two.yaml"], "started": STARTED.isoformat()}


IMAGES = Images({"prosody:trixie": "sha256:1", "dns": "sha256:2", "driver": "sha256:3", "wiretap": "sha256:4"})


def issued(plan: Plan) -> manifest.Certificates:
    one = pki.Issued(b"", b"", b"", f"{id(object()):x}", "2027-01-01")
    return {(d, s.certificate): one for phase in plan.phases for d, s in phase.settings.items()}


def cell(phase: str, sender: str = A, receiver: str = B) -> str:
    return f"{phase}/{sender}/{receiver}/message"


def attempt(time: float, phase: str, epoch: str, answer: kinds.Kind | None = kinds.RECEIVED, **ends: str) -> list[Observation]:
    """An attempt of a cell, and its answer."""
    token = {"token": f"cell-{phase}-{epoch}-{sorted(ends.items())}"}
    tried = kinds.ATTEMPT.at(BEGAN + time, token | {"cold": True}, phase=phase, epoch=epoch, cell=cell(phase, **ends))
    return [tried] + (
        [replace(tried, time=tried.time + 0.5, source=answer.source, kind=answer.word, data=token)] if answer else []
    )


def whole(time: float, phase: str) -> Observation:
    return kinds.PHASE_COMPLETE.at(BEGAN + time, {}, phase=phase)


def wire(time: float, phase: str, status: int = 0) -> Observation:
    return kinds.WIRE_TAKEN_IN.at(BEGAN + time, {"status": status, "streams": 0, "until": None}, phase=phase)


def resumed(time: float, interrupted: float, *phases: str, leg: int = 2) -> Observation:
    data = {
        "leg": leg, "interrupted": BEGAN + interrupted, "phases": list(phases), "cells": 2 * len(phases), "argv": [],
        "certificates": [],
    }  # fmt: skip
    return kinds.RUN_RESUMED.at(BEGAN + time, data)


def record_of(ordered: Any, *observations: Observation, complete: bool = False) -> Record:
    return Record(Path("r"), {"schema": 1, "run": "r", **ordered}, observations, complete)


FIRST = (
    *attempt(1, "before", "mesh"),
    *attempt(2, "before", "mesh", sender=B, receiver=A),
    wire(9, "before"),
    whole(10, "before"),
)
"""A phase that was measured whole."""
CUT_SHORT = (*attempt(11, "after", "mesh", kinds.ERROR),)
"""One that was not."""
AGAIN = (
    *attempt(31, "after", "mesh.2"), *attempt(32, "after", "mesh.2", sender=B, receiver=A), wire(38, "after"), whole(39, "after")
)  # fmt: skip


# --- names of epochs -------------------------------------------------------------------------------------------------------


def test_an_epoch_of_a_later_leg_has_another_name_and_is_of_the_same_kind(tmp_path: Path) -> None:
    phase = Phase("after", {})
    with Writer(tmp_path, "t") as writer:
        journal, names = Journal(writer), []
        for writer.leg in (1, 2, 3):
            names += [journal.epoch_name(legs.MESH), journal.epoch_name(legs.ALONE, 2), journal.epoch_name(legs.CONTROL, "first")]
    assert names[:6] == ["mesh", "alone-2", "control-first", "mesh.2", "alone-2.2", "control-first.2"]
    assert len(set(names)) == len(names)
    assert [Epoch(phase, name, (), {}, {}, "").kind for name in names] == [legs.MESH, legs.ALONE, legs.CONTROL] * 3


def test_what_a_killed_leg_left_on_an_engine_is_not_taken_for_a_later_legs_own(tmp_path: Path) -> None:
    with Writer(tmp_path, "t") as writer:
        labels = [writer.label]
        writer.leg = 2
        labels.append(writer.label)
    assert labels == [writer.id, f"{writer.id}.2"]


# --- what is missing ----------------------------------------------------------------------------------------------------------


def test_a_phase_that_was_measured_whole_is_kept_and_any_other_is_missing(ordered: Any) -> None:
    lack = resume.lack_of(record_of(ordered, *FIRST, *CUT_SHORT))
    assert (lack.leg, lack.phases, lack.cells) == (2, ("after",), 2)
    assert (lack.interrupted, lack.spent) == (BEGAN + 11.5, 11.5)


def test_a_phase_whose_cells_have_answers_but_whose_evidence_was_not_taken_in_is_missing(ordered: Any) -> None:
    answered = [o for o in FIRST if o.kind != "phase-complete"]
    lack = resume.lack_of(record_of(ordered, *answered))
    assert (lack.phases, lack.cells) == (("before", "after"), 4)


@pytest.mark.parametrize(
    "gap",
    [
        kinds.WIRE_TAKEN_IN.at(BEGAN + 9, {"status": 2, "streams": 0, "until": None}, phase="before"),
        kinds.LOG_TAKEN_IN.at(BEGAN + 9, {"domain": A, "ok": False, "size": 0, "reason": "x"}, phase="before", epoch="mesh"),
        kinds.WIRETAP_FAILED.at(BEGAN + 9, {"reason": "a line that cannot be read"}, phase="before"),
    ],
    ids=lambda o: o.kind,
)
def test_a_phase_whose_evidence_has_a_gap_is_measured_again(gap: Observation, ordered: Any) -> None:
    assert resume.lack_of(record_of(ordered, *FIRST[:-1], gap, FIRST[-1])).phases == ("before", "after")
    assert legs.complete_phases([gap, *FIRST, resumed(30, 10, "before"), wire(39, "before"), whole(40, "before")]) == {
        "before": 2
    }


STARTED_A = kinds.SERVER_STARTED.at(BEGAN, {"domain": A}, phase="before", epoch="mesh")
LOG_OF_A = kinds.LOG_TAKEN_IN.at(BEGAN + 9, {"domain": A, "ok": True, "size": 0}, phase="before", epoch="mesh")
FAILED_A = kinds.SERVER_FAILED.at(BEGAN + 1, {"domain": A, "reason": "x"}, phase="before", epoch="mesh")


@pytest.mark.parametrize(
    ("left", "is_whole"),
    [
        (FIRST, True),
        ((STARTED_A, LOG_OF_A, *FIRST), True),
        ((STARTED_A, *FIRST), False),
        (tuple(o for o in FIRST if o.kind != "wire-taken-in"), False),
        ((FIRST[-1],), False),
        (tuple(o for o in FIRST if o.kind != "received"), False),
        (FIRST[2:], False),
        ((FAILED_A, *FIRST[-2:]), True),
    ],
    ids=["all", "and a log", "no log", "no wire", "nothing but its end", "no answers", "a cell less", "a server that failed"],
)
def test_a_phase_that_ended_is_whole_only_if_its_answers_and_evidence_are_there(
    left: tuple[Observation, ...], is_whole: bool, ordered: Any
) -> None:
    assert resume.lack_of(record_of(ordered, *left)).phases == (("after",) if is_whole else ("before", "after"))


def test_of_a_run_that_ended_before_anything_all_is_missing(ordered: Any) -> None:
    assert resume.lack_of(record_of(ordered)) == resume.Lack(2, ("before", "after"), 4, BEGAN, 0.0)


def test_a_manifest_that_does_not_say_when_it_began_is_input(ordered: Any) -> None:
    with pytest.raises(InputError, match="`started` is no time: 'soon'"):
        resume.lack_of(record_of({**ordered, "started": "soon"}))


def test_the_time_between_two_legs_is_not_the_runs(ordered: Any) -> None:
    lack = resume.lack_of(record_of(ordered, *FIRST, *CUT_SHORT, resumed(1000, 11.5, "after"), *attempt(1003, "after", "mesh.2")))
    assert (lack.leg, lack.spent) == (3, 11.5 + 3.5)


# --- what counts of the record -----------------------------------------------------------------------------------------------


def test_a_phase_is_judged_from_the_leg_that_measured_it_whole(ordered: Any) -> None:
    record = record_of(ordered, *FIRST, *CUT_SHORT, resumed(30, 11.5, "after"), *AGAIN)
    verdicts = judge_run(record)
    cells = {c["id"]: c for c in verdicts["cells"]}
    assert {c["outcome"] for c in cells.values()} == {"delivered"}, "the bounce of the leg that was cut short is void"
    assert cells[cell("after")]["attempts"] == 1
    assert [record.observations[int(line.partition("#")[2]) - 1].epoch for line in cells[cell("after")]["evidence"][:2]] == [
        "mesh.2"
    ] * 2
    assert cells[cell("before")] == {c["id"]: c for c in judge_run(record_of(ordered, *FIRST))["cells"]}[cell("before")]


def test_no_answer_is_lost_when_a_resumed_run_is_interrupted_too(ordered: Any) -> None:
    """While no leg has the phase whole, the one counts that answered most: and only that, since they are not to be mixed."""
    late = attempt(31, "after", "mesh.2", None)
    record = record_of(ordered, *FIRST, *CUT_SHORT, resumed(30, 11.5, "after"), *late)
    assert {a.epoch for a in Evidence(record).attempts[cell("after")]} == {"mesh"}
    more = record_of(
        ordered, *record.observations, *attempt(33, "after", "alone-1.2"), *attempt(34, "after", "mesh.2", sender=B, receiver=A)
    )
    assert {a.epoch for a in Evidence(more).attempts[cell("after")]} == {"mesh.2", "alone-1.2"}


def test_the_mesh_of_a_later_leg_is_weighed_as_a_mesh(ordered: Any) -> None:
    alone = attempt(33, "after", "alone-1.2", kinds.ERROR)
    record = record_of(ordered, *FIRST, resumed(30, 11.5, "after"), *AGAIN[:2], *alone, *AGAIN[2:])
    judged = next(c for c in judge_run(record)["cells"] if c["id"] == cell("after"))
    assert (judged["outcome"], judged["interference"]["mesh"]) == ("bounced", "delivered")


def test_a_record_without_legs_counts_whole() -> None:
    seen = (*FIRST, *CUT_SHORT)
    assert [o for _, o in legs.standing(seen)] == list(seen)
    assert [n for n, _ in legs.standing(seen)] == list(range(1, len(seen) + 1))


def test_what_is_recorded_of_it_fits_its_rows() -> None:
    assert [misfits(o) for o in (whole(1, "x"), resumed(2, 1, "x"))] == [[], []]


def test_the_timing_of_every_leg_is_kept(ordered: Any) -> None:
    def timing(**stages: float) -> Observation:
        return kinds.TIMING.at(BEGAN, stages)

    record = record_of(
        ordered, timing(before_boot=1.0, before_cells=2.0), *FIRST, resumed(30, 10, "after"), *AGAIN,
        timing(certificates=0.5, after_cells=3.0, total=40.0),
    )  # fmt: skip
    assert judge_run(record)["timing"] == {
        "before_boot": 1.0, "before_cells": 2.0, "certificates": 0.5, "after_cells": 3.0, "total": 40.0
    }  # fmt: skip


def test_a_complete_run_that_does_not_tell_of_its_control_pair_does_not_pass(ordered: Any) -> None:
    def control(phase: str, when: str, ok: bool = True) -> Observation:
        return kinds.CONTROL.at(BEGAN, {"when": when, "ok": ok}, phase=phase, epoch=f"control-{when}")

    there = (control("before", "first"), control("before", "last"), control("after", "last"))
    measured = (*FIRST, *AGAIN)
    assert all(c["ok"] for c in judge_run(record_of(ordered, *there, *measured, complete=True))["controls"])
    for gone in range(3):
        left = there[:gone] + there[gone + 1 :]
        verdicts = judge_run(record_of(ordered, *left, *measured, complete=True))
        absent = [(c["phase"], c["when"]) for c in verdicts["controls"] if not c["ok"]]
        assert absent == [(there[gone].phase, there[gone].data["when"])]
        assert exit_status(verdicts) == 3
    old = [o for o in measured if o.kind != "phase-complete"]
    assert judge_run(record_of(ordered, *old, complete=True))["controls"] == []
    assert judge_run(record_of(ordered, *measured))["controls"] == [], "an incomplete run says so"


def test_every_report_says_that_the_run_was_interrupted(ordered: Any) -> None:
    one_go = judge_run(record_of(ordered, *FIRST, *AGAIN, complete=True))
    verdicts = judge_run(record_of(ordered, *FIRST, *CUT_SHORT, resumed(90, 12, "after"), *AGAIN, complete=True))
    said = parts(verdicts)
    assert (
        said
        == "in 2 parts: interrupted at 2026-11-28 16:00 UTC, resumed at 2026-11-28 16:01 UTC (2 cells of 'after' were missing)"
    )
    assert ("resumed" in one_go, parts(one_go)) == (False, "")
    written = dict(render_all(verdicts))
    for name in ("report.html", "matrix.txt", "summary.md", "junit.xml"):
        text = " ".join(written[name].decode().replace("&#39;", "'").replace("\\u0027", "'").split())
        assert "in 2 parts: interrupted at 2026-11-28 16:00 UTC" in text, name
    assert json.loads(written["summary.json"])["resumed"] == verdicts["resumed"]


# --- whether it is the same run ---------------------------------------------------------------------------------------------


def test_the_plan_of_a_manifest_makes_that_manifest_again_with_certificates_issued_anew(ordered: Any, catalog: Catalog) -> None:
    again = recorded.plan_of(ordered, recorded.pairs_of(ordered))
    now = manifest.build(again, catalog, IMAGES, Manner.recorded(ordered), issued(again), engine="27.1")
    resume.refuse_another(Path("manifest.json"), {"schema": 1, "run": "r", **ordered}, now)
    assert resume.noted(ordered, now) == []
    assert len(resume.certificates(now, ("after",))) == 2


def without_tls(m: Any) -> None:
    m["phases"][1]["settings"][A]["policy"] = "cleartext"


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (
            lambda m: m["images"].update({"prosody:trixie": "sha256:9"}),
            ("image prosody:trixie: was sha256:1, is sha256:9", "docker load"),
        ),
        (lambda m: m["images"].pop("wiretap"), ("image wiretap: was sha256:4, is nothing", "docker load")),
        (lambda m: m["machine"].update(engine="28.0"), ("version of the engine: was 27.1, is 28.0", "engine of that version")),
        (lambda m: m["sources"].update(testbed="f00"), ("code that measures: was ", "revision: was ", "check out the revision")),
        (lambda m: m["sources"].update(prosody="f00"), ("folder of prosody: was ", "restore the folder")),
        (without_tls, (f"phases[after].settings.{A}.policy: was encrypted, is cleartext", "leave SCENARIO")),
        (lambda m: m.update(seed=7), ("seed: was 1, is 7", "leave SCENARIO")),
        (lambda m: m.update(timers="stock"), ("timers: was short, is stock", "leave SCENARIO")),
        (lambda m: m["servers"].pop(), (f"\n  server {B}: was in the scenario, is no more", "leave SCENARIO")),
        (lambda m: m.update(isolated=True), ("isolated: was false, is true", "leave SCENARIO")),
        (lambda m: m["planned"].update({A: []}), (f"planned.{A}: was", "leave SCENARIO")),
        (lambda m: m["phases"][0]["settings"][A].update(certificate="expired"), ("certificate: was ca, is expired",)),
        (lambda m: m["unavailable"].update({"x:y": "gone"}), ("unavailable image x:y: was nothing, is gone", "again")),
    ],
)  # fmt: skip
def test_what_would_be_another_run_is_refused_with_both_values_and_the_remedy(
    change: Callable[[Any], object], texts: tuple[str, ...], ordered: Any
) -> None:
    now = copy.deepcopy(ordered)
    change(now)
    with pytest.raises(InputError, match="cannot be resumed") as error:
        resume.refuse_another(Path("r/manifest.json"), {"schema": 1, "run": "r", **ordered}, now)
    for text in texts:
        assert text in str(error.value)
    assert str(error.value).startswith("r/manifest.json: ")
    assert error.value.hint


def test_a_run_of_a_testbed_that_did_not_say_what_measured_it_is_refused(ordered: Any) -> None:
    old = {k: v for k, v in ordered.items() if k != "sources"}
    with pytest.raises(InputError, match="the testbed's code that measures: was nothing"):
        resume.refuse_another(Path("manifest.json"), {"schema": 1, "run": "r", **old}, ordered)


@pytest.mark.parametrize("unknown", [None, "it has two certificates"])
def test_the_same_command_line_with_a_configuration_of_ones_own_is_the_same_run(
    unknown: str | None, root: Path, tmp_path: Path
) -> None:
    """What it does was observed when the run began, and is not observed again; another text is another run."""
    file, smoke = tmp_path / "prosody.cfg.lua", root / "scenarios" / "smoke.yaml"
    file.write_text("-- mine\n")
    planned = campaign.plan(smoke, config=f"prosody={file}")
    mine = planned.candidates[0].implementation
    observed = candidates.observed(planned, mine, None if unknown else PRESETS["encrypted"], unknown)

    def written(of: Planned) -> Any:
        return {
            "started": STARTED.isoformat(),
            **manifest.build(of.plan, of.catalog, IMAGES, Manner(), issued(of.plan), engine="27.1"),
        }

    began = {"schema": 1, "run": "r", **written(observed)}
    known = recorded.restore(began, catalogs.load())
    from_manifest = Planned(recorded.plan_of(began, recorded.pairs_of(began)), known)
    given = recorded.as_observed(campaign.plan(smoke, config=f"prosody={file}"), began)
    for same in (from_manifest, given):
        resume.refuse_another(tmp_path, began, written(same))
    file.write_text("-- another\n")
    other = recorded.as_observed(campaign.plan(smoke, config=f"prosody={file}"), began)
    with pytest.raises(InputError, match=r"mine\[prosody@mine\]\.files\.prosody\.cfg\.lua: was -- mine"):
        resume.refuse_another(tmp_path, began, written(other))


def test_what_changes_nothing_of_what_is_measured_is_noted(ordered: Any) -> None:
    now = copy.deepcopy(ordered)
    now["machine"]["kernel"] += "-new"
    now |= {"revision": "abc", "title": "Another title", "file": "elsewhere.yaml", "stretch": 3}
    resume.refuse_another(Path("manifest.json"), {"schema": 1, "run": "r", **ordered}, now)
    assert [text.partition(":")[0] for text in resume.noted(ordered, now)] == ["revision", "machine.kernel"]


def test_the_code_that_measures_has_what_says_how_often_and_what_is_expected() -> None:
    assert {"measure", "engine", "plan", "disagreements.py", "expectations.py", "shares.py", "sides.py"} <= set(manifest.MEASURES)
    assert all((manifest.PACKAGE / name).exists() for name in manifest.MEASURES)


def test_the_digest_of_a_folder_is_of_templates_and_log_patterns_too(
    catalog: Catalog, plan: Plan, root: Path, tmp_path: Path
) -> None:
    """They are in no image, and decide what a server is set to and what its log is taken to say."""
    used = {s.implementation for s in plan.servers}
    digests = [manifest.sources(catalog, used)]
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("prosody.cfg.lua.j2", "logs.yaml", "README.md"):
        target = folder / name / "prosody"
        shutil.copytree(root / "images" / "prosody", target)
        with (target / name).open("a") as file:
            file.write("\n# changed\n")
        digests.append(manifest.sources(catalogs.load(target.parent), used))
    assert [d["prosody"] != digests[0]["prosody"] for d in digests[1:]] == [True, True, False]
    assert {d["testbed"] for d in digests} == {digests[0]["testbed"]}


def test_the_order_of_a_phases_pairs_does_not_depend_on_which_others_are_measured(root: Path, catalog: Catalog) -> None:
    def orders(wanted: list[str] | None) -> dict[str, Any]:
        drawn: dict[str, Any] = {}

        class Measurement:
            def __init__(self, phase: Phase, pairs: Any) -> None:
                drawn[phase.name], self.mesh_down = pairs, asyncio.Event()

            async def measure(self) -> None:
                self.mesh_down.set()

        asyncio.run(phase_after_phase(smoke, Measurement, wanted=wanted))
        return drawn

    smoke = scenario.load(root / "scenarios" / "smoke.yaml", catalog, seed=5)
    assert orders(["after"]) == {"after": orders(None)["after"]}


# --- the record, and who writes it --------------------------------------------------------------------------------------------


def begun(results: Path, ordered: Any, *observations: Observation) -> Path:
    """An interrupted run in a folder of results."""
    with Writer(results, "two") as writer:
        writer.manifest(ordered)
        for observation in observations:
            writer.append(observation)
    return writer.path


@pytest.mark.parametrize(
    ("tail", "kept"),
    [(b"", True), (b'{"time":1,"sour', False), (b'{"time":1,"source":"engine","kind":"x"}', True), (b"\0\0\0", False)],
)
def test_a_resumed_record_begins_behind_the_last_whole_line(tail: bytes, kept: bool, tmp_path: Path, ordered: Any) -> None:
    """What was an observation stays; what was cut in the middle of a line was none, and is gone."""
    path = begun(tmp_path, ordered, *FIRST)
    file = path / "observations.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + tail)
    with Writer.again(path) as writer:
        assert file.read_bytes() == before + tail, "until it resumes, nothing is changed"
        record = store.load(path)
        cut = writer.resume(record)
        writer.append(resumed(30, 10, "after"))
    assert cut == (0 if kept else len(tail))
    lines = file.read_bytes().split(b"\n")
    assert b"\n".join(lines[:-2]) + b"\n" == before + (tail + b"\n" if kept and tail else b"")
    assert json.loads(lines[-2])["kind"] == "run-resumed"
    assert writer.count == len(store.load(path).observations)
    assert writer.leg == 2


def test_a_run_that_still_goes_on_is_neither_resumed_nor_written_by_two(tmp_path: Path, ordered: Any) -> None:
    script = (
        "import sys; from pathlib import Path; from testbed.record.store import Writer\n"
        "try: Writer.again(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    )

    def other(path: Path) -> str:
        command = [sys.executable, "-c", script, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    with Writer(tmp_path, "two") as writer:
        writer.manifest(ordered)
        assert other(writer.path).startswith("InputError")
        with pytest.raises(InputError, match="this run still goes on") as error:
            Writer.again(writer.path)
        assert error.value.hint
    assert other(writer.path) == "", "when it has ended nobody is kept from it"
    with Writer.again(writer.path):
        assert "this run still goes on" in other(writer.path), "a resumption is one at a time"


def test_a_run_is_the_latest_from_its_manifest_on(tmp_path: Path, ordered: Any) -> None:
    """One that is killed never closes its record, and `--resume latest` means that one."""
    older = begun(tmp_path, ordered)
    with Writer(tmp_path, "two") as writer:
        assert store.find("latest", tmp_path) == older.resolve()
        writer.manifest(ordered)
        assert store.find("latest", tmp_path) == writer.path.resolve()
    with Writer.again(older):
        pass
    assert store.find("latest", tmp_path) == writer.path.resolve(), "what was refused is not the latest"


# --- from the command line, where no engine is needed -------------------------------------------------------------------------


def status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["testbed", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["run"], ["a SCENARIO is needed", "--resume RUN"]),
        (["run", "--resume", "none"], ["no run `none`"]),
        (["run", "--resume", "RUN", "--seed", "2"], ["--seed: the manifest of", "leave --seed out"]),
        (["run", "--resume", "RUN", "--full-capture"], ["--full-capture: the manifest of"]),
        (["run", "--resume", "RUN", "--config", "prosody=x"], ["--config: the manifest of"]),
    ],
)
def test_what_cannot_be_resumed_is_input(
    arguments: list[str], texts: list[str], tmp_path: Path, ordered: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = begun(tmp_path, ordered)
    code, _, said = status(capsys, monkeypatch, *[path if a == "RUN" else a for a in arguments])
    assert code == 2
    assert [text for text in texts if text not in said] == []


def test_of_a_complete_run_nothing_is_missing_and_its_verdicts_say_the_status(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    reference = root / "results" / "reference"
    before = {p: p.stat().st_mtime_ns for p in reference.rglob("*")}
    code, out, said = status(capsys, monkeypatch, "run", "--resume", reference)
    assert code == campaign.load(reference).exit_status
    assert "nothing is missing" in said
    assert "newly broken" in out
    assert {p: p.stat().st_mtime_ns for p in reference.rglob("*")} == before, "nothing is written"


def test_a_run_that_another_process_completes_before_the_lock_is_taken_is_left_as_it_is(
    tmp_path: Path, ordered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begun(tmp_path, ordered, *FIRST, *(replace(o, epoch="mesh") for o in AGAIN))
    run, again, texts = campaign.load(path), Writer.again, list[str]()

    def late(path: Path) -> Writer:
        monkeypatch.setattr(Writer, "again", again)
        campaign.resume(run)
        return again(path)

    monkeypatch.setattr(Writer, "again", late)
    resumed = campaign.resume(run, display=Lines(texts.append))
    assert resumed.verdicts["complete"]
    assert [o.kind for o in store.load(path).observations].count(kinds.RUN_COMPLETE.word) == 1
    assert any("nothing is missing" in text for text in texts)


def test_the_report_of_an_unfinished_run_says_how_it_goes_on(
    tmp_path: Path, ordered: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = begun(tmp_path, ordered, *FIRST, *CUT_SHORT)
    code, out, _ = status(capsys, monkeypatch, "report", path, "--quiet")
    assert code == 3
    assert f"testbed run --resume {path}" in out


def test_a_run_that_lacks_only_its_last_line_is_closed_without_an_engine(tmp_path: Path, ordered: Any) -> None:
    path = begun(tmp_path, ordered, *FIRST, *(replace(o, epoch="mesh") for o in AGAIN))
    assert not store.load(path).complete
    run = campaign.resume(campaign.load(path))
    assert run.verdicts["complete"]
    assert store.load(path).observations[-1].data == {"observations": len(store.load(path).observations) - 1}
    assert (path / "derived" / "report.html").is_file()

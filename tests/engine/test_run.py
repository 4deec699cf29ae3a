"""Whole runs, through the command line: what they leave on disk, and that they leave nothing on the engine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_mesh import left, run_of
from smoke_run import TESTBED, Done

from testbed import campaign
from testbed.campaign import Planned
from testbed.causes import CAUSES
from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.judge.evidence import Evidence
from testbed.judge.verdict import exit_status, judge_run
from testbed.measure import conductor
from testbed.model import CONTROL_DOMAINS, EngineError
from testbed.plan import catalog as catalogs
from testbed.plan import scenario
from testbed.plan.policy import PRESETS
from testbed.record import store
from testbed.record.documents import observation_form
from testbed.record.observations import misfits

pytestmark = pytest.mark.engine

PNG = b"\x89PNG\r\n\x1a\n"
BUSY = 240.0
"""Seconds that a run may take to its first servers, or to its end, on a machine that has much else to do."""


ANY = object()
CHANNEL = {
    "encryption": (str, None),
    "tls_version": (str, None),
    "cipher": (str, None),
    "forward_secrecy": (bool, None),
    "authentication": (str, None),
}
CELL: dict[str, Any] = {
    "id": str, "phase": str, "sender": str, "receiver": str, "exchange": str, "outcome": str, "channel": CHANNEL,
    "cause": (str, None), "fault": (str, None), "explanation": str, "expected": {"outcome": str, "because": str},
    "surprise": bool, "seconds": (float, None), "attempts": int, "evidence": [str],
}  # fmt: skip
DIMENSIONS = {"encryption": str, "authentication": [str], "tls_min": (str, None), "tls_max": (str, None)}
VERDICTS: dict[str, Any] = {
    "schema": int, "run": str, "scenario": str, "complete": bool,
    "servers": [{"domain": str, "implementation": str, "release": str, "version": str}],
    "phases": [{"name": str, "settings": {ANY: {"policy": str, "certificate": str, "dimensions": DIMENSIONS}}}],
    "cells": [CELL],
}  # fmt: skip
"""The fixed shape of verdicts.json; keys may be added."""


def departures(value: Any, form: Any, where: str = "") -> list[str]:
    """Where ``value`` departs from ``form``."""
    if isinstance(form, tuple):
        return [] if value is None and None in form else departures(value, form[0], where)
    if isinstance(form, list):
        return (
            [f"{where} is no list"]
            if not isinstance(value, list)
            else [d for n, v in enumerate(value) for d in departures(v, form[0], f"{where}[{n}]")]
        )
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        wanted = dict.fromkeys(value, form[ANY]) if ANY in form else form
        missing = [f"{where}.{k} is missing" for k in wanted if k not in value]
        return missing + [d for k, f in wanted.items() if k in value for d in departures(value[k], f, f"{where}.{k}")]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) if form is float else type(value) is form
    return [] if fits else [f"{where} is {value!r}, not {form.__name__}"]


def test_the_shape_check_sees_departures() -> None:
    good = {"a": [{"b": 1.5, "c": None}]}
    form = {"a": [{"b": float, "c": (str, None)}]}
    assert departures(good, form) == []
    assert departures({"a": [{"b": "x"}]}, form, "v") == ["v.a[0].c is missing", "v.a[0].b is 'x', not float"]


class TestSmoke:
    """One run, looked at from all sides."""

    def test_the_exit_status_says_what_the_verdicts_say(self, smoke: Done) -> None:
        assert smoke.status == exit_status(smoke.verdicts)
        assert smoke.status != 3, [c["explanation"] for c in smoke.verdicts["cells"] if c["outcome"] == "inconclusive"]

    def test_the_shape_of_the_verdicts(self, smoke: Done) -> None:
        verdicts = smoke.verdicts
        assert departures(verdicts, VERDICTS) == []
        assert (verdicts["schema"], verdicts["run"], verdicts["scenario"], verdicts["complete"]) == (
            1,
            smoke.path.name,
            "smoke",
            True,
        )
        for cell in verdicts["cells"]:
            assert cell["outcome"] in ("delivered", "bounced", "lost", "unsupported", "inconclusive")
            assert cell["cause"] is None or cell["cause"] in CAUSES
            assert cell["fault"] in (None, "sender", "receiver", "both", "network", "testbed")
            assert cell["channel"]["encryption"] in (None, "tls", "cleartext")
            assert cell["channel"]["authentication"] in (None, "external", "dialback", "none")
        assert smoke.printed == verdicts

    def test_every_planned_cell_is_there(self, smoke: Done, root: Path, catalog: catalogs.Catalog) -> None:
        planned = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
        assert sorted(c["id"] for c in smoke.verdicts["cells"]) == sorted(c.id for c in planned.cells)

    def test_what_the_scenario_is_about_happened(self, smoke: Done) -> None:
        clear = next(d for d, s in smoke.verdicts["phases"][0]["settings"].items() if s["policy"] == "cleartext")
        for cell in smoke.verdicts["cells"]:
            before, with_clear = cell["phase"] == "before", clear in (cell["sender"], cell["receiver"])
            assert (cell["outcome"] == "delivered") is (before or not with_clear), cell["explanation"]
            if cell["outcome"] == "delivered":
                assert cell["channel"]["encryption"] == ("cleartext" if with_clear else "tls"), cell["id"]

    def test_the_control_pair_ran_first_and_last(self, smoke: Done) -> None:
        told = [(c["phase"], c["when"], c["ok"]) for c in smoke.verdicts["controls"]]
        assert told == [("before", "first", True), ("before", "last", True), ("after", "last", True)]
        record = store.load(smoke.path)
        first = next(o.time for o in record.observations if o.kind == "control")
        assert all(o.time >= first for o in record.observations if o.kind == "attempt" and o.epoch == "mesh")

    def test_every_observation_fits_its_row(self, smoke: Done) -> None:
        record = store.load(smoke.path)
        assert {f"{n}: {why}" for n, o in enumerate(record.observations, 1) for why in misfits(o)} == set()
        for line in (smoke.path / "observations.jsonl").read_text().splitlines():
            observation_form().validate_python(json.loads(line), strict=True)

    def test_what_is_recorded_as_cold_is_what_the_order_of_attempts_says(self, smoke: Done) -> None:
        record = store.load(smoke.path)
        silent = tuple(replace(o, data={k: v for k, v in o.data.items() if k != "cold"}) for o in record.observations)
        said, ordered = Evidence(record), Evidence(replace(record, observations=silent))
        assert all("cold" in o.data for o in record.observations if o.kind == "attempt")
        for cell, attempts in said.attempts.items():
            assert [a.cold for a in attempts] == [a.cold for a in ordered.attempts[cell]], cell

    def test_every_failure_was_seen_twice(self, smoke: Done) -> None:
        failed = [c for c in smoke.verdicts["cells"] if c["outcome"] in ("bounced", "lost")]
        assert failed
        for cell in failed:
            assert (cell["confirmed"], cell["attempts"]) == (True, 2), cell["id"]

    def test_the_evidence_that_cells_name_exists(self, smoke: Done) -> None:
        for cell in smoke.verdicts["cells"]:
            assert cell["evidence"]
            for name in cell["evidence"]:
                assert (smoke.path / name.partition("#")[0]).is_file(), name

    def test_the_pictures_are_there(self, smoke: Done) -> None:
        pictures = list((smoke.path / "derived").glob("*.png"))
        assert pictures
        for path in pictures:
            assert path.read_bytes().startswith(PNG)
            assert path.stat().st_size > 5000, path.name
        assert list((smoke.path / "derived").glob("*.svg"))

    def test_a_report_from_the_record_says_the_same(self, smoke: Done, environment: dict[str, str], tmp_path: Path) -> None:
        copy = tmp_path / smoke.path.name
        shutil.copytree(smoke.path, copy, ignore=shutil.ignore_patterns("derived"))
        done = subprocess.run(
            [TESTBED, "report", copy, "--json", "--quiet"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (smoke.status, "")
        again = json.loads((copy / "derived" / "verdicts.json").read_text())
        assert smoke.verdicts == again == json.loads(done.stdout)
        assert {p.name for p in (copy / "derived").iterdir()} == {p.name for p in (smoke.path / "derived").iterdir()}

    def test_nothing_is_left_on_the_engine(self, smoke: Done, engine: Engine) -> None:
        assert left(engine, smoke.path.name) == []

    def test_no_key_is_kept(self, smoke: Done) -> None:
        for path in smoke.path.rglob("*"):
            assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes(), path


def test_rerun_measures_each_direction_cold_and_alone(smoke: Done, environment: dict[str, str], tmp_path: Path) -> None:
    a, b = (s["domain"] for s in smoke.verdicts["servers"] if s["implementation"] != "jabberd2")
    command = [TESTBED, "rerun", smoke.path, a, b, "--results", tmp_path, "--quiet", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts["isolated"] is True
    assert [(c["outcome"], c["attempts"]) for c in verdicts["cells"]] == [("delivered", 2)] * 4
    attempts = [o for o in store.load(run_of(tmp_path)).observations if o.kind == "attempt" and o.epoch.startswith("alone-")]
    opened: dict[tuple[str, str], str] = {}
    for o in sorted(attempts, key=lambda o: o.time):
        opened.setdefault((o.phase, o.epoch), o.cell.split("/")[1])
    for phase in ("before", "after"):
        assert sorted(first for (of, _), first in opened.items() if of == phase) == sorted((a, b))


def test_a_control_pair_that_does_not_get_through_ends_the_run_before_anything_is_measured(
    engine: Engine, built: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    file = tmp_path / "two.yaml"
    file.write_text(
        "name: two\ntitle: Two servers\nservers:\n  - {implementation: prosody@trixie, policy: [opportunistic, encrypted]}\n"
        "phases: [{name: before}]\n"
    )
    planned = campaign.plan(file)
    one, other = conductor.control_pair(planned.plan, planned.catalog, built)
    broken = (replace(one, policy=PRESETS["cleartext"]), replace(other, policy=PRESETS["encrypted"]))
    monkeypatch.setattr(conductor, "control_pair", lambda *_: broken)
    with pytest.raises(EngineError, match="nothing was measured, because the control pair") as caught:
        campaign.measure(planned, results=tmp_path / "results")
    path = run_of(tmp_path / "results")
    assert f"testbed report {path}" in str(caught.value)
    assert left(engine, path.name) == []
    run = campaign.judge(path)
    verdicts = run.verdicts
    assert run.exit_status == 3
    assert [(c["when"], c["ok"]) for c in verdicts["controls"]] == [("first", False)]
    assert all(domain in verdicts["controls"][0]["reason"] for domain in CONTROL_DOMAINS)
    assert {(c["outcome"], c["cause"], c["attempts"]) for c in verdicts["cells"]} == {("inconclusive", "testbed", 0)}
    assert all(verdicts["controls"][0]["reason"] in c["explanation"] for c in verdicts["cells"])
    tried = {o.epoch for o in run.record.observations if o.kind == "attempt"}
    assert tried == {"control-first", "control-first-again"}, "it was tried twice, with fresh servers"
    for epoch in tried:
        for domain in CONTROL_DOMAINS:
            assert (path / "evidence" / "before" / epoch / f"{domain}.log.gz").stat().st_size
    assert any(o.kind == "stream" for o in run.record.observations), "what the wire saw of it was taken in"


def start_and_wait(
    root: Path, environment: dict[str, str], results: Path, *, terminal: int | None = None
) -> subprocess.Popen[str]:
    """A smoke run that has begun to start its servers; ``terminal``: on this one, which is the run's own, not on pipes.

    Fails if it does not come so far.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a session in the background of a shell ignores it
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    command = [TESTBED, "run", root / "scenarios" / "smoke.yaml", "--results", results]
    out = subprocess.PIPE if terminal is None else terminal
    process = subprocess.Popen(
        command, env=environment, stdin=out, stdout=out, stderr=out, text=True, start_new_session=True, preexec_fn=prepare
    )
    deadline = time.monotonic() + BUSY
    try:
        while not started(results):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"no server was configured within {BUSY} s"
            time.sleep(0.2)
        time.sleep(2)  # containers are being started by now
    except BaseException:
        process.terminate()
        raise
    return process


class Terminal:
    """A terminal of a run's own. What the run writes is read: its bars fill an unread one, and then it waits for a reader."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self._ending = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
            while not self._ending.is_set():
                if select.select([self.ours], [], [], 0.1)[0]:
                    os.read(self.ours, 65536)

    def close(self) -> None:
        """Close it, once nobody reads: the kernel keeps a terminal that is being read, and sends no SIGHUP."""
        self._ending.set()
        self._reader.join()
        os.close(self.theirs)
        os.close(self.ours)


def kept_and_left_nothing(engine: Engine, results: Path, process: subprocess.Popen[str]) -> str:
    """What a run that ended early owes: status 3, a sentence, its record, and no container. Returns what it said."""
    _, said = process.communicate(timeout=BUSY)
    assert process.returncode == 3, said
    if said is not None:  # else nobody reads its terminal
        assert "testbed report" in said
        assert "Traceback" not in said
    path = run_of(results)
    assert left(engine, path.name) == []
    record = store.load(path)
    assert not record.complete
    assert record.observations
    verdicts = judge_run(record)
    assert len(verdicts["cells"]) == 12
    assert exit_status(verdicts) == 3
    return str(said)


@pytest.mark.parametrize("names", [("SIGINT",), ("SIGTERM", "SIGINT", "SIGHUP")], ids=" ".join)
def test_an_interrupted_run_keeps_its_record_and_leaves_nothing(
    root: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path, names: tuple[str, ...]
) -> None:
    del built
    process = start_and_wait(root, environment, tmp_path)
    for name in names:
        process.send_signal(signal.Signals[name])
    said = kept_and_left_nothing(engine, tmp_path, process)
    assert said.count("interrupted; what was measured until then is kept") == 1
    assert said.count("already interrupted: containers are being removed") == (len(names) > 1)


def test_a_run_whose_terminal_is_closed_keeps_its_record_and_leaves_nothing(
    root: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path
) -> None:
    """The kernel sends SIGHUP, and what is written to the terminal fails from then on."""
    del built
    with contextlib.closing(Terminal()) as terminal:
        process = start_and_wait(root, environment, tmp_path, terminal=terminal.theirs)
    kept_and_left_nothing(engine, tmp_path, process)


def test_a_run_whose_disk_is_full_removes_its_containers_and_keeps_what_it_has(
    root: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path
) -> None:
    """No file may grow beyond 40 kB here (EFBIG): the manifest fits, the record does not."""
    del built
    command = [TESTBED, "run", root / "scenarios" / "smoke.yaml", "--results", tmp_path, "--quiet"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000)),
    )  # fmt: skip
    said = kept_and_left_nothing(engine, tmp_path, process)
    assert re.search(r"error: \S+ cannot be written: File too large; .*; what was measured until then is kept", said)


def test_a_run_whose_agent_dies_ends_with_a_sentence(
    root: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path
) -> None:
    """As when the engine is killed: nothing answers any more, and waiting for it would be for ever."""
    del built
    process = start_and_wait(root, environment, tmp_path)
    labels = {"label": f"{federation.RUN_LABEL}={run_of(tmp_path).name}"}
    for container in engine.client.containers.list(filters=labels, ignore_removed=True):
        if container.name.endswith("-wiretap"):
            container.kill()
    assert re.search(r"wiretap \w.* in the middle of the run", kept_and_left_nothing(engine, tmp_path, process))


def started(results: Path) -> list[str]:
    """What stands under a run's evidence: configuration is written as servers are started."""
    return [str(p.relative_to(results)) for p in results.glob("*/evidence/*/config/*/*")]


def test_an_image_that_cannot_be_built_costs_only_its_own_cells(
    root: Path, engine: Engine, built: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del built
    folder = tmp_path / "images"
    shutil.copytree(root / "images", folder)
    # a copy under another name, so that the tag of the good image stays what it is
    shutil.copytree(folder / "prosody", folder / "broken")
    text = (folder / "broken" / "image.yaml").read_text()
    (folder / "broken" / "image.yaml").write_text(re.sub(r"^implementation: .*$", "implementation: broken", text, flags=re.M))
    (folder / "broken" / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nRUN echo 'E: there is no such package' >&2; exit 100\n"
    )
    known = catalogs.load(folder)
    plan_file = tmp_path / "scenario.yaml"
    plan_file.write_text(
        "name: broken\ntitle: One image cannot be built\nservers:\n"
        "  - {implementation: prosody@trixie, policy: [opportunistic, encrypted]}\n"
        "  - {implementation: broken@trixie, policy: encrypted}\nphases: [{name: before}]\n"
    )
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    run = campaign.measure(Planned(scenario.load(plan_file, known), known), results=tmp_path / "results")
    assert run.record.manifest["unavailable"] == {"broken:trixie": "E: there is no such package"}
    verdicts = run.verdicts
    assert verdicts["complete"]
    outcomes = {(c["sender"].split("-")[0], c["receiver"].split("-")[0], c["outcome"], c["cause"]) for c in verdicts["cells"]}
    lost = {("broken", "prosody"), ("prosody", "broken")}
    assert outcomes == {(*pair, "inconclusive", "image-unavailable") for pair in lost} | {
        ("prosody", "prosody", "delivered", None)
    }
    for cell in verdicts["cells"]:
        if cell["outcome"] == "inconclusive":
            assert cell["fault"] == "testbed"
            assert "E: there is no such package" in cell["explanation"]
    assert run.exit_status in (0, 1)
    assert left(engine, run.id) == []

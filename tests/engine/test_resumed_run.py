"""An interrupted run is resumed: what was finished stays byte for byte, the rest is measured, and verdicts are as of one go."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_mesh import left, run_of
from smoke_run import TESTBED, Done

from testbed.engine.host import Engine
from testbed.record import store

pytestmark = pytest.mark.engine

ENDS_ITSELF = """
import asyncio, os, signal
from testbed.cli import main
from testbed.measure.attempts import Attempts

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have put the tests into the background
attempt = Attempts._attempt

async def end_after(self, epoch, *others):
    "After the first answer of the second phase, when the first phase is whole."
    await attempt(self, epoch, *others)
    if epoch.phase.name == "after":
        writer = self.parts.journal.writer
        while b'"phase-complete"' not in (writer.path / "observations.jsonl").read_bytes():
            await asyncio.sleep(0.05)
        writer.flush()
        with open(os.environ["REACHED"], "w") as reached:
            reached.write("there")
        os.kill(os.getpid(), signal.{signal})
        await asyncio.sleep(60)

Attempts._attempt = end_after
main()
"""
"""A testbed that is ended in its second phase, as by a person or by the system."""


def ended_by(signal: str, environment: dict[str, str], reached: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command line that is ended by a signal in the phase `after`; ``reached`` is a file that says that it was there."""
    reached.unlink(missing_ok=True)
    script, own = ENDS_ITSELF.replace("{signal}", signal), environment | {"REACHED": str(reached)}
    command = [sys.executable, "-c", script, *map(str, arguments), "--quiet"]
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=240, check=False)


def compared(verdicts: dict[str, Any]) -> dict[str, Any]:
    """Of every cell what must not depend on whether the run was interrupted."""
    keys = ("outcome", "cause", "fault", "surprise", "expected", "confirmed", "remedies")
    channel = ("encryption", "authentication", "tls_version")
    return {c["id"]: {k: c.get(k) for k in keys} | {k: c["channel"][k] for k in channel} for c in verdicts["cells"]}


def test_a_run_that_was_killed_and_then_interrupted_ends_as_one_in_one_go(
    smoke: Done, root: Path, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    file, reached = root / "scenarios" / "smoke.yaml", tmp_path / "reached"
    killed = ended_by("SIGKILL", environment, reached, "run", file, "--results", tmp_path / "results")
    assert (killed.returncode, reached.exists()) == (-9, True), killed.stderr
    path = run_of(tmp_path / "results")
    record = path / "observations.jsonl"
    first = record.read_bytes()
    whole = [o for o in store.load(path).observations if o.phase == "before"]
    with record.open("ab") as file_:
        file_.write(b'{"time":1764345678.1,"sour')  # killed while it wrote

    interrupted = ended_by("SIGINT", environment, reached, "run", "--resume", "latest", "--results", tmp_path / "results")
    assert (interrupted.returncode, reached.exists()) == (3, True), interrupted.stderr
    assert f"testbed run --resume {path}" in interrupted.stderr
    second = record.read_bytes()
    assert second.startswith(first), "what was recorded stays as it is; what was no line is gone"

    command = [TESTBED, "run", file, "--resume", path, "--json", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == smoke.status, done.stderr
    assert record.read_bytes().startswith(second)
    verdicts, observations = json.loads(done.stdout), store.load(path).observations
    assert verdicts["complete"]
    assert compared(verdicts) == compared(smoke.verdicts)
    assert [o for o in observations if o.phase == "before"] == whole, "a phase that was whole is not measured again"
    assert [(c["phase"], c["when"], c["ok"]) for c in verdicts["controls"]] == [
        ("before", "first", True), ("before", "last", True), ("after", "first", True), ("after", "last", True),
    ]  # fmt: skip
    assert [(r["phases"], r["cells"]) for r in verdicts["resumed"]] == [(["after"], 6)] * 2
    assert set(verdicts["timing"]) == set(smoke.verdicts["timing"])
    for cell in verdicts["cells"]:
        for name in cell["evidence"]:
            assert (path / name.partition("#")[0]).is_file(), name
    assert [leg for leg in ("", ".2", ".3") if left(engine, path.name + leg)] == []

    closed = record.read_bytes()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, json.loads(again.stdout), record.read_bytes()) == (smoke.status, verdicts, closed)


def test_another_image_engine_or_scenario_is_refused_and_nothing_is_changed(
    smoke: Done, root: Path, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """Of a run that ended in its second phase: each time as it was begun, but for one thing."""
    path = tmp_path / smoke.path.name
    shutil.copytree(smoke.path, path, ignore=shutil.ignore_patterns("derived", "evidence"))
    record = path / "observations.jsonl"
    lines = [line for line in record.read_text().splitlines(True) if '"run-complete"' not in line]
    record.write_text("".join(line for line in lines if not ('"phase-complete"' in line and '"after"' in line)))
    original, written = (path / "manifest.json").read_text(), record.read_bytes()
    other = tmp_path / "smoke.yaml"
    other.write_text((root / "scenarios" / "smoke.yaml").read_text().replace("{policy: encrypted}", "{policy: authenticated}"))

    def refused(manifest: dict[str, Any], *scenario: Path) -> str:
        (path / "manifest.json").write_text(json.dumps(manifest))
        command = [TESTBED, "run", *scenario, "--resume", path, "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, record.read_bytes()) == (2, written), done.stderr
        assert not (path / "derived").exists()
        return done.stderr

    kept = json.loads(original)
    image = kept["images"]["prosody:trixie"]
    said = refused({**kept, "images": {**kept["images"], "prosody:trixie": "sha256:0123"}})
    assert f"image prosody:trixie: was sha256:0123, is {image[:50]}" in said
    said = refused({**kept, "machine": {**kept["machine"], "engine": "19.03"}})
    assert f"version of the engine: was 19.03, is {engine.version}" in said
    said = refused(kept, other)
    assert "policy: was encrypted, is authenticated" in said
    assert "hint: leave SCENARIO" in said
    assert left(engine, f"{path.name}.2") == []

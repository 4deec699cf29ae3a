"""One scenario through all three faces, the command line, pytest and a call, leaves the same record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from python_page import blocks, checkout
from python_page import run as run_code
from small_mesh import left, run_of
from smoke_run import Done

from testbed import campaign
from testbed.engine.host import Engine
from testbed.engine.images import Images

pytestmark = pytest.mark.engine

OF_THIS_RUN = ("run", "argv", "started")
"""Keys of a manifest that differ from run to run."""
OF_ITS_KEYS = ("fingerprint", "not_after")
"""Keys of a server's settings that come with the certificates, which are made for each run."""


def plan_of(run: Path) -> dict[str, Any]:
    """What a run was to do, as its manifest says."""
    manifest = json.loads((run / "manifest.json").read_text())
    for phase in manifest["phases"]:
        for settings in phase["settings"].values():
            for key in OF_ITS_KEYS:
                assert settings.pop(key)
    return {key: value for key, value in manifest.items() if key not in OF_THIS_RUN}


def outcomes(run: Path) -> dict[str, tuple[Any, ...]]:
    """Cell -> what became of it."""
    cells = campaign.judge(run).verdicts["cells"]
    return {c["id"]: (c["outcome"], c["cause"], c["fault"], c["channel"]["encryption"], c["surprise"]) for c in cells}


def by_pytest(file: Path, results: Path, environment: dict[str, str]) -> Path:
    """The run of a scenario as pytest measures it: all of its cells."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--federation",
        file,
        "--federation-results",
        results,
    ]
    clean = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout
    return run_of(results)


def test_every_face_leaves_the_same_record(
    root: Path,
    smoke: Done,
    environment: dict[str, str],
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = root / "scenarios" / "smoke.yaml"
    monkeypatch.chdir(root)  # a manifest names the scenario's file as seen from where the run was started
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    called = campaign.measure(campaign.plan(file), results=tmp_path / "called")
    assert capfd.readouterr() == ("", ""), "a call prints nothing"
    runs = [smoke.path, by_pytest(file, tmp_path / "tested", environment), called.path]
    assert plan_of(runs[0]) == plan_of(runs[1]) == plan_of(runs[2])
    assert outcomes(runs[0]) == outcomes(runs[1]) == outcomes(runs[2])
    assert called.exit_status == smoke.status
    assert called.verdicts == campaign.load(called.path).verdicts == called.judge().verdicts
    written = [{p.name for p in (run / "derived").iterdir()} for run in runs]
    assert written[0] == written[1] == written[2]
    assert left(engine, called.id) == []


def test_the_code_of_docs_python_runs_from_its_first_line_to_its_last(
    built: Images, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del built
    monkeypatch.chdir(checkout(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    again: Any = run_code(blocks())["again"]
    assert "before: cells: done" in capsys.readouterr().out
    assert len(again.verdicts["cells"]) == 4
    assert again.verdicts["isolated"] is True

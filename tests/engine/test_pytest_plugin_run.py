"""The pytest face on real servers: one run for all workers, of no more than was selected; a failure is one sentence for all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_mesh import left, run_of

from testbed.engine.host import Engine
from testbed.engine.images import Images

pytestmark = pytest.mark.engine

PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-n", "2"]
SCENARIO = """\
name: three
title: Three servers of one kind
servers:
  - {implementation: prosody@trixie, policy: opportunistic, domain: a.example}
  - {implementation: prosody@trixie, policy: encrypted, domain: b.example}
  - {implementation: prosody@trixie, policy: cleartext, domain: c.example}
phases:
  - name: before
  - name: after
"""


@pytest.fixture
def project(tmp_path: Path, built: Images) -> Path:
    """A server project: a scenario, and no word of the testbed otherwise."""
    del built  # the images are there before the clock runs
    (tmp_path / "three.yaml").write_text(SCENARIO)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    return tmp_path


def start(project: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """pytest with two workers, on the scenario."""
    return subprocess.Popen(
        [*PYTEST, "--federation", "three.yaml", *arguments],
        cwd=project, env={k: v for k, v in environment.items() if not k.startswith("PYTEST_")} | {"COLUMNS": "250"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_only_what_is_selected_is_measured_and_once(project: Path, environment: dict[str, str]) -> None:
    process = start(project, environment, "-m", "phase_before", "-k", "b.example")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "4 passed" in output
    assert set(re.findall(r"\[(gw\d)\].* PASSED", output)) == {"gw0", "gw1"}, output
    assert "federation: before: cells: done" in output
    manifest = json.loads((run_of(project / "results") / "manifest.json").read_text())
    assert [p["name"] for p in manifest["phases"]] == ["before"]
    assert manifest["planned"] == {
        "a.example": ["b.example"],
        "b.example": ["a.example", "c.example"],
        "c.example": ["b.example"],
    }
    assert manifest["argv"][0] == "pytest"


def test_without_an_engine_every_test_says_so_at_once(project: Path, environment: dict[str, str]) -> None:
    began = time.monotonic()
    process = start(project, environment | {"DOCKER_HOST": "tcp://127.0.0.1:9"})
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "12 errors" in output
    assert (
        len(re.findall(r"^the federation was not measured: DOCKER_HOST is tcp://127.0.0.1:9, but no", output, re.MULTILINE)) == 12
    )
    assert "Traceback" not in output
    assert not (project / "results").exists()
    assert time.monotonic() - began < 60  # seconds; a loaded machine takes long to start two workers


def test_a_worker_that_is_killed_ends_its_measurement_and_the_others_know(
    project: Path, environment: dict[str, str], engine: Engine
) -> None:
    process = start(project, environment, "-m", "phase_before", "--max-worker-restart", "0", "-k", "b.example")
    deadline = time.monotonic() + 120
    while not list(project.glob("results/*/evidence/zone")):  # its network is there
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(measuring(process.pid), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    kept = run_of(project / "results")
    assert re.search(
        "^the federation was not measured: the worker that measured was ended; what was measured "
        f".*{kept.name} measures the rest$",
        output,
        re.MULTILINE,
    ), output
    assert left(engine, kept.name) == []


def measuring(controller: int) -> int:
    """The worker of ``controller`` that has a child: the measurement."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    workers = [parents[child] for child, parent in parents.items() if parents.get(parent) == controller]
    assert len(workers) == 1, workers
    return workers[0]

"""`testbed doctor` tells a machine on which a run is possible from one where it is not, and changes neither."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.engine.host import Engine
from testbed.engine.images import Images

pytestmark = pytest.mark.engine

TESTBED = Path(sys.executable).with_name("testbed")


def doctor(environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [TESTBED, "doctor", "--json"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_a_run_is_possible_here(environment: dict[str, str], engine: Engine, built: Images) -> None:
    del built
    status, said = doctor(environment)
    assert (status, said["possible"]) == (0, True), said
    findings = {f["subject"]: f for f in said["findings"]}
    assert engine.address in findings["Docker engine"]["said"]
    assert findings["gate"]["state"] == "ok"
    assert findings["firewall"]["state"] in ("ok", "note"), findings["firewall"]
    filters = {"label": "s2s-testbed.run=doctor"}
    assert engine.client.containers.list(all=True, filters=filters, ignore_removed=True) == []


def test_without_an_engine_it_says_what_to_type(environment: dict[str, str], tmp_path: Path) -> None:
    status, said = doctor(environment | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert (status, said["possible"]) == (3, False)
    (problem,) = [f for f in said["findings"] if f["state"] == "problem"]
    assert problem["subject"] == "Docker engine"
    assert problem["command"]
    assert list(tmp_path.iterdir()) == []

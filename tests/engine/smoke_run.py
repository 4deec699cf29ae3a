"""One run of the smoke scenario by the command line, for all tests that look at it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_mesh import run_of

from testbed.engine.images import Images

TESTBED = Path(sys.executable).with_name("testbed")


@dataclass
class Done:
    """A run of the smoke scenario that is over."""

    path: Path
    status: int
    printed: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, Any]:
        return json.loads((self.path / "derived" / "verdicts.json").read_text())


@pytest.fixture(scope="session")
def smoke(root: Path, environment: dict[str, str], built: Images, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """`testbed run scenarios/smoke.yaml`, once, however many workers there are.

    COMPAT: pytest 9.2 with xdist 3.8 does not keep a group's tests together (pytest-dev/pytest-xdist issue 1386).
    """
    del built  # the images are there before the clock runs
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    results, printed = shared / "smoke", shared / "smoke.json"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            command = [TESTBED, "run", root / "scenarios" / "smoke.yaml", "--results", results, "--json", "--quiet"]
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=240, check=False)
            assert done.returncode in (0, 1, 3), done.stderr
            printed.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    status, out, error = json.loads(printed.read_text())
    assert out, error
    return Done(run_of(results), status, json.loads(out))

"""The page's scripts agree with the types that they state, also with those of the embedded records: TypeScript reads them.

Without npm this is skipped. Where npm is there, ``make browser`` installs the pinned compiler; where CI is set, its lack is a
failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
COMPILER = HERE / "node_modules" / ".bin" / "tsc"

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def no_complaint() -> None:
    """There is no browser in this file."""


def check(project: Path) -> str:
    """What the compiler complains of; empty if nothing."""
    if not COMPILER.exists():
        message = "no TypeScript compiler: `make browser` installs it (needs npm)"
        (pytest.fail if os.environ.get("CI") and shutil.which("npm") else pytest.skip)(message)
    done = subprocess.run([COMPILER, "--project", project], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_scripts_agree_with_their_types() -> None:
    assert check(HERE / "tsconfig.json") == ""


def test_a_key_that_is_not_embedded_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.js").write_text("const unheard = run.servers[0].nickname;\nconsole.log(unheard);\n")
    scripts = (HERE.parents[1] / "testbed" / "report" / "html").as_posix()
    (tmp_path / "tsconfig.json").write_text(
        f'{{"extends": "{HERE.as_posix()}/tsconfig.json", "include": ["{scripts}/*.js", "wrong.js"]}}'
    )
    assert "Property 'nickname' does not exist on type 'Server'" in check(tmp_path / "tsconfig.json")

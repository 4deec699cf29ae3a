"""What every command owes to a person at a terminal, and to a program that reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.app import COMMANDS, GROUPS
from testbed.cli.display import live

ROOT = Path(__file__).resolve().parents[2]
TESTBED = [sys.executable, "-m", "testbed"]


def said(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TESTBED, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_command_says_what_it_does_and_shows_an_example() -> None:
    rows = {name: (function, epilog) for name, function, epilog in COMMANDS}
    rows |= {f"{group} {name}": (function, epilog) for group, (_, of) in GROUPS.items() for name, function, epilog in of}
    for name, (function, epilog) in rows.items():
        assert function.__doc__, name
        assert f"Example: testbed {name}" in epilog, name
    listed = said("--help").stdout
    assert all(f" {name} " in listed for name in [*(name for name, _, _ in COMMANDS), *GROUPS])


def test_help_lists_every_page_and_shows_one_without_colours_where_there_is_no_terminal() -> None:
    listed = said("help")
    assert listed.returncode == 0
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in listed.stdout
    assert "Generated" not in listed.stdout
    shown = said("help", "troubleshooting")
    assert shown.returncode == 0
    assert "Troubleshooting" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_page_that_is_not_there_is_input() -> None:
    wrong = said("help", "mesuring")
    assert wrong.returncode == 2
    assert "measuring" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("value", ["-1", "many", "1.5", ""])
def test_confirm_takes_a_number_or_all(value: str) -> None:
    wrong = said("run", "scenarios/smoke.yaml", f"--confirm={value}")
    assert wrong.returncode == 2
    assert "allowed" in wrong.stderr


def test_without_a_terminal_a_stage_is_one_line_with_what_did_not_get_through(capfd: pytest.CaptureFixture[str]) -> None:
    with live(False) as display:
        display.stage("before: cells", 3)
        for failed in (False, True, True):
            display.advance("before: cells", failed=failed)
        display.grow("before: confirmed alone")
        display.grow("before: confirmed alone")
        display.advance("before: confirmed alone")
    assert capfd.readouterr().err.splitlines() == ["  before: cells: done (2 did not get through)"]


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with live(True) as display:
        display.stage("x", 1)
        display.advance("x")
        display.say("news")
    assert capfd.readouterr().err == ""

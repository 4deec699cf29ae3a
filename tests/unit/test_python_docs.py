"""docs/python.md says what is so: its code is run, but for what needs an engine, which tests/engine/test_faces.py runs."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from python_page import blocks, checkout, measures
from python_page import run as run_code

from testbed import campaign


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(checkout(tmp_path))
    run_code([block for block in blocks() if not measures(block)])
    printed = capsys.readouterr().out
    assert "12 cells in 2 phases" in printed
    assert "manifesto-2014" in printed
    assert "scenarios/smok.yaml" in printed


def test_three_blocks_of_the_page_measure() -> None:
    assert [measures(block) for block in blocks()].count(True) == 3


def test_every_argument_of_measure_and_every_function_is_in_the_page(root: Path) -> None:
    text = (root / "docs" / "python.md").read_text(encoding="utf-8")
    arguments = list(inspect.signature(campaign.measure).parameters)[1:]
    assert [name for name in arguments if f"| `{name}` |" not in text] == []
    functions = [name for name in campaign.__all__ if inspect.isfunction(getattr(campaign, name))]
    assert functions == ["judge", "load", "measure", "plan", "remeasure", "report", "resume"]
    assert [name for name in functions if f"`{name}`" not in text and f"campaign.{name}(" not in text] == []

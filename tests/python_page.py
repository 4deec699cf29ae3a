"""The code of docs/python.md, block by block, and a folder in which its paths lead where they lead in the repository."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("pandas", "polars", "duckdb")
"""Shown, but no dependencies: a block that imports one is run where it is installed."""


def blocks() -> list[str]:
    """The page's Python, in its order."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def missing(block: str) -> str | None:
    """The package that a block imports and that is not installed."""
    return next((name for name in PACKAGES if f"import {name}" in block and importlib.util.find_spec(name) is None), None)


def measures(block: str) -> bool:
    """Whether a block needs an engine."""
    return bool(re.search(r"\bcampaign\.((re)?measure|resume)\(", block))


def run(code: list[str]) -> dict[str, object]:
    """Run blocks, one after the other; what they named."""
    names: dict[str, object] = {}
    for block in code:
        if not missing(block):
            exec(compile(block, "docs/python.md", "exec"), names)
    return names


def checkout(folder: Path) -> Path:
    """The folder, with the scenarios and the published run; new runs are made in it."""
    (folder / "scenarios").symlink_to(ROOT / "scenarios")
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    return folder

"""Whom `bench/processors.py` charges for what runs in a container: every kind that a run has is known by its name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("meter", "meter"),
        ("driver", "driver"),
        ("wiretap", "wiretap"),
        ("dissector", "wiretap"),
        ("dns", "name servers"),
        ("names-3", "name servers"),
        ("berth-12", "servers"),
        ("before-mesh-prosody", "servers"),
        ("the-day-after-control-first-again-control", "servers"),
        ("novelty", "unknown: novelty"),
    ],
)
def test_every_container_has_its_row(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, row: str) -> None:
    spec = importlib.util.spec_from_file_location("bench_processors", root / "bench" / "processors.py")
    assert spec
    assert spec.loader
    processors = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, processors)
    spec.loader.exec_module(processors)
    assert processors.row_of(f"s2s-testbed-1234abcd-{name}") == row
    assert (row in processors.NOT_SERVERS) is (row in {"meter", "driver", "wiretap"})


def test_what_is_no_container_of_the_testbed_has_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("bench_processors", root / "bench" / "processors.py")
    assert spec
    assert spec.loader
    processors = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, processors)
    spec.loader.exec_module(processors)
    assert processors.row_of("") == ""

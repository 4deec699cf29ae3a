"""The published run is what the shipped code makes of its record: verdicts, and the pictures that the README shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.judge.verdict import judge_run
from testbed.record import store

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


def test_the_published_verdicts_are_what_the_record_yields() -> None:
    record = store.load(REFERENCE)
    assert record.complete
    assert judge_run(record) == json.loads((REFERENCE / "derived" / "verdicts.json").read_text()), (
        "run `testbed report results/reference`"
    )


@pytest.mark.parametrize("name", ["cutover.png", "matrix-before.png", "matrix-after.svg"])
def test_the_published_pictures_are_there(name: str) -> None:
    assert (REFERENCE / "derived" / name).stat().st_size > 10_000

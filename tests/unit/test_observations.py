"""One row per kind of observation, and what was ever recorded fits its row."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from testbed.measure.driver.protocol import Bounced, LoginFailed, Online, Received
from testbed.measure.wiretap.dissect import Stream
from testbed.measure.wiretap.protocol import Captured, Neighbours
from testbed.plan.image_files import GROUPS, LogPattern
from testbed.record import observations as kinds
from testbed.record import store
from testbed.record.documents import observation_form
from testbed.record.observations import KINDS, LOGGED, Observation, Source, misfits

ROOT = Path(__file__).resolve().parents[2]
RECORDS = [ROOT / "results" / "reference", *sorted(p.parent for p in (ROOT / "tests" / "golden").glob("*/manifest.json"))]


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_every_recorded_observation_fits_its_row(path: Path) -> None:
    wrong = {f"{n}: {why}" for n, o in enumerate(store.load(path).observations, 1) for why in misfits(o)}
    assert not wrong


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_every_recorded_line_has_the_published_types(path: Path) -> None:
    form = observation_form()
    for line in (path / "observations.jsonl").read_text().splitlines():
        form.validate_python(json.loads(line), strict=True)


CELL = "now/a.example/b.example/message"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"kind": "guess"}, "no row"),
        ({"source": Source.WIRE}, "source"),
        ({"cell": None}, "phase"),
        ({"data": {}}, "missing"),
        ({"data": {"token": "cell-1", "colour": "red"}}, "colour"),
    ],
)
def test_what_does_not_fit_its_row_is_named(wrong: dict[str, Any], why: str) -> None:
    good: dict[str, Any] = {"source": Source.ENGINE, "kind": "attempt", "phase": "now", "epoch": "mesh", "cell": CELL}
    good["data"] = {"token": "cell-1"}
    assert misfits(Observation(1.0, **good)) == []
    assert any(why in text for text in misfits(Observation(1.0, **good | wrong)))


def test_a_row_makes_the_observation_that_fits_it() -> None:
    made = kinds.ATTEMPT.at(1.0, {"token": "cell-1", "cold": False}, phase="now", epoch="mesh", cell=CELL)
    assert misfits(made) == []
    assert (made.kind, made.source) == ("attempt", Source.ENGINE)


def test_each_kind_and_each_field_has_a_meaning_and_stands_once() -> None:
    rows = [row for row in vars(kinds).values() if isinstance(row, kinds.Kind)]
    assert sorted(r.word for r in rows) == sorted(KINDS)
    for kind in KINDS.values():
        names = [f.name for f in kind.fields]
        assert len(names) == len(set(names)), kind.word
        assert len(kind.meaning) > 10, kind.word
        assert all(f.meaning for f in kind.all_fields), kind.word


def test_the_rows_are_what_writers_can_say() -> None:
    """Every field of a dissected stream, every kind and group of a log pattern, has its row; and no row has more."""
    stream = {name for name in vars(Stream(0, "", "", 0, 0.0, 0.0)) if not name.startswith("_")} - {"initiator", "receiver"}
    assert {f.name for f in kinds.STREAM.fields} == stream | {"sender", "receiver"}
    assert {k.word for k in kinds.LOGS} == set(get_args(LogPattern.model_fields["observe"].annotation))
    assert {f.name for f in LOGGED} == {*GROUPS, "server", "line", "direction", "cause"}


MEASURE = sorted((ROOT / "testbed" / "measure").rglob("*.py"))
MESSAGES = {
    kinds.ONLINE: Online, kinds.LOGIN_FAILED: LoginFailed, kinds.RECEIVED: Received, kinds.ERROR: Bounced,
    kinds.WIRETAP_CAPTURED: Captured, kinds.WIRETAP_NEIGHBOURS: Neighbours,
}  # fmt: skip
"""Kinds whose data is an agent's message, but for the name of its client."""


def test_what_is_noted_while_measuring_has_the_fields_of_its_row() -> None:
    """Read from the source: `note(observations.KIND, field=…)`, wherever it stands."""
    noted: set[str] = set()
    for path in MEASURE:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else node.func.id
                if isinstance(node.func, ast.Name)
                else ""
            )
            words = [n.attr for n in ast.walk(node.args[0]) if isinstance(n, ast.Attribute) and hasattr(kinds, n.attr)]
            if name != "note" or not words:
                continue
            noted.update(words)
            given = {k.arg for k in node.keywords if k.arg} - {"at", "phase", "epoch", "cell"}
            whole = all(k.arg for k in node.keywords)
            for kind in (getattr(kinds, word) for word in words):
                assert given <= {f.name for f in kind.fields}, f"{path.name}:{node.lineno}"
                if whole:
                    assert {f.name for f in kind.fields if not f.optional} <= given, f"{path.name}:{node.lineno}"
    assert {"ATTEMPT", "SENT", "SILENCE", "CONTROL", "SERVER_STARTED", "VERSION", "STORM"} <= noted, "the walk sees nothing"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda k: k.word)
def test_an_agents_message_has_the_fields_of_its_row(kind: kinds.Kind) -> None:
    message = {f.name for f in dataclasses.fields(MESSAGES[kind])} - {"client"}
    assert message <= {f.name for f in kind.fields}
    assert {f.name for f in kind.fields if not f.optional} - {"domain"} <= message

"""History: what a row of results amounts to, what is kept apart, and that text and picture hold however much there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from compare_runs import delivered, failed, golden, run, unstable, untold

from testbed.compare.cells import Subject, subject
from testbed.compare.history import GROUPS, document
from testbed.report import history_picture, history_text

D, X, Y, Q = delivered(), failed("dns"), failed("tls-torn-down"), untold()


def runs(*cells: dict[str, Any], versions: str = "", others: dict[str, dict[str, Any]] | None = None) -> list[Subject]:
    """One run a day of ``before a b``; ``versions`` has a letter a run for the sender's."""
    found = []
    for day, cell in enumerate(cells):
        one = run({"before a b": cell} | (others or {}), f"run-{day}", started=f"2026-01-{day + 1:02d}T00:00:00+00:00")
        if versions:
            one["servers"][0]["version"] = versions[day]
        found.append(subject(one))
    return found


def only(*cells: dict[str, Any], versions: str = "") -> dict[str, Any]:
    found: dict[str, Any] = document(runs(*cells, versions=versions))["scenarios"][0]["cells"][0]
    return found


@pytest.mark.parametrize(
    ("row", "versions", "group", "changes", "unsteady", "since"),
    [
        ((D, D, D), "", None, 0, 0, "run-0"),
        ((D, Q, D), "", None, 0, 0, "run-0"),
        ((X, X), "", "always", 0, 0, "run-0"),
        ((Q, Q), "", "always", 0, 0, "run-0"),
        ((D, D, X), "", "regression", 1, 1, "run-2"),
        ((D, X, X), "122", "regression", 1, 0, "run-1"),
        ((D, X, D, X), "", "regression", 3, 3, "run-3"),
        ((D, Q, X), "", "regression", 1, 1, "run-2"),
        ((X, D, D), "122", "changed", 1, 0, "run-1"),
        ((X, D, D), "112", "unsteady", 1, 1, "run-1"),
        ((X, Y, Y), "", "unsteady", 1, 1, "run-1"),
        ((D, unstable()), "", "regression", 1, 1, "run-1"),
    ],
)
def test_a_row_is_told(row: Any, versions: str, group: str | None, changes: int, unsteady: int, since: str) -> None:
    cell = only(*row, versions=versions)
    assert (cell["group"], cell["changes"], cell["unsteady"], cell["since"]["run"]) == (group, changes, unsteady, since)
    assert cell["runs"] == len(row)
    assert sum(cell["results"].values()) == len(row)
    assert group is None or group in GROUPS


def test_a_flip_is_a_turn_from_arrived_to_not_and_back() -> None:
    assert only(D, X, D)["flips"] == 2
    assert only(X, Y, X)["flips"] == 0
    assert only(D, Q, D)["flips"] == 0


def test_versions_are_the_first_and_the_last_seen() -> None:
    cell = only(D, D, X, versions="122")
    assert cell["versions"]["sender"] == {"first": "alpha@one 1", "last": "alpha@one 2"}
    assert cell["versions"]["receiver"]["first"] == cell["versions"]["receiver"]["last"]
    assert cell["moved"] == []
    assert only(D, X, versions="12")["moved"] == [["alpha@one 1", "alpha@one 2"]]


def test_scenarios_timers_and_ways_of_measuring_are_kept_apart() -> None:
    cells = {"before a b": D}
    setups: list[dict[str, Any]] = [{}, {"timers": "stock"}, {"isolated": True}, {"scenario": "other"}]
    found = document([subject(run(cells, f"r{n}", **more)) for n, more in enumerate(setups)])
    assert [len(s["runs"]) for s in found["scenarios"]] == [1, 1, 1, 1]


def test_runs_stand_in_order_of_time_whatever_their_order() -> None:
    three = runs(D, X, D)
    assert document(three) == document([three[2], three[0], three[1]])


def test_the_newest_regression_comes_first() -> None:
    found = document(runs(D, D, D, others={"before b a": X}))
    rows = found["scenarios"][0]["cells"]
    assert [c["group"] for c in rows] == ["always", None]
    older = runs(D, D, X)
    for n, one in enumerate(older):
        one.verdicts["cells"].append(run({"before b a": X if n else D})["cells"][0])
    assert [c["since"]["place"] for c in document(older)["scenarios"][0]["cells"]] == [2, 1]


def a_history() -> dict[str, Any]:
    rows = [
        {"before a b": D, "before b a": D, "before c a": X, "before c b": D, "before a c": D, "after a b": unstable()},
        {"before a b": D, "before b a": X, "before c a": X, "before c b": X, "before a c": D},
        {"before a b": D, "before b a": D, "before c a": X, "before c b": D, "before a c": Q, "after a b": unstable()},
        {"before a b": X, "before b a": Y, "before c a": X, "before c b": D, "before a c": D, "after a b": D},
    ]
    found = []
    for day, cells in enumerate(rows):
        one = run(cells, f"run-{day}", started=f"2026-01-{day + 1:02d}T00:00:00+00:00", complete=day != 2)
        if day == 3:
            one["servers"][0]["version"] = "1.1-1"
        found.append(subject(one))
    return document(found, [("run-9", "a damaged manifest")])


def test_the_golden_history() -> None:
    doc = a_history()
    golden("history.json", json.dumps(doc, indent=1, ensure_ascii=False) + "\n")
    golden("history.txt", history_text.render_text(doc, colour=False, width=100))


def test_the_picture_is_the_same_every_time_and_has_every_row() -> None:
    one = a_history()["scenarios"][0]
    svg = history_picture.render_picture(one, "svg")
    assert svg == history_picture.render_picture(one, "svg")
    for cell in one["cells"]:
        assert (f"{cell['sender'].removesuffix('.example')} → " in svg.decode()) or not cell["group"]
    for words in ("(cut short)", "alpha@one 1.0-1 → 1.1-1", "Dashed line"):
        assert words in svg.decode()
    assert history_picture.render_picture(one, "png").startswith(b"\x89PNG")


def test_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_picture, "MOST_ROWS", 2)
    monkeypatch.setattr(history_picture, "MOST_RUNS", 3)
    monkeypatch.setattr(history_text, "MOST", 1)
    doc = a_history()
    svg = history_picture.render_picture(doc["scenarios"][0], "svg").decode()
    assert "Not shown: 3 cells and 1 older run" in svg
    assert "… and 1 more" in history_text.render_text(doc, colour=False, width=100)


def test_a_history_of_nothing_remarkable_can_be_drawn() -> None:
    doc = document(runs(D, D))
    assert history_picture.render_picture(doc["scenarios"][0], "png").startswith(b"\x89PNG")
    assert "1 of them always the same" in history_text.render_text(doc, colour=False, width=100)


def test_every_group_has_its_heading() -> None:
    assert list(history_text.GROUPS) == list(GROUPS)


def test_the_share_of_the_last_run_is_told_where_it_has_one() -> None:
    shares = {"cold": [5, 8], "interval": {"cold": [0.31, 0.86]}}
    text = history_text.render_text(document(runs(D, X, unstable() | {"shares": shares})), colour=False, width=100)
    assert "in the last one it delivers in 5 of 8 cold starts (31 to 86 %)" in " ".join(text.split())
    assert "share" not in only(D, X, unstable())

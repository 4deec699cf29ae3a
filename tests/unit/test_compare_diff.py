"""Diff: each kind of change by an example, the laws that hold for any two runs, and what a person gets to read."""

from __future__ import annotations

import copy
import itertools
import json
import random
from typing import Any

import pytest
from compare_runs import (
    A_CELLS,
    B_CELLS,
    cleartext,
    delivered,
    failed,
    golden,
    run,
    side,
    two_sides,
    unstable,
    unsupported,
    untold,
)
from fake_verdicts import verdicts

from testbed.compare.cells import Subject, subject
from testbed.compare.diff import MIRROR, OPPOSITE, Direction, Kind, classify, compare, document, exit_status
from testbed.model import InputError
from testbed.report import diff as drawn
from testbed.report import diff_page, diff_sheet

W, B, O, U = Direction.WORSE, Direction.BETTER, Direction.OTHER, Direction.UNKNOWN  # noqa: E741


@pytest.mark.parametrize(
    ("a", "b", "kind", "direction"),
    [
        (delivered(), failed("dns"), Kind.NEWLY_FAILING, W),
        (delivered(expected="bounced", surprise=True), failed("dns", expected="bounced"), Kind.NEWLY_FAILING, B),
        (failed("dns"), delivered(), Kind.NEWLY_PASSING, B),
        (failed("dns", expected="bounced"), delivered(expected="bounced", surprise=True), Kind.NEWLY_PASSING, W),
        (failed("dns", expected="bounced"), delivered(), Kind.NEWLY_PASSING, B),
        (delivered(), failed("dns", expected="bounced"), Kind.NEWLY_FAILING, W),
        (failed("dns"), failed("dns", outcome="lost"), Kind.FAILS_OTHERWISE, W),
        (failed("dns", outcome="lost"), failed("dns"), Kind.FAILS_OTHERWISE, B),
        (failed("dns"), failed("unreachable"), Kind.CHANGED_CAUSE, W),
        (delivered(), cleartext(surprise=True), Kind.CHANGED_CHANNEL, W),
        (cleartext(), delivered(), Kind.CHANGED_CHANNEL, B),
        (delivered(), delivered(tls_version="TLSv1.2"), Kind.CHANGED_CHANNEL, W),
        (delivered(authentication="dialback"), delivered(), Kind.CHANGED_CHANNEL, B),
        (delivered(authentication="dialback"), delivered(tls_version="TLSv1.2"), Kind.CHANGED_CHANNEL, W),
        (delivered(), delivered(cipher="another"), Kind.CHANGED_CHANNEL, O),
        (delivered(), delivered(authentication=None), Kind.CHANGED_CHANNEL, O),
        (delivered(), delivered(surprise=True), Kind.NEWLY_SURPRISING, W),
        (delivered(surprise=True), delivered(), Kind.NO_LONGER_SURPRISING, B),
        (delivered(), unstable(), Kind.NEWLY_UNSTABLE, W),
        (failed("dns"), unstable(), Kind.NEWLY_UNSTABLE, B),
        (unstable(), failed("dns"), Kind.NO_LONGER_UNSTABLE, W),
        (unstable(), delivered(), Kind.NO_LONGER_UNSTABLE, B),
        (unstable(), untold(), Kind.COULD_NOT_TELL, U),
        (delivered(), untold(), Kind.COULD_NOT_TELL, U),
        (untold(), failed("dns"), Kind.COULD_NOT_TELL, U),
        (untold(), untold(), Kind.COULD_NOT_TELL, U),
        (delivered(), delivered(encryption=None), Kind.COULD_NOT_TELL, U),
        (delivered(), untold("image-unavailable"), Kind.COULD_NOT_TELL, U),
        (delivered(), None, Kind.MISSING, U),
        (None, delivered(), Kind.NEW, O),
        (None, failed("dns"), Kind.NEW, W),
        (None, untold(), Kind.NEW, U),
        (delivered(), unsupported(), Kind.NEWLY_UNSUPPORTED, U),
        (unsupported(), delivered(), Kind.NEWLY_SUPPORTED, O),
        (unsupported(), failed("dns"), Kind.NEWLY_SUPPORTED, W),
    ],
)
def test_a_change_has_its_kind_and_direction(a: Any, b: Any, kind: Kind, direction: Direction) -> None:
    found = classify(a, b)
    assert found is not None
    assert found[:2] == (kind, direction)
    assert (kind.value, direction.value) in diff_sheet.TITLES


def test_what_neither_side_has_an_image_for_is_no_change() -> None:
    assert classify(untold("image-unavailable"), untold("image-unavailable")) is None


def expected_cause(cause: str, ought: str) -> dict[str, Any]:
    cell = failed(cause, expected="bounced")
    cell["expected"]["cause"] = ought
    return cell


@pytest.mark.parametrize(
    ("a", "b", "direction"),
    [("tls-required", "dns", W), ("dns", "tls-required", B), ("dns", "unreachable", O)],
)
def test_an_expected_failure_is_worse_when_it_leaves_the_expected_cause(a: str, b: str, direction: Direction) -> None:
    found = classify(expected_cause(a, "tls-required"), expected_cause(b, "tls-required"))
    assert found is not None
    assert found[:2] == (Kind.CHANGED_CAUSE, direction)


EVERY_CELL: list[Any] = [
    None,
    delivered(),
    delivered(expected="bounced", surprise=True),
    delivered(tls_version="TLSv1.2"),
    delivered(authentication="dialback"),
    delivered(authentication=None),
    delivered(encryption=None),
    cleartext(),
    cleartext(surprise=True),
    failed("dns"),
    failed("tls-required"),
    failed("tls-required", expected="bounced"),
    failed("dns", outcome="lost"),
    failed("dns", outcome="lost", expected="lost"),
    untold(),
    unstable(),
    unsupported(),
]


def test_the_mirror_of_a_change_is_the_change_seen_from_the_other_side() -> None:
    for a, b in itertools.product(EVERY_CELL, repeat=2):
        there, back = classify(a, b), classify(b, a)
        assert (there is None) == (back is None)
        if there is None or back is None:
            continue
        assert back[0] is MIRROR[there[0]], (a, b)
        one_sided = {Kind.MISSING, Kind.NEW, Kind.NEWLY_UNSUPPORTED, Kind.NEWLY_SUPPORTED}
        still_a_surprise = there[0] is Kind.CHANGED_CAUSE and a["surprise"] and b["surprise"]
        if there[0] is Kind.CHANGED_CHANNEL and there[1] is back[1] is W:
            continue  # one fact is better and another worse: a loss either way
        if there[0] not in one_sided and not still_a_surprise:
            assert back[1] is OPPOSITE.get(there[1], there[1]), (a, b)
        assert (there[0].value, there[1].value) in diff_sheet.TITLES


def test_every_title_can_occur() -> None:
    found = {c[:2] for a, b in itertools.product(EVERY_CELL, repeat=2) if (c := classify(a, b))}
    found |= {(Kind.NEWLY_SURPRISING, W), (Kind.NO_LONGER_SURPRISING, B)}  # only where the table of expectations changed
    found |= {(Kind.CHANGED_CAUSE, O), (Kind.CHANGED_CHANNEL, O)}
    assert {(k.value, d.value) for k, d in found} >= set(diff_sheet.TITLES) - {("new", "unknown")}


@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_like_itself_in_any_order(seed: int) -> None:
    one = verdicts(12, seed=seed, noise=0.2)
    shuffled = copy.deepcopy(one)
    random.Random(seed).shuffle(shuffled["cells"])
    changes = compare(subject(one), subject(shuffled))
    assert {c.kind for c in changes} <= {Kind.COULD_NOT_TELL}, "what cannot be told is no pass, even twice"


def test_two_runs_mirror_each_other_cell_by_cell() -> None:
    one, two = subject(verdicts(12, seed=1, noise=0.2)), subject(verdicts(12, seed=2, noise=0.2))
    there, back = compare(one, two), compare(two, one)
    assert len(there) > 20
    assert {(c.id, MIRROR[c.kind]) for c in there} == {(c.id, c.kind) for c in back}


def status(a: Subject, b: Subject, **more: Any) -> int:
    return exit_status(a, b, compare(a, b), **more)


def test_the_exit_status_says_the_worst_that_is_known() -> None:
    good = {"before a b": delivered(), "before b a": delivered()}
    assert status(side(good), side(good)) == 0
    assert status(side(good), side(good | {"before b a": failed("dns")})) == 1
    assert status(side(good | {"before b a": failed("dns")}), side(good)) == 0
    assert status(side(good), side(good | {"before b a": untold()})) == 3
    assert status(side(good), side({"before a b": failed("dns"), "before b a": untold()})) == 1
    assert status(side(good), side(good, complete=False)) == 3
    controls = [{"phase": "before", "when": "last", "ok": False, "reason": "silence"}]
    assert status(side(good), side(good, controls=controls)) == 3
    fewer = side({"before a b": delivered()})
    assert status(side(good), fewer) == 3
    assert status(side(good), fewer, allow_missing=True) == 0
    assert status(fewer, side(good)) == 0


def test_runs_without_a_common_cell_are_wrong_input() -> None:
    with pytest.raises(InputError, match="no cell of one"):
        compare(side({"before a b": delivered()}), side({"other a b": delivered()}, "two"))


def test_in_what_else_the_sides_differ_is_said() -> None:
    a, b = two_sides()
    b.verdicts["phases"][0]["settings"]["a.example"]["certificate"] = "expired"
    said = diff_sheet.sheet(document(a, b)).differences
    assert said == (
        "timers: short → stock",
        "seed: 1 → 2",
        "version of beta@two: 2.0-1 → 2.0-2",
        "certificate in phase 'before' of a.example: ca → expired",
        "phases that only one side has: A: last",
    )


def test_every_kind_stands_in_the_example() -> None:
    kinds = {c.kind for c in compare(*two_sides())}
    rare = {Kind.NEWLY_SURPRISING, Kind.NO_LONGER_SURPRISING, Kind.NEWLY_UNSUPPORTED}
    assert kinds == set(Kind) - rare
    assert len(A_CELLS) == len(B_CELLS)


def test_the_golden_diff() -> None:
    doc = document(*two_sides())
    golden("diff.json", json.dumps(doc, indent=1, ensure_ascii=False) + "\n")
    golden("diff.txt", drawn.render_text(doc, colour=False, width=100))
    golden("diff.md", drawn.render_markdown(doc))
    golden("diff.html", diff_page.render_html(doc))


def test_colour_only_repeats_what_the_marks_say() -> None:
    import re

    doc = document(*two_sides())
    coloured = drawn.render_text(doc, colour=True, width=100)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == drawn.render_text(doc, colour=False, width=100)


def test_a_name_cannot_break_out_of_the_page_or_the_table() -> None:
    cells = {"before a b": delivered()}
    doc = document(side(cells, "<script>|`x`"), side({"before a b": failed("dns")}, "two"))
    assert "<script>" not in diff_page.render_html(doc)
    assert "\\|\\`x\\`" in drawn.render_markdown(doc)
    assert "<script>" not in drawn.render_markdown(doc)


def test_a_long_list_is_cut_on_the_terminal_and_nowhere_else() -> None:
    one = verdicts(12, noise=0, only="delivered")
    two = copy.deepcopy(one)
    for cell in one["cells"]:
        cell |= delivered()
    for cell in two["cells"]:
        cell |= delivered()
    for cell in two["cells"][:50]:
        cell |= failed("dns")
    doc = document(subject(one), subject(two))
    assert "… and " in drawn.render_text(doc, colour=False, width=100)
    for text in (drawn.render_markdown(doc), diff_page.render_html(doc)):
        assert "… and" not in text
        assert text.count("s04.mesh.example") > text.count("s05.mesh.example") > 1


def test_the_page_needs_nothing_else() -> None:
    page = diff_page.render_html(document(*two_sides()))
    for word in ("<script", "http:", "https:", "@import", "url(", "<img", "<link"):
        assert word not in page
    assert "prefers-color-scheme: dark" in page


def test_one_cell_is_enough_for_a_run() -> None:
    assert json.loads(json.dumps(document(subject(run({"before a b": delivered()})), subject(run({"before a b": delivered()})))))

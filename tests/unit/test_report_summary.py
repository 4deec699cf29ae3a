"""The change classes are closed, disjoint and exhaustive; the paragraph is grammatical and bounded whatever the run."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from fake_verdicts import verdicts

from testbed.causes import CAUSES
from testbed.model import Outcome
from testbed.record.verdicts import Fault
from testbed.report import looks, words
from testbed.report.changes import CHANGES, Change, classify
from testbed.report.grid import KINDS, State, grid, state
from testbed.report.paragraph import paragraph
from testbed.report.summary import summary


def cell(
    outcome: str, encryption: str | None = None, authentication: str | None = None, clear: bool | None = None
) -> dict[str, Any]:
    channel = {"encryption": encryption, "authentication": authentication, "body_in_clear": clear}
    return {"outcome": outcome, "channel": channel}


EVERY_CELL = [
    None,
    *(
        cell(*values)
        for values in itertools.product(
            [*(o.value for o in Outcome), "not-a-word"],
            ["tls", "cleartext", None],
            ["external", "dialback", "none", None],
            [True, False, None],
        )
    ),
]


def test_every_combination_of_cells_has_exactly_one_class() -> None:
    seen = set()
    for before, after in itertools.product(EVERY_CELL, repeat=2):
        seen.add((KINDS[state(before)], KINDS[state(after)]))
        assert classify(before, after) is CHANGES[KINDS[state(before)], KINDS[state(after)]]
    assert seen == set(CHANGES)
    assert set(CHANGES.values()) == set(Change)


def test_every_state_occurs_and_has_a_kind() -> None:
    assert {state(c) for c in EVERY_CELL} == set(State) == set(KINDS)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (cell("delivered", "tls"), cell("delivered", "tls"), Change.KEPT),
        (cell("delivered", "cleartext"), cell("delivered", "tls"), Change.SECURED),
        (cell("delivered", "tls"), cell("delivered", "cleartext"), Change.WEAKENED),
        (cell("delivered", "tls"), cell("delivered", "tls", clear=True), Change.WEAKENED),
        (cell("delivered", "cleartext"), cell("delivered", "cleartext"), Change.STILL_IN_CLEARTEXT),
        (cell("delivered", "cleartext"), cell("lost"), Change.NEWLY_BROKEN),
        (cell("delivered"), cell("bounced"), Change.NEWLY_BROKEN),
        (cell("bounced"), cell("lost"), Change.BROKEN_BEFORE_AND_AFTER),
        (cell("lost"), cell("delivered", "cleartext"), Change.RESTORED),
        (cell("delivered", "tls"), cell("inconclusive"), Change.CANNOT_SAY),
        (cell("delivered", "tls"), cell("not-a-word"), Change.CANNOT_SAY),
        (cell("delivered", "tls"), cell("delivered"), Change.CANNOT_SAY),
        (None, cell("bounced"), Change.CANNOT_SAY),
    ],
)
def test_classes_mean_what_they_say(before: dict[str, Any] | None, after: dict[str, Any], change: Change) -> None:
    assert classify(before, after) is change


@pytest.mark.parametrize("table", [looks.STATES, looks.CHANGES])
def test_looks_are_complete_and_tell_apart(table: dict[Any, looks.Look]) -> None:
    assert set(table) == set(State if table is looks.STATES else Change)
    assert len({look.char for look in table.values()} | {looks.SELF_CHAR}) == len(table) + 1
    assert len({look.label for look in table.values()}) == len(table)
    shades = {(look.mark, round(lightness(look.fill) / 12)) for look in table.values()}
    assert len(shades) == len(table), "two looks share mark and lightness: a black-and-white print cannot tell them apart"


def lightness(colour: str) -> float:
    """CIE L*, 0 to 100."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return float(116 * y ** (1 / 3) - 16) if y > 0.008856 else float(903.3 * y)


def test_every_cause_and_fault_has_plain_words() -> None:
    assert all(len(row.plain) > 15 and words.cause(word) == row.plain for word, row in CAUSES.items())
    assert set(words.FAULTS) == {fault.value for fault in Fault}


@pytest.mark.parametrize(
    ("n", "total", "noun", "text"),
    [
        (0, 0, "", "none"),
        (1, 1, "pair", "the only pair"),
        (0, 1, "pair", "none of the 1 pair"),
        (2, 2, "pair", "both pairs"),
        (12, 12, "", "all 12"),
        (0, 12, "pair", "none of the 12 pairs"),
        (1, 30, "pair", "1 of 30 pairs"),
        (90, 132, "pair", "90 of 132 pairs (68%)"),
        (2250, 2256, "", "2,250 of 2,256 (over 99%)"),
        (1, 2256, "", "1 of 2,256 (under 1%)"),
    ],
)
def test_share(n: int, total: int, noun: str, text: str) -> None:
    assert words.share(n, total, noun) == text


def test_shorten_keeps_both_ends() -> None:
    assert words.shorten("opportunistic", 20) == "opportunistic"
    assert words.shorten("opportunistic", 7) == "opp…tic"


def test_numbers_add_up() -> None:
    made = verdicts(12, ("before", "test-day", "after"))
    found = json.loads(json.dumps(summary(made)))
    assert found["pairs"] == 132
    for phase in found["phases"]:
        assert sum(phase["states"].values()) == phase["cells"] == sum(phase["outcomes"].values()) == 132
        assert sum(phase["encryption"].values()) == phase["delivered"]
    assert [(c["before"], c["after"]) for c in found["changes"]] == [("before", "test-day"), ("test-day", "after")]
    for change in [found["cutover"], *found["changes"]]:
        assert sum(change["classes"].values()) == 132
        assert sum(row["count"] for row in change["causes"]) == change["classes"]["newly-broken"]
        for blocks in change["groups"].values():
            assert sum(block["newly-broken"] for block in blocks) == change["classes"]["newly-broken"]


def test_a_run_cut_short_counts_what_is_missing() -> None:
    found = summary(verdicts(12, complete=False))
    assert not found["complete"]
    assert sum(phase["states"]["missing"] for phase in found["phases"]) == 88
    assert found["cutover"]["classes"]["cannot-say"] >= 88


def test_cells_that_nobody_planned_are_not_missing() -> None:
    made = verdicts(12)
    made["cells"] = [c for c in made["cells"] if c["sender"] != "s00.mesh.example"]
    assert summary(made)["pairs"] == 121
    assert not [s for phase in ("before", "after") for _, s in grid(made).states(phase) if s is State.MISSING]


RUNS: dict[str, dict[str, Any]] = {
    "small": {"servers": 12},
    "large": {"servers": 48},
    "none broken": {"servers": 12, "only": "delivered"},
    "all broken": {"servers": 12, "only": "bounced"},
    "all inconclusive": {"servers": 12, "only": "inconclusive"},
    "all unsupported": {"servers": 12, "only": "unsupported"},
    "one phase": {"servers": 12, "phases": ("now",)},
    "three phases": {"servers": 12, "phases": ("before", "test-day", "after")},
    "many phases": {"servers": 12, "phases": tuple(f"day-{i}" for i in range(12))},
    "cut short": {"servers": 12, "complete": False},
    "two exchanges": {"servers": 12, "exchanges": ("message", "iq")},
    "two servers": {"servers": 2},
    "three servers": {"servers": 3},
    "one server": {"servers": 1},
    "no server": {"servers": 0},
    "no phase": {"servers": 12, "phases": ()},
    "much noise": {"servers": 12, "noise": 0.5},
}


@pytest.mark.parametrize("name", RUNS)
def test_paragraph_is_one_bounded_grammatical_paragraph(name: str) -> None:
    text = paragraph(verdicts(**RUNS[name]))
    assert "\n" not in text
    assert "  " not in text
    assert text.endswith(".")
    assert text[0].isupper() or text[0].isdigit()
    assert 40 < len(text) < 1500
    assert not re.search(r"\b1 (pairs|servers|results|cases|attempts|phases|failures)\b", text)
    assert not re.search(r"(?<![\d,])(0|[2-9]|\d\d+) (pair|server|result|case|attempt|phase)\b", text)
    assert "None" not in text
    assert not re.search(r"(?<![\d,])0 ", text)


def test_paragraph_names_the_group_and_the_cause() -> None:
    text = paragraph(verdicts(12, noise=0))
    assert "18 pairs that worked before stopped working" in text
    assert "All of them are between a server set to 'cleartext' and one moved from 'opportunistic' to 'encrypted'." in text
    assert "the sender insists on encryption, the receiver offers none (9)" in text
    assert "44 results are unsupported" in text


def test_paragraph_of_a_sound_run_says_so() -> None:
    text = paragraph(verdicts(12, only="delivered"))
    assert "nothing that worked before stopped working" in text
    assert "Nothing was surprising" in text


def test_a_cleartext_downgrade_is_said() -> None:
    made = verdicts(4, noise=0, only="delivered")
    for c in made["cells"]:
        c["channel"]["encryption"] = "tls" if c["phase"] == "before" else "cleartext"
        c["channel"]["body_in_clear"] = c["phase"] == "after"
    assert "12 pairs fell from encryption back to cleartext" in paragraph(made)

"""Known failures: what an entry covers, what grouping may never cover, and that a gate fails for anything new."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import random
from pathlib import Path
from typing import Any

import pytest
from compare_runs import delivered, failed, golden, run, side, unstable, untold
from fake_verdicts import verdicts
from ruamel.yaml import YAML
from test_schema import errors, published

from testbed.causes import CAUSES
from testbed.compare import accept, baseline
from testbed.compare.accept import Accepted, Notes
from testbed.compare.baseline import Baseline, Gate
from testbed.compare.cells import Subject, cannot_say, subject
from testbed.judge.verdict import exit_status, judge_run
from testbed.model import InputError
from testbed.record import store
from testbed.record.verdicts import unexplained
from testbed.report import diff as drawn
from testbed.report import diff_page, diff_sheet

TODAY = dt.date(2026, 1, 15)
REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
NOTES = Notes("a defect that is known")

FAILING = {
    "before a b": failed("dialback-failed"),
    "before a c": delivered(),
    "before b a": delivered(),
    "before b c": delivered(),
    "before c a": delivered(),
    "before c b": delivered(),
    "after a b": failed("dialback-failed"),
    "after a c": failed("tls-required", expected="bounced"),
    "after b a": delivered(),
    "after b c": delivered(),
    "after c a": delivered(),
    "after c b": delivered(),
}


def written(tmp_path: Path, one: Subject, notes: Notes = NOTES, old: Baseline | None = None) -> tuple[Baseline, Accepted]:
    """Accept the run, write the file, read it back."""
    accepted = accept.accept([one], notes, old, TODAY)
    path = tmp_path / "known.yaml"
    path.write_text(accept.render([one], accepted))
    return baseline.load(path), accepted


def status(gate: Gate) -> int:
    """As the command line computes it."""
    return gate.status(could_not_tell=exit_status(dict(gate.subject.verdicts)) == 3)


@functools.cache
def reference() -> Subject:
    return subject(judge_run(store.load(REFERENCE)))


def runs() -> list[Subject]:
    return [
        reference(),
        *(subject(verdicts(n, seed=n, noise=noise)) for n, noise in ((6, 0.3), (12, 0.05), (12, 0.4), (24, 0.02))),
    ]


@pytest.mark.parametrize("place", range(5))
def test_what_is_accepted_does_not_sink_the_run_and_each_entry_is_needed(tmp_path: Path, place: int) -> None:
    one = runs()[place]
    told = {**one.verdicts, "cells": [c for c in one.verdicts["cells"] if not cannot_say(c) and not unexplained(c)]}
    one = subject(told)
    base, accepted = written(tmp_path, one)
    assert base.entries
    gate = baseline.check(base, one, TODAY)
    assert status(gate) == 0
    assert [gate.unknown, gate.changed, gate.passing, gate.expired, gate.unmatched] == [[], [], {}, [], []]
    assert sum(map(len, gate.known.values())) == sum(map(accept.acceptable, one.cells.values()))
    assert sum(accepted.counts) >= sum(map(len, gate.known.values()))
    for n, entry in enumerate(base.entries):
        fewer = Baseline(base.file, base.form, base.entries[:n] + base.entries[n + 1 :])
        assert status(baseline.check(fewer, one, TODAY)) == 1, entry.failure


@pytest.mark.parametrize("place", range(5))
def test_no_entry_covers_what_passed_or_was_not_told_or_failed_otherwise(tmp_path: Path, place: int) -> None:
    one = runs()[place]
    base, _ = written(tmp_path, one)
    for entry in base.entries:
        covered = [c for c in one.cells.values() if entry.selects(one, c) and c["outcome"] != "unsupported"]
        assert covered
        assert all(entry.is_failure_of(c) and accept.acceptable(c) for c in covered)


@pytest.mark.parametrize("place", range(5))
def test_the_file_is_the_same_in_any_order_of_cells_and_when_accepted_again(tmp_path: Path, place: int) -> None:
    one = runs()[place]
    base, _ = written(tmp_path, one)
    text = (tmp_path / "known.yaml").read_text()
    shuffled = copy.deepcopy(dict(one.verdicts))
    random.Random(place).shuffle(shuffled["cells"])
    assert accept.render([one], accept.accept([subject(shuffled)], NOTES, None, TODAY)) == text
    again = accept.accept([one], Notes("another reason"), base, TODAY)
    assert (again.added, again.kept) == (0, len(base.entries))
    assert accept.render([one], again) == text


def test_cells_are_grouped_where_that_is_safe() -> None:
    base = accept.accept([reference()], NOTES, None, TODAY)
    assert len(base.entries) * 3 < sum(base.counts)


def test_an_entry_says_what_was_seen_and_no_more(tmp_path: Path) -> None:
    base, _ = written(tmp_path, side(FAILING))
    (entry,) = base.entries
    where = entry.form.where
    assert where.phase is None  # the run's two phases, and both fail
    assert (where.sender.implementation, where.sender.policy) == ("alpha@one", None)  # every policy that there was
    assert (where.receiver.implementation, where.receiver.certificate) == ("beta@two", "ca")
    assert entry.failure == "bounced: dialback-failed"


def test_a_pair_that_only_its_names_tell_apart_is_named() -> None:
    one = run(FAILING | {"before c b": delivered()})
    for server in one["servers"]:
        server |= {"implementation": "alpha", "release": "one"}
    (entry,) = accept.accept([subject(one)], NOTES, None, TODAY).entries
    assert entry.where.sender.domain == "a.example"
    assert entry.where.receiver.domain == "b.example"
    assert entry.where.sender.implementation is None


def test_an_expected_failure_needs_no_entry(tmp_path: Path) -> None:
    one = side({"after a c": failed("tls-required", expected="bounced"), "after a b": delivered()})
    base, _ = written(tmp_path, one)
    assert base.entries == ()
    assert status(baseline.check(base, one, TODAY)) == 0


def changed(**cells: dict[str, Any]) -> Subject:
    return side(FAILING | {k.replace("_", " "): v for k, v in cells.items()}, "two")


@pytest.mark.parametrize(
    ("newer", "what", "ends"),
    [
        (changed(), "known", 0),
        (changed(before_b_a=failed("dialback-failed")), "unknown", 1),
        (changed(before_b_a=delivered(surprise=True)), "unknown", 1),
        (changed(before_a_b=failed("dns")), "changed", 1),
        (changed(before_a_b=failed("dialback-failed", outcome="lost")), "changed", 1),
        (changed(before_a_b=delivered(surprise=True)), "changed", 1),
        (changed(before_a_b=delivered()), "passing", 1),
        (changed(before_a_b=untold()), "undecided", 3),
        (changed(before_b_a=untold()), "undecided", 3),
        (changed(before_b_a=untold(), before_c_a=failed("dns")), "unknown", 1),
        (changed(after_a_c=failed("dns", expected="bounced")), "known", 0),
    ],
)
def test_what_a_run_says_about_its_known_failures(tmp_path: Path, newer: Subject, what: str, ends: int) -> None:
    base, _ = written(tmp_path, side(FAILING))
    gate = baseline.check(base, newer, TODAY)
    assert getattr(gate, what)
    assert status(gate) == ends
    assert status(baseline.check(base, newer, TODAY, strict=False)) == (0 if what == "passing" else ends)
    doc = baseline.document(gate, could_not_tell=ends == 3)
    assert doc["status"] == ends
    assert diff_sheet.sheet(doc).tone == {0: "better", 1: "worse", 3: "unknown"}[ends]


def test_an_unstable_pair_is_a_finding_that_can_be_known(tmp_path: Path) -> None:
    one = changed(before_b_a=unstable())
    base, _ = written(tmp_path, one)
    assert [e.form.may_pass for e in base.entries] == [False, True]
    assert status(baseline.check(base, one, TODAY)) == 0
    assert status(baseline.check(base, changed(), TODAY)) == 0, "it comes and goes"
    assert status(baseline.check(base, changed(before_b_a=failed("dns")), TODAY)) == 1, "it fails for good now"
    assert status(baseline.check(base, changed(before_b_a=untold()), TODAY)) == 3


def edited(tmp_path: Path, old: str, new: str) -> Path:
    path = tmp_path / "known.yaml"
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))
    return path


def test_an_expired_entry_fails_and_is_named(tmp_path: Path) -> None:
    one = side(FAILING)
    base, _ = written(tmp_path, one, Notes("until spring", expires=dt.date(2026, 1, 15)))
    assert status(baseline.check(base, one, TODAY)) == 0, "the last day still counts"
    gate = baseline.check(base, one, TODAY + dt.timedelta(days=1))
    assert status(gate) == 1
    doc = baseline.document(gate, could_not_tell=False)
    assert [len(e["cells"]) for e in doc["expired"]] == [2]
    assert doc["unknown"] == []
    text = drawn.render_text(doc, colour=False, width=120)
    assert "1 expired entry" in text
    assert "until spring" in text


def test_an_entry_that_matches_no_cell_is_said_and_sinks_nothing(tmp_path: Path) -> None:
    base, _ = written(tmp_path, side(FAILING))
    other = side({"before c a": delivered()})
    gate = baseline.check(base, other, TODAY)
    assert gate.unmatched == list(base.entries)
    assert status(gate) == 0
    assert "match no cell" in drawn.render_text(baseline.document(gate, could_not_tell=False), colour=False, width=120)


# --- accepting again --------------------------------------------------------------------------------------------------


def test_hand_written_words_stay_where_the_failure_is_the_same(tmp_path: Path) -> None:
    one = side(FAILING)
    written(tmp_path, one)
    path = edited(tmp_path, f"reason: {NOTES.reason}", "reason: by hand\n    link: https://bugs.example/1")
    newer = changed(before_c_a=failed("dns"))
    base, accepted = written(tmp_path, newer, Notes("new"), baseline.load(path))
    assert (accepted.added, accepted.kept) == (1, 1)
    assert {(e.form.reason, e.form.link) for e in base.entries} == {("by hand", "https://bugs.example/1"), ("new", None)}


def test_what_is_left_of_an_entry_keeps_its_words(tmp_path: Path) -> None:
    written(tmp_path, side(FAILING))
    path = edited(tmp_path, f"reason: {NOTES.reason}", "reason: by hand")
    newer = changed(before_a_b=delivered())
    base, accepted = written(tmp_path, newer, Notes("new"), baseline.load(path))
    (entry,) = base.entries
    assert (entry.form.reason, entry.form.where.phase) == ("by hand", "after")
    assert (accepted.added, accepted.kept, accepted.gone) == (1, 0, [])
    assert status(baseline.check(base, newer, TODAY)) == 0


def test_what_is_mended_is_taken_out(tmp_path: Path) -> None:
    base, _ = written(tmp_path, side(FAILING))
    newer = changed(before_a_b=delivered(), after_a_b=delivered())
    empty, accepted = written(tmp_path, newer, NOTES, base)
    assert empty.entries == ()
    assert [e.form.reason for e in accepted.gone] == [NOTES.reason]


def test_what_the_run_does_not_have_is_kept(tmp_path: Path) -> None:
    base, _ = written(tmp_path, side(FAILING))
    other = side({"before c a": failed("dns"), "before a c": delivered()})
    kept, accepted = written(tmp_path, other, Notes("new"), base)
    assert accepted.other == list(base.entries)
    assert {e.form.reason for e in kept.entries} == {NOTES.reason, "new"}


def test_an_expired_entry_is_renewed_only_as_said(tmp_path: Path) -> None:
    one = side(FAILING)
    base, _ = written(tmp_path, one, Notes("old", expires=TODAY - dt.timedelta(days=1)))
    until = TODAY + dt.timedelta(days=30)
    again, accepted = written(tmp_path, one, Notes("new", expires=until), base)
    assert accepted.renewed == list(base.entries)
    assert [(e.form.reason, e.form.expires) for e in again.entries] == [("old", until)]


def test_several_runs_show_what_comes_and_goes(tmp_path: Path) -> None:
    older = side(FAILING | {"before b a": failed("dns"), "before c a": failed("dns"), "after c a": failed("dns", outcome="lost")})
    newer = changed(before_b_a=failed("unreachable"), after_c_a=failed("dns"))
    accepted = accept.accept([older, newer], NOTES, None, TODAY)
    path = tmp_path / "known.yaml"
    path.write_text(accept.render([older, newer], accepted))
    base = baseline.load(path)
    assert base.form.run == ["one", "two"]
    assert [(e.form.outcome, e.form.cause, e.form.may_pass) for e in base.entries] == [
        ("bounced", "dialback-failed", False),
        ("bounced", ["dns", "unreachable"], False),
        ("bounced", "dns", False),
        ("lost", "dns", False),
        ("bounced", "dns", True),
    ]
    assert [status(baseline.check(base, one, TODAY)) for one in (older, newer)] == [0, 0]
    assert status(baseline.check(base, changed(before_b_a=failed("dns"), after_c_a=failed("tls-torn-down")), TODAY)) == 1


def test_runs_of_several_scenarios_are_not_accepted_together() -> None:
    with pytest.raises(InputError, match="differ in scenario"):
        accept.accept([side(FAILING, scenario="other"), side(FAILING)], NOTES, None, TODAY)


def test_a_run_that_was_cut_short_is_not_accepted() -> None:
    with pytest.raises(InputError, match="cut short"):
        accept.accept([side(FAILING, complete=False)], NOTES, None, TODAY)


# --- the file ---------------------------------------------------------------------------------------------------------

HEAD = "schema: 1\nentries:\n"
ENTRY = "  - where: {phase: before}\n    outcome: bounced\n    cause: dns\n    reason: x\n"


@pytest.mark.parametrize(
    ("text", "said", "allowed"),
    [
        (HEAD + ENTRY.replace("cause: dns", "cause: dnss  # HERE"), "dnss", "dns"),
        (HEAD + ENTRY.replace("cause: dns", "cause: [dns, dnss]  # HERE"), "dnss", "dns"),
        (HEAD + ENTRY.replace("bounced", "bouncd  # HERE"), "bouncd", "bounced"),
        (HEAD + ENTRY.replace("phase: before", "fase: before").replace("\n", "  # HERE\n", 1), "fase", "phase"),
        (HEAD + ENTRY.replace("where: {phase: before}", "where: {}  # HERE"), "every cell", ""),
        (HEAD + ENTRY.replace("    cause: dns\n", "").replace("\n", "  # HERE\n", 1), "`cause` is missing", "dns"),
        (HEAD + ENTRY.replace("bounced", "delivered").replace("cause: dns", "cause: dns  # HERE"), "no cause", ""),
        (HEAD + ENTRY + "    encryption: tls  # HERE\n", "only a delivery", ""),
        (HEAD + ENTRY.replace("bounced", "inconclusive  # HERE"), "an inconclusive result", "unstable"),
        (HEAD + ENTRY.replace("reason: x", "reason: ''  # HERE"), "reason", ""),
        (HEAD + ENTRY + "    expires: soon  # HERE\n", "expires", ""),
        (HEAD + ENTRY + "    sender: {policy: x}  # HERE\n", "unknown key `sender`", "where"),
        ("schema: 2  # HERE\nentries: []\n", "schema", "1"),
        ("schema: 1  # HERE\n", "entries", ""),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, text: str, said: str, allowed: str) -> None:
    path = tmp_path / "known.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        baseline.load(path)
    line = next(n for n, t in enumerate(text.splitlines(), 1) if "# HERE" in t)
    assert f"known.yaml:{line}: " in str(caught.value)
    assert said in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize("place", range(5))
def test_what_is_written_is_valid_by_the_published_schema(tmp_path: Path, root: Path, place: int) -> None:
    form = published(root, "baseline")
    written(tmp_path, runs()[place], Notes("x: y # z", "https://bugs.example/1", TODAY))
    text = (tmp_path / "known.yaml").read_text()
    assert "&" not in text, "an anchor ties entries together"
    content = YAML(typ="safe").load(text)
    for entry in content["entries"]:
        entry["expires"] = entry["expires"].isoformat()  # YAML reads a date, JSON has none
    assert errors(content, form) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"where": {}, "outcome": "bounced", "cause": "dns", "reason": "x"},
        {"where": {"phase": "*"}, "outcome": "bounced", "reason": "x"},
        {"where": {"phase": "*"}, "outcome": "bounced", "cause": "dnss", "reason": "x"},
        {"where": {"phase": "*"}, "outcome": "inconclusive", "cause": "dns", "reason": "x"},
        {"where": {"phase": "*"}, "outcome": "bounced", "cause": "dns"},
        {"where": {"phase": "*"}, "outcome": "bounced", "cause": "dns", "reason": " "},
        {"where": {"phase": "*"}, "outcome": "bounced", "cause": "dns", "reason": "x", "expires": "soon"},
        {"where": {"sender": {"version": "1"}}, "outcome": "bounced", "cause": "dns", "reason": "x"},
    ],
)
def test_the_published_schema_refuses_what_the_reader_refuses(root: Path, entry: dict[str, Any]) -> None:
    form = published(root, "baseline")
    good = {
        "where": {"phase": "*"},
        "outcome": "bounced",
        "cause": ["dns", "unreachable"],
        "reason": "x",
        "expires": "2026-01-01",
    }
    assert errors({"schema": 1, "entries": [good]}, form) == []
    assert errors({"schema": 1, "entries": [entry]}, form)


def test_the_schema_knows_every_cause(root: Path) -> None:
    causes = published(root, "baseline")["$defs"]["EntryForm"]["properties"]["cause"]["anyOf"][0]["enum"]
    assert causes == list(CAUSES)


def test_globs_and_lists_select(tmp_path: Path) -> None:
    path = tmp_path / "known.yaml"
    path.write_text(
        HEAD
        + "  - where: {sender: {implementation: alpha}, receiver: {domain: '*.example', policy: [x, enc*, oppo*]}}\n"
        + "    outcome: bounced\n    cause: [dns, dialback-failed]\n    reason: x\n    may_pass: true\n"
    )
    assert status(baseline.check(baseline.load(path), side(FAILING), TODAY)) == 0


# --- what a person reads ----------------------------------------------------------------------------------------------


def test_the_golden_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = FAILING | {"before b c": failed("unreachable"), "before c a": failed("dns"), "after c a": failed("dns")}
    first |= {"after c b": unstable()}
    one = side(first)
    written(tmp_path, one)
    golden("known.yaml", (tmp_path / "known.yaml").read_text())
    path = edited(tmp_path, "cause: unreachable  # 1 cell\n", "cause: unreachable\n    expires: 2026-01-01\n")
    path.write_text(path.read_text() + "  - where: {phase: rollback}\n    outcome: lost\n    cause: dns\n    reason: of old\n")
    second = first | {"before b a": failed("tls-torn-down"), "before a b": failed("dns"), "before c a": delivered()}
    second |= {"after b a": untold()}
    newer = run(second, "two", timers="stock")
    gate = baseline.check(baseline.load(Path("known.yaml")), subject(newer), TODAY)
    doc = baseline.document(gate, could_not_tell=True)
    golden("gate.txt", drawn.render_text(doc, colour=False, width=100))
    golden("gate.md", drawn.render_markdown(doc))
    assert "known.yaml:" in diff_page.render_html(doc)

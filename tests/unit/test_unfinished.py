"""Reports of a run that was cut short, and of one in which a server failed: what is open, why, and what measures it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.judge.verdict import exit_status, judge_run
from testbed.record import store
from testbed.record.verdicts import Verdicts
from testbed.report import junit, unfinished
from testbed.report.html import data
from testbed.report.html import render as page
from testbed.report.markdown import render as markdown
from testbed.report.opening import opening
from testbed.report.paragraph import paragraph
from testbed.report.story import story
from testbed.report.text import render_text

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RESUME = "testbed run --resume smoke-20261128-161953"


def interrupted() -> Verdicts:
    return judge_run(store.load(GOLDEN / "interrupted"))


def killed() -> Verdicts:
    return judge_run(store.load(GOLDEN / "killed"))


def decided() -> Verdicts:
    """As if the pairs alone had decided every result in spite of the death of a server."""
    verdicts = killed()
    for cell in verdicts["cells"]:
        if cell["outcome"] == "inconclusive":
            cell["outcome"], cell["cause"] = "delivered", None
            cell["channel"] = {"encryption": "tls", "tls_version": "TLSv1.3"}
    return verdicts


def plain(verdicts: Verdicts) -> str:
    return " ".join(render_text(verdicts, colour=False, width=200).split())


# --- a run that was cut short ---------------------------------------------------------------------------------------------


def test_the_end_of_a_run_is_not_called_a_failure_of_the_testbed() -> None:
    verdicts = interrupted()
    told = "2 results were not measured to the end, because the run ended before"
    assert any(alarm.startswith(told) for alarm in opening(verdicts).alarms)
    assert told in paragraph(verdicts)
    for text in (page(verdicts), plain(verdicts), markdown(verdicts)):
        assert "the testbed itself failed" not in text
    assert data(verdicts)["causes"] == {"testbed": data(verdicts)["causes"]["testbed"] | {"words": unfinished.CAUSE}}
    assert RESUME in data(verdicts)["causes"]["testbed"]["remedy"]


def test_a_failure_of_the_testbed_is_still_called_so_in_a_run_that_was_cut_short() -> None:
    verdicts = interrupted()
    cell = next(c for c in verdicts["cells"] if unfinished.cut_off(c))
    cell["explanation"] = "the testbed could not go on: no zone"
    alarms = opening(verdicts).alarms
    assert any(alarm.startswith("In 1 case the testbed itself cannot say") for alarm in alarms)
    assert any(alarm.startswith("1 result was not measured to the end") for alarm in alarms)
    assert data(verdicts)["causes"]["testbed"]["words"] == "the testbed itself failed"


def test_every_report_names_the_command_that_measures_the_rest() -> None:
    verdicts = interrupted()
    for text in (page(verdicts), plain(verdicts), markdown(verdicts), junit.render(verdicts).decode()):
        assert RESUME in text
    assert "--resume" not in paragraph({**verdicts, "complete": True})


def test_a_wire_that_was_not_read_is_told_from_one_that_shows_nothing() -> None:
    verdicts = interrupted()
    why = "the run ended before the capture of phase 'after' was read"
    for text in (paragraph(verdicts), " ".join(opening(verdicts).alarms)):
        assert f"The encryption of 2 deliveries is not known: {why}." in text
        assert "left no trace" not in text
    assert f"| 2 | delivered, but the encryption is not known: {why} |" in markdown(verdicts)
    for cell in verdicts["cells"]:
        cell["explanation"] = str(cell["explanation"]).replace(f": {why}", "")
    assert "2 deliveries left no trace on the wire that would show the encryption." in paragraph(verdicts)


def test_newly_broken_is_the_least_where_something_is_unknown() -> None:
    verdicts = interrupted()
    assert opening(verdicts).headline == "At least 2 of the 6 pairs that could talk stop talking; 2 more are unknown"
    assert "at least 2 pairs newly broken, 2 unknown" in plain(verdicts)
    assert "### Newly broken from `before` to `after`: at least 2 pairs, 2 unknown" in markdown(verdicts)
    assert "at least 2 pairs that worked before stopped working." in paragraph(verdicts)
    assert "Whether 2 more that worked before still work is not known." in paragraph(verdicts)


# --- a run in which a server failed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_result", [True, False])
def test_a_server_that_failed_is_the_reason_of_the_status_and_the_next_step_is_named(every_result: bool) -> None:
    verdicts = decided() if every_result else killed()
    assert exit_status(verdicts) == 3
    assert unfinished.undecided(verdicts) is not every_result
    (text,) = unfinished.after_failure(verdicts)
    assert ("although every result is known" in text) is every_result
    assert "testbed rerun killed-20261128-163932 a.example victim.example" in text
    assert text in plain(verdicts)
    assert text in markdown(verdicts)
    assert text in opening(verdicts).alarms
    result = "Every result is known, but a server failed." if every_result else "The testbed could not tell everything."
    assert f"**{result}**" in markdown(verdicts)
    assert ("The testbed could not tell everything" in markdown(verdicts)) is not every_result


def test_where_no_server_failed_there_is_nothing_to_measure_again() -> None:
    assert unfinished.after_failure(interrupted()) == []


def test_a_control_server_that_failed_has_no_pair_to_measure_again() -> None:
    verdicts = killed()
    verdicts["failed_servers"][0]["domain"] = "control-a.example"
    assert unfinished.after_failure(verdicts)[0].endswith("Read its log, and run the scenario again.")


# --- the story of a pair ----------------------------------------------------------------------------------------------------

DIED = "victim.example failed: the server ended with status 137"


@pytest.mark.parametrize("pair", [("a.example", "victim.example"), ("victim.example", "clear.example")])
def test_the_story_has_the_start_and_the_end_of_the_server_whatever_came_of_the_pair(pair: tuple[str, str]) -> None:
    record = store.load(GOLDEN / "killed")
    text = story(record, judge_run(record), *pair)
    assert text.index("started victim.example") < text.index(DIED)
    (line,) = [line for line in text.splitlines() if DIED in line]
    assert line.split()[2] == "testbed"
    assert "log      of victim.example (mesh): the run has none" in text
    assert "named by: )" not in text


def test_the_story_names_the_log_of_the_server_that_failed(tmp_path: Path) -> None:
    record = store.load(GOLDEN / "killed")
    log = tmp_path / "evidence" / "before" / "mesh" / "victim.example.log.gz"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"")
    text = story(replace(record, path=tmp_path), judge_run(record), "a.example", "victim.example")
    assert "log      of victim.example (mesh): evidence/before/mesh/victim.example.log.gz" in text


def test_a_cell_that_was_never_attempted_because_a_server_failed_has_a_story() -> None:
    record = store.load(GOLDEN / "killed")
    cell = "before/a.example/victim.example/message"
    record = replace(record, observations=tuple(o for o in record.observations if o.cell != cell))
    text = story(record, judge_run(record), "a.example", "victim.example")
    assert "cause    server-failed\n" in text
    assert "what happened (mesh)" in text
    assert DIED in text


def test_the_story_of_a_pair_of_other_servers_says_nothing_of_it() -> None:
    record = store.load(GOLDEN / "killed")
    text = story(record, judge_run(record), "a.example", "b.example")
    assert "victim.example" not in text
    assert " started " not in text


def test_the_page_has_the_failure_for_the_story_of_its_pairs() -> None:
    (entry,) = data(killed())["failed"]
    assert (entry["phase"], entry["domain"]) == ("before", "victim.example")
    assert entry["text"].startswith("The server victim.example failed in 'before', 5.6 s after its start")
    assert data(interrupted())["failed"] == []


def test_a_resumed_run_says_so_in_the_opening_of_the_page() -> None:
    moments = {"interrupted": "2026-11-28T16:00:00+00:00", "resumed": "2026-11-28T16:01:00+00:00"}
    verdicts = killed()
    verdicts["resumed"] = [{**moments, "phases": ["before"], "cells": 2}]  # type: ignore[typeddict-item]
    point = opening(verdicts).points[0]
    assert point.heading == "Resumed run"
    assert point.text.startswith("Measured in 2 parts: interrupted at 2026-11-28 16:00 UTC, resumed at 2026-11-28 16:01 UTC")
    assert "Resumed run" not in [p.heading for p in opening(killed()).points]

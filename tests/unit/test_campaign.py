"""The interface of faces, as far as it needs no engine: plans and runs as facts, nothing printed, errors as what they are."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from testbed import campaign
from testbed.display import Lines
from testbed.model import InputError
from testbed.report.table import COLUMNS


@pytest.fixture
def reference(root: Path) -> Path:
    return root / "results" / "reference"


def test_a_plan_says_what_would_be_measured_and_prints_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = campaign.plan(root / "scenarios" / "smoke.yaml", seed=7)
    assert (planned.plan.scenario, planned.plan.seed, len(planned.plan.cells)) == ("smoke", 7, 12)
    assert planned.candidates == ()
    assert capsys.readouterr() == ("", "")


def test_a_plan_takes_what_a_user_brings(root: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    beside = campaign.plan(root / "scenarios" / "smoke.yaml", build=[f"prosody={tmp_path}"])
    assert [(str(c.implementation), c.build) for c in beside.candidates] == [("prosody@mine", tmp_path)]
    assert len(beside.plan.servers) == 4
    instead = campaign.plan(root / "scenarios" / "smoke.yaml", build=[f"prosody={tmp_path}"], instead=True)
    assert len(instead.plan.servers) == 3


def test_input_that_is_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        campaign.plan(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="no run `none`"):
        campaign.load("none", tmp_path)


def test_a_run_has_the_verdicts_that_were_kept_and_can_be_judged_again(reference: Path) -> None:
    run = campaign.load(reference)
    assert run.path == reference
    assert run.id == run.verdicts["run"] == run.record.id
    assert run.record is run.record, "read once"
    assert run.judge().verdicts == run.verdicts
    assert run.exit_status in (0, 1)


def test_a_run_without_verdicts_is_judged(reference: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results" / "copy"
    shutil.copytree(reference, copy, ignore=shutil.ignore_patterns("derived"))
    run = campaign.load("copy", tmp_path / "results")
    assert not (copy / "derived").exists(), "asking writes nothing"
    assert run.verdicts == campaign.load(reference).verdicts
    assert campaign.report(copy).verdicts == run.verdicts
    assert json.loads((copy / "derived" / "verdicts.json").read_text()) == run.verdicts
    assert (copy / "derived" / "report.html").is_file()


def test_rows_are_flat_and_have_the_documented_columns(reference: Path) -> None:
    run = campaign.load(reference)
    rows = run.rows()
    assert len(rows) == len(run.verdicts["cells"])
    assert list(rows[0]) == [c.name for c in COLUMNS]
    assert all(value is None or isinstance(value, (str, int, float, bool)) for row in rows for value in row.values())


@pytest.mark.parametrize(
    ("sender", "receiver", "what"), [("x.example", "y.example", "no server `x.example`"), (None, None, "with itself")]
)
def test_a_pair_that_a_run_does_not_have_is_said_before_anything_is_started(
    reference: Path, sender: str | None, receiver: str | None, what: str
) -> None:
    run = campaign.load(reference)
    domain = run.verdicts["servers"][0]["domain"]
    with pytest.raises(InputError, match=what):
        campaign.remeasure(run, sender or domain, receiver or domain)


# --- blocking, wherever it is called from -------------------------------------------------------------------------------


def test_work_runs_to_its_end_where_a_loop_runs_already() -> None:
    done: list[threading.Thread] = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(threading.current_thread())

    async def notebook() -> None:
        campaign.run_blocking(work())

    campaign.run_blocking(work())
    asyncio.run(notebook())
    assert done[0] is threading.main_thread()
    assert done[1] is not threading.main_thread()


def test_what_the_work_raises_arrives_in_both_cases() -> None:
    async def work() -> None:
        raise InputError("wrong")

    async def notebook() -> None:
        campaign.run_blocking(work())

    with pytest.raises(InputError, match="wrong"):
        campaign.run_blocking(work())
    with pytest.raises(InputError, match="wrong"):
        asyncio.run(notebook())


def test_an_interruption_waits_until_the_work_has_cleaned_up() -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    async def notebook() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a notebook's kernel has it
        campaign.run_blocking(work())

    # a session that a shell has put into the background ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for call in (lambda: campaign.run_blocking(work()), lambda: asyncio.run(notebook())):
            with pytest.raises(KeyboardInterrupt):
                call()
    finally:
        signal.signal(signal.SIGINT, before)
    assert cleaned == [True, True]


# --- plain lines ----------------------------------------------------------------------------------------------------------


def test_lines_say_when_a_stage_is_done_and_quiet_leaves_the_warnings() -> None:
    for quiet, expected in ((False, ["  cells: done (1 did not get through)", "  news", "  careful"]), (True, ["  careful"])):
        lines: list[str] = []
        display = Lines(lines.append, quiet=quiet)
        display.stage("cells", 1)
        display.grow("cells")
        display.advance("cells", failed=True)
        display.advance("cells")
        display.say("news")
        display.warn("careful")
        assert lines == expected


def test_one_text_does_where_several_may_be_given_and_a_seed_is_a_number(root: Path) -> None:
    smoke = root / "scenarios" / "smoke.yaml"
    assert len(campaign.plan(smoke, image="prosody=a:1").plan.servers) == 4
    for call in (lambda: campaign.plan(smoke, server="/no/such/folder"), lambda: campaign.software(server="/no/such/folder")):
        with pytest.raises(InputError, match="/no/such/folder"):
            call()
    with pytest.raises(InputError, match="a seed is an integer"):
        campaign.plan(smoke, seed="1")  # type: ignore[arg-type]

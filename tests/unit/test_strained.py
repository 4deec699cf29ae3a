"""An attempt during which the servers were not given their time: it is void, made again later, and judged by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import test_attempts
from test_attempts import CELLS, Agent, bounced, measure, received
from test_confirm import PHASE, Alone, confirm, epoch_of
from test_verdict import CELL, attempt, manifest, one, silence, verdicts
from test_verdict import bounced as bounce
from test_verdict import received as receipt

from testbed.causes import CAUSES, Inconclusive
from testbed.judge.verdict import exit_status
from testbed.measure import attempts as module
from testbed.measure import confirm as confirming
from testbed.measure.confirm import answers, tally
from testbed.measure.epoch import Answer, Epoch
from testbed.measure.pace import MOST_ALONE, VOID_PAUSES, VOID_TRIES
from testbed.model import Cell
from testbed.record.observations import MACHINE, STRAIN, Observation
from testbed.record.strain import NOTHING_READ, UNREAD, Strain
from testbed.report import busy, html, junit, markdown, summary, table
from testbed.report import cell as words_of
from testbed.report.text import render_file, render_text

A, B = test_attempts.A, test_attempts.B
_quick = test_attempts._quick

WELL, BUSY = Strain(4.0, 1.0, processor=0.9), Strain(4.0, 1.0, processor=0.9, disk=0.2)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "VOID_PAUSES", (0.0,) * len(VOID_PAUSES))


class Meter:
    """Says of one attempt after the other what the test wants; of all after those that all is well."""

    def __init__(self, *strains: Strain) -> None:
        self.strains = list(strains)
        self.asked: list[tuple[str, ...]] = []
        self.acts: list[Callable[[], object]] = []

    async def has_read(self, _moment: float) -> None: ...

    def measuring(self, *_: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def when_read(self, _moment: float, act: Callable[[], object]) -> None:
        self.acts.append(act)
        act()

    def strain(self, containers: Sequence[Any], start: float, end: float, timer: float) -> Strain:
        assert start <= end
        assert timer == 4.0
        self.asked.append(tuple(c.id for c in containers))
        return self.strains.pop(0) if self.strains else WELL


def bounces(sender: str, _receiver: str, token: str) -> list[Any]:
    return [bounced(sender, token)]


# --- measured ---------------------------------------------------------------------------------------------------------


def test_void_attempts_are_made_again_until_two_count(tmp_path: Path) -> None:
    """The first of each direction is void, and one more of the first direction."""
    epoch, record = measure(Agent(bounces), tmp_path, meter=Meter(BUSY, BUSY, BUSY, WELL))
    assert [[(a.word, a.cold, a.void) for a in epoch.answers[c.id]] for c in CELLS] == [
        [("error", True, True), ("error", False, True), ("error", False, False), ("error", False, False)],
        [("error", False, True), ("error", False, False), ("error", False, False)],
    ]
    assert [epoch.words(c) for c in CELLS] == [["error", "error"]] * 2
    noted = [o for o in record if o.kind == "strain"]
    assert len(noted) == 7, "of each attempt that did not deliver"
    assert {o.data["token"] for o in noted} == {o.data["token"] for o in record if o.kind == "attempt"}
    assert noted[0].data | {"token": ""} == {
        "token": "", "window": 4.0, "limit": 1.0, "processor": 0.9, "disk": 0.2, "memory": 0.0, "stolen": 0.0,
        "source": "pressure",
    }  # fmt: skip


def test_a_cell_that_is_never_left_in_peace_comes_to_an_end(tmp_path: Path) -> None:
    epoch, _ = measure(Agent(bounces), tmp_path, meter=Meter(*[BUSY] * 100))
    assert [(epoch.words(c), epoch.voids(c)) for c in CELLS] == [([], VOID_TRIES)] * 2


def test_a_warm_delivery_after_a_void_failure_ends_it_in_the_mesh_and_leaves_open_what_the_pair_does_cold(tmp_path: Path) -> None:
    replies = iter([bounced, *[None] * 9])

    def reacts(sender: str, receiver: str, token: str) -> list[Any]:
        return [bounced(sender, token) if next(replies) else received(receiver, token)]

    epoch, record = measure(Agent(reacts), tmp_path, meter=Meter(BUSY))
    assert [epoch.words(c) for c in CELLS] == [["received"], ["received"]]
    assert epoch.voids(CELLS[0]) == 1
    assert len([o for o in record if o.kind == "attempt"]) == 3
    assert [epoch.open(c) for c in CELLS] == [True, False]


def test_a_delivery_in_a_strained_moment_counts_and_is_noted_as_such(tmp_path: Path) -> None:
    meter = Meter(BUSY, WELL)
    epoch, record = measure(Agent(lambda _, receiver, token: [received(receiver, token)]), tmp_path, meter=meter)
    assert [epoch.words(c) for c in CELLS] == [["received"], ["received"]]
    assert [(o.cell, o.data["disk"]) for o in record if o.kind == "strain"] == [(CELLS[0].id, 0.2)]
    assert meter.asked == [(A, B), (B, A)]


@pytest.mark.parametrize("alive", [True, False])
def test_where_a_client_is_not_proven_alive_the_time_of_the_proof_counts(tmp_path: Path, alive: bool) -> None:
    class Slow(Agent):
        async def alive(self, client: str, patience: float = 0.0) -> bool:
            del client, patience
            await asyncio.sleep(0.3)
            return alive

    class Timed(Meter):
        def strain(self, containers: Sequence[Any], start: float, end: float, timer: float) -> Strain:
            took.append(end - start)
            return super().strain(containers, start, end, timer)

    took: list[float] = []
    measure(Slow(lambda *_: []), tmp_path, meter=Timed())
    assert len(took) == 4
    assert alive or min(took) > 0.3


def test_a_pair_alone_is_not_tried_again_where_it_is_warm() -> None:
    alone, mesh = epoch_of("alone-1", A, B), epoch_of("mesh", A, B)
    for epoch, more in ((alone, False), (mesh, True)):
        epoch.answers[CELLS[0].id] = [Answer("error", True, void=True)]
        assert module._unsettled(epoch, CELLS[0]) is more
        epoch.answers[CELLS[0].id] = [Answer("error", True)]
        assert module._unsettled(epoch, CELLS[0])


# --- measured alone ---------------------------------------------------------------------------------------------------


class Busy(Alone):
    """Measures pairs alone; the first ``voids`` starts are void."""

    def __init__(self, voids: int, **words: str) -> None:
        super().__init__(**words)
        self.voids = voids

    async def pair(self, *args: Any, **options: Any) -> Epoch:
        epoch = await super().pair(*args, **options)
        if len(self.orders) <= self.voids:
            for cell, (answer,) in list(epoch.answers.items()):
                epoch.answers[cell] = [Answer(answer.word, answer.cold, void=True)]
        return epoch


def test_a_pair_alone_whose_attempts_are_void_is_started_again_the_same_way() -> None:
    alone = Busy(2, a="error", b="error")
    confirmations = confirm(alone, [("a", "b")])
    assert [order[:2] for order in alone.orders] == [("b", "a")] * 3
    cell = Cell(PHASE.name, "b", "a", "message")
    assert answers(confirmations.epochs, cell, alone=True) == ["error"]


@pytest.mark.parametrize(
    ("tries", "orders"),
    [
        ([Answer("error", True, void=True), Answer("received", False)], [("b", "a"), ("a", "b")]),
        ([Answer("silence", True, proven=False), Answer("received", False)], [("b", "a"), ("a", "b")]),
        ([Answer("received", True)], [("b", "a")]),
    ],
    ids=["void", "not proven alive", "cold"],
)
def test_where_only_warm_attempts_count_a_cold_start_alone_is_asked_for(
    tries: list[Answer], orders: list[tuple[str, str]]
) -> None:
    mesh = epoch_of("mesh", "a", "b")
    cell = Cell(PHASE.name, "a", "b", "message")
    mesh.answers[cell.id] = tries
    assert mesh.open(cell) is any(answer.void for answer in tries)
    alone = Alone(a="received", b="received")
    confirm(alone, [("a", "b")], mesh)
    assert [order[:2] for order in alone.orders] == orders


def test_a_cold_start_that_is_never_to_be_had_is_asked_for_only_so_often() -> None:
    class Restless(Alone):
        """Whoever goes first fails in a strained moment, and delivers later."""

        async def pair(self, *args: Any, **options: Any) -> Epoch:
            epoch = await super().pair(*args, **options)
            for tries in epoch.answers.values():
                tries[:] = [Answer("error", True, void=True), Answer("received")] if tries[0].cold else tries
            return epoch

    alone = Restless(a="received", b="received")
    confirm(alone, [("a", "b")], isolated=True)
    assert len(VOID_PAUSES) < len(alone.orders) <= len(VOID_PAUSES) + 4


def test_answers_that_judging_drops_settle_nothing() -> None:
    """A silence whose clients were not proven alive, and a failure in a start in which a server of the pair failed."""

    class Unwell(Alone):
        async def pair(self, *args: Any, **options: Any) -> Epoch:
            epoch = await super().pair(*args, **options)
            for cell, (answer,) in list(epoch.answers.items()):
                epoch.answers[cell] = [replace(answer, proven=not self.silent)]
            epoch.failed = set() if self.silent else {"b"}
            return epoch

        silent = True

    cell = Cell(PHASE.name, "b", "a", "message")
    for word, silent in (("silence", True), ("error", False)):
        alone = Unwell(a=word, b=word)
        alone.silent = silent
        confirmations = confirm(alone, [("a", "b")], chance=lambda _: ("error", "silence"))
        known = tally(confirmations.epochs, cell)
        assert (known.cold.total(), known.warm.total(), known.starts) == (0, 0, 0)
        assert len(alone.orders) == 1


def test_a_silence_is_noted_with_whether_both_clients_were_proven_alive(tmp_path: Path) -> None:
    class Dead(Agent):
        async def alive(self, client: str, patience: float = 0.0) -> bool:
            del client, patience
            return False

    for agent, proven in ((Dead(lambda *_: []), False), (Agent(lambda *_: []), True)):
        epoch, _ = measure(agent, tmp_path / str(proven))
        assert {(a.word, a.proven) for c in CELLS for a in epoch.answers[c.id]} == {("silence", proven)}


def test_a_pair_that_is_never_left_in_peace_comes_to_an_end() -> None:
    alone = Busy(1000, a="error", b="error")
    confirm(alone, [("a", "b")])
    assert len(VOID_PAUSES) < len(alone.orders) <= len(VOID_PAUSES) + MOST_ALONE


def test_after_a_time_nothing_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "VOID_TIME", -1.0)
    alone = Busy(1000, a="error", b="error", c="error")
    confirm(alone, [("a", "b"), ("a", "c")])
    assert len(alone.orders) <= 2 * MOST_ALONE
    assert {order[:2] for order in alone.orders} == {("b", "a"), ("c", "a")}


def test_a_start_left_in_peace_gives_later_void_ones_their_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hiccup at the beginning of a long phase must not make every later one final."""
    now = 0.0

    class Hiccups(Alone):
        """The first start is void, and after a long quiet time one more."""

        async def pair(self, *args: Any, **options: Any) -> Epoch:
            nonlocal now
            now += confirming.VOID_TIME * 0.9
            epoch = await super().pair(*args, **options)
            if len(self.orders) in (1, 3):
                for cell, (answer,) in list(epoch.answers.items()):
                    epoch.answers[cell] = [Answer(answer.word, answer.cold, void=True)]
            return epoch

    monkeypatch.setattr(confirming, "time", SimpleNamespace(monotonic=lambda: now))
    alone = Hiccups(a="error", b="error")
    confirmations = confirm(alone, [("a", "b")], isolated=True)
    assert [order[:2] for order in alone.orders] == [("a", "b"), ("a", "b"), ("b", "a"), ("b", "a")]
    assert answers(confirmations.epochs, Cell(PHASE.name, "b", "a", "message"), alone=True) == ["error", "error"]


@pytest.mark.parametrize(
    ("given", "void"),
    [
        ([Answer("error", True, void=True)], True),
        ([Answer("error", True, void=True), Answer("error", False)], True),
        ([Answer("error", False, void=True), Answer("error", False)], False),
        ([Answer("error", True), Answer("error", False, void=True)], False),
        ([Answer("received", True)], False),
    ],
    ids=["nothing else", "the cold one", "warm, and again", "a second attempt", "none"],
)
def test_an_epoch_is_void_where_an_attempt_is_that_no_other_replaces(given: list[Answer], void: bool) -> None:
    epoch = epoch_of("alone-1", "a", "b")
    epoch.answers["x"] = given
    assert epoch.void is void


# --- judged -----------------------------------------------------------------------------------------------------------


def strain(epoch: str = "mesh", **waited: float) -> Observation:
    data = {"token": f"cell-{epoch}", **vars(Strain(4.0, 1.0, **waited))}
    return STRAIN.at(31.0, data, phase="now", epoch=epoch, cell=CELL)


@pytest.mark.parametrize("end", [bounce(), silence(), silence(receiver=False)], ids=["bounced", "lost", "not proven alive"])
def test_a_failure_whose_servers_were_not_given_their_time_says_nothing(end: Observation) -> None:
    cell = one([*attempt(), end, strain(processor=1.3, disk=0.4)])
    assert (cell["outcome"], cell["cause"], cell["fault"], cell["surprise"]) == (
        "inconclusive", "testbed-strained", "testbed", False,
    )  # fmt: skip
    assert cell["explanation"] == (
        "the machine was too busy while it was measured: the servers together waited 1.7 s within 4.0 s, above all for a "
        "processor (1.0 s are allowed)"
    )


def test_a_failure_of_which_nobody_read_how_long_its_servers_waited_says_nothing() -> None:
    unread = STRAIN.at(
        31.0, {"token": "cell-mesh", **vars(Strain(4.0, 2.0, source=UNREAD))}, phase="now", epoch="mesh", cell=CELL
    )  # fmt: skip
    judged: Any = verdicts([*attempt(), bounce(), unread])
    (cell,) = judged["cells"]
    assert (cell["outcome"], cell["cause"]) == ("inconclusive", "testbed-strained")
    assert cell["explanation"] == f"the machine was too busy while it was measured: {NOTHING_READ}"
    assert judged["strained"]["source"] == UNREAD
    assert busy.sentences(judged) == [
        "1 result could not be decided, because the machine was too busy: not even the meter, which reads how long servers wait, "
        "was given its time. To decide it, give the run more processors of its own, or stop what else runs on this machine, "
        f"{again(judged)}"
    ]


def test_a_failure_whose_waiting_was_read_in_a_way_that_nobody_here_knows_says_nothing() -> None:
    foreign = STRAIN.at(
        31.0, {"token": "cell-mesh", **vars(Strain(4.0, 2.0, source="<b>"))}, phase="now", epoch="mesh", cell=CELL
    )  # fmt: skip
    judged: Any = verdicts([*attempt(), bounce(), foreign])
    (cell,) = judged["cells"]
    assert (cell["outcome"], cell["cause"]) == ("inconclusive", "testbed-strained")
    assert "a testbed that this one does not know" in cell["explanation"]
    assert judged["strained"]["source"] == UNREAD


def test_it_is_void_only_beyond_its_limit_and_old_records_have_none() -> None:
    assert one([*attempt(), bounce(), strain(processor=1.0)])["outcome"] == "bounced"
    assert one([*attempt(), bounce()])["outcome"] == "bounced"


def test_a_delivery_in_a_strained_moment_is_a_delivery() -> None:
    cell = one([*attempt(), receipt(), strain(processor=4.0)])
    assert (cell["outcome"], cell["cause"]) == ("delivered", None)


def attempted(time: float, epoch: str, token: str, end: Observation, *, cold: bool, busy: bool = False) -> list[Observation]:
    """An attempt with its end, both with a token of their own; ``busy``: its servers were not given their time."""
    lines = [*attempt(time, epoch), replace(end, time=time + 5.0, epoch=epoch)]
    lines[0] = replace(lines[0], data={**lines[0].data, "cold": cold})
    lines = [replace(o, data={**o.data, "token": token}) for o in lines]
    return [*lines, replace(strain(epoch, processor=4.0), data={**strain(processor=4.0).data, "token": token})] if busy else lines


def test_a_warm_delivery_does_not_speak_for_a_cold_failure_that_is_void() -> None:
    mesh = attempted(1, "mesh", "m1", bounce(), cold=True, busy=True) + attempted(20, "mesh", "m2", receipt(), cold=False)
    cell = one(mesh)
    assert (cell["outcome"], cell["cause"], cell["surprise"]) == ("inconclusive", "testbed-strained", False)
    alone = [
        attempted(100.0 * n, f"alone-{n}", f"c{n}", bounce(), cold=True, busy=True)
        + attempted(100.0 * n + 20, f"alone-{n}", f"w{n}", receipt(), cold=False)
        for n in range(1, 6)
    ]
    lonely = [line for start in alone for line in start]
    for lines in (lonely, mesh + lonely):
        assert (one(lines)["outcome"], one(lines)["cause"]) == ("inconclusive", "testbed-strained")
    assert one([*mesh, *attempted(100, "alone-1", "c", receipt(), cold=True)])["outcome"] == "delivered"


@pytest.mark.parametrize("epoch", ["mesh", "alone-1"])
def test_an_unexpected_failure_is_charged_to_nobody_where_only_warm_attempts_count(epoch: str) -> None:
    lines = attempted(1, epoch, "t1", bounce(), cold=True, busy=True)
    for n in (2, 3):
        lines += attempted(20.0 * n, epoch, f"t{n}", bounce(), cold=False)
    assert [one(lines)[key] for key in ("outcome", "cause", "surprise")] == ["inconclusive", "testbed-strained", False]
    cold = attempted(100, "alone-2", "t9", bounce(), cold=True)
    assert [one([*lines, *cold])[key] for key in ("outcome", "surprise")] == ["bounced", True]


def test_a_void_attempt_is_outweighed_by_any_other_and_makes_nothing_unstable() -> None:
    cell = one([*attempt(), bounce(), strain(processor=4.0), *attempt(40.0, "alone-1"), receipt(41.0, "alone-1")])
    assert (cell["outcome"], cell["attempts"]) == ("delivered", 2)
    assert not {"flaky", "interference", "history_dependent"} & cell.keys()


def test_a_run_with_such_a_cell_could_not_tell() -> None:
    judged: Any = verdicts([*attempt(), bounce(), strain(processor=4.0)])
    assert exit_status(judged) == 3
    assert CAUSES["testbed-strained"].inconclusive is Inconclusive.CANNOT_TELL
    assert judged["cells"][0]["id"] == CELL


# --- in words ---------------------------------------------------------------------------------------------------------


def again(judged: Any) -> str:
    return f"then use the command 'testbed run FILE' again, or 'testbed rerun {judged['run']} a.example b.example' for its pair."


def judged_busy(machine: dict[str, float] | None = None, cpus: int | None = 2, **waited: float) -> Any:
    """Verdicts of a cell that is undecided because its servers ``waited``."""
    lines = [*attempt(), silence(), strain(**waited)]
    if machine:
        data = {"seconds": 2.0, "source": "pressure", "stolen": 0.0, "late": 0.0, **machine}
        lines += [MACHINE.at(time, {**data, "running": running}) for time, running in ((2.0, 8.0), (30.0, 9.0), (900.0, 0.0))]
    return verdicts(lines, manifest() | {"machine": {"cpus": cpus}})


def test_one_line_says_how_many_cells_and_what_the_machine_would_need() -> None:
    judged = judged_busy({"processor": 0.9}, processor=1.5, disk=0.3)
    assert judged["strained"] == {
        "cells": 1, "attempts": 1, "window": 4.0, "source": "pressure", "processors": 2, "running": 8.5,
        "waited": {"processor": 1.5, "disk": 0.3, "memory": 0.0, "stolen": 0.0},
    }  # fmt: skip
    assert busy.sentences(judged) == [
        "1 result could not be decided, because the machine was too busy: the servers of a pair and their name server "
        "waited in all 1.8 s within 4.0 s, above all for a processor, which 9 processes wanted at once, of 2. To decide it, "
        f"give the run at least 9 processors of its own, or stop what else runs on this machine, {again(judged)}"
    ]


@pytest.mark.parametrize(
    ("lacked", "need"),
    [
        ("processor", "give the run more processors of its own"),
        ("disk", "a faster disk"),
        ("memory", "more memory"),
        ("stolen", "the hypervisor leaves the processors"),
    ],
)
def test_what_is_needed_is_what_was_lacking_and_nothing_that_is_not_known(lacked: str, need: str) -> None:
    (sentence,) = busy.sentences(judged_busy(None, None, **{lacked: 2.0}))
    assert need in sentence
    assert "processes" not in sentence


def test_every_report_has_the_line() -> None:
    judged = judged_busy({"processor": 0.9}, processor=2.5)
    (line,) = busy.sentences(judged)
    reports: dict[str, Any] = {
        "terminal": render_text(judged, colour=False, width=100),
        "matrix.txt": render_file(judged),
        "summary.md": markdown.render(judged),
        "junit.xml": junit.render(judged).decode(),
        "report.html": html.render(judged),
        "summary.json": summary.render_json(judged),
    }
    for name, report in reports.items():
        assert " ".join(line.split()) in " ".join(unescape(str(report)).split()), name
        assert "In 1 case the testbed itself cannot say" not in " ".join(str(report).split()), name


def test_what_is_undecided_for_it_says_so_first_and_what_to_do_stands_at_the_cell() -> None:
    judged = judged_busy({"processor": 0.9}, processor=2.5)
    (line,) = busy.sentences(judged)
    for report in (render_file(judged), markdown.render(judged)):
        text = " ".join(report.split())
        assert text.count(line) == 1
        assert text.index(line) < text.index("wrote to each other")
    (cell,) = judged["cells"]
    facts = dict(words_of.facts(cell))
    assert facts["fix at"] == "this machine, which was too busy"
    assert facts["remedy"].startswith("stop what else runs on this machine")
    cases = {case.get("name"): case.find("error") for case in ET.fromstring(junit.render(judged)).iter("testcase")}
    assert cases["machine"] is not None
    assert cases["complete"] is None  # it was measured; what came of it is void


def test_cells_that_waited_for_different_times_are_one_reason() -> None:
    judged = judged_busy({"processor": 0.9}, processor=2.5)
    judged["cells"] = [cell | {"explanation": f"waited {n} s"} for n, cell in enumerate(judged["cells"] * 3)]
    assert "| 3 | the machine was too busy to tell |" in markdown.render(judged)


def test_a_phase_of_which_nothing_could_be_judged_has_no_count() -> None:
    text = render_file(judged_busy({"processor": 0.9}, processor=2.5))
    assert "Phase 'now': no pair could be judged" in text
    assert "0 of" not in text


def test_every_report_says_how_much_the_standards_leave_open_and_that_timers_were_stretched() -> None:
    judged: Any = verdicts([*attempt(), receipt()]) | {"stretch": 3}
    (cell,) = judged["cells"]
    cell["expected"] = cell["expected"] | {"alternatives": [{"outcome": "bounced", "cause": None, "because": "another clause"}]}
    told = "In 1 of 1 result the standards leave open what happens: 1 delivered."
    for report in (render_file(judged), markdown.render(judged), junit.render(judged).decode(), html.render(judged)):
        assert told in " ".join(unescape(report).split())
    assert '<property name="stretch" value="3" />' in junit.render(judged).decode()
    assert "3 times as long, as the machine was slow or busy" in " ".join(render_file(judged).split())
    head, row = csv.reader(io.StringIO(table.render_csv(judged)))
    assert row[head.index("stretch")] == "3"


def test_where_nothing_is_undecided_nothing_is_said() -> None:
    judged = verdicts([*attempt(), bounce(), strain(processor=4.0), *attempt(40.0, "alone-1"), receipt(41.0, "alone-1")])
    assert judged["strained"]["cells"] == 0
    assert busy.sentences(judged) == []  # type: ignore[arg-type]
    (told,) = busy.made_again(judged)  # type: ignore[arg-type]
    assert told == "1 failed attempt does not count, because the machine was too busy then; no result rests on it."
    for report in (render_file(judged), markdown.render(judged), html.render(judged)):  # type: ignore[arg-type]
        assert told in " ".join(unescape(report).split())
    assert "strained" not in verdicts([*attempt(), receipt(), strain(processor=4.0)])

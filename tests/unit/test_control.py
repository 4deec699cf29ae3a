"""The control pair before the first phase is tried twice, with fresh servers, before the run ends; later, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.display import Silent
from testbed.measure.attempts import Answer
from testbed.measure.control import ControlPair
from testbed.measure.epoch import Epoch
from testbed.measure.pace import ANSWER, BOOT, FIRST_BOOT, MOST_STRETCH, REMEMBERED, Waits
from testbed.model import CONTROL_DOMAINS, Cell, Implementation, Phase, Server
from testbed.plan.policy import PRESETS

A, B = CONTROL_DOMAINS
GOOD, BAD = ("received", "received"), ("received", "silence")
AWAY = None
"""A server is not there: nobody writes."""


@dataclass
class Measured:
    """The pair when it was measured: it, its epochs, what was noted, what was chosen, and how long servers wait from then on."""

    control: ControlPair
    begun: list[Epoch]
    notes: list[dict[str, Any]]
    chosen: list[dict[str, Any]]
    waits: Waits
    said: list[str]


def measured(
    tries: Sequence[tuple[str, str] | None],
    when: str,
    *,
    seconds: float = 0.1,
    timers: str = "short",
    stretch: int | None = None,
) -> Measured:
    """Let the pair be measured where its tries come out like this, and each message takes so many ``seconds``."""
    notes: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    outcomes = iter(tries)

    class Epochs:
        waits = Waits.first(timers)

        @contextlib.asynccontextmanager
        async def running(self, epoch: Epoch) -> AsyncIterator[None]:
            epoch.booted.set()
            yield

    class Attempts:
        async def pair(self, epoch: Epoch, a: str, b: str, exchanges: Sequence[str]) -> None:
            words = next(outcomes)
            if words is None:
                epoch.absent[b] = "its client cannot log in: TimeoutError"
            for sender, receiver, word in ((a, b, (words or ["not-started"])[0]), (b, a, (words or ["not-started"])[-1])):
                epoch.answers[Cell(epoch.phase.name, sender, receiver, exchanges[0]).id].append(Answer(word, seconds=seconds))

    addresses = SimpleNamespace(of=lambda index: (f"198.18.0.{index}", None), dns=("198.18.0.2", None))
    journal = SimpleNamespace(
        note=lambda kind, **data: notes.append({"kind": kind.word, **data}), epoch_name=lambda *words: "-".join(words),
        writer=SimpleNamespace(chosen=lambda **keys: chosen.append(keys)),
    )  # fmt: skip
    parts: Any = SimpleNamespace(mesh=SimpleNamespace(addresses=addresses), journal=journal)
    plan: Any = SimpleNamespace(exchanges=("message",), timers=timers)
    policy = PRESETS["opportunistic"]
    servers = tuple(Server(domain, Implementation("prosody", "trixie"), policy, "ca", n) for n, domain in enumerate((A, B)))
    epochs, attempts = Epochs(), Attempts()
    begun: list[Epoch] = []
    said: list[str] = []
    display = Silent()
    display.say = said.append  # type: ignore[method-assign]

    async def work() -> ControlPair:
        control = ControlPair(servers, plan, parts, epochs, attempts, display, stretch)  # type: ignore[arg-type]
        turn, done = asyncio.Event(), asyncio.Event()
        turn.set()
        await control.measure(Phase("before", {}), when, begun, turn=turn, done=done)
        assert done.is_set()
        return control

    return Measured(asyncio.run(work()), begun, notes, chosen, epochs.waits, said)


@pytest.mark.parametrize(
    ("tries", "names", "failure"),
    [
        ([GOOD], ["control-first"], None),
        ([BAD, GOOD], ["control-first", "control-first-again"], None),
        (
            [BAD, AWAY],
            ["control-first", "control-first-again"],
            f"{A} → {B}: received; {B} → {A}: silence; then, with fresh servers: {B}: its client cannot log in: TimeoutError",
        ),
    ],
)
def test_before_the_first_phase_it_is_tried_until_it_gets_through_twice_at_most(
    tries: list[tuple[str, str] | None], names: list[str], failure: str | None
) -> None:
    done = measured(tries, "first")
    assert [epoch.name for epoch in done.begun] == names
    assert {epoch.patience for epoch in done.begun} == {FIRST_BOOT}
    (note,) = done.notes
    assert (note["when"], note["ok"], note["reason"], note["tries"]) == ("first", failure is None, failure, len(names))
    assert done.control.failure == failure


@pytest.mark.parametrize(
    ("seconds", "timers", "stretch"),
    [
        (0.1, "short", 1),
        (0.2, "short", 1),
        (0.21, "short", 2),
        (0.9, "short", 5),
        (60.0, "short", MOST_STRETCH),
        (60.0, "stock", 1),
    ],
)
def test_short_timers_are_as_long_as_the_machine_is_slow_and_that_is_in_the_manifest(
    seconds: float, timers: str, stretch: int
) -> None:
    """A handshake that took 4 to 6 s on a busy machine ran into timers of 4 to 7 s: the pair was innocent."""
    done = measured([GOOD], "first", seconds=seconds, timers=timers)
    assert {epoch.waits for epoch in done.begun} == {Waits.first(timers)}, "while nothing is known, there is time"
    assert done.waits == Waits(timers, stretch)
    assert done.chosen == [{"stretch": stretch}]
    assert done.notes[0]["seconds"] == seconds
    assert done.waits.shortest >= 20 * seconds or stretch == MOST_STRETCH or timers == "stock"


def test_a_run_that_is_resumed_goes_on_with_the_timers_that_it_began_with() -> None:
    done = measured([GOOD], "first", seconds=0.1, stretch=2)
    assert (done.waits, done.chosen) == (Waits("short", 2), [])
    assert done.said == ["as in the first part of this run the servers' short timers are 2 times as long"], "nothing is slow now"
    assert "a message of the control pair took 3.0 s" in measured([GOOD], "first", seconds=3.0).said[0]


@pytest.mark.parametrize("waits", [Waits("short"), Waits("short", MOST_STRETCH), Waits("stock")])
def test_readings_are_kept_for_longer_than_any_attempt_lasts(waits: Waits) -> None:
    """An order to the driver, the silence, the proof that both ends are alive, and the wait for the last reading."""
    assert waits.patience + waits.sentinel + 2 * ANSWER < REMEMBERED


def test_what_a_server_remembers_of_a_failure_is_not_stretched() -> None:
    assert Waits("short", MOST_STRETCH).recovery == Waits("short").recovery


def test_who_does_not_get_through_chooses_no_timers() -> None:
    done = measured([BAD, BAD], "first")
    assert (done.waits, done.chosen) == (Waits.first("short"), [])


def test_afterwards_it_is_tried_once_and_ends_nothing() -> None:
    done = measured([BAD], "last")
    assert [(epoch.name, epoch.patience) for epoch in done.begun] == [("control-last", BOOT)]
    assert [(note["ok"], note["tries"]) for note in done.notes] == [(False, 1)]
    assert done.control.failure is None

"""The control pair before the first phase is tried twice, with fresh servers, before the run ends; later, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.display import Silent
from testbed.measure.attempts import Answer
from testbed.measure.control import ControlPair
from testbed.measure.epoch import Epoch
from testbed.measure.pace import BOOT, FIRST_BOOT
from testbed.model import CONTROL_DOMAINS, Cell, Implementation, Phase, Server
from testbed.plan.policy import PRESETS

A, B = CONTROL_DOMAINS
GOOD, BAD = ("received", "received"), ("received", "silence")
AWAY = None
"""A server is not there: nobody writes."""


def measured(tries: Sequence[tuple[str, str] | None], when: str) -> tuple[ControlPair, list[Epoch], list[dict[str, Any]]]:
    """Let the pair be measured where its tries come out like this. Returns it, its epochs, and what was noted."""
    notes: list[dict[str, Any]] = []
    outcomes = iter(tries)

    class Epochs:
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
                epoch.answers[Cell(epoch.phase.name, sender, receiver, exchanges[0]).id].append(Answer(word))

    addresses = SimpleNamespace(of=lambda index: (f"198.18.0.{index}", None), dns=("198.18.0.2", None))
    journal = SimpleNamespace(
        note=lambda kind, **data: notes.append({"kind": kind.word, **data}), epoch_name=lambda *words: "-".join(words)
    )
    parts: Any = SimpleNamespace(mesh=SimpleNamespace(addresses=addresses), journal=journal)
    plan: Any = SimpleNamespace(exchanges=("message",))
    policy = PRESETS["opportunistic"]
    servers = tuple(Server(domain, Implementation("prosody", "trixie"), policy, "ca", n) for n, domain in enumerate((A, B)))
    epochs, attempts = Epochs(), Attempts()
    begun: list[Epoch] = []

    async def work() -> ControlPair:
        control = ControlPair(servers, plan, parts, epochs, attempts, Silent())  # type: ignore[arg-type]
        turn, done = asyncio.Event(), asyncio.Event()
        turn.set()
        await control.measure(Phase("before", {}), when, begun, turn=turn, done=done)
        assert done.is_set()
        return control

    return asyncio.run(work()), begun, notes


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
    control, begun, notes = measured(tries, "first")
    assert [epoch.name for epoch in begun] == names
    assert {epoch.patience for epoch in begun} == {FIRST_BOOT}
    (note,) = notes
    assert (note["when"], note["ok"], note["reason"], note["tries"]) == ("first", failure is None, failure, len(names))
    assert control.failure == failure


def test_afterwards_it_is_tried_once_and_ends_nothing() -> None:
    control, begun, notes = measured([BAD], "last")
    assert [(epoch.name, epoch.patience) for epoch in begun] == [("control-last", BOOT)]
    assert [(note["ok"], note["tries"]) for note in notes] == [(False, 1)]
    assert control.failure is None

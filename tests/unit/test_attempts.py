"""What a pair's measurement promises, with agents that say what the test wants: no engine, no servers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.engine.channel import AgentError
from testbed.engine.messages import Envelope
from testbed.measure import attempts as module
from testbed.measure import pace
from testbed.measure.attempts import Attempts
from testbed.measure.confirm import answers, open_questions, seen_enough
from testbed.measure.driver.protocol import Bounced, Received, Sent, Unsendable
from testbed.measure.epoch import Answer, Epoch
from testbed.measure.journal import Journal
from testbed.measure.parts import Parts
from testbed.model import Cell, EngineError, Phase
from testbed.record.store import Writer

A, B = "a.example", "b.example"
CELLS = [Cell("now", A, B, "message"), Cell("now", B, A, "message")]
Event = Received | Bounced


class Agent:
    """Driver and wiretap in one: what `reacts` returns for a token is reported at once."""

    def __init__(self, reacts: Callable[[str, str, str], list[Event]], alive: bool = True) -> None:
        self.reacts, self.living = reacts, alive
        self.handlers: dict[type, Callable[[Envelope], None]] = {}
        self.gates: list[str] = []
        self.channel = self

    def on(self, kind: type, handler: Callable[[Envelope], None]) -> None:
        self.handlers[kind] = handler

    async def send(self, client: str, _exchange: str, receiver: str, token: str) -> Envelope:
        assert self.gates[-1:] == ["open"], "nobody writes through a gate that is shut"
        events = self.reacts(client.rpartition(":")[2], receiver, token)
        for event in events:
            asyncio.get_running_loop().call_soon(self.handlers[type(event)], Envelope(event, None, 2.0))
        return Envelope(Unsendable() if events is UNSENDABLE else Sent(), 1, 1.0)

    async def alive(self, _client: str, _patience: float) -> bool:
        return self.living

    async def open(self, _gate: object) -> None:
        self.gates.append("open")

    def close(self, _gate: object) -> None:
        self.gates.append("close")


UNSENDABLE: list[Event] = []


def received(receiver: str, token: str) -> Event:
    return Received(f"now:mesh:{receiver}", token, "x")


def bounced(sender: str, token: str) -> Event:
    return Bounced(f"now:mesh:{sender}", token, "x", "remote-server-timeout", "", "wait")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pace.PATIENCE, "short", 0.05)
    monkeypatch.setitem(pace.RECOVERY, "short", 0.0)
    monkeypatch.setattr(module, "LINGER", 0.0)


def measure(
    agent: Agent,
    folder: Path,
    up: tuple[bool, bool] = (True, True),
    settled: Callable[[Cell], bool] = lambda _: False,
    meter: Any = None,
    epoch: Epoch | None = None,
) -> tuple[Epoch, list[Any]]:
    """A pair, measured; what the epoch knows then, and what was recorded."""
    writer = Writer(folder, "pair")

    async def run() -> Epoch:
        measured = epoch or Epoch(Phase("now", {}), "mesh", (), {}, {}, "")
        measured.macs = {A: "02:00", B: "02:01"}
        measured.containers = {domain: SimpleNamespace(id=domain) for domain in (A, B)}  # type: ignore[misc]
        measured.booted.set()
        for domain, online in zip((A, B), up, strict=True):
            measured.online[domain] = asyncio.get_running_loop().create_future()
            measured.online[domain].set_result(online)
        parts = Parts(None, None, Journal(writer), agent, agent, asyncio.Semaphore(1), meter=meter)  # type: ignore[arg-type]
        await Attempts(parts).pair(measured, A, B, ["message"], settled=settled)
        await asyncio.sleep(0.01)
        return measured

    done = asyncio.run(run())
    writer.flush()
    lines = (writer.path / "observations.jsonl").read_text().splitlines()
    writer.close(None)  # a run without a manifest and without an observation leaves nothing
    return done, [SimpleNamespace(**{"data": {}, "cell": None} | json.loads(line)) for line in lines]


def test_what_is_delivered_is_tried_once_and_the_first_direction_is_cold(tmp_path: Path) -> None:
    agent = Agent(lambda _, receiver, token: [received(receiver, token)])
    epoch, record = measure(agent, tmp_path)
    assert [epoch.words(c) for c in CELLS] == [["received"], ["received"]]
    tries = [(o.cell, o.data["cold"]) for o in record if o.kind == "attempt"]
    assert tries == [(CELLS[0].id, True), (CELLS[1].id, False)]
    assert agent.gates == ["open", "close"]


def test_a_failure_is_tried_twice_and_the_second_time_is_not_cold(tmp_path: Path) -> None:
    epoch, record = measure(Agent(lambda sender, _, token: [bounced(sender, token)]), tmp_path)
    assert [epoch.words(c) for c in CELLS] == [["error", "error"]] * 2
    assert Counter(o.data["cold"] for o in record if o.kind == "attempt") == {False: 3, True: 1}


def test_what_is_settled_is_not_tried_a_second_time(tmp_path: Path) -> None:
    agent = Agent(lambda sender, _, token: [bounced(sender, token)])
    epoch, _ = measure(agent, tmp_path, settled=lambda cell: cell == CELLS[0])
    assert [epoch.words(c) for c in CELLS] == [["error"], ["error", "error"]]


SLOW, QUICK = Answer("error", True, 9.0), Answer("error", True, 0.1)


@pytest.mark.parametrize(
    ("here", "mesh", "alone", "enough"),
    [
        ([SLOW], ["error", "error"], [], True),
        ([QUICK], ["error", "error"], [], False),
        ([SLOW], ["error"], [], False),
        ([SLOW], ["error", "received"], [], False),
        ([SLOW, SLOW], ["error", "error"], [], False),
        ([Answer("silence", True)], ["silence", "silence"], [], False),
        ([QUICK], ["received"], ["error", "error"], True),
        ([Answer("silence", True)], ["received"], ["silence", "silence"], True),
        ([SLOW], ["error", "error"], ["error", "received"], False),
        ([SLOW], ["error", "error"], ["error"], False),
        ([Answer("unsendable", True)], [], ["unsendable", "unsendable"], False),
        ([replace(SLOW, void=True)], ["error", "error"], [], False),
        ([replace(SLOW, void=True), SLOW], ["error", "error"], [], True),
    ],
)
def test_only_what_came_out_as_every_time_before_is_settled(
    here: list[Answer], mesh: list[str], alone: list[str], enough: bool
) -> None:
    """A timer costs time for nothing if the mesh has seen the same twice; in a further start of the pair alone, any failure."""
    epoch = epoch_of("alone-2", A)
    epoch.answers[CELLS[0].id] = here
    elsewhere = [epoch_of("mesh", A, ab=mesh), epoch_of("alone-1", A, ab=alone)]
    assert seen_enough(elsewhere, epoch, CELLS[0]) is enough


def test_only_the_end_that_is_concerned_counts(tmp_path: Path) -> None:
    """An echo at the sender is no delivery, and a copy of the error at the receiver tells the sender nothing."""
    epoch, record = measure(Agent(lambda sender, receiver, token: [received(sender, token), bounced(receiver, token)]), tmp_path)
    assert [epoch.words(c) for c in CELLS] == [["silence", "silence"]] * 2
    assert not [o for o in record if o.kind in ("received", "error")]


def test_what_comes_when_the_epoch_has_ended_is_no_answer(tmp_path: Path) -> None:
    """A server that goes on for another pair may give up a stanza of this one then."""
    late: list[tuple[str, str]] = []
    agent = Agent(lambda sender, _, token: late.append((sender, token)) or [])  # type: ignore[func-returns-value]

    def settled(_: Cell) -> bool:
        epoch.ended = 1.0
        for sender, token in late:
            agent.handlers[Bounced](Envelope(bounced(sender, token), None, 2.0))
        return True

    epoch = Epoch(Phase("now", {}), "mesh", (), {}, {}, "")
    _, record = measure(agent, tmp_path, settled=settled, epoch=epoch)
    assert len(late) == 2
    assert [o.kind for o in record if o.kind in ("silence", "error")] == ["silence", "silence"]


@pytest.mark.parametrize("alive", [True, False])
def test_a_silence_says_what_is_known_of_both_clients(tmp_path: Path, alive: bool) -> None:
    _, record = measure(Agent(lambda *_: [], alive), tmp_path)
    silences = [o.data for o in record if o.kind == "silence"]
    assert len(silences) == 4
    assert all((s["sender_alive"], s["receiver_alive"]) == (alive, alive) for s in silences)


def test_a_stanza_that_could_not_be_written_is_no_silence(tmp_path: Path) -> None:
    epoch, record = measure(Agent(lambda *_: UNSENDABLE), tmp_path)
    assert epoch.words(CELLS[0]) == ["unsendable", "unsendable"]
    assert {o.kind for o in record} == {"attempt", "unsendable"}


def test_a_driver_that_fails_ends_nothing_and_says_nothing_of_the_servers(tmp_path: Path) -> None:
    """One exchange with a bug, or a driver behind with its work, must neither end the run nor look like a lost stanza."""

    class Failing(Agent):
        async def send(self, *_: str) -> Envelope:
            raise AgentError("driver: that a sends failed: KeyError('x')")

    epoch, record = measure(Failing(lambda *_: []), tmp_path)
    assert epoch.words(CELLS[0]) == ["unsendable", "unsendable"]
    assert {o.kind for o in record} == {"attempt", "driver-error", "unsendable"}


def test_the_gate_is_shut_when_something_fails_behind_it(tmp_path: Path) -> None:
    class Gone(Agent):
        async def send(self, *_: str) -> Envelope:
            raise EngineError("the driver is gone")

    agent = Gone(lambda *_: [])
    with pytest.raises(EngineError, match="the driver is gone"):
        measure(agent, tmp_path)
    assert agent.gates == ["open", "close"]


def test_a_server_that_is_not_up_is_not_written_to(tmp_path: Path) -> None:
    epoch, record = measure(Agent(lambda *_: []), tmp_path, up=(True, False))
    assert [epoch.words(c) for c in CELLS] == [["not-started"]] * 2
    assert record == []


# --- which of them are measured once more -----------------------------------------------------------------------------


def epoch_of(name: str, first: str, **cells: list[str]) -> Epoch:
    """An epoch in which ``first`` wrote first; ``ab``, ``ba``: what came of the two directions."""
    server = [type("Server", (), {"domain": d})() for d in (first, B if first == A else A)]
    epoch = Epoch(Phase("now", {}), name, tuple(server), {}, {}, "")
    for key, cell in (("ab", CELLS[0]), ("ba", CELLS[1])):
        words = cells.get(key, [])
        epoch.answers[cell.id] = [Answer(word, cell.sender == first and n == 0) for n, word in enumerate(words)]
    return epoch


def test_answers_are_told_apart_by_company_and_order() -> None:
    epochs = [
        epoch_of("mesh", A, ab=["error", "error"]),
        epoch_of("alone-1", A, ab=["received", "error"]),
        epoch_of("alone-2", B, ab=["error"]),
    ]
    assert answers(epochs, CELLS[0], alone=False) == ["error", "error"]
    assert answers(epochs, CELLS[0], alone=True) == ["received", "error", "error"]
    assert answers(epochs, CELLS[0], alone=True, cold=True) == ["received"]
    assert answers(epochs, CELLS[0], alone=True, cold=False) == ["error", "error"]


@pytest.mark.parametrize(
    ("epochs", "orders"),
    [
        ([epoch_of("mesh", A, ab=["error"], ba=["error"]), epoch_of("alone-1", B, ab=["error"], ba=["error"])], []),
        ([epoch_of("mesh", A, ab=["error"], ba=["error"]), epoch_of("alone-1", B, ab=["received"], ba=["error"])], [(A, B)]),
        ([epoch_of("alone-1", B, ab=["received"], ba=["received", "error"])], [(B, A)]),
        ([epoch_of("alone-1", B, ba=["received"]), epoch_of("alone-2", B, ba=["error"])], [(B, A)]),
        ([epoch_of("alone-1", B, ba=["received"]), epoch_of("alone-2", B, ba=["received"])], []),
    ],
    ids=["agree", "warm differs from the mesh", "cold once, then warm otherwise", "cold differs", "cold twice alike"],
)
def test_what_differs_is_measured_once_more(epochs: list[Epoch], orders: list[tuple[str, str]]) -> None:
    assert open_questions(epochs, "now", (A, B), ["message"]) == orders

"""Which pairs are measured alone, the control pair, whom an address belonged to, and what is doubted: no engine, no servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.display import Silent
from testbed.measure.collect import observations_of, owner
from testbed.measure.conductor import PhaseMeasurement
from testbed.measure.confirm import Confirmations, tally
from testbed.measure.control import ControlPair
from testbed.measure.epoch import Answer, Epoch
from testbed.measure.forecast import Forecast
from testbed.measure.journal import Journal
from testbed.measure.pace import MOST_ALONE, Waits
from testbed.measure.tasks import task_group
from testbed.measure.wiretap.dissect import Stream
from testbed.model import Cell, Outcome, Phase, Plan, Server
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.record.store import Writer
from testbed.shares import Tally

PHASE = Phase("now", {})


def epoch_of(name: str, *domains: str, began: float = 0.0, ended: float = float("inf"), **addresses: str) -> Epoch:
    servers: Any = tuple(SimpleNamespace(domain=d) for d in domains)
    at: dict[str, tuple[str, str | None]] = {d: (addresses.get(d[0], ""), None) for d in domains}
    return Epoch(PHASE, name, servers, {}, at, "", began=began, ended=ended)


class Alone:
    """Measures pairs alone: every direction comes out as `words` says."""

    def __init__(self, **words: str) -> None:
        self.words = words
        self.orders: list[tuple[str, str, bool]] = []

    async def pair(
        self, phase: Phase, a: str, b: str, exchanges: Sequence[str], *, urgent: bool, progress: Any, **_: Any
    ) -> Epoch:
        self.orders.append((a, b, urgent))
        epoch = epoch_of(f"alone-{len(self.orders)}", a, b)
        for cold, (sender, receiver) in ((True, (a, b)), (False, (b, a))):
            epoch.answers[Cell(phase.name, sender, receiver, exchanges[0]).id] = [Answer(self.words[sender], cold)]
            progress(False)
        return epoch


def confirm(alone: Alone, pairs: list[tuple[str, str]], mesh: Epoch | None = None, **options: Any) -> Confirmations:
    """Request pairs, one after the other and each twice, and wait until all is settled."""
    made: list[Confirmations] = []

    async def run() -> None:
        async with task_group() as tasks:
            defaults = {"bound": None, "isolated": False, "progress": lambda _: None}
            one = Confirmations(PHASE, ["message"], alone, tasks, Silent(), **(defaults | options))  # type: ignore[arg-type]
            made.append(one)
            one.epochs += [mesh] if mesh else []
            for pair in [*pairs, *pairs]:
                one.request(*pair)
            assert not alone.orders, "until it is ready the machine is for the mesh"
            one.ready.set()
            await one.settled()

    asyncio.run(run())
    return made[0]


def test_a_pair_is_measured_alone_once_and_the_other_direction_first() -> None:
    alone = Alone(a="error", b="error")
    confirm(alone, [("a", "b")])
    assert alone.orders == [("b", "a", False)]


def mesh_of(*words: str) -> Epoch:
    """A mesh in which ``a`` wrote first to ``b``: what came of that."""
    mesh = epoch_of("mesh", "a", "b")
    mesh.answers[Cell("now", "a", "b", "message").id] = [Answer(word, n == 0) for n, word in enumerate(words)]
    return mesh


def test_what_differs_from_the_mesh_is_measured_again_and_before_others() -> None:
    alone = Alone(a="received", b="received")
    confirm(alone, [("a", "b")], mesh_of("error", "received"))
    assert alone.orders == [("b", "a", False), ("a", "b", True), ("a", "b", True)], "until three starts agree"


def test_a_failure_that_may_be_chance_is_one_when_three_starts_agree() -> None:
    alone = Alone(a="error", b="error")
    confirm(alone, [("a", "b")], mesh_of("error", "error"), chance=lambda cell: ("error",) if cell.sender == "a" else ())
    assert alone.orders == [("b", "a", False), ("a", "b", True)], "the mesh is one of the three"
    alone = Alone(a="received", b="received")
    confirm(alone, [("a", "b")], mesh_of("received"), chance=lambda _: ("error",))
    assert alone.orders == [("b", "a", False)], "a delivery needs no more"


def test_beyond_the_bound_a_pair_is_noted_as_unconfirmed_once() -> None:
    alone = Alone(a="error", b="error", c="error")
    confirmations = confirm(alone, [("a", "b"), ("a", "c"), ("b", "c")], bound=1)
    assert alone.orders == [("b", "a", False)]
    assert confirmations.unconfirmed == [("a", "c"), ("b", "c")]


def test_an_isolated_run_measures_each_direction_first_once() -> None:
    alone, steps = Alone(a="received", b="received"), []
    confirm(alone, [("a", "b")], isolated=True, progress=steps.append)
    assert [order[:2] for order in alone.orders] == [("a", "b"), ("b", "a")]
    assert len(steps) == 4, "every direction of every start is shown"


@pytest.mark.parametrize(("suspected", "spared"), [((), [True, True]), (("error",), [False, False, False, False])])
def test_the_second_try_of_a_failure_is_never_spared_where_it_may_be_chance(
    suspected: tuple[str, ...], spared: list[bool]
) -> None:
    class Slow(Alone):
        """Everything fails by a timer, as it did twice in the mesh."""

        def __init__(self) -> None:
            super().__init__(a="error", b="error")
            self.spared: list[bool] = []

        async def pair(self, phase: Phase, *args: Any, settled: Any, **options: Any) -> Epoch:
            epoch = await super().pair(phase, *args, **options)
            for sender, receiver in (("a", "b"), ("b", "a")):
                cell = Cell(phase.name, sender, receiver, "message")
                epoch.answers[cell.id] = [replace(a, seconds=9.0) for a in epoch.answers[cell.id]]
                self.spared.append(settled(epoch, cell))
            return epoch

    mesh = mesh_of("error", "error")
    mesh.answers[Cell("now", "b", "a", "message").id] = [Answer("error"), Answer("error")]
    alone = Slow()
    confirm(alone, [("a", "b")], mesh, chance=lambda _: suspected)
    assert alone.spared == spared


def test_an_attempt_that_was_void_is_none_for_the_shares() -> None:
    epoch, cell = epoch_of("alone-1", "a", "b"), Cell("now", "a", "b", "message")
    epoch.answers[cell.id] = [Answer("error", True, void=True), Answer("unsendable"), Answer("received")]
    assert tally([epoch], cell) == Tally(warm=Counter({"received": 1}), starts=1)
    epoch.answers[cell.id] = epoch.answers[cell.id][:2]
    assert tally([epoch], cell) == Tally()


class Drawn(Alone):
    """Comes out as a list says, attempt by attempt; what failed is tried once more, warm."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.drawn = list(words)

    async def pair(self, phase: Phase, a: str, b: str, exchanges: Sequence[str], *, urgent: bool, **_: Any) -> Epoch:
        self.orders.append((a, b, urgent))
        epoch = epoch_of(f"alone-{len(self.orders)}", a, b)
        for sender, receiver in ((a, b), (b, a)):
            made = [Answer(self._next(sender), sender == a)]
            if made[0].word == "error":
                made.append(Answer(self._next(sender)))
            epoch.answers[Cell(phase.name, sender, receiver, exchanges[0]).id] = made
        return epoch

    def _next(self, sender: str) -> str:
        return self.drawn.pop(0) if sender == "a" and self.drawn else "received"


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (["received", "error", "received"], 9),
        (["received", "error", "received", "error", "received", "received"], 4),
        (["received", *["error", "received"] * 8], 9),
        (["error", "error", "received"], 12),
        (["error", "error", *["received"] * 8, "error", "received", "error", "error"], 11),
    ],
    ids=["one failure", "two cold failures", "cold fails, warm delivers", "cold delivers, warm failed", "warm fails"],
)
def test_a_pair_whose_attempts_disagree_is_started_until_it_is_known(words: list[str], starts: int) -> None:
    alone = Drawn(*words)
    confirm(alone, [("a", "b")], mesh_of("error", "error"), chance=lambda _: ("error",))
    assert len(alone.orders) == starts


def test_what_never_agrees_comes_to_an_end() -> None:
    class Capricious(Alone):
        async def pair(self, *args: Any, **options: Any) -> Epoch:
            self.words = dict.fromkeys("ab", "error" if len(self.orders) % 2 else "received")
            return await super().pair(*args, **options)

    alone = Capricious()
    confirm(alone, [("a", "b")], mesh_of("error"))
    assert 2 < len(alone.orders) <= 6

    class OnlyWarm(Alone):
        """Warm attempts come out now so, now so: that is never beyond chance."""

        async def pair(self, phase: Phase, a: str, b: str, *rest: Any, **options: Any) -> Epoch:
            warm = "error" if len(self.orders) % 2 else "received"
            self.words = {a: "received", b: warm}
            return await super().pair(phase, a, b, *rest, **options)

    alone = OnlyWarm()
    confirm(alone, [("a", "b")], mesh_of("received"))
    assert len(alone.orders) <= MOST_ALONE


# --- whom an address belonged to --------------------------------------------------------------------------------------


def test_two_pairs_with_the_same_addresses_are_told_apart_by_time() -> None:
    epochs = [
        epoch_of("alone-1", "a", "b", began=10, ended=20, a="198.18.0.1", b="198.18.0.2"),
        epoch_of("alone-2", "c", "d", began=30, ended=40, c="198.18.0.1", d="198.18.0.2"),
    ]
    assert owner("198.18.0.1", 15, epochs) == ("alone-1", "a")
    assert owner("198.18.0.1", 35, epochs) == ("alone-2", "c")
    assert owner("198.18.0.1", 25, epochs) is None
    streams = [
        Stream(n, "198.18.0.1", "198.18.0.2", 40000, start=moment, end=moment) for n, moment in enumerate((15.0, 25.0, 35.0))
    ]
    assert [(o.epoch, o.data["sender"], o.data["receiver"]) for o in observations_of(streams, "now", epochs)] == [
        ("alone-1", "a", "b"),
        ("alone-2", "c", "d"),
    ]


def test_an_epoch_that_never_began_owns_nothing() -> None:
    assert owner("198.18.0.1", 5, [Epoch(PHASE, "alone-1", (), {}, {"a": ("198.18.0.1", None)}, "")]) is None


# --- the control pair -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "ok"), [(("received", "received"), True), (("received", "error"), False)])
def test_the_control_pair_waits_for_its_turn_and_says_whether_both_got_through(
    tmp_path: Path, root: Path, catalog: Catalog, words: tuple[str, str], ok: bool
) -> None:
    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    servers = tuple(plan.servers[:2])
    writer = Writer(tmp_path, "control")
    addresses = SimpleNamespace(of=lambda index: (f"198.18.0.{index}", None), dns=("198.18.0.9", None))
    parts: Any = SimpleNamespace(mesh=SimpleNamespace(addresses=addresses), journal=Journal(writer))
    written: list[str] = []

    class Epochs:
        waits = Waits("short")

        @contextlib.asynccontextmanager
        async def running(self, epoch: Epoch) -> AsyncIterator[None]:
            epoch.booted.set()
            yield

    class Attempts:
        async def pair(self, epoch: Epoch, a: str, b: str, exchanges: Sequence[str]) -> None:
            written.append(a)
            for (sender, receiver), word in zip(((a, b), (b, a)), words, strict=True):
                epoch.answers[Cell(epoch.phase.name, sender, receiver, exchanges[0]).id] = [Answer(word)]

    async def run() -> list[Epoch]:
        begun: list[Epoch] = []
        pair = ControlPair(servers, plan, parts, Epochs(), Attempts(), Silent())  # type: ignore[arg-type]
        turn, done = asyncio.Event(), asyncio.Event()
        async with task_group() as tasks:
            tasks.create_task(pair.measure(plan.phases[0], "last", begun, turn=turn, done=done))
            await asyncio.sleep(0.01)
            assert not written, "it writes when everything else is measured"
            turn.set()
            await done.wait()
        return begun

    begun = asyncio.run(run())
    writer.close(None)
    assert [e.name for e in begun] == ["control-last"]
    record = (writer.path / "observations.jsonl").read_text()
    assert f'"ok":{str(ok).lower()}' in record
    assert ("error" in record) is not ok


# --- what is doubted --------------------------------------------------------------------------------------------------


@pytest.fixture
def forecast(root: Path, catalog: Catalog) -> tuple[Forecast, Plan]:
    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    servers: dict[str, Server] = {s.domain: s for s in plan.servers}
    return Forecast(catalog, servers), plan


@pytest.mark.parametrize(
    ("delivers", "words", "doubtful"),
    [
        (True, ["received"], False),
        (True, ["error"], True),
        (True, ["received", "error"], True),
        (True, ["not-started"], False),
        (True, [], False),
        (False, ["error", "error"], False),
        (False, ["received"], True),
        (False, ["silence"], True),
    ],
)
def test_what_is_unexpected_or_not_always_the_same_is_doubted(
    forecast: tuple[Forecast, Plan], delivers: bool, words: list[str], doubtful: bool
) -> None:
    known, plan = forecast
    a, b, clear = (s.domain for s in plan.servers)
    phase = plan.phases[1]
    cell = Cell(phase.name, a, b if delivers else clear, "message")
    assert known.doubtful(phase, cell, words) is doubtful


def test_where_the_standards_leave_it_open_a_failure_is_doubted(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "open.yaml"
    file.write_text(
        "name: open\ntitle: An open question\nservers:\n"
        "  - {implementation: prosody@trixie, policy: encrypted, certificate: server-only, domain: a.example}\n"
        "  - {implementation: ejabberd@trixie, policy: authenticated, domain: b.example}\n"
        "phases: [{name: now}]\n"
    )
    plan = scenario.load(file, catalog)
    known, phase, cell = Forecast(catalog, {s.domain: s for s in plan.servers}), plan.phases[0], plan.cells[0]
    assert (cell.sender, cell.receiver) == ("a.example", "b.example")
    words: tuple[list[str], ...] = (["received"], ["error", "error"], ["not-started"], ["silence"], ["received", "error"])
    # whether a failure is the one that is left open depends on its cause, which only judging finds
    assert [known.doubtful(phase, cell, w) for w in words] == [False, True, False, True, True]
    assert not known.delivers(phase, "a.example", "b.example"), "it may as well be refused"


def test_a_failure_may_be_chance_where_nobody_expects_it(root: Path, catalog: Catalog) -> None:
    plan = scenario.load(root / "scenarios" / "manifesto-2014.yaml", catalog)
    known = Forecast(catalog, {s.domain: s for s in plan.servers})
    before, pairs = plan.phases[0], [(s.domain, r.domain) for s in plan.servers for r in plan.servers if s is not r]
    capricious = {pair for pair in pairs if known.chance(before, Cell(before.name, *pair, "message"))}
    assert any(known.crosstalks(before, *pair) for pair in capricious)
    assert any(not known.crosstalks(before, *pair) for pair in capricious)
    for pair in pairs:
        outcomes = known.outcomes(before, *pair)
        open_ = known.crosstalks(before, *pair) and Outcome.DELIVERED in outcomes
        assert (pair in capricious) == (open_ or outcomes == {Outcome.DELIVERED})


def test_only_what_ought_to_deliver_both_ways_waits_for_the_mesh_to_boot(forecast: tuple[Forecast, Plan]) -> None:
    known, plan = forecast
    a, b, clear = (s.domain for s in plan.servers)
    assert known.delivers(plan.phases[1], a, b)
    assert not known.delivers(plan.phases[1], a, clear)


@pytest.mark.parametrize(("apart", "order"), [(True, ["tried", "tried", "requested"]), (False, ["tried", "requested", "tried"])])
def test_who_is_measured_alone_anyway_is_when_the_mesh_is_done_with_it_and_who_is_doubted_at_once(
    apart: bool, order: list[str]
) -> None:
    """So that alone it is known what came of both tries."""
    seen: list[str] = []

    class Attempts:
        async def pair(self, epoch: Epoch, a: str, b: str, exchanges: Sequence[str], *, answered: Any, **_: Any) -> None:
            cell = Cell("now", a, b, exchanges[0])
            for _try in range(2):
                seen.append("tried")
                epoch.answers[cell.id].append(Answer("error"))
                answered(cell)

    def request(*_: str) -> None:
        if "requested" not in seen:
            seen.append("requested")

    run: Any = SimpleNamespace(
        forecast=SimpleNamespace(delivers=lambda *_: False, doubtful=lambda *_: True),
        attempts=Attempts(),
        plan=SimpleNamespace(exchanges=["message"]),
    )
    measurement = PhaseMeasurement(run, PHASE, [("a", "b")])
    confirmations: Any = SimpleNamespace(request=request)
    asyncio.run(measurement._talk(epoch_of("mesh", "a", "b"), "a", "b", confirmations, apart=apart))
    assert seen == order

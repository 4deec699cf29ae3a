"""A server that goes on from one pair measured alone to the next: for whom, how long, and what the record says. No engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.engine import federation
from testbed.engine.berths import Berth, Berths
from testbed.engine.federation import Log
from testbed.engine.images import Images
from testbed.judge.evidence import Evidence
from testbed.measure.alone import Alone, Lasting
from testbed.measure.collect import Collector
from testbed.measure.epoch import Epoch
from testbed.measure.forecast import Forecast
from testbed.measure.journal import Journal
from testbed.measure.pace import Waits
from testbed.measure.tasks import Workers
from testbed.model import EngineError, Implementation, Phase, Server
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS
from testbed.record import observations as kinds
from testbed.record.legs import complete_phases
from testbed.record.observations import Observation
from testbed.record.store import Record, Writer

PHASE = Phase("now", {})
DEAR, OTHER = "dear.example", "other.example"
PEERS = [f"peer{n}.example" for n in range(3)]


class Container(SimpleNamespace):
    """One that runs."""

    ended = False


class Bay:
    """Berths without containers: what was taken, stopped, given back."""

    def __init__(self, prefix: str) -> None:
        self.free = [f"{prefix}{n}" for n in range(9)]
        self.log: list[tuple[str, str]] = []
        self.broken: set[str] = set()

    def missing(self, images: Sequence[str]) -> int:
        return len(images)

    def take(self, image: str, avoid: Collection[str] = ()) -> Any:
        address = next(a for a in self.free if a not in avoid)
        self.free.remove(address)
        self.log.append(("take", address))
        return SimpleNamespace(
            address=(address, None), image=image, mac=address, container=Container(id=address),
            start=lambda *_: None, stop=lambda: self.stop(address), log=lambda: Log(b""),
        )  # fmt: skip

    def stop(self, address: str) -> Log:
        if address in self.broken:
            raise EngineError("it is gone")
        self.log.append(("stop", address))
        return Log(b"")

    def give(self, berth: Any) -> None:
        self.free.insert(0, berth.address[0])
        self.log.append(("give", berth.address[0]))

    def discard(self, berth: Any) -> None:
        self.log.append(("discard", berth.address[0]))


class Epochs:
    """Starts servers that are at once there; ``fails``: of which it is noted that it failed."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        self.waits = Waits("short")

    @contextlib.asynccontextmanager
    async def running(self, epoch: Epoch) -> AsyncIterator[None]:
        for domain, berth in epoch.berths.items():
            epoch.macs[domain] = berth.mac
            if domain not in epoch.kept:
                self.started.append((epoch.name, domain))
        yield
        epoch.failed |= self.fails


class Attempts:
    """Measures at once."""

    async def pair(self, *_: Any, **__: Any) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Measures pairs alone with the dear server; `pairs` are measured one after the other, `together` at once."""
    monkeypatch.setattr("testbed.measure.alone.federation.ending", lambda container: container.ended or None)
    it = SimpleNamespace(berths=Bay("10.0.0."), names=Bay("10.9.0."), epochs=Epochs(), alive=True, logouts=[])

    async def alive(*_: object) -> bool:
        return bool(await it.alive()) if callable(it.alive) else bool(it.alive)

    async def loaded(*_: object) -> None:
        return

    def run(work: Callable[[Alone], Awaitable[list[Epoch]]], lasting: Lasting | None) -> list[Epoch]:
        async def running() -> list[Epoch]:
            async with Workers(2) as workers:
                driver = SimpleNamespace(alive=alive, zone_loaded=loaded, logout=it.logouts.extend)
                journal = SimpleNamespace(epoch_name=lambda *words: "-".join(map(str, words)))
                parts: Any = SimpleNamespace(workers=workers, driver=driver, journal=journal, starting=asyncio.Semaphore(2))
                ids = {f"{d.split('.')[0]}:trixie": d for d in (DEAR, OTHER, *PEERS)}
                servers = {
                    d: Server(d, Implementation(d.split(".")[0], "trixie"), PRESETS["opportunistic"], "ca", 0)
                    for d in ids.values()
                }
                it.alone = Alone(
                    parts, it.epochs, Attempts(), Images({"dns": "dns"} | ids), servers, it.berths, it.names,  # type: ignore[arg-type]
                    lasting,
                )  # fmt: skip
                epochs = await work(it.alone)
                it.left = dict(it.alone._kept)
                await it.alone.release(PHASE)
                return epochs

        return asyncio.run(running())

    def pairs(*peers: str, lasting: bool = True, together: bool = False) -> list[Epoch]:
        async def work(alone: Alone) -> list[Epoch]:
            pairs = [alone.pair(PHASE, DEAR, peer, ["message"]) for peer in peers]
            return list(await asyncio.gather(*pairs)) if together else [await pair for pair in pairs]

        return run(work, (lambda *_: DEAR) if lasting else None)

    it.pairs, it.run = pairs, run
    return it


def dear(it: SimpleNamespace) -> int:
    """How often the dear server was started."""
    return sum(domain == DEAR for _, domain in it.epochs.started)


@pytest.mark.parametrize("together", [False, True])
def test_one_start_serves_several_peers_one_at_a_time(measured: SimpleNamespace, together: bool) -> None:
    epochs = measured.pairs(*PEERS, together=together)
    assert dear(measured) == 1
    first, *later = sorted(epochs, key=lambda e: e.name)
    assert not first.kept
    assert [e.kept[DEAR].since for e in later] == ["alone-1", "alone-1"]
    assert len({e.client(DEAR) for e in epochs}) == 1, "its client stays"
    assert len({e.berths[DEAR].address for e in epochs}) == 1
    assert len({e.dns for e in epochs}) == 1, "and its name server, whose address it knows"


def test_no_two_peers_of_one_start_have_one_address(measured: SimpleNamespace) -> None:
    """What the server still sends to a peer that is gone must not reach the next."""
    epochs = measured.pairs(*PEERS)
    peers = {e.addresses[d] for e in epochs for d in e.addresses if d != DEAR}
    assert len(peers) == len(PEERS)


def test_for_a_peer_that_it_met_a_server_is_started_afresh(measured: SimpleNamespace) -> None:
    epochs = measured.pairs(PEERS[0], PEERS[1], PEERS[0])
    assert dear(measured) == 2
    assert not epochs[2].kept
    assert ("stop", epochs[0].berths[DEAR].address[0]) in measured.berths.log


@pytest.mark.parametrize("alive", [True, False])
def test_a_kept_server_that_is_gone_is_replaced_and_the_next_pair_knows_nothing_of_it(
    measured: SimpleNamespace, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if alive:
        monkeypatch.setattr("testbed.measure.alone.federation.ending", lambda _: "it ended")
    measured.alive = alive
    measured.berths.broken.add("10.0.0.0")
    epochs = measured.pairs(*PEERS[:2])
    assert dear(measured) == 2
    assert not epochs[1].failed
    assert ("discard", "10.0.0.0") in measured.berths.log


def test_a_server_that_failed_is_not_kept(measured: SimpleNamespace) -> None:
    measured.epochs.fails = {DEAR}
    measured.pairs(*PEERS)
    assert dear(measured) == 3
    assert not measured.left


def test_without_leave_all_is_fresh(measured: SimpleNamespace) -> None:
    measured.pairs(*PEERS, lasting=False)
    assert dear(measured) == 3


def test_when_a_phase_is_done_nothing_is_kept_for_it(measured: SimpleNamespace) -> None:
    (epoch,) = measured.pairs(PEERS[0])
    assert list(measured.left) == [("now", DEAR)]
    assert not measured.alone._kept
    assert measured.logouts == [epoch.client(DEAR)]
    assert sorted(measured.berths.free) == [f"10.0.0.{n}" for n in range(9)]
    assert sorted(measured.names.free) == [f"10.9.0.{n}" for n in range(9)]


def test_no_more_are_kept_than_the_memory_is_for(measured: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "KEPT", 0)
    measured.pairs(*PEERS)
    assert dear(measured) == 3


def test_a_server_that_is_about_to_be_taken_is_not_ended_to_make_room(
    measured: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine it takes long to look whether it lives; meanwhile another dear server wants to be kept."""
    monkeypatch.setattr(federation, "KEPT", 1)
    dears = [DEAR, OTHER]
    looked, over = asyncio.Event(), asyncio.Event()

    async def alive(*_: object) -> bool:
        looked.set()
        await over.wait()
        return True

    async def other(alone: Alone) -> Epoch:
        await looked.wait()
        epoch = await alone.pair(PHASE, OTHER, PEERS[2], ["message"])
        over.set()
        return epoch

    async def work(alone: Alone) -> list[Epoch]:
        first = await alone.pair(PHASE, DEAR, PEERS[0], ["message"])
        return [first, *await asyncio.gather(alone.pair(PHASE, DEAR, PEERS[1], ["message"]), other(alone))]

    measured.alive = alive
    first, second, third = measured.run(work, lambda _, a, __: a if a in dears else None)
    assert second.kept[DEAR].since == first.name
    assert not third.kept
    assert [len(measured.left), measured.alone._kept] == [1, {}]
    assert sorted(measured.berths.free) == [f"10.0.0.{n}" for n in range(9)]


# --- who may be kept --------------------------------------------------------------------------------------------------


def test_only_a_dear_server_is_kept_and_only_beside_one_that_is_known_for_crosstalk(catalog: Catalog) -> None:
    weights = {name: image.spec.boot_weight for name, image in catalog.images.items()}
    heavy, light = max(weights, key=weights.__getitem__), min(weights, key=weights.__getitem__)
    crosstalk = next(name for name, image in catalog.images.items() if image.spec.crosstalk)
    policy = PRESETS["authenticated"]
    assert catalog.image(Implementation(crosstalk, "trixie")).crosstalks(policy)
    names = {"a.example": heavy, "b.example": crosstalk, "c.example": next(n for n in weights if n not in (heavy, crosstalk))}
    servers = {d: Server(d, Implementation(n, "trixie"), policy, "ca", 0) for d, n in names.items()}
    phase = Phase("now", {d: SimpleNamespace(policy=policy, certificate="ca") for d in servers})  # type: ignore[misc]
    forecast = Forecast(catalog, servers)
    assert light != heavy
    assert forecast.lasting(phase, "a.example", "b.example") == "a.example"
    assert forecast.lasting(phase, "b.example", "a.example") == "a.example"
    assert forecast.lasting(phase, "c.example", "b.example") is None, "its start is cheap"
    assert forecast.lasting(phase, "a.example", "c.example") is None, "nobody knows which of the two is in doubt"


# --- logs and addresses -----------------------------------------------------------------------------------------------


def test_a_log_is_given_out_in_parts_and_no_line_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    berth = Berth(SimpleNamespace(), "image", ("10.0.0.1", None), "02:00", token="t")  # type: ignore[arg-type]
    said = [b"1 before\n2 testbed-start: start t\n3 of the first\n"]
    monkeypatch.setattr(federation, "read_log", lambda *_: Log(b"".join(said)))
    assert berth.log().raw == b"3 of the first\n"
    said.append(b"4 of the second\n")
    assert berth.log() == Log(b"4 of the second\n")
    assert berth.log().raw == b""


def test_a_log_whose_beginning_is_gone_is_said_to_be_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    berth = Berth(SimpleNamespace(), "image", ("10.0.0.1", None), "02:00", token="t", read=40)  # type: ignore[arg-type]
    monkeypatch.setattr(federation, "read_log", lambda *_: Log(b"9 the rest\n"))
    assert berth.log().unread


def test_a_berth_is_never_at_an_address_that_is_to_be_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "start", lambda _: None)
    dropped: list[str] = []
    monkeypatch.setattr(federation, "drop", lambda containers: dropped.extend(c.name for c in containers))
    mesh: Any = SimpleNamespace(
        create_berth=lambda name, *_: SimpleNamespace(name=name), mac_of=lambda _, address: f"02:{address[0]}"
    )  # fmt: skip
    berths = Berths(mesh, [("10.0.0.1", None), ("10.0.0.2", None), ("10.0.0.3", None)])
    assert berths.take("x", ["10.0.0.1"]).address[0] == "10.0.0.2"
    first = berths.take("x")
    berths.give(first)
    assert berths.take("x", ["10.0.0.1"]).address[0] == "10.0.0.3"
    assert berths.take("y").address[0] == "10.0.0.1"
    assert dropped == ["berth-2"]


def test_what_a_server_that_goes_on_still_says_of_an_earlier_peer_is_not_observed(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("testbed.measure.serverlog.observe", lambda *_, **facts: seen.append(facts["domains"]) or [])
    server = Server(DEAR, Implementation("ejabberd", "trixie"), PRESETS["opportunistic"], "ca", 0)
    writer = Writer(tmp_path, "kept")
    parts: Any = SimpleNamespace(journal=Journal(writer), workers=SimpleNamespace(ended=False))
    collector = Collector(parts, catalog, {DEAR: server}, [DEAR, *PEERS], SimpleNamespace())  # type: ignore[arg-type]
    epoch = Epoch(PHASE, "alone-2", (), {}, {DEAR: ("10.0.0.1", None), PEERS[1]: ("10.0.0.2", None)}, "")
    collector._parse_log(epoch, DEAR, b"2026-01-01T00:00:00.000000000Z line\n")
    writer.close(None)
    assert seen == [{DEAR, PEERS[1]}]


# --- the record -------------------------------------------------------------------------------------------------------

AT: dict[str, Any] = {"phase": "now"}
STARTED = {"domain": DEAR, "image": "i", "mac": "m", "address": "10.0.0.1"}
GOES_ON = {"domain": DEAR, "since": "alone-1", "mac": "m", "address": "10.0.0.1"}


def record(*, read: bool) -> tuple[Observation, ...]:
    taken = {"domain": DEAR, "ok": True, "size": 1, "reason": None}
    said = [
        kinds.SERVER_STARTED.at(1.0, STARTED, **AT, epoch="alone-1"),
        kinds.LOG_TAKEN_IN.at(2.0, taken, **AT, epoch="alone-1"),
        kinds.SERVER_KEPT.at(3.0, GOES_ON, **AT, epoch="alone-2"),
        *([kinds.LOG_TAKEN_IN.at(4.0, taken, **AT, epoch="alone-2")] if read else []),
        kinds.WIRE_TAKEN_IN.at(5.0, {"status": 0, "streams": 0, "until": None}, **AT),
        kinds.PHASE_COMPLETE.at(6.0, {}, **AT),
    ]
    return tuple(said)


@pytest.mark.parametrize("read", [True, False])
def test_a_phase_is_whole_only_with_the_log_of_every_epoch_that_a_server_was_in(read: bool) -> None:
    assert bool(complete_phases(record(read=read))) is read


def test_a_server_that_went_on_was_started_when_it_was() -> None:
    evidence = Evidence(Record(Path("r"), {"phases": []}, record(read=True), complete=True))  # type: ignore[typeddict-item]
    assert evidence.started["now", "alone-2", DEAR] == 1.0


def test_its_row_holds_what_is_recorded() -> None:
    assert not kinds.misfits(kinds.SERVER_KEPT.at(3.0, GOES_ON, **AT, epoch="alone-2"))

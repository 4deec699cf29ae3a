"""The orchestration's promises that need no engine: nothing that goes wrong in the background is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.display import Silent
from testbed.engine.berths import Berth
from testbed.engine.images import Images
from testbed.measure.alone import Alone
from testbed.measure.attempts import Attempts
from testbed.measure.conductor import phase_after_phase
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.journal import Journal
from testbed.measure.parts import Parts, _wiretap, removed
from testbed.measure.tasks import Workers, task_group
from testbed.model import EngineError, Phase
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.record.store import Writer


def test_a_failure_after_a_phase_is_raised_though_the_next_phase_went_well(root: Path, catalog: Catalog) -> None:
    """Else a phase without wire and logs would pass for a complete one."""

    class Measurement:
        def __init__(self, phase: Phase, _: object) -> None:
            self.phase, self.mesh_down = phase, asyncio.Event()

        async def measure(self) -> None:
            await asyncio.sleep(0.01)
            self.mesh_down.set()
            if self.phase.name == "before":
                await asyncio.sleep(0.001)
                raise EngineError("the dissection failed")

    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    with pytest.raises(EngineError, match="dissection"):
        asyncio.run(phase_after_phase(plan, Measurement))


class Channel:
    """An agent's, that never says anything."""

    def on(self, *_: object) -> None: ...


class Driver:
    """A driver that knows no name server."""

    def __init__(self) -> None:
        self.channel = Channel()

    async def zone_loaded(self, *_: object) -> None:
        raise EngineError("the name server does not answer")


class Berths:
    """Berths without containers, and what became of them."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def missing(self, images: list[str]) -> int:
        return len(images)

    def take(self, image: str, _avoid: Collection[str] = ()) -> Any:
        return SimpleNamespace(address=(f"198.18.0.{len(image)}", None), image=image, start=lambda *_: None, container=None)

    def give(self, berth: Berth) -> None:
        self.ends.append(("given back", berth.image))

    def discard(self, berth: Berth) -> None:
        self.ends.append(("given up", berth.image))


def test_a_pair_that_could_not_be_measured_alone_gives_its_addresses_up(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    """Else the streams of whoever has them next are taken for its own, and a delivery there has left no trace on the wire."""
    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    a, b = plan.servers[0], plan.servers[2]
    settings = {d: replace(s, unsupported="nothing is started here") for d, s in plan.phases[0].settings.items()}
    phase = Phase("before", settings)
    images = Images({"dns": "dns", f"{a.implementation.name}:{a.implementation.release}": "a.example"})
    images.ids[f"{b.implementation.name}:{b.implementation.release}"] = "bb.example"
    berths, writer, driver = Berths(), Writer(tmp_path, "alone"), Driver()

    async def measure() -> float:
        async with Workers(2) as workers:
            parts = Parts(None, workers, Journal(writer), None, driver, asyncio.Semaphore(1))  # type: ignore[arg-type]
            epochs = Epochs(parts, plan, catalog, images, {}, None, Silent())  # type: ignore[arg-type]
            attempts = Attempts(parts)
            servers = {s.domain: s for s in plan.servers}
            alone = Alone(parts, epochs, attempts, images, servers, berths, berths)  # type: ignore[arg-type]
            free = alone.slots.free
            epoch = await alone.pair(phase, a.domain, b.domain, plan.exchanges)
            assert alone.slots.free == free
            return epoch.ended

    assert asyncio.run(measure()) < time.time() + 1, "the epoch has ended"
    writer.close(None)
    kinds = [line.partition('"kind":"')[2].partition('"')[0] for line in (writer.path / "observations.jsonl").open()]
    assert kinds == ["epoch-started", "epoch-failed", "epoch-ended"], "no server of it had failed"
    assert sorted(berths.ends) == [("given up", "a.example"), ("given up", "bb.example"), ("given up", "dns")]


def test_what_a_thread_still_makes_when_a_run_ends_is_removed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted while its containers are made must not leave those behind that come into being afterwards."""
    done: list[str] = []
    monkeypatch.setattr("testbed.engine.federation.remove", lambda *_: done.append("removed"))

    def make() -> None:
        time.sleep(0.2)
        done.append("made")

    async def end() -> None:
        async with removed(SimpleNamespace(), "run"), Workers(1) as workers, task_group() as tasks:  # type: ignore[arg-type]
            making = tasks.create_task(workers.do(make))
            tasks.create_task(workers.do(lambda: done.append("made too late"))).cancel()
            await asyncio.sleep(0.05)
            making.cancel()  # the thread goes on

    asyncio.run(end())
    assert done == ["made", "removed"]


@pytest.mark.parametrize("where", ["task", "last task", "body"])
def test_the_first_error_of_a_group_is_raised_as_it_is_and_ends_the_others(where: str) -> None:
    ended: list[str] = []

    async def fail() -> None:
        raise EngineError("the first")

    async def wait(note: Callable[[str], None]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note("waited")

    async def work() -> None:
        async with task_group() as tasks:
            tasks.create_task(wait(ended.append))
            await asyncio.sleep(0)
            if where == "task":
                tasks.create_task(fail())
                await asyncio.sleep(60)
            if where == "last task":  # the block has nothing more to do by then
                tasks.create_task(fail())
                return
            await fail()

    with pytest.raises(EngineError, match="the first") as caught:
        asyncio.run(work())
    assert ended == ["waited"]
    assert type(caught.value) is EngineError


def test_a_failure_after_the_block_has_nothing_more_to_do_is_no_interruption() -> None:
    """COMPAT Python 3.11: `TaskGroup.__aexit__` leaves the task that waits in it marked as cancelled."""

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise EngineError("the driver is gone")

    async def work() -> None:
        async with task_group() as tasks:
            tasks.create_task(fail())
            tasks.create_task(asyncio.sleep(60))

    with pytest.raises(EngineError, match="the driver is gone"):
        asyncio.run(work())


def test_a_bug_does_not_hide_behind_its_consequences_and_an_interruption_comes_first() -> None:
    async def fail(error: Exception, after: float) -> None:
        try:
            await asyncio.sleep(after)
        except asyncio.CancelledError:
            raise error from None
        raise error

    async def work() -> None:
        async with task_group() as tasks:
            tasks.create_task(fail(EngineError("the driver is gone"), 0.01))
            tasks.create_task(fail(KeyError("a bug"), 60))
            await asyncio.sleep(60)

    with pytest.raises(KeyError) as caught:
        asyncio.run(work())
    assert caught.value.__notes__ == ["at the same time: EngineError('the driver is gone')"]

    async def interrupted() -> None:
        async with task_group() as tasks:
            tasks.create_task(fail(EngineError("the driver is gone"), 60))
            await asyncio.sleep(60)

    async def interrupt() -> None:
        task = asyncio.create_task(interrupted())
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupt())


@pytest.mark.parametrize("asker", ["the run", "the watcher"])
def test_the_end_of_an_agent_is_the_news_not_the_question_that_it_left_open(monkeypatch: pytest.MonkeyPatch, asker: str) -> None:
    monkeypatch.setattr("testbed.engine.federation.state_of", lambda _: "ended with status 137", raising=False)

    class Quiet:
        """An agent that lives until it is ended."""

        def __init__(self) -> None:
            self.closed, self.failure, self.channel, self.dissector = asyncio.Event(), None, self, self
            self.container = SimpleNamespace(name="s2s-driver")

        def last_words(self) -> str:
            return "(no error output)"

        async def answer(self) -> None:
            if asker == "the watcher":
                self.closed.set()
                raise EngineError("awaited from s2s-driver: a sign of life; it ended")

    async def run() -> None:
        driver, tap = Quiet(), Quiet()
        async with Workers(1) as workers:
            parts = Parts(None, workers, None, tap, driver, asyncio.Semaphore(1))  # type: ignore[arg-type]
            async with parts.watched():
                if asker == "the run":
                    driver.closed.set()
                    raise EngineError("awaited from s2s-driver: a login; it ended")
                await asyncio.sleep(5)

    with pytest.raises(EngineError, match=r"s2s-driver ended with status 137 in the middle of the run"):
        asyncio.run(run())


def test_the_circumstances_of_an_agent_that_says_nothing_are_those_of_its_own_container(monkeypatch: pytest.MonkeyPatch) -> None:
    class Agent:
        """The channel to one that says something, or nothing."""

        def __init__(self, container: Any) -> None:
            self.container = container

        def on(self, *_: object) -> None: ...

        async def ready(self, _: float) -> None:
            if self.container.name == "dissector":
                raise EngineError("no first word")

    made = {name: SimpleNamespace(name=name) for name in ("wiretap", "dissector")}
    mesh = SimpleNamespace(
        engine=None, create_agent=lambda *_, **__: made["wiretap"], create_dissector=lambda *_: made["dissector"]
    )
    monkeypatch.setattr("testbed.engine.federation.start", lambda _: None)
    monkeypatch.setattr("testbed.engine.federation.circumstances", lambda _, container: f"about {container.name}")
    tap = SimpleNamespace(
        channel=Agent(made["wiretap"]), dissector=Agent(made["dissector"]), ready=Agent(made["dissector"]).ready
    )
    monkeypatch.setattr("testbed.measure.parts.Wiretap", lambda *_: tap)

    async def work() -> None:
        async with Workers(2) as workers:
            await _wiretap(mesh, Images({"wiretap": "w"}), workers, SimpleNamespace())  # type: ignore[arg-type]

    with pytest.raises(EngineError, match="no first word; about dissector"):
        asyncio.run(work())


def test_what_a_server_is_configured_with_is_rendered_beside_the_event_loop(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    """For what a user brings that is a process of its own, for which everything else would wait."""
    plan, threads = scenario.load(root / "scenarios" / "smoke.yaml", catalog), list[threading.Thread]()
    server, writer, phase = plan.servers[0], Writer(tmp_path, "rendered"), plan.phases[0]
    started: list[dict[str, bytes]] = []

    def render(*_: object, **__: object) -> dict[str, bytes]:
        threads.append(threading.current_thread())
        return {"server.cfg": b"text"}

    images: Any = SimpleNamespace(image=lambda _: SimpleNamespace(render=render))
    issued: Any = {(server.domain, server.certificate): SimpleNamespace(files=lambda: {"cert.pem": b"cert", "key.pem": b"key"})}
    mesh: Any = SimpleNamespace(addresses=SimpleNamespace(net6=None))
    berth: Any = SimpleNamespace(start=lambda files, _: started.append(files), mac="02:42:00:00:00:01")

    async def work() -> None:
        async with Workers(1) as workers:
            parts = Parts(mesh, workers, Journal(writer), None, Driver(), asyncio.Semaphore(1))  # type: ignore[arg-type]
            epochs = Epochs(parts, plan, images, None, issued, None, Silent())  # type: ignore[arg-type]
            at: Any = {server.domain: ("198.18.0.16", None)}
            epoch = Epoch(phase, "alone-1", (server,), phase.settings, at, "198.18.0.2")
            epoch.berths[server.domain] = berth
            await epochs._start_container(epoch, server, "image")

    asyncio.run(work())
    writer.close(None)
    assert threads != [threading.current_thread()]
    assert started == [{f"/etc/testbed/{name}": data for name, data in EVERYTHING.items()}]


EVERYTHING = {"server.cfg": b"text", "cert.pem": b"cert", "key.pem": b"key"}

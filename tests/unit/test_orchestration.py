"""The orchestration's promises that need no engine: nothing that goes wrong in the background is lost."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.measure.conductor import Round, Runner
from testbed.measure.pace import Slots
from testbed.model import EngineError


def test_a_failure_after_a_phase_is_raised_though_the_next_phase_went_well() -> None:
    """Else a phase without wire and logs would pass for a complete one."""

    async def broken() -> None:
        raise EngineError("the dissection failed")

    async def measure() -> None:
        runner = object.__new__(Runner)
        runner.plan = SimpleNamespace(phases=("before", "after"))  # type: ignore[assignment]
        runner.background = []

        async def measure_phase(phase: object) -> None:
            if phase == "before":
                runner.background.append(asyncio.create_task(broken()))
            await asyncio.sleep(0.01)

        runner.measure_phase = measure_phase  # type: ignore[method-assign]
        await runner.measure_all()

    with pytest.raises(EngineError, match="dissection"):
        asyncio.run(measure())


def test_a_pair_that_could_not_be_measured_alone_gives_its_addresses_up() -> None:
    """Else the streams of whoever has them next are taken for its own, and a delivery there has left no trace on the wire."""
    noted: list[str] = []
    fates: list[tuple[str, str]] = []

    class Fake:
        def missing(self, images: list[str]) -> int:
            return len(images)

        def take(self, image: str) -> SimpleNamespace:
            return SimpleNamespace(address=(f"198.18.0.{len(image)}", None), image=image)

        def give(self, berth: SimpleNamespace) -> None:
            fates.append(("given back", berth.image))

        def discard(self, berth: SimpleNamespace) -> None:
            fates.append(("given up", berth.image))

    async def measure() -> float:
        runner: Any = object.__new__(Runner)
        phase = SimpleNamespace(name="before", settings={})
        servers = {d: SimpleNamespace(domain=d, implementation=d) for d in ("a.example", "bb.example")}
        runner.by_domain, runner.alone_number, runner.epochs = servers, {"before": 0}, {}
        runner.images = SimpleNamespace(ids={"dns": "dns"}, server=lambda implementation: implementation)
        runner.slots, runner.starting, runner.berths = Slots(1), asyncio.Semaphore(1), Fake()
        runner.loop, runner.writer = asyncio.get_running_loop(), SimpleNamespace(flush=lambda: None)
        runner.note = lambda _source, kind, **_: noted.append(kind)

        async def off(work: Any) -> Any:
            return work()

        async def serve(*_: object) -> None:
            raise EngineError("the name server does not answer")

        async def start_server(*_: object) -> None: ...

        runner.off, runner.serve, runner.start_server = off, serve, start_server
        round_: Any = Round(phase)  # type: ignore[arg-type]
        await runner.measure_alone(round_, "a.example", "bb.example", again=False)
        assert runner.slots.free == 1
        return float(round_.epochs[0].ended)

    assert asyncio.run(measure()) < time.time() + 1, "the epoch has ended"
    assert noted == ["epoch-started", "server-failed", "epoch-ended"]
    assert fates == [("given up", "dns"), ("given up", "a.example"), ("given up", "bb.example")]


def test_what_a_thread_still_makes_when_a_run_ends_is_removed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted while its containers are made must not leave those behind that come into being afterwards."""
    done: list[str] = []
    monkeypatch.setattr("testbed.engine.federation.remove", lambda *_: done.append("removed"))

    async def end() -> None:
        runner: Any = object.__new__(Runner)
        runner.threads = ThreadPoolExecutor(1)
        runner.engine, runner.writer = SimpleNamespace(client=None), SimpleNamespace(id="run")

        def make() -> None:
            time.sleep(0.2)
            done.append("made")

        making = asyncio.ensure_future(runner.off(make))
        never = asyncio.ensure_future(runner.off(lambda: done.append("made too late")))
        await asyncio.sleep(0.05)
        making.cancel()  # the thread goes on
        await runner.raze()
        never.cancel()

    asyncio.run(end())
    assert done == ["made", "removed"]

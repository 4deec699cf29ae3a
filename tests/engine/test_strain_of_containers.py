"""The meter beside real containers: one that is short of processors, one that is idle, and an engine that shows it nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container
from small_mesh import Small

from testbed.engine import federation
from testbed.engine.images import Images
from testbed.measure.meter import meter as module
from testbed.measure.meter.meter import Meter
from testbed.measure.pace import FIRST_WORD
from testbed.model import Implementation
from testbed.record.strain import HEARTBEAT, PRESSURE

pytestmark = pytest.mark.engine

LOOP = "timeout 60 sh -c 'while :; do :; done'"
ONE, FOUR = f"({LOOP} &)", f"for i in 1 2 3 4; do ({LOOP} &) ; done"
"""In a container that may use one processor: of four busy loops three wait, whatever else runs, and that is its own doing."""
SLACK = 0.3
"""Seconds: of the two readings at the ends, and of a quota, which is for tenths of seconds."""
LONG, FEW = 3.0, 240.0
"""Seconds that are watched, and within which that much must have been read."""


def kernel_tells() -> bool:
    """Whether this kernel counts how long control groups wait, and has some to count it of."""
    with contextlib.suppress(OSError):
        return bool(Path("/proc/pressure/cpu").read_text()) and " cgroup2 " in Path("/proc/mounts").read_text()
    return False


@pytest.fixture
def pair(small: Small, built: Images) -> Iterator[tuple[Container, Container]]:
    """Two berths without a server: nothing runs in them but what waits for an order."""
    image = built.server(Implementation("prosody", "trixie"))
    assert image
    addresses = small.mesh.addresses.alone(len(small.subjects))[4:6]
    made = [small.mesh.create_berth(f"strain-{n}", image, address) for n, address in enumerate(addresses)]
    for each in made:
        federation.start(each)
    yield made[0], made[1]
    federation.drop(made)


@contextlib.asynccontextmanager
async def metering(small: Small, built: Images, *, shown: bool) -> AsyncIterator[Meter]:
    container = small.mesh.create_meter(built.ids["wiretap"], module.files(), shown=shown)
    meter = Meter(container)
    try:
        federation.start(container)
        await meter.channel.ready(FIRST_WORD)
        await meter.begin()
        yield meter
        assert not meter.channel.closed.is_set(), meter.channel.last_words()
    finally:
        meter.channel.close()
        federation.drop([container])


async def watched(meter: Meter, containers: tuple[Container, ...], seconds: float) -> tuple[float, float]:
    """Watch some containers for so long at least. Returns from when to when."""
    began = time.monotonic()
    async with asyncio.timeout(FEW):
        await meter.has_read(began)
        while not meter.stalls.known(str(c.id) for c in containers):
            await meter.has_read(meter.stalls.last + 0.1)
        start = meter.stalls.last
        await meter.has_read(start + seconds)
    return start, start + seconds


@contextlib.contextmanager
def crowded() -> Iterator[None]:
    """While this lasts, more processes want a processor than there are."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def used(container: Container) -> float:
    """Seconds for which the processes of a container have run."""
    stats = container.client.api.stats(container.id, stream=False, one_shot=True)
    return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


@pytest.mark.skipif(not kernel_tells(), reason="this kernel does not tell how long a control group waited")
def test_who_is_short_of_processors_waits_and_who_is_idle_does_not(
    small: Small, built: Images, pair: tuple[Container, Container]
) -> None:
    async def work() -> None:
        async with metering(small, built, shown=True) as meter:
            assert meter.source == PRESSURE, meter.reason
            meter.watch(*pair)
            hungry, idle = pair
            await asyncio.to_thread(federation.execute, hungry, ["sh", "-c", ONE], "root")
            with crowded():
                start, end = await watched(meter, pair, LONG)
            short, calm = (meter.strain([each], start, end, LONG) for each in (hungry, idle))
            assert (short.source, calm.source) == (PRESSURE, PRESSURE)
            assert short.processor > LONG / 8, "others have the processors"
            assert calm.processor < short.processor / 2, "it has nothing to do; what is stolen is the whole machine's"
            assert meter.strain(pair, start, end, LONG).waited >= short.waited

    asyncio.run(work())


@pytest.mark.skipif(not kernel_tells(), reason="this kernel does not tell how long a control group waited")
def test_who_keeps_itself_busy_waits_only_for_what_it_got_less_than_its_own_processor(
    small: Small, built: Images, pair: tuple[Container, Container]
) -> None:
    async def work() -> None:
        async with metering(small, built, shown=True) as meter:
            meter.watch(*pair)
            busy, _ = pair
            await asyncio.to_thread(federation.execute, busy, ["sh", "-c", FOUR], "root")
            start, _ = await watched(meter, pair, 0.0)
            before = await asyncio.to_thread(used, busy)
            await asyncio.sleep(LONG)
            ran = await asyncio.to_thread(used, busy) - before
            end = time.monotonic()
            async with asyncio.timeout(FEW):
                await meter.has_read(end)
            strain = meter.strain([busy], start, end, end - start)
            assert ran > 0
            assert strain.processor <= (end - start) - ran + SLACK, "what it ran it did not wait for"

    asyncio.run(work())


def test_where_nothing_is_shown_a_heartbeat_says_what_is_known(
    small: Small, built: Images, pair: tuple[Container, Container]
) -> None:
    async def work() -> None:
        async with metering(small, built, shown=False) as meter:
            assert meter.source == HEARTBEAT
            assert meter.reason
            meter.watch(*pair)
            began = time.monotonic()
            async with asyncio.timeout(FEW):
                await meter.has_read(began + LONG)
            strain = meter.strain(pair, began, began + LONG, LONG)
            assert strain.source == HEARTBEAT
            assert 0 <= strain.waited <= LONG

    asyncio.run(work())


def test_it_writes_nothing_of_what_it_is_shown(small: Small, built: Images) -> None:
    """Not even where an engine before 25 shows the second hierarchy as writable."""

    async def work() -> None:
        async with metering(small, built, shown=True) as meter:
            inside = await asyncio.to_thread(federation.execute, meter.channel.container, ["sh", "-c", TRIES])
            assert inside.split() == ["could-not"] * 3

    asyncio.run(work())


TRIES = """
for file in cgroup.procs cgroup.subtree_control; do
    done=could-not
    for folder in /host/cgroup /host/cgroup/unified; do (echo $$ > $folder/$file) 2>/dev/null && done=could; done
    echo $done
done
(mkdir /host/cgroup/x || mkdir /host/cgroup/unified/x) 2>/dev/null && echo could || echo could-not
"""

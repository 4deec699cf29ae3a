"""What the meter reads, and the window of an attempt in which its servers waited longest: no engine, no containers."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.engine import messages, rights
from testbed.engine.images import Images
from testbed.engine.messages import Envelope
from testbed.measure import parts
from testbed.measure.meter import meter as module
from testbed.measure.meter import protocol
from testbed.measure.meter.meter import Meter
from testbed.measure.meter.protocol import Readings
from testbed.measure.meter.stalls import Stalls
from testbed.measure.tasks import Workers
from testbed.model import EngineError
from testbed.record.strain import HEARTBEAT, PRESSURE, UNREAD, Strain

A, B, NAMES = (letter * 64 for letter in "abc")
QUIET = """some avg10=0.00 avg60=0.00 avg300=0.00 total=0
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
BUSY = """some avg10=41.28 avg60=12.02 avg300=3.11 total=27862143
full avg10=0.00 avg60=0.00 avg300=0.00 total=143
"""
HYBRID = f"13:pids:/docker/{A}\n3:cpu,cpuacct:/docker/{A}\n0::/docker/{A}\n"
"""/proc/self/cgroup of a container on a host with both versions."""


@pytest.fixture(scope="module")
def agent() -> Iterator[ModuleType]:
    """The agent, with what is copied beside it."""
    beside = {"messages": messages, "protocol": protocol}
    kept = {name: sys.modules.get(name) for name in (*beside, "meter_agent")}
    sys.modules |= beside
    try:
        spec = importlib.util.spec_from_file_location("meter_agent", Path(protocol.__file__).with_name("agent.py"))
        assert spec
        assert spec.loader
        made = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        yield made
    finally:
        for name, before in kept.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before


def container(root: Path, identity: str, *, cpu: str = QUIET) -> Path:
    """A control group with its pressure files."""
    folder = root / "docker" / identity
    folder.mkdir(parents=True, exist_ok=True)
    for resource, text in (("cpu", cpu), ("io", QUIET), ("memory", QUIET)):
        (folder / f"{resource}.pressure").write_text(text)
    return folder


# --- the agent --------------------------------------------------------------------------------------------------------


def test_a_pressure_file_says_for_how_long_some_process_waited(agent: ModuleType) -> None:
    assert agent.seconds_waited(BUSY) == 27.862143
    assert agent.seconds_waited(QUIET) == 0
    for nonsense in ("", "full avg10=0.00 total=1", "some avg10=0.00 total=x"):
        with pytest.raises(ValueError, match=r".*"):
            agent.seconds_waited(nonsense)


def test_stolen_time_is_that_of_each_processor(agent: ModuleType) -> None:
    stat = "cpu  1 2 3 4 5 6 7 300 0 0\ncpu0 1 2 3 4 5 6 7 100 0 0\ncpu1 1 2 3 4 5 6 7 200 0 0\nprocs_running 5\n"
    assert agent.stolen_and_running(stat, 100) == (1.5, 4)
    assert agent.stolen_and_running("cpu  1 2 3 4\ncpu0 1 2 3 4\n", 100) == (0.0, 0), "an old kernel"


@pytest.mark.parametrize(
    ("groups", "hierarchy", "where"),
    [
        (HYBRID, "unified", "unified/docker/{}"),
        (f"0::/docker/{A}\n", ".", "docker/{}"),
        (f"0::/system.slice/docker-{A}.scope\n", ".", "system.slice/docker-{}.scope"),
        (f"0::/user.slice/user-1000.slice/docker-{A}.scope\n", ".", "user.slice/user-1000.slice/docker-{}.scope"),
    ],
    ids=["both versions", "version 2", "systemd", "rootless with systemd"],
)
def test_other_containers_are_found_beside_its_own(
    agent: ModuleType, tmp_path: Path, groups: str, hierarchy: str, where: str
) -> None:
    root = tmp_path / hierarchy
    (root / groups.rpartition("0::/")[2].strip()).mkdir(parents=True)
    (root / "cgroup.procs").touch()
    assert Path(agent.folder_of(groups, tmp_path)) == tmp_path / where


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ("3:cpu,cpuacct:/docker/x\n", "no control groups of version 2"),
        ("0::/\n", "does not see its place"),
        (f"0::/docker/{A}\n", "is not under"),
    ],
    ids=["version 1 alone", "a name space of its own", "nothing is shown"],
)
def test_where_they_are_not_to_be_found_it_says_why(agent: ModuleType, tmp_path: Path, groups: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason):
        agent.folder_of(groups, tmp_path)


def test_what_has_not_waited_is_said_once_and_what_is_gone_is_forgotten(agent: ModuleType, tmp_path: Path) -> None:
    pressure = agent.Pressure(f"{tmp_path}/docker/{{}}")
    container(tmp_path, A), container(tmp_path, B)
    pressure.watch([A, B, NAMES, "../../etc"])
    assert pressure.read() == {A: [0, 0, 0], B: [0, 0, 0]}
    assert pressure.read() == {}
    container(tmp_path, B, cpu=BUSY)
    assert pressure.read() == {B: [27.8621, 0, 0]}
    container(tmp_path, NAMES)
    pressure.watch([B])
    assert pressure.read() == {NAMES: [0, 0, 0]}, "it is read as soon as it is there"
    container(tmp_path, B, cpu="")  # the kernel answers no more: ENODEV
    assert pressure.read() == {}
    assert B not in pressure._files


@pytest.mark.parametrize(
    ("seconds", "waited", "used", "counted"),
    [
        (4.0, 3.0, 1.0, 3.0),
        (4.0, 4.0, 4.0, 0.0),
        (4.0, 4.0, 3.5, 0.5),
        (4.0, 4.0, 4.3, 0.0),
        (4.0, 0.2, 0.1, 0.2),
    ],
    ids=["others have the processors", "its own threads, or its quota", "some of both", "more than its own", "next to nothing"],
)
def test_who_keeps_itself_busy_does_not_wait_for_the_machine(
    agent: ModuleType, tmp_path: Path, seconds: float, waited: float, used: float, counted: float
) -> None:
    now = 100.0
    pressure = agent.Pressure(f"{tmp_path}/docker/{{}}", 1.0, lambda: now)

    def state(waited: float, used: float) -> None:
        folder = container(tmp_path, A, cpu=f"some avg10=0.00 avg60=0.00 avg300=0.00 total={waited * 1e6:.0f}\nfull total=0\n")
        (folder / "cpu.stat").write_text(f"usage_usec {used * 1e6:.0f}\nuser_usec 0\nsystem_usec 0\n")

    state(7.0, 50.0)
    pressure.watch([A])
    assert pressure.read() == {A: [7, 0, 0]}
    now += seconds
    state(7.0 + waited, 50.0 + used)
    assert pressure.read().get(A, [7, 0, 0]) == [pytest.approx(7 + counted), 0, 0]


def test_what_never_comes_up_is_not_looked_for_for_ever(agent: ModuleType, tmp_path: Path) -> None:
    pressure = agent.Pressure(f"{tmp_path}/docker/{{}}")
    pressure.watch([A])
    for _ in range(agent.OPENINGS):
        assert pressure.read() == {}
    assert not pressure._new
    container(tmp_path, A)
    assert pressure.read() == {}
    pressure.watch([A])
    assert pressure.read() == {A: [0, 0, 0]}


def test_servers_and_their_name_server_have_the_same_share_of_processors() -> None:
    """The meter takes all that it watches alike."""
    assert rights.SERVER.processors == rights.NAMES.processors


@pytest.mark.parametrize("readable", [True, False])
def test_without_pressure_it_goes_by_its_heartbeat_and_says_why(agent: ModuleType, tmp_path: Path, readable: bool) -> None:
    proc, host = tmp_path / "proc", tmp_path / "host"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(HYBRID)
    (proc / "stat").write_text("cpu  1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\nprocs_running 1\n")
    folder = container(host / "unified", A)
    (host / "unified/cgroup.procs").touch()
    if not readable:
        (folder / "memory.pressure").unlink()
    made = agent.Agent(host, proc)
    assert (made.pressure is not None) is readable
    assert ("does not tell" in made.reason) is not readable
    readings = made.readings()
    assert (readings.waited, readings.machine, readings.running) == ({}, None, 0)


def test_its_heart_is_held_up_by_what_it_did_not_ask_for(agent: ModuleType) -> None:
    heart = agent.Heartbeat()
    heart.beat(lambda seconds: time.sleep(seconds + 0.2))
    assert heart.late >= 0.19


# --- the worst window of an attempt -----------------------------------------------------------------------------------

SHARES = {PRESSURE: 0.25, HEARTBEAT: 0.5}


def stalls(*readings: tuple[float, dict[str, float]], late: float = 0.0, stolen: float = 0.0) -> Stalls:
    """Readings: when, and how long each container has waited for a processor so far; ``late``, ``stolen``: a second."""
    made = Stalls(1000)
    for at, waited in readings:
        made.add(at, {name: [seconds, 0.0, 0.0] for name, seconds in waited.items()}, stolen=stolen * at, late=late * at)
    return made


def test_small_delays_over_a_long_attempt_are_none_and_the_same_at_once_are() -> None:
    """An attempt that waits 25 s for a timer gathers delays that harm nobody."""
    spread = stalls(*((t, {A: 0.05 * t, B: 0.0}) for t in range(30)))
    assert spread.strain([A, B], 1, 26, window=4, shares=SHARES) == Strain(4.0, 1.0, processor=0.2)
    once = stalls((0, {A: 0.0, B: 0.0}), (10, {A: 0.0}), (12, {A: 1.25}), (29, {A: 1.25}))
    strain = once.strain([A, B], 1, 26, window=4, shares=SHARES)
    assert (strain.processor, strain.exceeded) == (1.25, True)
    assert not once.strain([A, B], 13, 26, window=4, shares=SHARES).exceeded, "it came before the attempt"


def test_what_the_servers_and_their_name_server_waited_is_added_up() -> None:
    one = stalls((0, {A: 0.0, B: 0.0, NAMES: 0.0}), (4, {A: 0.4, B: 0.4, NAMES: 0.4}))
    assert one.strain([A, B, NAMES], 0, 4, window=4, shares=SHARES).waited == pytest.approx(1.2)
    assert one.strain([A, B], 0, 4, window=4, shares=SHARES).waited == pytest.approx(0.8)
    assert one.strain([A, A], 0, 4, window=4, shares=SHARES).waited == pytest.approx(0.4)


def test_stolen_time_counts_once_and_a_short_attempt_is_a_short_stretch() -> None:
    stolen = stalls((0, {A: 0.0}), (4, {A: 0.0}), stolen=0.5)
    assert stolen.strain([A], 0, 4, window=4, shares=SHARES) == Strain(4.0, 1.0, stolen=2.0)
    assert stolen.strain([A], 1, 1.5, window=4, shares=SHARES) == Strain(0.5, 1.0, stolen=0.25)
    assert stolen.strain([A], 1, 1, window=4, shares=SHARES) == Strain(0.0, 1.0)


def test_of_a_container_that_cannot_be_read_the_heartbeat_is_what_is_known() -> None:
    strain = stalls((0, {A: 0.0}), (4, {A: 3.0}), late=0.6, stolen=0.1).strain([A, B], 0, 4, window=4, shares=SHARES)
    assert strain == Strain(4.0, 2.0, processor=2.4, source=HEARTBEAT)
    assert strain.exceeded
    assert "even a light process waited 2.4 s within 4.0 s, above all for a processor" in str(strain)


def test_what_is_old_is_forgotten_but_for_where_it_stood() -> None:
    made = Stalls(10)
    for t in range(100):
        made.add(t, {A: [float(t), 0, 0]} if t < 50 else {}, stolen=0, late=0)
    assert made.strain([A], 95, 99, window=4, shares=SHARES).waited == 0
    assert all(len(series.times) < 60 for series in made._series.values())


READING = st.tuples(st.floats(0.05, 3), st.floats(0, 1), st.booleans())
"""Seconds since the one before, the share of them that was waited, whether the container had changed at all."""


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(READING, min_size=1, max_size=12), st.lists(READING, min_size=1, max_size=12), st.floats(0, 1), st.floats(0.1, 9))
def test_no_stretch_is_worse_than_the_one_that_is_found(
    first: list[tuple[float, float, bool]], second: list[tuple[float, float, bool]], place: float, window: float
) -> None:
    """Against every window on a fine grid, with the waiting of each container drawn by hand as a broken line."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, readings in ((A, first), (B, second)):
        at, waited, line = 0.0, 0.0, [(0.0, 0.0)]
        for seconds, share, grows in readings:
            at, waited = at + seconds, waited + seconds * share * grows
            line.append((at, waited))
        lines[name] = line

    def drawn(line: list[tuple[float, float]], moment: float) -> float:
        for (t, a), (u, b) in pairwise(line):
            if t <= moment <= u:
                return a + (b - a) * (moment - t) / (u - t)
        return line[-1][1]

    made, last = Stalls(1000), dict.fromkeys(lines, -1.0)
    moments = sorted({t for line in lines.values() for t, _ in line})
    for moment in moments:
        now = {name: drawn(line, moment) for name, line in lines.items()}
        made.add(moment, {n: [v, 0, 0] for n, v in now.items() if v != last[n]}, stolen=0, late=0)
        last = now
    start, end = moments[-1] * place * 0.5, moments[-1]
    width = min(window, end - start)
    grid = [start + (end - width - start) * n / 200 for n in range(201)]
    worst = max(sum(drawn(line, w + width) - drawn(line, w) for line in lines.values()) for w in grid)
    found = made.strain([A, B], start, end, window=window, shares=SHARES).processor
    assert found >= worst - 0.01
    assert found <= sum(line[-1][1] for line in lines.values()) + 0.01


# --- the host's side --------------------------------------------------------------------------------------------------


class Channel:
    """One whose agent says what the test wants."""

    def __init__(self, *_: object) -> None:
        self.handlers: dict[type, Any] = {}
        self.told: list[object] = []

    def on(self, kind: type, handler: Any) -> None:
        self.handlers[kind] = handler

    def tell(self, command: object) -> None:
        self.told.append(command)

    async def ask(self, *_: object) -> Envelope:
        return Envelope(protocol.Began(False, "no such files"), 1, 0.0)

    def says(self, readings: Readings) -> None:
        self.handlers[Readings](Envelope(readings, None, 0.0))


@dataclass
class Metered:
    """A meter, what its agent is reached by, what is noted of the machine, and what the clock shows."""

    meter: Meter
    channel: Channel
    notes: list[dict[str, Any]]
    now: float = 0.0


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> Metered:
    monkeypatch.setattr(module, "Channel", Channel)
    notes: list[dict[str, Any]] = []
    nothing: Any = SimpleNamespace()
    meter: Any = Meter(nothing, notes.append, lambda: made.now)
    made = Metered(meter, meter.channel, notes)
    return made


def test_a_clock_elsewhere_is_compared_by_the_quickest_message(metered: Metered) -> None:
    """The meter's clock is 1000 s behind; messages take 10 ms, one of them 3 s."""
    for metered.now, at, waited in ((1000.01, 0.0, 0.0), (1004.01, 4.0, 0.0), (1011.0, 8.0, 3.0), (1012.01, 12.0, 3.0)):
        metered.channel.says(Readings(at, {A: [waited, 0, 0]}, None, 0.0, 0.0, 1))
    one: Any = SimpleNamespace(id=A)
    assert metered.meter.strain([one], 1004.01, 1008.01, 4.0).processor == pytest.approx(3.0)
    assert metered.meter.strain([one], 1008.01, 1012.01, 4.0).processor == 0


def test_it_tells_how_long_those_waited_that_are_measured_just_then(metered: Metered) -> None:
    told: list[float] = []
    metered.meter.told = told.append
    one, other = (SimpleNamespace(id=name) for name in (A, B))

    def reads(at: float, a: float, b: float) -> None:
        metered.now = at
        metered.channel.says(Readings(at, {A: [a, 0, 0], B: [0, b, 0]}, None, 0.0, 0.0, 1))

    reads(1.0, 0.0, 0.0)
    with metered.meter.measuring(one, other), metered.meter.measuring(one):  # type: ignore[arg-type]
        reads(3.0, 0.5, 1.0)
    with metered.meter.measuring(one):  # type: ignore[arg-type]
        reads(5.0, 0.5, 3.0)
        reads(6.0, 1.5, 4.0)
    reads(8.0, 3.5, 6.0)
    assert told == pytest.approx([0.0, 0.5, 0.0, 0.5, 0.0])


def test_the_machine_is_noted_now_and_then_until_the_end(metered: Metered) -> None:
    for n in range(9):
        metered.now = n / 2
        metered.channel.says(Readings(n / 2, {}, [n * 0.25, 0.0, 0.0], n * 0.05, 0.0, 3))
    assert [(note["seconds"], note["processor"], note["stolen"]) for note in metered.notes] == [(2.0, 0.5, 0.1)] * 2
    assert metered.notes[0]["running"] == 3
    assert "reason" not in metered.notes[0]
    metered.meter.end()
    metered.now = 9.0
    metered.channel.says(Readings(9.0, {}, None, 0.0, 0.0, 0))
    assert len(metered.notes) == 2


def test_what_comes_in_a_burst_is_not_lost(metered: Metered) -> None:
    """The event loop was held up: what comes at once and was said last was the quickest, and what follows seems too early."""
    for metered.now, at, waited in ((2.0, 0.0, {}), (2.0, 0.5, {A: [0.1, 0, 0]}), (2.0, 1.9, {B: [0.1, 0, 0]}), (2.5, 2.4, {})):
        metered.channel.says(Readings(at, waited, None, 0.0, 0.0, 1))
    assert metered.meter.stalls.known([A, B])
    some: Any = [SimpleNamespace(id=A), SimpleNamespace(id=B)]
    assert metered.meter.strain(some, 2.0, 2.5, 4.0).source == PRESSURE


def test_of_a_meter_that_is_silent_nobody_knows_whether_the_servers_were_given_their_time(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.01)
    metered.channel.says(Readings(0.0, {A: [0, 0, 0]}, None, 0.0, 0.0, 1))
    some: Any = [SimpleNamespace(id=A)]

    async def work() -> Strain:
        await metered.meter.has_read(25.0)
        return metered.meter.strain(some, 1.0, 25.0, 4.0)

    strain = asyncio.run(work())
    assert (strain.source, strain.waited, strain.exceeded) == (UNREAD, 0.0, True)


def test_whoever_waits_for_a_reading_gets_it_when_it_reaches_that_far(metered: Metered) -> None:
    done: list[str] = []

    async def work() -> None:
        metered.meter.when_read(5.0, lambda: done.append("act"))
        waiting = asyncio.create_task(metered.meter.has_read(5.0))
        await asyncio.sleep(0)
        for metered.now in (1.0, 4.0, 5.5):
            assert not waiting.done()
            assert done == []
            metered.channel.says(Readings(metered.now, {}, None, 0.0, 0.0, 0))
            await asyncio.sleep(0)
        await asyncio.wait_for(waiting, 30)

    asyncio.run(work())
    assert done == ["act"]


def test_a_meter_that_is_not_allowed_to_look_says_so(metered: Metered) -> None:
    asyncio.run(metered.meter.begin())
    assert (metered.meter.source, metered.meter.reason) == (HEARTBEAT, "no such files")
    some: Any = SimpleNamespace(id=A)
    metered.meter.watch(some)
    assert metered.channel.told == [protocol.Watch([A])]


def test_a_meter_that_stands_still_ends_the_run(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would know any more whether an attempt is void."""
    metered.meter.channel.container = SimpleNamespace(name="s2s-meter")  # type: ignore[assignment]
    monkeypatch.setattr(parts, "NAMES", 0.01)

    async def work() -> None:
        watch = asyncio.create_task(parts._watch_meter(metered.meter))
        for metered.now in (30.0, 59.0):
            await asyncio.sleep(0.05)
        metered.channel.says(Readings(1.0, {}, None, 0.0, 0.0, 0))
        metered.now = 118.0
        await asyncio.sleep(0.05)
        assert not watch.done()
        metered.now = 121.0
        await asyncio.wait_for(watch, 30)

    with pytest.raises(
        EngineError, match=r"s2s-meter, which reads how long servers wait, runs, but has said nothing for 6[0-9] s"
    ):
        asyncio.run(work())


@pytest.mark.parametrize("fails", ["made", "started", "silent", "never"])
def test_where_an_engine_does_not_show_control_groups_the_meter_does_without(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rootless engine, one elsewhere, an odd host: the run goes on, by the heartbeat."""
    made: list[bool] = []
    gone: list[str] = []

    class Agent(Channel):
        def __init__(self, container: Any, *_: object) -> None:
            super().__init__()
            self.container = container

        async def ready(self, _: float) -> None:
            if self.container.name == "shown" and fails == "silent":
                raise EngineError("no first word")

        def close(self) -> None:
            gone.append("channel")

    def create(_image: str, _files: object, *, shown: bool) -> Any:
        made.append(shown)
        if shown and fails == "made":
            raise EngineError("not permitted")
        return SimpleNamespace(name="shown" if shown else "plain")

    def start(container: Any) -> None:
        if container.name == "shown" and fails == "started":
            raise EngineError("mounts denied")

    monkeypatch.setattr(module, "Channel", Agent)
    monkeypatch.setattr("testbed.engine.federation.start", start)
    monkeypatch.setattr("testbed.engine.federation.circumstances", lambda *_: "")
    monkeypatch.setattr("testbed.engine.federation.drop", lambda containers: gone.append(containers[0].name))
    mesh: Any = SimpleNamespace(create_meter=create, engine=None)

    async def work() -> Meter:
        async with Workers(1) as workers:
            return await parts._meter(mesh, Images({"wiretap": "w"}), workers, SimpleNamespace())  # type: ignore[arg-type]

    meter: Any = asyncio.run(work())
    assert made == ([True] if fails == "never" else [True, False])
    why = {"made": "not permitted", "started": "mounts denied", "silent": "no first word", "never": "no such files"}
    assert why[fails] in meter.reason
    assert meter.channel.container.name == ("shown" if fails == "never" else "plain")
    assert gone == ([] if fails in ("never", "made") else ["channel", "shown"])

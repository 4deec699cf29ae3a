"""Hypothesis over what others say: lines of an agent, lines of tshark, bytes of a log, sequences of observations.

Rule: whatever is said, what reads it raises nothing but what its docstring names, and what comes out has its published form.
`make test` tries the same examples each time; `make faults` (FAULTS_WORDS=drawn) draws others, and more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import socket
import string
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from testbed.engine import messages
from testbed.engine.channel import Channel
from testbed.judge.verdict import exit_status, judge_run
from testbed.measure import serverlog
from testbed.measure.driver import protocol as clients
from testbed.measure.wiretap import protocol as taps
from testbed.measure.wiretap.dissect import Dissector
from testbed.model import EngineError
from testbed.plan import catalog as catalogs
from testbed.record.documents import manifest_form, observation_form
from testbed.record.observations import KINDS, Field, Kind, Observation, Scope
from testbed.record.store import Record, planned_cells
from testbed.report.text import render_text

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
DRAWN = os.environ.get("FAULTS_WORDS") == "drawn"


def tries(examples: int) -> settings:
    """So many examples, the same each time; ten times as many that nobody saw before, where they are to be drawn."""
    return settings(
        max_examples=examples * 10 if DRAWN else examples, derandomize=not DRAWN, database=None, deadline=None, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


often, seldom = tries(100), tries(40)

# --- what an agent says -----------------------------------------------------------------------------------------------

KNOWN = {
    protocol.__name__: messages.vocabulary([*(r for rs in protocol.COMMANDS.values() for r in rs), *protocol.EVENTS])
    for protocol in (clients, taps)
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def lines_of_agents(draw: st.DrawFn) -> str:
    """Something like a message: one of the known names or none, with these or those fields."""
    known = draw(st.sampled_from(list(KNOWN.values())))
    fields = draw(st.dictionaries(st.sampled_from(["client", "token", "reason", "pairs", "x"]), JSON, max_size=4))
    head = {"message": draw(st.sampled_from(sorted(known)) | JSON), "id": draw(JSON), "time": draw(JSON)}
    return json.dumps({**head, **fields})


@often
@given(st.text(max_size=60) | st.binary(max_size=60) | JSON.map(json.dumps) | lines_of_agents())
@example('{"message": {}, "id": 1, "time": 0}')
@example('{"message": "ready", "id": {}, "time": 0}')
def test_a_line_of_an_agent_is_a_message_or_is_refused(line: str | bytes) -> None:
    for known in KNOWN.values():
        try:
            envelope = messages.decode(line, known)
        except ValueError:
            continue
        assert type(envelope.message) in known.values()
        assert envelope.id is None or type(envelope.id) is int
        assert isinstance(envelope.time, float | int)


def test_what_is_nested_too_deeply_is_no_message() -> None:
    for known in KNOWN.values():
        with pytest.raises(ValueError, match="no message of this protocol"):
            messages.decode("[" * 100_000, known)


class Attached:
    """A container whose attach stream the test holds the other end of."""

    name = "agent"

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def attach_socket(self, **_: object) -> socket.socket:
        return self.theirs


@seldom
@given(st.lists(lines_of_agents() | st.text(max_size=30), max_size=6), st.binary(max_size=20))
def test_a_channel_ends_who_waits_whatever_the_agent_had_said(lines: list[str], rest: bytes) -> None:
    """No line takes the reader down unheard: then whoever asks would wait for as long as the longest command may take."""

    async def talk() -> None:
        trouble: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        container = Attached()
        channel = Channel(container, clients.COMMANDS, clients.EVENTS)  # type: ignore[arg-type]
        asked = asyncio.create_task(channel.ask(clients.Ping("a"), 60, "a sign of life"))
        await asyncio.sleep(0)
        data = "\n".join([*lines, ""]).encode(errors="replace")
        container.ours.sendall(struct.pack(">BxxxL", 1, len(data)) + data + rest)
        container.ours.close()
        async with asyncio.timeout(20):
            await channel.closed.wait()
            with contextlib.suppress(EngineError):
                await asked
        await asyncio.sleep(0)
        assert trouble == []
        container.theirs.close()

    asyncio.run(talk())


# --- what tshark says -------------------------------------------------------------------------------------------------

RECORDED = [line for path in sorted((GOLDEN / "wire").glob("*.txt")) for line in path.read_text().splitlines()]
PRINTABLE = st.text(string.printable, max_size=12)


@st.composite
def lines_of_tshark(draw: st.DrawFn) -> str:
    """A recorded line, in which some fields have other content."""
    fields = draw(st.sampled_from(RECORDED)).split("|")
    for place in draw(st.lists(st.integers(0, len(fields) - 1), max_size=4)):
        fields[place] = draw(
            PRINTABLE | st.sampled_from(["", "0", "-1", "0x", "ff", "1,2", "|", "1e999", "nan", "zz:", "0x1303"])
        )
    return "|".join(fields)


@often
@given(st.lists(lines_of_tshark() | st.text(max_size=80), max_size=12))
def test_the_dissector_takes_any_line_and_counts_what_it_cannot_read(lines: list[str]) -> None:
    dissector = Dissector()
    dissector.feed(lines)
    for stream in dissector.streams.values():
        json.dumps(stream.facts())
    assert 0 <= dissector.unread <= len(lines)
    before = len(dissector.streams)
    dissector.feed(["so|much|nonsense"])
    assert len(dissector.streams) == before


@often
@given(st.text(string.printable, max_size=30).filter(lambda s: "\n" not in s))
@example("a|b.example")
@example("|" * 20)
def test_a_name_that_a_server_sends_shifts_no_field(name: str) -> None:
    """The separator in a server name (SNI) is the peer's choice."""
    line = next(line for line in RECORDED if "1" in line.split("|")[11].split(","))
    fields = line.split("|")
    dissector = Dissector()
    dissector.feed(["|".join([*fields[:16], name, fields[17]])])
    assert dissector.unread == 0
    assert [s.server_name for s in dissector.streams.values()] == [name or None]


@pytest.mark.parametrize(
    "words", [b"<result", b"<starttls", b"<stream:error", b"<a:" + b"a" * 40, b"<starttls urn:ietf:params:xml:ns:xmpp-tls", b"</"]
)
def test_a_stream_of_beginnings_takes_no_longer_than_its_bytes(words: bytes) -> None:
    """Endless XML: time that grows with the square of what came would hold up the whole run. Measured: 0.2 s, and 13 s before."""
    data = (words * (1 + 60_000 // len(words)))[:60_000]
    head = ["1.0", "7", "198.18.0.1", "198.18.0.2", "", "", "40000", "5269", "0x0018", str(len(data)), *[""] * 7, data.hex()]
    dissector, began = Dissector(), time.process_time()
    for source, target in (("198.18.0.1", "198.18.0.2"), ("198.18.0.2", "198.18.0.1")):
        ports = ["40000", "5269"] if source.endswith("1") else ["5269", "40000"]
        dissector.feed(["|".join([*head[:2], source, target, "", "", *ports, *head[8:]])] * 10)
    assert time.process_time() - began < 10
    assert dissector.unread == 0


# --- what a server logs -----------------------------------------------------------------------------------------------


@functools.cache
def images() -> dict[str, Any]:
    """The shipped implementations."""
    return dict(catalogs.load().images)


@functools.cache
def samples() -> list[tuple[str, str]]:
    """(implementation, a line that its patterns know)."""
    found = []
    for name, image in images().items():
        found += [(name, pattern.sample) for pattern in image.logs.patterns if pattern.sample]
    return found


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, bytes]:
    """A log as the engine gives it: lines that the patterns know, cut and mixed with others."""
    implementation = draw(st.sampled_from(sorted({name for name, _ in samples()})))
    known = [sample.encode() for name, sample in samples() if name == implementation]
    line = (
        st.binary(max_size=40)
        | st.sampled_from(known)
        | st.tuples(st.sampled_from(known), st.integers(0, 60)).map(lambda t: t[0][: t[1]])
    )
    stamp = st.sampled_from([b"2026-11-28T16:13:47.123456789Z ", b"2026-11-28T16:13:47Z ", b"9999-99-99T ", b""])
    parts = draw(st.lists(st.tuples(stamp, line), max_size=12))
    return implementation, b"\n".join(a + b for a, b in parts)


@seldom
@given(logs())
def test_any_log_is_read_and_what_is_noted_has_its_form(given_: tuple[str, bytes]) -> None:
    implementation, raw = given_
    found = serverlog.observe(
        images()[implementation].logs, serverlog.stamped(raw), server="a.example",
        domains={"a.example", "b.example"}, addresses={"198.18.0.17": "b.example"}, phase="now", epoch="mesh",
    )  # fmt: skip
    for o in found:
        assert o.data["peer"] == "b.example"
        json.dumps(o.data)


# --- what a record holds ----------------------------------------------------------------------------------------------

MANIFEST = json.loads((GOLDEN / "interrupted" / "manifest.json").read_text())
CELLS = [cell.id for cell in planned_cells(MANIFEST)]
DOMAINS = [s["domain"] for s in MANIFEST["servers"]]
EPOCHS = ["mesh", "alone-1", "alone-2", "control-first", "control-last"]
TOKENS = [f"cell-{n:016x}" for n in range(6)]
POOLS: dict[str, list[Any]] = {
    "token": TOKENS,
    **dict.fromkeys(("domain", "sender", "receiver", "server", "peer"), DOMAINS),
    "implementation": [s["implementation"] for s in MANIFEST["servers"]], "release": [s["release"] for s in MANIFEST["servers"]],
    "cause": ["certificate-expired", "dns", "tls-required", "no-such-cause"],
    "condition": ["remote-server-timeout", "remote-server-not-found", "policy-violation", ""],
    "name": [p["name"] for p in MANIFEST["phases"]],
}  # fmt: skip
BASIC: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=12),
    int: st.integers(0, 10**6),
    float: st.floats(0, 2e9, allow_nan=False),
    bool: st.booleans(),
    list[str]: st.lists(st.text(max_size=8), max_size=3),
    list[float]: st.lists(st.floats(0, 2e9, allow_nan=False), max_size=3),
    list[list[str]]: st.lists(st.lists(st.sampled_from(DOMAINS), min_size=2, max_size=2), max_size=3),
}


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """What a field may hold."""
    if field.name in POOLS and field.type is str:
        plain: st.SearchStrategy[Any] = st.sampled_from(POOLS[field.name])
    elif field.values and field.type is str:
        plain = st.sampled_from(field.values)
    else:
        plain = BASIC[field.type]
    return plain | st.none() if field.null else plain


def observations_of(kind: Kind) -> st.SearchStrategy[Observation]:
    """Any observation of a kind that its row allows, about this run."""
    required = {f.name: values_of(f) for f in kind.fields if not f.optional}
    optional = {f.name: values_of(f) for f in kind.fields if f.optional}
    scope = {
        "phase": st.sampled_from(POOLS["name"]) if "phase" in kind.scope.value else st.none(),
        "epoch": st.sampled_from(EPOCHS) if "epoch" in kind.scope.value else st.none(),
        "cell": st.sampled_from(CELLS) if kind.scope is Scope.CELL else st.none(),
    }
    data = st.fixed_dictionaries(required, optional=optional)
    return st.builds(kind.at, st.floats(0, 2e9, allow_nan=False), data, **scope)


ANY_RECORD = st.tuples(
    st.lists(st.one_of([observations_of(kind) for kind in KINDS.values()]), max_size=40),
    st.lists(st.one_of([observations_of(kind) for kind in KINDS.values() if kind.scope is Scope.CELL]), max_size=20),
    st.booleans(),
)


@functools.cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "schemas" / "verdicts.schema.json").read_text()))


@seldom
@given(ANY_RECORD)
def test_any_record_gives_verdicts_of_their_published_form(given_: tuple[list[Observation], list[Observation], bool]) -> None:
    """Every planned cell once, whatever was noted in whatever order; an unfinished run can never be told to the end."""
    several, cells, complete = given_
    observations = tuple(o for pair in zip(several, [*cells, *[None] * 40], strict=False) for o in pair if o)
    for o in observations:
        line = {k: v for k, v in vars(o).items() if v not in (None, {})} | {"source": o.source.value}
        observation_form().validate_python(json.loads(json.dumps(line)), strict=True)
    record = Record(Path("any"), manifest_form().validate_python(MANIFEST), observations, complete)
    verdicts = judge_run(record)
    assert [e.message for e in validator().iter_errors(json.loads(json.dumps(verdicts)))] == []
    assert sorted(c["id"] for c in verdicts["cells"]) == sorted(CELLS)
    assert exit_status(verdicts) in ((0, 1, 3) if complete else (3,))
    for cell in verdicts["cells"]:
        assert cell["cause"] is None or cell["outcome"] != "delivered", cell
        assert cell["cause"] is not None or cell["outcome"] != "inconclusive", cell
    assert render_text(verdicts, colour=False, width=110)

"""The agents' protocols: one table for both sides, every command answered by its id, every message as it was sent."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import datetime as dt
import json
import socket
import ssl
import struct
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from testbed.engine import messages
from testbed.engine.channel import AgentError, Channel
from testbed.measure import pki
from testbed.measure.driver import driver
from testbed.measure.driver import protocol as clients
from testbed.measure.meter import meter
from testbed.measure.meter import protocol as meters
from testbed.measure.wiretap import protocol as taps
from testbed.measure.wiretap import wiretap
from testbed.model import EngineError
from testbed.plan.certificates import PROFILES


def kinds(protocol: ModuleType) -> list[type]:
    replies = [reply for replies in protocol.COMMANDS.values() for reply in replies]
    return [*protocol.COMMANDS, *replies, *protocol.EVENTS]


@pytest.mark.parametrize("protocol", [clients, taps, meters])
def test_every_message_stands_in_the_table_and_says_what_it_means(protocol: ModuleType) -> None:
    defined = [v for v in vars(protocol).values() if dataclasses.is_dataclass(v)]
    assert set(defined) == set(kinds(protocol))
    assert all(kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(") for kind in defined)
    assert len({messages.name_of(kind) for kind in defined}) == len(defined)


@pytest.mark.parametrize(("protocol", "host"), [(clients, driver), (taps, wiretap), (meters, meter)])
def test_both_sides_have_a_method_for_every_command(protocol: ModuleType, host: ModuleType) -> None:
    """The agent's is found by the command's name, so one that is missing would only be missed in a run."""
    agent = ast.parse(Path(str(protocol.__file__)).with_name("agent.py").read_text())
    methods = {n.name for n in ast.walk(agent) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {messages.name_of(c).replace("-", "_") for c in protocol.COMMANDS} <= methods
    sent = {n.attr for n in ast.walk(ast.parse(Path(str(host.__file__)).read_text())) if isinstance(n, ast.Attribute)}
    assert {c.__name__ for c in protocol.COMMANDS} <= sent


@pytest.mark.parametrize("host", [driver, wiretap, meter])
def test_an_agent_gets_all_that_it_imports(host: ModuleType) -> None:
    assert {"agent.py", "protocol.py", "messages.py"} <= host.files().keys()


def test_a_message_comes_out_as_it_went_in() -> None:
    known = messages.vocabulary(clients.EVENTS)
    sent = clients.Bounced("c", "t", "b.example", "remote-server-timeout", "ü\n", "wait")
    line = messages.encode(sent, 7)
    assert line.count("\n") == 1
    envelope = messages.decode(line, known)
    assert (envelope.message, envelope.id) == (sent, 7)
    assert envelope.time > 1e9


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", "nonsense", '{"message": "bounced", "id": 1, "time": 0}', '{"message": "no-such"}']
)
def test_what_is_no_message_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        messages.decode(line, messages.vocabulary(clients.EVENTS))


class Container:
    """A container whose attach stream the test holds the other end of."""

    name = "agent"
    ours: socket.socket
    theirs: socket.socket

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(5)
        self.lines = self.ours.makefile()

    def attach_socket(self, **_: object) -> Any:
        return self.theirs

    def says(self, text: str, stream: int = 1) -> None:
        self.ours.sendall(struct.pack(">BxxxL", stream, len(text.encode())) + text.encode())

    async def hears(self) -> dict[str, Any]:
        line = await asyncio.to_thread(self.lines.readline)
        return dict(json.loads(line))


def channel_of(container: Container) -> Channel:
    return Channel(container, clients.COMMANDS, clients.EVENTS)  # type: ignore[arg-type]


def test_replies_find_who_asked_whatever_the_order() -> None:
    async def talk() -> list[object]:
        container = Container()
        channel = channel_of(container)
        asked = [asyncio.create_task(channel.ask(clients.Login(c, "d", "::1", 1, 1.0), 5, c)) for c in "ab"]
        heard = [await container.hears() for _ in asked]
        assert [h["client"] for h in heard] == ["a", "b"]
        assert heard[0]["id"] != heard[1]["id"]
        container.says(messages.encode(clients.LoginFailed("second"), heard[1]["id"]))
        container.says(messages.encode(clients.LoginFailed("first"), heard[0]["id"]))
        return [(await a).message for a in asked]

    assert asyncio.run(talk()) == [clients.LoginFailed("first"), clients.LoginFailed("second")]


def test_one_failure_ends_nobody_else() -> None:
    async def talk() -> None:
        container = Container()
        channel = channel_of(container)
        one, other = (asyncio.create_task(channel.ask(clients.Ping(c), 5, f"a sign of {c}")) for c in "ab")
        heard = [await container.hears() for _ in "ab"]
        container.says(messages.encode(messages.Failed("KeyError('a')"), heard[0]["id"]))
        with pytest.raises(EngineError, match="a sign of a failed: KeyError"):
            await one
        assert not other.done()
        container.says(messages.encode(clients.Alive(), heard[1]["id"]))
        assert (await other).message == clients.Alive()

    asyncio.run(talk())


def test_an_event_reaches_who_listens_and_an_end_ends_who_waits() -> None:
    async def talk() -> list[object]:
        container, heard = Container(), []
        channel = channel_of(container)
        channel.on(clients.Disconnected, lambda e: heard.append(e.message))
        container.says(messages.encode(messages.Ready()))
        await channel.ready(5)
        line = messages.encode(clients.Disconnected("a", "gone"))
        container.says(line[:20])  # an engine may cut a line anywhere
        container.says(line[20:])
        container.says("Traceback: out of memory\n", stream=2)
        asked = asyncio.create_task(channel.ask(clients.Ping("a"), 5, "a sign of life"))
        await container.hears()
        container.ours.shutdown(socket.SHUT_RDWR)
        with pytest.raises(EngineError, match=r"a sign of life; it ended: Traceback: out of memory"):
            await asked
        return list(heard)

    assert asyncio.run(talk()) == [clients.Disconnected("a", "gone")]


def test_a_channel_that_is_closed_ends_the_agent_s_standard_input_at_once() -> None:
    """Not when the process ends: the thread that reads holds the connection."""

    class Attached(Container):
        """The stream as docker gives it: a file of the socket, which keeps that open."""

        def attach_socket(self, **_: object) -> Any:
            return self.theirs.makefile("rwb", buffering=0)

    async def talk() -> str:
        container = Attached()
        channel = channel_of(container)
        container.says(messages.encode(messages.Ready()))
        await channel.ready(5)
        await asyncio.to_thread(channel.close)
        return await asyncio.to_thread(container.lines.readline)

    assert asyncio.run(talk()) == ""


def test_silence_is_an_error_that_says_what_was_awaited() -> None:
    async def talk() -> None:
        channel = channel_of(Container())
        with pytest.raises(EngineError, match="awaited from agent: its first word; it said nothing of it for 0 s"):
            await channel.ready(0.05)
        with pytest.raises(EngineError, match="awaited from agent: the gate; it said nothing"):
            await channel.ask(clients.Ping("a"), 0.05, "the gate")

    asyncio.run(talk())


def test_a_reply_that_the_protocol_does_not_list_is_refused() -> None:
    async def talk() -> None:
        container = Container()
        channel = channel_of(container)
        asked = asyncio.create_task(channel.ask(clients.Ping("a"), 5, "a sign of life"))
        heard = await container.hears()
        container.says(messages.encode(clients.Sent(), heard["id"]))
        with pytest.raises(AgentError, match="a sign of life was answered by `sent`, which is no reply to it"):
            await asked

    asyncio.run(talk())


def test_who_asks_an_agent_that_has_ended_is_told_so_at_once() -> None:
    """The kernel takes what is written to a connection whose other end is closed, and the reply never comes."""

    async def talk() -> None:
        container = Container()
        channel = channel_of(container)
        container.ours.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(channel.closed.wait(), 5)
        async with asyncio.timeout(5):
            with pytest.raises(EngineError, match="awaited from agent: a sign of life; it ended"):
                await channel.ask(clients.Ping("a"), 60, "a sign of life")

    asyncio.run(talk())


def test_what_a_handler_makes_of_an_event_is_not_lost() -> None:
    async def talk() -> Exception | None:
        container = Container()
        channel = channel_of(container)
        channel.on(clients.Disconnected, lambda _: {}["no such key"])
        container.says(messages.encode(clients.Disconnected("a", "")))
        await asyncio.wait_for(channel.closed.wait(), 5)
        return channel.failure

    assert repr(asyncio.run(talk())) == "KeyError('no such key')"


def test_an_engine_behind_tls_is_heard(tmp_path: Path) -> None:
    """What was decrypted with a frame's header is in the socket, where no poll of its descriptor sees it."""
    authority = pki.make_pki(dt.datetime.now(dt.UTC)).issue("engine.example", PROFILES["ca"], pki.make_key())
    (tmp_path / "pem").write_bytes(authority.key + authority.cert)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(tmp_path / "pem")
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

    async def talk() -> None:
        container = Container()
        for end in (container.ours, container.theirs):
            end.settimeout(5)
        serving = asyncio.create_task(asyncio.to_thread(server.wrap_socket, container.ours, server_side=True))
        container.theirs = await asyncio.to_thread(client.wrap_socket, container.theirs)
        container.ours = await serving
        channel = channel_of(container)
        container.says(messages.encode(messages.Ready()))  # one record: header and payload are decrypted together
        await channel.ready(5)
        container.ours.close()

    asyncio.run(talk())


def test_what_an_agent_says_when_the_loop_is_gone_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    container = Container()

    async def attach() -> None:
        channel_of(container)

    asyncio.run(attach())
    readers = [t for t in threading.enumerate() if t.name == "channel-agent" and t.is_alive()]
    container.says(messages.encode(clients.Disconnected("a", "gone")))
    container.ours.shutdown(socket.SHUT_RDWR)
    readers[-1].join(30)
    assert not readers[-1].is_alive()
    assert raised == []

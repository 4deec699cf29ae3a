"""The wiretap as the host speaks with it: one method per command of `protocol.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.engine.channel import Channel, agent_files
from testbed.engine.federation import Container, Mesh, hardware_address
from testbed.engine.firewall import PACKET_RULES, Facts
from testbed.engine.messages import Envelope
from testbed.measure.pace import ANSWER, ATTEMPTS, DISSECTION, FIRST_WORD
from testbed.measure.wiretap import protocol
from testbed.model import EngineError

S2S_PORT = 5269
CLIENT_PORTS = [5222, 5223]
"""Where servers take clients, with STARTTLS and with direct TLS: a peer has no business there."""

Gate = list[list[str]]
"""Ordered pairs of hardware addresses."""


def files() -> dict[str, bytes]:
    """What the wiretap's container needs, and the dissector's: the agent, what it says, the gate, what reads the host's rules."""
    gate = Path(__file__).with_name("gate.py")
    return agent_files(gate.parent) | {path.name: path.read_bytes() for path in (gate, PACKET_RULES)}


class Wiretap:
    """Gate and capture of a run, and the dissector of its captures."""

    def __init__(self, container: Container, dissector: Container | None = None) -> None:
        """Attach to containers that are not started yet; where nothing is captured no ``dissector`` is needed."""
        self.channel = Channel(container, protocol.COMMANDS, protocol.EVENTS)
        self.dissector = Channel(dissector, protocol.COMMANDS, protocol.EVENTS) if dissector else self.channel
        self._readers: dict[str, Callable[[list[str]], None]] = {}
        """Capture -> who takes its lines."""
        self.dissector.on(protocol.Packets, self._read)

    def _read(self, envelope: Envelope) -> None:
        if reader := self._readers.get(envelope.message.name):  # a dissection that took too long is nobody's any more
            reader(envelope.message.lines)

    async def ready(self) -> None:
        """Await its first word. Raises EngineError, as every method here that awaits something."""
        await self.channel.ready(FIRST_WORD)
        await self.dissector.ready(FIRST_WORD)

    async def prepare(self, mesh: Mesh, servers: int, *, listens: int = 0) -> None:
        """Size the neighbour table and shut the gate of a mesh of ``servers``; ``listens``: a port on which the driver does."""
        addresses = mesh.addresses
        members = [(hardware_address(ip4), ip4, ip6) for ip4, ip6 in addresses.everybody(servers)]
        names = [hardware_address(ip4) for ip4, _ in (addresses.dns, *addresses.names(servers))]
        driver = hardware_address(addresses.driver[0])
        command = protocol.Prepare(
            f"s2s_{mesh.short}", mesh.bridge, servers, members, names, driver, listens, CLIENT_PORTS, ATTEMPTS
        )
        reply = (await self.channel.ask(command, FIRST_WORD, "the gate between servers")).message
        if isinstance(reply, protocol.TableTooSmall):
            raise EngineError(
                f"{servers} servers, the control pair among them, need {reply.need} entries in the neighbour table, which holds "
                f"{reply.before}; "
                f"only root can raise it: {reply.command}"
            )

    async def rules(self) -> Facts:
        """What is set up on the engine's host that may stand in the way of packets between containers."""
        return Facts(**vars((await self.channel.ask(protocol.ReadRules(), ANSWER, "the host's rules")).message))

    async def open(self, gate: Gate) -> None:
        """Let two servers reach each other."""
        await self.channel.ask(protocol.Open(gate), FIRST_WORD, "an open gate")

    def close(self, gate: Gate) -> None:
        """Shut the gate on them again."""
        self.channel.tell(protocol.Close(gate))

    async def answer(self) -> None:
        """Return when it has answered; how long that takes tells how strained the machine is."""
        await self.channel.ask(protocol.Answer(), FIRST_WORD, "a sign of life")

    async def storms(self, among: Sequence[str]) -> list[tuple[str, str, int]]:
        """Who tried to connect to whom without pause, and how many attempts were cut; asked once, it is forgotten."""
        storms = (await self.channel.ask(protocol.ListStorms(list(among)), ANSWER, "the storms")).message
        return [(a, b, attempts) for a, b, attempts in storms.pairs]

    async def capture(self, name: str, interface: str, limit: int, *, everything: bool) -> None:
        """Capture s2s packets, or ``everything``, into a file of at most ``limit`` kB (0: no bound)."""
        command = protocol.Capture(name, interface, "" if everything else capture_filter(S2S_PORT), limit)
        await self.channel.ask(command, ANSWER, "the capture's start")

    async def stop_capture(self, name: str) -> protocol.Captured:
        """End a capture."""
        reply = (await self.channel.ask(protocol.StopCapture(name), FIRST_WORD, "the capture's end")).message
        assert isinstance(reply, protocol.Captured)
        return reply

    async def dissect(self, name: str, feed: Callable[[list[str]], None]) -> protocol.Dissected:
        """Have tshark read a capture: ``feed`` gets its lines, all of them before this returns."""
        self._readers[name] = feed
        try:
            reply = (await self.dissector.ask(protocol.Dissect(name), DISSECTION, "the dissection")).message
        finally:
            del self._readers[name]
        assert isinstance(reply, protocol.Dissected)
        return reply


def capture_filter(port: int) -> str:
    """BPF: s2s packets that carry data or begin or end a connection; bare acknowledgements say nothing and are half of all."""
    v4 = "ip and (tcp[13] & 7 != 0 or ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0)"
    v6 = "ip6 and (ip6[53] & 7 != 0 or ip6[4:2] - ((ip6[52] & 0xf0) >> 2) != 0)"
    return f"tcp port {port} and (({v4}) or ({v6}))"

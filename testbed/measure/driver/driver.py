"""The driver as the host speaks with it: one method per command of `protocol.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from testbed import exchanges
from testbed.engine.channel import AgentError, Channel, agent_files
from testbed.engine.federation import Container
from testbed.engine.messages import Envelope
from testbed.measure.driver import protocol
from testbed.measure.pace import ANSWER, BOOT, ZONE

C2S_PORT = 5222


def files() -> dict[str, bytes]:
    """What the driver's container needs: the agent, what it says, and the exchanges."""
    return agent_files(Path(__file__).parent) | {
        f"exchanges/{path.name}": path.read_bytes() for path in exchanges.FOLDER.glob("*.py")
    }


class Driver:
    """All clients of a run. Every method that awaits something raises EngineError."""

    def __init__(self, container: Container) -> None:
        self.channel = Channel(container, protocol.COMMANDS, protocol.EVENTS)

    async def login(self, client: str, domain: str, address: str, patience: float = BOOT) -> Envelope:
        """Be online as ``client``: Online, or LoginFailed when its server has had ``patience`` seconds."""
        command = protocol.Login(client, domain, address, C2S_PORT, patience)
        return await self.channel.ask(command, patience + ANSWER, f"the login of {client}")

    async def send(self, client: str, exchange: str, receiver: str, token: str) -> Envelope:
        """Start an exchange: Sent, or Unsendable. What becomes of it comes as an event."""
        return await self.channel.ask(protocol.Send(client, exchange, receiver, token), ANSWER, f"that {client} sends")

    async def alive(self, client: str, patience: float) -> bool:
        """Whether a message of the client to itself comes back within ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self.channel.ask(protocol.Ping(client), 2 * patience, f"a sign of life of {client}")
        except (TimeoutError, AgentError):
            return False
        return True

    async def zone_loaded(self, address: str, serial: int) -> None:
        """Return when the name server at ``address`` has the zone with this serial."""
        await self.channel.ask(protocol.AwaitZone(address, serial), ZONE, f"zone {serial} at {address}")

    async def reach(self, address: str, patience: float) -> protocol.Reached:
        """Whether the name server at ``address`` answers over UDP and TCP within ``patience`` seconds."""
        what = f"whether {address} answers"
        reply = (await self.channel.ask(protocol.Reach(address, patience), patience + ANSWER, what)).message
        assert isinstance(reply, protocol.Reached)
        return reply

    def logout(self, clients: Iterable[str]) -> None:
        """Drop clients whose servers are about to end."""
        self.channel.tell(protocol.Logout(list(clients)))

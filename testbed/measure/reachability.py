"""Whether packets pass between two containers, asked before servers start: the driver asks the mesh's name server.

Rule: nothing is said against the host's network before the name server was seen to listen, and the rules there were read; where
they let packets through, it is asked with more patience, since a machine may be slow.
"""

from __future__ import annotations

import asyncio
import time

from testbed.engine import federation
from testbed.engine.federation import Container, Mesh
from testbed.engine.firewall import WORDS, Facts, obstacles, sentence
from testbed.measure.driver.driver import Driver
from testbed.measure.pace import FIRST_WORD, REACH, REACH_AT_LAST
from testbed.measure.tasks import Workers
from testbed.measure.wiretap.wiretap import Wiretap
from testbed.model import EngineError

Seen = dict[str, str]
"""Family (`ip`, `ip6`) over which the name server does not answer -> what was seen instead."""


async def packets_pass(
    mesh: Mesh,
    names: asyncio.Task[Container],
    driver: asyncio.Task[Driver],
    wiretap: asyncio.Task[Wiretap],
    workers: Workers,
) -> None:
    """Return when the driver has reached the name server over UDP and TCP, at each address that the network has.

    Waits for the three by itself. Raises EngineError with what stands in the way, and the command that mends it.
    """
    server, clients = await names, await driver
    if not await _unanswered(clients, mesh, REACH):
        return
    deadline = time.monotonic() + FIRST_WORD
    while not await workers.do(lambda: listens(server)):
        if time.monotonic() > deadline:
            raise EngineError(
                f"{server.name} has opened no port for {FIRST_WORD:.0f} s: the name server in the mesh does not start"
            )
        await asyncio.sleep(0.2)
    seen = await _unanswered(clients, mesh, REACH)
    if not seen:
        return
    facts, bridge = await (await wiretap).rules(), mesh.bridge
    if not any(obstacles(facts, family, bridge) for family in seen):
        seen = await _unanswered(clients, mesh, REACH_AT_LAST)
    if seen:
        raise EngineError("\n".join(said(facts, family, bridge, what) for family, what in seen.items()))


async def _unanswered(clients: Driver, mesh: Mesh, patience: float) -> Seen:
    addresses = {family: address for family, address in zip(WORDS, mesh.addresses.dns, strict=True) if address}
    replies = await asyncio.gather(*(clients.reach(address, patience) for address in addresses.values()))
    ways = {
        family: [f"over {way.upper()}: {what}" for way, what in vars(reply).items() if what]
        for family, reply in zip(addresses, replies, strict=True)
    }
    return {family: ", ".join(whats) for family, whats in ways.items() if whats}


def said(facts: Facts, family: str, bridge: str, seen: str) -> str:
    """The sentence of one family, with what was seen."""
    return f"{sentence(facts, family, bridge)} (the driver asked the name server in the mesh, {seen})"


def listens(container: Container) -> bool:
    """Whether a name server has its port open (proc(5): /proc/net/udp). Raises EngineError if it has ended."""
    tables = federation.execute(container, ["cat", "/proc/net/udp", "/proc/net/udp6"])
    return any(line.split()[1].endswith(":0035") for line in tables.splitlines() if ":" in line)

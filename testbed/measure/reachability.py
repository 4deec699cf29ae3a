"""Whether packets pass between two containers, asked before servers start: the driver asks the mesh's name server.

Rule: nothing is said against the host's network before the name server was seen to listen, and the rules there were read; where
they let packets through, it is asked with more patience, since a machine may be slow.
"""

from __future__ import annotations

import asyncio
import time

from testbed.engine import federation
from testbed.engine.federation import Container, Mesh
from testbed.engine.firewall import WORDS, Facts, Way, obstacles, sentence
from testbed.measure.driver.driver import Driver
from testbed.measure.pace import FIRST_WORD, REACH, REACH_AT_LAST
from testbed.measure.tasks import Workers
from testbed.measure.wiretap.wiretap import Wiretap
from testbed.model import EngineError

TABLES = ["sh", "-c", "cat /proc/net/udp && { cat /proc/net/udp6 2>/dev/null || true; }"]
"""Shows which ports are open; a kernel without IPv6 has no second file."""
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
    facts, ways = await (await wiretap).rules(), ways_of(mesh)
    if not any(obstacles(facts, ways[family]) for family in seen):
        seen = await _unanswered(clients, mesh, REACH_AT_LAST)
    if seen:
        raise EngineError("\n".join(said(facts, ways[family], what) for family, what in seen.items()))


async def _unanswered(clients: Driver, mesh: Mesh, patience: float) -> Seen:
    addresses = {family: way.ends[1] for family, way in ways_of(mesh).items()}
    replies = await asyncio.gather(*(clients.reach(address, patience) for address in addresses.values()))
    ways = {
        family: [f"over {way.upper()}: {what}" for way, what in vars(reply).items() if what]
        for family, reply in zip(addresses, replies, strict=True)
    }
    return {family: ", ".join(whats) for family, whats in ways.items() if whats}


def ways_of(mesh: Mesh) -> dict[str, Way]:
    """By family: from the driver to the name server."""
    ends = zip(WORDS, mesh.addresses.driver, mesh.addresses.dns, strict=True)
    return {family: Way(family, mesh.bridge, (a, b)) for family, a, b in ends if a and b}


def said(facts: Facts, way: Way, seen: str) -> str:
    """The sentence of one family, with what was seen."""
    return f"{sentence(facts, way)} (the driver asked the name server in the mesh, {seen})"


def listens(container: Container) -> bool:
    """Whether a name server has its port open (proc(5): /proc/net/udp). Raises EngineError if it has ended."""
    tables = federation.execute(container, TABLES)
    return any(line.split()[1].endswith(":0035") for line in tables.splitlines() if ":" in line)

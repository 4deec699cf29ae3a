"""Asks many domains side by side, each at its targets one after the other. Judges nothing; `visit` opens the connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from testbed.probe.names import ascii_name
from testbed.probe.seen import Names, Seen, TargetSeen
from testbed.probe.visit import Asking, Visit

MAX_TARGETS = 4
"""Targets of a domain that are asked."""
BUDGET = 12
"""Seconds for which one domain may be asked, in units of the timeout."""


async def ask_all(domains: list[str], asking: Asking, jobs: int, done: Callable[[Seen], None]) -> list[Seen]:
    """What is seen of every domain, in their order; at most ``jobs`` at once."""
    places = asyncio.Semaphore(jobs)

    async def ask_in_turn(domain: str) -> Seen:
        async with places:
            seen = await ask(domain, asking)
        done(seen)
        return seen

    return list(await asyncio.gather(*(ask_in_turn(d) for d in domains)))


async def ask(domain: str, asking: Asking) -> Seen:
    """What is seen of one domain; never raises for what a peer or a name server does."""
    began = time.monotonic()
    seen = Seen(domain, asking.own, asking.identity is not None, Names())
    try:
        async with asyncio.timeout(BUDGET * asking.timeout) as budget:
            await _domain(seen, asking, budget)
    except TimeoutError:
        seen.problem = f"not done within {BUDGET * asking.timeout:.0f} s; what was seen until then counts"
    seen.seconds = time.monotonic() - began
    return seen


async def _domain(seen: Seen, asking: Asking, budget: asyncio.Timeout) -> None:
    if asking.connect:
        seen.names = Names(targets=list(asking.connect))
    else:
        assert asking.resolver is not None, "without targets of the user's, DNS says where"
        seen.names = await asking.resolver.locate(ascii_name(seen.domain))
    seen.left_out = seen.names.targets[MAX_TARGETS:]
    for target in seen.names.targets[:MAX_TARGETS]:
        facts = TargetSeen(target)
        seen.targets.append(facts)
        await Visit(seen.domain, facts, asking, budget).make()

"""A part of a plan: the smallest one in which some cells are measured as in the whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from testbed.model import Plan


def narrow(plan: Plan, ids: Iterable[str]) -> Plan:
    """The smallest plan that has all of the cells (``ids``): their phases, exchanges, servers, and pairs with both directions."""
    wanted = set(ids)
    cells = [c for c in plan.cells if c.id in wanted]
    phases, exchanges = {c.phase for c in cells}, {c.exchange for c in cells}
    pairs, domains = {frozenset((c.sender, c.receiver)) for c in cells}, {d for c in cells for d in (c.sender, c.receiver)}
    return replace(
        plan,
        servers=tuple(replace(s, index=n) for n, s in enumerate(s for s in plan.servers if s.domain in domains)),
        phases=tuple(
            replace(p, settings={d: s for d, s in p.settings.items() if d in domains}) for p in plan.phases if p.name in phases
        ),
        exchanges=tuple(x for x in plan.exchanges if x in exchanges),
        pairs=tuple(p for p in plan.pairs if frozenset(p) in pairs),
    )

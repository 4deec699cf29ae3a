"""The markers of a plan's cells: words to select by, and marks with values for either side.

Rule: from the plan alone. A word may hold letters, digits and `_`: what `-m` can read without quotes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testbed.model import Cell, Plan

SIDES = {"sender": "the sender", "receiver": "the receiver", "server": "one of the two"}
"""Marker with values, and whom it speaks of."""


class Words:
    """The markers of a plan's cells."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.settings = {p.name: p.settings for p in plan.phases}
        self.implementations = {s.domain: s.implementation for s in plan.servers}
        self.side = functools.cache(self._side)
        self.server = functools.cache(self._server)

    def _server(self, phase: str, domain: str) -> dict[str, str]:
        """Word to meaning."""
        implementation, settings = self.implementations[domain], self.settings[phase][domain]
        meanings = {
            word(implementation.name): f"cells of a server of {implementation.name}",
            word(str(implementation)): f"cells of a server of {implementation}",
            word(settings.policy.preset): f"cells of a server with the policy {settings.policy.preset}, in their phase",
        }
        name = settings.policy.name
        meanings.setdefault(word(name), f"cells of a server with the policy {name}, in their phase")
        return meanings

    def all(self, phase: str) -> Iterator[tuple[str, str]]:
        """Every word of a phase, with its meaning."""
        yield f"phase_{word(phase)}", f"cells of the phase {phase}"
        yield from ((word(exchange), f"cells of the exchange {exchange}") for exchange in self.plan.exchanges)
        for domain in self.implementations:
            yield from self.server(phase, domain).items()

    def of_cell(self, cell: Cell) -> list[str]:
        """The words of one cell."""
        sides = (self.server(cell.phase, cell.sender), self.server(cell.phase, cell.receiver))
        return list(dict.fromkeys([f"phase_{word(cell.phase)}", word(cell.exchange), *sides[0], *sides[1]]))

    def _side(self, name: str, phase: str, domain: str) -> list[pytest.MarkDecorator]:
        """`sender(policy="encrypted")` and its like: one mark for each way to name implementation and policy."""
        implementation, settings = self.implementations[domain], self.settings[phase][domain]
        return [
            getattr(pytest.mark, name).with_args(
                domain=domain, implementation=software, policy=policy, certificate=settings.certificate
            )
            for software in (str(implementation), implementation.name)
            for policy in dict.fromkeys((settings.policy.name, settings.policy.preset))
        ]

    def of_sides(self, cell: Cell) -> Iterator[pytest.MarkDecorator]:
        """The marks with values of one cell."""
        for name, domain in (
            ("sender", cell.sender), ("receiver", cell.receiver), ("server", cell.sender), ("server", cell.receiver),
        ):  # fmt: skip
            yield from self.side(name, cell.phase, domain)


def word(text: str) -> str:
    """``name@release`` as ``name_release``"""
    return re.sub(r"\W+", "_", text).strip("_")


def lines(all_words: list[Words]) -> Iterator[str]:
    """Every marker that a cell of these plans may carry, as pytest's settings want them."""
    meanings = {name: text for words in all_words for phase in words.plan.phases for name, text in words.all(phase.name)}
    yield from (f"{name}: {text}" for name, text in meanings.items())
    for side, text in SIDES.items():
        yield f"{side}(domain, implementation, policy, certificate): cells in which {text} is so, in their phase"

"""The matrix that every report draws: servers in their groups, cells by address, and what one cell amounts to.

Rule: this file reads ``derived/verdicts.json`` and nothing else, and is the only one here that knows its keys for servers,
phases and settings. Order and numbers are the same in every report and every phase, so that two pictures can be laid side
by side: the groups are made from the settings of the first phase, in the scenario's own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from testbed.model import Outcome
from testbed.record.manifest import Role
from testbed.record.verdicts import CellEntry, Verdicts

ROLES: tuple[Role, ...] = ("sender", "receiver")
PLACE: tuple[Literal["phase", "sender", "receiver", "exchange"], ...] = ("phase", *ROLES, "exchange")
"""The keys by which a cell is the same in every run of its scenario."""

Address = tuple[str, str, str]
"""Sender's domain, receiver's domain, exchange: a cell's address within its phase."""

ARROW = " → "


class State(str, Enum):
    """What one cell amounts to, for somebody who looks at the matrix. Closed; ``state`` maps every cell to one of these."""

    TLS_EXTERNAL = "tls-external"
    TLS_DIALBACK = "tls-dialback"
    TLS = "tls"
    """Over TLS, but with no proof of identity that the testbed saw."""
    CLEARTEXT = "cleartext"
    UNSEEN = "delivered-unseen"
    """Delivered, but the wire does not say over what."""
    BOUNCED = "bounced"
    LOST = "lost"
    UNSUPPORTED = "unsupported"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"
    """Planned, yet not in the record: the run was cut short."""


class Kind(str, Enum):
    """The five things that can be compared between two phases."""

    TLS = "tls"
    CLEARTEXT = "cleartext"
    UNSEEN = "unseen"
    BROKEN = "broken"
    UNKNOWN = "unknown"


KINDS: dict[State, Kind] = {
    State.TLS_EXTERNAL: Kind.TLS,
    State.TLS_DIALBACK: Kind.TLS,
    State.TLS: Kind.TLS,
    State.CLEARTEXT: Kind.CLEARTEXT,
    State.UNSEEN: Kind.UNSEEN,
    State.BOUNCED: Kind.BROKEN,
    State.LOST: Kind.BROKEN,
    State.UNSUPPORTED: Kind.UNKNOWN,
    State.INCONCLUSIVE: Kind.UNKNOWN,
    State.MISSING: Kind.UNKNOWN,
}

DELIVERED = (Kind.TLS, Kind.CLEARTEXT, Kind.UNSEEN)

_NOT_DELIVERED = {
    Outcome.BOUNCED.value: State.BOUNCED,
    Outcome.LOST.value: State.LOST,
    Outcome.UNSUPPORTED.value: State.UNSUPPORTED,
}


def state(cell: CellEntry | None) -> State:
    """What the cell amounts to; None (not in the record) is MISSING, an unknown outcome is INCONCLUSIVE, never a success.

    A body that was read in clear on the wire counts as cleartext, whatever the connection claims to have been.
    """
    if cell is None:
        return State.MISSING
    if cell["outcome"] != Outcome.DELIVERED.value:
        return _NOT_DELIVERED.get(cell["outcome"], State.INCONCLUSIVE)
    channel = cell.get("channel") or {}
    if channel.get("body_in_clear") is True or channel.get("encryption") == "cleartext":
        return State.CLEARTEXT
    if channel.get("encryption") != "tls":
        return State.UNSEEN
    return {"external": State.TLS_EXTERNAL, "dialback": State.TLS_DIALBACK}.get(channel.get("authentication") or "", State.TLS)


def judged(counts: Mapping[State, int]) -> tuple[int, int]:
    """How many cells were delivered, and how many could be judged; what the testbed cannot say is in neither."""
    delivered = sum(n for s, n in counts.items() if KINDS[s] in DELIVERED)
    return delivered, delivered + sum(n for s, n in counts.items() if KINDS[s] is Kind.BROKEN)


@dataclass(frozen=True)
class Member:
    """One server as a row and a column."""

    number: int
    domain: str
    implementation: str
    """``name@release``"""
    version: str
    policies: tuple[str, ...]
    """One per phase."""
    certificates: tuple[str, ...]
    dimensions: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    """The policy's dimensions, one mapping per phase."""
    mine: bool = False
    """Whether the user brought something of their own for it."""

    @property
    def label(self) -> str:
        """``name@release``, and whether it is the user's own where the release does not say so."""
        return f"{self.implementation} (yours)" if self.mine and "@mine" not in self.implementation else self.implementation

    def policy(self, phase: int, since: int = 0) -> str:
        """The policy in a phase, with what it was in the phase ``since`` if that differs: ``opportunistic → encrypted``."""
        return _change(self.policies[since], self.policies[phase])

    def certificate(self, phase: int, since: int = 0) -> str:
        """The certificate profile in a phase, with what it was before if that differs."""
        return _change(self.certificates[since], self.certificates[phase])


def _change(before: str, after: str) -> str:
    return after if before == after else before + ARROW + after


@dataclass(frozen=True)
class Span:
    """Neighbouring rows that share a label: ``start`` up to, but not including, ``stop``."""

    start: int
    stop: int
    label: str


@dataclass(frozen=True)
class Grid:
    """All servers in drawing order, and the cells by phase and address."""

    members: tuple[Member, ...]
    phases: tuple[str, ...]
    exchanges: tuple[str, ...]
    cells: dict[str, dict[Address, CellEntry]]
    addresses: tuple[Address, ...]
    """Every address that has a cell in some phase; in a run that was cut short, every one that could have."""

    def cell(self, phase: str, address: Address) -> CellEntry | None:
        """The cell, or None if the record has none."""
        return self.cells.get(phase, {}).get(address)

    def phase_or_last(self, phase: str | None) -> str:
        """The phase asked for, or the last. ValueError if the verdicts have no such phase, or none at all."""
        if phase is None and self.phases:
            return self.phases[-1]
        if phase not in self.phases:
            raise ValueError(f"no phase '{phase}'; there are: {', '.join(self.phases)}")
        return phase

    def of(self, exchange: str | None) -> str:
        """What a title adds for one exchange: `` (message)`` in a run that has several, else nothing."""
        return f" ({exchange})" if exchange and len(self.exchanges) > 1 else ""

    def states(self, phase: str, exchange: str | None = None) -> Iterator[tuple[Address, State]]:
        """The state at every address, of one exchange or of all."""
        for address in self.addresses:
            if exchange is None or address[2] == exchange:
                yield address, state(self.cell(phase, address))

    def spans(self, depth: int, phase: int, since: int = 0) -> list[Span]:
        """Runs of rows by implementation (depth 1), and policy (2), and certificate (3), labelled as of a phase.

        Borders follow the first phase, so they stay where they are when a phase gives two groups the same setting.
        """
        spans: list[Span] = []
        previous: object = None
        for row, member in enumerate(self.members):
            key = (member.implementation, member.policies[0], member.certificates[0])[:depth]
            label = (member.label, member.policy(phase, since), member.certificate(phase, since))[depth - 1]
            if spans and key == previous and spans[-1].label == label:
                spans[-1] = Span(spans[-1].start, row + 1, label)
            else:
                spans.append(Span(row, row + 1, label))
            previous = key
        return spans

    @property
    def one_certificate(self) -> str | None:
        """The certificate profile that all servers have in all phases; None if they differ."""
        names = {name for member in self.members for name in member.certificates}
        return names.pop() if len(names) == 1 else None

    @property
    def versions(self) -> dict[str, list[str]]:
        """The versions that were run, by implementation; more than one if the image changed on the way."""
        versions: dict[str, list[str]] = {}
        for member in self.members:
            listed = versions.setdefault(member.implementation, [])
            if member.version and member.version not in listed:
                listed.append(member.version)
        return versions


def _rank(values: Iterable[Any]) -> dict[Any, int]:
    return {value: place for place, value in enumerate(dict.fromkeys(values))}


def grid(verdicts: Verdicts) -> Grid:
    """Sort the servers into their groups and index the cells. KeyError if a key that schema 1 demands is absent."""
    phases = list(verdicts["phases"])
    members = []
    for place, server in enumerate(verdicts["servers"]):
        settings = [(phase.get("settings") or {}).get(server["domain"]) for phase in phases]
        members.append(
            Member(
                number=server.get("index", place),
                domain=server["domain"],
                implementation=f"{server['implementation']}@{server['release']}",
                version=server.get("version") or "",
                policies=tuple(str(s.get("policy") or "?") if s else "?" for s in settings) or ("?",),
                certificates=tuple(str(s.get("certificate") or "?") if s else "?" for s in settings) or ("?",),
                dimensions=tuple((s.get("dimensions") or {}) if s else {} for s in settings) or ({},),
                mine=bool(server.get("mine", False)),
            )
        )
    members.sort(key=lambda m: m.number)
    software = _rank(m.implementation.split("@")[0] for m in members)
    release, policy = _rank(m.implementation for m in members), _rank(m.policies[0] for m in members)
    certificate = _rank(m.certificates[0] for m in members)
    members.sort(
        key=lambda m: (
            software[m.implementation.split("@")[0]],
            release[m.implementation],
            policy[m.policies[0]],
            certificate[m.certificates[0]],
            m.number,
        )
    )

    names = tuple(phase["name"] for phase in phases)
    cells: dict[str, dict[Address, CellEntry]] = {name: {} for name in names}
    for cell in verdicts["cells"]:
        cells.setdefault(cell["phase"], {})[cell["sender"], cell["receiver"], cell["exchange"]] = cell
    exchanges = tuple(dict.fromkeys(cell["exchange"] for cell in verdicts["cells"])) or ("message",)

    addresses = dict.fromkeys(address for phase in cells.values() for address in phase)
    if not verdicts.get("complete", False):
        domains = [member.domain for member in members]
        addresses |= dict.fromkeys((a, b, e) for a in domains for b in domains if a != b for e in exchanges)
    return Grid(tuple(members), names, exchanges, cells, tuple(addresses))

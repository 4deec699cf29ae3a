"""What follows from a record: the verdict of one cell, and the form of ``derived/verdicts.json``.

Rule: `Verdict` is the whole verdict, nothing of it is kept beside it; the TypedDicts are its published form
(schemas/verdicts.schema.json). Keys are added, never renamed or dropped; one that an older testbed did not write is NotRequired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from testbed.model import Cell, Expectation, Outcome
from testbed.record.manifest import Role


class Fault(str, Enum):
    """Who would have to change something."""

    SENDER = "sender"
    RECEIVER = "receiver"
    BOTH = "both"
    NETWORK = "network"
    TESTBED = "testbed"


@dataclass(frozen=True)
class Channel:
    """What the stanza travelled over, as seen on the wire (authentication also from the logs)."""

    encryption: str | None = None
    tls_version: str | None = None
    cipher: str | None = None
    forward_secrecy: bool | None = None
    authentication: str | None = None
    body_in_clear: bool | None = None


@dataclass(frozen=True)
class ThirdParty:
    """A stream between one end of a cell and somebody else, which was in trouble while the cell was measured in the mesh."""

    sender: str
    receiver: str
    because: str


@dataclass(frozen=True)
class Interference:
    """The mesh and the pair alone came out differently, and third parties are the only difference left."""

    mesh: Outcome
    alone: Outcome
    by: tuple[ThirdParty, ...] = ()


@dataclass(frozen=True)
class Remedy:
    """One way to fix a failure. Where both sides are at fault all of them are needed, else one of them is enough."""

    text: str
    """What to do, as a clause."""
    role: Role | None = None
    """Whose setting it is; None: advice that holds for every implementation."""
    domain: str | None = None
    title: str | None = None
    """The software by its name."""
    set: Mapping[str, str] | None = None
    """The same as keys of a scenario's `set`, where it can be said so."""

    def to_json(self) -> RemedyEntry:
        """As it stands in a cell of ``verdicts.json``."""
        settings = None if self.set is None else dict(self.set)
        return {"role": self.role, "domain": self.domain, "title": self.title, "text": self.text, "set": settings}


@dataclass(frozen=True)
class Verdict:
    """The judgement of one Cell."""

    cell: Cell
    outcome: Outcome
    channel: Channel
    cause: str | None
    fault: Fault | None
    explanation: str
    expected: Expectation
    surprise: bool
    seconds: float | None
    attempts: int
    evidence: tuple[str, ...] = ()
    reason: str | None = None
    """The explanation without what would fix it; None: the explanation says nothing of that."""
    remedies: tuple[Remedy, ...] = ()
    """What would fix a failure; empty where there is none."""
    flaky: tuple[str, ...] = ()
    """Outcomes of attempts under the same conditions, in order, where they differ."""
    history_dependent: Mapping[str, str] | None = None
    """The outcomes `cold` and `warm`, where they differ."""
    interference: Interference | None = None
    cause_from: str | None = None
    """The sources that named the cause; None where nothing failed."""
    confirmed: bool | None = None
    """Whether another attempt confirmed a failure, a surprise or a doubt; None where there was nothing to confirm."""

    def to_json(self) -> CellEntry:
        """The cell as it stands in ``derived/verdicts.json``."""
        entry: CellEntry = {
            "id": self.cell.id,
            "phase": self.cell.phase,
            "sender": self.cell.sender,
            "receiver": self.cell.receiver,
            "exchange": self.cell.exchange,
            "outcome": self.outcome.value,
            "channel": _channel(self.channel),
            "cause": self.cause,
            "fault": self.fault.value if self.fault else None,
            "explanation": self.explanation,
            "expected": {
                "outcome": self.expected.outcome.value,
                "because": self.expected.because,
                "encryption": self.expected.encryption,
                "cause": self.expected.cause,
            },
            "surprise": self.surprise,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "evidence": list(self.evidence),
            "reason": self.explanation if self.reason is None else self.reason,
            "remedies": [r.to_json() for r in self.remedies],
        }
        if self.flaky:
            entry["flaky"] = list(self.flaky)
        if self.history_dependent is not None:
            entry["history_dependent"] = dict(self.history_dependent)
        if seen := self.interference:
            by: list[ThirdPartyEntry] = [{"sender": p.sender, "receiver": p.receiver, "because": p.because} for p in seen.by]
            entry["interference"] = {"mesh": seen.mesh.value, "alone": seen.alone.value, "by": by}
        if self.cause_from is not None:
            entry["cause_from"] = self.cause_from
        if self.confirmed is not None:
            entry["confirmed"] = self.confirmed
        return entry


def _channel(channel: Channel) -> ChannelEntry:
    return {
        "encryption": channel.encryption,
        "tls_version": channel.tls_version,
        "cipher": channel.cipher,
        "forward_secrecy": channel.forward_secrecy,
        "authentication": channel.authentication,
        "body_in_clear": channel.body_in_clear,
    }


# --- derived/verdicts.json --------------------------------------------------------------------------------------------

OutcomeWord = Literal["delivered", "bounced", "lost", "unsupported", "inconclusive"]
FaultWord = Literal["sender", "receiver", "both", "network", "testbed"]


class ChannelEntry(TypedDict):
    """Of a delivery what it travelled over; all null else."""

    encryption: str | None
    tls_version: str | None
    cipher: str | None
    forward_secrecy: bool | None
    authentication: str | None
    body_in_clear: NotRequired[bool | None]


class ExpectedEntry(TypedDict):
    """What ought to happen, and the clause that says so."""

    outcome: OutcomeWord
    because: str
    encryption: NotRequired[str | None]
    cause: NotRequired[str | None]


class ThirdPartyEntry(TypedDict):
    """A stream of somebody else's that was in trouble at that time."""

    sender: str
    receiver: str
    because: str


class InterferenceEntry(TypedDict):
    """The outcome in the mesh, the one of the pair alone, and who was at it."""

    mesh: OutcomeWord
    alone: OutcomeWord
    by: list[ThirdPartyEntry]


class RemedyEntry(TypedDict):
    """One way to fix the cell; `role`, `domain` and `title` are null where it holds for every implementation."""

    role: Role | None
    domain: str | None
    title: str | None
    text: str
    set: dict[str, str] | None


class CellEntry(TypedDict):
    """One cell."""

    id: str
    phase: str
    sender: str
    receiver: str
    exchange: str
    outcome: OutcomeWord
    channel: ChannelEntry
    cause: str | None
    fault: FaultWord | None
    explanation: str
    expected: ExpectedEntry
    surprise: bool
    seconds: float | None
    attempts: int
    evidence: list[str]
    reason: NotRequired[str]
    remedies: NotRequired[list[RemedyEntry]]
    flaky: NotRequired[list[str]]
    history_dependent: NotRequired[dict[str, str]]
    interference: NotRequired[InterferenceEntry]
    cause_from: NotRequired[str]
    confirmed: NotRequired[bool]


class ServerEntry(TypedDict):
    """One server, with the version that its running package stated."""

    domain: str
    implementation: str
    release: str
    version: str | None
    index: NotRequired[int]
    title: NotRequired[str]
    unavailable: NotRequired[str | None]
    mine: NotRequired[bool]


class SettingsEntry(TypedDict):
    """What one server was set to in one phase."""

    policy: str
    certificate: str
    dimensions: NotRequired[dict[str, Any]]
    unsupported: NotRequired[str | None]


class PhaseEntry(TypedDict):
    """One phase: domain -> settings."""

    name: str
    settings: dict[str, SettingsEntry]


class ControlEntry(TypedDict):
    """Whether the control pair got through."""

    phase: str | None
    when: str
    ok: bool
    reason: NotRequired[str | None]


class StormEntry(TypedDict):
    """Connection attempts without a pause, cut by the gate."""

    phase: str
    epoch: str
    sender: str
    receiver: str
    cut: int


class Verdicts(TypedDict):
    """``derived/verdicts.json``."""

    schema: int
    run: str
    scenario: str
    title: str
    started: str
    timers: str
    seed: NotRequired[int | None]
    revision: NotRequired[str | None]
    machine: NotRequired[dict[str, Any] | None]
    isolated: NotRequired[bool]
    complete: bool
    servers: list[ServerEntry]
    phases: list[PhaseEntry]
    controls: NotRequired[list[ControlEntry]]
    storms: NotRequired[list[StormEntry]]
    timing: NotRequired[dict[str, float]]
    cells: list[CellEntry]

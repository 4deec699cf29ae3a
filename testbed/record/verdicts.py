"""What follows from a record: the verdict of one cell, and the form of ``derived/verdicts.json``.

Rule: `Verdict` is the whole verdict, nothing of it is kept beside it; the TypedDicts are its published form
(schemas/verdicts.schema.json). Keys are added, never renamed or dropped; NotRequired is what an older testbed did not write, or
what a file that was kept can lack and still be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from testbed.model import Cell, Expectation, Outcome
from testbed.record.manifest import Role
from testbed.shares import TRIES, Share


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
    """None of a delivery, and of a failure whose evidence was not taken in."""
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
    shares: Mapping[str, Share] = field(default_factory=dict)
    """How many `cold` and `warm` attempts of the pair alone delivered; empty where that says no more than the outcome."""
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
            "expected": _expected(self.expected),
            "surprise": self.surprise,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "evidence": list(self.evidence),
            "reason": self.explanation if self.reason is None else self.reason,
            "remedies": [r.to_json() for r in self.remedies],
        }
        if self.flaky:
            entry["flaky"] = list(self.flaky)
        if self.shares:
            entry["shares"] = _shares(self.shares)
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


def _expected(expected: Expectation) -> ExpectedEntry:
    entry: ExpectedEntry = {
        "outcome": expected.outcome.value,
        "because": expected.because,
        "encryption": expected.encryption,
        "cause": expected.cause,
    }
    if expected.alternatives:
        entry["alternatives"] = [
            {"outcome": a.outcome.value, "because": a.because, "encryption": a.encryption, "cause": a.cause}
            for a in expected.alternatives
        ]
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

DESCRIBED = ConfigDict(use_attribute_docstrings=True)

OutcomeWord = Literal["delivered", "bounced", "lost", "unsupported", "inconclusive"]
FaultWord = Literal["sender", "receiver", "both", "network", "testbed"]


@with_config(DESCRIBED)
class ChannelEntry(TypedDict):
    """Of a delivery what it travelled over; all null else."""

    encryption: NotRequired[str | None]
    """`tls` or `cleartext`, as seen on the wire; null: not seen"""
    tls_version: NotRequired[str | None]
    """of the ServerHello"""
    cipher: NotRequired[str | None]
    """of the ServerHello"""
    forward_secrecy: NotRequired[bool | None]
    """whether the key exchange is ephemeral"""
    authentication: NotRequired[str | None]
    """`external`, `dialback`, `none`, as the logs name it; null: not known"""
    body_in_clear: NotRequired[bool | None]
    """whether the stanza's body was read on the wire; null: the wire was not read"""


@with_config(DESCRIBED)
class AlternativeEntry(TypedDict):
    """What another document expects instead."""

    outcome: OutcomeWord
    """as expected, too"""
    because: str
    """the clause"""
    encryption: NotRequired[str | None]
    """of a delivery"""
    cause: NotRequired[str | None]
    """of a failure"""


@with_config(DESCRIBED)
class ExpectedEntry(TypedDict):
    """What ought to happen, and the clause that says so."""

    outcome: OutcomeWord
    """`inconclusive` where nothing can be expected, of a configuration that [the user gave](server-projects.md)"""
    because: str
    """the clause"""
    encryption: NotRequired[str | None]
    """of a delivery"""
    cause: NotRequired[str | None]
    """of a failure"""
    alternatives: NotRequired[list[AlternativeEntry]]
    """only where the standards leave it open ([which](expectations.md#where-documents-disagree)): what is as expected, too"""


@with_config(DESCRIBED)
class ThirdPartyEntry(TypedDict):
    """A stream of somebody else's that was in trouble at that time."""

    sender: str
    """who opened it"""
    receiver: str
    """to whom"""
    because: str
    """what the wire shows of it"""


@with_config(DESCRIBED)
class InterferenceEntry(TypedDict):
    """The outcome in the mesh, the one of the pair alone, and who was at it."""

    mesh: OutcomeWord
    """the outcome in the mesh"""
    alone: OutcomeWord
    """the outcome of the pair alone"""
    by: NotRequired[list[ThirdPartyEntry]]
    """up to three streams of third parties that were in trouble then"""


@with_config(DESCRIBED)
class RemedyEntry(TypedDict):
    """One way to fix the cell; `role`, `domain` and `title` are null where it holds for every implementation."""

    role: Role | None
    """at which end; null where it holds for every implementation"""
    domain: str | None
    """of that end"""
    title: str | None
    """its software"""
    text: str
    """what to do, as a clause"""
    set: dict[str, str] | None
    """the same as keys of a scenario's `set`, where it can be said so"""


@with_config(DESCRIBED)
class IntervalEntry(TypedDict):
    """Where the probability of a delivery lies, with about 95 % confidence: lowest and highest."""

    cold: NotRequired[list[float]]
    """of a cold start"""
    warm: NotRequired[list[float]]
    """of a warm attempt"""


Counted = Annotated[list[Annotated[int, Field(ge=0, le=1_000_000)]], Field(min_length=2, max_length=2)]
"""How many attempts delivered, and how many there were."""


@with_config(DESCRIBED)
class SharesEntry(TypedDict):
    """How many attempts of the pair alone delivered."""

    cold: NotRequired[Counted]
    """of cold starts: how many delivered, and how many there were"""
    warm: NotRequired[Counted]
    """of attempts after the two had talked: how many delivered, and how many there were"""
    interval: IntervalEntry
    """for each, the lowest and the highest probability of a delivery, with about 95 % confidence (Wilson)"""


@with_config(DESCRIBED)
class CellEntry(TypedDict):
    """One cell."""

    id: str
    """`phase/sender/receiver/exchange`"""
    phase: str
    """which phase"""
    sender: str
    """domain of the sender"""
    receiver: str
    """domain of the receiver"""
    exchange: str
    """what was sent"""
    outcome: OutcomeWord
    """what became of the stanza"""
    channel: ChannelEntry
    """what a delivery travelled over"""
    cause: str | None
    """one word of [causes.md](causes.md); null of a delivery, and of a failure whose evidence was not taken in"""
    fault: NotRequired[FaultWord | None]
    """who would have to change something; null: nobody alone, or the record does not show it"""
    explanation: NotRequired[str]
    """one sentence that a person can act on"""
    expected: ExpectedEntry
    """what ought to happen"""
    surprise: bool
    """whether it came out otherwise"""
    seconds: NotRequired[float | None]
    """from the writing to the receipt or the bounce"""
    attempts: NotRequired[int]
    """how often it was measured, in all epochs"""
    evidence: NotRequired[list[str]]
    """line numbers of `observations.jsonl`, names of logs"""
    reason: NotRequired[str]
    """the explanation without what would fix it"""
    remedies: NotRequired[list[RemedyEntry]]
    """what would fix a failure: at both ends where both are at fault, else one of them is enough"""
    flaky: NotRequired[list[str]]
    """only where attempts under the same conditions differ: their outcomes, in order"""
    shares: NotRequired[SharesEntry]
    """only where the pair alone was started cold more than once, or its attempts differ: how many of them delivered"""
    history_dependent: NotRequired[dict[str, str]]
    """only where it depends on the order: the outcomes `cold` and `warm`"""
    interference: NotRequired[InterferenceEntry]
    """only where third parties made the difference"""
    cause_from: NotRequired[str]
    """the sources that named the cause: `wire`, `wire, settings`, `sender's log`, …"""
    confirmed: NotRequired[bool]
    """only of what is a failure, a surprise or doubted: whether a second attempt agreed (an expected failure) or the pair was
    measured alone (all else)"""


def _shares(shares: Mapping[str, Share]) -> SharesEntry:
    entry: Any = {kind: [share.delivered, share.tries] for kind, share in shares.items()}
    entry["interval"] = {kind: [round(bound, 2) for bound in share.interval] for kind, share in shares.items()}
    whole: SharesEntry = entry
    return whole


def shares_of(cell: CellEntry) -> dict[str, Share]:
    """How many `cold` and `warm` attempts of the pair alone delivered, as the cell tells; empty if it does not."""
    entry: Mapping[str, Any] = cell.get("shares") or {}
    return {kind: Share(*entry[kind]) for kind in TRIES if entry.get(kind)}


def unexplained(cell: CellEntry) -> bool:
    """Whether a failed cell has no cause, because the evidence that names one was not taken in."""
    return cell["outcome"] in (Outcome.BOUNCED.value, Outcome.LOST.value) and cell.get("cause") is None


@with_config(DESCRIBED)
class ServerEntry(TypedDict):
    """One server, with the version that its running package stated."""

    domain: str
    """its domain"""
    implementation: str
    """name of the software"""
    release: str
    """which release of it"""
    version: NotRequired[str | None]
    """the running package's; null: not seen"""
    index: NotRequired[int]
    """its place in the federation"""
    title: NotRequired[str]
    """the software by its name"""
    unavailable: NotRequired[str | None]
    """why it could not be had, or null"""
    mine: NotRequired[bool]
    """true, only of what [the user gave](server-projects.md)"""


@with_config(DESCRIBED)
class SettingsEntry(TypedDict):
    """What one server was set to in one phase."""

    policy: str
    """the preset's name, and the dimensions that differ from it"""
    certificate: str
    """the certificate profile"""
    dimensions: NotRequired[dict[str, Any]]
    """the policy, dimension by dimension"""
    unsupported: NotRequired[str | None]
    """why the implementation cannot express it, or null"""


@with_config(DESCRIBED)
class PhaseEntry(TypedDict):
    """One phase: domain -> settings."""

    name: str
    """its name"""
    settings: dict[str, SettingsEntry]
    """per domain"""


@with_config(DESCRIBED)
class ControlEntry(TypedDict):
    """Whether the control pair got through."""

    phase: str | None
    """in which phase"""
    when: str
    """`first` or `last`"""
    ok: bool
    """whether it got through"""
    reason: NotRequired[str | None]
    """what came instead"""


@with_config(DESCRIBED)
class FailedServerEntry(TypedDict):
    """A server that ended by itself, did not start, or whose client could not log in or was lost."""

    phase: str
    """in which phase"""
    epoch: str
    """in which start of servers: `mesh`, or that of a pair alone, or of the control pair (not of a try after which that got
    through with fresh servers)"""
    domain: str
    """its domain"""
    reason: str
    """why, as a clause"""
    seconds: NotRequired[float | None]
    """after its start; null: it was not started, or the record does not say"""
    undecided: NotRequired[int]
    """cells of that phase with it that are undecided for this cause"""
    evidence: NotRequired[list[str]]
    """the line of `observations.jsonl`"""


@with_config(DESCRIBED)
class StormEntry(TypedDict):
    """Connection attempts without a pause, cut by the gate."""

    phase: str
    """in which phase"""
    epoch: str
    """in which start of servers"""
    sender: str
    """who tried to connect"""
    receiver: str
    """to whom"""
    cut: int
    """connection attempts that were cut"""


@with_config(DESCRIBED)
class ResumedEntry(TypedDict):
    """The run was interrupted there, and went on."""

    interrupted: str
    """when, ISO 8601: the last observation before"""
    resumed: str
    """when it went on, ISO 8601"""
    phases: list[str]
    """what was missing then, and was measured (again)"""
    cells: int
    """how many cells that were"""
    differs: NotRequired[list[str]]
    """what of the machine or the testbed was not as before"""


@with_config(DESCRIBED)
class StrainedEntry(TypedDict):
    """What the machine lacked in attempts during which it did not give the servers their time."""

    cells: int
    """how many cells are undecided for that"""
    attempts: int
    """how many attempts say nothing for that; most were made again"""
    window: float
    """how long the worst window of such an attempt lasted, on the average, in seconds"""
    waited: dict[str, float]
    """how long its servers waited in that, on the average: for `processor`, `disk`, `memory`, and what was `stolen`"""
    source: str
    """`pressure`: the kernel said so; `heartbeat`: a light process was held up for so long; `unread`: nothing is known"""
    processors: int | None
    """how many the machine has"""
    running: NotRequired[float]
    """how many processes had or wanted a processor then, on the average"""


@with_config(DESCRIBED)
class Verdicts(TypedDict):
    """``derived/verdicts.json``."""

    schema: int
    """version of the form"""
    run: str
    """the run's id"""
    scenario: str
    """the scenario's name"""
    title: NotRequired[str]
    """the scenario's title"""
    started: NotRequired[str]
    """when, ISO 8601"""
    timers: NotRequired[str]
    """`short` or `stock`"""
    stretch: NotRequired[int]
    """how much longer the short timers were, because the machine was slow or busy when the run began"""
    seed: NotRequired[int | None]
    """of the order of pairs"""
    revision: NotRequired[str | None]
    """git revision of the testbed"""
    machine: NotRequired[dict[str, Any] | None]
    """where it was measured"""
    isolated: NotRequired[bool]
    """whether every direction of every pair was measured alone"""
    complete: bool
    """false: the record has no closing line"""
    resumed: NotRequired[list[ResumedEntry]]
    """only of a run that was measured in several parts: the interruptions"""
    servers: list[ServerEntry]
    """the servers"""
    phases: list[PhaseEntry]
    """the phases"""
    controls: NotRequired[list[ControlEntry]]
    """the control pair"""
    failed_servers: NotRequired[list[FailedServerEntry]]
    """only where a server failed: which, when and why; then the exit status is 3"""
    strained: NotRequired[StrainedEntry]
    """only where attempts failed while the machine did not give the servers their time"""
    storms: NotRequired[list[StormEntry]]
    """connection attempts without a pause"""
    timing: NotRequired[dict[str, float]]
    """seconds per stage"""
    cells: list[CellEntry]
    """every planned cell, in order"""

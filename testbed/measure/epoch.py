"""An epoch is one start of servers within a phase: the whole mesh, a pair that is measured alone, or the control pair.

Rule: what was started and what was seen, as data; who starts and ends it stands in `epochs`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.engine.berths import Berth
from testbed.engine.federation import Container
from testbed.measure.kept import Kept
from testbed.measure.pace import BOOT, Waits
from testbed.model import Cell, Phase, Server, Settings
from testbed.record.legs import epoch_kind

Address = tuple[str, str | None]
"""IPv4 and, where there is one, IPv6."""


@dataclass(frozen=True)
class Answer:
    """What came of one attempt of a cell."""

    word: str
    """`received` · `error` · `silence` · `unsendable`, or `not-started`."""
    cold: bool = False
    """The two servers had not talked before in this epoch."""
    seconds: float | None = None
    """From the order to write to the answer; None if none came."""
    proven: bool = True
    """Of a silence: both clients were proven alive after it."""
    void: bool = False
    """It failed while the servers were not given their time: it says nothing of them."""


@dataclass
class Epoch:
    """One start of servers within a phase, and what was seen in it."""

    phase: Phase
    name: str
    """``mesh``, ``alone-N``, ``control-first``, ``control-last``; unique within the phase (`Journal.epoch_name`)."""
    servers: tuple[Server, ...]
    settings: Mapping[str, Settings]
    addresses: dict[str, Address]
    """By domain."""
    dns: str
    """The address of the name server that these servers ask."""
    names: Container | None = None
    """That name server, where it is not the mesh's."""
    containers: dict[str, Container] = field(default_factory=dict)
    berths: dict[str, Berth] = field(default_factory=dict)
    """Of a pair that is measured alone: what its servers run in, and others before and after them."""
    kept: dict[str, Kept] = field(default_factory=dict)
    """Of those, the servers that an epoch before this one has started."""
    lasting: str | None = None
    """The domain whose server goes on when this epoch ends."""
    macs: dict[str, str] = field(default_factory=dict)
    online: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    """By domain: whether its client got in."""
    booted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no server of this epoch starts any more."""
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    """By cell's id, one an attempt."""
    failed: set[str] = field(default_factory=set)
    """Domains of which it is noted that the server failed."""
    logged: set[str] = field(default_factory=set)
    """Of `berths`: domains whose log is in the record."""
    halting: bool = False
    """Its servers are being ended: what they do from now on says nothing."""
    talked: set[frozenset[str]] = field(default_factory=set)
    """Pairs that have begun to talk."""
    absent: dict[str, str] = field(default_factory=dict)
    """Why a server, by domain, is not there, or its client not in."""
    waits: Waits = field(default_factory=lambda: Waits("short"))
    """How long its servers wait, and the testbed for them."""
    patience: float = BOOT
    """Seconds that a server may take from its start to its client's login."""
    began: float = float("inf")
    ended: float = float("inf")
    """Unix seconds."""

    @property
    def kind(self) -> str:
        """`MESH`, `ALONE` or `CONTROL`."""
        return epoch_kind(self.name)

    @property
    def id(self) -> str:
        """Unique within the run."""
        return f"{self.phase.name}:{self.name}"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.ended < float("inf")

    def container(self, domain: str) -> Container:
        """What the server of ``domain`` runs in. KeyError if it was not started."""
        return self.berths[domain].container if domain in self.berths else self.containers[domain]

    def client(self, domain: str) -> str:
        """The name of the client that is logged in at ``domain`` in this epoch."""
        return self.kept[domain].client if domain in self.kept else f"{self.id}:{domain}"

    def words(self, cell: Cell) -> list[str]:
        """What came of the attempts of a cell, void ones left out."""
        return [answer.word for answer in self.answers[cell.id] if not answer.void]

    def voids(self, cell: Cell) -> int:
        """How many attempts of a cell were void."""
        return sum(answer.void for answer in self.answers[cell.id])

    @property
    def void(self) -> bool:
        """Whether some attempt was void, of a cell that no other attempt here answers as well: cold or not."""
        return any(
            answer.void and not any(other.cold >= answer.cold for other in answers if not other.void)
            for answers in self.answers.values()
            for answer in answers
        )

    def open(self, cell: Cell) -> bool:
        """Whether void attempts leave open what becomes of a cell: none counts, or only warm ones do, and delivered."""
        void, words = [answer for answer in self.answers[cell.id] if answer.void], self.words(cell)
        return bool(void) and (not words or (any(answer.cold for answer in void) and "received" in words))

    def begin_to_talk(self, cell: Cell) -> bool:
        """Note that the two servers of a cell talk from now on. Returns whether they had not before: then the attempt is cold."""
        pair = frozenset((cell.sender, cell.receiver))
        cold = pair not in self.talked
        self.talked.add(pair)
        return cold

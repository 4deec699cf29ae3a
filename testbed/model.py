"""The nouns: frozen dataclasses and enums. This file does no I/O and imports nothing local.

Every other module speaks in these words. A *Cell* (phase x pair x exchange) is the unit that is planned, measured, judged
and never missing from a result. What a run saw and what follows from that stand in `record/`: Observation and Verdict.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

SCHEMA = 1
"""Version of every file under ``results/<run-id>/``; changed when a key is renamed or dropped, not when one is added."""


# --- text that others wrote -------------------------------------------------------------------------------------------


def visible(text: str, *, lines: bool = False) -> str:
    """``text`` with everything that is not a printable character as Python writes it: ``\\x1b``, ``\\n``, ``\\u202e``.

    What servers, logs, folders and files say is data: on its way to people nothing in it may steer a terminal, end a line, turn
    the direction of writing, or be there without being seen (Unicode's categories C and Z, but for the space). ``lines``: line
    ends stay, for text of the testbed's own that has several.
    """
    if text.isprintable():
        return text
    if lines:
        return "\n".join(map(visible, text.split("\n")))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def all_visible(document: Any) -> Any:
    """A document as JSON has it, with every text in it (keys too) as `visible` makes it; what was visible is not copied."""
    match document:
        case str():
            return visible(document)
        case dict():
            made = {all_visible(key): all_visible(value) for key, value in document.items()}
            same = all(a is b for a, b in zip(made.values(), document.values(), strict=False)) and made.keys() == document.keys()
            return document if same else made
        case list() | tuple():
            items = [all_visible(item) for item in document]
            return document if all(a is b for a, b in zip(items, document, strict=True)) else items
        case _:
            return document


# --- errors -----------------------------------------------------------------------------------------------------------


class TestbedError(Exception):
    """Base of all errors that a user is meant to read; the text is the whole message, no traceback is shown."""

    __test__ = False  # pytest collects classes named Test*
    exit_status = 3


class InputError(TestbedError):
    """A scenario, an image folder or an argument is wrong. Names file, line, value, allowed values and remedy (exit 2).

    Its text has one line each for the message, each of its ``details``, what is allowed, and the remedy; what they quote is made
    `visible`.
    """

    exit_status = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        value: object = None,
        details: tuple[str, ...] = (),
        allowed: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        self.message, self.file, self.line, self.value, self.allowed, self.hint = message, file, line, value, allowed, hint
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        text = "\n  ".join(map(visible, (where + message, *details)))
        if allowed:
            text += "\n  allowed: " + visible(", ".join(allowed))
        if hint:
            text += "\n  hint: " + visible(hint)
        super().__init__(text)


class EngineError(TestbedError):
    """The Docker engine, an image or a container did not do what the run needs (exit 3)."""


class StorageError(TestbedError):
    """The folder of a run takes no more: a full disk, a folder that is gone or read-only. Names file, reason, remedy (exit 3)."""


# --- policy dimensions ------------------------------------------------------------------------------------------------


class Encryption(str, Enum):
    """Whether STARTTLS is spoken between servers (RFC 6120 section 5)."""

    NONE = "none"
    OFFERED = "offered"
    REQUIRED = "required"


class Authentication(str, Enum):
    """How a server proves its domain, and what it accepts as proof from its peers."""

    DIALBACK = "dialback"
    EXTERNAL = "external"
    EITHER = "either"

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that this value admits, in the words of ``verdicts.json``."""
        return ("dialback", "external") if self is Authentication.EITHER else (self.value,)


class ForwardSecrecy(str, Enum):
    """Which key exchanges a server offers (the statement of 2013; RFC 9325 section 4.1)."""

    NONE = "none"
    ANY = "any"
    PREFERRED = "preferred"
    REQUIRED = "required"


CONTROL_DOMAINS = ("control-a.example", "control-b.example")
"""Served by two servers of the run's own, which must get through; a scenario cannot have them."""

TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
"""TLS versions in ascending order, as written in a scenario."""


@dataclass(frozen=True)
class Policy:
    """What a server offers and demands: independent dimensions; ``preset`` is only the name that it is shown by."""

    preset: str
    encryption: Encryption
    authentication: Authentication
    tls_min: str | None = None
    tls_max: str | None = None
    forward_secrecy: ForwardSecrecy = ForwardSecrecy.ANY
    label: str = ""

    @classmethod
    @functools.cache
    def kinds(cls) -> dict[str, Callable[[str], Any]]:
        """Dimension -> what makes its value of a word: every field but ``preset`` and ``label`` is a dimension."""
        hints = typing.get_type_hints(cls)
        kinds = {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.name not in ("preset", "label")}
        return {name: kind if isinstance(kind, type) else str for name, kind in kinds.items()}

    def dimensions(self) -> dict[str, Any]:
        """The dimensions as they stand in ``verdicts.json``."""
        values = {name: getattr(self, name) for name in self.kinds()}
        words = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
        return words | {"authentication": list(self.authentication.mechanisms)}

    @property
    def name(self) -> str:
        """Preset's name followed by the dimensions that differ from it: ``encrypted,tls_min=1.2``."""
        return self.label or self.preset

    @property
    def tls_range(self) -> tuple[str, str]:
        """Lowest and highest TLS version that the policy leaves possible; an unset end counts as open."""
        low, high = self.tls_min or TLS_VERSIONS[0], self.tls_max or TLS_VERSIONS[-1]
        if self.forward_secrecy is ForwardSecrecy.NONE:
            high = min(high, "1.2")
        return low, high

    @classmethod
    def recorded(cls, name: str, dimensions: Mapping[str, Any]) -> Policy:
        """The Policy that was recorded as ``name`` with ``dimensions``, as `dimensions()` wrote them.

        A dimension that is younger than the record has its default.
        """
        mechanisms = dimensions["authentication"]
        words = {**dimensions, "authentication": "either" if len(mechanisms) == 2 else mechanisms[0]}
        values = {n: kind(words[n]) for n, kind in cls.kinds().items() if words.get(n) is not None}
        return cls(preset=name.split(",")[0], label=name, **values)


# --- federation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Implementation:
    """One server software in one release, written ``name@release``."""

    name: str
    release: str

    def __str__(self) -> str:
        return f"{self.name}@{self.release}"


@dataclass(frozen=True)
class Server:
    """Implementation + Policy + Certificate profile serving one Domain, as configured before any phase changes it."""

    domain: str
    implementation: Implementation
    policy: Policy
    certificate: str
    index: int
    """Position in the federation, from 0; the address is computed from it, so it is the same in every phase."""


@dataclass(frozen=True)
class Settings:
    """What one Server is set to in one Phase."""

    policy: Policy
    certificate: str
    unsupported: str | None = None
    """Why the implementation cannot express the policy; its cells are ``unsupported`` with this reason."""


@dataclass(frozen=True)
class Phase:
    """A regime of the federation: the Settings of every domain."""

    name: str
    settings: dict[str, Settings]


@dataclass(frozen=True, order=True)
class Cell:
    """Phase x Pair x Exchange."""

    phase: str
    sender: str
    receiver: str
    exchange: str

    @property
    def id(self) -> str:
        """``before/a.example/b.example/message``, stable over runs."""
        return f"{self.phase}/{self.sender}/{self.receiver}/{self.exchange}"


@dataclass(frozen=True)
class Plan:
    """A scenario, expanded: what will be measured, before anything starts."""

    scenario: str
    title: str
    file: str
    servers: tuple[Server, ...]
    phases: tuple[Phase, ...]
    exchanges: tuple[str, ...]
    timers: str
    seed: int
    pairs: tuple[tuple[str, str], ...]
    """Unordered pairs of domains that are measured, both directions each: all of the federation, or a part of them."""
    ipv6: bool = True
    description: str = ""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Everything that will be measured, in the order of phases, exchanges and servers."""
        wanted = {frozenset(pair) for pair in self.pairs}
        domains = [s.domain for s in self.servers]
        return tuple(
            Cell(phase.name, a, b, exchange)
            for phase in self.phases
            for exchange in self.exchanges
            for a in domains
            for b in domains
            if a != b and frozenset((a, b)) in wanted
        )

    def server(self, domain: str) -> Server:
        """The Server of ``domain``; KeyError if there is none."""
        for server in self.servers:
            if server.domain == domain:
                return server
        raise KeyError(domain)


# --- what became of a cell --------------------------------------------------------------------------------------------


class Outcome(str, Enum):
    """What became of the stanza, for the people at both ends."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    LOST = "lost"
    UNSUPPORTED = "unsupported"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Expectation:
    """What ought to happen, and the clause that says so."""

    outcome: Outcome
    because: str
    encryption: str | None = None
    cause: str | None = None
    alternatives: tuple[Expectation, ...] = ()
    """What may happen as well, each with its clause, where the standards leave it open; these have none of their own."""

    @property
    def admitted(self) -> tuple[Expectation, ...]:
        """Everything that is as expected: itself, then its alternatives."""
        return (self, *self.alternatives)

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """Every outcome that is as expected."""
        return frozenset(e.outcome for e in self.admitted)

    def agrees(self, outcome: Outcome, encryption: str | None = None, cause: str | None = None) -> bool:
        """Whether a result is as expected; a delivery also in its ``encryption``, where that was seen.

        Where the standards leave open whether it fails, a failure also in its ``cause``, where that is known: they leave one
        point open, and excuse nothing else.
        """
        if self.outcome is Outcome.INCONCLUSIVE:
            return True  # where nothing can be expected, nothing is a surprise
        alike = [e for e in self.admitted if e.outcome is outcome]
        if outcome is Outcome.DELIVERED:
            return any(not encryption or not e.encryption or e.encryption == encryption for e in alike)
        whatever = cause is None or Outcome.DELIVERED not in self.outcomes
        return any(whatever or e.cause in (None, cause) for e in alike)

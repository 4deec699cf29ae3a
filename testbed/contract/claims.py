"""What is claimed of a release, and whether it holds: the result of a check, for whoever shows it. No I/O."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from testbed.model import Implementation


class Status(str, Enum):
    """What became of a claim."""

    OK = "ok"
    FAILED = "failed"
    UNDECLARED = "not declared"
    """The implementation says that it cannot do this, so it claims nothing."""

    @classmethod
    def of(cls, holds: bool | None) -> Status:
        """None: the implementation does not claim it."""
        return cls.UNDECLARED if holds is None else cls.OK if holds else cls.FAILED


@dataclass(frozen=True)
class Claim:
    """One statement about a release under a setting, and whether the wire bears it out."""

    setting: str
    claim: str
    status: Status
    saw: str = ""


@dataclass
class Report:
    """Everything that was claimed of one release."""

    implementation: Implementation
    version: str | None = None
    claims: list[Claim] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For programs: `implementation`, `release`, `version`, `seconds`, `claims`."""
        return {
            "implementation": self.implementation.name,
            "release": self.implementation.release,
            "version": self.version,
            "seconds": round(self.seconds, 1),
            "claims": [{**dataclasses.asdict(c), "status": c.status.value} for c in self.claims],
        }

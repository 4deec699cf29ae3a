"""What a fault is: one row of a table `FAULTS` in a file `fault_FAMILY.py` here. A new row is a new test, found by listing.

Rule: a row says where in the run's life it strikes and what it does to it; what a run then owes is the same for all, and stands
in `harness.py`. A row that is known not to hold names the defect; its test must then fail.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness import Case

HERE = Path(__file__).parent
SCENARIO = HERE / "scenario.yaml"


class Stage(Enum):
    """Where in a run's life a fault strikes: waited for in the record, the evidence or on the engine, never slept for."""

    BEGUN = "at once"
    FOLDER = "when the run has its folder"
    PARTS = "when name server, wiretap and driver run"
    SERVERS = "when the servers of the first phase run"
    CELLS = "when the first cell has its answer"
    SECOND = "when the servers of the second phase start"
    EVIDENCE = "when the evidence of the first phase is in"
    REPORT = "while the report is drawn"
    ANY = "at a moment that the seed draws"


class End(Enum):
    """How a run with the fault must end."""

    EARLY = "status 3 and one sentence"
    KILLED = "killed, without a word; the next command takes away what is left"
    WHOLE = "as if nothing had been"
    TELLS = "complete, with status 3: what could not be told is undecided"
    EITHER = "as if nothing had been, or status 3"
    FOUND = "complete, with status 1: what fails is laid on the server that is wrong"


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    """Unique; the test's name."""
    how: str
    """How it is injected: the row of docs/reliability.md."""
    at: Stage
    inject: Callable[[Case], object]
    """Called once when the stage has come. What it returns is not looked at."""
    end: End
    says: str = ""
    """What standard error must match, where the run ends early."""
    times: int = 1
    """Runs in `make faults`, each with another seed."""
    short: bool = False
    """Run once in `make test` too."""
    scenario: Path = SCENARIO
    """Another one has no undisturbed run to be compared with: `owes` says what must come of it."""
    servers: Callable[[Case], tuple[Path, ...]] | None = None
    """Makes the folders of implementations that the run is given."""
    owes: Callable[[dict[str, Any]], list[str]] | None = None
    """What is wrong with the verdicts of this fault, besides what no run may get wrong."""
    options: tuple[str, ...] = ()
    """Of `testbed run`."""
    own_engine: bool = False
    """On an engine of the test's own, which it may stop and kill."""
    reaped: bool = False
    """What is left may stay until the next command."""
    results: Callable[[Case], Path] | None = None
    """Makes the results folder, where that is not an ordinary one."""
    surprises: bool = False
    """Status 1 is right too: the fault lies with a server, or with the network, and a pair may come out unstable."""
    bound: float = 150
    """Seconds from the injection to the end of the run."""
    defect: str = ""
    """Why it does not hold."""

    @property
    def must(self) -> str:
        """How a run with it must end, in words."""
        return self.end.value + (", or an `unstable` pair, which is a surprise (status 1)" if self.surprises else "")


@dataclass(frozen=True)
class Family:
    """One file of faults."""

    name: str
    title: str
    faults: tuple[Fault, ...] = field(default=())


def families() -> list[Family]:
    """Every table, by its file's name; the first line of the file's docstring is its title."""
    found = []
    for path in sorted(HERE.glob("fault_*.py")):
        module = importlib.import_module(path.stem)
        title = (module.__doc__ or "").partition("\n")[0].rstrip(".")
        found.append(Family(path.stem.removeprefix("fault_"), title, tuple(module.FAULTS)))
    return found

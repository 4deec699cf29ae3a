"""Signals to the command: Ctrl-C, TERM, a closed terminal, KILL.

INT, TERM and HUP end a run alike: what was measured is kept, nothing is left. KILL leaves what the next command takes away.
"""

from __future__ import annotations

import functools
import signal
import time

from fault import End, Fault, Stage
from harness import Case

INTERRUPTED = "interrupted"
STAGES = (Stage.FOLDER, Stage.PARTS, Stage.SERVERS, Stage.CELLS, Stage.SECOND, Stage.EVIDENCE, Stage.REPORT)


def once(number: signal.Signals, case: Case) -> None:
    """One signal."""
    case.send(number)


def twice(case: Case) -> None:
    """Ctrl-C, and once more while the run cleans up."""
    case.send(signal.SIGINT)
    time.sleep(case.random.uniform(0.05, 1.5))
    case.send(signal.SIGINT)


def often(case: Case) -> None:
    """Ctrl-C held down, and TERM and HUP among it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGINT):
        case.send(number)
        time.sleep(0.2)


FAULTS = (
    *(
        Fault(
            f"{number.name.lower()}-{stage.name.lower()}", f"{number.name} {stage.value}", stage,
            functools.partial(once, number), End.EARLY, INTERRUPTED,
            short=(number, stage) == (signal.SIGTERM, Stage.CELLS),
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for stage in STAGES
    ),
    *(
        Fault(
            f"{number.name.lower()}-any", f"{number.name} {Stage.ANY.value}", Stage.ANY,
            functools.partial(once, number), End.EARLY, times=5,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ),
    Fault(
        "int-twice", f"INT {Stage.CELLS.value}, INT again within 1.5 s", Stage.CELLS, twice, End.EARLY, INTERRUPTED, times=5,
    ),
    Fault("int-often", "INT, TERM, INT, HUP, INT, 0.2 s apart", Stage.SERVERS, often, End.EARLY, INTERRUPTED, times=3),
    *(
        Fault(
            f"kill-{stage.name.lower()}", f"KILL {stage.value}", stage, functools.partial(once, signal.SIGKILL), End.KILLED,
            times=times, short=stage is Stage.CELLS,
        )
        for stage, times in ((Stage.PARTS, 2), (Stage.CELLS, 2), (Stage.EVIDENCE, 2), (Stage.REPORT, 2), (Stage.ANY, 6))
    ),
)  # fmt: skip

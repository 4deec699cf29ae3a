"""The engine under a run: killed, ended or started anew in the middle.

The run ends with a sentence, at once; what it could not remove without an engine goes with the next command.
"""

from __future__ import annotations

import functools
import os
import signal

from fault import End, Fault, Stage
from harness import Case


def end(number: signal.Signals, case: Case) -> None:
    """The engine's process gets a signal; it is started anew before anything is looked at."""
    os.kill(case.bench.engine_pid(), number)
    case.undo.append(case.bench.restart)


def anew(case: Case) -> None:
    """The engine is stopped, as its service does it, and started at once."""
    os.kill(case.bench.engine_pid(), signal.SIGTERM)
    case.bench.restart()


FAULTS = (
    *(
        Fault(
            f"engine-{number.name.lower()}-{stage.name.lower()}", f"the engine gets {number.name} {stage.value}", stage,
            functools.partial(end, number), End.EARLY, own_engine=True, reaped=True, times=3,
        )
        for number in (signal.SIGKILL, signal.SIGTERM)
        for stage in (Stage.PARTS, Stage.CELLS)
    ),
    Fault("engine-anew", f"the engine is stopped and started {Stage.CELLS.value}", Stage.CELLS, anew, End.EARLY, own_engine=True,
          reaped=True),
)  # fmt: skip

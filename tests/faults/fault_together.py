"""Several runs at once on one engine: each is as if it were alone, also when another one is killed or interrupted."""

from __future__ import annotations

import functools
import signal

from fault import End, Fault, Stage
from harness import Case


def beside(number: signal.Signals | None, case: Case) -> None:
    """A second run starts; when its servers run, the first gets a signal."""
    companion = case.beside()
    if number is not None:
        case.until(
            "servers of the second run",
            lambda: companion.path and len(companion.containers()) > len(("dns", "wiretap", "driver")),
        )
        case.send(number)


FAULTS = (
    Fault("two-runs", "a second run is started while the first goes on", Stage.PARTS, functools.partial(beside, None), End.WHOLE,
          bound=240, times=3),
    Fault("two-runs-one-interrupted", "two runs, one of which gets INT", Stage.PARTS, functools.partial(beside, signal.SIGINT),
          End.EARLY, bound=240),
    Fault("two-runs-one-killed", "two runs, one of which gets KILL", Stage.PARTS, functools.partial(beside, signal.SIGKILL),
          End.KILLED, bound=240),
)  # fmt: skip

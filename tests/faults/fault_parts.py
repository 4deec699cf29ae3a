"""The testbed's own parts: name server, wiretap and driver, killed or paused.

What they saw is evidence, so without them a run cannot go on; it says which one is missing. A pause that ends is no fault.
"""

from __future__ import annotations

import functools
import threading

from fault import End, Fault, Stage
from harness import Case

PARTS = ("wiretap", "driver", "dns")
PAUSE = 3.0


def kill(part: str, case: Case) -> None:
    """The part's container is killed."""
    case.container(f"-{part}").kill()


def pause(part: str, seconds: float | None, case: Case) -> None:
    """The part's container is paused, for a time or for good."""
    container = case.container(f"-{part}")
    container.pause()
    if seconds is not None:
        timer = threading.Timer(seconds, container.unpause)
        timer.start()
        case.undo.append(timer.join)


FAULTS = (
    *(
        Fault(
            f"{part}-killed-{stage.name.lower()}", f"the {part}'s container is killed {stage.value}", stage,
            functools.partial(kill, part), End.EARLY, rf"error: .*{part}",
            short=(part, stage) == ("wiretap", Stage.CELLS),
        )
        for part in PARTS
        for stage in (Stage.PARTS, Stage.CELLS, Stage.SECOND)
    ),
    *(
        Fault(
            f"{part}-paused", f"the {part}'s container is paused for {PAUSE:.0f} s {Stage.SERVERS.value}", Stage.SERVERS,
            functools.partial(pause, part, PAUSE), End.EITHER,
        )
        for part in PARTS
    ),
    *(
        Fault(
            f"{part}-stopped", f"the {part}'s container is paused {Stage.SERVERS.value}, and stays so", Stage.SERVERS,
            functools.partial(pause, part, None), End.EARLY, rf"error: .*{part}", bound=400,
        )
        for part in PARTS
    ),
)  # fmt: skip

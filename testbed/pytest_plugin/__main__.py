"""The process that measures for a session of pytest: `python -m testbed.pytest_plugin ORDER`.

Rule: writes one outcome, whatever happens, and ends when the worker that started it does. Its news go to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

from testbed import campaign, interruption, unforeseen
from testbed.display import Lines
from testbed.model import TestbedError, visible
from testbed.plan.narrow import narrow
from testbed.pytest_plugin.workers import FAREWELL, ORDER, OUTCOME, Measured, NotMeasured, Order, Outcome, read, write


def main(path: Path) -> None:
    """Measure what an order says, and write the outcome: always one of the two, whatever happens."""
    order = read(path, ORDER)
    reasons: list[str] = []
    threading.Thread(target=end_with_parent, args=(reasons,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a session in the background of a shell ignores it
    outcome: Outcome
    try:
        with interruption.handled():
            outcome = Measured(measured(order))
    except TestbedError as error:
        text = visible(str(error), lines=True)
        outcome = NotMeasured("; ".join([*reasons, text.removeprefix("interrupted; ") if reasons else text]))
    except KeyboardInterrupt:
        outcome = NotMeasured("; ".join([*reasons, "it ended before anything was measured"]))
    except Exception as error:
        outcome = NotMeasured(unforeseen.sentence(error, order.argv))
    write(order.outcome, OUTCOME, outcome)


def measured(order: Order) -> Path:
    """The folder of the run. Raises TestbedError."""
    whole = campaign.plan(order.scenario, **asdict(order.candidates))
    selection = replace(whole, plan=narrow(whole.plan, order.cells))
    run = campaign.measure(selection, results=order.results, isolated=order.isolated, argv=order.argv, display=Lines(say))
    return run.path


def say(line: str) -> None:
    """One line of news."""
    print(visible(line), file=sys.stderr, flush=True)


def end_with_parent(reasons: list[str]) -> None:
    """Wait until the worker that ordered the measurement says why it has to end, or is gone; then end as with Ctrl-C."""
    message = b""
    while more := os.read(0, 4096):  # not sys.stdin: a thread that waits in its buffer breaks the interpreter's end
        message += more
    reasons.append(message.decode() or "the worker that measured was ended")
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(FAREWELL)
    os._exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

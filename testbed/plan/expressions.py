"""Finds the pattern of a stranger's `logs.yaml` that takes too much to compile, in a process of its own with bounds.

Rule: nothing inside of a process can bound what compiling takes: forty repetitions inside of each other fill any memory. What
this process could compile, the testbed can. Imports no more than that process needs.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from dataclasses import dataclass

import regex

from testbed import ROOT
from testbed.plan import sandbox

CPU = 5
"""Seconds of a processor for all patterns of a file; the fifty of a server take 0.3."""
CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from testbed.plan.expressions import main; main()"


@dataclass(frozen=True)
class Costly:
    """A pattern that takes too much: which one, and what it takes."""

    position: int
    how: str


@functools.lru_cache(maxsize=256)
def costly(patterns: tuple[str, ...]) -> Costly | None:
    """The first pattern that cannot be compiled within the bounds, or None. What is no pattern at all is no matter of this."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", CHILD, str(ROOT)], input=json.dumps(patterns), capture_output=True, text=True, cwd="/",
            env={}, timeout=sandbox.PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Costly(0, f"more than {sandbox.PATIENCE:.0f} s to compile")
    words = child.stdout.split()
    if words[-1:] == ["done"]:
        return None
    positions = [int(word) for word in words if word.isdecimal()]
    how = "too much memory" if words[-1:] == ["memory"] else f"more than {CPU} s of a processor, with those before it,"
    return Costly(positions[-1] if positions else 0, f"{how} to compile")


def main() -> None:
    """The process: patterns from standard input, the position of each to standard output before it is compiled."""
    patterns = json.load(sys.stdin)
    sandbox.limit(CPU)
    for position, pattern in enumerate(patterns):
        print(position, flush=True)
        for compiled in (re.compile, regex.compile):
            try:
                compiled(pattern)
            except MemoryError:
                print("memory", flush=True)
                return
            except (re.error, regex.error, RecursionError, OverflowError):
                break  # whoever compiles it next says so
    print("done", flush=True)

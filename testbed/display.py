"""How work in progress is shown: one protocol for everybody who works, and two displays that need no terminal.

Rule: imports nothing. Whoever works says what happens; the face that called decides how it looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

Say = Callable[[str], None]
"""`Display.say` alone, for work that has no stages."""


class Display(Protocol):
    """What a face shows while work goes on. A stage has a name and a number of steps; stages may overlap."""

    def stage(self, name: str, total: int) -> None:
        """A new stage begins, with so many steps."""

    def grow(self, name: str) -> None:
        """A stage, begun or not, has one more step to do."""

    def advance(self, name: str, steps: int = 1, *, failed: bool = False) -> None:
        """Steps of a stage are done; ``failed``: what was measured did not get through."""

    def say(self, text: str) -> None:
        """One line of news."""

    def warn(self, text: str) -> None:
        """One line that concerns the result: shown even where no progress is."""


class Silent:
    """A display that shows nothing."""

    def stage(self, name: str, total: int) -> None: ...
    def grow(self, name: str) -> None: ...
    def advance(self, name: str, steps: int = 1, *, failed: bool = False) -> None: ...
    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class Lines:
    """Plain lines: the news, and one line for each stage when it is done. ``quiet``: warnings alone."""

    def __init__(self, write: Callable[[str], object], *, quiet: bool = False) -> None:
        self.write, self.quiet = write, quiet
        self.left: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def stage(self, name: str, total: int) -> None:
        """A new stage begins."""
        self.left[name] = total

    def grow(self, name: str) -> None:
        """One more step to do."""
        self.left[name] += 1

    def advance(self, name: str, steps: int = 1, *, failed: bool = False) -> None:
        """Steps are done; a line when all of the stage are."""
        self.left[name] -= steps
        self.failed[name] += failed
        if self.left[name] == 0:
            self.say(f"{name}: done" + (f" ({failures(self.failed[name])})" if self.failed[name] else ""))

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self.write(f"  {text}")

    def warn(self, text: str) -> None:
        """One line."""
        self.write(f"  {text}")


def failures(count: int) -> str:
    """How many attempts of a stage failed, in words."""
    return f"{count} did not get through"

"""Progress on the terminal: one bar a stage, or plain lines where standard error is no terminal."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn

from testbed.cli.output import errors
from testbed.display import Display, Lines, failures
from testbed.model import visible


class Bars:
    """A `Display` of bars on a terminal, with the news above them; ``quiet``: warnings alone."""

    def __init__(self, quiet: bool) -> None:
        self.tasks: dict[str, TaskID] = {}
        self.left: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.quiet = quiet
        self.progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<34}"),
            BarColumn(28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}"),
            console=errors,
            disable=quiet,
        )

    def stage(self, name: str, total: int) -> None:
        """A new bar."""
        self.left[name] = total
        self.tasks[name] = self.progress.add_task(name, total=total, left="", failed="")

    def grow(self, name: str) -> None:
        """A longer bar, or a new one."""
        if name not in self.tasks:
            self.stage(name, 0)
        self.left[name] += 1
        self.progress.update(self.tasks[name], total=(self.task(name).total or 0) + 1)

    def advance(self, name: str, steps: int = 1, *, failed: bool = False) -> None:
        """Move a bar; say how long it will take, and how many attempts failed."""
        self.left[name] -= steps
        self.failed[name] += failed
        self.progress.advance(self.tasks[name], steps)
        seconds = self.task(name).time_remaining
        left = f"about {seconds:.0f} s left" if seconds and self.left[name] else ""
        self.progress.update(self.tasks[name], left=left, failed=failures(self.failed[name]) if self.failed[name] else "")

    def task(self, name: str) -> Task:
        """What rich knows of a bar."""
        return self.progress.tasks[self.progress.task_ids.index(self.tasks[name])]

    def say(self, text: str) -> None:
        """A line above the bars."""
        if not self.quiet:
            errors.print(f"  {escape(visible(text))}", style="dim", soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line above the bars."""
        errors.print(f"  {escape(visible(text))}", style="yellow", soft_wrap=True)


@contextlib.contextmanager
def live(quiet: bool) -> Iterator[Display]:
    """A display on standard error, for as long as something is done."""
    if not errors.is_terminal:
        yield Lines(lambda text: errors.print(escape(visible(text)), soft_wrap=True), quiet=quiet)
        return
    display = Bars(quiet)
    with display.progress:
        yield display

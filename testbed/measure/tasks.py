"""Tasks and threads with an owner: nothing that was begun outlives the block that began it, and no failure is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from testbed.model import TestbedError

T = TypeVar("T")


class _Group(asyncio.TaskGroup):
    """One whose block waits for its tasks itself.

    COMPAT Python 3.11: a group whose task fails cancels its parent, and takes that back only where the block was still going on;
    else the parent counts as cancelled from outside, and the failure would be hidden behind a CancelledError.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun: set[asyncio.Task[Any]] = set()

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = super().create_task(*args, **kwargs)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def done(self) -> None:
        """Return when no task is left."""
        while self._begun:
            await asyncio.wait(set(self._begun))


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises one error as it is, with notes of the others.

    What is no TestbedError comes first: a bug must not hide behind its consequences. Where the block itself is cancelled, as by
    Ctrl-C, that comes before what the tasks made of it.
    """
    try:
        async with _Group() as group:
            yield group
            await group.done()
    except BaseExceptionGroup as group_error:
        errors = _flat(group_error)
        chosen = next((e for e in errors if not isinstance(e, TestbedError)), errors[0])
        if (task := asyncio.current_task()) and task.cancelling():
            chosen = asyncio.CancelledError()
        for error in errors:
            if error is not chosen:
                chosen.add_note(f"at the same time: {error!r}")
        raise chosen from None


async def finish(work: Awaitable[T]) -> T:
    """Await what must not be cut short: a cancellation meanwhile is raised when it is done. Raises what the work raises."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # it has been seen, and the cancellation is the news
        raise asyncio.CancelledError
    return task.result()


def _flat(error: BaseException) -> list[BaseException]:
    return [e for inner in error.exceptions for e in _flat(inner)] if isinstance(error, BaseExceptionGroup) else [error]


class Workers:
    """Threads for calls that block, such as those to the engine.

    Leaving the block waits for what runs and drops what waits: what a thread still makes when a run is cancelled exists by then.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="engine")
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the block is being left: long work in a thread then ends by itself."""
        return self._ended

    async def do(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread; raises what it raises, and CancelledError where the block has been left already."""
        if self._ended:
            raise asyncio.CancelledError
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def __aenter__(self) -> Workers:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        await finish(asyncio.to_thread(lambda: self._pool.shutdown(cancel_futures=True)))

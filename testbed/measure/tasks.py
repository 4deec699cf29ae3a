"""Tasks and threads with an owner: nothing that was begun outlives the block that began it, and no failure is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from testbed.model import TestbedError

T = TypeVar("T")


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises one error as it is, with notes of the others.

    What is no TestbedError comes first: a bug must not hide behind its consequences. Where the block itself is cancelled, as by
    Ctrl-C, that comes before what the tasks made of it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as group_error:
        errors = _flat(group_error)
        chosen = next((e for e in errors if not isinstance(e, TestbedError)), errors[0])
        if (task := asyncio.current_task()) and task.cancelling():
            chosen = asyncio.CancelledError()
        for error in errors:
            if error is not chosen:
                chosen.add_note(f"at the same time: {error!r}")
        raise chosen from None


def _flat(error: BaseException) -> list[BaseException]:
    return [e for inner in error.exceptions for e in _flat(inner)] if isinstance(error, BaseExceptionGroup) else [error]


class Workers:
    """Threads for calls that block, such as those to the engine.

    Leaving the block waits for what runs and drops what waits: what a thread still makes when a run is cancelled exists by then.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="engine")

    async def do(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def __aenter__(self) -> Workers:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(lambda: self._pool.shutdown(cancel_futures=True))

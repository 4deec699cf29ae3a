"""The orchestration's promises that need no engine: nothing that goes wrong in the background is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from testbed.model import EngineError
from testbed.run import Runner


def test_a_failure_after_a_phase_is_raised_though_the_next_phase_went_well() -> None:
    """Else a phase without wire and logs would pass for a complete one."""

    async def broken() -> None:
        raise EngineError("the dissection failed")

    async def measure() -> None:
        runner = object.__new__(Runner)
        runner.plan = SimpleNamespace(phases=("before", "after"))  # type: ignore[assignment]
        runner.background = []

        async def measure_phase(phase: object) -> None:
            if phase == "before":
                runner.background.append(asyncio.create_task(broken()))
            await asyncio.sleep(0.01)

        runner.measure_phase = measure_phase  # type: ignore[method-assign]
        await runner.measure_all()

    with pytest.raises(EngineError, match="dissection"):
        asyncio.run(measure())

"""Writes Observations into the record of a run. Judges nothing; the one place that says where and when something was seen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from testbed.measure.epoch import Epoch
from testbed.model import Cell
from testbed.record import legs
from testbed.record.observations import Kind, Observation
from testbed.record.store import Writer


class Journal:
    """The observations of one run. Only the event loop's thread may write."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def epoch_name(self, kind: str, *which: object) -> str:
        """What an epoch is called that begins in this leg of the run: no other of its phase, in any leg, has that name."""
        return legs.epoch_name(kind, *which, leg=self.writer.leg)

    def note(
        self,
        kind: Kind,
        *,
        at: float | None = None,
        phase: str | None = None,
        epoch: Epoch | None = None,
        cell: Cell | None = None,
        **data: Any,
    ) -> None:
        """Append one observation, of now or of a time ``at`` (Unix seconds); an ``epoch`` says the phase too."""
        self.writer.append(
            kind.at(
                at or time.time(),
                data,
                phase=epoch.phase.name if epoch else phase,
                epoch=epoch.name if epoch else None,
                cell=cell.id if cell else None,
            )
        )

    def extend(self, observations: Iterable[Observation]) -> None:
        """Append observations that were made elsewhere."""
        for observation in observations:
            self.writer.append(observation)

"""How long each container has waited so far, over time, and in which window of an attempt its servers waited longest. No I/O.

Between two readings the waiting is taken to be spread evenly.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.record.strain import HEARTBEAT, PRESSURE, RESOURCES, UNREAD, Strain

STOLEN, LATE = "stolen", "late"
"""Series of the machine's own beside those of containers."""


@dataclass
class Series:
    """Seconds so far, by kind, at increasing times."""

    times: list[float] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, at: float, value: tuple[float, ...]) -> None:
        """One more reading, later than the last."""
        self.times.append(at)
        self.values.append(value)

    def at(self, moment: float) -> tuple[float, ...]:
        """The values at a time: between two readings in proportion, before the first and after the last as there."""
        n = bisect.bisect_right(self.times, moment)
        if n in (0, len(self.times)):
            return self.values[max(n - 1, 0)]
        before, after = self.times[n - 1], self.times[n]
        share = (moment - before) / (after - before)
        return tuple(a + (b - a) * share for a, b in zip(self.values[n - 1], self.values[n], strict=True))

    def forget(self, before: float) -> None:
        """Drop what is older, but for the last reading there."""
        if (n := bisect.bisect_right(self.times, before) - 1) > 0:
            del self.times[:n], self.values[:n]


@dataclass
class Stalls:
    """What the meter has said so far, as far back as is needed."""

    kept: float
    """Seconds."""
    last: float = float("-inf")
    """Time of the last reading."""
    _series: dict[str, Series] = field(default_factory=dict)

    def add(self, at: float, waited: Mapping[str, Sequence[float]], *, stolen: float, late: float) -> None:
        """A reading: ``waited`` of those containers alone for which it is not what it was."""
        for name, value in {**waited, STOLEN: [stolen], LATE: [late]}.items():
            series = self._series.setdefault(name, Series())
            if series.times and series.times[-1] < self.last:
                series.add(self.last, series.values[-1])  # until then nothing had changed
            series.add(at, tuple(value))
            series.forget(at - self.kept)
        self.last = at

    def known(self, containers: Iterable[str]) -> bool:
        """Whether something was read of each of them."""
        return all(c in self._series for c in containers)

    def share(self, containers: Iterable[str], seconds: float) -> float:
        """For which share of the last ``seconds`` that one of the containers had to wait which waited longest."""
        series = [self._series[c] for c in containers if c in self._series]
        return max((sum(one.at(self.last)) - sum(one.at(self.last - seconds)) for one in series), default=0.0) / seconds

    def strain(
        self, containers: Sequence[str], start: float, end: float, *, window: float, shares: Mapping[str, float]
    ) -> Strain:
        """The worst window of at most ``window`` seconds between ``start`` and ``end``.

        Of all ``containers`` together, or the heartbeat's where not each of them can be read; `UNREAD` where nothing was read
        up to ``end``. ``shares``: by source, which share of ``window`` is the limit.
        """
        pressure = self.known(containers)
        source = PRESSURE if pressure else HEARTBEAT
        names = [*dict.fromkeys(containers), STOLEN] if pressure else [LATE]
        series = [self._series[name] for name in names if name in self._series]
        width = max(min(window, end - start), 0.0)
        if self.last < end:
            return Strain(round(width, 3), round(window * shares[source], 3), source=UNREAD)
        waited: dict[str, float] = dict.fromkeys((*RESOURCES, STOLEN), 0.0)
        began = worst(series, start, end, width)
        for name, one in zip(names, series, strict=False):
            grown = [round(b - a, 3) for a, b in zip(one.at(began), one.at(began + width), strict=True)]
            kinds = (STOLEN,) if name == STOLEN else RESOURCES
            for kind, seconds in zip(kinds, grown, strict=False):
                waited[kind] = round(waited[kind] + seconds, 3)
        return Strain(round(width, 3), round(window * shares[source], 3), **waited, source=source)


def worst(series: Sequence[Series], start: float, end: float, width: float) -> float:
    """When the window of ``width`` seconds between ``start`` and ``end`` begins in which the series grow most, added up.

    Between readings they grow evenly, so that the most is reached where the window begins or ends with a reading.
    """
    latest = end - width
    moments = {t for one in series for t in one.times[bisect.bisect_left(one.times, start) : bisect.bisect_right(one.times, end)]}
    starts = (
        {start, latest} | {min(max(t, start), latest) for t in moments} | {min(max(t - width, start), latest) for t in moments}
    )

    def growth(moment: float) -> float:
        return sum(sum(one.at(moment + width)) - sum(one.at(moment)) for one in series)

    return max(sorted(starts), key=growth)

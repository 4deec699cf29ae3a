"""How often a cell delivers, and when that is known: the rule's error rates, by going through everything that can happen."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.measure.pace import MOST_ALONE
from testbed.shares import AGREEING, COLD_STARTS, LEVEL, Finding, Share, Tally, by_chance, finding, missing_start, tell

D, F = "delivered", "failed"
UNSTABLE = "unstable"
Counts = tuple[int, int]
"""How many attempts delivered, and how many failed."""


# --- every run of a pair that can happen, with its probability --------------------------------------------------------


def counter(counts: Counts) -> Counter[str]:
    return +Counter({D: counts[0], F: counts[1]})


def plus(a: Counts, b: Counts) -> Counts:
    return a[0] + b[0], a[1] + b[1]


class Fate:
    """A cell that ought to deliver, and does with probability ``cold`` or ``warm``; ``crosstalk``: a server is known for chance.

    As it is measured: in the mesh once, and after a failure a second time; then the pair alone, the other direction first, if the
    mesh did not simply deliver or it has ``crosstalk``; then as often as `missing_start` asks for it. In each start a failure is
    followed by one warm attempt more.
    """

    def __init__(self, cold: float, warm: float | None = None, *, crosstalk: bool = True) -> None:
        self.cold, self.warm = cold, cold if warm is None else warm
        self.called: Counter[str] = Counter()
        """Verdict -> its probability."""
        self.starts = 0.0
        """How many starts of the pair alone are to be expected."""
        self.ends: Counter[tuple[Counts, Counts]] = Counter()
        """Attempts alone, cold and warm, at the end -> their probability."""
        first = ((self.cold, (1, 0)), ((1 - self.cold) * self.warm, (1, 1)), ((1 - self.cold) * (1 - self.warm), (0, 2)))
        for probability, mesh in first:
            if mesh == (1, 0) and not crosstalk:
                self.called[D] += probability
            else:
                self._from(mesh, probability)

    def _from(self, mesh: Counts, probability: float) -> None:
        open_ = Counter({((0, 0), (0, 0)): probability})
        for made in range(MOST_ALONE + 1):
            further: Counter[tuple[Counts, Counts]] = Counter()
            for (cold, warm), likely in open_.items():
                tally = Tally(counter(cold), counter(warm), counter(mesh), made)
                missing = missing_start(tally, suspect={F}) if made else False
                if missing is None or made == MOST_ALONE:
                    self.ends[cold, warm] += likely
                    self.called[finding(tally.cold, tally.warm).outcome or UNSTABLE] += likely
                    continue
                self.starts += likely
                for share, outcome, again in self._start(self.cold if missing else self.warm):
                    c, w = (plus(cold, outcome), plus(warm, again)) if missing else (cold, plus(plus(warm, outcome), again))
                    further[c, w] += likely * share
            open_ = +further

    def _start(self, p: float) -> list[tuple[float, Counts, Counts]]:
        """One start: probability, its first attempt, and the second that follows a failure."""
        q = self.warm
        return [(p, (1, 0), (0, 0)), ((1 - p) * q, (0, 1), (1, 0)), ((1 - p) * (1 - q), (0, 1), (0, 1))]

    @property
    def contradicted(self) -> float:
        """How likely twenty runs call it delivered at least once, and failed at least once."""
        d, f = self.called[D], self.called[F]
        return float(1 - (1 - d) ** 20 - (1 - f) ** 20 + (1 - d - f) ** 20)


def told(share: float) -> str:
    """Per cent, as docs/measuring.md has them."""
    if share > 0.995:
        return "> 99"
    return "< 0.1" if share < 0.0005 else f"{100 * share:.{int(share < 0.0995)}f}"


def test_the_documented_rates_are_those_of_the_rule(root: Path) -> None:
    rows = [line for line in (root / "docs" / "measuring.md").read_text().splitlines() if re.match(r"\| \d+ % \|", line)]
    assert len(rows) == 7
    for row in rows:
        share, *columns = [column.strip() for column in row.strip("|").split("|")]
        p = int(share.removesuffix(" %")) / 100
        fates = Fate(p), Fate(p, crosstalk=False)
        assert columns == [told(x) for f in fates for x in (f.called[D], f.called[F], f.called[UNSTABLE], f.contradicted)], row


def covered(p: float, *, unstable: bool = False) -> float:
    """How likely the interval that is told of cold starts holds ``p``; ``unstable``: of those that are called that."""
    ends = {
        (cold, warm): likely
        for (cold, warm), likely in Fate(p).ends.items()
        if sum(cold) > (0 if sum(warm) and finding(counter(cold), counter(warm)).outcome is None else 1)
        and (not unstable or finding(counter(cold), counter(warm)).outcome is None)
    }
    holds = sum(likely for (c, _), likely in ends.items() if (i := Share(c[0], sum(c)).interval)[0] <= p <= i[1])
    return holds / sum(ends.values())


def test_the_interval_holds_the_share_about_as_often_as_is_told() -> None:
    assert all(covered(p) > 0.86 for p in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99))
    assert 0.5 < covered(0.95, unstable=True) < 0.6
    assert 0.2 < covered(0.97, unstable=True) < 0.35


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.3, 0.5, 0.7, 0.95, 0.99, 1.0])
def test_every_run_comes_to_one_verdict(p: float) -> None:
    assert math.isclose(sum(Fate(p).called.values()), 1)


@pytest.mark.parametrize(
    ("p", "delivered", "failed", "starts"),
    [
        (0.3, 0.12, 0.19, 4.3),
        (0.5, 0.32, 0.029, 3.4),
        (0.7, 0.62, 0.002, 2.9),
        (0.9, 0.94, 0.00001, 2.0),
        (0.95, 1.0, 0.000001, 1.6),
        (0.99, 1.0, 0.0000001, 1.2),
    ],
)
def test_how_often_a_pair_is_called_delivered_or_failed_by_luck(p: float, delivered: float, failed: float, starts: float) -> None:
    """The figures of docs/measuring.md, as upper bounds; a failure is what nobody may be charged with by luck."""
    fate = Fate(p)
    assert fate.called[D] <= delivered
    assert fate.called[F] <= failed
    assert fate.starts <= starts


def test_what_always_comes_out_the_same_is_called_that_and_soon() -> None:
    assert (Fate(1).called[D], Fate(1).starts) == (1, 1)
    assert (Fate(0).called[F], Fate(0).starts) == (1, AGREEING - 1)


def test_what_nearly_always_does_is_rarely_called_unstable() -> None:
    assert Fate(0.99).called[UNSTABLE] < 0.001
    assert Fate(0.01).called[UNSTABLE] < 0.006
    assert Fate(0.95).called[UNSTABLE] < 0.021


@pytest.mark.parametrize(("cold", "warm"), [(0.9, 0.9), (0.93, 1), (0.95, 1), (0.99, 0.99), (0.9, 0.95), (0.8, 1)])
def test_what_mostly_delivers_is_not_delivered_in_one_of_twenty_runs_and_failed_in_another(cold: float, warm: float) -> None:
    """Measured: 0.93 cold, all warm. What comes out one way as often as the other can only be told by many more starts."""
    assert Fate(cold, warm).contradicted < 0.001
    assert Fate(0.5, 1).contradicted < 0.05


def test_where_only_the_order_matters_that_is_found_within_the_bound() -> None:
    for cold, warm, outcome in ((0.0, 1.0, F), (1.0, 0.0, D)):
        fate = Fate(cold, warm)
        assert math.isclose(fate.called[outcome], 1)
        assert fate.starts <= MOST_ALONE


# --- what so many attempts come to ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cold", "warm", "found"),
    [
        ((1, 0), (0, 0), Finding(D, settled=True)),
        ((0, 1), (0, 2), Finding(F, settled=True)),
        ((0, 1), (1, 0), Finding(None, settled=False)),
        ((1, 1), (3, 0), Finding(None, settled=False)),
        ((2, 2), (9, 0), Finding(None, settled=True)),
        ((0, 2), (2, 0), Finding(None, settled=False)),
        ((0, 8), (3, 0), Finding(F, settled=True, warm=D)),
        ((0, 8), (2, 0), Finding(None, settled=False)),
        ((7, 1), (9, 0), Finding(D, settled=True)),
        ((8, 0), (9, 1), Finding(D, settled=True)),
        ((6, 2), (9, 0), Finding(None, settled=True)),
    ],
)
def test_what_attempts_come_to(cold: Counts, warm: Counts, found: Finding[str]) -> None:
    assert finding(counter(cold), counter(warm)) == found


COUNTS = st.tuples(st.integers(0, 12), st.integers(0, 12))


@settings(deadline=None, derandomize=True, database=None)
@given(COUNTS, COUNTS)
def test_nothing_is_called_against_most_cold_attempts_nor_history_without_a_difference(cold: Counts, warm: Counts) -> None:
    if not sum(cold) + sum(warm):
        return
    found = finding(counter(cold), counter(warm))
    if found.outcome and sum(cold):
        assert counter(cold)[found.outcome] * 2 > sum(cold)
        assert found.outcome == D or sum(cold) - cold[1] <= 1
    if found.warm:
        assert found.warm != found.outcome
        assert sum(cold) >= COLD_STARTS
        assert by_chance(cold[0], sum(cold), warm[0], sum(warm)) <= LEVEL
    swapped = finding(counter(cold[::-1]), counter(warm[::-1]))
    other = {D: F, F: D, None: None}
    assert (swapped.outcome, swapped.settled, swapped.warm) == (other[found.outcome], found.settled, other[found.warm])


def test_a_cell_without_attempts_that_say_something_asks_for_no_start() -> None:
    assert missing_start(Tally[str]()) is None
    assert missing_start(Tally(mesh=counter((0, 2)))) is None


def test_a_start_is_asked_for_with_the_direction_in_front_that_was_cold_less_often() -> None:
    assert missing_start(Tally(warm=counter((0, 2)), mesh=counter((0, 2)), starts=1), suspect={F}) is True
    assert missing_start(Tally(warm=counter((0, 2)), mesh=counter((0, 2)), starts=1)) is None, "nobody suspects chance"
    assert missing_start(Tally(counter((2, 0)), counter((1, 0)), counter((0, 2)), 2)) is False
    assert missing_start(Tally(counter((8, 0)), counter((0, 2)), starts=9)) is False, "warm attempts are what is missing"


# --- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        (Share(5, 8), 0.3057, 0.8632),
        (Share(8, 8), 0.6756, 1),
        (Share(0, 8), 0, 0.3244),
        (Share(1, 1), 0.2065, 1),
        (Share(0, 0), 0, 1),
    ],
)
def test_the_interval_is_wilsons(share: Share, low: float, high: float) -> None:
    """Compared with values of R's `binom::binom.wilson`."""
    assert share.interval == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(
    ("a", "of_a", "b", "of_b", "p"),
    [(0, 8, 3, 3, 1 / 165), (4, 4, 0, 4, 2 / 70), (3, 4, 1, 4, 34 / 70), (5, 5, 7, 7, 1), (1, 12, 9, 12, 0.0027594)],
)
def test_the_test_whether_two_groups_differ_is_fishers(a: int, of_a: int, b: int, of_b: int, p: float) -> None:
    """By hand; the third is the lady tasting tea."""
    assert by_chance(a, of_a, b, of_b) == pytest.approx(p, rel=1e-4)


def test_shares_are_told_in_words() -> None:
    assert tell({"cold": Share(5, 8), "warm": Share(1, 1)}) == (
        "delivers in 5 of 8 cold starts (31 to 86 %) and in 1 of 1 warm try (21 to 100 %)"
    )

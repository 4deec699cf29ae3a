"""Several attempts of one cell: alone outweighs mesh, cold outweighs warm, and disagreement is never settled by chance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.judge.evidence import Attempt
from testbed.judge.weigh import Weighed, weigh
from testbed.model import Outcome
from testbed.shares import Share

D, B, L = Outcome.DELIVERED, Outcome.BOUNCED, Outcome.LOST


def weighed(*told: tuple[str, bool, Outcome | None]) -> Weighed:
    """Attempts in order of time, as epoch, cold, outcome."""
    attempts = [Attempt(epoch, n, float(n), cold=cold) for n, (epoch, cold, _) in enumerate(told)]
    return weigh(attempts, lambda a: told[a.number][2])


def test_one_delivery_is_enough() -> None:
    found = weighed(("mesh", False, D))
    assert (found.outcome, found.alone, found.history, found.mesh) == (D, False, None, None)


def test_a_failure_seen_twice_is_confirmed() -> None:
    found = weighed(("mesh", True, B), ("mesh", False, B))
    assert (found.outcome, found.agreeing) == (B, 2)
    assert found.deciding.number == 0, "the cold one has the evidence"


def test_a_failure_seen_once_is_not() -> None:
    assert weighed(("mesh", True, B)).agreeing == 1
    assert weighed(("mesh", True, B), ("mesh", False, None)).agreeing == 1


@pytest.mark.parametrize(("first", "second"), [(B, D), (L, D), (B, L)])
def test_attempts_in_the_mesh_that_disagree_say_nothing(first: Outcome, second: Outcome) -> None:
    found = weighed(("mesh", True, first), ("mesh", False, second))
    assert found.outcome is None
    assert found.flaky == (first.value, second.value)


def test_the_pair_alone_outweighs_the_mesh_and_tells_of_interference() -> None:
    found = weighed(("mesh", True, B), ("mesh", False, B), ("alone-1", True, D))
    assert (found.outcome, found.mesh, found.alone) == (D, B, True)
    assert found.disturbed is not None
    assert found.disturbed.number == 0
    assert not found.flaky


def test_cold_in_the_mesh_and_warm_alone_are_enough_if_they_agree() -> None:
    found = weighed(("mesh", True, B), ("mesh", False, B), ("alone-1", False, B), ("alone-1", False, B))
    assert (found.outcome, found.alone, found.agreeing) == (B, True, 4)
    assert found.deciding.epoch == "alone-1"


def test_cold_in_the_mesh_and_warm_alone_that_differ_settle_nothing() -> None:
    assert weighed(("mesh", True, B), ("alone-1", False, D)).outcome is None


def alone(cold: list[Outcome], warm: list[Outcome]) -> list[tuple[str, bool, Outcome | None]]:
    """Attempts of the pair alone, each cold one in a start of its own."""
    return [*((f"alone-{n}", True, o) for n, o in enumerate(cold, 1)), *(("alone-1", False, o) for o in warm)]


def test_an_outcome_that_depends_on_the_order_is_told_with_both_and_the_cold_one_counts() -> None:
    found = weighed(("mesh", False, B), ("mesh", False, B), *alone([D] * 8, [B] * 4))
    assert found.outcome is D
    assert found.history == {"cold": "delivered", "warm": "bounced"}
    assert found.mesh is None, "the order explains what the mesh saw: nobody disturbed it"
    assert found.shares == {"cold": Share(8, 8), "warm": Share(0, 4)}


@pytest.mark.parametrize(("cold", "warm"), [([D, D], [B]), ([B, B], [D, D]), ([B] * 7, [D] * 7), ([D] * 8, [D, B, D, B])])
def test_cold_and_warm_that_may_differ_by_chance_are_unstable(cold: list[Outcome], warm: list[Outcome]) -> None:
    found = weighed(*alone(cold, warm))
    assert (found.outcome, found.history) == (None, None)
    assert found.flaky == tuple(o.value for o in [*cold, *warm])
    assert found.shares == {"cold": Share(cold.count(D), len(cold)), "warm": Share(warm.count(D), len(warm))}


@pytest.mark.parametrize(
    ("cold", "outcome"), [([B, *[D] * 7], D), ([B, *[D] * 6], None), ([*[B] * 7, D], B), ([B, B, *[D] * 9], None)]
)
def test_one_dissent_is_forgiven_when_it_stays_alone(cold: list[Outcome], outcome: Outcome | None) -> None:
    found = weighed(("mesh", True, B), *alone(cold, [D] if outcome is not B else []))
    assert (found.outcome, bool(found.flaky)) == (outcome, outcome is None)
    assert found.shares["cold"] == Share(cold.count(D), len(cold))
    assert found.mesh is None, "it came out so alone as well: nobody has to have disturbed it"
    if outcome:
        assert cold[found.deciding.number - 1] is outcome


def test_few_attempts_that_agree_have_no_share_to_tell_of() -> None:
    assert not weighed(("mesh", True, D), *alone([D], [D])).shares
    assert not weighed(("mesh", True, B), ("mesh", False, D)).shares
    assert weighed(*alone([D, D], [])).shares == {"cold": Share(2, 2)}


def test_one_cold_and_one_warm_attempt_that_differ_may_be_chance() -> None:
    found = weighed(("alone-1", True, B), ("alone-1", False, D))
    assert found.outcome is None
    assert found.flaky == ("bounced", "delivered")


def test_cold_attempts_that_differ_are_unstable() -> None:
    assert weighed(("alone-1", True, B), ("alone-2", True, D)).flaky == ("bounced", "delivered")


@pytest.mark.parametrize(
    "told",
    [
        [("mesh", True, None), ("mesh", False, D)],
        [("mesh", True, None), ("mesh", False, B), ("mesh", False, D)],
        [("alone-1", True, None), ("alone-1", False, D)] * 3,
        [("mesh", True, None), ("mesh", False, D), ("alone-1", False, D)],
        [("mesh", False, D), ("alone-1", True, None), ("alone-1", False, D)],
    ],
)
def test_warm_attempts_do_not_speak_for_cold_ones_that_say_nothing(told: list[Tried]) -> None:
    found = weighed(*told)
    assert (found.outcome, found.flaky) == (None, ())
    assert told[found.deciding.number][1:] == (True, None), "and it is told why that one says nothing"


def test_a_failure_that_was_seen_warm_as_well_counts_as_far_as_it_is_expected() -> None:
    for epoch in ("mesh", "alone-1"):
        found = weighed((epoch, True, None), (epoch, False, B), (epoch, False, B))
        assert (found.outcome, found.mute and found.mute.number) == (B, 0)
    assert weighed(("mesh", True, B), ("mesh", False, B)).mute is None
    assert weighed(("mesh", True, D), ("alone-1", True, None), ("alone-1", False, D)).outcome is D, "cold in the mesh"


def test_a_doubted_answer_does_not_count_because_the_confirmation_failed() -> None:
    found = weighed(("mesh", True, B), ("mesh", False, B), ("alone-1", True, None))
    assert found.outcome is None
    assert not found.flaky


@pytest.mark.parametrize("mesh", [(D, B), (B, D)])
def test_interference_is_told_whichever_attempt_in_the_mesh_came_first(mesh: tuple[Outcome, Outcome]) -> None:
    """Once the mesh delivered it and once it did not: the pair alone says that the failure is not its own."""
    found = weighed(("mesh", False, mesh[0]), ("mesh", False, mesh[1]), ("alone-1", True, D))
    assert (found.outcome, found.mesh) == (D, B)


@pytest.mark.parametrize("warm", [(B, L, L), (L, L, B), (L, B, L)])
def test_of_warm_attempts_that_differ_the_most_frequent_is_told(warm: tuple[Outcome, ...]) -> None:
    found = weighed(*alone([D] * 8, list(warm)))
    assert found.history == {"cold": "delivered", "warm": "lost"}


# --- what holds for every sequence of attempts ------------------------------------------------------------------------

Tried = tuple[str, bool, Outcome | None]
"""Epoch, cold, outcome."""
TRIED = st.tuples(st.sampled_from(("mesh", "alone-1", "alone-2")), st.booleans(), st.sampled_from((D, B, L, None)))
SEQUENCES = st.lists(TRIED, min_size=1, max_size=7) | st.lists(TRIED, min_size=8, max_size=25)
whatever = settings(
    deadline=None, derandomize=True, database=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow]
)


def said(found: Weighed) -> tuple[object, ...]:
    """All that a verdict takes from it, but for which of several like attempts is shown, and the order of those that differ."""
    return found.outcome, found.agreeing, found.alone, sorted(found.flaky), found.shares, found.history, found.mesh


@whatever
@given(SEQUENCES)
def test_no_order_of_attempts_yields_an_outcome_that_no_attempt_saw(attempts: list[Tried]) -> None:
    answers = {outcome for _, _, outcome in attempts}
    found = weighed(*attempts)
    assert found.outcome in answers | {None}
    assert found.mesh in {outcome for epoch, _, outcome in attempts if epoch == "mesh"} | {None}
    words = {o.value for o in answers if o}
    assert {*found.flaky, *(found.history or {}).values()} <= words
    if found.outcome:
        assert attempts[found.deciding.number][2] is found.outcome, "what decides has the evidence"


@whatever
@given(SEQUENCES, st.randoms(use_true_random=False))
def test_attempts_of_equal_standing_may_come_in_any_order(attempts: list[Tried], random: Any) -> None:
    """Equal standing: both in the mesh or both alone, and both cold or both warm."""
    places: dict[tuple[bool, bool], list[int]] = {}
    for place, (epoch, cold, _) in enumerate(attempts):
        places.setdefault((epoch == "mesh", cold), []).append(place)
    swapped = list(attempts)
    for equal in places.values():
        for place, source in zip(equal, random.sample(equal, len(equal)), strict=True):
            swapped[place] = attempts[source]
    assert said(weighed(*swapped)) == said(weighed(*attempts))


@whatever
@given(SEQUENCES, st.integers(0, 7), st.booleans(), st.data())
def test_an_attempt_that_says_nothing_changes_nothing(attempts: list[Tried], place: int, cold: bool, data: st.DataObject) -> None:
    """But for the first one alone: the pair is measured alone because the mesh's answer was doubted.

    And for a cold one where none says anything: warm ones do not speak for it.
    """
    epochs = [epoch for epoch, _, _ in attempts if epoch != "mesh"] + ["mesh"]
    more = list(attempts)
    more.insert(place, (data.draw(st.sampled_from(epochs)), cold, None))
    alike = said(weighed(*more)) == said(weighed(*attempts))
    assert alike or (cold and not any(first and outcome for _, first, outcome in attempts) and weighed(*more).outcome is None)

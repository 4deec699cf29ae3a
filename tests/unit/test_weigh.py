"""Several attempts of one cell: alone outweighs mesh, cold outweighs warm, and disagreement is never settled by chance."""

from __future__ import annotations

import pytest

from testbed.judge.evidence import Attempt
from testbed.judge.weigh import Weighed, weigh
from testbed.model import Outcome

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


def test_an_outcome_that_depends_on_the_order_is_told_with_both_and_the_cold_one_counts() -> None:
    found = weighed(("mesh", False, B), ("mesh", False, B), ("alone-1", True, D), ("alone-2", False, B), ("alone-3", True, D))
    assert found.outcome is D
    assert found.history == {"cold": "delivered", "warm": "bounced"}
    assert found.mesh is None, "the order explains what the mesh saw: nobody disturbed it"


def test_one_cold_and_one_warm_attempt_that_differ_may_be_chance() -> None:
    found = weighed(("alone-1", True, B), ("alone-1", False, D))
    assert found.outcome is None
    assert found.flaky == ("bounced", "delivered")


def test_cold_attempts_that_differ_are_unstable() -> None:
    assert weighed(("alone-1", True, B), ("alone-2", True, D)).flaky == ("bounced", "delivered")


def test_a_doubted_answer_does_not_count_because_the_confirmation_failed() -> None:
    found = weighed(("mesh", True, B), ("mesh", False, B), ("alone-1", True, None))
    assert found.outcome is None
    assert not found.flaky

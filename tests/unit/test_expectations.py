"""What holds of the table of expectations for every pair of policies, not only for those that somebody wrote down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.expectations import RULES, Side, expect
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Outcome, Policy
from testbed.plan.certificates import PROFILES

DEFECTS = (None, *sorted({p.defect for p in PROFILES.values() if p.defect}))
MECHANISMS = (("dialback",), ("external",), ("dialback", "external"))
whatever = settings(
    deadline=None, derandomize=True, database=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)

POLICIES = st.builds(
    Policy,
    preset=st.just("any"),
    encryption=st.sampled_from(Encryption),
    authentication=st.sampled_from(Authentication),
    tls_min=st.sampled_from((None, *TLS_VERSIONS)),
    tls_max=st.sampled_from((None, *TLS_VERSIONS)),
    forward_secrecy=st.sampled_from(ForwardSecrecy),
)
SIDES = st.builds(
    Side,
    policy=POLICIES,
    certificate_defect=st.sampled_from(DEFECTS),
    mechanisms=st.sampled_from(MECHANISMS),
    dialback_over_verified=st.booleans(),
)


def rows(sender: Side, receiver: Side) -> list[int]:
    """The rows whose words the expectation has."""
    because = expect(sender, receiver).because
    return [number for number, rule in enumerate(RULES) if because == f"{rule.clause} ({rule.when})"]


@whatever
@given(SIDES, SIDES)
def test_every_pair_gets_exactly_one_row(sender: Side, receiver: Side) -> None:
    (row,) = rows(sender, receiver)
    assert RULES[row].applies(sender, receiver)
    assert not any(rule.applies(sender, receiver) for rule in RULES[:row])
    expected = expect(sender, receiver)
    assert (expected.cause is None) == (expected.outcome is Outcome.DELIVERED)
    assert expected.cause != ""


def test_every_row_decides_some_pair() -> None:
    """A row that none reaches is dead, or stands too low."""
    policies = [
        Policy("any", encryption, authentication, low, high, secrecy)
        for encryption, authentication, secrecy in itertools.product(Encryption, Authentication, ForwardSecrecy)
        for low, high in ((None, None), ("1.3", None), (None, "1.0"))
    ]
    sides = [Side(p, defect, m, False) for p in policies for defect in (None, "certificate-expired") for m in MECHANISMS]
    assert {row for a, b in itertools.product(sides[::5], sides[::7]) for row in rows(a, b)} == set(range(len(RULES)))


@whatever
@given(SIDES, SIDES, st.text(max_size=12), st.text(max_size=12))
def test_no_expectation_depends_on_a_name(sender: Side, receiver: Side, preset: str, label: str) -> None:
    renamed = [replace(side, policy=replace(side.policy, preset=preset, label=label)) for side in (sender, receiver)]
    assert expect(*renamed) == expect(sender, receiver)


def laxer(side: Side) -> Iterator[tuple[str, Side]]:
    """The side with one thing more that it takes or can do, and what that is.

    What has no order is not here: a server without encryption is not a laxer one but one that can do less.
    """
    policy = side.policy
    if policy.encryption is Encryption.REQUIRED:
        yield "encryption is not demanded", replace(side, policy=replace(policy, encryption=Encryption.OFFERED))
    yield "either proof is taken", replace(side, policy=replace(policy, authentication=Authentication.EITHER))
    yield "older versions", replace(side, policy=replace(policy, tls_min=None))
    yield "newer versions", replace(side, policy=replace(policy, tls_max=None))
    yield "any suite", replace(side, policy=replace(policy, forward_secrecy=ForwardSecrecy.ANY))
    yield "a certificate without a defect", replace(side, certificate_defect=None)
    yield "both mechanisms", replace(side, mechanisms=("dialback", "external"))
    yield "dialback from a verified peer", replace(side, dialback_over_verified=True)


@whatever
@given(SIDES, SIDES)
def test_what_a_stricter_side_takes_a_laxer_one_takes_too(sender: Side, receiver: Side) -> None:
    if expect(sender, receiver).outcome is not Outcome.DELIVERED:
        return
    for what, side in laxer(sender):
        assert expect(side, receiver).outcome is Outcome.DELIVERED, f"the sender: {what}"
    for what, side in laxer(receiver):
        assert expect(sender, side).outcome is Outcome.DELIVERED, f"the receiver: {what}"


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_the_table_does_refuse_what_is_too_strict(role: str) -> None:
    """The property above is not empty: the other way round it does not hold."""
    lax = Side(Policy("any", Encryption.OFFERED, Authentication.EITHER), None, ("dialback",), False)
    strict = replace(lax, policy=replace(lax.policy, authentication=Authentication.EXTERNAL))
    pair = (strict, lax) if role == "sender" else (lax, strict)
    assert expect(lax, lax).outcome is Outcome.DELIVERED
    assert expect(*pair).outcome is Outcome.BOUNCED

"""What holds of the table of expectations for every pair of policies, not only for those that somebody wrote down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.disagreements import DISAGREEMENTS, LOOKED_UP, OPEN, UNSEEN, XEPS
from testbed.expectations import RULES, Varying, expect
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Outcome, Policy
from testbed.plan.certificates import PROFILES
from testbed.schema.pages import expectations_page
from testbed.sides import Side

DEFECTS = (None, *sorted({p.defect for p in PROFILES.values() if p.defect}))
ROLES = (("client",), ("server",), ("client", "server"))
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
    defective_as=st.sampled_from((None, *ROLES)),
)


LAX = Side(Policy("any", Encryption.REQUIRED, Authentication.EITHER), None, ("dialback", "external"), True)
STRICT = replace(LAX, policy=replace(LAX.policy, authentication=Authentication.EXTERNAL))
VERIFYING = replace(STRICT, mechanisms=("dialback",))
"""Demands a certificate that verifies, and then dialback over that stream."""
PURPOSE = replace(LAX, certificate_defect="certificate-purpose")
OLD = replace(LAX, policy=replace(LAX.policy, tls_max="1.1"))
STATIC = replace(LAX, policy=replace(LAX.policy, forward_secrecy=ForwardSecrecy.NONE))


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
    decided = {row for a, b in itertools.product(sides[::5], sides[::7]) for row in rows(a, b)}
    assert decided | set(rows(VERIFYING, replace(PURPOSE, mechanisms=("dialback",)))) == set(range(len(RULES)))


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


# --- where documents disagree -----------------------------------------------------------------------------------------

OPEN_PAIRS = {
    "the sender's certificate is not for clients": (PURPOSE, STRICT, "bounced", "delivered"),
    "neither certificate is for clients": (
        PURPOSE,
        replace(STRICT, certificate_defect="certificate-purpose"),
        "bounced",
        "delivered",
    ),
    "the receiver's is not, and is asked for on the stream back": (VERIFYING, PURPOSE, "bounced", "delivered"),
    "only TLS 1.1 in common": (OLD, LAX, "delivered", "bounced"),
    "only TLS 1.1 in common, the other way round": (LAX, OLD, "delivered", "bounced"),
    "two that have static RSA alone": (STATIC, STATIC, "delivered", "bounced"),
    "one that has static RSA alone": (LAX, STATIC, "delivered", "bounced"),
}
"""Name -> sender, receiver, what the table says, what another document says."""


@pytest.mark.parametrize("name", OPEN_PAIRS)
def test_what_the_standards_leave_open_is_as_expected_either_way(name: str) -> None:
    sender, receiver, first, second = OPEN_PAIRS[name]
    expected = expect(sender, receiver)
    assert [e.outcome.value for e in expected.admitted] == [first, second]
    assert expected.because != expected.alternatives[0].because
    assert any(d.clause in expected.alternatives[0].because for d in OPEN), "the other document's clause is cited"
    assert expected.agrees(Outcome.DELIVERED, "tls")
    assert expected.agrees(Outcome.BOUNCED)
    assert not expected.agrees(Outcome.LOST), "no document lets a stanza vanish"
    assert not expected.agrees(Outcome.DELIVERED, "cleartext"), "nor go in clear where TLS is demanded"


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [(LAX, STRICT), (STRICT, PURPOSE), (PURPOSE, LAX), (replace(LAX, certificate_defect="certificate-expired"), STRICT),
     (OLD, replace(OLD, policy=replace(OLD.policy, tls_min="1.2", tls_max=None)))],
)  # fmt: skip
def test_what_no_document_disputes_has_one_outcome(sender: Side, receiver: Side) -> None:
    expected = expect(sender, receiver)
    assert not expected.alternatives
    assert expected.agrees(expected.outcome, expected.encryption)
    assert not any(expected.agrees(outcome) for outcome in Outcome if outcome is not expected.outcome)


def test_who_keeps_to_the_newest_document_has_no_suite_of_static_rsa() -> None:
    (refusal,) = expect(STATIC, LAX).alternatives
    assert (refusal.cause, "RFC 10015" in refusal.because) == ("no-common-cipher", True)
    required = replace(LAX, policy=replace(LAX.policy, forward_secrecy=ForwardSecrecy.REQUIRED))
    assert not expect(STATIC, required).alternatives, "refused by every document"


@pytest.mark.parametrize("roles", [("server",), ("client", "server")])
def test_no_document_takes_a_certificate_without_the_purpose_of_a_server(roles: tuple[str, ...]) -> None:
    lacking = replace(PURPOSE, defective_as=roles)
    assert expect(STRICT, lacking).outcome is Outcome.BOUNCED
    assert not expect(STRICT, lacking).alternatives
    assert not expect(lacking, STRICT).alternatives


@whatever
@given(SIDES, SIDES)
def test_a_purpose_is_open_only_where_the_one_of_a_client_alone_is_lacking(sender: Side, receiver: Side) -> None:
    about = [e for e in expect(sender, receiver).alternatives if "purpose" in e.because.partition(":")[0]]
    lacking = [s for s in (sender, receiver) if s.certificate_defect == "certificate-purpose" and not s.defect_as_server]
    assert lacking or not about


@whatever
@given(SIDES, SIDES)
def test_the_table_names_the_cause_that_a_row_gives(sender: Side, receiver: Side) -> None:
    (row,) = rows(sender, receiver)
    named, cause = RULES[row].cause, expect(sender, receiver).cause
    if not isinstance(named, Varying):
        assert cause == named
    elif "defect of" in named.text:
        assert cause in DEFECTS
    else:
        assert f"`{cause}`" in named.text


@whatever
@given(SIDES, SIDES)
def test_alternatives_are_other_outcomes_and_have_none_themselves(sender: Side, receiver: Side) -> None:
    expected = expect(sender, receiver)
    kinds = [(e.outcome, e.encryption, e.cause) for e in expected.admitted]
    assert len(set(kinds)) == len(kinds)
    assert not expected.alternatives or len({kind[:2] for kind in kinds}) > 1, "another cause alone leaves nothing open"
    assert not any(e.alternatives for e in expected.alternatives)


def test_the_page_says_when_documents_were_looked_up_and_which_could_not_be_opened() -> None:
    page = expectations_page()
    assert LOOKED_UP in page
    assert XEPS in page
    marked = [d for d in DISAGREEMENTS if UNSEEN in d.table + d.other]
    assert marked
    assert not any(UNSEEN in d.clause for d in DISAGREEMENTS), "a verdict has no footnotes"


def test_each_disagreement_is_open_with_its_clause_or_decided_with_its_reason() -> None:
    for d in DISAGREEMENTS:
        assert bool(d.reading) == bool(d.clause) != bool(d.decided), d.point
    assert DISAGREEMENTS[: len(OPEN)] == OPEN, "the open ones first"

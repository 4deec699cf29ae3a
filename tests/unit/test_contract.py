"""What is asked of a server under check, and what its answers must be, for every dimension; who refuses everybody fails."""

from __future__ import annotations

import pytest

from testbed.contract.claims import Status
from testbed.contract.proofs import BAD_PEERS, DIMENSIONS, Proof, probes, prove
from testbed.contract.protocol import Session, Stream, Task, encode, read_task
from testbed.contract.trials import Trial, policies, trials
from testbed.model import Implementation
from testbed.plan import policy
from testbed.plan.catalog import Catalog

FINGERPRINT = "f" * 64
LET_IN = Stream(
    connected=True, answered=True, features=True, starttls=True, external="success", tls=Session("TLSv1.3", "x", FINGERPRINT)
)


def of(catalog: Catalog, setting: str) -> Trial:
    """The trial of a setting, of the first release that declares it."""
    planned, _ = trials(catalog, [Implementation(*release.split("@")) for release in catalog.releases()])
    return next(t for t in planned if t.settings.policy.name == setting)


def proofs(trial: Trial, stream: Stream) -> list[Proof]:
    """Of a server that answers every probe alike."""
    return list(prove(trial, dict.fromkeys(probes(trial), stream), FINGERPRINT))


def test_every_dimension_is_proven() -> None:
    names = [name for dimension in DIMENSIONS for name in dimension.name.split(", ")]
    assert names == [d.name for d in policy.DIMENSIONS]


@pytest.mark.parametrize("setting", [p.name for p in policies()])
def test_a_server_that_answers_nothing_proves_nothing(catalog: Catalog, setting: str) -> None:
    holding = [p.claim for p in proofs(of(catalog, setting), Stream()) if p.holds]
    assert holding in ([], ["STARTTLS is not advertised as required"])


def test_whoever_lets_everybody_in_fails_at_each_certificate_that_it_examines(catalog: Catalog) -> None:
    trial = of(catalog, "authenticated")
    failed = {p.claim for p in proofs(trial, LET_IN) if p.holds is False}
    claims = {p.claim: p.holds for p in proofs(trial, LET_IN)}
    for profile in BAD_PEERS:
        claim = f"a peer with a certificate `{profile}` is not let in"
        assert claim in failed or claims[claim] is None
    assert "a peer without a certificate is not let in" in failed
    assert claims["a peer with a good certificate is let in over TLS"]
    assert claims["a peer with a certificate `wrong-host` is not let in"] is (
        False if "name" in trial.image.spec.verifies else None
    )


def test_a_dimension_is_asked_about_where_its_setting_claims_something(catalog: Catalog) -> None:
    assert set(probes(of(catalog, "cleartext"))) == {"clear"}
    assert set(probes(of(catalog, "encrypted"))) == {"clear", "good", "nothing"}
    assert {f"bad {p}" for p in BAD_PEERS} < set(probes(of(catalog, "authenticated")))
    assert {"tls 1.0", "tls 1.3"} < set(probes(of(catalog, "encrypted,tls_min=1.2")))
    assert {"ephemeral", "static"} < set(probes(of(catalog, "encrypted,forward_secrecy=required")))


def test_a_task_is_the_same_on_the_other_side(catalog: Catalog) -> None:
    asked = probes(of(catalog, "authenticated"))
    task = read_task(encode(Task("192.0.2.1", "a.example", account=5222, probes=asked)))
    assert list(task.probes) == list(asked)
    assert list(task.probes["good"].prove) == list(asked["good"].prove)
    assert (task.probes["clear"].peer, task.account) == (asked["clear"].peer, 5222)


def test_a_claim_that_is_not_made_neither_holds_nor_fails() -> None:
    assert [Status.of(holds) for holds in (True, False, None)] == [Status.OK, Status.FAILED, Status.UNDECLARED]

"""`testbed images check` proves claims, and says so when one does not hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from testbed.contract import check, trials
from testbed.contract.claims import Report, Status
from testbed.display import Silent
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.model import Implementation, Policy
from testbed.plan.catalog import Catalog, Image
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import PRESETS

pytestmark = pytest.mark.engine


@pytest.fixture
def report(
    request: pytest.FixtureRequest, engine: Engine, catalog: Catalog, built: Images, monkeypatch: pytest.MonkeyPatch
) -> Report:
    """A release on two rungs, with what its image says changed as the test asks."""
    implementation = Implementation("prosody", "trixie")
    monkeypatch.setattr(trials, "policies", lambda: [PRESETS["cleartext"], PRESETS["encrypted"]])
    image = catalog.images[implementation.name]
    lying: dict[str, Any] = getattr(request, "param", {})
    known = dataclasses.replace(catalog, images={implementation.name: _Image(image.folder, image.spec, image.logs, **lying)})
    (report,) = check.Checker(known, engine, built, Silent()).run([implementation])
    return report


class _Image(Image):
    """An image that renders another policy than the one that is asked for."""

    def __init__(self, folder: Any, spec: Any, logs: Any, swap: dict[str, Policy] | None = None) -> None:
        super().__init__(folder, spec, logs)
        object.__setattr__(self, "swap", swap or {})

    def render(self, server: Any, settings: Any, **options: Any) -> dict[str, bytes]:
        policy = self.swap.get(settings.policy.preset, settings.policy)
        return super().render(server, dataclasses.replace(settings, policy=policy), **options)


def failed(report: Report) -> set[tuple[str, str]]:
    return {(c.setting.split(",")[0], c.claim) for c in report.claims if c.status is Status.FAILED}


def test_claims_that_hold_are_proven(report: Report) -> None:
    # certificates that no trial is left for are the only thing that two rungs cannot prove
    assert {s for s, _ in failed(report)} <= {f"certificate {p}" for p in PROFILES}
    assert sum(c.status is Status.OK for c in report.claims) >= 15
    assert report.version


@pytest.mark.parametrize(
    "report", [{"swap": {"cleartext": PRESETS["opportunistic"], "encrypted": PRESETS["opportunistic"]}}], indirect=True
)
def test_a_server_that_is_set_otherwise_is_found_out(report: Report) -> None:
    assert {
        ("cleartext", "STARTTLS is not offered"),
        ("encrypted", "a peer that continues without TLS is refused or never answered"),
    } <= failed(report)

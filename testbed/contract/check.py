"""Proves on the wire what images/*/image.yaml claims: every release, rung of the ladder, dimension's value and certificate.

Each setting is a *trial* (`trials`): one server on a stand. What it is asked, and what makes a claim true, stands in `proofs`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from testbed.contract import stand, trials
from testbed.contract.claims import Claim, Report, Status
from testbed.contract.proofs import probes, prove
from testbed.contract.protocol import Task
from testbed.contract.stand import Stand, package_version, process_owners
from testbed.contract.trials import Trial
from testbed.display import Display
from testbed.engine import federation
from testbed.engine.federation import Container
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.model import EngineError, Implementation
from testbed.plan.catalog import Catalog

BOOT = 120.0
"""Seconds from a server's start within which an account must have been made and logged in."""


@dataclass
class TrialResult:
    """What came of one trial."""

    number: int
    claims: list[Claim] = field(default_factory=list)
    version: str | None = None
    seconds: float = 0.0


class Checker:
    """Makes the trials of some releases on one engine."""

    def __init__(self, catalog: Catalog, engine: Engine, images: Images, display: Display, *, jobs: int | None = None) -> None:
        self.catalog, self.engine, self.images, self.display = catalog, engine, images, display
        # Half of a trial is waiting for what must not come: more trials than processors.
        self.jobs = jobs or 2 * (os.cpu_count() or 2)

    def run(self, wanted: Iterable[Implementation]) -> list[Report]:
        """A report per release. Raises EngineError if the network, the name server or the prober cannot be started."""
        reports = {i: Report(i) for i in sorted(set(wanted))}
        for implementation, report in reports.items():
            reason = self.images.reason(implementation)
            report.claims.append(Claim("image", "can be built", Status.of(not reason), reason or ""))
        planned, unclaimed = trials.trials(self.catalog, [i for i in reports if self.images.server(i)])
        for implementation, claims in unclaimed.items():
            reports[implementation].claims += claims
        if not planned:
            return list(reports.values())
        self.display.stage("trials", len(planned))
        subjects = [(t.server, t.settings) for t in planned]
        with stand.raised(self.engine, self.catalog, self.images, subjects, purpose="check") as stand_:
            pool = ThreadPoolExecutor(self.jobs)
            try:
                # heavy boots are spread between the light ones, so that not all of them start at once
                order = sorted(planned, key=lambda t: (t.server.index % 16, t.server.index))
                results = {r.number: r for r in pool.map(lambda t: self.make(stand_, t), order)}
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # upon an interruption nothing more is begun
        for trial in planned:
            result, report = results[trial.server.index], reports[trial.server.implementation]
            report.claims += result.claims
            report.version = report.version or result.version
            report.seconds += result.seconds
        return list(reports.values())

    def make(self, stand_: Stand, trial: Trial) -> TrialResult:
        """Start one server, ask it, hold the claims against the answers, drop it. An error of the engine's is a failed claim."""
        result, began, container = TrialResult(trial.server.index), time.monotonic(), None

        def claim(text: str, holds: bool | None, saw: str) -> None:
            result.claims.append(Claim(trial.name, text, Status.of(holds), saw))

        try:
            container = stand_.boot(trial.server, trial.settings)
            task = Task(
                stand_.address(trial.server),
                trial.server.domain,
                account=trial.image.spec.ports.c2s,
                patience=BOOT,
                probes=probes(trial),
            )
            reply = stand_.ask(task)
            account = reply.account
            assert account, "it was asked for"
            entered = account.registered and account.login
            claim("an account is made in-band and logs in", entered, account.error or "registered, logged in")
            if entered:
                issued = stand_.certificate(trial.server, trial.settings)
                for proof in prove(trial, reply.streams, issued.fingerprint):
                    claim(proof.claim, proof.holds, proof.saw)
                result.version = inside(container, trial, claim)
            log = federation.logs(container)
            claim("the log of the start is not empty", len(log) > 0, f"{len(log)} bytes")
            if not entered:
                self.display.say(f"{trial.server.implementation} {trial.name}: {log.decode()[-300:]}")
        except EngineError as error:
            claim("the server can be started and asked", False, str(error))
        finally:
            if container:
                federation.drop([container])
            self.display.advance("trials")
        result.seconds = time.monotonic() - began
        return result


def inside(container: Container, trial: Trial, claim: Callable[[str, bool, str], None]) -> str:
    """What is claimed of the processes and the package. Returns the package's version. Raises EngineError."""
    spec, owners = trial.image.spec, process_owners(container)
    shown = ", ".join(sorted({f"{process.split()[0]} as {user}" for process, user in owners.items()})) or "no process"
    if trial.server.implementation.release in trial.image.candidates:  # whose build needs not be the package, nor its user
        claim("no process runs as root", bool(owners) and "root" not in owners.values(), shown)
        return ""
    claim(f"every process runs as {spec.user}", bool(owners) and set(owners.values()) == {spec.user}, shown)
    prefix = spec.releases[trial.server.implementation.release].version
    version = package_version(container, spec.package)
    upstream = version.rpartition(":")[2]  # behind the epoch
    claim(f"the package's version begins with {prefix}", upstream.startswith(prefix), version)
    return version

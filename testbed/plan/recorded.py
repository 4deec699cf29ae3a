"""A recorded run's plan, as it can be measured again: from its manifest alone, whatever became of its scenario file since."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from testbed import exchanges
from testbed.model import Implementation, InputError, Phase, Plan, Policy, Server, Settings
from testbed.plan import candidates
from testbed.plan.candidates import Planned
from testbed.plan.catalog import Candidate, Catalog
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import CANDIDATE_POLICY
from testbed.record.manifest import PlannedRun, PlannedSettings


def plan_of(manifest: PlannedRun, pairs: Iterable[tuple[str, str]]) -> Plan:
    """The Plan of a recorded run, narrowed to ``pairs``, whatever became of its scenario file since.

    Raises InputError for a certificate or an exchange that this testbed does not have.
    """
    certificates = [s["certificate"] for p in manifest["phases"] for s in p["settings"].values()]
    for what, names, known in (("certificate", certificates, PROFILES), ("exchange", manifest["exchanges"], exchanges.KINDS)):
        if unknown := [name for name in names if name not in known]:
            hint = "it was measured by another release of the testbed: use that one"
            raise InputError(f"the run has a {what} `{unknown[0]}`", value=unknown[0], allowed=tuple(known), hint=hint)

    def policy(recorded: PlannedSettings, name: str) -> Policy:
        return CANDIDATE_POLICY if recorded.get("unknown") else Policy.recorded(name, recorded["dimensions"])

    def settings(recorded: PlannedSettings) -> Settings:
        return Settings(policy(recorded, recorded["policy"]), recorded["certificate"], recorded["unsupported"])

    servers = tuple(
        Server(
            s["domain"],
            Implementation(s["implementation"], s["release"]),
            policy(manifest["phases"][0]["settings"][s["domain"]], s["policy"]),
            s["certificate"],
            s["index"],
        )
        for s in manifest["servers"]
    )
    phases = tuple(Phase(p["name"], {d: settings(s) for d, s in p["settings"].items()}) for p in manifest["phases"])
    return Plan(
        scenario=manifest["scenario"],
        title=manifest["title"],
        file=manifest.get("file", ""),
        servers=servers,
        phases=phases,
        exchanges=tuple(manifest["exchanges"]),
        timers=manifest["timers"],
        seed=manifest.get("seed", 1),
        pairs=tuple(pairs),
        description=manifest.get("description", ""),
    )


def pairs_of(manifest: PlannedRun) -> list[tuple[str, str]]:
    """The pairs that a recorded run was to measure, in the order of its servers."""
    planned = {frozenset((a, b)) for a, receivers in manifest["planned"].items() for b in receivers}
    domains = (s["domain"] for s in manifest["servers"])
    return [pair for pair in itertools.combinations(domains, 2) if frozenset(pair) in planned]


def as_observed(planned: Planned, manifest: PlannedRun) -> Planned:
    """A plan with what was observed of the user's configurations when a recorded run began."""
    plan = plan_of(manifest, ())
    for entry in manifest.get("mine", []):
        implementation = Implementation(entry["implementation"], entry["release"])
        domain = next((s.domain for s in plan.servers if s.implementation == implementation), None)
        if domain and entry["files"] and planned.catalog.candidate(implementation):
            policy = None if entry["unknown"] else plan.phases[0].settings[domain].policy
            planned = candidates.observed(planned, implementation, policy, entry["unknown"])
    return planned


def restore(manifest: PlannedRun, catalog: Catalog) -> Catalog:
    """The catalog with a recorded run's candidates. Raises InputError if a release that one is like is gone."""
    for entry in manifest.get("mine", []):
        name, release = entry["implementation"], entry["release"]
        if name not in catalog.images or entry["like"] not in catalog.images[name].spec.releases:
            raise InputError(
                f"{name}@{release} of this run was like {name}@{entry['like']}, which no longer exists",
                value=f"{name}@{entry['like']}",
                allowed=catalog.releases(),
                hint="run the scenario again, with " + " ".join(entry["source"]),
            )
        candidate = Candidate(
            Implementation(name, release),
            like=entry["like"],
            source=tuple(entry["source"]),
            image=entry["image"],
            files=entry["files"],
            unknown=entry["unknown"],
            version=entry["version"],
            recorded=True,
        )
        catalog = catalog.with_candidate(candidate)
    return catalog


def folders(manifest: PlannedRun) -> list[Path]:
    """The implementation folders that a recorded run was given. Raises InputError for one that is gone."""
    brought = [Path(text) for text in manifest.get("folders", [])]
    for folder in brought:
        if not folder.is_dir():
            raise InputError(
                "the run had an implementation of this folder, which is gone",
                file=str(folder),
                hint="restore it, or run the scenario again",
            )
    return brought

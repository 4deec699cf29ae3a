"""What a run is going to do, as data: written before the first container starts, and all that verdicts know of the plan.

Pure, but for the machine's own facts (versions of Python, kernel and git revision).
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from testbed.engine.images import Images
from testbed.measure.pki import Issued
from testbed.model import Plan, Server, Settings
from testbed.plan.catalog import Candidate, Catalog
from testbed.plan.certificates import PROFILES
from testbed.record.manifest import Dimensions, GivenRelease, PlannedRun, PlannedServer, PlannedSettings

Certificates = Mapping[tuple[str, str], Issued]


def build(plan: Plan, catalog: Catalog, images: Images, issued: Certificates, *, engine: str) -> PlannedRun:
    """The content of ``manifest.json``, but for what the caller knows alone (argv, isolated)."""
    names = sorted({s.implementation.name for s in plan.servers})
    used = {s.implementation for s in plan.servers}
    return {
        "scenario": plan.scenario,
        "title": plan.title,
        "description": plan.description,
        "file": plan.file,
        "started": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": plan.seed,
        "timers": plan.timers,
        "revision": revision(),
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "engine": engine,
        },
        "images": images.ids,
        "unavailable": images.unavailable,
        "mine": [_candidate(c, images) for i in sorted(used) if (c := catalog.candidate(i))],
        "folders": sorted({str(catalog.image(i).folder) for i in used if catalog.image(i).outside}),
        "servers": [_server(s, catalog, images) for s in plan.servers],
        "phases": [
            {"name": p.name, "settings": {d: _settings(plan.server(d), s, catalog, issued) for d, s in p.settings.items()}}
            for p in plan.phases
        ],
        "remedies": {
            name: [{"cause": r.cause, "as": r.as_, "text": r.text, "set": r.set} for r in catalog.images[name].spec.remedies]
            for name in names
        },
        "exchanges": list(plan.exchanges),
        "planned": _planned(plan),
    }


def _planned(plan: Plan) -> dict[str, list[str]]:
    """Sender -> receivers, in the order of the federation: with phases and exchanges, every planned cell."""
    receivers: dict[str, set[str]] = {}
    for a, b in plan.pairs:
        receivers.setdefault(a, set()).add(b)
        receivers.setdefault(b, set()).add(a)
    domains = [s.domain for s in plan.servers]
    return {a: [b for b in domains if b in receivers[a]] for a in domains if a in receivers}


def _server(server: Server, catalog: Catalog, images: Images) -> PlannedServer:
    spec = catalog.image(server.implementation).spec
    return {
        "domain": server.domain,
        "index": server.index,
        "implementation": server.implementation.name,
        "release": server.implementation.release,
        "title": spec.title,
        "policy": server.policy.name,
        "certificate": server.certificate,
        "image": images.server(server.implementation),
        "unavailable": images.reason(server.implementation),
        "mechanisms": [*spec.mechanisms],
        "verifies": [*spec.verifies],
        "dialback_over_verified": spec.dialback_over_verified,
        "mine": catalog.is_candidate(server.implementation),
    }


def _candidate(candidate: Candidate, images: Images) -> GivenRelease:
    """A release that the user brings, as `recorded.restore` reads it again."""
    return {
        "implementation": candidate.implementation.name,
        "release": candidate.implementation.release,
        "like": candidate.like,
        "source": list(candidate.source),
        "files": dict(candidate.files),
        "unknown": candidate.unknown,
        "image": images.server(candidate.implementation),
        "version": images.version(candidate.implementation),
    }


def _settings(server: Server, settings: Settings, catalog: Catalog, issued: Certificates) -> PlannedSettings:
    certificate = issued[server.domain, settings.certificate]
    effective = catalog.image(server.implementation).effective(settings.policy, server.implementation.release)
    shown, in_effect = settings.policy.dimensions(), effective.dimensions()
    if unknown := catalog.unknown(server.implementation):
        shown = in_effect = dict.fromkeys(shown)
    return {
        "policy": settings.policy.name,
        "certificate": settings.certificate,
        "defect": PROFILES[settings.certificate].defect,
        "defective_as": list(PROFILES[settings.certificate].defective_as),
        "dimensions": cast(Dimensions, shown),
        "effective": cast(Dimensions, in_effect),
        "unsupported": settings.unsupported,
        "unknown": unknown,
        "fingerprint": certificate.fingerprint,
        "not_after": certificate.not_after,
    }


def revision() -> str | None:
    """The git revision of the testbed's code, with `+` if it was changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None

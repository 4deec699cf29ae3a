"""What a run is going to do, as data: written before the first container starts, and all that verdicts know of the plan.

Pure, but for the machine's own facts (versions of Python, kernel and git revision).
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from testbed.engine.images import Images
from testbed.measure.pace import CONFIRM
from testbed.measure.pki import Issued
from testbed.model import Implementation, Plan, Server, Settings
from testbed.plan.catalog import Candidate, Catalog, digest
from testbed.plan.certificates import PROFILES
from testbed.record.manifest import Dimensions, GivenRelease, OrderedRun, PlannedServer, PlannedSettings

Certificates = Mapping[tuple[str, str], Issued]
PACKAGE = Path(__file__).resolve().parents[1]
MEASURES = (
    "disagreements.py",
    "engine",
    "exchanges",
    "expectations.py",
    "measure",
    "model.py",
    "plan",
    "shares.py",
    "sides.py",
)
"""What of the testbed's code a measurement depends on; what judges and draws is always today's."""


@dataclass(frozen=True)
class Manner:
    """How a plan is measured; stands in the manifest."""

    isolated: bool = False
    """Every direction of every pair in a federation of just the two, started for it."""
    confirm: int | None = CONFIRM
    """Pairs that are measured alone per phase at most, where the mesh is doubted; None: all of them."""
    full_capture: bool = False
    """Every packet of the federation, without a bound, rather than what verdicts need."""

    @classmethod
    def recorded(cls, manifest: OrderedRun) -> Manner:
        """How a recorded run was measured."""
        confirm = manifest.get("confirm")
        return cls(manifest["isolated"], confirm if isinstance(confirm, int) else None, manifest.get("full_capture", False))


def build(plan: Plan, catalog: Catalog, images: Images, manner: Manner, issued: Certificates, *, engine: str) -> OrderedRun:
    """The content of ``manifest.json``, but for the command line.

    Of certificates that were not ``issued`` it has no fingerprint: so it is compared with the manifest of a run that is resumed.
    """
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
        "sources": sources(catalog, used),
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
        "isolated": manner.isolated,
        "confirm": manner.confirm,
        "full_capture": manner.full_capture,
    }


def sources(catalog: Catalog, used: Iterable[Implementation]) -> dict[str, str]:
    """The digest of the code that measures, and of each implementation's folder: templates and log patterns are in no image."""
    folders = {i.name: [catalog.image(i).folder] for i in used}
    return {name: _digest(paths) for name, paths in sorted({"testbed": [PACKAGE / n for n in MEASURES], **folders}.items())}


def _digest(paths: Iterable[Path]) -> str:
    """The `digest` of files and of all that folders have, but for documents. Raises InputError."""
    return digest(
        (file, path.parent)
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.suffix != ".md"
    )


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
    effective = catalog.image(server.implementation).effective(settings.policy, server.implementation.release)
    shown, in_effect = settings.policy.dimensions(), effective.dimensions()
    if unknown := catalog.unknown(server.implementation):
        shown = in_effect = dict.fromkeys(shown)
    planned: PlannedSettings = {
        "policy": settings.policy.name,
        "certificate": settings.certificate,
        "defect": PROFILES[settings.certificate].defect,
        "defective_as": list(PROFILES[settings.certificate].defective_as),
        "dimensions": cast(Dimensions, shown),
        "effective": cast(Dimensions, in_effect),
        "unsupported": settings.unsupported,
        "unknown": unknown,
    }
    if certificate := issued.get((server.domain, settings.certificate)):
        planned |= {"fingerprint": certificate.fingerprint, "not_after": certificate.not_after}
    return planned


def revision() -> str | None:
    """The git revision of the testbed's code, with `+` if it was changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None

"""A recorded run's plan, as it can be measured again: from its manifest alone, whatever became of its scenario file since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from testbed.model import Implementation, InputError, Phase, Plan, Policy, Server, Settings
from testbed.plan.candidates import Own
from testbed.plan.catalog import Catalog, Given
from testbed.plan.policy import OWN


def plan_of(manifest: Mapping[str, Any], pairs: Iterable[tuple[str, str]]) -> Plan:
    """The Plan of a recorded run, narrowed to ``pairs``, whatever became of its scenario file since."""

    def policy(recorded: Mapping[str, Any]) -> Policy:
        return OWN if recorded.get("unknown") else Policy.recorded(recorded["policy"], recorded["dimensions"])

    def settings(recorded: Mapping[str, Any]) -> Settings:
        return Settings(policy(recorded), recorded["certificate"], recorded["unsupported"])

    servers = tuple(
        Server(
            s["domain"],
            Implementation(s["implementation"], s["release"]),
            policy({**manifest["phases"][0]["settings"][s["domain"]], "policy": s["policy"]}),
            s["certificate"],
            s["index"],
        )
        for s in manifest["servers"]
    )
    phases = tuple(Phase(p["name"], {d: settings(s) for d, s in p["settings"].items()}) for p in manifest["phases"])
    return Plan(
        scenario=manifest["scenario"],
        title=manifest["title"],
        file=manifest["file"],
        servers=servers,
        phases=phases,
        exchanges=tuple(manifest["exchanges"]),
        timers=manifest["timers"],
        seed=manifest["seed"],
        pairs=tuple(pairs),
        description=manifest["description"],
    )


def restore(manifest: Mapping[str, Any], catalog: Catalog) -> tuple[Catalog, tuple[Own, ...]]:
    """The catalog and the images of a recorded run's own releases. Raises InputError if a release that one is like is gone."""
    owns = []
    for kept in manifest.get("mine", []):
        name, release = kept["implementation"], kept["release"]
        if name not in catalog.images or kept["like"] not in catalog.images[name].spec.releases:
            raise InputError(
                f"{name}@{release} of this run was like {name}@{kept['like']}, which is not there any more",
                value=f"{name}@{kept['like']}",
                allowed=catalog.releases(),
                hint="measure the scenario anew, with " + " ".join(kept["source"]),
            )
        implementation = Implementation(name, release)
        given = Given(kept["like"], tuple(kept["source"]), kept["files"], kept["unknown"])
        catalog = catalog.with_given(implementation, given)
        owns.append(Own(implementation, image=kept["image"], version=kept["version"], source=given.source))
    return catalog, tuple(owns)


def folders(manifest: Mapping[str, Any]) -> list[Path]:
    """The implementation folders that a recorded run was given. Raises InputError for one that is gone."""
    found = [Path(text) for text in manifest.get("folders", [])]
    for folder in found:
        if not folder.is_dir():
            raise InputError(
                "the run had an implementation of this folder, which is gone",
                file=str(folder),
                hint="put it back, or measure anew",
            )
    return found

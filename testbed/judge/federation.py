"""What a record's manifest says of the servers, by domain and phase; and what ought to become of a cell between them. Pure.

Rule: expectations are computed from the dimensions that the manifest recorded, not from a preset's name or today's catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.expectations import expect
from testbed.model import Cell, Expectation, Outcome, Policy
from testbed.record.manifest import ListedRemedy, Manifest, PlannedServer, PlannedSettings
from testbed.sides import Side


@dataclass(frozen=True)
class Federation:
    """The servers of a run, and what each was set to in each phase."""

    servers: Mapping[str, PlannedServer]
    """Domain -> server."""
    settings: Mapping[str, Mapping[str, PlannedSettings]]
    """Phase -> domain -> settings."""
    remedies: Mapping[str, list[ListedRemedy]]
    """Implementation -> what its folder lists against causes."""

    @classmethod
    def of(cls, manifest: Manifest) -> Federation:
        """The federation of a run."""
        return cls(
            {s["domain"]: s for s in manifest["servers"]},
            {p["name"]: p["settings"] for p in manifest["phases"]},
            manifest.get("remedies", {}),
        )

    def ends(self, cell: Cell) -> tuple[tuple[PlannedServer, PlannedSettings], tuple[PlannedServer, PlannedSettings]]:
        """Server and settings of the cell's sender, and of its receiver."""
        settings = self.settings[cell.phase]
        return (
            (self.servers[cell.sender], settings[cell.sender]),
            (self.servers[cell.receiver], settings[cell.receiver]),
        )


def expectation_of(federation: Federation, cell: Cell) -> Expectation:
    """What ought to happen; `inconclusive` where a side's configuration is the user's own and not known well enough."""
    sides = []
    for server, settings in federation.ends(cell):
        if unknown := settings.get("unknown"):
            return Expectation(Outcome.INCONCLUSIVE, f"of {server['domain']} nothing can be expected: {unknown}")
        policy = Policy.recorded(settings["policy"], settings["effective"])
        roles = tuple(settings["defective_as"]) if "defective_as" in settings else None
        sides.append(Side(policy, settings["defect"], tuple(server["mechanisms"]), server["dialback_over_verified"], roles))
    return expect(*sides)

"""What tests on real containers speak of: a server that runs, the small mesh, and what a run has left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from testbed.contract.protocol import Account, Probe, Stream, Task
from testbed.contract.stand import Stand
from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.measure import pki
from testbed.model import Server, Settings

BOOT = 120
"""Seconds that a server may take until an account is logged in."""


class EngineBackend(BaseBackend):
    """testinfra over the engine's API: its own `docker://` calls the docker command, which docker.io only recommends (trixie)."""

    NAME = "engine"

    def __init__(self, container: Container) -> None:
        super().__init__(container.name)
        self.container = container

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a shell command as root in the container."""
        line = self.get_command(command, *args)
        status, (out, error) = self.container.exec_run(["/bin/sh", "-c", line], demux=True)
        return self.result(status, self.encode(line), out or b"", error or b"")


@dataclass
class Subject:
    """A running server, and what it was given."""

    server: Server
    settings: Settings
    container: Container
    issued: pki.Issued
    address: str
    user: str

    @property
    def inside(self) -> Host:
        """testinfra's view of the container."""
        return Host(EngineBackend(self.container))


@dataclass
class Small:
    """The mesh: a stand, and the servers on it by preset."""

    stand: Stand
    subjects: dict[str, Subject]

    @property
    def mesh(self) -> federation.Mesh:
        """The network and its containers."""
        return self.stand.mesh

    @property
    def prober(self) -> Container:
        """The prober's container."""
        return self.stand.prober

    def probe(self, preset: str, **options: Any) -> Stream:
        """One hand-made s2s stream to a subject (see `testbed.contract.protocol.Probe`)."""
        subject = self.subjects[preset]
        task = Task(subject.address, subject.server.domain, probes={"probe": Probe(**options)})
        return self.stand.ask(task).streams["probe"]

    def login(self, address: str, domain: str) -> Account:
        """How far a client comes with a server that may still boot."""
        account = self.stand.ask(Task(address, domain, account=5222, patience=BOOT)).account
        assert account
        return account


def left(engine: Engine, run: str) -> list[str]:
    """Names of the containers and networks that still carry a run's label."""
    filters = {"label": f"{federation.RUN_LABEL}={run}"}
    containers = engine.client.containers.list(all=True, filters=filters, ignore_removed=True)
    return [c.name for c in containers] + [n.name for n in engine.client.networks.list(filters=filters)]


def run_of(results: Path) -> Path:
    """The only run under a results folder."""
    found = [p.parent for p in results.glob("*/manifest.json") if not p.parent.is_symlink()]
    assert len(found) == 1, found
    assert re.fullmatch(r"[a-z0-9-]+-\d{8}-\d{6}", found[0].name)
    return found[0]

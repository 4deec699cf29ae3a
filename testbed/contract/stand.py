"""A test stand: an internal network with a name server and a prober, in which servers are started one by one and asked.

Rule: everything here is as in a run (the same certificates, templates, containers); what the answers mean is for others.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.contract import protocol
from testbed.contract.proofs import PEER_PROFILES
from testbed.contract.protocol import BAD_PEER, CLEAR_PEER, TLS_PEER, Reply, Task
from testbed.engine import federation
from testbed.engine.federation import Container, Mesh
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import pki, zone
from testbed.measure.wiretap.wall import Wall, walled
from testbed.model import EngineError, Server, Settings
from testbed.plan.catalog import Catalog


@dataclass(frozen=True)
class Stand:
    """A stand that is up."""

    catalog: Catalog
    images: Images
    mesh: Mesh
    issued: Mapping[tuple[str, str], pki.Issued]
    dns: Container
    prober: Container
    wall: Wall
    ipv6: bool

    def certificate(self, server: Server, settings: Settings) -> pki.Issued:
        """What was issued to a server under its settings."""
        return self.issued[server.domain, settings.certificate]

    def boot(self, server: Server, settings: Settings) -> Container:
        """Start a server, as a run does; dropping it is the caller's. Raises EngineError."""
        image = self.images.server(server.implementation)
        if image is None:
            raise EngineError(f"its image is unavailable: {self.images.reason(server.implementation)}")
        files = self.catalog.image(server.implementation).render(server, settings, timers="short", ipv6=self.ipv6)
        files |= self.certificate(server, settings).files()
        name = server.domain.split(".")[0]
        container = self.mesh.create_server(name, image, files, self.mesh.addresses.of(server.index), self.mesh.addresses.dns[0])
        federation.start(container)
        return container

    def address(self, server: Server) -> str:
        """Where a server listens."""
        return self.mesh.addresses.of(server.index)[0]

    def ask(self, task: Task) -> Reply:
        """Let the prober do a task. Raises EngineError."""
        output = federation.execute(self.prober, ["python3", "/opt/testbed/agent.py", protocol.encode(task)])
        return protocol.read_reply(output.splitlines()[-1])


@contextlib.contextmanager
def raised(
    engine: Engine,
    catalog: Catalog,
    images: Images,
    subjects: Sequence[tuple[Server, Settings]],
    *,
    purpose: str,
    ipv6: bool = False,
    authorities: pki.Pki | None = None,
) -> Iterator[Stand]:
    """A stand for these servers, none of them started; leaving it removes everything. Raises EngineError.

    The servers reach the prober and the name server, neither each other nor the host: the gate of a run is shut around them.
    ``purpose``: how its containers are named. ``authorities``: fresh ones, unless given.
    """
    authorities = authorities or pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0))
    wanted: dict[tuple[str, str], None] = {(server.domain, settings.certificate): None for server, settings in subjects}
    wanted |= {(TLS_PEER, profile): None for profile in PEER_PROFILES}
    issued = authorities.issue_all(wanted)
    with contextlib.ExitStack() as stack:
        mesh = stack.enter_context(Mesh(engine, f"{purpose}-{os.getpid()}-{time.time():.0f}", len(subjects), ipv6=ipv6))
        hosts = {server.domain: mesh.addresses.of(server.index) for server, _ in subjects}
        # the prober listens on IPv4
        hosts |= dict.fromkeys((CLEAR_PEER, TLS_PEER, BAD_PEER), (mesh.addresses.driver[0], None))
        shut = stack.enter_context(walled(mesh, images.ids["wiretap"], len(subjects), listens=protocol.PORT))
        dns = mesh.start_dns(images.ids["dns"], zone.render_zone(hosts), mesh.addresses.dns)
        files = {name: Path(__file__).with_name(name).read_bytes() for name in ("agent.py", "protocol.py")}
        files |= {f"peer-{p}.pem": issued[TLS_PEER, p].key + issued[TLS_PEER, p].cert for p in PEER_PROFILES}
        prober = mesh.create_agent("prober", images.ids["driver"], files, inside=True)
        federation.start(prober)
        yield Stand(catalog, images, mesh, issued, dns, prober, shut(), ipv6)


# --- inside a server's container --------------------------------------------------------------------------------------

# The names are expanded before anything else is started, so this shell is the only process of ours among them.
PROCESSES = 'for p in /proc/[0-9]*; do [ "${p#/proc/}" = $$ ] || echo "$(stat -c %U "$p") $(cat "$p/comm") ${p#/proc/}"; done'
"""Shell: owner, name and pid of every process in a container but this one."""


def process_owners(container: Container) -> dict[str, str]:
    """Process (`name pid`) -> user, of everything that runs in a container. Raises EngineError."""
    lines = federation.execute(container, ["sh", "-c", PROCESSES]).splitlines()
    return {process: user for user, _, process in (line.partition(" ") for line in lines)}


def package_version(container: Container, package: str) -> str:
    """What dpkg says of a package's version. Raises EngineError."""
    return federation.execute(container, ["dpkg-query", "-W", "-f=${Version}", package])

"""What the tests on real containers share: the engine, the images, and one small mesh of four servers with different policies.

Everything is raised through the testbed's own code. A missing engine or image is an error, never a skip. The mesh is raised once
per worker; tests that use it carry the group `mesh`, so that with `--dist loadgroup` that is one worker.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_mesh import Small, Subject
from smoke_run import smoke as smoke

from testbed.contract import check
from testbed.contract.agent import CLEAR_PEER, TLS_PEER
from testbed.engine import federation, host
from testbed.engine.host import Engine
from testbed.engine.images import Builder, Images
from testbed.measure import pki, zone
from testbed.model import Implementation, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS

AUTHORITIES = pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0))


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that answers, or a private one."""
    return host.ensure()


@pytest.fixture(scope="session")
def environment(engine: Engine) -> dict[str, str]:
    """For commands that are started by a test: the same engine, and nothing of the terminal."""
    return os.environ | {"DOCKER_HOST": engine.address, "NO_COLOR": "1", "COLUMNS": "120"}


@pytest.fixture(scope="session")
def trixie(catalog: Catalog) -> tuple[Implementation, ...]:
    """The three implementations in one release."""
    return tuple(Implementation(name, "trixie") for name in sorted(catalog.images))


@pytest.fixture(scope="session")
def built(engine: Engine, catalog: Catalog, trixie: tuple[Implementation, ...]) -> Images:
    """Their images, built or kept."""
    images = Builder(engine, catalog).ensure(trixie)
    assert not images.unavailable
    return images


@pytest.fixture(scope="session")
def small(engine: Engine, catalog: Catalog, built: Images) -> Iterator[Small]:
    """Four servers, one on each rung of the ladder, every implementation among them; each has been logged in to."""
    rungs = {
        "cleartext": ("jabberd2", "ca"),
        "opportunistic": ("prosody", "self-signed"),
        "encrypted": ("jabberd2", "ca"),
        "authenticated": ("ejabberd", "ca"),
    }
    wanted = {(f"{preset}.example", certificate): None for preset, (_, certificate) in rungs.items()}
    wanted |= {(TLS_PEER, profile): None for profile in ("ca", *check.BAD_PEERS)}
    issued = AUTHORITIES.issue_all(wanted)
    with federation.Mesh(engine, f"test-{os.getpid()}-{time.time():.0f}", len(rungs), ipv6=True) as mesh:
        hosts = {f"{preset}.example": mesh.addresses.of(n) for n, preset in enumerate(rungs)}
        hosts |= dict.fromkeys((CLEAR_PEER, TLS_PEER), (mesh.addresses.driver[0], None))
        dns = mesh.start_dns(built.ids["dns"], zone.render_zone(hosts), mesh.addresses.dns)
        files = {"agent.py": Path(check.__file__).with_name("agent.py").read_bytes()}
        for profile in ("ca", *check.BAD_PEERS):
            files[f"peer-{profile}.pem"] = issued[TLS_PEER, profile].key + issued[TLS_PEER, profile].cert
        prober = mesh.create_agent("prober", built.ids["driver"], files, inside=True)
        federation.start(prober)
        subjects = {}
        for number, (preset, (name, certificate)) in enumerate(rungs.items()):
            implementation = Implementation(name, "trixie")
            server = Server(f"{preset}.example", implementation, PRESETS[preset], certificate, number)
            settings = Settings(PRESETS[preset], certificate)
            proof = issued[server.domain, certificate]
            tree = catalog.image(implementation).render(server, settings, timers="short", ipv6=True) | proof.files()
            image = built.server(implementation)
            assert image
            address = mesh.addresses.of(number)
            container = mesh.create_server(preset, image, tree, address, mesh.addresses.dns[0])
            federation.start(container)
            user = catalog.image(implementation).spec.user
            subjects[preset] = Subject(server, settings, container, proof, address[0], user)
        mesh_ = Small(mesh, subjects, dns, prober)
        for preset in subjects:
            account = mesh_.ask(preset, {}, account=5222)["account"]
            assert account["login"], (
                f"{preset}: {account['error']}\n{federation.logs(subjects[preset].container).decode()[-2000:]}"
            )
        yield mesh_

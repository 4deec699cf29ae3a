"""What the tests on real containers share: the engine, the images, and one small mesh of four servers with different policies.

Everything is raised through the testbed's own code. A missing engine or image is an error, never a skip. The mesh is raised once
in each worker that needs it, the smoke run once for all workers. `--dist loadfile` (see the Makefile) gives a file to one worker.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator

import pytest
from small_mesh import Small, Subject
from smoke_run import smoke as smoke

from testbed.contract import stand
from testbed.engine import federation, host
from testbed.engine.host import Engine
from testbed.engine.images import Builder, Images
from testbed.measure import pki
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
    servers = [
        Server(f"{preset}.example", Implementation(name, "trixie"), PRESETS[preset], certificate, number)
        for number, (preset, (name, certificate)) in enumerate(rungs.items())
    ]
    settings = {s.domain: Settings(s.policy, s.certificate) for s in servers}
    wanted = [(s, settings[s.domain]) for s in servers]
    with stand.raised(engine, catalog, built, wanted, purpose="test", ipv6=True, authorities=AUTHORITIES) as raised:
        subjects = {}
        for server in servers:
            subjects[server.policy.name] = Subject(
                server,
                settings[server.domain],
                raised.boot(server, settings[server.domain]),
                raised.certificate(server, settings[server.domain]),
                raised.address(server),
                catalog.image(server.implementation).spec.user,
            )
        mesh = Small(raised, subjects)
        for preset, subject in subjects.items():
            account = mesh.login(subject.address, subject.server.domain)
            assert account.login, f"{preset}: {account.error}\n{federation.logs(subject.container).decode()[-2000:]}"
        yield mesh

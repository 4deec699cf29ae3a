"""A container that holds one server after another: each has to begin as if it were the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_mesh import EngineBackend, Small
from testinfra.host import Host

from testbed.contract.stand import process_owners
from testbed.engine import federation
from testbed.engine.berths import Berths
from testbed.engine.images import Images
from testbed.model import EngineError, Implementation, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.policy import PRESETS

pytestmark = pytest.mark.engine

STATE = "find / -xdev -user %s -not -path '/proc/*' -not -path '/etc/testbed*' -printf '%%p %%s %%m\\n' | sort"
"""What belongs to a user: path, size, mode. Times may differ, contents are compared by `SUMS`."""
SUMS = "find / -xdev -user %s -type f -not -path '/proc/*' -not -path '/etc/testbed*' -exec sha256sum {} + | sort"


@pytest.fixture
def berths(small: Small) -> Iterator[Berths]:
    """Two addresses beside the small mesh."""
    made = Berths(small.mesh, small.mesh.addresses.alone(len(small.subjects))[:2])
    yield made
    for berth in made._free:
        federation.drop([berth.container])


@pytest.mark.parametrize("name", ["prosody", "ejabberd", "jabberd2"])
def test_a_second_server_finds_nothing_of_the_first(
    small: Small, built: Images, catalog: Catalog, berths: Berths, name: str
) -> None:
    implementation = Implementation(name, "trixie")
    image, user = built.server(implementation), catalog.image(implementation).spec.user
    assert image
    berth = berths.take(image)
    inside = Host(EngineBackend(berth.container))
    pristine = [inside.check_output(command, user) for command in (STATE, SUMS)]
    policy = PRESETS["opportunistic"]
    proof = small.subjects["opportunistic"].issued
    domains = ["opportunistic.example", "encrypted.example"]
    for number, domain in enumerate(domains):
        server = Server(domain, implementation, policy, "self-signed", number)
        tree = catalog.image(implementation).render(server, Settings(policy, "self-signed"), timers="short", ipv6=True)
        files = {f"/etc/testbed/{file}": data for file, data in (tree | proof.files()).items()}
        berth.start(files, small.mesh.addresses.dns[0])
        account = small.login(berth.address[0], domain)
        assert account.registered, account
        assert account.login, account
        owners = process_owners(berth.container)
        served = {u for process, u in owners.items() if not process.startswith(("testbed-start", "find", "tar"))}
        assert served == {user}, owners
        logged = berth.stop().raw.decode()
        assert logged.strip(), "the log is the server's own, whole"
        assert "testbed-start: start" not in logged, "and begins with it"
        assert domains[1 - number] not in logged, "and nobody else's"
        assert set(process_owners(berth.container).values()) <= {"root"}
        assert [inside.check_output(command, user) for command in (STATE, SUMS)] == pristine
    berths.give(berth)
    assert berths.missing([image]) == 0
    assert berths.take(image) is berth
    berths.give(berth)


def test_when_addresses_run_out_a_free_berth_of_another_image_makes_room(built: Images, berths: Berths) -> None:
    first, second, third = (built.server(Implementation(n, "trixie")) for n in ("jabberd2", "prosody", "ejabberd"))
    assert first
    assert second
    assert third
    taken = [berths.take(first), berths.take(second)]
    for berth in taken:
        berths.give(berth)
    assert berths.missing([first, second]) == 0
    assert berths.missing([first, first, third]) == 2
    made = berths.take(third)
    assert made.address == taken[0].address
    assert berths.missing([second]) == 0
    assert berths.missing([first]) == 1
    berths.give(made)


def test_a_server_that_ends_by_itself_ends_its_container_with_its_status(small: Small, built: Images, berths: Berths) -> None:
    image = built.server(Implementation("prosody", "trixie"))
    assert image
    berth = berths.take(image)
    berth.start({"/etc/testbed/prosody.cfg.lua": b"this is no configuration"}, small.mesh.addresses.dns[0])
    berth.container.wait(timeout=30)
    state = federation.facts(berth.container, small.mesh.name)
    assert not state["running"]
    assert state["exit"] not in (0, 143)
    with pytest.raises(EngineError):
        berth.stop()
    berths.discard(berth)
    others = [berths.take(image), berths.take(image)]
    assert berth.address in {other.address for other in others}, "its address is free again"
    for other in others:
        berths.give(other)

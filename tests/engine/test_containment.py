"""A hostile image can do nothing of what it tries; every container of a run has the rights of its row, and no others."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import inside
import pytest
from docker.models.containers import Container
from small_mesh import BOOT, Small

from testbed import campaign
from testbed.contract import stand
from testbed.contract.protocol import Task
from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.plan.catalog import Catalog

pytestmark = pytest.mark.engine

ATTACK = Path(__file__).with_name("attack.pl").read_text()
PAIR = """name: pair
title: Two servers, each direction alone
servers:
  - {domain: a.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: b.example, implementation: prosody@trixie, policy: opportunistic}
phases: [{name: now}]
"""
SERVER = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"}
ROWS: dict[str, tuple[set[str], bool, str]] = {
    # how its name ends: capabilities within reach, whether its root can be written, its network
    r"-dns": ({"SETGID", "SETUID"}, False, ""),
    r"-driver": ({"SETGID", "SETUID"}, False, ""),
    r"-wiretap": ({"KILL", "NET_ADMIN", "NET_RAW", "SETGID", "SETUID"}, False, "host"),
    r"-dissector": (set(), False, "none"),
    r"-meter": (set(), False, "none"),
    r"-control-[ab]": (SERVER, True, ""),
    r"-names-\d+": (SERVER, True, ""),
    r"-berth-\d+": (SERVER, True, ""),
}


def test_root_in_a_servers_container_reaches_and_breaks_nothing(
    small: Small, engine: Engine, catalog: Catalog, built: Images
) -> None:
    servers = [replace(small.subjects["opportunistic"].server, index=n, domain=f"s{n}.example") for n in (0, 1)]
    wanted = [(s, small.subjects["opportunistic"].settings) for s in servers]
    with (
        stand.raised(engine, catalog, built, wanted, purpose="test-hostile", ipv6=True) as own,
        contextlib.closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as listener,
    ):
        hostile, honest = (own.boot(*subject) for subject in wanted)
        address = own.address(servers[1])
        before = own.ask(Task(address, servers[1].domain, account=5222, patience=BOOT)).account
        assert before
        assert before.login
        addresses = own.mesh.addresses
        assert addresses.net6
        host = f"{addresses.net4[1]},{addresses.net6[1]}"
        peers = ",".join(a for a in addresses.of(1) if a)
        said = federation.execute(
            hostile, ["perl", "-e", ATTACK, host, peers, str(listener.getsockname()[1])], user="root"
        ).splitlines()
        tried = dict(line.rsplit(": ", 1) for line in said)
        assert len(tried) > 30, said
        assert {what for what, could in tried.items() if could != "could not"} == set()
        after = own.ask(Task(address, servers[1].domain, account=5222, patience=10)).account
        assert after
        assert after.login, "the honest one is as it was"
        assert federation.facts(honest, "")["running"]


def test_the_engines_resolver_asks_nobody_but_the_federations_name_server(small: Small) -> None:
    """It answers at 127.0.0.11 in every container, whatever resolv.conf says."""
    for subject in small.subjects.values():
        subject.container.reload()
        assert subject.container.attrs["HostConfig"]["Dns"] == [small.mesh.addresses.dns[0]]


def rights_of(container: Container) -> inside.Seen:
    """The rights of a container that was started just now. Its filter of system calls comes last, right before its program."""
    deadline = time.monotonic() + 30
    while not (rights := inside.of(container)).seccomp and time.monotonic() < deadline:
        time.sleep(0.1)
    return rights


def test_every_container_of_a_run_has_the_rights_of_its_row(
    built: Images, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of each row is looked into as soon as it is started; the run waits for that, so that none is gone before."""
    del built
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    (tmp_path / "pair.yaml").write_text(PAIR)
    seen: dict[str, inside.Seen] = {}
    begun: set[str] = set()
    start = federation.start

    def start_and_look(container: Container) -> None:
        start(container)
        row = next((r for r in ROWS if re.search(f"{r}$", f"-{container.name}")), str(container.name))
        if row not in begun:
            begun.add(row)
            seen[row] = rights_of(engine.client.containers.get(str(container.id)))

    monkeypatch.setattr(federation, "start", start_and_look)
    run = campaign.measure(campaign.plan(tmp_path / "pair.yaml"), results=tmp_path / "results", isolated=True)
    assert run.exit_status == 0, [c["explanation"] for c in run.verdicts["cells"]]
    assert seen.keys() == ROWS.keys()
    for row, (capabilities, written, network) in ROWS.items():
        rights = seen[row]
        assert rights.bounding <= capabilities, row
        assert "NET_RAW" not in rights.bounding or row == "-wiretap"
        assert not rights.new_privileges, row
        assert rights.seccomp, row
        assert rights.root_written is written, row
        assert 0 < rights.memory <= 2 << 30, row
        assert 0 < rights.processes <= 512, row
        assert 0 < rights.processors <= 1, row
        assert rights.network == network or (not network and rights.network.startswith("s2s-testbed-")), row

"""The federation's name server, the gate between servers, and the reaper."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_mesh import BOOT, EngineBackend, Small, Subject, left
from testinfra.host import Host

from testbed.contract import stand
from testbed.contract.protocol import Task
from testbed.engine import federation, host
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import zone
from testbed.plan.catalog import Catalog

pytestmark = pytest.mark.engine

LOOKUP = """
import json, socket, struct, sys, time
TYPES = {"A": 1, "AAAA": 28, "SRV": 33}
def ask(server, name, kind):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0"
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    began = time.monotonic()
    sock.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", TYPES[kind], 1), (server, 53))
    answer = sock.recv(4096)
    _, flags, _, count, _, _ = struct.unpack(">HHHHHH", answer[:12])
    place, found = 12 + len(labels) + 4, []
    for _ in range(count):
        place += 2 if answer[place] >= 192 else len(labels)
        length = struct.unpack(">H", answer[place + 8:place + 10])[0]
        data = answer[place + 10:place + 10 + length]
        if kind == "SRV":
            port, rest, parts = struct.unpack(">HHH", data[:6])[2], data[6:], []
            while rest[0]:
                parts.append(rest[1:rest[0] + 1].decode())
                rest = rest[rest[0] + 1:]
            found.append([".".join(parts), port])
        else:
            found.append(socket.inet_ntop(socket.AF_INET6 if kind == "AAAA" else socket.AF_INET, data))
        place += 10 + length
    return {"code": flags & 15, "authoritative": bool(flags & 0x400), "found": found, "seconds": time.monotonic() - began}
print(json.dumps(ask(*sys.argv[1:])))
"""
NXDOMAIN = 3  # RFC 1035 §4.1.1


def ask(small: Small, name: str, kind: str) -> dict[str, Any]:
    """A question to the mesh's name server, asked from inside."""
    said = federation.execute(small.prober, ["python3", "-c", LOOKUP, small.mesh.addresses.dns[0], name, kind])
    return json.loads(said.splitlines()[-1])


def test_srv_a_and_aaaa_are_answered(small: Small) -> None:
    v4, v6 = small.mesh.addresses.of(0)
    for service, port in (("server", 5269), ("client", 5222)):
        answer = ask(small, f"_xmpp-{service}._tcp.cleartext.example", "SRV")
        assert (answer["code"], answer["authoritative"], answer["found"]) == (0, True, [["xmpp.cleartext.example", port]])
    for name in ("cleartext.example", "xmpp.cleartext.example"):
        assert ask(small, name, "A")["found"] == [v4]
        assert ask(small, name, "AAAA")["found"] == [v6]


@pytest.mark.parametrize("name", ["nobody.example", "_xmpps-server._tcp.cleartext.example", "debian.org"])
def test_an_unknown_name_is_denied_at_once(small: Small, name: str) -> None:
    answer = ask(small, name, "SRV")
    assert (answer["code"], answer["found"]) == (NXDOMAIN, [])
    assert answer["seconds"] < 0.5


def test_there_is_no_way_out(small: Small, engine: Engine, built: Images) -> None:
    network = engine.client.networks.get(small.mesh.name)
    assert network.attrs["Internal"]
    for container in engine.client.containers.list(filters={"label": f"{federation.RUN_LABEL}={small.mesh.run}"}):
        assert not container.attrs["HostConfig"]["PortBindings"], f"{container.name} publishes a port"
    # COMPAT Docker 20.10 gives an internal network a default route all the same, and drops what takes it: so it is tried
    with federation.Mesh(engine, f"{small.mesh.run}-other", 2, ipv6=False) as other:
        address = other.addresses.dns[0]
        outside = other.start_dns(built.ids["dns"], zone.render_zone({"other.example": (address, None)}), other.addresses.dns)
        attempt = f"timeout 2 bash -c '</dev/tcp/{address}/53'"
        deadline = time.monotonic() + 20
        while (status := Host(EngineBackend(outside)).run(attempt).rc) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status == 0, "it listens, and its own network reaches it"
        for subject in small.subjects.values():
            assert subject.inside.run(attempt).rc != 0, f"{subject.server.domain} reaches another network"


def reaches(subject: Subject, address: str, port: int) -> bool:
    """Whether a TCP connection from a server's container to there is made."""
    return subject.inside.run(f"timeout 2 bash -c '</dev/tcp/{address}/{port}'").rc == 0


def test_two_servers_reach_each_other_only_through_an_open_gate(small: Small) -> None:
    first, second = small.subjects["opportunistic"], small.subjects["encrypted"]
    macs = [federation.facts(s.container, small.mesh.name)["mac"] for s in (first, second)]
    gate, wall = [macs, macs[::-1]], small.stand.wall
    addresses = [address for address in small.mesh.addresses.of(second.server.index) if address]
    assert len(addresses) == 2, "IPv4 and IPv6"
    assert macs == [federation.hardware_address(s.address) for s in (first, second)]
    ways = [(address, port) for address in addresses for port in (5269, 5222)]
    assert reaches(first, first.address, 5269), "it could, if nothing were in the way"
    assert not any(reaches(first, *way) for way in ways)
    wall.open(gate)
    try:
        assert [reaches(first, *way) for way in ways] == [True, False, True, False], "a peer's client port stays shut"
        assert not reaches(small.subjects["authenticated"], second.address, 5269), "it is open for the pair alone"
    finally:
        wall.close(gate)
    assert not any(reaches(first, *way) for way in ways)


def test_no_server_reaches_the_host_and_the_host_reaches_no_server(small: Small) -> None:
    subject = small.subjects["opportunistic"]
    local = Path(f"/sys/class/net/{small.mesh.bridge}/address").read_text().split(":")
    first, *rest = (int(byte, 16) for byte in local)
    linked = f"fe80::{first ^ 2:02x}{rest[0]:02x}:{rest[1]:02x}ff:fe{rest[2]:02x}:{rest[3]:02x}{rest[4]:02x}"
    assert small.mesh.addresses.net6
    addresses = [str(small.mesh.addresses.net4[1]), str(small.mesh.addresses.net6[1]), f"{linked}%{small.mesh.bridge}"]
    with contextlib.closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as listener:
        port = listener.getsockname()[1]
        for address in addresses:
            with contextlib.suppress(OSError), contextlib.closing(socket.create_connection((address, port), 2)):
                continue
            pytest.fail(f"the host has no {address}: what follows would show nothing")
        for address in (a.replace(small.mesh.bridge, "eth0") for a in addresses):
            assert not reaches(subject, address, port), address
        listener.settimeout(0.1)
        while True:  # the connections from above
            try:
                _, peer = listener.accept()
            except TimeoutError:
                break
            peer_address = ipaddress.ip_address(peer[0].partition("%")[0].removeprefix("::ffff:"))
            assert peer_address in {ipaddress.ip_address(a.partition("%")[0]) for a in addresses}
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        socket.create_connection((subject.address, 5222), 2)


def test_the_gate_stays_shut_when_who_told_it_is_gone_and_servers_are_not(
    small: Small, engine: Engine, catalog: Catalog, built: Images
) -> None:
    """As when the orchestrator is killed: its end of the connection is closed, and nobody has removed the servers yet."""
    servers = [small.subjects[preset].server for preset in ("opportunistic", "encrypted")]
    wanted = [(replace(s, index=n), small.subjects[s.policy.name].settings) for n, s in enumerate(servers)]
    with stand.raised(engine, catalog, built, wanted, purpose="test-gone") as own:
        first, second = (
            Subject(s, settings, own.boot(s, settings), own.certificate(s, settings), own.address(s), "")
            for s, settings in wanted
        )
        macs = [federation.hardware_address(s.address) for s in (first, second)]
        assert own.ask(Task(second.address, second.server.domain, account=5222, patience=BOOT)).account
        own.wall.open([macs, macs[::-1]])
        assert reaches(first, second.address, 5269)
        own.wall.tap.channel.close()
        deadline = time.monotonic() + 30
        while reaches(first, second.address, 5269) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not reaches(first, second.address, 5269), "the gate is gone, or the pair that was measured is still let through"
        assert federation.facts(own.wall.tap.channel.container, "")["running"]


def test_the_reaper_takes_what_the_dead_left_and_nothing_else(small: Small, engine: Engine, built: Images) -> None:
    run = f"test-dead-{time.time():.0f}"
    code = f"""
        import sys, time
        from testbed.engine import federation, host
        mesh = federation.Mesh(host.Engine(host.connect({engine.address!r}), {engine.address!r}, False), {run!r}, 2, ipv6=False)
        mesh.start_dns({built.ids["dns"]!r}, ". IN SOA a. b. 1 1 1 1 1\\n. IN NS a.\\n", mesh.addresses.dns)
        print("there", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline().strip() == "there"
        assert len(left(engine, run)) == 2, "a container and a network"
        federation.reap(engine)
        federation.remove(engine, federation.labels_of(run))
        assert len(left(engine, run)) == 2, "its owner lives; a run of this process with the same id is another one"
        owner.send_signal(signal.SIGKILL)
    federation.reap(engine)
    assert left(engine, run) == []
    assert len(left(engine, small.mesh.run)) >= 7, "network, name server, prober and servers of the living"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make an interface")
def test_a_bridge_that_a_killed_engine_forgot_is_removed_and_one_in_use_is_not(small: Small) -> None:
    forgotten = "s2sdeadbeef"
    subprocess.run(["ip", "link", "add", forgotten, "type", "bridge"], check=True)
    try:
        # by name: another federation of these tests may just be plugging in its first container
        gone = host.remove_bridges(re.compile(f"{forgotten}|{small.mesh.bridge}"))
        assert gone == [forgotten]
        assert not Path("/sys/class/net", forgotten).exists()
    finally:
        subprocess.run(["ip", "link", "delete", forgotten], capture_output=True, check=False)

"""The federation's name server, the gate between servers, and the reaper."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from small_mesh import EngineBackend, Small, left
from testinfra.host import Host

from testbed.engine import federation, host
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import zone
from testbed.measure.wiretap import wiretap
from testbed.measure.wiretap.wiretap import Wiretap

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("mesh")]

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


def test_two_servers_reach_each_other_only_through_an_open_gate(small: Small, built: Images) -> None:
    first, second = small.subjects["opportunistic"], small.subjects["encrypted"]
    macs = [federation.facts(s.container, small.mesh.name)["mac"] for s in (first, second)]
    gate = [macs, macs[::-1]]

    def reaches(port: int) -> bool:
        return first.inside.run(f"timeout 2 bash -c '</dev/tcp/{second.address}/{port}'").rc == 0

    gateway = str(small.mesh.addresses.net4[1])
    listener = socket.create_server((gateway, 0))

    def reaches_host() -> bool:
        return first.inside.run(f"timeout 2 bash -c '</dev/tcp/{gateway}/{listener.getsockname()[1]}'").rc == 0

    assert reaches(5269), "without a gate nothing is in the way: the test below would show nothing else"
    assert reaches_host(), "an internal network still reaches its host: the test below would show nothing else"

    async def measure() -> list[bool]:
        container = small.mesh.create_agent("wiretap", built.ids["wiretap"], wiretap.files(), inside=False)
        tap = Wiretap(container)
        federation.start(container)
        await tap.ready()
        await tap.prepare(f"s2s_{small.mesh.short}", small.mesh.bridge, 4, small.mesh.addresses.subnets)
        ways = [reaches(5269), reaches(5222), reaches_host()]
        await tap.open(gate)
        ways.append(reaches(5269))
        tap.close(gate)
        await tap.storms(macs)  # commands are done in order: when this is answered, the gate is shut again
        ways.append(reaches(5269))
        tap.channel.close()
        federation.drop([container])
        return ways

    shut, other_port, host, opened, shut_again = asyncio.run(measure())
    listener.close()
    assert (shut, other_port, host, opened, shut_again) == (False, True, False, True, False)
    assert reaches(5269), "the gate goes with the process that made it"


def test_the_gate_stays_shut_when_who_told_it_is_gone_and_servers_are_not(small: Small, built: Images) -> None:
    """As when the orchestrator is killed: its end of the connection is closed, and nobody has removed the servers yet."""
    first, second = small.subjects["opportunistic"], small.subjects["encrypted"]
    macs = [federation.facts(s.container, small.mesh.name)["mac"] for s in (first, second)]

    def reaches() -> bool:
        return first.inside.run(f"timeout 2 bash -c '</dev/tcp/{second.address}/5269'").rc == 0

    async def abandon() -> federation.Container:
        container = small.mesh.create_agent("wiretap", built.ids["wiretap"], wiretap.files(), inside=False)
        tap = Wiretap(container)
        federation.start(container)
        await tap.ready()
        await tap.prepare(f"s2s_{small.mesh.short}", small.mesh.bridge, 4, small.mesh.addresses.subnets)
        await tap.open([macs, macs[::-1]])
        assert reaches()
        tap.channel.close()
        return container

    container = asyncio.run(abandon())
    try:
        deadline = time.monotonic() + 30
        while reaches() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not reaches(), "the gate is gone, or the pair that was measured is still let through"
        assert federation.facts(container, "")["running"]
    finally:
        federation.drop([container])
    assert reaches(), "the gate goes with its container"


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

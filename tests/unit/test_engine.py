"""What of engine/ needs no engine: archives, addresses, owners, and the sentences that say why there is no engine."""

from __future__ import annotations

import io
import ipaddress
import itertools
import os
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ContainerError

from testbed import doctor
from testbed.engine import federation, host
from testbed.engine.federation import BERTHS, NAME_SERVERS, Addresses
from testbed.engine.files import pack
from testbed.model import EngineError


def members(tree: dict[str, bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(pack(tree))) as archive:
        return {m.name: m for m in archive.getmembers()}


# --- archives -----------------------------------------------------------------------------------------------------------


def test_keys_are_readable_by_their_owner_alone() -> None:
    found = members({f"/etc/testbed/{n}": b"x" for n in ("key.pem", "cert-and-key.pem", "cert.pem", "server.cfg")})
    modes = {name.rpartition("/")[2]: m.mode for name, m in found.items() if m.isfile()}
    assert modes == {"key.pem": 0o600, "cert-and-key.pem": 0o600, "cert.pem": 0o644, "server.cfg": 0o644}


def test_folders_below_those_that_exist_are_made_and_those_are_left_alone() -> None:
    """/etc and /opt keep the modes that the image gave them."""
    found = members({"/etc/testbed/a": b"", "/opt/testbed/exchanges/b.py": b"", "/opt/testbed/c": b""})
    assert [n for n, m in found.items() if m.isdir()] == ["etc/testbed", "opt/testbed", "opt/testbed/exchanges"]
    assert {m.mode for m in found.values() if m.isdir()} == {0o755}


def test_everything_is_of_now_and_of_root() -> None:
    """A name server takes a zone of 1970 for one that was never loaded."""
    for member in members({"/etc/testbed/zone": b"x"}).values():
        assert abs(member.mtime - time.time()) < 60
        assert (member.uid, member.gid) == (0, 0)


def test_contents_survive() -> None:
    data = bytes(range(256)) * 100
    with tarfile.open(fileobj=io.BytesIO(pack({"/etc/testbed/x": data, "/etc/testbed/empty": b""}))) as archive:
        assert archive.extractfile("etc/testbed/x").read() == data  # type: ignore[union-attr]
        assert archive.extractfile("etc/testbed/empty").read() == b""  # type: ignore[union-attr]


# --- addresses ----------------------------------------------------------------------------------------------------------


def test_no_address_is_given_twice_not_even_to_pairs_that_are_measured_alone() -> None:
    size = 48
    addresses = Addresses(ipaddress.IPv4Network("198.18.0.0/24"), ipaddress.IPv6Network("fd53::/64"))
    given = addresses.everybody(size)
    assert {addresses.dns, addresses.driver, *map(addresses.of, range(size))} < set(given)
    assert {*addresses.alone(size), *addresses.names(size)} < set(given)
    assert len({four for four, _ in given}) == len({six for _, six in given}) == len(given) == 2 + size + BERTHS + NAME_SERVERS
    for four, six in given:
        assert ipaddress.IPv4Address(four) in addresses.net4
        assert six is not None
        assert ipaddress.IPv6Address(six) in ipaddress.IPv6Network("fd53::/64")


@pytest.mark.parametrize("size", [2, 12, 38, 39, 40, 48, 100, 166, 167, 168, 400])
def test_the_subnet_holds_everybody_and_the_broadcast_address_is_nobody_s(size: int) -> None:
    for net4 in itertools.islice(federation.POOL4.subnets(new_prefix=federation.prefix_for(size)), 2):
        given = {ipaddress.IPv4Address(four) for four, _ in Addresses(net4, None).everybody(size)}
        assert given < set(net4.hosts())
        assert net4[1] not in given, "the engine's own"


def test_the_networks_of_another_engine_on_this_host_are_taken(tmp_path: Path) -> None:
    """Two federations with the same addresses shut each other's gate: what one engine has, the other does not list."""
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "s2s5e61dfdb\t000012C6\t00000000\t0001\t0\t0\t0\t80FFFFFF\t0\t0\t0\n"
        "s2s9417512d\t800012C6\t00000000\t0001\t0\t0\t0\t80FFFFFF\t0\t0\t0\n"
    )
    assert [str(net) for net in federation.routed(routes)] == ["198.18.0.0/25", "198.18.0.128/25"]
    assert federation.routed(tmp_path / "no such file") == []


# --- who owns what is left ------------------------------------------------------------------------------------------------


def test_this_process_is_alive_and_a_reused_pid_is_not_this_process() -> None:
    owner = federation.owner()
    assert federation.alive(owner)
    assert not federation.alive(owner + "1"), "the same pid with another start time is another process"


def test_a_process_that_has_ended_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = f"{socket.gethostname()}/{child.pid}/{federation._started(child.pid)}"
    assert federation.alive(owner)
    child.communicate()
    assert not federation.alive(owner)


@pytest.mark.parametrize(
    "owner", ["", f"{socket.gethostname()}/", f"{socket.gethostname()}/x/1", f"{socket.gethostname()}/999999999/1"]
)
def test_what_has_no_living_owner_may_go(owner: str) -> None:
    assert not federation.alive(owner)


def test_another_host_s_process_is_given_the_benefit_of_the_doubt() -> None:
    assert federation.alive("elsewhere/1/1")


# --- the private engine -------------------------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of its own, with nothing in it, and no engine by any other way."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path / "s2s-testbed" / "engine"


def test_the_private_engine_lives_in_the_user_s_cache(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.private_address() == f"unix://{private}/run/docker.sock"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(private.parent))
    assert host.private_address().startswith(f"unix://{private.parent}/.cache/s2s-testbed/")


def test_a_pid_file_counts_only_if_that_process_is_the_private_engine(private: Path) -> None:
    pidfile = private / "run" / "dockerd.pid"
    pidfile.parent.mkdir(parents=True)
    assert host._pid(pidfile) is None, "no file"
    for text in ("", "not a number", "999999999", str(os.getpid())):
        pidfile.write_text(text)
        assert host._pid(pidfile) is None, text
    ours = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", f"--pidfile={pidfile}"], stdin=subprocess.PIPE)
    try:
        pidfile.write_text(f"{ours.pid}\n")
        deadline = time.monotonic() + 5
        while host._pid(pidfile) is None and time.monotonic() < deadline:  # until exec is done its command line is the parent's
            time.sleep(0.01)
        assert host._pid(pidfile) == ours.pid
    finally:
        ours.communicate()
    assert host._pid(pidfile) is None, "it has ended"


def test_a_process_that_only_mentions_the_folder_is_not_the_engine_s(private: Path) -> None:
    """An editor or a `tail -f` on the engine's log must never be ended with it."""
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", str(private / "run")], stdin=subprocess.PIPE)
    try:
        assert other.pid not in host._processes_of(str(private / "run"))
    finally:
        other.communicate()


def test_a_socket_path_that_is_too_long_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(long))
    monkeypatch.setattr(host, "find", lambda *_: None)
    with pytest.raises(EngineError, match="too long") as error:
        host.start(lambda _: None)
    assert "XDG_CACHE_HOME" in str(error.value)
    assert not (long / "s2s-testbed" / "engine").exists()


@pytest.mark.parametrize("address", ["unix:///nonexistent", "tcp://127.0.0.1:1", "nonsense://"])
def test_a_docker_host_that_does_not_answer_is_one_sentence(address: str, private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To go to another engine would be a surprise."""
    monkeypatch.setenv("DOCKER_HOST", address)
    began = time.monotonic()
    with pytest.raises(EngineError) as error:
        host.find()
    said = str(error.value)
    assert said.startswith(f"DOCKER_HOST is {address}, but no Docker engine answers there")
    assert "unset DOCKER_HOST" in said
    assert "\n" not in said
    assert error.value.exit_status == 3
    assert time.monotonic() - began < 5
    assert not private.exists()


def test_no_engine_and_no_root_is_one_sentence(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "find", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineError, match="only root can start one") as error:
        host.ensure()
    assert "DOCKER_HOST" in str(error.value)
    assert not private.exists()


def test_a_network_that_the_engine_does_not_let_go_of_holds_no_later_run_up() -> None:
    asked: list[str] = []

    class Stuck:
        name = "stuck"

        def remove(self) -> None:
            asked.append(self.name)
            raise APIError("has active endpoints")

    def listing(found: list[object]) -> SimpleNamespace:
        return SimpleNamespace(list=lambda **_: found)

    client = SimpleNamespace(containers=listing([]), networks=listing([Stuck()]))
    assert federation.remove(host.Engine(client, "unix:///nowhere", False), {federation.RUN_LABEL: "x"}) == (0, 0)
    assert asked == ["stuck"], "once, since nothing was removed whose endpoint might still go"


def test_what_the_living_own_is_left_alone_and_what_is_left_is_said_by_run() -> None:
    def labels(run: str, owner: str) -> dict[str, str]:
        return {federation.RUN_LABEL: run, federation.OWNER_LABEL: owner}

    here, nobody = federation.owner(), f"{socket.gethostname()}/1/0"
    asked: list[object] = []

    def containers(**filters: object) -> list[object]:
        asked.append(filters["filters"])
        return [SimpleNamespace(labels=labels("going", here)), SimpleNamespace(labels=labels("dead", nobody))]

    network = SimpleNamespace(attrs={"Labels": labels("dead", nobody)})
    listing = SimpleNamespace(list=containers)
    engine = host.Engine(SimpleNamespace(containers=listing, networks=SimpleNamespace(list=lambda **_: [network])), "", False)
    assert federation.left(engine) == [
        federation.Left("going", here, False),
        federation.Left("dead", nobody, False),
        federation.Left("dead", nobody, True),
    ]
    assert federation.running(engine) == 2
    finding = doctor._leftovers(engine)
    assert finding.said == "1 containers and 1 networks of dead runs; the next run removes them; running now: going"
    assert asked == [{"label": federation.RUN_LABEL}] * 3


def test_why_a_container_says_nothing_is_told_with_all_that_the_engine_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "last_words", lambda: "level=warning")
    there = [SimpleNamespace(attrs={"State": state}) for state in ("running", "removing", "dead")]
    client = SimpleNamespace(ping=lambda: True, containers=SimpleNamespace(list=lambda **_: there))
    state = {"Running": True, "Status": "running", "StartedAt": "2026-11-28T16:00:00Z"}
    container = SimpleNamespace(
        reload=lambda: None, attrs={"State": state}, top=lambda: {"Processes": [["root", "1", "python3 -u agent.py"]]}
    )
    told = federation.circumstances(host.Engine(client, "", True), container)  # type: ignore[arg-type]
    assert "the engine answers a ping in 0.0 s; the container is running, started 2026-11-28T16:00:00Z; " in told
    assert "3 containers of the testbed's are there, 2 of them being removed; in it runs python3 -u agent.py; the load" in told
    assert told.endswith("the engine's log ends with: level=warning")

    def gone() -> None:
        raise APIError("no such container")

    container.reload = gone
    assert "the engine said: no such container" in federation.circumstances(host.Engine(client, "", False), container)  # type: ignore[arg-type]


def test_what_a_container_on_the_host_wrote_last_is_the_error() -> None:
    def run(*_: object, **how: object) -> bytes:
        assert how["network_mode"] == "host"
        raise ContainerError(None, 1, "c", "i", b"first\nlast words\n")

    engine = host.Engine(SimpleNamespace(containers=SimpleNamespace(run=run)), "", False)
    with pytest.raises(EngineError, match="first last words"):
        federation.run_on_host(engine, "image", "script", "doctor")


def test_a_server_with_another_hardware_address_than_the_gate_knows_is_refused() -> None:
    """The gate lets through what is no member's: such a server would talk to everybody, and be seen by nobody."""

    def container(mac: str | None) -> Any:
        attrs = {"State": {"Running": True}, "Image": "", "NetworkSettings": {"Networks": {"net": {"MacAddress": mac}}}}
        return SimpleNamespace(name="server", attrs=attrs, reload=lambda: None)

    mesh: Any = SimpleNamespace(name="net")
    address = ("198.18.0.16", None)
    wanted = federation.hardware_address(address[0])
    assert federation.Mesh.mac_of(mesh, container(wanted.upper()), address) == wanted
    assert federation.Mesh.mac_of(mesh, container(None), address) == "", "it has ended, which somebody else says"
    with pytest.raises(EngineError, match=f"has the hardware address 5a:00:00:00:00:01, not {wanted}"):
        federation.Mesh.mac_of(mesh, container("5a:00:00:00:00:01"), address)

"""Makes and removes the containers of a run: network, name server, driver, wiretap, servers. Judges nothing.

Only this module and `wiretap` know that there is one host. Every container and network carries the run's label and its owner's
process, so that the reaper can tell what nobody needs any more.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import io
import ipaddress
import os
import re
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec

from docker.errors import APIError, NotFound
from docker.models.containers import Container as Container  # others name the type, and call Docker only here
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from testbed import interruption
from testbed.engine.files import FILES, UNPACK, handed, pack
from testbed.engine.firewall import Way
from testbed.engine.host import ENGINE_ERRORS, Engine, last_words
from testbed.engine.images import REPOSITORY
from testbed.engine.rights import DISSECTOR, DRIVER, LOOK, METER, NAMES, READ_ONLY, SERVER, WIRETAP, Rights
from testbed.model import EngineError

P = ParamSpec("P")

RUN_LABEL = "s2s-testbed.run"
OWNER_LABEL = "s2s-testbed.owner"
POOL4 = ipaddress.IPv4Network("198.18.0.0/15")
"""RFC 2544's benchmarking block: collides with nobody's own network."""
FIRST_SERVER = 16
SLOTS = 28
"""Pairs that can be measured alone at the same time, each with a name server of its own beside the mesh's: most of them wait for
a timer of 7 to 10 s, twice, so that fewer leave processors idle."""
KEPT = 8
"""Servers that are kept at most while no pair of theirs is measured: the dear ones, of 60 to 100 MB each."""
NAME_SERVERS = SLOTS + KEPT
"""Name servers of pairs measured alone: one a slot, and one for each server that is kept."""
BERTHS = 3 * SLOTS
"""Containers that are kept for their servers at most: two a slot, and half as many of other images or of kept servers."""
MAKING = 30.0
"""Seconds that a mesh which is removed waits for containers that are just being made."""


@dataclass(frozen=True)
class Addresses:
    """The federation's subnets; a server's address depends on its index alone, so it is the same in every phase."""

    net4: ipaddress.IPv4Network
    net6: ipaddress.IPv6Network | None

    def of(self, index: int) -> tuple[str, str | None]:
        """IPv4 and IPv6 address of the server with ``index``."""
        return self._at(FIRST_SERVER + index)

    def alone(self, size: int) -> list[tuple[str, str | None]]:
        """Addresses of the servers that are measured alone beside a mesh of ``size``."""
        return [self._at(FIRST_SERVER + size + n) for n in range(BERTHS)]

    def names(self, size: int) -> list[tuple[str, str | None]]:
        """Addresses of their name servers: others than the servers', so that the gate knows whom everybody may ask."""
        return [self._at(FIRST_SERVER + size + BERTHS + n) for n in range(NAME_SERVERS)]

    def everybody(self, size: int) -> list[tuple[str, str | None]]:
        """Every address that a container of a federation of ``size`` may have."""
        return [self.dns, self.driver, *map(self.of, range(size)), *self.alone(size), *self.names(size)]

    @property
    def dns(self) -> tuple[str, str | None]:
        """Addresses of the mesh's name server."""
        return self._at(2)

    @property
    def driver(self) -> tuple[str, str | None]:
        """Addresses of the driver."""
        return self._at(3)

    @property
    def subnets(self) -> list[str]:
        """Both subnets, as text."""
        return [str(self.net4)] + ([str(self.net6)] if self.net6 else [])

    def _at(self, offset: int) -> tuple[str, str | None]:
        return str(self.net4[offset]), str(self.net6[offset]) if self.net6 else None


def prefix_for(size: int) -> int:
    """Length of the prefix of the smallest IPv4 subnet that holds everybody of a federation of ``size``; at most 26."""
    return 32 - max(6, (FIRST_SERVER + size + BERTHS + NAME_SERVERS + 2).bit_length())


def _unless_ending(create: Callable[P, Container]) -> Callable[P, Container]:
    """A method of `Mesh` that makes a container: not while the mesh is removed, and removal waits for it."""

    @functools.wraps(create)
    def made(*args: P.args, **kwargs: P.kwargs) -> Container:
        mesh, token = args[0], object()
        assert isinstance(mesh, Mesh)
        mesh.making.add(token)
        try:
            if mesh.ending:
                raise EngineError("no container is made any more: the federation is being removed")
            return create(*args, **kwargs)
        finally:
            mesh.making.discard(token)

    return made


class Mesh:
    """The containers of one run on one engine. Use as a context: leaving it removes everything."""

    def __init__(self, engine: Engine, run: str, size: int, *, ipv6: bool) -> None:
        self.engine, self.run, self.docker = engine, run, engine.client
        self.labels = labels_of(run)
        self.short = hashlib.sha256(f"{run}{os.getpid()}{time.time()}".encode()).hexdigest()[:8]
        self.bridge = f"s2s{self.short}"
        self.network: Network | None = None
        self.ending = False
        """It is being removed."""
        self.making: set[object] = set()
        """What is made at this moment: one token each."""
        self._starters: dict[str, list[str] | None] = {}
        """Image -> its command, if that can be handed files as it starts."""
        self._bases: list[list[str]] | None = None
        """The layers of the testbed's base systems."""
        self._looking = threading.Lock()
        try:
            with interruption.held():
                self.addresses = self._make_network(size, ipv6)
        except KeyboardInterrupt:
            with interruption.held():
                self.remove()
            raise

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, *_: object) -> None:
        with interruption.held():
            self.remove()

    @property
    def name(self) -> str:
        """The network's name."""
        return f"s2s-testbed-{self.short}"

    def _make_network(self, size: int, ipv6: bool) -> Addresses:
        """An internal network (no way out, no port published) in a free part of the pool. Raises EngineError."""
        prefix = prefix_for(size)
        candidates = POOL4.subnets(new_prefix=prefix)
        last = ""
        for net4 in candidates:
            if any(net4.overlaps(used) for used in self._used_subnets()):
                continue
            tag = int(net4.network_address) & 0xFFFFFF
            net6 = ipaddress.IPv6Network(f"fd53:3273:{tag >> 8:x}:{tag & 0xFF:x}::/64") if ipv6 else None
            pools = [IPAMPool(subnet=str(net4))] + ([IPAMPool(subnet=str(net6))] if net6 else [])
            try:
                self.network = self.docker.networks.create(
                    self.name,
                    driver="bridge",
                    internal=True,
                    enable_ipv6=bool(net6),
                    ipam=IPAMConfig(pool_configs=pools),
                    options={"com.docker.network.bridge.name": self.bridge},
                    labels=self.labels,
                )
            except APIError as error:
                last = str(error.explanation)
                if "overlaps" in last.lower():  # another run took it between the look and the leap
                    continue
                raise EngineError(f"the federation's network cannot be made: {last}") from None
            if sum(net4.overlaps(other) for other in routed()) > 1:  # another engine of this host took it at the same time
                last = f"{net4} is another engine's too"
                self.network.remove()
                continue
            return Addresses(net4, net6)
        raise EngineError(
            f"no free subnet of /{prefix} in {POOL4}: {last or 'all are taken'}; `testbed clean` removes what dead runs left"
        )

    def _used_subnets(self) -> Iterator[ipaddress.IPv4Network]:
        yield from routed()
        for network in self.docker.networks.list():
            for pool in (network.attrs.get("IPAM") or {}).get("Config") or []:
                with contextlib.suppress(ValueError, KeyError):
                    yield ipaddress.IPv4Network(pool["Subnet"])

    # --- containers ---

    def start_dns(self, image: str, zone: str, address: tuple[str, str | None], name: str = "dns") -> Container:
        """An authoritative name server with a zone: the mesh's, or that of a pair measured alone."""
        container = self._create(name, image, address, NAMES, {"zone": zone.encode()})
        start(container)
        return container

    def create_agent(self, name: str, image: str, files: dict[str, bytes], *, inside: bool) -> Container:
        """A container with an agent in it, not started yet: ``inside`` the mesh, or on the engine's host network."""
        address, rights = (self.addresses.driver, DRIVER) if inside else (None, WIRETAP)
        return self._create(name, image, address, rights, files, agent=True)

    def create_dissector(self, image: str, wiretap: Container) -> Container:
        """The container, not started, in which captures are dissected: it has ``wiretap``'s files, to read, and no network."""
        return self._create("dissector", image, None, DISSECTOR, {}, agent=True, of=wiretap)

    def create_meter(self, image: str, files: dict[str, bytes], *, shown: bool) -> Container:
        """The meter's container, not started; ``shown``: it sees the host's control groups, which not every engine allows."""
        return self._create("meter", image, None, METER if shown else replace(METER, shown=()), files, agent=True)

    def create_server(
        self, name: str, image: str, files: dict[str, bytes], address: tuple[str, str | None], dns: str
    ) -> Container:
        """The container of a server, not started, that asks the name server at ``dns``."""
        return self._create(name, image, address, SERVER, files, environment={"TESTBED_DNS": dns})

    def create_berth(self, name: str, image: str, address: tuple[str, str | None]) -> Container:
        """A container, not started, that holds one server after another (see `berths`)."""
        return self._create(name, image, address, SERVER, {}, environment={"TESTBED_HOLD": "1"}, hold=True)

    def _starter(self, image: str) -> list[str] | None:
        """The command of an image whose first process can be handed files; None where they are copied in. Raises EngineError.

        That is an image on the testbed's base, with all that Debian calls essential, which begins with `testbed-start` as root.
        """
        with self._looking:
            if image not in self._starters:
                try:
                    facts = self.docker.images.get(image).attrs
                    if self._bases is None:
                        there = self.docker.images.list(name=f"{REPOSITORY}/base")
                        self._bases = [base.attrs["RootFS"]["Layers"] for base in there]
                except ENGINE_ERRORS as error:
                    raise EngineError(f"the image {image} cannot be looked up: {_message(error)}") from None
                config, layers = facts["Config"], facts["RootFS"]["Layers"]
                command = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
                ours = any(base and layers[: len(base)] == base for base in self._bases)
                able = ours and command[:1] == ["testbed-start"] and config.get("User") in (None, "", "root", "0")
                self._starters[image] = command if able else None
            return self._starters[image]

    @_unless_ending
    def _create(
        self,
        name: str,
        image: str,
        address: tuple[str, str | None] | None,
        rights: Rights,
        files: dict[str, bytes],
        *,
        environment: dict[str, str] | None = None,
        agent: bool = False,
        hold: bool = False,
        of: Container | None = None,
    ) -> Container:
        """``files``: what its `rights.files` has; ``of``: whose volumes it has too, to read."""
        api = self.docker.api
        root = rights.files if rights.read_only else "/"
        tree = {f"{rights.files}/{path}": data for path, data in files.items()}
        environment, command = environment or {}, None
        if tree and not rights.read_only and (starter := self._starter(image)) and (packed := handed(tree)):
            environment, command, tree = environment | {FILES: packed}, [*UNPACK, *starter], {}
        host = api.create_host_config(
            network_mode=rights.network or self._net().name,
            volumes_from=[f"{of.id}:ro"] if of else None,
            # The engine's resolver answers inside, whatever resolv.conf says: what it does not know it may ask ours alone.
            dns=[self.addresses.dns[0]] if address else None,
            **rights.host_config(),
        )
        networking = None
        if address:
            mac = hardware_address(address[0])
            endpoint = api.create_endpoint_config(ipv4_address=address[0], ipv6_address=address[1], mac_address=mac)
            # types-docker takes the mapping of names for one endpoint
            networking = api.create_networking_config({self._net().name: endpoint})  # type: ignore[arg-type]
        if rights.network == "host":
            host["ReadonlyPaths"] = READ_ONLY  # the neighbour table's thresholds stand in /proc/sys/net
        if rights.shown:
            host["CgroupnsMode"] = "host"  # COMPAT Docker before 20.10 has no other, and passes this over
        try:
            identity = api.create_container(
                image,
                name=f"s2s-testbed-{self.short}-{name}"[:120],
                hostname=name[:60] if address else None,
                entrypoint=command,
                environment=environment,
                volumes=[] if of else rights.volumes,
                # COMPAT Docker before 25 passes an endpoint's over
                mac_address=mac if address else None,
                labels=self.labels,
                user=rights.user or None,
                stdin_open=agent or hold,
                detach=hold,  # an agent's standard input ends with the first who wrote to it
                host_config=host,
                networking_config=networking,
            )["Id"]
            if tree and not api.put_archive(identity, root, pack(tree, root)):
                raise EngineError(f"files could not be copied into {name}")
        except ENGINE_ERRORS as error:
            raise EngineError(f"the container {name} cannot be made: {_message(error)}") from None
        # an incomplete Container object saves an inspection per server; callers that need facts call reload()
        return Container(attrs={"Id": identity, "Name": name}, client=self.docker, collection=self.docker.containers)

    def _net(self) -> Network:
        assert self.network is not None, "the network is made first"
        return self.network

    def mac_of(self, container: Container, address: tuple[str, str | None]) -> str:
        """The hardware address of a started container at ``address``; empty where it has ended and has none any more.

        Raises EngineError if the engine gave it another one than was asked for: the gate would not know it, and stand open.
        """
        mac, wanted = str(facts(container, self.name)["mac"] or "").lower(), hardware_address(address[0])
        if mac not in ("", wanted):
            raise EngineError(
                f"{container.name} has the hardware address {mac}, not {wanted} as was asked for: "
                "this engine does not set it, so that the gate between servers would let everything through"
            )
        return mac

    def remove(self) -> None:
        """Remove every container and the network of this mesh; never raises, so that it hides no cause.

        What threads still make when this begins is removed too, and from now on nothing can be made.
        """
        self.ending = True
        before, deadline = bool(self.making), time.monotonic() + MAKING
        remove(self.engine, self.labels)
        while self.making and time.monotonic() < deadline:
            time.sleep(0.05)
        if before:
            remove(self.engine, self.labels)


def hardware_address(ipv4: str) -> str:
    """Of the container that has this address: as Docker before 28 makes it, but known before the container is."""
    return "02:42:" + ipaddress.IPv4Address(ipv4).packed.hex(":")


def routed(routes: Path = Path("/proc/net/route")) -> list[ipaddress.IPv4Network]:
    """The subnets that this host has interfaces in: other engines' networks are among them, which ours does not list.

    Two federations with the same addresses would shut each other's gate. Of an engine elsewhere this says nothing.
    """
    subnets = []
    with contextlib.suppress(OSError):
        for line in routes.read_text().splitlines()[1:]:
            _, destination, _, _, _, _, _, mask, *_ = line.split()
            address, bits = (int.from_bytes(bytes.fromhex(word), "little") for word in (destination, mask))
            if bits:
                subnets.append(ipaddress.IPv4Network((address, bits.bit_count()), strict=False))
    return subnets


def start(container: Container) -> None:
    """Start a created container. Raises EngineError."""
    try:
        container.start()
    except ENGINE_ERRORS as error:
        raise EngineError(f"the container {container.name} does not start: {_message(error)}") from None


def facts(container: Container, network_name: str) -> dict[str, Any]:
    """What the engine says of a started container: `mac`, `image`, `running`, `exit`. Raises EngineError."""
    try:
        container.reload()
    except ENGINE_ERRORS as error:
        raise EngineError(f"{container.name} cannot be looked up: {_message(error)}") from None
    state = container.attrs["State"]
    network = container.attrs["NetworkSettings"]["Networks"].get(network_name) or {}
    return {
        "mac": network.get("MacAddress"),
        "image": container.attrs["Image"],
        "running": state["Running"],
        "exit": state.get("ExitCode"),
    }


@dataclass(frozen=True)
class Ending:
    """How the process of a container ended."""

    how: str
    """Completes "the server": ``ended with status 137 (killed by SIGKILL)``."""
    at: float | None = None
    """Unix seconds; None where the engine does not know."""


def ending(container: Container) -> Ending | None:
    """How a started container ended; None if it runs, or its engine cannot be asked. Never raises."""
    try:
        container.reload()
    except NotFound:
        return Ending("is gone: its container was removed")
    except ENGINE_ERRORS:
        return None
    state = container.attrs["State"]
    if state["Running"]:
        return None
    status, why = int(state.get("ExitCode") or 0), ""
    if state.get("OOMKilled"):
        why = " (killed: out of memory)"
    elif 128 < status < 128 + signal.NSIG:
        with contextlib.suppress(ValueError):
            why = f" (killed by {signal.Signals(status - 128).name})"
    return Ending(f"ended with status {status}{why}", _unix(str(state.get("FinishedAt") or "")))


def _unix(stamp: str) -> float | None:
    """Unix seconds of a time as the engine writes it (RFC 3339, nanoseconds); None for its zero value."""
    seconds, _, rest = stamp.partition(".")
    try:
        whole = dt.datetime.fromisoformat(f"{seconds.rstrip('Z')}+00:00").timestamp()
    except ValueError:
        return None
    digits = re.match(r"\d*", rest)
    return whole + float(f"0.{digits[0]}" if digits and digits[0] else 0) if whole > 0 else None


def ended(engine: Engine, run: str) -> set[str]:
    """Ids of a run's containers that have ended and are still there; empty if the engine cannot be asked."""
    wanted: dict[str, str | list[str] | bool] = {"label": f"{RUN_LABEL}={run}", "status": ["exited", "dead"]}
    try:
        found = engine.client.containers.list(all=True, sparse=True, filters=wanted)
    except ENGINE_ERRORS:
        return set()
    return {str(container.id) for container in found}


def state_of(container: Container) -> str:
    """In words, the state of a container that no longer answers; never raises."""
    try:
        container.reload()
    except ENGINE_ERRORS:
        return "is gone, or its engine is"
    state = container.attrs["State"]
    return "runs, but the connection to it was lost" if state["Running"] else f"ended with status {state.get('ExitCode')}"


def circumstances(engine: Engine, container: Container) -> str:
    """In words, what may keep a container from saying anything: its state, and what the engine has to do; never raises."""
    facts, began = [], time.monotonic()
    try:
        engine.client.ping()
        facts.append(f"the engine answers a ping in {time.monotonic() - began:.1f} s")
        container.reload()
        state = container.attrs["State"]
        ended = "" if state["Running"] else f" with status {state.get('ExitCode')}"
        facts.append(f"the container is {state['Status']}{ended}, started {state.get('StartedAt') or 'never'}")
        there = engine.client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True, sparse=True)
        going = sum(c.attrs["State"] in ("removing", "dead") for c in there)
        facts.append(f"{len(there)} containers of the testbed's are there, {going} of them being removed")
        if state["Running"]:
            commands = [" ".join(row[-1].split())[:80] for row in container.top()["Processes"]]
            facts.append(f"in it runs {', '.join(commands) or 'nothing'}")
    except ENGINE_ERRORS as error:
        facts.append(f"the engine said: {_message(error)}")
    with contextlib.suppress(OSError):
        facts.append(f"the load of this machine is {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if engine.private:
        facts.append(f"the engine's log ends with: {last_words()}")
    return "; ".join(facts)


def image_version(container: Container) -> str:
    """The version that the image's label states, else the first twelve digits of the image's id. Raises EngineError."""
    try:
        container.reload()
    except ENGINE_ERRORS as error:
        raise EngineError(f"{container.name} cannot be looked up: {_message(error)}") from None
    labels = container.attrs["Config"].get("Labels") or {}
    return str(labels.get("org.opencontainers.image.version") or container.attrs["Image"].removeprefix("sha256:")[:12])


def halt(containers: list[Container]) -> None:
    """Kill and wait until each has given its address back; their logs stay."""
    for container in containers:
        with contextlib.suppress(*ENGINE_ERRORS):
            container.kill()
    for container in containers:
        with contextlib.suppress(Exception):
            container.wait(timeout=20)


@dataclass(frozen=True)
class Log:
    """What a container wrote, each line behind its time (RFC 3339), or why that cannot be read."""

    raw: bytes
    unread: str | None = None
    """Why it could not be read as a whole."""


def read_log(container: Container, since: float = 0.0) -> Log:
    """What the container wrote since a time (Unix seconds); never raises: an empty log and one that is lost are told apart."""
    try:
        return Log(bytes(container.logs(timestamps=True, since=since) if since else container.logs(timestamps=True)))
    except ENGINE_ERRORS as error:
        return Log(b"", _message(error))


def logs(container: Container) -> bytes:
    """What the container wrote; empty if it cannot be read."""
    return read_log(container).raw


def execute(container: Container, command: list[str], user: str = "") -> str:
    """Standard output of a command in the container. Raises EngineError if it fails."""
    try:
        status, output = container.exec_run(command, user=user)
    except ENGINE_ERRORS as error:
        raise EngineError(f"`{' '.join(command)}` in {container.name}: {_message(error)}") from None
    assert isinstance(output, bytes), "neither a stream nor a socket was asked for"
    text = output.decode(errors="replace").strip()
    if status:
        raise EngineError(f"`{' '.join(command)}` in {container.name} failed with {status}: {text[-200:]}")
    return text


def fetch(container: Container, path: str) -> bytes:
    """One file out of a container, through the engine. Raises EngineError."""
    try:
        chunks, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member is not None
            return member.read()
    except (*ENGINE_ERRORS, OSError, tarfile.TarError) as error:
        raise EngineError(f"{path} cannot be copied out of {container.name}: {_message(error)}") from None


def drop(containers: list[Container]) -> None:
    """Kill and remove; a container that is gone already is no error."""
    for container in containers:
        with contextlib.suppress(*ENGINE_ERRORS):
            container.remove(force=True, v=True)


def run_on_host(engine: Engine, image: str, script: str, run: str) -> str:
    """Standard output of a Python script in a container of its own on the engine's host network; the container is removed.

    ``run`` is its label. Raises EngineError with the end of what the container wrote.
    """
    try:
        output = engine.client.containers.run(
            image, ["-c", script], entrypoint="python3", network_mode="host", remove=True,
            labels=labels_of(run), **LOOK.host_config(),
        )  # fmt: skip
    except ENGINE_ERRORS as error:
        written = getattr(error, "stderr", None) or str(error).encode()
        raise EngineError(" ".join(written.decode(errors="replace").split())[-200:]) from None
    return bytes(output).decode(errors="replace")


# --- what is on an engine of all runs -------------------------------------------------------------------------------------


def remove(engine: Engine, labels: dict[str, str]) -> tuple[int, int]:
    """Remove the containers and networks with these labels. Returns how many of each."""
    filters: dict[str, Any] = {"label": [f"{k}={v}" if v else k for k, v in labels.items()]}
    gone = networks = 0
    with contextlib.suppress(*ENGINE_ERRORS):
        containers = engine.client.containers.list(all=True, filters=filters, ignore_removed=True, sparse=True)
        # what is on the host's network goes last: the gate goes with its container, and must not before the servers do
        for last in (False, True):
            share = [c for c in containers if (c.attrs["HostConfig"].get("NetworkMode") == "host") is last]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda c: drop([c]), share))
        gone = len(containers)
        for network in engine.client.networks.list(filters=filters):
            # An endpoint goes a moment after its container. COMPAT Docker 20.10: now and then one stays in the engine's books for
            # good, until the engine is started anew; such a network is asked once a run, without waiting.
            for attempt in range(5 if containers else 1):
                try:
                    network.remove()
                    networks += 1
                    break
                except NotFound:
                    break
                except ENGINE_ERRORS:
                    time.sleep(0.2 * (attempt + 1))
    return gone, networks


@dataclass(frozen=True)
class Left:
    """Something of the testbed's on an engine."""

    run: str
    """Of which run it is."""
    owner: str
    """The process that made it (see `alive`)."""
    network: bool
    """A network, else a container."""


def left(engine: Engine) -> list[Left]:
    """Every container and network of the testbed's on an engine, of dead runs and of those that still go on."""
    containers = engine.client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    networks = engine.client.networks.list(filters={"label": RUN_LABEL})
    labels = [(c.labels, False) for c in containers]
    labels += [((n.attrs or {}).get("Labels") or {}, True) for n in networks]
    return [Left(own.get(RUN_LABEL, ""), own.get(OWNER_LABEL, ""), network) for own, network in labels]


def ways(engine: Engine) -> set[Way]:
    """The ways between containers on each network of an engine whose containers may reach each other."""
    there = set()
    for network in engine.client.networks.list(filters={"driver": "bridge"}):
        attributes = network.attrs or {}
        options = attributes.get("Options") or {}
        if options.get("com.docker.network.bridge.enable_icc") == "false":
            continue
        bridge = options.get("com.docker.network.bridge.name") or f"br-{str(network.id)[:12]}"
        for pool in (attributes.get("IPAM") or {}).get("Config") or []:
            with contextlib.suppress(ValueError, KeyError, IndexError):
                net = ipaddress.ip_network(pool["Subnet"])
                there.add(Way("ip" if net.version == 4 else "ip6", bridge, (str(net[3]), str(net[2]))))
    return there


def running(engine: Engine) -> int:
    """How many of the testbed's containers run."""
    return len(engine.client.containers.list(filters={"label": RUN_LABEL}, ignore_removed=True))


def reap(engine: Engine) -> tuple[int, int]:
    """Remove what dead runs left. Returns containers and networks removed."""
    runs = {(item.run, item.owner) for item in left(engine) if not alive(item.owner)}
    counts = [remove(engine, labels_of(run, owner)) for run, owner in sorted(runs)]
    return sum(c for c, _ in counts), sum(n for _, n in counts)


def labels_of(run: str, of: str | None = None) -> dict[str, str]:
    """What marks all that a run has on an engine; ``of``: the process that made it (default: this one).

    The process belongs to it: two runs that began within one second in two results folders have the same id.
    """
    return {RUN_LABEL: run, OWNER_LABEL: owner() if of is None else of}


def owner(pid: int | None = None) -> str:
    """A process (default: this one), as the label of what it made has it: host, pid, and when it was started."""
    pid = pid or os.getpid()
    return f"{socket.gethostname()}/{pid}/{_started(pid)}"


def alive(owner: str) -> bool:
    """False if the process is known to be dead; another host's process is given the benefit of the doubt."""
    host, _, rest = owner.partition("/")
    pid, _, began = rest.partition("/")
    if host != socket.gethostname():
        return bool(host)
    return pid.isdigit() and _started(int(pid)) == began


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # starttime, proc(5)
    except OSError:
        return ""


def _message(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).splitlines()[0][:300]

"""Says what a run needs and what is there, one finding a line, with the command to type where something is missing.

It changes nothing. What only the engine's host knows (gate, firewall, neighbour table, IPv6) is looked at from a container of the
wiretap's image, if that is there; it is removed again, and the table that it tries belongs to its process and ends with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from testbed.engine import federation, firewall, host, images
from testbed.engine.firewall import PACKET_RULES, Facts, Way
from testbed.model import EngineError, InputError
from testbed.plan import scenario
from testbed.plan.catalog import DEFAULT_ROOT, Catalog

SCENARIOS = DEFAULT_ROOT.parent / "scenarios"
GIGABYTE = 1 << 30
DISK_NEEDED = 8.0
"""GB that all images and their base systems take, with the layers in between (twelve servers' images: 2.3 GB measured)."""
DISK_LEAST = 2.0
MEMORY_PER_SERVER = 0.085
"""GB: the heaviest implementation measured holds 70 to 80 MB."""
MEMORY_PARTS = 0.5
"""GB for driver, wiretap, and the judging of a large record."""


class State(str, Enum):
    """Whether a finding stands in the way of a run."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    state: State
    said: str
    command: str | None = None
    """What to type; always there for a problem."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {**dataclasses.asdict(self), "state": self.state.value}


def ok(subject: str, said: str) -> Finding:
    """As it should be."""
    return Finding(subject, State.OK, said)


def note(subject: str, said: str, command: str | None = None) -> Finding:
    """Worth knowing; a run is possible."""
    return Finding(subject, State.NOTE, said, command)


def problem(subject: str, said: str, command: str) -> Finding:
    """A run is not possible before the command was typed."""
    return Finding(subject, State.PROBLEM, said, command)


def examine(catalog: Catalog) -> list[Finding]:
    """Every finding, in the order in which a run would meet them."""
    findings = [_python(), _user()]
    engine, finding = _engine()
    findings.append(finding)
    present: dict[str, dict[str, Any]] = {}
    information: dict[str, Any] = {}
    if engine:
        present, information = images.present(engine), engine.info()
    size, largest = biggest(catalog)
    findings.append(_base_systems(catalog, engine, present))
    findings.append(_images(catalog, present))
    findings.append(_disk(information, bool(present)))
    findings.append(_memory(information, size, largest))
    findings.append(_cgroup(information))
    findings += _host(engine, present, size, largest)
    findings.append(pressure(information, engine is None or engine.address.startswith("unix://")))
    if engine:
        findings.append(_leftovers(engine))
    return findings


# --- this process -----------------------------------------------------------------------------------------------------


def _python() -> Finding:
    return ok("Python", platform.python_version())  # `make setup` refuses one that is too old; this code would not start


def _user() -> Finding:
    if os.geteuid() == 0:
        return ok("user", "root: what is missing can be installed and started")
    return note("user", "not root: nothing can be installed, and a Docker engine that this user may use must be running")


def _engine() -> tuple[host.Engine | None, Finding]:
    subject = "Docker engine"
    try:
        engine = host.find()
    except EngineError as error:
        return None, problem(subject, str(error), "unset DOCKER_HOST")
    if engine:
        kind = (
            "the testbed's private engine"
            if engine.private
            else "named by DOCKER_HOST"
            if os.environ.get("DOCKER_HOST")
            else "the default socket"
            if engine.address == "unix:///var/run/docker.sock"
            else "the current Docker context"
        )
        return engine, ok(subject, f"{engine.version} at {engine.address} ({kind})")
    if os.geteuid() != 0:
        socket = Path("/var/run/docker.sock")
        if socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
            return None, problem(
                subject, f"this user has no access to {socket}", "sudo usermod -aG docker $USER   # then log in again"
            )
        return None, problem(subject, "none answers, and only root can start one", "sudo systemctl start docker")
    if shutil.which("dockerd"):
        return None, note(subject, "none answers; a run starts a private one with this host's dockerd")
    if shutil.which("apt-get"):
        return None, note(subject, "none answers; a run installs docker.io with apt-get and starts a private one")
    return None, problem(subject, "none answers, there is no dockerd, and this is not Debian or Ubuntu", "systemctl start docker")


# --- images -----------------------------------------------------------------------------------------------------------


def _base_systems(catalog: Catalog, engine: host.Engine | None, present: dict[str, dict[str, Any]]) -> Finding:
    subject = "base systems"
    suites = {r.suite for image in catalog.images.values() for r in image.spec.releases.values()} | {images.PART_SUITE}
    missing = sorted(s for s in suites if f"base:{s}" not in present)
    if not missing:
        return ok(subject, f"there: {', '.join(sorted(suites))}")
    wanted = f"missing: {', '.join(missing)}"
    if shutil.which("mmdebstrap"):
        return ok(subject, f"{wanted}; made by mmdebstrap where no registry answers")
    if engine and images.registry_answers(engine):
        return ok(subject, f"{wanted}; pulled from the registry, which answers")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        return note(subject, f"{wanted}; a run installs mmdebstrap with apt-get if no registry answers")
    if engine is None:
        return note(subject, f"{wanted}; whether a registry answers can only be checked with an engine")
    return problem(subject, f"{wanted}; no registry answers, and mmdebstrap is not installed", "sudo apt-get install mmdebstrap")


def _images(catalog: Catalog, present: dict[str, dict[str, Any]]) -> Finding:
    wanted = [name.replace("@", ":") for name in catalog.releases()] + list(images.PARTS)
    built = {tag: entry for tag in wanted if (entry := present.get(tag) or present.get(f"{tag}:latest"))}
    missing = [tag for tag in wanted if tag not in built]
    old = [tag for tag, entry in built.items() if time.time() - entry["created"] > images.MAX_AGE]
    if old:
        days = images.MAX_AGE // 86400
        return note("images", f"older than {days} days: {', '.join(old)}", "testbed clean --images && testbed images build")
    if missing:
        return note("images", f"{len(built)} of {len(wanted)} built; missing ones are built when a run needs them")
    return ok("images", f"all {len(wanted)} are built")


# --- the machine ------------------------------------------------------------------------------------------------------


def biggest(catalog: Catalog) -> tuple[int, str]:
    """The most servers that a shipped scenario has, and its name."""
    sizes = []
    for path in SCENARIOS.glob("*.yaml"):
        with contextlib.suppress(InputError):  # `testbed plan` says what is wrong with it
            plan = scenario.load(path, catalog)
            sizes.append((len(plan.servers), plan.scenario))
    return max(sizes, default=(2, "no scenario"))


def _disk(information: dict[str, Any], built: bool) -> Finding:
    place = Path(information.get("DockerRootDir") or host.cache())
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free / GIGABYTE
    here = shutil.disk_usage(".").free / GIGABYTE
    space = f"{free:.1f} GB free for images ({place}), {here:.1f} GB for results"
    least = DISK_LEAST / 2 if built else DISK_LEAST
    if min(free, here) < least:
        return problem("disk", f"{space}; at least {least:.0f} GB are needed", "docker system df   # and free what is not needed")
    if free < DISK_NEEDED and not built:
        return note("disk", f"{space}; all images together need up to {DISK_NEEDED:.0f} GB")
    return ok("disk", space)


def _memory(information: dict[str, Any], size: int, largest: str) -> Finding:
    with contextlib.suppress(OSError, KeyError, ValueError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) / (1 << 20)
        need = size * MEMORY_PER_SERVER + MEMORY_PARTS
        memory = f"{free:.1f} GB available; {largest}, the biggest shipped scenario ({size} servers), needs up to {need:.1f} GB"
        if free < MEMORY_PARTS:
            return problem("memory", memory, "free -m   # and end what is not needed")
        return ok("memory", memory) if free >= need else note("memory", memory)
    total = information.get("MemTotal")
    return note("memory", f"the engine's host has {total / GIGABYTE:.1f} GB" if total else "unknown on this system")


def _cgroup(information: dict[str, Any]) -> Finding:
    return ok("cgroup", f"version {_cgroup_version(information)}")


def _cgroup_version(information: dict[str, Any], root: Path = Path("/")) -> str:
    here = "2" if (root / "sys/fs/cgroup/cgroup.controllers").exists() else "1"
    return str(information.get("CgroupVersion") or here)


NEW_BRIDGE = "s2s00000000"
"""Stands for a bridge that a run would make."""
PROBE = f"""{PACKET_RULES.read_text()}
import json, os, pathlib, nftables
nft = nftables.Nftables()
chain = "chain c {{ type filter hook forward priority 0; policy accept; }};"
code, _, error = nft.cmd("table bridge s2s_doctor_%d {{ flags owner; %s }}" % (os.getpid(), chain))
proc = pathlib.Path("/proc/sys/net")
families = [f for f in ("ipv4", "ipv6") if (proc / f).is_dir()]
def number(path):
    return int(path.read_text()) if path.exists() else None
print(json.dumps({{
    "gate": None if code == 0 else error.strip(),
    "neighbours": {{f: [number(proc / f / f"neigh/default/gc_thresh{{n}}") for n in (1, 3)] for f in families}},
    "ipv6": "ipv6" in families,
    "rules": read(),
}}))
"""


def _host(engine: host.Engine | None, present: dict[str, dict[str, Any]], size: int, largest: str) -> Iterator[Finding]:
    """Gate, firewall, neighbour table, IPv6: of the engine's host if it can be asked, else of this one."""
    seen: dict[str, Any] | None = None
    entry = present.get("wiretap:latest") or present.get("wiretap")
    if engine and entry:
        try:
            before = federation.ways(engine)
            seen = json.loads(federation.run_on_host(engine, entry["id"], PROBE, "doctor").splitlines()[-1])
            ways = before & federation.ways(engine)  # what comes or goes meanwhile may be without its rules
        except (EngineError, ValueError, IndexError) as error:  # the latter two: it wrote something else
            yield problem("gate", f"the wiretap's container does not run: {error}", "testbed images build")
    else:
        yield note("gate", "nftables' bridge family was not tried: the wiretap's image is not built yet")
    if seen:
        if seen["gate"]:
            yield problem(
                "gate",
                f"nftables' bridge family does not work: {seen['gate'].splitlines()[0]}",
                "sudo modprobe -a nf_tables nft_limit",
            )
        else:
            yield ok("gate", "nftables' bridge family works")
        yield firewall_of(Facts(**seen["rules"]), ways, ipv6=seen["ipv6"])
    yield _neighbours(seen, size, largest)
    ipv6 = seen["ipv6"] if seen else Path("/proc/sys/net/ipv6").is_dir()
    yield (
        ok("IPv6", "available: domains have AAAA records too")
        if ipv6
        else note("IPv6", "unavailable: the federation uses IPv4 only")
    )


def firewall_of(facts: Facts, ways: Iterable[Way], *, ipv6: bool) -> Finding:
    """Whether the host's rules let packets pass between containers; ``ways``: on the bridges of the engine's networks.

    Of a bridge that is not there yet only this can be known: whether the engine has to write a rule for it.
    """
    subject = "firewall"
    ways = sorted(ways, key=lambda way: (way.family, way.bridge))
    blocked = {way.family: way for way in ways if firewall.obstacles(facts, way)}.values()
    if blocked:
        found = [o for way in blocked for o in firewall.obstacles(facts, way)]
        texts = "\n".join(firewall.sentence(facts, way) for way in blocked)
        commands = dict.fromkeys(f"sudo {o.command}" for o in found)
        return problem(subject, texts.partition(" As root")[0], " && ".join(commands))
    if ways:
        names = ", ".join(sorted({way.bridge for way in ways}))
        return ok(subject, f"packets pass between containers by the rules of the engine's host ({names})")
    families = ("ip", "ip6") if ipv6 else ("ip",)
    unwritten = [o for family in families for o in firewall.obstacles(facts, firewall.new_way(family, NEW_BRIDGE))]
    if unwritten:
        return note(
            subject,
            f"{unwritten[0].said.partition(' (nor')[0]}: a run is possible if the engine writes a rule for each of its bridges, "
            "as it does unless its option `iptables` is false; a run looks before it starts a server",
            f"sudo {unwritten[0].command}   # only if a run asks for it",
        )
    return ok(subject, "nothing on the engine's host drops what passes between containers")


def _neighbours(seen: dict[str, Any] | None, size: int, largest: str) -> Finding:
    """The neighbour table is one for the whole host, and n servers need up to n² entries (the wiretap's agent raises it)."""
    subject = "neighbour table"
    low, high = seen["neighbours"]["ipv4"] if seen else (_local_threshold(1), _local_threshold(3))
    if high is None:
        return note(subject, "its thresholds cannot be read here; a run reports if they are too low")
    need = 2 * size * size + 1024
    if high >= 2 * need and low is not None and low >= need // 2:
        return ok(subject, f"holds {high} entries; {largest} ({size} servers) needs {2 * need}")
    return note(
        subject,
        f"holds {high} entries; {largest} ({size} servers) needs {2 * need}: a run raises it, or reports that it may not",
        f"sudo sysctl -w net.ipv4.neigh.default.gc_thresh3={2 * need}   # only if a run asks for it",
    )


def _local_threshold(number: int) -> int | None:
    try:
        return int(Path(f"/proc/sys/net/ipv4/neigh/default/gc_thresh{number}").read_text())
    except (OSError, ValueError):
        return None


def pressure(information: dict[str, Any], here: bool, root: Path = Path("/")) -> Finding:
    """What decides that a failure says nothing, because the machine had no time for the servers (docs/measuring.md).

    ``here``: the engine is on this machine, so that what the kernel shows here is what a run will find.
    """
    subject = "pressure"
    if not here:
        return ok(subject, "the engine is on another machine; a run reports what its kernel tells")
    lacking = [] if (root / "proc/pressure").is_dir() else ["/proc/pressure is not there (CONFIG_PSI, or psi=0 at boot)"]
    lacking += [] if _cgroup_version(information, root) == "2" else ["control groups are not of version 2"]
    if not lacking:
        return ok(subject, "the kernel tells how long each container waited: a failure of a server that got no time is void")
    return note(
        subject,
        f"{' and '.join(lacking)}: how long a server had to wait is not known; a failure is void where even a light process "
        "of the testbed's own was held up, which says less. Runs on an idle machine need neither",
    )


def _leftovers(engine: host.Engine) -> Finding:
    """Containers and networks whose run is dead."""
    items = federation.left(engine)
    dead = [item for item in items if not federation.alive(item.owner)]
    going = sorted({item.run for item in items} - {item.run for item in dead})
    running = f"; running now: {', '.join(going)}" if going else ""
    if dead:
        networks = sum(item.network for item in dead)
        counts = f"{len(dead) - networks} containers and {networks} networks"
        return note("leftovers", f"{counts} of dead runs; the next run removes them{running}")
    return ok("leftovers", f"none of dead runs{running}")

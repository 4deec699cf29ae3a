"""Runs in which something real is broken: a configuration edited behind the policy's back, names without records, no image.

What a scenario cannot say is said here, so that a golden recording of each cause comes from real servers, and so that a remedy
can be seen to mend what it names. As a command it makes the run that tests/golden/broken was cut from:

    python tests/engine/broken.py RESULTS
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from testbed import campaign
from testbed.campaign import Planned
from testbed.measure import zone
from testbed.measure.driver import driver
from testbed.measure.pace import BOOT
from testbed.model import Plan, Server, Settings
from testbed.plan import catalog as catalogs
from testbed.plan import scenario
from testbed.plan.catalog import Catalog, Image

PATIENCE = 30.0
"""Seconds until a server whose client cannot log in is given up: one of them never will."""
Edit = tuple[str, str, str]
"""File in /etc/testbed, what stands there, what is written instead."""


@dataclass(frozen=True)
class EditedImage(Image):
    """An implementation some of whose servers get another configuration than their policy asks for."""

    edits: Mapping[tuple[str, int], Iterable[Edit]] = field(default_factory=dict)
    """(domain, identity of its settings in one phase) -> edits."""

    def render(self, server: Server, settings: Settings, *, timers: str, ipv6: bool, stretch: int = 1) -> dict[str, bytes]:
        """The files of ``/etc/testbed``, edited. An edit that finds nothing to replace is an error."""
        files = super().render(server, settings, timers=timers, ipv6=ipv6, stretch=stretch)
        for name, old, new in self.edits.get((server.domain, id(settings)), ()):
            text = files[name].decode()
            assert old in text, f"{server.domain}: {name} has no {old!r}"
            files[name] = text.replace(old, new).encode()
        return files


def edited(known: Catalog, plan: Plan, edits: Mapping[str, Mapping[str, Iterable[Edit]]]) -> Catalog:
    """The catalog with edits per phase and domain."""
    wanted = {(d, id(p.settings[d])): e for p in plan.phases for d, e in edits.get(p.name, {}).items()}
    images = {name: EditedImage(**vars(image), edits=wanted) for name, image in known.images.items()}
    return replace(known, images=dict(images))


def measure(
    plan: Plan, known: Catalog, results: Path, *, render: Callable[..., str] = zone.render_zone, patience: float = BOOT
) -> Path:
    """The folder of a run of ``plan``. ``render`` writes the zone; ``patience``: seconds until a login."""
    before = zone.render_zone, driver.BOOT
    zone.render_zone, driver.BOOT = render, patience  # type: ignore[assignment]
    try:
        planned = Planned(plan, known)
        return campaign.measure(planned, results=results, confirm=0, examine=False, argv=[Path(__file__).name]).path
    finally:
        zone.render_zone, driver.BOOT = before


# --- the run of tests/golden/broken -----------------------------------------------------------------------------------

SCENARIO = """
name: broken
title: What no scenario can say is broken
servers:
  - {domain: a.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: b.example, implementation: ejabberd@trixie, policy: opportunistic}
  - {domain: clear.example, implementation: ejabberd@trixie, policy: cleartext}
  - {domain: strict.example, implementation: prosody@trixie, policy: authenticated}
  - {domain: unnamed.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: astray.example, implementation: prosody@trixie, policy: cleartext}
  - {domain: moved.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: clients.example, implementation: ejabberd@trixie, policy: opportunistic}
  - {domain: proxied.example, implementation: ejabberd@trixie, policy: opportunistic}
  - {domain: mute.example, implementation: ejabberd@trixie, policy: opportunistic}
  - {domain: curve-a.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: curve-b.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: bare.example, implementation: ejabberd@trixie, policy: encrypted}
  - {domain: closed.example, implementation: prosody@trixie, policy: opportunistic}
  - {domain: absent.example, implementation: absent@trixie, policy: opportunistic}
  - {domain: dialback.example, implementation: prosody@trixie, policy: {preset: encrypted, authentication: dialback}}
phases:
  - name: now
"""
LISTENER = '{port: 5269, ip: "::", module: ejabberd_s2s_in}'
EDITS: dict[str, tuple[Edit, ...]] = {
    "moved.example": (("prosody.cfg.lua", 'VirtualHost "', 's2s_ports = { 5270 }\nVirtualHost "'),),
    "clients.example": (("ejabberd.yml", LISTENER, LISTENER.replace("ejabberd_s2s_in", "ejabberd_c2s")),),
    "proxied.example": (("ejabberd.yml", LISTENER, LISTENER.replace("}", ", use_proxy_protocol: true}")),),
    "mute.example": (("ejabberd.yml", LISTENER, LISTENER.replace("ejabberd_s2s_in", "ejabberd_stun, transport: tcp")),),
    "curve-a.example": (("prosody.cfg.lua", "capath = false;", 'capath = false; curveslist = { "secp521r1" };'),),
    "curve-b.example": (("prosody.cfg.lua", "capath = false;", 'capath = false; curveslist = { "prime256v1" };'),),
    "bare.example": (("ejabberd.yml", 'certfiles: ["/etc/testbed/cert-and-key.pem"]', ""),),
    "closed.example": (("prosody.cfg.lua", "allow_registration = true", "c2s_ports = { 5223 }"),),
}
UNNAMED = ("unnamed.example", "astray.example")
PAIRS = (
    ("a.example", "unnamed.example"), ("b.example", "unnamed.example"), ("clear.example", "astray.example"),
    ("b.example", "moved.example"), ("a.example", "moved.example"), ("a.example", "clients.example"),
    ("b.example", "clients.example"), ("a.example", "proxied.example"), ("b.example", "proxied.example"),
    ("b.example", "mute.example"), ("a.example", "mute.example"), ("curve-a.example", "curve-b.example"),
    ("strict.example", "bare.example"), ("a.example", "closed.example"), ("a.example", "absent.example"),
    ("b.example", "dialback.example"),
)  # fmt: skip


def without_records(*args: object, **options: object) -> str:
    """The zone without the names of some domains."""
    lines = zone_of(*args, **options).splitlines()  # type: ignore[arg-type]
    return "\n".join(line for line in lines if not any(name in line for name in UNNAMED)) + "\n"


zone_of = zone.render_zone


def absent(folder: Path) -> Catalog:
    """The shipped implementations, and one whose image cannot be built."""
    for image in catalogs.load().images.values():
        (folder / image.name).symlink_to(image.folder)
    for part in catalogs.DEFAULT_ROOT.glob("_*"):
        (folder / part.name).symlink_to(part)
    shutil.copytree(catalogs.DEFAULT_ROOT / "prosody", folder / "absent")
    spec = folder / "absent" / "image.yaml"
    spec.write_text(spec.read_text().replace("implementation: prosody", "implementation: absent", 1))
    (folder / "absent" / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo this package is in no suite >&2; exit 100\n")
    return catalogs.load(folder)


def main(results: Path) -> None:
    """Make the run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broken.yaml"
        path.write_text(SCENARIO)
        images = Path(folder) / "images"
        images.mkdir()
        known = absent(images)
        plan = replace(scenario.load(path, known), pairs=PAIRS, file="broken.yaml")
        print(measure(plan, edited(known, plan, {"now": EDITS}), results, render=without_records, patience=PATIENCE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

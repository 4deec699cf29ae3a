"""Does the mesh say what each pair says alone, always the same, on a busy machine too? `bench/fidelity.py sample|flicker|busy`.

Measures, never asserts. `sample` measures a federation with mixed certificates as a full mesh, then a seeded random sample of its
pairs one by one, each direction cold in a federation of just the two (`run --isolated`), and compares cell by cell. `flicker`
measures one federation again and again, each time in another order, and counts the cells that did not come out the same. `busy`
measures a scenario once as the machine is, then `--repeat` times, each in another order, beside `--hogs` busy loops and a disk
writer, and compares each of these with the first. With `sample` and `flicker` the hogs run beside the full meshes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from speed import scenario as uniform

from testbed import campaign
from testbed.campaign import Planned
from testbed.model import Plan

DEFECTS = ["expired", "not-yet-valid", "self-signed", "server-only", "untrusted-ca", "wrong-host", "xmpp-addr"]
SHARE = 0.4
"""Of servers with a certificate other than `ca`."""
ASPECTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "outcome": lambda c: c["outcome"],
    "encryption": lambda c: c["channel"]["encryption"],
    "TLS version": lambda c: c["channel"]["tls_version"],
    "authentication": lambda c: c["channel"]["authentication"],
    "cause": lambda c: c["cause"],
    "fault": lambda c: c["fault"],
    "surprise": lambda c: c["surprise"],
}
UNDECIDED = ("inconclusive", "unsupported")


BUSY = "while True: pass"
WRITES = """
import os, sys
block = os.urandom(1 << 20)
while True:
    with open(sys.argv[1], "wb") as file:
        for _ in range(256):
            file.write(block)
        os.fsync(file.fileno())
"""
"""256 MB again and again, forced to the disk each time."""


@contextlib.contextmanager
def beside(hogs: int, folder: Path) -> Iterator[None]:
    """While this lasts, so many busy loops run, and, if there is one, a process that writes to the disk of ``folder``."""
    with contextlib.ExitStack() as ends, tempfile.TemporaryDirectory(dir=folder) as scratch:
        writer = [[sys.executable, "-c", WRITES, str(Path(scratch) / "written")]] if hogs else []
        for command in [[sys.executable, "-c", BUSY]] * hogs + writer:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            ends.callback(process.wait)
            ends.callback(process.kill)
        yield


def mixed(size: int, seed: int, folder: Path) -> Path:
    """The federation of `speed.py`, with certificates dealt out by ``seed``."""
    path, deal = uniform(size, folder), random.Random(seed)
    lines = [
        line.replace("}", f", certificate: {deal.choice(DEFECTS) if deal.random() < SHARE else 'ca'}}}") if "{" in line else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def measure(planned: Planned, results: Path, *, isolated: bool = False) -> dict[str, dict[str, Any]]:
    """One run; cell id -> cell of verdicts.json."""
    began = time.monotonic()
    verdicts = campaign.measure(planned, results=results, isolated=isolated).verdicts
    counts = Counter(c["outcome"] for c in verdicts["cells"])
    controls = "ok" if all(c["ok"] for c in verdicts["controls"]) else "FAILED"
    stretch, load = verdicts.get("stretch", 1), os.getloadavg()[0]
    print(
        f"  {verdicts['run']}: {time.monotonic() - began:.0f} s, {dict(counts)}, control pair {controls}, timers x {stretch}, "
        f"load average {load:.1f}",
        flush=True,
    )
    return {c["id"]: c for c in verdicts["cells"]}


def kind(plan: Plan, cell: dict[str, Any]) -> str:
    """Who writes to whom, for a line of text."""
    names, phase = [], next(p for p in plan.phases if p.name == cell["phase"])
    for domain in (cell["sender"], cell["receiver"]):
        settings = phase.settings[domain]
        names.append(f"{plan.server(domain).implementation} {settings.policy.name} {settings.certificate}")
    return " → ".join(names)


def sample(options: argparse.Namespace, folder: Path) -> None:
    """Full mesh against isolated."""
    planned = campaign.plan(mixed(options.size, options.seed, folder), seed=options.seed)
    plan = planned.plan
    drawn = random.Random(options.seed)
    among = [p for p in plan.pairs if any(options.only in d for d in p)]
    pairs = drawn.sample(among, min(options.pairs, len(among)))
    print(
        f"{len(plan.servers)} servers, {len(pairs)} of {len(among)} pairs drawn with seed {options.seed}: {2 * len(pairs)} cells"
    )
    sampled = dataclasses.replace(planned, plan=dataclasses.replace(plan, pairs=tuple(pairs)))
    alone = measure(sampled, folder / "alone", isolated=True)
    for number in range(options.repeat):
        ordered = dataclasses.replace(planned, plan=dataclasses.replace(plan, seed=options.seed + number))
        with beside(options.hogs, folder):
            mesh = measure(ordered, folder / "mesh")
        decided = [c for c in alone.values() if {c["outcome"], mesh[c["id"]]["outcome"]}.isdisjoint(UNDECIDED)]
        print(f"\nfull mesh {number + 1}: {len(decided)} of {len(alone)} cells decided in both")
        for aspect, of in ASPECTS.items():
            same = sum(of(c) == of(mesh[c["id"]]) for c in decided)
            print(f"  {aspect:<15}{same:>5} of {len(decided)} agree ({same / max(len(decided), 1):.2%})")
        for c in decided:
            if c["outcome"] != mesh[c["id"]]["outcome"]:
                said = f"alone {c['outcome']} ({c['cause']}), mesh {mesh[c['id']]['outcome']} ({mesh[c['id']]['cause']})"
                print(f"  differs: {kind(plan, c)}: {said}")
        for c in alone.values():
            if c not in decided:
                print(f"  undecided: {kind(plan, c)}: alone {c['outcome']}, mesh {mesh[c['id']]['outcome']}: {c['explanation']}")
    order = [c for c in alone.values() if "history_dependent" in c]
    print(f"\noutcome depends on the order: {len(order)} of {len(alone)} cells")
    for c in order:
        print(f"  {kind(plan, c)}: {c['history_dependent']}")


def flicker(options: argparse.Namespace, folder: Path) -> None:
    """One federation, again and again."""
    file = mixed(options.size, options.seed, folder) if options.mixed else uniform(options.size, folder)
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in range(options.repeat):
        planned = campaign.plan(file, seed=options.seed + number)
        plan = planned.plan
        with beside(options.hogs, folder):
            for name, cell in measure(planned, folder / "runs").items():
                seen[name].append(cell)
    print(f"\n{len(plan.servers)} servers, {len(seen)} cells, {options.repeat} runs, each in another order")
    for aspect, of in ASPECTS.items():
        moved = [cells for cells in seen.values() if len({of(c) for c in cells}) > 1]
        print(f"  {aspect:<15}{len(moved):>5} cells flicker")
        if aspect in ("outcome", "cause"):
            for cells in moved[:20]:
                print(f"    {kind(plan, cells[0])}: {dict(Counter(str(of(c)) for c in cells))}")
    print(
        f"  inconclusive   {sum(c['outcome'] == 'inconclusive' for cells in seen.values() for c in cells):>5} cells of all runs"
    )


def busy(options: argparse.Namespace, folder: Path) -> None:
    """A scenario as the machine is, then beside hogs."""
    first = campaign.plan(options.scenario, seed=options.seed)
    if options.quiet:
        cells = json.loads((options.quiet / "derived" / "verdicts.json").read_text())["cells"]
        quiet = {c["id"]: c for c in cells}
    else:
        quiet = measure(first, folder / "quiet")
    different: dict[str, list[str]] = defaultdict(list)
    apart: Counter[str] = Counter()
    for number in range(options.repeat):
        with beside(options.hogs, folder):
            cells = measure(campaign.plan(options.scenario, seed=options.seed + number + 1), folder / "busy")
        for name, cell in cells.items():
            changed = [f"{a} {of(quiet[name])} → {of(cell)}" for a, of in ASPECTS.items() if of(cell) != of(quiet[name])]
            apart.update(text.partition(" ")[0] for text in changed)
            if changed:
                different[name].append(", ".join(changed))
    total = options.repeat * len(quiet)
    print(
        f"\n{options.scenario}: {options.repeat} runs beside {options.hogs} busy loops and a disk writer, {total} results: "
        f"{sum(map(len, different.values()))} differ from the run as the machine was {dict(apart) or ''}"
    )
    for name, changes in different.items():
        print(f"  {name} ({kind(first.plan, quiet[name])}): {Counter(changes).most_common()}")


WHAT = {"sample": (48, 1, 0, sample), "flicker": (24, 20, 0, flicker), "busy": (0, 5, 8, busy)}
"""What is measured -> servers, full meshes, hogs, and who does it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*WHAT])
    parser.add_argument("--size", type=int, help="servers: 12, 24, 48 (default: 48 for sample, 24 for flicker)")
    parser.add_argument("--pairs", type=int, default=200, help="pairs drawn for `sample` (two cells each)")
    parser.add_argument("--only", default="", help="of `sample`: draw only pairs with this in a domain")
    parser.add_argument("--repeat", type=int, help="full meshes (default: 1 for sample, 20 for flicker, 5 for busy)")
    parser.add_argument("--hogs", type=int, help="busy loops, and a disk writer, beside the meshes (default: 8 for busy, else 0)")
    parser.add_argument("--scenario", type=Path, default=Path("scenarios/manifesto-2014.yaml"), help="of `busy`")
    parser.add_argument("--quiet", type=Path, help="of `busy`: the run to compare with, instead of measuring one now")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mixed", action="store_true", help="of `flicker`: with mixed certificates")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    options = parser.parse_args(argv)
    size, repeat, hogs, bench = WHAT[options.what]
    options.size, options.repeat = options.size or size, options.repeat or repeat
    options.hogs = hogs if options.hogs is None else options.hogs
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench(options, folder)


if __name__ == "__main__":
    main()

"""Does the full mesh say what each pair says alone, and the same every time? `python bench/fidelity.py sample|flicker [...]`.

Measures, never asserts. `sample` measures a federation with mixed certificates as a full mesh, then a seeded random sample of its
pairs one by one, each direction cold in a federation of just the two (`run --isolated`), and compares cell by cell. `flicker`
measures one federation again and again, each time in another order, and counts the cells that did not come out the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
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
}
UNDECIDED = ("inconclusive", "unsupported")


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
    print(f"  {verdicts['run']}: {time.monotonic() - began:.0f} s, {dict(counts)}, control pair {controls}", flush=True)
    return {c["id"]: c for c in verdicts["cells"]}


def kind(plan: Plan, cell: dict[str, Any]) -> str:
    """Who writes to whom, for a line of text."""
    names = []
    for domain in (cell["sender"], cell["receiver"]):
        settings = plan.phases[0].settings[domain]
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


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sample", "flicker"])
    parser.add_argument("--size", type=int, help="servers: 12, 24, 48 (default: 48 for sample, 24 for flicker)")
    parser.add_argument("--pairs", type=int, default=200, help="pairs drawn for `sample` (two cells each)")
    parser.add_argument("--only", default="", help="of `sample`: draw only pairs with this in a domain")
    parser.add_argument("--repeat", type=int, help="full meshes (default: 1 for sample, 20 for flicker)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mixed", action="store_true", help="of `flicker`: with mixed certificates")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    options = parser.parse_args(argv)
    options.size = options.size or {"sample": 48, "flicker": 24}[options.what]
    options.repeat = options.repeat or {"sample": 1, "flicker": 20}[options.what]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        {"sample": sample, "flicker": flicker}[options.what](options, folder)


if __name__ == "__main__":
    main()

"""How long a run takes, stage by stage, and how it grows: `python bench/speed.py [--sizes 12,24,48] [--repeat 3]`.

Measures, never asserts: no test depends on a time. Federations are cut out of `generations`; images must be there (warm). Every
figure comes from the run's own record, peak memory from the kernel's count of what is available, processor seconds from /proc
(`processors.py`: on an engine that others use too, theirs are in them). One table row per run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from processors import Processors

from testbed import campaign
from testbed.display import Silent
from testbed.engine import host
from testbed.engine.prepare import prepare
from testbed.measure.pace import CONFIRM

RELEASES = ["bullseye", "bookworm", "trixie", "sid"]
NAMES = ["prosody", "ejabberd", "jabberd2"]
POLICIES = ["cleartext", "opportunistic", "encrypted", "authenticated"]
SIZES = {12: RELEASES[2:3], 24: RELEASES[1:3], 48: RELEASES}


def scenario(size: int, folder: Path) -> Path:
    """A federation of ``size`` servers (12, 24, 48, or 96: every server of 48 twice)."""
    releases = SIZES.get(size, RELEASES)
    lines = [f"name: bench-{size}", f"title: {size} servers", "servers:"]
    for copy in range(2 if size == 96 else 1):
        for name in NAMES:
            for release in releases:
                for policy in POLICIES:
                    domain = f"{name}-{release}-{policy}-{copy}.example"
                    lines.append(f"  - {{implementation: {name}@{release}, policy: {policy}, domain: {domain}}}")
    lines += ["phases:", "  - name: before"]
    path = folder / f"bench-{size}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Memory(threading.Thread):
    """Samples what the kernel says is available; `peak` is the most that was taken since the start, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before, self.peak, self.ended = self.available(), 0.0, threading.Event()

    @staticmethod
    def available() -> float:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no MemAvailable")

    def run(self) -> None:
        while not self.ended.wait(0.3):
            self.peak = max(self.peak, self.before - self.available())


def campaign_of(file: Path, results: Path, manner: dict[str, Any]) -> Path:
    """The folder of a run of a scenario."""
    return campaign.measure(campaign.plan(file), results=results, **manner).path


def measure(size: int, folder: Path, manner: dict[str, Any]) -> dict[str, float]:
    """One run; seconds and MB by name."""
    file = scenario(size, folder)
    planned = campaign.plan(file)
    engine = host.ensure()
    prepare(engine, planned.catalog, {s.implementation for s in planned.plan.servers}, Silent())  # no build in a figure
    memory, processors = Memory(), Processors(engine)
    memory.start()
    processors.start()
    began = time.monotonic()
    # a process of its own: its start and what it loads are part of the figure, and nothing is left of the run before
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        latest = fresh.submit(campaign_of, file, folder / "results", manner).result()
    wall = time.monotonic() - began
    memory.ended.set()
    ended = time.time()
    used = processors.stop()
    judged = (latest / "derived" / "verdicts.json").stat().st_mtime
    with (latest / "observations.jsonl").open() as record:
        first = json.loads(record.readline())["time"]  # the testbed's own parts are up; no server's container is
    verdicts = json.loads((latest / "derived" / "verdicts.json").read_text())
    timing = verdicts["timing"]
    cells = verdicts["cells"]
    evidence = sum(p.stat().st_size for p in latest.rglob("*") if p.is_file() and "derived" not in p.parts)
    return {
        "servers": size,
        "cells": len(cells),
        "boot": timing["before_boot"],
        "cells_done": timing["before_cells"],
        "evidence": timing["before_evidence"],
        "first_container_to_last_verdict": judged - first,
        "ms_per_cell": 1000 * (judged - first) / len(cells),
        "pictures_and_removal": ended - judged,
        "wall": wall,
        "peak_MB": memory.peak,
        "record_MB": evidence / 1e6,
        "inconclusive": sum(c["outcome"] == "inconclusive" for c in cells),
        "delivered": sum(c["outcome"] == "delivered" for c in cells),
    } | {f"cpu: {row}": seconds for row, seconds in sorted(used.items())}


def main() -> None:
    """Print a table and a JSON line per run, then medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="12,24,48", help="servers, comma-separated: 12, 24, 48, 96")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--isolated", action="store_true", help="as of `testbed run`")
    parser.add_argument("--confirm", default=str(CONFIRM), metavar="N|all", help="as of `testbed run`")
    parser.add_argument("--full-capture", action="store_true", help="as of `testbed run`")
    arguments = parser.parse_args()
    confirm = None if arguments.confirm == "all" else int(arguments.confirm)
    manner = {"isolated": arguments.isolated, "confirm": confirm, "full_capture": arguments.full_capture}
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeat):
            for size in map(int, arguments.sizes.split(",")):  # in turn, so that a slow hour hits every size
                rows.append(measure(size, Path(folder), manner))
                print(json.dumps({k: round(v, 2) for k, v in rows[-1].items() if not k.startswith("cpu: ")}), flush=True)
                print(
                    "  processor seconds: " + ", ".join(f"{k[5:]} {v:.1f}" for k, v in rows[-1].items() if k.startswith("cpu: "))
                )
    print("\nmedians")
    for size in map(int, arguments.sizes.split(",")):
        mine = [r for r in rows if r["servers"] == size]
        print(size, {k: round(statistics.median(r.get(k, 0.0) for r in mine), 2) for k in mine[0]})


if __name__ == "__main__":
    main()

"""Cuts a golden recording out of a real run: the manifest and the observations of a few pairs, unchanged but for
repetitions and for the counts of lines, which are those of the recording.

    python tests/golden/cut.py [--clients-only] [--same=N] [--epoch=NAME] [--phase=NAME] RUN tests/golden/NAME SENDER,RECEIVER ...

With --clients-only everything that wire and logs saw is left out as well: a failure that nothing explains any more. --same: how
many of the same kind stay at each end of a row of repetitions; more where each attempt is to be judged, not the deciding one.
--epoch, --phase: only that start of servers, only that phase.
What verdicts do not depend on (the machine, image ids, command line, remedies of other causes) is left out, so that a recording
stays small enough to be read. A pair is taken with both of its directions' observations, since dialback needs both.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LEFT_OUT = ("argv", "machine", "images", "revision")
SAME = 2
ABSENT = ("server-started", "server-failed", "login-failed", "disconnected")
KINDS = (
    *ABSENT, "attempt", "sent", "received", "error", "unsendable", "silence", "strain", "stream", "version", "run-complete",
    "storm", "wire-taken-in", "log-taken-in", "epoch-failed",
)  # fmt: skip


def concerns(record: dict[str, Any], pairs: set[frozenset[str]], releases: set[tuple[str, str]]) -> bool:
    """Whether a verdict on one of the pairs may look at this observation."""
    data = record.get("data", {})
    if record["source"] != "log" and record["kind"] not in KINDS:
        return False
    if "cell" in record:
        _, sender, receiver, _ = record["cell"].split("/")
        return frozenset((sender, receiver)) in pairs
    if record["kind"] == "version":
        return (data["implementation"], data["release"]) in releases
    if record["kind"] in ("run-complete", "wire-taken-in"):
        return True
    if record["kind"] == "epoch-failed":
        return frozenset(data["servers"]) in pairs
    if record["kind"] in (*ABSENT, "log-taken-in"):
        return any(data["domain"] in pair for pair in pairs)
    return frozenset((data.get("sender") or data.get("server"), data.get("receiver") or data.get("peer"))) in pairs


def thinned(lines: Iterable[str], same: int = SAME) -> Iterator[str]:
    """Of what a server says again and again of one peer (a reconnecting one hundreds of times), the first and the last few."""

    def key(line: str) -> tuple[Any, ...] | None:
        record = json.loads(line)
        if record["source"] not in ("log", "wire"):
            return None
        data = record.get("data", {})
        ends = [data.get(k) for k in ("server", "peer", "sender", "receiver", "direction", "cause", "server_hello")]
        return (record.get("phase"), record.get("epoch"), record["kind"], *ends)

    all_lines = list(lines)
    keys = [key(line) for line in all_lines]
    left, seen = Counter(keys), Counter[tuple[Any, ...] | None]()
    for line, name in zip(all_lines, keys, strict=True):
        left[name] -= 1
        seen[name] += 1
        if name is None or seen[name] <= same or left[name] < same:
            yield line


def counted(lines: Iterable[str]) -> Iterator[str]:
    """The lines; those that say how many stand before them say how many of these do."""
    streams = Counter[str | None]()
    for number, line in enumerate(lines):
        record = json.loads(line)
        match record["kind"]:
            case "stream":
                streams[record.get("phase")] += 1
            case "run-resumed":
                streams.clear()
            case "wire-taken-in":
                record["data"]["streams"] = streams.pop(record.get("phase"), 0)
            case "run-complete":
                record["data"]["observations"] = number
        yield json.dumps(record, separators=(",", ":")) if record["kind"] in ("wire-taken-in", "run-complete") else line


def cut(
    run: Path,
    target: Path,
    wanted: list[tuple[str, str]],
    *,
    clients_only: bool = False,
    same: int = SAME,
    epoch: str | None = None,
    phase: str | None = None,
) -> None:
    """Write manifest and observations of the ordered pairs ``wanted`` (sender, receiver) to ``target``."""
    manifest = json.loads((run / "manifest.json").read_text())
    domains = {d for pair in wanted for d in pair}
    manifest = {k: v for k, v in manifest.items() if k not in LEFT_OUT}
    manifest["file"] = Path(manifest["file"]).name
    manifest["folders"] = [Path(folder).name for folder in manifest.get("folders", [])]
    manifest["servers"] = [s for s in manifest["servers"] if s["domain"] in domains]
    manifest["planned"] = {d: [b for a, b in wanted if a == d] for d, _ in wanted}
    manifest["phases"] = [p for p in manifest["phases"] if phase in (None, p["name"])]
    for kept_phase in manifest["phases"]:
        kept_phase["settings"] = {d: s for d, s in kept_phase["settings"].items() if d in domains}
    names = {s["implementation"] for s in manifest["servers"]}
    verdicts = json.loads((run / "derived" / "verdicts.json").read_text())["cells"]
    causes = {c["cause"] for c in verdicts if (c["sender"], c["receiver"]) in wanted}
    manifest["remedies"] = {n: [r for r in rs if r["cause"] in causes] for n, rs in manifest["remedies"].items() if n in names}
    releases = {(s["implementation"], s["release"]) for s in manifest["servers"]}
    pairs = {frozenset(p) for p in wanted}
    lines = (run / "observations.jsonl").read_text().splitlines()
    if epoch:
        lines = [line for line in lines if json.loads(line).get("epoch") in (None, epoch)]
    if phase:
        lines = [line for line in lines if json.loads(line).get("phase") in (None, phase)]
    kept = thinned((line for line in lines if concerns(json.loads(line), pairs, releases)), same)
    if clients_only:
        kept = (line for line in kept if json.loads(line)["source"] not in ("wire", "log"))
    target.mkdir(parents=True, exist_ok=True)
    (target / "observations.jsonl").write_text("".join(f"{line}\n" for line in counted(kept)))
    (target / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    options = dict(a.removeprefix("--").split("=") for a in sys.argv[1:] if a.startswith("--") and "=" in a)
    pairs = [(a, b) for a, _, b in (p.partition(",") for p in arguments[2:])]
    cut(
        Path(arguments[0]),
        Path(arguments[1]),
        pairs,
        clients_only="--clients-only" in sys.argv,
        same=int(options.get("same", SAME)),
        epoch=options.get("epoch"),
        phase=options.get("phase"),
    )

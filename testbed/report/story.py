"""The story of one pair, in every phase and in time order from all sources, as text. Draws on the record; judges nothing itself.

What is asked for by name (`testbed explain`), not drawn for every run: so this file lists no ``RENDERS``.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed import reading
from testbed.judge.unmeasured import STRAINED, reason_of
from testbed.model import InputError, Outcome, all_visible
from testbed.record import observations as kinds
from testbed.record.legs import standing
from testbed.record.observations import Observation
from testbed.record.store import Record
from testbed.record.strain import Strain
from testbed.record.verdicts import CellEntry, Verdicts
from testbed.report.cell import because, describe, fix_at, outcomes, undecided_remedy
from testbed.report.circumstances import share
from testbed.report.grid import ROLES
from testbed.report.prose import say
from testbed.report.words import timers_of

Line = tuple[float, str, str]
"""Unix seconds, who saw it, what it was."""
DETAIL_WIDTH = 180
MOST_LOG_LINES = 40
FAILED = (kinds.SERVER_FAILED.word, kinds.LOGIN_FAILED.word)
MOST_EVIDENCE = 256 << 20
"""Bytes of a log or a zone, unpacked, that are looked into."""
MOST_PAIRS = 12
"""Of a run that measured a part of them, how many are named where another was asked for."""


def story(record: Record, verdicts: Verdicts, sender: str, receiver: str) -> str:
    """The whole story of ``sender`` -> ``receiver``. Raises InputError for a pair that the run has not measured."""
    domains = [s["domain"] for s in verdicts["servers"]]
    for domain in (sender, receiver):
        if domain not in domains:
            raise InputError(f"no server `{domain}` in this run", file=str(record.path), value=domain, allowed=tuple(domains))
    if sender == receiver:
        raise InputError("a server does not federate with itself", value=sender, hint="name two servers")
    cells = [c for c in verdicts["cells"] if (c["sender"], c["receiver"]) == (sender, receiver)]
    if not cells:
        measured = tuple(dict.fromkeys(f"{c['sender']} {c['receiver']}" for c in verdicts["cells"]))[:MOST_PAIRS]
        raise InputError("this pair was not measured in this run", value=f"{sender} {receiver}", allowed=measured)
    return say(
        "story.txt.j2",
        sender=sender,
        receiver=receiver,
        run=verdicts["run"],
        title=verdicts.get("title", ""),
        timers=timers_of(verdicts, long=True) if verdicts.get("stretch", 1) > 1 else "",
        dns=all_visible(list(_dns(record, receiver))),
        cells=[all_visible(_cell(record, verdicts, cell)) for cell in cells],
    )


def _dns(record: Record, receiver: str) -> Iterator[str]:
    names, lines = (f"_xmpp-server._tcp.{receiver}.", f"xmpp.{receiver}."), []
    for path in sorted((record.path / "evidence").glob("zone*")):  # one a leg
        with contextlib.suppress(FileNotFoundError, InputError):  # the evidence is gone, or no zone
            zone = reading.content(path, MOST_EVIDENCE).decode(errors="replace")
            lines += [line for line in zone.splitlines() if line.startswith(names)]
    yield from dict.fromkeys(lines)


def _cell(record: Record, verdicts: Verdicts, cell: CellEntry) -> dict[str, Any]:
    """A cell with both servers as they were set, and what happened in each epoch in which it was attempted."""
    settings = next(p["settings"] for p in record.manifest["phases"] if p["name"] == cell["phase"])
    servers = {s["domain"]: s for s in verdicts["servers"]}
    epochs = [(name, sorted(_lines(record, cell, name))) for name in _epochs(record, cell)]
    return {
        "cause_from": "",
        "interference": None,
        **cell,
        "share": told if (told := share(cell)) not in (cell.get("explanation") or "") else "",
        "fix_at": fix_at(cell) if cell.get("cause") == STRAINED else cell.get("fault"),
        "remedy": undecided_remedy(cell),
        "verdict": _verdict(cell),
        "expected": outcomes(cell),
        "expected_because": because(cell),
        "servers": [(role, {"not_after": None, **servers[cell[role]], **settings[cell[role]]}) for role in ROLES],
        "epochs": [
            {"name": name, "lines": [(moment - lines[0][0], who, what[:DETAIL_WIDTH]) for moment, who, what in lines]}
            for name, lines in epochs
            if lines
        ],
        "logs": list(_logs(record, cell)),
    }


def _verdict(cell: CellEntry) -> str:
    """``delivered over TLSv1.3, external, TLS_AES_256_GCM_SHA384``; ``bounced``, whose cause has a line of its own."""
    if cell["outcome"] != Outcome.DELIVERED.value:
        return str(cell["outcome"])
    return ", ".join(filter(None, (describe(cell), cell["channel"].get("cipher"))))


def _epochs(record: Record, cell: CellEntry) -> list[str]:
    """Those in which it was attempted, and those in which one of its servers failed: a failure may be why there is no attempt."""
    epochs = (
        o.epoch
        for _, o in standing(record.observations)
        if o.epoch and ((o.cell == cell["id"] and o.kind == kinds.ATTEMPT.word) or _failed(o, cell))
    )
    return list(dict.fromkeys(epochs))


def _failed(observation: Observation, cell: CellEntry) -> bool:
    """Whether it says that one of the cell's two servers failed."""
    pair = (cell["sender"], cell["receiver"])
    return observation.kind in FAILED and observation.phase == cell["phase"] and observation.data["domain"] in pair


def _logs(record: Record, cell: CellEntry) -> Iterator[str]:
    """Where the log of each server is that failed; or that there is none."""
    for _, o in standing(record.observations):
        if _failed(o, cell):
            domain, path = o.data["domain"], f"evidence/{o.phase}/{o.epoch}/{o.data['domain']}.log.gz"
            kept = (record.path / path).is_file()
            yield f"of {domain} ({o.epoch}): {path}" if kept else f"of {domain} ({o.epoch}): the run has none"


def _lines(record: Record, cell: CellEntry, epoch: str) -> Iterator[Line]:
    pair = {cell["sender"], cell["receiver"]}
    wanted: dict[str, dict[int, Observation]] = {}
    failed = any(o.epoch == epoch and _failed(o, cell) for o in record.observations)
    for observation in record.observations:
        if observation.phase != cell["phase"] or observation.epoch != epoch:
            continue
        if observation.kind == kinds.STRAIN.word and not Strain.of(observation.data).exceeded:
            continue
        if observation.cell == cell["id"]:
            yield observation.time, _who(observation), _clients(observation)
        elif _failed(observation, cell):
            yield observation.time, "testbed", f"{observation.data['domain']} failed: {reason_of(observation)}"
        elif failed and observation.kind == kinds.SERVER_STARTED.word and observation.data["domain"] in pair:
            yield observation.time, "testbed", f"started {observation.data['domain']}"
        elif failed and observation.kind == kinds.SERVER_KEPT.word and observation.data["domain"] in pair:
            since = f"was started for {observation.data.get('since')}, and had not met this peer"
            yield observation.time, "testbed", f"{observation.data['domain']} {since}"
        elif observation.kind == kinds.STREAM.word and {observation.data["sender"], observation.data["receiver"]} == pair:
            yield observation.time, "wire", _stream(observation)
        elif observation.kind in kinds.LOG_WORDS and {observation.data["server"], observation.data["peer"]} == pair:
            wanted.setdefault(observation.data["server"], {})[int(observation.data.get("line", 0))] = observation
        elif observation.kind == kinds.STORM.word and {observation.data["sender"], observation.data["receiver"]} == pair:
            yield (
                observation.time,
                "wire",
                f"{observation.data['sender']} tried to connect without a pause: {observation.data['cut']} attempts were cut",
            )
    for server, by_line in wanted.items():
        role = "sender's log" if server == cell["sender"] else "receiver's log"
        texts = _log(record.path, f"evidence/{cell['phase']}/{epoch}/{server}.log.gz")
        for number, observation in sorted(by_line.items())[:MOST_LOG_LINES]:
            yield observation.time, role, texts.get(number, f"{observation.kind} {observation.data.get('reason', '')}")


def _who(observation: Observation) -> str:
    return {"sender": "sender's client", "receiver": "receiver's client"}.get(observation.source.value, "testbed")


def _clients(observation: Observation) -> str:
    data = observation.data
    match observation.kind:
        case kinds.ATTEMPT.word:
            return f"lets the sender write {data['token']}"
        case kinds.SENT.word:
            return "wrote it to its server"
        case kinds.RECEIVED.word:
            return "received it"
        case kinds.ERROR.word:
            return f"got an error: {data.get('condition')} {data.get('text', '')}".rstrip()
        case kinds.SILENCE.word:
            alive = {True: "alive", False: "not proven alive"}
            sender, receiver = (alive[bool(data.get(f"{role}_alive"))] for role in ROLES)
            ends = f"sender's client {sender}, receiver's client {receiver}"
            return f"nothing for {data['waited']:.0f} s; {ends}"
        case kinds.STRAIN.word:
            return f"not given their time: {Strain.of(data)}; a failure is void"
        case _:
            return observation.kind


def _stream(observation: Observation) -> str:
    d = observation.data
    steps = [f"{d['sender']} → {d['receiver']}: "]
    if not d.get("answered"):
        return steps[0] + f"{d.get('syns', 0)} connection attempts, no answer"
    steps.append(f"STARTTLS {d.get('starttls_offered', 'unknown (no features)')}")
    if d.get("offered_versions"):
        steps.append(f"ClientHello {'/'.join(d['offered_versions'])}")
    if d.get("tls_version"):
        steps.append(f"ServerHello {d['tls_version']} {d.get('cipher')}")
    for key, label in (
        ("alerts", "alerts"),
        ("stream_errors", "stream errors"),
        ("dialback", "dialback in clear"),
        ("tokens", "bodies in clear"),
    ):
        if d.get(key):
            steps.append(f"{label} {', '.join(d[key])}")
    for key, label in (("reset_by", "reset"), ("closed_by", "closed")):
        if d.get(key):
            steps.append(f"{label} by the {'initiator' if d[key] == 'out' else 'receiver'}")
            break
    return steps[0] + " · ".join(steps[1:]) + f" · {d['end'] - d['start']:.2f} s"


def _log(run: Path, name: str) -> dict[int, str]:
    """Line number -> text, without the engine's stamp; empty if the evidence is gone, no log, or not of this run's folder.

    Lines end as for `serverlog.stamped`, which counts them.
    """
    try:
        path = reading.inside(run, name, hint="evidence is never edited")
        with gzip.open(io.BytesIO(reading.content(path, MOST_EVIDENCE))) as packed:
            raw = packed.read(MOST_EVIDENCE).decode(errors="replace")
    except (OSError, EOFError, zlib.error, InputError):
        return {}
    return {n: line.partition(" ")[2].strip() for n, line in enumerate(raw.split("\n"), 1)}

"""A server's log -> observations, by the patterns of its implementation's folder. Pure: text in, facts out.

Where a line names only a session or an address, the peer comes from another line of the same session, or from the addresses of
the federation. A line that matches no pattern is no observation; it stays in the evidence.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from testbed.model import InputError
from testbed.plan.image_files import LONGEST_LINE, SHORT_LINE, LogsFile
from testbed.record.observations import Observation, Source

ANSI = re.compile(r"\x1b\[[0-9;]*m")
LOG_TIME = 60.0
"""Seconds of a processor that all patterns may take for one log; the testbed's take 2 s, unless lines are made to be slow."""
LINES = 64
"""Short lines between two looks at the clock, of patterns of the testbed's own."""
ADDRESS = re.compile(r"(?:::ffff:)?(\d+\.\d+\.\d+\.\d+|[0-9a-f:]*:[0-9a-f:]+)")


def match_line(logs: LogsFile, line: str) -> tuple[int, dict[str, Any]] | None:
    """The first pattern that matches ``line``: its position, and what it says (groups, constants, `observe`, `cause`).

    Raises InputError if a pattern takes too long.
    """
    if (first := logs.first("patterns", line)) is None:
        return None
    position, found = first
    pattern = logs.patterns[position]
    facts: dict[str, Any] = {k: v for k, v in found.groupdict().items() if v is not None} | pattern.set
    facts["observe"] = pattern.observe
    text = " ".join(str(facts[k]) for k in ("reason", "errors") if k in facts)
    if text and "cause" not in facts and (cause := cause_of(logs, text)):
        facts["cause"] = cause
    return position, facts


def cause_of(logs: LogsFile, text: str) -> str | None:
    """The cause that a server's own words name, or None."""
    first = logs.first("reasons", text)
    return logs.reasons[first[0]].cause if first else None


def stamped(raw: bytes) -> Iterator[tuple[float, str]]:
    """Lines behind the engine's time (RFC 3339, nanoseconds): Unix seconds and the line, colours removed.

    A line ends at a line feed and nowhere else: what looks like a stamp behind U+2028 or a form feed is a peer's text.
    """
    for line in raw.decode(errors="replace").split("\n"):
        stamp, _, text = line.partition(" ")
        try:
            moment = dt.datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp()
        except ValueError:
            continue
        text = text[:LONGEST_LINE].rstrip("\r")
        yield moment, ANSI.sub("", text) if "\x1b" in text else text


def matched(logs: LogsFile, lines: Iterable[tuple[float, str]]) -> Iterator[tuple[float, tuple[int, dict[str, Any]] | None]]:
    """Each line's time, and what `match_line` makes of it.

    Raises InputError if the patterns take too long for a line, or for all: a stranger may have written what is in the log.
    """
    began = time.thread_time()  # several logs are read at once, each in a thread
    for number, (moment, line) in enumerate(lines, 1):
        match = match_line(logs, line)
        # the clock is asked where a line may have taken long, and else now and then
        if (number % LINES == 1 or len(line) > SHORT_LINE or logs.outside) and time.thread_time() - began > LOG_TIME:
            raise InputError(
                f"the patterns take more than {LOG_TIME:.0f} s for one log; they had come to line {number:,}",
                file=logs.file, hint="look for long lines in the log; a pattern that begins with what few lines have is fast",
            )  # fmt: skip
        yield moment, match


def observe(
    logs: LogsFile,
    lines: Iterable[tuple[float, str]],
    *,
    server: str,
    domains: set[str],
    addresses: Mapping[str, str],
    phase: str,
    epoch: str,
) -> list[Observation]:
    """What the log of ``server`` says of its peers; ``addresses`` maps an IP address to a domain of the federation.

    Raises InputError if the patterns take too long for a line, or for the whole log.
    """
    found: list[tuple[float, int, dict[str, Any]]] = []
    peers: dict[str, str] = {}
    for number, (moment, match) in enumerate(matched(logs, lines), 1):
        if match is None:
            continue
        facts = match[1]
        peer = facts.get("peer", "").strip("'\"").lower().rstrip(".")
        if peer in domains and peer != server:
            facts["peer"] = peer
            if "session" in facts:
                peers[facts["session"]] = peer
        else:
            facts.pop("peer", None)
            if "address" in facts and (ip := ADDRESS.search(facts["address"])) and (domain := addresses.get(ip.group(1))):
                facts["peer"] = domain
                if "session" in facts:
                    peers.setdefault(facts["session"], domain)
        facts["line"] = number
        found.append((moment, number, facts))
    observations = []
    for moment, _, facts in found:
        kind = facts.pop("observe")
        if "peer" not in facts and (peer := peers.get(facts.get("session", ""), "")):
            facts["peer"] = peer
        # a line that only ties a session to a peer is no observation, unless it also says what is wrong with a certificate
        if "peer" not in facts or (kind == "s2s-session" and "cause" not in facts):
            continue
        observations.append(Observation(moment, Source.LOG, kind, phase, epoch, None, {"server": server, **facts}))
    return observations

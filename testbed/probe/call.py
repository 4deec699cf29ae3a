"""One call of `testbed probe`: what the user wants in, everything that is said of every domain out."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from testbed.model import InputError, Policy
from testbed.plan.policy import PRESETS
from testbed.probe import findings, ladder, peers, tls
from testbed.probe.ask import ask_all
from testbed.probe.certificate import Trust, load_identity
from testbed.probe.ladder import Answer
from testbed.probe.names import Resolver, split_address
from testbed.probe.seen import Seen, Target
from testbed.probe.text import Peer
from testbed.probe.visit import STRANGER, Asking

SCHEMA = 1
"""Of the JSON document: keys may be added, none is renamed or dropped."""
DIRECT = "tls://"
"""Before HOST:PORT: direct TLS (XEP-0368) instead of STARTTLS."""
MOST_JOBS = 32


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    domains: tuple[str, ...] = ()
    file: Path | None = None
    policy: str = "encrypted"
    own: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    resolver: str | None = None
    connect: str | None = None
    dialback: bool = False
    timeout: float = 10.0
    jobs: int = 8


@dataclass
class Result:
    """Everything that was found out."""

    policy: Policy
    own: str
    authorities: str
    peers: list[Peer]
    seconds: float
    began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def exit_status(self) -> int:
        """0: all would still talk; 1: some would not; 3: of some it cannot be said, and none would not."""
        answers = {p.asked.answer for p in self.peers}
        return 1 if Answer.NO in answers else 3 if Answer.UNKNOWN in answers else 0

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``; docs/probe.md tells every key."""
        return {
            "schema": SCHEMA,
            "time": self.began.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "policy": self.policy.name,
            "from": self.own,
            "authorities": self.authorities,
            "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode(),
            "can_offer": tls.able(),
            "peers": [_peer(p) for p in self.peers],
        }


def _peer(peer: Peer) -> dict[str, Any]:
    seen = peer.seen.to_json()
    decisive = peer.seen.decisive
    return {
        "domain": seen.pop("domain"),
        "answer": peer.asked.answer.value,
        "judgement": peer.asked.to_json(),
        "ladder": [j.to_json() for j in peer.ladder],
        "findings": [f.to_json() for f in peer.findings],
        "decisive": str(decisive.target) if decisive else None,
        "seen": seen,
    }


def make(wanted: Wanted, begin: Callable[[int], None], done: Callable[[Seen], None]) -> Result:
    """Ask. ``begin`` is told how many domains there are, ``done`` each that is done. Raises InputError."""
    domains = peers.read(list(wanted.domains), wanted.file)
    policy = ladder.parse_policy(wanted.policy)
    own = peers.domain(wanted.own or STRANGER)
    if wanted.dialback and own == STRANGER:
        raise InputError(
            "--dialback needs --from",
            value=own,
            hint="the peer asks the server of that domain about the key: give a domain of your own, whose server will be asked",
        )
    if wanted.timeout <= 0 or not 1 <= wanted.jobs <= MOST_JOBS:
        allowed = (f"--jobs 1 to {MOST_JOBS}", "--timeout above 0")
        raise InputError("a bound is out of its range", value=f"{wanted.jobs} jobs, {wanted.timeout} s", allowed=allowed)
    connect = [_connect(wanted.connect)] if wanted.connect else []
    trust = Trust(wanted.ca)
    asking = Asking(
        resolver=None if connect else Resolver(wanted.resolver, min(wanted.timeout, 5.0)),
        trust=trust,
        own=own,
        identity=load_identity(wanted.certificate, wanted.key),
        connect=connect,
        timeout=wanted.timeout,
        dialback=wanted.dialback,
    )
    begin(len(domains))
    began = time.monotonic()
    seen = asyncio.run(ask_all(domains, asking, wanted.jobs, done))
    judged = [_judged(domain, policy) for domain in seen]
    return Result(policy, own, trust.name, judged, time.monotonic() - began)


def _judged(seen: Seen, policy: Policy) -> Peer:
    asked, *rungs = ladder.judge(seen, [policy, *PRESETS.values()])
    return Peer(seen, asked, rungs, findings.remarks(seen))


def _connect(text: str) -> Target:
    direct = text.startswith(DIRECT)
    host, port = split_address(text.removeprefix(DIRECT), None, "--connect")
    return Target(host, port, direct)

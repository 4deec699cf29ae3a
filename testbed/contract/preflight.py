"""Boots each candidate once, before a run: does the testbed get what it needs of it, and what does its configuration do?

Rule: what is missing is told in sentences that name the thing (`SENTENCES`); what a configuration does is observed on the wire
(`behaviour`), as `check` proves claims there. Nothing here goes into a record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from testbed.contract import stand
from testbed.contract.behaviour import PROBES, observe
from testbed.contract.claims import Claim, Report, Status
from testbed.contract.protocol import BAD_PEER, CLEAR_PEER, TLS_PEER, Account, Probe, Reply, Task
from testbed.contract.stand import Stand, package_version, process_owners
from testbed.display import Display
from testbed.engine import federation
from testbed.engine.federation import Container
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import serverlog
from testbed.model import EngineError, Implementation, InputError, Plan, Policy, Server, Settings, TestbedError
from testbed.plan.catalog import Catalog, Image
from testbed.plan.policy import CANDIDATE_POLICY, as_text

PORTS = 45.0
"""Seconds within which both ports must take connections."""
SLICE = 3.0
"""Seconds after which it is looked whether the server still runs."""
ACCOUNT = 15.0
"""Seconds, once the ports are open, within which an account must be there and logged in."""
LOG_LINES = 8
"""How many lines of its log are shown of a server that lacks something."""
GUIDE = "docs/server-projects.md lists what the testbed must be able to set"
SENTENCES: dict[str, tuple[str, str]] = {
    # what it is about: said where it is so, said where it is not
    "runs": ("starts", "does not start, or ends at once"),
    "c2s": ("listens for clients", "does not listen for clients"),
    "s2s": ("listens for servers", "does not listen for servers"),
    "domain": (
        "serves the domain that it is given",
        "does not serve the domain that it is given (in a file of your own write TESTBED_DOMAIN for it)",
    ),
    "stream": ("answers a client's stream", "does not answer a client's stream"),
    "clear": ("accepts clients without TLS", "requires TLS from clients; the testbed's clients use none"),
    "register": ("lets a client register in-band (XEP-0077)", "refuses in-band registration (XEP-0077)"),
    "login": ("lets a client log in with SASL PLAIN", "refuses SASL PLAIN without TLS"),
    "certificate": ("presents the certificate that was issued to it", "presents another certificate than the one issued to it"),
    "log": (
        "logs what logs.yaml knows",
        "logs nothing that logs.yaml knows: causes come from the wire and the clients alone",
    ),
    "peers": (
        "finds peers by the federation's name server, and connects to them",
        "connects to no peer: check that it uses the federation's name server and that server-to-server is enabled",
    ),
    "tls": (
        "offers STARTTLS to servers",
        "offers no STARTTLS to servers; if it should: the certificate is /etc/testbed/cert.pem, the key /etc/testbed/key.pem",
    ),
    "user": ("runs no process as root", "runs a process as root"),
}
"""What is looked at, in both cases."""
CERTIFICATE = {"good": Probe(tls=True)}
"""What any other is asked: its certificate."""


@dataclass
class Examination:
    """What was seen of one candidate."""

    implementation: Implementation
    needs: list[Claim] = field(default_factory=list)
    """What a run cannot do without."""
    notes: list[Claim] = field(default_factory=list)
    """What it can do without, but a user should know."""
    version: str | None = None
    policy: Policy | None = None
    """What its configuration does, where it brings one and that can be said."""
    unknown: str | None = None
    """Why it cannot be said."""
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)
    """The last lines that the server wrote."""

    @property
    def missing(self) -> list[Claim]:
        """What a run cannot do without, and is not there."""
        return [c for c in self.needs if c.status is Status.FAILED]

    def report(self) -> Report:
        """As `testbed images check` shows it: what is missing fails, the rest is told."""
        claims = [dataclasses.replace(n, status=Status.UNDECLARED) if n.status is Status.FAILED else n for n in self.notes]
        if self.missing and self.log:
            claims.append(Claim("as given", "its log ends with", Status.UNDECLARED, self.log[-1]))
        if self.policy or self.unknown:
            does = as_text(self.policy) if self.policy else f"cannot be said: {self.unknown}"
            claims.append(Claim("as given", "what it does to other servers", Status.OK, does))
        return Report(self.implementation, self.version, [*self.needs, *claims], self.seconds)

    def complaint(self) -> str:
        """Everything that is missing, and the log's last lines."""
        lines = [f"{self.implementation} lacks what the testbed needs:"]
        lines += [f"  - it {c.claim}" + (f" ({c.saw})" if c.saw else "") for c in self.missing]
        lines += ["  its log ends with:", *(f"    {line}" for line in self.log)] if self.log else ["  its log is empty"]
        return "\n".join(lines)


class Preflight:
    """Examines candidates on one engine."""

    def __init__(self, catalog: Catalog, engine: Engine, images: Images, display: Display) -> None:
        self.catalog, self.engine, self.images, self.display = catalog, engine, images, display

    def run(self, plan: Plan) -> list[Examination]:
        """What was seen of each candidate of a plan, with the settings that its first server has first.

        Raises InputError (a configuration) or EngineError (an image, a build, a folder) for the first that lacks something.
        """
        wanted = {s.implementation: s for s in reversed(plan.servers) if self.catalog.is_candidate(s.implementation)}
        settings = {i: plan.phases[0].settings[s.domain] for i, s in wanted.items()}
        subjects = [(s, settings[i]) for i, s in wanted.items() if not settings[i].unsupported]
        examinations = self.boot([(dataclasses.replace(s, index=n), settings) for n, (s, settings) in enumerate(subjects)])
        for examination in examinations:
            if examination.missing:
                raise self.error(examination)
        return examinations

    def examine(self, wanted: Iterable[Implementation]) -> list[Examination]:
        """What was seen of each configuration, whatever it lacks."""
        servers = [Server(f"s{n}.check.example", i, CANDIDATE_POLICY, "ca", n) for n, i in enumerate(sorted(wanted))]
        return self.boot([(s, Settings(s.policy, s.certificate)) for s in servers])

    def boot(self, subjects: list[tuple[Server, Settings]]) -> list[Examination]:
        """Boot and ask each. Raises EngineError if the network, the name server or the prober cannot be started."""
        if not subjects:
            return []
        self.display.stage("yours", len(subjects))
        with stand.raised(self.engine, self.catalog, self.images, subjects, purpose="look") as stand_:
            pool = ThreadPoolExecutor(2 * (os.cpu_count() or 2))  # much of it is waiting for what must not come
            try:
                return list(pool.map(lambda subject: self.look(stand_, *subject), subjects))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def error(self, examination: Examination) -> TestbedError:
        """What a user is told of a candidate that lacks something."""
        implementation = examination.implementation
        candidate = self.catalog.candidate(implementation)
        source = " ".join(candidate.source) if candidate else str(self.catalog.image(implementation).folder)
        if candidate and candidate.files:
            return InputError(examination.complaint(), file=source, value=str(implementation), hint=GUIDE)
        return EngineError(f"{source}: {examination.complaint()}\n  hint: {GUIDE}")

    def look(self, stand_: Stand, server: Server, settings: Settings) -> Examination:
        """Boot one candidate, ask it, and say what was seen."""
        examination, container, began = Examination(server.implementation), None, time.monotonic()
        try:
            container = stand_.boot(server, settings)
            self.ask(stand_, examination, container, server, settings)
        except EngineError as error:
            examination.needs.append(claim("runs", False, str(error)))
        finally:
            if container:
                examination.log = [line for _, line in serverlog.stamped(federation.logs(container))][-LOG_LINES:]
                federation.drop([container])
            examination.seconds = time.monotonic() - began
            self.display.advance("yours")
        return examination

    def ask(self, stand_: Stand, examination: Examination, container: Container, server: Server, settings: Settings) -> None:
        """Everything that is asked of one server. Raises EngineError if it or the prober cannot be asked."""
        image, candidate = self.catalog.image(server.implementation), self.catalog.candidate(server.implementation)
        ports, configured = image.spec.ports, bool(candidate and candidate.files)

        def need(what: str, true: bool, saw: str = "") -> bool:
            examination.needs.append(claim(what, true, saw))
            return true

        address = stand_.address(server)
        listening = knock(stand_, container, address, [ports.c2s, ports.s2s])
        if listening is None:
            need("runs", False, f"status {federation.facts(container, '')['exit']}")
            return
        need("runs", True)
        both = need("c2s", ports.c2s in listening, f"port {ports.c2s}")
        if not (need("s2s", ports.s2s in listening, f"port {ports.s2s}") and both):
            return
        reply = stand_.ask(
            Task(
                address,
                server.domain,
                account=ports.c2s,
                patience=ACCOUNT,
                write_to=[CLEAR_PEER, TLS_PEER, BAD_PEER] if configured else [TLS_PEER],
                probes=PROBES if configured else CERTIFICATE,
            )
        )
        assert reply.account, "it was asked for"
        for what, true, saw in entered(reply.account):
            need(what, true, saw or (server.domain if what == "domain" else ""))
        if examination.missing:
            return
        shown = {s.tls.fingerprint for s in reply.streams.values() if s.tls}
        issued = stand_.certificate(server, settings).fingerprint
        need("certificate", shown <= {issued}, f"SHA-256 {', '.join(s[:16] for s in sorted(shown)) or 'none seen'}")
        if configured:
            behaviour = observe(reply)
            examination.policy, examination.unknown = behaviour.policy, behaviour.unknown
        examination.notes += notes(container, image, reply)
        examination.version = version_of(container, image.spec.package)


def knock(stand_: Stand, container: Container, address: str, ports: list[int]) -> list[int] | None:
    """Which ports are open once both are, or time is up; None if the server ended. Raises EngineError."""
    deadline, listening = time.monotonic() + PORTS, list[int]()
    while time.monotonic() < deadline:
        listening = stand_.ask(Task(address, "", knock=ports, patience=SLICE)).open
        if federation.ending(container):
            return None
        if len(listening) == len(ports):
            break
        if listening:
            deadline = min(deadline, time.monotonic() + 4 * SLICE)  # the other one is not far behind
    return listening


def notes(container: Container, image: Image, reply: Reply) -> Iterator[Claim]:
    """What a run can do without. Raises EngineError."""
    lines = list(serverlog.stamped(federation.logs(container)))
    try:
        known = sum(match is not None for _, match in serverlog.matched(image.logs, lines))
        log = claim("log", known > 0, f"{known} of {len(lines)} lines")
    except InputError as error:
        log = claim("log", False, f"{error.file}: {error.message}")
    rooted = sorted({p.split()[0] for p, user in process_owners(container).items() if user == "root"})
    yield log
    yield claim("peers", any((reply.steps or {}).values()), reply.steps_error or "")
    yield claim("user", not rooted, ", ".join(rooted))
    if clear := reply.streams.get("clear"):
        yield claim("tls", clear.starttls)


def claim(what: str, true: bool, saw: str = "") -> Claim:
    """One of SENTENCES, as it is."""
    return Claim("as given", SENTENCES[what][0 if true else 1], Status.of(true), saw)


def version_of(container: Container, package: str) -> str:
    """What the distribution's package says of its version, else the image's label, else the image's own name."""
    with contextlib.suppress(EngineError):
        return package_version(container, package)
    return federation.image_version(container)


def entered(account: Account) -> Iterator[tuple[str, bool, str]]:
    """A client's way in, step by step: which of SENTENCES, whether it is so, what was seen; the first that is not ends it."""
    error = account.error or ""
    condition = re.search(r"<(host-unknown|host-gone|not-allowed|service-unavailable|forbidden|not-acceptable)\b", error)
    word = condition.group(1) if condition else error[-160:]
    required = re.search(r"<(?:\w+:)?starttls\b[^>]*>\s*<(?:\w+:)?required\b", account.features)
    steps = {
        "domain": "host-unknown" not in error and "host-gone" not in error,
        "stream": account.registered or "no stream features" not in error,
        "clear": account.login or not required,
        "register": account.registered,
        "login": account.login,
    }
    for what, true in steps.items():
        yield what, true, "" if true else word
        if not true:
            return

"""Boots what a user gave, once and beside nothing else, before a run: does the testbed get what it needs, and what does it do?

Rule: what is missing is told in sentences that name the thing; of a configuration of the user's own the policy is found out on
the wire, as `check` proves claims there, and what cannot be seen is not claimed. Nothing here goes into a record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.contract.agent import BAD_PEER, CLEAR_PEER, TLS_PEER
from testbed.contract.check import EPHEMERAL, STATIC, Claim, Report, Status, process_owners
from testbed.display import Display
from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import pki, serverlog, zone
from testbed.model import (
    Authentication,
    Encryption,
    EngineError,
    ForwardSecrecy,
    Implementation,
    InputError,
    Plan,
    Policy,
    Server,
    Settings,
    TestbedError,
)
from testbed.plan.catalog import Catalog
from testbed.plan.policy import CANDIDATE_POLICY, DIMENSIONS, value_of

PORTS = 45.0
"""Seconds within which both ports must take connections."""
SLICE = 3.0
"""Seconds after which it is looked whether the server still runs."""
ACCOUNT = 15.0
"""Seconds, once the ports are open, within which an account must be there and logged in."""
LOG_LINES = 8
"""Of a server that does not do, how many lines of its log are shown."""
GUIDE = "docs/server-projects.md says what the testbed has to be able to set"
PROFILES = ("ca", "self-signed")
"""Certificates that the prober shows."""
PROBES: dict[str, dict[str, Any]] = {
    "clear": {"as": CLEAR_PEER, "prove": ["dialback"]},
    "good": {"tls": True, "certificate": "ca", "prove": ["external", "dialback"], "tries": [{}, {}, {"high": "1.2"}]},
    "nothing": {"tls": True, "prove": ["external", "dialback"]},
    "bad": {"tls": True, "certificate": "self-signed", "prove": ["external", "dialback"]},
    "1.2": {"tls": True, "low": "1.2", "high": "1.2"},
    "1.3": {"tls": True, "low": "1.3", "high": "1.3"},
    "ephemeral": {"tls": True, "high": "1.2", "ciphers": EPHEMERAL},
    "static": {"tls": True, "high": "1.2", "ciphers": STATIC},
}
"""What a server with a configuration of the user's own is asked (see `check_agent.probe`)."""
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
    "clear": ("takes clients without TLS", "demands TLS of clients; the testbed's come without"),
    "register": ("lets a client register in-band (XEP-0077)", "refuses in-band registration (XEP-0077)"),
    "login": ("lets a client log in with SASL PLAIN", "refuses SASL PLAIN without TLS"),
    "certificate": ("presents the certificate that was issued to it", "presents another certificate than the one issued to it"),
    "log": (
        "logs what logs.yaml knows",
        "logs nothing that logs.yaml knows: causes will come from the wire and the clients alone",
    ),
    "peers": (
        "finds peers by the federation's name server, and connects to them",
        "connects to no peer: it may not ask the federation's name server, or not do server to server at all",
    ),
    "tls": (
        "offers STARTTLS to servers",
        "offers no STARTTLS to servers; if it should: the certificate is /etc/testbed/cert.pem, the key /etc/testbed/key.pem",
    ),
    "user": ("runs no process as root", "runs a process as root"),
}
"""What is looked at, in both cases."""
LOOK: dict[str, dict[str, Any]] = {"good": {"tls": True}}
"""What any other is asked: its certificate."""


@dataclass
class Found:
    """What was seen of one release."""

    implementation: Implementation
    needs: list[Claim] = field(default_factory=list)
    """What a run cannot do without."""
    notes: list[Claim] = field(default_factory=list)
    """What it can do without, but a user should know."""
    version: str | None = None
    policy: Policy | None = None
    """Of a configuration of one's own: what it does, where that can be said."""
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
        told = [dataclasses.replace(n, status=Status.UNDECLARED) if n.status is Status.FAILED else n for n in self.notes]
        if self.missing and self.log:
            told.append(Claim("as given", "its log ends with", Status.UNDECLARED, self.log[-1]))
        if self.policy or self.unknown:
            does = told_of(self.policy) if self.policy else f"cannot be said: {self.unknown}"
            told.append(Claim("as given", "what it does to other servers", Status.OK, does))
        return Report(self.implementation, self.version, [*self.needs, *told], self.seconds)

    def complaint(self) -> str:
        """Everything that is missing, and the log's last lines."""
        lines = [f"{self.implementation} does not do what the testbed needs:"]
        lines += [f"  - it {c.claim}" + (f" ({c.saw})" if c.saw else "") for c in self.missing]
        lines += ["  its log ends with:", *(f"    {line}" for line in self.log)] if self.log else ["  its log is empty"]
        return "\n".join(lines)


class Preflight:
    """Boots every release that a user gave, on one engine."""

    def __init__(self, catalog: Catalog, engine: Engine, images: Images, display: Display) -> None:
        self.catalog, self.engine, self.images, self.display = catalog, engine, images, display

    def run(self, plan: Plan) -> list[Found]:
        """What was seen of each, with the settings that its first server has first.

        Raises InputError (a configuration) or EngineError (an image, a build, a folder) for the first that does not do.
        """
        wanted = {s.implementation: s for s in reversed(plan.servers) if self.catalog.is_candidate(s.implementation)}
        settings = {i: plan.phases[0].settings[s.domain] for i, s in wanted.items()}
        subjects = [(s, settings[i]) for i, s in wanted.items() if not settings[i].unsupported]
        found = self.boot([(dataclasses.replace(s, index=n), settings) for n, (s, settings) in enumerate(subjects)])
        for one in found:
            if one.missing:
                raise self.error(one)
        return found

    def examine(self, wanted: Iterable[Implementation]) -> list[Found]:
        """What was seen of each configuration, whatever it lacks."""
        servers = [Server(f"s{n}.check.example", i, CANDIDATE_POLICY, "ca", n) for n, i in enumerate(sorted(wanted))]
        return self.boot([(s, Settings(s.policy, s.certificate)) for s in servers])

    def boot(self, subjects: list[tuple[Server, Settings]]) -> list[Found]:
        """Boot and ask each. Raises EngineError if the network, the name server or the prober cannot be started."""
        if not subjects:
            return []
        self.display.stage("yours", len(subjects))
        with federation.Mesh(self.engine, f"look-{os.getpid()}-{time.time():.0f}", len(subjects), ipv6=False) as mesh:
            self.raise_parts(mesh, subjects)
            pool = ThreadPoolExecutor(2 * (os.cpu_count() or 2))  # much of it is waiting for what must not come
            try:
                return list(pool.map(lambda s: self.look(mesh, *s), subjects))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def error(self, found: Found) -> TestbedError:
        """What a user is told of a release that does not do."""
        candidate = self.catalog.candidate(found.implementation)
        source = " ".join(candidate.source) if candidate else str(self.catalog.image(found.implementation).folder)
        if candidate and candidate.files:
            return InputError(found.complaint(), file=source, value=str(found.implementation), hint=GUIDE)
        return EngineError(f"{source}: {found.complaint()}\n  hint: {GUIDE}")

    def raise_parts(self, mesh: federation.Mesh, subjects: list[tuple[Server, Settings]]) -> None:
        """Certificates, name server and prober."""
        authorities = pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0))
        wanted: dict[tuple[str, str], None] = {(server.domain, settings.certificate): None for server, settings in subjects}
        wanted |= {(TLS_PEER, profile): None for profile in PROFILES}
        self.issued = authorities.issue_all(wanted)
        hosts = {server.domain: mesh.addresses.of(server.index) for server, _ in subjects}
        hosts |= dict.fromkeys((CLEAR_PEER, TLS_PEER, BAD_PEER), mesh.addresses.driver)
        mesh.start_dns(self.images.ids["dns"], zone.render_zone(hosts), mesh.addresses.dns)
        files = {"agent.py": Path(__file__).with_name("agent.py").read_bytes()}
        files |= {f"peer-{p}.pem": self.issued[TLS_PEER, p].key + self.issued[TLS_PEER, p].cert for p in PROFILES}
        self.prober = mesh.create_agent("prober", self.images.ids["driver"], files, inside=True)
        federation.start(self.prober)

    def look(self, mesh: federation.Mesh, server: Server, settings: Settings) -> Found:
        """Boot one release, ask it, and say what was seen."""
        found, container, began = Found(server.implementation), None, time.monotonic()
        try:
            container = self.start(mesh, server, settings)
            self.ask_all(found, container, mesh.addresses.of(server.index)[0], server, settings)
        except EngineError as error:
            found.needs.append(claim("runs", False, str(error)))
        finally:
            if container:
                found.log = [line for _, line in serverlog.stamped(federation.logs(container))][-LOG_LINES:]
                federation.drop([container])
            found.seconds = time.monotonic() - began
            self.display.advance("yours")
        return found

    def start(self, mesh: federation.Mesh, server: Server, settings: Settings) -> federation.Container:
        """Its container, as a run makes it. Raises EngineError."""
        image = self.images.server(server.implementation)
        if image is None:
            raise EngineError(f"its image is unavailable: {self.images.reason(server.implementation)}")
        files = self.catalog.image(server.implementation).render(server, settings, timers="short", ipv6=False)
        files |= self.issued[server.domain, settings.certificate].files()
        name = server.domain.split(".")[0]
        container = mesh.create_server(name, image, files, mesh.addresses.of(server.index), mesh.addresses.dns[0])
        federation.start(container)
        return container

    def ask_all(self, found: Found, container: federation.Container, address: str, server: Server, settings: Settings) -> None:
        """Everything that is asked of one server. Raises EngineError if it or the prober cannot be asked."""
        ports = self.catalog.image(server.implementation).spec.ports

        def need(what: str, true: bool, saw: str = "") -> bool:
            found.needs.append(claim(what, true, saw))
            return true

        open_ = self.knock(container, address, [ports.c2s, ports.s2s])
        if open_ is None:
            need("runs", False, f"status {federation.facts(container, '')['exit']}")
            return
        need("runs", True)
        both = need("c2s", ports.c2s in open_, f"port {ports.c2s}")
        if not (need("s2s", ports.s2s in open_, f"port {ports.s2s}") and both):
            return
        candidate = self.catalog.candidate(server.implementation)
        own = bool(candidate and candidate.files)
        seen = self.ask(
            {
                "address": address,
                "domain": server.domain,
                "account": ports.c2s,
                "patience": ACCOUNT,
                "write_to": [CLEAR_PEER, TLS_PEER, BAD_PEER] if own else [TLS_PEER],
                "probes": PROBES if own else LOOK,
            }
        )
        for what, true, saw in entered(seen["account"]):
            need(what, true, saw or (server.domain if what == "domain" else ""))
        if found.missing:
            return
        shown = {f["tls"]["fingerprint"] for f in seen.values() if isinstance(f, dict) and f.get("tls")}
        issued = self.issued[server.domain, settings.certificate].fingerprint
        need("certificate", shown <= {issued}, f"SHA-256 {', '.join(s[:16] for s in sorted(shown)) or 'none seen'}")
        if own:
            found.policy, found.unknown = judge(seen)
        self.note(found, container, server, seen)

    def knock(self, container: federation.Container, address: str, ports: list[int]) -> list[int] | None:
        """Which ports are open once both are, or time is up; None if the server ended. Raises EngineError."""
        deadline, open_ = time.monotonic() + PORTS, []
        while time.monotonic() < deadline:
            open_ = self.ask({"address": address, "domain": "", "knock": ports, "patience": SLICE})["open"]
            if not federation.facts(container, "")["running"]:
                return None
            if len(open_) == len(ports):
                break
            if open_:
                deadline = min(deadline, time.monotonic() + 4 * SLICE)  # the other one is not far behind
        return open_

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """What the prober saw. Raises EngineError."""
        said = federation.execute(self.prober, ["python3", "/opt/testbed/agent.py", json.dumps(task)])
        answer: dict[str, Any] = json.loads(said.splitlines()[-1])
        return answer

    def note(self, found: Found, container: federation.Container, server: Server, seen: Mapping[str, Any]) -> None:
        """What a run can do without. Raises EngineError."""

        lines = [line for _, line in serverlog.stamped(federation.logs(container))]
        logs = self.catalog.image(server.implementation).logs
        known = sum(serverlog.match_line(logs, line) is not None for line in lines)
        reached = any(seen.get("wrote", {}).values())
        rooted = sorted({p.split()[0] for p, user in process_owners(container).items() if user == "root"})
        found.notes += [
            claim("log", known > 0, f"{known} of {len(lines)} lines"),
            claim("peers", reached, seen.get("wrote_error", "")),
            claim("user", not rooted, ", ".join(rooted)),
        ]
        if "clear" in seen:
            found.notes.append(claim("tls", bool(seen["clear"]["starttls"])))
        found.version = version_of(container, self.catalog.image(server.implementation).spec.package)


def claim(what: str, true: bool, saw: str = "") -> Claim:
    """One of SENTENCES, as it is."""
    return Claim("as given", SENTENCES[what][0 if true else 1], Status.OK if true else Status.FAILED, saw)


def version_of(container: federation.Container, package: str) -> str:
    """What the distribution's package says of its version, else the image's label, else the image's own name."""
    with contextlib.suppress(EngineError):
        return federation.execute(container, ["dpkg-query", "-W", "-f=${Version}", package])
    container.reload()
    labels = container.attrs["Config"].get("Labels") or {}
    return str(labels.get("org.opencontainers.image.version") or container.attrs["Image"].removeprefix("sha256:")[:12])


def entered(account: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """A client's way in, step by step: which of SENTENCES, whether it is so, what was seen; the first that is not ends it."""
    error, features = str(account["error"] or ""), str(account.get("features", ""))
    condition = re.search(r"<(host-unknown|host-gone|not-allowed|service-unavailable|forbidden|not-acceptable)\b", error)
    word = condition.group(1) if condition else error[-160:]
    demands = bool(re.search(r"<(?:\w+:)?starttls\b[^>]*>\s*<(?:\w+:)?required\b", features)) and not account["login"]
    steps = {
        "domain": "host-unknown" not in error and "host-gone" not in error,
        "stream": bool(account["registered"]) or "no stream features" not in error,
        "clear": not demands,
        "register": bool(account["registered"]),
        "login": bool(account["login"]),
    }
    for what, true in steps.items():
        yield what, true, "" if true else word
        if not true:
            return


# --- what a configuration of one's own does ---------------------------------------------------------------------------


def judge(seen: Mapping[str, Any]) -> tuple[Policy | None, str | None]:
    """The policy that was seen on the wire, as receiver and as initiator; or why none can be named."""
    if "wrote" not in seen:
        return None, f"its way to other servers could not be seen ({seen.get('wrote_error')})"
    wrote: Mapping[str, list[str]] = seen["wrote"]
    if not any(wrote.values()):
        return None, "it was not seen to connect to any other server"
    inward, outward = _encryption(seen, wrote)
    if inward is None or outward is None or inward is not outward:
        return None, f"encryption is `{_word(inward)}` towards it and `{_word(outward)}` from it: no one value of the dimension"
    changes: dict[str, Any] = {"encryption": inward}
    if inward is Encryption.NONE:
        changes["authentication"] = Authentication.DIALBACK
        return dataclasses.replace(CANDIDATE_POLICY, **changes), None
    proof = _authentication(seen, wrote)
    if not isinstance(proof, Authentication):
        return None, proof
    changes["authentication"] = proof
    old, new = bool(seen["1.2"].get("tls")), bool(seen["1.3"].get("tls"))
    if not (old or new):
        return None, "neither TLS 1.2 nor TLS 1.3 could be negotiated with it"
    changes |= {} if old and new else {"tls_max": "1.2"} if old else {"tls_min": "1.3"}
    if old:
        ephemeral, static = bool(seen["ephemeral"].get("tls")), bool(seen["static"].get("tls"))
        changes["forward_secrecy"] = (
            ForwardSecrecy.ANY if ephemeral and static else ForwardSecrecy.REQUIRED if ephemeral else ForwardSecrecy.NONE
        )
    return dataclasses.replace(CANDIDATE_POLICY, **changes), None


def told_of(policy: Policy) -> str:
    """The dimensions of a policy, in one line."""
    values = {d.name: value_of(policy, d.name) for d in DIMENSIONS}
    return ", ".join(f"{d}={v}" for d, v in values.items() if v is not None)


def _encryption(seen: Mapping[str, Any], wrote: Mapping[str, list[str]]) -> tuple[Encryption | None, Encryption | None]:
    """As receiver, and as initiator; None where neither value was seen."""
    clear = seen["clear"]
    let_in = clear.get("dialback") == "valid"
    if clear["starttls"]:
        inward: Encryption | None = Encryption.OFFERED if let_in else Encryption.REQUIRED
    else:
        inward = Encryption.NONE if let_in else None
    tls, plain = "tls" in wrote[TLS_PEER], "result" in wrote[CLEAR_PEER]
    if tls:
        outward: Encryption | None = Encryption.OFFERED if plain else Encryption.REQUIRED if wrote[CLEAR_PEER] else None
    else:
        outward = Encryption.NONE if "result" in wrote[TLS_PEER] else None
    return inward, outward


def _authentication(seen: Mapping[str, Any], wrote: Mapping[str, list[str]]) -> Authentication | str:
    """The value of the dimension, or why there is none."""
    good, bad, nothing = (_proof(seen[k]) for k in ("good", "bad", "nothing"))
    careful = "tls-result" not in wrote[BAD_PEER]
    if not good:
        return "a peer with a good certificate was not let in"
    if bad and nothing and not careful:
        if good == "external":
            return Authentication.EITHER
        # SASL EXTERNAL is not offered to a peer that verifies: dialback alone, or a software that has nothing else
        return Authentication.DIALBACK
    if not bad and not nothing and careful:
        return Authentication.EXTERNAL
    told = {True: "lets in", False: "refuses"}
    return (
        f"it {told[bool(bad)]} a peer with a self-signed certificate and {told[bool(nothing)]} one without, and as the sender it "
        f"{'minds' if careful else 'does not mind'} a self-signed one: no one value of the dimension authentication"
    )


def _proof(facts: Mapping[str, Any]) -> str | None:
    """How a peer was let in: `external`, `dialback`, or not."""
    if facts.get("external") == "success":
        return "external"
    return "dialback" if facts.get("dialback") == "valid" else None


def _word(value: Encryption | None) -> str:
    return value.value if value else "neither refused nor used in a way that has a name"

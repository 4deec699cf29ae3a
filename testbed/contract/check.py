"""Proves on the wire what images/*/image.yaml claims: every release, rung of the ladder, dimension's value and certificate.

Each setting is a *trial*: one server, alone with a name server and a prober (`check_agent`), all in one internal network. The
prober says what it saw; the tables here say what of it makes a claim true. That a peer which does everything right is let in is
a claim of its own beside every refusal: a server that refuses everybody does not pass.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from testbed.contract.agent import CLEAR_PEER, TLS_PEER
from testbed.display import Display
from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.measure import pki, zone
from testbed.model import (
    TLS_VERSIONS,
    Authentication,
    Encryption,
    EngineError,
    ForwardSecrecy,
    Implementation,
    Policy,
    Server,
    Settings,
)
from testbed.plan.catalog import Catalog, Image
from testbed.plan.policy import PRESETS, make_policy
from testbed.plan.profiles import PROFILES

BOOT = 120.0
"""Seconds from a server's start within which an account must have been made and logged in."""
BAD_PEERS = ("self-signed", "expired", "untrusted-ca", "wrong-host")
"""Certificate profiles with which a peer must not be let in where certificates are demanded."""
EPHEMERAL, STATIC = "ECDHE+AES:DHE+AES", "kRSA+AES"
"""OpenSSL's names for suites with and without forward secrecy (TLS 1.2 and below)."""


class Status(str, Enum):
    """What became of a claim."""

    OK = "ok"
    FAILED = "failed"
    UNDECLARED = "not declared"
    """The implementation says that it cannot do this, so it claims nothing."""


@dataclass(frozen=True)
class Claim:
    """One statement about a release under a setting, and whether the wire bears it out."""

    setting: str
    claim: str
    status: Status
    saw: str = ""


@dataclass
class Report:
    """Everything that was claimed of one release."""

    implementation: Implementation
    version: str | None = None
    claims: list[Claim] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For programs: `implementation`, `release`, `version`, `seconds`, `claims`."""
        return {
            "implementation": self.implementation.name,
            "release": self.implementation.release,
            "version": self.version,
            "seconds": round(self.seconds, 1),
            "claims": [{**dataclasses.asdict(c), "status": c.status.value} for c in self.claims],
        }


@dataclass(frozen=True)
class Trial:
    """One server under one setting."""

    server: Server
    image: Image
    settings: Settings

    @property
    def policy(self) -> Policy:
        """The policy that the server in effect shows: what is claimed of it."""
        return self.image.effective(self.settings.policy, self.server.implementation.release)

    @property
    def name(self) -> str:
        """The setting, as a user writes it."""
        return f"{self.settings.policy.name}, {self.settings.certificate}" if self.speaks_tls else self.settings.policy.name

    @property
    def speaks_tls(self) -> bool:
        """False where no certificate is shown."""
        return self.settings.policy.encryption is not Encryption.NONE

    @property
    def forward_secrecy(self) -> ForwardSecrecy:
        """What is claimed of key exchanges: `any` (nothing) where the range of TLS versions is what is tried."""
        narrowed = self.settings.policy.tls_min or self.settings.policy.tls_max
        return ForwardSecrecy.ANY if narrowed else self.policy.forward_secrecy

    @property
    def proofs(self) -> list[str]:
        """How a peer proves its domain here, best first."""
        wanted = self.policy.authentication.mechanisms
        found: list[str] = [m for m in ("external", "dialback") if m in self.image.spec.mechanisms and m in wanted]
        # Without EXTERNAL in the software, the certificate is looked at and dialback names the domain.
        return found or ["dialback"]


def policies() -> list[Policy]:
    """Every setting that an implementation may declare: the ladder, and the values of each further dimension upon it."""
    further = {"tls_min": TLS_VERSIONS, "tls_max": TLS_VERSIONS, "forward_secrecy": ("none", "preferred", "required")}
    changed = [make_policy("encrypted", {dimension: value}) for dimension, values in further.items() for value in values]
    return [*PRESETS.values(), *changed]


def trials(catalog: Catalog, wanted: Iterable[Implementation]) -> tuple[list[Trial], dict[Implementation, list[Claim]]]:
    """The trials of every release, and the claims that it does not make.

    The certificate profiles are spread over the trials: which certificate is shown does not depend on the other dimensions.
    """
    found: list[Trial] = []
    unclaimed: dict[Implementation, list[Claim]] = {}
    for implementation in sorted(set(wanted)):
        image = catalog.image(implementation)
        profiles = [name for name in PROFILES if name != "ca"]
        unclaimed[implementation] = []
        for policy in policies():
            if reason := image.unsupported(policy, implementation.release):
                unclaimed[implementation].append(Claim(policy.name, "can be set", Status.UNDECLARED, reason))
                continue
            varied = policy.name not in PRESETS and bool(profiles)
            settings = Settings(policy, profiles.pop(0) if varied else "ca")
            number = len(found)
            server = Server(f"s{number}.check.example", implementation, policy, settings.certificate, number)
            found.append(Trial(server, image, settings))
        unclaimed[implementation] += [
            Claim(f"certificate {name}", "can be shown", Status.FAILED, "no setting with TLS was left to show it in")
            for name in profiles
        ]
    return found, unclaimed


# --- probes: what a trial's server is asked ---------------------------------------------------------------------------


def probes(trial: Trial) -> dict[str, dict[str, Any]]:
    """Probe name -> options, in the order in which they are made (see `check_agent.probe`)."""
    wanted: dict[str, dict[str, Any]] = {"clear": {"as": CLEAR_PEER, "prove": ["dialback"]}}
    if not trial.speaks_tls:
        return wanted
    proofs, policy = trial.proofs, trial.policy
    # COMPAT: one implementation drops streams of TLS 1.3 by the luck of record lengths, which its image.yaml tells as a quirk
    tries = [{}, {}, {"high": "1.2"}] if policy.tls_range[0] < "1.3" else [{}, {}, {}]
    wanted["good"] = {"tls": True, "certificate": "ca", "prove": proofs, "tries": tries}
    wanted["nothing"] = {"tls": True, "prove": proofs}
    if policy.authentication is Authentication.EXTERNAL:
        wanted |= {f"bad {p}": {"tls": True, "certificate": p, "prove": ["external", "dialback"]} for p in BAD_PEERS}
        wanted["nothing"]["prove"] = ["external", "dialback"]
    if policy.tls_min or policy.tls_max:
        wanted |= {f"tls {v}": {"tls": True, "low": v, "high": v} for v in TLS_VERSIONS}
    if trial.forward_secrecy is not ForwardSecrecy.ANY:
        wanted["ephemeral"] = {"tls": True, "high": "1.2", "ciphers": EPHEMERAL}
        wanted["static"] = {"tls": True, "high": "1.2", "ciphers": STATIC}
        wanted["both"] = {"tls": True, "high": "1.2", "ciphers": f"{STATIC}:{EPHEMERAL}"}
        wanted["tls 1.3"] = {"tls": True, "low": "1.3", "high": "1.3"}
    return wanted


# --- claims: what the answers must be ---------------------------------------------------------------------------------

Seen = dict[str, Any]
"""What the prober said of one server: probe name -> facts, and `account`."""


def judge(trial: Trial, seen: Seen, fingerprint: str) -> Iterator[tuple[str, bool | None, str]]:
    """Claim, whether it is true (None: the implementation does not claim it), and what was seen."""
    policy, clear = trial.policy, seen["clear"]
    offer = f"starttls {'offered' if clear['starttls'] else 'not offered'}{', required' if clear['required'] else ''}"
    let_in = f"{offer}; dialback in the clear: {clear.get('dialback', 'not tried')}"
    if policy.encryption is Encryption.NONE:
        yield "STARTTLS is not offered", clear["stream"] and not clear["starttls"], offer
    else:
        yield "STARTTLS is offered", clear["starttls"], offer
    if policy.encryption is Encryption.REQUIRED:
        # "error" and "closed" are a refusal; "silence" too, since a peer that does TLS is let in, which is a claim of its own
        yield "a peer that goes on without TLS is refused or never answered", clear.get("dialback") not in ("valid", None), let_in
    else:
        yield "STARTTLS is not advertised as required", not clear["required"], offer
        yield "a peer without TLS is let in by dialback", clear.get("dialback") == "valid", let_in
    if not trial.speaks_tls:
        return
    yield from _authentication(trial, seen)
    shown = [f["tls"]["fingerprint"] for f in seen.values() if f.get("tls")]
    yield (
        f"the certificate on the wire is the one that was issued ({trial.settings.certificate})",
        bool(shown) and set(shown) == {fingerprint},
        f"SHA-256 {', '.join(sorted({s[:16] for s in shown})) or 'none seen'}…, issued {fingerprint[:16]}…",
    )
    if policy.tls_min or policy.tls_max:
        low, high = policy.tls_range
        for version in TLS_VERSIONS:
            yield from _version(version, policy, low, high, seen[f"tls {version}"])
    if trial.forward_secrecy is not ForwardSecrecy.ANY:
        yield from _forward_secrecy(trial.forward_secrecy, seen)


def _authentication(trial: Trial, seen: Seen) -> Iterator[tuple[str, bool | None, str]]:
    good, nothing = seen["good"], seen["nothing"]
    yield "a peer with a good certificate is let in over TLS", _let_in(good), _told(good)
    if trial.policy.authentication is not Authentication.EXTERNAL:
        yield "a peer without a certificate is let in by dialback over TLS", nothing.get("dialback") == "valid", _told(nothing)
        return
    yield "a peer without a certificate is not let in", _tried(nothing) and not _let_in(nothing), _told(nothing)
    for profile in BAD_PEERS:
        facts = seen[f"bad {profile}"]
        looked_at = "name" if profile == "wrong-host" else "chain"
        refused = _tried(facts) and not _let_in(facts) if looked_at in trial.image.spec.verifies else None
        yield f"a peer with a certificate `{profile}` is not let in", refused, _told(facts)


def _version(version: str, policy: Policy, low: str, high: str, facts: Seen) -> Iterator[tuple[str, bool | None, str]]:
    accepted = bool(facts.get("tls"))
    if not low <= version <= high:
        yield f"TLS {version} is refused", facts["starttls"] and not accepted, _told(facts)
    elif policy.tls_min or version == policy.tls_max:
        yield f"TLS {version} is accepted", accepted, _told(facts)
    # Below a tls_max without a tls_min, the lowest version is the server's default: nothing is claimed.


def _forward_secrecy(wanted: ForwardSecrecy, seen: Seen) -> Iterator[tuple[str, bool | None, str]]:
    taken = {name: bool(seen[name].get("tls")) for name in ("ephemeral", "static", "both", "tls 1.3")}
    if wanted is ForwardSecrecy.NONE:
        for name, text in (("ephemeral", "a peer with ECDHE and DHE suites only is refused"), ("tls 1.3", "TLS 1.3 is refused")):
            yield text, seen[name]["starttls"] and not taken[name], _told(seen[name])
        yield "a peer with kRSA suites only is accepted", taken["static"], _told(seen["static"])
        return
    yield "a peer with ECDHE and DHE suites only is accepted", taken["ephemeral"], _told(seen["ephemeral"])
    if wanted is ForwardSecrecy.REQUIRED:
        yield "a peer with kRSA suites only is refused", seen["static"]["starttls"] and not taken["static"], _told(seen["static"])
        return
    yield "a peer with kRSA suites only is accepted", taken["static"], _told(seen["static"])
    chosen = (seen["both"].get("tls") or {}).get("cipher") or ""
    yield "forward secrecy is chosen against the peer's order", chosen.startswith(("ECDHE", "DHE")), _told(seen["both"])


def _let_in(facts: Seen) -> bool:
    return facts.get("external") == "success" or facts.get("dialback") == "valid"


def _tried(facts: Seen) -> bool:
    """True if the peer got as far as to be refused: the server was there and offered TLS."""
    return bool(facts["connected"] and facts["starttls"])


def _told(facts: Seen) -> str:
    """What was seen, short."""
    if not facts["connected"]:
        return f"no connection: {facts.get('error')}"
    tls = facts.get("tls")
    parts = [f"{tls['version']} {tls['cipher']}" if tls else facts.get("tls_error") or "no TLS"]
    parts += [f"{m}: {facts[m]}" for m in ("external", "dialback") if m in facts]
    parts += ["closed by the server"] if tls and len(parts) == 1 and facts.get("ended") == "closed by the server" else []
    return "; ".join(" ".join(p.split()) for p in parts)[:160]


# --- the run ----------------------------------------------------------------------------------------------------------


class Checker:
    """Makes the trials of some releases on one engine."""

    def __init__(self, catalog: Catalog, engine: Engine, images: Images, display: Display, *, jobs: int | None = None) -> None:
        self.catalog, self.engine, self.images, self.display = catalog, engine, images, display
        # Half of a trial is waiting for what must not come: more trials than processors.
        self.jobs = jobs or 2 * (os.cpu_count() or 2)

    def run(self, wanted: Iterable[Implementation]) -> list[Report]:
        """A report per release. Raises EngineError if the network, the name server or the prober cannot be started."""
        reports = {i: Report(i) for i in sorted(set(wanted))}
        built = [i for i in reports if self.images.server(i)]
        for implementation, report in reports.items():
            reason = self.images.reason(implementation)
            said = Claim("image", "can be built", Status.FAILED if reason else Status.OK, reason or "")
            report.claims.append(said)
        todo, unclaimed = trials(self.catalog, built)
        if not todo:
            return list(reports.values())
        for implementation, claims in unclaimed.items():
            reports[implementation].claims += claims
        self.display.stage("trials", len(todo))
        with federation.Mesh(self.engine, f"check-{os.getpid()}-{time.time():.0f}", len(todo), ipv6=False) as mesh:
            self.raise_parts(mesh, todo)
            pool = ThreadPoolExecutor(self.jobs)
            try:
                # heavy boots are spread between the light ones, so that not all of them start at once
                order = sorted(todo, key=lambda t: (t.server.index % 16, t.server.index))
                done = dict(zip((t.server.index for t in order), pool.map(lambda t: self.trial(mesh, t), order), strict=True))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # upon an interruption nothing more is begun
        for trial in todo:
            claims, version, seconds = done[trial.server.index]
            report = reports[trial.server.implementation]
            report.claims += claims
            report.version = report.version or version
            report.seconds += seconds
        return list(reports.values())

    def raise_parts(self, mesh: federation.Mesh, todo: list[Trial]) -> None:
        """Certificates, name server and prober."""
        authorities = pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0))
        wanted: dict[tuple[str, str], None] = {(t.server.domain, t.settings.certificate): None for t in todo}
        wanted |= {(TLS_PEER, profile): None for profile in ("ca", *BAD_PEERS)}
        self.issued = authorities.issue_all(wanted)
        hosts = {t.server.domain: mesh.addresses.of(t.server.index) for t in todo}
        hosts |= dict.fromkeys((CLEAR_PEER, TLS_PEER), mesh.addresses.driver)
        mesh.start_dns(self.images.ids["dns"], zone.render_zone(hosts), mesh.addresses.dns)
        files = {"agent.py": Path(__file__).with_name("agent.py").read_bytes()}
        for profile in ("ca", *BAD_PEERS):
            issued = self.issued[TLS_PEER, profile]
            files[f"peer-{profile}.pem"] = issued.key + issued.cert
        self.prober = mesh.create_agent("prober", self.images.ids["driver"], files, inside=True)
        federation.start(self.prober)

    def trial(self, mesh: federation.Mesh, trial: Trial) -> tuple[list[Claim], str | None, float]:
        """Start one server, ask it, judge it, drop it. An error of the engine's is a failed claim."""
        began = time.monotonic()
        container, claims, version = None, [], None

        def claim(text: str, true: bool | None, saw: str) -> None:
            status = Status.UNDECLARED if true is None else Status.OK if true else Status.FAILED
            claims.append(Claim(trial.name, text, status, saw))

        try:
            container = self.start(mesh, trial)
            seen = self.ask(mesh, trial)
            account = seen["account"]
            entered = account["registered"] and account["login"]
            claim("an account is made in-band and logs in", entered, account["error"] or "registered, logged in")
            if entered:
                issued = self.issued[trial.server.domain, trial.settings.certificate]
                for found in judge(trial, seen, issued.fingerprint):
                    claim(*found)
                version = self.inside(container, trial, claim)
            logged = len(federation.logs(container))
            claim("the log of the start is not empty", logged > 0, f"{logged} bytes")
            if not entered:
                self.display.say(f"{trial.server.implementation} {trial.name}: {federation.logs(container).decode()[-300:]}")
        except EngineError as error:
            claim("the server can be started and asked", False, str(error))
        finally:
            if container:
                federation.drop([container])
            self.display.advance("trials")
        return claims, version, time.monotonic() - began

    def start(self, mesh: federation.Mesh, trial: Trial) -> federation.Container:
        """The trial's server. Raises EngineError."""
        image = self.images.server(trial.server.implementation)
        assert image, "only what was built is tried"
        files = trial.image.render(trial.server, trial.settings, timers="short", ipv6=False)
        files |= self.issued[trial.server.domain, trial.settings.certificate].files()
        name = trial.server.domain.split(".")[0]
        container = mesh.create_server(name, image, files, mesh.addresses.of(trial.server.index), mesh.addresses.dns[0])
        federation.start(container)
        return container

    def ask(self, mesh: federation.Mesh, trial: Trial) -> Seen:
        """What the prober saw. Raises EngineError."""
        task = {
            "address": mesh.addresses.of(trial.server.index)[0],
            "domain": trial.server.domain,
            "account": trial.image.spec.ports.c2s,
            "patience": BOOT,
            "probes": probes(trial),
        }
        said = federation.execute(self.prober, ["python3", "/opt/testbed/agent.py", json.dumps(task)])
        answer: Seen = json.loads(said.splitlines()[-1])
        return answer

    def inside(self, container: federation.Container, trial: Trial, claim: Callable[[str, bool, str], None]) -> str:
        """What is claimed of the processes and the package. Returns the package's version. Raises EngineError."""
        spec = trial.image.spec
        owners = process_owners(container)
        if trial.server.implementation.release in trial.image.candidates:  # whose build needs not be the package, nor its user
            claim("no process runs as root", bool(owners) and "root" not in owners.values(), _owners_told(owners))
            return ""
        claim(f"every process runs as {spec.user}", bool(owners) and set(owners.values()) == {spec.user}, _owners_told(owners))
        prefix = spec.releases[trial.server.implementation.release].version
        version = federation.execute(container, ["dpkg-query", "-W", "-f=${Version}", spec.package])
        upstream = version.rpartition(":")[2]  # behind the epoch
        claim(f"the package's version begins with {prefix}", upstream.startswith(prefix), version)
        return version


# The names are expanded before anything else is started, so this shell is the only process of ours among them.
PROCESSES = 'for p in /proc/[0-9]*; do [ "${p#/proc/}" = $$ ] || echo "$(stat -c %U "$p") $(cat "$p/comm") ${p#/proc/}"; done'
"""Shell: owner, name and pid of every process in a container but this one."""


def process_owners(container: federation.Container) -> dict[str, str]:
    """Process (`name pid`) -> user, of everything that runs in a container. Raises EngineError."""
    lines = federation.execute(container, ["sh", "-c", PROCESSES]).splitlines()
    return {rest: user for user, _, rest in (line.partition(" ") for line in lines)}


def _owners_told(owners: dict[str, str]) -> str:
    return ", ".join(sorted({f"{process.split()[0]} as {user}" for process, user in owners.items()})) or "no process"

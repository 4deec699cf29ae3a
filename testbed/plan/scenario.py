"""Reads and validates a scenario file; expands it into a Plan of Cells with stable ids. Starts nothing.

Everything that can be wrong with a scenario is said here, with file and line, before a container exists.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from pathlib import Path
from typing import Any

from testbed import exchanges as exchange_kinds
from testbed.model import CONTROL_DOMAINS, Implementation, InputError, Phase, Plan, Policy, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import DIMENSIONS, PRESETS, contradiction, make_policy, value_of
from testbed.plan.scenario_file import PhaseEntry, PolicySpec, ScenarioFile, Set, Where
from testbed.yamlfile import Document, did_you_mean

MAX_SERVERS = 400
"""A Linux bridge takes 1,023 ports; the neighbour table grows with the square. Far below both."""


def load(path: Path, catalog: Catalog, *, seed: int = 1) -> Plan:
    """The Plan of a scenario file. Raises InputError."""
    return _Reader(Document(path), catalog).plan(seed)


class _Reader:
    def __init__(self, document: Document, catalog: Catalog) -> None:
        self.document, self.catalog = document, catalog

    def plan(self, seed: int) -> Plan:
        spec = self.document.validate(ScenarioFile)
        servers = self.servers(spec)
        for position, name in enumerate(spec.exchanges):
            if name not in exchange_kinds.KINDS:
                raise self.document.error(
                    f"unknown exchange `{name}`", ["exchanges", position], value=name, allowed=exchange_kinds.KINDS
                )
        phases = tuple(self.phase(position, entry, servers) for position, entry in enumerate(spec.phases))
        names: set[str] = set()
        for position, phase in enumerate(phases):
            if phase.name in names:
                raise self.document.error(
                    f"two phases are named `{phase.name}`",
                    ["phases", position, "name"],
                    value=phase.name,
                    hint="cells are named by their phase",
                )
            names.add(phase.name)
        return Plan(
            scenario=spec.name,
            title=spec.title,
            file=self.document.file,
            servers=servers,
            phases=phases,
            exchanges=tuple(spec.exchanges),
            timers=spec.timers,
            seed=seed,
            pairs=tuple((a.domain, b.domain) for a, b in itertools.combinations(servers, 2)),
            description=spec.description,
        )

    def servers(self, spec: ScenarioFile) -> tuple[Server, ...]:
        servers: list[Server] = []
        taken: dict[str, int] = {}
        for position, entry in enumerate(spec.servers):
            place: list[str | int] = ["servers", position]
            combinations = list(
                itertools.product(
                    self.implementations(entry.implementation, [*place, "implementation"]),
                    [self.policy(p, [*place, "policy"]) for p in _listed(entry.policy)],
                    [self.certificate(c, [*place, "certificate"]) for c in _listed(entry.certificate)],
                )
            )
            if entry.domain and len(combinations) > 1:
                raise self.document.error(
                    f"one domain for {len(combinations)} servers",
                    [*place, "domain"],
                    value=entry.domain,
                    hint="leave out `domain`, or name each server by itself",
                )
            for implementation, policy, certificate in combinations:
                domain = entry.domain or domain_of(implementation, policy, certificate)
                if not _is_domain(domain):
                    raise self.document.error(
                        f"`{domain}` is not a usable domain",
                        [*place, "domain"],
                        value=domain,
                        hint="a lower-case DNS name under .example, such as a.example"
                        " (resolvers answer .test, .invalid and .localhost themselves)",
                    )
                if domain in CONTROL_DOMAINS:
                    raise self.document.error(
                        f"the domain `{domain}` is the control pair's",
                        [*place, "domain"],
                        value=domain,
                        hint="any other name under .example will do",
                    )
                if domain in taken:
                    raise self.document.error(
                        f"the domain `{domain}` is taken twice",
                        [*place, "domain"] if entry.domain else place,
                        value=domain,
                        hint=f"first at line {taken[domain]}; give one of them a `domain:` of its own",
                    )
                taken[domain] = self.document.line(place)
                servers.append(Server(domain, implementation, policy, certificate, len(servers)))
        if len(servers) < 2:
            raise self.document.error(
                f"a federation of {len(servers)} server{'s' if len(servers) != 1 else ''} has no pair",
                ["servers"],
                value=len(servers),
                hint="name at least two servers",
            )
        if len(servers) > MAX_SERVERS:
            raise self.document.error(
                f"{len(servers)} servers are more than one machine takes ({MAX_SERVERS})", ["servers"], value=len(servers)
            )
        return tuple(servers)

    def implementations(self, value: str | list[str], place: list[str | int]) -> list[Implementation]:
        implementations = []
        for position, text in enumerate(_listed(value)):
            here = [*place, position] if isinstance(value, list) else place
            try:
                implementations.append(self.catalog.resolve(text))
            except InputError as error:
                raise self.document.at(error, here) from None
        return implementations

    def certificate(self, name: str, place: list[str | int]) -> str:
        if name not in PROFILES:
            raise self.document.error(f"unknown certificate `{name}`", place, value=name, allowed=PROFILES)
        return name

    def policy(self, spec: PolicySpec, place: list[str | int], base: Policy | None = None) -> Policy:
        """The policy that ``spec`` names; in a phase, dimensions without a preset change the configured one (``base``)."""
        if isinstance(spec, str):
            if spec not in PRESETS:
                raise self.document.error(f"unknown policy `{spec}`", place, value=spec, allowed=PRESETS)
            return PRESETS[spec]
        changes = {key: _text(value) for key, value in spec.items() if key != "preset"}
        preset = str(spec.get("preset", base.preset if base else ""))
        if preset not in PRESETS:
            raise self.document.error(
                f"unknown policy `{preset}`" if preset else "a policy record needs a `preset`",
                [*place, "preset"],
                value=preset or None,
                allowed=PRESETS,
            )
        values = {d.name: d.values for d in DIMENSIONS}
        for name, value in changes.items():
            if name not in values:
                raise self.document.error(f"unknown dimension `{name}`", [*place, name], value=name, allowed=["preset", *values])
            if value not in values[name]:
                raise self.document.error(f"`{name}` cannot be {value!r}", [*place, name], value=value, allowed=values[name])
        if base and "preset" not in spec:
            kept = {d.name: value_of(base, d.name) for d in DIMENSIONS}
            changes = {name: v for name, v in kept.items() if v is not None} | changes
        policy = make_policy(preset, changes)
        if reason := contradiction(policy):
            raise self.document.error(f"the policy contradicts itself: {reason}", place, value=policy.name)
        return policy

    def phase(self, position: int, entry: PhaseEntry, servers: tuple[Server, ...]) -> Phase:
        place: list[str | int] = ["phases", position]
        if entry.where and not entry.set:
            raise self.document.error("`where` without `set` changes nothing", [*place, "where"], hint="add `set:` beside it")
        changes: list[tuple[Where, Set, list[str | int]]] = []
        if entry.set:
            changes.append((entry.where or Where(), entry.set, place))
        changes += [(c.where, c.set, [*place, "changes", n]) for n, c in enumerate(entry.changes)]
        settings = {s.domain: (s.policy, s.certificate) for s in servers}
        for where, new, here in changes:
            if new.policy is None and new.certificate is None:
                raise self.document.error("`set` changes nothing", [*here, "set"], allowed=["policy", "certificate"])
            bound = [s for s in servers if self.selects(where, s)]
            if not bound:
                raise self.nobody(where, here, servers)
            for server in bound:
                policy, certificate = settings[server.domain]
                if new.policy is not None:
                    policy = self.policy(new.policy, [*here, "set", "policy"], policy)
                if new.certificate is not None:
                    certificate = self.certificate(new.certificate, [*here, "set", "certificate"])
                settings[server.domain] = (policy, certificate)
        return Phase(
            entry.name,
            {
                s.domain: Settings(
                    *settings[s.domain],
                    self.catalog.image(s.implementation).unsupported(settings[s.domain][0], s.implementation.release),
                )
                for s in servers
            },
        )

    def facets(self, server: Server) -> dict[str, tuple[str, ...]]:
        """What each key of a `where` is compared with."""
        version = self.catalog.image(server.implementation).spec.releases[server.implementation.release].version
        return {
            "implementation": (str(server.implementation), server.implementation.name),
            "version": (version,),
            "policy": (server.policy.name, server.policy.preset),
            "certificate": (server.certificate,),
            "domain": (server.domain,),
        }

    def selects(self, where: Where, server: Server) -> bool:
        facets = self.facets(server)
        return all(
            any(fnmatch.fnmatchcase(text, glob) for text in facets[key] for glob in _listed(wanted))
            for key, wanted in where.model_dump(exclude_none=True).items()
        )

    def nobody(self, where: Where, here: list[str | int], servers: tuple[Server, ...]) -> Exception:
        """Name the key that matches nobody, or say that only the combination does."""
        for key, wanted in where.model_dump(exclude_none=True).items():
            texts = sorted({text for s in servers for text in self.facets(s)[key]})
            for glob in _listed(wanted):
                if not fnmatch.filter(texts, glob):
                    return self.document.error(
                        f"the selector `{key}: {glob}` matches no server",
                        [*here, "where", key],
                        value=glob,
                        allowed=texts,
                        hint=did_you_mean(glob, texts),
                    )
        return self.document.error(
            "the selector matches no server: each key matches some, but no server all of them", [*here, "where"]
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)  # YAML reads an unquoted 1.2 as a number


def domain_of(implementation: Implementation, policy: Policy, certificate: str) -> str:
    """The domain that a server gets to which the scenario gives none."""
    parts = [implementation.name, implementation.release, policy.name] + ([certificate] if certificate != "ca" else [])
    label = re.sub(
        r"[^a-z0-9]+",
        "-",
        "-".join(parts).replace("tls_min=", "min").replace("tls_max=", "max").replace("forward_secrecy=", "fs-"),
    ).strip("-")
    return f"{label[:63].rstrip('-')}.example"


def _is_domain(text: str) -> bool:
    labels = text.split(".")
    return (
        len(text) <= 120  # leaves room for _xmpp-server._tcp and for a one-byte DER length
        and len(labels) >= 2  # one implementation does no SRV look-up for a name without a dot
        and labels[-1] not in ("test", "invalid", "localhost", "onion", "local")  # answered by resolvers themselves (RFC 6761)
        and all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
    )

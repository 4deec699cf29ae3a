"""What a user gives of their own (an image, a build, a configuration): where it stands in a plan, and how a record keeps it.

Rule: arguments, files and a plan in, a plan and a catalog out; starts nothing. A folder of one's own needs none of this: it is
one implementation more in the catalog, and here it only gets its place in a scenario that does not name it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.model import Implementation, InputError, Phase, Plan, Policy, Server, Settings
from testbed.plan.catalog import Catalog, Given
from testbed.plan.policy import OWN
from testbed.plan.scenario import MAX_SERVERS, domain_of
from testbed.yamlfile import did_you_mean

RELEASE = "mine"
"""The release of the first thing that is given of an implementation; `mine-2` is the second."""
NOT_YET = "the configuration is the user's own, and what it does has not been found out"


@dataclass(frozen=True)
class Gift:
    """One option of the command line, read and checked."""

    option: str
    """`image`, `build` or `config`."""
    name: str
    release: str | None
    """Beside which release it stands; None: any."""
    value: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of a configuration: file in /etc/testbed -> text."""

    @property
    def words(self) -> str:
        """The option as it was written."""
        return f"--{self.option} {self.name}{f'@{self.release}' if self.release else ''}={self.value}"


@dataclass(frozen=True)
class Own:
    """A release that is made of gifts."""

    implementation: Implementation
    image: str | None = None
    """An image of the engine, by name or id."""
    build: Path | None = None
    """A folder with a Dockerfile."""
    version: str | None = None
    """Of a recorded run's own: what it said of its version."""
    source: tuple[str, ...] = ()
    """Of a recorded run's own: the options that gave it."""


# --- the options ------------------------------------------------------------------------------------------------------


def read(option: str, text: str, catalog: Catalog) -> Gift:
    """One `IMPLEMENTATION[@RELEASE]=VALUE`. Raises InputError."""
    what = {"image": "IMAGE", "build": "FOLDER", "config": "FILE"}[option]
    key, equals, value = text.partition("=")
    name, at, _ = key.partition("@")
    example = f"--{option} {next(iter(catalog.images))}={what}"
    if not equals or not value:
        raise InputError(f"--{option} takes IMPLEMENTATION={what}, not `{text}`", value=text, hint=f"such as `{example}`")
    if name not in catalog.images:
        raise InputError(
            f"--{option}: unknown implementation `{key}`",
            value=key,
            allowed=(*catalog.images, *catalog.releases()),
            hint=did_you_mean(key, [*catalog.images, *catalog.releases()])
            or "an implementation that is not among them comes with --server FOLDER",
        )
    release = None
    if at:
        try:
            release = catalog.resolve(key)[0].release
        except ValueError as error:
            message, allowed, hint = str(error).split("|")
            raise InputError(f"--{option}: {message}", value=key, allowed=tuple(allowed.split(", ")), hint=hint or None) from None
    if option == "build":
        _dockerfile(Path(value), text)
    files = _files(Path(value), list(catalog.images[name].spec.config.values()), name) if option == "config" else {}
    return Gift(option, name, release, value, files)


def _dockerfile(folder: Path, text: str) -> None:
    if not folder.is_dir():
        raise InputError("--build takes a folder, and there is none", file=str(folder), value=text)
    if not (folder / "Dockerfile").is_file():
        raise InputError(
            "the folder has no Dockerfile", file=str(folder), value=text, hint="docs/server-projects.md shows one of four lines"
        )


def _files(path: Path, targets: list[str], name: str) -> dict[str, str]:
    """Which file of /etc/testbed each given file is. Raises InputError."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file())
        if not found:
            raise InputError("an empty folder is no configuration", file=str(path), allowed=tuple(targets))
        return {p.name: _text(p) for p in found}
    if not path.is_file():
        raise InputError("no such file", file=str(path), hint="--config takes a file, or a folder of several")
    if path.name in targets or len(targets) == 1:
        return {path.name if path.name in targets else targets[0]: _text(path)}
    alike = [t for t in targets if path.suffix and t.endswith(path.suffix)]
    if len(alike) != 1:
        raise InputError(
            f"which of {name}'s files this is cannot be told by its name",
            file=str(path),
            value=path.name,
            allowed=tuple(targets),
            hint="name the file so, or give a folder with files of these names",
        )
    return {alike[0]: _text(path)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", file=str(path)) from None


# --- its place in a plan ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """A plan with what is the user's own in it."""

    plan: Plan
    catalog: Catalog
    owns: tuple[Own, ...] = ()


def place(plan: Plan, catalog: Catalog, gifts: Sequence[Gift], *, instead: bool = False) -> Placed:
    """Put what was given beside the servers of its implementation (or in their place). Raises InputError.

    A build or image gets one server for each that the scenario has of the implementation and that is set differently; where it
    has none, one for each way in which any server of the scenario is set. A configuration of one's own gets one server.
    """
    configured, owns = plan, []
    for software, config in _together(gifts):
        gift = software or config
        assert gift, "one of the two is there"
        models = [s for s in configured.servers if s.implementation.name == gift.name]
        models = [s for s in models if gift.release in (None, s.implementation.release)]
        if instead and not models:
            raise InputError(
                f"the scenario has no server that {gift.words} could stand in for",
                value=f"{gift.name}@{gift.release}" if gift.release else gift.name,
                allowed=tuple(sorted({str(s.implementation) for s in configured.servers})),
                hint="without --instead it is added",
            )
        releases = [s.implementation.release for s in models]
        catalog, own = _release(catalog, software, config, releases)
        owns.append(own)
        plan = _stand(
            plan, configured, catalog, own.implementation, models or list(configured.servers), own=bool(config), instead=instead
        )
    for name, image_ in catalog.images.items():
        if image_.outside and not any(s.implementation.name == name for s in plan.servers):
            for release in image_.spec.releases:
                plan = _stand(
                    plan, configured, catalog, Implementation(name, release), list(configured.servers), own=False, instead=False
                )
    if len(plan.servers) > MAX_SERVERS:
        raise InputError(
            f"with what was given there are {len(plan.servers)} servers, more than one machine takes ({MAX_SERVERS})",
            value=len(plan.servers),
            hint="--instead, or a scenario with fewer servers",
        )
    return Placed(plan, catalog, tuple(owns))


def release_of(catalog: Catalog, gifts: Sequence[Gift]) -> tuple[Catalog, tuple[Own, ...]]:
    """The catalog with what was given, without any scenario. Raises InputError."""
    owns = []
    for software, config in _together(gifts):
        catalog, own = _release(catalog, software, config, ())
        owns.append(own)
    return catalog, tuple(owns)


def like(catalog: Catalog, implementation: Implementation) -> Implementation:
    """The release that one of the user's own is like."""
    given = catalog.given(implementation)
    assert given, "only what was given is like another"
    return Implementation(implementation.name, given.like)


def _release(catalog: Catalog, software: Gift | None, config: Gift | None, beside: Sequence[str]) -> tuple[Catalog, Own]:
    """One release more. It is like the one that was named, else the newest of those that it stands beside, else the newest."""
    gift = software or config
    assert gift, "one of the two is there"
    image = catalog.images[gift.name]
    known = [r for r in image.spec.releases if r not in image.given]
    like = gift.release or max(beside, key=known.index, default=known[-1])
    number = len(image.given) + 1
    implementation = Implementation(gift.name, f"{RELEASE}-{number}" if number > 1 else RELEASE)
    words = tuple(g.words for g in (software, config) if g)
    given = Given(like, words, config.files if config else {}, NOT_YET if config else None)
    own = Own(
        implementation,
        software.value if software and software.option == "image" else None,
        Path(software.value) if software and software.option == "build" else None,
    )
    return catalog.with_given(implementation, given), own


def _together(gifts: Sequence[Gift]) -> Iterator[tuple[Gift | None, Gift | None]]:
    """Software and configuration that were given under one name are one server. Raises InputError if that is ambiguous."""
    for key in dict.fromkeys((g.name, g.release) for g in gifts):
        mine = [g for g in gifts if (g.name, g.release) == key]
        software, configs = [g for g in mine if g.option != "config"], [g for g in mine if g.option == "config"]
        if software and configs and len(software) != len(configs):
            raise InputError(
                f"{len(software)} builds or images and {len(configs)} configurations of {key[0]}: which belong together?",
                value=" ".join(g.words for g in mine),
                hint="give as many of the one as of the other, the first goes with the first; or name a release with some "
                "(NAME@RELEASE=…): they are servers of their own",
            )
        yield from itertools.zip_longest(software, configs)


def _stand(
    plan: Plan,
    start: Plan,
    catalog: Catalog,
    implementation: Implementation,
    models: list[Server],
    *,
    own: bool,
    instead: bool,
) -> Plan:
    """The plan with servers of ``implementation`` beside the models, or in their place; they are set as in ``start``."""
    servers = list(plan.servers)
    settings = {p.name: dict(p.settings) for p in plan.phases}
    if instead:
        gone = {s.domain for s in (models[1:] if own else [])}  # one configuration is one server
        chosen = [m for m in models if m.domain not in gone]
        servers = [s for s in servers if s.domain not in gone]
    else:
        chosen = models[:1] if own else _different(start, models)
    policy = OWN if own else None
    for model in chosen:
        certificate = "ca" if own else model.certificate
        new = dataclasses.replace(model, implementation=implementation, policy=policy or model.policy, certificate=certificate)
        place = next(
            (n for n, s in enumerate(servers) if (s.domain, s.implementation) == (model.domain, model.implementation)), None
        )
        if instead and place is not None:
            servers[place] = new
        else:
            new = dataclasses.replace(new, domain=_free(domain_of(implementation, new.policy, certificate), servers))
            servers.append(new)
        for phase in start.phases:
            was = phase.settings[model.domain]
            wanted = policy or was.policy
            reason = catalog.image(implementation).unsupported(wanted, implementation.release)
            settings[phase.name][new.domain] = Settings(wanted, "ca" if own else was.certificate, reason)
    servers = [dataclasses.replace(s, index=n) for n, s in enumerate(servers)]
    there = {s.domain for s in servers}
    return dataclasses.replace(
        plan,
        servers=tuple(servers),
        phases=tuple(Phase(name, {d: s for d, s in of.items() if d in there}) for name, of in settings.items()),
        pairs=tuple((a.domain, b.domain) for a, b in itertools.combinations(servers, 2)),
    )


def _different(plan: Plan, models: Iterable[Server]) -> list[Server]:
    """One server for each way of being set, over all phases."""
    found: dict[object, Server] = {}
    for server in models:
        steps = tuple((p.settings[server.domain].policy, p.settings[server.domain].certificate) for p in plan.phases)
        found.setdefault((server.policy, server.certificate, steps), server)
    return list(found.values())


def _free(domain: str, servers: Iterable[Server]) -> str:
    """The domain, or with a number if it is taken."""
    taken, label = {s.domain for s in servers}, domain.removesuffix(".example")
    names = itertools.chain([domain], (f"{label[:58]}-{n}.example" for n in itertools.count(2)))
    return next(n for n in names if n not in taken)


def found_out(placed: Placed, implementation: Implementation, policy: Policy | None, unknown: str | None) -> Placed:
    """The same, with what a server with a configuration of one's own was seen to do, or why that cannot be said."""
    given = placed.catalog.given(implementation)
    assert given, "only what was given is looked at"
    catalog = placed.catalog.with_given(implementation, dataclasses.replace(given, unknown=unknown))
    chosen = policy or OWN
    domains = {s.domain for s in placed.plan.servers if s.implementation == implementation}
    servers = tuple(dataclasses.replace(s, policy=chosen) if s.domain in domains else s for s in placed.plan.servers)
    phases = tuple(
        Phase(p.name, {d: dataclasses.replace(s, policy=chosen) if d in domains else s for d, s in p.settings.items()})
        for p in placed.plan.phases
    )
    return Placed(dataclasses.replace(placed.plan, servers=servers, phases=phases), catalog, placed.owns)


# --- a record's own ---------------------------------------------------------------------------------------------------

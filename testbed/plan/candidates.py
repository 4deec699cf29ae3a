"""What a user brings (an image, a build, a configuration): read from the options, and given its place in a plan.

Rule: arguments, files and a plan in, a plan and a catalog out; starts nothing. A folder that a user brings needs none of this:
it is one implementation more in the catalog, and here it only gets its place in a scenario that does not name it.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import reading
from testbed.model import Implementation, InputError, Phase, Plan, Policy, Server, Settings
from testbed.plan.catalog import Candidate, Catalog, buildable
from testbed.plan.policy import CANDIDATE_POLICY
from testbed.plan.scenario import MAX_SERVERS, domain_of
from testbed.yamlfile import did_you_mean

RELEASE = "mine"
"""The release of the first candidate of an implementation; `mine-2` is the second."""
MOST_FILES = 100
MOST_BYTES = 1 << 20
"""Of a configuration's file."""
IMAGE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:@-]{0,509}[A-Za-z0-9])?")
"""Of everything that names an image on an engine: repository, tag, digest, id, or a short one."""
NOT_OBSERVED = "the configuration is the user's own, and what it does has not been found out"


@dataclass(frozen=True)
class CandidateOption:
    """One option of the command line, read and checked."""

    option: str
    """`image`, `build` or `config`."""
    name: str
    """The implementation's."""
    release: str | None
    """Beside which release the candidate stands; None: any."""
    value: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of a configuration: file in /etc/testbed -> text."""

    @property
    def written(self) -> str:
        """The option as it was written."""
        return f"--{self.option} {self.name}{f'@{self.release}' if self.release else ''}={self.value}"


# --- the options ------------------------------------------------------------------------------------------------------


def read(option: str, text: str, catalog: Catalog) -> CandidateOption:
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
            release = catalog.resolve(key).release
        except InputError as error:
            raise InputError(f"--{option}: {error.message}", value=key, allowed=error.allowed, hint=error.hint) from None
    if option == "image" and not IMAGE_NAME.fullmatch(value):
        hint = "letters, digits, and `.`, `_`, `-`, `/`, `:`, `@` between them, as `docker image ls` shows it"
        raise InputError(f"--image: `{value}` cannot be the name of an image", value=value, hint=hint)
    if option == "build":
        _dockerfile(Path(value), text)
    files = _files(Path(value), list(catalog.images[name].spec.config.values()), name) if option == "config" else {}
    return CandidateOption(option, name, release, value, files)


def _dockerfile(folder: Path, text: str) -> None:
    if not folder.is_dir():
        raise InputError("--build takes a folder, and there is none", file=str(folder), value=text)
    if not (folder / "Dockerfile").is_file():
        raise InputError(
            "the folder has no Dockerfile", file=str(folder), value=text, hint="docs/server-projects.md shows one of four lines"
        )
    buildable(folder)


def _files(path: Path, targets: list[str], name: str) -> dict[str, str]:
    """Which file of /etc/testbed each given file is. Raises InputError."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() or p.is_symlink())
        if not files:
            raise InputError("an empty folder is no configuration", file=str(path), allowed=tuple(targets))
        for file in files:
            if not reading.plain(file.name):
                hint = "letters, digits, `.`, `_`, `+` and `-`: it is a name in /etc/testbed"
                raise InputError("not a plain name of a file", file=str(file), value=file.name, hint=hint)
        if len(files) > MOST_FILES:
            raise InputError(f"{len(files)} files are more than a configuration has ({MOST_FILES})", file=str(path))
        return {p.name: _text(p) for p in files}
    if not path.is_file():
        raise InputError("no such file", file=str(path), hint="--config takes a file, or a folder of several")
    if path.name in targets or len(targets) == 1:
        return {path.name if path.name in targets else targets[0]: _text(path)}
    alike = [t for t in targets if path.suffix and t.endswith(path.suffix)]
    if len(alike) != 1:
        raise InputError(
            f"the name does not show which of {name}'s files this is",
            file=str(path),
            value=path.name,
            allowed=tuple(targets),
            hint="rename the file, or give a folder with files of these names",
        )
    return {alike[0]: _text(path)}


def _text(path: Path) -> str:
    """A configuration's text, which goes into containers and evidence. Raises InputError, also if it lies in another folder."""
    reading.inside(path.parent, path.name, hint="give the file that the link leads to, or put it there")
    try:
        return reading.text(path, MOST_BYTES, hint="a configuration is a text file")
    except FileNotFoundError:
        raise InputError("no such file", file=str(path), hint="remove the link, or put a file there") from None


# --- its place in a plan ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """A plan, and the catalog with the candidates that are in it."""

    plan: Plan
    catalog: Catalog

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What the user brings of the plan's servers."""
        planned = {s.implementation for s in self.plan.servers}
        return tuple(c for c in self.catalog.candidates if c.implementation in planned)


def place(plan: Plan, catalog: Catalog, options: Sequence[CandidateOption], *, instead: bool = False) -> Planned:
    """Put the candidates beside the servers of their implementation (or in their place). Raises InputError.

    A build or image gets one server for each that the scenario has of the implementation and that is set differently; where it
    has none, one for each way in which any server of the scenario is set. A configuration gets one server.
    """
    scenario = plan
    for software, config in _together(options):
        option = software or config
        assert option, "one of the two is there"
        models = [s for s in scenario.servers if s.implementation.name == option.name]
        models = [s for s in models if option.release in (None, s.implementation.release)]
        if instead and not models:
            raise InputError(
                f"the scenario has no server that {option.written} could stand in for",
                value=f"{option.name}@{option.release}" if option.release else option.name,
                allowed=tuple(sorted({str(s.implementation) for s in scenario.servers})),
                hint="without --instead it is added",
            )
        candidate = _candidate(catalog, software, config, [s.implementation.release for s in models])
        catalog = catalog.with_candidate(candidate)
        plan = _stand(
            plan,
            scenario,
            catalog,
            candidate.implementation,
            models or list(scenario.servers),
            configured=bool(config),
            instead=instead,
        )
    for name, image in catalog.images.items():
        if image.outside and not any(s.implementation.name == name for s in plan.servers):
            for release in image.spec.releases:
                implementation, models = Implementation(name, release), list(scenario.servers)
                plan = _stand(plan, scenario, catalog, implementation, models, configured=False, instead=False)
    if len(plan.servers) > MAX_SERVERS:
        raise InputError(
            f"with your servers there are {len(plan.servers)}, more than one machine supports ({MAX_SERVERS})",
            value=len(plan.servers),
            hint="--instead, or a scenario with fewer servers",
        )
    return Planned(plan, catalog)


def add(catalog: Catalog, options: Sequence[CandidateOption]) -> Catalog:
    """The catalog with the candidates, without any scenario. Raises InputError."""
    for software, config in _together(options):
        catalog = catalog.with_candidate(_candidate(catalog, software, config, ()))
    return catalog


def _candidate(
    catalog: Catalog, software: CandidateOption | None, config: CandidateOption | None, beside: Sequence[str]
) -> Candidate:
    """One release more. It is like the one that was named, else the newest of those that it stands beside, else the newest."""
    option = software or config
    assert option, "one of the two is there"
    image = catalog.images[option.name]
    packaged = [r for r in image.spec.releases if r not in image.candidates]
    number = len(image.candidates) + 1
    return Candidate(
        Implementation(option.name, f"{RELEASE}-{number}" if number > 1 else RELEASE),
        like=option.release or max(beside, key=packaged.index, default=packaged[-1]),
        source=tuple(o.written for o in (software, config) if o),
        image=software.value if software and software.option == "image" else None,
        build=Path(software.value) if software and software.option == "build" else None,
        files=config.files if config else {},
        unknown=NOT_OBSERVED if config else None,
    )


def _together(options: Sequence[CandidateOption]) -> Iterator[tuple[CandidateOption | None, CandidateOption | None]]:
    """Software and configuration of one name are one candidate. Raises InputError if that is ambiguous."""
    for key in dict.fromkeys((o.name, o.release) for o in options):
        named = [o for o in options if (o.name, o.release) == key]
        software, configs = [o for o in named if o.option != "config"], [o for o in named if o.option == "config"]
        if software and configs and len(software) != len(configs):
            raise InputError(
                f"{len(software)} builds or images and {len(configs)} configurations of {key[0]}: which belong together?",
                value=" ".join(o.written for o in named),
                hint="give as many of the one as of the other: the first belongs to the first; or name a release with some "
                "(NAME@RELEASE=…): they are servers of their own",
            )
        yield from itertools.zip_longest(software, configs)


def _stand(
    plan: Plan,
    scenario: Plan,
    catalog: Catalog,
    implementation: Implementation,
    models: list[Server],
    *,
    configured: bool,
    instead: bool,
) -> Plan:
    """The plan with servers of ``implementation`` beside the models, or in their place; they are set as in ``scenario``."""
    servers = list(plan.servers)
    settings = {p.name: dict(p.settings) for p in plan.phases}
    if instead:
        gone = {s.domain for s in (models[1:] if configured else [])}  # one configuration is one server
        chosen = [m for m in models if m.domain not in gone]
        servers = [s for s in servers if s.domain not in gone]
    else:
        chosen = models[:1] if configured else _different(scenario, models)
    policy = CANDIDATE_POLICY if configured else None
    for model in chosen:
        certificate = "ca" if configured else model.certificate
        new = dataclasses.replace(model, implementation=implementation, policy=policy or model.policy, certificate=certificate)
        place = next(
            (n for n, s in enumerate(servers) if (s.domain, s.implementation) == (model.domain, model.implementation)), None
        )
        if instead and place is not None:
            servers[place] = new
        else:
            new = dataclasses.replace(new, domain=_free(domain_of(implementation, new.policy, certificate), servers))
            servers.append(new)
        for phase in scenario.phases:
            was = phase.settings[model.domain]
            wanted = policy or was.policy
            reason = catalog.image(implementation).unsupported(wanted, implementation.release)
            settings[phase.name][new.domain] = Settings(wanted, "ca" if configured else was.certificate, reason)
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
    distinct: dict[object, Server] = {}
    for server in models:
        steps = tuple((p.settings[server.domain].policy, p.settings[server.domain].certificate) for p in plan.phases)
        distinct.setdefault((server.policy, server.certificate, steps), server)
    return list(distinct.values())


def _free(domain: str, servers: Iterable[Server]) -> str:
    """The domain, or with a number if it is taken."""
    taken, label = {s.domain for s in servers}, domain.removesuffix(".example")
    names = itertools.chain([domain], (f"{label[:58]}-{n}.example" for n in itertools.count(2)))
    return next(n for n in names if n not in taken)


def observed(planned: Planned, implementation: Implementation, policy: Policy | None, unknown: str | None) -> Planned:
    """The same, with what a server with a candidate's configuration was seen to do, or why that cannot be said."""
    candidate = planned.catalog.candidate(implementation)
    assert candidate, "only candidates are looked at"
    catalog = planned.catalog.with_candidate(dataclasses.replace(candidate, unknown=unknown))
    chosen = policy or CANDIDATE_POLICY
    domains = {s.domain for s in planned.plan.servers if s.implementation == implementation}
    servers = tuple(dataclasses.replace(s, policy=chosen) if s.domain in domains else s for s in planned.plan.servers)
    phases = tuple(
        Phase(p.name, {d: dataclasses.replace(s, policy=chosen) if d in domains else s for d, s in p.settings.items()})
        for p in planned.plan.phases
    )
    return Planned(dataclasses.replace(planned.plan, servers=servers, phases=phases), catalog)

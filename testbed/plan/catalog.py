"""The catalog: every implementation of images/, and what a user brings beside them. Knows no implementation's name.

A folder whose name starts with ``_`` is a part of the testbed itself (base, name server, driver, wiretap).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from testbed import ROOT, reading
from testbed.model import Implementation, InputError, Policy, Server, Settings
from testbed.plan import templates
from testbed.plan.certificates import PROFILES
from testbed.plan.image_files import FeatureNote, ImageFile, LogsFile, read_image, read_logs
from testbed.plan.policy import DIMENSIONS, PRESETS, changed, value_of
from testbed.sides import Side
from testbed.yamlfile import did_you_mean

DEFAULT_ROOT = ROOT / "images"
PIECE = 1 << 20
"""Bytes of a file that are in memory at once."""
LINK = "put the file itself into the folder: no file of a folder is read from elsewhere"
DOMAIN_PLACEHOLDER = "TESTBED_DOMAIN"
"""Stands for the server's domain in a configuration that a user brings."""


@dataclass(frozen=True)
class Candidate:
    """A release that a user brings: software, a configuration, or both; for the rest it is like a release of the folder."""

    implementation: Implementation
    like: str
    """The release of the folder whose templates and features hold."""
    source: tuple[str, ...] = ()
    """The options that bring it, as they were written."""
    image: str | None = None
    """An image of the engine, by name or id."""
    build: Path | None = None
    """A folder with a Dockerfile."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File in /etc/testbed -> text that takes its template's place. With any, the policy is not ours to set."""
    unknown: str | None = None
    """Why nothing can be expected of a server with these files; None if what it does was observed."""
    version: str | None = None
    """What it said of its version, where a record tells."""
    recorded: bool = False
    """Read back from a record: ``image`` is the id that was measured, whatever brought it then."""

    @property
    def packaged(self) -> Implementation:
        """The release of the folder that it is like."""
        return Implementation(self.implementation.name, self.like)


@dataclass(frozen=True)
class Image:
    """One implementation's folder, read and checked, and the candidates that are releases of it."""

    folder: Path
    spec: ImageFile
    logs: LogsFile
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    """By release."""
    outside: bool = False
    """A folder that the user brings, not one of ``images/``."""

    def with_candidate(self, candidate: Candidate) -> Image:
        """The same with one release more (or with what was observed of it)."""
        release = candidate.implementation.release
        releases = {**self.spec.releases, release: self.spec.releases[candidate.like]}
        spec = self.spec.model_copy(update={"releases": releases})
        return replace(self, spec=spec, candidates={**self.candidates, release: candidate})

    @property
    def name(self) -> str:
        """The implementation's name, which is the folder's."""
        return self.folder.name

    def notes(self, policy: Policy, release: str) -> Iterator[tuple[str, str, FeatureNote]]:
        """What image.yaml says of the values of ``policy`` on a release: dimension, value, note."""
        if candidate := self.candidates.get(release):
            if candidate.files:
                return  # of a configuration that a user brings image.yaml says nothing
            release = candidate.like
        values = {d.name: value_of(policy, d.name) for d in DIMENSIONS}
        for dimension, value in values.items():
            entry = self.spec.features.get(dimension, {}).get(value or "")
            for note in entry if isinstance(entry, list) else [entry] if entry else []:
                conditions = {k: v if isinstance(v, list) else [v] for k, v in note.when.items()}
                if (note.releases is None or release in note.releases) and all(values[k] in v for k, v in conditions.items()):
                    yield dimension, str(value), note

    def unsupported(self, policy: Policy, release: str) -> str | None:
        """Why this implementation cannot be set to ``policy``, or None."""
        for dimension, value, note in self.notes(policy, release):
            if note.unsupported:
                return f"{self.spec.title} cannot express {dimension}={value}: {note.unsupported}"
        return None

    def effective(self, policy: Policy, release: str) -> Policy:
        """The policy that the server in effect shows when it is set to ``policy``: what expectations are computed from."""
        changes = {dimension: note.acts_as for dimension, _, note in self.notes(policy, release) if note.acts_as}
        return changed(policy, changes) if changes else policy

    def crosstalks(self, policy: Policy) -> bool:
        """Whether streams of a server with ``policy`` disturb each other."""
        return any(value_of(policy, dimension) in values for dimension, values in self.spec.crosstalk.items())

    def digest(self) -> str:
        """Changes when any file of the folder does: an image is rebuilt when its label differs."""
        return folder_digest(self.folder)

    def render(self, server: Server, settings: Settings, *, timers: str, ipv6: bool, stretch: int = 1) -> dict[str, bytes]:
        """The files of ``/etc/testbed`` that say how the server is set. Raises InputError if a template is wrong.

        ``stretch``: how much longer short timers are, where the machine is slow.
        """
        candidate = self.candidates.get(server.implementation.release)
        brought = candidate.files if candidate else {}
        # what a configuration that a user brings lacks of several files is rendered as for a server that demands nothing
        policy = PRESETS["opportunistic"] if brought else settings.policy
        release = candidate.like if candidate else server.implementation.release
        version = self.spec.releases[release].version
        values = templates.variables(
            server, settings, policy, release=release, version=version, timers=timers, stretch=stretch, ipv6=ipv6
        )
        wanted = {template: target for template, target in self.spec.config.items() if target not in brought}
        return {
            "openssl.cnf": templates.openssl_config(policy),
            **templates.render(self.folder, wanted, values, outside=self.outside),
            **{target: text.replace(DOMAIN_PLACEHOLDER, server.domain).encode() for target, text in brought.items()},
        }


@dataclass(frozen=True)
class Catalog:
    """All implementations that there are."""

    images: dict[str, Image]

    def releases(self) -> tuple[str, ...]:
        """Every `implementation@release`."""
        return tuple(f"{name}@{release}" for name, image in self.images.items() for release in image.spec.releases)

    def image(self, implementation: Implementation) -> Image:
        """The folder of an implementation; KeyError if there is none."""
        return self.images[implementation.name]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every release that a user brings (folders that a user brings are implementations like all others)."""
        return tuple(candidate for image in self.images.values() for candidate in image.candidates.values())

    def candidate(self, implementation: Implementation) -> Candidate | None:
        """What a user brings for this release; None for one of the folder's own."""
        return self.images[implementation.name].candidates.get(implementation.release)

    def is_candidate(self, implementation: Implementation) -> bool:
        """Whether the user brings the release or the whole folder."""
        return self.images[implementation.name].outside or self.candidate(implementation) is not None

    def unknown(self, implementation: Implementation) -> str | None:
        """Why nothing can be expected of a server of this release; None where something can."""
        candidate = self.candidate(implementation)
        return candidate.unknown if candidate else None

    def with_candidate(self, candidate: Candidate) -> Catalog:
        """The same with a release that a user brings, or with what was observed of it."""
        name = candidate.implementation.name
        return Catalog({**self.images, name: self.images[name].with_candidate(candidate)})

    def resolve(self, text: str) -> Implementation:
        """The Implementation that ``text`` names: `name@release`, or `name@version-prefix` where that is of one release only.

        Raises InputError, which knows no file and line: whoever read the text does.
        """
        name, at, wanted = text.partition("@")
        if name not in self.images or not at:
            known = self.releases()
            raise InputError(f"unknown implementation `{text}`", value=text, allowed=known, hint=did_you_mean(text, known))
        releases = self.images[name].spec.releases
        if wanted in releases:
            return Implementation(name, wanted)
        matching = [r for r, release in releases.items() if (release.version + ".").startswith(wanted + ".")]
        if len(matching) == 1:
            return Implementation(name, matching[0])
        named = [f"{name}@{r}" for r in releases]
        allowed = (*named, *(f"{name}@{release.version}" for release in releases.values()))
        if matching:
            message, hint = f"`{text}` names more than one release ({', '.join(matching)})", "name the release instead"
            raise InputError(message, value=text, allowed=allowed, hint=hint)
        raise InputError(f"unknown implementation `{text}`", value=text, allowed=allowed, hint=did_you_mean(text, named))

    def side(self, server: Server, settings: Settings) -> Side:
        """One end of a pair, for the table of expectations."""
        profile = PROFILES[settings.certificate]
        spec = self.image(server.implementation).spec
        return Side(
            self.image(server.implementation).effective(settings.policy, server.implementation.release),
            profile.defect,
            tuple(spec.mechanisms),
            spec.dialback_over_verified,
            profile.defective_as,
        )


def load(root: Path = DEFAULT_ROOT, *, extra: Sequence[Path] = ()) -> Catalog:
    """Read every implementation under ``root``, and the folders of ``extra``, which a user brings.

    Raises InputError for a folder that lacks a file or says something wrong, and where two have one name.
    """
    if not root.is_dir():
        raise InputError("no such folder of images", file=str(root))
    images = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith(("_", ".")):
            images[folder.name] = load_image(folder)
    if not images:
        raise InputError(
            "no implementation in this folder", file=str(root), hint="each implementation is a folder with an image.yaml"
        )
    for folder in (f.resolve() for f in extra):
        if not folder.is_dir():
            raise InputError("no such folder", file=str(folder), hint="--server takes a folder like those of images/")
        if folder.name in images:
            raise InputError(
                f"there is an implementation `{folder.name}` already, in {images[folder.name].folder}",
                file=str(folder),
                value=folder.name,
                hint="give the folder, and `implementation:` in its image.yaml, another name",
            )
        images[folder.name] = load_image(folder, outside=True)
    return Catalog(images)


def load_image(folder: Path, *, outside: bool = False) -> Image:
    """Read one implementation's folder. Raises InputError. ``outside``: a user brings it."""
    for needed in ("image.yaml", "Dockerfile", "logs.yaml"):
        if not (folder / needed).is_file():
            raise InputError(
                f"the implementation lacks `{needed}`",
                file=str(folder),
                value=needed,
                allowed=("image.yaml", "Dockerfile", "logs.yaml", "the templates that image.yaml names"),
                hint="images/README.md says what each file holds",
            )
        reading.inside(folder, needed, hint=LINK)
    buildable(folder)
    return Image(folder, read_image(folder), read_logs(folder / "logs.yaml", outside=outside), outside=outside)


def buildable(folder: Path) -> None:
    """Whether an engine's client reads no more of a folder than what the folder has. Raises InputError.

    The client puts symbolic links into the build's context as links, and follows none; but it opens these two by their names.
    """
    for name in ("Dockerfile", ".dockerignore"):
        path = reading.inside(folder, name, hint=LINK)
        if path.exists() and not path.is_file():
            raise InputError("cannot be read: not a regular file", file=str(path), hint="put a file there, or remove it")


def folder_digest(folder: Path) -> str:
    """The `digest` of a folder's build inputs. Raises InputError."""
    # logs.yaml and image.yaml are read on the outside: changing a log pattern must not rebuild the image
    outside = (".j2", ".yaml", ".md")
    return digest((path, folder) for path in sorted(folder.rglob("*")) if path.is_symlink() or path.suffix not in outside)


def digest(files: Iterable[tuple[Path, Path]]) -> str:
    """SHA-256 over files, each with the folder that its name is relative to, 16 hex digits. Raises InputError.

    A symbolic link counts by where it leads, which is not read. Nothing else than files counts, nor what Python keeps.
    """
    state = hashlib.sha256()
    for path, folder in files:
        name = path.relative_to(folder).as_posix().encode()
        try:
            if path.is_symlink():
                state.update(name + b"\0-> " + os.fsencode(path.readlink()) + b"\0")
            elif path.is_file() and "__pycache__" not in path.parts:
                state.update(name + b"\0")
                with path.open("rb") as file:
                    while piece := file.read(PIECE):
                        state.update(piece)
                state.update(b"\0")
        except OSError as error:
            hint = "whoever runs the testbed must be able to read every file of the folder"
            raise InputError(f"cannot be read: {reading.reason(error)}", file=str(path), hint=hint) from None
    return state.hexdigest()[:16]

"""Reads images/*/{image,logs}.yaml and renders configuration. Nothing here knows the name of an implementation.

A folder whose name starts with ``_`` is a part of the testbed itself (base, name server, driver, wiretap).
"""

from __future__ import annotations

import functools
import hashlib
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jinja2
from pydantic import BaseModel, ConfigDict, Field

from testbed import ROOT
from testbed.causes import CAUSES
from testbed.expectations import Side
from testbed.model import Implementation, InputError, Policy, Server, Settings
from testbed.plan.policy import DIMENSIONS, PRESETS, changed, cipher_string, value_of
from testbed.yamlfile import Document, did_you_mean

DEFAULT_ROOT = ROOT / "images"

CONSTANTS = {"direction": ("in", "out"), "mechanism": ("external", "dialback"), "cause": tuple(CAUSES)}
"""What `set` of a log pattern may give, and its values."""
GROUPS = ("peer", "session", "address", "tls_version", "cipher", "mechanism", "reason", "errors")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Release(_Strict):
    """One release of an implementation."""

    suite: str = Field(description="the Debian suite that the base image is made of")
    version: str = Field(description="the version prefix that the suite holds; the report uses what the package states")


class Ports(_Strict):
    """Where the server listens, inside the mesh."""

    c2s: int = 5222
    s2s: int = 5269


class FeatureNote(_Strict):
    """What an implementation makes of one value of one dimension, where that is not simply the value."""

    unsupported: str | None = Field(None, description="why the value cannot be expressed; its cells are `unsupported`")
    note: str | None = Field(None, description="how what the server does differs from the dimension's definition")
    acts_as: str | None = Field(None, description="the value of the same dimension that the server in effect shows instead")
    when: dict[str, str | list[str]] = Field({}, description="holds only where these other dimensions have one of these values")
    source: str | None = Field(None, description="where that is written, or how it was measured")
    releases: list[str] | None = Field(None, description="the releases it holds for; all, if absent")


class Quirk(_Strict):
    """Something that one would trip over."""

    title: str
    detail: str = ""
    releases: list[str] | None = None
    source: str


class Remedy(_Strict):
    """The setting of this implementation that mends a cause."""

    cause: str
    as_: Literal["sender", "receiver"] = Field(alias="as")
    text: str
    set: dict[str, str] | None = Field(None, description="the same remedy in dimensions of the policy, or `certificate`")


class ImageFile(_Strict):
    """`image.yaml`: one implementation."""

    implementation: str
    title: str
    homepage: str
    user: str = Field(description="the server's processes run as this user")
    package: str = Field(description="the running server's version is what dpkg says of this package")
    releases: dict[str, Release]
    config: dict[str, str] = Field(description="template in this folder -> file in /etc/testbed")
    ports: Ports = Ports()
    boot_weight: float = Field(1, gt=0, description="CPU seconds of a start")
    mechanisms: list[Literal["dialback", "external"]]
    dialback_over_verified: bool = Field(
        False, description="with authentication `external`, dialback is still taken from a peer whose certificate verified"
    )
    verifies: list[Literal["chain", "name", "purpose"]] = Field(
        ["chain", "name"],
        description="what is looked at where a certificate must verify; RFC 6120 §13.7.2 demands chain and name",
    )
    crosstalk: dict[str, list[str]] = Field(
        {},
        description="dimension -> values under which streams of one process disturb each other: what such a server does with a "
        "peer in a mesh is not what it does with that peer alone, so its pairs are measured alone as well",
    )
    features: dict[str, dict[str, FeatureNote | list[FeatureNote]]] = {}
    quirks: list[Quirk] = []
    remedies: list[Remedy] = []


class LogPattern(_Strict):
    """A line of the server's log, and the observation that it becomes."""

    match: str
    observe: Literal[
        "s2s-session", "s2s-connecting", "s2s-encrypted", "s2s-authenticated", "s2s-established", "s2s-failed", "s2s-closed"
    ]
    set: dict[str, str] = {}
    sample: str
    from_: str = Field(alias="from")


class LogReason(_Strict):
    """A text that a server gives for a failure, and the cause that it names."""

    match: str
    cause: str
    sample: str
    from_: str = Field(alias="from")


class LogsFile(_Strict):
    """`logs.yaml`: what the log of an implementation says."""

    patterns: list[LogPattern]
    reasons: list[LogReason] = []


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

    def render(self, server: Server, settings: Settings, *, timers: str, ipv6: bool) -> dict[str, bytes]:
        """The files of ``/etc/testbed`` that come from templates. Raises InputError if a template is wrong."""
        candidate = self.candidates.get(server.implementation.release)
        brought = candidate.files if candidate else {}
        # what a configuration that a user brings lacks of several files is rendered as for a server that demands nothing
        policy = PRESETS["opportunistic"] if brought else settings.policy
        release = candidate.like if candidate else server.implementation.release
        low, high = policy.tls_range
        variables: dict[str, Any] = {
            "domain": server.domain,
            "release": release,
            "version": self.spec.releases[release].version,
            "encryption": policy.encryption.value,
            "authentication": policy.authentication.value,
            "tls_min": policy.tls_min,
            "tls_max": policy.tls_max or (high if high != "1.3" else None),
            "forward_secrecy": policy.forward_secrecy.value,
            "ciphers": cipher_string(policy),
            "certificate": settings.certificate,
            "timers": timers,
            "ipv6": ipv6,
        }
        environment = _environment(self.folder)
        files = {"openssl.cnf": openssl_config(low if policy.tls_min else None, high if high != "1.3" else None)}
        for template, target in self.spec.config.items():
            if target in brought:
                continue
            try:
                files[target] = environment.get_template(template).render(variables).encode()
            except jinja2.TemplateError as error:
                place = str(self.folder / template)
                # an error of rendering has no line of its own, but jinja2 puts the template's into the traceback
                lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == place]
                line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
                raise InputError(f"template error: {error}", file=place, line=line) from None
        return files | {target: text.replace(DOMAIN_PLACEHOLDER, server.domain).encode() for target, text in brought.items()}


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """Compiles each template of a folder once; one that changes is compiled again."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # configuration files, not HTML
    )


def openssl_config(tls_min: str | None, tls_max: str | None) -> bytes:
    """An OpenSSL configuration that applies the range as system default, for servers that have no option of their own."""
    names = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}
    # Debian's own file has MinProtocol TLSv1.2 and security level 2; both would forbid TLS 1.0 and 1.1.
    old = (tls_min is not None and tls_min < "1.2") or (tls_max is not None and tls_max < "1.2")
    lines = ["openssl_conf = init", "[init]", "ssl_conf = ssl", "[ssl]", "system_default = default", "[default]"]
    lines.append(f"MinProtocol = {names[tls_min or ('1.0' if old else '1.2')]}")
    if tls_max:
        lines.append(f"MaxProtocol = {names[tls_max]}")
    lines.append(f"CipherString = DEFAULT@SECLEVEL={0 if old else 2}")
    return ("\n".join(lines) + "\n").encode()


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

    def resolve(self, text: str) -> list[Implementation]:
        """The Implementations that ``text`` names.

        `name@release`, or `name@version-prefix` where that names exactly one. Raises ValueError with a reason.
        """
        name, at, wanted = text.partition("@")
        if name not in self.images or not at:
            known = ", ".join(self.releases())
            near = did_you_mean(text, self.releases()) or ""
            raise ValueError(f"unknown implementation `{text}`|{known}|{near}")
        releases = self.images[name].spec.releases
        if wanted in releases:
            return [Implementation(name, wanted)]
        by_version = [r for r, release in releases.items() if (release.version + ".").startswith(wanted + ".")]
        allowed = ", ".join([f"{name}@{r}" for r in releases] + [f"{name}@{v.version}" for v in releases.values()])
        if len(by_version) > 1:
            raise ValueError(f"`{text}` names more than one release ({', '.join(by_version)})|{allowed}|name the release instead")
        if not by_version:
            near = did_you_mean(text, [f"{name}@{r}" for r in releases]) or ""
            raise ValueError(f"unknown implementation `{text}`|{allowed}|{near}")
        return [Implementation(name, by_version[0])]

    def side(self, server: Server, settings: Settings, defect: str | None) -> Side:
        """One end of a pair, for the table of expectations."""
        spec = self.image(server.implementation).spec
        return Side(
            self.image(server.implementation).effective(settings.policy, server.implementation.release),
            defect,
            tuple(spec.mechanisms),
            spec.dialback_over_verified,
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
        images[folder.name] = replace(load_image(folder), outside=True)
    return Catalog(images)


def load_image(folder: Path) -> Image:
    """Read one implementation's folder. Raises InputError."""
    for needed in ("image.yaml", "Dockerfile", "logs.yaml"):
        if not (folder / needed).is_file():
            raise InputError(
                f"the implementation lacks `{needed}`",
                file=str(folder),
                value=needed,
                allowed=("image.yaml", "Dockerfile", "logs.yaml", "the templates that image.yaml names"),
                hint="images/README.md says what each file holds",
            )
    document = Document(folder / "image.yaml")
    spec = document.validate(ImageFile)
    if spec.implementation != folder.name:
        raise document.error(
            "the implementation's name must be the folder's", ["implementation"], value=spec.implementation, allowed=[folder.name]
        )
    for template in spec.config:
        if not (folder / template).is_file():
            raise document.error(f"the template `{template}` does not exist", ["config", template], value=template)
    known = {d.name: d.values for d in DIMENSIONS}
    for dimension, values in spec.features.items():
        if dimension not in known:
            raise document.error(f"unknown dimension `{dimension}`", ["features", dimension], value=dimension, allowed=known)
        for value, entry in values.items():
            here: list[str | int] = ["features", dimension, value]
            if value not in known[dimension]:
                raise document.error(f"unknown value `{value}` of {dimension}", here, value=value, allowed=known[dimension])
            for note in entry if isinstance(entry, list) else [entry]:
                if note.acts_as and note.acts_as not in known[dimension]:
                    raise document.error(
                        f"unknown value `{note.acts_as}` of {dimension}", here, value=note.acts_as, allowed=known[dimension]
                    )
                for other in note.when:
                    if other not in known:
                        raise document.error(f"unknown dimension `{other}`", here, value=other, allowed=known)
    for position, remedy in enumerate(spec.remedies):
        if remedy.cause not in CAUSES:
            raise document.error(
                f"unknown cause `{remedy.cause}`", ["remedies", position, "cause"], value=remedy.cause, allowed=CAUSES
            )
    return Image(folder, spec, _load_logs(folder / "logs.yaml"))


def _load_logs(path: Path) -> LogsFile:
    document = Document(path)
    logs = document.validate(LogsFile)
    sections: dict[str, Sequence[LogPattern | LogReason]] = {"patterns": logs.patterns, "reasons": logs.reasons}
    for section, entries in sections.items():
        for position, entry in enumerate(entries):
            try:
                expression = re.compile(entry.match)
            except re.error as error:
                raise document.error(
                    f"not a regular expression: {error}", [section, position, "match"], value=entry.match
                ) from None
            unknown = set(expression.groupindex) - set(GROUPS)
            if unknown:
                raise document.error(
                    f"unknown group `{min(unknown)}`", [section, position, "match"], value=min(unknown), allowed=GROUPS
                )
            if isinstance(entry, LogReason) and entry.cause not in CAUSES:
                raise document.error(
                    f"unknown cause `{entry.cause}`", [section, position, "cause"], value=entry.cause, allowed=CAUSES
                )
            for name, constant in entry.set.items() if isinstance(entry, LogPattern) else ():
                here: list[str | int] = [section, position, "set", name]
                if name not in CONSTANTS:
                    raise document.error(f"unknown constant `{name}`", here, value=name, allowed=CONSTANTS)
                if constant not in CONSTANTS[name]:
                    raise document.error(f"unknown {name} `{constant}`", here, value=constant, allowed=CONSTANTS[name])
    return logs


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a folder's build inputs, 16 hex digits."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        # logs.yaml and image.yaml are read on the outside: changing a log pattern must not rebuild the image
        if path.is_file() and path.suffix not in (".j2", ".yaml", ".md") and "__pycache__" not in path.parts:
            state.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:16]

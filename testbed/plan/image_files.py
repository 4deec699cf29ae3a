"""The forms of `image.yaml` and `logs.yaml`, and how they are read: what a folder of images/ says of its implementation.

Rule: whatever is wrong is said with file and line, here, before anything is built. A folder may be a stranger's: what becomes a
name of a file, an argument of a command or a tag has the form of a plain name, and no file of it leads out of it.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import regex
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from testbed import reading
from testbed.causes import CAUSES
from testbed.model import InputError
from testbed.plan import expressions, sandbox
from testbed.plan.literals import required
from testbed.plan.policy import DIMENSIONS
from testbed.yamlfile import Document

CONSTANTS = {"direction": ("in", "out"), "mechanism": ("external", "dialback"), "cause": tuple(CAUSES)}
"""What `set` of a log pattern may give, and its values."""
GROUPS = ("peer", "session", "address", "tls_version", "cipher", "mechanism", "reason", "errors")


class Found(Protocol):
    """A match, of `re` or of `regex`."""

    def groupdict(self) -> dict[str, Any]:
        """The named groups."""


Searcher = Callable[[str], Found | None]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


NAME = r"^[a-z0-9][a-z0-9._-]{0,59}$"
"""Of an implementation or a release: part of an image's tag, of a domain, of names of files."""


class Release(_Strict):
    """One release of an implementation."""

    suite: str = Field(pattern=r"^[a-z][a-z0-9.-]{0,39}$", description="the Debian suite that the base image is made of")
    version: str = Field(description="the version prefix that the suite holds; the report uses what the package states")


class Ports(_Strict):
    """Where the server listens, inside the mesh."""

    c2s: int = Field(default=5222, ge=1, le=65535)
    s2s: int = Field(default=5269, ge=1, le=65535)


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
    """The setting of this implementation that fixes a cause."""

    cause: str
    as_: Literal["sender", "receiver"] = Field(alias="as")
    text: str
    set: dict[str, str] | None = Field(None, description="the same remedy in dimensions of the policy, or `certificate`")


class ImageFile(_Strict):
    """`image.yaml`: one implementation."""

    implementation: str
    title: str
    homepage: str
    user: str = Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="the server's processes run as this user")
    package: str = Field(
        pattern=r"^[a-z0-9][a-z0-9+.-]{0,99}$", description="the running server's version is what dpkg says of this package"
    )
    releases: dict[str, Release]
    config: dict[str, str] = Field(description="template in this folder -> file in /etc/testbed")
    ports: Ports = Ports()
    boot_weight: float = Field(1, gt=0, le=1000, allow_inf_nan=False, description="CPU seconds of a start")
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


LONGEST_PATTERN = 2000
"""Characters."""
LONGEST_LINE = 4096
"""Characters of a log line that patterns are tried on; servers write 400, so what is longer holds a stranger's text."""
SHORT_LINE = 512
"""Characters of a log line up to which no pattern of the testbed takes more than milliseconds, whatever is in the line."""
PATTERN_TIME = 1.0
"""Seconds of a processor that a pattern may take for one line that is not short, or of somebody else's for any line."""
SAMPLES_TIME = 5.0
"""Seconds of a processor that all patterns of somebody else's file may take for all samples of it."""


class LogPattern(_Strict):
    """A line of the server's log, and the observation that it becomes."""

    match: str = Field(max_length=LONGEST_PATTERN)
    observe: Literal[
        "s2s-session", "s2s-connecting", "s2s-encrypted", "s2s-authenticated", "s2s-established", "s2s-failed", "s2s-closed"
    ]
    set: dict[str, str] = {}
    sample: str
    from_: str = Field(alias="from")


class LogReason(_Strict):
    """A text that a server gives for a failure, and the cause that it names."""

    match: str = Field(max_length=LONGEST_PATTERN)
    cause: str
    sample: str
    from_: str = Field(alias="from")


@functools.lru_cache(maxsize=4096)
def _bounded(pattern: str) -> Searcher:
    """`regex` reads the patterns of `re`, and can be stopped."""
    return functools.partial(regex.compile(pattern).search, timeout=PATTERN_TIME)


def _search(quick: Searcher, pattern: str, text: str) -> Found | None:
    return (quick if len(text) <= SHORT_LINE else _bounded(pattern))(text)


class LogsFile(_Strict):
    """`logs.yaml`: what the log of an implementation says."""

    patterns: list[LogPattern]
    reasons: list[LogReason] = []
    _outside: bool = PrivateAttr(False)
    _places: dict[int, tuple[str, int]] = PrivateAttr(default_factory=dict)
    _searchers: dict[int, Searcher] = PrivateAttr(default_factory=dict)

    def _place(self, document: Document, *, outside: bool) -> None:
        """Where each pattern stands, for messages."""
        self._outside = outside
        for section, entries in (("patterns", self.patterns), ("reasons", self.reasons)):
            for position, entry in enumerate(entries):
                self._places[id(entry)] = document.file, document.line([section, position, "match"])

    @property
    def outside(self) -> bool:
        """Whether it is of a folder that a user brings."""
        return self._outside

    @property
    def file(self) -> str:
        """Where it was read."""
        return next((file for file, _ in self._places.values()), "logs.yaml")

    def searcher(self, entry: LogPattern | LogReason) -> Searcher:
        """What looks for an entry in a text; compiled once. Raises re.error or regex.error."""
        search = self._searchers.get(id(entry))
        if search is None:
            if self._outside:
                search = _bounded(entry.match)
            else:  # one engine finds what the other finds (a test looks), and is six times as fast
                quick = re.compile(entry.match).search
                search = functools.partial(_search, quick, entry.match)
            self._searchers[id(entry)] = search
        return search

    @functools.cached_property
    def tables(self) -> dict[str, list[tuple[str, Searcher]]]:
        """Section -> of each entry a text that it holds for certain, and what looks for it."""
        sections: dict[str, Sequence[LogPattern | LogReason]] = {"patterns": self.patterns, "reasons": self.reasons}
        return {
            section: [("" if self._outside else required(entry.match), self.searcher(entry)) for entry in entries]
            for section, entries in sections.items()
        }

    def first(self, section: Literal["patterns", "reasons"], text: str) -> tuple[int, Found] | None:
        """The first entry of a section that matches, by its position. Raises InputError as `search` does.

        Nearly all patterns of the testbed's hold words: of these a text is searched that has them, which is found out at once.
        """
        for position, (word, search) in enumerate(self.tables[section]):
            if word in text:
                try:
                    found = search(text)
                except TimeoutError:
                    raise self._slow(getattr(self, section)[position]) from None
                if found:
                    return position, found
        return None

    def search(self, entry: LogPattern | LogReason, text: str) -> Found | None:
        """Where an entry matches. Raises InputError with file, line and pattern if that takes too long."""
        try:
            return self.searcher(entry)(text)
        except TimeoutError:
            raise self._slow(entry) from None

    def _slow(self, entry: LogPattern | LogReason) -> InputError:
        return self.too_slow(entry, f"more than {PATTERN_TIME:.0f} s for one line")

    def too_slow(self, entry: LogPattern | LogReason, how: str) -> InputError:
        """An error about a pattern."""
        file, line = self._places.get(id(entry), ("logs.yaml", 0))
        hint = "let no repetition stand inside of another, and anchor it: `(a+)+` tries every way to divide a text"
        return InputError(f"the pattern `{entry.match}` takes {how}", file=file, line=line, value=entry.match, hint=hint)


def read_image(folder: Path) -> ImageFile:
    """The `image.yaml` of an implementation's folder. Raises InputError."""
    document = Document(folder / "image.yaml")
    spec = document.validate(ImageFile)
    if spec.implementation != folder.name:
        raise document.error(
            "the implementation's name must be the folder's", ["implementation"], value=spec.implementation, allowed=[folder.name]
        )
    for name, place in ((spec.implementation, ["implementation"]), *((r, ["releases", r]) for r in spec.releases)):
        if not re.fullmatch(NAME, name):
            hint = "small letters, digits, `.`, `_` and `-`: it is part of tags and of names of files"
            raise document.error(f"`{name}` cannot be a name", place, value=name, hint=hint)
    for template, target in spec.config.items():
        _config(document, folder, template, target)
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
    return spec


def _config(document: Document, folder: Path, template: str, target: str) -> None:
    """A template and its file in /etc/testbed. Raises InputError if one of them leads elsewhere."""
    here: list[str | int] = ["config", template]
    if not reading.plain(target):
        hint = "a plain name, without a folder: all files stand in /etc/testbed"
        raise document.error(f"the file of `{template}` cannot be `{target}`", here, value=target, hint=hint)
    try:
        reading.inside(folder, template, hint=sandbox.LINK)
    except InputError as error:
        raise document.error(f"the template `{template}` {error.message}", here, value=template, hint=error.hint) from None
    if not (folder / template).is_file():
        raise document.error(f"the template `{template}` does not exist", here, value=template)


def read_logs(path: Path, *, outside: bool = False) -> LogsFile:
    """A `logs.yaml`. Raises InputError. ``outside``: of a folder that a user brings, whose patterns have a bound of time."""
    document = Document(path)
    logs = document.validate(LogsFile)
    logs._place(document, outside=outside)
    every: tuple[LogPattern | LogReason, ...] = (*logs.patterns, *logs.reasons)
    if outside and (costly := expressions.costly(tuple(entry.match for entry in every))):
        raise logs.too_slow(every[costly.position], costly.how)
    sections: dict[str, Sequence[LogPattern | LogReason]] = {"patterns": logs.patterns, "reasons": logs.reasons}
    for section, entries in sections.items():
        for position, entry in enumerate(entries):
            try:
                expression = re.compile(entry.match)
                logs.searcher(entry)
            except (re.error, regex.error, RecursionError, OverflowError, MemoryError) as error:
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
    if outside:
        _try(logs, every)
    return logs


def _try(logs: LogsFile, entries: Sequence[LogPattern | LogReason]) -> None:
    """Try each pattern on every sample. Raises InputError if one takes too long, or all of them do."""
    first = time.thread_time()
    spent: dict[int, float] = {}
    for position, entry in enumerate(entries):
        began = time.thread_time()
        for other in entries:
            logs.search(entry, other.sample[:LONGEST_LINE])
            now = time.thread_time()
            spent[position] = now - began
            if now - first > SAMPLES_TIME:
                slowest = max(spent, key=spent.__getitem__)
                how = f"{spent[slowest]:.1f} s for the samples; all patterns together may take {SAMPLES_TIME:.0f} s"
                raise logs.too_slow(entries[slowest], how)

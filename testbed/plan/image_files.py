"""The forms of `image.yaml` and `logs.yaml`, and how they are read: what a folder of images/ says of its implementation.

Rule: whatever is wrong is said with file and line, here, before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.causes import CAUSES
from testbed.plan.policy import DIMENSIONS
from testbed.yamlfile import Document

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


def read_image(folder: Path) -> ImageFile:
    """The `image.yaml` of an implementation's folder. Raises InputError."""
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
    return spec


def read_logs(path: Path) -> LogsFile:
    """A `logs.yaml`. Raises InputError."""
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

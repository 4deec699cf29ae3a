"""The form of ``manifest.json``: what a run was going to do, written before its first container started.

Rule: all that judging knows of the plan stands here (schemas/manifest.schema.json). Keys are added, never renamed or dropped; one
that an older testbed did not write, or that recordings leave out, is NotRequired.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Role = Literal["sender", "receiver"]


class Dimensions(TypedDict):
    """A policy, as `Policy.dimensions()` writes it.

    Null: as the software does by itself, or of a user's own configuration not known.
    """

    encryption: str | None
    authentication: list[str] | None
    tls_min: str | None
    tls_max: str | None
    forward_secrecy: str | None


class PlannedSettings(TypedDict):
    """What one server is set to in one phase."""

    policy: str
    certificate: str
    defect: str | None
    """The cause that a strict peer names for the certificate."""
    defective_as: NotRequired[list[str]]
    """The roles of TLS, `client` and `server`, in which the certificate's holder shows the defect."""
    dimensions: Dimensions
    effective: Dimensions
    """What the implementation makes of them."""
    unsupported: str | None
    unknown: NotRequired[str | None]
    """Why nothing can be expected of a user's own configuration."""
    fingerprint: NotRequired[str]
    not_after: NotRequired[str]


class PlannedPhase(TypedDict):
    """One phase: domain -> settings."""

    name: str
    settings: dict[str, PlannedSettings]


class PlannedServer(TypedDict):
    """One server, as it is before any phase changes it."""

    domain: str
    index: int
    implementation: str
    release: str
    title: str
    policy: str
    certificate: str
    image: str | None
    unavailable: str | None
    mechanisms: list[str]
    verifies: NotRequired[list[str]]
    dialback_over_verified: bool
    mine: NotRequired[bool]


# `as` is a keyword
ListedRemedy = TypedDict("ListedRemedy", {"cause": str, "as": Role, "text": str, "set": NotRequired[dict[str, str] | None]})
"""What image.yaml lists against a cause."""


class GivenRelease(TypedDict):
    """A release that the user brought."""

    implementation: str
    release: str
    like: str
    source: list[str]
    files: dict[str, str]
    unknown: str | None
    image: str | None
    version: str | None


class PlannedRun(TypedDict):
    """What follows from a plan, and is known before the run has a folder."""

    scenario: str
    title: str
    description: NotRequired[str]
    file: NotRequired[str]
    started: str
    seed: NotRequired[int]
    timers: str
    revision: NotRequired[str | None]
    sources: NotRequired[dict[str, str]]
    """Digests of the code that measures (`testbed`) and of the implementations' folders."""
    machine: NotRequired[dict[str, Any]]
    images: NotRequired[dict[str, str]]
    unavailable: NotRequired[dict[str, str]]
    mine: NotRequired[list[GivenRelease]]
    folders: NotRequired[list[str]]
    servers: list[PlannedServer]
    phases: list[PlannedPhase]
    remedies: NotRequired[dict[str, list[ListedRemedy]]]
    exchanges: list[str]
    planned: dict[str, list[str]]
    """Sender -> receivers: with phases and exchanges, every planned cell."""


class OrderedRun(PlannedRun):
    """A planned run, and how it was ordered: all but what the run's folder adds."""

    argv: NotRequired[list[str]]
    isolated: bool
    confirm: NotRequired[int | str | None]
    full_capture: NotRequired[bool]
    stretch: NotRequired[int]
    """How much longer the short timers are than on a machine that is not strained: chosen when the control pair got through."""


class Manifest(OrderedRun):
    """``manifest.json``."""

    schema: int
    run: str

"""The form of a scenario file; `scenario` reads it into a plan, and says what no form can tell."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PolicySpec = str | dict[str, str | int | float]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServerEntry(_Strict):
    """Servers of the federation: the product of the lists."""

    implementation: str | list[str] = Field(description="`name@release`, or `name@version` where that names exactly one release")
    policy: PolicySpec | list[PolicySpec] = Field("opportunistic", description="a preset, or a preset with dimensions changed")
    certificate: str | list[str] = Field("ca", description="a certificate profile")
    domain: str | None = Field(default=None, description="the XMPP domain; only where the entry is one server")


class Where(_Strict):
    """Whom a change binds: every key must match; a key takes one glob or a list of them. It sees the servers as configured."""

    implementation: str | list[str] | None = Field(default=None, description="glob over `name@release` or `name`")
    version: str | list[str] | None = Field(default=None, description="glob over the version prefix of the release")
    policy: str | list[str] | None = Field(default=None, description="glob over the configured policy's name")
    certificate: str | list[str] | None = Field(default=None, description="glob over the configured certificate profile")
    domain: str | list[str] | None = Field(default=None, description="glob over the domain")


class Set(_Strict):
    """What a phase changes."""

    policy: PolicySpec | None = Field(
        default=None, description="a preset, a preset with dimensions changed, or only the dimensions that change"
    )
    certificate: str | None = None


class Change(_Strict):
    """One change of a phase."""

    where: Where = Where()
    set: Set


class PhaseEntry(_Strict):
    """A regime of the federation. Changes apply to the servers as configured, in order; they do not add up over phases."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    where: Where | None = Field(default=None, description="short for one change")
    set: Set | None = Field(default=None, description="short for one change")
    changes: list[Change] = []


class ScenarioFile(_Strict):
    """A scenario of the s2s federation mesh testbed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    title: str
    description: str = ""
    servers: list[ServerEntry]
    phases: list[PhaseEntry] = Field(min_length=1)
    exchanges: list[str] = Field(["message"], min_length=1)
    timers: Literal["short", "stock"] = Field("short", description="short: bounded timeouts; stock: the implementations' own")

"""What servers may demand of each other, and what ought to happen between two of them.

The ladder (XEP-0238) is a set of names for records of independent dimensions. The table of expectations is computed from
dimensions and certificates, never from a preset's name; each row cites its clause. This file does no I/O; the tables are
rendered into docs/ by ``testbed schema --write``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Policy


@dataclass(frozen=True)
class Dimension:
    """One row of the record: its name in a scenario, the values it takes, what it means, and who asks for it."""

    name: str
    values: tuple[str, ...]
    default: str
    meaning: str
    source: str


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        "encryption",
        tuple(e.value for e in Encryption),
        "by preset",
        "STARTTLS between servers: not spoken, spoken if the peer does, or a condition of the stream",
        "RFC 6120 §5.3.1; RFC 7590 §3.1",
    ),
    Dimension(
        "authentication",
        tuple(a.value for a in Authentication),
        "by preset",
        "how a domain is proven: `dialback`; `external`: the peer's certificate must verify, with no fallback; `either`: by "
        "certificate where it verifies, else by dialback",
        "RFC 6120 §13.7; XEP-0178; XEP-0220; RFC 7590 §3.4",
    ),
    Dimension("tls_min", TLS_VERSIONS, "the server's default", "the lowest TLS version that is accepted", "RFC 9325 §3.1.1"),
    Dimension("tls_max", TLS_VERSIONS, "the server's default", "the highest TLS version that is offered", "RFC 9325 §3.1.1"),
    Dimension(
        "forward_secrecy",
        tuple(f.value for f in ForwardSecrecy),
        "any",
        "ephemeral key exchange: `none` is offered (TLS 1.2 at most), `any` as the server does by default, `preferred` over "
        "others, or `required`",
        "statement of 2013-14; RFC 9325 §4.1",
    ),
)

PRESETS: dict[str, Policy] = {
    policy.preset: policy
    for policy in (
        Policy("cleartext", Encryption.NONE, Authentication.DIALBACK),
        Policy("opportunistic", Encryption.OFFERED, Authentication.EITHER),
        Policy("encrypted", Encryption.REQUIRED, Authentication.EITHER),
        Policy("authenticated", Encryption.REQUIRED, Authentication.EXTERNAL),
    )
}
"""The ladder of XEP-0238, from the lowest rung up."""

PRESET_MEANING: dict[str, str] = {
    "cleartext": "no TLS between servers; dialback only (the Google Talk of 2014)",
    "opportunistic": "TLS if the peer offers it; a certificate that does not verify falls back to dialback",
    "encrypted": "TLS is a condition; dialback is accepted (what the statement of 2013-14 asks for)",
    "authenticated": "TLS and a certificate that verifies; no fallback",
}

CANDIDATE_POLICY = Policy("own", Encryption.OFFERED, Authentication.EITHER)
"""The policy of a configuration that a user brings: no rung of the ladder; its dimensions mean nothing until observed."""


def make_policy(preset: str, changes: dict[str, str]) -> Policy:
    """The preset with some dimensions changed, named after what differs from it.

    Values must be valid already (`scenario` checks them with file and line); an unknown one raises ValueError, an unknown
    preset KeyError.
    """
    base = PRESETS[preset]
    policy = changed(base, changes)
    differing = [f"{d.name}={value_of(policy, d.name)}" for d in DIMENSIONS if value_of(policy, d.name) != value_of(base, d.name)]
    return replace(policy, label=",".join([preset, *differing]))


def changed(policy: Policy, changes: dict[str, str]) -> Policy:
    """The policy with some dimensions changed; its name stays. Raises ValueError for an unknown value."""
    kinds = Policy.kinds()
    return replace(policy, **{name: kinds[name](value) for name, value in changes.items()})


def value_of(policy: Policy, dimension: str) -> str | None:
    """A dimension's value as it is written in a scenario; None for the server's default."""
    value: Enum | str | None = getattr(policy, dimension)
    return str(value.value) if isinstance(value, Enum) else value


def as_text(policy: Policy) -> str:
    """The dimensions of a policy in one line: ``encryption=offered, authentication=either``."""
    values = {d.name: value_of(policy, d.name) for d in DIMENSIONS}
    return ", ".join(f"{dimension}={value}" for dimension, value in values.items() if value is not None)


def contradiction(policy: Policy) -> str | None:
    """Why no server could be set so, in one sentence; None if it could."""
    if policy.tls_min and policy.tls_max and TLS_VERSIONS.index(policy.tls_min) > TLS_VERSIONS.index(policy.tls_max):
        return f"tls_min {policy.tls_min} is above tls_max {policy.tls_max}"
    if policy.encryption is Encryption.NONE and policy.authentication is Authentication.EXTERNAL:
        return "authentication by certificate needs TLS, but encryption is none"
    if policy.forward_secrecy is ForwardSecrecy.NONE and policy.tls_min == "1.3":
        return "every TLS 1.3 key exchange has forward secrecy, but forward_secrecy is none and tls_min is 1.3"
    return None


def cipher_string(policy: Policy) -> str | None:
    """OpenSSL's cipher string (TLS 1.2 and below) for the policy, or None where the server's own default does.

    Security level 0 only where a version below 1.2 is asked for by name: OpenSSL 3 refuses those above it.
    """
    old = (policy.tls_min or "1.2") < "1.2" or (policy.tls_max or "1.3") < "1.2"
    level = ":@SECLEVEL=0" if old else ""
    match policy.forward_secrecy:
        case ForwardSecrecy.NONE:
            return "kRSA+AES:!aNULL:!eNULL" + level
        case ForwardSecrecy.REQUIRED:
            return "ECDHE+AES:DHE+AES:ECDHE+CHACHA20:!aNULL:!eNULL" + level
        case ForwardSecrecy.PREFERRED:
            return "ECDHE+AES:DHE+AES:ECDHE+CHACHA20:kRSA+AES:!aNULL:!eNULL" + level
        case _:
            return "DEFAULT" + level if old else None


# --- expectations -----------------------------------------------------------------------------------------------------

"""Renders a server's configuration from the templates of its folder (images/*/*.j2): settings in, bytes out.

Rule: what a template may ask for stands in one table, `variables`; images/README.md says the same in words. An unknown name in a
template is an error with file and line, never an empty string.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.model import Policy, Server, Settings
from testbed.plan import sandbox
from testbed.plan.policy import DIMENSIONS, cipher_string, value_of


def variables(
    server: Server, settings: Settings, policy: Policy, *, release: str, version: str, timers: str, stretch: int, ipv6: bool
) -> dict[str, Any]:
    """What a template may ask for: every dimension of ``policy`` by its name, and what the software cannot know of itself."""
    _, high = policy.tls_range
    return {
        "domain": server.domain,
        "release": release,
        "version": version,
        **{d.name: value_of(policy, d.name) for d in DIMENSIONS},
        "tls_max": policy.tls_max or (high if high != "1.3" else None),  # without forward secrecy there is no TLS 1.3
        "ciphers": cipher_string(policy),
        "certificate": settings.certificate,
        "timers": timers,
        "stretch": stretch,
        "ipv6": ipv6,
    }


def render(folder: Path, templates: Mapping[str, str], values: Mapping[str, Any], *, outside: bool = False) -> dict[str, bytes]:
    """File in ``/etc/testbed`` -> what the template for it makes of the values. Raises InputError if a template is wrong.

    ``outside``: a folder that a user brings, whose templates have bounds of time and memory.
    """
    files = (sandbox.bounded if outside else sandbox.rendered)(folder, templates, values)
    return {target: text.encode() for target, text in files.items()}


def openssl_config(policy: Policy) -> bytes:
    """An OpenSSL configuration that applies the TLS versions as system default, for servers that have no option of their own."""
    low, high = policy.tls_range
    return openssl_range(low if policy.tls_min else None, high if high != "1.3" else None)


def openssl_range(tls_min: str | None, tls_max: str | None) -> bytes:
    """The same for a range; None: the default of Debian's own file."""
    names = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}
    # Debian's own file has MinProtocol TLSv1.2 and security level 2; both would forbid TLS 1.0 and 1.1.
    old = (tls_min is not None and tls_min < "1.2") or (tls_max is not None and tls_max < "1.2")
    lines = ["openssl_conf = init", "[init]", "ssl_conf = ssl", "[ssl]", "system_default = default", "[default]"]
    lines.append(f"MinProtocol = {names[tls_min or ('1.0' if old else '1.2')]}")
    if tls_max:
        lines.append(f"MaxProtocol = {names[tls_max]}")
    lines.append(f"CipherString = DEFAULT@SECLEVEL={0 if old else 2}")
    return ("\n".join(lines) + "\n").encode()

"""Renders a server's configuration from the templates of its folder (images/*/*.j2): settings in, bytes out.

Rule: what a template may ask for stands in one table, `variables`; images/README.md says the same in words. An unknown name in a
template is an error with file and line, never an empty string.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from testbed.model import InputError, Policy, Server, Settings
from testbed.plan.policy import DIMENSIONS, cipher_string, value_of


def variables(
    server: Server, settings: Settings, policy: Policy, *, release: str, version: str, timers: str, ipv6: bool
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
        "ipv6": ipv6,
    }


def render(folder: Path, templates: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, bytes]:
    """File in ``/etc/testbed`` -> what the template for it makes of the values. Raises InputError if a template is wrong."""
    files = {}
    environment = _environment(folder)
    for template, target in templates.items():
        try:
            files[target] = environment.get_template(template).render(values).encode()
        except jinja2.TemplateError as error:
            place = str(folder / template)
            # an error of rendering has no line of its own, but jinja2 puts the template's into the traceback
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == place]
            line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
            raise InputError(f"template error: {error}", file=place, line=line) from None
    return files


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """Compiles each template of a folder once; one that changes is compiled again."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # configuration files, not HTML
    )


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

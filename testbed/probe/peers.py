"""The domains that a user asks about: arguments, or a file with one a line. Every complaint has file, line and remedy."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from testbed.model import InputError
from testbed.probe.names import ascii_name

MOST = 2000
"""Domains of one call: an operator's peers, not a survey of the network."""


def read(names: list[str], file: Path | None) -> list[str]:
    """The domains in their order, each once. Raises InputError."""
    domains = [domain(name) for name in names]
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"--file: {error.strerror}", file=str(file), hint="a text file with one domain a line") from None
        except UnicodeDecodeError:
            raise InputError("--file: no UTF-8 text", file=str(file), hint="a text file with one domain a line") from None
        for number, line in enumerate(text.splitlines(), start=1):
            if name := line.partition("#")[0].strip():
                domains.append(domain(name, str(file), number))
    unique = list(dict.fromkeys(domains))
    if not unique:
        hint = "testbed probe im.example.org, or --file with one domain a line"
        raise InputError("no domain to ask", file=str(file) if file else None, hint=hint)
    if len(unique) > MOST:
        raise InputError(f"{len(unique)} domains are more than {MOST}", hint="split the file: this asks an operator's own peers")
    return unique


def domain(text: str, file: str | None = None, line: int | None = None) -> str:
    """One domain, in lower case. Raises InputError."""

    def wrong(message: str, hint: str) -> InputError:
        return InputError(message, file=file, line=line, value=text, hint=hint)

    name = text.strip().rstrip(".").lower()
    if "://" in name or "/" in name:
        raise wrong(f"`{text}` is no domain", "only the domain, as after the @ of an address")
    if "@" in name:
        raise wrong(f"`{text}` is an address, not a domain", f"its domain is `{name.partition('@')[2]}`")
    if len(name.split()) > 1:
        raise wrong(f"`{text}` is more than one word", "one domain a line; a comment begins with #")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        raise wrong(
            f"`{text}` is the address of a host, not a domain", "give the XMPP domain, and the host by --connect HOST:PORT"
        )
    if ":" in name:
        raise wrong(f"`{text}` has a port, and a domain has none", "give the XMPP domain, and the host by --connect HOST:PORT")
    try:
        ascii_name(name)
    except InputError as error:
        raise wrong(error.message, error.hint or "") from None
    return name

"""Whether a document holds together: what it names is there, and the words that decide something are words of this testbed.

Rule: `documents` looks at keys and types, this file at what no form can tell. All that judging, reports and measuring again take
for granted is asked here, once, so that a damaged document is one InputError and no failure of some later line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from testbed import reading
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, InputError
from testbed.record.manifest import Manifest
from testbed.record.verdicts import Verdicts, shares_of

WORDS: Mapping[str, tuple[str, ...]] = {
    "encryption": tuple(e.value for e in Encryption),
    "tls_min": TLS_VERSIONS,
    "tls_max": TLS_VERSIONS,
    "forward_secrecy": tuple(f.value for f in ForwardSecrecy),
}
"""Dimension of a policy -> the words that it can have; authentication is a list of mechanisms."""
LONGEST = 86400.0
"""Seconds that a stanza may have taken, for anybody to believe it."""
MECHANISMS = Authentication.EITHER.mechanisms

Trouble = tuple[str, Any]
"""What is wrong, and the value."""


def manifest_whole(manifest: Manifest, *, file: str, hint: str) -> None:
    """Raises InputError for the first thing in which a manifest contradicts itself."""
    _refuse(_manifest(manifest), file, hint)


def verdicts_whole(verdicts: Verdicts, *, file: str, hint: str) -> None:
    """Raises InputError for the first thing in which verdicts contradict themselves."""
    _refuse(_verdicts(verdicts), file, hint)


def _refuse(troubles: Iterator[Trouble], file: str, hint: str) -> None:
    for message, value in troubles:
        raise InputError(message, file=file, value=value, hint=hint)


def _manifest(manifest: Manifest) -> Iterator[Trouble]:
    domains = [s["domain"] for s in manifest["servers"]]
    phases = [p["name"] for p in manifest["phases"]]
    yield from _names("scenario", [manifest["scenario"]])
    yield from _names("timers", [manifest["timers"]])
    yield from _names("servers[].domain", domains)
    yield from _names("phases[].name", phases)
    yield from _names("exchanges", manifest["exchanges"])
    for key, values in (("phases", phases), ("exchanges", manifest["exchanges"])):
        if not values:
            yield f"`{key}` is empty", values
    for phase in manifest["phases"]:
        where = f"phases.{phase['name']}.settings"
        yield from _missing(where, domains, phase["settings"])
        for domain, settings in phase["settings"].items():
            for key, dimensions in (("dimensions", settings["dimensions"]), ("effective", settings["effective"])):
                yield from _policy(f"{where}.{domain}.{key}", dimensions, required=not settings.get("unknown"))
    for number, brought in enumerate(manifest.get("mine", [])):
        yield from _names(f"mine[{number}]", [brought["implementation"], brought["release"]])
        yield from _names(f"mine[{number}].files", brought["files"])
    yield from _missing("servers", manifest["planned"], domains)
    for sender, receivers in manifest["planned"].items():
        yield from _missing("servers", receivers, domains)
        if sender in receivers:
            yield f"`planned.{sender}` has a server write to itself", sender


def _verdicts(verdicts: Verdicts) -> Iterator[Trouble]:
    domains = [s["domain"] for s in verdicts["servers"]]
    phases = {p["name"]: p["settings"] for p in verdicts["phases"]}
    yield from _names("scenario", [verdicts["scenario"]])
    yield from _names("timers", [verdicts.get("timers", "short")])
    yield from _names("servers[].domain", domains)
    yield from _names("phases[].name", [p["name"] for p in verdicts["phases"]])
    for name, settings in phases.items():
        yield from _missing(f"phases.{name}.settings", domains, settings)
        for domain, entry in settings.items():
            for key, value in entry.get("dimensions", {}).items():
                words = value if key == "authentication" and isinstance(value, list) else [value]
                if not all(word is None or isinstance(word, str) for word in words):
                    yield f"`phases.{name}.settings.{domain}.dimensions.{key}` has to be words, not {value!r}", value
    ids: set[str] = set()
    for number, cell in enumerate(verdicts["cells"]):
        where = f"cells[{number}]"
        yield from _missing("servers", (cell["sender"], cell["receiver"]), domains)
        yield from _missing("phases", (cell["phase"],), phases)
        yield from _names(f"{where}.exchange", [cell["exchange"]])
        if abs(cell.get("seconds") or 0) > LONGEST:
            yield f"`{where}.seconds` cannot be {cell.get('seconds')!r}", cell.get("seconds")
        for kind, share in shares_of(cell).items():
            if share.delivered > share.tries:
                yield f"`{where}.shares.{kind}` has more deliveries than attempts", [share.delivered, share.tries]
        if cell["id"] in ids:
            yield f"`{where}.id` is there twice", cell["id"]
        ids.add(cell["id"])
    for number, control in enumerate(verdicts.get("controls", [])):
        if control["phase"] is not None and control["phase"] not in phases:
            yield f"`controls[{number}].phase` names no phase", control["phase"]


def _names(where: str, names: Iterable[str]) -> Iterator[Trouble]:
    """Names become names of files: each is a plain one, and there once."""
    there: set[str] = set()
    for name in names:
        if not reading.plain(name):
            yield f"`{where}` cannot be {name!r}: it has to be a plain name", name
        if name in there:
            yield f"`{where}` is there twice: {name!r}", name
        there.add(name)


def _missing(where: str, wanted: Iterable[str], there: Iterable[str]) -> Iterator[Trouble]:
    known = set(there)
    for name in wanted:
        if name not in known:
            yield f"`{where}` lacks {name!r}, which stands elsewhere", name


def _policy(where: str, dimensions: Mapping[str, Any], *, required: bool) -> Iterator[Trouble]:
    """``required``: encryption and authentication are known, as expectations are computed from them."""
    for key, words in WORDS.items():
        value = dimensions.get(key)
        if value not in words and (value is not None or (required and key == "encryption")):
            yield f"`{where}.{key}` cannot be {value!r}: it has to be one of {', '.join(words)}", value
    mechanisms = dimensions["authentication"]
    if (required and not mechanisms) or not set(mechanisms or ()) <= set(MECHANISMS):
        yield f"`{where}.authentication` cannot be {mechanisms!r}: it has to be a list of {', '.join(MECHANISMS)}", mechanisms

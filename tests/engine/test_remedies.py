"""Each remedy of each implementation is applied: the pair fails for its cause before, and delivers after. One run for all.

`before` has what is broken, `after` the same servers with the remedy's `set:`, or, where a policy cannot say it, with the edit of
the configuration undone (`UNDONE`). A remedy that is neither is an error, and so is one whose pair fails for another cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import broken
import pytest
from broken import Edit

from testbed.causes import Group, group_of
from testbed.judge.verdict import judge_run
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.plan.image_files import Remedy
from testbed.record import store
from testbed.record.verdicts import Fault

pytestmark = pytest.mark.engine

Setting = tuple[tuple[str, str], ...]
"""A server's `implementation`, `preset`, `certificate` and dimensions, as sorted pairs."""
PROFILES = {f"certificate-{name}": name for name in ("self-signed", "expired", "not-yet-valid", "wrong-host")}
PROFILES |= {"certificate-untrusted": "untrusted-ca", "certificate-purpose": "server-only"}
OLDER = {("ejabberd", "certificate-purpose", "receiver", "authentication")}
"""What trixie's release no longer does: the remedy is tried on bookworm's."""
UNDONE: dict[tuple[str, str, str], Edit] = {
    ("prosody", "unreachable", "receiver"): ("prosody.cfg.lua", 'VirtualHost "', 's2s_ports = { 5270 }\nVirtualHost "'),
    ("ejabberd", "unreachable", "receiver"): ("ejabberd.yml", "- {port: 5269", "- {port: 5270"),
    ("jabberd2", "unreachable", "receiver"): ("s2s.xml", "<port>5269</port>", "<port>5270</port>"),
    ("ejabberd", "certificate-missing", "sender"): broken.EDITS["bare.example"][0],
}
"""(implementation, cause, role) -> what breaks it, where no policy can; the remedy is to undo it."""


def setting(implementation: str, preset: str, certificate: str = "ca", **dimensions: str) -> Setting:
    return tuple(sorted({"implementation": implementation, "preset": preset, "certificate": certificate, **dimensions}.items()))


@dataclass(frozen=True)
class Trial:
    """One remedy: the server that it changes, before and after, and the peer that it is tried with."""

    name: str
    remedy: Remedy
    subject: tuple[Setting, Setting]
    peer: Setting
    edit: Edit | None = None


STRICT = setting("prosody@trixie", "authenticated")
LENIENT = setting("prosody@trixie", "encrypted")
CLEAR = setting("prosody@trixie", "cleartext")
DIALBACK_ONLY = setting("jabberd2@trixie", "encrypted")


def broken_pair(name: str, remedy: Remedy) -> tuple[Setting, Setting]:
    """Settings of the subject, and of a peer, with which the cause comes up."""
    cause, role, mends = remedy.cause, remedy.as_, remedy.set or {}
    release = "bookworm" if (name, cause, role, next(iter(mends), "")) in OLDER else "trixie"
    own = f"{name}@{release}"
    plain, strict = setting(own, "encrypted"), setting(own, "authenticated")
    if cause in PROFILES and "certificate" in mends:
        peer = STRICT
        if (
            cause == "certificate-purpose"
        ):  # who looks at it: an older server inbound, or a TLS client's peer on dialback's stream
            looks = {"sender": "ejabberd@bookworm", "receiver": "jabberd2@trixie"}[role]
            dims = {} if looks.startswith("ejabberd") and name != "jabberd2" else {"tls_max": "1.2"}
            peer = setting("jabberd2@trixie" if dims else looks, "authenticated", **dims)
        return setting(own, "encrypted", PROFILES[cause]), peer
    if cause in PROFILES:
        return strict, setting("prosody@trixie", "encrypted", PROFILES[cause])
    match cause, role:
        case ("tls-not-offered", "receiver") | ("tls-required", "sender"):
            return setting(own, "cleartext"), LENIENT
        case ("tls-not-offered", "sender") | ("tls-required", "receiver"):
            return plain, CLEAR
        case "certificate-missing", _:
            return plain, STRICT
        case "no-common-tls-version", _:
            return setting(own, "encrypted", tls_max="1.2"), setting("prosody@trixie", "encrypted", tls_min="1.3")
        case "no-common-cipher", _:
            return setting(own, "encrypted", forward_secrecy="none"), setting(
                "prosody@trixie", "encrypted", forward_secrecy="required"
            )
        case ("dialback-refused", "receiver") | ("no-authentication-mechanism", "sender"):
            return strict, DIALBACK_ONLY
        case "tls-torn-down", _:
            return strict, setting("ejabberd@trixie", "encrypted")
        case "unreachable", _:
            return plain, LENIENT
    raise AssertionError(f"no pair is known that fails with {cause} as {role}: say here how {name}'s remedy is tried")


def trials(catalog: Catalog) -> Iterator[Trial]:
    for name, image in catalog.images.items():
        for remedy in image.spec.remedies:
            before, peer = broken_pair(name, remedy)
            edit = UNDONE.get((name, remedy.cause, remedy.as_))
            assert remedy.set or edit, f"{name}: nothing applies the remedy {remedy.cause} as {remedy.as_}"
            yield Trial(name, remedy, (before, tuple(sorted({**dict(before), **(remedy.set or {})}.items()))), peer, edit)


def label(trial: Trial) -> str:
    return f"{trial.name}/{trial.remedy.cause}/{trial.remedy.as_}/{','.join(trial.remedy.set or {'edit': ''})}"


def entry(chosen: Setting) -> dict[str, Any]:
    """A server of a scenario."""
    rest = dict(chosen)
    return {"implementation": rest.pop("implementation"), "certificate": rest.pop("certificate"), "policy": rest}


@dataclass
class Done:
    """What the run gave: cells by phase, sender and receiver, and each trial's two domains."""

    cells: dict[tuple[str, str, str], dict[str, Any]]
    domains: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def done(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One run of everything: `before` and `after`. Servers that are set alike in both phases are one server."""
    folder = tmp_path_factory.mktemp("remedies")
    servers: dict[tuple[Any, ...], str] = {}
    edits: dict[str, tuple[Edit, ...]] = {}
    domains = {}
    for trial in trials(catalog):
        subject = servers.setdefault((*trial.subject, trial.edit), f"s{len(servers)}.example")
        peer = servers.setdefault((trial.peer, trial.peer, None), f"s{len(servers)}.example")
        if trial.edit:
            edits[subject] = (trial.edit,)
        domains[label(trial)] = (subject, peer)
    changes = [
        {"where": {"domain": domain}, "set": {k: v for k, v in entry(after).items() if k != "implementation"}}
        for (before, after, _), domain in servers.items()
        if before != after
    ]
    listed = [{"domain": domain, **entry(before)} for (before, _, _), domain in servers.items()]
    phases = [{"name": "before"}, {"name": "after", "changes": changes}]
    path = folder / "remedies.yaml"
    path.write_text(
        json.dumps({"name": "remedies", "title": "Every remedy", "servers": listed, "phases": phases})
    )  # JSON is YAML
    plan = scenario.load(path, catalog)
    plan = replace(plan, pairs=tuple(dict.fromkeys(tuple(sorted(pair)) for pair in domains.values())), ipv6=False)
    record = broken.measure(plan, broken.edited(catalog, plan, {"before": edits}), folder / "results")
    verdicts = judge_run(store.load(record))
    (record / "verdicts.json").write_text(json.dumps(verdicts))
    return Done({(c["phase"], c["sender"], c["receiver"]): c for c in verdicts["cells"]}, domains)


TRIALS = [label(t) for t in trials(broken.catalogs.load())]


def test_no_two_remedies_are_tried_as_one() -> None:
    assert len(TRIALS) == len(set(TRIALS))


@pytest.mark.parametrize("trial", TRIALS)
def test_a_remedy_mends_its_cause(trial: str, done: Done) -> None:
    name, cause, role, _ = trial.split("/")
    subject, peer = done.domains[trial]
    ends = (subject, peer) if role == "sender" else (peer, subject)
    before, after = done.cells["before", *ends], done.cells["after", *ends]
    assert (before["outcome"], before["cause"]) == ("bounced", cause), f"{name}: {before['explanation']}"
    assert after["outcome"] == "delivered", f"{name}: {after['explanation']}"
    if group_of(cause) is Group.CERTIFICATE:
        assert before["fault"] in (Fault.SENDER.value, Fault.RECEIVER.value)

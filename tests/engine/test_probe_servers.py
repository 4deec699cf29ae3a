"""`testbed probe` against servers whose settings are known: what it says of each, held against what each was set to.

The servers are the federation's own, in an internal network; the probe asks them from the host, by the mesh's name server. The
rule of these tests: where the probe says yes or no, the table of expectations says the same of the settings that it cannot see.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import AUTHORITIES

from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images
from testbed.expectations import expect
from testbed.measure import zone
from testbed.model import Implementation, Outcome, Policy, Server, Settings
from testbed.plan.catalog import Catalog
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import PRESETS, make_policy
from testbed.probe import call
from testbed.probe.ladder import Answer
from testbed.probe.seen import Offer, TargetSeen
from testbed.probe.text import Peer
from testbed.sides import Side

pytestmark = pytest.mark.engine

BOOT = 120
"""Seconds within which every server must have answered a stream."""
ME = "me.example"


@dataclass(frozen=True)
class Row:
    """A server, how it is set, and what it must be seen to show."""

    domain: str
    implementation: str
    policy: Policy
    certificate: str
    starttls: Offer
    newest: str | None = "1.3"
    oldest: str | None = "1.2"
    requests: bool = True
    """Asks for a client's certificate."""
    insists: bool = False
    """Refuses a peer without one."""


ROWS = [
    Row("clear.example", "prosody", PRESETS["cleartext"], "ca", Offer.NO, None, None, False),
    Row("clear-too.example", "jabberd2", PRESETS["cleartext"], "ca", Offer.NO, None, None, False),
    Row("self-signed.example", "prosody", PRESETS["opportunistic"], "self-signed", Offer.OFFERED),
    Row("opportunistic.example", "ejabberd", PRESETS["opportunistic"], "ca", Offer.OFFERED),
    Row("wrong-host.example", "ejabberd", PRESETS["encrypted"], "wrong-host", Offer.REQUIRED),
    Row("server-only.example", "ejabberd", PRESETS["encrypted"], "server-only", Offer.REQUIRED),
    Row("untrusted.example", "prosody", PRESETS["encrypted"], "untrusted-ca", Offer.REQUIRED),
    # it demands encryption and does not say so (images/jabberd2/image.yaml)
    Row("encrypted.example", "jabberd2", PRESETS["encrypted"], "ca", Offer.OFFERED, requests=False),
    Row("authenticated.example", "prosody", PRESETS["authenticated"], "ca", Offer.REQUIRED, insists=True),
    Row("expired.example", "prosody", PRESETS["authenticated"], "expired", Offer.REQUIRED, insists=True),
    Row("external.example", "ejabberd", PRESETS["authenticated"], "ca", Offer.REQUIRED),
    Row("demanding.example", "jabberd2", PRESETS["authenticated"], "ca", Offer.OFFERED, insists=True),
    Row("new.example", "ejabberd", make_policy("encrypted", {"tls_min": "1.3"}), "ca", Offer.REQUIRED, oldest="1.3"),
    Row("old.example", "prosody", make_policy("encrypted", {"tls_max": "1.2"}), "ca", Offer.REQUIRED, newest="1.2"),
    Row("static.example", "ejabberd", make_policy("encrypted", {"forward_secrecy": "none"}), "ca", Offer.REQUIRED, newest="1.2"),
]
NOBODY = "nobody.example"
"""In DNS, with nothing behind it."""


@dataclass
class Town:
    """The servers that were raised, and where to ask."""

    resolver: str
    folder: Path
    catalog: Catalog

    def ask(self, *domains: str, policy: str = "encrypted", shown: bool = False) -> dict[str, Peer]:
        """Probe, as a stranger or as a peer with a good certificate."""
        own = (ME, self.folder / "me.pem", self.folder / "me.key") if shown else (None, None, None)
        wanted = call.Wanted(domains, None, policy, *own, self.folder / "ca.pem", self.resolver, jobs=16)
        found = call.make(wanted, lambda _: None, lambda _: None)
        return {p.seen.domain: p for p in found.peers}

    def side(self, row: Row) -> Side:
        """What the server in effect is, which the probe does not know."""
        server = Server(row.domain, Implementation(row.implementation, "trixie"), row.policy, row.certificate, 0)
        return self.catalog.side(server, Settings(row.policy, row.certificate))


@pytest.fixture(scope="module")
def town(engine: Engine, catalog: Catalog, built: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Every row's server, answering."""
    folder = tmp_path_factory.mktemp("town")
    issued = AUTHORITIES.issue_all({(r.domain, r.certificate): None for r in ROWS} | {(ME, "ca"): None})
    (folder / "ca.pem").write_bytes(AUTHORITIES.trusted.pem)
    (folder / "me.pem").write_bytes(issued[ME, "ca"].cert)
    (folder / "me.key").write_bytes(issued[ME, "ca"].key)
    with federation.Mesh(engine, f"probe-{os.getpid()}-{time.time():.0f}", len(ROWS), ipv6=True) as mesh:
        hosts = {row.domain: mesh.addresses.of(n) for n, row in enumerate(ROWS)}
        text = zone.render_zone(hosts | {NOBODY: mesh.addresses.driver}) + "_xmpp-server._tcp.none.example. IN SRV 0 0 0 .\n"
        mesh.start_dns(built.ids["dns"], text, mesh.addresses.dns)
        for number, row in enumerate(ROWS):
            implementation = Implementation(row.implementation, "trixie")
            server = Server(row.domain, implementation, row.policy, row.certificate, number)
            image = catalog.image(implementation)
            tree = image.render(server, Settings(row.policy, row.certificate), timers="short", ipv6=True)
            tree |= issued[row.domain, row.certificate].files()
            identity = built.server(implementation)
            assert identity
            name = row.domain.partition(".")[0]
            federation.start(mesh.create_server(name, identity, tree, mesh.addresses.of(number), mesh.addresses.dns[0]))
        found = Town(mesh.addresses.dns[0], folder, catalog)
        waiting, deadline = [r.domain for r in ROWS], time.monotonic() + BOOT
        while waiting and time.monotonic() < deadline:
            peers = found.ask(*waiting)
            waiting = [
                d for d, p in peers.items() if not (p.seen.decisive and p.seen.decisive.clear and p.seen.decisive.clear.features)
            ]
        assert not waiting, f"no features within {BOOT} s: {waiting}"
        yield found


@pytest.fixture(scope="module")
def as_stranger(town: Town) -> dict[str, Peer]:
    """Everything, asked without a certificate."""
    return town.ask(*(r.domain for r in ROWS))


@pytest.fixture(scope="module")
def as_peer(town: Town) -> dict[str, Peer]:
    """Everything, asked with a certificate that all of them trust."""
    return town.ask(*(r.domain for r in ROWS), shown=True)


def target(peer: Peer) -> TargetSeen:
    found = peer.seen.decisive
    assert found is not None
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.domain)
def test_what_is_seen_is_what_was_configured(row: Row, as_stranger: dict[str, Peer]) -> None:
    found = target(as_stranger[row.domain])
    assert found.clear is not None
    assert found.clear.starttls is row.starttls
    if row.starttls is Offer.NO:
        assert found.tls is None
        return
    assert found.tls is not None
    assert found.newest == row.newest
    assert min(v for v, t in found.versions.items() if t.accepted) == row.oldest
    assert found.tls.certificate_requested is row.requests
    assert found.insists_on_certificate is row.insists
    assert found.certificate is not None
    defect = PROFILES[row.certificate].defect
    assert found.certificate.defects == ([defect] if defect else [])


def test_key_exchange_is_told_apart(as_stranger: dict[str, Peer]) -> None:
    found = {d: (target(as_stranger[d]).ephemeral.accepted, target(as_stranger[d]).static_rsa.accepted) for d in as_stranger}
    assert found["static.example"] == (False, True)
    assert found["authenticated.example"] == (True, False)
    assert found["external.example"] == (True, True)


@pytest.mark.parametrize("shown", [False, True], ids=["as a stranger", "with a certificate"])
@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.domain)
def test_what_it_says_is_true(row: Row, shown: bool, town: Town, as_stranger: dict[str, Peer], as_peer: dict[str, Peer]) -> None:
    side = town.side(row)
    for judgement in (as_peer if shown else as_stranger)[row.domain].ladder:
        for also in (False, True):
            mine = Side(judgement.policy, None, ("dialback", "external"), also)
            pairs = ((judgement.to_it, expect(mine, side)), (judgement.from_it, expect(side, mine)))
            for fate, truth in pairs:
                if fate.answer is not Answer.UNKNOWN:
                    assert (fate.answer is Answer.YES) is (truth.outcome is Outcome.DELIVERED), (
                        judgement.policy.name,
                        fate,
                        truth,
                    )


def test_what_it_cannot_say_is_little(as_stranger: dict[str, Peer], as_peer: dict[str, Peer]) -> None:
    def unknown(peers: dict[str, Peer], policy: str) -> set[str]:
        return {d for d, p in peers.items() for j in p.ladder if j.policy.name == policy and j.answer is Answer.UNKNOWN}

    # of static RSA alone documents disagree
    assert unknown(as_stranger, "opportunistic") == {"expired.example", "static.example"}
    assert unknown(as_stranger, "encrypted") == {"expired.example", "static.example"}
    assert unknown(as_peer, "authenticated") < unknown(as_stranger, "authenticated"), "a certificate of ours tells more"
    # whether they go on without TLS, only a try would tell
    assert unknown(as_stranger, "cleartext") == {r.domain for r in ROWS if r.starttls is Offer.OFFERED and not r.insists}


def test_external_is_offered_to_who_shows_a_certificate(as_stranger: dict[str, Peer], as_peer: dict[str, Peer]) -> None:
    offered = []
    for peers in (as_stranger, as_peer):
        secure = target(peers["authenticated.example"]).secure
        assert secure is not None
        offered.append("EXTERNAL" in secure.mechanisms)
    assert offered == [False, True]


def test_the_command(town: Town, tmp_path: Path) -> None:
    peers = tmp_path / "peers.txt"
    peers.write_text(f"# mine\nauthenticated.example\nnone.example  # says that it has no XMPP\n{NOBODY}\n")
    program = [sys.executable, "-c", "from testbed.cli import main; main()", "probe", "-q"]
    command = [*program, "--resolver", town.resolver, "--ca", str(town.folder / "ca.pem")]
    many = subprocess.run([*command, "--file", str(peers), "--json"], capture_output=True, text=True, timeout=120)
    assert many.returncode == 1, many.stderr
    answers = {p["domain"]: p["answer"] for p in json.loads(many.stdout)["peers"]}
    assert answers == {"authenticated.example": "yes", "none.example": "no", NOBODY: "cannot-say"}
    for domain, status in (("authenticated.example", 0), ("none.example", 1), (NOBODY, 3), ("a@b.example", 2)):
        one = subprocess.run([*command, domain], capture_output=True, text=True, timeout=120)
        assert one.returncode == status, one.stdout + one.stderr
        assert "Traceback" not in one.stderr

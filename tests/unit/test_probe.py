"""What the probe makes of bytes, names, certificates and answers: everything of it that needs no server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography import x509
from typer.testing import CliRunner

from testbed.causes import CAUSES
from testbed.cli.app import app
from testbed.measure import pki
from testbed.model import InputError, Policy
from testbed.plan.policy import PRESETS, make_policy
from testbed.probe import call, findings, peers, story, stream, table, text
from testbed.probe.certificate import Trust, _match, examine, load_identity
from testbed.probe.ladder import Answer, judge, parse_policy, weigh
from testbed.probe.names import Resolver, split_address
from testbed.probe.possible import possible_server
from testbed.probe.seen import Certificate, Handshake, Names, Offer, Seen, Srv, Stream, Target, TargetSeen, Try
from testbed.probe.visit import unreachable

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
AUTHORITIES = pki.make_pki(NOW)
KEY = pki.make_key()
OPENING = stream.header("b.example", "a.example")


# --- streams ----------------------------------------------------------------------------------------------------------


def test_the_reader_takes_its_own_openings_byte_by_byte() -> None:
    reader = stream.Reader()
    for byte in OPENING + b"<stream:features><x xmlns='urn:x'>t</x></stream:features></stream:stream>":
        reader.feed(bytes([byte]))
    assert reader.header is not None
    assert reader.header.attributes["to"] == "a.example"
    assert stream.DIALBACK in reader.namespaces
    (features,) = reader.elements
    assert features.children[0].text == "t"
    assert reader.ended


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "document type"),
        (OPENING + b"<?php x?>", "processing instruction"),
        (OPENING + b"<!-- x -->", "comment"),
        (OPENING + b"&undefined;", "no XML"),
        (OPENING + b"<a>" * 20, "beyond reason"),
        (OPENING + b"<a/>" * 1000, "beyond reason"),
        (OPENING + b"<a " + b" ".join(b"a%d='1'" % n for n in range(100)) + b"/>", "beyond reason"),
        (OPENING + b"<a>" + b"x" * stream.MAX_BYTES, "more than"),
        (b"<stream xmlns='jabber:client'>", "instead of a stream"),
        (b"HTTP/1.1 200 OK", "no XML"),
        (b"\x01\x02\xff", "no XML"),
        (OPENING + b"</stream:stream><a/>", "no XML"),
    ],
)
def test_the_reader_refuses(data: bytes, said: str) -> None:
    with pytest.raises(stream.Misbehaviour, match=said):
        stream.Reader().feed(data)


def test_names_are_escaped_in_what_is_sent() -> None:
    reader = stream.Reader()
    reader.feed(stream.header('a"<&', "b.example"))
    assert reader.header is not None
    assert reader.header.attributes["from"] == 'a"<&'


def test_what_a_peer_says_cannot_move_the_cursor() -> None:
    assert stream.printable("a\x1b[2J\r\nb\u202ec") == "a [2J b c"
    assert len(stream.printable("x" * 1000)) == 120


# --- domains and files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("me@im.example", "its domain is `im.example`"),
        ("https://im.example/", "only the domain"),
        ("im.example 5269", "one domain a line"),
        ("192.0.2.1", "--connect"),
        ("2001:db8::1", "--connect"),
        ("im.example:5269", "--connect"),
        ("a..b", "a..b"),
        ("*.im.example", "im.example"),
    ],
)
def test_a_bad_line_is_told_with_file_and_line(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "peers.txt"
    file.write_text(f"# peers\n\nok.example # the first\n{line}\n")
    with pytest.raises(InputError, match=r"peers\.txt:4: ") as caught:
        peers.read([], file)
    assert said in str(caught.value)


def test_a_file_of_domains(tmp_path: Path) -> None:
    file = tmp_path / "peers.txt"
    file.write_text("OK.example.  # one\n\nbücher.example\nok.example\n")
    assert peers.read(["first.example"], file) == ["first.example", "ok.example", "bücher.example"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no domain to ask"),
        (["--file", "nothing.txt"], "nothing.txt"),
        (["a.example", "--policy", "encryptd"], "allowed: cleartext, opportunistic"),
        (["a.example", "--policy", "encrypted,tls_min=9"], "allowed: 1.0, 1.1"),
        (["a.example", "--policy", "encrypted,tls=1.2"], "no dimension `tls`"),
        (["a.example", "--policy", "encrypted,tls_min=1.3,tls_max=1.2"], "above tls_max"),
        (["a.example", "--resolver", "dns.example"], "an address, not a name"),
        (["a.example", "--resolver", "192.0.2.1:x"], "--resolver"),
        (["a.example", "--connect", "host"], "--connect takes HOST:PORT"),
        (["a.example", "--connect", "host:99999"], "--connect takes HOST:PORT"),
        (["a.example", "--certificate", "x.pem"], "go together"),
        (["a.example", "--ca", "nothing.pem"], "nothing.pem"),
        (["a.example", "--dialback"], "--dialback needs --from"),
        (["a.example", "--from", "me@x.example"], "an address, not a domain"),
        (["a.example", "--jobs", "0"], "out of its range"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, ["probe", "-q", *arguments], catch_exceptions=False)
    assert said in str(caught.value)


def test_a_key_that_is_not_the_certificates(tmp_path: Path) -> None:
    mine, other = (AUTHORITIES.issue("a.example", pki.PROFILES["ca"], k) for k in (KEY, pki.make_key()))
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(mine.cert)
    key.write_bytes(other.key)
    with pytest.raises(InputError, match="not the key of the first certificate"):
        load_identity(certificate, key)
    key.write_bytes(mine.key)
    assert load_identity(certificate, key) is not None


@pytest.mark.parametrize(
    ("written", "meant"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("[2001:db8::1]:54", ("2001:db8::1", 54))],
)
def test_addresses(written: str, meant: tuple[str, int]) -> None:
    assert split_address(written, 53, "--resolver") == meant
    assert split_address("2001:db8::1", 53, "--resolver") == ("2001:db8::1", 53)


# --- DNS --------------------------------------------------------------------------------------------------------------

Zone = dict[tuple[str, str], list[str] | int]
"""(name, type) -> records, or an rcode."""


class NameServer(asyncio.DatagramProtocol):
    """Answers from a table, on the loopback interface."""

    def __init__(self, zone: Zone, *, authenticated: bool) -> None:
        self.zone, self.authenticated = zone, authenticated

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        (asked,) = question.question
        name, kind = asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)
        found = self.zone.get((name, kind))
        if isinstance(found, int):
            answer.set_rcode(dns.rcode.Rcode(found))
        elif found:
            answer.answer.append(dns.rrset.from_text(asked.name, 300, "IN", kind, *found))
        elif not any(n == name for n, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if self.authenticated:
            assert question.flags & dns.flags.AD, "AD in the question asks for it in the answer"
            answer.flags |= dns.flags.AD
        self.transport.sendto(answer.to_wire(), address)


@contextlib.asynccontextmanager
async def name_server(zone: Zone, *, authenticated: bool = False) -> AsyncIterator[Resolver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(zone, authenticated=authenticated), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    try:
        yield Resolver(f"127.0.0.1:{port}", 1.0)
    finally:
        transport.close()


def locate(zone: Zone, **options: bool) -> Names:
    async def go() -> Names:
        async with name_server(zone, **options) as resolver:
            return await resolver.locate("a.example")

    return asyncio.run(go())


SRV, DIRECT = ("_xmpp-server._tcp.a.example.", "SRV"), ("_xmpps-server._tcp.a.example.", "SRV")


def test_srv_records_in_the_order_of_a_server() -> None:
    found = locate({SRV: ["10 0 5269 c.example.", "0 1 5269 a.example.", "0 9 5270 b.example."], DIRECT: ["5 0 5271 d.example."]})
    assert [str(t) for t in found.targets] == ["b.example:5270", "a.example:5269", "d.example:5271", "c.example:5269"]
    assert [t.direct_tls for t in found.targets] == [False, False, True, False]
    assert found.authenticated is False


def test_the_resolvers_word_on_dnssec() -> None:
    assert locate({SRV: ["0 0 5269 c.example."]}, authenticated=True).authenticated is True


def test_no_such_service() -> None:
    found = locate({SRV: ["0 0 0 ."]})
    assert (found.starttls, found.definite, found.targets) == (Srv.REFUSED, True, [])


def test_the_fallback_of_a_domain_without_srv() -> None:
    found = locate({("a.example.", "A"): ["192.0.2.1"]})
    assert found.fallback
    assert [str(t) for t in found.targets] == ["a.example:5269"]


def test_direct_tls_alone_does_not_replace_the_fallback() -> None:
    found = locate({DIRECT: ["0 0 443 d.example."], ("a.example.", "A"): ["192.0.2.1"]})
    assert [(str(t), t.direct_tls) for t in found.targets] == [("d.example:443", True), ("a.example:5269", False)]


def test_no_such_name_is_definite_and_a_failing_server_is_not() -> None:
    gone = locate({})
    assert gone.definite
    assert gone.problem == "no SRV record; a.example does not exist"
    failing = locate({SRV: dns.rcode.SERVFAIL, DIRECT: dns.rcode.SERVFAIL})
    assert not failing.definite
    assert "SERVFAIL" in (failing.problem or "")
    assert _answers(Seen("a.example", "b.example", False, gone)) == {Answer.NO}
    assert _answers(Seen("a.example", "b.example", False, failing)) == {Answer.UNKNOWN}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.1.1", "fe80::1", "224.0.0.1"])
def test_dns_of_strangers_cannot_point_at_this_machine(address: str) -> None:
    assert unreachable(address)
    assert not unreachable("192.168.1.1"), "peers inside a network are peers"


# --- certificates -----------------------------------------------------------------------------------------------------


def looked_at(profile: str, domain: str = "a.example", *, folder: Path, now: dt.datetime = NOW) -> Certificate:
    issued = AUTHORITIES.issue("a.example", pki.PROFILES[profile], KEY)
    (folder / "ca.pem").write_bytes(issued.ca)
    chain = [c.public_bytes(pki.Encoding.DER) for c in x509.load_pem_x509_certificates(issued.cert)]
    found = examine(chain, domain, Trust(folder / "ca.pem"), now)
    assert found is not None
    return found


@pytest.mark.parametrize("profile", sorted(pki.PROFILES))
def test_every_profile_shows_its_one_defect(profile: str, tmp_path: Path) -> None:
    found = looked_at(profile, folder=tmp_path)
    wanted = pki.PROFILES[profile].defect
    assert found.defects == ([wanted] if wanted else [])
    assert set(found.defects) <= set(CAUSES)
    assert (found.key, found.signature, found.self_signed) == ("RSA 2048", "sha256", profile == "self-signed")


def test_an_expired_certificate_of_a_foreign_authority_has_both_defects(tmp_path: Path) -> None:
    found = looked_at("untrusted-ca", folder=tmp_path, now=NOW + dt.timedelta(days=100))
    assert found.defects == ["certificate-untrusted", "certificate-expired"]
    assert found.days_left < 0


@pytest.mark.parametrize(
    ("dns_names", "srv", "xmpp", "matched"),
    [
        (["a.b.example"], [], [], "dNSName"),
        (["A.B.Example"], [], [], "dNSName"),
        (["*.b.example"], [], [], "dNSName"),
        (["*.example"], [], [], None),
        (["*.a.b.example"], [], [], None),
        (["a*.b.example"], [], [], None),
        (["b.example"], [], [], None),
        ([], ["_xmpp-server.a.b.example"], [], "SRVName"),
        ([], ["_xmpp-client.a.b.example"], [], None),
        ([], [], ["a.b.example"], "xmppAddr"),
        ([], [], ["x y"], None),
        ([], [], ["*.b.example"], None),
        ([], [], [], None),
    ],
)
def test_which_name_proves_a_domain(dns_names: list[str], srv: list[str], xmpp: list[str], matched: str | None) -> None:
    assert _match("a.b.example", dns_names, srv, xmpp) == matched


def test_what_is_no_certificate_is_none(tmp_path: Path) -> None:
    looked_at("ca", folder=tmp_path)
    assert examine([b"\x30\x03abc"], "a.example", Trust(tmp_path / "ca.pem"), NOW) is None


# --- verdicts ---------------------------------------------------------------------------------------------------------

GOOD = Certificate(
    subject="a.example", issuer="CA", dns_names=["a.example"], srv_names=[], xmpp_addresses=[], matched="dNSName",
    not_before="2026-01-01T00:00:00+00:00", not_after="2026-12-01T00:00:00+00:00", days_left=80, self_signed=False, trusted=True,
    untrusted_because=None, purposes=["serverAuth", "clientAuth"], for_servers=True, for_clients=True, key="RSA 2048",
    key_weak=False, signature="sha256", chain=2, fingerprint="00", defects=[],
)  # fmt: skip
SUITE = "ECDHE-RSA-AES256-GCM-SHA384"


def a_target(**changes: Any) -> TargetSeen:
    """A server that demands encryption, asks for a certificate and takes dialback."""
    found = TargetSeen(
        Target("x.a.example", 5269, False, 0, 0),
        address="192.0.2.1",
        connected=True,
        clear=Stream(True, "1.0", True, Offer.REQUIRED, dialback=True, dialback_namespace=True),
        tls=Handshake(True, True, "1.3", "TLS_AES_256_GCM_SHA384", certificate_requested=True, chain=[b"x"]),
        secure=Stream(True, "1.0", True, dialback=True, dialback_namespace=True),
        versions={"1.3": Try(True, "TLS_AES_256_GCM_SHA384"), "1.2": Try(True, SUITE), "1.1": Try(False), "1.0": Try(False)},
        static_rsa=Try(False),
        ephemeral=Try(True, SUITE),
        certificate=GOOD,
        connections=5,
    )
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def seen_of(target: TargetSeen, *more: TargetSeen, shown: bool = False) -> Seen:
    names = Names(Srv.RECORDS, Srv.NONE, False, False, [t.target for t in (target, *more)])
    return Seen("a.example", "b.example", shown, names, [target, *more], seconds=1.0)


def _answers(seen: Seen) -> set[Answer]:
    return {j.answer for j in judge(seen, PRESETS.values())}


def to_and_from(target: TargetSeen, policy: Policy) -> tuple[str, str]:
    (judgement,) = judge(seen_of(target), [policy])
    return judgement.to_it.answer.value, judgement.from_it.answer.value


SERVER_ONLY = replace(GOOD, purposes=["serverAuth"], for_clients=False, defects=["certificate-purpose"])
EXTERNAL = Stream(True, "1.0", True, dialback=True, dialback_namespace=True, mechanisms=["EXTERNAL"])
OFFERED = Stream(True, "1.0", True, Offer.OFFERED, dialback=True, dialback_namespace=True)
CLEAR = Stream(True, "1.0", True, Offer.NO, dialback=True, dialback_namespace=True)
OLD = Stream(True, None, dialback_namespace=True)
REFUSES = Stream(True, "1.0", error="not-authorized", problem="ended the stream: not-authorized")
NOTHING = Stream(True, "1.0", True, dialback_namespace=True)
NO_STREAM = Stream(problem="closed the connection")


@pytest.mark.parametrize(
    ("changes", "policy", "expected"),
    [
        ({}, "cleartext", ("no", "no")),
        ({}, "encrypted", ("yes", "yes")),
        ({}, "authenticated", ("cannot-say", "cannot-say")),
        ({"secure": EXTERNAL}, "authenticated", ("yes", "yes")),
        ({"secure": EXTERNAL, "certificate": SERVER_ONLY}, "authenticated", ("yes", "cannot-say")),
        ({"secure": EXTERNAL, "certificate": replace(GOOD, defects=["certificate-expired"])}, "authenticated", ("no", "no")),
        ({"secure": EXTERNAL, "certificate": replace(GOOD, trusted=None)}, "authenticated", ("cannot-say", "cannot-say")),
        ({"secure": EXTERNAL, "certificate": replace(GOOD, trusted=None)}, "encrypted", ("yes", "yes")),
        ({"certificate": None}, "authenticated", ("cannot-say", "cannot-say")),
        # STARTTLS that is offered may still be demanded: only a try would tell
        ({"clear": OFFERED}, "cleartext", ("cannot-say", "cannot-say")),
        ({"clear": OFFERED, "dialback_clear": "invalid"}, "cleartext", ("yes", "yes")),
        ({"clear": OFFERED, "dialback_clear": "error remote-server-not-found"}, "cleartext", ("yes", "yes")),
        ({"clear": OFFERED, "dialback_clear": "stream error policy-violation"}, "cleartext", ("no", "no")),
        ({"clear": OFFERED, "dialback_clear": "error item-not-found"}, "cleartext", ("cannot-say", "cannot-say")),
        ({"clear": OFFERED, "dialback_clear": "closed"}, "cleartext", ("cannot-say", "cannot-say")),
        ({"clear": OFFERED, "dialback_clear": "silence"}, "cleartext", ("cannot-say", "cannot-say")),
        # no TLS at all
        ({"clear": CLEAR, "tls": None, "secure": None, "versions": {}}, "opportunistic", ("yes", "yes")),
        ({"clear": CLEAR, "tls": None, "secure": None, "versions": {}}, "encrypted", ("no", "no")),
        ({"clear": OLD, "tls": None, "secure": None, "versions": {}}, "encrypted", ("no", "no")),
        ({"clear": OLD, "tls": None, "secure": None, "versions": {}}, "cleartext", ("yes", "yes")),
        # a server that wants a certificate which it verifies
        ({"secure": REFUSES}, "encrypted", ("yes", "yes")),
        ({"secure": REFUSES}, "authenticated", ("cannot-say", "cannot-say")),
        ({"secure": NO_STREAM}, "authenticated", ("cannot-say", "cannot-say")),
        # one that never asks for a certificate has no SASL EXTERNAL
        ({"tls": replace(Handshake(True, True, "1.3", "X", chain=[b"x"]))}, "authenticated", ("cannot-say", "cannot-say")),
        # dialback only declared, not advertised
        ({"secure": NOTHING}, "encrypted", ("yes", "yes")),
        ({"secure": NOTHING}, "authenticated", ("cannot-say", "cannot-say")),
        ({"secure": NOTHING, "dialback_tls": "invalid"}, "encrypted", ("yes", "yes")),
        # versions
        ({}, "encrypted,tls_min=1.3", ("yes", "yes")),
        ({"versions": {"1.3": Try(False), "1.2": Try(True, SUITE)}}, "encrypted,tls_min=1.3", ("no", "no")),
        ({"versions": {"1.3": Try(None), "1.2": Try(True, SUITE)}}, "encrypted,tls_min=1.3", ("cannot-say", "cannot-say")),
        ({}, "encrypted,tls_max=1.1", ("no", "no")),
        ({"versions": {"1.2": Try(True, SUITE), "1.3": Try(False)}}, "encrypted,tls_max=1.1", ("cannot-say", "cannot-say")),
        # key exchange
        ({}, "encrypted,forward_secrecy=none", ("no", "no")),
        ({"static_rsa": Try(True, "AES")}, "encrypted,forward_secrecy=none", ("cannot-say", "cannot-say")),
        ({"static_rsa": Try(None)}, "encrypted,forward_secrecy=none", ("cannot-say", "cannot-say")),
        ({"ephemeral": Try(False), "static_rsa": Try(True)}, "encrypted,forward_secrecy=required", ("no", "no")),
    ],
)
def test_verdicts(changes: dict[str, Any], policy: str, expected: tuple[str, str]) -> None:
    assert to_and_from(a_target(**changes), parse_policy(policy)) == expected


def test_what_cannot_be_said_always_says_on_what_it_depends() -> None:
    for secure in (EXTERNAL, REFUSES, NOTHING, NO_STREAM, None):
        for clear in (CLEAR, OFFERED, OLD, Stream(True, "1.0", problem="said nothing in time")):
            for judgement in judge(seen_of(a_target(secure=secure, clear=clear)), PRESETS.values()):
                for fate in (judgement.to_it, judgement.from_it):
                    assert bool(fate.depends) is (fate.answer is Answer.UNKNOWN)
                    assert set(fate.causes) <= set(CAUSES)
                    assert fate.because or fate.depends


def test_what_the_standards_leave_open_cannot_be_said() -> None:
    old, new = (possible_server(parse_policy(p)) for p in ("encrypted,tls_max=1.1", "encrypted"))
    prediction = weigh(old, new)
    assert prediction.answer is Answer.UNKNOWN
    assert (prediction.encryption, prediction.causes) == (("tls",), ("no-common-tls-version",))
    assert prediction.depends == ("which of the documents that disagree the two servers follow",)
    assert any("RFC 8996" in reason for reason in prediction.because)


def test_a_policy_is_read_as_a_scenario_would() -> None:
    assert parse_policy("encrypted,tls_min=1.2") == make_policy("encrypted", {"tls_min": "1.2"})


def test_the_decisive_target_is_the_first_that_speaks() -> None:
    down = a_target(
        target=Target("down.example", 5269, False), connected=False, clear=None, tls=None, secure=None, problem="x: refused"
    )
    direct = a_target(target=Target("d.example", 443, True), clear=None)
    last = a_target(target=Target("last.example", 5269, False), certificate=replace(GOOD, defects=["certificate-expired"]))
    assert seen_of(down, direct, a_target(), last).decisive is not direct
    assert seen_of(down, direct).decisive is direct
    named = {f.name: f.text for f in findings.remarks(seen_of(down, direct, a_target(), last))}
    assert "last.example:5269" in named["targets-differ"]
    assert "down.example:5269 (x: refused)" in named["target-down"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("expires-soon", {"certificate": replace(GOOD, days_left=3)}),
        ("no-client-purpose", {"certificate": SERVER_ONLY}),
        ("no-server-purpose", {"certificate": replace(GOOD, for_servers=False)}),
        ("old-tls", {"versions": {"1.0": Try(True)}}),
        ("no-tls-1.2", {"versions": {"1.3": Try(True), "1.2": Try(False)}}),
        ("static-rsa", {"static_rsa": Try(True)}),
        ("no-forward-secrecy", {"ephemeral": Try(False)}),
        ("weak-key", {"certificate": replace(GOOD, key="RSA 1024", key_weak=True)}),
        ("weak-signature", {"certificate": replace(GOOD, signature="sha1")}),
        ("cleartext-offered", {"clear": OFFERED}),
        ("tlsa-unsigned", {"tlsa": 2}),
    ],
)
def test_a_remark_is_made_where_it_applies_and_only_there(name: str, changes: dict[str, Any]) -> None:
    assert name not in {f.name for f in findings.remarks(seen_of(a_target()))}
    assert name in {f.name for f in findings.remarks(seen_of(a_target(**changes)))}


# --- what is shown ----------------------------------------------------------------------------------------------------


def a_peer(target: TargetSeen, domain: str = "a.example", policy: str = "authenticated") -> text.Peer:
    seen = replace(seen_of(target), domain=domain)
    asked, *rungs = judge(seen, [parse_policy(policy), *PRESETS.values()])
    return text.Peer(seen, asked, rungs, findings.remarks(seen))


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("draw", ["story", "table"])
def test_lines_fit_the_terminal(width: int, draw: str) -> None:
    members = [
        a_peer(a_target(), "a.example"),
        a_peer(a_target(certificate=replace(GOOD, defects=["certificate-expired"])), "b" * 50),
    ]
    if draw == "table":
        shown = table.table(members, members[0].asked.policy, 3.0, colour=False, width=width)
    else:
        shown = "".join(story.story(p, colour=False, width=width) for p in members)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_the_table_is_sorted_worst_first() -> None:
    members = [
        a_peer(a_target(secure=EXTERNAL), "good.example"),
        a_peer(a_target(), "open.example"),
        a_peer(a_target(certificate=replace(GOOD, defects=["certificate-expired"])), "bad.example"),
    ]
    shown = table.table(members, members[0].asked.policy, 3.0, colour=True, width=120)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    places = [plain.index(name) for name in ("bad.example", "open.example", "good.example")]
    assert places == sorted(places)
    assert "1 no   1 cannot say   1 yes" in plain
    assert "certificate-expired: the peer's certificate has expired" in plain


def keys(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(document) | {k for v in document.values() for k in keys(v)}
    return {k for v in document for k in keys(v)} if isinstance(document, list) else set()


def test_every_key_of_the_json_is_documented(root: Path) -> None:
    result = CliRunner().invoke(app, ["probe", "-q", "--json", "--connect", "127.0.0.1:1", "--timeout", "1", "a.example"])
    assert result.exit_code == 3, "nothing listens there, so nothing can be said"
    document = json.loads(result.stdout)
    peer = a_peer(a_target(tls_again=Handshake(True, True, "1.2", SUITE)))
    found = keys(document) | keys(peer.seen.to_json()) | keys([j.to_json() for j in peer.ladder])
    found |= keys([f.to_json() for f in findings.remarks(seen_of(a_target(tlsa=1)))])
    told = set(re.findall(r"`([A-Za-z0-9_.]+)`", (root / "docs" / "probe.md").read_text()))
    assert found - told - {"1.0", "1.1", "1.2", "1.3"} == set()


def test_exit_status_follows_the_worst() -> None:
    def worst(*members: text.Peer) -> int:
        return call.Result(members[0].asked.policy, "x", "y", list(members), 1.0).exit_status

    good, open_, bad = (
        a_peer(a_target(**c)) for c in ({"secure": EXTERNAL}, {}, {"certificate": replace(GOOD, defects=["certificate-expired"])})
    )
    assert [worst(good), worst(good, open_), worst(good, open_, bad)] == [0, 3, 1]

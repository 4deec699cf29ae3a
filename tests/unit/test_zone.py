"""The zone file says where each domain's server is, and that every other name does not exist."""

from __future__ import annotations

from testbed.measure.zone import TTL, names, render_zone

HOSTS = {"a.example": ("198.18.0.16", "fd53::10"), "b.sub.example": ("198.18.0.17", None)}

Rows = list[tuple[str, str, tuple[str, ...]]]


def records(zone: str) -> Rows:
    """Owner, type and data of every record (RFC 1035 §5); fails on anything that is no absolute, one-line record."""
    found: Rows = []
    for line in zone.splitlines():
        if line.startswith("$"):
            assert line in ("$ORIGIN .", f"$TTL {TTL}")
            continue
        owner, kind, type_, *data = line.split()
        assert owner.endswith("."), line
        assert kind == "IN", line
        found.append((owner, type_, tuple(data)))
    return found


def test_each_domain_has_its_service_records_and_addresses() -> None:
    found = records(render_zone(HOSTS))
    assert sorted(r for r in found if r[0].endswith("a.example.") and r[1] not in ("NS", "SOA")) == [
        ("_xmpp-client._tcp.a.example.", "SRV", ("0", "5", "5222", "xmpp.a.example.")),
        ("_xmpp-server._tcp.a.example.", "SRV", ("0", "5", "5269", "xmpp.a.example.")),
        ("a.example.", "A", ("198.18.0.16",)),
        ("a.example.", "AAAA", ("fd53::10",)),
        ("xmpp.a.example.", "A", ("198.18.0.16",)),
        ("xmpp.a.example.", "AAAA", ("fd53::10",)),
    ]


def test_without_an_ipv6_address_there_is_no_aaaa_record() -> None:
    assert "AAAA" not in {kind for owner, kind, _ in records(render_zone(HOSTS)) if "b.sub" in owner}


def test_the_zone_is_the_root_so_that_no_name_is_asked_outside() -> None:
    """One SOA and one NS, both at `.`: a foreign name is NXDOMAIN at once (RFC 2308), where a server would wait for a timeout."""
    found = records(render_zone(HOSTS))
    assert [(o, t) for o, t, _ in found if t in ("SOA", "NS")] == [(".", "SOA"), (".", "NS")]
    assert found[0][1] == "SOA"
    (target,) = next(data for _, kind, data in found if kind == "NS")
    assert target in {owner for owner, kind, _ in found if kind == "A"}


def test_every_name_that_is_pointed_at_has_an_address() -> None:
    found = records(render_zone(HOSTS))
    addressed = {owner for owner, kind, _ in found if kind == "A"}
    assert {data[-1] for _, kind, data in found if kind == "SRV"} <= addressed


def test_ports_are_those_asked_for() -> None:
    found = records(render_zone(HOSTS, c2s_port=1, s2s_port=2))
    assert {data[2] for owner, kind, data in found if kind == "SRV" and owner.startswith("_xmpp-server.")} == {"2"}
    assert {data[2] for owner, kind, data in found if kind == "SRV" and owner.startswith("_xmpp-client.")} == {"1"}


def test_the_zone_has_exactly_the_names_that_it_says() -> None:
    owners = {owner.rstrip(".") for owner, _, _ in records(render_zone(HOSTS))}
    assert owners - {"", "ns.testbed.example"} == set(names(HOSTS))


def test_the_same_federation_has_the_same_zone() -> None:
    assert render_zone(HOSTS) == render_zone(dict(reversed(HOSTS.items())))

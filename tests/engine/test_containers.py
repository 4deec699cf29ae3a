"""What must be true inside a running server's container, and on the wire in front of it."""

from __future__ import annotations

import io
import re

import inside
import pytest
from small_mesh import Small
from waiting import eventually

from testbed.contract.stand import process_owners
from testbed.engine import federation
from testbed.engine.files import FILES

pytestmark = pytest.mark.engine

RUNGS = ("cleartext", "opportunistic", "encrypted", "authenticated")
LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)


@pytest.mark.parametrize("rung", RUNGS)
def test_every_process_runs_as_the_declared_user(small: Small, rung: str) -> None:
    owners = process_owners(small.subjects[rung].container)
    assert owners
    assert set(owners.values()) == {small.subjects[rung].user}


@pytest.mark.parametrize("rung", RUNGS)
def test_c2s_and_s2s_ports_listen_on_every_address(small: Small, rung: str) -> None:
    inside = small.subjects[rung].inside  # ss and netstat are not in a minimal system
    listening = set()
    for line in (inside.file("/proc/net/tcp").content_string + inside.file("/proc/net/tcp6").content_string).splitlines():
        fields = line.split()
        if fields[3:4] == [LISTEN]:
            address, port = fields[1].split(":")
            listening.add((int(port, 16), set(address) == {"0"}))
    assert {(5222, True), (5269, True)} <= listening


@pytest.mark.parametrize("rung", RUNGS)
def test_the_only_name_server_is_the_federations(small: Small, rung: str) -> None:
    text = small.subjects[rung].inside.file("/etc/resolv.conf").content_string
    assert re.findall(r"^nameserver\s+(\S+)", text, re.M) == [small.mesh.addresses.dns[0]]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("name", ["key.pem", "cert-and-key.pem"])
def test_the_key_is_readable_by_the_servers_user_alone(small: Small, rung: str, name: str) -> None:
    subject = small.subjects[rung]
    key = subject.inside.file(f"/etc/testbed/{name}")
    assert (key.user, key.mode & 0o077) == (subject.user, 0)
    assert key.content == subject.issued.files()[name]


@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_of_the_files_is_in_the_environment_or_the_command_of_the_server(small: Small, rung: str) -> None:
    subject = small.subjects[rung]
    script = "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; tr '\\0' ' ' < $p/cmdline; done 2>/dev/null; true"
    # as the server's user, who may read that; what the engine starts in a container has the variable, and takes it off first
    said = federation.execute(subject.container, ["env", "-u", FILES, "sh", "-c", script], user=subject.user)
    assert "TESTBED_DNS=" in said, "the server's environment was read"
    assert FILES not in said
    assert "BEGIN" not in said


OWN_START = """FROM {image}
RUN printf '#!/bin/sh\\ncat /etc/testbed/a.cfg; exec sleep 300\\n' > /opt/own-start && chmod 755 /opt/own-start
{change}
"""


@pytest.mark.parametrize(
    ("change", "handed"),
    [('ENTRYPOINT ["/opt/own-start"]', False), ('ENTRYPOINT ["testbed-start", "nobody"]\nCMD ["/opt/own-start"]', True)],
    ids=["of a user's own", "of the base"],
)
def test_whatever_an_image_starts_with_its_files_are_there(small: Small, change: str, handed: bool) -> None:
    engine, server = small.stand.mesh.engine, small.subjects["cleartext"].server
    base = small.stand.images.server(server.implementation)
    dockerfile = io.BytesIO(OWN_START.format(image=base, change=change).encode())
    tag = f"s2s-testbed-test/own-start:{handed}".lower()
    list(engine.client.api.build(fileobj=dockerfile, tag=tag, rm=True, forcerm=True))
    address = small.mesh.addresses.of(server.index + 7)
    container = small.mesh.create_server(
        "own-start", tag, {"a.cfg": b"the files are there\n"}, address, small.mesh.addresses.dns[0]
    )
    try:
        federation.start(container)
        assert eventually(lambda: b"the files are there" in federation.logs(container), 60), federation.logs(container)
        container.reload()
        assert any(word.startswith(f"{FILES}=") for word in container.attrs["Config"]["Env"]) is handed
    finally:
        federation.drop([container])
        engine.client.images.remove(tag, force=True)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_federations_names_resolve_inside(small: Small, rung: str) -> None:
    inside = small.subjects[rung].inside
    other = next(r for r in RUNGS if r != rung)
    assert inside.run("getent ahostsv4 xmpp.%s.example", other).stdout.split()[0] == small.subjects[other].address
    assert inside.run("getent ahosts debian.org").rc != 0


@pytest.mark.parametrize("rung", RUNGS[1:])
def test_the_certificate_on_the_wire_is_the_one_issued(small: Small, rung: str) -> None:
    stream = small.probe(rung, tls=True, certificate="ca")
    assert stream.tls
    assert stream.tls.fingerprint == small.subjects[rung].issued.fingerprint


def test_no_starttls_without_encryption(small: Small) -> None:
    stream = small.probe("cleartext")
    assert stream.answered
    assert not stream.starttls


@pytest.mark.parametrize(
    ("rung", "let_in"), [("cleartext", True), ("opportunistic", True), ("encrypted", False), ("authenticated", False)]
)
def test_whether_dialback_in_the_clear_is_taken(small: Small, rung: str, let_in: bool) -> None:
    stream = small.probe(rung, peer="clear.peer.example", prove=["dialback"])
    assert stream.connected
    assert stream.dialback
    assert (stream.dialback == "valid") is let_in


@pytest.mark.parametrize(
    ("rung", "certificate", "let_in"),
    [
        ("encrypted", None, True),
        ("authenticated", "ca", True),
        ("authenticated", None, False),
        ("authenticated", "expired", False),
        ("authenticated", "untrusted-ca", False),
    ],
)
def test_who_is_let_in_over_tls(small: Small, rung: str, certificate: str | None, let_in: bool) -> None:
    stream = small.probe(rung, tls=True, certificate=certificate, prove=["external", "dialback"])
    assert stream.starttls
    assert bool(stream.let_in) is let_in


SERVERS = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"}
"""What root may do in a server's container; the server is another user, and may do nothing of it."""


@pytest.mark.parametrize("rung", RUNGS)
def test_a_server_has_no_rights_and_its_container_few(small: Small, rung: str) -> None:
    seen = inside.of(small.subjects[rung].container)
    assert seen.bounding == SERVERS
    assert seen.effective == frozenset()
    assert not seen.new_privileges
    assert seen.seccomp
    assert (seen.memory, seen.processes, seen.processors) == (1 << 30, 512, 1.0)
    assert seen.network == small.mesh.name


@pytest.mark.parametrize("part", ["dns", "prober"])
def test_the_testbeds_own_parts_have_fewer_and_a_root_that_cannot_be_written(small: Small, part: str) -> None:
    seen = inside.of(getattr(small.stand, part))
    assert seen.bounding == {"SETGID", "SETUID"}
    assert seen.effective == frozenset()
    assert not seen.new_privileges
    assert seen.seccomp
    assert not seen.root_written
    assert seen.memory <= 1 << 30
    assert seen.processes <= 256
    assert seen.network == small.mesh.name

"""The probe against servers on the loopback interface: well-behaved ones of every kind, and hostile ones."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
import warnings
from pathlib import Path

import pytest
from loopback_server import DIALBACK, EXTERNAL, HEADER, PROCEED, REQUIRED, STARTTLS, Manner, Server, serving

from testbed.measure import pki
from testbed.plan.policy import PRESETS
from testbed.probe.ask import ask, ask_all
from testbed.probe.certificate import Trust
from testbed.probe.ladder import Answer, judge
from testbed.probe.seen import Offer, Seen, Target
from testbed.probe.tls import Identity, able
from testbed.probe.visit import Asking

NAME = "a.example"
AUTHORITIES = pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0))
KEY = pki.make_key()
GOOD = AUTHORITIES.issue(NAME, pki.PROFILES["ca"], KEY)


@pytest.fixture(autouse=True)
def _old_versions_are_meant() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)


def probe(
    manner: Manner, folder: Path, *, timeout: float = 2.0, issued: pki.Issued = GOOD, **changes: object
) -> tuple[Seen, Server]:
    """Ask one server that behaves so."""
    (folder / "ca.pem").write_bytes(GOOD.ca)

    async def go() -> tuple[Seen, Server]:
        async with serving(manner, issued, folder) as server:
            target = Target("127.0.0.1", server.port, manner.direct)
            asking = Asking(None, Trust(folder / "ca.pem"), connect=[target], timeout=timeout, pause=0.0, goodbye=0.3, **changes)  # type: ignore[arg-type]
            return await ask(NAME, asking), server

    return asyncio.run(go())


def answers(seen: Seen) -> dict[str, Answer]:
    return {j.policy.name: j.answer for j in judge(seen, PRESETS.values())}


def test_a_server_that_demands_tls(tmp_path: Path) -> None:
    seen, server = probe(Manner(), tmp_path)
    target = seen.decisive
    assert target is not None
    assert target.clear is not None
    assert target.clear.starttls is Offer.REQUIRED
    assert target.clear.dialback
    assert target.secure is not None
    assert target.secure.dialback
    assert {v: t.accepted for v, t in target.versions.items()} == {"1.3": True, "1.2": True, "1.1": False, "1.0": False}
    assert target.ephemeral.accepted
    assert target.tls is not None
    assert target.tls.certificate_requested
    assert target.certificate is not None
    assert not target.certificate.defects
    assert target.certificate.matched == "dNSName"
    assert answers(seen) == {
        "cleartext": Answer.NO,
        "opportunistic": Answer.YES,
        "encrypted": Answer.YES,
        "authenticated": Answer.UNKNOWN,
    }
    assert server.most == 1, "one connection at a time"
    assert target.connections == 5


def test_what_is_sent_is_what_the_documentation_says(tmp_path: Path) -> None:
    _, server = probe(Manner(), tmp_path)
    opening = (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
        b"xmlns:db='jabber:server:dialback' from=\"testbed-probe.invalid\" to=\"a.example\" version='1.0' xml:lang='en'>"
    )
    # STARTTLS follows once in each of five connections; in the first, a stream inside TLS is opened and closed
    assert server.heard[:4] == [opening, STARTTLS.encode(), opening, b"</stream:stream>"]
    assert set(server.heard) <= {opening, STARTTLS.encode(), b"</stream:stream>", b""}
    assert not any(b"db:result" in h for h in server.heard)


def test_dialback_is_asked_for_only_on_request(tmp_path: Path) -> None:
    _, server = probe(Manner(clear=STARTTLS + DIALBACK), tmp_path, dialback=True, timeout=0.5)
    asked = [h for h in server.heard if b'<db:result from="testbed-probe.invalid" to="a.example">' in h]
    assert len(asked) == 2, "once without TLS, once inside"


def test_a_server_without_tls(tmp_path: Path) -> None:
    seen, server = probe(Manner(clear=DIALBACK), tmp_path)
    assert answers(seen) == {
        "cleartext": Answer.YES,
        "opportunistic": Answer.YES,
        "encrypted": Answer.NO,
        "authenticated": Answer.NO,
    }
    assert server.heard[1] == b"</stream:stream>", "a stream that is opened is closed"
    assert seen.targets[0].connections == 1


def test_versions_are_told_apart(tmp_path: Path) -> None:
    manner = Manner(low=ssl.TLSVersion.TLSv1, high=ssl.TLSVersion.TLSv1_1)
    seen, _ = probe(manner, tmp_path)
    tried = {v: t.accepted for v, t in seen.targets[0].versions.items()}
    if not (able()["1.0"] and able()["1.1"]):
        assert None in tried.values()
        return
    assert tried == {"1.3": False, "1.2": False, "1.1": True, "1.0": True}


@pytest.mark.parametrize(
    ("ciphers", "ephemeral", "static"),
    [("ECDHE+AES", True, False), ("kRSA+AES", False, True), ("kRSA+AES:ECDHE+AES", True, True)],
)
def test_key_exchange(ciphers: str, ephemeral: bool, static: bool, tmp_path: Path) -> None:
    seen, _ = probe(Manner(high=ssl.TLSVersion.TLSv1_2, ciphers=ciphers), tmp_path)
    target = seen.targets[0]
    assert (target.ephemeral.accepted, target.static_rsa.accepted) == (ephemeral, static)


def test_external_is_offered_to_a_certificate(tmp_path: Path) -> None:
    mine = AUTHORITIES.issue("me.example", pki.PROFILES["ca"], KEY)
    from cryptography import x509

    identity = Identity(tuple(x509.load_pem_x509_certificates(mine.cert)), KEY)
    seen, _ = probe(Manner(secure=EXTERNAL, ask=ssl.CERT_REQUIRED), tmp_path, identity=identity)
    target = seen.targets[0]
    assert target.secure is not None
    assert target.secure.mechanisms == ["EXTERNAL"]
    assert answers(seen)["authenticated"] is Answer.YES


def test_a_certificate_that_is_demanded_in_the_handshake(tmp_path: Path) -> None:
    seen, _ = probe(Manner(ask=ssl.CERT_REQUIRED), tmp_path)
    target = seen.targets[0]
    assert target.insists_on_certificate
    assert target.certificate is not None, "it was shown before we were refused"
    assert answers(seen)["encrypted"] is Answer.YES
    assert answers(seen)["authenticated"] is Answer.UNKNOWN


def test_direct_tls(tmp_path: Path) -> None:
    seen, _ = probe(Manner(direct=True, secure=EXTERNAL + DIALBACK), tmp_path)
    target = seen.targets[0]
    assert target.clear is None
    assert target.secure is not None
    assert target.secure.features
    (encrypted,) = judge(seen, [PRESETS["encrypted"]])
    assert encrypted.to_it.answer is Answer.YES
    assert encrypted.from_it.answer is Answer.UNKNOWN, "nothing is known of what it initiates"


@pytest.mark.parametrize("profile", ["expired", "not-yet-valid", "self-signed", "untrusted-ca", "wrong-host"])
def test_a_bad_certificate_stops_only_who_demands_a_good_one(profile: str, tmp_path: Path) -> None:
    issued = AUTHORITIES.issue(NAME, pki.PROFILES[profile], KEY)
    seen, _ = probe(Manner(), tmp_path, issued=issued)
    (strict, lenient) = judge(seen, [PRESETS["authenticated"], PRESETS["encrypted"]])
    assert strict.answer is Answer.NO
    assert strict.to_it.causes == (pki.PROFILES[profile].defect,)
    assert lenient.answer is Answer.YES


def test_connections_to_one_address_follow_each_other_over_all_domains(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(GOOD.ca)

    async def go() -> Server:
        async with serving(Manner(clear=DIALBACK), GOOD, tmp_path) as server:
            asking = Asking(
                None, Trust(tmp_path / "ca.pem"), connect=[Target("127.0.0.1", server.port, False)], timeout=2, pause=0.01
            )
            await ask_all([f"d{n}.example" for n in range(8)], asking, 8, lambda _: None)
            return server

    assert asyncio.run(go()).most == 1


def test_waiting_for_ones_turn_costs_no_budget(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(GOOD.ca)

    async def go() -> list[Seen]:
        async with serving(Manner(clear=DIALBACK), GOOD, tmp_path) as server:
            target = Target("127.0.0.1", server.port, False)
            asking = Asking(None, Trust(tmp_path / "ca.pem"), connect=[target], timeout=0.1, pause=0.15, goodbye=0.1)
            return await ask_all([f"d{n}.example" for n in range(16)], asking, 16, lambda _: None)

    found = asyncio.run(go())
    assert max(s.seconds for s in found) > 12 * 0.1, "else nothing was tested"
    assert [s.problem for s in found] == [None] * 16


# --- hostile ones -----------------------------------------------------------------------------------------------------


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEADER.encode() + b"<stream:features>")
    while True:
        writer.write(b"<feature>" + b"x" * 8192 + b"</feature>")
        await writer.drain()


async def deep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEADER.encode() + b"<stream:features>" + b"<a>" * 500)
    await asyncio.sleep(5)


async def bomb(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lines = "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 9}'>" for n in range(1, 9))
    writer.write(f"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY b0 'boom'>{lines}]><x>&b8;</x>".encode())
    await asyncio.sleep(5)


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 4)
    await asyncio.sleep(5)


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n<html></html>")


async def html(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"<html><body>\x1b[31mno</body></html>".replace(b"\x1b", b"&#27;"))


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(100):
        pass


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in HEADER:
        writer.write(byte.encode())
        await writer.drain()
        await asyncio.sleep(0.1)


async def no_tls_after_proceed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"xml:lang='en'>")
    writer.write(f"{HEADER}<stream:features>{REQUIRED}</stream:features>".encode())
    await reader.readuntil(b"/>")
    writer.write(PROCEED.encode())
    await reader.read(100)
    writer.write(b"ha ha ha, no TLS here at all")
    await asyncio.sleep(5)


async def silence_after_proceed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"xml:lang='en'>")
    writer.write(f"{HEADER}<stream:features>{REQUIRED}</stream:features>".encode())
    await reader.readuntil(b"/>")
    writer.write(PROCEED.encode())
    await hang(reader, writer)


async def never_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"xml:lang='en'>")
    writer.write(f"{HEADER}<stream:features>{DIALBACK}</stream:features>".encode())
    await hang(reader, writer)
    await asyncio.sleep(5)


async def flood_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"xml:lang='en'>")
    writer.write(f"{HEADER}<stream:features>{DIALBACK}</stream:features>".encode())
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


HOSTILE = [
    (endless, "sent more than 64 KB"),
    (deep, "beyond reason"),
    (bomb, "document type"),
    (garbage, "sent no XML"),
    (web, "sent no XML"),
    (html, "instead of a stream"),
    (hang, "said nothing in time"),
    (close, "closed the connection"),
    (drip, "said nothing in time"),
]


@pytest.mark.parametrize(("manner", "said"), HOSTILE, ids=lambda p: getattr(p, "__name__", ""))
def test_what_is_no_xmpp_is_bounded_and_told(manner: object, said: str, tmp_path: Path) -> None:
    began = time.monotonic()
    seen, _ = probe(Manner(raw=manner), tmp_path, timeout=0.5)  # type: ignore[arg-type]
    assert time.monotonic() - began < 8
    clear = seen.targets[0].clear
    assert clear is not None
    assert clear.problem is not None
    assert said in clear.problem
    assert "\x1b" not in clear.problem
    assert set(answers(seen).values()) == {Answer.UNKNOWN}, "nothing is concluded from it"


@pytest.mark.parametrize(("manner", "refused"), [(no_tls_after_proceed, True), (silence_after_proceed, False)])
def test_a_handshake_that_goes_wrong(manner: object, refused: bool, tmp_path: Path) -> None:
    seen, _ = probe(Manner(raw=manner), tmp_path, timeout=0.5)  # type: ignore[arg-type]
    target = seen.targets[0]
    assert target.tls is not None
    assert not target.tls.completed
    assert target.tls.problem
    assert {t.accepted for t in target.versions.values()} == {False if refused else None}, "a silence proves nothing"
    assert answers(seen)["encrypted"] is (Answer.NO if refused else Answer.UNKNOWN)


@pytest.mark.parametrize("manner", [never_closes, flood_at_the_end])
def test_the_goodbye_is_bounded_too(manner: object, tmp_path: Path) -> None:
    began = time.monotonic()
    seen, _ = probe(Manner(raw=manner), tmp_path, timeout=0.5)  # type: ignore[arg-type]
    assert time.monotonic() - began < 6
    assert answers(seen)["cleartext"] is Answer.YES


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(GOOD.ca)
    asking = Asking(None, Trust(tmp_path / "ca.pem"), connect=[Target("127.0.0.1", 1, False)], timeout=1, pause=0)
    seen = asyncio.run(ask(NAME, asking))
    assert seen.targets[0].problem == "127.0.0.1: connection refused"
    assert set(answers(seen).values()) == {Answer.UNKNOWN}

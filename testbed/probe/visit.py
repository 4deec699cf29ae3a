"""All connections to one target of a domain, one at a time, and what they answer. Judges nothing.

What is sent is all here: a stream header, `<starttls/>`, TLS handshakes, `</stream:stream>`; with ``--dialback`` one `db:result`.
No message, no account, no name of a user. Every wait is bounded, and so is every answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from testbed.model import TLS_VERSIONS
from testbed.probe import certificate, stream, tls
from testbed.probe.certificate import Trust
from testbed.probe.names import Resolver, ascii_name
from testbed.probe.seen import Handshake, Offer, Stream, Target, TargetSeen, Try
from testbed.probe.stream import DIALBACK, SASL, STREAMS, TLS, Element, Misbehaviour, Reader, printable
from testbed.probe.wire import SILENCE, Wire

STRANGER = "testbed-probe.invalid"
"""Who asks, unless the user says so: a name that says what it is and that can belong to nobody (RFC 6761 §6.4)."""
MAX_ADDRESSES = 4
"""Addresses of a target that are tried, until one takes a connection."""
PAUSE = 0.5
"""Seconds between two connections to one address."""
GOODBYE = 2.0
"""Seconds for which the peer's own closing of the stream is awaited."""


@dataclass
class Asking:
    """How to ask: what the user chose, and what all domains share."""

    resolver: Resolver | None
    """None: no question to DNS is needed."""
    trust: Trust
    own: str = STRANGER
    identity: tls.Identity | None = None
    connect: list[Target] = field(default_factory=list)
    """Instead of what DNS says."""
    timeout: float = 10.0
    dialback: bool = False
    pause: float = PAUSE
    goodbye: float = GOODBYE
    _hosts: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @contextlib.asynccontextmanager
    async def turn(self, address: str, budget: asyncio.Timeout) -> AsyncIterator[None]:
        """One connection at a time to an address, over all domains, and a pause after each; waiting for it costs no budget."""
        loop, until = asyncio.get_running_loop(), budget.when()
        left = None if until is None else until - loop.time()
        budget.reschedule(None)
        async with self._hosts[address]:
            budget.reschedule(None if left is None else loop.time() + left)
            try:
                yield
            finally:
                await asyncio.sleep(self.pause)


@dataclass
class Attempt:
    """One connection: what is offered in TLS, and how far to go."""

    low: str = "1.0"
    high: str = "1.3"
    suites: str = tls.EVERYTHING
    secure: bool = False
    """Open a stream inside TLS too."""
    clear_key: bool = False
    """Instead of STARTTLS: ask for dialback in the clear."""


class Visit:
    """All connections to one target."""

    def __init__(self, domain: str, seen: TargetSeen, asking: Asking, budget: asyncio.Timeout) -> None:
        self.domain, self.seen, self.asking, self.budget = domain, seen, asking, budget
        self.name = ascii_name(domain)

    async def make(self) -> None:
        """Ask everything; facts go into what was given."""
        addresses = await self._addresses()
        for address in addresses:
            await self._first(address)
            if self.seen.connected:
                break
        if not self.seen.address:
            return
        if self.seen.tls:
            await self._tls(self.seen.address, self.seen.tls)
        clear = self.seen.clear
        if self.asking.dialback and clear and clear.features and clear.starttls is not Offer.REQUIRED:
            await self._connect(self.seen.address, Attempt(clear_key=True))

    async def _addresses(self) -> list[str]:
        target, resolver = self.seen.target, self.asking.resolver
        if resolver is None or self.asking.connect:
            return [target.host]
        addresses, problem, _ = await resolver.addresses(target.host)
        self.seen.tlsa = await resolver.tlsa(target)
        allowed = [a for a in addresses if not unreachable(a)]
        if not addresses:
            self.seen.problem = problem
        elif not allowed:
            shown = ", ".join(addresses[:3])
            self.seen.problem = f"{target.host} has only addresses that belong to no host of a network ({shown}): not asked"
        return allowed[:MAX_ADDRESSES]

    async def _first(self, address: str) -> None:
        """As any server would: everything offered, and the stream opened again inside TLS."""
        handshake = await self._connect(address, Attempt(secure=True), first=True)
        if not handshake:
            return
        self.seen.tls = handshake
        if handshake.completed and handshake.version == "1.3" and self.seen.secure and not self.seen.secure.answered:
            # One closed connection may be an accident of TLS 1.3; two are an answer.
            again = await self._connect(address, Attempt(high="1.2", secure=True))
            self.seen.tls_again = again
            if again and again.answered and again.version:
                self.seen.versions[again.version] = Try(True, again.cipher)
            if again and not again.completed:
                self.seen.secure.problem = again.problem

    async def _tls(self, address: str, first: Handshake) -> None:
        if first.chain:
            now = dt.datetime.now(dt.UTC)
            self.seen.certificate = certificate.examine(first.chain, self.name, self.asking.trust, now)
        await self._versions(address, first)
        await self._key_exchange(address)

    async def _versions(self, address: str, first: Handshake) -> None:
        """Each version by itself; the one that the first handshake showed is known already."""
        for version in reversed(TLS_VERSIONS):
            if first.answered and first.version == version:
                self.seen.versions[version] = Try(True, first.cipher)
            elif version in self.seen.versions:
                continue  # seen already, on the second connection
            elif not tls.able()[version]:
                self.seen.versions[version] = Try(None, why="the OpenSSL in use cannot offer it")
            else:
                self.seen.versions[version] = _tried(await self._connect(address, Attempt(low=version, high=version)), version)

    async def _key_exchange(self, address: str) -> None:
        """Whether suites without forward secrecy are taken, and whether suites with it are."""
        seen = self.seen
        accepted = {v: t.cipher for v, t in seen.versions.items() if t.accepted}
        unsure = any(t.accepted is None for t in seen.versions.values())
        old = [v for v in accepted if v < "1.3"]
        static = next((c for v, c in accepted.items() if v < "1.3" and c and not c.startswith(("ECDHE", "DHE"))), None)
        if static:
            seen.static_rsa = Try(True, static)
        elif not old:
            known = bool(accepted) and not unsure
            seen.static_rsa = Try(False if known else None, why="TLS 1.3 has none" if known else "no older version was accepted")
        elif not tls.able()["static"]:
            seen.static_rsa = Try(None, why="the OpenSSL in use cannot offer it")
        else:
            seen.static_rsa = _tried(await self._connect(address, Attempt(high="1.2", suites=tls.STATIC)))
        ephemeral = next((c for v, c in accepted.items() if v == "1.3" or (c and c.startswith(("ECDHE", "DHE")))), None)
        if ephemeral:
            seen.ephemeral = Try(True, ephemeral)
        elif old:
            seen.ephemeral = _tried(await self._connect(address, Attempt(high="1.2", suites=tls.EPHEMERAL)))

    # --- one connection ---

    async def _connect(self, address: str, attempt: Attempt, *, first: bool = False) -> Handshake | None:
        """One connection from beginning to end. Returns the handshake, None if it did not come to one."""
        async with self.asking.turn(address, self.budget):
            self.seen.connections += 1
            try:
                async with asyncio.timeout(self.asking.timeout):
                    reader, writer = await asyncio.open_connection(address, self.seen.target.port)
            except (OSError, TimeoutError) as error:
                # asyncio's own text repeats the address
                why = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "no answer in time"
                if first:
                    self.seen.problem = f"{address}: {why}"
                    return None
                return Handshake(problem=f"no connection: {why}")
            if first:
                self.seen.address, self.seen.connected, self.seen.problem = address, True, None
            wire = Wire(reader, writer, self.asking.timeout, self.asking.goodbye)
            try:
                return await self._talk(wire, attempt, first=first)
            finally:
                await wire.close()
                self.seen.bytes_sent += wire.sent
                self.seen.bytes_received += wire.received

    async def _talk(self, wire: Wire, attempt: Attempt, *, first: bool) -> Handshake | None:
        if not self.seen.target.direct_tls:
            reader, answer = await self._open(wire)
            if first:
                self.seen.clear = answer
            if attempt.clear_key:
                self.seen.dialback_clear = await self._ask_for_dialback(wire, reader)
                return None
            if answer.starttls is Offer.NO:
                return None if first else Handshake(problem=answer.problem or "STARTTLS was not offered this time")
            await wire.send(stream.STARTTLS)
            try:
                complete = await wire.read(reader, lambda: bool(reader.elements) or reader.ended)
            except Misbehaviour as error:
                return Handshake(problem=f"instead of <proceed/> it {error}")
            if not complete or not reader.elements or (reader.elements[0].namespace, reader.elements[0].name) != (TLS, "proceed"):
                what = printable(f"<{reader.elements[0].name}/>") if reader.elements else wire.why
                return Handshake(problem=f"instead of <proceed/>: {what}")
        made = tls.context(attempt.low, attempt.high, attempt.suites, self.asking.identity)
        handshake = await wire.start_tls(tls.Channel(made, self.name, direct=self.seen.target.direct_tls))
        if handshake.completed and attempt.secure:
            reader, answer = await self._open(wire)
            self.seen.secure = answer
            if self.asking.dialback and answer.features:
                self.seen.dialback_tls = await self._ask_for_dialback(wire, reader)
        return handshake

    async def _open(self, wire: Wire) -> tuple[Reader, Stream]:
        """Send a stream header; what the peer answers, up to its features or its error."""
        reader, answer = Reader(), Stream()
        wire.open = True
        await wire.send(stream.header(self.asking.own, self.domain))

        def enough() -> bool:
            old = reader.header is not None and "version" not in reader.header.attributes
            return bool(reader.elements) or reader.ended or old  # before XMPP 1.0 there are no features

        try:
            if not await wire.read(reader, enough):
                answer.problem = wire.why
        except Misbehaviour as error:
            answer.problem = str(error)
            wire.open = False  # there is nobody to say goodbye to
        if reader.header is not None:
            answer.answered, answer.version = True, reader.header.attributes.get("version")
            answer.dialback_namespace = DIALBACK in reader.namespaces
            if answer.version is not None:
                answer.version = printable(answer.version, 8)
        for element in reader.elements:
            _note(answer, element)
        reader.elements.clear()
        return reader, answer

    async def _ask_for_dialback(self, wire: Wire, reader: Reader) -> str:
        """Send a key that nobody will confirm: the answer's type and condition, `closed`, or `silence`."""
        await wire.send(stream.dialback(self.asking.own, self.domain, secrets.token_hex(32)))
        try:
            await wire.read(reader, lambda: bool(reader.elements) or reader.ended)
        except Misbehaviour:
            return "nonsense"
        if not reader.elements:
            return "silence" if wire.why == SILENCE else "closed"
        answer = reader.elements[0]
        if (answer.namespace, answer.name) == (DIALBACK, "result"):
            error = answer.find("jabber:server", "error")
            condition = error.children[0].name if error and error.children else ""
            return printable(f"{answer.attributes.get('type', '')} {condition}".strip(), 60)
        if (answer.namespace, answer.name) == (STREAMS, "error"):
            return printable(f"stream error {answer.children[0].name if answer.children else ''}".strip(), 60)
        return printable(f"<{answer.name}/>", 60)


def _note(answer: Stream, element: Element) -> None:
    """Features or a stream error, into what was answer."""
    if (element.namespace, element.name) == (STREAMS, "error"):
        answer.error = next((printable(c.name, 40) for c in element.children if c.name != "text"), "undefined-condition")
        answer.error_text = next((printable(c.text) for c in element.children if c.name == "text"), None)
        answer.problem = f"ended the stream: {answer.error}" + (f" ({answer.error_text})" if answer.error_text else "")
        return
    if (element.namespace, element.name) != (STREAMS, "features"):
        return
    answer.features = True
    for feature in element.children:
        match feature.namespace, feature.name:
            case (stream.TLS, "starttls"):
                answer.starttls = Offer.REQUIRED if feature.find(TLS, "required") else Offer.OFFERED
            case (stream.SASL, "mechanisms"):
                answer.mechanisms = [
                    printable(m.text.strip(), 40) for m in feature.children if (m.namespace, m.name) == (SASL, "mechanism")
                ]
            case (stream.DIALBACK_FEATURE, "dialback"):
                answer.dialback = True
                answer.dialback_errors = feature.find(stream.DIALBACK_FEATURE, "errors") is not None
            case (stream.BIDI_FEATURE, "bidi"):
                answer.bidi = True
            case (namespace, _):
                answer.other.append(printable(namespace, 60))


def _tried(handshake: Handshake | None, version: str | None = None) -> Try:
    """Whether the peer took what was offered. A ServerHello is an agreement, even if a certificate then parts the two."""
    if handshake is None:
        return Try(None, why="the connection ended before TLS")
    if handshake.answered and (version is None or handshake.version == version):
        return Try(True, handshake.cipher)
    return Try(False if handshake.refused else None, why=handshake.problem)


def unreachable(address: str) -> bool:
    """True for addresses that no peer can be served at: DNS of strangers shall not point the probe at this machine."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local

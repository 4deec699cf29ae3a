"""TLS as a state machine over bytes, without any I/O: what is offered, and what a handshake showed.

pyOpenSSL rather than the `ssl` module: it gives the chain that a peer sent though it does not verify, on every Python, and the
OpenSSL in it is the wheel's own, which still knows TLS 1.0 where the system's configuration forbids it. What it can try is
found out by letting it talk to itself (`able`), never by its version number.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from testbed.model import TLS_VERSIONS
from testbed.probe.seen import Handshake

NUMBERS = {"1.0": SSL.TLS1_VERSION, "1.1": SSL.TLS1_1_VERSION, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
EVERYTHING, STATIC, EPHEMERAL = "ALL:!aNULL:!eNULL", "kRSA:!aNULL:!eNULL", "ECDHE:DHE:!aNULL:!eNULL"
"""OpenSSL's names for kinds of suites, TLS 1.2 and below."""
ALPN = b"xmpp-server"
"""XEP-0368 §3."""
MAX_HANDSHAKE = 128 * 1024
"""Bytes that a peer may send until its handshake is done; OpenSSL takes chains of up to 100 KB."""
HELLO_READ, REQUEST_READ = b"read server hello", b"read server certificate request"
"""Names of OpenSSL's states, from SSL_state_string_long(3)."""

PLAIN = {
    "unsupported protocol": "answered with another version",
    "wrong version number": "answered with another version, or not with TLS",
    "unexpected eof while reading": "closed the connection, without an alert",
    "no protocols available": "not possible here",
}
ALERTS = {
    "protocol version": "refuses this version (alert protocol_version)",
    "handshake failure": "nothing of this in common (alert handshake_failure)",
    "insufficient security": "demands stronger suites (alert insufficient_security)",
    "certificate required": "demands a certificate of us (alert certificate_required)",
    "bad certificate": "refuses our certificate (alert bad_certificate)",
    "unknown ca": "does not trust our certificate's authority (alert unknown_ca)",
    "unrecognized name": "does not know the name (alert unrecognized_name)",
    "internal error": "says that something is wrong on its side (alert internal_error)",
}
"""OpenSSL's reasons, and the peer's alerts, in plain words; what is not listed is shown as OpenSSL says it."""


@dataclass(frozen=True)
class Identity:
    """A certificate of our own to show, with its key: PEM files, read and checked."""

    chain: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey  # or another kind; the OpenSSL in use says what it takes


def context(low: str, high: str, suites: str = EVERYTHING, identity: Identity | None = None) -> SSL.Context:
    """What a handshake offers: a range of versions and a kind of suites. Verifies nothing: what comes is the question."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.set_verify(SSL.VERIFY_NONE)
    # Security level 0, for TLS 1.0 and 1.1 need SHA-1 (OpenSSL 3).
    made.set_cipher_list(f"{suites}:@SECLEVEL=0".encode())
    made.set_min_proto_version(NUMBERS[low])
    made.set_max_proto_version(NUMBERS[high])
    if identity:
        leaf, *rest = identity.chain
        made.use_certificate(leaf)
        made.use_privatekey(identity.key)
        for certificate in rest:
            made.add_extra_chain_cert(certificate)
    return made


class Channel:
    """TLS between bytes and bytes: what comes from the wire goes into `receive`, what goes onto it comes out of `outgoing`."""

    def __init__(self, made: SSL.Context, name: str, *, direct: bool = False) -> None:
        self.seen = Handshake()
        self._states: set[bytes] = set()
        self._read = 0
        self._tls = SSL.Connection(made, None)
        self._tls.set_info_callback(self._moved)
        self._tls.set_connect_state()
        self._tls.set_tlsext_host_name(name.encode("ascii"))
        if direct:
            self._tls.set_alpn_protos([ALPN])

    def _moved(self, connection: SSL.Connection, *_: int) -> None:
        self._states.add(connection.get_state_string())

    def _reached(self, state: bytes) -> bool:
        return any(state in s for s in self._states)

    def outgoing(self) -> bytes:
        """What is to be written to the wire now."""
        try:
            return self._tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def step(self, data: bytes | None) -> bool:
        """One step of the handshake, with what came (b"": the peer closed); True when it is over, well or not."""
        if data:
            self._read += len(data)
            self._tls.bio_write(data)
        if self._read > MAX_HANDSHAKE:
            return self.fail(f"sent more than {MAX_HANDSHAKE // 1024} KB of handshake", refused=False)
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return self.fail("closed the connection, without an alert", refused=True) if data == b"" else False
        except SSL.Error as error:
            return self.fail(said(error), refused=True)
        self.seen.completed = True
        self._note()
        return True

    def fail(self, problem: str, *, refused: bool) -> bool:
        """The handshake is over."""
        self.seen.problem, self.seen.refused = problem, refused
        self._note()
        return True

    def _note(self) -> None:
        seen, tls = self.seen, self._tls
        seen.answered = seen.completed or self._reached(HELLO_READ)
        seen.certificate_requested = self._reached(REQUEST_READ)
        if seen.answered:
            name = tls.get_protocol_version_name()
            seen.version = "1.0" if name == "TLSv1" else name.removeprefix("TLSv")
            seen.cipher, seen.group = tls.get_cipher_name(), tls.get_group_name()
            seen.alpn = tls.get_alpn_proto_negotiated().decode("ascii", "replace") or None
            chain = tls.get_peer_cert_chain() or []  # as OpenSSL read it; whether others can read it is asked later
            seen.chain = [crypto.dump_certificate(crypto.FILETYPE_ASN1, c) for c in chain]

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """What bytes from the wire say, and whether the peer closed TLS. An alert closes it, and is kept in `seen.problem`."""
        self._tls.bio_write(data)
        plain = b""
        while True:
            try:
                plain += self._tls.recv(65536)
            except SSL.WantReadError:
                return plain, False
            except SSL.ZeroReturnError:
                return plain, True
            except SSL.Error as error:  # TLS 1.3 refuses a client's certificate only after the handshake
                self.seen.problem, self.seen.refused = said(error), True
                return plain, True

    def encrypt(self, data: bytes) -> bytes:
        """The bytes for the wire."""
        self._tls.sendall(data)
        return self.outgoing()

    def farewell(self) -> bytes:
        """The bytes of close_notify, or an alert that is still to be sent."""
        if self.seen.completed and not self.seen.problem:
            try:
                self._tls.shutdown()
            except SSL.Error:
                return b""
        return self.outgoing()


def said(error: SSL.Error) -> str:
    """An OpenSSL error in plain words."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [reason for _, _, reason in stack if reason]
    if not reasons:
        return "broke the handshake off"
    # OpenSSL writes "tlsv1 alert X", "ssl/tls alert X", "tls alert X", … by its release and the alert's age
    head, alert, name = reasons[0].partition(" alert ")
    return ALERTS.get(name, f"alert {name}") if alert else PLAIN.get(head, head)


# --- what can be tried at all ------------------------------------------------------------------------------------------


@functools.cache
def able() -> dict[str, bool]:
    """Which of `1.0` … `1.3` and `static` this OpenSSL can offer: it is made to shake hands with itself, in memory."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "able.invalid")]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    leaf = builder.sign(key, hashes.SHA256())
    tried = {version: (version, version, EVERYTHING) for version in TLS_VERSIONS} | {"static": ("1.2", "1.2", STATIC)}
    return {what: _itself(low, high, suites, leaf, key) for what, (low, high, suites) in tried.items()}


def _itself(low: str, high: str, suites: str, leaf: x509.Certificate, key: rsa.RSAPrivateKey) -> bool:
    try:
        serving = SSL.Context(SSL.TLS_SERVER_METHOD)
        serving.set_cipher_list(f"{EVERYTHING}:@SECLEVEL=0".encode())
        serving.set_min_proto_version(SSL.TLS1_VERSION)
        serving.use_certificate(leaf)
        serving.use_privatekey(key)
        client = Channel(context(low, high, suites), "able.invalid")
        server = SSL.Connection(serving, None)
        server.set_accept_state()
        data: bytes | None = None
        for _ in range(8):
            if client.step(data):
                return client.seen.completed
            server.bio_write(client.outgoing())
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            data = server.bio_read(65536)
    except SSL.Error:
        return False
    return False

"""Turns tshark's lines (see `FIELDS` in protocol.py) into facts per TCP stream. No I/O; knows XMPP's words, not who is who.

Only what is on the wire: what crossed in clear is read as it stands, of TLS only the handshake's clear parts and the alerts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(rb"cell-[0-9a-f]{16}")
# Attributes hold no `<`, and what lies between two words is bounded: else the time grows with the square of what a server sends.
STREAM_ERROR = re.compile(rb"<stream:error[^<>]{0,400}>\s{0,40}<([a-z-]{1,60})[\s/>]")
DIALBACK = re.compile(rb"<(?:\w{1,20}:)?(result|verify)\b([^<>]{0,2000})>")
FEATURES = re.compile(rb"<stream:features|<features")
STARTTLS_FEATURE = re.compile(
    rb"<starttls[^<>]{0,200}urn:ietf:params:xml:ns:xmpp-tls[^<>]{0,200}?(/>|>(.{0,80}?)</starttls>)", re.S
)

SYN, FIN, RST, ACK = 0x02, 0x01, 0x04, 0x10
ALERT = "21"
CLIENT_HELLO, SERVER_HELLO = "1", "2"
VERSIONS = {"0x0300": "SSLv3", "0x0301": "TLSv1.0", "0x0302": "TLSv1.1", "0x0303": "TLSv1.2", "0x0304": "TLSv1.3"}
ALERTS = {
    "0": "close_notify", "10": "unexpected_message", "20": "bad_record_mac", "40": "handshake_failure", "42": "bad_certificate",
    "43": "unsupported_certificate", "44": "certificate_revoked", "45": "certificate_expired", "46": "certificate_unknown",
    "47": "illegal_parameter", "48": "unknown_ca", "49": "access_denied", "50": "decode_error", "51": "decrypt_error",
    "70": "protocol_version", "71": "insufficient_security", "80": "internal_error", "86": "inappropriate_fallback",
    "90": "user_canceled", "109": "missing_extension", "112": "unrecognized_name", "116": "certificate_required",
    "120": "no_application_protocol",
}  # fmt: skip
"""TLS alert descriptions, RFC 8446 §6 and IANA's registry."""

SUITES: dict[int, str] = {
    0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384", 0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA", 0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA", 0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256",
    0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256", 0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384", 0xC09C: "TLS_RSA_WITH_AES_128_CCM", 0xC09D: "TLS_RSA_WITH_AES_256_CCM",
    0xC0A0: "TLS_RSA_WITH_AES_128_CCM_8", 0xC0A1: "TLS_RSA_WITH_AES_256_CCM_8", 0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA", 0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
    0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", 0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", 0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", 0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", 0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCAA: "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
}  # fmt: skip
"""The suites that OpenSSL speaks with RSA certificates, IANA's names; another is shown by its number."""


def forward_secret(suite: str, version: str | None) -> bool | None:
    """Whether a suite's key exchange is ephemeral (RFC 8446 §1.2: always in TLS 1.3); None for one that is not in the table."""
    if version == "TLSv1.3" or suite.startswith(("TLS_ECDHE_", "TLS_DHE_")):
        return True
    return False if suite.startswith("TLS_RSA_") else None


@dataclass
class Stream:
    """What one TCP connection showed. Times are Unix seconds; `out` is from the initiator, `in` from the other side."""

    number: int
    initiator: str
    receiver: str
    port: int
    start: float
    end: float
    syns: int = 0
    answered: bool = False
    reset_by: str | None = None
    closed_by: str | None = None
    bytes_out: int = 0
    bytes_in: int = 0
    starttls_offered: str | None = None
    """`no`, `offered` or `required`, as the features in clear said; None if no features were seen."""
    starttls_used: bool = False
    offered_versions: list[str] = field(default_factory=list)
    server_name: str | None = None
    tls_version: str | None = None
    cipher: str | None = None
    forward_secrecy: bool | None = None
    tls_data_out: list[float] = field(default_factory=list)
    """Times of TLS records from the initiator after its handshake began."""
    alerts: list[str] = field(default_factory=list)
    """`out:handshake_failure`, `in:unknown_ca`; the alerts of TLS 1.3 after ServerHello are encrypted and not seen."""
    tokens: list[str] = field(default_factory=list)
    """Bodies of cells that crossed in clear."""
    stream_errors: list[str] = field(default_factory=list)
    dialback: list[str] = field(default_factory=list)
    """Dialback in clear: `out:result`, `in:result:valid`, …"""
    server_hello: bool = False
    _tls: set[str] = field(default_factory=set)
    _text: dict[str, bytes] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As data of an observation; what is unknown or empty is left away. False and 0 are facts: no forward secrecy is one."""
        known = {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None and v != []}
        known["tls_data_out"] = [round(t, 3) for t in thin(self.tls_data_out)]
        return known


def thin(times: list[float], most: int = 40) -> list[float]:
    """At most ``most`` times: the first ones and the last ones."""
    return times if len(times) <= most else times[: most // 2] + times[-most // 2 :]


class Dissector:
    """Feed it lines, then take the streams."""

    def __init__(self, port: int = 5269) -> None:
        self.port = port
        self.streams: dict[int, Stream] = {}
        self.unread = 0
        """Lines that are none of tshark's with these fields: what they hold is missing."""

    def feed(self, lines: Iterable[str]) -> None:
        """Add packets, in the order of the capture; what cannot be read is counted."""
        for line in lines:
            fields = line.split("|")
            if len(fields) < 18:
                self.unread += 1
            elif fields[1]:
                # the name that a server asks for is its own choice: the separator may stand in it
                name = "|".join(fields[16:-1])
                try:
                    self._packet([*fields[:16], name, fields[-1]])
                except (ValueError, OverflowError):
                    self.unread += 1

    def _packet(self, f: list[str]) -> None:
        time, number = float(f[0]), int(f[1].split(",")[0])
        source, target = f[2] or f[4], f[3] or f[5]
        sport, dport, flags, length = int(f[6]), int(f[7]), int(f[8], 16), int(f[9] or 0)
        stream = self.streams.get(number)
        if stream is None:
            # Without its SYN (a capture that began late) the well-known port still tells who initiated.
            inward = sport == self.port and dport != self.port
            ends = (target, source, dport) if inward else (source, target, sport)
            stream = self.streams[number] = Stream(number, *ends, start=time, end=time)
        stream.end = time
        outward = source == stream.initiator and sport == stream.port
        side = "out" if outward else "in"
        if flags & SYN:
            if flags & ACK:
                stream.answered = True
            else:
                stream.syns += 1
        if flags & RST:
            stream.reset_by = stream.reset_by or side
        if flags & FIN:
            stream.closed_by = stream.closed_by or side
        if outward:
            stream.bytes_out += length
        else:
            stream.bytes_in += length
        records = f[10].split(",") if f[10] else []
        if records:
            self._tls(stream, side, time, records, f)
        elif length and side not in stream._tls and f[17]:
            self._clear(stream, side, bytes.fromhex(f[17].split(",")[0].replace(":", "")))
        elif length and side == "out" and stream._tls:
            stream.tls_data_out.append(time)  # a segment of a record that goes on

    def _tls(self, stream: Stream, side: str, time: float, records: list[str], f: list[str]) -> None:
        stream._tls.add(side)
        if side == "out":
            stream.tls_data_out.append(time)
        kinds = f[11].split(",") if f[11] else []
        if CLIENT_HELLO in kinds:
            supported = [VERSIONS[v] for v in f[13].split(",") if v in VERSIONS]
            legacy = VERSIONS.get(f[12].split(",")[0])
            stream.offered_versions = sorted(set(supported) or ({legacy} if legacy else set()))
            stream.server_name = f[16] or None
        if SERVER_HELLO in kinds:
            stream.server_hello = True
            versions = [VERSIONS[v] for v in (f[13] or f[12]).split(",") if v in VERSIONS]
            stream.tls_version = versions[0] if versions else None
            if f[14]:
                code = int(f[14].split(",")[0], 0)
                stream.cipher = SUITES.get(code, f"0x{code:04X}")
                stream.forward_secrecy = forward_secret(stream.cipher, stream.tls_version)
        if ALERT in records and f[15]:
            stream.alerts += [f"{side}:{ALERTS.get(a, a)}" for a in f[15].split(",")]

    def _clear(self, stream: Stream, side: str, data: bytes) -> None:
        # An element may be cut between two segments: keep a tail and look at both together.
        text = stream._text.get(side, b"") + data
        stream._text[side] = text[-4096:]
        for match in TOKEN.findall(text):
            token = match.decode()
            if token not in stream.tokens:
                stream.tokens.append(token)
        if side == "in" and FEATURES.search(text):
            found = STARTTLS_FEATURE.search(text)
            if found:
                stream.starttls_offered = "required" if b"<required" in (found.group(2) or b"") else "offered"
            elif stream.starttls_offered is None:
                stream.starttls_offered = "no"
        if side == "in" and b"<proceed" in text:
            stream.starttls_used = True
        for match in STREAM_ERROR.findall(text):
            word = f"{side}:{match.decode()}"
            if word not in stream.stream_errors:
                stream.stream_errors.append(word)
        for name, attributes in DIALBACK.findall(text):
            kind = re.search(rb"type=['\"]([a-z]+)", attributes)
            word = f"{side}:{name.decode()}" + (f":{kind.group(1).decode()}" if kind else "")
            if word not in stream.dialback:
                stream.dialback.append(word)

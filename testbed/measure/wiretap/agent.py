"""Runs in the wiretap's container, in the network namespace of the engine's host: neighbour table, gate, capture, tshark.

It imports nothing of the testbed but what is copied beside it (the protocol), and judges nothing. The gate is an nftables table
of the bridge family that belongs to this process (`flags owner`): it vanishes with it, however it ends. So it does not end of
itself while servers are on the bridge: whoever commanded it may have been killed, and they go on.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import messages
import nftables
import packet_rules
import protocol

CAPTURES = Path("/captures")
LINES_AT_ONCE = 500
HOLD = 0.5
"""Seconds between two looks at whether servers are still there when nobody commands any more."""
FIELDS = (
    "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
    "tcp.len", "tls.record.content_type", "tls.handshake.type", "tls.handshake.version",
    "tls.handshake.extensions.supported_version", "tls.handshake.ciphersuite", "tls.alert_message.desc",
    "tls.handshake.extensions_server_name", "tcp.payload",
)  # fmt: skip
LOCK = threading.Lock()


def emit(message: object, id: int | None = None) -> None:
    """Say something: a reply to the command with ``id``, or an event."""
    line = messages.encode(message, id)
    with LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


def neighbours(servers: int) -> protocol.TableTooSmall | None:
    """Raise the neighbour table's thresholds where `servers` need more: it is one table for the whole host.

    Returns what stands in the way; the defaults bear a small federation, so only one that would overflow them is refused.
    """
    need = 2 * servers * servers + 1024
    refused = None
    for family in ("ipv4", "ipv6"):
        folder = Path(f"/proc/sys/net/{family}/neigh/default")
        if not folder.is_dir():
            continue
        now = {n: int((folder / f"gc_thresh{n}").read_text()) for n in (1, 2, 3)}
        wanted = (
            {1: max(now[1], need // 2), 2: max(now[2], need), 3: max(now[3], need * 2)}
            if now[1] < need // 2 or now[3] < need * 2
            else now
        )
        try:
            for n in (3, 2, 1):
                if wanted[n] != now[n]:
                    (folder / f"gc_thresh{n}").write_text(str(wanted[n]))
            emit(protocol.Neighbours(family, True, now[3], need, raised=wanted != now, after=wanted[3]))
        except OSError as error:
            command = "sysctl -w " + " ".join(f"net.{family}.neigh.default.gc_thresh{n}={wanted[n]}" for n in (3, 2, 1))
            ok = now[3] >= servers * servers
            emit(protocol.Neighbours(family, ok, now[3], need, error=str(error), command=command))
            if not ok:
                refused = refused or protocol.TableTooSmall(need, now[3], command)
    return refused


class Gate:
    """Who may talk to whom on the s2s port: nobody, but for the pairs that are measured right now."""

    def __init__(self, name: str, interface: str, subnets: list[str], port: int, attempts: int) -> None:
        self.nft = nftables.Nftables()
        self.ports = Path(f"/sys/class/net/{interface}/brif")
        self.table = f"bridge {name}"
        # COMPAT nftables 1.0.6: `tcp sport != X tcp dport != X` is merged into one comparison that means something else; each
        # rule here names one port only.
        drops = "".join(
            f"{'ip6' if ':' in net else 'ip'} saddr {net} tcp {side} {port} counter drop\n"
            for net in subnets
            for side in ("dport", "sport")
        )
        pair = "ether saddr . ether daddr"
        over = f"update @attempts {{ {pair} limit rate over {attempts}/second burst {attempts * 3} packets }}"
        # An internal network has no way out, but to the host itself: nothing in the mesh needs that, so there is none.
        # Only frames to the bridge's own address: the capture sees all others by way of the same hook.
        own = Path(f"/sys/class/net/{interface}/address").read_text().strip()
        closed = "".join(f"ether daddr {own} {'ip6' if ':' in net else 'ip'} saddr {net} counter drop\n" for net in subnets)
        self.run(f"""
            table {self.table} {{
                flags owner
                set pairs {{ type ether_addr . ether_addr; size 65536; }}
                set attempts {{ type ether_addr . ether_addr; flags dynamic; size 65536; timeout 10s; }}
                set storm {{ type ether_addr . ether_addr; flags dynamic; size 65536; counter; }}
                chain forward {{
                    type filter hook forward priority 0; policy accept;
                    tcp dport {port} tcp flags & (syn | ack) == syn {pair} @pairs {over} update @storm {{ {pair} }} drop
                    {pair} @pairs accept
                    {drops}
                }}
                chain input {{
                    type filter hook input priority 0; policy accept;
                    {closed}
                }}
            }}""")

    def run(self, text: str) -> str:
        code, output, error = self.nft.cmd(text)
        if code:
            raise RuntimeError(f"nft: {error.strip()}")
        return str(output)

    def change(self, verb: str, pairs: list[list[str]]) -> None:
        elements = ", ".join(f"{a} . {b}" for a, b in pairs)
        self.run(f"{verb} element {self.table} pairs {{ {elements} }}")

    def hold(self) -> None:
        """Let nobody through any more; returns when nothing is plugged into the bridge, or the bridge is gone."""
        with contextlib.suppress(RuntimeError):
            self.run(f"flush set {self.table} pairs")
        with contextlib.suppress(FileNotFoundError):
            while any(self.ports.iterdir()):
                time.sleep(HOLD)

    def storms(self, among: list[str]) -> list[tuple[str, str, int]]:
        """Pairs among these addresses whose connection attempts were cut, with how many; they are forgotten then."""
        self.nft.set_json_output(True)
        try:
            listing = json.loads(self.run(f"list set {self.table} storm"))
        finally:
            self.nft.set_json_output(False)
        storms: list[tuple[str, str, int]] = []
        for item in listing.get("nftables", []):
            for element in item.get("set", {}).get("elem", []):
                inner = element.get("elem", {}) if isinstance(element, dict) else {}
                if "val" in inner:
                    a, b = inner["val"]["concat"]
                    if a in among and b in among:
                        storms.append((a, b, inner.get("counter", {}).get("packets", 0)))
        if storms:
            elements = ", ".join(f"{a} . {b}" for a, b, _ in storms)
            self.run(f"delete element {self.table} storm {{ {elements} }}")
        return storms


class Agent:
    """What the host may ask for, one method a command; each returns the reply."""

    def __init__(self) -> None:
        self._gate: Gate | None = None
        self.captures: dict[str, subprocess.Popen[str]] = {}
        self.limits: dict[str, int] = {}

    @property
    def gate(self) -> Gate:
        if self._gate is None:
            raise RuntimeError("the gate has not been prepared")
        return self._gate

    def do(self, envelope: messages.Envelope) -> None:
        """Do a command and answer it; what takes long, in a thread of its own."""
        if isinstance(envelope.message, SLOW):
            threading.Thread(target=self.serve, args=(envelope,)).start()
        else:
            self.serve(envelope)

    def serve(self, envelope: messages.Envelope) -> None:
        """Do a command and answer it. The host must hear of a failure: a gate that stays shut looks like a failed pair."""
        method = getattr(self, messages.name_of(type(envelope.message)).replace("-", "_"))
        try:
            reply = method(envelope.message)
        except Exception as error:
            reply = messages.Failed(repr(error))
        if reply:
            emit(reply, envelope.id)

    def end(self) -> None:
        """Nobody commands any more."""
        for process in self.captures.values():
            process.send_signal(signal.SIGINT)
        if self._gate:
            self._gate.hold()

    def prepare(self, command: protocol.Prepare) -> object:
        if refused := neighbours(command.servers):
            return refused
        self._gate = Gate(command.name, command.interface, command.subnets, command.port, command.attempts)
        return protocol.Prepared()

    def read_rules(self, _command: protocol.ReadRules) -> object:
        return protocol.Rules(**packet_rules.read())

    def open(self, command: protocol.Open) -> object:
        self.gate.change("add", command.pairs)
        return protocol.Opened()

    def close(self, command: protocol.Close) -> None:
        self.gate.change("delete", command.pairs)

    def answer(self, _command: protocol.Answer) -> object:
        return protocol.Answered()

    def list_storms(self, command: protocol.ListStorms) -> object:
        return protocol.Storms(self.gate.storms(command.among))

    def capture(self, command: protocol.Capture) -> object:
        """Capture into a file of at most ``limit`` kB (0: no bound)."""
        CAPTURES.mkdir(exist_ok=True)
        arguments = ["dumpcap", "-q", "-i", command.interface, "-f", command.filter, "-B", "64"]
        arguments += ["-w", str(CAPTURES / f"{command.name}.pcapng")]
        arguments += ["-a", f"filesize:{command.limit}"] if command.limit else []
        self.limits[command.name] = command.limit * 1000
        process = self.captures[command.name] = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        for line in process.stderr:
            if line.startswith("File:"):
                return protocol.Capturing()
        raise RuntimeError(f"dumpcap ended: {process.wait()}")

    def stop_capture(self, command: protocol.StopCapture) -> object:
        name = command.name
        process = self.captures.pop(name)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read()
        process.wait()
        size, limit = (CAPTURES / f"{name}.pcapng").stat().st_size, self.limits.pop(name)
        return protocol.Captured(name, said.strip(), size, bool(limit) and size >= limit)

    def dissect(self, command: protocol.Dissect) -> object:
        """tshark's fields, one line a packet, onto the channel."""
        arguments = ["tshark", "-n", "-r", str(CAPTURES / f"{command.name}.pcapng")]
        arguments += ["-o", "tcp.desegment_tcp_streams:TRUE", "-o", "tcp.analyze_sequence_numbers:TRUE"]
        arguments += ["-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
        for field in FIELDS:
            arguments += ["-e", field]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stderr
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if len(lines) == LINES_AT_ONCE:
                emit(protocol.Packets(command.name, lines))
                lines = []
        emit(protocol.Packets(command.name, lines))
        error = process.stderr.read()
        return protocol.Dissected(process.wait(), error.strip()[-500:])


SLOW = (protocol.StopCapture, protocol.Dissect)
"""Commands that must not hold up the gate."""


def main() -> None:
    """Read commands until standard input ends; then hold the gate shut until the servers are gone, or this container is."""
    agent = Agent()
    emit(messages.Ready())
    known = messages.vocabulary(protocol.COMMANDS)
    for line in sys.stdin:
        try:
            agent.do(messages.decode(line, known))
        except ValueError as error:
            emit(messages.Failed(f"{error}: {line.strip()}"))
    agent.end()


if __name__ == "__main__":
    main()

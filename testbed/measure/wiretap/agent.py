"""Runs in the wiretap's container, in the network namespace of the engine's host: neighbour table, gate, capture.

Also in the dissector's, which has no network, no rights, and the captures to read: there it runs tshark, and nothing else.

It imports nothing of the testbed but what is copied beside it (the protocol, the gate), and judges nothing. The gate vanishes
with this process, however it ends. So it does not end of itself while servers are on the bridge: whoever commanded it may have
been killed, and they go on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import messages
import packet_rules
import protocol
from gate import Gate

CAPTURES = Path("/captures")
CAPTURER = (
    "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw",
    "--no-new-privs", "--",
)  # fmt: skip
"""Before dumpcap's name: it has the right to see packets, and no other."""
DISSECTION = 900
"""Seconds of processor time after which the kernel ends tshark."""
DISSECTOR = ("prlimit", f"--cpu={DISSECTION}", "--", "choom", "-n", "1000", "--")
"""Before tshark's name: where memory runs out it is ended, and not who started it."""
LINES_AT_ONCE = 500


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
            messages.emit(protocol.Neighbours(family, True, now[3], need, raised=wanted != now, after=wanted[3]))
        except OSError as error:
            command = "sysctl -w " + " ".join(f"net.{family}.neigh.default.gc_thresh{n}={wanted[n]}" for n in (3, 2, 1))
            ok = now[3] >= servers * servers
            messages.emit(protocol.Neighbours(family, ok, now[3], need, error=str(error), command=command))
            if not ok:
                refused = refused or protocol.TableTooSmall(need, now[3], command)
    return refused


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
            messages.emit(reply, envelope.id)

    def end(self) -> None:
        """Nobody commands any more."""
        for process in self.captures.values():
            process.send_signal(signal.SIGINT)
        if self._gate:
            self._gate.hold()

    def prepare(self, command: protocol.Prepare) -> object:
        if refused := neighbours(command.servers):
            return refused
        self._gate = Gate(command)
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
        arguments = [*CAPTURER, "dumpcap", "-q", "-i", command.interface, "-f", command.filter, "-B", "64", "-w", "-"]
        arguments += ["-a", f"filesize:{command.limit}"] if command.limit else []
        self.limits[command.name] = command.limit * 1000
        with (CAPTURES / f"{command.name}.pcapng").open("wb") as file:
            process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.PIPE, text=True)
        self.captures[command.name] = process
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
        arguments = [*DISSECTOR, "tshark", "-n", "-r", str(CAPTURES / f"{command.name}.pcapng")]
        arguments += ["-o", "tcp.desegment_tcp_streams:TRUE", "-o", "tcp.analyze_sequence_numbers:TRUE"]
        arguments += ["-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
        for field in protocol.FIELDS:
            arguments += ["-e", field]
        # what it complains of goes to a file, for a pipe that nobody reads would stop it
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace")
            assert process.stdout
            lines: list[str] = []
            for line in process.stdout:
                lines.append(protocol.shortened(line.rstrip("\n")))
                if len(lines) == LINES_AT_ONCE:
                    messages.emit(protocol.Packets(command.name, lines))
                    lines = []
            messages.emit(protocol.Packets(command.name, lines))
            status = process.wait()
            said.seek(0)
            return protocol.Dissected(status, said.read().strip()[-500:])


SLOW = (protocol.StopCapture, protocol.Dissect)
"""Commands that must not hold up the gate."""


def main() -> None:
    """Read commands until standard input ends; then hold the gate shut until the servers are gone, or this container is."""
    agent = Agent()
    messages.emit(messages.Ready())
    known = messages.vocabulary(protocol.COMMANDS)
    for line in sys.stdin:
        try:
            agent.do(messages.decode(line, known))
        except ValueError as error:
            messages.emit(messages.Failed(f"{error}: {line.strip()}"))
    agent.end()


if __name__ == "__main__":
    main()

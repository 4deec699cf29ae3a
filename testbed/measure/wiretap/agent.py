"""Runs in the wiretap's container, in the network namespace of the engine's host: neighbour table, gate, capture, tshark.

It imports nothing of the testbed. Commands on standard input, events on standard output, one JSON object a line. The gate is an
nftables table of the bridge family that belongs to this process (`flags owner`): it vanishes with it, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nftables

CAPTURES = Path("/captures")
FIELDS = (
    "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
    "tcp.len", "tls.record.content_type", "tls.handshake.type", "tls.handshake.version",
    "tls.handshake.extensions.supported_version", "tls.handshake.ciphersuite", "tls.alert_message.desc",
    "tls.handshake.extensions_server_name", "tcp.payload",
)  # fmt: skip
LOCK = threading.Lock()


def emit(event: str, **data: Any) -> None:
    line = json.dumps({"event": event, "time": time.time(), **data}) + "\n"
    with LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


def neighbours(servers: int) -> None:
    """Raise the neighbour table's thresholds where `servers` need more: it is one table for the whole host."""
    need = 2 * servers * servers + 1024
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
            raised = wanted != now
            emit("neighbours", family=family, raised=raised, before=now[3], after=wanted[3], need=need, ok=True)
        except OSError as error:
            command = "sysctl -w " + " ".join(f"net.{family}.neigh.default.gc_thresh{n}={wanted[n]}" for n in (3, 2, 1))
            # The defaults bear a small federation: only one that would overflow them is refused.
            emit(
                "neighbours",
                family=family,
                ok=now[3] >= servers * servers,
                error=str(error),
                command=command,
                before=now[3],
                need=need,
            )


class Gate:
    """Who may talk to whom on the s2s port: nobody, but for the pairs that are measured right now."""

    def __init__(self, name: str, interface: str, subnets: list[str], port: int, attempts: int) -> None:
        self.nft = nftables.Nftables()
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

    def storms(self, among: list[str]) -> list[dict[str, Any]]:
        """Pairs among these addresses whose connection attempts were cut, with how many; they are forgotten then."""
        self.nft.set_json_output(True)
        try:
            listing = json.loads(self.run(f"list set {self.table} storm"))
        finally:
            self.nft.set_json_output(False)
        found = []
        for item in listing.get("nftables", []):
            for element in item.get("set", {}).get("elem", []):
                inner = element.get("elem", {}) if isinstance(element, dict) else {}
                if "val" in inner:
                    a, b = inner["val"]["concat"]
                    if a in among and b in among:
                        found.append({"from": a, "to": b, "attempts": inner.get("counter", {}).get("packets", 0)})
        if found:
            elements = ", ".join(f"{storm['from']} . {storm['to']}" for storm in found)
            self.run(f"delete element {self.table} storm {{ {elements} }}")
        return found


class Agent:
    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.captures: dict[str, subprocess.Popen[str]] = {}
        self.limits: dict[str, int] = {}

    def do(self, command: dict[str, Any]) -> None:
        match command.pop("do"):
            case "prepare":
                neighbours(command["servers"])
                self.gate = Gate(command["name"], command["interface"], command["subnets"], command["port"], command["attempts"])
                emit("prepared")
            case "open":
                assert self.gate
                self.gate.change("add", command["pairs"])
                emit("opened", token=command["token"])
            case "close":
                assert self.gate
                self.gate.change("delete", command["pairs"])
            case "answer":
                emit("answer", token=command["token"])
            case "storms":
                assert self.gate
                emit("storms", pairs=self.gate.storms(command["among"]), token=command["token"])
            case "capture":
                self.start(**command)
            case "stop":
                threading.Thread(target=self.stop, kwargs=command).start()
            case "dissect":
                threading.Thread(target=self.dissect, kwargs=command).start()

    def start(self, name: str, interface: str, filter: str, limit: int) -> None:
        """Capture into a file of at most ``limit`` kB (0: no bound)."""
        CAPTURES.mkdir(exist_ok=True)
        arguments = ["dumpcap", "-q", "-i", interface, "-f", filter, "-B", "64", "-w", str(CAPTURES / f"{name}.pcapng")]
        arguments += ["-a", f"filesize:{limit}"] if limit else []
        self.limits[name] = limit * 1000
        process = self.captures[name] = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        for line in process.stderr:
            if line.startswith("File:"):
                emit("capturing", name=name)
                return
        emit("failed", reason=f"dumpcap ended: {process.wait()}")

    def stop(self, name: str) -> None:
        process = self.captures.pop(name)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read()
        process.wait()
        size, limit = (CAPTURES / f"{name}.pcapng").stat().st_size, self.limits.pop(name)
        emit("captured", name=name, said=said.strip(), size=size, full=bool(limit) and size >= limit)

    def dissect(self, name: str) -> None:
        """tshark's fields, one line a packet, onto the channel."""
        path = CAPTURES / f"{name}.pcapng"
        arguments = [
            "tshark",
            "-n",
            "-r",
            str(path),
            "-o",
            "tcp.desegment_tcp_streams:TRUE",
            "-o",
            "tcp.analyze_sequence_numbers:TRUE",
            "-T",
            "fields",
            "-E",
            "separator=|",
            "-E",
            "occurrence=a",
        ]
        for field in FIELDS:
            arguments += ["-e", field]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stderr
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if len(lines) == 500:
                emit("packets", name=name, lines=lines)
                lines = []
        emit("packets", name=name, lines=lines)
        error = process.stderr.read()
        emit("dissected", name=name, status=process.wait(), said=error.strip()[-500:], size=path.stat().st_size)


def main() -> None:
    """Read commands until standard input ends."""
    agent = Agent()
    emit("ready", cpus=os.cpu_count())
    for line in sys.stdin:
        try:
            agent.do(json.loads(line))
        except Exception as error:  # the host must hear of it: a gate that stays shut looks like a failed pair
            emit("failed", command=line.strip(), reason=repr(error))
    for name in list(agent.captures):
        agent.stop(name)


if __name__ == "__main__":
    main()

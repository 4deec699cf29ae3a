"""What speaks XMPP inside the mesh: `agent.py` runs in a container there, one client per server, led over JSON lines.

`PROTOCOL` is the whole of what the two sides say to each other; `testbed.engine.channel` carries it.
"""

from __future__ import annotations

from pathlib import Path

PROTOCOL: dict[str, str] = {
    "login": "host to driver: keep trying to be online at `domain` (`address`, `port`) until `timeout` seconds passed",
    "online": "driver to host: the client of `domain` is logged in and present, after `seconds`",
    "login-failed": "driver to host: it is not, and `reason` says what was seen last",
    "send": "host to driver: the client of `sender` starts `exchange` with the client of `receiver`, as `token`",
    "sent": "driver to host: the stanza of `token` was written to the sender's server",
    "received": "driver to host: the receiver's client `domain` saw `token`",
    "error": "driver to host: the sender's client was told that `token` failed: `condition`, `text`, `by`",
    "ping": "host to driver: the client of `domain` sends itself `token` through its own server (the sentinel of a silence)",
    "alive": "driver to host: it came back",
    "disconnected": "driver to host: the client of `domain` lost its server",
    "reset": "host to driver: drop all clients; answered by `reset` when done",
}
"""Message -> meaning. Every message carries `time`, Unix seconds on the engine's host."""


def files() -> dict[str, bytes]:
    """What the driver's container needs: the agent and the exchanges."""
    here = Path(__file__).parent
    found = {"agent.py": (here / "agent.py").read_bytes()}
    for path in (here.parent / "exchanges").glob("*.py"):
        found[f"exchanges/{path.name}"] = path.read_bytes()
    return found

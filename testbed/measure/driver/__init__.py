"""What speaks XMPP inside the mesh: `agent.py` runs in a container there, one client per server, led over JSON lines.

`PROTOCOL` is the whole of what the two sides say to each other; `testbed.engine.channel` carries it.
"""

from __future__ import annotations

from pathlib import Path

from testbed import exchanges

PROTOCOL: dict[str, str] = {
    "login": "host to driver: try to be online as `client` at `domain` (`address`, `port`) until `timeout` seconds passed",
    "online": "driver to host: `client` is logged in and present, after `seconds`",
    "login-failed": "driver to host: it is not, and `reason` says what was seen last",
    "send": "host to driver: `client` starts `exchange` with the account at the domain `receiver`, as `token`",
    "sent": "driver to host: the stanza of `token` was written to the sender's server",
    "unsendable": "driver to host: it was not, for `client` has lost its own server",
    "received": "driver to host: `client` saw `token`",
    "error": "driver to host: `client` was told that `token` failed: `condition`, `text`, `by`",
    "ping": "host to driver: `client` sends itself `token` through its own server (the sentinel of a silence)",
    "alive": "driver to host: it came back",
    "disconnected": "driver to host: `client` lost its server",
    "serial": "host to driver: ask the name server at `address` until its zone has this `serial`; and back: it has, `token`",
    "logout": "host to driver: drop these `clients`; their servers are about to end",
}
"""Message -> meaning. Every message carries `time`, Unix seconds on the engine's host."""


def files() -> dict[str, bytes]:
    """What the driver's container needs: the agent and the exchanges."""
    here = Path(__file__).parent
    found = {"agent.py": (here / "agent.py").read_bytes()}
    for path in (exchanges.FOLDER).glob("*.py"):
        found[f"exchanges/{path.name}"] = path.read_bytes()
    return found

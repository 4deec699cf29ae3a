"""Sees what crosses between servers, and decides nothing of what it means.

`agent.py` runs in a container on the engine's host network: capture, gate and dissection. `dissect.py` turns tshark's lines
into facts per TCP stream, without any I/O.
"""

from __future__ import annotations

from pathlib import Path


def files() -> dict[str, bytes]:
    """What the wiretap's container needs."""
    return {"agent.py": (Path(__file__).parent / "agent.py").read_bytes()}

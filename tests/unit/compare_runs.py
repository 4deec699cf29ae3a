"""Small runs, written out, to compare: four servers, one cell for each way in which two runs can differ.

Rule: nothing here was measured; only `tests/unit/test_compare_*.py` use it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from testbed.compare.cells import Subject, subject

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "compare"
SOFTWARE = {
    "a": ("alpha", "one", "1.0-1"),
    "b": ("beta", "two", "2.0-1"),
    "c": ("gamma", "one", "3.0-1"),
    "d": ("delta", "one", "4.0-1"),
}
TLS = {
    "encryption": "tls",
    "tls_version": "TLSv1.3",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "forward_secrecy": True,
    "authentication": "external",
    "body_in_clear": False,
}
CLEAR = {
    "encryption": "cleartext",
    "tls_version": None,
    "cipher": None,
    "forward_secrecy": None,
    "authentication": "dialback",
    "body_in_clear": True,
}


def delivered(*, expected: str = "delivered", surprise: bool = False, **channel: Any) -> dict[str, Any]:
    """A delivery over TLS 1.3, but for what is named."""
    return _cell("delivered", None, expected, surprise, TLS | channel)


def cleartext(*, surprise: bool = False) -> dict[str, Any]:
    """A delivery in cleartext."""
    return _cell("delivered", None, "delivered", surprise, CLEAR)


def failed(cause: str, *, outcome: str = "bounced", expected: str = "delivered", **more: Any) -> dict[str, Any]:
    """A failure; a surprise unless it is what is expected."""
    return _cell(outcome, cause, expected, expected != outcome, dict.fromkeys(TLS)) | more


def untold(cause: str = "testbed", **more: Any) -> dict[str, Any]:
    """A cell of which the testbed cannot say anything."""
    return _cell("inconclusive", cause, "delivered", False, dict.fromkeys(TLS)) | more


def unstable() -> dict[str, Any]:
    """A cell whose attempts disagreed."""
    return untold("unstable", surprise=True, flaky=["delivered", "bounced"])


def unsupported() -> dict[str, Any]:
    """A cell that a server cannot be set for."""
    return _cell("unsupported", "policy-not-expressible", "delivered", False, dict.fromkeys(TLS))


def _cell(outcome: str, cause: str | None, expected: str, surprise: bool, channel: dict[str, Any]) -> dict[str, Any]:
    ought = {"outcome": expected, "because": "RFC 6120", "encryption": None, "cause": cause if outcome == expected else None}
    rest = {"fault": None, "explanation": "", "seconds": None, "attempts": 1, "evidence": []}
    return {"outcome": outcome, "cause": cause, "expected": ought, "surprise": surprise, "channel": channel, **rest}


def run(cells: dict[str, dict[str, Any]], name: str = "one", **more: Any) -> dict[str, Any]:
    """Verdicts of cells by address: ``"after a b"`` is what a writes to b in the phase `after`."""
    addressed = [(address.split(), cell) for address, cell in cells.items()]
    phases = list(dict.fromkeys(phase for (phase, *_), _ in addressed))
    domains = sorted({d for (_, *pair), _ in addressed for d in pair})
    policies = {"before": "opportunistic", "after": "encrypted"}
    return {
        "schema": 1,
        "run": name,
        "scenario": "three",
        "title": "Three servers",
        "started": "2026-01-01T00:00:00+00:00",
        "timers": "short",
        "isolated": False,
        "complete": True,
        "servers": [
            {"domain": f"{d}.example", "index": n, "title": d.upper()}
            | dict(zip(("implementation", "release", "version"), SOFTWARE[d], strict=True))
            for n, d in enumerate(domains)
        ],
        "phases": [
            {
                "name": p,
                "settings": {f"{d}.example": {"policy": policies.get(p, p), "certificate": "ca"} for d in domains},
            }
            for p in phases
        ],
        "cells": [
            {
                "id": f"{phase}/{a}.example/{b}.example/message",
                "phase": phase,
                "sender": f"{a}.example",
                "receiver": f"{b}.example",
                "exchange": "message",
            }
            | cell
            for (phase, a, b), cell in addressed
        ],
    } | more


def side(cells: dict[str, dict[str, Any]], name: str = "one", **more: Any) -> Subject:
    """The same as a side of a comparison."""
    return subject(run(cells, name, **more), {"seed": 1})


A_CELLS = {
    "before a b": delivered(),
    "before a c": delivered(),
    "before b a": failed("dialback-failed"),
    "before b c": delivered(),
    "before c a": failed("unreachable"),
    "before c b": cleartext(),
    "after a b": failed("negotiation-timeout"),
    "after a c": failed("tls-required", expected="bounced"),
    "after b a": delivered(),
    "after b c": unsupported(),
    "after c a": delivered(),
    "last a b": delivered(),
    "before d a": delivered(),
    "before d b": unstable(),
}
B_CELLS = {
    "before a b": delivered(tls_version="TLSv1.2", cipher="ECDHE-RSA-AES256-GCM-SHA384"),
    "before a c": failed("tls-torn-down", confirmed=False),
    "before b a": delivered(),
    "before b c": cleartext(surprise=True),
    "before c a": failed("unreachable", outcome="lost"),
    "before c b": delivered(),
    "after a b": failed("dns"),
    "after a c": delivered(expected="bounced", surprise=True),
    "after b a": untold(),
    "after b c": delivered(),
    "after c a": delivered(cipher="TLS_AES_128_GCM_SHA256"),
    "after c b": failed("dns"),
    "before d a": unstable(),
    "before d b": delivered(),
}
"""Every kind of change once, and more than one direction of some."""


def two_sides() -> tuple[Subject, Subject]:
    """The two runs above; the second with other timers and another version of one server."""
    newer = run(B_CELLS, "two", timers="stock", started="2026-01-02T00:00:00+00:00")
    newer["servers"][1]["version"] = "2.0-2"
    return side(A_CELLS), subject(newer, {"seed": 2})


def golden(name: str, text: str) -> None:
    """Hold a text against ``tests/golden/compare/NAME``; ``WRITE_GOLDEN=1`` writes it, to be read before it is kept."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()

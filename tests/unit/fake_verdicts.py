"""Made-up verdicts for layout tests only: the shape and the size are real, the results are not.

Rule: nobody may cite a number that comes from here. The rules below are a caricature of how servers behave, just rich
enough for every outcome, cause and change class to turn up; the same arguments always give the same dict.
"""

from __future__ import annotations

import random
from typing import Any

SOFTWARE = {
    "prosody@trixie": "13.0.1-1+deb13u1",
    "ejabberd@trixie": "24.12-3+b1",
    "jabberd2@trixie": "2.7.0-7+b3",
    "prosody@bookworm": "0.12.3-1",
    "ejabberd@bookworm": "23.01-1+deb12u1",
    "prosody@buster": "0.11.2-1+deb10u5",
}
POLICIES = ("cleartext", "opportunistic", "encrypted", "authenticated")
CERTIFICATES = ("ca", "self-signed", "expired", "wrong-host")
BAD = {"self-signed": "certificate-self-signed", "expired": "certificate-expired", "wrong-host": "certificate-wrong-host"}


def verdicts(
    servers: int = 12,
    phases: tuple[str, ...] = ("before", "after"),
    *,
    exchanges: tuple[str, ...] = ("message",),
    certificates: int | None = None,
    seed: int = 1,
    noise: float = 0.01,
    only: str | None = None,
    complete: bool = True,
) -> dict[str, Any]:
    """A dict like ``derived/verdicts.json``. ``only`` forces one outcome on all cells; an incomplete run lacks the last third."""
    rng = random.Random(seed)
    listed = _servers(servers, certificates)
    made = [{"name": name, "settings": _settings(listed, place, len(phases))} for place, name in enumerate(phases)]
    cells = [
        _cell(rng, phase, a, b, exchange, noise, only)
        for phase in made
        for a in listed
        for b in listed
        if a is not b
        for exchange in exchanges
    ]
    if not complete:
        cells = cells[: len(cells) * 2 // 3]
    return {
        "schema": 1,
        "run": f"fake-{servers:03d}",
        "scenario": "manifesto-2014",
        "title": "Encryption becomes mandatory on 19 May 2014",
        "timers": "short",
        "started": "2024-05-19T10:00:00Z",
        "complete": complete,
        "servers": [{k: v for k, v in s.items() if k not in ("policy", "certificate")} for s in listed],
        "phases": made,
        "cells": cells,
    }


def _servers(n: int, certificates: int | None) -> list[dict[str, Any]]:
    kinds = certificates or (1 if n <= 12 else 4)
    out: list[dict[str, Any]] = []
    per_software = len(POLICIES) * kinds
    for index in range(n):
        software, version = list(SOFTWARE.items())[index // per_software % len(SOFTWARE)]
        name, release = software.split("@")
        out.append(
            {
                "domain": f"s{index:02d}.mesh.example",
                "index": index,
                "implementation": name,
                "release": release,
                "version": version,
                "policy": POLICIES[index // kinds % len(POLICIES)],
                "certificate": CERTIFICATES[index % kinds],
            }
        )
    return out


def _settings(servers: list[dict[str, Any]], place: int, phases: int) -> dict[str, Any]:
    bound = place == phases - 1 and phases > 1
    return {
        s["domain"]: {
            "policy": "encrypted" if bound and s["policy"] == "opportunistic" else s["policy"],
            "certificate": s["certificate"],
            "dimensions": {},
        }
        for s in servers
    }


def _cell(
    rng: random.Random, phase: dict[str, Any], a: dict[str, Any], b: dict[str, Any], exchange: str, noise: float, only: str | None
) -> dict[str, Any]:
    one, two = phase["settings"][a["domain"]], phase["settings"][b["domain"]]
    outcome, encryption, authentication, cause, fault = _ought(one, two, a, b)
    expected = outcome
    surprise = False
    if only is not None:
        outcome = expected = only
        cause = "tls-required" if only in ("bounced", "lost") else None
    elif rng.random() < noise:
        outcome = rng.choice(["bounced", "lost", "inconclusive", "delivered"])
        surprise = outcome not in (expected, "inconclusive")
        cause = rng.choice(["negotiation-timeout", "dns", None]) if outcome in ("bounced", "lost") else None
        fault = "network" if cause else None
    if outcome != "delivered":
        encryption = authentication = None
    else:
        encryption, cause, fault = encryption or "tls", None, None
    return {
        "id": f"{phase['name']}/{a['domain']}/{b['domain']}/{exchange}",
        "phase": phase["name"],
        "sender": a["domain"],
        "receiver": b["domain"],
        "exchange": exchange,
        "outcome": outcome,
        "channel": {
            "encryption": encryption,
            "tls_version": "TLSv1.3" if encryption == "tls" else None,
            "cipher": "TLS_AES_256_GCM_SHA384" if encryption == "tls" else None,
            "forward_secrecy": True if encryption == "tls" else None,
            "authentication": authentication,
            "body_in_clear": None if encryption is None else encryption == "cleartext",
        },
        "cause": cause,
        "fault": fault,
        "explanation": f"{a['domain']} to {b['domain']}: {outcome}" + (f", {cause}" if cause else ""),
        "expected": {"outcome": expected, "because": "RFC 6120 section 5.3.1", "encryption": None, "cause": None},
        "surprise": surprise,
        "seconds": 0.14,
        "attempts": 1,
        "evidence": ["observations.jsonl#1"],
    }


def _ought(
    one: dict[str, str], two: dict[str, str], a: dict[str, Any], b: dict[str, Any]
) -> tuple[str, str | None, str | None, str | None, str | None]:
    """Outcome, encryption, authentication, cause, fault."""
    if ("jabberd2", "authenticated") in ((a["implementation"], one["policy"]), (b["implementation"], two["policy"])):
        return "unsupported", None, None, None, None
    demanding = {"encrypted", "authenticated"}
    if "cleartext" in (one["policy"], two["policy"]):
        if one["policy"] in demanding:
            return "bounced", None, None, "tls-not-offered", "receiver"
        if two["policy"] in demanding:
            return ("lost" if a["implementation"] == "jabberd2" else "bounced"), None, None, "tls-required", "sender"
        return "delivered", "cleartext", "dialback", None, None
    if "authenticated" in (one["policy"], two["policy"]):
        for side, who in ((one, "sender"), (two, "receiver")):
            if side["certificate"] in BAD:
                return "bounced", None, None, BAD[side["certificate"]], who
    bad = one["certificate"] in BAD or two["certificate"] in BAD or "jabberd2" in (a["implementation"], b["implementation"])
    return "delivered", "tls", "dialback" if bad else "external", None, None

"""The table of many domains on the terminal: one line each, worst first, and what the words in it mean. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from testbed.model import TLS_VERSIONS, Policy
from testbed.probe.ladder import Answer
from testbed.probe.seen import TargetSeen
from testbed.probe.text import DEFECTS, LOOKS, ORDER, SHOWN, Page, Peer, explain, list_notes, numbers
from testbed.report.words import count, shorten


def table(peers: Sequence[Peer], policy: Policy, seconds: float, *, colour: bool, width: int) -> str:
    """One line a domain, worst first, and what the words in it mean."""
    page = Page(colour=colour, width=width)
    counts = {a: sum(p.asked.answer is a for p in peers) for a in ORDER}
    asked = f"{count(len(peers), 'domain')} asked in {seconds:.0f} s, as {peers[0].seen.own}."
    for line in textwrap.wrap(f"{asked} Can they still talk to a server set to `{policy.name}`?", page.width):
        page.add(line)
    page.add("  " + "   ".join(page.paint(f"{counts[a]} {SHOWN[a]}", LOOKS[a]) for a in ORDER if counts[a]))
    page.add()
    columns, room = _columns(max(len(p.seen.domain) for p in peers), page.width)
    page.add(page.paint("".join(f"{title:<{w}}  " for title, w in columns) + "why", "2"))
    ranked = sorted(peers, key=lambda p: (ORDER.index(p.asked.answer), _why(p), p.seen.domain))
    notes: list[str] = []
    for peer in ranked:
        _row(page, peer, columns, room, notes)
    list_notes(page, notes)
    used = {f.causes[0] for p in peers for f in (p.asked.to_it, p.asked.from_it) if f.answer is Answer.NO and f.causes}
    explain(page, used)
    page.add()
    page.fact("everything", "about one domain: testbed probe DOMAIN; about all: --details, or --json")
    return page.render()


WIDTHS = {"verdict": 10, "STARTTLS": 8, "TLS": 8, "certificate": 13, "accepts": 18}
LAST = ("accepts", "TLS", "STARTTLS", "certificate")
"""What a narrow terminal does without, in this order."""


def _columns(longest: int, width: int) -> tuple[list[tuple[str, int]], int]:
    """The columns that fit, each with its width, and what is left for the reason."""
    columns = [("domain", min(max(longest, 6), 40 if width >= 116 else 30)), *WIDTHS.items()]
    for name in (None, *LAST):
        columns = [c for c in columns if c[0] != name]
        room = width - sum(w + 2 for _, w in columns)
        if room >= 26:
            break
    return columns, max(room, 14)


def _row(page: Page, peer: Peer, columns: list[tuple[str, int]], room: int, notes: list[str]) -> None:
    target, answer = peer.seen.decisive, peer.asked.answer
    cells = {
        "domain": shorten(peer.seen.domain, columns[0][1]),
        "verdict": SHOWN[answer],
        "STARTTLS": _offer(target),
        "TLS": _range(target),
        "certificate": _state(target),
        "accepts": _proof(target),
    }
    why = _why(peer)
    if answer is Answer.UNKNOWN and target is not None:  # without a target the reason is its own, and stands in its line
        why = f"depends on {numbers(peer.asked.to_it.depends + peer.asked.from_it.depends, notes)}"
    lines = textwrap.wrap(why, room, break_on_hyphens=False) or [""]
    shown = "".join(
        (page.paint(cells[title], LOOKS[answer]) if title == "verdict" else cells[title]) + " " * (w - len(cells[title]) + 2)
        for title, w in columns
    )
    page.add(shown + lines[0])
    for line in lines[1:3]:
        page.add(" " * sum(w + 2 for _, w in columns) + line)


def _why(peer: Peer) -> str:
    """The reason in a few words: causes, else what it depends on, else the first remark."""
    asked, answer = peer.asked, peer.asked.answer
    if answer is Answer.NO:
        if peer.seen.names.problem and "dns" in asked.to_it.causes:
            return f"dns: {peer.seen.names.problem}"
        ways = (("you → it", asked.to_it), ("it → you", asked.from_it))
        failing = {way: prediction.causes[0] for way, prediction in ways if prediction.answer is answer and prediction.causes}
        if len(failing) == 2:
            return ", ".join(dict.fromkeys(failing.values()))
        return "".join(f"{way}: {cause}" for way, cause in failing.items())
    if answer is Answer.UNKNOWN:
        return "; ".join(dict.fromkeys(asked.to_it.because + asked.from_it.because))
    target = peer.seen.decisive
    if target and target.certificate and any(d in DEFECTS for d in target.certificate.defects):
        return "it can only prove its identity by dialback: its certificate does not verify"
    more = f" (+{len(peer.findings) - 1})" if len(peer.findings) > 1 else ""
    return peer.findings[0].text + more if peer.findings else ""


def _offer(target: TargetSeen | None) -> str:
    if target is None:
        return "-"
    if target.clear is None:
        return "direct"
    return target.clear.starttls.value if target.clear.features else "?"


def _range(target: TargetSeen | None) -> str:
    """`1.2-1.3`, or the versions one by one where one between them is missing."""
    taken = [v for v in TLS_VERSIONS if target and v in target.versions and target.versions[v].accepted]
    if len(taken) < 2:
        return "".join(taken) or "-"
    whole = TLS_VERSIONS.index(taken[-1]) - TLS_VERSIONS.index(taken[0]) == len(taken) - 1
    return f"{taken[0]}-{taken[-1]}" if whole else " ".join(taken)


def _state(target: TargetSeen | None) -> str:
    if target is None or target.certificate is None:
        return "-"
    certificate = target.certificate
    known = [DEFECTS[d] for d in certificate.defects if d in DEFECTS]
    if known:
        return known[0] + ("+" if len(known) > 1 else "")
    return f"{'good' if certificate.trusted else 'no store'}, {certificate.days_left} d"


def _proof(target: TargetSeen | None) -> str:
    """What it takes as proof from a peer, as far as it said so."""
    if target is None:
        return "-"
    if target.insists_on_certificate:
        return "certificate"
    stream = target.secure if target.tls else target.clear
    if stream is None or not stream.features:
        return "?"
    mechanisms = [*(["EXTERNAL"] if "EXTERNAL" in stream.mechanisms else []), *(["dialback"] if stream.dialback else [])]
    return ", ".join(mechanisms) or "-"

"""Plain words for the closed lists of ``verdicts.json``, and the grammar of numbers.

Rule: tables and pure functions on strings; nothing here looks at a run. The plain words of causes stand in their rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.causes import CAUSES
from testbed.record.verdicts import RemedyEntry, Verdicts

UNKNOWN = "cause unknown"
"""Instead of a cause's name, where there is none."""
NO_CAUSE = "the evidence that would say why was not read"
"""Completes "because" where a failed cell has no cause: its explanation says what is missing in the record."""

FAULTS: dict[str, str] = {
    "sender": "the sender",
    "receiver": "the receiver",
    "both": "both sides",
    "network": "DNS or the route",
    "testbed": "the testbed",
}
"""Where to fix a failure, by the `fault` of its cell."""
NO_FAULT = "no single side"
"""Where the cell has no fault: both sides are within the standards, or the record does not show whose it is."""
CUT_SHORT = "the run was cut short"
CONTROL_FAILED = "a pair that must always work did not"
UNSEEN_WIRE = "delivered, but the wire does not show over what"


def cause(name: str | None) -> str:
    """The cause in plain words; a name that no row has is shown as it is rather than hidden."""
    if not name:
        return NO_CAUSE
    return CAUSES[name].plain if name in CAUSES else f"of '{name.replace('-', ' ')}'"


def advice(remedy: RemedyEntry) -> str:
    """A remedy of a cell, with the software that it is about but without its role: ``NAME: do this``."""
    return f"{remedy['title']}: {remedy['text']}" if remedy["title"] else str(remedy["text"])


def fault(name: str | None) -> str:
    """Where to fix a failure with this fault."""
    return FAULTS.get(name or "", NO_FAULT)


def number(n: int) -> str:
    """``2,256``"""
    return f"{n:,}"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``no pair``, ``1 pair``, ``2,256 pairs``"""
    if n == 0:
        return f"no {noun}"
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def plural(n: int, noun: str) -> str:
    """``pair`` or ``pairs``, without the number."""
    return noun if n == 1 else noun + "s"


def share(n: int, total: int, noun: str = "") -> str:
    """``all 132 pairs``, ``none of the 132``, ``1 of 30 pairs``, or with a rounded share: ``90 of 132 pairs (68%)``."""
    if n == total:
        things = count(total, noun) if noun else number(total)
        return {0: "none", 1: f"the only {noun}".strip(), 2: f"both {noun}s" if noun else "both"}.get(total, f"all {things}")
    plural = f" {noun}s" if noun and total != 1 else f" {noun}".rstrip()
    if n == 0:
        return f"none of the {total:,}{plural}"
    # Below a hundred a percentage says less than the two numbers.
    return f"{n:,} of {total:,}{plural}" + ("" if total < 100 else f" ({percent(n, total)})")


def percent(n: int, total: int) -> str:
    """A share in whole percent; 0% and 100% only if nothing and everything is meant."""
    if n > 0 and n * 200 < total:
        return "under 1%"
    if n < total and n * 200 > total * 199:
        return "over 99%"
    return f"{round(100 * n / total)}%"


def listing(items: Sequence[str], *, last: str = " and ") -> str:
    """``a``, ``a and b``, ``a, b and c``"""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + last + items[-1]


TIMERS: dict[str, str] = {
    "short": "short: the servers' waiting times are cut, so that failures show in seconds",
    "stock": "stock: the servers' own waiting times",
}
"""What `timers` means, in a sentence."""


def timers_of(verdicts: Verdicts, long: bool = False) -> str:
    """The timers of a run, and how much longer they were where the machine was slow: `short, 3 times as long`.

    ``long`` says what that means. Empty for verdicts that do not name them.
    """
    timers, stretch = verdicts.get("timers"), verdicts.get("stretch") or 1
    if not timers:
        return ""
    if not long:
        return f"{timers}{f', {stretch} times as long, as the machine was slow or busy' if stretch > 1 else ''}"
    slow = f"; {stretch} times as long as usual, because the machine was slow or busy when the run began"
    return f"{TIMERS.get(timers, timers)}{slow if stretch > 1 else ''}"


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` characters, with its middle left out if need be."""
    if len(text) <= width:
        return text
    if width < 4:
        return text[:width]
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]

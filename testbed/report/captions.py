"""What the page calls its facets, marks, orders, colourings and lists: keys of its address with the words for them.

Rule: literal tables, made of the words that the other reports use where they have them. The keys are in links that people
keep, so none is renamed; what each key does is in the page's scripts, which have the same keys (a test compares them).
"""

from __future__ import annotations

from typing import Any

from testbed.report import looks, words
from testbed.report.cell import OPEN
from testbed.report.changes import Change
from testbed.report.circumstances import FLAKY, HISTORY, INTERFERENCE, SHARES, UNCONFIRMED

FACETS: dict[str, str] = {
    "cause": "Cause",
    "mend": "Fix at",
    "mark": "Marked as",
    "sender-implementation": "Sender's software",
    "sender-policy": "Sender's policy",
    "sender-certificate": "Sender's certificate",
    "receiver-implementation": "Receiver's software",
    "receiver-policy": "Receiver's policy",
    "receiver-certificate": "Receiver's certificate",
}
MARKS: dict[str, str] = {
    "surprise": "a surprise",
    "unconfirmed": UNCONFIRMED.phrase,
    "history": HISTORY.phrase,
    "disturbed": INTERFERENCE.phrase,
    "flaky": FLAKY.phrase,
    "sometimes": SHARES.phrase,
    "open": OPEN,
    "newly-broken": looks.CHANGES[Change.NEWLY_BROKEN].label,
    "mine": "with a server of yours",
}
ORDERS: dict[str, str] = {
    "implementation": "implementation",
    "version": "version",
    "policy": "policy",
    "certificate": "certificate",
    "number": "number in the scenario",
    "failures": "failures, most first",
}
COLOURINGS: dict[str, str] = {
    "outcome": "outcome",
    "change": "change",
    "encryption": "encryption",
    "authentication": "authentication",
    "tls": "TLS version",
    "cause": "cause",
    "surprise": "surprise",
}
LISTS: dict[str, tuple[str, str]] = {
    "surprises": ("Surprises", f"{looks.SURPRISE[0].upper()}{looks.SURPRISE[1:]}. Read these first."),
    "broken": ("Newly broken", "Delivered in the earlier phase, and not in the later one."),
    "lost": ("Silently lost", "Neither delivered nor answered with an error, while both clients were proven alive."),
    "cleartext": ("Still in cleartext", "Delivered in the last phase where anyone on the way can read it."),
    "history": ("History-dependent", "The outcome depends on whether the two had talked before."),
    "disturbed": ("Disturbed", "Another outcome among all servers than with just the two: third parties interfered."),
    "undecided": ("Undecided", "The testbed itself cannot say, or did not see over what it was delivered."),
    "view": ("All in this view", "Every pair of the matrix above that passes the filter."),
}
"""Title, and what the list holds."""


def captions(phases: int) -> dict[str, Any]:
    """All of them, for a run with so many phases."""
    lists = LISTS if phases > 1 else LISTS | {"cleartext": ("In cleartext", LISTS["cleartext"][1])}
    return {
        "facets": FACETS,
        "marks": MARKS,
        "orders": ORDERS,
        "colourings": COLOURINGS,
        "lists": lists,
        "faults": words.FAULTS,
        "no_fault": words.NO_FAULT,
        "no_cause": words.NO_CAUSE,
        "unknown_cause": words.UNKNOWN,
    }

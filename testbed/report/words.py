"""Plain words for the closed lists of ``verdicts.json``, and the grammar of numbers.

Rule: tables and pure functions on strings; nothing here looks at a run. Each cause completes the sentence "it failed
because ...", for a reader who runs a server but has not read the standards.
"""

from __future__ import annotations

from collections.abc import Sequence

CAUSES: dict[str, str] = {
    "tls-not-offered": "the sender insists on encryption, the receiver offers none",
    "tls-required": "the receiver insists on encryption, the sender does not use it",
    "tls-handshake-failed": "the encrypted handshake failed, and neither side said why",
    "tls-torn-down": "encryption was up, and one side ended the connection without a word",
    "certificate-self-signed": "a certificate is self-signed",
    "certificate-expired": "a certificate has expired",
    "certificate-not-yet-valid": "a certificate is not valid yet",
    "certificate-wrong-host": "a certificate names another host",
    "certificate-untrusted": "a certificate comes from an authority that the other side does not trust",
    "certificate-purpose": "the sender's certificate was not issued for a client",
    "certificate-missing": "a server has no certificate to present",
    "no-common-tls-version": "the two have no TLS version in common",
    "no-common-cipher": "the two have no cipher in common",
    "dialback-refused": "the sender relies on dialback and the receiver refuses it",
    "dialback-failed": "the dialback check failed",
    "no-authentication-mechanism": "the receiver offers no proof of identity that the sender has",
    "dns": "the name was not found in DNS",
    "unreachable": "the other server could not be reached",
    "negotiation-timeout": "the negotiation never came to an end",
    "connection-closed": "the connection was closed without a reason",
    "remote-server-error": "the receiver's server answered with an error of another kind",
    "policy-not-expressible": "a server cannot be set to what was asked of it",
    "image-unavailable": "a server could not be built or did not start",
    "testbed": "the testbed itself failed",
    "unstable": "attempts under the same conditions came out differently",
    "unknown": "no reason could be found in the record",
}

UNKNOWN = "cause unknown"
"""Instead of a cause's name, where there is none."""
NO_CAUSE = "no reason could be found in the record"

FAULTS: dict[str, str] = {
    "sender": "the sender's",
    "receiver": "the receiver's",
    "both": "both sides'",
    "network": "the network's",
    "testbed": "the testbed's",
}


def cause(name: str | None) -> str:
    """The cause in plain words; a name that the table lacks is shown as it is rather than hidden."""
    if not name:
        return NO_CAUSE
    return CAUSES.get(name, f"of '{name.replace('-', ' ')}'")


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


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` characters, with its middle left out if need be."""
    if len(text) <= width:
        return text
    if width < 4:
        return text[:width]
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]

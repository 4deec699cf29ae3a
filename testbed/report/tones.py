"""What a cell's colour can mean on the page, beside the looks that every report shares: encryption, cause, surprise, and so on.

Rule: literal tables, made of the colours of ``looks``; the page's script says which cell has which tone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testbed.report import looks, words
from testbed.report.changes import Change
from testbed.report.grid import State
from testbed.report.looks import Look


@dataclass(frozen=True)
class Tone:
    """One value of a colouring: its key, label, and how it is drawn on a light and on a dark page."""

    key: str
    label: str
    fill: str
    ink: str
    mark: str
    size: float = 0.44
    dark: tuple[str, str] | None = None
    """Fill and ink on a dark page, where they differ."""


_DARK: dict[object, tuple[str, str]] = {
    State.TLS: ("#41617a", "#e8f2f9"),
    State.UNSEEN: ("#3c5245", "#cfe6d2"),
    State.LOST: ("#000000", "#ffffff"),
    State.UNSUPPORTED: ("#343a42", "#8b949e"),
    State.MISSING: ("#16191d", "#6b7480"),
    Change.KEPT: ("#25394a", "#7fa5c2"),
    Change.BROKEN_BEFORE_AND_AFTER: ("#555b63", "#c4c9cf"),
    Change.CANNOT_SAY: ("#e9ecef", "#333333"),
}
"""What is pale on paper, so as to be calm, is dim on a dark page."""


def _tone(key: State | Change, look: Look) -> Tone:
    return Tone(key.value, look.label, look.fill, look.ink, look.mark, look.size, _DARK.get(key))


def _like(key: str, label: str, of: State | Change) -> Tone:
    look = (looks.STATES | looks.CHANGES)[of]
    return Tone(key, label, look.fill, look.ink, look.mark, look.size, _DARK.get(of))


_NOT_DELIVERED = _like("not-delivered", "not delivered", Change.BROKEN_BEFORE_AND_AFTER)
_UNKNOWN = _like("not-judged", "unsupported, inconclusive or not measured", State.UNSUPPORTED)

COLOURINGS: dict[str, tuple[Tone, ...]] = {
    "outcome": tuple(_tone(s, looks.STATES[s]) for s in State),
    "change": tuple(_tone(c, looks.CHANGES[c]) for c in Change),
    "encryption": (
        _like("tls", "over TLS", State.TLS_EXTERNAL),
        _like("cleartext", "in cleartext: anyone on the way can read it", State.CLEARTEXT),
        _like("unseen", looks.STATES[State.UNSEEN].label, State.UNSEEN),
        _NOT_DELIVERED,
        _UNKNOWN,
    ),
    "authentication": (
        _like("external", "sender proven by its certificate", State.TLS_EXTERNAL),
        _like("dialback", "sender proven by dialback (a call back)", State.TLS_DIALBACK),
        Tone("none", "sender not proven", "#d55e00", "#ffffff", "down"),
        _like("unseen", "delivered, proof of identity unobserved", State.UNSEEN),
        _NOT_DELIVERED,
        _UNKNOWN,
    ),
    "tls": (
        Tone("TLSv1.3", "TLS 1.3", "#0a5a94", "#ffffff", "text:3"),
        Tone("TLSv1.2", "TLS 1.2", "#8ccbf2", "#12364f", "text:2"),
        Tone("TLSv1.1", "TLS 1.1: deprecated", "#e69f00", "#3a2800", "text:1"),
        Tone("TLSv1.0", "TLS 1.0: deprecated", "#d55e00", "#ffffff", "text:0"),
        Tone("other", "another version", "#cc79a7", "#2b0f20", "text:s"),
        _like("cleartext", "in cleartext", State.CLEARTEXT),
        _like("unseen", looks.STATES[State.UNSEEN].label, State.UNSEEN),
        _NOT_DELIVERED,
        _UNKNOWN,
    ),
    "surprise": (
        _like("fine", "as expected: delivered", Change.KEPT),
        _like("broken", "as expected: not delivered", Change.BROKEN_BEFORE_AND_AFTER),
        Tone("worse", "surprise: expected to be delivered, and was not", "#d55e00", "#ffffff", "cross", 0.46),
        Tone("better", "surprise: expected to fail, and was delivered", "#009e73", "#ffffff", "up", 0.46),
        Tone("otherwise", "surprise: other than expected, such as other encryption", "#8c2d74", "#ffffff", "down", 0.46),
        _UNKNOWN,
    ),
}
"""Colouring -> its tones, in the legend's order. That of causes is made for each run: see ``cause_tones``."""


def cause_tones(names: Iterable[str], plain: Callable[[str], str] = words.cause) -> tuple[Tone, ...]:
    """The colouring of causes: a colour and a letter for each, in the order given; then what is no failure.

    A run with more causes than colours begins the colours anew; the letter in the cell tells them apart.
    """
    tones = [
        Tone(name, f"{name}: {plain(name)}", *looks.SERIES[place % len(looks.SERIES)], f"text:{chr(65 + place % 26)}")
        for place, name in enumerate(names)
    ]
    return (*tones, _like("delivered", "delivered", Change.KEPT), _UNKNOWN)

"""How each state and each change is shown: colour, mark, character, and the words of the legend.

Rule: literal tables only, one row per member of a closed list, so that pictures and text agree and a test can hold that
none is missing. Colours follow Okabe and Ito and differ in lightness too; each carries its own mark, so that the
colour-blind and a black-and-white print tell them apart. What is well is calm, what is broken stands out.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.report.changes import Change
from testbed.report.grid import State


@dataclass(frozen=True)
class Look:
    """The appearance of one member of a closed list."""

    name: str
    meaning: str
    """What the name means, where it does not say it itself; empty else."""
    fill: str
    """Colour of the cell."""
    ink: str
    """Colour of the mark."""
    mark: str
    """A key of the plotter's table of marks."""
    size: float
    """The mark's size as a share of the cell."""
    char: str
    """One ASCII character for the terminal."""
    sgr: str
    """Parameters of the terminal's colour sequence."""

    @property
    def label(self) -> str:
        """Name and meaning, for a legend."""
        return f"{self.name}: {self.meaning}" if self.meaning else self.name


STATES: dict[State, Look] = {
    State.TLS_EXTERNAL: Look("TLS, certificate verified", "", "#0a5a94", "#ffffff", "disc", 0.24, "#", "38;5;33"),
    State.TLS_DIALBACK: Look("TLS, dialback", "", "#8ccbf2", "#12364f", "ring", 0.36, "+", "38;5;117"),
    State.TLS: Look("TLS, proof of identity unknown", "", "#c9e4f5", "#12364f", "disc", 0.14, "t", "38;5;153"),
    State.CLEARTEXT: Look("cleartext", "", "#f0e442", "#4a4300", "triangle", 0.42, "o", "38;5;226"),
    State.UNSEEN: Look("delivered over an unobserved channel", "", "#e6f2e6", "#2e5d3a", "square", 0.36, "~", "38;5;151"),
    State.BOUNCED: Look("bounced", "an error came back to the sender", "#d55e00", "#ffffff", "cross", 0.46, "x", "1;38;5;208"),
    State.LOST: Look("lost", "silently dropped", "#1c1c1c", "#ffffff", "bar", 0.52, "!", "1;38;5;231;41"),
    State.UNSUPPORTED: Look("unsupported", "the server lacks the setting", "#e8e8e8", "#8a8a8a", "slash", 0.50, "-", "38;5;245"),
    State.INCONCLUSIVE: Look(
        "inconclusive", "not known, or not always the same", "#ffffff", "#333333", "question", 0.60, "?", "1;38;5;213"
    ),
    State.MISSING: Look("not measured", "", "#ffffff", "#b0b0b0", "disc", 0.10, ".", "38;5;240"),
}

ORDER: tuple[State, ...] = (
    State.TLS_EXTERNAL,
    State.TLS_DIALBACK,
    State.TLS,
    State.UNSEEN,
    State.CLEARTEXT,
    State.BOUNCED,
    State.LOST,
    State.UNSUPPORTED,
    State.INCONCLUSIVE,
    State.MISSING,
)
"""From what is well to what cannot be said: the order in bars, flows and tables."""

CHANGES: dict[Change, Look] = {
    Change.KEPT: Look("kept", "encrypted in both", "#d3e5f1", "#6f93ad", "disc", 0.18, "=", "38;5;110"),
    Change.SECURED: Look("secured", "cleartext, then TLS", "#009e73", "#ffffff", "up", 0.46, "^", "38;5;42"),
    Change.RESTORED: Look("restored", "broken, then delivered", "#56b4e9", "#08263a", "plus", 0.50, "*", "38;5;117"),
    Change.STILL_IN_CLEARTEXT: Look("still in cleartext", "", "#f0e442", "#4a4300", "triangle", 0.42, "o", "38;5;226"),
    Change.WEAKENED: Look("weakened", "TLS, then cleartext", "#8c2d74", "#ffffff", "down", 0.46, "v", "1;38;5;213"),
    Change.NEWLY_BROKEN: Look("newly broken", "", "#d55e00", "#ffffff", "cross", 0.46, "X", "1;38;5;208"),
    Change.BROKEN_BEFORE_AND_AFTER: Look("broken before and after", "", "#bdbdbd", "#555555", "cross", 0.32, "x", "38;5;245"),
    Change.CANNOT_SAY: Look("cannot say", "", "#ffffff", "#555555", "question", 0.60, "?", "38;5;250"),
}

SERIES: tuple[tuple[str, str], ...] = (
    ("#d55e00", "#ffffff"),
    ("#0072b2", "#ffffff"),
    ("#f0e442", "#3a3500"),
    ("#009e73", "#ffffff"),
    ("#cc79a7", "#2b0a1c"),
    ("#56b4e9", "#08263a"),
    ("#e69f00", "#2e2000"),
    ("#4d4d4d", "#ffffff"),
)
"""Fill and ink of things that have no look of their own, such as causes, most frequent first; each also gets a letter."""
OTHER: tuple[str, str] = ("#d9d9d9", "#333333")
"""All the rest."""

SELF_CHAR = "\\"
"""A server and itself: nothing is sent."""
UNPREDICTED = "not what the standards predict for these settings"
SURPRISE = f"a surprise: {UNPREDICTED}"

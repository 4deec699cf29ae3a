"""s2s federation mesh testbed: which pairs of XMPP servers stop talking when encryption becomes mandatory, and why."""

from pathlib import Path

__version__ = "0.1.0"
ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where images/, scenarios/ and docs/ stand."""

"""The exchanges that a scenario can name, found by listing this folder: one file each, its name is the exchange's.

A file says in `MEANING` what is sent and what counts as delivered, and in `STANZA` how the driver does it; the driver's
container gets this folder as it is, so a file here imports nothing but the standard library and slixmpp.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
KINDS: tuple[str, ...] = tuple(sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_")))

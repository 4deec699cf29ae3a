"""The longest text that a regular expression asks for letter by letter: a line without it need not be searched.

Rule: where it is not plain that every match holds a text, there is none, and nothing is left out.
"""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]  # the one way to what `re` made of a pattern
from typing import Any

LOOSE = re.IGNORECASE | re.LOCALE
"""Flags under which a letter stands for another one too."""


def required(pattern: str) -> str:
    """A text that stands in whatever matches ``pattern``; empty if none is known. Raises re.error."""
    parsed = _parser.parse(pattern)
    if parsed.state.flags & LOOSE:
        return ""
    return max(_runs(parsed), key=len, default="")


def _runs(sequence: Any) -> list[str]:
    """The texts that each match of a parsed sequence holds: letters on the way that every match takes, groups entered."""
    runs = [""]
    for operation, argument in sequence:
        if operation is _parser.LITERAL:
            runs[-1] += chr(argument)
        elif operation is _parser.SUBPATTERN and not argument[1] and not argument[2]:  # no flags of its own
            inner = _runs(argument[3])
            runs[-1] += inner[0]
            runs += inner[1:]
        else:
            runs.append("")
    return runs

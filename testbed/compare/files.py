"""Verdicts that were kept as a file, as a build keeps those of its main branch.

Rule: reads and checks the outermost form; what stands inside is the writer's word.
"""

from __future__ import annotations

import json
from pathlib import Path

from testbed.compare.cells import Subject
from testbed.model import SCHEMA, InputError

NEEDED = ("run", "scenario", "complete", "servers", "phases", "cells")


def verdicts(path: Path) -> Subject:
    """A ``verdicts.json``, as it was judged then. Raises InputError if it is not one of this schema."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except ValueError as error:
        raise InputError(f"not JSON: {error}", file=str(path)) from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA or any(key not in found for key in NEEDED):
        raise InputError(
            f"not verdicts of schema {SCHEMA}", file=str(path), value=schema, hint="`derived/verdicts.json` of a run is meant"
        )
    return Subject(found, kept=True)


def kept(run: Path) -> Subject | None:
    """The verdicts that a run has under ``derived/``; None if there are none, or the record is newer."""
    path, record = run / "derived" / "verdicts.json", run / "observations.jsonl"
    try:
        if path.stat().st_mtime < record.stat().st_mtime:
            return None
        return verdicts(path)
    except (OSError, InputError):
        return None

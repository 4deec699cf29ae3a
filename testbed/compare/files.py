"""Verdicts that were kept as a file, as a build keeps those of its main branch.

Rule: a file that is not of the published form is refused with file, key and value; what fits is the writer's word.
"""

from __future__ import annotations

from pathlib import Path

from testbed import reading
from testbed.compare.cells import Subject
from testbed.model import SCHEMA, InputError, all_visible
from testbed.record.documents import checked, verdicts_form
from testbed.record.whole import verdicts_whole

WHICH = "give the `derived/verdicts.json` of a run, as `testbed report RUN` writes it"


def verdicts(path: Path) -> Subject:
    """A ``verdicts.json``, as it was judged then. Raises InputError if it is not one of this schema."""
    content = reading.document(path, what="not JSON", hint=WHICH)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(f"not verdicts of schema {SCHEMA}", file=str(path), value=schema, hint=WHICH)
    document = checked(verdicts_form(), content, file=str(path), hint=WHICH)
    verdicts_whole(document, file=str(path), hint=WHICH)
    return Subject(all_visible(document), kept=True)


def kept(run: Path) -> Subject | None:
    """The verdicts that a run has under ``derived/``; None if there are none, or the record is newer."""
    path, record = run / "derived" / "verdicts.json", run / "observations.jsonl"
    try:
        if path.stat().st_mtime < record.stat().st_mtime:
            return None
        return verdicts(path)
    except (OSError, InputError):
        return None

"""Damages of documents, for tests: each value that a document has, replaced by what does not belong there.

Values of one place of the form (``cells[].channel.cipher``) are damaged once, not in every cell.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

DELETE = object()
WRONG: tuple[Any, ...] = (
    DELETE, None, True, -1, 10**30, 1e308, "", "nobody", "../../x", "a\x1b]0;x\x07\nb", [], [[]], ["nobody"], {}, {"x": {}},
)  # fmt: skip
"""What takes a value's place."""

Place = tuple[str | int, ...]


def places(document: Any, *, names: frozenset[str] = frozenset()) -> list[Place]:
    """One path for each place of the form; keys below a key of ``names`` are names, all alike."""
    known: dict[tuple[str, ...], Place] = {}
    for path in _paths(document, ()):
        form = tuple("*" if isinstance(step, int) or (n and path[n - 1] in names) else step for n, step in enumerate(path))
        known.setdefault(form, path)
    return list(known.values())


def _paths(node: Any, path: Place) -> Iterator[Place]:
    if path:
        yield path
    for step, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _paths(value, (*path, step))


def damaged(document: Any, path: Place, wrong: Any) -> Any:
    """A copy of the document with ``wrong`` at a path."""
    whole = copy.deepcopy(document)
    node = whole
    for step in path[:-1]:
        node = node[step]
    if wrong is DELETE:
        del node[path[-1]]
    else:
        node[path[-1]] = wrong
    return whole

"""Reads a YAML file into a pydantic model; every complaint names file, line, value, allowed values and remedy.

It knows nothing of what the files mean. ruamel.yaml keeps the line of every key, pydantic knows the path of what is wrong.
Size, depth and what aliases would grow to are bounded while the file is parsed, before anything is expanded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import Node

from testbed import reading
from testbed.model import InputError

M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 1 << 20
"""Of a file that people write. The longest of the testbed's own has 30 kB; ruamel.yaml takes about 10 s for a megabyte."""
DEEPEST = 40
"""Levels of lists and mappings; the forms of the testbed have seven."""
MOST_VALUES = 100_000
"""Values of a file when its aliases are written out."""


class TooMuch(Exception):
    """A file would grow beyond a bound."""

    def __init__(self, message: str, line: int, hint: str) -> None:
        super().__init__(message)
        self.line, self.hint = line, hint


class BoundedComposer(Composer):
    """Makes nodes of a file as ruamel.yaml does, but counts what they would grow to. Raises `TooMuch`."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.levels = self.values = 0
        self.sizes: dict[int, int] = {}
        """Identity of a node that is complete -> values in it, those of its aliases too."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node with all below it."""
        event, before = self.parser.peek_event(), self.values
        line = event.start_mark.line + 1
        if self.levels == DEEPEST:
            raise TooMuch(f"nested deeper than {DEEPEST} levels", line, "write it flatter")
        self.levels += 1
        node: Node = super().compose_node(parent, index)
        self.levels -= 1
        if isinstance(event, AliasEvent):
            if id(node) not in self.sizes:
                raise TooMuch(f"the alias `*{event.anchor}` stands inside of what it names", line, "write it out")
            self.values += self.sizes[id(node)]
        else:
            self.values += 1
            self.sizes[id(node)] = self.values - before
        if self.values > MOST_VALUES:
            raise TooMuch(
                f"more than {MOST_VALUES:,} values when its aliases are written out", line, "use fewer aliases, or split the file"
            )
        return node


class Document:
    """A parsed YAML file that can tell the line of every place in it."""

    def __init__(self, path: Path) -> None:
        """Read ``path``. Raises InputError if it is missing or not YAML, or its top level is not a mapping."""
        self.path = path
        self.file = _shown(path)
        try:
            text = reading.text(path, MOST_BYTES)
        except FileNotFoundError:
            near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
            raise InputError(
                "no such file",
                file=self.file,
                allowed=tuple(near),
                hint=f"the files above stand in {_shown(path.parent)}" if near else None,
            ) from None
        try:
            self.root: Any = _parser().load(text)
        except TooMuch as error:
            raise InputError(str(error), file=self.file, line=error.line, hint=error.hint) from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else None
            raise InputError(
                f"not YAML: {error.problem or error.context}",
                file=self.file,
                line=line,
                hint="check the indentation and the quotes at this line",
            ) from None
        except YAMLError as error:
            raise InputError(f"not YAML: {error}", file=self.file) from None
        except Exception as error:  # of a library that makes values of a stranger's text: a month 13, an integer `!!int x`, …
            raise InputError(
                f"not YAML that can be read: {error}", file=self.file, hint="put the values in quotes, without tags"
            ) from None
        if not isinstance(self.root, CommentedMap):
            raise InputError(
                f"the file must be a mapping of keys, not {type(self.root).__name__}", file=self.file, line=1, value=self.root
            )

    def line(self, path: Iterable[str | int]) -> int:
        """The line (from 1) of the innermost place on ``path`` that the file has; pydantic's own path elements are skipped."""
        node, line = self.root, 1
        for step in path:
            try:
                if isinstance(node, CommentedMap) and step in node:
                    line = node.lc.key(step)[0] + 1
                    node = node[step]
                elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                    line = node.lc.item(step)[0] + 1
                    node = node[step]
            except (KeyError, AttributeError, TypeError):  # flow style without marks: keep the line of what encloses it
                continue
        return int(line)

    def error(
        self,
        message: str,
        path: Iterable[str | int] = (),
        *,
        value: object = None,
        allowed: Iterable[str] = (),
        hint: str | None = None,
    ) -> InputError:
        """An InputError at ``path``; the nearest allowed value becomes the hint if there is no better one."""
        choices = tuple(allowed)
        if hint is None and value is not None and choices:
            hint = did_you_mean(value, choices)
        return InputError(message, file=self.file, line=self.line(path), value=value, allowed=choices, hint=hint)

    def at(self, error: InputError, path: Iterable[str | int]) -> InputError:
        """An error about a value that stands at ``path``, from somebody who did not know where that is."""
        return self.error(error.message, path, value=error.value, allowed=error.allowed, hint=error.hint)

    def validate(self, model: type[M]) -> M:
        """The file as ``model``. Raises InputError for the first thing that is wrong."""
        try:
            return model.model_validate(_plain(self.root))
        except ValidationError as error:
            raise self._explain(error, model) from None

    def _explain(self, error: ValidationError, model: type[BaseModel]) -> InputError:
        # A union reports every branch: the error that lies deepest is about the branch that was meant.
        first = max(error.errors(), key=lambda e: (e["type"] == "extra_forbidden", len(e["loc"])))
        path = [step for step in first["loc"] if isinstance(step, (str, int))]
        where = _dotted(path)
        value = first.get("input")
        context = first.get("ctx", {})
        match first["type"]:
            case "extra_forbidden":
                keys = _keys_beside(model, path)
                return self.error(f"unknown key `{path[-1]}`", path, value=path[-1], allowed=keys)
            case "missing":
                return self.error(f"the key `{where}` is missing", path[:-1], hint=f"add `{path[-1]}:` here")
            case "enum" | "literal_error":
                allowed = [v.strip(" '") for v in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
                return self.error(f"`{where}` cannot be {value!r}", path, value=value, allowed=allowed)
            case _:
                return self.error(
                    f"`{where}` cannot be {value!r}: {first['msg'].removeprefix('Value error, ')}", path, value=value
                )


def _parser() -> YAML:
    parser = YAML(typ="rt")
    parser.Composer = BoundedComposer
    return parser


def did_you_mean(value: object, choices: Iterable[str]) -> str | None:
    """``did you mean X?`` for the nearest of ``choices``, or None."""
    near = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else None


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _dotted(path: list[str | int]) -> str:
    return ".".join(str(step) for step in path)


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return node


def _keys_beside(model: type[BaseModel], path: list[str | int]) -> tuple[str, ...]:
    """The keys that the model has at the place where ``path`` ends, as far as its annotations tell."""
    current: list[type[BaseModel]] = [model]
    for step in path[:-1]:
        inner: list[type[BaseModel]] = []
        for candidate in current:
            for name, info in candidate.model_fields.items():
                if step in (name, info.alias):
                    inner += _models_in(info.annotation)
        current = inner or current
    return tuple(info.alias or name for candidate in current for name, info in candidate.model_fields.items())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]

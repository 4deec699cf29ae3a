"""Whether a document that was read has the form that `manifest`, `observations` and `verdicts` give it.

Rule: what is wrong is said as an InputError that names file, key, value and remedy; a document that fits is left as it was read.
Unknown keys are passed over: a newer testbed adds some.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NotRequired, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from testbed.model import InputError
from testbed.record.manifest import Manifest
from testbed.record.observations import JUDGED, KINDS, Kind
from testbed.record.observations import Field as Row
from testbed.record.verdicts import Verdicts

T = TypeVar("T")

SHOWN = 60
"""Characters of a wrong value that a message shows."""


@functools.cache
def manifest_form() -> TypeAdapter[Manifest]:
    """The form of ``manifest.json``; built once, when the first one is read."""
    return TypeAdapter(Manifest)


@functools.cache
def verdicts_form() -> TypeAdapter[Verdicts]:
    """The form of ``derived/verdicts.json``."""
    return TypeAdapter(Verdicts)


@functools.cache
def observation_form() -> TypeAdapter[Any]:
    """The form of a line of ``observations.jsonl``: a kind of observation each."""
    either: Any = functools.reduce(lambda a, b: a | b, (_form(kind) for kind in KINDS.values()))
    form: Any = Annotated[either, Field(discriminator="kind")]
    return TypeAdapter(form)


@functools.cache
def judged_forms() -> dict[str, TypeAdapter[Any]]:
    """Of each kind that verdicts depend on, the form of its line."""
    return {kind.word: TypeAdapter(_form(kind, closed=False)) for kind in JUDGED}


def _form(kind: Kind, *, closed: bool = True) -> Any:
    """A row as a TypedDict; not ``closed``: a word that a newer testbed adds to a list is passed over, as an unknown key is."""
    typed: Any = TypedDict  # mypy knows only the form that is written out
    name = kind.word.title().replace("-", "")
    data: dict[str, Any] = {}
    for field in kind.fields:
        form: Any = Literal[field.values] if field.values and closed else field.type
        described: Any = Annotated[form | None if field.null else form, Field(description=_described(field), ge=field.least)]
        data[field.name] = NotRequired[described] if field.optional else described
    keys: dict[str, Any] = {
        "time": Annotated[float, Field(description="Unix seconds, the clock of the engine's host")],
        "source": Literal[kind.source.value],
        "kind": Literal[kind.word],
    }
    keys |= dict.fromkeys(kind.scope.value, NotRequired[str] if kind.loose else str)
    if kind.fields:
        keys["data"] = typed(f"{name}Data", data)
    elif kind.others:
        others: Any = kind.others.type
        keys["data"] = NotRequired[dict[str, others]]
    made = typed(name, keys)
    made.__doc__ = kind.meaning
    return made


def _described(field: Row) -> str:
    return f"{field.meaning} ({field.unit})" if field.unit else field.meaning


def checked(form: TypeAdapter[T], document: Any, *, file: str, hint: str, line: int | None = None) -> T:
    """The document as it was read. Raises InputError for the first thing that does not fit, with the remedy ``hint``."""
    try:
        form.validate_python(document, strict=True)
    except ValidationError as error:
        raise _explained(error, file, line, hint) from None
    return cast(T, document)


def _explained(error: ValidationError, file: str, line: int | None, hint: str) -> InputError:
    # a union reports every branch: the error that lies deepest is about the branch that was meant
    first = max(error.errors(include_url=False), key=lambda e: len(e["loc"]))
    where, value = _key(step for step in first["loc"] if step not in BRANCHES), first.get("input")
    match first["type"]:
        case "missing":
            return InputError(f"the key `{where}` is missing", file=file, line=line, hint=hint)
        case "literal_error":
            allowed = tuple(v.strip(" '") for v in str(first["ctx"]["expected"]).replace(" or ", ", ").split(","))
            what = f"`{where}` cannot be {_shown(value)}"
            return InputError(what, file=file, line=line, value=value, allowed=allowed, hint=hint)
        case _:
            what = WANTED.get(first["type"]) or first["msg"].removeprefix("Input should be ")
            what = f"`{where}` cannot be {_shown(value)}: it has to be {what}" if where else f"it has to be {what}"
            return InputError(what, file=file, line=line, value=value, hint=hint)


BRANCHES = ("int", "str", "float", "bool", "none", "list", "dict", "constrained-str")
"""Steps of pydantic's paths that name a branch of a union, not a key."""
WANTED = {
    "int_type": "an integer", "float_type": "a number", "bool_type": "true or false", "string_type": "a string",
    "list_type": "a list", "dict_type": "a mapping", "none_required": "null",
    "too_short": "a longer list", "too_long": "a shorter list",
}  # fmt: skip
"""What pydantic misses -> what JSON calls it."""


def _key(path: Iterable[int | str]) -> str:
    """``cells[3].channel.encryption``"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

"""The published schemas and tables are current, and take what is shipped and refuse what is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from testbed import schema
from testbed.causes import CAUSES
from testbed.expectations import RULES
from testbed.plan.catalog import Catalog
from testbed.plan.policy import DIMENSIONS, PRESETS

ANNOTATIONS = {"$schema", "$comment", "$defs", "title", "description", "default"}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def errors(value: Any, form: dict[str, Any], whole: dict[str, Any], where: str = "$") -> list[str]:
    """Why ``value`` is not valid (JSON Schema 2020-12, the keywords that ours use; another keyword is an error of this test)."""
    found: list[str] = []
    for keyword, wanted in form.items():
        match keyword:
            case "$ref":
                found += errors(value, whole["$defs"][wanted.removeprefix("#/$defs/")], whole, where)
            case "type":
                fits = isinstance(value, TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
                found += [] if fits else [f"{where}: not {wanted}"]
            case "enum":
                found += [] if value in wanted else [f"{where}: {value!r} is none of {wanted}"]
            case "const":
                found += [] if value == wanted else [f"{where}: {value!r} is not {wanted!r}"]
            case "anyOf":
                branches = [errors(value, branch, whole, where) for branch in wanted]
                found += [] if [] in branches else min(branches, key=len)
            case "properties" if isinstance(value, dict):
                found += [e for k, f in wanted.items() if k in value for e in errors(value[k], f, whole, f"{where}.{k}")]
            case "additionalProperties" if isinstance(value, dict):
                extra = [k for k in value if k not in form.get("properties", {})]
                found += [f"{where}: unknown key {k}" for k in extra if wanted is False]
                found += [e for k in extra if isinstance(wanted, dict) for e in errors(value[k], wanted, whole, f"{where}.{k}")]
            case "required" if isinstance(value, dict):
                found += [f"{where}: {k} is missing" for k in wanted if k not in value]
            case "items" if isinstance(value, list):
                found += [e for n, v in enumerate(value) for e in errors(v, wanted, whole, f"{where}[{n}]")]
            case "minItems" if isinstance(value, list):
                found += [] if len(value) >= wanted else [f"{where}: fewer than {wanted}"]
            case "pattern" if isinstance(value, str):
                found += [] if re.search(wanted, value) else [f"{where}: {value!r} does not match {wanted}"]
            case "exclusiveMinimum" if isinstance(value, (int, float)):
                found += [] if value > wanted else [f"{where}: not above {wanted}"]
            case "properties" | "additionalProperties" | "required" | "items" | "minItems" | "pattern" | "exclusiveMinimum":
                pass
            case _:
                assert keyword in ANNOTATIONS, f"this test knows no {keyword}"
    return found


def published(root: Path, name: str) -> dict[str, Any]:
    return json.loads((root / "schemas" / f"{name}.schema.json").read_text())


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def shipped(root: Path) -> list[tuple[str, Path]]:
    files = [("scenario", p) for p in root.glob("scenarios/*.yaml")]
    files += [(p.stem, p) for p in root.glob("images/*/*.yaml") if p.stem in ("image", "logs")]
    return sorted(files)


def test_nothing_generated_is_stale(catalog: Catalog, root: Path) -> None:
    assert schema.stale(catalog, root) == []


def test_writing_makes_whole_and_a_change_is_seen(catalog: Catalog, tmp_path: Path) -> None:
    assert set(schema.stale(catalog, tmp_path)) == set(schema.generated(catalog))
    schema.write(catalog, tmp_path)
    assert schema.stale(catalog, tmp_path) == []
    page = tmp_path / "docs" / "causes.md"
    page.write_text(page.read_text() + "by hand\n")
    assert schema.stale(catalog, tmp_path) == ["docs/causes.md"]


def test_every_generated_file_says_so_at_its_top(catalog: Catalog) -> None:
    for path, text in schema.generated(catalog).items():
        assert schema.COMMAND in "".join(text.splitlines()[:3]), path


def test_shipped_files_are_valid(root: Path) -> None:
    files = shipped(root)
    assert {kind for kind, _ in files} == {"scenario", "image", "logs"}
    for kind, path in files:
        form = published(root, kind)
        assert errors(read(path), form, form) == [], path


SCENARIO: dict[str, Any] = {
    "name": "x",
    "title": "X",
    "servers": [{"implementation": "a@b", "policy": {"preset": "encrypted", "tls_min": 1.2}, "certificate": ["ca", "expired"]}],
    "phases": [{"name": "before", "set": {"policy": {"tls_min": "1.3"}}}],
}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("servers", 0, "policy"), "strict"),
        (("servers", 0, "policy", "preset"), "strict"),
        (("servers", 0, "policy", "tls_min"), "1.4"),
        (("servers", 0, "policy", "tls"), "1.2"),
        (("servers", 0, "certificate"), "good"),
        (("servers", 0, "implementation"), "a"),
        (("servers", 0, "colour"), "red"),
        (("phases", 0, "name"), "Before!"),
        (("phases",), []),
        (("exchanges",), ["telepathy"]),
        (("timers",), "long"),
    ],
)
def test_a_wrong_scenario_is_refused(root: Path, place: tuple[str | int, ...], value: Any) -> None:
    form = published(root, "scenario")
    assert errors(SCENARIO, form, form) == []
    wrong: Any = copy.deepcopy(SCENARIO)
    inner = wrong
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert errors(wrong, form, form)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("image", ("features", "tls_min", "1.4"), {"unsupported": "no"}),
        ("image", ("features", "compression"), {}),
        ("image", ("features", "encryption", "offered"), {"acts_as": "dialback"}),
        ("image", ("remedies", 0, "cause"), "bad-luck"),
        ("image", ("mechanisms",), ["telepathy"]),
        ("logs", ("patterns", 0, "observe"), "s2s-happy"),
        ("logs", ("patterns", 0, "set"), {"direction": "up"}),
        ("logs", ("reasons", 0, "cause"), "bad-luck"),
    ],
)
def test_a_wrong_image_is_refused(root: Path, kind: str, place: tuple[str | int, ...], value: Any) -> None:
    form = published(root, kind)
    content = read(next(root.glob(f"images/*/{kind}.yaml")))
    inner = content
    for step in place[:-1]:
        inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
    inner[place[-1]] = value
    assert errors(content, form, form)


def test_the_tables_are_complete(catalog: Catalog) -> None:
    pages = schema.generated(catalog)
    for word in (*PRESETS, *(d.name for d in DIMENSIONS), *(i.spec.title for i in catalog.images.values())):
        assert word in pages["docs/policies.md"], word
    for cause in CAUSES:
        assert f"| `{cause}` |" in pages["docs/causes.md"], cause
    for rule in RULES:
        assert rule.when in pages["docs/expectations.md"], rule.when


def test_no_table_is_broken(catalog: Catalog) -> None:
    for path, text in schema.generated(catalog).items():
        width = None
        for line in text.splitlines() if path.endswith(".md") else ():
            if not line.startswith("|"):
                width = None
                continue
            columns = len(re.findall(r"(?<!\\)\|", line))
            assert columns == (width or columns), f"{path}: {line}"
            width = columns

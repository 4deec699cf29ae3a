"""The published schemas and tables are current, and take what is shipped and refuse what is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from testbed import schema
from testbed.causes import CAUSES
from testbed.expectations import RULES
from testbed.plan.catalog import Catalog
from testbed.plan.policy import DIMENSIONS, PRESETS


def errors(value: Any, form: dict[str, Any]) -> list[str]:
    """Why ``value`` is not valid by a published schema."""
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(form).iter_errors(value)]


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


def test_every_published_schema_is_one(catalog: Catalog) -> None:
    for path, text in schema.generated(catalog).items():
        if path.endswith(".json"):
            Draft202012Validator.check_schema(json.loads(text))


def test_the_published_run_is_valid(root: Path) -> None:
    run = root / "results" / "reference"
    assert errors(json.loads((run / "manifest.json").read_text()), published(root, "manifest")) == []
    assert errors(json.loads((run / "derived" / "verdicts.json").read_text()), published(root, "verdicts")) == []
    line = Draft202012Validator(published(root, "observation"))
    for number, text in enumerate((run / "observations.jsonl").read_text().splitlines(), 1):
        assert line.is_valid(json.loads(text)), number


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("manifest", ("phases", 0, "name"), 1),
        ("manifest", ("planned",), []),
        ("verdicts", ("cells", 0, "outcome"), "arrived"),
        ("verdicts", ("cells", 0, "channel"), "tls"),
        ("verdicts", ("complete",), "yes"),
        ("verdicts", ("cells", 0, "shares"), {"cold": [-1, 8], "interval": {"cold": [0, 1]}}),
        ("verdicts", ("cells", 0, "shares"), {"cold": [5], "interval": {"cold": [0, 1]}}),
        ("verdicts", ("cells", 0, "shares"), {"cold": [10**400, 10**401], "interval": {"cold": [0, 1]}}),
    ],
)
def test_a_wrong_record_is_refused(root: Path, kind: str, place: tuple[str | int, ...], value: Any) -> None:
    run = root / "results" / "reference"
    content = json.loads((run / {"manifest": "manifest.json", "verdicts": "derived/verdicts.json"}[kind]).read_text())
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert errors(content, published(root, kind))


def test_every_key_of_the_verdicts_is_described(root: Path) -> None:
    """A class that lost its decorator loses the meaning of all its keys, in the schema and in docs/measuring.md."""
    form = published(root, "verdicts")
    for name, part in (("Verdicts", form), *form["$defs"].items()):
        # a reference may stand with its description beside it
        bare = [key for key, value in part.get("properties", {}).items() if not value.get("description")]
        assert not bare, f"{name}: {bare}"


def test_a_wrong_observation_is_refused(root: Path) -> None:
    form = published(root, "observation")
    attempt = {
        "time": 1.0, "source": "engine", "kind": "attempt", "phase": "now", "epoch": "mesh", "cell": "now/a/b/message",
        "data": {"token": "cell-1", "cold": True},
    }  # fmt: skip
    assert errors(attempt, form) == []
    for wrong in (
        {"source": "wire"},
        {"kind": "try"},
        {"data": {}},
        {"data": {"token": "cell-1", "cold": "yes"}},
        {"time": "now"},
    ):
        assert errors(attempt | wrong, form), wrong


def test_a_generated_part_keeps_the_page_around_it(catalog: Catalog, root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "measuring.md").read_text()
    (tmp_path / "docs").mkdir()
    target = tmp_path / "docs" / "measuring.md"
    first, last = schema.begin("verdicts"), schema.end("verdicts")
    before, _, rest = page.partition(first)
    after = rest.partition(last)[2]
    target.write_text(f"{before}{first}\nold\n{last}{after}")
    assert "docs/measuring.md" in schema.stale(catalog, tmp_path)
    schema.write(catalog, tmp_path)
    assert target.read_text() == page
    target.write_text("no marks")
    with pytest.raises(ValueError, match="once each"):
        schema.stale(catalog, tmp_path)


def test_shipped_files_are_valid(root: Path) -> None:
    files = shipped(root)
    assert {kind for kind, _ in files} == {"scenario", "image", "logs"}
    for kind, path in files:
        form = published(root, kind)
        assert errors(read(path), form) == [], path


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
    assert errors(SCENARIO, form) == []
    wrong: Any = copy.deepcopy(SCENARIO)
    inner = wrong
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert errors(wrong, form)


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
    assert errors(content, form)


def test_the_tables_are_complete(catalog: Catalog) -> None:
    pages = schema.generated(catalog)
    for word in (*PRESETS, *(d.name for d in DIMENSIONS), *(i.spec.title for i in catalog.images.values())):
        assert word in pages["docs/policies.md"], word
    for cause in CAUSES:
        assert f"| `{cause}` |" in pages["docs/causes.md"], cause
    for rule in RULES:
        assert rule.when in pages["docs/expectations.md"], rule.when


def test_no_table_is_broken(catalog: Catalog) -> None:
    for path, text in (
        *schema.generated(catalog).items(),
        *((path, part()) for path, parts in schema.PARTS.items() for part in parts.values()),
    ):
        width = None
        for line in text.splitlines() if path.endswith(".md") else ():
            if not line.startswith("|"):
                width = None
                continue
            columns = len(re.findall(r"(?<!\\)\|", line))
            assert columns == (width or columns), f"{path}: {line}"
            width = columns

"""The published forms: JSON Schemas of the files that people write, and the tables of docs/, all from the tables in code.

Nothing here is a second source: a schema is pydantic's own, with the closed vocabularies (presets, dimensions, certificates,
causes) put in where the model has a plain string, so that an editor can complete them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from testbed.causes import CAUSES, FINDINGS, VOCABULARY
from testbed.compare.baseline import BaselineFile
from testbed.exchanges import KINDS
from testbed.expectations import RULES, Side, expect
from testbed.judge.rules import RULES as CAUSE_RULES
from testbed.model import TLS_VERSIONS
from testbed.plan.catalog import DEFAULT_ROOT, GROUPS, Catalog, Image, ImageFile, LogsFile
from testbed.plan.policy import DIMENSIONS, PRESET_MEANING, PRESETS, value_of
from testbed.plan.profiles import PROFILES
from testbed.plan.scenario import ScenarioFile
from testbed.report.table import COLUMNS

ROOT = DEFAULT_ROOT.parent
COMMAND = "testbed schema --write"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


# --- JSON Schemas -----------------------------------------------------------------------------------------------------


def scenario_schema(catalog: Catalog) -> Schema:
    """The form of scenarios/*.yaml; implementations are suggested, not closed: a folder more is an implementation more."""
    schema = _base(ScenarioFile)
    definitions = schema["$defs"]
    # YAML reads an unquoted 1.2 as a number; both are taken
    versions = [*TLS_VERSIONS, *(float(v) for v in TLS_VERSIONS)]
    dimensions = {
        d.name: {"enum": versions if d.values == TLS_VERSIONS else list(d.values), "description": f"{d.meaning} ({d.source})"}
        for d in DIMENSIONS
    }
    preset = {"description": "a rung of the ladder", "enum": list(PRESETS)}
    definitions["Preset"] = preset
    record = {"type": "object", "additionalProperties": False, "properties": {"preset": _ref("Preset"), **dimensions}}
    definitions["PolicyRecord"] = {"description": "a preset with dimensions changed", **record, "required": ["preset"]}
    definitions["PolicyChange"] = {
        "description": "only the dimensions that change, or a preset with dimensions changed",
        **record,
    }
    definitions["Certificate"] = {"description": "a certificate profile", "enum": list(PROFILES)}
    definitions["ImplementationName"] = {
        "anyOf": [{"enum": list(catalog.releases())}, {"type": "string", "pattern": "^[^@]+@[^@]+$"}]
    }
    policy = {"anyOf": [_ref("Preset"), _ref("PolicyRecord")]}
    _patch(definitions["ServerEntry"], "implementation", _one_or_more(_ref("ImplementationName")))
    _patch(definitions["ServerEntry"], "policy", {"anyOf": [*policy["anyOf"], {"type": "array", "items": policy}]})
    _patch(definitions["ServerEntry"], "certificate", _one_or_more(_ref("Certificate")))
    _patch(definitions["Set"], "policy", {"anyOf": [_ref("Preset"), _ref("PolicyChange"), {"type": "null"}]})
    _patch(definitions["Set"], "certificate", {"anyOf": [_ref("Certificate"), {"type": "null"}]})
    schema["properties"]["exchanges"]["items"] = {"enum": list(KINDS)}
    return schema


def image_schema() -> Schema:
    """The form of images/*/image.yaml."""
    schema = _base(ImageFile)
    definitions = schema["$defs"]
    definitions["Remedy"]["properties"]["cause"] = {"enum": list(CAUSES)}
    settable = {d.name: {"enum": list(d.values)} for d in DIMENSIONS} | {"certificate": {"enum": list(PROFILES)}}
    wanted = {"type": "object", "additionalProperties": False, "properties": settable}
    _patch(definitions["Remedy"], "set", {"anyOf": [wanted, {"type": "null"}]})
    when = {d.name: _one_or_more({"enum": list(d.values)}) for d in DIMENSIONS}
    _patch(definitions["FeatureNote"], "when", {"type": "object", "additionalProperties": False, "properties": when})
    features = {}
    for dimension in DIMENSIONS:
        # the same note, but for what it may act as: another value of the same dimension
        name = f"FeatureNote_{dimension.name}"
        definitions[name] = json.loads(json.dumps(definitions["FeatureNote"]))
        _patch(definitions[name], "acts_as", {"anyOf": [{"enum": list(dimension.values)}, {"type": "null"}]})
        values = {v: _one_or_more(_ref(name)) for v in dimension.values}
        features[dimension.name] = {
            "description": dimension.meaning,
            "type": "object",
            "additionalProperties": False,
            "properties": values,
        }
    del definitions["FeatureNote"]
    _patch(schema, "features", {"type": "object", "additionalProperties": False, "properties": features})
    return schema


def logs_schema() -> Schema:
    """The form of images/*/logs.yaml."""
    schema = _base(LogsFile)
    definitions = schema["$defs"]
    definitions["LogReason"]["properties"]["cause"] = {"enum": list(CAUSES)}
    known: Schema = {group: {"type": "string"} for group in GROUPS}
    known |= {
        "direction": {"enum": ["in", "out"]},
        "mechanism": {"enum": ["dialback", "external"]},
        "cause": {"enum": list(CAUSES)},
    }
    _patch(definitions["LogPattern"], "set", {"type": "object", "additionalProperties": False, "properties": known})
    return schema


def baseline_schema() -> Schema:
    """The form of a baseline: known failures, for `--baseline`."""
    schema = _base(BaselineFile)
    entry = schema["$defs"]["EntryForm"]
    cause = _one_or_more({"enum": list(CAUSES)})
    _patch(entry, "cause", {"anyOf": [*cause["anyOf"], {"type": "null"}]})
    day = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    _patch(entry, "expires", {"anyOf": [day, {"type": "null"}]})
    where = schema["$defs"]["EntryWhere"]
    where["anyOf"] = [{"required": [key]} for key in where["properties"]]
    delivered = {"properties": {"outcome": {"const": "delivered"}}}
    unstable = {"properties": {"outcome": {"const": "inconclusive"}, "cause": {"enum": list(FINDINGS)}}, "required": ["cause"]}
    failed = {"properties": {"outcome": {"enum": ["bounced", "lost"]}}, "required": ["cause"]}
    entry["anyOf"] = [delivered, unstable, failed]
    return schema


def _base(model: type[Any]) -> Schema:
    return {
        "$schema": DRAFT,
        "$comment": f"Generated by `{COMMAND}`; do not edit.",
        **model.model_json_schema(by_alias=True),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _one_or_more(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _patch(owner: Schema, key: str, form: Schema) -> None:
    """Replace the form of a property; its description and default stay. KeyError if the model has no such property."""
    old = owner["properties"][key]
    owner["properties"][key] = {k: v for k, v in old.items() if k in ("description", "default", "title")} | form


# --- tables of docs/ --------------------------------------------------------------------------------------------------


def policies_page(catalog: Catalog) -> str:
    """docs/policies.md."""
    lines = _head("Policies")
    lines += [
        "A policy is a record of independent dimensions. A scenario names a preset, or a preset with dimensions changed:",
        '`{preset: encrypted, tls_min: "1.2", forward_secrecy: required}`.',
        "",
        "## Dimensions",
        "",
    ]
    lines += _table(
        ("dimension", "values", "default", "meaning", "source"),
        ((_code(d.name), _codes(d.values), d.default, d.meaning, d.source) for d in DIMENSIONS),
    )
    lines += ["", "## Presets: the ladder", "", "The rungs follow XEP-0238, from the lowest up.", ""]
    lines += _table(
        ("preset", "meaning", *(d.name for d in DIMENSIONS)),
        (
            (_code(p.preset), PRESET_MEANING[p.preset], *(value_of(p, d.name) or "default" for d in DIMENSIONS))
            for p in PRESETS.values()
        ),
    )
    lines += [
        "",
        "## What each implementation makes of them",
        "",
        "A value that is not listed holds as it is defined above. *Unsupported*: the cells of a server so set are `unsupported`,",
        "with that reason. *Acts as*: what the server in effect shows; expectations are computed from that.",
    ]
    for image in catalog.images.values():
        lines += ["", f"### {image.spec.title}", "", _releases_line(image), ""]
        rows = list(_feature_rows(image))
        lines += _table(("value", "what", "only", "source"), rows) if rows else ["Every value holds as it is defined."]
    return "\n".join(lines) + "\n"


def _releases_line(image: Image) -> str:
    spec = image.spec
    releases = ", ".join(f"{spec.implementation}@{r} ({v.version})" for r, v in spec.releases.items())
    over = ", also over a stream whose certificate verified" if spec.dialback_over_verified else ""
    proofs = f"Proves a domain by: {', '.join(spec.mechanisms)}{over}."
    return f"Releases: {releases}. {proofs} Looks at a certificate's {' and '.join(spec.verifies)} where one must verify."


def _feature_rows(image: Image) -> Iterable[tuple[str, ...]]:
    for dimension, values in image.spec.features.items():
        for value, entry in values.items():
            for note in entry if isinstance(entry, list) else [entry]:
                what = [f"unsupported: {note.unsupported}"] if note.unsupported else []
                what += [f"acts as {_code(note.acts_as)}"] if note.acts_as else []
                what += [note.note] if note.note else []
                only = [f"on {', '.join(note.releases)}"] if note.releases else []
                only += [f"with {k} {' or '.join(v if isinstance(v, list) else [v])}" for k, v in note.when.items()]
                yield _code(f"{dimension}={value}"), "; ".join(what), "; ".join(only), note.source or ""


def certificates_page() -> str:
    """docs/certificates.md."""
    lines = _head("Certificate profiles")
    lines += [
        "Every run issues its own authority and certificates. A profile has at most one defect; a strict peer names the cause.",
        "",
    ]
    issuers = {"ca": "the trusted authority", "self": "itself", "other": "an authority that nobody trusts"}
    names = {"own": "its domain", "other": "another host"}
    rows = []
    for profile in PROFILES.values():
        named = names[profile.names] + (" (also id-on-xmppAddr)" if profile.xmpp_addr else "")
        validity = f"day {profile.days[0]} to day {profile.days[1]}"
        cause = _code(profile.defect) if profile.defect else "none"
        rows.append((_code(profile.name), profile.meaning, issuers[profile.issuer], named, validity, cause))
    lines += _table(("profile", "meaning", "signed by", "names", "valid", "cause"), rows)
    return "\n".join(lines) + "\n"


def causes_page() -> str:
    """docs/causes.md."""
    lines = _head("Causes")
    lines += [
        "The closed list of causes; `cause` in `derived/verdicts.json` is one of them, or null. What to do holds for every",
        "server; the exact setting of each implementation stands in `images/*/image.yaml` (`remedies`) and in the cell's",
        "`remedies`.",
        "",
    ]
    defects: dict[str, list[str]] = {}
    for profile in PROFILES.values():
        if profile.defect:
            defects.setdefault(profile.defect, []).append(profile.name)
    lines += _table(
        ("cause", "group", "meaning", "where the standards speak of it", "what to do", "certificate profile"),
        ((_code(c.word), c.group.value, c.meaning, c.clause, c.remedy, _codes(defects.get(c.word, []))) for c in VOCABULARY),
    )
    lines += [
        "",
        "## How a cause is found",
        "",
        "The first row that applies is taken (`testbed/judge/rules.py`); `cause_from` names its sources. *Settings* and",
        "*certificates* (what the run set and issued) only make a word exact where wire or logs show that the negotiation",
        "came so far.",
        "",
    ]
    lines += _table(("row", "sources", "when"), ((str(n), r.source, r.when) for n, r in enumerate(CAUSE_RULES, 1)))
    lines += ["", "Where no row applies the cause is `unknown`.", ""]
    return "\n".join(lines)


def expectations_page() -> str:
    """docs/expectations.md."""
    lines = _head("Expectations")
    lines += [
        "What ought to become of a stanza from a sender to a receiver, cold. The first row that applies is taken. The table sees",
        "dimensions and certificates, never a preset's name.",
        "",
    ]
    rows = []
    for number, rule in enumerate(RULES, 1):
        cause = "the certificate's defect" if callable(rule.cause) else _code(rule.cause) if rule.cause else ""
        rows.append((str(number), rule.when, rule.outcome.value, rule.encryption or "no stream", cause, rule.clause))
    lines += _table(("row", "when", "outcome", "encryption", "cause", "clause"), rows)
    lines += [
        "",
        "## The ladder against itself",
        "",
        "Good certificates on both sides; software that has both SASL EXTERNAL and dialback, and takes no dialback where it",
        "demands a certificate. Rows are senders, columns receivers; the number is the row above that decides.",
        "",
    ]
    clauses = [f"{rule.clause} ({rule.when})" for rule in RULES]
    matrix = []
    for sender in PRESETS.values():
        cells = []
        for receiver in PRESETS.values():
            expected = expect(*(Side(p, None, ("dialback", "external"), False) for p in (sender, receiver)))
            what = expected.encryption if expected.outcome.value == "delivered" else expected.cause
            cells.append(f"{expected.outcome.value}, {what} ({clauses.index(expected.because) + 1})")
        matrix.append((_code(sender.preset), *cells))
    lines += _table(("from \\ to", *PRESETS), matrix)
    return "\n".join(lines) + "\n"


def columns_page() -> str:
    """docs/columns.md."""
    lines = _head("Columns of the table of cells")
    lines += [
        "`derived/cells.csv` and `derived/cells.parquet` have these columns, in this order, and a row per cell;",
        "[data.md](data.md) says how to read them. Within one `schema` columns are added at any place, never renamed or",
        "dropped: address them by name.",
        "",
    ]
    lines += _table(
        ("column", "type", "unit", "null", "meaning"),
        ((_code(c.name), c.type.value, c.unit, "" if c.null else "never", c.meaning) for c in COLUMNS),
    )
    return "\n".join(lines) + "\n"


def _head(title: str) -> list[str]:
    return [f"<!-- Generated by `{COMMAND}` from the tables in code; do not edit. -->", "", f"# {title}", ""]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        # `<required/>` would be taken for a tag
        return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|").replace("<", "&lt;") for c in cells) + " |"

    titles = list(head)
    return [line(titles), "|" + " --- |" * len(titles), *(line(r) for r in rows)]


def _code(text: str | None) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(_code(t) for t in texts)


# --- files ------------------------------------------------------------------------------------------------------------


def generated(catalog: Catalog) -> dict[str, str]:
    """Every generated file: path from the project's root -> content."""
    schemas = {
        "scenario": scenario_schema(catalog),
        "image": image_schema(),
        "logs": logs_schema(),
        "baseline": baseline_schema(),
    }
    files = {f"schemas/{n}.schema.json": json.dumps(s, indent=2, ensure_ascii=False) + "\n" for n, s in schemas.items()}
    return files | {
        "docs/policies.md": policies_page(catalog),
        "docs/certificates.md": certificates_page(),
        "docs/causes.md": causes_page(),
        "docs/expectations.md": expectations_page(),
        "docs/columns.md": columns_page(),
    }


def stale(catalog: Catalog, root: Path = ROOT) -> list[str]:
    """The generated files under ``root`` that are missing or say something else than the code."""
    return [path for path, text in generated(catalog).items() if not _same(root / path, text)]


def write(catalog: Catalog, root: Path = ROOT) -> list[str]:
    """Write what is stale. Returns the paths that changed."""
    changed = stale(catalog, root)
    for path, text in generated(catalog).items():
        if path in changed:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    return changed


def _same(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False

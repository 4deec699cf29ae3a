"""The generated tables of docs/: what stands in a table in code is not written a second time by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from testbed.causes import VOCABULARY
from testbed.disagreements import DISAGREEMENTS, LOOKED_UP, NEWEST, UNSEEN, XEPS
from testbed.engine.messages import name_of
from testbed.expectations import RULES, Varying, expect
from testbed.judge.rules import RULES as CAUSE_RULES
from testbed.measure.driver import protocol as driver
from testbed.measure.meter import protocol as meter
from testbed.measure.wiretap import protocol as wiretap
from testbed.plan.catalog import Catalog, Image
from testbed.plan.certificates import PROFILES, ROLES
from testbed.plan.policy import DIMENSIONS, PRESET_MEANING, PRESETS, value_of
from testbed.record import observations
from testbed.record.documents import verdicts_form
from testbed.record.observations import Field, Kind, Scope
from testbed.report.table import COLUMNS
from testbed.schema.forms import COMMAND, Schema
from testbed.sides import Side

AGENTS: dict[str, ModuleType] = {"The driver": driver, "The wiretap": wiretap, "The meter": meter}
"""Title -> protocol."""


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
        "A value that is not listed works as defined above. *Unsupported*: cells of a server set like this are `unsupported`,",
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
    issuers = {"ca": "the trusted authority", "self": "itself", "other": "an untrusted authority"}
    names = {"own": "its domain", "other": "another host"}
    rows = []
    for profile in PROFILES.values():
        named = names[profile.names] + (" (also id-on-xmppAddr)" if profile.xmpp_addr else "")
        validity = f"day {profile.days[0]} to day {profile.days[1]}"
        cause = _code(profile.defect) if profile.defect else "none"
        roles = {(): "neither", ROLES: "client and server"}.get(profile.defective_as, " ".join(profile.defective_as))
        rows.append((_code(profile.name), profile.meaning, issuers[profile.issuer], named, validity, cause, roles))
    lines += _table(("profile", "meaning", "signed by", "names", "valid", "cause", "defective as TLS"), rows)
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
        "What should happen to a stanza from a sender to a receiver, cold. The first row that applies is taken. The table sees",
        "dimensions and certificates, never a preset's name.",
        "",
    ]
    rows = []
    for number, rule in enumerate(RULES, 1):
        cause = rule.cause.text if isinstance(rule.cause, Varying) else _code(rule.cause) if rule.cause else ""
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
    lines += [
        "",
        "## Where documents disagree",
        "",
        "*Open*: each server may follow either reading. Both outcomes are as expected then, neither is a surprise, and",
        "`expected.alternatives` of `verdicts.json` has the other ones with their clauses; anything else, such as a loss, is a",
        "surprise all the same. So is a failure for another cause than a reading gives, where another reading delivers: one",
        "point is open, and nothing else is excused. *Decided*: why only one of the two is expected here.",
        "",
        f"Documents, and what updates or obsoletes them, were last looked up on {LOOKED_UP}; the newest found are",
        f"{' and '.join(NEWEST)}, both of July 2026, and XEPs are as of {XEPS}.",
        f"Not all could be opened: a {UNSEEN} marks sections of this table whose own words were not at hand that day.",
        "",
    ]
    lines += _table(
        ("point", "the rows above go by", "another document says", "here"),
        ((d.point, d.table, d.other, "open" if d.reading else f"decided: {d.decided}") for d in DISAGREEMENTS),
    )
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


def agents_page() -> str:
    """docs/agents.md."""
    lines = _head("Agents")
    lines += [
        "An agent reads commands on standard input, and writes replies and events on standard output: a JSON object a line, with",
        "`message` (its name here), `time` (Unix seconds) and its own fields. A command that is answered has an `id`, which the",
        "reply echoes; any command may be answered by `failed` (`reason`) instead. `ready` is an agent's first word.",
    ]
    for title, protocol in AGENTS.items():
        lines += ["", f"## {title}", ""]
        rows = [
            (_code(name_of(command)), _members(command), _meaning(command), _codes(name_of(r) for r in replies) or "nothing")
            for command, replies in protocol.COMMANDS.items()
        ]
        lines += _table(("command", "fields", "meaning", "answered by"), rows)
        kinds = [*dict.fromkeys(r for replies in protocol.COMMANDS.values() for r in replies), *protocol.EVENTS]
        rows = [(_code(name_of(k)), _members(k), _meaning(k), "an event" if k in protocol.EVENTS else "a reply") for k in kinds]
        lines += ["", *_table(("message", "fields", "meaning", "what"), rows)]
    return "\n".join(lines) + "\n"


def _members(message: type[Any]) -> str:
    return _codes(field.name for field in dataclasses.fields(message))


def _meaning(message: type[Any]) -> str:
    return " ".join((message.__doc__ or "").split())


def observations_part() -> str:
    """What stands in docs/measuring.md of `observations.jsonl`: the kinds, and then their fields."""
    kinds = observations.KINDS.values()
    scopes = {Scope.RUN: "", Scope.PHASE: "phase", Scope.EPOCH: "phase, epoch", Scope.CELL: "phase, epoch, cell"}
    lines = _table(
        ("kind", "source", "also has", "meaning", "`data`"),
        ((_code(k.word), k.source.value, scopes[k.scope], k.meaning, _data(k)) for k in kinds),
    )
    lines += ["", "A `?` marks a field that is absent where it was not seen or does not apply. What the fields mean:", ""]
    used: dict[Field, list[str]] = {}
    for kind in kinds:
        for field in kind.all_fields:
            used.setdefault(field, []).append(kind.word)
    logs = [kind.word for kind in observations.LOGS]
    lines += _table(
        ("field", "of", "type", "meaning"),
        ((_name(f), "every `s2s-…`" if words == logs else _codes(words), _type(f), f.meaning) for f, words in used.items()),
    )
    return "\n".join(lines)


def verdicts_part() -> str:
    """What stands in docs/measuring.md of `derived/verdicts.json`: its keys, then those of a cell and of what is inside it."""
    form = verdicts_form().json_schema()
    inner = form["$defs"]
    lines = _table(("key", "meaning"), _keys(form, inner, {"cells"}))
    lines += ["", "A `?` marks a key that is not always there, or that old files lack. Of a cell:", ""]
    lines += _table(("key", "meaning"), _keys(inner["CellEntry"], inner, set()))
    return "\n".join(lines)


def _keys(form: Schema, inner: Schema, closed: set[str], before: str = "") -> Iterable[tuple[str, str]]:
    """A row per key of a form, and of the forms inside it but for those that are ``closed``."""
    for key, value in form["properties"].items():
        name = before + key
        values = f": {_codes(value['enum'])}" if "enum" in value else ""
        yield _code(name) + ("" if key in form.get("required", ()) else "?"), value.get("description", "") + values
        if key in closed:
            continue
        for mark, place in (("", value), ("[]", value.get("items", {})), ("{}", value.get("additionalProperties", {}))):
            reference = place.get("$ref") if isinstance(place, dict) else None
            if reference:
                yield from _keys(inner[reference.rpartition("/")[2]], inner, closed, f"{name}{mark}.")


MOST_NAMED = 8
"""Fields that are named in the table of kinds; of a kind with more only the second table names them."""


def _data(kind: Kind) -> str:
    return ", ".join(_name(f) for f in kind.all_fields) if len(kind.all_fields) <= MOST_NAMED else "its fields stand below"


def _name(field: Field) -> str:
    return _code(field.name) + ("?" if field.optional else "")


def _type(field: Field) -> str:
    if field.values:
        return _codes(field.values)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    words |= {list[str]: "list of texts", list[float]: "list of numbers", list[list[str]]: "list of lists of texts"}
    return words[field.type] + (f", {field.unit}" if field.unit else "") + (", or null" if field.null else "")


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

"""The cells as a table for other programs: one row per cell, in the order of the record; as CSV and as Parquet.

Rule: the columns are one literal list, each with type, unit and meaning; docs/columns.md is made from it. A column is added,
never renamed or dropped, within one schema of ``verdicts.json``. Nothing is judged here, and nothing is left out.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from testbed.judge.explain import fix
from testbed.model import Authentication, Encryption, Outcome, Policy, TestbedError
from testbed.record.verdicts import CellEntry, Fault, Verdicts, shares_of
from testbed.report.changes import Change, classify
from testbed.report.grid import Grid, Member, State, grid, state
from testbed.shares import TRIES, Share


class Type(str, Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


_PARQUET = {Type.TEXT: "VARCHAR", Type.INTEGER: "BIGINT", Type.NUMBER: "DOUBLE", Type.BOOLEAN: "BOOLEAN"}


@dataclass(frozen=True)
class Row:
    """One cell with all that belongs to it."""

    verdicts: Verdicts
    grid: Grid
    cell: CellEntry
    place: int
    """Of its phase."""
    sender: Member
    receiver: Member

    def part(self, key: str) -> Mapping[str, Any]:
        """A nested part of the cell; empty if it has none."""
        part = self.cell.get(key)
        return part if isinstance(part, dict) else {}


@dataclass(frozen=True)
class Column:
    """One column: what it is called, what it holds, and where that comes from."""

    name: str
    type: Type
    meaning: str
    value: Callable[[Row], Any]
    unit: str = ""

    @property
    def null(self) -> bool:
        """Whether it may be empty."""
        return self.name not in NEVER_NULL


def _cell(name: str, kind: Type, meaning: str, unit: str = "") -> Column:
    return Column(name, kind, meaning, lambda row: row.cell.get(name), unit)


def _part(name: str, part: str, key: str, kind: Type, meaning: str) -> Column:
    return Column(name, kind, meaning, lambda row: row.part(part).get(key))


def _run(name: str, meaning: str) -> Column:
    return Column(name, Type.TEXT, meaning, lambda row: row.verdicts.get(name))


def _values(members: type[Enum]) -> str:
    return ", ".join(f"`{m.value}`" for m in members)


NEVER_NULL = frozenset(
    ("run", "id", "phase", "phase_number", "exchange", "sender", "sender_number", "sender_implementation", "sender_release",
     "sender_mine", "receiver", "receiver_number", "receiver_implementation", "receiver_release", "receiver_mine", "outcome",
     "state", "surprise")
)  # fmt: skip

DIMENSIONS: tuple[str, ...] = tuple(Policy("", Encryption.NONE, Authentication.EITHER).dimensions())
"""Names of the policy's dimensions: a new one is two new columns."""


def _side(side: str) -> list[Column]:
    def member(row: Row) -> Member:
        return row.sender if side == "sender" else row.receiver

    def dimension(key: str) -> Callable[[Row], Any]:
        def value(row: Row) -> Any:
            setting = member(row).dimensions[row.place].get(key)
            return " ".join(map(str, setting)) if isinstance(setting, list) else setting

        return value

    def known(value: str) -> str | None:
        return None if value == "?" else value

    return [
        Column(f"{side}_number", Type.INTEGER, f"the {side}'s number in matrices and texts", lambda r: member(r).number),
        Column(
            f"{side}_implementation",
            Type.TEXT,
            f"the {side}'s software, without its release",
            lambda r: member(r).implementation.partition("@")[0],
        ),
        Column(f"{side}_release", Type.TEXT, "its release", lambda r: member(r).implementation.partition("@")[2]),
        Column(f"{side}_version", Type.TEXT, "the version that its running package stated", lambda r: member(r).version),
        Column(f"{side}_mine", Type.BOOLEAN, "whether the user brought image, build or configuration", lambda r: member(r).mine),
        Column(
            f"{side}_policy",
            Type.TEXT,
            "the policy's name in this phase: the preset and the dimensions that differ from it",
            lambda r: known(member(r).policies[r.place]),
        ),
        Column(
            f"{side}_certificate",
            Type.TEXT,
            "the certificate profile in this phase ([certificates.md](certificates.md))",
            lambda r: known(member(r).certificates[r.place]),
        ),
        *(
            Column(
                f"{side}_{key}",
                Type.TEXT,
                f"the policy's dimension `{key}` in this phase ([policies.md](policies.md)); several values with spaces between",
                dimension(key),
            )
            for key in DIMENSIONS
        ),
    ]


def _change(row: Row) -> str | None:
    if row.place == 0:
        return None
    first = row.grid.cell(row.grid.phases[0], (row.cell["sender"], row.cell["receiver"], row.cell["exchange"]))
    return classify(first, row.cell).value


def _shares(kind: str) -> list[Column]:
    """What the attempts of the pair alone came to, of one kind."""

    def share(row: Row) -> Share | None:
        return shares_of(row.cell).get(kind)

    def bound(place: int) -> Callable[[Row], float | None]:
        return lambda row: round(found.interval[place], 4) if (found := share(row)) else None

    tries = f"{TRIES[kind][1]} of the pair alone"
    return [
        Column(
            f"{kind}_delivered", Type.INTEGER, f"how many {tries} delivered", lambda r: s.delivered if (s := share(r)) else None
        ),
        Column(f"{kind}_tries", Type.INTEGER, f"of how many {tries}", lambda r: s.tries if (s := share(r)) else None),
        Column(f"{kind}_low", Type.NUMBER, "the lowest share of deliveries to be expected, with 95 % confidence", bound(0)),
        Column(f"{kind}_high", Type.NUMBER, "the highest", bound(1)),
    ]


COLUMNS: tuple[Column, ...] = (
    _run("run", "the run's id"),
    _run("scenario", "the scenario's name"),
    _run("started", "when the run began, ISO 8601 with offset"),
    _run("timers", "`short` or `stock` ([measuring.md](measuring.md))"),
    Column(
        "stretch",
        Type.INTEGER,
        "how many times as long as usual the short timers were, because the machine was slow or busy when the run began",
        lambda row: row.verdicts.get("stretch"),
        "times",
    ),
    _cell("id", Type.TEXT, "the cell: phase/sender/receiver/exchange, the same in every run of the scenario"),
    _cell("phase", Type.TEXT, "the phase's name"),
    Column("phase_number", Type.INTEGER, "its place in the scenario, from 0", lambda row: row.place),
    _cell("exchange", Type.TEXT, "what was sent"),
    _cell("sender", Type.TEXT, "the domain that wrote"),
    *_side("sender"),
    _cell("receiver", Type.TEXT, "the domain that was written to"),
    *_side("receiver"),
    _cell("outcome", Type.TEXT, f"{_values(Outcome)}"),
    Column(
        "state",
        Type.TEXT,
        f"outcome and channel in one word, as the matrices show it: {_values(State)}",
        lambda row: state(row.cell).value,
    ),
    _part(
        "encryption",
        "channel",
        "encryption",
        Type.TEXT,
        "of a delivery, as seen on the wire: `tls`, `cleartext`; null: unobserved",
    ),
    _part("tls_version", "channel", "tls_version", Type.TEXT, "of a delivery over TLS: `TLSv1.3`"),
    _part("cipher", "channel", "cipher", Type.TEXT, "of a delivery over TLS: the suite's name in the IANA registry"),
    _part("forward_secrecy", "channel", "forward_secrecy", Type.BOOLEAN, "whether that suite gives forward secrecy"),
    _part(
        "authentication",
        "channel",
        "authentication",
        Type.TEXT,
        "how the sender's server was proven: `external`, `dialback`, `none`",
    ),
    _part("body_in_clear", "channel", "body_in_clear", Type.BOOLEAN, "whether the message's text was read on the wire"),
    _cell("cause", Type.TEXT, "why it was not delivered ([causes.md](causes.md))"),
    _cell("cause_from", Type.TEXT, "which source named the cause"),
    _cell("fault", Type.TEXT, f"whose setting would fix it: {_values(Fault)}"),
    _cell("explanation", Type.TEXT, "one sentence: the two columns that follow"),
    _cell("reason", Type.TEXT, "what happened, and whose fault it is"),
    Column(
        "remedies",
        Type.TEXT,
        "how to fix it, with the setting of that implementation where one is known",
        lambda row: fix(row.cell.get("remedies") or (), row.cell.get("fault")),
    ),
    _part("expected_outcome", "expected", "outcome", Type.TEXT, "the expected outcome ([expectations.md](expectations.md))"),
    _part("expected_encryption", "expected", "encryption", Type.TEXT, "the expected encryption"),
    _part("expected_cause", "expected", "cause", Type.TEXT, "the expected cause"),
    _part("expected_because", "expected", "because", Type.TEXT, "the clause that says so"),
    Column(
        "expected_too",
        Type.TEXT,
        "other outcomes that are as expected, where the standards leave it open, with spaces between",
        lambda row: " ".join(dict.fromkeys(e["outcome"] for e in row.part("expected").get("alternatives") or ())),
    ),
    _cell("surprise", Type.BOOLEAN, "whether the result differs from the expected one"),
    _cell("confirmed", Type.BOOLEAN, "of a failure or a surprise: whether a repeat measurement confirmed it"),
    Column("change", Type.TEXT, f"what became of the pair since the first phase: {_values(Change)}; null in the first", _change),
    _cell("seconds", Type.NUMBER, "from the writing to the receipt or the bounce; null if neither came", "s"),
    _cell("attempts", Type.INTEGER, "how often it was measured", "attempts"),
    _part("history_cold", "history_dependent", "cold", Type.TEXT, "outcome as the pair's first talk, where that matters"),
    _part("history_warm", "history_dependent", "warm", Type.TEXT, "outcome when the pair had talked before, where that matters"),
    Column(
        "flaky",
        Type.TEXT,
        "outcomes of attempts under the same conditions that disagreed, with spaces between",
        lambda row: " ".join(row.cell.get("flaky") or ()),
    ),
    *(column for kind in TRIES for column in _shares(kind)),
    _part("interference_mesh", "interference", "mesh", Type.TEXT, "outcome in the mesh, where third parties disturbed it"),
    _part(
        "interference_alone", "interference", "alone", Type.TEXT, "outcome of the pair alone, where third parties disturbed it"
    ),
    Column(
        "interference_by",
        Type.TEXT,
        "whose streams are suspected: sender>receiver, with spaces between",
        lambda row: " ".join(f"{by['sender']}>{by['receiver']}" for by in row.part("interference").get("by") or ()),
    ),
    Column(
        "evidence",
        Type.TEXT,
        "where to look: lines of `observations.jsonl` and files of `evidence/`, with spaces between",
        lambda row: " ".join(row.cell.get("evidence") or ()),
    ),
)


def rows(verdicts: Verdicts) -> Iterator[dict[str, Any]]:
    """One mapping per cell, column to value; an empty text is null. KeyError if the verdicts lack a key of schema 1."""
    matrix = grid(verdicts)
    members = {m.domain: m for m in matrix.members}
    places = {name: place for place, name in enumerate(matrix.phases)}
    for cell in verdicts["cells"]:
        row = Row(verdicts, matrix, cell, places[cell["phase"]], members[cell["sender"]], members[cell["receiver"]])
        yield {column.name: _as(column.type, column.value(row)) for column in COLUMNS}


def _as(kind: Type, value: Any) -> Any:
    if value is None or value == "":
        return None
    if kind is Type.TEXT:
        # Neither half a surrogate pair nor NUL can be written by everything that writes tables.
        if type(value) is str and value.isascii() and "\0" not in value:
            return value
        return str(value).encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return {Type.INTEGER: int, Type.NUMBER: float, Type.BOOLEAN: bool}[kind](value)


# --- CSV --------------------------------------------------------------------------------------------------------------

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""A spreadsheet takes a text that begins so for a formula (the apostrophe: so that what is put before can be taken away)."""


def guarded(text: str) -> str:
    """The text as it stands in the CSV: with an apostrophe before it if a spreadsheet might execute it."""
    return f"'{text}" if text.startswith(FORMULA) else text


def render_csv(verdicts: Verdicts) -> str:
    """``cells.csv``: UTF-8, commas, a header, lines that end in LF; null is empty, booleans are ``true`` and ``false``."""
    out = io.StringIO()
    plain = csv.writer(out, lineterminator="\n")
    # Where lines end in LF the writer lets a bare CR stand without quotes, and readers take it for the end of a line.
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(column.name for column in COLUMNS)
    for row in rows(verdicts):
        fields = [_plain(value) for value in row.values()]
        (quoted if any("\r" in field for field in fields) else plain).writerow(fields)
    return out.getvalue()


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return guarded(value) if isinstance(value, str) else str(value)


# --- Parquet ----------------------------------------------------------------------------------------------------------


def render_parquet(verdicts: Verdicts) -> bytes:
    """``cells.parquet``: the same rows, typed; texts as they are. TestbedError if the optional writer is not installed."""
    try:
        import duckdb
    except ImportError:
        raise TestbedError("Parquet needs the package `duckdb`: `make setup`, or pip install 's2s-testbed[parquet]'") from None
    # It reaches for nothing: no extension is fetched. One thread writes the same rows into the same bytes.
    settings: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
    settings |= {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    with tempfile.TemporaryDirectory(prefix="testbed-") as folder, duckdb.connect(config=settings) as database:
        source, target = Path(folder, "rows.json"), Path(folder, "cells.parquet")
        with source.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(verdicts))
        columns = {column.name: _PARQUET[column.type] for column in COLUMNS}
        relation = database.sql(
            "SELECT * FROM read_json($source, format = 'newline_delimited', columns = $columns)",
            params={"source": str(source), "columns": columns},
        )
        relation.write_parquet(str(target), compression="zstd")
        return target.read_bytes()


def _parquet_if_possible(verdicts: Verdicts) -> bytes | None:
    try:
        return render_parquet(verdicts)
    except TestbedError:
        return None


RENDERS: dict[str, Callable[[Verdicts], bytes | str | None]] = {"cells.csv": render_csv, "cells.parquet": _parquet_if_possible}

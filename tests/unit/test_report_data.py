"""Tables, test cases and the page for CI hold every cell, survive hostile names, and say what the exit status says."""

from __future__ import annotations

import builtins
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fake_verdicts import verdicts
from typer.testing import CliRunner

from testbed import report
from testbed.cli.app import app
from testbed.judge.verdict import exit_status, judge_run
from testbed.model import Authentication, Encryption, InputError, Policy, TestbedError
from testbed.record import store
from testbed.record.documents import checked, verdicts_form
from testbed.record.whole import verdicts_whole
from testbed.report import formats, junit, markdown, plots, table

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
HOSTILE = [
    '=HYPERLINK("http://evil.example","x")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "'quoted",
    "''twice",
    'a,b;c"d"\ne\r\nf',
    "<script>alert(1)</script>]]>&amp;",
    "nul\0bell\x07esc\x1b[31m",
    "half \ud800 pair",
    "emoji 😀 and \u202e turned",
    "| pipe ` tick `` two ``` three",
    "@somebody #123 www.evil.example https://evil.example [x](y)",
    "x" * 5000,
]


def hostile() -> dict[str, Any]:
    """A run in which every text that comes from outside is out to break something."""
    made = verdicts(len(HOSTILE), ("before", "after"), noise=0.2)
    new = dict(zip([s["domain"] for s in made["servers"]], HOSTILE, strict=True))
    for server in made["servers"]:
        server["domain"] = new[server["domain"]]
        server["version"] = HOSTILE[9]
    for phase in made["phases"]:
        phase["settings"] = {new[domain]: s | {"policy": domain and HOSTILE[0]} for domain, s in phase["settings"].items()}
    for cell in made["cells"]:
        cell["sender"], cell["receiver"] = new[cell["sender"]], new[cell["receiver"]]
        cell["id"] = "/".join((cell["phase"], cell["sender"], cell["receiver"], cell["exchange"]))
        cell["explanation"] = cell["sender"]
        cell["evidence"] = [cell["receiver"]]
        cell["expected"]["because"] = HOSTILE[9]
    made["title"] = HOSTILE[8]
    made["run"] = HOSTILE[10]
    return made


def every_key() -> dict[str, Any]:
    """A run with all that a newer judge may add."""
    made = verdicts(4, noise=0)
    one, two = made["cells"][:2]
    one["history_dependent"] = {"cold": "bounced", "warm": "delivered"}
    one["flaky"] = ["bounced", "lost"]
    one["shares"] = {"cold": [5, 8], "interval": {"cold": [0.31, 0.86]}}
    one["confirmed"] = True
    two["interference"] = {"mesh": "lost", "alone": "delivered", "by": [{"sender": "a", "receiver": "b", "because": "x"}]}
    made["servers"][0]["mine"] = True
    made["controls"] = [{"phase": "before", "when": "first", "ok": True, "reason": None}]
    return made


def read_csv(text: str) -> list[dict[str, Any]]:
    """The rows of ``cells.csv`` with their types, as docs/data.md says to read them."""
    kinds = {column.name: column.type for column in table.COLUMNS}
    types: dict[table.Type, Any] = {
        table.Type.TEXT: lambda t: t.removeprefix("'"),
        table.Type.INTEGER: int,
        table.Type.NUMBER: float,
        table.Type.BOOLEAN: {"true": True, "false": False}.__getitem__,
    }
    read = csv.DictReader(io.StringIO(text, newline=""))
    return [{name: types[kinds[name]](value) if value else None for name, value in row.items()} for row in read]


def read_parquet(content: bytes, folder: Path) -> list[dict[str, Any]]:
    path = folder / "cells.parquet"
    path.write_bytes(content)
    found = duckdb.connect().execute("SELECT * FROM read_parquet(?)", [str(path)])
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


RUNS = {
    "small": lambda: verdicts(12),
    "hostile": hostile,
    "keys": every_key,
    "one": lambda: verdicts(1),
    "none": lambda: verdicts(0),
}


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_csv_and_parquet_hold_the_same_rows(name: str, tmp_path: Path) -> None:
    made = RUNS[name]()
    expected = list(table.rows(made))
    assert len(expected) == len(made["cells"])
    assert read_csv(table.render_csv(made)) == expected
    assert read_parquet(table.render_parquet(made), tmp_path) == expected


def test_every_column_has_its_type_and_is_null_only_where_it_may_be() -> None:
    python = {table.Type.TEXT: str, table.Type.INTEGER: int, table.Type.NUMBER: float, table.Type.BOOLEAN: bool}
    assert len({column.name for column in table.COLUMNS}) == len(table.COLUMNS)
    assert {column.name for column in table.COLUMNS} >= table.NEVER_NULL
    for row in (*table.rows(verdicts(12)), *table.rows(every_key())):
        for column in table.COLUMNS:
            value = row[column.name]
            assert column.null if value is None else type(value) is python[column.type], (column.name, value)


def test_every_key_of_a_cell_is_in_the_table() -> None:
    columns = {column.name for column in table.COLUMNS}
    nested = {"channel", "expected", "history_dependent", "interference", "shares"}
    for cell in (*judge_run(store.load(REFERENCE))["cells"], *every_key()["cells"]):
        assert cell.keys() - nested <= columns
    for key in verdicts(2)["cells"][0]["channel"]:
        assert key in columns
    for key in Policy("", Encryption.NONE, Authentication.EITHER).dimensions():
        assert {f"sender_{key}", f"receiver_{key}"} <= columns


def test_what_newer_judges_add_is_kept() -> None:
    one, two = list(table.rows(every_key()))[:2]
    assert (one["history_cold"], one["history_warm"], one["flaky"]) == ("bounced", "delivered", "bounced lost")
    assert (one["cold_delivered"], one["cold_tries"], one["warm_delivered"], one["warm_high"]) == (5, 8, None, None)
    assert (one["cold_low"], one["cold_high"]) == (0.3057, 0.8632)
    assert two["cold_tries"] is None
    assert one["sender_mine"] is True
    assert two["sender_mine"] is True
    assert two["receiver_mine"] is False
    assert (two["interference_mesh"], two["interference_alone"], two["interference_by"]) == ("lost", "delivered", "a>b")


def test_the_change_since_the_first_phase_is_told() -> None:
    rows = list(table.rows(verdicts(12, noise=0)))
    assert all(row["change"] is None for row in rows if row["phase"] == "before")
    assert sum(row["change"] == "newly-broken" for row in rows) == 18


@pytest.mark.parametrize("text", HOSTILE)
def test_no_field_of_the_csv_is_a_formula(text: str) -> None:
    guarded = table.guarded(text)
    assert not guarded.startswith(tuple("=+-@\t\r"))
    assert guarded.removeprefix("'") == text
    fields = [field for row in csv.reader(io.StringIO(table.render_csv(hostile()), newline="")) for field in row]
    assert not [field for field in fields if field.startswith(tuple("=+-@\t\r"))]


def test_same_verdicts_same_bytes() -> None:
    for render in (table.render_csv, table.render_parquet, junit.render, markdown.render):
        assert render(verdicts(12)) == render(verdicts(12))


def test_without_the_optional_package_everything_but_parquet_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "duckdb":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TestbedError, match=r"s2s-testbed\[parquet\]"):
        table.render_parquet(verdicts(2))
    assert table.RENDERS["cells.parquet"](verdicts(2)) is None


# --- JUnit ------------------------------------------------------------------------------------------------------------

ALLOWED = {
    "testsuites": (set(), ["testsuite"]),
    "testsuite": (
        {"name", "package", "id", "hostname", "timestamp", "tests", "failures", "errors", "skipped", "time"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), ["property"]),
    "property": ({"name", "value"}, []),
    "testcase": ({"classname", "name", "time"}, ["skipped", "error", "failure"]),
    "failure": ({"message", "type"}, []),
    "error": ({"message", "type"}, []),
    "skipped": ({"message"}, []),
    "system-out": (set(), []),
    "system-err": (set(), []),
}
"""Ant's schema, which is the narrower one: attributes, all of them demanded, and children in their order."""


def check_form(element: ET.Element) -> None:
    attributes, children = ALLOWED[element.tag]
    assert set(element.attrib) == attributes
    places = [children.index(child.tag) for child in element]
    assert places == sorted(places)
    if element.tag == "testcase":
        assert len(element) <= 1
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    if element.tag == "testsuite":
        assert [child.tag for child in element if child.tag != "testcase"] == ["properties", "system-out", "system-err"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", element.attrib["timestamp"])
    for key in {"name", "classname", "package"} & element.attrib.keys() if element.tag != "property" else ():
        assert element.attrib[key] == " ".join(element.attrib[key].split()) != ""
    for child in element:
        check_form(child)


@pytest.mark.parametrize("name", RUNS)
def test_junit_has_the_form_of_the_schema_and_its_counts_are_right(name: str) -> None:
    made = RUNS[name]()
    root = ET.fromstring(junit.render(made))
    check_form(root)
    assert [suite.attrib["id"] for suite in root] == [str(n) for n in range(len(root))]
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(made["cells"]) + 1 + len(made.get("controls", []))
    if name != "hostile":  # there some differ in white space alone
        assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    for suite in root:
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == len(suite.findall(f"testcase/{tag}"))


def results(made: dict[str, Any]) -> list[str]:
    cases = ET.fromstring(junit.render(made)).findall("testsuite/testcase")
    return [case[0].tag if len(case) else "passed" for case in cases]


def test_only_what_a_person_has_to_look_at_is_red() -> None:
    made = verdicts(2, ("now",), only="bounced")
    assert results(made) == ["passed", "passed", "passed"]
    made["cells"][0] |= {"surprise": True}
    made["cells"][1] |= {"outcome": "inconclusive", "cause": "testbed"}
    assert results(made) == ["passed", "failure", "error"]
    made["cells"][0] |= {"surprise": False, "outcome": "unsupported"}
    made["cells"][1] |= {"cause": "image-unavailable"}
    assert results(made) == ["error", "skipped", "skipped"]  # nothing was measured
    made["cells"][0] |= {"outcome": "delivered", "channel": {"encryption": None}}
    assert results(made)[1] == "error"


def test_red_agrees_with_the_exit_status() -> None:
    runs = [verdicts(12, noise=noise, seed=seed) for noise in (0, 0.02) for seed in range(4)]
    runs += [verdicts(4, only=o) for o in ("delivered", "bounced", "lost", "unsupported", "inconclusive")]
    runs.append(judge_run(store.load(ROOT / "tests" / "golden" / "capricious")))
    runs += [verdicts(4, only="delivered", complete=False), every_key(), verdicts(1), judge_run(store.load(REFERENCE))]
    bad = every_key()
    bad["controls"][0]["ok"] = False
    runs.append(bad)
    seen = set()
    for made in runs:
        status = exit_status(made)
        seen.add(status)
        red = {"failure", "error"} & set(results(made))
        assert bool(red) == (status != 0), (made["run"], status)
        assert ("error" in red) == (status == 3)
    assert seen == {0, 1, 3}


def test_more_deliveries_than_attempts_are_damage() -> None:
    made: Any = every_key()
    verdicts_whole(made, file="verdicts.json", hint="write it again")
    made["cells"][0]["shares"]["cold"] = [9, 8]
    with pytest.raises(InputError, match=r"`cells\[0\].shares.cold` has more deliveries than attempts"):
        verdicts_whole(made, file="verdicts.json", hint="write it again")
    for share, wanted in (([5], "a longer list"), ([5, 8, 9], "a shorter list"), ([-1, 8], "greater than or equal to 0")):
        made["cells"][0]["shares"]["cold"] = share
        with pytest.raises(InputError, match=f"has to be {wanted}\n"):
            checked(verdicts_form(), made, file="verdicts.json", hint="write it again")


def test_a_failure_has_all_that_one_needs() -> None:
    made = verdicts(4, noise=0)
    cell = made["cells"][0] | {"surprise": True, "outcome": "bounced", "cause": "dns", "fault": "network", "flaky": ["a", "b"]}
    cell["expected"] = {"outcome": "delivered", "because": "RFC 1", "encryption": "tls", "cause": None}
    made["cells"][0] = cell
    found = ET.fromstring(junit.render(made)).find("testsuite/testcase/failure")
    assert found is not None
    assert found.attrib["message"] == "bounced: dns, expected delivered over TLS"
    for part in (
        f"because: {cell['explanation']}",
        "cause: dns",
        "fix at: DNS or the route",
        "expected: delivered over TLS: RFC 1",
        "observations.jsonl, lines 1",
        "attempts: a, b",
    ):
        assert part in (found.text or "")


# --- the page for CI --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: verdicts(72, noise=0.3), id="10,000 cells"),
        pytest.param(lambda: verdicts(12, tuple(f"phase-{i}" for i in range(80)), noise=0.5), id="80 phases"),
        pytest.param(hostile, id="hostile"),
    ],
)
def test_the_page_fits_a_comment(made: Any) -> None:
    assert len(markdown.render(made()).encode("utf-8", "replace")) <= markdown.LIMIT < 65_536


def test_the_page_says_what_is_wrong_first() -> None:
    made = verdicts(12, noise=0.03)
    page = markdown.render(made)
    titles = re.findall(r"^###? (.*)$", page, re.MULTILINE)
    assert titles[0] == made["title"]
    assert titles[1].startswith("Not as expected")
    assert titles[2] == "What the testbed cannot say"
    assert titles[3:] == [
        "Counts",
        "Newly broken from `before` to `after`: at least 19 pairs, 1 unknown",
        "Why pairs failed",
    ]
    assert "Everything as expected." in markdown.render(verdicts(4, only="delivered"))
    assert "Nothing that worked before stopped working." in markdown.render(verdicts(4, only="delivered"))


def test_tables_of_the_page_are_whole_whatever_is_in_them() -> None:
    widths: list[int] = []
    for line in markdown.render(hostile()).splitlines():
        if line.startswith("|"):
            # A bar that is not escaped is a border, in code spans too.
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
        elif widths:
            assert len(set(widths)) == 1
            widths = []
    assert widths == []


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_text_is_markup(text: str) -> None:
    shown = re.sub(r"(`+) ?.*?\1", "", markdown.text(text))
    assert not re.search(r"(?<!\\)[<>\[\]*_`|]", shown)
    assert not re.search(r"@|://|www\.|#\d(?!\d*;)|(?<!&)#\d", shown)
    span = markdown.code(text)
    assert "\n" not in span
    fence = re.match("`+", span)
    assert fence
    assert fence.group() not in span[len(fence.group()) : -len(fence.group())]


def test_a_code_span_in_a_text_stays_one() -> None:
    assert markdown.text("set `a_b | c` to *x*") == "set `a_b \\| c` to \\*x\\*"


# --- by name, and from the command line -------------------------------------------------------------------------------


def test_every_report_that_is_no_picture_has_a_name() -> None:
    named = {f.file for f in formats.FORMATS.values()} - {"verdicts.json"}
    drawn = {f"{kind}.png" for kind in plots.PLOTS}
    assert named == {p for p in report.renderers() if "{" not in p and p not in drawn}


def test_each_format_prints_what_the_run_keeps() -> None:
    made = verdicts(4)
    kept = dict(report.render_all(made))
    for name, chosen in formats.FORMATS.items():
        content = formats.render(made, name)
        assert content == kept.get(chosen.file, content)
        if not chosen.binary:
            content.decode()


@pytest.fixture
def run() -> Any:
    runner = CliRunner()
    return lambda *words: runner.invoke(app, list(words))


def test_one_report_to_standard_output_and_nothing_written(run: Any, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (REFERENCE / "derived").iterdir()}
    result = run("report", str(REFERENCE), "--format", "csv")
    assert result.exit_code == exit_status(judge_run(store.load(REFERENCE)))
    assert len(read_csv(result.stdout)) == 264
    assert json.loads(run("report", str(REFERENCE), "--format", "json").stdout)["scenario"] == "manifesto-2014"
    target = tmp_path / "new" / "cells.parquet"
    assert run("report", str(REFERENCE), "--format", "parquet", "-o", str(target)).stdout == ""
    assert len(read_parquet(target.read_bytes(), tmp_path)) == 264
    assert before == {p: p.stat().st_mtime_ns for p in (REFERENCE / "derived").iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "cvs"], "allowed: csv, parquet, junit"),
        (["--output", "x"], "say which with --format"),
        (["--format", "csv", "--json"], "exclude each other"),
        (["--format", "csv", "--output", "/proc/none/x.csv"], "choose another file"),
    ],
)
def test_wrong_arguments_are_said(run: Any, words: list[str], said: str) -> None:
    result = run("report", str(REFERENCE), *words)
    assert said in str(result.exception)
    assert result.exception.exit_status == 2  # type: ignore[union-attr]


# --- docs/data.md -----------------------------------------------------------------------------------------------------


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", blocks(), ids=lambda b: str(b).split()[1])
def test_the_examples_of_the_documentation_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "import pandas" in block:
        pytest.importorskip("pandas", reason="the testbed does not bring it")
    derived = tmp_path / "results" / "latest" / "derived"
    derived.mkdir(parents=True)
    made = judge_run(store.load(REFERENCE))
    (derived / "cells.csv").write_text(table.render_csv(made), encoding="utf-8", newline="")
    (derived / "cells.parquet").write_bytes(table.render_parquet(made))
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/data.md", "exec"), {})
    assert "tls-required" in capsys.readouterr().out


def test_the_documentation_names_every_format_and_picture() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name in (*formats.FORMATS, *plots.PLOTS):
        assert f"`{name}`" in page
    for name in plots.RENDERS:
        assert f"`{name}`" in page

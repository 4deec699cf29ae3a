"""The cells as test cases, for programs that read JUnit's XML: a red test is what a person has to look at.

Rule: a surprise fails, whatever the outcome; what the testbed cannot say is an error; what is unsupported is skipped; all
else passes, an expected bounce as well. So nothing is red if and only if the exit status is 0. The form is the narrower of
the two that are in use (Apache Ant's, and the one of Jenkins' xUnit plugin): each file is valid by both.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testbed.causes import Inconclusive, inconclusive_as
from testbed.judge.unmeasured import STRAINED
from testbed.judge.verdict import measured
from testbed.record.verdicts import CellEntry, ControlEntry, FailedServerEntry, Verdicts, unexplained
from testbed.report import busy, unfinished, words
from testbed.report import cell as words_of
from testbed.report.cell import left_open
from testbed.report.failed import sentence
from testbed.report.grid import KINDS, Kind, State, grid, state
from testbed.report.interruptions import parts

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 section 2.2 has no place for, not even escaped."""


@dataclass(frozen=True)
class Case:
    """One test case: where it stands, what came of it, and the text below it."""

    classname: str
    name: str
    seconds: float
    result: str | None = None
    """``failure``, ``error``, ``skipped``, or None if it passed."""
    kind: str = ""
    message: str = ""
    text: str = ""


def render(verdicts: Verdicts) -> bytes:
    """``junit.xml``: a suite per phase, and one that says whether the run as a whole can be relied on."""
    root = ET.Element("testsuites")
    for number, (name, cases) in enumerate(_suites(verdicts)):
        _suite(root, number, name, cases, verdicts)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _suites(verdicts: Verdicts) -> Iterator[tuple[str, list[Case]]]:
    matrix = grid(verdicts)
    yield "run", [*map(_failed, verdicts.get("failed_servers") or ()), *map(_busy, busy.sentences(verdicts)), _run(verdicts)]
    for phase in matrix.phases:
        controls = [_control(c) for c in verdicts.get("controls") or () if c["phase"] == phase]
        yield phase, [*controls, *(_cell(cell, verdicts) for cell in verdicts["cells"] if cell["phase"] == phase)]


def _run(verdicts: Verdicts) -> Case:
    reason = None
    if not verdicts.get("complete", False):
        reason = f"{words.CUT_SHORT}: its record has no closing line. {unfinished.resume(verdicts)}"
    elif not any(measured(cell) or busy.is_busy(cell) for cell in verdicts["cells"]):
        reason = "nothing was measured"
    return Case("run", "complete", 0.0, "error" if reason else None, "testbed", reason or "")


def _failed(entry: FailedServerEntry) -> Case:
    name = f"{entry['domain']} in {entry['phase']} ({entry['epoch']})"
    return Case("run.servers", name, 0.0, "error", "server-failed", sentence(entry), "\n".join(entry.get("evidence", [])))


def _busy(message: str) -> Case:
    return Case("run", "machine", 0.0, "error", STRAINED, message)


def _control(control: ControlEntry) -> Case:
    reason = control.get("reason") or "no reason was recorded"
    failed = None if control["ok"] else "error"
    message = f"{words.CONTROL_FAILED}, so do not rely on this phase: {reason}" if failed else ""
    return Case(f"{control['phase']}.control", f"control pair, {control['when']}", 0.0, failed, "testbed", message)


def _cell(cell: CellEntry, verdicts: Verdicts) -> Case:
    result = _result(cell)
    # A dot would end the package: the receiver's have to be something that no domain has.
    where = f"{cell['phase']}.{cell['receiver'].replace('.', '_')}"
    name = f"{cell['sender']} → {cell['receiver']}: {cell['exchange']}"
    seconds = max(0.0, float(cell.get("seconds") or 0.0))
    if result is None:
        return Case(where, name, seconds)
    messages = {
        "failure": words_of.headline(cell),
        "error": f"the testbed cannot say: {cell.get('explanation') or words.cause(cell.get('cause'))}",
        "skipped": str(cell.get("explanation") or words.cause(cell.get("cause"))),
    }
    kind = "surprise" if result == "failure" else str(cell.get("cause") or cell["outcome"])
    return Case(where, name, seconds, result, kind, messages[result], "\n".join(_text(cell, str(verdicts["run"]))))


def _result(cell: CellEntry) -> str | None:
    if cell.get("surprise"):
        return "failure"
    amount = state(cell)
    if amount is State.UNSUPPORTED or inconclusive_as(cell.get("cause")) is Inconclusive.ABSENT:
        return "skipped"
    # A delivery over an unobserved channel might be the very cleartext that was forbidden.
    return "error" if KINDS[amount] in (Kind.UNKNOWN, Kind.UNSEEN) or unexplained(cell) else None


def _text(cell: CellEntry, run: str) -> Iterator[str]:
    yield from (f"{name}: {text}" for name, text in words_of.facts(cell))
    yield from (f"evidence: {place}" for place in words_of.evidence(cell, run))
    yield f"story: {words_of.command(cell, run)}"


def _suite(root: ET.Element, number: int, name: str, cases: list[Case], verdicts: Verdicts) -> None:
    started = str(verdicts.get("started") or "")[:19]
    counts = Counter(case.result for case in cases)
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_token(name),
        package=_token(str(verdicts["scenario"])),
        id=str(number),
        hostname="localhost",
        timestamp=started if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", started) else "1970-01-01T00:00:00",
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{sum(c.seconds for c in cases):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for key in ("run", "scenario", "title", "timers"):
        ET.SubElement(properties, "property", name=key, value=_clean(str(verdicts.get(key) or "")))
    if stretch := verdicts.get("stretch"):
        ET.SubElement(properties, "property", name="stretch", value=str(stretch))
    if opened := left_open(verdicts["cells"]):
        ET.SubElement(properties, "property", name="open", value=_clean(opened[0]))
    if measured := parts(verdicts):
        ET.SubElement(properties, "property", name="measured", value=_clean(measured))
    for case in cases:
        element = ET.SubElement(
            suite, "testcase", classname=_token(case.classname), name=_token(case.name), time=f"{case.seconds:.3f}"
        )
        if case.result:
            result = ET.SubElement(element, case.result, message=_clean(case.message))
            if case.result != "skipped":  # Ant's form has no kinds of skipping
                result.set("type", _clean(case.kind))
            result.text = _clean(case.text) or None
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")


def _clean(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)


def _token(text: str) -> str:
    """One line without double spaces, as names must be; never empty."""
    return " ".join(_clean(text).split()) or "unnamed"


RENDERS: dict[str, Callable[[Verdicts], bytes]] = {"junit.xml": render}

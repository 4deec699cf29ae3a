"""The pytest face without an engine: what is collected and selected, bad input, and what becomes of each kind of verdict."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from testbed import campaign
from testbed.compare import baseline, files  # noqa: F401 - loaded before pytester remembers which modules there are
from testbed.model import EngineError
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.plan.narrow import narrow
from testbed.pytest_plugin import CANDIDATES, hooks, options, reporting, workers  # noqa: F401
from testbed.pytest_plugin import __main__ as process
from testbed.pytest_plugin.federations import Federation
from testbed.pytest_plugin.workers import (
    ORDER,
    OUTCOME,
    Measured,
    Meeting,
    NotMeasured,
    Order,
    Outcome,
    Progress,
    Shared,
)
from testbed.report import junit

pytest_plugins = ["pytester"]

SCENARIO = """\
name: tiny
title: Three servers
servers:
  - {implementation: prosody@trixie, policy: opportunistic, domain: a.example}
  - {implementation: ejabberd@trixie, policy: {preset: opportunistic, tls_min: "1.2"}, domain: b.example}
  - {implementation: jabberd2@trixie, policy: cleartext, domain: c.example}
phases:
  - name: before
  - name: test-day
    where: {policy: "opportunistic*"}
    set: {policy: encrypted}
"""
UNSEEN = dict.fromkeys(("encryption", "tls_version", "cipher", "forward_secrecy", "authentication", "body_in_clear"))
TLS = UNSEEN | {"encryption": "tls", "tls_version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "authentication": "external"}
FAILED = {"outcome": "bounced", "cause": "dialback-failed", "surprise": True, "fault": "sender", "channel": UNSEEN}
CELL = "before/a.example/b.example/message"


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server project with one scenario and one test of its own; an engine that is not there."""
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\naddopts = ["--strict-markers", "--strict-config"]\n')
    pytester.mkdir("scenarios").joinpath("x.yaml").write_text(SCENARIO)
    pytester.mkdir("checks").joinpath("test_own.py").write_text("def test_own(): pass\n")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("CI", raising=False)
    return pytester.path


def verdicts(path: Path, catalog: Catalog, changes: dict[str, dict[str, Any]] | None = None, **top: Any) -> str:
    """A verdicts.json in which all is as expected, but for ``changes`` by cell; its name."""
    plan = scenario.load(path / "scenarios" / "x.yaml", catalog)
    cells = [
        {
            "id": c.id, "phase": c.phase, "sender": c.sender, "receiver": c.receiver, "exchange": c.exchange,
            "outcome": "delivered", "channel": TLS, "cause": None, "fault": None, "explanation": "delivered over TLSv1.3",
            "expected": {"outcome": "delivered", "because": "RFC 7590 §3.4", "encryption": "tls", "cause": None},
            "surprise": False, "seconds": 0.1, "attempts": 1,
            "evidence": ["observations.jsonl#7", "observations.jsonl#9", "evidence/before/mesh/a.example.log.gz"],
        } | (changes or {}).get(c.id, {})
        for c in plan.cells
    ]  # fmt: skip
    servers = [
        {"domain": s.domain, "implementation": s.implementation.name, "release": s.implementation.release, "version": "1.0-1"}
        for s in plan.servers
    ]
    phases = [
        {"name": p.name, "settings": {d: {"policy": s.policy.name, "certificate": s.certificate} for d, s in p.settings.items()}}
        for p in plan.phases
    ]
    document = {
        "schema": 1, "run": "tiny-1", "scenario": "tiny", "complete": True, "servers": servers, "phases": phases, "cells": cells,
        "timers": "short", "isolated": False, "controls": [],
    } | top  # fmt: skip
    target = path / "kept.json"
    target.write_text(json.dumps(document))
    return target.name


def report(pytester: pytest.Pytester, kept: str, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest("--federation", "scenarios/x.yaml", "--federation-run", kept, "-ra", *arguments)


def ids(result: pytest.RunResult) -> list[str]:
    """What `--collect-only -q` lists, without the folder."""
    return [line.removeprefix("scenarios/x.yaml::") for line in result.outlines if "::" in line]


# --- what is collected ----------------------------------------------------------------------------------------------------


def test_cells_become_tests_with_readable_ids_and_nothing_is_started(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--federation", "scenarios/x.yaml", "--collect-only", "-q")
    assert result.ret == 0
    assert ids(result) == [
        f"{phase}::{a}.example -> {b}.example::message"
        for phase in ("before", "test-day")
        for a in "abc"
        for b in "abc"
        if a != b
    ]
    assert not (pytester.path / "results").exists()


def test_without_the_option_nothing_is_collected_nor_loaded(pytester: pytest.Pytester) -> None:
    code = (
        "import pytest, sys; pytest.main(['-q']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('docker', 'matplotlib', 'slixmpp', 'pydantic', 'ruamel')"
        " or m.startswith('testbed.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['testbed.pytest_plugin']"
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("settings", "arguments", "cells", "tests"),
    [
        ("", ["--federation", "scenarios/x.yaml"], 12, 0),
        ("", ["--federation", "scenarios/x.yaml", "checks"], 12, 1),
        ("", ["--federation", "scenarios/x.yaml", "."], 12, 1),
        ("", ["--federation", "scenarios/x.yaml", "scenarios/x.yaml::test-day"], 6, 0),
        ("", ["--federation", "scenarios/x.yaml", "scenarios/x.yaml::before::a.example -> b.example::message"], 1, 0),
        ('federation = ["scenarios/x.yaml"]', [], 12, 1),
        ('federation = ["scenarios/x.yaml"]', ["checks"], 0, 1),
        ('federation = ["scenarios/x.yaml"]', ["scenarios/x.yaml::before"], 6, 0),
    ],
)
def test_which_paths_are_collected(
    pytester: pytest.Pytester, settings: str, arguments: list[str], cells: int, tests: int
) -> None:
    pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{settings}\n")
    listed = ids(pytester.runpytest("--collect-only", "-q", *arguments))
    assert (sum("->" in line for line in listed), sum("test_own" in line for line in listed)) == (cells, tests)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["-k", "test-day and a.example and not c.example"], {"test-day a b", "test-day b a"}),
        (["-m", "phase_before and not jabberd2"], {"before a b", "before b a"}),
        (["-m", "phase_test_day and prosody_trixie and cleartext"], {"test-day a c", "test-day c a"}),
        (["-m", "opportunistic_tls_min_1_2 and jabberd2 and message"], {"before b c", "before c b"}),
        (["-m", 'encrypted and sender(implementation="jabberd2")'], {"test-day c a", "test-day c b"}),
        (["-m", 'sender(implementation="prosody@trixie", policy="opportunistic")'], {"before a b", "before a c"}),
        (["-m", 'phase_before and receiver(domain="a.example")'], {"before b a", "before c a"}),
        (["-m", 'phase_before and server(policy="cleartext") and sender(certificate="ca") and not prosody'],
         {"before b c", "before c b"}),
    ],
)  # fmt: skip
def test_cells_are_selected(pytester: pytest.Pytester, arguments: list[str], wanted: set[str]) -> None:
    result = pytester.runpytest("--federation", "scenarios/x.yaml", "--collect-only", "-q", *arguments)
    assert {re.sub(r"::| -> |\.example|message", " ", i).strip().replace("  ", " ") for i in ids(result)} == wanted


def test_what_is_the_projects_own_is_in_the_plan(pytester: pytest.Pytester) -> None:
    (pytester.path / "Dockerfile").write_text("FROM scratch\n")
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfederation_build = ["prosody=."]\nfederation_instead = true\n')
    result = pytester.runpytest("--federation", "scenarios/x.yaml", "--collect-only", "-q", "-m", "prosody_mine", "--rootdir=.")
    assert len(ids(result)) == 8
    result = pytester.runpytest("--federation", "scenarios/x.yaml", "--collect-only", "-q", "-m", "prosody_trixie")
    assert ids(result) == []


def test_markers_are_listed_and_others_are_still_refused(pytester: pytest.Pytester) -> None:
    pytester.runpytest("--federation", "scenarios/x.yaml", "--markers").stdout.fnmatch_lines(
        ["@pytest.mark.phase_test_day:*", "@pytest.mark.sender(domain, implementation, policy, certificate):*"]
    )
    (pytester.path / "checks" / "test_own.py").write_text("import pytest\n@pytest.mark.phase_x\ndef test_own(): pass\n")
    assert pytester.runpytest("--federation", "scenarios/x.yaml", "checks").ret == pytest.ExitCode.INTERRUPTED


# --- bad input ------------------------------------------------------------------------------------------------------------

GOOD = ["--federation", "scenarios/x.yaml"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--federation", "scenarios/y.yaml"], "scenarios/y.yaml: no such file"),
        (["--federation", "bad.yaml"], "bad.yaml:2: unknown key `titel`"),
        ([*GOOD, "--federation-baseline", "known.yaml"], "known.yaml:3: "),
        ([*GOOD, "--federation-baseline", "other.yaml"], "other.yaml: known failures of the scenario `other`"),
        ([*GOOD, "--federation-run", "nothing"], "no run `nothing`"),
        ([*GOOD, "--federation-run", "bad.json"], "bad.json: not verdicts of schema 1"),
        ([*GOOD, "--federation-timeout", "0"], "federation_timeout is a number of seconds, above 0"),
        ([*GOOD, "--federation-build", "prosody=nowhere"], "nowhere"),
        ([*GOOD, "--federation-image", "x=y"], "--image: unknown implementation `x`"),
        (["--federation-run", "latest"], "--federation-run is of no use without --federation FILE"),
    ],
)
def test_bad_input_is_a_usage_error(pytester: pytest.Pytester, arguments: list[str], reason: str) -> None:
    (pytester.path / "bad.yaml").write_text("name: x\ntitel: X\n")
    (pytester.path / "known.yaml").write_text("schema: 1\nentries:\n  - {where: {}, outcome: lost, cause: dns, reason: x}\n")
    (pytester.path / "other.yaml").write_text("schema: 1\nscenario: other\nentries: []\n")
    (pytester.path / "bad.json").write_text("{}")
    result = pytester.runpytest(*arguments, "-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(line.startswith("ERROR: ") and reason in line for line in result.errlines), result.errlines
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


# --- verdicts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_each_kind_of_verdict(pytester: pytest.Pytester, catalog: Catalog, workers: list[str]) -> None:
    unable = {"outcome": "unsupported", "explanation": "it cannot be set so", "channel": UNSEEN}
    cannot = {"outcome": "inconclusive", "cause": "testbed", "explanation": "the client was gone", "channel": UNSEEN}
    changes = {
        CELL: FAILED | {"explanation": "give it a certificate", "cause_from": "wire", "confirmed": True,
                        "interference": {"mesh": "lost", "alone": "bounced"}},
        "before/a.example/c.example/message": unable,
        "before/b.example/a.example/message": cannot,
        "before/b.example/c.example/message": {"channel": UNSEEN},
    }  # fmt: skip
    result = report(pytester, verdicts(pytester.path, catalog, changes), *workers)
    result.assert_outcomes(passed=8, failed=1, skipped=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*before: a.example -> b.example: message*",
            "bounced: dialback-failed, expected delivered over TLS",
            "  sender     a.example: prosody@trixie 1.0-1, policy opportunistic, certificate ca",
            "  cause      dialback-failed (seen by: wire)",
            "  because    give it a certificate",
            "  expected   delivered over TLS: RFC 7590 §3.4",
            "  disturbed  in the mesh lost, alone bounced: *",
            "  evidence   tiny-1/observations.jsonl, lines 7, 9",
            "  evidence   tiny-1/evidence/before/mesh/a.example.log.gz",
            "  story      testbed explain tiny-1 a.example b.example",
            "SKIPPED [[]1] scenarios/x.yaml: unsupported: it cannot be set so",
        ]
    )
    result.stdout.fnmatch_lines(["FAILED scenarios/x.yaml::before::a.example -> b.example::message - *bounced: dialback-failed*"])
    result.stdout.fnmatch_lines(["ERROR scenarios/x.yaml::before::b.example -> a.example::message - *the client was gone*"])
    text = result.stdout.str()
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text


@pytest.mark.parametrize(
    ("top", "line"),
    [
        ({"complete": False}, "*the run tiny-1 was cut short, so nothing in it can be relied on*"),
        ({"controls": [{"phase": "before", "when": "last", "ok": False, "reason": "silence"}]},
         "*the control pair*did not (phase before, last)*silence"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_relied_on_fails_all(
    pytester: pytest.Pytester, catalog: Catalog, top: dict[str, Any], line: str
) -> None:
    result = report(pytester, verdicts(pytester.path, catalog, **top))
    result.assert_outcomes(errors=12)
    result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_a_server_that_failed_is_named_and_fails_the_session(
    pytester: pytest.Pytester, catalog: Catalog, workers: list[str]
) -> None:
    """Also where each cell was decided in spite of it: else the gate would pass a server that crashes."""
    failed = {"phase": "before", "epoch": "mesh", "domain": "b.example", "reason": "the server ended with status 139"}
    kept = verdicts(pytester.path, catalog, failed_servers=[failed])
    result = report(pytester, kept, *workers)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["federation tiny: The server b.example failed in 'before': the server ended with status 139."])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report(pytester, verdicts(pytester.path, catalog), *workers).ret == pytest.ExitCode.OK


def test_a_failure_without_a_cause_is_an_error_unless_it_is_a_surprise(pytester: pytest.Pytester, catalog: Catalog) -> None:
    ought = {"outcome": "bounced", "because": "RFC 6120", "encryption": None, "cause": "tls-required"}
    unread = {"outcome": "bounced", "channel": UNSEEN, "explanation": "why it failed cannot be said: tshark ended"}
    changes = {CELL: unread | {"expected": ought}, "before/b.example/a.example/message": unread | {"surprise": True}}
    result = report(pytester, verdicts(pytester.path, catalog, changes))
    result.assert_outcomes(passed=10, failed=1, errors=1)
    result.stdout.fnmatch_lines(["ERROR scenarios/x.yaml::before::a.example -> b.example::message - *tshark ended*"])


def test_a_cell_that_the_run_did_not_measure_is_an_error(pytester: pytest.Pytester, catalog: Catalog) -> None:
    kept = verdicts(pytester.path, catalog)
    document = json.loads((pytester.path / kept).read_text())
    document["cells"] = document["cells"][:6]
    (pytester.path / kept).write_text(json.dumps(document))
    result = report(pytester, kept)
    result.assert_outcomes(passed=6, errors=6)
    result.stdout.fnmatch_lines(["the run tiny-1 has no such cell: it measured other ones"])


def test_properties_for_junit(pytester: pytest.Pytester, catalog: Catalog) -> None:
    report(pytester, verdicts(pytester.path, catalog, {CELL: FAILED}), "--junitxml=j.xml", "-k", "before and a.example")
    cases = {c.get("classname"): c for c in ET.parse(pytester.path / "j.xml").iter("testcase")}
    case = cases["scenarios.x.yaml.before.a.example -> b.example"]
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties["cell"] == CELL
    assert (properties["outcome"], properties["cause"], properties["expected"]) == (
        "bounced",
        "dialback-failed",
        "delivered over TLS",
    )
    failure = case.find("failure")
    assert failure is not None
    assert "testbed explain tiny-1 a.example b.example" in (failure.text or "")


def test_the_report_for_junit_says_the_same_of_the_same_cell(pytester: pytest.Pytester, catalog: Catalog) -> None:
    doubtful = FAILED | {
        "cause_from": "wire", "confirmed": False, "flaky": ["bounced", "lost"], "explanation": "give it a certificate",
        "history_dependent": {"cold": "bounced", "warm": "delivered"},
        "shares": {"cold": [0, 8], "warm": [8, 8], "interval": {"cold": [0, 0.32], "warm": [0.68, 1]}},
        "interference": {"mesh": "lost", "alone": "bounced", "by": [{"sender": "c", "receiver": "a", "because": "timing"}]},
    }  # fmt: skip
    cannot = {"outcome": "inconclusive", "cause": "testbed", "explanation": "the client was gone", "channel": UNSEEN}
    unseen = {"channel": UNSEEN}
    changes = {CELL: doubtful, "before/b.example/a.example/message": cannot, "before/b.example/c.example/message": unseen}
    kept = verdicts(pytester.path, catalog, changes)
    report(pytester, kept, "--junitxml=j.xml")
    lines: dict[str, list[str]] = {}
    for case in ET.parse(pytester.path / "j.xml").iter("testcase"):
        ids = [str(p.get("value")) for p in case.iter("property") if p.get("name") == "cell"]
        for result in (*case.iter("failure"), *case.iter("error")):
            lines[ids[0]] = (result.text or "").splitlines()
    assert lines.keys() == changes.keys()
    for suite in ET.fromstring(junit.render(json.loads((pytester.path / kept).read_text()))):
        for case in suite.iter("testcase"):
            for result in (*case.iter("failure"), *case.iter("error")):
                sender, receiver, exchange = re.split(" → |: ", case.attrib["name"])
                headline, *facts = lines.pop(f"{suite.attrib['name']}/{sender}/{receiver}/{exchange}")
                assert result.attrib["message"] == headline
                shown = [f"{line[2:12].rstrip()}: {line[13:]}" for line in facts]
                assert [f for f in shown if not f.startswith(("sender:", "receiver:"))] == (result.text or "").splitlines()
    assert not lines


ENTRY = """\
schema: 1
scenario: tiny
entries:
  - where: {phase: before, sender: {domain: a.example}, receiver: {domain: b.example}}
    outcome: %s
    cause: %s
    reason: a bug that is known
"""


UNSTABLE = {"outcome": "inconclusive", "cause": "unstable", "surprise": True, "flaky": ["bounced", "lost"], "channel": UNSEEN}
XFAIL = "XFAIL *known failure, known.yaml:4: a bug that is known*"
ONE = {"passed": 11, "failed": 1}


@pytest.mark.parametrize(
    ("cell", "accepted", "more", "counts", "line"),
    [
        (FAILED, "bounced: dialback-failed", "", {"passed": 11, "xfailed": 1}, XFAIL),
        (UNSTABLE, "inconclusive: unstable", "", {"passed": 11, "xfailed": 1}, XFAIL),
        (
            FAILED,
            "bounced: dialback-failed",
            "expires: 2020-01-31",
            ONE,
            "  known as   accepted until 2020-01-31, by known.yaml:4: *",
        ),
        (FAILED, "bounced: dns", "", ONE, "  known as   another failure: known.yaml:4 accepts bounced: dns"),
        ({}, "bounced: dns", "", ONE, "a known failure passes: delivered over TLSv1.3, external, as expected"),
        ({}, "bounced: dns", "may_pass: true", {"passed": 12}, "*12 passed*"),
    ],
)
def test_known_failures(
    pytester: pytest.Pytester,
    catalog: Catalog,
    cell: dict[str, Any],
    accepted: str,
    more: str,
    counts: dict[str, int],
    line: str,
) -> None:
    entry = ENTRY % tuple(accepted.split(": ")) + (f"    {more}\n" if more else "")
    (pytester.path / "known.yaml").write_text(entry)
    result = report(pytester, verdicts(pytester.path, catalog, {CELL: cell}), "--federation-baseline", "known.yaml")
    result.assert_outcomes(**counts)
    result.stdout.fnmatch_lines([line])
    assert result.ret == (1 if "failed" in counts else 0)


# --- what is measured -----------------------------------------------------------------------------------------------------


def test_a_selection_is_narrowed_to_its_servers_phases_and_pairs(pytester: pytest.Pytester, catalog: Catalog) -> None:
    plan = scenario.load(pytester.path / "scenarios" / "x.yaml", catalog)
    part = narrow(plan, ["test-day/c.example/b.example/message"])
    assert [c.id for c in part.cells] == ["test-day/b.example/c.example/message", "test-day/c.example/b.example/message"]
    assert [(s.domain, s.index) for s in part.servers] == [("b.example", 0), ("c.example", 1)]
    assert [(p.name, set(p.settings)) for p in part.phases] == [("test-day", {"b.example", "c.example"})]
    assert narrow(plan, [c.id for c in plan.cells]) == plan


def test_of_many_one_measures_and_all_know_the_outcome(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure(_: int) -> None:
        calls.append(1)
        Shared(tmp_path, 0).write(Measured(Path("x")))

    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(Shared(tmp_path, 0).outcome(measure, lambda: None))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert outcomes == [Measured(Path("x"))] * 4
    assert calls == [1]


def test_a_measurement_whose_process_was_killed_is_an_error_for_all_and_never_begun_again(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from testbed.pytest_plugin.workers import Shared;"
        f"Shared(Path({str(tmp_path)!r}), 0).outcome(lambda _: os.kill(os.getpid(), signal.SIGKILL), lambda: None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    for _ in range(2):
        outcome = Shared(tmp_path, 0).outcome(lambda _: pytest.fail("begun again"), lambda: None)
        assert outcome == NotMeasured("the process that measured it was ended in the middle; run it again")


def test_workers_that_cannot_meet_say_so(tmp_path: Path) -> None:
    outcome = Shared(tmp_path / "gone", 0).outcome(lambda _: None, lambda: None)
    assert isinstance(outcome, NotMeasured)
    assert "all must be on this machine" in outcome.reason


# --- each part by itself --------------------------------------------------------------------------------------------------


def test_options_are_taken_from_the_command_line_then_the_settings_then_the_defaults(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(settings: str, *arguments: str) -> options.Options:
        pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{settings}\n")
        return options.read(pytester.parseconfig(*arguments), [Path("a.yaml"), Path("a.yaml")])

    monkeypatch.delenv("TESTBED_RESULTS", raising=False)
    home = pytester.path
    assert asked("") == options.Options((home / "a.yaml",))
    monkeypatch.setenv("TESTBED_RESULTS", "of-the-environment")
    assert asked("").results == Path("of-the-environment")
    settings = (
        'federation_results = "kept"\nfederation_timeout = "9"\nfederation_isolated = true\n'
        'federation_baseline = ["known.yaml"]\nfederation_build = ["x=here"]\nfederation_image = ["x=me/x:1"]'
    )
    assert asked(settings) == options.Options(
        (home / "a.yaml",),
        results=home / "kept",
        timeout=9,
        isolated=True,
        candidates=options.Candidates(image=("x=me/x:1",), build=(f"x={home / 'here'}",)),
        baselines=(home / "known.yaml",),
    )
    named = asked(
        settings, "--federation-results=r", "--federation-timeout=3.5", "--federation-baseline=b.yaml",
        "--federation-build=x=there", "--federation-instead", "--federation-run=latest",
    )  # fmt: skip
    assert (named.results, named.timeout, named.runs) == (Path("r"), 3.5, ("latest",))
    assert (named.baselines, named.baselines_named) == ((Path("b.yaml"),), True)
    assert named.candidates == options.Candidates(image=("x=me/x:1",), build=("x=there",), instead=True)


def test_what_a_project_brings_is_what_the_campaign_takes() -> None:
    names = {field.name for field in dataclasses.fields(options.Candidates)}
    assert names == {*CANDIDATES, "instead"}
    assert names <= set(inspect.signature(campaign.plan).parameters)


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (
            ORDER,
            Order(
                Path("/x.yaml"), ("a/b/c/message",), Path("/results"), True,
                options.Candidates(build=("x=.",), instead=True), Path("/0-outcome.json"), ("pytest", "-k", "ä"),
            ),
        ),
        (OUTCOME, Measured(Path("/results/x-1"))),
        (OUTCOME, NotMeasured("no engine: it's “not” there")),
    ],
)  # fmt: skip
def test_what_one_process_writes_another_reads(tmp_path: Path, kind: TypeAdapter[Any], document: Any) -> None:
    workers.write(tmp_path / "x.json", kind, document)
    assert workers.read(tmp_path / "x.json", kind) == document
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_news_are_whole_lines_and_each_is_shown_once(tmp_path: Path) -> None:
    shown: list[list[str]] = []
    progress = Progress(Meeting(tmp_path), shown.append)
    progress.pump()
    for text in ("  images: done\n  cer", "tificates: done\n", ""):
        with progress.file.open("a") as file:
            file.write(text)
        progress.pump()
    assert shown == [["images: done"], ["certificates: done"]]
    assert progress.last() == "certificates: done"


def test_the_folder_where_they_meet_is_removed_by_who_made_it() -> None:
    host = Meeting()
    assert host.outcome(0) is None
    folder = host.open()
    guest = Meeting(folder)
    Shared(guest.open(), 0).write(NotMeasured("x"))
    assert host.outcome(0) == NotMeasured("x")
    guest.close()
    assert folder.is_dir()
    host.close()
    assert not folder.exists()


def test_what_is_shown_before_and_after(pytester: pytest.Pytester, catalog: Catalog) -> None:
    here = pytester.path
    plan = scenario.load(here / "scenarios" / "x.yaml", catalog)
    federation = Federation(0, here / "scenarios" / "x.yaml", plan)
    assert reporting.heading(federation, here) == "federation: scenarios/x.yaml (12 cells)"
    federation.accept(files.verdicts(here / verdicts(here, catalog)), None)
    assert reporting.heading(federation, Path("/else")).endswith("x.yaml (12 cells), reported from tiny-1")
    assert reporting.ending("tiny", NotMeasured("no engine"), here) == "federation tiny: no engine"
    assert reporting.ending("tiny", Measured(here / "results" / "r"), here) == "federation tiny: run results/r"


def test_an_order_is_measured_as_the_campaign_would(
    pytester: pytest.Pytester, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[campaign.Planned, dict[str, Any]]] = []

    def measure(planned: campaign.Planned, **arguments: Any) -> campaign.Run:
        calls.append((planned, arguments))
        return campaign.Run(Path("/kept/tiny-1"), {})

    monkeypatch.setattr(campaign, "measure", measure)
    file, cell = pytester.path / "scenarios" / "x.yaml", "test-day/c.example/b.example/message"
    order = Order(file, (cell,), Path("/kept"), True, options.Candidates(), Path("/o"), ("pytest", "-x"))
    assert process.measured(order) == Path("/kept/tiny-1")
    [(planned, arguments)] = calls
    assert planned.plan == narrow(scenario.load(file, catalog), [cell])
    assert (arguments["results"], arguments["isolated"], arguments["argv"]) == (Path("/kept"), True, ("pytest", "-x"))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (EngineError("interrupted; what was measured until then is kept"), "it was told; what was measured until then is kept"),
        (KeyboardInterrupt(), "it was told; it ended before anything was measured"),
        (ValueError("x"), "the testbed failed, which is a bug of it: ValueError: x"),
    ],
)
def test_whatever_ends_a_measurement_is_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, reason: str
) -> None:
    def measured(_: Order) -> Path:
        raise failure

    def end_with_parent(reasons: list[str]) -> None:
        reasons.append("it was told")

    monkeypatch.setattr(process, "measured", measured)
    monkeypatch.setattr(process, "end_with_parent", end_with_parent)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    outcome = tmp_path / "outcome.json"
    workers.write(tmp_path / "o", ORDER, Order(Path("/x"), (), Path("/r"), False, options.Candidates(), outcome, ("pytest",)))
    process.main(tmp_path / "o")
    written = workers.read(outcome, OUTCOME)
    assert isinstance(written, NotMeasured)
    told, _, kept = written.reason.partition("; the traceback is in ")
    assert told == reason
    assert bool(kept) is isinstance(failure, ValueError)
    assert not kept or "raise failure" in Path(kept).read_text()

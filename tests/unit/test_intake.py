"""A cause needs the evidence that it is named by: what was not taken in says nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_verdict import A, B, attempt, bounced, manifest, received, said, stream

from testbed.compare import baseline
from testbed.compare.cells import passes, subject
from testbed.compare.diff import Kind, classify
from testbed.display import Silent
from testbed.engine.federation import Log, read_log
from testbed.judge.rules import NEEDS, RULES
from testbed.judge.verdict import exit_status, judge_run
from testbed.measure.collect import Collector
from testbed.measure.epoch import Epoch
from testbed.measure.journal import Journal
from testbed.measure.tasks import Workers
from testbed.measure.wiretap.protocol import Dissected
from testbed.model import Phase
from testbed.plan.catalog import Catalog
from testbed.record import observations as kinds
from testbed.record import store
from testbed.record.observations import Observation, Source
from testbed.record.store import Record, Writer
from testbed.record.verdicts import unexplained
from testbed.report import junit
from testbed.report.markdown import render as markdown
from testbed.report.paragraph import paragraph
from testbed.report.text import render_text

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CLEAR = stream(starttls_offered="no", bytes_in=100)
SECRET = stream(server_hello=True, tls_version="TLSv1.3")
FAILED = [*attempt(), bounced()]


def wire(status: int = 0, until: float | None = None) -> Observation:
    return kinds.WIRE_TAKEN_IN.at(50.0, {"status": status, "streams": 1, "until": until}, phase="now")


def log(domain: str, *, ok: bool = True, epoch: str = "mesh") -> Observation:
    data = {"domain": domain, "ok": ok, "size": 0, "reason": None if ok else "no such container"}
    return kinds.LOG_TAKEN_IN.at(50.0, data, phase="now", epoch=epoch)


def cell(observations: list[Observation], *, complete: bool) -> dict[str, Any]:
    record = Record(Path("r"), manifest("encrypted", "cleartext"), tuple(observations), complete)
    (entry,) = judge_run(record)["cells"]
    return dict(entry)


LOGS = [log(A), log(B)]
ELSE = Observation(60.0, Source.ENGINE, "epoch-ended", "now", "mesh")


@pytest.mark.parametrize(
    ("evidence", "complete", "missing"),
    [
        # a record that says what was taken in
        ([CLEAR, wire(), *LOGS], True, None),
        ([CLEAR, wire(), *LOGS], False, None),
        ([*LOGS], False, "the capture of phase 'now'"),
        ([said("tls-not-offered"), *LOGS], False, "the capture of phase 'now'"),
        ([CLEAR, wire(status=2), *LOGS], True, "tshark ended with 2"),
        ([CLEAR, wire(), log(B)], False, f"the log of {A}"),
        ([CLEAR, wire(), log(A, ok=False), log(B)], True, "no such container"),
        ([CLEAR, wire(), log(A, epoch="alone-1"), log(B)], True, f"the log of {A}"),
        ([CLEAR, wire(until=1.9), *LOGS], True, "had reached its bound"),
        ([CLEAR, wire(until=2.9), *LOGS], True, None),
        # an older one does not: whole if it was closed, else what something stands behind
        ([CLEAR], True, None),
        ([CLEAR], False, "the capture of phase 'now'"),
        ([CLEAR, ELSE], False, f"the log of {A}"),
        ([CLEAR, said("tls-not-offered"), said("tls-not-offered", server=B, peer=A), ELSE], False, None),
        ([CLEAR, said("tls-not-offered"), said("tls-not-offered", server=B, peer=A)], False, None),
        ([], False, "the capture of phase 'now'"),
    ],
)
def test_a_failure_has_a_cause_only_if_its_evidence_was_taken_in(
    evidence: list[Observation], complete: bool, missing: str | None
) -> None:
    found = cell([*FAILED, *evidence], complete=complete)
    assert found["outcome"] == "bounced"
    if missing is None:
        assert (found["cause"], found["fault"], found["confirmed"]) == ("tls-not-offered", "receiver", False)
    else:
        assert (found["cause"], found["fault"], found["remedies"]) == (None, None, [])
        assert found.get("cause_from") is None
        assert found.get("confirmed") is None
        assert missing in found["explanation"]


def test_a_rule_needs_no_evidence_that_only_later_rules_ask_for() -> None:
    silent = stream(answered=False, syns=3)
    assert cell([*FAILED, silent, wire()], complete=False)["cause"] == "unreachable"


def test_every_rule_says_what_it_needs() -> None:
    assert {rule.source for rule in RULES} == set(NEEDS)
    assert all(set(needs) <= {"wire", "sender", "receiver"} for needs in NEEDS.values())


def test_a_channel_that_was_not_read_is_unobserved_and_no_surprise() -> None:
    """Two that ought to use TLS: what is left of a capture may lack the very stream that carried the stanza."""
    delivered = [*attempt(), received()]
    for evidence, encryption in (([SECRET], None), ([SECRET, wire()], "tls"), ([SECRET, wire(status=2)], None), ([], None)):
        record = Record(Path("r"), manifest(), (*delivered, *evidence, ELSE), complete=False)
        if evidence == [SECRET]:
            record = Record(Path("r"), manifest(), (*delivered, *evidence), complete=False)
        (found,) = judge_run(record)["cells"]
        assert (found["outcome"], found["channel"]["encryption"], found["surprise"]) == ("delivered", encryption, False)
        assert ("capture of phase 'now'" in found["explanation"]) == (encryption is None)
    clear = stream(tokens=["cell-mesh"])
    (found,) = judge_run(Record(Path("r"), manifest(), (*delivered, clear), complete=False))["cells"]
    assert (found["channel"]["encryption"], found["surprise"]) == ("cleartext", True), "what was seen in clear was seen"
    assert found["channel"]["authentication"] is None, "the logs were not taken in"


# --- what follows from it -------------------------------------------------------------------------------------------------

UNREAD = [*FAILED, wire(status=2), *LOGS]


def judged(observations: list[Observation], a: str = "encrypted", b: str = "cleartext") -> Any:
    return judge_run(Record(Path("r"), manifest(a, b), tuple(observations), complete=True))


def test_a_failure_without_a_cause_passes_nowhere() -> None:
    verdicts, known = judged(UNREAD), judged([*FAILED, CLEAR])
    (entry,), (before,) = verdicts["cells"], known["cells"]
    assert unexplained(entry)
    assert not unexplained(before)
    assert (exit_status(verdicts), exit_status(known)) == (3, 0)
    assert not passes(entry)
    assert b"<error" in junit.render(verdicts)
    assert b"<error" not in junit.render(known)
    compared = classify(before, entry)
    assert compared
    assert compared[0] is Kind.COULD_NOT_TELL


def test_a_failure_without_a_cause_may_be_the_known_one(tmp_path: Path) -> None:
    """The failure that an entry accepts has a cause; of one without a cause nobody can say whether it is that."""
    file = tmp_path / "known.yaml"
    file.write_text("schema: 1\nentries:\n  - {where: {phase: now}, outcome: bounced, cause: tls-torn-down, reason: known}\n")
    surprising = judged(UNREAD, "opportunistic", "opportunistic")
    gate = baseline.check(baseline.load(file), subject(surprising), dt.date(2026, 1, 1))
    assert (len(gate.undecided), gate.unknown, gate.changed) == (1, [], [])
    assert gate.status(could_not_tell=False) == 3
    file.write_text("schema: 1\nentries: []\n")
    gate = baseline.check(baseline.load(file), subject(surprising), dt.date(2026, 1, 1))
    assert len(gate.unknown) == 1, "no entry could accept it, whatever the cause"


def test_reports_say_that_the_evidence_was_not_read() -> None:
    verdicts = judge_run(store.load(GOLDEN / "interrupted"))
    assert sum(map(unexplained, verdicts["cells"])) == 2
    for text in (render_text(verdicts, colour=False, width=200), paragraph(verdicts), markdown(verdicts)):
        assert "the evidence that would say why was not read" in text
        assert "no reason could be found" not in text
    assert exit_status(verdicts) == 3


# --- who records it -------------------------------------------------------------------------------------------------------


def test_an_empty_log_and_one_that_is_lost_are_told_apart() -> None:
    from docker.errors import NotFound

    def lost(**_: object) -> bytes:
        raise NotFound("no such container")

    container: Any = SimpleNamespace(logs=lambda **_: b"")
    assert read_log(container) == Log(b"")
    container.logs = lost
    assert read_log(container).unread == "no such container"


def recorded(tmp_path: Path, root: Path, catalog: Catalog, reply: Dissected, logs: list[Log]) -> list[Observation]:
    """What a collector records of a capture with this end and of these logs."""
    from testbed.plan import scenario

    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    server, writer = plan.servers[0], Writer(tmp_path, "taken")

    async def dissect(*_: object) -> Dissected:
        return reply

    async def collect() -> None:
        async with Workers(1) as workers:
            parts: Any = SimpleNamespace(journal=Journal(writer), workers=workers, wiretap=SimpleNamespace(dissect=dissect))
            collector = Collector(parts, catalog, {server.domain: server}, [server.domain], Silent())
            epoch = Epoch(Phase("now", {}), "mesh", (server,), {}, {}, "")
            for log in logs:
                await collector.keep_log(epoch, server.domain, log)
            await collector._dissect("now", [epoch])

    asyncio.run(collect())
    writer.close(None)
    return list(store._read(writer.path / "observations.jsonl"))


def test_what_was_taken_in_is_recorded_once_each(tmp_path: Path, root: Path, catalog: Catalog) -> None:
    logs = [Log(b""), Log(b"", "no such container")]
    found = recorded(tmp_path, root, catalog, Dissected(0, ""), logs)
    assert [(o.kind, o.data.get("ok"), o.data.get("reason")) for o in found] == [
        ("log-taken-in", True, None),
        ("log-taken-in", False, "no such container"),
        ("wire-taken-in", None, None),
    ]


def test_a_dissection_that_failed_is_recorded_as_such(tmp_path: Path, root: Path, catalog: Catalog) -> None:
    found = recorded(tmp_path, root, catalog, Dissected(2, "cut short"), [])
    assert [(o.kind, o.data.get("status")) for o in found] == [("wiretap-failed", None), ("wire-taken-in", 2)]


def test_a_log_that_was_read_before_its_phase_ends_is_not_read_again(
    tmp_path: Path, root: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mesh's are read while pairs are still measured alone; its containers are gone then."""
    from testbed.plan import scenario

    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    server, writer = plan.servers[0], Writer(tmp_path, "early")
    read: list[object] = []
    monkeypatch.setattr("testbed.measure.collect.federation.read_log", lambda c: read.append(c) or Log(b""))
    monkeypatch.setattr("testbed.measure.collect.federation.drop", lambda _: None)

    async def dissect(*_: object) -> Dissected:
        return Dissected(0, "")

    async def collect() -> None:
        async with Workers(1) as workers:
            parts: Any = SimpleNamespace(journal=Journal(writer), workers=workers, wiretap=SimpleNamespace(dissect=dissect))
            collector = Collector(parts, catalog, {server.domain: server}, [server.domain], Silent())
            monkeypatch.setattr(collector, "_keep_capture", lambda _: None)
            epochs = [Epoch(Phase("now", {}), name, (server,), {}, {}, "") for name in ("mesh", "control-last")]
            for epoch in epochs:
                epoch.containers[server.domain] = SimpleNamespace(name=epoch.name)  # type: ignore[assignment]
            await collector.read_logs(epochs[0])
            await collector.collect("now", epochs)

    asyncio.run(collect())
    writer.close(None)
    assert [c.name for c in read] == ["mesh", "control-last"]  # type: ignore[attr-defined]
    found = [(o.epoch, o.kind) for o in store._read(writer.path / "observations.jsonl") if o.kind == "log-taken-in"]
    assert sorted(found) == [("control-last", "log-taken-in"), ("mesh", "log-taken-in")]

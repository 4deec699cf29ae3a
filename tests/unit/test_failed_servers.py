"""A server that fails while it is measured: no gate passes, and every report says first which, when and why."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_verdict import A, B, attempt, bounced, manifest, received, seen, silence, stream

from testbed.causes import Inconclusive, inconclusive_as
from testbed.compare import baseline, diff
from testbed.compare.cells import Subject, cannot_say, subject
from testbed.display import Silent
from testbed.engine import federation
from testbed.engine.federation import Ending
from testbed.engine.messages import Envelope
from testbed.judge.verdict import exit_status, judge_run
from testbed.measure.driver.protocol import Disconnected
from testbed.measure.epoch import Epoch
from testbed.measure.epochs import Epochs
from testbed.measure.journal import Journal
from testbed.measure.parts import Parts
from testbed.measure.tasks import Workers, task_group
from testbed.model import EngineError, Phase
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.record import observations as kinds
from testbed.record import store
from testbed.record.observations import Observation, Source
from testbed.record.store import Record, Writer
from testbed.record.verdicts import Verdicts
from testbed.report import diff as drawn
from testbed.report import diff_page, junit, opening, summary
from testbed.report.failed import sentences
from testbed.report.markdown import render as markdown
from testbed.report.paragraph import paragraph
from testbed.report.text import render_text

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
REASON = "the server ended with status 137 (killed by SIGKILL) after its client was online"


def killed() -> Verdicts:
    return judge_run(store.load(GOLDEN / "killed"))


def failed(at: float, domain: str = B, epoch: str = "mesh") -> Observation:
    return kinds.SERVER_FAILED.at(at, {"domain": domain, "reason": REASON}, phase="now", epoch=epoch)


def judged(*observations: Observation) -> Verdicts:
    return judge_run(Record(Path("r"), manifest(), observations, complete=True))


# --- what is judged -------------------------------------------------------------------------------------------------------


def cell(*observations: Observation) -> tuple[str, str | None, str | None]:
    (entry,) = judged(*observations)["cells"]
    return entry["outcome"], entry["cause"], entry["fault"]


VOID = ("inconclusive", "server-failed", None)
UP = stream(server_hello=True, tls_version="TLSv1.3")
NOTHING_ANSWERED = stream(answered=False, syns=3)


@pytest.mark.parametrize("domain", [A, B])
@pytest.mark.parametrize("at", [0.5, 1.5, 2.0, 3.9])
def test_a_bounce_while_a_server_went_down_says_nothing(domain: str, at: float) -> None:
    """It begins at 1.0 and bounces at 2.0: a server that is dead cannot be reached, whoever it is that the wire blames."""
    assert cell(*attempt(1.0), bounced(2.0), NOTHING_ANSWERED, failed(at, domain)) == VOID
    assert cell(*attempt(1.0), bounced(2.0), NOTHING_ANSWERED)[1] == "unreachable"


def test_what_was_decided_before_stays_decided() -> None:
    assert cell(*attempt(1.0), bounced(2.0), NOTHING_ANSWERED, failed(4.1))[1] == "unreachable"
    assert cell(*attempt(1.0), received(2.0), failed(1.5))[0] == "delivered", "a receipt proves itself"
    assert cell(*attempt(1.0), bounced(2.0), NOTHING_ANSWERED, failed(1.5, "other.example"))[1] == "unreachable"
    assert cell(*attempt(1.0), bounced(2.0), NOTHING_ANSWERED, failed(1.5, epoch="alone-1"))[1] == "unreachable"


def test_a_silence_counts_only_if_no_server_failed_meanwhile() -> None:
    assert cell(*attempt(1.0), silence(), failed(20.0)) == VOID
    assert cell(*attempt(1.0), silence(), failed(40.0))[0] == "lost", "both were proven alive, and one failed later"
    assert cell(*attempt(1.0), silence(receiver=False), failed(20.0)) == VOID
    assert cell(*attempt(1.0), silence(receiver=False))[1] == "testbed"


def test_the_pair_alone_decides_where_the_mesh_lost_a_server_and_the_run_still_says_so() -> None:
    verdicts = judged(*attempt(1.0), bounced(2.0), failed(1.5), *attempt(5.0, "alone-1"), received(6.0, "alone-1"))
    (entry,) = verdicts["cells"]
    assert entry["outcome"] == "delivered"
    assert "interference" not in entry
    assert [f["domain"] for f in verdicts["failed_servers"]] == [B]
    assert exit_status(verdicts) == 3, "a crash is news, whatever was decided in spite of it"


@pytest.mark.parametrize("kind", [kinds.SERVER_FAILED, kinds.LOGIN_FAILED])
@pytest.mark.parametrize("epoch", ["mesh", "alone-1"])
def test_a_server_that_never_came_up_is_named(kind: kinds.Kind, epoch: str) -> None:
    verdicts = judged(kind.at(1.0, {"domain": B, "reason": "port 5222 is shut"}, phase="now", epoch=epoch))
    (entry,) = verdicts["cells"]
    assert (entry["outcome"], entry["cause"], entry["fault"]) == VOID
    assert B in entry["explanation"]
    assert "port 5222 is shut" in entry["explanation"]
    assert exit_status(verdicts) == 3


def test_a_pair_that_the_testbed_gave_up_is_the_testbeds() -> None:
    given_up = kinds.EPOCH_FAILED.at(1.0, {"servers": [A, B], "reason": "no zone"}, phase="now", epoch="alone-1")
    verdicts = judged(given_up)
    assert verdicts["cells"][0]["cause"] == "testbed"
    assert "no zone" in verdicts["cells"][0]["explanation"]
    assert "failed_servers" not in verdicts


def test_a_server_that_failed_is_no_image_that_is_unavailable() -> None:
    assert inconclusive_as("server-failed") is Inconclusive.CANNOT_TELL
    assert inconclusive_as("image-unavailable") is Inconclusive.ABSENT


def test_of_a_failure_in_the_control_pair_the_run_says_who() -> None:
    verdicts = judged(*attempt(1.0), received(2.0), failed(0.5, "control-a.example", "control-first"))
    (entry,) = verdicts["failed_servers"]
    assert (entry["domain"], entry["epoch"], entry["undecided"]) == ("control-a.example", "control-first", 0)
    assert "in the control pair" in sentences([entry])[0]


@pytest.mark.parametrize("leg", ["", ".2"])
def test_a_try_of_the_control_pair_that_was_repeated_with_success_fails_no_run(leg: str) -> None:
    first, again = f"control-first{leg}", f"control-first-again{leg}"
    observations = [*attempt(1.0), received(2.0), UP, failed(0.5, "control-a.example", first)]

    def control(**data: Any) -> Observation:
        return kinds.CONTROL.at(0.9, {"when": "first", "tries": 2, "reason": None, **data}, phase="now", epoch=again)

    verdicts = judged(*observations, control(ok=True))
    assert "failed_servers" not in verdicts
    assert exit_status(verdicts) == 0
    assert len(judged(*observations, control(ok=False))["failed_servers"]) == 1
    assert len(judged(*observations, failed(0.8, epoch=again), control(ok=True))["failed_servers"]) == 1, "it failed later"


def test_a_failure_long_after_an_attempt_was_over_does_not_explain_it() -> None:
    unsendable = [o for o in attempt(1.0) if o.kind == "attempt"] + [seen(Source.SENDER, "unsendable", 1.2)]
    assert cell(*unsendable, failed(2.0)) == VOID
    assert cell(*unsendable, failed(60.0))[1] == "testbed"
    unanswered = [*attempt(1.0), kinds.EPOCH_ENDED.at(40.0, {}, phase="now", epoch="mesh")]
    assert cell(*unanswered, failed(30.0)) == VOID
    assert cell(*unanswered, failed(60.0))[1] == "testbed"
    assert cell(*attempt(1.0), failed(60.0)) == VOID, "the run ended before its time, of that perhaps"


# --- what reports say -----------------------------------------------------------------------------------------------------


def test_the_recorded_death_is_named_with_its_moment_and_what_it_left_undecided() -> None:
    verdicts = killed()
    (entry,) = verdicts["failed_servers"]
    assert (entry["domain"], entry["phase"], entry["epoch"], entry["undecided"]) == ("victim.example", "before", "mesh", 4)
    assert entry["seconds"] == pytest.approx(5.565)
    (sentence,) = sentences(verdicts["failed_servers"])
    assert sentence == (
        f"The server victim.example failed in 'before', 5.6 s after its start: {REASON}; 4 results are undecided because of it."
    )
    assert exit_status(verdicts) == 3


def test_every_report_says_it_first() -> None:
    verdicts = killed()
    (sentence,) = sentences(verdicts["failed_servers"])
    assert paragraph(verdicts).startswith(sentence)
    assert opening.opening(verdicts).alarms[0] == sentence
    lines = render_text(verdicts, colour=False, width=200).splitlines()
    assert sentence in lines[2], "after title and run"
    page = markdown(verdicts)
    assert page.index("victim.example failed") < page.index("The testbed could not tell")
    assert summary.summary(verdicts)["failed_servers"] == [sentence]
    text = junit.render(verdicts).decode()
    assert text.count('type="server-failed"') == 1 + 4
    assert text.index("victim.example failed") < text.index('name="complete"')
    assert "Nothing was surprising" not in paragraph(verdicts)


def test_of_many_servers_that_failed_some_are_named_and_the_rest_counted() -> None:
    entry = {"phase": "now", "epoch": "mesh", "reason": "it ended"}
    found = sentences([{**entry, "domain": f"s{n}.example"} for n in range(48)])
    assert len(found) == 6
    assert found[-1] == "43 more servers failed."


# --- gates ----------------------------------------------------------------------------------------------------------------


def before() -> Subject:
    """The same cells when no server had failed."""
    verdicts = killed()
    del verdicts["failed_servers"]
    for entry in verdicts["cells"]:
        if entry["outcome"] == "inconclusive":
            entry |= {"outcome": "delivered", "cause": None, "channel": {"encryption": "tls", "tls_version": "TLSv1.3"}}
    assert exit_status(verdicts) == 0
    return subject(verdicts)


def test_a_diff_names_the_server_and_does_not_pass() -> None:
    document = diff.document(before(), subject(killed()))
    assert document["status"] == 3
    assert document["counts"]["unknown"] == 4
    assert document["b"]["failed_servers"][0]["domain"] == "victim.example"
    text = drawn.render_text(document, colour=False, width=200)
    assert text.startswith("B: The server victim.example failed")
    assert "a server of killed-" in text
    for page in (drawn.render_markdown(document), diff_page.render_html(document)):
        assert "The server victim.example failed" in page.replace("\\", "")


def test_a_diff_of_decided_cells_does_not_pass_either_where_a_server_failed() -> None:
    decided = before()
    other = subject({**decided.verdicts, "failed_servers": killed()["failed_servers"]})
    assert diff.document(decided, decided)["status"] == 0
    assert diff.document(decided, other)["status"] == 3


def test_known_failures_do_not_excuse_a_server_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "known.yaml"
    file.write_text("schema: 1\nentries: []\n")
    gate = baseline.check(baseline.load(file), subject(killed()), dt.date(2026, 1, 1))
    document = baseline.document(gate, could_not_tell=exit_status(killed()) == 3)
    assert (document["status"], len(document["undecided"])) == (3, 4)
    text = drawn.render_text(document, colour=False, width=200)
    assert text.startswith("B: The server victim.example failed")
    assert "could not tell everything: a server failed" in text


def test_its_cells_are_undecided_for_a_comparison() -> None:
    undecided = [c for c in killed()["cells"] if c["cause"] == "server-failed"]
    assert len(undecided) == 4
    assert all(map(cannot_say, undecided))


# --- who notes it ---------------------------------------------------------------------------------------------------------


def container(**state: Any) -> Any:
    return SimpleNamespace(attrs={"State": {"Running": False, "ExitCode": 0, **state}}, reload=lambda: None)


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ({"Running": True}, None),
        (
            {"ExitCode": 137, "FinishedAt": "2026-11-28T16:39:41.25Z"},
            Ending("ended with status 137 (killed by SIGKILL)", 1795883981.25),
        ),
        ({"ExitCode": 137, "OOMKilled": True}, Ending("ended with status 137 (killed: out of memory)")),
        ({"ExitCode": 1, "FinishedAt": "0001-01-01T00:00:00Z"}, Ending("ended with status 1")),
        ({"ExitCode": 0}, Ending("ended with status 0")),
    ],
)
def test_how_a_container_ended(state: dict[str, Any], ending: Ending | None) -> None:
    assert federation.ending(container(**state)) == ending


def test_a_container_that_was_removed_is_gone_and_an_engine_that_is_gone_says_nothing() -> None:
    from docker.errors import APIError, NotFound

    def raises(error: Exception) -> Any:
        def reload() -> None:
            raise error

        return SimpleNamespace(reload=reload)

    gone = federation.ending(raises(NotFound("no such container")))
    assert gone
    assert "removed" in gone.how
    assert federation.ending(raises(APIError("no engine"))) is None


class Channel:
    """The driver's, which reports one thing: a client that lost its server."""

    def __init__(self) -> None:
        self.handler: Any = None

    def on(self, _: type, handler: Any) -> None:
        self.handler = handler


def watched(
    tmp_path: Path, root: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, ending: Ending | None, *, halting: bool = False
) -> list[Observation]:
    """What is noted when the client of a server that `ending` says to have ended, or not, loses it."""
    monkeypatch.setattr("testbed.engine.federation.ending", lambda _: ending)
    monkeypatch.setattr("testbed.measure.epochs.LOOK", 0.0)
    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    server, writer, channel = plan.servers[0], Writer(tmp_path, "watched"), Channel()

    async def watch() -> None:
        async with Workers(1) as workers:
            driver: Any = SimpleNamespace(channel=channel)
            parts = Parts(None, workers, Journal(writer), None, driver, asyncio.Semaphore(1))  # type: ignore[arg-type]
            epochs = Epochs(parts, plan, catalog, None, {}, None, Silent())  # type: ignore[arg-type]
            epoch = Epoch(Phase("before", {}), "mesh", (server,), {}, {}, "")
            epoch.containers[server.domain] = SimpleNamespace(id="c1")  # type: ignore[assignment]
            epoch.online[server.domain], epoch.halting = asyncio.get_running_loop().create_future(), halting
            epochs._epochs[epoch.id] = epoch
            async with task_group() as tasks:
                with epochs._watching(epoch, tasks):
                    for _ in range(2):
                        channel.handler(Envelope(Disconnected(epoch.client(server.domain), ""), None, time.time()))
            channel.handler(Envelope(Disconnected(epoch.client(server.domain), "too late"), None, time.time()))

    asyncio.run(watch())
    writer.close(None)
    path = writer.path / "observations.jsonl"
    return list(store._read(path)) if path.exists() else []


def test_a_server_that_ends_after_its_login_is_noted_once_with_its_moment(
    tmp_path: Path, root: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(tmp_path, root, catalog, monkeypatch, Ending("ended with status 139 (killed by SIGSEGV)", 1234.5))
    noted = [o for o in found if o.kind == "server-failed"]
    assert [(o.time, o.data["reason"]) for o in noted] == [
        (1234.5, "the server ended with status 139 (killed by SIGSEGV) after its client was online")
    ]


def test_a_client_that_loses_a_server_that_runs_is_noted_too(
    tmp_path: Path, root: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(tmp_path, root, catalog, monkeypatch, None)
    assert ["although its container runs" in o.data["reason"] for o in found if o.kind == "server-failed"] == [True]


def test_a_server_that_is_being_ended_has_not_failed(
    tmp_path: Path, root: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched(tmp_path, root, catalog, monkeypatch, Ending("ended with status 137"), halting=True) == []


def test_a_client_that_loses_its_server_while_the_run_ends_of_something_else_is_no_bug_of_the_testbed(
    tmp_path: Path, root: Path, catalog: Catalog
) -> None:
    """The handler's error would be taken for the channel's, and hide the one that ends the run."""
    plan = scenario.load(root / "scenarios" / "smoke.yaml", catalog)
    server, writer, channel = plan.servers[0], Writer(tmp_path, "ending"), Channel()

    async def fail() -> None:
        raise EngineError("the news")

    async def watch() -> None:
        driver: Any = SimpleNamespace(channel=channel)
        parts = Parts(None, None, Journal(writer), None, driver, asyncio.Semaphore(1))  # type: ignore[arg-type]
        epochs = Epochs(parts, plan, catalog, None, {}, None, Silent())  # type: ignore[arg-type]
        epoch = Epoch(Phase("before", {}), "mesh", (server,), {}, {}, "")
        epoch.online[server.domain] = asyncio.get_running_loop().create_future()
        epochs._epochs[epoch.id] = epoch
        async with task_group() as tasks:
            with epochs._watching(epoch, tasks):
                tasks.create_task(fail())
                try:
                    await asyncio.sleep(60)
                finally:
                    channel.handler(Envelope(Disconnected(epoch.client(server.domain), ""), None, time.time()))

    with pytest.raises(EngineError, match="the news"):
        asyncio.run(watch())
    writer.close(None)

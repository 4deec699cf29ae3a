"""One way to end early: whichever signal comes, however often, what cleans up is never cut short and nothing shows a traceback.

No test waits for a moment: a process sends the signal to itself where it matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from testbed import campaign, interruption
from testbed.engine import host, underway
from testbed.measure.tasks import Workers, finish
from testbed.model import EngineError

NAMES = [s.name for s in interruption.SIGNALS]


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """A session that a shell has put into the background ignores some of them."""
    before = {
        n: signal.signal(n, signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL) for n in interruption.SIGNALS
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])


# --- what is held ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_while_something_is_held_is_raised_when_that_is_done(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    removed: list[str] = []

    def remove() -> None:
        with interruption.held():
            for _ in range(3):
                send(name)
                removed.append("a part")

    with pytest.raises(KeyboardInterrupt):
        remove()
    assert removed == ["a part"] * 3
    assert capfd.readouterr().err.count("already interrupted") == 1, "said once, and not upon the first"


def test_removal_after_an_interruption_is_not_interrupted_again(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    @interruption.handled()
    def work() -> None:
        try:
            send("SIGTERM")
        finally:
            with interruption.held():
                send("SIGINT")
                done.append("removed")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["removed"]
    assert "90 s at most" in capfd.readouterr().err


def test_a_first_signal_that_a_library_swallowed_does_not_make_a_process_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "AGAIN", 0.0)

    @interruption.handled()
    def work() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            send("SIGINT")
        send("SIGINT")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_what_was_ignored_or_handled_by_the_caller_stays_so() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    with interruption.handled():
        send("SIGHUP")
        send("SIGTERM")
    assert heard == [signal.SIGTERM]
    assert not interruption._state.came


def test_other_threads_are_left_alone() -> None:
    def work() -> None:
        with interruption.handled(), interruption.held():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# --- work in an event loop ------------------------------------------------------------------------------------------------


def in_a_notebook(work: Callable[[], None]) -> None:
    async def notebook() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a notebook's kernel has it
        work()

    asyncio.run(notebook())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [lambda work: work(), in_a_notebook])
def test_work_is_cancelled_once_and_cleans_up_to_its_end(
    name: str, place: Callable[[Callable[[], None]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            send(name)
            await asyncio.sleep(60)
        finally:
            for _ in range(2):
                send(name)
                await asyncio.sleep(0.01)
            cleaned.append("removed")

    with pytest.raises(KeyboardInterrupt):
        place(lambda: campaign.run_blocking(work()))
    assert cleaned == ["removed"]
    assert capfd.readouterr().err.count("already interrupted") == 1


def test_work_is_cancelled_though_the_signal_came_before_it_began() -> None:
    """Else it would go on to its end, and be interrupted then."""

    async def work() -> None:
        await asyncio.sleep(600)

    @interruption.held()
    def begin() -> None:
        send("SIGTERM")
        campaign.run_blocking(work())

    with pytest.raises(KeyboardInterrupt):
        begin()


def test_what_must_be_finished_is_finished_and_then_the_cancellation_goes_on() -> None:
    done: list[str] = []

    async def remove() -> None:
        await asyncio.sleep(0.05)
        done.append("removed")
        raise KeyError("after an interruption this is no news")

    async def work() -> None:
        task = asyncio.create_task(finish(remove()))
        for _ in range(3):
            await asyncio.sleep(0.01)
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert done == ["removed"]


def test_workers_that_have_ended_cancel_who_comes_late() -> None:
    """It said "cannot schedule new futures after shutdown", and that hid what ended the run."""

    async def late() -> None:
        async with Workers(1) as workers:
            pass
        await workers.do(lambda: None)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(late())


# --- what goes on for minutes ---------------------------------------------------------------------------------------------

LONG = ["sh", "-c", "sleep 600 & wait"]


def is_gone(group: int) -> bool:
    """Whether no process of a group runs any more; one that nobody has reaped yet runs no more."""
    deadline = time.monotonic() + 30
    while running(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(group)


def running(group: int) -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            lines.append(path.read_text().rpartition(")")[2].split())
    return [state for state, _, of, *_ in lines if of == str(group) and state != "Z"]  # proc(5)


def test_a_process_ends_with_all_that_it_started_when_who_waits_for_it_is_interrupted() -> None:
    groups: list[int] = []

    @interruption.handled()
    def work() -> None:
        with underway.started(LONG) as process:
            groups.append(process.pid)
            send("SIGTERM")
            process.wait()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert is_gone(groups[0])


APT = """#!/bin/sh
[ "$1" = install ] || exit 0
trap : INT
sh -c 'touch begun; sleep 1; head -c 300000 /dev/zero; touch unpacked'
"""
"""As apt while dpkg unpacks: it notes the signal, and goes on until what it started has ended."""


def test_packages_that_are_being_unpacked_are_unpacked_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else those of the host would be broken. More than a pipe holds is said meanwhile."""
    (tmp_path / "apt-get").write_text(APT)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(underway, "PATIENCE", 0.2)
    monkeypatch.chdir(tmp_path)

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        send("SIGTERM")

    thread = threading.Thread(target=interrupt)

    @interruption.handled()
    def work() -> None:
        thread.start()
        host.install(["x"], "x", lambda _: None)

    with pytest.raises(KeyboardInterrupt):
        work()
    thread.join()
    assert (tmp_path / "unpacked").exists()


def test_what_is_under_way_in_another_thread_is_ended_and_nothing_is_begun_any_more() -> None:
    work, begun, groups = (
        underway.Underway(docker.DockerClient("unix:///nowhere", version="1.41")),
        threading.Event(),
        list[int](),
    )

    def build() -> None:
        with work.process(LONG) as process:
            groups.append(process.pid)
            begun.set()
            process.wait()

    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build)
        assert begun.wait(30)
        work.end()
        building.result(30)
        with pytest.raises(EngineError, match="interrupted"):
            pool.submit(build).result(30)
    assert all(map(is_gone, groups))


# --- a command ------------------------------------------------------------------------------------------------------------

WHEN = {
    "while it is imported": """
        class Finder:
            def find_spec(self, name, *_):
                if name == "testbed.cli.run":
                    os.kill(os.getpid(), signum)
        sys.meta_path.insert(0, Finder())
    """,
    "while it works": """
        from testbed.engine import host
        def find(*_):
            os.kill(os.getpid(), signum)
            time.sleep(60)
        host.find = find
    """,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", WHEN)
def test_a_command_that_is_interrupted_before_a_record_says_so_in_one_word(name: str, when: str) -> None:
    code = f"""
        import os, signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signum = signal.{name}
        {textwrap.indent(textwrap.dedent(WHEN[when]), " " * 8).strip()}
        sys.argv = ["testbed", "images", "list"]
        from testbed.cli import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_command_that_cannot_end_in_time_is_ended_with_a_sentence() -> None:
    code = """
        import os, signal, time
        from testbed import interruption
        with interruption.handled(limit=0.2), interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "not everything could be removed" in done.stderr


def test_a_terminal_that_is_gone_interrupts_like_its_hangup() -> None:
    """Nobody sends a signal here: what is written to it fails with EIO."""
    code = """
        import sys, time
        sys.argv = ["testbed", "images", "list"]
        from testbed import interruption
        from testbed.cli import app, output
        from testbed.engine import host
        def find(*_):
            output.errors.print("it works")
            sys.stdin.readline()
            output.errors.print("it works")
            time.sleep(60)
        host.find = find
        from testbed.cli import main
        main()
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        assert b"it works" in os.read(ours, 100)
        os.close(ours)
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 130

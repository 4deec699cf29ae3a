"""The record while it is written: on disk within a second, and one sentence where a folder takes no more."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import eventually

from testbed import campaign
from testbed.model import InputError, StorageError
from testbed.record.appending import Appender, stored
from testbed.record.observations import RUN_COMPLETE
from testbed.record.store import Writer

FULL = Path("/dev/full")
"""As a file on a disk that is full (full(4))."""


SOON = 30.0
"""Seconds within which a busy machine must have done it."""


def test_what_was_appended_is_on_disk_though_nothing_follows_and_the_process_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "record"
    code = f"""
        import sys, time
        from pathlib import Path
        from testbed.record.appending import Appender
        Appender(Path({str(file)!r})).write("an observation\\n")
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) as process:
        seen = eventually(lambda: file.exists() and file.stat().st_size > 0, SOON)
        process.send_signal(signal.SIGKILL)
    assert seen
    assert file.read_text() == "an observation\n"


def test_a_full_disk_is_said_with_file_and_remedy_to_whoever_appends_next(tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.symlink_to(FULL)
    appender = Appender(file)
    appender.write("an observation\n")

    def refused() -> bool:
        try:
            appender.write("another\n")
        except StorageError:
            return True
        return False

    assert eventually(refused, SOON), "nobody flushed, and what fails there is somebody's to hear"
    with pytest.raises(StorageError, match="record cannot be written: No space left on device; free some space there"):
        appender.write("another\n")
    with pytest.raises(StorageError, match="No space left"):
        appender.close()
    assert appender.closed


def test_a_record_that_was_removed_is_an_error_and_its_folder_is_not_made_again(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gone")
    writer.keep(b"", "before", "config", "a.example", "x")
    for path in sorted(writer.path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    writer.path.rmdir()
    with pytest.raises(StorageError, match="it was removed; leave the folder where it is"):
        writer.flush()
    with pytest.raises(StorageError, match="No such file or directory; leave the folder where it is"):
        writer.keep(b"", "after", "config", "a.example", "x")
    assert not writer.path.exists()


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EROFS, "make the file system writable"), (errno.EIO, "look after the disk")]
)
def test_every_reason_has_a_remedy(number: int, remedy: str) -> None:
    def write() -> None:
        with stored(Path("results/x")):
            raise OSError(number, "reason")

    with pytest.raises(
        StorageError, match=f"^results/x cannot be written: reason; {remedy}, or let a run go elsewhere with --results$"
    ):
        write()


def test_what_cannot_be_written_at_the_end_hides_no_other_error_and_is_raised_where_there_is_none(tmp_path: Path) -> None:
    def write(error: type[Exception] | None) -> None:
        with Writer(tmp_path, "full") as writer:
            writer._file.close()
            (writer.path / "observations.jsonl").unlink()
            (writer.path / "observations.jsonl").symlink_to(FULL)
            writer._file = Appender(writer.path / "observations.jsonl")
            writer.append(RUN_COMPLETE.at(1.0, {"observations": 0}))
            if error:
                raise error

    with pytest.raises(KeyError):
        write(KeyError)
    with pytest.raises(StorageError, match="No space left"):
        write(None)


def test_a_run_that_ended_before_its_manifest_leaves_no_folder(tmp_path: Path) -> None:
    with Writer(tmp_path / "results", "early"):
        pass
    assert list((tmp_path / "results").iterdir()) == []


def test_a_report_that_cannot_be_written_says_so(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("manifest.json", "observations.jsonl"):
        (copy / name).write_bytes((root / "results" / "reference" / name).read_bytes())
    (copy / "derived").symlink_to(tmp_path / "nowhere" / "else")
    with pytest.raises(InputError, match=r"derived: leads out of its folder"):
        campaign.report(copy)

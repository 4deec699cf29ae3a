"""What nobody foresaw ends with 3, one sentence and a traceback in a file; a reader that goes away ends a command quietly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import unforeseen
from testbed.cli import app as entry
from testbed.cli import main, output
from testbed.model import EngineError, InputError, visible

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ended(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> int:
    """The exit status where a command fails so."""

    def app() -> None:
        raise failure

    monkeypatch.setattr(entry, "app", app)
    monkeypatch.setattr("sys.argv", ["testbed", "explain", "it's"])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    "failure",
    [
        KeyError("title"),
        OSError(28, "No space left on device", "x"),
        RecursionError("deep"),
        MemoryError(),
        ExceptionGroup("unhandled errors", [ValueError("inner")]),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_nobody_foresaw_is_one_sentence_and_a_file(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, failure) == 3
    [line] = capsys.readouterr().err.splitlines()
    told, _, place = line.partition("; the traceback is in ")
    assert told.startswith("error: the testbed failed, which is a bug of it: " + type(failure).__name__)
    kept = Path(place).read_text()
    assert "Traceback (most recent call last)" in kept
    assert """testbed explain 'it'"'"'s'""" in kept
    assert not isinstance(failure, ExceptionGroup) or "ValueError: inner" in kept


def test_no_traceback_is_written_over_and_the_oldest_go() -> None:
    places = [unforeseen.sentence(ValueError(n)).rpartition(" ")[2] for n in range(unforeseen.MOST_KEPT + 5)]
    assert len(set(places)) == len(places)
    kept = sorted(unforeseen.folder().iterdir())
    assert len(kept) == unforeseen.MOST_KEPT
    assert Path(places[-1]) in kept


def test_a_traceback_that_another_process_prunes_meanwhile_is_no_reason_to_keep_none() -> None:
    unforeseen.sentence(ValueError("first"))
    (unforeseen.folder() / "gone.txt").symlink_to("nowhere")
    assert "the traceback is in" in unforeseen.sentence(ValueError("second"))


def test_where_a_traceback_cannot_be_kept_it_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told = unforeseen.sentence(ValueError("a\x1b[2J"))
    assert "cannot be kept" in told
    assert told.endswith("ValueError: a\\x1b[2J")
    assert "\x1b" not in told


def test_what_was_foreseen_keeps_its_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ended(monkeypatch, e) for e in (InputError("x"), EngineError("x"), KeyboardInterrupt())] == [2, 3, 130]
    assert not unforeseen.folder().exists()


# --- a reader that goes away ------------------------------------------------------------------------------------------


def without_reader(*argv: str, errors_too: bool = False) -> tuple[int, str]:
    """Exit status and standard error of the command line whose standard output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.run(
            [sys.executable, "-m", "testbed", *argv],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer if errors_too else subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)
    return process.returncode, (process.stderr or b"").decode()


def reference() -> list[str]:
    """A pair of the reference run."""
    manifest = json.loads((ROOT / "results" / "reference" / "manifest.json").read_text())
    return [s["domain"] for s in manifest["servers"]][:2]


@pytest.mark.parametrize(
    "argv",
    [
        ["explain", "results/reference", "SENDER", "RECEIVER"],
        ["report", "results/reference", "--format", "json"],
        ["plan", "scenarios/smoke.yaml"],
        ["plan", "scenarios/smoke.yaml", "--json"],
        ["diff", "results/reference", "results/reference"],
        ["images", "list", "--json"],
        ["help", "probe"],
        ["--help"],
    ],
    ids=lambda argv: " ".join(argv),
)
def test_a_reader_that_went_away_ends_a_command_quietly(argv: list[str]) -> None:
    pair = dict(zip(("SENDER", "RECEIVER"), reference(), strict=True))
    status, told = without_reader(*(pair.get(word, word) for word in argv))
    assert (status, told) == (output.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_standard_output_that_takes_no_more_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "testbed", "explain", "reference", *reference(), "--results", "results"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    sentence = "error: standard output cannot be written: No space left on device; let it go elsewhere\n"
    assert (process.returncode, process.stderr) == (3, sentence)


def test_an_error_that_nobody_reads_keeps_its_status() -> None:
    status, _ = without_reader("plan", "no/such.yaml", errors_too=True)
    assert status == 2


def test_a_run_goes_on_where_nobody_reads_its_news() -> None:
    script = "from testbed.cli.display import live\nwith live(False) as d:\n d.say('news')\n d.warn('more')\nprint('went on')"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, timeout=120, check=False
        )
    finally:
        os.close(writer)
    assert (process.returncode, process.stdout) == (0, b"went on\n")


# --- visible text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve “quoted” → 日本 😀", "naïve “quoted” → 日本 😀"),
        ("\x1b[31m\x07\x9b\x00\x7f", r"\x1b[31m\x07\x9b\x00\x7f"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egpj.exe\u2066\u200b\ufeff\u2028\xad", r"\u202egpj.exe\u2066\u200b\ufeff\u2028\xad"),
        ("\U000e0001\ud800", r"\U000e0001\ud800"),
    ],
)
def test_what_steers_or_hides_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown
    assert str(InputError(text, file=text, hint=text)) == f"{shown}: {shown}\n  hint: {shown}"


def test_line_ends_of_our_own_stay() -> None:
    assert visible("a\n  b\x1b\n", lines=True) == "a\n  b\\x1b\n"

"""The commands as a user types them: exit status, what is written where, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from compare_runs import A_CELLS, B_CELLS, delivered, failed, run
from ruamel.yaml import YAML

from testbed.campaign import Run
from testbed.cli import main
from testbed.cli.options import complete_run
from testbed.cli.outcome import finish
from testbed.compare import baseline
from testbed.compare.cells import subject

REFERENCE = str(Path(__file__).resolve().parents[2] / "results" / "reference")


@pytest.fixture
def testbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command line in an empty folder; answers with the exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> int:
        monkeypatch.setattr("sys.argv", ["testbed", *argv])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    return call


def keep(name: str, verdicts: dict[str, Any]) -> str:
    """A run of which only the verdicts were kept."""
    Path(f"{name}.json").write_text(json.dumps(verdicts))
    return f"{name}.json"


def as_run(folder: Path, verdicts: dict[str, Any]) -> None:
    """A folder of a run that was judged."""
    derived = folder / verdicts["run"] / "derived"
    derived.mkdir(parents=True)
    (derived.parent / "manifest.json").write_text("{}")
    (derived.parent / "observations.jsonl").write_text("")
    (derived / "verdicts.json").write_text(json.dumps(verdicts))


def test_a_real_run_is_like_itself(testbed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert testbed("diff", REFERENCE, REFERENCE, "--json") == 0
    doc = json.loads(capsys.readouterr().out)
    assert doc["changes"] == []
    assert doc["differences"] == []
    assert doc["counts"]["same"] == 264


def test_a_real_run_that_was_accepted_passes_until_an_entry_is_taken_out(
    testbed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert testbed("baseline", "accept", REFERENCE, "--reason", "known") == 0
    path = Path("baselines/manifesto-2014.yaml")
    first = path.read_text()
    assert testbed("diff", REFERENCE, str(path)) == 0
    assert testbed("diff", str(path), REFERENCE) == 0
    assert testbed("baseline", "accept", REFERENCE, "--reason", "another") == 0
    assert path.read_text() == first
    yaml = YAML()
    content = yaml.load(first)
    del content["entries"][0]
    yaml.dump(content, path)
    capsys.readouterr()
    assert testbed("diff", REFERENCE, str(path)) == 1
    assert "unknown failures" in capsys.readouterr().out


def test_runs_end_with_their_known_failures_in_mind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = run({"before a b": failed("dns"), "before b a": delivered()})
    (tmp_path / "known.yaml").write_text(
        "schema: 1\nentries:\n  - where: {sender: {implementation: alpha}}\n    outcome: bounced\n    cause: dns\n    reason: x\n"
    )
    base = baseline.load(tmp_path / "known.yaml")
    assert finish(Run(tmp_path, one), as_json=False) == 1
    assert finish(Run(tmp_path, one), as_json=False, accepted=base) == 0
    assert "No failure beyond the known ones." in capsys.readouterr().out
    mended = run({"before a b": delivered(), "before b a": delivered()})
    assert finish(Run(tmp_path, mended), as_json=False, accepted=base) == 1
    assert finish(Run(tmp_path, mended), as_json=False, accepted=base, strict=False) == 0
    capsys.readouterr()
    finish(Run(tmp_path, one), as_json=True, accepted=base)
    assert json.loads(capsys.readouterr().out)["baseline"]["status"] == 0
    assert finish(Run(tmp_path, one | {"complete": False}), as_json=False, accepted=base) == 3


@pytest.mark.parametrize(("shape", "word"), [("text", "!"), ("markdown", "###"), ("html", "<!doctype html>"), ("json", '"kind"')])
def test_a_diff_is_written_in_each_form(testbed: Any, capsys: pytest.CaptureFixture[str], shape: str, word: str) -> None:
    a, b = keep("a", run(A_CELLS)), keep("b", run(B_CELLS, "two"))
    assert testbed("diff", a, b, "--format", shape) == 1
    printed = capsys.readouterr().out
    assert word in printed
    assert "\x1b[" not in printed
    assert testbed("diff", a, b, "--format", shape, "--output", "sub/file") == 1
    assert Path("sub/file").read_text() == printed
    assert "changed for the worse" in capsys.readouterr().out


def test_missing_cells_are_allowed_only_where_that_is_said(testbed: Any) -> None:
    a = keep("a", run({"before a b": delivered(), "before b a": delivered()}))
    b = keep("b", run({"before a b": delivered()}))
    assert testbed("diff", a, b) == 3
    assert testbed("diff", a, b, "--allow-missing") == 0
    assert testbed("diff", b, a) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("diff", "nothing", "a.json"), "no run `nothing`"),
        (("diff", "a.json", "broken.json"), "not JSON"),
        (("diff", "a.json", "other.json"), "not verdicts of schema 1"),
        (("diff", "a.json", "odd.json"), "`cells[0].channel.encryption` cannot be 7"),
        (("diff", "a.json", "less.json"), "the key `cells[0].outcome` is missing"),
        (("diff", "a.json", "word.json"), "`cells[0].outcome` cannot be 'arrived'"),
        (("diff", "a.json", "list.json"), "`cells` cannot be"),
        (("diff", "a.json", "absent.yaml"), "no such file"),
        (("diff", "a.json", "far.json"), "nothing to compare"),
        (("diff", "known.yaml", "known.yaml"), "two baselines"),
        (("diff", "a.json", "a.json", "--output", "a.json/x"), "cannot be written"),
        (("baseline", "accept", "a.json", "--reason", " "), "empty reason"),
        (("baseline", "accept", "a.json", "--reason", "x", "--expires", "2020-01-01"), "expired already"),
        (("baseline", "accept", "known.yaml", "--reason", "x"), "made from runs"),
        (("baseline", "accept", "cut.json", "--reason", "x"), "cut short"),
        (("history", "empty"), "no run"),
        (("history", "runs", "--scenario", "nine"), "no run of the scenario `nine`"),
        (("history", "runs", "--picture", "x.gif"), "a picture is"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    testbed: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: tuple[str, ...], said: str
) -> None:
    keep("a", run({"before a b": delivered()}))
    keep("far", run({"else a b": delivered()}))
    keep("cut", run({"before a b": delivered()}, complete=False))
    odd, less, word = (run({"before a b": delivered()}) for _ in range(3))
    odd["cells"][0]["channel"]["encryption"] = 7
    keep("odd", odd)
    del less["cells"][0]["outcome"]
    keep("less", less)
    word["cells"][0]["outcome"] = "arrived"
    keep("word", word)
    keep("list", run({"before a b": delivered()}) | {"cells": {"before a b": {}}})
    Path("broken.json").write_text("{")
    Path("other.json").write_text("{}")
    Path("known.yaml").write_text("schema: 1\nentries: []\n")
    as_run(tmp_path / "runs", run({"before a b": delivered()}))
    assert testbed(*argv) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert "Traceback" not in output.err


def test_a_history_is_read_from_the_kept_verdicts(testbed: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for day, cell in enumerate((delivered(), failed("dns"))):
        as_run(tmp_path / "runs", run({"before a b": cell}, f"run-{day}", started=f"2026-01-0{day + 1}"))
    (tmp_path / "runs" / "latest").symlink_to("run-1")
    (tmp_path / "runs" / "hurt").mkdir()
    (tmp_path / "runs" / "hurt" / "manifest.json").write_text("{")
    assert testbed("history", "runs", "--picture", "out/h.svg") == 0
    printed = capsys.readouterr()
    assert "three (timers short): 2 runs" in printed.out
    assert "skipped: hurt: " in printed.out
    assert Path("out/h.svg").read_bytes().startswith(b"<?xml")
    assert testbed("history", "runs", "--json") == 0
    assert [len(s["runs"]) for s in json.loads(capsys.readouterr().out)["scenarios"]] == [2]


def test_several_scenarios_give_several_pictures(testbed: Any, tmp_path: Path) -> None:
    for name in ("three", "four"):
        as_run(tmp_path / "runs", run({"before a b": delivered()}, name, scenario=name))
    assert testbed("history", "runs", "--picture", "h.png") == 0
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["h-four-short.png", "h-three-short.png"]


def test_a_run_whose_record_is_newer_than_its_verdicts_is_judged_again(testbed: Any, tmp_path: Path) -> None:
    source = Path(REFERENCE)
    target = tmp_path / "runs" / "reference"
    (target / "derived").mkdir(parents=True)
    for name in ("manifest.json", "observations.jsonl"):
        shutil.copy(source / name, target / name)
    (target / "derived" / "verdicts.json").write_text(json.dumps(run({"before a b": delivered()})))
    os.utime(target / "derived" / "verdicts.json", (0, 0))
    assert testbed("history", "runs", "--scenario", "manifesto-2014") == 0


def test_names_of_runs_are_completed(tmp_path: Path) -> None:
    as_run(tmp_path, run({"before a b": delivered()}, "smoke-1"))
    as_run(tmp_path, run({"before a b": delivered()}, "smoke-2"))

    class Context:
        params = {"results": str(tmp_path)}  # noqa: RUF012

    assert complete_run(Context(), "s") == ["smoke-2", "smoke-1"]  # type: ignore[arg-type]
    assert complete_run(Context(), "") == ["latest", "smoke-2", "smoke-1"]  # type: ignore[arg-type]


def test_a_side_that_was_kept_says_so() -> None:
    assert subject(run({"before a b": delivered()})).to_json()["kept"] is False

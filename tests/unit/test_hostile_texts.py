"""What servers say is data: whatever stands in a text of a record, no report and no command hands it on to steer anybody.

A run with hostile texts in every place where a server, a folder or a scenario has a word goes through every report and command.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import campaign
from testbed.cli import main
from testbed.compare import baseline, files
from testbed.record import observations, store
from testbed.report import render_all
from testbed.report.html import RECEIVER, SENDER

GOLDEN = Path(__file__).parents[1] / "golden"
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1m\x00\x08\x7f\r\nerror: all is well\n::error::x\u2028\u202egpj.exe\u2066\u200b\ufeff\xad"
    "<script>alert(1)</script><img src=x onerror=y>&amp;]]>$\\frac{$ `x` | [a](javascript:b) @all =cmd|' /C calc'!A0"
)
ALLOWED = {"\n", SENDER, RECEIVER}
"""The page has two marks of its own, for which its script writes the names of a cell's servers."""
OURS = re.compile(r"\x1b\[[0-9;]*m")
"""Colours, where a terminal asks for them."""
TEXTS = {"title", "reason", "errors", "text", "by", "cipher", "tls_version", "version", "unavailable", "server_name"}
"""Keys under which a text of somebody else's may stand; names and words of ours are not among them."""
FREE = {(k.word, f.name) for k in observations.KINDS.values() for f in k.all_fields if f.type is str and not f.values}
NAMES = {"sender", "receiver", "server", "peer", "domain", "token", "implementation", "release", "cause", "family"}


def poisoned(node: Any, kind: str | None = None) -> Any:
    """A copy with hostile text wherever a server, a folder or a scenario has a word."""
    if isinstance(node, dict):
        kind = node.get("kind", kind)
        made = {}
        for key, value in node.items():
            free = key in TEXTS or ((kind, key) in FREE and key not in NAMES)
            made[key] = HOSTILE if free and isinstance(value, str) else poisoned(value, kind)
        return made
    return [poisoned(item, kind) for item in node] if isinstance(node, list) else node


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two phases with failures, deliveries and logs."""
    path = tmp_path_factory.mktemp("results") / "r1"
    shutil.copytree(GOLDEN / "cutover", path)
    manifest = poisoned(json.loads((path / "manifest.json").read_text()))
    manifest["description"] = HOSTILE
    manifest["remedies"] = {
        s["implementation"]: [{"cause": c, "as": role, "text": HOSTILE, "set": {"encryption": HOSTILE}}]
        for s in manifest["servers"]
        for c in ("tls-required", "tls-not-offered")
        for role in ("sender", "receiver")
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    lines = [poisoned(json.loads(line)) for line in (path / "observations.jsonl").read_text().splitlines()]
    for line in lines:
        if line["source"] == "log":
            line["data"] |= {"reason": HOSTILE, "errors": HOSTILE}
    domains = [s["domain"] for s in manifest["servers"]]
    control = {"time": lines[0]["time"], "source": "engine", "kind": "control", "phase": manifest["phases"][0]["name"]}
    lines[-1:-1] = [{**control, "epoch": "control-first", "data": {"when": "first", "ok": False, "reason": HOSTILE}}]
    lines[-1]["data"]["observations"] = len(lines) - 1
    (path / "observations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "evidence").mkdir()
    (path / "evidence" / "zone").write_text(f"_xmpp-server._tcp.{domains[1]}. {HOSTILE}")
    for phase in manifest["phases"]:
        for domain in domains:
            log = path / "evidence" / phase["name"] / "mesh" / f"{domain}.log.gz"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(gzip.compress((f"2026-01-01T00:00:00Z {HOSTILE}\n" * 400).encode()))
    return path


def unfit(text: str) -> list[str]:
    """Characters that are neither printable nor allowed, each once."""
    return sorted({c for c in text if not c.isprintable() and c not in ALLOWED})


def test_the_look_for_what_is_unfit_sees_it() -> None:
    assert len(unfit(HOSTILE)) > 12
    assert not unfit("naïve\n→ 日本")


def test_verdicts_have_no_hostile_text_and_the_record_keeps_it(run: Path) -> None:
    judged = campaign.judge(run)
    assert judged.record.manifest["title"] == HOSTILE
    assert HOSTILE in {o.data.get("reason") for o in judged.record.observations}
    assert not [text for text in texts(judged.verdicts) if unfit(text) or "\n" in text]
    assert r"\x1b]0;owned\x07" in judged.verdicts["title"]


def texts(node: Any) -> Iterator[str]:
    """Every text of a document, keys too."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from texts(key)
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


def test_every_report_is_drawn_and_steers_nobody(run: Path) -> None:
    names = []
    for name, content in render_all(campaign.judge(run).verdicts):
        names.append(name)
        if name.endswith((".png", ".parquet", ".pdf")):
            continue
        text = content.decode()
        assert not unfit(text), name
        if name.endswith((".svg", ".xml")):
            assert ET.fromstring(text) is not None
        if name.endswith((".html", ".svg", ".xml")):
            assert "<script>alert(1)" not in text
            assert "<img src=x" not in text
    assert {"report.html", "junit.xml", "cells.csv", "matrix.txt", "summary.md", "cutover.png"} <= set(names)


def kept(run: Path, folder: Path) -> Path:
    """Verdicts that a stranger kept, with hostile texts as they were."""
    file = folder / "kept.json"
    verdicts = json.loads(json.dumps(campaign.judge(run).verdicts))
    file.write_text(json.dumps(poisoned(verdicts | {"title": HOSTILE})))
    return file


def known(run: Path, folder: Path) -> Path:
    """Known failures with hostile words."""
    file = folder / "known.yaml"
    entry = {"where": {"phase": "*"}, "outcome": "bounced", "cause": "tls-required", "reason": HOSTILE, "link": HOSTILE}
    file.write_text(json.dumps({"schema": 1, "scenario": store.load(run).manifest["scenario"], "entries": [entry]}))
    baseline.load(file)
    return file


COMMANDS = {
    "report": ["report", "RUN"],
    "report as JSON": ["report", "RUN", "--json"],
    **{
        f"report as {shape}": ["report", "RUN", "--format", shape]
        for shape in ("csv", "junit", "markdown", "html", "text", "summary", "json")
    },
    "report against known failures": ["report", "RUN", "--format", "text", "--baseline", "KNOWN"],
    "gate": ["diff", "RUN", "KNOWN"],
    "gate as Markdown": ["diff", "RUN", "KNOWN", "--format", "markdown"],
    "explain": ["explain", "RUN", "A", "B"],
    "diff": ["diff", "RUN", "KEPT"],
    **{f"diff as {shape}": ["diff", "RUN", "KEPT", "--format", shape] for shape in ("markdown", "html", "json")},
    "history": ["history", "FOLDER"],
    "history as JSON": ["history", "FOLDER", "--json"],
    "plot": ["plot", "RUN", "matrix", "--format", "svg"],
    "accept": ["baseline", "accept", "RUN", "--reason", "x", "--output", "KNOWN"],
    "no such server": ["explain", "RUN", HOSTILE, "B"],
    "no such run": ["report", HOSTILE.replace("\x00", "")],
    "no such format": ["report", "RUN", "--format", HOSTILE],
    "no such scenario": ["plan", HOSTILE.replace("\x00", "")],
    "a scenario": ["plan", "SCENARIO"],
    "a scenario that is wrong": ["plan", "WRONG"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_hands_hostile_text_on(
    command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    domains = [s["domain"] for s in store.load(run).manifest["servers"]]
    head = f"name: t\ntitle: {json.dumps(HOSTILE)}\nphases: [{{name: before}}]\nservers:\n"
    server = "  - {implementation: prosody@trixie, policy: [opportunistic, encrypted]}\n"
    (tmp_path / "good.yaml").write_text(head + server)
    (tmp_path / "wrong.yaml").write_text(head + f"  - implementation: {json.dumps(HOSTILE)}\n")
    words = {
        "RUN": str(run), "FOLDER": str(run.parent), "A": domains[0], "B": domains[1], "KEPT": str(kept(run, tmp_path)),
        "KNOWN": str(known(run, tmp_path)), "SCENARIO": str(tmp_path / "good.yaml"), "WRONG": str(tmp_path / "wrong.yaml"),
    }  # fmt: skip
    monkeypatch.setattr("sys.argv", ["testbed", *(words.get(word, word) for word in COMMANDS[command])])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        main()
    told = capfd.readouterr()
    assert not unfit(told.out), told.out[:2000]
    assert not unfit(told.err), told.err
    assert not re.search("^::error", told.out + told.err, re.M)
    assert not (tmp_path / "cache" / "s2s-testbed" / "errors").exists(), told.err


def test_where_colours_are_asked_for_they_are_the_only_sequences(run: Path) -> None:
    from testbed.report import text

    shown = text.render_text(campaign.judge(run).verdicts, colour=True, width=120)
    assert "\x1b[" in shown
    assert not unfit(OURS.sub("", shown))


def test_kept_verdicts_and_known_failures_are_made_visible_when_they_are_read(run: Path, tmp_path: Path) -> None:
    side = files.verdicts(kept(run, tmp_path))
    gate = baseline.check(baseline.load(known(run, tmp_path)), side, dt.date(2026, 1, 1))
    document = baseline.document(gate, could_not_tell=False)
    assert not [text for text in [*texts(side.verdicts), *texts(document)] if unfit(text) or "\n" in text]

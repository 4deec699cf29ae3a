"""What a pattern asks for letter by letter: a line without it is not searched, and nothing is missed by that."""

from __future__ import annotations

import gzip

import pytest

from testbed import ROOT
from testbed.measure.serverlog import match_line, stamped
from testbed.plan import image_files
from testbed.plan.image_files import read_logs
from testbed.plan.literals import required

FILES = sorted(ROOT.glob("images/*/logs.yaml"))
LOGS = sorted(ROOT.glob("results/reference/evidence/*/mesh/*.log.gz"))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("abc", "abc"),
        ("a(bc)(?P<x>d)", "abcd"),
        ("x?abc+d", "ab"),
        ("(abc)*de", "de"),
        ("one|two", ""),
        ("(?:one|two) words", " words"),
        ("(?i)abc", ""),
        ("(?i:abc)de", "de"),
        ("(?<!not )there", "there"),
        ("it is(?! not)", "it is"),
        (r"a\.b[xy]cd", "a.b"),
        ("(?x) a b  # c", "ab"),
        (r"\S+", ""),
        ("", ""),
    ],
)
def test_only_what_every_match_holds_is_required(pattern: str, text: str) -> None:
    assert required(pattern) == text


def test_nothing_is_missed_in_real_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for log in LOGS for _, line in stamped(gzip.decompress(log.read_bytes()))]
    assert len(lines) > 10_000
    for file in FILES:
        quick = read_logs(file)
        lines += [entry.sample for entry in (*quick.patterns, *quick.reasons)]
        found = [match_line(quick, line) for line in lines]
        with monkeypatch.context() as patched:
            patched.setattr(image_files, "required", lambda _: "")
            slow = read_logs(file)
            assert found == [match_line(slow, line) for line in lines]
        assert any(found)

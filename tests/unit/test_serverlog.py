"""A server's log becomes facts about its peers: by name, by the session that names them, by address; else not at all."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace as Fake
from typing import Any

import pytest

from testbed.measure.collect import Collector
from testbed.measure.serverlog import cause_of, match_line, observe, stamped
from testbed.plan.image_files import LogsFile
from testbed.record.observations import Observation, Source
from testbed.report import story


def pattern(match: str, observe: str, **constants: str) -> dict[str, object]:
    return {"match": match, "observe": observe, "set": constants, "sample": "-", "from": "-"}


LOGS = LogsFile.model_validate(
    {
        "patterns": [
            pattern(r"(?P<session>s\d+) is (?P<peer>\S+)", "s2s-session"),
            pattern(r"(?P<session>s\d+) from (?P<address>\S+)", "s2s-session", direction="in"),
            pattern(r"(?P<session>s\d+) up (?P<tls_version>\S+)", "s2s-encrypted"),
            pattern(r"to (?P<peer>\S+) failed: (?P<reason>.*)", "s2s-failed", direction="out"),
            pattern(r"(?P<session>s\d+) certificate: (?P<errors>.*)", "s2s-session"),
            pattern(r"at (?P<address>\S+) gave up", "s2s-closed", cause="negotiation-timeout"),
        ],
        "reasons": [
            {"match": "has expired", "cause": "certificate-expired", "sample": "-", "from": "-"},
            {"match": "expired", "cause": "negotiation-timeout", "sample": "-", "from": "-"},
        ],
    }
)


def read(*lines: str) -> list[Observation]:
    return observe(
        LOGS,
        [(float(n), line) for n, line in enumerate(lines)],
        server="a.example",
        domains={"a.example", "b.example", "c.example"},
        addresses={"198.18.0.2": "b.example", "fd53::3": "c.example", "198.18.0.1": "a.example"},
        phase="after",
        epoch="mesh",
    )


def peers(*lines: str) -> list[str]:
    return [o.data["peer"] for o in read(*lines)]


def test_a_line_that_names_its_peer() -> None:
    (seen,) = read("to b.example failed: certificate has expired")
    assert (seen.time, seen.source, seen.kind, seen.phase, seen.epoch, seen.cell) == (
        0.0,
        Source.LOG,
        "s2s-failed",
        "after",
        "mesh",
        None,
    )
    assert seen.data == {
        "server": "a.example",
        "peer": "b.example",
        "direction": "out",
        "reason": "certificate has expired",
        "cause": "certificate-expired",
        "line": 1,
    }


def test_a_peer_is_recognised_however_it_is_written() -> None:
    assert peers("to 'B.Example.' failed: x") == ["b.example"]


def test_a_session_takes_its_peer_from_another_line_earlier_or_later() -> None:
    assert peers("s1 is b.example", "s1 up TLSv1.3") == ["b.example"]
    assert peers("s1 up TLSv1.3", "s1 is b.example") == ["b.example"]
    assert peers("s1 is b.example", "s2 is c.example", "s2 up TLSv1.3", "s1 up TLSv1.2") == ["c.example", "b.example"]


def test_a_session_takes_its_peer_from_the_address() -> None:
    assert peers("s1 from 198.18.0.2:5269", "s1 up TLSv1.3") == ["b.example"]
    assert peers("s1 from [::ffff:198.18.0.2]:5269", "s1 up TLSv1.3") == ["b.example"]
    assert peers("s1 from fd53::3", "s1 up TLSv1.3") == ["c.example"]


def test_a_name_weighs_more_than_an_address() -> None:
    """The name comes from the stream; several domains may stand behind one address."""
    assert peers("s1 from 198.18.0.2", "s1 is c.example", "s1 up TLSv1.3") == ["c.example"]
    assert peers("s1 is c.example", "s1 from 198.18.0.2", "s1 up TLSv1.3") == ["c.example"]


def test_a_line_with_an_address_alone() -> None:
    (seen,) = read("at 198.18.0.2 gave up")
    assert (seen.kind, seen.data["peer"], seen.data["cause"]) == ("s2s-closed", "b.example", "negotiation-timeout")


def test_what_is_about_nobody_of_the_federation_is_no_observation() -> None:
    assert not read("to elsewhere.example failed: x", "to a.example failed: x", "at 192.0.2.1 gave up", "s9 up TLSv1.3", "hello")


def test_a_line_that_only_ties_a_session_is_no_observation_unless_it_says_what_is_wrong() -> None:
    (seen,) = read("s1 is b.example", "s1 certificate: it has expired")
    assert (seen.data["peer"], seen.data["cause"]) == ("b.example", "certificate-expired")
    assert not read("s1 is b.example", "s1 certificate: all is well")


def test_line_numbers_count_every_line() -> None:
    assert [o.data["line"] for o in read("noise", "noise", "to b.example failed: x")] == [3]


def test_the_first_pattern_and_the_first_reason_are_taken() -> None:
    assert (match_line(LOGS, "s1 is b.example") or (None,))[0] == 0
    assert match_line(LOGS, "nothing of it") is None
    assert cause_of(LOGS, "certificate has expired") == "certificate-expired"
    assert cause_of(LOGS, "timer expired") == "negotiation-timeout"
    assert cause_of(LOGS, "other") is None


def test_the_engine_s_stamps_are_seconds_and_colours_are_gone() -> None:
    raw = (
        b"2014-05-19T00:00:00.123456789Z \x1b[31mred\x1b[0m line\n"
        b"2014-05-19T00:00:01Z second\n"
        b"no stamp here\n"
        b"2014-05-19T00:00:02.5Z \xff\n"
    )
    assert list(stamped(raw)) == [
        (1400457600.123456, "red line"),
        (1400457601.0, "second"),
        (1400457602.5, "\N{REPLACEMENT CHARACTER}"),
    ]


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r"])
def test_a_peer_s_text_starts_no_line(end: str) -> None:
    """The engine stamps what a line feed ends: a stamp behind another separator is what a peer wrote."""
    forged = f"s1 says x{end}2014-05-19T00:00:01Z to c.example failed: has expired"
    raw = f"2014-05-19T00:00:00Z {forged}\n2014-05-19T00:00:02Z to b.example failed: x\r\n".encode()
    assert [line for _, line in stamped(raw)] == [forged.removeprefix("2014-05-19T00:00:00Z "), "to b.example failed: x"]


@pytest.mark.parametrize("end", ["\u2028", "\f"])
def test_the_report_shows_the_line_that_was_counted(tmp_path: Path, end: str) -> None:
    raw = f"2014-05-19T00:00:00Z a{end}b\n2014-05-19T00:00:02Z to b.example failed: x\n".encode()
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(raw))
    assert story._log(tmp_path, "b.log.gz")[2] == "to b.example failed: x"


@pytest.mark.parametrize(("ended", "count"), [(False, 1), (True, 0)])
def test_nobody_reads_on_in_a_log_when_the_run_ends(ended: bool, count: int) -> None:
    """Removal waits for the threads: one that reads a log stops at its next line."""
    writer = Fake(keep=lambda *_: None)
    collector: Any = Fake(
        parts=Fake(journal=Fake(writer=writer), workers=Fake(ended=ended)),
        catalog=Fake(image=lambda _: Fake(logs=LOGS)), servers={"a.example": Fake(implementation="x")}, domains={"b.example"},
    )  # fmt: skip
    epoch: Any = Fake(phase=Fake(name="now"), name="mesh", addresses={"b.example": ("198.18.0.2", None)})
    raw = b"2014-05-19T00:00:02Z to b.example failed: x\n"
    assert len(Collector._parse_log(collector, epoch, "a.example", raw)) == count

"""tshark's lines -> facts per TCP stream: on recordings of real streams, and on segments cut by hand.

The recordings in tests/golden/wire were made with the fields of the wiretap's agent from captures of real runs; the payload of
TLS records, which nobody looks at, was left out.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from testbed.measure.wiretap import protocol
from testbed.measure.wiretap.dissect import SUITES, Dissector, forward_secret, thin

WIRE = Path(__file__).resolve().parents[1] / "golden" / "wire"
FIELDS = 18


def dissect(lines: list[str]) -> dict[str, Any]:
    dissector = Dissector()
    dissector.feed(lines)
    assert len(dissector.streams) == 1
    return next(iter(dissector.streams.values())).facts()


def recorded(name: str) -> dict[str, Any]:
    return dissect((WIRE / f"{name}.txt").read_text().splitlines())


RECORDINGS: dict[str, dict[str, Any]] = {
    "tls-1.3": {
        "starttls_offered": "required",
        "starttls_used": True,
        "server_hello": True,
        "offered_versions": ["TLSv1.2", "TLSv1.3"],
        "tls_version": "TLSv1.3",
        "cipher": "TLS_AES_128_GCM_SHA256",
        "forward_secrecy": True,
    },
    "tls-1.2": {
        "starttls_used": True,
        "server_hello": True,
        "offered_versions": ["TLSv1.2"],
        "tls_version": "TLSv1.2",
        "cipher": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "forward_secrecy": True,
    },
    "tls-1.2-static-rsa": {
        "server_hello": True,
        "tls_version": "TLSv1.2",
        "cipher": "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "forward_secrecy": False,
    },
    "cleartext-dialback": {
        "starttls_offered": "no",
        "starttls_used": False,
        "server_hello": False,
        "tokens": ["cell-9ea7b3b27c9a82a3"],
        "dialback": ["out:result", "out:verify", "in:verify:valid", "in:result:valid"],
        "tls_data_out": [],
    },
    "starttls-refused": {
        "starttls_offered": "no",
        "starttls_used": False,
        "server_hello": False,
        "stream_errors": ["in:connection-timeout"],
        "closed_by": "in",
    },
    "version-alert": {"starttls_used": True, "server_hello": False, "alerts": ["in:protocol_version"]},
    "cipher-alert": {"starttls_used": True, "server_hello": False, "alerts": ["in:handshake_failure"]},
    "reset": {"starttls_used": True, "server_hello": True, "tls_version": "TLSv1.3", "reset_by": "in"},
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_stream(name: str) -> None:
    facts = recorded(name)
    assert {k: facts.get(k) for k in RECORDINGS[name]} == RECORDINGS[name]
    assert facts["answered"] is True
    assert facts["syns"] == 1
    assert facts["start"] < facts["end"]


def test_every_recording_is_tested() -> None:
    assert {p.stem for p in WIRE.glob("*.txt")} == set(RECORDINGS)


@pytest.mark.parametrize("name", ["tls-1.3", "tls-1.2", "tls-1.2-static-rsa"])
def test_an_encrypted_stream_shows_no_body_and_says_when_data_went_out(name: str) -> None:
    facts = recorded(name)
    assert "tokens" not in facts
    assert "dialback" not in facts
    assert len(facts["tls_data_out"]) >= 3
    assert facts["tls_data_out"] == sorted(facts["tls_data_out"])
    assert facts["start"] <= facts["tls_data_out"][0]
    assert facts["tls_data_out"][-1] <= facts["end"] + 0.001


def test_what_is_no_and_zero_is_a_fact() -> None:
    """No forward secrecy is what a run may be about; the first stream of a capture has the number 0."""
    assert recorded("tls-1.2-static-rsa")["forward_secrecy"] is False
    assert recorded("cipher-alert")["number"] == 0
    assert "tls_version" not in recorded("cipher-alert")


def test_the_capture_may_begin_after_the_syn() -> None:
    """The well-known port tells who initiated."""
    lines = (WIRE / "cleartext-dialback.txt").read_text().splitlines()
    whole, late = dissect(lines), dissect([x for x in lines if not int(x.split("|")[8], 16) & 2][1:])
    for key in ("initiator", "receiver", "port"):
        assert late[key] == whole[key]
    assert late["syns"] == 0


# --- by hand ------------------------------------------------------------------------------------------------------------


def segment(side: str, data: bytes = b"", *, flags: int = 0x18, time: float = 1.0) -> str:
    """One packet in clear between 10.0.0.1:40000 (the initiator) and 10.0.0.2:5269."""
    fields = [""] * FIELDS
    out = side == "out"
    fields[0], fields[1] = str(time), "7"
    fields[2], fields[3] = ("10.0.0.1", "10.0.0.2") if out else ("10.0.0.2", "10.0.0.1")
    fields[6], fields[7] = ("40000", "5269") if out else ("5269", "40000")
    fields[8], fields[9], fields[17] = hex(flags), str(len(data)), data.hex()
    return "|".join(fields)


OPEN = [segment("out", flags=0x02), segment("in", flags=0x12)]
STARTTLS = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>%s</starttls></stream:features>"
EMPTY = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
NONE = b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"


def cuts(data: bytes, step: int = 7) -> list[tuple[bytes, bytes]]:
    return [(data[:at], data[at:]) for at in range(1, len(data), step)]


@pytest.mark.parametrize(
    ("features", "offered"),
    [(STARTTLS % b"<required/>", "required"), (STARTTLS % b"", "offered"), (EMPTY, "offered"), (NONE, "no")],
)
def test_features_are_read_wherever_a_segment_ends(features: bytes, offered: str) -> None:
    assert dissect([*OPEN, segment("in", features)])["starttls_offered"] == offered
    for head, tail in cuts(features):
        assert dissect([*OPEN, segment("in", head), segment("in", tail)])["starttls_offered"] == offered, head


def test_no_features_is_not_the_same_as_features_without_starttls() -> None:
    assert "starttls_offered" not in dissect([*OPEN, segment("in", b"<stream:stream from='b.example'>")])


@pytest.mark.parametrize(
    ("side", "element", "key", "fact"),
    [
        ("in", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "starttls_used", True),
        ("out", b"<message to='x'><body>cell-0123456789abcdef</body></message>", "tokens", ["cell-0123456789abcdef"]),
        ("in", b"<db:result from='b.example' to='a.example' type='valid'/>", "dialback", ["in:result:valid"]),
        ("in", b"<db:verify from='b.example' to='a.example' id='1' type='invalid'/>", "dialback", ["in:verify:invalid"]),
        ("out", b"<db:result from='a.example' to='b.example'>key</db:result>", "dialback", ["out:result"]),
        (
            "in",
            b"<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
            "stream_errors",
            ["in:policy-violation"],
        ),
    ],
)
def test_an_element_is_one_fact_wherever_a_segment_ends(side: str, element: bytes, key: str, fact: object) -> None:
    assert dissect([*OPEN, segment(side, element)])[key] == fact
    for head, tail in cuts(element, 3):
        assert dissect([*OPEN, segment(side, head), segment(side, tail)])[key] == fact, head


def test_the_two_directions_are_not_mixed() -> None:
    """What the initiator says of STARTTLS is no feature; its own `proceed` is no agreement."""
    facts = dissect([*OPEN, segment("out", EMPTY + b"<proceed/>"), segment("in", NONE[:30]), segment("out", NONE[30:])])
    assert facts["starttls_offered"] == "no"
    assert facts["starttls_used"] is False


def test_an_unanswered_attempt_and_a_refused_one() -> None:
    silent = dissect([segment("out", flags=0x02, time=t) for t in (1.0, 2.0, 4.0)])
    assert (silent["answered"], silent["syns"], silent["end"] - silent["start"]) == (False, 3, 3.0)
    refused = dissect([OPEN[0], segment("in", flags=0x14)])
    assert (refused["answered"], refused["reset_by"]) == (False, "in")


def test_the_first_to_end_a_stream_is_named() -> None:
    facts = dissect(
        [*OPEN, segment("out", flags=0x11), segment("in", flags=0x11), segment("in", flags=0x04), segment("out", flags=0x04)]
    )
    assert (facts["closed_by"], facts["reset_by"]) == ("out", "in")


def test_a_packet_that_is_not_tcp_is_passed_over() -> None:
    dissector = Dissector()
    dissector.feed(["", "1.0|" + "|" * 16, "no fields at all"])
    assert not dissector.streams


def test_forward_secrecy_of_every_suite_in_the_table() -> None:
    for suite in SUITES.values():
        version = "TLSv1.3" if suite.startswith(("TLS_AES", "TLS_CHACHA")) else "TLSv1.2"
        assert forward_secret(suite, version) is ("_WITH_" not in suite or "DHE_" in suite)
    assert forward_secret("0x1234", "TLSv1.2") is None


def test_times_are_thinned_in_the_middle() -> None:
    times = [float(n) for n in range(100)]
    assert thin(times[:40]) == times[:40]
    assert len(thin(times)) == 40
    assert (thin(times)[0], thin(times)[-1]) == (0.0, 99.0)
    assert list(itertools.pairwise(thin(times))) == [(a, b) for a, b in itertools.pairwise(thin(times)) if a < b]


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_the_agent_leaves_out_no_payload_that_is_read(name: str) -> None:
    lines = (WIRE / f"{name}.txt").read_text().splitlines()
    whole = [line + "deadbeef" if line.split("|")[protocol.RECORDS] else line for line in lines]
    assert [protocol.shortened(line) for line in whole] == lines
    assert [protocol.shortened(line) for line in lines] == lines


@pytest.mark.parametrize("line", ["", "|", "x", "|" * 9, "1|2|" + "|" * 8 + "22", "a|b" * 9])
def test_a_line_that_tshark_did_not_write_is_sent_with_as_many_fields_as_it_has(line: str) -> None:
    assert protocol.shortened(line).count("|") == line.count("|")

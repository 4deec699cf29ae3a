"""Verdicts follow from the record alone: on recordings cut from real runs (tests/golden), and on a few lines by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed import store
from testbed.model import CAUSES, Fault, Observation, Outcome, Source
from testbed.store import Record
from testbed.verdict import judge
from testbed.verdict.judge import exit_status

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RECORDINGS = sorted(p.parent.name for p in GOLDEN.glob("*/manifest.json"))

P, E, J = "prosody-trixie-", "ejabberd-trixie-", "jabberd2-trixie-"

JUDGED: dict[tuple[str, str, str, str], tuple[str, str | None, str | None, bool]] = {
    # recording, phase, sender, receiver: outcome, cause, fault, surprise
    ("cutover", "before", P + "opportunistic", J + "cleartext"): ("delivered", None, None, False),
    ("cutover", "before", J + "cleartext", P + "opportunistic"): ("delivered", None, None, False),
    ("cutover", "after", P + "opportunistic", J + "cleartext"): ("bounced", "tls-not-offered", "receiver", False),
    ("cutover", "after", J + "cleartext", P + "opportunistic"): ("bounced", "tls-required", "sender", False),
    ("cutover", "after", P + "opportunistic", E + "opportunistic"): ("delivered", None, None, False),
    ("certificates", "now", "strict", "expired"): ("bounced", "certificate-expired", "receiver", False),
    ("certificates", "now", "expired", "strict"): ("bounced", "certificate-expired", "sender", False),
    ("certificates", "now", "strict", "self-signed"): ("bounced", "certificate-self-signed", "receiver", False),
    ("certificates", "now", "strict", "wrong-host"): ("bounced", "certificate-wrong-host", "receiver", False),
    ("certificates", "now", "strict", "untrusted"): ("bounced", "certificate-untrusted", "receiver", False),
    ("tls-versions", "now", "old", "new"): ("bounced", "no-common-tls-version", None, False),
    ("tls-versions", "now", "old", "ephemeral"): ("delivered", None, None, False),
    ("tls-versions", "now", "static", "strict"): ("bounced", "no-common-cipher", "sender", False),
    ("tls-versions", "now", "ephemeral", "static"): ("bounced", "no-common-cipher", "receiver", False),
    ("strict", "after", E + "authenticated", J + "encrypted"): ("bounced", "no-authentication-mechanism", None, False),
    ("strict", "after", J + "encrypted", E + "authenticated"): ("bounced", "no-authentication-mechanism", None, False),
    ("dialback", "after", J + "authenticated", E + "encrypted"): ("bounced", "dialback-failed", None, True),
    ("torn-down", "after", J + "encrypted", J + "authenticated"): ("bounced", "connection-closed", None, True),
    ("torn-down", "after", J + "authenticated", J + "encrypted"): ("bounced", "negotiation-timeout", None, True),
    ("interference", "before", P + "opportunistic", J + "authenticated"): ("delivered", None, None, False),
    ("handshake", "before", P + "opportunistic", "jabberd2-sid-authenticated"): ("bounced", "tls-handshake-failed", None, True),
}

CHANNELS: dict[tuple[str, str, str, str], dict[str, Any]] = {
    ("cutover", "before", J + "cleartext", P + "opportunistic"): {
        "encryption": "cleartext", "tls_version": None, "forward_secrecy": None, "authentication": "dialback",
        "body_in_clear": True,
    },
    ("cutover", "after", P + "opportunistic", E + "opportunistic"): {
        "encryption": "tls", "tls_version": "TLSv1.3", "forward_secrecy": True, "authentication": "external",
        "body_in_clear": False,
    },
    ("interference", "before", P + "opportunistic", J + "authenticated"): {
        "encryption": "tls", "tls_version": "TLSv1.3", "authentication": "dialback", "body_in_clear": False,
    },
    ("tls-versions", "now", "old", "ephemeral"): {
        "encryption": "tls", "tls_version": "TLSv1.2", "cipher": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "forward_secrecy": True,
    },
    ("tls-versions", "now", "static", "strict-too"): {
        "encryption": "tls", "tls_version": "TLSv1.2", "cipher": "TLS_RSA_WITH_AES_256_GCM_SHA384", "forward_secrecy": False,
    },
}  # fmt: skip


def recorded(name: str, phase: str, sender: str, receiver: str) -> dict[str, Any]:
    cells = judge(store.load(GOLDEN / name))["cells"]
    return next(c for c in cells if c["id"] == f"{phase}/{sender}.example/{receiver}.example/message")


@pytest.mark.parametrize("place", JUDGED, ids="/".join)
def test_a_recorded_cell(place: tuple[str, str, str, str]) -> None:
    cell = recorded(*place)
    assert (cell["outcome"], cell["cause"], cell["fault"], cell["surprise"]) == JUDGED[place]


@pytest.mark.parametrize("place", CHANNELS, ids="/".join)
def test_the_channel_of_a_recorded_delivery(place: tuple[str, str, str, str]) -> None:
    channel = recorded(*place)["channel"]
    assert {k: channel[k] for k in CHANNELS[place]} == CHANNELS[place]


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_planned_cell_has_one_verdict_with_evidence(name: str) -> None:
    record = store.load(GOLDEN / name)
    verdicts = judge(record)
    assert [c["id"] for c in verdicts["cells"]] == [c.id for c in store.planned_cells(record.manifest)]
    assert verdicts["complete"] is True
    lines = (GOLDEN / name / "observations.jsonl").read_text().splitlines()
    for cell in verdicts["cells"]:
        assert (cell["cause"] is None) == (cell["outcome"] == "delivered")
        assert cell["cause"] in (None, *CAUSES)
        assert cell["cause"] != "unknown"
        assert cell["explanation"]
        numbers = [int(e.partition("#")[2]) for e in cell["evidence"] if e.startswith("observations.jsonl#")]
        assert numbers
        for number in numbers:
            line = lines[number - 1]
            assert cell["id"] in line or (cell["sender"] in line and cell["receiver"] in line)


@pytest.mark.parametrize("name", RECORDINGS)
def test_judging_again_gives_the_same(name: str) -> None:
    assert judge(store.load(GOLDEN / name)) == judge(store.load(GOLDEN / name))


def test_what_the_mesh_saw_otherwise_is_told() -> None:
    cell = recorded("interference", "before", P + "opportunistic", J + "authenticated")
    assert cell["interference"] == {"mesh": "bounced", "alone": "delivered"}
    assert cell["attempts"] == 2
    assert "interference" not in recorded("interference", "after", P + "opportunistic", J + "authenticated")


WITHOUT_RECORDING = {
    "certificate-missing", "certificate-not-yet-valid", "certificate-purpose", "dialback-refused", "dns", "image-unavailable",
    "policy-not-expressible", "remote-server-error", "testbed", "unknown", "unreachable",
}  # fmt: skip
"""Causes that no golden recording yields yet; whoever records one takes it off here."""


def test_every_cause_has_a_recording_or_is_known_to_have_none() -> None:
    found = {c["cause"] for name in RECORDINGS for c in judge(store.load(GOLDEN / name))["cells"]} - {None}
    assert found | WITHOUT_RECORDING == set(CAUSES)
    assert not found & WITHOUT_RECORDING


# --- by hand ------------------------------------------------------------------------------------------------------------

A, B = "a.example", "b.example"
CELL = f"now/{A}/{B}/message"
POLICIES = {
    "cleartext": {"encryption": "none", "authentication": ["dialback"]},
    "opportunistic": {"encryption": "offered", "authentication": ["dialback", "external"]},
    "encrypted": {"encryption": "required", "authentication": ["dialback", "external"]},
    "authenticated": {"encryption": "required", "authentication": ["external"]},
}


def manifest(a: str = "opportunistic", b: str = "opportunistic", **server: Any) -> dict[str, Any]:
    """Two servers that can do everything, set to two presets; ``server`` changes the receiver's."""
    one = {
        "implementation": "x", "release": "1", "title": "X", "image": "sha256:0", "unavailable": None, "certificate": "ca",
        "mechanisms": ["dialback", "external"], "dialback_over_verified": False,
    }  # fmt: skip
    rest = {"tls_min": None, "tls_max": None, "forward_secrecy": "any"}
    settings = {
        domain: {
            "policy": preset, "certificate": "ca", "defect": None, "unsupported": None,
            "dimensions": POLICIES[preset] | rest, "effective": POLICIES[preset] | rest,
        }
        for domain, preset in ((A, a), (B, b))
    }  # fmt: skip
    return {
        "schema": 1, "run": "r", "scenario": "t", "title": "t", "started": "2014-05-19T00:00:00+00:00", "timers": "short",
        "isolated": False,
        "servers": [{**one, "domain": A, "index": 0, "policy": a}, {**one, "domain": B, "index": 1, "policy": b, **server}],
        "phases": [{"name": "now", "settings": settings}],
        "exchanges": ["message"], "planned": {A: [B]}, "remedies": {"x": []},
    }  # fmt: skip


def seen(source: Source, kind: str, time: float, epoch: str = "mesh", **data: Any) -> Observation:
    """An observation of the one cell; its token is the epoch's."""
    return Observation(time, source, kind, "now", epoch, CELL, {"token": f"cell-{epoch}", **data})


def attempt(time: float = 1.0, epoch: str = "mesh") -> list[Observation]:
    return [seen(Source.ENGINE, "attempt", time, epoch), seen(Source.SENDER, "sent", time + 0.1, epoch)]


def received(time: float = 2.0, epoch: str = "mesh") -> Observation:
    return seen(Source.RECEIVER, "received", time, epoch, sender=f"tester@{A}")


def bounced(time: float = 2.0, epoch: str = "mesh") -> Observation:
    return seen(Source.SENDER, "error", time, epoch, by=B, condition="remote-server-timeout")


def silence(sender: bool = True, receiver: bool = True, epoch: str = "mesh") -> Observation:
    data = {"waited": 25.0, "sender_alive": sender, "receiver_alive": receiver}
    return Observation(30.0, Source.ENGINE, "silence", "now", epoch, CELL, data)


def stream(time: float = 1.2, epoch: str = "mesh", **data: Any) -> Observation:
    facts = {"sender": A, "receiver": B, "start": time, "end": time + 3, "answered": True, "tls_data_out": [time], **data}
    return Observation(time, Source.WIRE, "stream", "now", epoch, None, facts)


def verdicts(observations: list[Observation], planned: dict[str, Any] | None = None, *, complete: bool = True) -> dict[str, Any]:
    return judge(Record(Path("r"), planned or manifest(), tuple(observations), complete))


def one(observations: list[Observation], planned: dict[str, Any] | None = None) -> dict[str, Any]:
    (cell,) = verdicts(observations, planned)["cells"]
    return dict(cell)


def test_a_cell_of_which_nothing_is_recorded_is_inconclusive() -> None:
    """What is not there says nothing: neither delivered nor lost."""
    cell = one([])
    assert (cell["outcome"], cell["cause"], cell["fault"], cell["surprise"]) == ("inconclusive", "testbed", "testbed", False)
    assert cell["channel"]["encryption"] is None


def test_an_attempt_without_an_end_is_inconclusive() -> None:
    assert one(attempt())["outcome"] == "inconclusive"


@pytest.mark.parametrize(
    ("alive", "outcome"),
    [
        ((True, True), "lost"),
        ((False, True), "inconclusive"),
        ((True, False), "inconclusive"),
        ((False, False), "inconclusive"),
    ],
)
def test_a_silence_counts_only_if_both_clients_are_proven_alive(alive: tuple[bool, bool], outcome: str) -> None:
    cell = one([*attempt(), silence(*alive)])
    assert cell["outcome"] == outcome
    if outcome == "inconclusive":
        dead = [d for d, well in ((A, alive[0]), (B, alive[1])) if not well]
        assert all(d in cell["explanation"] for d in dead)
        assert cell["fault"] == "testbed"
    else:
        assert cell["surprise"] is True, "RFC 6120 §10.4: the sender ought to have been told"


def test_a_silence_of_which_liveness_is_not_recorded_is_inconclusive() -> None:
    cell = one([*attempt(), Observation(30.0, Source.ENGINE, "silence", "now", "mesh", CELL, {"waited": 25.0})])
    assert cell["outcome"] == "inconclusive"


@pytest.mark.parametrize("order", [(2.0, 3.0), (3.0, 2.0)])
def test_a_receipt_beats_an_error_whichever_came_first(order: tuple[float, float]) -> None:
    cell = one([*attempt(), *sorted([received(order[0]), bounced(order[1])], key=lambda o: o.time)])
    assert cell["outcome"] == "delivered"
    assert cell["cause"] is None


def test_an_error_is_a_bounce_and_says_how_long_it_took() -> None:
    cell = one([*attempt(1.0), bounced(3.5)])
    assert cell["outcome"] == "bounced"
    assert cell["seconds"] == pytest.approx(2.4)


def test_a_client_that_lost_its_own_server_says_nothing_of_the_other() -> None:
    assert one([seen(Source.ENGINE, "attempt", 1.0), seen(Source.SENDER, "unsendable", 1.1)])["outcome"] == "inconclusive"


@pytest.mark.parametrize(
    ("mesh", "alone", "outcome"),
    [(bounced, received, "delivered"), (received, bounced, "bounced"), (received, received, "delivered")],
)
def test_the_pair_alone_beats_the_mesh(mesh: Any, alone: Any, outcome: str) -> None:
    cell = one([*attempt(), mesh(), *attempt(5.0, "alone-1"), alone(6.0, "alone-1")])
    assert (cell["outcome"], cell["attempts"]) == (outcome, 2)
    if mesh is alone:
        assert "interference" not in cell
    else:
        told = {received: "delivered", bounced: "bounced"}
        assert cell["interference"] == {"mesh": told[mesh], "alone": told[alone]}


def test_a_mesh_that_could_not_tell_is_told_too() -> None:
    cell = one([*attempt(), silence(receiver=False), *attempt(5.0, "alone-1"), received(6.0, "alone-1")])
    assert cell["outcome"] == "delivered"
    assert cell["interference"] == {"mesh": "inconclusive", "alone": "delivered"}


def test_an_answer_of_one_epoch_is_not_another_s() -> None:
    """A late receipt of the mesh does not deliver what was lost alone."""
    cell = one([*attempt(), *attempt(5.0, "alone-1"), received(6.0, "mesh"), silence(epoch="alone-1")])
    assert cell["outcome"] == "lost"


def test_a_silence_of_one_epoch_is_not_another_s() -> None:
    cell = one([*attempt(), *attempt(5.0, "alone-1"), silence(epoch="mesh")])
    assert cell["outcome"] == "inconclusive"


def test_a_channel_comes_from_the_wire_not_from_the_policy() -> None:
    secret = stream(server_hello=True, tls_version="TLSv1.2", cipher="TLS_RSA_WITH_AES_128_GCM_SHA256", forward_secrecy=False)
    channel = one([*attempt(), received(), secret])["channel"]
    assert (channel["encryption"], channel["tls_version"], channel["forward_secrecy"]) == ("tls", "TLSv1.2", False)
    clear = one([*attempt(), received(), stream(tokens=["cell-mesh"], dialback=["out:result", "in:result:valid"])])
    assert (clear["channel"]["encryption"], clear["channel"]["authentication"]) == ("cleartext", "dialback")
    assert clear["surprise"] is True, "two that both offer TLS ought to have used it"


def test_a_stream_of_another_epoch_or_the_other_way_is_not_the_channel() -> None:
    back = replace(
        stream(server_hello=True, tls_version="TLSv1.3"), data=stream(server_hello=True).data | {"sender": B, "receiver": A}
    )
    elsewhere = stream(epoch="alone-1", server_hello=True, tls_version="TLSv1.3")
    assert one([*attempt(), received(), back, elsewhere])["channel"]["encryption"] is None


@pytest.mark.parametrize(
    ("a", "b", "cause", "fault"),
    [("encrypted", "cleartext", "tls-not-offered", Fault.RECEIVER), ("cleartext", "encrypted", "tls-required", Fault.SENDER)],
)
def test_who_has_no_encryption_is_at_fault(a: str, b: str, cause: str, fault: Fault) -> None:
    cell = one([*attempt(), bounced(), stream(starttls_offered="no")], manifest(a, b))
    assert (cell["outcome"], cell["cause"], cell["fault"], cell["surprise"]) == ("bounced", cause, fault.value, False)


def test_nothing_answered_is_unreachable_and_nothing_tried_is_dns() -> None:
    assert one([*attempt(), bounced(), stream(answered=False)])["cause"] == "unreachable"
    told = seen(Source.SENDER, "error", 2.0, by=A, condition="remote-server-not-found")
    cell = one([*attempt(), told])
    assert (cell["cause"], cell["fault"]) == ("dns", "network")


def test_a_failure_that_nothing_explains_is_unknown_and_a_surprise() -> None:
    cell = one([*attempt(), bounced(), stream()])
    assert (cell["cause"], cell["surprise"]) == ("unknown", True)


def test_a_policy_that_cannot_be_expressed_is_unsupported_with_its_reason() -> None:
    planned = manifest()
    planned["phases"][0]["settings"][B]["unsupported"] = "X cannot express tls_max=1.0: why"
    cell = one([*attempt(), received()], planned)
    assert (cell["outcome"], cell["cause"], cell["surprise"]) == ("unsupported", "policy-not-expressible", False)
    assert cell["explanation"] == "X cannot express tls_max=1.0: why"


def test_an_image_that_cannot_be_had_is_a_reason_and_sinks_no_run() -> None:
    found = verdicts([], manifest(unavailable="no such package"))
    (cell,) = found["cells"]
    assert (cell["outcome"], cell["cause"], cell["fault"]) == ("inconclusive", "image-unavailable", "testbed")
    assert "no such package" in cell["explanation"]


def test_exit_status() -> None:
    good = [*attempt(), received(), stream(server_hello=True, tls_version="TLSv1.3")]
    assert exit_status(verdicts(good)) == 0
    assert exit_status(verdicts([*attempt(), bounced()])) == 1
    assert exit_status(verdicts([*attempt(), silence(False, True)])) == 3
    assert exit_status(verdicts(good, complete=False)) == 3
    assert exit_status(verdicts([])) == 3
    assert exit_status(verdicts([*attempt(), received()])) == 3, "delivered, but the wire did not show over what"


@pytest.mark.parametrize("name", RECORDINGS)
def test_less_record_never_makes_a_better_verdict(name: str) -> None:
    """A run that was killed: what was not recorded any more becomes inconclusive, or stays what it was."""
    record = store.load(GOLDEN / name)
    whole = {c["id"]: c["outcome"] for c in judge(record)["cells"]}
    for length in range(0, len(record.observations), 7):
        cut = replace(record, observations=record.observations[:length], complete=False)
        found = judge(cut)
        assert found["complete"] is False
        for cell in found["cells"]:
            interference = cell["id"].startswith("before/") and name == "interference"
            assert cell["outcome"] in (whole[cell["id"]], Outcome.INCONCLUSIVE.value) or interference

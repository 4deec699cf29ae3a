"""Goes through every planned cell and says outcome, channel, cause, fault, expectation. Pure.

What a cell means, and which of its attempts decides, stands in `weigh`; the cause of a failure is found by `rules`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from testbed.causes import Inconclusive, inconclusive_as
from testbed.expectations import Side, expect
from testbed.judge.evidence import Attempt, Evidence, Numbered
from testbed.judge.explain import explain
from testbed.judge.rules import Case, cause_of, fault_of
from testbed.judge.weigh import Weighed, weigh
from testbed.model import SCHEMA, Cell, Expectation, Outcome, Policy
from testbed.record.observations import Observation
from testbed.record.store import Record, planned_cells
from testbed.record.verdicts import Channel, Fault, Interference, ThirdParty, Verdict

SLACK = 0.05
"""Seconds by which client and capture may differ: both read one clock, at different ends of their queues."""
AFTERMATH = 0.25
"""Seconds after the sender was told within which a stream may still begin that belongs to the cell."""
WRITTEN_LATE = 2.0
"""Seconds after the sender was told within which a log may still say why: lines are stamped late on a loaded machine."""
LONGEST = 30.0
"""Seconds after which an attempt without an answer no longer counts as going on."""
MOST_PARTIES = 3
"""Third parties that are named for one cell."""
SHOWN_SETTINGS = ("policy", "certificate", "dimensions", "unsupported")


def judge(record: Record) -> dict[str, Any]:
    """``verdicts.json`` as a dict."""
    court = Court(record)
    verdicts = [court.verdict(cell) for cell in planned_cells(record.manifest)]
    manifest = record.manifest
    return {
        "schema": SCHEMA,
        "run": record.id,
        "scenario": manifest["scenario"],
        "title": manifest["title"],
        "started": manifest["started"],
        "timers": manifest["timers"],
        "seed": manifest.get("seed"),
        "revision": manifest.get("revision"),
        "machine": manifest.get("machine"),
        "isolated": manifest["isolated"],
        "complete": record.complete,
        "servers": [court.server(s) for s in manifest["servers"]],
        "phases": [
            {"name": p["name"], "settings": {d: {k: s[k] for k in SHOWN_SETTINGS} for d, s in p["settings"].items()}}
            for p in manifest["phases"]
        ],
        "controls": [
            {"phase": o.phase, "when": o.data["when"], "ok": o.data["ok"], "reason": o.data.get("reason")}
            for _, o in court.evidence.controls
        ],
        "storms": [{"phase": p, "epoch": e, **s} for (p, e), storms in court.evidence.storms.items() for s in storms],
        "timing": next((dict(o.data) for o in reversed(record.observations) if o.kind == "timing"), {}),
        "cells": [v.to_json() for v in verdicts],
    }


def exit_status(verdicts: dict[str, Any]) -> int:
    """0 as expected · 1 surprises · 3 the testbed could not tell.

    It could not tell where the control pair did not get through, a cell is inconclusive, or delivered over a channel that the
    wire did not show. An image that is unavailable is reported, but fails no run.
    """
    cells = verdicts["cells"]
    # What differs from attempt to attempt under the same conditions is the servers' own: a surprise, no failure to tell.
    cannot = [c for c in cells if c["outcome"] == "inconclusive" and inconclusive_as(c["cause"]) is Inconclusive.CANNOT_TELL]
    unseen = [c for c in cells if c["outcome"] == "delivered" and c["channel"]["encryption"] is None]
    failed = [c for c in verdicts.get("controls", []) if not c["ok"]]
    if (
        not verdicts["complete"]
        or failed
        or cannot
        or unseen
        or not any(c["outcome"] in ("delivered", "bounced", "lost") for c in cells)
    ):
        return 3
    return 1 if any(c["surprise"] for c in cells) else 0


class Court:
    """One record, and what is known of its servers."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.evidence = Evidence(record)
        self.servers = {s["domain"]: s for s in record.manifest["servers"]}
        self.settings = {p["name"]: p["settings"] for p in record.manifest["phases"]}

    def server(self, planned: dict[str, Any]) -> dict[str, Any]:
        """A server as JSON, with the version that its running package stated."""
        shown = {k: planned[k] for k in ("domain", "implementation", "release", "title", "index", "unavailable")}
        shown["version"] = self.evidence.versions.get((planned["implementation"], planned["release"]))
        return shown | ({"mine": True} if planned.get("mine") else {})

    def expectation(self, cell: Cell) -> Expectation:
        """What ought to happen; `inconclusive` where a side's configuration is the user's own and not known well enough."""
        sides = []
        for domain in (cell.sender, cell.receiver):
            settings, server = self.settings[cell.phase][domain], self.servers[domain]
            if unknown := settings.get("unknown"):
                return Expectation(Outcome.INCONCLUSIVE, f"of {domain} nothing can be expected: {unknown}")
            policy = Policy.recorded(settings["policy"], settings["effective"])
            sides.append(Side(policy, settings["defect"], tuple(server["mechanisms"]), server["dialback_over_verified"]))
        return expect(sides[0], sides[1])

    def verdict(self, cell: Cell) -> Verdict:
        """The judgement of one cell."""
        expected = self.expectation(cell)
        if reason := self.not_expressible(cell):
            return Verdict(cell, Outcome.UNSUPPORTED, Channel(), "policy-not-expressible", None, reason, expected, False, None, 0)
        attempts = self.evidence.attempts.get(cell.id, [])
        if not attempts:
            word, text = self.why_not_measured(cell)
            return self.cannot_say(cell, expected, word, text)
        weighed = weigh(attempts, lambda a: None if self.testbed_failed(a, cell) else outcome_of(a))
        deciding, outcome = weighed.deciding, weighed.outcome
        if outcome is None:
            if weighed.flaky:
                text = f"attempts under the same conditions came out differently: {', '.join(weighed.flaky)}"
                return replace(
                    self.cannot_say(cell, expected, "unstable", text, len(attempts)),
                    fault=None,
                    surprise=True,
                    flaky=weighed.flaky,
                    evidence=self.references(cell, deciding),
                )
            reason = self.testbed_failed(deciding, cell) or "nothing was seen"
            return self.cannot_say(cell, expected, "testbed", reason, len(attempts))
        channel, cause, named_by, fault, explained = Channel(), None, None, None, None
        if outcome is Outcome.DELIVERED:
            channel = self.channel(cell, deciding)
        else:
            case = self.case(cell, deciding)
            cause, named_by = cause_of(case)
            fault = fault_of(cause, case)
            known = self.record.manifest.get("remedies", {})
            explained = explain(outcome, cause, fault, self.servers[cell.sender], self.servers[cell.receiver], known)
        ended = deciding.received or deciding.bounced
        surprise = not agrees(outcome, channel, expected)
        doubted = (cell.phase, frozenset((cell.sender, cell.receiver))) in self.evidence.unconfirmed
        confirmed = None
        if surprise or doubted or outcome is not Outcome.DELIVERED:
            confirmed = weighed.alone if surprise or doubted else weighed.agreeing > 1
        return Verdict(
            cell=cell,
            outcome=outcome,
            channel=channel,
            cause=cause,
            fault=fault,
            explanation=explained.text if explained else delivered_over(channel),
            expected=expected,
            surprise=surprise,
            seconds=round(ended - (deciding.sent or deciding.started), 3) if ended else None,
            attempts=len(attempts),
            evidence=self.references(cell, deciding),
            reason=explained.reason if explained else None,
            remedies=explained.remedies if explained else (),
            history_dependent=weighed.history,
            interference=self.interference(cell, weighed),
            cause_from=named_by,
            confirmed=confirmed,
        )

    def cannot_say(self, cell: Cell, expected: Expectation, cause: str, text: str, attempts: int = 0) -> Verdict:
        """The testbed's own failure: counted as neither delivery nor its opposite."""
        return Verdict(cell, Outcome.INCONCLUSIVE, Channel(), cause, Fault.TESTBED, text, expected, False, None, attempts)

    def references(self, cell: Cell, attempt: Attempt) -> tuple[str, ...]:
        """Where to look: lines of the record, and both logs."""
        streams = [n for n, _ in self.evidence.streams(cell, attempt.epoch)][:3]
        lines = [f"observations.jsonl#{n}" for n in [*attempt.lines, *streams]]
        return (*lines, *(f"evidence/{cell.phase}/{attempt.epoch}/{d}.log.gz" for d in (cell.sender, cell.receiver)))

    # --- what could not be measured ---

    def not_expressible(self, cell: Cell) -> str | None:
        """Why a side cannot be set to its policy."""
        reasons = [self.settings[cell.phase][d]["unsupported"] for d in (cell.sender, cell.receiver)]
        return next((r for r in reasons if r), None)

    def why_not_measured(self, cell: Cell) -> tuple[str, str]:
        """Cause and sentence for a cell without any attempt."""
        for domain in (cell.sender, cell.receiver):
            server = self.servers[domain]
            if server["unavailable"]:
                return (
                    "image-unavailable",
                    f"{server['implementation']}@{server['release']} is unavailable: {server['unavailable']}",
                )
            for (phase, _, broken), (_, o) in self.evidence.broken.items():
                if phase == cell.phase and broken == domain:
                    return (
                        "image-unavailable" if o.kind == "server-failed" else "testbed",
                        f"{domain} was not there: {o.data.get('reason')}",
                    )
        return "testbed", "the run ended before this cell was measured"

    def testbed_failed(self, attempt: Attempt, cell: Cell) -> str | None:
        """Why an attempt says nothing of the servers; None if it does."""
        if attempt.received or attempt.bounced:
            return None
        if attempt.unsendable:
            return "the sender's client had lost its own server"
        if attempt.silence is None:
            return "the run ended before an answer, or its time, came"
        dead = [
            d for d, key in ((cell.sender, "sender_alive"), (cell.receiver, "receiver_alive")) if not attempt.silence.get(key)
        ]
        if dead:
            return f"nothing came, and the client at {' and '.join(dead)} was not proven alive afterwards"
        return None

    def interference(self, cell: Cell, weighed: Weighed) -> Interference | None:
        """That third parties made another outcome of the cell in the mesh."""
        if not (weighed.disturbed and weighed.mesh and weighed.outcome):
            return None
        return Interference(weighed.mesh, weighed.outcome, self.third_parties(cell, weighed.disturbed))

    def third_parties(self, cell: Cell, attempt: Attempt) -> tuple[ThirdParty, ...]:
        """Whose broken streams with one of the two were open while the mesh's attempt went on; storms first."""
        ends = {cell.sender, cell.receiver}
        found = {
            (s["sender"], s["receiver"]): "connection attempts without a pause, cut by the gate"
            for s in self.evidence.storms.get((cell.phase, attempt.epoch), [])
            if len(ends & {s["sender"], s["receiver"]}) == 1
        }
        end = min(attempt.end, attempt.started + LONGEST)
        for o in self.evidence.others(cell, attempt.epoch, attempt.started - SLACK, end + SLACK):
            if o.data.get("alerts"):
                why = f"a TLS alert at that time: {', '.join(a.partition(':')[2] for a in o.data['alerts'])}"
            elif o.data.get("offered_versions") and not o.data.get("server_hello"):
                why = "a TLS handshake that ended at the ClientHello at that time"
            elif o.data.get("server_hello") and o.data.get("reset_by"):
                why = "a TLS stream that was reset at that time"
            else:
                continue
            found.setdefault((o.data["sender"], o.data["receiver"]), why)
        return tuple(ThirdParty(a, b, why) for (a, b), why in list(found.items())[:MOST_PARTIES])

    # --- channel ---

    def channel(self, cell: Cell, attempt: Attempt) -> Channel:
        """The stream in which the stanza's body was seen, or else the one that carried data when it was delivered."""
        streams = [o for _, o in self.evidence.streams(cell, attempt.epoch)]
        clear = [s for s in streams if attempt.token in s.data.get("tokens", [])]
        if clear:
            authentication = (
                "dialback"
                if any("in:result:valid" in s.data.get("dialback", []) for s in clear)
                else self.authentication(cell, attempt)
            )
            return Channel("cleartext", None, None, None, authentication or "none", True)
        stream = self.carrier(streams, attempt)
        if stream is None:
            return Channel(
                authentication=self.authentication(cell, attempt),
                body_in_clear=False if (cell.phase, attempt.epoch) in self.evidence.dissected else None,
            )
        d = stream.data
        return Channel(
            "tls", d.get("tls_version"), d.get("cipher"), d.get("forward_secrecy"), self.authentication(cell, attempt), False
        )

    def carrier(self, streams: list[Observation], attempt: Attempt) -> Observation | None:
        """The TLS stream with data from the sender's server between the writing and the delivery; the one with the latest."""
        low, high = (attempt.sent or attempt.started) - SLACK, (attempt.received or attempt.end) + SLACK
        best: tuple[float, Observation] | None = None
        for stream in streams:
            if not stream.data.get("server_hello"):
                continue
            times = [t for t in stream.data.get("tls_data_out", []) if low <= t <= high]
            if times and (best is None or times[-1] > best[0]):
                best = (times[-1], stream)
        if best:
            return best[1]
        # the times of a long stream are thinned out: one that spans the moment will do if it is the only one
        spanning = [s for s in streams if s.data.get("server_hello") and s.data["start"] <= high and s.data["end"] >= low]
        return spanning[0] if len(spanning) == 1 else None

    def authentication(self, cell: Cell, attempt: Attempt) -> str | None:
        """The mechanism that the logs name for the sender's stream, last before the delivery; the receiver's word first."""
        for by, direction in ((cell.receiver, "in"), (cell.sender, "out")):
            said = [
                o for _, o in self.evidence.said(cell, attempt.epoch, by=by, direction=direction)
                if o.kind == "s2s-authenticated" and o.data.get("mechanism") and o.time <= attempt.end + 1
            ]  # fmt: skip
            if said:
                return str(said[-1].data["mechanism"])
        return None

    # --- causes ---

    def case(self, cell: Cell, attempt: Attempt) -> Case:
        """The evidence of a failed cell, for the rules."""
        e, epoch = self.evidence, attempt.epoch
        # What came after the answer belongs to the other direction, or to a retry that this stanza knows nothing of. What a log
        # says of this direction is another matter: it is written late, and a retry fails for the same cause.
        soon, late = attempt.end + AFTERMATH, attempt.end + WRITTEN_LATE

        def until(found: list[Numbered], latest: float = soon) -> list[Observation]:
            return [o for _, o in found if o.time <= latest]

        return Case(
            sender=self.settings[cell.phase][cell.sender],
            receiver=self.settings[cell.phase][cell.receiver],
            streams=until(e.streams(cell, epoch)),
            back=until(e.streams(cell, epoch, back=True)),
            sender_log=until(e.said(cell, epoch, by=cell.sender, direction="out"), late),
            receiver_log=until(e.said(cell, epoch, by=cell.receiver, direction="in"), late),
            back_log=until(
                e.said(cell, epoch, by=cell.receiver, direction="out") + e.said(cell, epoch, by=cell.sender, direction="in")
            ),
            error=attempt.error,
            verifies=tuple(tuple(self.servers[d].get("verifies", ("chain", "name"))) for d in (cell.sender, cell.receiver)),
            began=attempt.started,
            ended=attempt.end,
            dissected=self.record.complete or (cell.phase, epoch) in e.dissected,
        )


def delivered_over(channel: Channel) -> str:
    """The explanation of a delivery: over what, and how the sender's domain was proven."""
    over = {"tls": f"over {channel.tls_version or 'TLS'}", "cleartext": "in cleartext"}.get(
        channel.encryption or "", "over a channel that the wire did not show"
    )
    proven = {"external": ", authenticated by certificate", "dialback": ", authenticated by dialback"}.get(
        channel.authentication or "", ""
    )
    return f"delivered {over}{proven}"


def outcome_of(attempt: Attempt) -> Outcome:
    """What the clients saw; a receipt counts even if an error came too."""
    if attempt.received:
        return Outcome.DELIVERED
    return Outcome.BOUNCED if attempt.bounced else Outcome.LOST


def agrees(outcome: Outcome, channel: Channel, expected: Expectation) -> bool:
    """Whether a cell is as expected; a delivery also in its encryption, where the wire showed it."""
    if expected.outcome is Outcome.INCONCLUSIVE:
        return True  # where nothing can be expected, nothing is a surprise
    if outcome is not expected.outcome:
        return False
    if outcome is Outcome.DELIVERED and channel.encryption and expected.encryption:
        return channel.encryption == expected.encryption
    return True

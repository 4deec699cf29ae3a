"""A real server that goes on from one pair measured alone to the next: what record, wire and logs say of each epoch."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed import campaign
from testbed.engine import federation
from testbed.engine.images import Images
from testbed.measure.alone import Alone
from testbed.measure.epoch import Epoch

pytestmark = pytest.mark.engine

DEAR = "dear.example"
SCENARIO = """
name: kept
title: one server whose start is dear, and three that are known for crosstalk
servers:
  - {implementation: ejabberd@trixie, policy: opportunistic, domain: dear.example}
  - {implementation: jabberd2@trixie, policy: authenticated, domain: first.example}
  - {implementation: jabberd2@trixie, policy: authenticated, domain: second.example}
  - {implementation: jabberd2@trixie, policy: authenticated, domain: third.example}
phases:
  - name: now
"""


def measured(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A run of the three pairs of the dear server: its folder, and what it recorded of what was measured alone."""
    (folder / "kept.yaml").write_text(SCENARIO)
    planned = campaign.plan(folder / "kept.yaml")
    pairs = tuple(pair for pair in planned.plan.pairs if DEAR in pair)
    run = campaign.measure(replace(planned, plan=replace(planned.plan, pairs=pairs)), results=folder / "results")
    lines = (run.path / "observations.jsonl").read_text().splitlines()
    return run.path, [o for o in map(json.loads, lines) if str(o.get("epoch", "")).startswith("alone")]


def by_epoch(record: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    epochs = defaultdict(list)
    for o in record:
        epochs[o["epoch"]].append(o)
    return epochs


def test_one_start_measures_several_peers_and_the_epochs_do_not_mix(built: Images, tmp_path: Path) -> None:
    del built
    path, record = measured(tmp_path)
    epochs = by_epoch(record)
    peers = {
        e: next(d for o in known if o["kind"] == "epoch-started" for d in o["data"]["servers"] if d != DEAR)
        for e, known in epochs.items()
    }
    started = [
        e for e, known in epochs.items() if any(o["kind"] == "server-started" and o["data"]["domain"] == DEAR for o in known)
    ]
    kept = {e: o["data"] for e, known in epochs.items() for o in known if o["kind"] == "server-kept"}
    assert len(epochs) >= 3
    assert kept, "one start served more than one epoch"
    assert set(started).isdisjoint(kept)
    assert {*started, *kept} == set(epochs), "it was there in each"
    for epoch, data in kept.items():
        before = [e for e in epochs if e == data["since"] or kept.get(e, {}).get("since") == data["since"]]
        assert len({peers[e] for e in before}) == len(before), "with one start it met nobody twice"
        assert data["address"] == next(
            o["data"]["address"] for o in epochs[data["since"]] if o["kind"] == "server-started" and o["data"]["domain"] == DEAR
        )
        assert epoch != data["since"]
    for epoch, known in epochs.items():
        pair = {DEAR, peers[epoch]}
        streams = [o for o in known if o["kind"] == "stream"]
        assert streams, "its wire is its own"
        assert all({o["data"]["sender"], o["data"]["receiver"]} == pair for o in streams)
        logged = [o for o in known if o["source"] == "log"]
        assert {o["data"]["server"] for o in logged} == pair
        assert all({o["data"]["server"], o["data"]["peer"]} == pair for o in logged)
        text = gzip.decompress((path / "evidence" / "now" / epoch / f"{DEAR}.log.gz").read_bytes()).decode()
        assert peers[epoch] in text
        order = list(epochs).index(epoch) + 1
        earlier, later = (set(list(peers.values())[part]) for part in (slice(order), slice(order, None)))
        unknown = [p for p in later - earlier if p in text]
        assert not unknown, "nor does its log say anything of those after; of one before a line may be late"
        taken = [o["data"] for o in known if o["kind"] == "log-taken-in"]
        assert {t["domain"] for t in taken if t["ok"]} == pair
        assert not [o for o in known if o["kind"] in ("server-failed", "disconnected", "epoch-failed")]


def test_a_server_that_dies_while_it_is_kept_has_failed_only_where_it_died(
    built: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed when its second peer is measured; the third has another start of it."""
    del built
    deaths: list[str] = []
    pair = Alone._serve

    async def serve(self: Alone, berth: Any, epoch: Epoch) -> None:
        await pair(self, berth, epoch)
        if epoch.kept and not deaths:
            deaths.append(epoch.name)
            await self.parts.workers.do(
                lambda: federation.execute(epoch.berths[DEAR].container, ["pkill", "-9", "beam"], user="root")
            )

    monkeypatch.setattr(Alone, "_serve", serve)
    _, record = measured(tmp_path)
    assert len(deaths) == 1
    failed = {(o["epoch"], o["data"]["domain"]) for o in record if o["kind"] == "server-failed"}
    assert failed == {(deaths[0], DEAR)}
    received = defaultdict(set)
    for o in record:
        if o["kind"] in ("received", "error"):
            received[o["epoch"]].add(o["cell"])
    others = set(by_epoch(record)) - set(deaths)
    assert len(others) >= 2
    assert all(len(received[e]) == 2 for e in others), "both directions have their answer there"

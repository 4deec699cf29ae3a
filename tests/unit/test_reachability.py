"""Whether packets pass is asked before servers start; the host's network is blamed only when nothing else can be."""

from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.engine.firewall import Facts
from testbed.measure import reachability
from testbed.measure.driver.protocol import Reached
from testbed.measure.pace import REACH_AT_LAST
from testbed.measure.tasks import Workers
from testbed.model import EngineError

ALL, NONE, TCP_ALONE = Reached(None, None), Reached("no answer", "no answer"), Reached("no answer", None)
POLICY = {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}}
CLOSED, OPEN = Facts([POLICY], {"ip": True}, {}), Facts([], {"ip": True}, {})


def ask(replies: list[dict[str, Reached]], facts: Facts, monkeypatch: pytest.MonkeyPatch, *, ipv6: bool = True) -> list[float]:
    """Let the parts ask: each time they get the next of ``replies``, by address. Returns how patiently they asked each time."""
    patience: list[float] = []
    rounds = iter(replies)
    listening = iter((False, True, True, True))
    monkeypatch.setattr(reachability, "listens", lambda _: next(listening))

    async def reach(_address: str, seconds: float) -> Reached:
        if len(patience) == 0 or current["left"] == 0:
            patience.append(seconds)
            current["replies"], current["left"] = next(rounds), 2 if ipv6 else 1
        current["left"] -= 1
        return current["replies"][_address]

    current: dict[str, Any] = {"left": 0}

    async def rules() -> Facts:
        return facts

    async def task(value: Any) -> Any:
        return value

    async def work() -> None:
        addresses = SimpleNamespace(
            dns=("198.18.0.2", "fd53::2" if ipv6 else None), driver=("198.18.0.3", "fd53::3" if ipv6 else None)
        )
        mesh = SimpleNamespace(bridge="s2s01234567", addresses=addresses)
        parts = (SimpleNamespace(name="dns"), SimpleNamespace(reach=reach), SimpleNamespace(rules=rules))
        async with Workers(1) as workers:
            await reachability.packets_pass(mesh, *(asyncio.ensure_future(task(p)) for p in parts), workers)  # type: ignore[arg-type]

    asyncio.run(work())
    return patience


def both(reply4: Reached, reply6: Reached) -> dict[str, Reached]:
    return {"198.18.0.2": reply4, "fd53::2": reply6}


def test_what_answers_at_once_costs_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(ask([both(ALL, ALL)], CLOSED, monkeypatch)) == 1
    assert len(ask([{"198.18.0.2": ALL}], CLOSED, monkeypatch, ipv6=False)) == 1


def test_a_name_server_that_starts_late_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(ask([both(NONE, NONE), both(ALL, ALL)], CLOSED, monkeypatch)) == 2


def test_a_policy_that_drops_is_said_with_what_was_seen_and_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as caught:
        ask([both(NONE, ALL), both(TCP_ALONE, ALL)], CLOSED, monkeypatch)
    text = str(caught.value)
    assert text.startswith("packets between containers do not pass over IPv4: iptables' chain FORWARD: its policy is DROP")
    assert "As root on the engine's host: iptables -I FORWARD" in text
    assert text.endswith("(the driver asked the name server in the mesh, over UDP: no answer)")
    assert "IPv6" not in text


def test_where_no_rule_says_why_a_slow_machine_is_given_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask([both(NONE, NONE), both(NONE, ALL), both(ALL, ALL)], OPEN, monkeypatch)[-1] == REACH_AT_LAST


def test_each_family_has_a_sentence_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as caught:
        ask([both(NONE, NONE)] * 3, CLOSED, monkeypatch)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0].partition(",")[0][-4:] for line in lines] == ["IPv4", "IPv6"]


@pytest.mark.parametrize(
    ("table", "open_"),
    [
        ("  sl  local_address rem_address\n  72: 00000000:0035 00000000:0000 07 0 0\n", True),
        ("  sl  local_address rem_address\n  72: 0100007F:C350 00000000:0035 07 0 0\n", False),
        ("  sl  local_address rem_address\n", False),
    ],
)
def test_a_name_server_listens_when_its_port_is_open(table: str, open_: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability.federation, "execute", lambda *_: table)
    assert reachability.listens(SimpleNamespace()) is open_  # type: ignore[arg-type]


def test_a_kernel_without_ipv6_has_one_table_and_none_at_all_is_an_error() -> None:
    def status(udp: str, udp6: str) -> int:
        script = reachability.TABLES[-1].replace("/proc/net/udp6", udp6).replace("/proc/net/udp ", f"{udp} ")
        return subprocess.run([*reachability.TABLES[:-1], script], capture_output=True, timeout=30, check=False).returncode

    assert status("/proc/net/udp", "/proc/net/no-such") == 0
    assert status("/proc/net/no-such", "/proc/net/udp6") != 0

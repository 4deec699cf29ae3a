"""The testbed on engines as users have them: Debian's packages of three suites, and what may stand in front of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from debian_engine import SUITES, DebianEngine, carry, debian_engine, remains

from testbed.engine import federation, host
from testbed.model import Implementation

pytestmark = [
    pytest.mark.engine,
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces and mounts for an engine"),
]

TESTBED = Path(sys.executable).with_name("testbed")
SMOKE = Path(__file__).parents[2] / "scenarios" / "smoke.yaml"
TWO = """
name: two
title: Two servers
servers:
  - {implementation: prosody@trixie, policy: [opportunistic, encrypted]}
phases: [{name: before}]
"""
WITHOUT_RULES = ("--iptables=false", "--ip6tables=false")
FIREWALLS: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "iptables": (
        WITHOUT_RULES,
        "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP",
        {"IPv4": "iptables' chain FORWARD: its policy is DROP", "IPv6": "ip6tables' chain FORWARD: its policy is DROP"},
    ),
    "iptables of IPv6 alone": (
        WITHOUT_RULES,
        "ip6tables -P FORWARD DROP",
        {"IPv6": "ip6tables' chain FORWARD: its policy is DROP"},
    ),
    "iptables-legacy": (
        WITHOUT_RULES,
        "iptables-legacy -P FORWARD DROP",
        {"IPv4": "the policy of iptables-legacy's chain FORWARD is DROP"},
    ),
    "ufw": (
        WITHOUT_RULES,
        "ufw --force enable",
        {"IPv4": "ufw's chain FORWARD lets nothing pass", "IPv6": "ufw's chain FORWARD lets nothing pass"},
    ),
    "firewalld": (
        WITHOUT_RULES,
        "mkdir -p /run/dbus && dbus-daemon --system --fork && firewalld --nopid && sleep 3",
        {"IPv4": "firewalld lets nothing pass", "IPv6": "firewalld lets nothing pass"},
    ),
    "nftables of the user's own": (
        (),
        "nft add table bridge mine && nft 'add chain bridge mine between { type filter hook forward priority 5; policy drop; }'",
        {"IPv4": "nftables' chain bridge mine between: its policy is drop", "IPv6": "nftables' chain bridge mine between"},
    ),
}
"""What stands in the way -> options of the engine, how it is set up in the engine's network, and what is said by family."""
SAID_WITHIN = 60.0
"""Seconds from the command to its end. Ten from the first container to the sentence are promised, on a machine that is free."""


def run(running: DebianEngine, scenario: Path, results: Path) -> subprocess.CompletedProcess[str]:
    """A run by the command line on such an engine."""
    environment = os.environ | {"DOCKER_HOST": running.address, "NO_COLOR": "1", "COLUMNS": "120"}
    command = [TESTBED, "run", scenario, "--results", results, "--quiet", "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.parametrize("suite", SUITES)
def test_an_engine_starts_restarts_is_killed_and_leaves_nothing(suite: str) -> None:
    with debian_engine(suite) as running:
        version = running.engine().version
        running.restart()
        running.restart(signal.SIGKILL)
        assert running.engine().version == version
        assert version.startswith(SUITES[suite]) or suite == "sid"
    assert remains(running) == []


@pytest.mark.parametrize("suite", SUITES)
def test_the_smoke_scenario_passes(suite: str, tmp_path: Path) -> None:
    with debian_engine(suite) as running:
        carry(host.ensure(), running, [Implementation(name, "trixie") for name in ("ejabberd", "jabberd2", "prosody")])
        done = run(running, SMOKE, tmp_path)
        assert done.returncode == 0, done.stderr
        cells = json.loads(done.stdout)["cells"]
        assert len(cells) == 12
        assert "inconclusive" not in {cell["outcome"] for cell in cells}
        assert federation.left(running.engine()) == []


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_what_stands_between_containers_is_named_and_the_command_mends_it(firewall: str, tmp_path: Path) -> None:
    options, setup, expected = FIREWALLS[firewall]
    scenario = tmp_path / "two.yaml"
    scenario.write_text(TWO)
    with debian_engine("trixie", *options) as running:
        carry(host.ensure(), running, [Implementation("prosody", "trixie")])
        running.inside("sh", "-c", setup)
        began = time.monotonic()
        done = run(running, scenario, tmp_path / "results")
        took = time.monotonic() - began
        assert done.returncode == 3, done.stdout
        families = dict(re.findall(r"do not pass over (IPv\d): (.*)", done.stderr))
        assert families.keys() == expected.keys(), done.stderr
        for family, words in expected.items():
            assert families[family].startswith(words), done.stderr
        assert took < SAID_WITHIN
        assert federation.left(running.engine()) == []
        for command in re.findall(r"As root on the engine's host: (.*?) \(the driver", done.stderr):
            running.inside("sh", "-c", command)
        mended = run(running, scenario, tmp_path / "mended")
        assert mended.returncode == 0, mended.stderr
    assert remains(running) == []

"""The doctor says on what it depends whether a failure is void: the kernel's pressure, which each container has of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.doctor import State, pressure


def host(root: Path, *, tells: bool, version: int) -> Path:
    """A machine's root folder, as far as it is looked at."""
    (root / "sys/fs/cgroup").mkdir(parents=True)
    if version == 2:
        (root / "sys/fs/cgroup/cgroup.controllers").touch()
    if tells:
        (root / "proc/pressure").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("tells", "version", "words"),
    [(False, 2, ["/proc/pressure"]), (True, 1, ["version 2"]), (False, 1, ["/proc/pressure", "version 2"])],
)
def test_without_pressure_of_containers_it_says_what_that_costs(
    tmp_path: Path, tells: bool, version: int, words: list[str]
) -> None:
    finding = pressure({}, True, host(tmp_path, tells=tells, version=version))
    assert finding.state is State.NOTE
    assert all(word in finding.said for word in words)
    assert "void" in finding.said
    assert "needs none" not in finding.said


def test_with_it_all_is_well(tmp_path: Path) -> None:
    root = host(tmp_path, tells=True, version=2)
    assert pressure({}, True, root).state is State.OK
    assert pressure({"CgroupVersion": "1"}, True, root).state is State.NOTE, "the engine knows better"


def test_of_another_machine_nothing_is_claimed(tmp_path: Path) -> None:
    finding = pressure({"CgroupVersion": "2"}, False, host(tmp_path, tells=False, version=1))
    assert finding.state is State.OK
    assert "another machine" in finding.said

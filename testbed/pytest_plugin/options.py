"""What a session was asked for: the command line first, then pytest's own file of settings, then the defaults.

Rule: reads pytest's configuration and no other file; what stands in the files that are named here is for others to check.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testbed.model import InputError
from testbed.pytest_plugin import CANDIDATES, TIMEOUT
from testbed.record import store


@dataclass(frozen=True)
class Candidates:
    """What a project brings, as the options of `testbed run` say it; paths in the settings begin at their file."""

    image: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    instead: bool = False


@dataclass(frozen=True)
class Options:
    """All that the user can ask for, beside what pytest itself has options for."""

    scenarios: tuple[Path, ...]
    results: Path = Path(store.DEFAULT_RESULTS)
    """Where runs are kept."""
    timeout: float = TIMEOUT
    """Seconds for one measurement."""
    isolated: bool = False
    candidates: Candidates = field(default_factory=Candidates)
    baselines: tuple[Path, ...] = ()
    baselines_named: bool = False
    """They were named on the command line, so each has to be of use."""
    runs: tuple[str, ...] = ()
    """Existing runs to be reported; nothing is measured then."""


def read(config: pytest.Config, scenarios: list[Path]) -> Options:
    """The options of a session. Raises InputError."""
    named = config.getoption("federation_baseline")
    return Options(
        scenarios=tuple(dict.fromkeys(path.resolve() for path in scenarios)),
        results=_results(config),
        timeout=_timeout(config),
        isolated=_flag(config, "isolated"),
        candidates=_candidates(config),
        baselines=tuple(Path(name) for name in named or config.getini("federation_baseline")),
        baselines_named=bool(named),
        runs=tuple(config.getoption("federation_run") or ()),
    )


def _flag(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(f"federation_{name}") or config.getini(f"federation_{name}"))


def _results(config: pytest.Config) -> Path:
    places = [
        config.getoption("federation_results"),
        *config.getini("federation_results"),
        os.environ.get("TESTBED_RESULTS"),
        store.DEFAULT_RESULTS,
    ]
    return Path(next(filter(None, places)))


def _timeout(config: pytest.Config) -> float:
    option: Any = config.getoption("federation_timeout")
    text = option if option is not None else config.getini("federation_timeout") or TIMEOUT
    with contextlib.suppress(ValueError):
        if (seconds := float(text)) > 0:
            return seconds
    raise InputError("federation_timeout is a number of seconds, above 0", value=text)


def _candidates(config: pytest.Config) -> Candidates:
    home = config.inipath.parent if config.inipath else config.rootpath
    texts: dict[str, tuple[str, ...]] = {}
    for name in CANDIDATES:
        lines = config.getoption(f"federation_{name}") or [
            _from(home, name, line) for line in config.getini(f"federation_{name}")
        ]
        texts[name] = tuple(lines)
    return Candidates(**texts, instead=_flag(config, "instead"))


def _from(home: Path, option: str, line: str) -> str:
    """A line of the settings with the path in it as seen from their file; an image is no path."""
    name, equals, value = line.rpartition("=")
    return line if option == "image" else f"{name}{equals}{home / value}"

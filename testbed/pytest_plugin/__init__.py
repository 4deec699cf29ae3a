"""The pytest face: the cells of a scenario as tests; all that are selected are measured in one run, however many workers ask.

Rule: pytest loads this file at every start, so at import and without `--federation` nothing but pytest and the standard library
is loaded. It registers the options; what they set going stands in the files beside it. No file here judges: a test says what the
verdict of its cell says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

NAME = "federation"
TIMEOUT = 3600.0
"""Seconds for one measurement."""
CANDIDATES = {
    "image": ("IMPLEMENTATION=IMAGE", "measure this image too"),
    "build": ("IMPLEMENTATION=FOLDER", "measure what the Dockerfile in FOLDER builds, too"),
    "config": ("IMPLEMENTATION=FILE", "measure this configuration too"),
    "server": ("FOLDER", "an implementation that is not among the testbed's, as a folder like those of images/"),
}
"""What a project brings, as to `testbed run`: option to its form and meaning."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the keys for pytest's own file of settings."""
    group = parser.getgroup(NAME, "s2s federation testbed")
    add = group.addoption
    add("--federation", action="append", metavar="FILE", help="a scenario: its cells become tests (may be given again)")
    add("--federation-results", metavar="DIR", help="where runs are kept [default: results]")
    add("--federation-baseline", action="append", metavar="FILE", help="known failures: they are expected to fail, strictly")
    add("--federation-run", action="append", metavar="RUN", help="report this run or verdicts.json, and measure nothing")
    add("--federation-timeout", type=float, metavar="SECONDS", help=f"timeout of one measurement [default: {TIMEOUT:.0f}]")
    add("--federation-isolated", action="store_true", default=None, help="every pair in a federation of just the two: slow")
    for name, (form, text) in CANDIDATES.items():
        add(f"--federation-{name}", action="append", metavar=form, help=f"{text}, as `testbed run --{name}`")
        parser.addini(f"federation_{name}", type="linelist", help=f"as --federation-{name}")
    add("--federation-instead", action="store_true", default=None, help="what is given replaces the scenario's own servers")
    parser.addini("federation_instead", type="bool", default=False, help="as --federation-instead")
    parser.addini("federation", type="paths", help="scenarios: collected when pytest is called without paths")
    parser.addini("federation_results", type="paths", help="as --federation-results")
    parser.addini("federation_baseline", type="paths", help="as --federation-baseline, for the scenarios that they name")
    parser.addini("federation_timeout", help="as --federation-timeout")
    parser.addini("federation_isolated", type="bool", default=False, help="as --federation-isolated")


def pytest_configure(config: pytest.Config) -> None:
    """Read the scenarios, if there are any. Raises pytest.UsageError for input that is wrong, before anything is collected."""
    named = [Path(name) for name in config.getoption("federation") or ()]
    if scenarios := named or [Path(path) for path in config.getini("federation")]:
        from testbed.pytest_plugin import hooks

        hooks.start(config, scenarios, only=bool(named))
        return
    for option in ("baseline", "run", "results", "timeout", "isolated", "instead", *CANDIDATES):
        if config.getoption(f"federation_{option}") is not None:
            raise pytest.UsageError(f"--federation-{option} is of no use without --federation FILE")

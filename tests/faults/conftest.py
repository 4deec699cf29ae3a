"""What the tests of faults share: an engine, and what comes of the scenario undisturbed.

The long set runs only where it is asked for (`make faults`): it takes half an hour.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import own_engine
import pytest
from fault import SCENARIO
from harness import Bench, Reference, bench_of, reference_of

from testbed.engine import host
from testbed.engine.images import Builder
from testbed.plan import scenario
from testbed.plan.catalog import Catalog


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The marker `faults` has to be asked for."""
    if "faults" in (config.option.markexpr or ""):
        return
    long = [item for item in items if item.get_closest_marker("faults")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def bench(catalog: Catalog) -> Iterator[Bench]:
    """The engine that answers, or a private one, with the images of the scenario."""
    engine = host.ensure()
    planned = scenario.load(SCENARIO, catalog)
    images = Builder(engine, catalog).ensure({s.implementation for s in planned.servers})
    assert not images.unavailable
    made = bench_of(engine, images.ids["wiretap"])
    yield made
    made.close()


@pytest.fixture(scope="session")
def own_bench(bench: Bench) -> Iterator[Bench]:
    """A bench on an engine that the test may kill."""
    with own_engine.own_bench(bench) as own:
        yield own


@pytest.fixture(scope="session")
def reference(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What comes of the scenario undisturbed; measured once, however many workers there are."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    kept = shared / "reference.json"
    with (shared / "reference.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            measured = reference_of(bench, SCENARIO, shared / "reference")
            kept.write_text(json.dumps([measured.cells, measured.status, measured.seconds]))
    cells, status, seconds = json.loads(kept.read_text())
    return Reference({name: (outcome, cause) for name, (outcome, cause) in cells.items()}, status, seconds)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the case's own, with a short path."""
    with tempfile.TemporaryDirectory(prefix="s2s-fault-") as path:
        yield Path(path)

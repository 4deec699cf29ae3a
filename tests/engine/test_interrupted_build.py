"""Ctrl-C while images are made or checked: obeyed at once, and nothing half-made is left on the engine or on this host."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from smoke_run import TESTBED
from waiting import eventually

from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images

pytestmark = pytest.mark.engine

LONG = 900
"""Seconds that a build here would take."""
SOON = 60.0
"""Seconds within which a busy machine must have ended it; alone it takes less than one."""


def as_in_the_foreground() -> None:
    """A session that a shell has put into the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("option", ["--build", "--server"])
def test_a_build_that_is_interrupted_ends_at_once(
    root: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path, option: str
) -> None:
    """``--build`` is built by the command's own thread, a folder of ``--server`` by one of several."""
    del built
    mark, name = f"interrupted-{secrets.token_hex(4)}", f"broken{secrets.token_hex(4)}"
    folder = tmp_path / name
    shutil.copytree(root / "images" / "prosody", folder)
    text = (folder / "image.yaml").read_text()
    (folder / "image.yaml").write_text(re.sub(r"^implementation: .*$", f"implementation: {name}", text, flags=re.M))
    (folder / "Dockerfile").write_text(f"ARG BASE\nFROM ${{BASE}}\nRUN : {mark}; sleep {LONG}\n")
    given = [option, f"prosody={folder}"] if option == "--build" else [option, str(folder), f"{name}@trixie"]

    def going() -> list[str]:
        commands = ((c.id, str(c.attrs["Config"]["Cmd"])) for c in engine.client.containers.list(all=True, ignore_removed=True))
        return [identity for identity, command in commands if mark in command]

    with subprocess.Popen(
        [TESTBED, "images", "build", *given], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=as_in_the_foreground,
    ) as process:  # fmt: skip
        assert eventually(lambda: going() or process.poll() is not None, SOON)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=SOON)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert "failed" not in said
    assert time.monotonic() - began < SOON
    assert eventually(lambda: not going(), SOON), "the engine goes on with the build"
    assert not [tag for image in engine.client.images.list() for tag in image.tags if name in tag]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mmdebstrap"), reason="mmdebstrap, as root: where no registry answers")
def test_a_base_system_that_is_interrupted_leaves_no_folder_no_mount_and_no_image(engine: Engine, tmp_path: Path) -> None:
    repository = f"s2s-testbed-interrupted-{secrets.token_hex(4)}"
    code = f"""
        from concurrent.futures import ThreadPoolExecutor
        from testbed import interruption
        from testbed.engine import host
        from testbed.engine.images import Builder
        from testbed.plan import catalog
        engine = host.Engine(host.connect({engine.address!r}), {engine.address!r}, False)
        builder = Builder(engine, catalog.load())
        with interruption.handled(), ThreadPoolExecutor(1) as pool, builder._ended_with(pool):
            pool.submit(builder._mmdebstrap, "trixie", "{repository}/debian:trixie").result()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE, text=True, preexec_fn=as_in_the_foreground,
    ) as process:  # fmt: skip
        assert eventually(lambda: list(tmp_path.glob("*/mmdebstrap.*/*")) or process.poll() is not None, SOON)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SOON)
    assert "KeyboardInterrupt" in said, said
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert engine.client.images.list(repository) == []


def test_a_check_that_is_interrupted_removes_its_servers_and_begins_no_more(
    environment: dict[str, str], built: Images, engine: Engine
) -> None:
    """Its threads go on for a moment: what they are just making is removed too."""
    del built

    def of(pid: int) -> list[str]:
        owned = engine.client.containers.list(all=True, filters={"label": federation.OWNER_LABEL}, ignore_removed=True)
        networks = engine.client.networks.list(filters={"label": federation.OWNER_LABEL})
        labels = [c.labels for c in owned] + [(n.attrs or {}).get("Labels") or {} for n in networks]
        return [own[federation.RUN_LABEL] for own in labels if own.get(federation.OWNER_LABEL, "").split("/")[1:2] == [str(pid)]]

    with subprocess.Popen(
        [TESTBED, "images", "check", "prosody@trixie"], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_in_the_foreground,
    ) as process:  # fmt: skip
        assert eventually(lambda: len(of(process.pid)) > 4 or process.poll() is not None, SOON), "name server, prober, servers"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert of(process.pid) == []

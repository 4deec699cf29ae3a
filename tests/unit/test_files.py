"""Files that a container is handed as it starts: all of them are there, and nothing of them is left in its environment."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.engine import federation
from testbed.engine.files import FILES, LONGEST, UNPACK, handed
from testbed.engine.rights import NAMES, SERVER, Rights

TREE = {"etc/testbed/key.pem": b"-----BEGIN PRIVATE KEY-----", "etc/testbed/a.cfg": bytes(range(256)) * 40}


def unpacked(into: Path, variable: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    """What `UNPACK` does, in a folder instead of the root."""
    script = [word.replace("-C /", f"-C {into}") for word in UNPACK]
    return subprocess.run(
        [*script, *command], env={"PATH": os.environ["PATH"], FILES: variable}, capture_output=True, check=False
    )


def test_every_file_is_there_and_the_command_has_nothing_of_them_in_its_environment(tmp_path: Path) -> None:
    done = unpacked(tmp_path, handed(TREE), "sh", "-c", 'tr "\\0" "\\n" < /proc/$$/environ; cat /proc/$$/cmdline; exit 7', "x y")
    assert done.returncode == 7, done.stderr
    assert {path: (tmp_path / path).read_bytes() for path in TREE} == TREE
    assert (tmp_path / "etc/testbed/key.pem").stat().st_mode & 0o777 == 0o600
    assert FILES.encode() not in done.stdout
    assert handed(TREE)[:60].encode() not in done.stdout
    assert b"x y" in done.stdout, "words stay words"


def test_what_cannot_be_unpacked_starts_nothing(tmp_path: Path) -> None:
    done = unpacked(tmp_path, "no archive", "echo", "started")
    assert (done.returncode != 0, done.stdout) == (True, b"")


def test_too_many_files_for_a_variable_are_not_handed() -> None:
    assert handed({"/etc/testbed/x": os.urandom(80_000)})
    assert handed({"/etc/testbed/x": os.urandom(100_000)}) == ""
    assert len(f"{FILES}=") + LONGEST < 128 * 1024


class Recorder:
    """The engine's API: notes what it is asked to make, and what is copied."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.copied: list[bytes] = []

    def create_host_config(self, **given: Any) -> dict[str, Any]:
        return given

    def create_container(self, image: str, **given: Any) -> dict[str, str]:
        self.made = given | {"image": image}
        return {"Id": "c0"}

    def put_archive(self, _identity: str, _root: str, archive: bytes) -> bool:
        self.copied.append(archive)
        return True


ON_BASE = ["debian", "testbed-start", "server"]


def made(config: dict[str, Any], rights: Rights, files: dict[str, bytes], layers: list[str] = ON_BASE) -> Recorder:
    api = Recorder()
    mesh = federation.Mesh.__new__(federation.Mesh)
    image = SimpleNamespace(attrs={"Config": config, "RootFS": {"Layers": layers}})
    bases = [SimpleNamespace(attrs={"RootFS": {"Layers": base}}) for base in (["another"], ["debian", "testbed-start"])]
    images = SimpleNamespace(get=lambda _: image, list=lambda name: bases if name == "s2s-testbed/base" else [])
    mesh.docker = SimpleNamespace(api=api, images=images, containers=None)  # type: ignore[assignment]
    mesh.short, mesh.labels, mesh.ending, mesh.making, mesh._starters = "abc", {}, False, set(), {}
    mesh._bases, mesh._looking = None, threading.Lock()
    mesh.network = SimpleNamespace(name="net")  # type: ignore[assignment]
    mesh._create("server", "image", None, rights, files, environment={"TESTBED_DNS": "198.18.0.2"})
    return api


BASED = {"Entrypoint": ["testbed-start", "prosody"], "Cmd": ["prosody", "-F"], "User": ""}


def test_an_image_of_the_base_is_handed_its_files_and_nothing_is_copied() -> None:
    api = made(BASED, SERVER, {"a": b"1"})
    assert api.made["entrypoint"] == [*UNPACK, "testbed-start", "prosody", "prosody", "-F"]
    assert set(api.made["environment"]) == {FILES, "TESTBED_DNS"}
    assert api.copied == []


@pytest.mark.parametrize(
    ("config", "rights", "files"),
    [
        ({"Entrypoint": ["/opt/own-start"], "Cmd": None, "User": ""}, SERVER, {"a": b"1"}),
        ({"Entrypoint": None, "Cmd": ["testbed-start-of-mine"]}, SERVER, {"a": b"1"}),
        (BASED | {"User": "prosody"}, SERVER, {"a": b"1"}),
        (BASED, NAMES, {"zone": b"1"}),
        (BASED, SERVER, {"a": os.urandom(150_000)}),
    ],
    ids=["a user's own command", "no entrypoint", "not as root", "a read-only root", "too many files"],
)
def test_into_any_other_they_are_copied_as_before(config: dict[str, Any], rights: Rights, files: dict[str, bytes]) -> None:
    api = made(config, rights, files)
    assert len(api.copied) == 1
    assert api.made["entrypoint"] is None
    assert set(api.made["environment"]) == {"TESTBED_DNS"}


def test_into_an_image_with_another_base_they_are_copied_for_it_may_lack_what_unpacks() -> None:
    assert len(made(BASED, SERVER, {"a": b"1"}, ["alpine", "testbed-start"]).copied) == 1
    assert len(made(BASED, SERVER, {"a": b"1"}, []).copied) == 1

"""The results folder: full, gone, or read-only in the middle of a run.

The run ends with a sentence that names the folder, its containers go, and what was written until then is judged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fault import End, Fault, Stage
from harness import Case

SMALL = "No space left|disk|space"


def small(kilobytes: int, case: Case) -> Path:
    """A results folder on a file system of so many kB. It is made larger before the run is looked at. Needs root."""
    if os.geteuid():
        pytest.skip("only root can mount a file system of a given size")
    path = case.folder / "results"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "s2s-fault", path], check=True)
    case.cleanup.callback(subprocess.run, ["umount", "--lazy", path], check=False)
    case.undo.append(lambda: subprocess.run(["mount", "-o", "remount,size=256m", path], check=True))
    return path


def nothing(_case: Case) -> None:
    """The folder is the fault."""


def fill(case: Case) -> None:
    """Another one takes the rest of the space."""
    path = case.results / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    case.undo.append(path.unlink)


def remove(case: Case) -> None:
    """The whole results folder is deleted."""
    shutil.rmtree(case.results, ignore_errors=True)


def freeze(case: Case) -> None:
    """Nothing can be made in the folders of the run any more, as after a remount; what is open can be written."""
    assert case.path
    folders = [case.path, *(p for p in case.path.rglob("*") if p.is_dir())]
    done = subprocess.run(["chattr", "+i", *folders], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this file system cannot make a folder immutable: {done.stderr.strip()}")
    case.undo.append(lambda: subprocess.run(["chattr", "-i", *folders], check=True))


FAULTS = (
    *(
        Fault(
            f"disk-of-{size}k", f"the results folder is on a file system of {size} kB", Stage.BEGUN, nothing, End.EARLY, SMALL,
            results=functools.partial(small, size), short=size == 60,
        )
        for size in (60, 150, 400, 1000)
    ),
    *(
        Fault(
            f"disk-filled-{stage.name.lower()}", f"another one fills the disk {stage.value}", stage, fill, End.EARLY, SMALL,
            results=functools.partial(small, 16384),
        )
        for stage in (Stage.PARTS, Stage.CELLS, Stage.EVIDENCE, Stage.REPORT)
    ),
    *(
        Fault(f"results-{name}-{stage.name.lower()}", f"{how} {stage.value}", stage, inject, End.EARLY)
        for name, how, inject in (
            ("gone", "the results folder is deleted", remove),
            ("read-only", "no file can be made in the run's folders any more,", freeze),
        )
        for stage in (Stage.PARTS, Stage.CELLS, Stage.EVIDENCE)
    ),
)  # fmt: skip

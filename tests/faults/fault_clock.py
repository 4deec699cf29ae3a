"""A server's clock that is wrong by five years.

It takes its peers' good certificates for expired, or for not valid yet. The fault is laid on it, and not on who holds them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from fault import HERE, End, Fault, Stage
from harness import ROOT, Case

OFF = {"ahead": "+5y", "behind": "-5y"}
"""Implementation -> how far its clock is off."""
CAUSE = {"ahead.example": "certificate-expired", "behind.example": "certificate-not-yet-valid"}
"""What each of them sees in a good certificate."""
FAKE = """\
RUN apt-get -o Acquire::Check-Valid-Until=false update && apt-get install -y --no-install-recommends libfaketime \\
 && rm -rf /var/lib/apt/lists/* && ln -s /usr/lib/*/faketime /usr/local/lib/faketime
# Timers go by the monotonic clock, which stays; shared memory that root made would be closed to the server's user.
ENV LD_PRELOAD=/usr/local/lib/faketime/libfaketimeMT.so.1 FAKETIME={off} \\
    FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_RESET=1 FAKETIME_DISABLE_SHM=1 FAKETIME_NO_CACHE=1
ENTRYPOINT"""


def shifted(case: Case) -> tuple[Path, ...]:
    """ejabberd twice as an implementation of its own, each with another clock."""
    folders = []
    for name, off in OFF.items():
        folder = Path(shutil.copytree(ROOT / "images" / "ejabberd", case.folder / name))
        for file, pattern, text in (
            ("image.yaml", r"^implementation: .*", f"implementation: {name}"),
            ("Dockerfile", r"^ENTRYPOINT", FAKE.replace("{off}", off)),
        ):
            path = folder / file
            changed, times = re.subn(pattern, lambda _, text=text: text, path.read_text(), flags=re.MULTILINE)  # type: ignore[misc]
            assert times == 1, f"{path}: {pattern}"
            path.write_text(changed)
        folders.append(folder)
    return tuple(folders)


def laid_on_the_clock(verdicts: dict[str, Any]) -> list[str]:
    """With dialback all get through; without, each pair fails for what a wrong clock sees, and by the fault of such a server."""
    wrong = []
    for cell in verdicts["cells"]:
        sides = {side: cell[side] for side in ("sender", "receiver")}
        said = f"{cell['id']}: {cell['outcome']}, {cell['cause']}, fault {cell['fault']}: {cell['explanation']}"
        blamed = sides.get(cell["fault"] or "")
        if cell["phase"] == "before":
            right = cell["outcome"] == "delivered"
        else:
            right = cell["outcome"] == "bounced" and blamed in CAUSE and cell["cause"] == CAUSE[blamed]
            right = right and [r["text"] for r in cell["remedies"]] == [f"compare the clock of {blamed} with the true time"]
        wrong += [] if right else [said]
    return wrong


FAULTS = (
    Fault("clock-five-years-off", "the clock of one server is five years ahead, that of another five years behind", Stage.BEGUN,
          lambda _: None, End.FOUND, scenario=HERE / "clock.yaml", servers=shifted, owes=laid_on_the_clock, bound=280),
)  # fmt: skip

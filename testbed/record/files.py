"""Files that appear whole or not at all.

Rule: what others may read while it is written goes through here. A reader of the old file goes on reading the old file, and a
writer that is interrupted leaves it as it was.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, or replace it. Raises OSError; then the old one is as it was, and nothing is left beside it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def link_whole(path: Path, target: str) -> None:
    """Let the symbolic link ``path`` lead to ``target``, whether it was there or not. Raises OSError."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(path)

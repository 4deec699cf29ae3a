"""Files for a container: as an archive that is copied or streamed into it, or handed to its first process as it starts.

Rule: of what is handed, nothing is left in the environment of the command that the container is for.
"""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
import time

FILES = "TESTBED_FILES"
UNPACK = ("/bin/sh", "-c", f'f=${FILES}; unset {FILES}; printf %s "$f" | base64 -d | tar -xz -C / && exec "$@"', "testbed-files")
"""Before a server's command: unpacks what the environment has, which the command has no more.

The engine would start two processes of its own for each archive that is copied into a container, and mount its disk for them.
"""
LONGEST = 120_000
"""Bytes of a variable; the kernel takes 128 kB with its name (MAX_ARG_STRLEN)."""


def pack(tree: dict[str, bytes], root: str = "/") -> bytes:
    """A tar archive, to be unpacked at ``root``, of absolute paths below it; keys are readable by their owner alone."""
    buffer, now = io.BytesIO(), int(time.time())  # a name server takes a zone of 1970 for one that was never loaded
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        made: set[str] = set()
        for path, data in sorted(tree.items()):
            parts = path.removeprefix(root).strip("/").split("/")
            for depth in range(2 if root == "/" else 1, len(parts)):  # /etc and /opt exist and keep their modes
                folder = "/".join(parts[:depth])
                if folder not in made:
                    made.add(folder)
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, now
                    archive.addfile(info)
            info = tarfile.TarInfo("/".join(parts))
            info.size, info.mode, info.mtime = len(data), 0o600 if "key" in parts[-1] else 0o644, now
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def handed(tree: dict[str, bytes]) -> str:
    """Files as a variable of a container's environment, for `UNPACK`; empty if they are too many for one."""
    packed = base64.b64encode(gzip.compress(pack(tree))).decode()
    return packed if len(packed) <= LONGEST else ""

"""Docker engines as users have them: Debian's packages of three suites, each with root, namespaces and data of its own.

Rule: an engine is a block, and no process, mount, namespace or control group of it outlives that. Kept, under the testbed's cache
folder, are Debian's system (made by mmdebstrap once) and the engine's data with the images, so that they are loaded once. The
network is the engine's own, without a way out: a firewall can be set up in it, and the host's stays untouched.
By hand, as root: `python tests/faults/debian_engine.py trixie COMMAND …` runs a command with such an engine as DOCKER_HOST.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.engine import host
from testbed.engine.host import Engine
from testbed.engine.images import PART_SUITE, PARTS, REPOSITORY, Builder, host_mirror, tag_of
from testbed.model import EngineError, Implementation
from testbed.plan import catalog as catalogs

SUITES = {"bookworm": "20.10", "trixie": "26.1", "sid": "28.5"}
"""Debian's suite -> the version of its `docker.io` that was seen when this was written; sid's moves on."""
PACKAGES = ("docker.io", "iptables", "nftables", "ca-certificates", "iproute2", "procps")
FIREWALLS = ("ufw", "firewalld")
"""Installed beside them: what people have in front of an engine."""
PATIENCE = 90.0
"""Seconds that an engine may take until it answers."""
CGROUPS = Path("/sys/fs/cgroup")
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
cd "$WORK/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
if [ "$CGROUP" = 2 ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; else mount --rbind /sys/fs/cgroup sys/fs/cgroup; fi
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p var/lib/docker run/engine old
mount --bind "$DATA" var/lib/docker
mount --bind "$WORK/run" run/engine
pivot_root . old
cd /
umount -l /old
ip link set lo up
touch /run/engine/entered
exec docker-init -s -- sleep infinity
"""
"""What the first process does in its new namespaces. COMPAT: in a plain chroot an engine cannot import an image ("remount /")."""


@dataclass
class DebianEngine:
    """An engine of Debian's that runs in namespaces of its own."""

    suite: str
    work: Path
    """What is removed with it: socket, log, and what it changed in Debian's system."""
    init: int
    """The first process in its namespaces, as the host counts."""
    options: tuple[str, ...]
    namespace: str
    """Of its processes, as /proc names it."""
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.work / 'run' / 'docker.sock'}"

    @property
    def log(self) -> Path:
        """What it logged."""
        return self.work / "run" / "dockerd.log"

    def engine(self) -> Engine:
        """As the testbed's own code speaks with it. Raises DockerException if it does not answer."""
        return Engine(host.connect(self.address), self.address, False)

    def inside(self, *command: str, check: bool = True) -> str:
        """Output of a command in its root and namespaces. Raises EngineError if it fails, unless told not to ``check``."""
        done = subprocess.run([*self._enter(), *command], capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode:
            raise EngineError(f"`{' '.join(command)}` beside the engine of {self.suite}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def start(self) -> None:
        """Start the daemon. Raises EngineError with the end of its log."""
        command = [
            "dockerd", "--host=unix:///run/engine/docker.sock", "--bridge=none", f"--cgroup-parent=/{_group(self.suite)}",
            "--exec-opt=native.cgroupdriver=cgroupfs", "--log-level=warn", *self.options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen([*self._enter(), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.daemon.poll() is None:
            with contextlib.suppress(*host.ENGINE_ERRORS):
                host.connect(self.address, timeout=5).close()
                return
            time.sleep(0.1)
        raise EngineError(f"the engine of {self.suite} did not start: {self.log.read_text(errors='replace')[-600:]}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Have the daemon end, and wait for it; by SIGKILL, its containers go on."""
        if self.daemon and self.daemon.poll() is None:
            # what is started here is nsenter, whose child the daemon is
            daemons = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()
            for pid in daemons:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), how)
            try:
                self.daemon.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.daemon = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon and start it again on the same data. Raises EngineError."""
        self.end(how)
        for name in ("docker.pid", "docker.sock"):
            (Path(f"/proc/{self.init}/root/run") / name).unlink(missing_ok=True)
        self.start()

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd"]


@contextlib.contextmanager
def debian_engine(suite: str, *options: str, cgroup: int | None = None) -> Iterator[DebianEngine]:
    """An engine of ``suite``, with further ``options`` of dockerd, that answers; ``cgroup``: version 2, else as the host has it.

    One at a time of each suite. Raises EngineError where it cannot be made or does not start.
    """
    if os.geteuid() != 0:
        raise EngineError("an engine of Debian's needs root: it has mounts and namespaces of its own")
    home = _home(suite)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = debian_system(suite)
        data = home / "data"
        data.mkdir(exist_ok=True)
        _remove_groups(suite)
        with tempfile.TemporaryDirectory(prefix=f"engine-{suite}-") as text:
            work = Path(text)
            for name in ("upper", "work", "root", "run"):
                (work / name).mkdir()
            environment = os.environ | {"ROOT": str(root), "WORK": str(work), "DATA": str(data), "CGROUP": str(cgroup or "")}
            namespaces = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", ENTER], env=environment)
            try:
                init = _entered(process, work)
                running = DebianEngine(suite, work, init, options, str(Path(f"/proc/{init}/ns/pid").readlink()))
                try:
                    running.start()
                    yield running
                    _empty(running)
                finally:
                    running.end()
            finally:
                _end_namespaces(process)
                _remove_groups(suite)


def debian_system(suite: str) -> Path:
    """The root of Debian's ``suite`` with its engine, made once. Raises EngineError."""
    root, made = _home(suite) / "root", _home(suite) / "made"
    if made.exists():
        return root
    if not shutil.which("mmdebstrap"):
        host.install(["mmdebstrap", "debian-archive-keyring"], "a system of Debian's", print)
    shutil.rmtree(root, ignore_errors=True)
    mirror = host_mirror()
    options = ["--variant=minbase", f"--include={','.join((*PACKAGES, *FIREWALLS))}"]
    if suite == "sid":
        options.append('--aptopt=Acquire::Check-Valid-Until "false"')  # its index may be past its date on a slow mirror
    command = ["mmdebstrap", "--quiet", *options, suite, str(root), *([f"deb {mirror} {suite} main"] if mirror else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise EngineError(f"no system of Debian's {suite}: {done.stderr.strip()[-400:]}")
    made.touch()
    return root


def carry(source: Engine, target: DebianEngine, wanted: Iterable[Implementation]) -> None:
    """Bring the images of ``wanted``, and the testbed's own, from one engine to another, where they can be built no more.

    They are built on ``source`` first, and what ``target`` has already is not brought again. Raises EngineError.
    """
    implementations, known = set(wanted), catalogs.load()
    built = Builder(source, known).ensure(implementations)
    if built.unavailable:
        raise EngineError(f"images to be brought are unavailable: {built.unavailable}")
    suites = {known.image(i).spec.releases[i.release].suite for i in implementations} | {PART_SUITE}
    tags = [f"{kind}:{suite}" for suite in sorted(suites) for kind in ("debian", "base")]
    tags += [*(f"{part}:latest" for part in PARTS), *sorted(tag_of(i) for i in implementations)]
    client = target.engine().client
    there = {str(image.id) for image in client.images.list()}
    for tag in tags:
        name = f"{REPOSITORY}/{tag}"
        if (image := source.client.images.get(name)).id not in there:
            client.images.load(image.save(named=name))  # type: ignore[arg-type]  # a stream of its parts, as the API takes it
    client.close()


def remains(ended: DebianEngine) -> list[str]:
    """What is left of an engine whose block was left: nothing, or the block is wrong.

    The kernel ends every process of a PID namespace with its first, those of containers within it too.
    """
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [f"mount {point}" for point in mounts if Path(point).is_relative_to(ended.work)]
    left += [f"folder {ended.work}"] if ended.work.exists() else []
    left += [f"control group {path}" for path in CGROUPS.glob(f"*/{_group(ended.suite)}")]
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((entry / "ns" / "pid").readlink()) == ended.namespace:
                left.append(f"process {entry.name}")
    return left


def remove(suites: Iterable[str] = SUITES) -> None:
    """Delete what is kept of them: systems and data."""
    for suite in suites:
        shutil.rmtree(_home(suite), ignore_errors=True)


def _home(suite: str) -> Path:
    return host.cache() / "engines" / suite


def _group(suite: str) -> str:
    """Above the control groups of an engine's containers."""
    return f"testbed-engine-{suite}"


def _entered(process: subprocess.Popen[bytes], work: Path) -> int:
    """The first process in the new namespaces, when its root is laid. Raises EngineError."""
    deadline = time.monotonic() + 20
    while not (work / "run" / "entered").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EngineError("the namespaces of an engine of Debian's could not be made: see its error output above")
        time.sleep(0.02)
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def _end_namespaces(process: subprocess.Popen[bytes]) -> None:
    """Kill the first process in them: the kernel ends all others before ``process``, who waits for it, hears of that."""
    with contextlib.suppress(OSError, IndexError):
        os.kill(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]), signal.SIGKILL)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _empty(running: DebianEngine) -> None:
    """Remove containers and networks, so that the kept data is images alone."""
    with contextlib.suppress(*host.ENGINE_ERRORS):
        client = host.connect(running.address, timeout=30)
        for container in client.containers.list(all=True, ignore_removed=True):
            container.remove(force=True, v=True)
        client.networks.prune()
        client.close()


def _remove_groups(suite: str) -> None:
    """Control groups of an engine that has ended; those of a version 1 host stand in every hierarchy."""
    for group in CGROUPS.glob(f"*/{_group(suite)}"):
        for path in sorted((p for p in group.glob("**/") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command with DOCKER_HOST set to such an engine, which has the images of the smoke scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--option", action="append", default=[], help="of dockerd; may be given several times")
    parser.add_argument("--cgroup", type=int, choices=(2,), help="give it the unified hierarchy alone")
    parser.add_argument("--inside", action="append", default=[], help="a shell line run in its root and network before")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    with debian_engine(given.suite, *given.option, cgroup=given.cgroup) as running:
        carry(host.ensure(print), running, [Implementation(n, "trixie") for n in ("ejabberd", "jabberd2", "prosody")])
        for line in given.inside:
            print(running.inside("sh", "-c", line))
        return subprocess.run(given.command, env=os.environ | {"DOCKER_HOST": running.address}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

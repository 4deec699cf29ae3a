"""Finds the Docker engine that answers; else starts a private one, as root on Debian or Ubuntu; else says what to do.

The private engine's data, socket and pid file lie under the user's cache directory and are shared by all checkouts. It uses no
default bridge, so that it meets no other engine's; an engine that is not ours is never started, stopped or configured.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.context import ContextAPI
from docker.errors import DockerException
from requests.exceptions import RequestException

from testbed.display import Say
from testbed.engine import underway
from testbed.model import EngineError

TIMEOUT = 180  # seconds for one call to the engine; a loaded machine starts a container slowly
POOL = 32
Started = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]
"""As `underway.started`."""
ENGINE_ERRORS = (DockerException, RequestException)
"""What a call to the engine may raise: its own answers, and a connection that breaks because the engine ended."""


def cache() -> Path:
    """The testbed's folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2s-testbed"


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    client: docker.DockerClient
    address: str
    private: bool

    @property
    def version(self) -> str:
        """The engine's version, as it reports it."""
        return str(self.client.version()["Version"])

    def info(self) -> dict[str, Any]:
        """What the engine says of itself and its host (`GET /info` of its API): `DockerRootDir`, `MemTotal`, `CgroupVersion`."""
        return dict(self.client.info())


def connect(address: str, timeout: int = TIMEOUT) -> docker.DockerClient:
    """A client of the engine at ``address``. Raises DockerException if it does not answer."""
    client = docker.DockerClient(base_url=address, timeout=timeout, max_pool_size=POOL)
    client.ping()
    return client


def find(say: Say = lambda _: None) -> Engine | None:
    """The engine that answers: DOCKER_HOST, the current context, the default socket, the private one; None if none does.

    Raises EngineError if DOCKER_HOST is set and does not answer: to go elsewhere would be a surprise.
    """
    if wanted := os.environ.get("DOCKER_HOST"):
        try:
            client = docker.from_env(timeout=TIMEOUT, max_pool_size=POOL)
            client.ping()
            return Engine(client, wanted, wanted == private_address())
        except ENGINE_ERRORS as error:
            raise EngineError(
                f"DOCKER_HOST is {wanted}, but no Docker engine answers there ({_short(error)}): start it, or unset DOCKER_HOST"
            ) from None
    addresses = []
    with contextlib.suppress(Exception):  # a broken context file is no reason not to look further
        context = ContextAPI.get_current_context()
        if context is not None and context.Host:
            addresses.append(context.Host)
    addresses += ["unix:///var/run/docker.sock", private_address()]
    for address in dict.fromkeys(addresses):
        if address.startswith(("unix://", "http+unix://")) and not Path(address.split("://", 1)[1]).exists():
            continue
        try:
            return Engine(connect(address), address, address == private_address())
        except ENGINE_ERRORS as error:
            say(f"{address} does not answer: {_short(error)}")
    return None


def ensure(say: Say = lambda _: None) -> Engine:
    """The engine that answers, or a private one. Raises EngineError with one sentence that says what to do."""
    if engine := find(say):
        return engine
    if os.geteuid() != 0:
        raise EngineError(
            "no Docker engine answers, and only root can start one: "
            "start yours (`systemctl start docker`), set DOCKER_HOST, or run this as root"
        )
    if not shutil.which("dockerd"):
        install(["docker.io", "iptables"], "a Docker engine", say)
        if engine := find(say):  # where there is an init system, the package starts its own engine
            return engine
    return start(say)


def install(packages: list[str], what: str, say: Say, *, started: Started = underway.started) -> None:
    """Install Debian packages, as root; ``started`` starts a process. Raises EngineError where that cannot be done.

    An interruption ends apt while it downloads; while dpkg unpacks, apt lets that finish, as the host's packages would be broken.
    So apt alone gets the signal, dpkg does not, and neither is killed, however long it takes.
    """
    if not shutil.which("apt-get"):
        raise EngineError(
            f"{what} is needed ({packages[0]}), and this is not Debian or Ubuntu: install it with your distribution's tools"
        )
    if os.geteuid() != 0:
        raise EngineError(f"{what} is needed, and only root can install it: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-yq", "--no-install-recommends", *packages]):
        with started(
            command, first=signal.SIGINT, finishes=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            said = [text.decode(errors="replace").strip() for text in process.communicate()]
        if process.returncode and command[1] == "install":
            last = (said[1] or said[0]).splitlines()[-1:]
            raise EngineError(f"`{' '.join(command)}` failed: {' '.join(last)}")


# --- the private engine ---------------------------------------------------------------------------------------------------


COLLECTING = {"GOGC": "800", "GOMEMLIMIT": "256MiB"}
"""When the private engine's processes collect garbage. Docker 20.10 starts itself six times for each container with an
IPv6 address, each time for 0.046 s of a core, of which a third is collecting what nobody has dropped yet. The
second bounds what the first lets grow."""
BRIDGE = re.compile(r"s2s[0-9a-f]{8}")
"""A federation's bridge, as `federation.Mesh` names it."""


def _folder() -> Path:
    return cache() / "engine"


def private_address() -> str:
    """Where the private engine listens."""
    return f"unix://{_folder() / 'run' / 'docker.sock'}"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One process at a time starts or stops the private engine, over all checkouts."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(say: Say) -> Engine:
    """Start the private engine. Raises EngineError with the last line of its log if it ends."""
    with locked():
        if engine := find():
            return engine
        run = _folder() / "run"
        socket = run / "docker.sock"
        if len(str(socket).encode()) > 100:  # sun_path takes 108 bytes (unix(7)); containerd's name is a little longer
            raise EngineError(f"the path of the engine's socket is too long ({socket}): set XDG_CACHE_HOME to a shorter one")
        run.mkdir(parents=True, exist_ok=True)
        _clear_remains(say)
        (run / "daemon.json").write_text("{}\n")
        say("starting a private Docker engine")
        log = run / "dockerd.log"
        command = [
            "dockerd",
            f"--config-file={run / 'daemon.json'}",  # else /etc/docker/daemon.json, which is another engine's
            f"--data-root={_folder() / 'data'}",
            f"--exec-root={run / 'exec'}",
            f"--pidfile={run / 'dockerd.pid'}",
            f"--host=unix://{socket}",
            "--bridge=none",
            "--log-level=warn",
        ]  # fmt: skip
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=COLLECTING | os.environ
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise EngineError(f"the private Docker engine ended at once: {_last_line(log)} (whole log: {log})")
            with contextlib.suppress(*ENGINE_ERRORS):
                return Engine(connect(private_address()), private_address(), True)
            time.sleep(0.2)
        process.terminate()
        raise EngineError(f"the private Docker engine did not answer within 90 s: {_last_line(log)} (whole log: {log})")


def _clear_remains(say: Say) -> None:
    """What an engine that was killed hard left: pid file, socket, containerd, its shims, mounts."""
    run = _folder() / "run"
    pidfile = run / "dockerd.pid"
    if pid := _pid(pidfile):
        say("the private engine does not answer: ending what is left of it")
        _end(pid)
    for pid in _processes_of(str(run)):
        _end(pid)
    for path in (pidfile, run / "docker.sock", run / "exec" / "containerd" / "containerd.pid"):
        path.unlink(missing_ok=True)
    _unmount(_folder())


def stop(say: Say = lambda _: None) -> bool:
    """Stop the private engine and take down its mounts; False if it did not run. Its data stay."""
    with locked():
        pid = _pid(_folder() / "run" / "dockerd.pid")
        left = _processes_of(str(_folder() / "run"))
        if pid is None and not left:
            _unmount(_folder())
            remove_bridges()
            return False
        say("stopping the private Docker engine")
        if pid is not None:
            _end(pid, patience=30)
        for other in _processes_of(str(_folder() / "run")):
            _end(other)
        _unmount(_folder())
        remove_bridges()
        return True


def remove_data(say: Say = lambda _: None) -> None:
    """Delete the private engine's data (images too). It must be stopped."""
    if _folder().exists():
        say(f"deleting {_folder()}")
        shutil.rmtree(_folder())


def _pid(pidfile: Path) -> int | None:
    """The pid in the file, if that process lives and is the private engine (a pid may have been given to another)."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pidfile.read_text())
        if str(_folder()) in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    return None


def _processes_of(folder: str) -> list[int]:
    """Engine processes (dockerd, containerd, shims) that were started with a path in the private engine's folder."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                name = os.path.basename(words[0].decode(errors="replace"))  # noqa: PTH119 - the bytes of a foreign process
                if name.startswith(("containerd", "dockerd", "docker-proxy")) and any(folder.encode() in w for w in words[1:]):
                    pids.append(int(entry.name))
    return pids


def _end(pid: int, patience: float = 10) -> None:
    """SIGTERM, then SIGKILL after ``patience`` seconds."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # ours may be a child: a zombie looks alive
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1].replace("\\040", " ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    namespaces = folder / "run" / "exec" / "netns"
    if namespaces.is_dir():
        for path in namespaces.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()


def remove_bridges(names: re.Pattern[str] = BRIDGE) -> list[str]:
    """Delete the bridges of dead federations: named like ours, and nothing is plugged into them. Returns their names.

    An engine that was killed hard forgets the interface of a network that it had just made.
    """
    gone = []
    for interface in sorted(Path("/sys/class/net").glob("s2s*")):
        ports = interface / "brif"
        if names.fullmatch(interface.name) and ports.is_dir() and not any(ports.iterdir()):
            done = subprocess.run(["ip", "link", "delete", interface.name], capture_output=True, check=False)
            gone += [interface.name] if done.returncode == 0 else []
    return gone


def last_words() -> str:
    """The last line of the private engine's log."""
    try:
        return _last_line(_folder() / "run" / "dockerd.log")
    except OSError as error:
        return f"(it cannot be read: {error.strerror})"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "it said nothing"


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160]

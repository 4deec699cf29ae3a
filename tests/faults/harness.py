"""Runs the command line with a fault in it, and holds the run to what every run owes, whatever became of it.

Rule: the real command in a process of its own, on a real engine. A stage is waited for by what can be seen of it, the end with a
bound. `Case.violations` is the whole list of what a run owes; no fault may leave one out.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from fault import End, Fault, Stage
from jsonschema import Draft202012Validator

from testbed.engine import federation, host
from testbed.engine.host import ENGINE_ERRORS, Engine
from testbed.judge.verdict import exit_status

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.1
STAGE_BOUND = 120
"""Seconds until a stage must have come, on a machine with busy cores."""
GONE_BOUND = 20
"""Seconds after a run within which the kernel and the engine must have let go of what was removed."""
GRACE = 2.0
"""Seconds that a fault leaves to what was measured, until it must be on disk."""
BAD_WORDS = (
    "Traceback",
    "Task exception was never retrieved",
    "Exception ignored",
    "coroutine ",
    "cannot schedule new futures",
    "a bug of it",
)
"""What no user should read on standard error."""
INTERRUPTED = 130
"""The status of a command that was interrupted before there was a record."""
DECIDED = ("delivered", "bounced", "lost", "unsupported")
UNSHIELDED = ("env", "--default-signal=INT,TERM,HUP")
"""What starts this may have ignored a signal, as a shell does for what it puts in the background."""
HOLD = "import signal; signal.pause()"
"""What the container of `Bench.on_host` does."""


@dataclass
class Bench:
    """An engine, and how commands are started on it."""

    engine: Engine
    environment: dict[str, str]
    wiretap_image: str
    _host: Container | None = None

    def command(self, *words: object) -> list[str]:
        """The command line of this checkout."""
        return [*UNSHIELDED, sys.executable, "-m", "testbed", *map(str, words)]

    def on_host(self, script: str, *, detach: bool = False) -> str:
        """Run Python as root on the engine's host network. Raises AssertionError with what it wrote if it fails."""
        if self._host is None:
            labels = federation.labels_of(f"faults-bench-{os.getpid()}")
            self._host = self.engine.client.containers.run(
                self.wiretap_image, ["-c", HOLD], entrypoint="python3", network_mode="host", cap_add=["NET_ADMIN"],
                labels=labels, detach=True,
            )  # fmt: skip
        status, output = self._host.exec_run(["python3", "-c", script], detach=detach)
        assert not status, output
        return (output or b"").decode()

    def engine_pid(self) -> int:
        """The engine's process, where it is the test's own."""
        raise NotImplementedError

    def restart(self) -> None:
        """Start the engine anew, where it is the test's own."""
        raise NotImplementedError

    def forget(self) -> None:
        """The container of `on_host` ended with its engine."""
        self._host = None

    def close(self) -> None:
        """Remove what `on_host` needed."""
        if self._host is not None:
            with contextlib.suppress(*ENGINE_ERRORS):
                self._host.remove(force=True, v=True)
            self._host = None

    def tables(self) -> list[str]:
        """Names of the firewall's tables of the bridge family on the engine's host."""
        script = "import nftables; n = nftables.Nftables(); print(n.cmd('list tables bridge')[1])"
        return re.findall(r"table bridge (\S+)", self.on_host(script))


@dataclass
class Footprint:
    """What a run has put on the machine, noted while it goes on, so that it can be looked for afterwards."""

    bench: Bench
    token: str
    """Stands in the environment of every process of the run."""
    temporary: Path
    owner: str = ""
    """The command's process, as the label of all that it makes has it: two runs may have one id, if their folders differ."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: set[str] = field(default_factory=set)

    @property
    def filters(self) -> dict[str, str]:
        """Of the engine's lists."""
        return {"label": f"{federation.OWNER_LABEL}={self.owner}"}

    def look(self) -> None:
        """Note what there is now."""
        api = self.bench.engine.client.api
        with contextlib.suppress(*ENGINE_ERRORS):
            self.networks |= {n["Name"] for n in api.networks(filters=self.filters)}
            for container in api.containers(all=True, filters=self.filters):
                known = self.containers.get(container["Id"], {})
                if not known.get("State", {}).get("Running"):
                    self.containers[container["Id"]] = api.inspect_container(container["Id"])

    def left(self) -> list[str]:
        """What is still there, each named by its kind."""
        client = self.bench.engine.client
        filters = self.filters
        found = [f"container {c['Names']}" for c in client.api.containers(all=True, filters=filters)]
        found += [f"network {n['Name']}" for n in client.api.networks(filters=filters)]
        shorts = {name.removeprefix("s2s-testbed-") for name in self.networks}
        found += [f"bridge s2s{s}" for s in shorts if Path(f"/sys/class/net/s2s{s}").exists()]
        tables = self.bench.tables() if shorts else []
        found += [f"table {t}" for t in tables if t.removeprefix("s2s_") in shorts]
        found += [f"mount {m}" for m in self._mounts()]
        found += [f"process {p}" for p in self._processes()]
        volumes = {m["Name"] for c in self.containers.values() for m in c.get("Mounts", []) if m.get("Type") == "volume"}
        if volumes:
            there = {v["Name"] for v in client.api.volumes()["Volumes"] or []}
            found += [f"volume {v}" for v in volumes & there]
        found += [f"temporary file {p}" for p in self.temporary.rglob("*")]
        return found

    def _mounts(self) -> Iterator[str]:
        points = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
        for identity, facts in self.containers.items():
            own = {(facts.get("GraphDriver", {}).get("Data") or {}).get("MergedDir"), facts["NetworkSettings"].get("SandboxKey")}
            yield from (p for p in points if identity in p or (p in own and not p.endswith("/default")))

    def _processes(self) -> Iterator[str]:
        """Those with the run's environment, and those in the control groups of its containers."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
                if not line or line.startswith(("dockerd", "containerd", "/usr/bin/containerd")):
                    continue  # a zombie, or the engine that a run may have started, which stays
                if self.token.encode() in (entry / "environ").read_bytes():
                    yield f"{entry.name} {line}"
                elif any(identity in (entry / "cgroup").read_text() for identity in self.containers):
                    yield f"{entry.name} {line} (in a container)"


@dataclass(frozen=True)
class Reference:
    """What comes of the scenario undisturbed."""

    cells: dict[str, tuple[str, str | None]]
    """Cell -> outcome, cause."""
    status: int
    seconds: float

    @classmethod
    def of(cls, verdicts: dict[str, Any], status: int, seconds: float) -> Reference:
        """From the verdicts of a run."""
        return cls({c["id"]: (c["outcome"], c["cause"]) for c in verdicts["cells"]}, status, seconds)


class Case:
    """One run, and the fault in it."""

    def __init__(self, fault: Fault, seed: int, bench: Bench, folder: Path, reference: Reference | None) -> None:
        self.fault, self.seed, self.bench, self.folder, self.reference = fault, seed, bench, folder, reference
        self.random = random.Random(f"{fault.name}/{seed}")
        self.token = f"s2s-fault-{os.getpid()}-{random.SystemRandom().getrandbits(48):x}"
        self.undo: list[Callable[[], object]] = []
        """Done when the run is over, before anything is looked at: to unpause, to give space back."""
        self.cleanup = contextlib.ExitStack()
        """Closed when everything was looked at."""
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.results = fault.results(self) if fault.results else folder / "results"
        self.footprint = Footprint(bench, self.token, self.temporary)
        self.companions: list[Case] = []
        """Runs beside it, which owe what it owes."""
        self.finished: list[str] = []
        """Phases whose evidence was in when the fault struck."""
        self.struck: float | None = None
        self.status: int | None = None
        self.out = self.error = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.decided = 0
        """Cells that had an outcome in the end."""
        self._over = threading.Event()

    # --- what a fault may use ---

    @property
    def path(self) -> Path | None:
        """The run's folder, once it is there."""
        found = [p for p in self.results.glob("faults-*") if p.is_dir() and not p.is_symlink()] if self.results.is_dir() else []
        return found[0] if found else None

    def send(self, number: signal.Signals) -> None:
        """A signal to the command, if it still runs."""
        assert self.process
        self.process.send_signal(number)

    def containers(self, ending: str = "") -> list[Container]:
        """The run's running containers whose name ends with ``ending``."""
        found = self.bench.engine.client.containers.list(filters=self.footprint.filters, ignore_removed=True)
        return [c for c in found if c.name.endswith(ending)]

    def container(self, ending: str) -> Container:
        """One of them, awaited if it is not there yet."""
        return self.until(f"a container {ending}", lambda: next(iter(self.containers(ending)), None))

    def observations(self) -> list[dict[str, Any]]:
        """The record, as far as it is on disk; a line that is being written is left out."""
        with contextlib.suppress(OSError):
            if self.path:
                lines = (self.path / "observations.jsonl").read_text(errors="replace").split("\n")[:-1]
                return [json.loads(line) for line in lines]
        return []

    def beside(self) -> Case:
        """Another run of the same scenario at the same time, which nothing is done to. It is awaited at the end."""
        fault = Fault(f"{self.fault.name}-beside", "", Stage.BEGUN, lambda _: None, End.WHOLE, bound=self.fault.bound)
        folder = self.folder / "beside"
        folder.mkdir()
        companion = Case(fault, self.seed, self.bench, folder, self.reference)
        thread = threading.Thread(target=companion.play, daemon=True)
        thread.start()
        self.companions.append(companion)
        self.undo.append(thread.join)
        return companion

    def until(self, what: str, look: Callable[[], Any], bound: float = STAGE_BOUND) -> Any:
        """Wait until ``look`` returns something true, and return that. Raises AssertionError if the run ends before."""
        deadline = time.monotonic() + bound
        while not (found := look()):
            assert self.process is None or self.process.poll() is None, f"the run ended before: {what}: {self._said()}"
            assert time.monotonic() < deadline, f"did not come within {bound} s: {what}: {self._said()}"
            time.sleep(POLL)
        return found

    def _said(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")[-2000:]

    # --- the life of a case ---

    def play(self) -> Case:
        """Start the run, inject the fault, await the end. Raises AssertionError if the fault cannot be injected."""
        environment = self.bench.environment | {"S2S_FAULT": self.token, "TMPDIR": str(self.temporary)}
        words = ["run", self.fault.scenario, "--results", self.results, "--quiet", "--json", *self.fault.options]
        for folder in self.fault.servers(self) if self.fault.servers else ():
            words += ["--server", folder]
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as error:
            self.process = subprocess.Popen(
                self.bench.command(*words), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=error,
                start_new_session=True,
            )  # fmt: skip
        self.footprint.owner = federation.owner(self.process.pid)
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        began = time.monotonic()
        try:
            self._await_stage(began)
            self.finished = self._phases_in()
            self.struck = time.time()
            self.fault.inject(self)
            self.status = self.process.wait(self.fault.bound)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._over.set()
            watcher.join()
            for undo in reversed(self.undo):
                undo()
        self.out, self.error = ((self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return self

    def _watch(self) -> None:
        """Note what the run puts on the machine, twice a second."""
        while not self._over.wait(0.5):
            self.footprint.look()

    def _await_stage(self, began: float) -> None:
        if self.fault.at is Stage.ANY:
            assert self.reference
            assert self.process
            moment = self.random.uniform(0.3, self.reference.seconds)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, moment - (time.monotonic() - began)))
            return
        self.until(self.fault.at.value, functools.partial(REACHED[self.fault.at], self))

    def _phases_in(self) -> list[str]:
        """Phases whose capture and logs are in, long enough ago to be on disk."""
        captures = self.path.glob("evidence/*/s2s.pcapng.gz") if self.path else ()
        return [p.parent.name for p in captures if time.time() - p.stat().st_mtime > GRACE]

    # --- what a run owes ---

    def violations(self, *, full: bool) -> list[str]:
        """Everything in which this run falls short; ``full``: also the reports that are drawn."""
        if self.status is None:
            return [f"the run did not end within {self.fault.bound} s of the fault; it had said: {self.error[-500:]}"]
        wrong = [f"standard error has {word!r}: {self.error[-1500:]}" for word in BAD_WORDS if word in self.error]
        if self.fault.end is End.KILLED or self.fault.reaped:
            federation.reap(self.bench.engine)
        wrong += self._left()
        verdicts = self._verdicts(wrong, full=full)
        wrong += self._ending(verdicts)
        if verdicts:
            wrong += self._cells(verdicts)
            wrong += self.fault.owes(verdicts) if self.fault.owes else []
        self.decided = sum(c["outcome"] in DECIDED for c in verdicts.get("cells", ()))
        for companion in self.companions:
            wrong += [f"the run beside it: {w}" for w in companion.violations(full=False)]
        return wrong

    def _left(self) -> list[str]:
        """What is still there when kernel and engine have had their time."""
        deadline = time.monotonic() + GONE_BOUND
        while (left := self.footprint.left()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [f"left behind: {what}" for what in left]

    def _verdicts(self, wrong: list[str], *, full: bool) -> dict[str, Any]:
        """What `testbed report` makes of the run, held to the schema and to what the run itself wrote; empty without a plan."""
        if not self.path or not (self.path / "manifest.json").exists():
            return {}
        kept = self.path / "derived" / "verdicts.json"
        written = json.loads(kept.read_text()) if kept.exists() else None
        words = ("report", self.path, "--json", "--quiet") if full else ("report", self.path, "--format", "json")
        done = subprocess.run(
            self.bench.command(*words),
            cwd=ROOT,
            env=self.bench.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.stderr.strip() or not done.stdout:
            wrong.append(f"`testbed report` said, with status {done.returncode}: {done.stderr[-1500:]}")
            return {}
        verdicts: dict[str, Any] = json.loads(done.stdout)
        if done.returncode != exit_status(verdicts):
            wrong.append(f"`testbed report` ended with {done.returncode}, its verdicts say {exit_status(verdicts)}")
        if written is not None and written != verdicts:
            wrong.append("the run wrote other verdicts than `testbed report` gives")
        if full and json.loads(kept.read_text()) != verdicts:
            wrong.append("verdicts.json is not what `testbed report` printed")
        wrong += [f"verdicts.json: {e.json_path}: {e.message[:200]}" for e in validator().iter_errors(verdicts)]
        return verdicts

    def _ending(self, verdicts: dict[str, Any]) -> list[str]:
        """Whether the exit status and standard error say what became of the run."""
        sentences = [line for line in self.error.splitlines() if line.startswith("error:")]
        complete, told = bool(verdicts.get("complete")), exit_status(verdicts) if verdicts else 3
        end, wrong = self.fault.end, []
        if end is End.KILLED:
            return [] if self.status == -signal.SIGKILL else [f"status {self.status}, not killed"]
        if self._before_any_record():
            return []
        if self.status not in (0, 1, 3):
            wrong.append(f"status {self.status}: {self.error[-1500:]}")
        if sentences:
            if self.status != 3:
                wrong.append(f"status {self.status}, but it said {sentences}")
            if len(sentences) > 1:
                wrong.append(f"several sentences: {sentences}")
            if self.fault.says and not re.search(self.fault.says, self.error):
                wrong.append(f"standard error does not match {self.fault.says!r}: {self.error[-1500:]}")
        elif not complete:
            wrong.append(f"ended early, with status {self.status} and without a sentence: {self.error[-1500:]!r}")
        elif self.status != told:
            wrong.append(f"status {self.status}, but the verdicts say {told}")
        if not complete and self.status != 3:
            wrong.append(f"status {self.status} of an unfinished run")
        if end is End.EARLY and not sentences and not self._too_late():
            wrong.append("went on as if nothing had been")
        if end is End.TELLS and (not complete or told != 3):
            wrong.append(f"complete: {complete}, the verdicts' status: {told}; expected a complete run that could not tell")
        if end is End.FOUND and (not complete or told != 1):
            wrong.append(f"complete: {complete}, the verdicts' status: {told}; expected a complete run with status 1")
        right = {self.reference.status, 3, *((1,) if self.fault.surprises else ())} if self.reference else {0, 1, 3}
        if end is End.EITHER and self.status not in right:
            wrong.append(f"status {self.status}, expected one of {sorted(right)}")
        if end is End.WHOLE and self.reference and (not complete or self.status != self.reference.status):
            wrong.append(f"status {self.status}, the undisturbed run has {self.reference.status}: {self.error[-1500:]}")
        return wrong

    def _before_any_record(self) -> bool:
        """Whether it was interrupted before there was a record (README, exit status): 130, one word, and no run is left."""
        return self.status == INTERRUPTED and self.error.strip() == "interrupted" and self.path is None and not self.out

    def _too_late(self) -> bool:
        """Whether the moment that the seed drew was at the end of the run."""
        return self.fault.at in (Stage.ANY, Stage.REPORT) and bool(self.out)

    def _cells(self, verdicts: dict[str, Any]) -> list[str]:
        """Whether every planned cell is there, none that was finished is lost, and none that is decided is wrong."""
        if self.reference is None:
            return []
        cells = {c["id"]: c for c in verdicts["cells"]}
        wrong = [f"no cell {name}" for name in self.reference.cells if name not in cells]
        for name, (outcome, cause) in self.reference.cells.items():
            cell = cells.get(name) or {"outcome": "", "cause": None, "phase": ""}
            decided = cell["outcome"] in DECIDED
            if not decided and cell["phase"] in self.finished:
                wrong.append(f"{name} was finished, and is lost: {cell['cause']}: {cell.get('explanation')}")
            if self.fault.end is End.WHOLE and not decided:
                wrong.append(f"{name} is undecided: {cell['cause']}: {cell.get('explanation')}")
            if decided and cell["outcome"] != outcome:
                wrong.append(f"{name} is {cell['outcome']} ({cell['cause']}), undisturbed it is {outcome}")
            elif decided and cell["cause"] not in (cause, None):
                wrong.append(f"{name} has the cause {cell['cause']}, undisturbed {cause}")
        return wrong


def _has_containers(case: Case, *endings: str) -> bool:
    names = [c.name for c in case.containers()]
    return all(any(n.endswith(e) for n in names) for e in endings)


def _noted(case: Case, **wanted: str) -> bool:
    return any(all(o.get(k) == v for k, v in wanted.items()) for o in case.observations())


REACHED: dict[Stage, Callable[[Case], object]] = {
    Stage.BEGUN: lambda _: True,
    Stage.FOLDER: lambda case: case.path is not None,
    Stage.PARTS: lambda case: _has_containers(case, "-dns", "-wiretap", "-driver"),
    Stage.SERVERS: lambda case: _has_containers(case, "-before-mesh-a", "-before-mesh-b", "-before-mesh-expired"),
    Stage.CELLS: lambda case: any(o["kind"] in ("received", "error") and o["epoch"] == "mesh" for o in case.observations()),
    Stage.SECOND: lambda case: _has_containers(case, "-after-mesh-a"),
    Stage.EVIDENCE: lambda case: case.path is not None and (case.path / "evidence" / "before" / "s2s.pcapng.gz").exists(),
    Stage.REPORT: lambda case: case.path is not None and (case.path / "derived" / "verdicts.json").exists(),
}
"""How it is seen that a stage has come."""


@functools.cache
def validator() -> Draft202012Validator:
    """Of verdicts.json."""
    return Draft202012Validator(json.loads((ROOT / "schemas" / "verdicts.schema.json").read_text()))


def bench_of(engine: Engine, wiretap_image: str, **environment: str) -> Bench:
    """A bench on an engine that answers."""
    own = {
        "DOCKER_HOST": engine.address, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return Bench(engine, os.environ | own | environment, wiretap_image)


def reference_of(bench: Bench, scenario: Path, results: Path) -> Reference:
    """Run a scenario undisturbed. Raises AssertionError if it cannot be measured."""
    began = time.monotonic()
    command = bench.command("run", scenario, "--results", results, "--quiet", "--json")
    done = subprocess.run(command, cwd=ROOT, env=bench.environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return Reference.of(json.loads(done.stdout), done.returncode, time.monotonic() - began)


__all__ = ["Bench", "Case", "Reference", "bench_of", "host", "reference_of"]

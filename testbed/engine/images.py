"""Builds what a scenario needs, side by side: base systems, the testbed's own images, the servers' images.

An image carries the digest of what it was built from; it is rebuilt when that differs. One that cannot be built is a reason,
not an error: its servers become unavailable and the rest runs.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import BuildError, ImageNotFound, NotFound

from testbed import interruption
from testbed.engine.host import ENGINE_ERRORS, Engine, install
from testbed.engine.underway import Underway, workplace
from testbed.model import EngineError, Implementation, InputError
from testbed.plan.catalog import DEFAULT_ROOT, Catalog, folder_digest

REPOSITORY = "s2s-testbed"
LABEL = "s2s-testbed.digest"
PARTS = ("dns", "driver", "wiretap")
PART_SUITE = "trixie"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
"""The engine paints what a build writes to standard error."""
IMPORTED = re.compile(r'"status": ?"(sha256:[0-9a-f]{64})"')
"""What the engine says of an image that it imported."""
LAST_LINES = 12
"""Of a build that fails, how many lines are shown."""
MOST_LISTED = 20
"""Of the engine's images, how many are named where one is missing."""
MAX_AGE = 30 * 86400  # seconds after which an image counts as stale: the distribution has moved on

Progress = Callable[[str, str], None]
"""(image, what happens: building · built · kept · failed: why)"""


def tag_of(implementation: Implementation) -> str:
    """The tag of a server's image, within the testbed's repository."""
    return f"{implementation.name}:{implementation.release}"


@dataclass
class Images:
    """What there is after a build."""

    ids: dict[str, str] = field(default_factory=dict)
    """Tag (`name:release` of a server, `driver` and the like of a part) -> image id."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Tag -> reason."""
    versions: dict[str, str] = field(default_factory=dict)
    """Tag -> what a user's own software says of its version, where that is not the package's word."""

    def server(self, implementation: Implementation) -> str | None:
        """The image of an implementation, or None if it is unavailable."""
        return self.ids.get(tag_of(implementation))

    def reason(self, implementation: Implementation) -> str | None:
        """Why an implementation is unavailable, or None."""
        return self.unavailable.get(tag_of(implementation))

    def version(self, implementation: Implementation) -> str | None:
        """The version of a user's own software; None of all others, which are asked when they run."""
        return self.versions.get(tag_of(implementation))


class Builder:
    """Builds images on one engine."""

    def __init__(
        self, engine: Engine, catalog: Catalog, *, root: Path = DEFAULT_ROOT, progress: Progress = lambda *_: None
    ) -> None:
        self.engine, self.catalog, self.root, self.progress = engine, catalog, root, progress
        self.docker = engine.client
        self.lock = threading.Lock()
        self.registry_answers: bool | None = None
        self.underway = Underway(self.docker)

    def ensure(self, implementations: Iterable[Implementation], *, jobs: int | None = None, parts: bool = True) -> Images:
        """Build or keep every image that is needed. Raises EngineError only if one of the testbed's own parts fails."""
        wanted = sorted(set(implementations))
        suites = {self.catalog.image(i).spec.releases[i.release].suite for i in wanted} | ({PART_SUITE} if parts else set())
        images = Images()
        # Debian's mirrors and dpkg set the pace, not the processors: more builds than cores still gain.
        with concurrent.futures.ThreadPoolExecutor(jobs or max(4, 2 * (os.cpu_count() or 2))) as pool, self._ended_with(pool):
            bases = {suite: pool.submit(self._base, suite) for suite in sorted(suites)}
            pending: dict[concurrent.futures.Future[str], str] = {}
            if parts:
                for part in PARTS:
                    pending[pool.submit(self._after, bases[PART_SUITE], self.root / f"_{part}", part)] = part
            for implementation in wanted:
                suite = self.catalog.image(implementation).spec.releases[implementation.release].suite
                folder = self.catalog.image(implementation).folder
                tag = tag_of(implementation)
                pending[pool.submit(self._after, bases[suite], folder, tag)] = tag
            for future in concurrent.futures.as_completed(pending):
                tag = pending[future]
                try:
                    images.ids[tag] = future.result()
                except EngineError as error:
                    images.unavailable[tag] = str(error)
        for part in PARTS if parts else ():
            if part in images.unavailable:
                raise EngineError(f"the testbed's own image `{part}` cannot be built: {images.unavailable[part]}")
        return images

    @contextlib.contextmanager
    def _ended_with(self, pool: concurrent.futures.ThreadPoolExecutor) -> Iterator[None]:
        """If the block is interrupted, so is all that the pool does; it is left when nothing goes on any more."""
        try:
            yield
        except BaseException:
            with interruption.held():
                self.underway.end()
                pool.shutdown(cancel_futures=True)
            raise

    # --- candidates ---

    def find(self, reference: str) -> str:
        """The id of an image that is on the engine already. Raises InputError."""
        try:
            return str(self.docker.images.get(reference).id)
        except (ImageNotFound, NotFound):
            known = sorted(t for i in self.docker.images.list() for t in i.tags if not t.startswith(f"{REPOSITORY}/"))
            listing = f"docker --host {self.engine.address} images" if self.engine.private else "docker images"
            raise InputError(
                f"no image `{reference}` on this engine",
                value=reference,
                allowed=tuple(known[:MOST_LISTED]),
                hint=f"`{listing}` lists all; nothing is pulled: `docker pull` or `docker load` it there, or give --build",
            ) from None
        except ENGINE_ERRORS as error:
            raise EngineError(f"the image {reference} cannot be looked up: {str(error).splitlines()[0]}") from None

    def build(self, folder: Path, suite: str, tag: str, say: Callable[[str], None]) -> str:
        """Build a user's own folder, with the testbed's base of ``suite`` as the argument BASE. Returns the image's id.

        The engine's own cache decides what is built anew. Raises EngineError with the last lines of what the build said.
        """
        base = self._base(suite)
        with self.underway.answer():
            return self._given(folder, base, tag, say)

    def _given(self, folder: Path, base: str, tag: str, say: Callable[[str], None]) -> str:
        output: list[str] = []
        try:
            stream = self.docker.api.build(
                path=str(folder),
                tag=f"{REPOSITORY}/{tag}",  # given only when all went well
                buildargs={"BASE": base},
                labels={LABEL: "given"},
                network_mode="host",
                rm=True,
                forcerm=True,
                timeout=1200,
                decode=True,
            )
            for event in stream:
                lines = [clean for line in str(event.get("stream") or "").splitlines() if (clean := ANSI.sub("", line).strip())]
                output += lines
                for line in lines:
                    if line.startswith("Step "):
                        say(f"{tag}: {line}")
                if why := event.get("error"):
                    last = "\n".join(f"    {line[:200]}" for line in output[-LAST_LINES:])
                    raise EngineError(f"{folder}: the build failed: {ANSI.sub('', str(why)).strip()}\n  it said last:\n{last}")
            return str(self.docker.images.get(f"{REPOSITORY}/{tag}").id)
        except (*ENGINE_ERRORS, OSError) as error:  # OSError: a file of the folder cannot be read
            raise EngineError(f"{folder}: the build failed: {str(error).splitlines()[0]}") from None

    # --- what is there ---

    def current(self, tag: str) -> str | None:
        """The id of an image that fits its folder as that is today; builds nothing. None where it would have to be built."""
        name, _, release = tag.partition(":")
        if not release:
            return self._kept(self.root / f"_{name}", tag, self._kept_base(PART_SUITE))
        image = self.catalog.images.get(name)
        if image is None or release not in image.spec.releases:
            return None
        return self._kept(image.folder, tag, self._kept_base(image.spec.releases[release].suite))

    def _kept_base(self, suite: str) -> str | None:
        debian = self._labelled(f"{REPOSITORY}/debian:{suite}")
        return self._kept(self.root / "_base", f"base:{suite}", debian[0] if debian else None)

    def _kept(self, folder: Path, tag: str, base: str | None) -> str | None:
        there = self._labelled(_name_of(tag))
        return there[0] if there and base and there[1] == _origin(folder, [base]) else None

    def has(self, identity: str) -> bool:
        """Whether an image of this id is on the engine."""
        return self._labelled(identity) is not None

    # --- one image ---

    def _after(self, base: concurrent.futures.Future[str], folder: Path, tag: str) -> str:
        try:
            base_id = base.result()
        except EngineError as error:
            self.progress(tag, "failed: its base system is missing")
            raise EngineError(f"its base system cannot be made: {error}") from None
        return self._build(folder, tag, {"BASE": base_id})

    def _base(self, suite: str) -> str:
        debian = self._debian(suite)
        folder = self.root / "_base"
        return self._build(folder, f"base:{suite}", {"DEBIAN": debian})

    def _build(self, folder: Path, tag: str, arguments: dict[str, str]) -> str:
        """Build ``folder`` as ``tag`` unless an image of the same origin is there. Returns the image's id."""
        name, origin = _name_of(tag), _origin(folder, arguments.values())
        existing = self._labelled(name)
        if existing and existing[1] == origin:
            self.progress(tag, "kept")
            return existing[0]
        self.progress(tag, "building")
        try:
            with self.underway.answer():
                image, _ = self.docker.images.build(
                    path=str(folder),
                    tag=name,
                    buildargs=arguments,
                    labels={LABEL: origin},
                    network_mode="host",
                    rm=True,
                    forcerm=True,
                    timeout=1200,
                )
        except BuildError as error:
            output = [line.get("stream") or line.get("error") or "" for line in error.build_log]
            why = _why(output) or str(error)
            self.progress(tag, f"failed: {why}")
            raise EngineError(why) from None
        except ENGINE_ERRORS as error:
            self.progress(tag, f"failed: {error}")
            raise EngineError(str(error).splitlines()[0]) from None
        self.progress(tag, "built")
        return str(image.id)

    def _labelled(self, name: str) -> tuple[str, str | None] | None:
        try:
            image = self.docker.images.get(name)
        except (ImageNotFound, NotFound):
            return None
        return str(image.id), image.labels.get(LABEL)

    # --- base systems: a registry if one answers, else mmdebstrap ---

    def _debian(self, suite: str) -> str:
        """The id of Debian's minimal system of ``suite``."""
        name = f"{REPOSITORY}/debian:{suite}"
        if existing := self._labelled(name):
            return existing[0]
        self.progress(f"debian:{suite}", "building")
        if self._registry(suite):
            image = self.docker.images.get(f"debian:{suite}-slim")
            image.tag(f"{REPOSITORY}/debian", suite)
            self.progress(f"debian:{suite}", "built")
            return str(image.id)
        try:
            identity = self._mmdebstrap(suite, name)
        except EngineError as error:
            self.progress(f"debian:{suite}", f"failed: {error}")
            raise
        self.progress(f"debian:{suite}", "built")
        return identity

    def _registry(self, suite: str) -> bool:
        """Pull Debian's own image; False if no registry answers, which is asked once."""
        with self.lock:
            if self.registry_answers is False:
                return False
            done: list[bool] = []

            def pull() -> None:
                try:
                    with self.underway.answer():
                        self.docker.images.pull("debian", tag=f"{suite}-slim")
                    done.append(True)
                except (*ENGINE_ERRORS, EngineError):
                    done.append(False)

            # An unreachable registry may answer no, or nothing at all: do not wait for the client's own patience.
            thread = threading.Thread(target=pull, daemon=True)
            thread.start()
            deadline = time.monotonic() + (60 if self.registry_answers else 20)
            while thread.is_alive() and time.monotonic() < deadline and not self.underway.ended.is_set():
                thread.join(0.2)
            answered = bool(done and done[0])
            if self.registry_answers is None:
                self.registry_answers = answered
            return answered

    def _mmdebstrap(self, suite: str, name: str) -> str:
        with self.lock:
            if not shutil.which("mmdebstrap"):
                install(
                    ["mmdebstrap", "debian-archive-keyring"],
                    "no registry answers, so base systems come from mmdebstrap, which",
                    lambda _: None,
                    started=self.underway.process,
                )
        mirror = host_mirror()
        sources = [f"deb {mirror} {suite} main"] if mirror else []
        options = ["--variant=minbase", "--include=ca-certificates"]
        if suite == "sid":
            # A slow mirror's index of sid may be past its Valid-Until: for that suite alone.
            options.append('--aptopt=Acquire::Check-Valid-Until "false"')
        command = ["mmdebstrap", "--quiet", *options, suite, "-", *sources]
        began = time.monotonic()
        with (
            workplace() as folder,
            self.underway.process(
                command, env=os.environ | {"TMPDIR": folder}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
        ):
            assert process.stdout
            assert process.stderr
            output: list[bytes] = []
            reader = threading.Thread(target=lambda: output.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
            reader.start()
            try:
                with self.underway.answer():  # without a name: a system that was cut short must not pass for a whole one
                    answer = self.docker.api.import_image_from_stream(process.stdout)
            except (*ENGINE_ERRORS, OSError) as error:
                raise EngineError(f"the base system of {suite} could not be imported: {error}") from None
            process.wait()
            reader.join(5)
        imported = IMPORTED.search(answer)
        if process.returncode or not imported or self.underway.ended.is_set():
            with contextlib.suppress(*ENGINE_ERRORS):
                if imported:
                    self.docker.images.remove(imported[1], force=True)
            why = _why([*b"".join(output).decode(errors="replace").splitlines(), *([] if imported else [answer])])
            raise EngineError(f"mmdebstrap {suite} failed after {time.monotonic() - began:.0f} s: {why}")
        repository, _, tag = name.partition(":")
        self.docker.images.get(imported[1]).tag(repository, tag)
        return imported[1]


def _name_of(tag: str) -> str:
    """The image's name on the engine."""
    return f"{REPOSITORY}/{tag}" if ":" in tag else f"{REPOSITORY}/{tag}:latest"


def _origin(folder: Path, arguments: Iterable[str]) -> str:
    """What an image was built from: its folder, and the arguments of its build (ids of other images)."""
    return hashlib.sha256("\0".join([folder_digest(folder), *sorted(arguments)]).encode()).hexdigest()[:24]


def present(engine: Engine) -> dict[str, dict[str, Any]]:
    """Every image of the testbed on an engine: tag -> created (Unix seconds), size (bytes), id."""
    images: dict[str, dict[str, Any]] = {}
    for image in engine.client.images.list(filters={"label": LABEL}):
        for tag in image.tags:
            short = tag.removeprefix(f"{REPOSITORY}/")
            images[short] = {"id": image.id, "size": image.attrs["Size"], "created": _created(image.attrs["Created"])}
    return images


def remove_all(engine: Engine) -> None:
    """Remove every image of the testbed from an engine, builds of users too; one that cannot be removed stays."""
    for tag in present(engine):
        with contextlib.suppress(*ENGINE_ERRORS):
            engine.client.images.remove(f"{REPOSITORY}/{tag}", force=True)
    with contextlib.suppress(*ENGINE_ERRORS):  # earlier builds of the user's own, which lost their tag to a later one
        engine.client.images.prune({"dangling": True, "label": LABEL})


def registry_answers(engine: Engine, patience: float = 10.0) -> bool:
    """Whether the engine's registry knows Debian's image; it may answer no, or nothing at all within ``patience`` seconds."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(*ENGINE_ERRORS):
            engine.client.images.get_registry_data(f"debian:{PART_SUITE}-slim")
            answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(answers)


def host_mirror() -> str | None:
    """The Debian archive that this host's own apt uses, or None (not Debian, or no apt): mmdebstrap's default then serves."""
    try:
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT)", "Identifier: Packages"],
            capture_output=True, text=True, check=False, timeout=30,
        ).stdout  # fmt: skip
    except OSError:
        return None
    for line in listing.splitlines():
        address, _, rest = line.partition(" ")
        if rest == "Debian main" and address.rstrip("/").endswith("/debian"):
            return address
    return None


def _why(output: Iterable[str]) -> str:
    """The line of a build log that tells most, short."""
    lines = [ANSI.sub("", line).strip() for text in output for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("E:", "Err:", "error:", "fatal:"))]
    return (telling or lines or ["no output"])[-1][:300]


def _created(text: str) -> float:

    return dt.datetime.fromisoformat(text.split(".")[0].rstrip("Z") + "+00:00").timestamp()

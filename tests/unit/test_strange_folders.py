"""A folder that a stranger contributes runs nothing here, reads and writes nothing outside of itself, and ends in time."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
from docker.utils.build import tar

from testbed.measure import manifest, serverlog
from testbed.model import Implementation, InputError, Server, Settings
from testbed.plan import candidates, catalog, image_files, sandbox
from testbed.plan.catalog import Catalog, folder_digest
from testbed.plan.policy import PRESETS

IMAGE = """implementation: toy
title: Toy
homepage: https://toy.example/
user: toy
package: toy
releases:
  trixie: {suite: trixie, version: "1.0"}
config:
  toy.cfg.j2: toy.cfg
mechanisms: [dialback]
"""
LOGS = """patterns:
  - match: 'connected to (?P<peer>\\S+)'
    observe: s2s-established
    sample: connected to a.example
    from: toy 1.0
"""
SECRET = "the host's own"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The smallest folder of an implementation that is in order, with a secret beside it."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (folder / "image.yaml").write_text(IMAGE)
    (folder / "logs.yaml").write_text(LOGS)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "toy.cfg.j2").write_text("domain = {{ domain }}\n")
    return folder


def load(folder: Path) -> Catalog:
    return catalog.load(extra=[folder])


def render(folder: Path) -> dict[str, bytes]:
    """What the server's files are."""
    policy = PRESETS["opportunistic"]
    server = Server("a.example", Implementation("toy", "trixie"), policy, "ca", 0)
    return load(folder).images["toy"].render(server, Settings(policy, "ca"), timers="short", ipv6=True)


def test_the_toy_is_in_order(toy: Path) -> None:
    assert render(toy)["toy.cfg"] == b"domain = a.example\n"


# --- templates --------------------------------------------------------------------------------------------------------

TEMPLATES = {
    # what a template does -> the template, and a part of the message
    "runs code": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "runs code by a function of jinja2": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
    "runs code by an argument": ("{{ domain.format.__globals__ }}", "unsafe"),
    "runs code by a format": ("{{ '{0.__class__.__init__.__globals__}'.format(domain) }}", "unsafe"),
    "changes what it was given": ("{{ [].append(1) }}", "unsafe"),
    "loops": ("{% for a in range(10**9) %}{% endfor %}", "Range too big"),
    "loops in loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "s of a processor",
    ),
    "is large": ("{{ 'a' * 10**10 }}", "too much memory"),
    "grows": (
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "too much memory",
    ),
    "makes a large file": ("{{ 'a' * 3000000 }}", "more than 1 MB"),
    "has no end": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    "reads another folder": ("{% include '../secret' %}", "leads out of its folder"),
    "reads from the root": ("{% include '/etc/hostname' %}", "leads out of its folder"),
    "reads by a link": ("{% include 'link.j2' %}", "leads out of its folder"),
    "divides by zero": ("{{ 1 / 0 }}", "division by zero"),
}


@pytest.mark.parametrize("what", TEMPLATES)
def test_what_a_template_may_not(what: str, toy: Path) -> None:
    text, message = TEMPLATES[what]
    (toy / "link.j2").symlink_to("../secret")
    (toy / "toy.cfg.j2").write_text(f"{text}\n")
    with pytest.raises(InputError) as error:
        render(toy)
    assert message in str(error.value)
    assert str(toy) in str(error.value)
    assert SECRET not in str(error.value)


def test_a_template_that_changes_is_rendered_anew_and_one_that_does_not_is_kept(toy: Path) -> None:
    render(toy)
    misses = sandbox._in_child.cache_info().misses
    render(toy)
    assert sandbox._in_child.cache_info().misses == misses
    (toy / "toy.cfg.j2").write_text("name = {{ domain }}, longer\n")
    assert render(toy)["toy.cfg"] == b"name = a.example, longer\n"


# --- names and links --------------------------------------------------------------------------------------------------

NAMES = {
    # what image.yaml says instead -> a part of the message
    ("toy.cfg.j2: toy.cfg", "toy.cfg.j2: ../../../tmp/x"): "cannot be `../../../tmp/x`",
    ("toy.cfg.j2: toy.cfg", "toy.cfg.j2: /etc/passwd"): "cannot be `/etc/passwd`",
    ("toy.cfg.j2: toy.cfg", "toy.cfg.j2: .."): "cannot be `..`",
    ("toy.cfg.j2: toy.cfg", "toy.cfg.j2: ''"): "cannot be ``",
    ("toy.cfg.j2: toy.cfg", 'toy.cfg.j2: "a\\nb"'): r"cannot be `a\nb`",
    ("toy.cfg.j2: toy.cfg", "../secret: toy.cfg"): "leads out of its folder",
    ("toy.cfg.j2: toy.cfg", "/etc/hostname: toy.cfg"): "leads out of its folder",
    ("suite: trixie", "suite: --setup-hook=id"): "`releases.trixie.suite` cannot be '--setup-hook=id'",
    ("suite: trixie", "suite: 'trixie main [trusted=yes]'"): "`releases.trixie.suite` cannot be",
    ("user: toy", "user: '-c id'"): "`user` cannot be",
    ("user: toy", "user: 'a;id'"): "`user` cannot be",
    ("package: toy", "package: '--help'"): "`package` cannot be",
    ("  trixie: {suite", "  ../x: {suite"): "`../x` cannot be a name",
    ("  trixie: {suite", "  'a b': {suite"): "`a b` cannot be a name",
}


@pytest.mark.parametrize(("was", "now"), NAMES)
def test_a_name_that_leads_elsewhere_is_refused(was: str, now: str, toy: Path) -> None:
    (toy / "image.yaml").write_text(IMAGE.replace(was, now))
    with pytest.raises(InputError) as error:
        load(toy)
    assert NAMES[was, now] in str(error.value)
    assert "image.yaml:" in str(error.value)
    assert "hint: " in str(error.value) or "pattern" in str(error.value)


@pytest.mark.parametrize("name", ["image.yaml", "logs.yaml", "Dockerfile", ".dockerignore", "toy.cfg.j2"])
@pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "/dev/zero", "loop"])
def test_a_link_that_leads_out_of_the_folder_is_refused(name: str, target: str, toy: Path) -> None:
    (toy / name).unlink(missing_ok=True)
    (toy / name).symlink_to(name if target == "loop" else target)
    with pytest.raises(InputError) as error:
        render(toy)
    assert name in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("name", ["image.yaml", "logs.yaml", "Dockerfile", ".dockerignore", "toy.cfg.j2"])
def test_a_pipe_is_no_file(name: str, toy: Path) -> None:
    (toy / name).unlink(missing_ok=True)
    os.mkfifo(toy / name)
    with pytest.raises(InputError) as error:
        render(toy)
    assert name in str(error.value)


def test_a_link_within_the_folder_is_as_good_as_a_file(toy: Path) -> None:
    (toy / "toy.cfg.j2").rename(toy / "real.j2")
    (toy / "toy.cfg.j2").symlink_to("real.j2")
    assert render(toy)["toy.cfg"] == b"domain = a.example\n"


def test_the_context_of_a_build_has_nothing_from_elsewhere(toy: Path) -> None:
    """The engine's client puts links into the context as links, and follows none."""
    (toy / "leak").symlink_to("../secret")
    (toy / "folder").symlink_to("..")
    os.mkfifo(toy / "pipe")
    with tar(str(toy)) as context:
        whole = context.read()
    assert SECRET.encode() not in whole
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        names = archive.getnames()
        assert archive.getmember("leak").issym()
    assert "folder/secret" not in names


def test_the_digest_of_a_folder_reads_no_file_by_a_link(toy: Path) -> None:
    (toy / "leak").symlink_to("/dev/zero")
    (toy / "loop").symlink_to("loop")
    os.mkfifo(toy / "pipe")
    before = folder_digest(toy)
    (toy / "leak").unlink()
    (toy / "leak").symlink_to("elsewhere")
    assert folder_digest(toy) != before


def source(folder: Path) -> str:
    """What a manifest says of the folder."""
    return manifest.sources(load(folder), [Implementation("toy", "trixie")])["toy"]


def test_a_manifest_reads_no_file_by_a_link_either(toy: Path) -> None:
    (toy / "leak").symlink_to("../secret")
    before = source(toy)
    (toy.parent / "secret").write_text("another secret")
    assert source(toy) == before, "what it leads to is not the folder's"
    (toy / "leak").unlink()
    (toy / "leak").symlink_to("elsewhere")
    assert source(toy) != before


def test_a_large_file_of_a_folder_is_read_in_pieces(toy: Path) -> None:
    with (toy / "large").open("wb") as file:
        file.truncate(64 << 20)
    known = load(toy)
    tracemalloc.start()
    try:
        manifest.sources(known, [Implementation("toy", "trixie")])
        known.images["toy"].digest()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


# --- what else a user brings ------------------------------------------------------------------------------------------


def test_a_configuration_by_a_link_to_elsewhere_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "prosody.cfg.lua").symlink_to("../secret")
    for given in (folder, folder / "prosody.cfg.lua"):
        with pytest.raises(InputError, match="leads out of its folder") as error:
            candidates.read("config", f"prosody={given}", catalog)
        assert "prosody.cfg.lua" in str(error.value)


@pytest.mark.parametrize("name", ["a b", "-rf", "a\x1b[2J", "ü"])
def test_a_configuration_has_plain_names(name: str, tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match="not a plain name"):
        candidates.read("config", f"prosody={tmp_path}", catalog)


def test_a_large_configuration_is_refused_before_it_is_read(tmp_path: Path, catalog: Catalog) -> None:
    with (tmp_path / "prosody.cfg.lua").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(InputError, match="larger than 1 MB"):
        candidates.read("config", f"prosody={tmp_path}", catalog)


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_a_build_reads_no_file_by_a_link(name: str, tmp_path: Path, catalog: Catalog) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (folder / "Dockerfile").write_text("FROM x\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../secret")
    with pytest.raises(InputError, match="leads out of its folder"):
        candidates.read("build", f"prosody={folder}", catalog)


# --- patterns ---------------------------------------------------------------------------------------------------------

SLOW = "(?:a|aa)+$"
"""Tries every way to divide a text."""


def test_a_pattern_that_its_own_samples_show_to_be_slow_is_refused_with_its_line(toy: Path) -> None:
    (toy / "logs.yaml").write_text(
        LOGS + f"  - match: '{SLOW}'\n    observe: s2s-closed\n    sample: {'a' * 60}b\n    from: toy 1.0\n"
    )
    with pytest.raises(InputError, match="takes more than 1 s for one line") as error:
        load(toy)
    assert f"logs.yaml:6: the pattern `{SLOW}`" in str(error.value)


def test_patterns_that_their_samples_show_to_be_slow_in_sum_are_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stays below its own bound, and there are as many searches as the square of their number."""
    monkeypatch.setattr(image_files, "SAMPLES_TIME", 0.05)
    slow = f"  - match: '{SLOW}'\n    observe: s2s-closed\n    sample: {'a' * 22}b\n    from: toy 1.0\n"
    (toy / "logs.yaml").write_text(LOGS + slow * 40)
    with pytest.raises(InputError, match=r"s for the samples; all patterns together may take") as error:
        load(toy)
    assert f"the pattern `{SLOW}` takes" in str(error.value)


def test_a_pattern_that_is_slow_on_a_line_of_a_log_ends_the_log(toy: Path) -> None:
    (toy / "logs.yaml").write_text(LOGS + f"  - match: '{SLOW}'\n    observe: s2s-closed\n    sample: aa\n    from: toy 1.0\n")
    logs = load(toy).images["toy"].logs
    lines = [(1.0, "connected to b.example"), (2.0, "a" * 60 + "b")]
    with pytest.raises(InputError, match="takes more than 1 s for one line"):
        serverlog.observe(logs, lines, server="a.example", domains={"b.example"}, addresses={}, phase="before", epoch="mesh")
    found = serverlog.observe(
        logs, lines[:1], server="a.example", domains={"b.example"}, addresses={}, phase="before", epoch="mesh"
    )
    assert [o.data["peer"] for o in found] == ["b.example"]


def test_patterns_that_are_slow_in_sum_end_the_log(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = load(toy).images["toy"].logs
    monkeypatch.setattr(serverlog, "LOG_TIME", -1.0)
    with pytest.raises(InputError, match=r"logs\.yaml: the patterns take more than"):
        serverlog.observe(logs, [(1.0, "x")], server="a", domains=set(), addresses={}, phase="p", epoch="mesh")


def test_the_time_of_a_log_is_not_what_other_threads_take_meanwhile(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several logs are read at once."""
    logs = load(toy).images["toy"].logs
    monkeypatch.setattr(serverlog, "LOG_TIME", 0.5)

    def burn() -> None:
        while time.thread_time() < 1.0:
            pass

    def lines() -> Iterator[tuple[float, str]]:
        other = threading.Thread(target=burn)
        other.start()
        other.join()
        yield 1.0, "connected to b.example"

    [seen] = serverlog.observe(logs, lines(), server="a", domains={"b.example"}, addresses={}, phase="p", epoch="mesh")
    assert seen.data["peer"] == "b.example"


def test_a_line_of_any_length_is_cut_before_patterns_see_it() -> None:
    [(_, line)] = serverlog.stamped(b"2026-01-01T00:00:00.000000000Z " + b"x" * (10 << 20))
    assert len(line) == image_files.LONGEST_LINE


def test_a_pattern_that_takes_too_much_to_compile_is_refused_with_its_line(toy: Path) -> None:
    pattern = "(?:" * 40 + "a" + "{1,9})" * 40
    (toy / "logs.yaml").write_text(LOGS.replace("connected to (?P<peer>\\S+)", pattern))
    with pytest.raises(InputError, match=r"logs\.yaml:2: .* to compile"):
        load(toy)


LONG = [
    "s2sout560cf49e41f0  info\tOutgoing s2s connection " + "->" * 9000,
    "s2sin560cf49e41f0  debug\tDestroying incomplete session " + "->a" * 6000,
    "2026-11-28 17:00:00 <0.1.1>@ejabberd_s2s_in:x:1 Closing inbound s2s connection " + "1:" * 9000,
    "[1] [" + "::" * 9000,
]
"""Lines that make a pattern try each way to divide them."""


@pytest.mark.parametrize("name", ["prosody", "ejabberd", "jabberd2"])
@pytest.mark.parametrize("line", LONG)
def test_a_line_of_a_server_of_the_testbed_s_takes_a_bounded_time(name: str, line: str) -> None:
    logs = catalog.load().images[name].logs
    cut = [text for _, text in serverlog.stamped(b"2026-01-01T00:00:00.000000000Z " + line.encode())]
    began = time.thread_time()
    with contextlib.suppress(InputError):
        serverlog.match_line(logs, cut[0])
    assert time.thread_time() - began < 2 * image_files.PATTERN_TIME


def test_a_slow_line_ends_the_log_of_a_server_of_the_testbed_s_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--image`` the patterns are the testbed's, and the log is a stranger's."""
    logs = catalog.load().images["prosody"].logs
    monkeypatch.setattr(serverlog, "LOG_TIME", -1.0)
    with pytest.raises(InputError, match=r"logs\.yaml: the patterns take more than"):
        list(serverlog.matched(logs, [(1.0, "x")]))


@pytest.mark.parametrize("name", ["prosody", "ejabberd", "jabberd2"])
def test_a_long_line_says_what_a_short_one_says(name: str) -> None:
    """Short lines are read by `re`, long ones by `regex`."""
    logs = catalog.load().images[name].logs
    entries = [*logs.patterns, *logs.reasons]
    for entry in entries:
        searches = re.compile(entry.match).search, regex.compile(entry.match).search
        for other in entries:
            found = [search(other.sample) for search in searches]
            assert len({str(f and (f.span(), f.groupdict())) for f in found}) == 1, (entry.match, other.sample)


@pytest.mark.parametrize(
    "pattern", ["(" * 900 + ")" * 900, "a" * 3000, "(?P<peer>x){99999999999}", "[", "(?P<peer>a)(?P<peer>b)"]
)
def test_a_pattern_that_cannot_be_compiled_is_said_with_its_line(pattern: str, toy: Path) -> None:
    (toy / "logs.yaml").write_text(LOGS.replace("connected to (?P<peer>\\S+)", pattern))
    with pytest.raises(InputError, match=r"logs\.yaml:2: "):
        load(toy)

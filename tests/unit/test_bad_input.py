"""Whatever is wrong with an input is one message: file and line, the value, what is allowed, what to do; and nothing was started.

The line that a message must name is marked in the input itself: ``# HERE``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from testbed.causes import CAUSES
from testbed.cli import main
from testbed.model import InputError
from testbed.plan import catalog as catalogs
from testbed.plan import scenario
from testbed.plan.catalog import Catalog
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import PRESETS

HEAD = "name: t\ntitle: t\n"
SERVERS = """servers:
  - {implementation: prosody@trixie, policy: opportunistic, domain: a.example}
  - {implementation: ejabberd@trixie, policy: opportunistic, domain: b.example}
"""
PHASES = "phases:\n  - name: before\n"


def servers(*lines: str) -> str:
    """A scenario with these lines under its second server."""
    return (
        f"{HEAD}servers:\n  - {{implementation: prosody@trixie, domain: a.example}}\n"
        + "".join(f"{line}\n" for line in lines)
        + PHASES
    )


def phases(*lines: str) -> str:
    """A scenario with these lines as its phases."""
    return HEAD + SERVERS + "phases:\n" + "".join(f"{line}\n" for line in lines)


SCENARIOS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    # what is wrong: the scenario, the offending value, some of what is allowed, a part of the hint
    "implementation": (
        servers("  - implementation: prosodi@trixie  # HERE"),
        "prosodi@trixie",
        ("prosody@trixie", "jabberd2@sid"),
        "did you mean `prosody@trixie`?",
    ),
    "implementation in a list": (
        servers("  - implementation:", "      - prosody@trixie", "      - prosody@buster  # HERE"),
        "prosody@buster",
        ("prosody@bullseye", "prosody@0.12"),
        "did you mean",
    ),
    "implementation without a release": (
        servers("  - implementation: prosody  # HERE"),
        "`prosody`",
        ("prosody@trixie",),
        "did you mean",
    ),
    "ambiguous version": (
        servers("  - implementation: jabberd2@2.7  # HERE"),
        "jabberd2@2.7",
        ("jabberd2@bullseye", "jabberd2@trixie"),
        "name the release instead",
    ),
    "policy": (
        servers("  - implementation: prosody@trixie", "    policy: oportunistic  # HERE"),
        "oportunistic",
        tuple(PRESETS),
        "did you mean `opportunistic`?",
    ),
    "preset of a record": (
        servers("  - implementation: prosody@trixie", "    policy:", "      preset: encripted  # HERE"),
        "encripted",
        tuple(PRESETS),
        "did you mean `encrypted`?",
    ),
    "record without a preset": (
        servers("  - implementation: prosody@trixie", "    policy: {tls_min: '1.2'}  # HERE"),
        "`preset`",
        tuple(PRESETS),
        "",
    ),
    "dimension": (
        servers("  - implementation: prosody@trixie", "    policy:", "      preset: encrypted", "      tlsmin: '1.2'  # HERE"),
        "tlsmin",
        ("encryption", "tls_min", "forward_secrecy"),
        "did you mean `tls_min`?",
    ),
    "dimension's value": (
        servers("  - implementation: prosody@trixie", "    policy:", "      preset: encrypted", "      tls_min: '1.4'  # HERE"),
        "1.4",
        ("1.0", "1.1", "1.2", "1.3"),
        "did you mean",
    ),
    "dimension's value, truth for a word": (
        servers("  - implementation: prosody@trixie", "    policy: {preset: encrypted, forward_secrecy: requird}  # HERE"),
        "requird",
        ("none", "any", "preferred", "required"),
        "did you mean `required`?",
    ),
    "certificate": (
        servers("  - implementation: prosody@trixie", "    certificate: selfsigned  # HERE"),
        "selfsigned",
        tuple(PROFILES),
        "did you mean `self-signed`?",
    ),
    "exchange": (
        HEAD + SERVERS + PHASES + "exchanges:\n  - massage  # HERE\n",
        "massage",
        ("message",),
        "did you mean `message`?",
    ),
    "key at the top": (
        HEAD + "server: []  # HERE\n" + SERVERS + PHASES,
        "`server`",
        ("servers", "phases", "exchanges"),
        "did you mean `servers`?",
    ),
    "key of a server": (
        servers("  - implementation: prosody@trixie", "    polcy: encrypted  # HERE"),
        "polcy",
        ("implementation", "policy", "certificate", "domain"),
        "did you mean `policy`?",
    ),
    "key of a phase": (
        phases("  - name: after", "    sets: {policy: encrypted}  # HERE"),
        "`sets`",
        ("name", "where", "set", "changes"),
        "did you mean `set`?",
    ),
    "key of `set`": (
        phases("  - name: after", "    set:", "      polcy: encrypted  # HERE"),
        "polcy",
        ("policy", "certificate"),
        "did you mean `policy`?",
    ),
    "key of `where`": (
        phases("  - name: after", "    where:", "      polciy: encrypted  # HERE", "    set: {policy: encrypted}"),
        "polciy",
        ("implementation", "version", "policy", "certificate", "domain"),
        "did you mean `policy`?",
    ),
    "key of a change": (
        phases("  - name: after", "    changes:", "      - sett: {policy: encrypted}  # HERE"),
        "sett",
        ("where", "set"),
        "did you mean `set`?",
    ),
    "domain that is taken": (
        servers("  - implementation: ejabberd@trixie", "    domain: a.example  # HERE"),
        "a.example",
        (),
        "first at line 4",
    ),
    "the same server twice": (
        f"{HEAD}servers:\n  - implementation: prosody@trixie\n  - implementation: prosody@trixie  # HERE\n{PHASES}",
        "prosody-trixie-opportunistic.example",
        (),
        "a `domain:` of its own",
    ),
    "domain that no resolver asks for": (
        servers("  - implementation: ejabberd@trixie", "    domain: b.test  # HERE"),
        "b.test",
        (),
        "a.example",
    ),
    "one domain for two servers": (
        servers("  - implementation: [prosody@trixie, prosody@sid]", "    domain: b.example  # HERE"),
        "2 servers",
        (),
        "name each server by itself",
    ),
    "no server": (HEAD + "servers: []  # HERE\n" + PHASES, "0 servers", (), "at least two"),
    "one server": (
        f"{HEAD}servers:  # HERE\n  - implementation: prosody@trixie\n{PHASES}",
        "1 server",
        (),
        "at least two",
    ),
    "no phase": (HEAD + SERVERS + "phases: []  # HERE\n", "phases", (), ""),
    "two phases of one name": (phases("  - name: now", "  - name: now  # HERE"), "`now`", (), "named by their phase"),
    "phase's name": (phases("  - name: After Noon  # HERE"), "After Noon", (), ""),
    "selector that matches nobody": (
        phases("  - name: after", "    where:", "      policy: encripted*  # HERE", "    set: {policy: encrypted}"),
        "encripted*",
        ("opportunistic",),
        "",
    ),
    "selector that matches only in parts": (
        phases(
            "  - name: after", "    where: {domain: a.example, implementation: ejabberd}  # HERE", "    set: {policy: encrypted}"
        ),
        "no server all of them",
        (),
        "",
    ),
    "`where` without `set`": (
        phases("  - name: after", "    where: {policy: opportunistic}  # HERE"),
        "`where` without `set`",
        (),
        "add `set:`",
    ),
    "`set` of nothing": (
        phases("  - name: after", "    set: {}  # HERE"),
        "`set` changes nothing",
        ("policy", "certificate"),
        "",
    ),
    "policy of a phase": (
        phases("  - name: after", "    set:", "      policy: encypted  # HERE"),
        "encypted",
        tuple(PRESETS),
        "did you mean `encrypted`?",
    ),
    "tls_min above tls_max": (
        servers("  - implementation: prosody@trixie", "    policy: {preset: encrypted, tls_min: '1.3', tls_max: '1.2'}  # HERE"),
        "tls_min 1.3 is above tls_max 1.2",
        (),
        "",
    ),
    "a phase makes a contradiction": (
        phases("  - name: after", "    set:", "      policy: {encryption: none, authentication: external}  # HERE"),
        "encryption is none",
        (),
        "",
    ),
    "no forward secrecy in TLS 1.3": (
        servers(
            "  - implementation: prosody@trixie", "    policy: {preset: encrypted, tls_min: '1.3', forward_secrecy: none}  # HERE"
        ),
        "forward_secrecy is none",
        (),
        "",
    ),
    "timers": (HEAD + SERVERS + PHASES + "timers: shrt  # HERE\n", "shrt", ("short", "stock"), "did you mean `short`?"),
    "a key that is missing": ("name: t\n" + SERVERS + PHASES, "`title`", (), "add `title:`"),
    "a server without implementation": (servers("  - policy: encrypted  # HERE"), "implementation", (), "add `implementation:`"),
    "a list where a word belongs": (HEAD + SERVERS + PHASES + "timers: [short]  # HERE\n", "timers", ("short", "stock"), ""),
    "not YAML": (HEAD + "servers: [\nphases:\n  - name: before  # HERE\n", "not YAML", (), "check the indentation"),
    "a tab": (HEAD + "servers:\n\t- implementation: prosody@trixie  # HERE\n" + PHASES, "not YAML", (), "check the indentation"),
    "a key twice": (HEAD + "title: u  # HERE\n" + SERVERS + PHASES, "title", (), ""),
    "a list at the top": ("- name: t  # HERE\n- title: t\n", "mapping of keys", (), ""),
    "a text at the top": ("hello  # HERE\n", "mapping of keys", (), ""),
    "nothing at all": ("", "mapping of keys", (), ""),
}


def expected_line(text: str) -> int:
    """The marked line; the first, if none is."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if "# HERE" in line), 1)


def check(error: InputError, file: Path, line: int, value: str, allowed: tuple[str, ...], hint: str) -> None:
    text = str(error)
    first, *rest = text.splitlines()
    assert re.match(rf"(\S*/)?{re.escape(file.name)}:{line}: ", first), text
    assert value in text
    listed = " ".join(x for x in rest if x.startswith("  allowed: "))
    assert all(word in listed for word in allowed), text
    hints = [x for x in rest if x.startswith("  hint: ")]
    assert hint in " ".join(hints), text
    assert len(hints) == (1 if hint else len(hints)), text
    assert error.exit_status == 2


@pytest.mark.parametrize("what", SCENARIOS)
def test_a_bad_scenario_is_one_message(what: str, catalog: Catalog, tmp_path: Path) -> None:
    text, value, allowed, hint = SCENARIOS[what]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        scenario.load(path, catalog)
    check(error.value, path, expected_line(text), value, allowed, hint)


def test_a_scenario_that_is_not_there_lists_those_that_are(root: Path, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="no such file") as error:
        scenario.load(root / "scenarios" / "manifesto.yaml", catalog)
    assert "manifesto-2014.yaml" in error.value.allowed


def test_a_scenario_that_is_a_folder_or_binary_is_said(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(InputError, match="cannot be read"):
            scenario.load(path, catalog)


# --- images/ ----------------------------------------------------------------------------------------------------------

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
reasons:
  - {match: expired, cause: certificate-expired, sample: expired, from: toy 1.0}
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The smallest folder of an implementation that is in order."""
    folder = tmp_path / "images" / "toy"
    folder.mkdir(parents=True)
    (folder / "image.yaml").write_text(IMAGE)
    (folder / "logs.yaml").write_text(LOGS)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "toy.cfg.j2").write_text("domain = {{ domain }}\n")
    return folder


def test_the_toy_is_in_order(toy: Path) -> None:
    assert catalogs.load(toy.parent).releases() == ("toy@trixie",)


@pytest.mark.parametrize("name", ["image.yaml", "logs.yaml", "Dockerfile"])
def test_a_folder_that_lacks_a_file_says_which(toy: Path, name: str) -> None:
    (toy / name).unlink()
    with pytest.raises(InputError, match=f"lacks `{name}`") as error:
        catalogs.load(toy.parent)
    assert str(toy) in str(error.value)
    assert "README" in str(error.value)


def test_a_template_that_is_missing_is_named_where_it_is_asked_for(toy: Path) -> None:
    (toy / "toy.cfg.j2").unlink()
    with pytest.raises(InputError, match=r"image\.yaml:9: the template `toy\.cfg\.j2` does not exist"):
        catalogs.load(toy.parent)


BAD_IMAGES: dict[str, tuple[str, str, str, tuple[str, ...], str]] = {
    # what is wrong: the file, its text, the offending value, some of what is allowed, a part of the hint
    "key": ("image.yaml", IMAGE + "titel: Toy  # HERE\n", "titel", ("title", "releases"), "did you mean `title`?"),
    "key of a release": (
        "image.yaml",
        IMAGE.replace('version: "1.0"}', 'version: "1.0", sute: trixie}  # HERE'),
        "sute",
        ("suite", "version"),
        "did you mean `suite`?",
    ),
    "name": (
        "image.yaml",
        IMAGE.replace("implementation: toy", "implementation: tyo  # HERE"),
        "folder's",
        ("toy",),
        "did you mean",
    ),
    "mechanism": (
        "image.yaml",
        IMAGE.replace("[dialback]", "[dialbck]  # HERE"),
        "dialbck",
        ("dialback", "external"),
        "did you mean `dialback`?",
    ),
    "dimension": (
        "image.yaml",
        IMAGE + "features:\n  tls_mni: {}  # HERE\n",
        "tls_mni",
        ("tls_min", "tls_max"),
        "did you mean `tls_min`?",
    ),
    "dimension's value": (
        "image.yaml",
        IMAGE + "features:\n  tls_min:\n    '1.5': {note: x}  # HERE\n",
        "1.5",
        ("1.2", "1.3"),
        "did you mean",
    ),
    "what a value acts as": (
        "image.yaml",
        IMAGE + "features:\n  encryption:\n    offered: {acts_as: requird}  # HERE\n",
        "requird",
        ("required",),
        "did you mean `required`?",
    ),
    "condition": (
        "image.yaml",
        IMAGE + "features:\n  encryption:\n    offered: {acts_as: required, when: {auth: external}}  # HERE\n",
        "auth",
        ("authentication",),
        "",
    ),
    "cause of a remedy": (
        "image.yaml",
        IMAGE + "remedies:\n  - {cause: certificate-expird, as: sender, text: x}  # HERE\n",
        "certificate-expird",
        tuple(CAUSES),
        "did you mean `certificate-expired`?",
    ),
    "role of a remedy": (
        "image.yaml",
        IMAGE + "remedies:\n  - {cause: certificate-expired, as: sendr, text: x}  # HERE\n",
        "sendr",
        ("sender", "receiver"),
        "did you mean `sender`?",
    ),
    "regular expression": (
        "logs.yaml",
        LOGS.replace("'connected to (?P<peer>\\S+)'", "'connected to (?P<peer>\\S+'  # HERE"),
        "not a regular expression",
        (),
        "",
    ),
    "group": (
        "logs.yaml",
        LOGS.replace("'connected to (?P<peer>\\S+)'", "'connected to (?P<per>\\S+)'  # HERE"),
        "`per`",
        ("peer", "session"),
        "did you mean `peer`?",
    ),
    "observation": (
        "logs.yaml",
        LOGS.replace("observe: s2s-established", "observe: s2s-establishd  # HERE"),
        "s2s-establishd",
        ("s2s-established", "s2s-failed"),
        "did you mean `s2s-established`?",
    ),
    "cause of a reason": (
        "logs.yaml",
        LOGS.replace("cause: certificate-expired, sample: expired, from: toy 1.0}", "cause: expird, sample: x, from: x}  # HERE"),
        "expird",
        tuple(CAUSES),
        "",
    ),
    "cause of a pattern": (
        "logs.yaml",
        LOGS.replace("  - match: 'conn", "  - set: {cause: certificate-expird}  # HERE\n    match: 'conn"),
        "certificate-expird",
        tuple(CAUSES),
        "did you mean `certificate-expired`?",
    ),
    "constant of a pattern": (
        "logs.yaml",
        LOGS.replace("    sample: connected", "    set: {direktion: out}  # HERE\n    sample: connected"),
        "direktion",
        ("direction", "mechanism", "cause"),
        "did you mean `direction`?",
    ),
    "direction of a pattern": (
        "logs.yaml",
        LOGS.replace("    sample: connected", "    set: {direction: outward}  # HERE\n    sample: connected"),
        "outward",
        ("in", "out"),
        "did you mean `out`?",
    ),
}


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_a_bad_image_folder_is_one_message(what: str, toy: Path) -> None:
    name, text, value, allowed, hint = BAD_IMAGES[what]
    (toy / name).write_text(text)
    with pytest.raises(InputError) as error:
        catalogs.load(toy.parent)
    check(error.value, toy / name, expected_line(text), value, allowed, hint)


def test_no_folder_of_images_and_an_empty_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        catalogs.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no implementation"):
        catalogs.load(tmp_path)


# --- the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    """An engine that would be an error to ask for; images/ is read once for all."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    monkeypatch.setattr("testbed.plan.catalog.load", lambda **_: catalog)
    monkeypatch.setenv("COLUMNS", "100")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`testbed` with these arguments; its exit status."""
    monkeypatch.setattr("sys.argv", ["testbed", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("what", SCENARIOS)
def test_a_bad_scenario_ends_the_run_before_anything_begins(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, value, _, _ = SCENARIOS[what]
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text)
    assert run(monkeypatch, "run", "bad.yaml", "--results", "kept") == 2
    out, said = capsys.readouterr()
    assert said.count("error:") == 1
    assert f"bad.yaml:{expected_line(text)}: " in said
    assert value in re.sub(r"\s+", " ", said)
    assert "Traceback" not in said
    assert not out
    assert not Path("kept").exists()


@pytest.mark.usefixtures("nowhere")
def test_a_good_scenario_asks_for_the_engine(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without this, the test above could pass because no engine is ever asked for."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(root / "scenarios" / "smoke.yaml", "good.yaml")
    assert run(monkeypatch, "run", "good.yaml", "--results", "kept") == 3
    said = capsys.readouterr().err
    assert "DOCKER_HOST is unix:///nonexistent" in re.sub(r"\s+", " ", said)
    assert "Traceback" not in said
    assert not Path("kept").exists()


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_scenario_that_is_missing_is_input(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, command, "nothing.yaml") == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("nowhere")
def test_a_long_path_stays_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`file:line` is there to be clicked and to be found by programs; a message is not broken at a width."""
    path = tmp_path / ("long-" * 20) / "bad.yaml"
    path.parent.mkdir()
    path.write_text(SCENARIOS["policy"][0])
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, "plan", str(path)) == 2
    assert f"{path}:{expected_line(SCENARIOS['policy'][0])}: unknown policy `oportunistic`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run"], ["run", "--nonsense"], ["nonsense"], ["run", "x.yaml", "--seed", "many"]])
def test_wrong_arguments_are_input(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *arguments) == 2


def test_a_run_that_is_not_there_lists_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "smoke-1").mkdir()
    (tmp_path / "smoke-1" / "manifest.json").write_text("{}")
    assert run(monkeypatch, "report", "smoke-2", "--results", str(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "no run `smoke-2`" in said
    assert "smoke-1" in said

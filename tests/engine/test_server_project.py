"""A server project's repository with only a Dockerfile gates its build with one file: tried as a CI would do it, step by step.

The steps are taken out of the workflow, the action and the template as they stand, and run in a scratch repository; only what a
hosted runner alone has (checkout, upload) is left out. And what is given wrongly leaves one message and nothing on the engine.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from testbed.engine import federation
from testbed.engine.host import Engine
from testbed.engine.images import Images

pytestmark = pytest.mark.engine

TESTBED = Path(sys.executable).with_name("testbed")
PAIR = """name: pair
title: Two servers
servers:
  - {implementation: [prosody@trixie, jabberd2@trixie], policy: opportunistic}
phases: [{name: now}]
"""
"""The smallest scenario in which a build can stand beside its package and another server."""


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    """A repository with a Dockerfile and one workflow; the scenario is small, for time alone."""
    folder = tmp_path / "repository"
    (folder / ".github/workflows").mkdir(parents=True)
    shutil.copy(root / "ci/example/Dockerfile", folder)
    shutil.copy(root / "ci/example/federation.yml", folder / ".github/workflows")
    (tmp_path / "pair.yaml").write_text(PAIR)
    return folder


@dataclass
class Done:
    """A command that is over."""

    pid: int
    returncode: int
    stdout: str
    stderr: str


def run(repository: Path, environment: dict[str, str], *arguments: str) -> Done:
    """`testbed` with arguments, in the scratch repository."""
    with subprocess.Popen(
        [TESTBED, *arguments], cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        stdout, stderr = process.communicate()
        return Done(process.pid, process.returncode, stdout, stderr)


def leftovers(engine: Engine, done: Done) -> set[str]:
    """Names of the containers that the look at what was given has left."""
    containers = engine.client.containers.list(all=True, filters={"label": federation.RUN_LABEL}, ignore_removed=True)
    return {c.name for c in containers if c.labels[federation.RUN_LABEL].startswith(f"look-{done.pid}-")}


def steps_of(root: Path, workflow: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The shell steps of the project's own action, which the workflow uses, and its inputs."""
    job = YAML(typ="safe").load(workflow)["jobs"]["federation"]
    uses = next(s for s in job["steps"] if s["uses"].startswith("OWNER/REPOSITORY/"))
    place = uses["uses"].removeprefix("OWNER/REPOSITORY/").partition("@")[0]
    action = YAML(typ="safe").load(root / place / "action.yml")
    unknown = set(uses["with"]) - set(action["inputs"])
    assert not unknown
    inputs = {name: uses["with"].get(name, spec.get("default", "")) for name, spec in action["inputs"].items()}
    return [s for s in action["runs"]["steps"] if "run" in s], inputs


def filled(text: str, inputs: dict[str, str]) -> str:
    """An expression of the action, as the runner fills it in."""
    return re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m.group(1)], text)


def test_a_repository_with_a_dockerfile_and_one_workflow(
    root: Path, repository: Path, environment: dict[str, str], built: Images, tmp_path: Path
) -> None:
    del built
    steps, inputs = steps_of(root, repository / ".github/workflows/federation.yml")
    inputs["scenario"] = str(tmp_path / "pair.yaml")
    assert len(steps) == 1
    output, summary = tmp_path / "output", tmp_path / "summary"
    variables = environment | {
        "TESTBED": str(TESTBED),
        "GITHUB_ACTION_PATH": str(root / ".github/actions/federation-test"),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
        **{name: filled(value, inputs) for name, value in steps[0]["env"].items()},
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", steps[0]["run"]],
        cwd=repository,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert output.read_text() == f"status={done.returncode}\n"
    results = repository / "federation-results"
    verdicts = json.loads((results / "latest/derived/verdicts.json").read_text())
    candidates = [s for s in verdicts["servers"] if s.get("mine")]
    assert [(s["implementation"], s["release"]) for s in candidates] == [("prosody", "mine")]
    beside = next(s for s in verdicts["servers"] if s["implementation"] == "prosody" and not s.get("mine"))
    assert candidates[0]["version"].split("-")[0] == beside["version"].split("-")[0]  # both are the distribution's package here
    cells = {(c["sender"], c["receiver"]): c["outcome"] for c in verdicts["cells"]}
    assert len(cells) == 6
    assert {v for k, v in cells.items() if candidates[0]["domain"] in k} == {"delivered"}
    assert [c["ok"] for c in verdicts["controls"]] == [True, True]
    assert len(ET.parse(results / "junit.xml").findall(".//testcase")) >= 6
    assert "prosody@mine" in summary.read_text()
    assert (results / "report.html").stat().st_size > 0


def test_the_gitlab_job_ends_with_the_gates_status(
    root: Path, repository: Path, environment: dict[str, str], engine: Engine
) -> None:
    """Without the variable that names the implementation, so that it ends early: what is tried is the way to the gate."""
    del engine
    job = YAML(typ="safe").load(root / "ci/gitlab.yml")["federation-test"]
    script = "\n".join(job["script"]).replace("/opt/s2s-testbed", str(root))
    variables = {k: v for k, v in environment.items() if not k.startswith("GATE_")} | {"TESTBED": str(TESTBED)}
    done = subprocess.run(["sh", "-ec", script], cwd=repository, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 1)
    assert "GATE_IMPLEMENTATION" in done.stderr
    assert sorted(p.name for p in repository.iterdir()) == [".github", "Dockerfile"]


def test_a_build_that_fails_shows_its_last_lines(
    repository: Path, environment: dict[str, str], built: Images, engine: Engine, tmp_path: Path
) -> None:
    del built
    (repository / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo 'no rule to make target all' && false\n")
    done = run(repository, environment, "run", str(tmp_path / "pair.yaml"), "--build", "prosody=.", "-q")
    assert done.returncode == 3
    assert "the build failed" in done.stderr
    assert "no rule to make target all" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (repository / "results").exists()
    assert not leftovers(engine, done)


def test_an_image_that_is_not_there_is_said_before_anything_is_built(
    repository: Path, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    del engine
    done = run(repository, environment, "run", str(tmp_path / "pair.yaml"), "--image", "prosody=nobody/has:this", "-q")
    assert done.returncode == 2
    assert "no image `nobody/has:this` on this engine" in done.stderr
    assert "images` lists all" in done.stderr


CONFIG = """log = {{ {{ to = "stdout", levels = {{ min = "debug" }} }} }}
modules_enabled = {{ "roster", "saslauth", "tls", "dialback"{modules} }}
storage = "memory"
authentication = "internal_plain"
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_require_encryption = true
s2s_secure_auth = false
ssl = {{ certificate = "/etc/testbed/cert.pem"; key = "/etc/testbed/key.pem"; cafile = "/etc/testbed/ca.pem" }}
VirtualHost "{domain}"
"""


def test_a_configuration_is_booted_and_what_it_does_is_found_out(
    repository: Path, environment: dict[str, str], built: Images, engine: Engine
) -> None:
    del built
    texts = {
        "good": CONFIG.format(modules=', "register_ibr"', domain="TESTBED_DOMAIN"),
        "strict": CONFIG.format(modules=', "register_ibr"', domain="TESTBED_DOMAIN").replace("auth = false", "auth = true"),
        "domain": CONFIG.format(modules=', "register_ibr"', domain="im.example.org"),
        "register": CONFIG.format(modules="", domain="TESTBED_DOMAIN"),
        "broken": CONFIG.format(modules="", domain="TESTBED_DOMAIN") + "(",
    }
    options = []
    for name, text in texts.items():
        (repository / f"{name}.cfg.lua").write_text(text)
        options += ["--config", f"prosody@trixie={name}.cfg.lua"]
    done = run(repository, environment, "images", "check", "-q", "--json", *options)
    assert done.returncode == 1, done.stderr
    reports = dict(zip(texts, json.loads(done.stdout), strict=True))
    observed = {name: {c["claim"]: c["saw"] for c in r["claims"]} for name, r in reports.items()}
    failed = {name: [c["claim"] for c in r["claims"] if c["status"] == "failed"] for name, r in reports.items()}
    assert failed["good"] == failed["strict"] == []
    assert observed["good"]["what it does to other servers"].startswith("encryption=required, authentication=either")
    assert observed["strict"]["what it does to other servers"].startswith("encryption=required, authentication=external")
    assert "does not serve the domain" in failed["domain"][0]
    assert failed["register"] == ["refuses in-band registration (XEP-0077)"]
    assert failed["broken"] == ["does not start, or ends at once"]
    assert not leftovers(engine, done)

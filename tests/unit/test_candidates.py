"""What a user brings: how it is read, where it stands in a plan, what a record keeps, what the wire says of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from testbed.contract import preflight, trials
from testbed.contract.behaviour import observe
from testbed.contract.protocol import BAD_PEER, CLEAR_PEER, TLS_PEER, Account, Reply, Session, Stream, encode, read_reply
from testbed.engine.images import Images
from testbed.measure import manifest, pki
from testbed.measure.control import control_pair
from testbed.measure.manifest import Manner
from testbed.model import CONTROL_DOMAINS, Expectation, Implementation, InputError, Outcome, Plan
from testbed.plan import candidates, recorded, scenario
from testbed.plan import catalog as catalogs
from testbed.plan.catalog import Candidate, Catalog
from testbed.plan.policy import CANDIDATE_POLICY, PRESETS, as_text, changed
from testbed.record.documents import manifest_form

MINE = Implementation("prosody", "mine")


@pytest.fixture
def smoke(root: Path, catalog: Catalog) -> Plan:
    return scenario.load(root / "scenarios/smoke.yaml", catalog)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.cfg.lua"
    path.write_text('VirtualHost "TESTBED_DOMAIN"\n')
    return path


def placed(plan: Plan, catalog: Catalog, *options: tuple[str, str], instead: bool = False) -> candidates.Planned:
    read = [candidates.read(option, text, catalog) for option, text in options]
    return candidates.place(plan, catalog, read, instead=instead)


def rows(plan: Plan) -> list[tuple[str, str, list[str]]]:
    return [(s.domain, str(s.implementation), [p.settings[s.domain].policy.name for p in plan.phases]) for s in plan.servers]


# --- where it stands --------------------------------------------------------------------------------------------------


def test_a_build_stands_beside_the_packaged_one_and_is_set_as_it_is(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "prosody=a:1"))
    assert rows(found.plan)[:3] == rows(smoke)
    assert rows(found.plan)[3:] == [("prosody-mine-opportunistic.example", "prosody@mine", ["opportunistic", "encrypted"])]
    assert len(found.plan.cells) == 24
    assert found.candidates == (Candidate(MINE, "trixie", ("--image prosody=a:1",), image="a:1"),)
    assert found.catalog.candidate(MINE) == found.candidates[0]
    assert found.catalog.is_candidate(MINE)
    assert not found.catalog.is_candidate(Implementation("prosody", "trixie"))
    assert not catalog.images["prosody"].candidates  # the catalog that went in is as it was


def test_one_server_for_each_way_of_being_set(root: Path, catalog: Catalog) -> None:
    plan = scenario.load(root / "scenarios/manifesto-2014.yaml", catalog)
    found = placed(plan, catalog, ("image", "prosody=a:1"))
    new = [r for r in rows(found.plan) if r[1] == "prosody@mine"]
    assert [r[2][0] for r in new] == list(PRESETS)


def test_where_the_scenario_has_none_of_it_all_its_settings_are_taken(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "prosody@sid=a:1"))
    assert [r[2] for r in rows(found.plan)[3:]] == [["opportunistic", "encrypted"], ["cleartext", "cleartext"]]
    assert found.catalog.candidate(MINE) == Candidate(MINE, "sid", ("--image prosody@sid=a:1",), image="a:1")


def test_instead_keeps_domain_and_place(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "prosody=a:1"), instead=True)
    assert [r[0] for r in rows(found.plan)] == [r[0] for r in rows(smoke)]
    assert [c.id for c in found.plan.cells] == [c.id for c in smoke.cells]
    assert rows(found.plan)[0][1] == "prosody@mine"
    with pytest.raises(InputError, match="could stand in for"):
        placed(smoke, catalog, ("image", "prosody@sid=a:1"), instead=True)


def test_a_configuration_and_a_build_instead(root: Path, catalog: Catalog, config: Path) -> None:
    """One configuration is one server; the build that follows finds its places taken, and gets new ones."""
    plan = scenario.load(root / "scenarios/manifesto-2014.yaml", catalog)
    found = placed(plan, catalog, ("config", f"prosody@trixie={config}"), ("image", "prosody=a:1"), instead=True)
    new = [(r[1], r[2][0]) for r in rows(found.plan) if r[1].startswith("prosody")]
    assert new == [("prosody@mine", "own"), *(("prosody@mine-2", preset) for preset in PRESETS)]
    assert [s.index for s in found.plan.servers] == list(range(len(found.plan.servers)))


def test_the_second_of_a_kind_has_a_name_of_its_own(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "prosody=a:1"), ("image", "prosody=a:2"), ("image", "jabberd2=b"))
    assert [r[1] for r in rows(found.plan)[3:]] == ["prosody@mine", "prosody@mine-2", "jabberd2@mine"]
    assert len({s.index for s in found.plan.servers}) == len({s.domain for s in found.plan.servers}) == 6


def test_software_and_configuration_of_one_name_are_one_server(smoke: Plan, catalog: Catalog, config: Path) -> None:
    found = placed(smoke, catalog, ("image", "prosody=a:1"), ("config", f"prosody={config}"))
    assert rows(found.plan)[3:] == [("prosody-mine-own.example", "prosody@mine", ["own", "own"])]
    apart = placed(smoke, catalog, ("image", "prosody=a:1"), ("config", f"prosody@trixie={config}"))
    assert [r[1] for r in rows(apart.plan)[3:]] == ["prosody@mine", "prosody@mine-2"]
    with pytest.raises(InputError, match="which belong together"):
        placed(smoke, catalog, ("image", "prosody=a"), ("image", "prosody=b"), ("config", f"prosody={config}"))


def test_a_folder_outside_is_placed_unless_the_scenario_names_it(root: Path, smoke: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(root / "images/prosody", folder)
    text = (folder / "image.yaml").read_text().replace("implementation: prosody", "implementation: other")
    text = re.sub(r"  (bullseye|bookworm|sid): \{suite.*\n", "", text)
    (folder / "image.yaml").write_text(text + "nonsense: 1\n")
    with pytest.raises(InputError, match=r"other/image\.yaml:\d+: unknown key `nonsense`"):
        catalogs.load(extra=[folder])
    (folder / "image.yaml").write_text(text)
    known = catalogs.load(extra=[folder])
    assert known.is_candidate(Implementation("other", "trixie"))
    found = candidates.place(smoke, known, [])
    assert [r[1:] for r in rows(found.plan)[3:]] == [
        ("other@trixie", ["opportunistic", "encrypted"]),
        ("other@trixie", ["cleartext", "cleartext"]),
    ]
    named = dataclasses.replace(
        smoke,
        servers=(*smoke.servers[:2], dataclasses.replace(smoke.servers[2], implementation=Implementation("other", "trixie"))),
    )
    assert candidates.place(named, known, []).plan == named
    with pytest.raises(InputError, match="there is an implementation `prosody` already"):
        catalogs.load(extra=[root / "images/prosody"])


def test_no_control_pair_of_something_given(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "jabberd2=a:1"))
    images = Images({f"{s.implementation.name}:{s.implementation.release}": "x" for s in found.plan.servers})
    pair = control_pair(found.plan, found.catalog, images)
    assert [s.domain for s in pair] == list(CONTROL_DOMAINS)
    assert {s.implementation.release for s in pair} == {"trixie"}


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("image", "prosody", "takes IMPLEMENTATION=IMAGE"),
        ("image", "prosody=", "takes IMPLEMENTATION=IMAGE"),
        ("image", "prosody=\x1b[31m", "cannot be the name of an image"),
        ("image", "prosody=a b", "cannot be the name of an image"),
        ("image", "prosody=--help", "cannot be the name of an image"),
        ("image", "prosodi=a", "did you mean `prosody`"),
        ("image", "prosody@buster=a", "unknown implementation `prosody@buster`"),
        ("build", "prosody=/nowhere", "takes a folder"),
        ("build", "prosody=.", "has no Dockerfile"),
        ("config", "prosody=/nowhere", "no such file"),
        ("config", "ejabberd=words.txt", "the name does not show which of"),
        ("config", "ejabberd=bytes.yml", "cannot be read as text"),
        ("config", "prosody=empty", "an empty folder"),
    ],
)
def test_what_is_wrong_is_said(
    option: str, text: str, message: str, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("x")
    Path("bytes.yml").write_bytes(b"\xff\xfe\x00")
    Path("empty").mkdir()
    with pytest.raises(InputError, match=re.escape(message)):
        candidates.read(option, text, catalog)


def test_a_configuration_of_several_files(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("hosts: [TESTBED_DOMAIN]")
    assert set(candidates.read("config", f"ejabberd={tmp_path / 'mine.yml'}", catalog).files) == {"ejabberd.yml"}
    (tmp_path / "s2s.xml").write_text("<s2s/>")
    assert set(candidates.read("config", f"jabberd2={tmp_path / 's2s.xml'}", catalog).files) == {"s2s.xml"}
    assert set(candidates.read("config", f"jabberd2={tmp_path}", catalog).files) == {"s2s.xml", "mine.yml"}


# --- what it is, for the rest of the testbed --------------------------------------------------------------------------


def test_a_build_is_configured_as_the_release_that_it_is_like(smoke: Plan, catalog: Catalog) -> None:
    found = placed(smoke, catalog, ("image", "prosody@bullseye=a:1"))
    image, server = found.catalog.images["prosody"], found.plan.servers[-1]
    other = dataclasses.replace(server, implementation=Implementation("prosody", "bullseye"))
    settings = found.plan.phases[0].settings[server.domain]
    files = [image.render(s, settings, timers="short", ipv6=False) for s in (server, other)]
    assert files[0] == files[1]
    for policy in trials.policies():
        assert image.unsupported(policy, "mine") == image.unsupported(policy, "bullseye")
        assert image.effective(policy, "mine") == image.effective(policy, "bullseye")


def test_a_configuration_takes_its_templates_place(smoke: Plan, catalog: Catalog, config: Path) -> None:
    found = placed(smoke, catalog, ("config", f"prosody={config}"))
    image, server = found.catalog.images["prosody"], found.plan.servers[-1]
    files = image.render(server, found.plan.phases[1].settings[server.domain], timers="short", ipv6=False)
    assert files["prosody.cfg.lua"] == b'VirtualHost "prosody-mine-own.example"\n'
    assert not list(image.notes(CANDIDATE_POLICY, "mine"))  # image.yaml speaks of the template's settings


def test_a_record_keeps_it_for_a_rerun(smoke: Plan, catalog: Catalog, config: Path) -> None:
    start = placed(smoke, catalog, ("config", f"prosody={config}"), ("image", "jabberd2=b:1"))
    images = Images({"prosody:mine": "sha256:1", "jabberd2:mine": "sha256:2"}, versions={"jabberd2:mine": "3.0"})
    for found in (start, candidates.observed(start, MINE, dataclasses.replace(CANDIDATE_POLICY, tls_min="1.3"), None)):
        wanted = {(d, s.certificate): None for p in found.plan.phases for d, s in p.settings.items()}
        issued = pki.make_pki(dt.datetime.now(dt.UTC).replace(microsecond=0)).issue_all(wanted)
        kept = manifest.build(found.plan, found.catalog, images, Manner(), issued, engine="0")
        written = {"schema": 1, "run": "r", "argv": [], "isolated": False, "confirm": None, "full_capture": False, **kept}
        manifest_form().validate_python(json.loads(json.dumps(written)), strict=True)
        again = recorded.restore(kept, catalog)
        jabberd2 = Implementation("jabberd2", "mine")
        for implementation, image, version in ((MINE, "sha256:1", None), (jabberd2, "sha256:2", "3.0")):
            brought = found.catalog.candidate(implementation)
            assert brought
            restored = dataclasses.replace(brought, image=image, version=version, recorded=True)
            assert again.candidate(implementation) == restored
        assert len(again.candidates) == 2
        narrowed = recorded.plan_of(kept, found.plan.pairs)
        assert rows(narrowed) == rows(found.plan)
        assert [s.policy.dimensions() for s in narrowed.servers] == [s.policy.dimensions() for s in found.plan.servers]
        flags = {s["domain"]: s["mine"] for s in kept["servers"]}
        assert sorted(d for d, m in flags.items() if m) == ["jabberd2-mine-cleartext.example", "prosody-mine-own.example"]
        shown = kept["phases"][0]["settings"]["prosody-mine-own.example"]
        assert (shown["unknown"] is None) is (shown["dimensions"]["encryption"] is not None)
    with pytest.raises(InputError, match="which no longer exists"):
        recorded.restore({**kept, "mine": [{**kept["mine"][0], "like": "buster"}]}, catalog)
    with pytest.raises(InputError, match="is gone"):
        recorded.folders({"folders": ["/nowhere"]})


def test_where_nothing_can_be_expected_nothing_is_a_surprise() -> None:
    nothing = Expectation(Outcome.INCONCLUSIVE, "nobody knows")
    assert all(nothing.agrees(o, "cleartext") for o in (Outcome.DELIVERED, Outcome.BOUNCED, Outcome.LOST))
    assert not Expectation(Outcome.DELIVERED, "somebody does").agrees(Outcome.LOST)


# --- what the wire says of a configuration ----------------------------------------------------------------------------


STEPS = {CLEAR_PEER: ["stream", "result"], TLS_PEER: ["stream", "tls", "tls-result"], BAD_PEER: ["tls", "tls-result"]}


def reply(steps: dict[str, list[str]] | None = STEPS, steps_error: str | None = None, **changes: dict[str, Any]) -> Reply:
    """What the prober sees of a server that offers TLS and takes either proof, with changes."""
    tls = {"tls": Session("TLSv1.3", "x", "y")}
    streams = {
        "clear": {"starttls": True, "dialback": "valid"},
        "good": tls | {"external": "success"},
        "nothing": tls | {"dialback": "valid"},
        "bad": tls | {"external": "failure", "dialback": "valid"},
        **dict.fromkeys(("1.2", "1.3", "ephemeral", "static"), tls),
        **changes,
    }
    return Reply(steps=steps, steps_error=steps_error, streams={name: Stream(**facts) for name, facts in streams.items()})


def steps(**changes: list[str]) -> dict[str, list[str]]:
    return STEPS | {f"{name}.peer.example": far for name, far in changes.items()}


def test_a_reply_is_the_same_on_the_other_side() -> None:
    sent = dataclasses.replace(reply(), account=Account(True, True, None, "<x/>"), open=[5222])
    sent.streams = {name: dataclasses.replace(s, mechanisms=["EXTERNAL"]) for name, s in sent.streams.items()}
    assert read_reply(encode(sent)) == sent
    assert read_reply(encode(Reply())) == Reply()


REFUSED = {"starttls": True, "dialback": "error"}
CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    # what differs from the usual reply: what differs from the policy that a configuration is thought to have
    "offered": ({}, {}),
    "required": (
        {"clear": REFUSED, "steps": steps(clear=["stream"])},
        {"encryption": "required"},
    ),
    "none": (
        {"clear": {"starttls": False, "dialback": "valid"}, "steps": steps(tls=["stream", "result"])},
        {"encryption": "none", "authentication": "dialback"},
    ),
    "authenticated": (
        {"clear": REFUSED, "nothing": {"external": "failure"}, "bad": {}, "steps": steps(clear=["stream"], bad=["tls"])},
        {"encryption": "required", "authentication": "external"},
    ),
    "dialback alone": ({"good": {"dialback": "valid"}}, {"authentication": "dialback"}),
    "no TLS 1.3, no static suites": (
        {"1.3": {}, "static": {}},
        {"tls_max": "1.2", "forward_secrecy": "required"},
    ),
    "TLS 1.3 only": (
        {"1.2": {}, "static": {}, "ephemeral": {}},
        {"tls_min": "1.3"},
    ),
}
UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "strict as receiver alone": ({"clear": REFUSED}, "`required` towards it and `offered` from it"),
    "never seen to connect": ({"steps": {CLEAR_PEER: [], TLS_PEER: [], BAD_PEER: []}}, "not seen to connect"),
    "could not write": ({"steps": None, "steps_error": "refused"}, "refused"),
    "minds as the sender alone": ({"steps": steps(bad=["tls"])}, "it minds a self-signed one"),
    "lets nobody in": ({"good": {}}, "a peer with a good certificate was not let in"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_configuration_does_is_named(case: str) -> None:
    changes, expected = CASES[case]
    behaviour = observe(reply(**changes))
    assert behaviour.unknown is None
    assert behaviour.policy
    assert behaviour.policy == changed(CANDIDATE_POLICY, expected)
    assert all(f"{dimension}={value}" in as_text(behaviour.policy).split(", ") for dimension, value in expected.items())


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_has_no_name_is_not_claimed(case: str) -> None:
    changes, expected = UNKNOWN[case]
    behaviour = observe(reply(**changes))
    assert behaviour.policy is None
    assert behaviour.unknown
    assert expected.removeprefix("it ") in behaviour.unknown


@pytest.mark.parametrize(
    ("account", "last"),
    [
        ({"registered": True, "login": True, "error": None}, ("login", True)),
        ({"registered": False, "login": False, "error": "no stream features: <host-unknown xmlns='x'/>"}, ("domain", False)),
        ({"registered": False, "login": False, "error": "no stream features: "}, ("stream", False)),
        (
            {"registered": False, "login": False, "error": "x", "features": "<starttls xmlns='t'><required/></starttls>"},
            ("clear", False),
        ),
        ({"registered": False, "login": False, "error": "registered: <iq><not-allowed/></iq>"}, ("register", False)),
        ({"registered": True, "login": False, "error": "login: <failure/>"}, ("login", False)),
    ],
)
def test_a_clients_way_in_ends_at_the_first_thing_that_is_missing(account: dict[str, Any], last: tuple[str, bool]) -> None:
    way = list(preflight.entered(Account(**account)))
    assert way[-1][:2] == last
    assert all(true for _, true, _ in way[:-1])


# --- the files for CI -------------------------------------------------------------------------------------------------


def test_the_action_hands_every_input_to_the_gate(root: Path) -> None:
    action = YAML(typ="safe").load(root / ".github/actions/federation-test/action.yml")
    step = action["runs"]["steps"][0]
    used = set(re.findall(r"inputs\.(\w+)", str(step["env"])))
    assert used == set(action["inputs"])
    gate = (root / "ci/gate.sh").read_text()
    assert set(step["env"]) == set(re.findall(r"GATE_[A-Z]+", gate))
    place = re.search(r'\$GITHUB_ACTION_PATH/([^"]+)', step["run"])
    assert place
    assert (root / ".github/actions/federation-test" / place.group(1)).resolve() == root / "ci/gate.sh"


def test_the_example_workflow_uses_the_action_as_it_is(root: Path) -> None:
    workflow = YAML(typ="safe").load(root / "ci/example/federation.yml")
    uses = workflow["jobs"]["federation"]["steps"][-1]
    action = YAML(typ="safe").load(root / ".github/actions/federation-test/action.yml")
    assert uses["uses"].partition("@")[0] == "OWNER/REPOSITORY/.github/actions/federation-test"
    assert set(uses["with"]) <= set(action["inputs"])


def test_the_gitlab_job_ends_in_the_gate(root: Path) -> None:
    template = YAML(typ="safe").load(root / "ci/gitlab.yml")
    job = template["federation-test"]
    assert job["script"] == ["sh /opt/s2s-testbed/ci/gate.sh"]
    assert job["before_script"][-1].endswith(" /opt/s2s-testbed")
    assert job["artifacts"]["reports"]["junit"] == "$GATE_RESULTS/junit.xml"
    variables = set(re.findall(r"GATE_[A-Z]+", (root / "ci/gitlab.yml").read_text()))
    assert variables <= set(re.findall(r"GATE_[A-Z]+", (root / "ci/gate.sh").read_text()))

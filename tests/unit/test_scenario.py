"""What a scenario file becomes: servers, phases, cells. The bad ones are in test_bad_input.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.model import Cell, Implementation, InputError, Plan
from testbed.plan import scenario
from testbed.plan.catalog import Catalog

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "smoke": (3, 12),
    "manifesto-2014": (12, 264),
    "ca-only": (15, 420),
    "forward-secrecy": (9, 144),
    "test-days": (7, 168),
    "generations": (48, 2256),
}
"""Scenario -> servers and cells, counted by hand: servers x (servers - 1) x phases x exchanges."""

PAIR = """
name: t
title: t
servers:
  - {implementation: prosody@trixie, policy: opportunistic, domain: a.example}
  - {implementation: ejabberd@bookworm, policy: {preset: encrypted, tls_min: 1.2, forward_secrecy: preferred}, domain: b.example}
"""


def plan(text: str, catalog: Catalog, tmp_path: Path) -> Plan:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return scenario.load(path, catalog)


def test_the_table_names_every_shipped_scenario() -> None:
    assert {p.stem for p in (ROOT / "scenarios").glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_expands_to_the_expected_numbers(name: str, catalog: Catalog) -> None:
    loaded = scenario.load(ROOT / "scenarios" / f"{name}.yaml", catalog)
    assert (len(loaded.servers), len(loaded.cells)) == SHIPPED[name]
    assert loaded.scenario == name
    assert len({c.id for c in loaded.cells}) == len(loaded.cells)
    assert [s.index for s in loaded.servers] == list(range(len(loaded.servers)))
    for phase in loaded.phases:
        assert set(phase.settings) == {s.domain for s in loaded.servers}


def test_lists_are_multiplied_and_every_server_has_a_domain_of_its_own(catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(
        "name: t\ntitle: t\nphases: [{name: now}]\nservers:\n"
        "  - {implementation: [prosody@trixie, jabberd2@sid], policy: [cleartext, encrypted], certificate: [ca, expired]}\n",
        catalog,
        tmp_path,
    )
    assert [(str(s.implementation), s.policy.name, s.certificate) for s in loaded.servers[:4]] == [
        ("prosody@trixie", "cleartext", "ca"),
        ("prosody@trixie", "cleartext", "expired"),
        ("prosody@trixie", "encrypted", "ca"),
        ("prosody@trixie", "encrypted", "expired"),
    ]
    assert len(loaded.servers) == 8
    assert len(loaded.cells) == 56
    assert "prosody-trixie-encrypted-expired.example" in {s.domain for s in loaded.servers}


def test_cells_are_all_ordered_pairs_and_their_ids_are_stable(catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(PAIR + "phases: [{name: before}, {name: after}]\n", catalog, tmp_path)
    assert [c.id for c in loaded.cells] == [
        "before/a.example/b.example/message",
        "before/b.example/a.example/message",
        "after/a.example/b.example/message",
        "after/b.example/a.example/message",
    ]
    assert loaded.cells[0] == Cell("before", "a.example", "b.example", "message")
    again = scenario.load(tmp_path / "t.yaml", catalog, seed=99)
    assert again.cells == loaded.cells, "the seed orders the measuring, it does not rename a cell"


def test_phases_do_not_add_up(catalog: Catalog, tmp_path: Path) -> None:
    """`rollback` without a change is the federation as configured, whatever came before it."""
    loaded = plan(
        PAIR
        + "phases:\n  - {name: before}\n"
        + "  - {name: day, set: {policy: authenticated, certificate: expired}}\n"
        + "  - {name: rollback}\n",
        catalog,
        tmp_path,
    )
    before, day, rollback = loaded.phases
    assert {s.policy.name for s in day.settings.values()} == {"authenticated"}
    assert {s.certificate for s in day.settings.values()} == {"expired"}
    assert rollback.settings == before.settings


def test_changes_of_one_phase_apply_in_order(catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(
        PAIR
        + "phases:\n  - name: after\n    changes:\n"
        + "      - {set: {policy: encrypted}}\n"
        + "      - {where: {domain: a.example}, set: {policy: {tls_min: '1.3'}}}\n",
        catalog,
        tmp_path,
    )
    settings = loaded.phases[0].settings
    assert settings["a.example"].policy.name == "encrypted,tls_min=1.3"
    assert settings["b.example"].policy.name == "encrypted"


def test_setting_one_dimension_keeps_the_rest_as_configured(catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(PAIR + "phases: [{name: after, set: {policy: {forward_secrecy: required}}}]\n", catalog, tmp_path)
    settings = loaded.phases[0].settings
    assert settings["a.example"].policy.name == "opportunistic,forward_secrecy=required"
    assert settings["b.example"].policy.name == "encrypted,tls_min=1.2,forward_secrecy=required"
    assert settings["b.example"].certificate == "ca"


def test_setting_a_preset_replaces_the_whole_policy(catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(PAIR + "phases: [{name: after, set: {policy: {preset: opportunistic, tls_max: 1.2}}}]\n", catalog, tmp_path)
    assert {s.policy.name for s in loaded.phases[0].settings.values()} == {"opportunistic,tls_max=1.2"}


def test_a_version_may_be_written_without_quotes(catalog: Catalog, tmp_path: Path) -> None:
    """YAML reads 1.2 as a number."""
    loaded = plan(PAIR + "phases: [{name: now}]\n", catalog, tmp_path)
    assert loaded.server("b.example").policy.tls_min == "1.2"


@pytest.mark.parametrize(
    ("where", "bound"),
    [
        ("{policy: opportunistic}", "a"),
        ("{policy: encrypted}", "b"),  # the preset's name matches a policy that was changed from it
        ("{policy: '*preferred*'}", "b"),
        ("{implementation: prosody}", "a"),
        ("{implementation: '*@bookworm'}", "b"),
        ("{implementation: [prosody@*, ejabberd@*]}", "ab"),
        ("{version: '23.*'}", "b"),
        ("{domain: '?.example'}", "ab"),
        ("{certificate: c*, domain: b*}", "b"),
    ],
)
def test_a_selector_binds_by_glob(where: str, bound: str, catalog: Catalog, tmp_path: Path) -> None:
    loaded = plan(PAIR + f"phases: [{{name: after, where: {where}, set: {{certificate: expired}}}}]\n", catalog, tmp_path)
    changed = [d[0] for d, s in loaded.phases[0].settings.items() if s.certificate == "expired"]
    assert "".join(changed) == bound


def test_a_selector_sees_the_servers_as_configured(catalog: Catalog, tmp_path: Path) -> None:
    """A change before it in the same phase does not move a server out of its reach."""
    loaded = plan(
        PAIR
        + "phases:\n  - name: after\n    changes:\n"
        + "      - {where: {policy: opportunistic}, set: {policy: encrypted}}\n"
        + "      - {where: {policy: opportunistic}, set: {certificate: expired}}\n",
        catalog,
        tmp_path,
    )
    settings = loaded.phases[0].settings["a.example"]
    assert (settings.policy.name, settings.certificate) == ("encrypted", "expired")


def test_a_version_prefix_names_the_one_release_that_has_it(catalog: Catalog) -> None:
    assert catalog.resolve("prosody@0.12") == Implementation("prosody", "bookworm")
    assert catalog.resolve("prosody@trixie") == Implementation("prosody", "trixie")
    with pytest.raises(InputError, match=r"unknown implementation `prosody@0\.1`"):  # 0.1 is no prefix of 0.12
        catalog.resolve("prosody@0.1")


def test_an_ambiguous_version_prefix_lists_the_releases(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="more than one release") as error:
        catalog.resolve("jabberd2@2.7")
    for release in ("bullseye", "bookworm", "trixie", "sid"):
        assert f"jabberd2@{release}" in str(error.value)


def test_a_policy_that_an_implementation_cannot_express_is_said_not_dropped(catalog: Catalog, tmp_path: Path) -> None:
    """Its cells stay in the plan, and carry the reason; without TLS the same server can do it."""
    loaded = plan(
        "name: t\ntitle: t\nphases: [{name: now}]\nservers:\n"
        "  - {implementation: prosody@trixie, policy: {preset: encrypted, authentication: dialback}, domain: a.example}\n"
        "  - {implementation: prosody@trixie, policy: cleartext, domain: b.example}\n",
        catalog,
        tmp_path,
    )
    settings = loaded.phases[0].settings
    assert "cannot express authentication=dialback" in (settings["a.example"].unsupported or "")
    assert settings["b.example"].unsupported is None
    assert len(loaded.cells) == 2

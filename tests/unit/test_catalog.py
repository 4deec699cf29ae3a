"""images/ as it is shipped: every log pattern on its own sample, every template with everything that a policy can ask for."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from testbed.measure import serverlog
from testbed.model import TLS_VERSIONS, Implementation, InputError, Policy, Server, Settings
from testbed.plan import catalog as catalogs
from testbed.plan.catalog import Catalog, Image
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import DIMENSIONS, PRESETS, contradiction, make_policy, value_of
from testbed.plan.templates import openssl_range

CATALOG = catalogs.load()
PATTERNS = [(name, n) for name, image in CATALOG.images.items() for n in range(len(image.logs.patterns))]
REASONS = [(name, n) for name, image in CATALOG.images.items() for n in range(len(image.logs.reasons))]
RELEASES = [(name, release) for name, image in CATALOG.images.items() for release in image.spec.releases]
ENDS = (None, *TLS_VERSIONS)


def policies() -> list[Policy]:
    """Every preset x forward secrecy x lowest x highest TLS version that does not contradict itself."""
    found = []
    for preset, secrecy, low, high in itertools.product(PRESETS, ("none", "any", "preferred", "required"), ENDS, ENDS):
        changes = {"forward_secrecy": secrecy} | {k: v for k, v in (("tls_min", low), ("tls_max", high)) if v}
        policy = make_policy(preset, changes)
        if contradiction(policy) is None:
            found.append(policy)
    return found


def render(image: Image, release: str, policy: Policy, *, timers: str = "short", ipv6: bool = True) -> dict[str, bytes]:
    server = Server("a.example", Implementation(image.name, release), policy, "ca", 0)
    return image.render(server, Settings(policy, "ca"), timers=timers, ipv6=ipv6)


# --- logs.yaml ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "position"), PATTERNS)
def test_a_sample_is_taken_by_its_own_pattern(name: str, position: int) -> None:
    """An earlier pattern that matches too would take the line away from it."""
    logs = CATALOG.images[name].logs
    pattern = logs.patterns[position]
    matched = serverlog.match_line(logs, pattern.sample)
    assert matched is not None, "no pattern matches the sample"
    assert matched[0] == position, f"pattern {matched[0]} comes first: {logs.patterns[matched[0]].match}"
    assert matched[1]["observe"] == pattern.observe
    assert pattern.from_


@pytest.mark.parametrize(("name", "position"), PATTERNS)
def test_a_sample_says_whom_it_is_about(name: str, position: int) -> None:
    """A line without peer, session or address could belong to anyone."""
    logs = CATALOG.images[name].logs
    _, facts = serverlog.match_line(logs, logs.patterns[position].sample) or (0, {})
    assert {"peer", "session", "address"} & set(facts)


@pytest.mark.parametrize(("name", "position"), REASONS)
def test_a_reason_s_sample_gives_its_cause(name: str, position: int) -> None:
    logs = CATALOG.images[name].logs
    reason = logs.reasons[position]
    assert serverlog.cause_of(logs, reason.sample) == reason.cause


# --- templates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "release"), RELEASES)
def test_every_template_renders_for_everything_that_a_policy_can_ask_for(name: str, release: str) -> None:
    """Under StrictUndefined a name that a template misspells is an error, in whichever branch it stands."""
    image = CATALOG.images[name]
    listed = policies()
    assert len(listed) > 150
    for number, policy in enumerate(listed):
        files = render(image, release, policy, timers=("short", "stock")[number % 2], ipv6=bool(number % 3))
        assert set(files) == {"openssl.cnf", *image.spec.config.values()}
        for target, data in files.items():
            text = data.decode()
            assert "{{" not in text, target
            assert "{%" not in text, target
            assert "None" not in text, f"{target}: a value that is not set was written out"


@pytest.mark.parametrize(("name", "release"), RELEASES)
def test_the_policy_shows_in_the_configuration(name: str, release: str) -> None:
    """Two rungs of the ladder that render alike would measure the same server twice."""
    image = CATALOG.images[name]
    rendered = [tuple(sorted(render(image, release, policy).items())) for policy in PRESETS.values()]
    assert len(set(rendered)) == len(PRESETS)
    short, stock = (render(image, release, PRESETS["encrypted"], timers=t) for t in ("short", "stock"))
    assert short != stock


@pytest.mark.parametrize(("name", "release"), RELEASES)
def test_only_short_timers_are_stretched(name: str, release: str) -> None:
    image, server = CATALOG.images[name], Server("a.example", Implementation(name, release), PRESETS["encrypted"], "ca", 0)

    def configuration(timers: str, stretch: int) -> dict[str, bytes]:
        return image.render(server, Settings(server.policy, "ca"), timers=timers, stretch=stretch, ipv6=True)

    assert configuration("stock", 1) == configuration("stock", 7)
    assert configuration("short", 1) != configuration("short", 7)


@pytest.mark.parametrize("name", CATALOG.images)
def test_an_error_in_a_template_names_file_and_line(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(CATALOG.images[name].folder, folder)
    template = sorted(CATALOG.images[name].spec.config)[0]
    (folder / template).write_text("fine\n{{ domian }}\n")
    image = catalogs.load_image(folder)
    with pytest.raises(InputError, match="domian") as error:
        render(image, next(iter(image.spec.releases)), PRESETS["encrypted"])
    assert f"{folder / template}:2: " in str(error.value)
    (folder / template).write_text("fine\n\n{% if %}\n")
    with pytest.raises(InputError) as error:
        render(image, next(iter(image.spec.releases)), PRESETS["encrypted"])
    assert f"{folder / template}:3: " in str(error.value)


@pytest.mark.parametrize(
    ("range_", "lines"),
    [
        ((None, None), ["MinProtocol = TLSv1.2", "CipherString = DEFAULT@SECLEVEL=2"]),
        (("1.0", None), ["MinProtocol = TLSv1", "CipherString = DEFAULT@SECLEVEL=0"]),
        (("1.3", None), ["MinProtocol = TLSv1.3", "CipherString = DEFAULT@SECLEVEL=2"]),
        ((None, "1.1"), ["MinProtocol = TLSv1", "MaxProtocol = TLSv1.1", "CipherString = DEFAULT@SECLEVEL=0"]),
        (("1.2", "1.2"), ["MinProtocol = TLSv1.2", "MaxProtocol = TLSv1.2", "CipherString = DEFAULT@SECLEVEL=2"]),
    ],
)
def test_openssl_s_own_configuration(range_: tuple[str | None, str | None], lines: list[str]) -> None:
    written = openssl_range(*range_).decode().splitlines()
    assert written[written.index("[default]") + 1 :] == lines


# --- what image.yaml says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "release"), RELEASES)
def test_what_a_server_acts_as_is_a_policy_too(name: str, release: str) -> None:
    image = CATALOG.images[name]
    for policy in policies():
        effective = image.effective(policy, release)
        for dimension in DIMENSIONS:
            assert value_of(effective, dimension.name) in (None, *dimension.values)
        assert effective.name == policy.name


def test_the_ladder_can_be_expressed_by_everyone(catalog: Catalog) -> None:
    """The shipped scenarios stand on it: who cannot do a rung would make a fourth of his cells `unsupported`."""
    for name, release in RELEASES:
        for policy in PRESETS.values():
            assert catalog.images[name].unsupported(policy, release) is None, f"{name}@{release}, {policy.name}"


def test_an_image_is_rebuilt_when_what_is_built_changes_and_not_otherwise(tmp_path: Path) -> None:
    name = next(iter(CATALOG.images))
    folder = tmp_path / name
    shutil.copytree(CATALOG.images[name].folder, folder)
    before = catalogs.folder_digest(folder)
    for outside in ("logs.yaml", "image.yaml", sorted(CATALOG.images[name].spec.config)[0]):
        (folder / outside).write_text("changed")
    assert catalogs.folder_digest(folder) == before
    (folder / "Dockerfile").write_text("FROM scratch\n")
    assert catalogs.folder_digest(folder) != before


@pytest.mark.parametrize("name", CATALOG.images)
def test_a_remedy_sets_what_the_server_can_be_set_to(name: str) -> None:
    """That it mends what it names is seen in tests/engine/test_remedies.py."""
    image = CATALOG.images[name]
    listed = [(r.cause, r.as_, *sorted(r.set or {})) for r in image.spec.remedies]
    assert len(listed) == len(set(listed)), "two remedies that set the same, for one cause and role"
    for remedy in image.spec.remedies:
        mends = dict(remedy.set or {})
        assert mends.pop("certificate", "ca") in PROFILES
        policy = make_policy("encrypted", mends)
        assert all(image.unsupported(policy, release) is None for release in image.spec.releases), remedy
        assert not remedy.text.endswith("."), "the text stands within a sentence"

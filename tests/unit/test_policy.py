"""The ladder, and what ought to happen between any two of its rungs: total, and right where it was checked by hand."""

from __future__ import annotations

import itertools
import re
import ssl
from dataclasses import replace
from typing import get_type_hints

import pytest

from testbed.causes import CAUSES
from testbed.expectations import RULES, expect
from testbed.model import Authentication, Encryption, ForwardSecrecy, Outcome, Policy
from testbed.plan.certificates import PROFILES
from testbed.plan.policy import (
    DIMENSIONS,
    PRESET_MEANING,
    PRESETS,
    changed,
    cipher_string,
    contradiction,
    make_policy,
    value_of,
)
from testbed.record.manifest import Dimensions
from testbed.sides import Side

DEFECTS = sorted({p.defect for p in PROFILES.values()}, key=str)
MECHANISMS = (("dialback",), ("external",), ("dialback", "external"))
VARIANTS = [
    make_policy("encrypted", {"forward_secrecy": "none"}),
    make_policy("encrypted", {"forward_secrecy": "required"}),
    make_policy("encrypted", {"tls_max": "1.1"}),
    make_policy("authenticated", {"tls_min": "1.3"}),
    make_policy("opportunistic", {"authentication": "external"}),
    make_policy("opportunistic", {"authentication": "dialback"}),
]
SIDES = [
    *(Side(*parts) for parts in itertools.product(PRESETS.values(), DEFECTS, MECHANISMS, (False, True))),
    *(
        Side(*parts)
        for parts in itertools.product(VARIANTS, (None, "certificate-expired"), (("dialback", "external"),), (False,))
    ),
]
BOTH = ("dialback", "external")


def side(
    preset: str, defect: str | None = None, mechanisms: tuple[str, ...] = BOTH, over_verified: bool = False, **dims: str
) -> Side:
    return Side(make_policy(preset, dims), defect, mechanisms, over_verified)


def test_the_four_rungs() -> None:
    assert {name: (p.encryption.value, p.authentication.value) for name, p in PRESETS.items()} == {
        "cleartext": ("none", "dialback"),
        "opportunistic": ("offered", "either"),
        "encrypted": ("required", "either"),
        "authenticated": ("required", "external"),
    }
    assert set(PRESET_MEANING) == set(PRESETS)
    for policy in PRESETS.values():
        assert contradiction(policy) is None
        assert (policy.tls_min, policy.tls_max, policy.forward_secrecy) == (None, None, ForwardSecrecy.ANY)


def test_every_dimension_is_a_field_and_every_value_of_it_can_be_set() -> None:
    for dimension in DIMENSIONS:
        for value in dimension.values:
            policy = make_policy("encrypted", {dimension.name: value})
            assert value_of(policy, dimension.name) == value
            assert dimension.name in policy.dimensions()
    assert set(PRESETS["encrypted"].dimensions()) == {d.name for d in DIMENSIONS}


def test_a_record_has_a_key_for_every_dimension() -> None:
    assert list(get_type_hints(Dimensions)) == list(PRESETS["encrypted"].dimensions()), (
        "record/manifest.py repeats them as a form"
    )


def test_a_record_that_is_older_than_a_dimension_has_its_default() -> None:
    for policy in (*PRESETS.values(), *VARIANTS):
        assert Policy.recorded(policy.name, policy.dimensions()) == replace(policy, label=policy.name)
        old = {name: value for name, value in policy.dimensions().items() if name != "forward_secrecy"}
        assert Policy.recorded(policy.name, old).forward_secrecy is ForwardSecrecy.ANY


def test_a_policy_is_named_after_what_differs_from_its_preset() -> None:
    assert make_policy("encrypted", {}).name == "encrypted"
    assert make_policy("encrypted", {"encryption": "required"}).name == "encrypted"
    assert (
        make_policy("encrypted", {"forward_secrecy": "required", "tls_min": "1.2"}).name
        == "encrypted,tls_min=1.2,forward_secrecy=required"
    )
    with pytest.raises(KeyError):
        make_policy("strict", {})
    with pytest.raises(ValueError, match="sometimes"):
        make_policy("encrypted", {"encryption": "sometimes"})


def test_what_a_server_acts_as_keeps_the_name_of_what_it_was_set_to() -> None:
    policy = changed(make_policy("opportunistic", {"authentication": "external"}), {"encryption": "required"})
    assert policy.encryption is Encryption.REQUIRED
    assert policy.name == "opportunistic,authentication=external"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tls_min": "1.3", "tls_max": "1.2"}, "above"),
        ({"tls_min": "1.1", "tls_max": "1.0"}, "above"),
        ({"encryption": "none", "authentication": "external"}, "encryption is none"),
        ({"forward_secrecy": "none", "tls_min": "1.3"}, "forward_secrecy is none"),
        ({"tls_min": "1.2", "tls_max": "1.2"}, None),
        ({"tls_min": "1.2", "tls_max": "1.3"}, None),
        ({"forward_secrecy": "none", "tls_min": "1.2"}, None),
        ({"encryption": "none", "authentication": "either"}, None),
    ],
)
def test_a_contradiction_is_one_sentence(changes: dict[str, str], word: str | None) -> None:
    said = contradiction(make_policy("encrypted", changes))
    assert (word is None) == (said is None)
    assert word is None or word in (said or "")


@pytest.mark.parametrize(
    ("changes", "range_"),
    [
        ({}, ("1.0", "1.3")),
        ({"tls_min": "1.2"}, ("1.2", "1.3")),
        ({"tls_max": "1.1"}, ("1.0", "1.1")),
        ({"forward_secrecy": "none"}, ("1.0", "1.2")),  # every key exchange of TLS 1.3 is ephemeral, RFC 8446 §1.2
        ({"forward_secrecy": "none", "tls_max": "1.1"}, ("1.0", "1.1")),
        ({"forward_secrecy": "required"}, ("1.0", "1.3")),
    ],
)
def test_the_range_of_versions(changes: dict[str, str], range_: tuple[str, str]) -> None:
    assert make_policy("encrypted", changes).tls_range == range_


# --- cipher strings, as OpenSSL understands them ------------------------------------------------------------------------

OLD: tuple[dict[str, str], ...] = ({}, {"tls_min": "1.0"}, {"tls_max": "1.1"}, {"tls_min": "1.2"})


def exchanges(policy: Policy) -> set[str]:
    """The key exchanges of the suites of TLS 1.2 and below that OpenSSL makes of the policy's string."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(cipher_string(policy) or "DEFAULT")
    found = set()
    for suite in context.get_ciphers():
        if "TLSv1.3" not in suite["description"]:
            exchange = re.search(r"Kx=(\S+)", suite["description"])
            assert exchange
            found.add(exchange.group(1).removesuffix("/RSA").replace("any", "ECDHE"))
            assert "Au=None" not in suite["description"]
            assert "Enc=None" not in suite["description"]
    return found


@pytest.mark.parametrize("versions", OLD, ids=str)
def test_no_forward_secrecy_is_static_rsa_alone(versions: dict[str, str]) -> None:
    assert exchanges(make_policy("encrypted", {"forward_secrecy": "none", **versions})) == {"RSA"}


@pytest.mark.parametrize("versions", OLD, ids=str)
def test_required_forward_secrecy_has_no_static_rsa(versions: dict[str, str]) -> None:
    found = exchanges(make_policy("encrypted", {"forward_secrecy": "required", **versions}))
    assert found == {"ECDH", "DH"}


@pytest.mark.parametrize("versions", OLD, ids=str)
def test_preferred_forward_secrecy_has_both_and_puts_the_ephemeral_first(versions: dict[str, str]) -> None:
    policy = make_policy("encrypted", {"forward_secrecy": "preferred", **versions})
    assert exchanges(policy) == {"ECDH", "DH", "RSA"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(cipher_string(policy) or "")
    static = ["Kx=RSA" in c["description"] for c in context.get_ciphers()]
    assert static == sorted(static), "every suite without forward secrecy comes after every one with it"


@pytest.mark.parametrize(
    ("changes", "old"), [({}, False), ({"tls_min": "1.2"}, False), ({"tls_min": "1.1"}, True), ({"tls_max": "1.0"}, True)]
)
def test_the_security_level_is_lowered_only_for_versions_that_need_it(changes: dict[str, str], old: bool) -> None:
    for secrecy in ForwardSecrecy:
        string = cipher_string(make_policy("encrypted", {"forward_secrecy": secrecy.value, **changes})) or ""
        assert ("@SECLEVEL=0" in string) == old
    assert (cipher_string(make_policy("encrypted", changes)) is None) == (not old)


# --- expectations -------------------------------------------------------------------------------------------------------


def test_the_table_is_total_and_consistent() -> None:
    """Every pair of sides has a row; what a row says is a sentence of its own vocabulary."""
    for a, b in itertools.product(SIDES, SIDES):
        expected = expect(a, b)
        assert expected.outcome in (Outcome.DELIVERED, Outcome.BOUNCED)
        assert (expected.cause is None) == (expected.outcome is Outcome.DELIVERED)
        assert expected.cause is None or expected.cause in CAUSES
        if expected.outcome is Outcome.DELIVERED:
            assert expected.encryption in ("tls", "cleartext")
        if Encryption.REQUIRED in (a.policy.encryption, b.policy.encryption):
            assert expected.encryption != "cleartext", "who requires encryption never gets cleartext"
        if (a.demands_certificate and b.defect_as_server) or (b.demands_certificate and a.defect_as_client):
            assert expected.outcome is Outcome.BOUNCED, "who demands a certificate never accepts a bad one"


def test_every_row_is_taken_by_someone() -> None:
    taken = {expect(a, b).because for a, b in itertools.product(SIDES, SIDES)}
    assert taken == {f"{r.clause} ({r.when})" for r in RULES}


def test_what_concerns_the_channel_alone_is_symmetric() -> None:
    """No TLS, no version, no cipher in common: it cannot matter who begins. Certificates and EXTERNAL may differ by role."""
    mirrored = {"tls-not-offered": "tls-required", "tls-required": "tls-not-offered"}
    symmetric = {*mirrored, "no-common-tls-version", "no-common-cipher"}
    for a, b in itertools.combinations_with_replacement(SIDES, 2):
        there, back = expect(a, b), expect(b, a)
        assert (there.encryption == "cleartext") == (back.encryption == "cleartext")
        if there.cause in symmetric:
            assert back.cause == mirrored.get(there.cause, there.cause)
            assert back.outcome is there.outcome


def test_the_name_of_a_preset_decides_nothing() -> None:
    for a, b in itertools.product(SIDES[::7], SIDES[::5]):
        renamed = Side(
            Policy(
                "x", a.policy.encryption, a.policy.authentication, a.policy.tls_min, a.policy.tls_max, a.policy.forward_secrecy
            ),
            a.certificate_defect,
            a.mechanisms,
            a.dialback_over_verified,
        )
        assert expect(renamed, b) == expect(a, b)


ROWS = [
    # XEP-0238: two of the lowest rung, and the lowest with one that only offers TLS: dialback, in clear
    (side("cleartext"), side("cleartext"), "delivered", "cleartext", None),
    (side("cleartext"), side("opportunistic"), "delivered", "cleartext", None),
    (side("opportunistic"), side("cleartext"), "delivered", "cleartext", None),
    # RFC 7590 §3.1: mandated TLS is not gone without
    (side("encrypted"), side("cleartext"), "bounced", None, "tls-not-offered"),
    (side("cleartext"), side("encrypted"), "bounced", None, "tls-required"),
    (side("authenticated"), side("cleartext"), "bounced", None, "tls-not-offered"),
    # XEP-0178 where both can, whoever demands it
    (side("opportunistic"), side("opportunistic"), "delivered", "tls", None),
    (side("authenticated"), side("authenticated"), "delivered", "tls", None),
    # RFC 7590 §3.4: a bad certificate falls back to dialback over TLS, unless one is strict
    (side("encrypted"), side("encrypted", "certificate-self-signed"), "delivered", "tls", None),
    (side("encrypted", "certificate-expired"), side("encrypted"), "delivered", "tls", None),
    (side("authenticated"), side("encrypted", "certificate-self-signed"), "bounced", "tls", "certificate-self-signed"),
    (side("encrypted", "certificate-wrong-host"), side("authenticated"), "bounced", "tls", "certificate-wrong-host"),
    (
        side("authenticated", "certificate-expired"),
        side("authenticated", "certificate-untrusted"),
        "bounced",
        "tls",
        "certificate-untrusted",
    ),
    # software without EXTERNAL: dialback over TLS (XEP-0220), which a strict peer may not take
    (side("encrypted", None, ("dialback",)), side("encrypted"), "delivered", "tls", None),
    (side("encrypted", None, ("dialback",)), side("authenticated"), "bounced", "tls", "dialback-refused"),
    (side("authenticated"), side("encrypted", None, ("dialback",)), "bounced", "tls", "no-authentication-mechanism"),
    (side("encrypted", None, ("dialback",)), side("authenticated", over_verified=True), "delivered", "tls", None),
    # software without dialback
    (side("cleartext"), side("opportunistic", None, ("external",)), "bounced", None, "dialback-refused"),
    # RFC 5280 §4.2.1.12: without the client purpose a certificate is good where its server receives, not where it initiates
    (side("encrypted", "certificate-purpose"), side("authenticated"), "bounced", "tls", "certificate-purpose"),
    (side("authenticated"), side("encrypted", "certificate-purpose"), "delivered", "tls", None),
    (side("authenticated", "certificate-purpose"), side("encrypted"), "bounced", "tls", "no-authentication-mechanism"),
    (side("encrypted"), side("authenticated", "certificate-purpose"), "delivered", "tls", None),
    (side("encrypted", "certificate-purpose"), side("authenticated", None, BOTH, True), "bounced", "tls", "certificate-purpose"),
    (side("encrypted", "certificate-expired", ("external",)), side("encrypted"), "bounced", "tls", "no-authentication-mechanism"),
    # RFC 8446 §4.2.1, RFC 5246 §7.4.1.3
    (side("encrypted", tls_max="1.2"), side("encrypted", tls_min="1.3"), "bounced", None, "no-common-tls-version"),
    (side("encrypted", tls_max="1.2"), side("encrypted", tls_min="1.2"), "delivered", "tls", None),
    (
        side("encrypted", forward_secrecy="none"),
        side("encrypted", forward_secrecy="required"),
        "bounced",
        None,
        "no-common-cipher",
    ),
    (side("encrypted", forward_secrecy="none"), side("encrypted", forward_secrecy="preferred"), "delivered", "tls", None),
    (side("encrypted", forward_secrecy="none"), side("encrypted", tls_min="1.3"), "bounced", None, "no-common-tls-version"),
    # an opportunistic server that demands certificates cannot fall back to cleartext
    (side("opportunistic", authentication="external"), side("cleartext"), "bounced", None, "no-authentication-mechanism"),
]


@pytest.mark.parametrize(("a", "b", "outcome", "encryption", "cause"), ROWS)
def test_rows_checked_by_hand(a: Side, b: Side, outcome: str, encryption: str | None, cause: str | None) -> None:
    expected = expect(a, b)
    assert (expected.outcome.value, expected.encryption, expected.cause) == (outcome, encryption, cause)


def test_a_certificate_is_defective_in_the_roles_that_its_profile_says() -> None:
    """One that may not be shown by a TLS server breaks what its holder receives; the same cause, the other way round."""
    client_only = replace(side("authenticated", "certificate-purpose"), defective_as=("server",))
    server_only = side("authenticated", "certificate-purpose")
    good = side("authenticated")
    assert (expect(client_only, good).cause, expect(good, client_only).cause) == (None, "certificate-purpose")
    assert (expect(server_only, good).cause, expect(good, server_only).cause) == ("certificate-purpose", None)


def test_every_row_cites_its_clause() -> None:
    for rule in RULES:
        assert re.search(r"RFC \d{4} §|XEP-\d{4}", rule.clause), rule.when


def test_mechanisms_of_an_authentication() -> None:
    assert Authentication.EITHER.mechanisms == ("dialback", "external")
    assert Authentication.EXTERNAL.mechanisms == ("external",)

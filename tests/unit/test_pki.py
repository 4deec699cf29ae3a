"""Each certificate profile is put before a real path validation: the good ones pass, each other fails for one reason."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from testbed.measure.pki import XMPP_ADDR, Issued, Pki, make_key, make_pki
from testbed.plan.certificates import PROFILES

NOW = dt.datetime(2014, 5, 19, 12, tzinfo=dt.UTC)
DOMAIN = "a.example"
GOOD = [name for name, p in PROFILES.items() if p.defect is None]


@pytest.fixture(scope="module")
def pki() -> Pki:
    return make_pki(NOW)


@pytest.fixture(scope="module")
def issued(pki: Pki) -> dict[str, Issued]:
    key = make_key()
    return {name: pki.issue(DOMAIN, profile, key) for name, profile in PROFILES.items()}


def leaf(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificates(issued.cert)[0]


def verifies(
    issued: Issued, *, name: str = DOMAIN, when: dt.datetime = NOW, anchors: list[x509.Certificate] | None = None
) -> str | None:
    """None if the certificate verifies as a TLS server's (RFC 5280, RFC 6125), else what the library says."""
    certificate, *chain = x509.load_pem_x509_certificates(issued.cert)
    store = Store(anchors or x509.load_pem_x509_certificates(issued.ca))
    verifier = PolicyBuilder().store(store).time(when).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(certificate, chain)
    except VerificationError as error:
        return str(error)
    return None


def test_the_profiles_and_their_defects() -> None:
    assert {name: p.defect for name, p in PROFILES.items()} == {
        "ca": None,
        "xmpp-addr": None,
        "self-signed": "certificate-self-signed",
        "expired": "certificate-expired",
        "wrong-host": "certificate-wrong-host",
        "untrusted-ca": "certificate-untrusted",
        "not-yet-valid": "certificate-not-yet-valid",
        "server-only": "certificate-purpose",
    }


@pytest.mark.parametrize("name", GOOD)
def test_a_good_certificate_verifies_today_and_for_this_domain_only(name: str, issued: dict[str, Issued]) -> None:
    assert verifies(issued[name]) is None
    assert verifies(issued[name], name="b.example")
    assert verifies(issued[name], when=NOW + dt.timedelta(days=91))
    assert verifies(issued[name], when=NOW - dt.timedelta(days=2))


def test_expired_is_wrong_in_its_time_alone(issued: dict[str, Issued]) -> None:
    assert verifies(issued["expired"])
    assert verifies(issued["expired"], when=NOW - dt.timedelta(days=60)) is None


def test_wrong_host_is_wrong_in_its_name_alone(issued: dict[str, Issued]) -> None:
    assert verifies(issued["wrong-host"])
    assert verifies(issued["wrong-host"], name="elsewhere.invalid") is None
    assert DOMAIN.encode() not in leaf(issued["wrong-host"]).public_bytes(Encoding.DER)


def test_untrusted_ca_is_wrong_in_its_authority_alone(issued: dict[str, Issued]) -> None:
    certificate, authority = x509.load_pem_x509_certificates(issued["untrusted-ca"].cert)
    assert verifies(issued["untrusted-ca"])
    assert verifies(issued["untrusted-ca"], anchors=[authority]) is None
    certificate.verify_directly_issued_by(authority)


def test_self_signed_is_signed_by_its_own_key(issued: dict[str, Issued]) -> None:
    certificate = leaf(issued["self-signed"])
    assert verifies(issued["self-signed"])
    certificate.verify_directly_issued_by(certificate)
    assert certificate.issuer == certificate.subject
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DOMAIN]


def test_not_yet_valid_is_wrong_in_its_time_alone(issued: dict[str, Issued]) -> None:
    assert verifies(issued["not-yet-valid"])
    assert verifies(issued["not-yet-valid"], when=NOW + dt.timedelta(days=60)) is None


def test_server_only_is_good_where_its_server_receives(issued: dict[str, Issued]) -> None:
    assert verifies(issued["server-only"]) is None
    with pytest.raises(VerificationError):
        as_client(issued["server-only"])


def as_client(issued: Issued) -> ClientVerifier:
    """A verifier of TLS clients that has accepted the certificate; raises VerificationError."""

    def any_names(_: Policy, certificate: x509.Certificate, value: x509.ExtensionType | None) -> None:
        assert certificate
        assert isinstance(value, x509.SubjectAlternativeName)

    builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(issued.ca))).time(NOW)
    end = ExtensionPolicy.webpki_defaults_ee().require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, any_names)
    verifier: ClientVerifier = builder.extension_policies(
        ee_policy=end, ca_policy=ExtensionPolicy.webpki_defaults_ca()
    ).build_client_verifier()
    assert verifier.verify(leaf(issued), []).chain
    return verifier


@pytest.mark.parametrize("name", ["ca", "xmpp-addr"])
def test_a_good_certificate_is_good_for_the_initiating_side_too(name: str, issued: dict[str, Issued]) -> None:
    """XEP-0178 §3: the initiating server presents its certificate as a TLS client."""
    assert as_client(issued[name])


@pytest.mark.parametrize("name", PROFILES)
def test_key_usage_allows_both_roles_and_both_kinds_of_key_exchange(name: str, issued: dict[str, Issued]) -> None:
    extensions = leaf(issued[name]).extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature  # ECDHE, DHE and TLS 1.3 sign
    assert usage.key_encipherment  # static RSA encrypts: servers without forward secrecy
    assert not usage.key_cert_sign
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    roles = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(purposes) == {roles[p] for p in PROFILES[name].purposes}
    assert set(purposes) == set(roles.values()) or PROFILES[name].defect == "certificate-purpose"
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_only_one_profile_names_the_xmpp_address(issued: dict[str, Issued]) -> None:
    """RFC 6120 §13.7.1.4: a UTF8String under id-on-xmppAddr."""
    for name, one in issued.items():
        names = leaf(one).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        others = [(n.type_id, n.value) for n in names if isinstance(n, x509.OtherName)]
        assert others == ([(XMPP_ADDR, b"\x0c\x09a.example")] if name == "xmpp-addr" else [])


@pytest.mark.parametrize("name", PROFILES)
def test_files_and_facts_are_of_one_certificate(name: str, issued: dict[str, Issued]) -> None:
    one = issued[name]
    files = one.files()
    assert set(files) == {"cert.pem", "key.pem", "cert-and-key.pem", "ca.pem"}
    key = load_pem_private_key(files["key.pem"], None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key.public_key().public_bytes(*form) == leaf(one).public_key().public_bytes(*form)
    assert files["cert-and-key.pem"].startswith(b"-----BEGIN PRIVATE KEY-----")
    assert files["cert-and-key.pem"].endswith(files["cert.pem"])
    assert dt.datetime.fromisoformat(one.not_after) == leaf(one).not_valid_after_utc


def test_a_domain_keeps_its_key_over_its_certificates(pki: Pki) -> None:
    """A phase that renews a certificate changes the certificate, nothing else; two domains share no key."""
    issued = pki.issue_all({("a.example", "expired"): None, ("a.example", "ca"): None, ("b.example", "ca"): None})
    assert set(issued) == {("a.example", "expired"), ("a.example", "ca"), ("b.example", "ca")}
    assert issued["a.example", "expired"].key == issued["a.example", "ca"].key
    assert issued["a.example", "ca"].key != issued["b.example", "ca"].key
    assert len({i.fingerprint for i in issued.values()}) == 3


def test_the_trust_anchor_is_the_run_s_own_ca_and_nothing_else(pki: Pki, issued: dict[str, Issued]) -> None:
    for one in issued.values():
        assert x509.load_pem_x509_certificates(one.ca) == [pki.trusted.certificate]


def test_a_long_domain_has_a_valid_common_name(pki: Pki) -> None:
    """ub-common-name is 64 (RFC 5280 appendix A.1); the name that counts is the alternative one."""
    domain = "a" * 60 + ".some.example"
    one = pki.issue(domain, PROFILES["ca"], make_key())
    assert verifies(one, name=domain) is None

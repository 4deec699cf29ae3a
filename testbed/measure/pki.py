"""The CA of a run and the certificates of its servers, as their profiles say: pure functions from names to bytes.

A certificate is issued per run: nothing here is worth stealing, nothing is kept.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed.plan.certificates import PROFILES, Profile

KEY_BITS = 2048
# RSA, not ECDSA: a server without forward secrecy (kRSA) needs an RSA key, and in 2014 every key was one.

XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""id-on-xmppAddr, RFC 6120 §13.7.1.4."""
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Issued:
    """What a server gets: PEM bytes, and the facts for the manifest."""

    cert: bytes
    key: bytes
    ca: bytes
    fingerprint: str
    """SHA-256 of the leaf, hexadecimal."""
    not_after: str
    """ISO 8601, UTC."""

    def files(self) -> dict[str, bytes]:
        """The files of ``/etc/testbed``."""
        return {"cert.pem": self.cert, "key.pem": self.key, "cert-and-key.pem": self.key + self.cert, "ca.pem": self.ca}


@dataclass(frozen=True)
class Authority:
    """A certificate authority: trusted by all servers of the run, or by none."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


def make_key() -> rsa.RSAPrivateKey:
    """A fresh private key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def make_authority(name: str, now: dt.datetime) -> Authority:
    """A root CA named ``name``, valid around ``now`` (an aware datetime)."""
    key = make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(_serial())
        .not_valid_before(now - dt.timedelta(days=365))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


@dataclass(frozen=True)
class Pki:
    """The trusted authority of a run, and one that nobody trusts."""

    trusted: Authority
    other: Authority
    now: dt.datetime

    def issue(self, domain: str, profile: Profile, key: rsa.RSAPrivateKey) -> Issued:
        """The certificate of ``domain`` under ``profile`` for ``key``."""
        name = domain if profile.names == "own" else "elsewhere.invalid"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # ub-common-name, RFC 5280 appendix A.1
        authority = {"ca": self.trusted, "other": self.other, "self": None}[profile.issuer]
        signer, issuer = (authority.key, authority.certificate.subject) if authority else (key, subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(_serial())
            .not_valid_before(self.now + dt.timedelta(days=profile.days[0]))
            .not_valid_after(self.now + dt.timedelta(days=profile.days[1]))
            .add_extension(x509.SubjectAlternativeName(_names(name, profile.xmpp_addr)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([PURPOSES[p] for p in profile.purposes]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if authority:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
            )
        leaf = builder.sign(signer, hashes.SHA256())
        chain = authority.pem if authority and profile.issuer == "other" else b""
        return Issued(
            cert=leaf.public_bytes(Encoding.PEM) + chain,
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            ca=self.trusted.pem,
            fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
            not_after=leaf.not_valid_after_utc.isoformat(),
        )

    def issue_all(
        self, wanted: dict[tuple[str, str], None], progress: Callable[[int], None] = lambda _: None
    ) -> dict[tuple[str, str], Issued]:
        """Certificates for every (domain, profile name) in ``wanted``; one key per domain, the same in every phase."""
        domains = sorted({domain for domain, _ in wanted})
        with ThreadPoolExecutor() as pool:  # key generation leaves the interpreter lock
            keys = dict(zip(domains, pool.map(lambda _: make_key(), domains), strict=True))
        issued = {}
        for domain, profile in wanted:
            issued[domain, profile] = self.issue(domain, PROFILES[profile], keys[domain])
            progress(1)
        return issued


def make_pki(now: dt.datetime) -> Pki:
    """The two authorities of a run."""
    return Pki(make_authority("testbed run CA", now), make_authority("a CA that nobody trusts", now), now)


def _serial() -> int:
    """A random serial number that always takes sixteen bytes: certificates of one profile then have the same length in every run.

    One implementation's TLS fails or not by the lengths of records; a run must not decide that by chance.
    """
    return int.from_bytes(b"\x40" + secrets.token_bytes(15), "big")


def _names(domain: str, xmpp_addr: bool) -> list[x509.GeneralName]:
    encoded = domain.encode()
    utf8_string = bytes([0x0C, len(encoded)]) + encoded  # DER UTF8String; domains here are shorter than 128 bytes
    return [x509.DNSName(domain)] + ([x509.OtherName(XMPP_ADDR, utf8_string)] if xmpp_addr else [])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=not sign_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )

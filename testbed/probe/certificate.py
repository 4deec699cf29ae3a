"""Reads what a peer presented, and says what a strict peer would find wrong with it: pure functions from bytes to facts.

Chain, name, time and purpose are looked at apart, so that every defect is found and not only the first (RFC 6120 §13.7,
RFC 9525 §6). The chain is verified by OpenSSL, as servers do it.
"""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from OpenSSL import SSL, crypto

from testbed.model import InputError
from testbed.probe.names import ascii_name
from testbed.probe.seen import Certificate
from testbed.probe.stream import printable
from testbed.probe.tls import Identity

XMPP_ADDR, SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5"), x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
"""id-on-xmppAddr (RFC 6120 §13.7.1.4) and id-on-dnsSRV (RFC 4985)."""
PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}
WEAK_SIGNATURES = ("md5", "sha1")
RSA_LEAST, EC_LEAST = 2048, 224
"""Bits: RFC 9325 §4.5."""


class Trust:
    """The authorities that a chain may lead to: a file of the user's, or the system's store."""

    def __init__(self, file: Path | None) -> None:
        """Raises InputError if the user's file is none."""
        self._places: list[tuple[str | None, str | None]] = []
        if file is not None:
            pem_certificates(file, "--ca")
            self._places = [(str(file), None)]
            self.name = str(file)
        else:
            paths = ssl.get_default_verify_paths()
            if paths.cafile or paths.capath:
                self._places = [(paths.cafile, paths.capath)]
            self.name = paths.cafile or paths.capath or "none: this system has no store of authorities"

    def verify(self, leaf: x509.Certificate, rest: list[x509.Certificate], when: dt.datetime) -> tuple[bool | None, str | None]:
        """Whether the chain leads to an authority at that moment, and if not, why; None without any authorities."""
        if not self._places:
            return None, self.name
        store = crypto.X509Store()
        for cafile, capath in self._places:
            store.load_locations(cafile, capath)
        store.set_time(when)
        wrapped = [crypto.X509.from_cryptography(c) for c in (leaf, *rest)]
        try:
            crypto.X509StoreContext(store, wrapped[0], wrapped[1:]).verify_certificate()
        except crypto.X509StoreContextError as error:
            return False, str(error)
        except crypto.Error as error:
            return False, f"the chain cannot be read: {error}"
        return True, None


def examine(chain: list[bytes], domain: str, trust: Trust, now: dt.datetime) -> Certificate | None:
    """What was presented for ``domain`` (A-labels); None if there is nothing, or nothing readable, in it."""
    try:
        leaf, *rest = [x509.load_der_x509_certificate(der) for der in chain]
        dns_names, srv_names, addresses = _names(leaf)
        purposes = _purposes(leaf)
        subject, issuer = _shown(leaf.subject), _shown(leaf.issuer)
    except ValueError:
        return None
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    self_signed = _signs_itself(leaf)
    # The chain is judged at a moment when the leaf is valid: that it has expired is a fact of its own.
    inside = min(max(now, begin), end)
    trusted, because = trust.verify(leaf, rest, inside)
    matched = _match(domain, dns_names, srv_names, addresses)
    defects = []
    if self_signed and trusted is not True:
        defects.append("certificate-self-signed")
    elif trusted is False:
        defects.append("certificate-untrusted")
    if now > end:
        defects.append("certificate-expired")
    elif now < begin:
        defects.append("certificate-not-yet-valid")
    if not matched:
        defects.append("certificate-wrong-host")
    if not (_allows(purposes, "clientAuth") and _allows(purposes, "serverAuth")):
        defects.append("certificate-purpose")
    key, weak = _key(leaf)
    hashed = _signature(leaf)
    return Certificate(
        subject=subject,
        issuer=issuer,
        dns_names=dns_names,
        srv_names=srv_names,
        xmpp_addresses=addresses,
        matched=matched,
        not_before=begin.isoformat(),
        not_after=end.isoformat(),
        days_left=(end - now).days,
        self_signed=self_signed,
        trusted=trusted,
        untrusted_because=because,
        purposes=purposes,
        for_servers=_allows(purposes, "serverAuth"),
        for_clients=_allows(purposes, "clientAuth"),
        key=key,
        key_weak=weak,
        signature=hashed,
        chain=len(chain),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        defects=defects,
    )


def _match(domain: str, dns_names: list[str], srv_names: list[str], addresses: list[str]) -> str | None:
    """Which kind of name proves the domain (RFC 6120 §13.7.1.2.1; RFC 9525 §6.3: the common name never does)."""
    if any(_covers(name, domain) for name in dns_names):
        return "dNSName"
    if any(_covers(name.partition(".")[2], domain) for name in srv_names if name.lower().startswith("_xmpp-server.")):
        return "SRVName"
    return "xmppAddr" if any(_same(a, domain) for a in addresses) else None


def _same(address: str, domain: str) -> bool:
    """An xmppAddr, which may hold letters beyond ASCII, against the domain."""
    try:
        return ascii_name(address) == domain.lower()
    except InputError:
        return False


def _covers(name: str, domain: str) -> bool:
    """One name against the domain; a wildcard stands for the whole left-most label (RFC 9525 §6.3)."""
    name, domain = name.lower().rstrip("."), domain.lower()
    if name.startswith("*."):
        return "." in name[2:] and domain.partition(".")[2] == name[2:]
    return name == domain


def _names(leaf: x509.Certificate) -> tuple[list[str], list[str], list[str]]:
    try:
        extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return [], [], []
    assert isinstance(extension, x509.SubjectAlternativeName)
    others = extension.get_values_for_type(x509.OtherName)
    dns_names = [printable(n) for n in extension.get_values_for_type(x509.DNSName)]
    return dns_names, _strings(others, SRV_NAME), _strings(others, XMPP_ADDR)


def _strings(others: list[x509.OtherName], kind: x509.ObjectIdentifier) -> list[str]:
    """The short DER strings among other names."""
    return [
        printable(o.value[2:].decode("utf-8", "replace"))
        for o in others
        if o.type_id == kind and len(o.value) > 2 and o.value[1] == len(o.value) - 2
    ]


def _purposes(leaf: x509.Certificate) -> list[str] | None:
    try:
        usage = leaf.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except x509.ExtensionNotFound:
        return None
    assert isinstance(usage, x509.ExtendedKeyUsage)
    return [PURPOSES.get(oid, oid.dotted_string) for oid in usage]


def _allows(purposes: list[str] | None, purpose: str) -> bool:
    return purposes is None or purpose in purposes or "anyExtendedKeyUsage" in purposes


def _signs_itself(leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(leaf)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _key(leaf: x509.Certificate) -> tuple[str, bool]:
    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "of a kind that is not known here", False
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}", key.key_size < RSA_LEAST
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name}", key.key_size < EC_LEAST
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}", True
        case ed25519.Ed25519PublicKey():
            return "Ed25519", False
        case ed448.Ed448PublicKey():
            return "Ed448", False
        case _:
            return type(key).__name__.removesuffix("PublicKey"), False


def _signature(leaf: x509.Certificate) -> str | None:
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    return algorithm.name if algorithm else None


def _shown(name: x509.Name) -> str:
    """The common name, else the organisation, else all of it."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(kind):
            return printable(str(attributes[0].value), 64)
    return printable(name.rfc4514_string(), 64)


# --- what the user gives -----------------------------------------------------------------------------------------------


def pem_certificates(file: Path, option: str) -> list[x509.Certificate]:
    """The certificates of a PEM file. Raises InputError."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise InputError(f"{option}: {error.strerror}", file=str(file), hint="a PEM file of certificates is wanted") from None
    except ValueError:
        raise InputError(
            f"{option}: no certificate in PEM form", file=str(file), hint="it begins with -----BEGIN CERTIFICATE-----"
        ) from None


def load_identity(certificate: Path | None, key: Path | None) -> Identity | None:
    """Our own certificate and key, if the user gives them. Raises InputError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InputError("--certificate and --key go together", hint="give both: --certificate fullchain.pem --key privkey.pem")
    chain = tuple(pem_certificates(certificate, "--certificate"))
    try:
        loaded = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise InputError(f"--key: {error.strerror}", file=str(key)) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError("--key: no private key in PEM form without a passphrase", file=str(key)) from None
    if loaded.public_key() != chain[0].public_key():
        raise InputError(
            "--key is not the key of the first certificate",
            file=str(key),
            hint=f"the server's own certificate comes first in {certificate}",
        )
    identity = Identity(chain, loaded)  # type: ignore[arg-type]
    try:
        SSL.Context(SSL.TLS_CLIENT_METHOD).use_privatekey(identity.key)
    except (SSL.Error, TypeError):
        raise InputError("--key: OpenSSL does not take this kind of key for TLS", file=str(key)) from None
    return identity

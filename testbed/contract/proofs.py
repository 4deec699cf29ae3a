"""What proves a policy on the wire: for each dimension, what a server is asked and what its answers must be. No I/O.

That a peer which does everything right is let in is a claim of its own beside every refusal: a server that refuses everybody
does not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from testbed.contract.protocol import CLEAR_PEER, Probe, Stream
from testbed.contract.trials import BOTH, Trial
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy
from testbed.plan.certificates import PROFILES

EPHEMERAL, STATIC = "ECDHE+AES:DHE+AES", "kRSA+AES"
"""OpenSSL's names for suites with and without forward secrecy (TLS 1.2 and below)."""
BAD_PEERS = tuple(p.name for p in PROFILES.values() if "client" in p.defective_as)
"""Certificate profiles with which a peer must not be let in where certificates are demanded."""
PEER_PROFILES = ("ca", *BAD_PEERS)
"""What the prober can show."""

Probes = dict[str, Probe]
Streams = Mapping[str, Stream]
"""Name of the probe -> what came of it."""


@dataclass(frozen=True)
class Proof:
    """One claim, and what the wire says of it."""

    claim: str
    holds: bool | None
    """None: the implementation does not claim it."""
    saw: str


@dataclass(frozen=True)
class Dimension:
    """How one dimension of a policy, or the certificate, is proven."""

    name: str
    probes: Callable[[Trial], Probes]
    """What is asked; nothing where the trial's setting claims nothing of the dimension."""
    proofs: Callable[[Trial, Streams], Iterator[Proof]]
    """What the answers must be."""


def probes(trial: Trial) -> Probes:
    """Everything that a trial's server is asked, in the order in which it is."""
    return {name: probe for dimension in DIMENSIONS for name, probe in dimension.probes(trial).items()}


def prove(trial: Trial, streams: Streams, fingerprint: str) -> Iterator[Proof]:
    """Everything that is claimed of a server under a trial's settings; ``fingerprint``: of the certificate that was issued."""
    for dimension in DIMENSIONS:
        if dimension.probes(trial):
            yield from dimension.proofs(trial, streams)
    if trial.speaks_tls:
        shown = {s.tls.fingerprint for s in streams.values() if s.tls}
        yield Proof(
            f"the certificate on the wire is the one that was issued ({trial.settings.certificate})",
            shown == {fingerprint},
            f"SHA-256 {', '.join(sorted(s[:16] for s in shown)) or 'none seen'}…, issued {fingerprint[:16]}…",
        )


# --- encryption -------------------------------------------------------------------------------------------------------


def _clear_probe(_: Trial) -> Probes:
    return {"clear": Probe(peer=CLEAR_PEER, prove=["dialback"])}


def _encryption(trial: Trial, streams: Streams) -> Iterator[Proof]:
    encryption, clear = trial.policy.encryption, streams["clear"]
    offer = f"starttls {'offered' if clear.starttls else 'not offered'}{', required' if clear.required else ''}"
    let_in = f"{offer}; dialback in the clear: {clear.dialback or 'not tried'}"
    if encryption is Encryption.NONE:
        yield Proof("STARTTLS is not offered", clear.answered and not clear.starttls, offer)
    else:
        yield Proof("STARTTLS is offered", clear.starttls, offer)
    if encryption is Encryption.REQUIRED:
        # an error and a closed stream are a refusal; silence too, since a peer that does TLS is let in (a claim of its own)
        refused = clear.dialback not in ("valid", None)
        yield Proof("a peer that continues without TLS is refused or never answered", refused, let_in)
    else:
        yield Proof("STARTTLS is not advertised as required", not clear.required, offer)
        yield Proof("a peer without TLS is let in by dialback", clear.dialback == "valid", let_in)


# --- authentication ---------------------------------------------------------------------------------------------------


def _peers(trial: Trial) -> Probes:
    if not trial.speaks_tls:
        return {}
    strict = trial.policy.authentication is Authentication.EXTERNAL
    # COMPAT: one implementation drops streams of TLS 1.3 by the luck of record lengths, which its image.yaml tells as a quirk
    again = ("1.3", "1.2") if trial.policy.tls_range[0] < "1.3" else ("1.3", "1.3")
    return {
        "good": Probe(tls=True, certificate="ca", prove=trial.proofs, again=again),
        "nothing": Probe(tls=True, prove=BOTH if strict else trial.proofs),
        **{f"bad {p}": Probe(tls=True, certificate=p, prove=BOTH) for p in BAD_PEERS if strict},
    }


def _authentication(trial: Trial, streams: Streams) -> Iterator[Proof]:
    good, nothing = streams["good"], streams["nothing"]
    yield Proof("a peer with a good certificate is let in over TLS", bool(good.let_in), described(good))
    if trial.policy.authentication is not Authentication.EXTERNAL:
        let_in = nothing.dialback == "valid"
        yield Proof("a peer without a certificate is let in by dialback over TLS", let_in, described(nothing))
        return
    yield Proof("a peer without a certificate is not let in", _refused(nothing), described(nothing))
    for profile in BAD_PEERS:
        stream = streams[f"bad {profile}"]
        examined = PROFILES[profile].found_by in trial.image.spec.verifies
        yield Proof(
            f"a peer with a certificate `{profile}` is not let in", _refused(stream) if examined else None, described(stream)
        )


# --- TLS versions -----------------------------------------------------------------------------------------------------


def _version_probes(trial: Trial) -> Probes:
    narrowed = trial.speaks_tls and (trial.policy.tls_min or trial.policy.tls_max)
    return {f"tls {v}": Probe(tls=True, low=v, high=v) for v in TLS_VERSIONS} if narrowed else {}


def _versions(trial: Trial, streams: Streams) -> Iterator[Proof]:
    policy, (low, high) = trial.policy, trial.policy.tls_range
    for version in TLS_VERSIONS:
        stream = streams[f"tls {version}"]
        if not low <= version <= high:
            yield Proof(f"TLS {version} is refused", stream.starttls and not stream.tls, described(stream))
        elif policy.tls_min or version == policy.tls_max:
            yield Proof(f"TLS {version} is accepted", bool(stream.tls), described(stream))
        # Below a tls_max without a tls_min, the lowest version is the server's default: nothing is claimed.


# --- forward secrecy --------------------------------------------------------------------------------------------------


def _suite_probes(trial: Trial) -> Probes:
    if not trial.speaks_tls or trial.forward_secrecy is ForwardSecrecy.ANY:
        return {}
    return {
        "ephemeral": Probe(tls=True, high="1.2", ciphers=EPHEMERAL),
        "static": Probe(tls=True, high="1.2", ciphers=STATIC),
        "both": Probe(tls=True, high="1.2", ciphers=f"{STATIC}:{EPHEMERAL}"),
        "tls 1.3": Probe(tls=True, low="1.3", high="1.3"),
    }


def _forward_secrecy(trial: Trial, streams: Streams) -> Iterator[Proof]:
    ephemeral, static, both = streams["ephemeral"], streams["static"], streams["both"]
    if trial.forward_secrecy is ForwardSecrecy.NONE:
        newest = streams["tls 1.3"]
        refused = ephemeral.starttls and not ephemeral.tls
        yield Proof("a peer with ECDHE and DHE suites only is refused", refused, described(ephemeral))
        yield Proof("TLS 1.3 is refused", newest.starttls and not newest.tls, described(newest))
        yield Proof("a peer with kRSA suites only is accepted", bool(static.tls), described(static))
        return
    yield Proof("a peer with ECDHE and DHE suites only is accepted", bool(ephemeral.tls), described(ephemeral))
    if trial.forward_secrecy is ForwardSecrecy.REQUIRED:
        yield Proof("a peer with kRSA suites only is refused", static.starttls and not static.tls, described(static))
        return
    yield Proof("a peer with kRSA suites only is accepted", bool(static.tls), described(static))
    cipher = (both.tls.cipher if both.tls else None) or ""
    yield Proof("forward secrecy is chosen against the peer's order", cipher.startswith(("ECDHE", "DHE")), described(both))


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension("encryption", _clear_probe, _encryption),
    Dimension("authentication", _peers, _authentication),
    Dimension("tls_min, tls_max", _version_probes, _versions),
    Dimension("forward_secrecy", _suite_probes, _forward_secrecy),
)
"""In the order in which they are asked."""


def _refused(stream: Stream) -> bool:
    """The peer got as far as to be refused (the server was there and offered TLS), and was."""
    return stream.connected and stream.starttls and not stream.let_in


def described(stream: Stream) -> str:
    """What came of a probe, short."""
    if not stream.connected:
        return f"no connection: {stream.error}"
    parts = [f"{stream.tls.version} {stream.tls.cipher}" if stream.tls else stream.tls_error or "no TLS"]
    parts += [f"{m}: {word}" for m, word in (("external", stream.external), ("dialback", stream.dialback)) if word]
    parts += ["closed by the server"] if stream.tls and len(parts) == 1 and stream.closed else []
    return "; ".join(" ".join(p.split()) for p in parts)[:160]

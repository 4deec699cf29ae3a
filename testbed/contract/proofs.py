"""What the answers to a trial's probes must be: claim by claim, from the policy that the server in effect shows. No I/O.

That a peer which does everything right is let in is a claim of its own beside every refusal: a server that refuses everybody
does not pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from testbed.contract.protocol import Stream
from testbed.contract.trials import BAD_PEERS, Trial
from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Policy

Streams = Mapping[str, Stream]
"""Name of the probe -> what came of it."""


@dataclass(frozen=True)
class Proof:
    """One claim, and what the wire says of it."""

    claim: str
    holds: bool | None
    """None: the implementation does not claim it."""
    saw: str


def prove(trial: Trial, streams: Streams, fingerprint: str) -> Iterator[Proof]:
    """Everything that is claimed of a server under a trial's settings."""
    policy, clear = trial.policy, streams["clear"]
    offer = f"starttls {'offered' if clear.starttls else 'not offered'}{', required' if clear.required else ''}"
    let_in = f"{offer}; dialback in the clear: {clear.dialback or 'not tried'}"
    if policy.encryption is Encryption.NONE:
        yield Proof("STARTTLS is not offered", clear.answered and not clear.starttls, offer)
    else:
        yield Proof("STARTTLS is offered", clear.starttls, offer)
    if policy.encryption is Encryption.REQUIRED:
        # an error and a closed stream are a refusal; silence too, since a peer that does TLS is let in (a claim of its own)
        refused = clear.dialback not in ("valid", None)
        yield Proof("a peer that goes on without TLS is refused or never answered", refused, let_in)
    else:
        yield Proof("STARTTLS is not advertised as required", not clear.required, offer)
        yield Proof("a peer without TLS is let in by dialback", clear.dialback == "valid", let_in)
    if not trial.speaks_tls:
        return
    yield from _authentication(trial, streams)
    shown = {s.tls.fingerprint for s in streams.values() if s.tls}
    yield Proof(
        f"the certificate on the wire is the one that was issued ({trial.settings.certificate})",
        shown == {fingerprint},
        f"SHA-256 {', '.join(sorted(s[:16] for s in shown)) or 'none seen'}…, issued {fingerprint[:16]}…",
    )
    if policy.tls_min or policy.tls_max:
        for version in TLS_VERSIONS:
            yield from _version(version, policy, streams[f"tls {version}"])
    if trial.forward_secrecy is not ForwardSecrecy.ANY:
        yield from _forward_secrecy(trial.forward_secrecy, streams)


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
        looked_at = "name" if profile == "wrong-host" else "chain"
        holds = _refused(stream) if looked_at in trial.image.spec.verifies else None
        yield Proof(f"a peer with a certificate `{profile}` is not let in", holds, described(stream))


def _version(version: str, policy: Policy, stream: Stream) -> Iterator[Proof]:
    low, high = policy.tls_range
    if not low <= version <= high:
        yield Proof(f"TLS {version} is refused", stream.starttls and not stream.tls, described(stream))
    elif policy.tls_min or version == policy.tls_max:
        yield Proof(f"TLS {version} is accepted", bool(stream.tls), described(stream))
    # Below a tls_max without a tls_min, the lowest version is the server's default: nothing is claimed.


def _forward_secrecy(wanted: ForwardSecrecy, streams: Streams) -> Iterator[Proof]:
    ephemeral, static, both = streams["ephemeral"], streams["static"], streams["both"]
    if wanted is ForwardSecrecy.NONE:
        newest = streams["tls 1.3"]
        refused = ephemeral.starttls and not ephemeral.tls
        yield Proof("a peer with ECDHE and DHE suites only is refused", refused, described(ephemeral))
        yield Proof("TLS 1.3 is refused", newest.starttls and not newest.tls, described(newest))
        yield Proof("a peer with kRSA suites only is accepted", bool(static.tls), described(static))
        return
    yield Proof("a peer with ECDHE and DHE suites only is accepted", bool(ephemeral.tls), described(ephemeral))
    if wanted is ForwardSecrecy.REQUIRED:
        yield Proof("a peer with kRSA suites only is refused", static.starttls and not static.tls, described(static))
        return
    yield Proof("a peer with kRSA suites only is accepted", bool(static.tls), described(static))
    cipher = (both.tls.cipher if both.tls else None) or ""
    yield Proof("forward secrecy is chosen against the peer's order", cipher.startswith(("ECDHE", "DHE")), described(both))


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

"""What a server does whose configuration a user brings: the policy that its behaviour on the wire amounts to. No I/O.

Rule: what cannot be seen is not claimed. A behaviour that no one value of a dimension names has no policy, and says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.contract.proofs import EPHEMERAL, STATIC
from testbed.contract.protocol import BAD_PEER, CLEAR_PEER, TLS_PEER, Probe, Reply, Stream
from testbed.contract.trials import BOTH
from testbed.model import Authentication, Encryption, ForwardSecrecy, Policy
from testbed.plan.policy import CANDIDATE_POLICY

PROBES: dict[str, Probe] = {
    "clear": Probe(peer=CLEAR_PEER, prove=["dialback"]),
    "good": Probe(tls=True, certificate="ca", prove=BOTH, again=("1.3", "1.2")),
    "nothing": Probe(tls=True, prove=BOTH),
    "bad": Probe(tls=True, certificate="self-signed", prove=BOTH),
    "1.2": Probe(tls=True, low="1.2", high="1.2"),
    "1.3": Probe(tls=True, low="1.3", high="1.3"),
    "ephemeral": Probe(tls=True, high="1.2", ciphers=EPHEMERAL),
    "static": Probe(tls=True, high="1.2", ciphers=STATIC),
}
"""What such a server is asked."""

Steps = Mapping[str, list[str]]
"""How far it came with each of the prober's domains (see `protocol.Reply`)."""


@dataclass(frozen=True)
class Behaviour:
    """The policy that was observed, or why none can be named."""

    policy: Policy | None = None
    unknown: str | None = None


def observe(reply: Reply) -> Behaviour:
    """What was seen on the wire of a server that was asked `PROBES`, as receiver and as initiator."""
    streams, steps = reply.streams, reply.steps
    if steps is None:
        return Behaviour(unknown=f"its way to other servers could not be seen ({reply.steps_error})")
    if not any(steps.values()):
        return Behaviour(unknown="it was not seen to connect to any other server")
    inward, outward = _encryption(streams["clear"], steps)
    if inward is None or outward is None or inward is not outward:
        words = f"`{_word(inward)}` towards it and `{_word(outward)}` from it"
        return Behaviour(unknown=f"encryption is {words}: no one value of the dimension")
    changes: dict[str, Any] = {"encryption": inward}
    if inward is Encryption.NONE:
        changes["authentication"] = Authentication.DIALBACK
        return Behaviour(dataclasses.replace(CANDIDATE_POLICY, **changes))
    proof = _authentication(streams, steps)
    if not isinstance(proof, Authentication):
        return Behaviour(unknown=proof)
    changes["authentication"] = proof
    old, new = bool(streams["1.2"].tls), bool(streams["1.3"].tls)
    if not (old or new):
        return Behaviour(unknown="neither TLS 1.2 nor TLS 1.3 could be negotiated with it")
    changes |= {} if old and new else {"tls_max": "1.2"} if old else {"tls_min": "1.3"}
    if old:
        ephemeral, static = bool(streams["ephemeral"].tls), bool(streams["static"].tls)
        changes["forward_secrecy"] = (
            ForwardSecrecy.ANY if ephemeral and static else ForwardSecrecy.REQUIRED if ephemeral else ForwardSecrecy.NONE
        )
    return Behaviour(dataclasses.replace(CANDIDATE_POLICY, **changes))


def _encryption(clear: Stream, steps: Steps) -> tuple[Encryption | None, Encryption | None]:
    """As receiver, and as initiator; None where neither value was seen."""
    let_in = clear.dialback == "valid"
    if clear.starttls:
        inward: Encryption | None = Encryption.OFFERED if let_in else Encryption.REQUIRED
    else:
        inward = Encryption.NONE if let_in else None
    tls, plain = "tls" in steps[TLS_PEER], "result" in steps[CLEAR_PEER]
    if tls:
        outward: Encryption | None = Encryption.OFFERED if plain else Encryption.REQUIRED if steps[CLEAR_PEER] else None
    else:
        outward = Encryption.NONE if "result" in steps[TLS_PEER] else None
    return inward, outward


def _authentication(streams: Mapping[str, Stream], steps: Steps) -> Authentication | str:
    """The value of the dimension, or why there is none."""
    good, bad, nothing = (streams[name].let_in for name in ("good", "bad", "nothing"))
    careful = "tls-result" not in steps[BAD_PEER]
    if not good:
        return "a peer with a good certificate was not let in"
    if bad and nothing and not careful:
        if good == "external":
            return Authentication.EITHER
        # SASL EXTERNAL is not offered to a peer that verifies: dialback alone, or a software that has nothing else
        return Authentication.DIALBACK
    if not bad and not nothing and careful:
        return Authentication.EXTERNAL
    verb = {True: "lets in", False: "refuses"}
    return (
        f"it {verb[bool(bad)]} a peer with a self-signed certificate and {verb[bool(nothing)]} one without, and as the sender it "
        f"{'minds' if careful else 'does not mind'} a self-signed one: no one value of the dimension authentication"
    )


def _word(value: Encryption | None) -> str:
    return value.value if value else "neither refused nor used in a way that has a name"

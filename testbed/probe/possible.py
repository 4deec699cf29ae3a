"""What a server may be, after what was seen of it: every Side that fits, one per combination of what is open. No I/O.

Rule: nothing open is ever settled by a guess.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from testbed.model import TLS_VERSIONS, Authentication, Encryption, ForwardSecrecy, Policy
from testbed.probe.seen import Offer, Seen, Stream, TargetSeen
from testbed.sides import Side


@dataclass(frozen=True)
class Open:
    """One fact of a Side: the values that it may have, and what to say where it matters that there are several."""

    values: Sequence[Any]
    depends: str = ""


@dataclass(frozen=True)
class Possible:
    """All Sides that one end may be: each with the choices that make it."""

    worlds: list[tuple[dict[str, Any], Side]]
    depends: dict[str, str]
    """Name of a choice -> what to say where it decides."""


def possible_server(policy: Policy) -> Possible:
    """A server of ours: both mechanisms, and a certificate that verifies; what a bad one breaks is no question about a peer."""
    strict = policy.authentication is Authentication.EXTERNAL
    return Possible(
        [
            ({"dialback_over_verified": also}, Side(policy, None, ("dialback", "external"), also))
            for also in ((False, True) if strict else (False,))
        ],
        {"dialback_over_verified": "whether your server accepts dialback once a certificate has verified (software differs)"},
    )


def possible_peer(seen: Seen, target: TargetSeen, *, sending: bool) -> Possible:
    """Everything that the domain's server may be, after what was seen."""
    authentication, mechanisms = _authentication(seen, target)
    low, high = _versions(target)
    facts = {
        "encryption": _encryption(target),
        "authentication": authentication,
        "mechanisms": mechanisms,
        "dialback_over_verified": Open((False, True), "whether it accepts dialback once a certificate has verified"),
        "tls_min": low,
        "tls_max": high,
        "forward_secrecy": _forward_secrecy(target),
        "defect": _defect(target, sending=sending),
    }
    role = ("client",) if sending else ("server",)
    worlds = []
    for values in itertools.product(*(f.values for f in facts.values())):
        chosen = dict(zip(facts, values, strict=True))
        strict, also = chosen["authentication"] is Authentication.EXTERNAL, chosen["dialback_over_verified"]
        if also and not strict:
            continue  # the same Side as without
        if strict and "external" not in chosen["mechanisms"] and not also:
            continue  # such a server could let nobody in
        policy = Policy(
            preset="seen",
            encryption=chosen["encryption"],
            authentication=chosen["authentication"],
            tls_min=chosen["tls_min"],
            tls_max=chosen["tls_max"],
            forward_secrecy=chosen["forward_secrecy"],
        )
        worlds.append((chosen, Side(policy, chosen["defect"], chosen["mechanisms"], also, role)))
    return Possible(worlds, {name: fact.depends for name, fact in facts.items()})


BOTH, DIALBACK, EXTERNAL = ("dialback", "external"), ("dialback",), ("external",)


def _encryption(target: TargetSeen) -> Open:
    clear = target.clear
    if target.target.direct_tls or clear is None:
        return Open([Encryption.REQUIRED])
    if not clear.features and clear.version is not None:
        return Open(list(Encryption), f"whether it offers STARTTLS: it showed no features ({clear.problem or 'none came'})")
    if clear.starttls is Offer.NO:
        return Open([Encryption.NONE])
    if clear.starttls is Offer.REQUIRED:
        return Open([Encryption.REQUIRED])
    answer = target.dialback_clear
    if answer and taken(answer):
        return Open([Encryption.OFFERED])
    if answer and refused(answer):
        return Open([Encryption.REQUIRED])
    remedy = "" if answer else " (--dialback would show it)"
    return Open(
        [Encryption.OFFERED, Encryption.REQUIRED],
        f"whether it continues without TLS: it offers STARTTLS and does not say that it is required{remedy}",
    )


TAKEN = (
    "valid",
    "invalid",
    "forbidden",
    "not-acceptable",
    "remote-server-not-found",
    "remote-connection-failed",
    "remote-server-timeout",
)
"""Answers to dialback which show that the peer went to ask the domain, whatever came of it (XEP-0220 §2.1.1, §2.5)."""
REFUSED = ("policy-violation", "not-authorized")
"""Answers which show that it wants TLS or a certificate instead (XEP-0220 §2.5); a closed connection shows neither."""


def taken(answer: str) -> bool:
    """Whether an answer shows that the peer takes dialback on such a stream."""
    return answer.split(" ")[0] in TAKEN or answer.split(" ")[-1] in TAKEN


def refused(answer: str) -> bool:
    """Whether an answer shows that the peer does not."""
    return answer.split(" ")[-1] in REFUSED


def _authentication(seen: Seen, target: TargetSeen) -> tuple[Open, Open]:
    """What it accepts as proof, and which mechanisms its software has."""
    either, external = Authentication.EITHER, Authentication.EXTERNAL
    insists = target.insists_on_certificate
    shown = "it was shown one and does not trust it" if seen.certificate_shown else "--certificate and --key would show it"
    if insists:
        text = f"whether it has SASL EXTERNAL, or requires dialback besides a certificate that verifies ({shown})"
        return Open([external]), Open([BOTH, EXTERNAL, DIALBACK], text)
    stream = target.secure if target.tls else target.clear
    if stream is None or not stream.answered or (stream.version is not None and not stream.features):
        reason = (stream.problem if stream else None) or (target.tls.problem if target.tls else None) or "it did not come to one"
        text = f"which proof of identity it requires: no stream with features was seen ({reason})"
        return Open(list(Authentication), text), Open([BOTH, DIALBACK, EXTERNAL], text)
    takes, may_take = _dialback(target, stream)
    if not (target.tls and target.tls.certificate_requested):
        # SASL EXTERNAL needs the initiating server's certificate, which this one does not ask for (XEP-0178 §3).
        # Where dialback is only declared, by the namespace, it is still the only proof that such a server could take.
        return Open([Authentication.DIALBACK]), Open([DIALBACK] if takes or may_take else [()])
    offers = "EXTERNAL" in stream.mechanisms
    shown = "it was shown one and did not offer it" if seen.certificate_shown else "--certificate and --key would show it"
    text = f"whether it offers SASL EXTERNAL to a peer whose certificate verifies: it asks for one ({shown})"
    if takes:
        return Open([either]), Open([BOTH] if offers else [BOTH, DIALBACK], text)
    if may_take:
        open_ = "whether it accepts dialback: it declares the namespace but does not advertise it (--dialback would show it)"
        return Open([either, external], open_), Open([BOTH] if offers else [BOTH, DIALBACK], text)
    return Open([external]), Open([EXTERNAL])


def _dialback(target: TargetSeen, stream: Stream) -> tuple[bool, bool]:
    """Whether it takes dialback on the stream where that counts, and whether it may."""
    answer = target.dialback_tls if target.tls else target.dialback_clear
    if answer and taken(answer):
        return True, True
    if answer and refused(answer):
        return False, False
    return stream.dialback, stream.dialback or stream.dialback_namespace


def _versions(target: TargetSeen) -> tuple[Open, Open]:
    """The lowest and the highest version that it takes."""
    if not target.tls:
        return Open([None]), Open([None])
    accepted = [v for v in TLS_VERSIONS if v in target.versions and target.versions[v].accepted]
    unsure = [v for v in TLS_VERSIONS if v not in target.versions or target.versions[v].accepted is None]
    text = f"which TLS versions it accepts: {', '.join(unsure)} could not be tried"
    if accepted:
        low, high = accepted[0], accepted[-1]
        return Open([low, *(v for v in unsure if v < low)], text), Open([high, *(v for v in unsure if v > high)], text)
    if unsure:
        return Open(unsure, text), Open(unsure, text)
    return Open(["1.3"]), Open(["1.0"])  # none at all: no range


def _forward_secrecy(target: TargetSeen) -> Open:
    ephemeral, static = target.ephemeral.accepted, target.static_rsa.accepted
    if not target.tls:
        return Open([ForwardSecrecy.ANY])
    if ephemeral is False:
        return Open([ForwardSecrecy.NONE])
    if ephemeral is None:
        return Open([ForwardSecrecy.NONE, ForwardSecrecy.ANY, ForwardSecrecy.REQUIRED], "which key exchanges it accepts")
    if static is None:
        return Open([ForwardSecrecy.ANY, ForwardSecrecy.REQUIRED], "whether it accepts suites without forward secrecy")
    return Open([ForwardSecrecy.ANY if static else ForwardSecrecy.REQUIRED])


def _defect(target: TargetSeen, *, sending: bool) -> Open:
    """What a strict peer would say of its certificate in that role."""
    certificate = target.certificate
    if not target.tls:
        return Open([None])
    if certificate is None:
        return Open([None, "certificate-untrusted"], "its certificate, which was not seen or cannot be read")
    defects = [d for d in certificate.defects if d != "certificate-purpose"]
    if defects:
        return Open([defects[0]])
    if certificate.trusted is None:
        text = "whether your server trusts the authority of its certificate: this machine has no store of authorities (--ca FILE)"
        return Open([None, "certificate-untrusted"], text)
    if sending and not certificate.for_clients:
        text = "whether your server accepts a certificate without clientAuth from a server that initiates (software differs)"
        return Open([None, "certificate-purpose"], text)
    if not sending and not certificate.for_servers:
        text = "whether your server accepts a certificate without serverAuth (software differs)"
        return Open([None, "certificate-purpose"], text)
    return Open([None])

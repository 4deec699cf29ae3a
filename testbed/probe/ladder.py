"""Which policies would still talk to a domain, both ways, computed from what was seen by the table `policy.expect`. No I/O.

What the outside cannot see stays open: a domain is a set of possible Sides, one per combination of what is open, and so is a
server of the policy that is asked about. Where the table says the same of all of them, that is the answer; where it does not,
the answer is "cannot say", with what it depends on. Rule: nothing open is ever settled by a guess.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.expectations import Side, expect
from testbed.model import TLS_VERSIONS, Authentication, Encryption, Expectation, ForwardSecrecy, InputError, Outcome, Policy
from testbed.plan.policy import DIMENSIONS, PRESETS, contradiction, make_policy
from testbed.probe.seen import Offer, Seen, Stream, TargetSeen


class Answer(str, Enum):
    """Whether a stanza would get through."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot-say"


@dataclass(frozen=True)
class Fate:
    """One direction under one policy."""

    answer: Answer
    encryption: tuple[str, ...] = ()
    """Where it gets through: `tls`, `cleartext`."""
    causes: tuple[str, ...] = ()
    """Where it does not, or may not: words of the closed list, the one of the most possibilities first."""
    because: tuple[str, ...] = ()
    """The rows of the table that decide, each with its clause."""
    depends: tuple[str, ...] = ()
    """Of "cannot say": on what."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "answer": self.answer.value,
            "encryption": list(self.encryption),
            "causes": list(self.causes),
            "because": list(self.because),
            "depends": list(self.depends),
        }


@dataclass(frozen=True)
class Judgement:
    """A policy of ours against a domain."""

    policy: Policy
    to_it: Fate
    from_it: Fate

    @property
    def answer(self) -> Answer:
        """Both directions together: the worse of the two."""
        answers = {self.to_it.answer, self.from_it.answer}
        return next(a for a in (Answer.NO, Answer.UNKNOWN, Answer.YES) if a in answers)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "policy": self.policy.name,
            "answer": self.answer.value,
            "to_it": self.to_it.to_json(),
            "from_it": self.from_it.to_json(),
        }


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


def parse_policy(text: str) -> Policy:
    """``encrypted``, or with dimensions changed: ``encrypted,tls_min=1.2``. Raises InputError."""
    preset, *changes = [part.strip() for part in text.split(",")]
    if preset not in PRESETS:
        example = "dimensions follow a preset: encrypted,tls_min=1.2"
        raise InputError(f"no policy `{preset}`", value=preset, allowed=tuple(PRESETS), hint=example)
    known = {d.name: d for d in DIMENSIONS}
    wanted = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise InputError(f"a policy has no dimension `{name}`", value=change, allowed=tuple(known))
        if value not in known[name].values:
            raise InputError(f"`{name}` cannot be `{value}`", value=change, allowed=known[name].values)
        wanted[name] = value
    policy = make_policy(preset, wanted)
    if reason := contradiction(policy):
        raise InputError(f"no server can be set to `{text}`: {reason}", value=text, hint="change one of the two")
    return policy


def judge(seen: Seen, policies: Iterable[Policy]) -> list[Judgement]:
    """What each policy would make of the domain; the domain as one server, seen at its decisive target."""
    target = seen.decisive
    if target is None:
        fate = _not_there(seen)
        return [Judgement(p, fate, fate) for p in policies]
    receiving, sending = theirs(seen, target, sending=False), theirs(seen, target, sending=True)
    found = []
    for policy in policies:
        from_it = weigh(sending, ours(policy))
        if target.target.direct_tls:
            from_it = Fate(Answer.UNKNOWN, depends=("how it initiates streams: only direct TLS was there to be asked",))
        found.append(Judgement(policy, weigh(ours(policy), receiving), from_it))
    return found


def _not_there(seen: Seen) -> Fate:
    names, problems = seen.names, [t.problem for t in seen.targets if t.problem]
    if names.problem and names.definite:
        return Fate(Answer.NO, causes=("dns",), because=(f"RFC 6120 §3.2: {names.problem}",))
    if names.problem and not seen.targets:
        return Fate(Answer.UNKNOWN, causes=("dns",), because=(names.problem,), depends=(f"what DNS says: {names.problem}",))
    silent = [s.problem for t in seen.targets for s in (t.clear, t.secure) if s and s.problem]
    handshakes = [t.tls.problem for t in seen.targets if t.target.direct_tls and t.tls and t.tls.problem]
    said = "; ".join(dict.fromkeys(problems + silent + handshakes)) or seen.problem or "nothing answered"
    return Fate(Answer.UNKNOWN, causes=("unreachable",), because=(said,), depends=(f"whether it is only down just now: {said}",))


def ours(policy: Policy) -> Possible:
    """A server of ours: both mechanisms, and a certificate that verifies; what a bad one breaks is no question about a peer."""
    strict = policy.authentication is Authentication.EXTERNAL
    return Possible(
        [
            ({"dialback_over_verified": also}, Side(policy, None, ("dialback", "external"), also))
            for also in ((False, True) if strict else (False,))
        ],
        {"dialback_over_verified": "whether your server takes dialback once a certificate has verified (software differs)"},
    )


def theirs(seen: Seen, target: TargetSeen, *, sending: bool) -> Possible:
    """Everything that the domain's server may be, after what was seen."""
    authentication, mechanisms = _authentication(seen, target)
    low, high = _versions(target)
    facts = {
        "encryption": _encryption(target),
        "authentication": authentication,
        "mechanisms": mechanisms,
        "dialback_over_verified": Open((False, True), "whether it takes dialback once a certificate has verified"),
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


def weigh(sender: Possible, receiver: Possible) -> Fate:
    """What the table says of every possible pair."""
    told = [
        ({f"sender {k}": v for k, v in a.items()} | {f"receiver {k}": v for k, v in b.items()}, expect(side_a, side_b))
        for (a, side_a), (b, side_b) in itertools.product(sender.worlds, receiver.worlds)
    ]
    through = [e for _, e in told if e.outcome is Outcome.DELIVERED]
    failing = [e for _, e in told if e.outcome is not Outcome.DELIVERED]
    encryption = tuple(sorted({e.encryption for e in through if e.encryption}))
    causes = tuple(cause for cause, _ in Counter(e.cause for e in failing if e.cause).most_common())
    if through and failing:
        return Fate(Answer.UNKNOWN, encryption, causes, _because(failing), tuple(_decisive(told, sender, receiver)))
    return Fate(Answer.YES if through else Answer.NO, encryption, causes, _because(through or failing))


def _because(told: list[Expectation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e.because for e in told))


def _decisive(told: list[tuple[dict[str, Any], Expectation]], sender: Possible, receiver: Possible) -> list[str]:
    """What to say of each open choice that decides: two worlds that differ in nothing else come out differently."""
    texts = {f"sender {k}": v for k, v in sender.depends.items()} | {f"receiver {k}": v for k, v in receiver.depends.items()}
    reasons = []
    for name, text in texts.items():
        outcomes: dict[tuple[tuple[str, Any], ...], set[bool]] = {}
        for world, expectation in told:
            rest = tuple(item for item in world.items() if item[0] != name)
            outcomes.setdefault(rest, set()).add(expectation.outcome is Outcome.DELIVERED)
        if any(len(kinds) > 1 for kinds in outcomes.values()):
            reasons.append(text)
    # Some choices only make sense together, so that no single one decides.
    fallback = [t for name, t in texts.items() if len({world.get(name) for world, _ in told}) > 1]
    return list(dict.fromkeys(r for r in reasons or fallback if r))


# --- from what was seen to what may be --------------------------------------------------------------------------------

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
    remedy = "" if answer else " (--dialback would tell)"
    return Open(
        [Encryption.OFFERED, Encryption.REQUIRED],
        f"whether it goes on without TLS: it offers STARTTLS and does not say that it is required{remedy}",
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
    shown = "it was shown one, and does not trust it" if seen.certificate_shown else "--certificate and --key would tell"
    if insists:
        text = f"whether it has SASL EXTERNAL, or wants dialback besides a certificate that verifies ({shown})"
        return Open([external]), Open([BOTH, EXTERNAL, DIALBACK], text)
    stream = target.secure if target.tls else target.clear
    if stream is None or not stream.answered or (stream.version is not None and not stream.features):
        said = (stream.problem if stream else None) or (target.tls.problem if target.tls else None) or "it did not come to one"
        text = f"how it wants a peer to prove itself: no stream with features was seen ({said})"
        return Open(list(Authentication), text), Open([BOTH, DIALBACK, EXTERNAL], text)
    takes, may_take = _dialback(target, stream)
    if not (target.tls and target.tls.certificate_requested):
        # SASL EXTERNAL needs the initiating server's certificate, which this one does not ask for (XEP-0178 §3).
        # Where dialback is only declared, by the namespace, it is still the only proof that such a server could take.
        return Open([Authentication.DIALBACK]), Open([DIALBACK] if takes or may_take else [()])
    offers = "EXTERNAL" in stream.mechanisms
    shown = "it was shown one, and did not offer it" if seen.certificate_shown else "--certificate and --key would tell"
    text = f"whether it offers SASL EXTERNAL to a peer whose certificate verifies: it asks for one ({shown})"
    if takes:
        return Open([either]), Open([BOTH] if offers else [BOTH, DIALBACK], text)
    if may_take:
        open_ = "whether it takes dialback: it declares the namespace, and does not advertise it (--dialback would tell)"
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
    text = f"which TLS versions it takes: {', '.join(unsure)} could not be tried"
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
        return Open([ForwardSecrecy.NONE, ForwardSecrecy.ANY, ForwardSecrecy.REQUIRED], "which key exchanges it takes")
    if static is None:
        return Open([ForwardSecrecy.ANY, ForwardSecrecy.REQUIRED], "whether it takes suites without forward secrecy")
    return Open([ForwardSecrecy.ANY if static else ForwardSecrecy.REQUIRED])


def _defect(target: TargetSeen, *, sending: bool) -> Open:
    """What a strict peer would say of its certificate in that role."""
    found = target.certificate
    if not target.tls:
        return Open([None])
    if found is None:
        return Open([None, "certificate-untrusted"], "its certificate, which was not seen or cannot be read")
    defects = [d for d in found.defects if d != "certificate-purpose"]
    if defects:
        return Open([defects[0]])
    if found.trusted is None:
        text = "whether your server trusts its certificate's authority: this machine has no store of authorities (--ca FILE)"
        return Open([None, "certificate-untrusted"], text)
    if sending and not found.for_clients:
        text = "whether your server takes a certificate without clientAuth from a server that initiates (software differs)"
        return Open([None, "certificate-purpose"], text)
    if not sending and not found.for_servers:
        text = "whether your server takes a certificate without serverAuth (software differs)"
        return Open([None, "certificate-purpose"], text)
    return Open([None])

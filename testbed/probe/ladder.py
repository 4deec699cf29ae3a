"""Which policies would still talk to a domain, both ways, computed from what was seen by the table `policy.expect`. No I/O.

What the outside cannot see stays open: a domain is a set of possible Sides (`possible`), and so is a server of the policy that is
asked about. Where the table says the same of all of them, that is the answer; where it does not,
the answer is "cannot say", with what it depends on. Rule: nothing open is ever settled by a guess.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.expectations import expect
from testbed.model import Expectation, InputError, Outcome, Policy
from testbed.plan.policy import DIMENSIONS, PRESETS, contradiction, make_policy
from testbed.probe.possible import Possible, possible_peer, possible_server
from testbed.probe.seen import Seen


class Answer(str, Enum):
    """Whether a stanza would get through."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot-say"


@dataclass(frozen=True)
class Prediction:
    """What would become of a stanza in one direction, under one policy."""

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
    to_it: Prediction
    from_it: Prediction

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
        prediction = _not_there(seen)
        return [Judgement(p, prediction, prediction) for p in policies]
    receiving, sending = possible_peer(seen, target, sending=False), possible_peer(seen, target, sending=True)
    judgements = []
    for policy in policies:
        from_it = weigh(sending, possible_server(policy))
        if target.target.direct_tls:
            from_it = Prediction(Answer.UNKNOWN, depends=("how it initiates streams: only direct TLS was there to be asked",))
        judgements.append(Judgement(policy, weigh(possible_server(policy), receiving), from_it))
    return judgements


def _not_there(seen: Seen) -> Prediction:
    names, problems = seen.names, [t.problem for t in seen.targets if t.problem]
    if names.problem and names.definite:
        return Prediction(Answer.NO, causes=("dns",), because=(f"RFC 6120 §3.2: {names.problem}",))
    if names.problem and not seen.targets:
        return Prediction(Answer.UNKNOWN, causes=("dns",), because=(names.problem,), depends=(f"what DNS says: {names.problem}",))
    silent = [s.problem for t in seen.targets for s in (t.clear, t.secure) if s and s.problem]
    handshakes = [t.tls.problem for t in seen.targets if t.target.direct_tls and t.tls and t.tls.problem]
    reason = "; ".join(dict.fromkeys(problems + silent + handshakes)) or seen.problem or "nothing answered"
    return Prediction(
        Answer.UNKNOWN, causes=("unreachable",), because=(reason,), depends=(f"whether it is only down at the moment: {reason}",)
    )


def weigh(sender: Possible, receiver: Possible) -> Prediction:
    """What the table says of every possible pair."""
    pairs = [
        ({f"sender {k}": v for k, v in a.items()} | {f"receiver {k}": v for k, v in b.items()}, expect(side_a, side_b))
        for (a, side_a), (b, side_b) in itertools.product(sender.worlds, receiver.worlds)
    ]
    through = [e for _, expected in pairs for e in expected.admitted if e.outcome is Outcome.DELIVERED]
    failing = [e for _, expected in pairs for e in expected.admitted if e.outcome is not Outcome.DELIVERED]
    encryption = tuple(sorted({e.encryption for e in through if e.encryption}))
    causes = tuple(cause for cause, _ in Counter(e.cause for e in failing if e.cause).most_common())
    if through and failing:
        depends = _decisive(pairs, sender, receiver)
        if any(len(expected.outcomes) > 1 for _, expected in pairs):
            depends = depends or ["which of the documents that disagree the two servers follow"]
        return Prediction(Answer.UNKNOWN, encryption, causes, _because(failing), tuple(depends))
    return Prediction(Answer.YES if through else Answer.NO, encryption, causes, _because(through or failing))


def _because(expectations: list[Expectation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e.because for e in expectations))


def _decisive(pairs: list[tuple[dict[str, Any], Expectation]], sender: Possible, receiver: Possible) -> list[str]:
    """What to say of each open choice that decides: two worlds that differ in nothing else come out differently."""
    texts = {f"sender {k}": v for k, v in sender.depends.items()} | {f"receiver {k}": v for k, v in receiver.depends.items()}
    reasons = []
    for name, text in texts.items():
        outcomes: dict[tuple[tuple[str, Any], ...], set[frozenset[Outcome]]] = {}
        for world, expectation in pairs:
            rest = tuple(item for item in world.items() if item[0] != name)
            outcomes.setdefault(rest, set()).add(expectation.outcomes)
        if any(len(kinds) > 1 for kinds in outcomes.values()):
            reasons.append(text)
    # Some choices only make sense together, so that no single one decides.
    fallback = [t for name, t in texts.items() if len({world.get(name) for world, _ in pairs}) > 1]
    return list(dict.fromkeys(r for r in reasons or fallback if r))

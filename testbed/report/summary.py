"""What the matrix says, counted: per phase, between phases, and in one paragraph for people.

Rule: everything here is a pure function of ``verdicts.json``. What may become of a pair between two phases is one closed
list, ``Change``, and one literal table, so that every pair falls into exactly one class and none is hidden: what the
testbed cannot say on either side is ``cannot-say``, never a success.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.causes import Inconclusive, inconclusive_as
from testbed.model import SCHEMA
from testbed.record.verdicts import CellEntry, Verdicts
from testbed.report import words
from testbed.report.grid import ARROW, KINDS, Address, Grid, Kind, Member, State, grid, state


class Change(str, Enum):
    """What became of a pair between two phases. Closed, disjoint and exhaustive: see ``CHANGES``."""

    KEPT = "kept"
    SECURED = "secured"
    RESTORED = "restored"
    STILL_IN_CLEARTEXT = "still-in-cleartext"
    WEAKENED = "weakened"
    NEWLY_BROKEN = "newly-broken"
    BROKEN_BEFORE_AND_AFTER = "broken-before-and-after"
    CANNOT_SAY = "cannot-say"


_K, _C = Kind, Change
CHANGES: dict[tuple[Kind, Kind], Change] = {
    (_K.TLS, _K.TLS): _C.KEPT,
    (_K.TLS, _K.CLEARTEXT): _C.WEAKENED,
    (_K.TLS, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.TLS, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.TLS, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.CLEARTEXT, _K.TLS): _C.SECURED,
    (_K.CLEARTEXT, _K.CLEARTEXT): _C.STILL_IN_CLEARTEXT,
    (_K.CLEARTEXT, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.CLEARTEXT, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.CLEARTEXT, _K.UNKNOWN): _C.CANNOT_SAY,
    # Delivered over an unobserved channel: enough to call a failure new or fixed, not enough to call a success encrypted.
    (_K.UNSEEN, _K.TLS): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.CLEARTEXT): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.UNSEEN, _K.BROKEN): _C.NEWLY_BROKEN,
    (_K.UNSEEN, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.BROKEN, _K.TLS): _C.RESTORED,
    (_K.BROKEN, _K.CLEARTEXT): _C.RESTORED,
    (_K.BROKEN, _K.UNSEEN): _C.RESTORED,
    (_K.BROKEN, _K.BROKEN): _C.BROKEN_BEFORE_AND_AFTER,
    (_K.BROKEN, _K.UNKNOWN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.TLS): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.CLEARTEXT): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.UNSEEN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.BROKEN): _C.CANNOT_SAY,
    (_K.UNKNOWN, _K.UNKNOWN): _C.CANNOT_SAY,
}
"""Before and after, to the class. A test holds that no combination is missing."""


def classify(before: CellEntry | None, after: CellEntry | None) -> Change:
    """What became of a pair: the cells of the two phases, None where the record has none."""
    return CHANGES[KINDS[state(before)], KINDS[state(after)]]


def changes(g: Grid, before: str, after: str, exchange: str | None = None) -> dict[Address, Change]:
    """The class of every address between two phases, of one exchange or of all."""
    return {
        address: classify(g.cell(before, address), g.cell(after, address))
        for address in g.addresses
        if exchange is None or address[2] == exchange
    }


# --- the numbers ------------------------------------------------------------------------------------------------------


def summary(verdicts: Verdicts) -> dict[str, Any]:
    """The content of ``summary.json``: counts per phase, per consecutive change and for the cutover, and the paragraph."""
    g = grid(verdicts)
    steps = list(zip(g.phases, g.phases[1:], strict=False))
    return {
        "schema": SCHEMA,
        "run": verdicts.get("run"),
        "scenario": verdicts.get("scenario"),
        "title": verdicts.get("title"),
        "started": verdicts.get("started"),
        "timers": verdicts.get("timers"),
        "complete": bool(verdicts.get("complete", False)),
        "servers": len(g.members),
        "pairs": len({address[:2] for address in g.addresses}),
        "exchanges": list(g.exchanges),
        "versions": g.versions,
        "phases": [_phase(g, name) for name in g.phases],
        "cutover": _between(g, g.phases[0], g.phases[-1]) if steps else None,
        "changes": [_between(g, before, after) for before, after in steps],
        "paragraph": paragraph(verdicts),
    }


def _phase(g: Grid, name: str) -> dict[str, Any]:
    states = Counter(s for _, s in g.states(name))
    recorded = list(g.cells[name].values())
    return {
        "name": name,
        "cells": len(g.addresses),
        "delivered": _delivered(states),
        "states": {s.value: states[s] for s in State},
        "outcomes": dict(Counter(cell["outcome"] for cell in recorded)),
        "encryption": {
            "tls": sum(states[s] for s in State if KINDS[s] is Kind.TLS),
            "cleartext": states[State.CLEARTEXT],
            "unseen": states[State.UNSEEN],
        },
        "causes": _causes(_broken(g, name), g, name),
        "surprises": sum(bool(cell.get("surprise")) for cell in recorded),
    }


def _between(g: Grid, before: str, after: str) -> dict[str, Any]:
    by_address = changes(g, before, after)
    counts = Counter(by_address.values())
    broken = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
    return {
        "before": before,
        "after": after,
        "classes": {change.value: counts[change] for change in Change},
        "causes": _causes(broken, g, after),
        "groups": {name: _blocks(g, broken, by_address, name) for name in ("policy", "implementation")},
    }


def _delivered(states: Mapping[State, int]) -> int:
    return sum(n for s, n in states.items() if KINDS[s] in (Kind.TLS, Kind.CLEARTEXT, Kind.UNSEEN))


def _broken(g: Grid, phase: str) -> list[Address]:
    return [address for address, s in g.states(phase) if KINDS[s] is Kind.BROKEN]


def _causes(addresses: Iterable[Address], g: Grid, phase: str) -> list[dict[str, Any]]:
    """Why the cells at these addresses failed, most frequent first, with where to fix it."""
    faults: dict[str | None, Counter[str | None]] = {}
    for address in addresses:
        cell = g.cells[phase][address]
        faults.setdefault(cell.get("cause"), Counter())[cell.get("fault")] += 1
    rows: list[dict[str, Any]] = [
        {
            "cause": name,
            "count": counts.total(),
            "words": words.cause(name),
            "fault": {fault or "unknown": n for fault, n in counts.most_common()},
        }
        for name, counts in faults.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["cause"] or ""))


def causes(g: Grid, phase: str, exchange: str | None = None, *, only: Iterable[Address] | None = None) -> list[dict[str, Any]]:
    """Why the pairs of a phase failed, most frequent first: ``cause``, ``count``, ``words`` and counts by ``fault``.

    ``only`` restricts it to some addresses, which need to be failures of that phase.
    """
    broken = _broken(g, phase) if only is None else only
    return _causes([address for address in broken if exchange is None or address[2] == exchange], g, phase)


# --- between whom -----------------------------------------------------------------------------------------------------

Label = Callable[[Member], str]

ATTRIBUTES: dict[str, Label] = {
    "policy": lambda m: m.policy(-1),
    "certificate": lambda m: m.certificate(-1),
    "implementation": lambda m: m.implementation,
}
"""What a group of servers may have in common. The first that explains a failure as well as any other is the one named."""


def _blocks(g: Grid, broken: list[Address], every: Iterable[Address], attribute: str) -> list[dict[str, Any]]:
    label = {member.domain: ATTRIBUTES[attribute](member) for member in g.members}
    hit = Counter((label[a], label[b]) for a, b, _ in broken)
    total = Counter((label[a], label[b]) for a, b, _ in every)
    return [{"sender": s, "receiver": r, "newly-broken": n, "of": total[s, r]} for (s, r), n in hit.most_common()]


@dataclass(frozen=True)
class Rule:
    """A description of a set of ordered pairs: what the servers at its ends have in common. None is any server."""

    attribute: str
    sender: str | None
    receiver: str | None
    ordered: bool
    """False: it is met in one direction or the other."""

    def holds(self, sender: str, receiver: str) -> bool:
        """Whether a pair with these labels falls under the rule."""
        straight = self.sender in (None, sender) and self.receiver in (None, receiver)
        return straight or (not self.ordered and self.sender in (None, receiver) and self.receiver in (None, sender))

    def text(self) -> str:
        """Completes "198 of 210 are ..."."""
        sender, receiver = (_participle(self.attribute, label) for label in (self.sender, self.receiver))
        if not self.ordered:
            other = "another" if self.receiver is None else f"one {receiver}"
            return f"between a server {sender} and {other}"
        if self.sender is None:
            return f"written to a server {receiver}"
        if self.receiver is None:
            return f"written by a server {sender}"
        if self.sender == self.receiver:
            return f"between two servers {sender}"
        return f"written by a server {sender} to one {receiver}"


def _participle(attribute: str, label: str | None) -> str:
    if label is None:
        return ""
    before, _, after = label.partition(ARROW)
    if attribute == "implementation":
        return f"running {label}"
    if attribute == "certificate":
        return f"whose certificate changed from '{before}' to '{after}'" if after else f"with the certificate '{label}'"
    return f"moved from '{before}' to '{after}'" if after else f"set to '{label}'"


def explain(g: Grid, broken: Iterable[Address], others: Iterable[Address]) -> list[tuple[Rule, int]]:
    """At most two rules that between them account for most of ``broken`` and for few of ``others``; with what each covers.

    An empty list says that no group of servers stands out. A rule's worth is the harmonic mean of how much of ``broken``
    it covers and how much of what it covers is broken, so neither "everything" nor "this one pair" is ever the answer.
    """
    rest, sound = list(broken), list(others)
    everything = len(rest)
    rules: list[tuple[Rule, int]] = []
    while rest and len(rules) < 2:
        worth, rule, covered = max(_candidates(g, rest, sound), key=lambda c: c[0], default=(0.0, None, 0))
        if rule is None or worth < 0.5 or covered * 5 < everything:
            break
        rules.append((rule, covered))
        label = {member.domain: ATTRIBUTES[rule.attribute](member) for member in g.members}
        rest = [a for a in rest if not rule.holds(label[a[0]], label[a[1]])]
        if len(rest) * 10 < everything:
            break
    return rules


def _candidates(g: Grid, broken: list[Address], others: list[Address]) -> Iterable[tuple[float, Rule, int]]:
    for attribute, name in ATTRIBUTES.items():
        label = {member.domain: name(member) for member in g.members}
        values = list(dict.fromkeys(label.values()))
        if len(values) < 2:
            continue
        bad = Counter((label[a], label[b]) for a, b, _ in broken)
        good = Counter((label[a], label[b]) for a, b, _ in others)
        rules = [Rule(attribute, v, None, False) for v in values]
        rules += [Rule(attribute, None, v, True) for v in values] + [Rule(attribute, v, None, True) for v in values]
        rules += [Rule(attribute, v, w, False) for i, v in enumerate(values) for w in values[i + 1 :]]
        rules += [Rule(attribute, *pair, True) for pair in bad]
        for rule in rules:
            covered = sum(n for pair, n in bad.items() if rule.holds(*pair))
            spared = sum(n for pair, n in good.items() if rule.holds(*pair))
            if covered:
                yield 2 * covered / (covered + spared + len(broken)), rule, covered


# --- the paragraph ----------------------------------------------------------------------------------------------------


def paragraph(verdicts: Verdicts) -> str:
    """One paragraph for somebody who runs a server and knows little of the protocol: what was tried and what came of it."""
    g = grid(verdicts)
    if not g.members or not g.phases or not g.addresses:
        return "Nothing was measured: the run has " + ("no server." if not g.members else "no pair of servers to try.")
    sentences = [_attempts(g), *_deliveries(g)]
    if len(g.phases) > 1:
        sentences += _cutover(g)
    else:
        broken = _broken(g, g.phases[0])
        sentences += _why(g, g.phases[0], broken, "failure")
    sentences += _reserve(g)
    if not verdicts.get("complete", False):
        missing = sum(s is State.MISSING for phase in g.phases for _, s in g.states(phase))
        gone = f": {words.count(missing, 'result')} {'is' if missing == 1 else 'are'} missing" if missing else ""
        sentences.append(f"The run was cut short{gone}, so this is not the whole picture.")
    return " ".join(sentences)


def _noun(g: Grid) -> str:
    return "pair" if len(g.exchanges) == 1 else "attempt"


def _attempts(g: Grid) -> str:
    pairs, n = len({address[:2] for address in g.addresses}), len(g.members)
    complete = pairs == n * (n - 1)
    if n == 2 and complete:
        who = "Both servers wrote to each other, which makes 2 ordered pairs"
    elif complete:
        who = f"Each of {n:,} servers wrote to every other, which makes {words.count(pairs, 'ordered pair')}"
    else:
        who = f"{words.count(n, 'server')} wrote to each other in {words.count(pairs, 'ordered pair')}"
    phases = "one phase" if len(g.phases) == 1 else f"{len(g.phases)} phases"
    kinds = "" if len(g.exchanges) == 1 else f" of {len(g.exchanges)} attempts each ({words.listing(g.exchanges)})"
    return f"{who}{kinds}, in {phases}."


def _deliveries(g: Grid) -> list[str]:
    shown = list(g.phases) if len(g.phases) <= 4 else [g.phases[0], g.phases[-1]]
    noun, parts = _noun(g), []
    for phase in shown:
        states = Counter(s for _, s in g.states(phase))
        delivered, clear = _delivered(states), states[State.CLEARTEXT]
        # What could not be judged counts neither as a success nor as a failure, so it is not in the whole either.
        unknown = sum(n for s, n in states.items() if KINDS[s] is Kind.UNKNOWN)
        judged = states.total() - unknown
        if judged == 0:
            parts.append(f"in '{phase}' no {noun} could be judged")
            continue
        part = f"in '{phase}' {words.share(delivered, judged, '' if parts else noun)} got through"
        if clear and clear == delivered:
            part += ", all of them in cleartext" if clear > 1 else ", in cleartext"
        elif clear:
            part += f", {words.number(clear)} of them in cleartext"
        elif delivered and not states[State.UNSEEN]:
            part += ", none in cleartext" if delivered > 1 else ", and not in cleartext"
        parts.append(part + (f" ({words.number(unknown)} could not be judged)" if unknown else ""))
    sentences = ["; ".join(parts) + "."]
    if len(shown) < len(g.phases):
        sentences.append(f"The {words.count(len(g.phases) - 2, 'phase')} between are in the tables.")
    return [s[0].upper() + s[1:] for s in sentences]


def _cutover(g: Grid) -> list[str]:
    first, last, noun = g.phases[0], g.phases[-1], _noun(g)
    by_address = changes(g, first, last)
    n = Counter(by_address.values())
    broken = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
    parts = [f"{words.count(len(broken), noun)} that worked before stopped working"] if broken else []
    for change, text in (
        (Change.SECURED, "went from cleartext to encryption"),
        (Change.RESTORED, "that failed before got through"),
        (Change.STILL_IN_CLEARTEXT, "stayed in cleartext"),
        (Change.WEAKENED, "fell from encryption back to cleartext"),
        (Change.BROKEN_BEFORE_AND_AFTER, "failed in both"),
    ):
        if n[change]:
            parts.append(f"{words.number(n[change])} {text}" if parts else f"{words.count(n[change], noun)} {text}")
    lead = f"From '{first}' to '{last}'"
    if n[Change.CANNOT_SAY] == n.total():
        return [f"{lead} nothing can be compared."]
    sentences = []
    if not broken:
        sentences.append(f"{lead} nothing that worked before stopped working" + (f"; {words.listing(parts)}." if parts else "."))
    else:
        sentences.append(f"{lead}, {words.listing(parts)}.")
    if 2 < len(g.phases) <= 5:
        sentences.append(_steps(g))
    if broken:
        # Only what had worked and still works can speak against a rule.
        broke = (Change.NEWLY_BROKEN, Change.BROKEN_BEFORE_AND_AFTER, Change.RESTORED, Change.CANNOT_SAY)
        others = [address for address, change in by_address.items() if change not in broke]
        sentences += _why(g, last, broken, "new failure", others)
    else:
        sentences += _why(g, last, _broken(g, last), "failure")
    return sentences


def _steps(g: Grid) -> str:
    parts = []
    for before, after in zip(g.phases, g.phases[1:], strict=False):
        n = Counter(changes(g, before, after).values())
        broke, repaired = n[Change.NEWLY_BROKEN], n[Change.RESTORED]
        did = [f"broke {broke:,}"] * bool(broke) + [f"fixed {repaired:,}"] * bool(repaired)
        parts.append(f"'{before}' to '{after}' {words.listing(did) or 'neither broke nor fixed any'}")
    return f"Step by step: {'; '.join(parts)}."


def _why(g: Grid, phase: str, broken: list[Address], noun: str, others: list[Address] | None = None) -> list[str]:
    if not broken:
        return []
    if others is None:
        broken_set = set(broken)
        others = [a for a, s in g.states(phase) if a not in broken_set and KINDS[s] is not Kind.UNKNOWN]
    rows = _causes(broken, g, phase)
    if len(broken) == 1:
        sentences = [f"The one {noun} is because {rows[0]['words']}."]
    elif len(rows) == 1:
        sentences = [f"All {len(broken):,} {noun}s are because {rows[0]['words']}."]
    else:
        shown = [f"{row['words']} ({row['count']:,})" for row in rows[:3]]
        rest = sum(row["count"] for row in rows[3:])
        if rest:
            shown.append(f"other reasons ({rest:,})")
        sentences = [f"Why the {noun}s: {'; '.join(shown)}."]
    if len(broken) > 1:
        sentences += _whom(g, broken, others)
    faults: Counter[str] = Counter()
    for row in rows:
        faults.update(row["fault"])
    known = [(f, k) for f, k in faults.most_common() if f in words.FAULTS]
    if len(broken) == 1 and known:
        sentences.append(f"Fix at: {words.fault(known[0][0])}.")
    elif known:
        each = [f"{words.fault(f)} ({'all' if k == len(broken) else format(k, ',')})" for f, k in known]
        sentences.append(f"Fix at: {words.listing(each)}.")
    return sentences


def _whom(g: Grid, broken: list[Address], others: list[Address]) -> list[str]:
    rules = explain(g, broken, others) if others else []
    if not rules:
        return ["They are spread over all groups of servers."] if len(broken) > 10 and others else []
    parts = []
    for place, (rule, covered) in enumerate(rules):
        total = len(broken) if place == 0 else len(broken) - rules[0][1]
        who = "All" if covered == total else f"{covered:,}"
        of = "of them are" if place == 0 else f"of the other {total:,} are"
        parts.append(f"{who} {of} {rule.text()}" if covered > 1 else f"1 {of.replace('are', 'is')} {rule.text()}")
    return ["; ".join([parts[0], *(p[0].lower() + p[1:] for p in parts[1:])]) + "."]


def _reserve(g: Grid) -> list[str]:
    """Surprises, and what the testbed could not do or say."""
    states: Counter[State] = Counter()
    surprises = 0
    for phase in g.phases:
        states.update(s for _, s in g.states(phase))
        surprises += sum(bool(cell.get("surprise")) for cell in g.cells[phase].values())
    sentences = []
    if surprises:
        verb = "differs" if surprises == 1 else "differ"
        sentences.append(f"{words.count(surprises, 'result')} {verb} from what the standards predict.")
    if n := states[State.UNSUPPORTED]:
        sentences.append(f"{words.count(n, 'result')} {'is' if n == 1 else 'are'} unsupported: a server lacks the setting.")
    unstable = sum(inconclusive_as(cell.get("cause")) is Inconclusive.FINDING for p in g.phases for cell in g.cells[p].values())
    if unstable:
        verb, counts = ("was", "counts") if unstable == 1 else ("were", "count")
        sentences.append(
            f"{words.count(unstable, 'result')} {verb} not the same every time and {counts} as neither success nor failure."
        )
    if n := states[State.INCONCLUSIVE] - unstable:
        counts = "it counts" if n == 1 else "they count"
        sentences.append(f"In {words.count(n, 'case')} the testbed itself cannot say: {counts} as neither success nor failure.")
    if n := states[State.UNSEEN]:
        what = words.count(n, "delivery", "deliveries")
        sentences.append(f"{what} left no trace on the wire that would show the encryption.")
    return sentences or ["Nothing was surprising and nothing was left undecided."]


# --- the file ---------------------------------------------------------------------------------------------------------


def render_json(verdicts: Verdicts) -> str:
    """``summary.json``."""
    return json.dumps(summary(verdicts), indent=2, ensure_ascii=False) + "\n"


RENDERS = {"summary.json": render_json}

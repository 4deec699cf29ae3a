"""A run in one paragraph for people: what was tried, what came of it, between whom it failed, and why.

Rule: a pure function of ``verdicts.json``. A failure is laid to a group of servers only by a rule that covers most of what
failed and little of what did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testbed.causes import Inconclusive, inconclusive_as
from testbed.record.verdicts import Verdicts, unexplained
from testbed.report import busy, failed, unfinished, words
from testbed.report.cell import left_open
from testbed.report.changes import Change, broken, causes, changes, doubtful
from testbed.report.grid import ARROW, KINDS, Address, Grid, Kind, Member, State, grid, judged

# --- between whom -----------------------------------------------------------------------------------------------------

Label = Callable[[Member], str]

ATTRIBUTES: dict[str, Label] = {
    "policy": lambda m: m.policy(-1),
    "certificate": lambda m: m.certificate(-1),
    "implementation": lambda m: m.implementation,
}
"""What a group of servers may have in common. The first that explains a failure as well as any other is the one named."""


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


def explain(matrix: Grid, failures: Iterable[Address], others: Iterable[Address]) -> list[tuple[Rule, int]]:
    """At most two rules that between them account for most of ``failures`` and for few of ``others``; with what each covers.

    An empty list says that no group of servers stands out. A rule's worth is the harmonic mean of how much of ``failures``
    it covers and how much of what it covers failed, so neither "everything" nor "this one pair" is ever the answer.
    """
    rest, sound = list(failures), list(others)
    everything = len(rest)
    rules: list[tuple[Rule, int]] = []
    while rest and len(rules) < 2:
        worth, rule, covered = max(_candidates(matrix, rest, sound), key=lambda c: c[0], default=(0.0, None, 0))
        if rule is None or worth < 0.5 or covered * 5 < everything:
            break
        rules.append((rule, covered))
        label = {member.domain: ATTRIBUTES[rule.attribute](member) for member in matrix.members}
        rest = [a for a in rest if not rule.holds(label[a[0]], label[a[1]])]
        if len(rest) * 10 < everything:
            break
    return rules


def _candidates(matrix: Grid, failures: list[Address], others: list[Address]) -> Iterable[tuple[float, Rule, int]]:
    for attribute, name in ATTRIBUTES.items():
        label = {member.domain: name(member) for member in matrix.members}
        values = list(dict.fromkeys(label.values()))
        if len(values) < 2:
            continue
        bad = Counter((label[a], label[b]) for a, b, _ in failures)
        good = Counter((label[a], label[b]) for a, b, _ in others)
        rules = [Rule(attribute, v, None, False) for v in values]
        rules += [Rule(attribute, None, v, True) for v in values] + [Rule(attribute, v, None, True) for v in values]
        rules += [Rule(attribute, v, w, False) for i, v in enumerate(values) for w in values[i + 1 :]]
        rules += [Rule(attribute, *pair, True) for pair in bad]
        for rule in rules:
            covered = sum(n for pair, n in bad.items() if rule.holds(*pair))
            spared = sum(n for pair, n in good.items() if rule.holds(*pair))
            if covered:
                yield 2 * covered / (covered + spared + len(failures)), rule, covered


# --- the sentences ----------------------------------------------------------------------------------------------------


def paragraph(verdicts: Verdicts, *, busy_told: bool = False) -> str:
    """One paragraph for somebody who runs a server and knows little of the protocol: what was tried and what came of it.

    ``busy_told``: what a busy machine left undecided stands above it, as what is to be read first.
    """
    matrix = grid(verdicts)
    if not matrix.members or not matrix.phases or not matrix.addresses:
        return "Nothing was measured: the run has " + ("no server." if not matrix.members else "no pair of servers to try.")
    sentences = [*failed.sentences(verdicts.get("failed_servers") or []), _attempts(matrix), *_deliveries(matrix)]
    if len(matrix.phases) > 1:
        sentences += _cutover(matrix)
    else:
        sentences += _why(matrix, matrix.phases[0], broken(matrix, matrix.phases[0]), "failure")
    sentences += left_open(verdicts["cells"])
    sentences += busy.made_again(verdicts)
    undecided, reserve = busy.sentences(verdicts), _reserve(matrix)
    sentences += [] if busy_told else undecided
    calm = ["Nothing was surprising and nothing was left undecided."]
    sentences += reserve or ([] if undecided or verdicts.get("failed_servers") else calm)
    if not verdicts.get("complete", False):
        missing = sum(s is State.MISSING for phase in matrix.phases for _, s in matrix.states(phase))
        gone = f": {words.count(missing, 'result')} {'is' if missing == 1 else 'are'} missing" if missing else ""
        sentences.append(f"The run was cut short{gone}, so this is not the whole picture. {unfinished.resume(verdicts)}")
    return " ".join(sentences)


def _noun(matrix: Grid) -> str:
    return "pair" if len(matrix.exchanges) == 1 else "attempt"


def _attempts(matrix: Grid) -> str:
    pairs, n = len({address[:2] for address in matrix.addresses}), len(matrix.members)
    complete = pairs == n * (n - 1)
    if n == 2 and complete:
        who = "Both servers wrote to each other, which makes 2 ordered pairs"
    elif complete:
        who = f"Each of {n:,} servers wrote to every other, which makes {words.count(pairs, 'ordered pair')}"
    else:
        who = f"{words.count(n, 'server')} wrote to each other in {words.count(pairs, 'ordered pair')}"
    phases = "one phase" if len(matrix.phases) == 1 else f"{len(matrix.phases)} phases"
    kinds = "" if len(matrix.exchanges) == 1 else f" of {len(matrix.exchanges)} attempts each ({words.listing(matrix.exchanges)})"
    return f"{who}{kinds}, in {phases}."


def _deliveries(matrix: Grid) -> list[str]:
    shown = list(matrix.phases) if len(matrix.phases) <= 4 else [matrix.phases[0], matrix.phases[-1]]
    noun, parts = _noun(matrix), []
    for phase in shown:
        states = Counter(s for _, s in matrix.states(phase))
        # What could not be judged counts neither as a success nor as a failure, so it is not in the whole either.
        (delivered, known), clear = judged(states), states[State.CLEARTEXT]
        unknown = states.total() - known
        if known == 0:
            parts.append(f"in '{phase}' no {noun} could be judged")
            continue
        part = f"in '{phase}' {words.share(delivered, known, '' if parts else noun)} got through"
        if clear and clear == delivered:
            part += ", all of them in cleartext" if clear > 1 else ", in cleartext"
        elif clear:
            part += f", {words.number(clear)} of them in cleartext"
        elif delivered and not states[State.UNSEEN]:
            part += ", none in cleartext" if delivered > 1 else ", and not in cleartext"
        parts.append(part + (f" ({words.number(unknown)} could not be judged)" if unknown else ""))
    sentences = ["; ".join(parts) + "."]
    if len(shown) < len(matrix.phases):
        sentences.append(f"The {words.count(len(matrix.phases) - 2, 'phase')} between are in the tables.")
    return [s[0].upper() + s[1:] for s in sentences]


def _cutover(matrix: Grid) -> list[str]:
    first, last, noun = matrix.phases[0], matrix.phases[-1], _noun(matrix)
    by_address = changes(matrix, first, last)
    n = Counter(by_address.values())
    failures = [address for address, change in by_address.items() if change is Change.NEWLY_BROKEN]
    unknown = len(doubtful(matrix, by_address))
    least = "at least " if unknown else ""
    parts = [f"{least}{words.count(len(failures), noun)} that worked before stopped working"] if failures else []
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
    if not failures:
        sentences.append(f"{lead} nothing that worked before stopped working" + (f"; {words.listing(parts)}." if parts else "."))
    else:
        sentences.append(f"{lead}, {words.listing(parts)}.")
    if unknown:
        rest = f"{unknown:,}{' more' if failures else ''} that worked before still {'works' if unknown == 1 else 'work'}"
        sentences.append(f"Whether {rest} is not known.")
    if 2 < len(matrix.phases) <= 5:
        sentences.append(_steps(matrix))
    if failures:
        # Only what had worked and still works can speak against a rule.
        broke = (Change.NEWLY_BROKEN, Change.BROKEN_BEFORE_AND_AFTER, Change.RESTORED, Change.CANNOT_SAY)
        others = [address for address, change in by_address.items() if change not in broke]
        sentences += _why(matrix, last, failures, "new failure", others)
    else:
        sentences += _why(matrix, last, broken(matrix, last), "failure")
    return sentences


def _steps(matrix: Grid) -> str:
    parts = []
    for before, after in zip(matrix.phases, matrix.phases[1:], strict=False):
        n = Counter(changes(matrix, before, after).values())
        broke, repaired = n[Change.NEWLY_BROKEN], n[Change.RESTORED]
        did = [f"broke {broke:,}"] * bool(broke) + [f"fixed {repaired:,}"] * bool(repaired)
        parts.append(f"'{before}' to '{after}' {words.listing(did) or 'neither broke nor fixed any'}")
    return f"Step by step: {'; '.join(parts)}."


def _why(matrix: Grid, phase: str, failures: list[Address], noun: str, others: list[Address] | None = None) -> list[str]:
    if not failures:
        return []
    if others is None:
        failing = set(failures)
        others = [a for a, s in matrix.states(phase) if a not in failing and KINDS[s] is not Kind.UNKNOWN]
    rows = causes(matrix, phase, only=failures)
    if len(failures) == 1:
        sentences = [f"The one {noun} is because {rows[0]['words']}."]
    elif len(rows) == 1:
        sentences = [f"All {len(failures):,} {noun}s are because {rows[0]['words']}."]
    else:
        shown = [f"{row['words']} ({row['count']:,})" for row in rows[:3]]
        rest = sum(row["count"] for row in rows[3:])
        if rest:
            shown.append(f"other reasons ({rest:,})")
        sentences = [f"Why the {noun}s: {'; '.join(shown)}."]
    if len(failures) > 1:
        sentences += _whom(matrix, failures, others)
    faults: Counter[str] = Counter()
    for row in rows:
        faults.update(row["fault"])
    known = [(f, k) for f, k in faults.most_common() if f in words.FAULTS]
    if len(failures) == 1 and known:
        sentences.append(f"Fix at: {words.fault(known[0][0])}.")
    elif known:
        each = [f"{words.fault(f)} ({'all' if k == len(failures) else format(k, ',')})" for f, k in known]
        sentences.append(f"Fix at: {words.listing(each)}.")
    return sentences


def _whom(matrix: Grid, failures: list[Address], others: list[Address]) -> list[str]:
    rules = explain(matrix, failures, others) if others else []
    if not rules:
        return ["They are spread over all groups of servers."] if len(failures) > 10 and others else []
    parts = []
    for place, (rule, covered) in enumerate(rules):
        total = len(failures) if place == 0 else len(failures) - rules[0][1]
        who = "All" if covered == total else f"{covered:,}"
        of = "of them are" if place == 0 else f"of the other {total:,} are"
        parts.append(f"{who} {of} {rule.text()}" if covered > 1 else f"1 {of.replace('are', 'is')} {rule.text()}")
    return ["; ".join([parts[0], *(p[0].lower() + p[1:] for p in parts[1:])]) + "."]


def _reserve(matrix: Grid) -> list[str]:
    """Surprises, and what the testbed could not do or say."""
    states: Counter[State] = Counter()
    surprises = 0
    for phase in matrix.phases:
        states.update(s for _, s in matrix.states(phase))
        surprises += sum(bool(cell.get("surprise")) for cell in matrix.cells[phase].values())
    sentences = []
    if surprises:
        verb = "differs" if surprises == 1 else "differ"
        sentences.append(f"{words.count(surprises, 'result')} {verb} from what the standards predict.")
    if n := states[State.UNSUPPORTED]:
        sentences.append(f"{words.count(n, 'result')} {'is' if n == 1 else 'are'} unsupported: a server lacks the setting.")
    unstable = sum(
        inconclusive_as(cell.get("cause")) is Inconclusive.FINDING for p in matrix.phases for cell in matrix.cells[p].values()
    )
    if unstable:
        verb, counts = ("was", "counts") if unstable == 1 else ("were", "count")
        sentences.append(
            f"{words.count(unstable, 'result')} {verb} not the same every time and {counts} as neither success nor failure."
        )
    cells = [cell for phase in matrix.phases for cell in matrix.cells[phase].values()]
    sentences += unfinished.count_cut_off(cells)
    if n := states[State.INCONCLUSIVE] - unstable - sum(unfinished.cut_off(c) or busy.is_busy(c) for c in cells):
        counts = "it counts" if n == 1 else "they count"
        sentences.append(f"In {words.count(n, 'case')} the testbed itself cannot say: {counts} as neither success nor failure.")
    sentences += unfinished.unseen_sentences(cells)
    if n := sum(unexplained(cell) for phase in matrix.phases for cell in matrix.cells[phase].values()):
        sentences.append(f"Why {words.count(n, 'result')} failed cannot be said: evidence of it was not read.")
    return sentences

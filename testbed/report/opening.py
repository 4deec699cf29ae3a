"""The opening of the page: the run in plain words, for a reader who knows no XMPP; what would fix most; what makes it doubtful.

Rule: pure functions of the verdicts; sentences end here, markup begins elsewhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.causes import Group, Inconclusive, group_of, inconclusive_as
from testbed.judge.explain import fix
from testbed.model import Outcome
from testbed.record.verdicts import CellEntry, Verdicts
from testbed.report import busy, failed, unfinished, words
from testbed.report.cell import left_open, undecided_remedy
from testbed.report.changes import Change, causes, changes, doubtful
from testbed.report.circumstances import HISTORY, INTERFERENCE
from testbed.report.grid import ARROW, KINDS, Address, Grid, Kind, State, grid, judged, state
from testbed.report.interruptions import parts
from testbed.report.unfinished import resume


def split_explanation(cell: CellEntry) -> tuple[str, str]:
    """A cell's explanation as what happened, and how to fix it (``fix at the receiver, …: do this``), empty if that is not known.

    Verdicts that were judged before cells had the key ``remedies`` have both in one sentence: then that is what happened.
    """
    remedies = cell.get("remedies")
    if remedies is None:
        return str(cell.get("explanation") or ""), ""
    return str(cell.get("reason")), fix(remedies, cell.get("fault")) or undecided_remedy(cell)


@dataclass(frozen=True)
class Point:
    """One sentence or two of the opening, with its heading."""

    heading: str
    text: str


@dataclass(frozen=True)
class Opening:
    """What somebody reads who reads nothing else."""

    headline: str
    paragraph: str
    points: tuple[Point, ...]
    alarms: tuple[str, ...]
    """What makes the rest doubtful. Shown first."""


def opening(verdicts: Verdicts) -> Opening:
    """The run in plain words, for a reader who knows no XMPP."""
    matrix = grid(verdicts)
    alarms = tuple(_alarms(matrix, verdicts))
    if not matrix.members or not matrix.phases or not matrix.addresses:
        return Opening("Nothing was measured", "The run has no pair of servers to try.", (), alarms)
    first, last = matrix.phases[0], matrix.phases[-1]
    by_address = changes(matrix, first, last) if len(matrix.phases) > 1 else {}
    if by_address:
        broken = [a for a, change in by_address.items() if change is Change.NEWLY_BROKEN]
    else:
        broken = [a for a, s in matrix.states(last) if KINDS[s] is Kind.BROKEN]
    sentences = [_attempts(matrix), _deliveries(matrix, first)]
    if by_address:
        sentences += [_settings(matrix), _deliveries(matrix, last), _comparison(matrix, by_address)]
    why = _why(matrix, last, broken, "broke" if by_address else "failed")
    points = (*_legs(verdicts), *_own_servers(matrix, by_address), *why, *_mend(matrix, last, broken), *_doubts(matrix))
    return Opening(_headline(matrix, by_address, broken), " ".join(filter(None, sentences)), points, alarms)


def _legs(verdicts: Verdicts) -> list[Point]:
    """That the run was resumed: its parts were not measured at one time."""
    measured = parts(verdicts)
    return [Point("Resumed run", f"Measured {measured}.")] if measured else []


def _noun(matrix: Grid) -> str:
    return "pair" if len(matrix.exchanges) == 1 else "attempt"


def _counts(matrix: Grid, phase: str) -> tuple[int, int, int]:
    """Delivered, judged, in cleartext."""
    states = Counter(s for _, s in matrix.states(phase))
    return *judged(states), states[State.CLEARTEXT]


def _headline(matrix: Grid, by_address: Mapping[Address, Change], broken: list[Address]) -> str:
    noun, last = _noun(matrix), matrix.phases[-1]
    delivered, known, _ = _counts(matrix, last)
    if not by_address:
        if delivered == known:
            whole = "" if known == len(matrix.addresses) else " that could be judged"
            return (
                f"All {words.count(known, noun)} of servers{whole} can talk" if known else f"No {noun} of servers could be judged"
            )
        return (
            f"{delivered:,} of {words.count(known, noun)} of servers can talk" if delivered else f"No {noun} of servers can talk"
        )
    worked = _counts(matrix, matrix.phases[0])[0]
    if all(change is Change.CANNOT_SAY for change in by_address.values()):
        return "The phases cannot be compared: the testbed cannot say"
    if not broken:
        unsure = Change.CANNOT_SAY in by_address.values()
        return "Nothing that worked is known to have stopped working" if unsure else "Nothing that worked stopped working"
    unknown = len(doubtful(matrix, by_address))
    if worked == 1:
        return f"The one {noun} that could talk stops talking"
    if unknown:
        stop = "stops" if len(broken) == 1 else "stop"
        rest = f"{unknown:,} more {'is' if unknown == 1 else 'are'} unknown"
        return f"At least {len(broken):,} of the {worked:,} {noun}s that could talk {stop} talking; {rest}"
    which = f"All {worked:,} {noun}s" if len(broken) == worked else f"{len(broken):,} of the {worked:,} {noun}s"
    return f"{which} that could talk {'stops' if len(broken) == 1 else 'stop'} talking"


def _attempts(matrix: Grid) -> str:
    software = {m.implementation.split("@")[0] for m in matrix.members}
    releases = {m.implementation for m in matrix.members}
    pairs = len({address[:2] for address in matrix.addresses})
    what = "one chat message" if matrix.exchanges == ("message",) else f"{words.listing(matrix.exchanges)}"
    kinds = words.count(len(software), "server program") + (
        f" in {len(releases)} releases" if len(releases) > len(software) else ""
    )
    phases = "" if len(matrix.phases) == 1 else f", once in each of {len(matrix.phases)} phases"
    return (
        f"{words.count(len(matrix.members), 'chat server')} ({kinds}, set up in different ways) wrote to each other: "
        f"{what} from each to each, so {words.count(pairs, 'ordered pair')}{phases}."
    )


def _deliveries(matrix: Grid, phase: str) -> str:
    delivered, known, clear = _counts(matrix, phase)
    if not known:
        return f"In '{phase}' no {_noun(matrix)} could be judged."
    text = f"In '{phase}' {words.share(delivered, known, _noun(matrix))} got through"
    if clear and delivered:
        text += f", {'all' if clear == delivered else format(clear, ',')} of them readable by anyone on the way (in cleartext)"
    return text + "."


def _settings(matrix: Grid) -> str:
    moves: Counter[tuple[str, str]] = Counter()
    for m in matrix.members:
        if m.policies[0] != m.policies[-1]:
            moves["setting", m.policy(-1)] += 1
        if m.certificates[0] != m.certificates[-1]:
            moves["certificate", m.certificate(-1)] += 1
    if not moves:
        return "No server's settings differ between the first phase and the last."
    parts = []
    for (what, move), n in moves.most_common(4):
        before, _, after = move.partition(ARROW)
        verb = "went" if what == "setting" else "changed its certificate" if n == 1 else "changed their certificates"
        parts.append(f"{words.count(n, 'server')} {verb} from '{before}' to '{after}'")
    rest = len(moves) - len(parts)
    if rest:
        parts.append(f"there were {words.count(rest, 'other kind')} of change".replace("were 1", "was 1"))
    return words.listing(parts)[0].upper() + words.listing(parts)[1:] + "; the others stayed as they were."


def _comparison(matrix: Grid, by_address: Mapping[Address, Change]) -> str:
    n = Counter(by_address.values())
    parts = []
    for change, singular, plural in (
        (Change.NEWLY_BROKEN, "is newly broken", "are newly broken"),
        (Change.BROKEN_BEFORE_AND_AFTER, "was broken already", "were broken already"),
        (Change.RESTORED, "is fixed", "are fixed"),
        (Change.SECURED, "is newly encrypted", "are newly encrypted"),
        (Change.STILL_IN_CLEARTEXT, "is still in cleartext", "are still in cleartext"),
        (Change.WEAKENED, "fell back to cleartext", "fell back to cleartext"),
        (Change.CANNOT_SAY, "cannot be compared", "cannot be compared"),
    ):
        if n[change]:
            parts.append(f"{n[change]:,} {singular if n[change] == 1 else plural}")
    return f"Compared with '{matrix.phases[0]}', {words.listing(parts)}." if parts else "No pair changed."


def _own_servers(matrix: Grid, by_address: Mapping[Address, Change]) -> list[Point]:
    """How the user's own servers fared."""
    own = {m.domain for m in matrix.members if m.mine}
    last = matrix.phases[-1]
    states = Counter(s for a, s in matrix.states(last) if own & set(a[:2]))
    if not states:
        return []
    share = words.share(*judged(states), _noun(matrix))
    text = f"In '{last}' {share} with {'it' if len(own) == 1 else 'them'} got through"
    if broke := sum(change is Change.NEWLY_BROKEN for a, change in by_address.items() if own & set(a[:2])):
        text += f"; {broke:,} {'is' if broke == 1 else 'are'} newly broken"
    return [Point(f"Your {words.count(len(own), 'server') if len(own) > 1 else 'server'}", text + ".")]


def _why(matrix: Grid, phase: str, broken: list[Address], verb: str) -> list[Point]:
    if not broken:
        return []
    rows = causes(matrix, phase, only=broken)
    shown = [f"{row['words']} ({row['count']:,})" for row in rows[:3]]
    if rest := sum(row["count"] for row in rows[3:]):
        shown.append(f"other reasons ({rest:,})")
    text = "; ".join(shown)
    return [Point(f"Why they {verb}", text[0].upper() + text[1:] + ".")]


def _mend(matrix: Grid, phase: str, broken: list[Address]) -> list[Point]:
    if not broken:
        return []
    wanted = {(phase, *address) for address in broken}
    groups = sorted(((len(wanted & set(m.cells)), m) for m in mends(matrix)), key=lambda pair: -pair[0])
    groups = [(n, m) for n, m in groups if n]
    if not groups:
        return [
            Point(
                "What would fix most",
                "No single change: in each case both sides are within the standards, or the reason is not known.",
            )
        ]
    n, best = groups[0]
    domains = {d for p, a, b, x in best.cells if (p, a, b, x) in wanted for d in (a, b) if d in best.domains}
    who = words.count(len(domains), "server")
    setting = f"set to '{best.label}'" if best.attribute == "policy" else f"with the certificate '{best.label}'"
    text = f"Changing the {who} {setting} fixes {words.share(n, len(broken))}"
    if best.remedies:
        text += f". For example, {best.remedies[0]}"
    if len(groups) > 1:
        n2, second = groups[1]
        text += f". Next: those {'set to' if second.attribute == 'policy' else 'with the certificate'} '{second.label}' ({n2:,})"
    if rest := len(broken) - sum(n for n, _ in groups):
        text += f". {rest:,} more cannot be fixed from one side"
    return [Point("What would fix most", text.rstrip(".") + ".")]


def _doubts(matrix: Grid) -> list[Point]:
    recorded = [cell for phase in matrix.phases for cell in matrix.cells[phase].values()]
    single = sum(bool(c.get("surprise")) and c.get("confirmed") is False for c in recorded)
    unconfirmed = f" ({single:,} of them not confirmed)" if single else ""
    counts = (
        (sum(bool(c.get("surprise")) for c in recorded), f"differ from what the standards predict{unconfirmed}"),
        (sum(bool(c.get("history_dependent")) for c in recorded), HISTORY.plural),
        (sum(bool(c.get("interference")) for c in recorded), INTERFERENCE.plural),
        (sum(c["outcome"] == Outcome.UNSUPPORTED.value for c in recorded), "are unsupported: a server lacks the setting"),
    )
    parts = [f"{n:,} {text}" for n, text in counts if n]
    note = [Point("Note", f"Of {words.count(len(recorded), 'result')}, {words.listing(parts)}.")] if parts else []
    return note + [Point("Left open", sentence) for sentence in left_open(recorded)]


def _alarms(matrix: Grid, verdicts: Verdicts) -> Iterable[str]:
    yield from failed.sentences(verdicts.get("failed_servers") or [])
    yield from unfinished.after_failure(verdicts)
    if not verdicts.get("complete", False):
        missing = sum(s is State.MISSING for phase in matrix.phases for _, s in matrix.states(phase))
        gone = f" {words.count(missing, 'result')} {'is' if missing == 1 else 'are'} missing." if missing else ""
        yield f"The run was cut short: its record has no closing line.{gone} This is not the whole picture. {resume(verdicts)}"
    for control in verdicts.get("controls") or []:
        if not control.get("ok"):
            reason = f": {text}" if (text := control.get("reason")) else ""
            yield (
                f"A control failed ({control.get('when')} in '{control.get('phase')}'): "
                f"{words.CONTROL_FAILED}{reason}. Do not trust this phase."
            )
    inconclusive = [c for p in matrix.phases for c in matrix.cells[p].values() if state(c) is State.INCONCLUSIVE]
    if unstable := [c for c in inconclusive if inconclusive_as(c.get("cause")) is Inconclusive.FINDING]:
        n = len(unstable)
        mesh = sum(not c.get("shares") for c in unstable)
        where = f" ({mesh:,} of them not measured alone: the option --confirm allows it)" if mesh else ""
        yield (
            f"{words.count(n, 'result')} {'was' if n == 1 else 'were'} not the same every time{where}: "
            f"{'it counts' if n == 1 else 'they count'} neither as a success nor as a failure."
        )
        inconclusive = [c for c in inconclusive if c not in unstable]
    yield from unfinished.count_cut_off(inconclusive)
    yield from busy.sentences(verdicts)
    if inconclusive := [c for c in inconclusive if not unfinished.cut_off(c) and not busy.is_busy(c)]:
        n = len(inconclusive)
        why = Counter(words.cause(c.get("cause")) for c in inconclusive).most_common(1)[0][0]
        mostly = "because" if n == 1 else "mostly because"
        yield (
            f"In {words.count(n, 'case')} the testbed itself cannot say what happened ({mostly} {why}). "
            f"{'It counts' if n == 1 else 'They count'} neither as a success nor as a failure."
        )
    yield from unfinished.unseen_sentences([c for p in matrix.phases for c in matrix.cells[p].values()])


# --- what would fix most -----------------------------------------------------------------------------------------------


@dataclass
class Mend:
    """Failures that one kind of change would fix: of servers with this policy, or with this certificate."""

    attribute: str
    label: str
    cells: list[tuple[str, str, str, str]]
    """Phase and address."""
    domains: list[str]
    remedies: list[str]

    def to_json(self, places: Mapping[str, int]) -> dict[str, Any]:
        """For the page: servers as their places."""
        return {
            "attribute": self.attribute,
            "label": self.label,
            "servers": sorted(places[d] for d in self.domains if d in places),
            "remedies": self.remedies,
        }


def mends(matrix: Grid) -> list[Mend]:
    """Groups of failures by what the party at fault is set to, the largest first; each failure is in at most one group."""
    place = {name: n for n, name in enumerate(matrix.phases)}
    member_of = {member.domain: member for member in matrix.members}
    groups: dict[tuple[str, str], Mend] = {}
    remedies: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for phase in matrix.phases:
        for address, cell in matrix.cells[phase].items():
            if KINDS[state(cell)] is not Kind.BROKEN:
                continue
            at_fault = {"sender": [address[0]], "receiver": [address[1]], "both": list(address[:2])}.get(
                cell.get("fault") or "", []
            )
            members = [member_of[d] for d in at_fault if d in member_of]
            if not members:
                continue
            attribute = "certificate" if group_of(cell.get("cause")) is Group.CERTIFICATE else "policy"
            settings = [(m.certificates if attribute == "certificate" else m.policies)[place[phase]] for m in members]
            key = (attribute, " and ".join(dict.fromkeys(settings)))
            group = groups.setdefault(key, Mend(*key, [], [], []))
            group.cells.append((phase, *address))
            group.domains += [m.domain for m in members if m.domain not in group.domains]
            remedies[key].update(words.advice(remedy) for remedy in cell.get("remedies", ()))
    for key, group in groups.items():
        group.remedies = [text for text, _ in remedies[key].most_common()]
    return sorted(groups.values(), key=lambda group: -len(group.cells))


# --- settings ------------------------------------------------------------------------------------------


def meaning(dimensions: Mapping[str, Any]) -> str:
    """A policy's dimensions in plain words; those that demand nothing are left out."""
    encryption = {
        "none": "no encryption at all",
        "offered": "encrypts if the other side can",
        "required": "demands encryption",
    }
    parts = [encryption[dimensions["encryption"]]] if dimensions.get("encryption") in encryption else []
    proofs = list(dimensions.get("authentication") or [])
    if proofs == ["dialback"]:
        parts.append("checks the caller through DNS (dialback)")
    elif proofs == ["external"]:
        parts.append("demands a certificate that verifies")
    elif proofs:
        parts.append("accepts a certificate that verifies, else checks the caller through DNS (dialback)")
    for key, text in (("tls_min", "TLS {} or newer"), ("tls_max", "TLS {} or older")):
        if dimensions.get(key):
            parts.append(text.format(dimensions[key]))
    if dimensions.get("forward_secrecy") == "required":
        parts.append("demands forward secrecy")
    known = {"encryption", "authentication", "tls_min", "tls_max", "forward_secrecy"}
    parts += [f"{k.replace('_', ' ')}: {v}" for k, v in dimensions.items() if k not in known and v is not None]
    return "; ".join(parts)

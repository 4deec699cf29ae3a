"""What the terminal shows: the story of one domain, or a table of many, worst first. Pure functions from facts to text.

Colours come from `report.looks`; every answer is a word too, so that nothing is told by colour alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.causes import VOCABULARY
from testbed.model import TLS_VERSIONS, Policy
from testbed.probe.findings import Finding
from testbed.probe.ladder import Answer, Fate, Judgement
from testbed.probe.seen import Certificate, Names, Offer, Seen, Srv, TargetSeen
from testbed.report.grid import State
from testbed.report.looks import STATES
from testbed.report.words import count, listing, shorten

LABEL = 15
"""Width of the story's left column."""
SHOWN = {Answer.YES: "yes", Answer.NO: "no", Answer.UNKNOWN: "cannot say"}
LOOKS = {
    Answer.YES: STATES[State.TLS_EXTERNAL].sgr,
    Answer.NO: STATES[State.BOUNCED].sgr,
    Answer.UNKNOWN: STATES[State.INCONCLUSIVE].sgr,
}
ORDER = [Answer.NO, Answer.UNKNOWN, Answer.YES]
"""Worst first."""
DEFECTS = {cause.word: cause.short for cause in VOCABULARY if cause.short}


@dataclass(frozen=True)
class Peer:
    """One domain with all that is said of it; the judgement of the policy that was asked about stands apart."""

    seen: Seen
    asked: Judgement
    ladder: Sequence[Judgement]
    findings: Sequence[Finding]


class Page:
    """Lines of at most so many columns, with or without colour."""

    def __init__(self, *, colour: bool, width: int) -> None:
        self.colour, self.width = colour, max(width, 60)
        self.lines: list[str] = []

    def paint(self, text: str, sgr: str) -> str:
        """The text in a colour, if there are any."""
        return f"\x1b[{sgr}m{text}\x1b[0m" if self.colour and text.strip() else text

    def add(self, text: str = "") -> None:
        """One line as it is."""
        self.lines.append(text)

    def fact(self, label: str, text: str, sgr: str = "0") -> None:
        """A label, and text wrapped beside it, in a colour if it is to be seen first."""
        lines = textwrap.wrap(text, self.width - LABEL - 2, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            shown = self.paint(line, sgr) if sgr != "0" else line
            self.add("  " + self.paint(f"{'' if number else label:<{LABEL}}", "2") + shown)

    def render(self) -> str:
        """Everything, ending with a line break."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


# --- one domain -------------------------------------------------------------------------------------------------------


def story(peer: Peer, *, colour: bool, width: int) -> str:
    """Everything that is known of one domain."""
    page = Page(colour=colour, width=width)
    _head(page, peer)
    _where(page, peer.seen)
    for target in peer.seen.targets:
        if len(peer.seen.targets) > 1:
            kind = "direct TLS" if target.target.direct_tls else "STARTTLS"
            judged = ", which the verdict is about" if target is peer.seen.decisive else ""
            page.add()
            page.fact("at", f"{target.target} ({kind}{judged})")
        _target(page, peer.seen, target)
    _ladder(page, peer)
    if peer.findings:
        page.add()
        for number, finding in enumerate(peer.findings):
            page.fact("" if number else "worth knowing", f"{finding.text} ({finding.clause})")
    return page.render()


def _head(page: Page, peer: Peer) -> None:
    name, answer = peer.asked.policy.name, peer.asked.answer
    told = {
        Answer.YES: f"yes: a server set to `{name}` can still talk to it, both ways",
        Answer.NO: f"no: a server set to `{name}` can not talk to it{_ways(peer.asked)}",
        Answer.UNKNOWN: f"cannot say whether a server set to `{name}` can talk to it",
    }
    if len(peer.seen.domain) + 2 + len(told[answer]) <= page.width:
        page.add(page.paint(peer.seen.domain, "1") + "  " + page.paint(told[answer], LOOKS[answer]))
    else:
        page.add(page.paint(shorten(peer.seen.domain, page.width), "1"))
        for line in textwrap.wrap(told[answer], page.width - 2):
            page.add("  " + page.paint(line, LOOKS[answer]))
    page.add()


def _ways(judgement: Judgement) -> str:
    ways = [("to it", judgement.to_it), ("from it", judgement.from_it)]
    failing = [way for way, fate in ways if fate.answer is Answer.NO]
    return f" (what is sent {failing[0]})" if len(failing) == 1 else ", neither way"


def _where(page: Page, seen: Seen) -> None:
    names = seen.names
    parts = [f"{t}{_rank(names, t.priority, t.weight)}{' direct TLS' if t.direct_tls else ''}" for t in names.targets]
    if names.fallback:
        parts.append("no SRV record, so the domain itself (RFC 6120 §3.2.2)")
    if names.problem:
        parts.append(names.problem)
    if names.direct_tls is Srv.NONE and names.targets:
        parts.append("no direct TLS")
    if names.authenticated is not None:
        parts.append("DNSSEC validated by the resolver" if names.authenticated else "not DNSSEC-validated by the resolver")
    tlsa = [f"{t.tlsa} TLSA at {t.target}" for t in seen.targets if t.tlsa]
    page.fact("where", "; ".join(parts + tlsa))
    if seen.left_out:
        page.fact("", f"not asked: {', '.join(map(str, seen.left_out))} (a bound)")
    if seen.problem:
        page.fact("", seen.problem)


def _rank(names: Names, priority: int | None, weight: int | None) -> str:
    return f" (priority {priority}, weight {weight})" if priority is not None and len(names.targets) > 1 else ""


def _target(page: Page, seen: Seen, target: TargetSeen) -> None:
    if not target.connected:
        page.fact("asked", target.problem or "not asked")
        return
    shown = "with a certificate" if seen.certificate_shown else "without a certificate"
    sent = f"{target.bytes_sent / 1000:.1f} kB sent, {target.bytes_received / 1000:.1f} kB received"
    page.fact("asked", f"{target.address}, as {seen.own}, {shown}: {count(target.connections, 'connection')}, {sent}")
    if target.clear:
        page.fact("in clear", _clear(target))
    if not target.tls:
        return
    for number, line in enumerate(_tls(target)):
        page.fact("" if number else "TLS", line)
    if target.certificate:
        bad = any(d in DEFECTS for d in target.certificate.defects)
        page.fact("certificate", _standing(target.certificate), LOOKS[Answer.NO] if bad else "0")
        for line in _certificate(target.certificate):
            page.fact("", line)
    elif target.tls.chain:
        page.fact("certificate", "one was presented that cannot be read")
    if target.tls.completed:
        page.fact("inside TLS", _secure(seen, target))


def _clear(target: TargetSeen) -> str:
    clear = target.clear
    assert clear is not None, "asked only where there is one"
    if not clear.answered:
        return clear.problem or "nothing"
    if not clear.features:
        return clear.problem or f"a stream of version {clear.version or 'before 1.0'}, without features"
    offers = {
        Offer.NO: "STARTTLS is not offered",
        Offer.OFFERED: "STARTTLS is offered, not said to be required",
        Offer.REQUIRED: "STARTTLS is required",
    }
    parts = [offers[clear.starttls], "dialback is advertised" if clear.dialback else "dialback is not advertised"]
    if clear.mechanisms:
        parts.append(f"SASL {', '.join(clear.mechanisms)}")
    if target.dialback_clear:
        parts.append(f"our dialback: {target.dialback_clear}")
    return "; ".join(parts)


def _tls(target: TargetSeen) -> Iterable[str]:
    handshake = target.tls
    assert handshake is not None, "asked only where there is one"
    if handshake.problem and not handshake.answered:
        yield f"with everything on offer: {handshake.problem}"
    tried = [(v, target.versions[v]) for v in reversed(TLS_VERSIONS) if v in target.versions]
    taken = [f"{v} {t.cipher or ''}".rstrip() for v, t in tried if t.accepted]
    parts = [f"takes {', '.join(taken)}" if taken else "takes no version"]
    if refused := [v for v, t in tried if t.accepted is False]:
        parts.append(f"refuses {', '.join(refused)}")
    parts += [f"{v}: cannot say ({t.why})" for v, t in tried if t.accepted is None]
    yield "; ".join(parts)
    if not taken:
        return
    key = {
        (True, False): "forward secrecy always",
        (True, True): "forward secrecy, but static RSA is taken too",
        (False, True): "no forward secrecy: static RSA only",
    }.get((bool(target.ephemeral.accepted), bool(target.static_rsa.accepted)), "key exchange: cannot say")
    if target.ephemeral.accepted and target.static_rsa.accepted is None:
        key = f"forward secrecy; whether static RSA is taken too: cannot say ({target.static_rsa.why})"
    asks = "asks for our certificate" if handshake.certificate_requested else "does not ask for our certificate"
    yield f"{key}{f' ({handshake.group})' if handshake.group else ''}; {asks}"


def _certificate(found: Certificate) -> Iterable[str]:
    names = [*found.dns_names, *found.srv_names, *found.xmpp_addresses] or [f"{found.subject} (common name only)"]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    issuer = "itself" if found.self_signed else found.issuer
    days = f"{found.days_left} days left" if found.days_left >= 0 else f"{-found.days_left} days ago"
    until = "ended" if found.days_left < 0 else "until"
    yield f"for {', '.join(names[:4])}{more}, signed by {issuer}, {until} {found.not_after[:10]} ({days})"
    yield f"{found.key}, {found.signature or 'a signature of another kind'}, {found.chain} in the chain"


def _standing(found: Certificate) -> str:
    """Whether it verifies, and if not, why."""
    verdicts = [DEFECTS[d] for d in found.defects if d in DEFECTS]
    if found.trusted is None:
        verdicts.append(f"whether it is trusted: cannot say ({found.untrusted_because})")
    elif found.trusted is False and found.untrusted_because and not found.self_signed:
        verdicts = [f"untrusted: {found.untrusted_because}" if v == "untrusted" else v for v in verdicts]
    uses = [word for word, may in (("servers", found.for_servers), ("clients", found.for_clients)) if may]
    return f"{'; '.join(verdicts) or f'verifies, by {found.matched}'}; for TLS {listing(uses) or 'neither servers nor clients'}"


def _secure(seen: Seen, target: TargetSeen) -> str:
    secure = target.secure
    parts = []
    if target.insists_on_certificate:
        parts.append("refuses us: it wants a certificate that it verifies")
    if secure is None or not secure.answered:
        return "; ".join([*parts, (secure.problem if secure else None) or "no stream"])
    if secure.problem:
        parts.append(secure.problem)
    if secure.features:
        external = "EXTERNAL" in secure.mechanisms
        shown = "" if seen.certificate_shown or external else " to a peer without a certificate"
        parts.append("SASL EXTERNAL is offered" if external else f"SASL EXTERNAL is not offered{shown}")
        errors = " (with errors)" if secure.dialback_errors else ""
        parts.append(f"dialback is advertised{errors}" if secure.dialback else "dialback is not advertised")
        parts += ["bidi"] if secure.bidi else []
        parts += [f"besides {', '.join(secure.other)}"] if secure.other else []
    if target.dialback_tls:
        parts.append(f"our dialback: {target.dialback_tls}")
    return "; ".join(parts)


def _ladder(page: Page, peer: Peer) -> None:
    """The policies, both ways, with numbers for what it depends on, and the words of the causes below."""
    rows = list(peer.ladder)
    if all(j.policy.name != peer.asked.policy.name for j in rows):
        rows.append(peer.asked)
    notes: list[str] = []
    cells = [[(_cell(fate, notes), fate.answer) for fate in (j.to_it, j.from_it)] for j in rows]
    title, ways = "if you are set to", ("you → it", "it → you")
    name = max(len(title), *(len(j.policy.name) for j in rows)) + 3
    first, second = (max(len(ways[n]), *(len(row[n][0]) for row in cells)) for n in (0, 1))
    beside = 2 + name + first + 3 + second <= page.width
    page.add()
    page.add("  " + page.paint(f"{title:<{name}}{ways[0]:<{first + 3}}{ways[1]}" if beside else title, "2"))
    for judgement, row in zip(rows, cells, strict=True):
        mark = "▸ " if judgement.policy.name == peer.asked.policy.name else "  "
        painted = [page.paint(shown, LOOKS[answer]) for shown, answer in row]
        if beside:
            page.add(f"{mark}{judgement.policy.name:<{name}}{painted[0]}{' ' * (first + 3 - len(row[0][0]))}{painted[1]}")
        else:
            page.add(f"{mark}{judgement.policy.name}")
            for way, shown in zip(ways, painted, strict=True):
                page.add(f"    {way}  {shown}")
    for number, note in enumerate(notes, start=1):
        if number == 1:
            page.add()
        page.fact("" if number > 1 else "depends on", f"{number}. {note}")
    causes = {f.causes[0] for j in rows for f in (j.to_it, j.from_it) if f.answer is Answer.NO and f.causes}
    told = [c for c in VOCABULARY if c.word in causes]
    for number, cause in enumerate(told):
        if number == 0:
            page.add()
        page.fact("" if number else "no because", f"{cause.word}: {cause.meaning} ({cause.clause})")


def _cell(fate: Fate, notes: list[str]) -> str:
    if fate.answer is Answer.YES:
        return (
            "yes, in cleartext"
            if fate.encryption == ("cleartext",)
            else "yes, over TLS"
            if fate.encryption == ("tls",)
            else "yes"
        )
    if fate.answer is Answer.NO:
        return f"no, {fate.causes[0] if fate.causes else 'see below'}"
    return f"cannot say ({_numbers(fate.depends, notes)})" if fate.depends else "cannot say"


def _numbers(texts: Iterable[str], notes: list[str]) -> str:
    """The numbers of notes, which are added to the list where they are new."""
    notes += [t for t in dict.fromkeys(texts) if t not in notes]
    return ", ".join(str(n) for n in sorted(notes.index(t) + 1 for t in set(texts)))


# --- many domains -----------------------------------------------------------------------------------------------------


def table(peers: Sequence[Peer], policy: Policy, seconds: float, *, colour: bool, width: int) -> str:
    """One line a domain, worst first, and what the words in it mean."""
    page = Page(colour=colour, width=width)
    counts = {a: sum(p.asked.answer is a for p in peers) for a in ORDER}
    asked = f"{count(len(peers), 'domain')} asked in {seconds:.0f} s, as {peers[0].seen.own}."
    for line in textwrap.wrap(f"{asked} Can they still talk to a server set to `{policy.name}`?", page.width):
        page.add(line)
    page.add("  " + "   ".join(page.paint(f"{counts[a]} {SHOWN[a]}", LOOKS[a]) for a in ORDER if counts[a]))
    page.add()
    columns, room = _columns(max(len(p.seen.domain) for p in peers), page.width)
    page.add(page.paint("".join(f"{title:<{w}}  " for title, w in columns) + "why", "2"))
    ranked = sorted(peers, key=lambda p: (ORDER.index(p.asked.answer), _why(p), p.seen.domain))
    notes: list[str] = []
    for peer in ranked:
        _row(page, peer, columns, room, notes)
    for number, note in enumerate(notes, start=1):
        if number == 1:
            page.add()
        page.fact("" if number > 1 else "depends on", f"{number}. {note}")
    used = {f.causes[0] for p in peers for f in (p.asked.to_it, p.asked.from_it) if f.answer is Answer.NO and f.causes}
    for number, cause in enumerate(c for c in VOCABULARY if c.word in used):
        if number == 0:
            page.add()
        page.fact("" if number else "no because", f"{cause.word}: {cause.meaning} ({cause.clause})")
    page.add()
    page.fact("everything", "of one domain: testbed probe DOMAIN; of all: --details, or --json")
    return page.render()


WIDTHS = {"verdict": 10, "STARTTLS": 8, "TLS": 8, "certificate": 13, "accepts": 18}
LAST = ("accepts", "TLS", "STARTTLS", "certificate")
"""What a narrow terminal does without, in this order."""


def _columns(longest: int, width: int) -> tuple[list[tuple[str, int]], int]:
    """The columns that fit, each with its width, and what is left for the reason."""
    columns = [("domain", min(max(longest, 6), 40 if width >= 116 else 30)), *WIDTHS.items()]
    for name in (None, *LAST):
        columns = [c for c in columns if c[0] != name]
        room = width - sum(w + 2 for _, w in columns)
        if room >= 26:
            break
    return columns, max(room, 14)


def _row(page: Page, peer: Peer, columns: list[tuple[str, int]], room: int, notes: list[str]) -> None:
    target, answer = peer.seen.decisive, peer.asked.answer
    cells = {
        "domain": shorten(peer.seen.domain, columns[0][1]),
        "verdict": SHOWN[answer],
        "STARTTLS": _offer(target),
        "TLS": _range(target),
        "certificate": _state(target),
        "accepts": _proof(target),
    }
    why = _why(peer)
    if answer is Answer.UNKNOWN and target is not None:  # without a target the reason is its own, and stands in its line
        why = f"depends on {_numbers(peer.asked.to_it.depends + peer.asked.from_it.depends, notes)}"
    lines = textwrap.wrap(why, room, break_on_hyphens=False) or [""]
    shown = "".join(
        (page.paint(cells[title], LOOKS[answer]) if title == "verdict" else cells[title]) + " " * (w - len(cells[title]) + 2)
        for title, w in columns
    )
    page.add(shown + lines[0])
    for line in lines[1:3]:
        page.add(" " * sum(w + 2 for _, w in columns) + line)


def _why(peer: Peer) -> str:
    """The reason in a few words: causes, else what it depends on, else the first remark."""
    asked, answer = peer.asked, peer.asked.answer
    if answer is Answer.NO:
        if peer.seen.names.problem and "dns" in asked.to_it.causes:
            return f"dns: {peer.seen.names.problem}"
        ways = (("you → it", asked.to_it), ("it → you", asked.from_it))
        failing = {way: fate.causes[0] for way, fate in ways if fate.answer is answer and fate.causes}
        if len(failing) == 2:
            return ", ".join(dict.fromkeys(failing.values()))
        return "".join(f"{way}: {cause}" for way, cause in failing.items())
    if answer is Answer.UNKNOWN:
        return "; ".join(dict.fromkeys(asked.to_it.because + asked.from_it.because))
    target = peer.seen.decisive
    if target and target.certificate and any(d in DEFECTS for d in target.certificate.defects):
        return "it proves itself by dialback only: its certificate does not verify"
    more = f" (+{len(peer.findings) - 1})" if len(peer.findings) > 1 else ""
    return peer.findings[0].text + more if peer.findings else ""


def _offer(target: TargetSeen | None) -> str:
    if target is None:
        return "-"
    if target.clear is None:
        return "direct"
    return target.clear.starttls.value if target.clear.features else "?"


def _range(target: TargetSeen | None) -> str:
    """`1.2-1.3`, or the versions one by one where one between them is missing."""
    taken = [v for v in TLS_VERSIONS if target and v in target.versions and target.versions[v].accepted]
    if len(taken) < 2:
        return "".join(taken) or "-"
    whole = TLS_VERSIONS.index(taken[-1]) - TLS_VERSIONS.index(taken[0]) == len(taken) - 1
    return f"{taken[0]}-{taken[-1]}" if whole else " ".join(taken)


def _state(target: TargetSeen | None) -> str:
    if target is None or target.certificate is None:
        return "-"
    found = target.certificate
    known = [DEFECTS[d] for d in found.defects if d in DEFECTS]
    if known:
        return known[0] + ("+" if len(known) > 1 else "")
    return f"{'good' if found.trusted else 'no store'}, {found.days_left} d"


def _proof(target: TargetSeen | None) -> str:
    """What it takes as proof from a peer, as far as it said so."""
    if target is None:
        return "-"
    if target.insists_on_certificate:
        return "certificate"
    stream = target.secure if target.tls else target.clear
    if stream is None or not stream.features:
        return "?"
    found = [*(["EXTERNAL"] if "EXTERNAL" in stream.mechanisms else []), *(["dialback"] if stream.dialback else [])]
    return ", ".join(found) or "-"

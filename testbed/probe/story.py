"""The story of one domain on the terminal: everything that is known of it. Pure functions from facts to text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from testbed.model import TLS_VERSIONS
from testbed.probe.ladder import Answer, Judgement, Prediction
from testbed.probe.seen import Certificate, Names, Offer, Seen, Srv, TargetSeen
from testbed.probe.text import DEFECTS, LOOKS, Page, Peer, explain, list_notes, numbers
from testbed.report.words import count, listing, shorten


def story(peer: Peer, *, colour: bool, width: int) -> str:
    """Everything that is known of one domain."""
    page = Page(colour=colour, width=width)
    _head(page, peer)
    _where(page, peer.seen)
    for target in peer.seen.targets:
        if len(peer.seen.targets) > 1:
            kind = "direct TLS" if target.target.direct_tls else "STARTTLS"
            judged = "; the verdict is about this one" if target is peer.seen.decisive else ""
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
    answers = {
        Answer.YES: f"yes: a server set to `{name}` can still talk to it, both ways",
        Answer.NO: f"no: a server set to `{name}` cannot talk to it{_ways(peer.asked)}",
        Answer.UNKNOWN: f"cannot say whether a server set to `{name}` can talk to it",
    }
    if len(peer.seen.domain) + 2 + len(answers[answer]) <= page.width:
        page.add(page.paint(peer.seen.domain, "1") + "  " + page.paint(answers[answer], LOOKS[answer]))
    else:
        page.add(page.paint(shorten(peer.seen.domain, page.width), "1"))
        for line in textwrap.wrap(answers[answer], page.width - 2):
            page.add("  " + page.paint(line, LOOKS[answer]))
    page.add()


def _ways(judgement: Judgement) -> str:
    ways = [("to it", judgement.to_it), ("from it", judgement.from_it)]
    failing = [way for way, prediction in ways if prediction.answer is Answer.NO]
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
        page.fact("", f"not asked: {', '.join(map(str, seen.left_out))} (limit reached)")
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
        page.fact("certificate", "presented, but cannot be read")
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
        Offer.OFFERED: "STARTTLS is offered, but not advertised as required",
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
    parts = [f"accepts {', '.join(taken)}" if taken else "accepts no version"]
    if refused := [v for v, t in tried if t.accepted is False]:
        parts.append(f"refuses {', '.join(refused)}")
    parts += [f"{v}: cannot say ({t.why})" for v, t in tried if t.accepted is None]
    yield "; ".join(parts)
    if not taken:
        return
    key = {
        (True, False): "forward secrecy always",
        (True, True): "forward secrecy, but static RSA is accepted too",
        (False, True): "no forward secrecy: static RSA only",
    }.get((bool(target.ephemeral.accepted), bool(target.static_rsa.accepted)), "key exchange: cannot say")
    if target.ephemeral.accepted and target.static_rsa.accepted is None:
        key = f"forward secrecy; whether static RSA is accepted too: cannot say ({target.static_rsa.why})"
    asks = "asks for our certificate" if handshake.certificate_requested else "does not ask for our certificate"
    yield f"{key}{f' ({handshake.group})' if handshake.group else ''}; {asks}"


def _certificate(certificate: Certificate) -> Iterable[str]:
    names = [*certificate.dns_names, *certificate.srv_names, *certificate.xmpp_addresses] or [
        f"{certificate.subject} (common name only)"
    ]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    issuer = "itself" if certificate.self_signed else certificate.issuer
    days = f"{certificate.days_left} days left" if certificate.days_left >= 0 else f"{-certificate.days_left} days ago"
    until = "ended" if certificate.days_left < 0 else "until"
    yield f"for {', '.join(names[:4])}{more}, signed by {issuer}, {until} {certificate.not_after[:10]} ({days})"
    yield f"{certificate.key}, {certificate.signature or 'a signature of another kind'}, {certificate.chain} in the chain"


def _standing(certificate: Certificate) -> str:
    """Whether it verifies, and if not, why."""
    verdicts = [DEFECTS[d] for d in certificate.defects if d in DEFECTS]
    if certificate.trusted is None:
        verdicts.append(f"whether it is trusted: cannot say ({certificate.untrusted_because})")
    elif certificate.trusted is False and certificate.untrusted_because and not certificate.self_signed:
        verdicts = [f"untrusted: {certificate.untrusted_because}" if v == "untrusted" else v for v in verdicts]
    uses = [word for word, may in (("servers", certificate.for_servers), ("clients", certificate.for_clients)) if may]
    standing = "; ".join(verdicts) or f"verifies, by {certificate.matched}"
    return f"{standing}; for TLS {listing(uses) or 'neither servers nor clients'}"


def _secure(seen: Seen, target: TargetSeen) -> str:
    secure = target.secure
    parts = []
    if target.insists_on_certificate:
        parts.append("refuses us: it requires a certificate that it can verify")
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
        parts += [f"also {', '.join(secure.other)}"] if secure.other else []
    if target.dialback_tls:
        parts.append(f"our dialback: {target.dialback_tls}")
    return "; ".join(parts)


def _ladder(page: Page, peer: Peer) -> None:
    """The policies, both ways, with numbers for what it depends on, and the words of the causes below."""
    rows = list(peer.ladder)
    if all(j.policy.name != peer.asked.policy.name for j in rows):
        rows.append(peer.asked)
    notes: list[str] = []
    cells = [[(_cell(prediction, notes), prediction.answer) for prediction in (j.to_it, j.from_it)] for j in rows]
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
    list_notes(page, notes)
    causes = {f.causes[0] for j in rows for f in (j.to_it, j.from_it) if f.answer is Answer.NO and f.causes}
    explain(page, causes)


def _cell(prediction: Prediction, notes: list[str]) -> str:
    if prediction.answer is Answer.YES:
        return (
            "yes, in cleartext"
            if prediction.encryption == ("cleartext",)
            else "yes, over TLS"
            if prediction.encryption == ("tls",)
            else "yes"
        )
    if prediction.answer is Answer.NO:
        return f"no, {prediction.causes[0] if prediction.causes else 'see below'}"
    return f"cannot say ({numbers(prediction.depends, notes)})" if prediction.depends else "cannot say"

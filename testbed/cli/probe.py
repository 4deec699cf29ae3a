"""`testbed probe`: live servers, asked as any stranger may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.display import live
from testbed.cli.options import Json, Quiet
from testbed.cli.output import coloured, terminal_width


def probe(
    domains: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="XMPP domains: im.example.org", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="LIST", help="one domain per line; # begins a comment")] = None,
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="POLICY", help="the policy that your server is to have: `encrypted`, `encrypted,tls_min=1.3`"
        ),
    ] = "encrypted",
    own: Annotated[
        str | None, typer.Option("--from", metavar="DOMAIN", help="who asks (default: a reserved name that nobody owns)")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="your server's certificate chain, to show")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="its key, used but never sent")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="authorities to trust (default: this system's)")] = None,
    resolver: Annotated[str | None, typer.Option(metavar="IP[:PORT]", help="name server (default: this system's)")] = None,
    connect: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="ask this host, whatever DNS says; tls://HOST:PORT for direct TLS"),
    ] = None,
    dialback: Annotated[
        bool, typer.Option("--dialback", help="also send one dialback key, which the peer then asks the server of --from about")
    ] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="timeout per step")] = 10.0,
    jobs: Annotated[int, typer.Option(metavar="N", help="domains asked at once; one connection at a time per address")] = 8,
    details: Annotated[bool, typer.Option("--details", help="everything, also for many domains")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask live servers, as any stranger may, how they federate, and which policies would still talk to them.

    No message is sent and no account is used: docs/probe.md tells every byte. Exit 0 if all would still talk to a server set to
    --policy, 1 if some would not, 3 if of some it cannot be said.
    """
    from testbed.probe import call, story, table

    chosen = call.Wanted(
        domains=tuple(domains or ()), file=file, policy=policy, own=own, certificate=certificate, key=key, ca=ca,
        resolver=resolver, connect=connect, dialback=dialback, timeout=timeout, jobs=jobs,
    )  # fmt: skip
    with live(quiet) as display:
        answers = call.make(chosen, lambda n: display.stage("domains", n), lambda _: display.advance("domains"))
    if as_json:
        typer.echo(json.dumps(answers.to_json()))
        raise typer.Exit(answers.exit_status)
    colour, width = coloured(), terminal_width()
    if len(answers.peers) > 1:
        typer.echo(table.table(answers.peers, answers.policy, answers.seconds, colour=colour, width=width), nl=False)
    for number, peer in enumerate(answers.peers if details or len(answers.peers) == 1 else ()):
        typer.echo(("\n" if number or len(answers.peers) > 1 else "") + story.story(peer, colour=colour, width=width), nl=False)
    raise typer.Exit(answers.exit_status)

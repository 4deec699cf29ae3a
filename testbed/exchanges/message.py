"""One chat message to the receiver's bare address (RFC 6121 §5.2); delivered when the receiver's client sees its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MEANING = "one chat message with a body that is unique for the cell; delivered when the receiver's client has it"

Report = Callable[..., None]


def install(client: Any, report: Report) -> None:
    """Watch ``client``: ``report("received" | "error", token, …)`` for every stanza of this exchange that it sees."""

    def on_message(stanza: Any) -> None:
        report("received", stanza["body"], sender=str(stanza["from"]))

    def on_error(stanza: Any) -> None:
        error = stanza["error"]
        # A bounce keeps the stanza's id (RFC 6120 §8.1.3), not always its body.
        report(
            "error",
            stanza["id"],
            by=str(stanza["from"]),
            condition=error["condition"],
            text=error["text"] or "",
            type=error["type"],
        )

    client.add_event_handler("message", on_message)
    client.add_event_handler("message_error", on_error)


def send(client: Any, to: str, token: str) -> None:
    """Write ``token`` to the bare address ``to``."""
    stanza = client.make_message(mto=to, mbody=token, mtype="chat")
    stanza["id"] = token
    stanza.send()

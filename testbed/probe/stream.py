"""The XML of streams, both ways, without any I/O: what the probe writes, and a reader that trusts no peer.

The reader takes what RFC 6120 §11 allows and nothing else: no document type, no entities, no processing instructions, no
comments; and it bounds bytes, depth, elements and attributes, since whoever answers on port 5269 may send anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
DIALBACK = "jabber:server:dialback"
DIALBACK_FEATURE = "urn:xmpp:features:dialback"
BIDI_FEATURE = "urn:xmpp:features:bidi"

MAX_BYTES = 64 * 1024
"""Of one stream, header and all; the largest features that were measured have 0.6 KB."""
MAX_DEPTH = 8
MAX_ELEMENTS = 400
MAX_ATTRIBUTES = 64


class Misbehaviour(Exception):
    """The peer sent something that is no XMPP, or too much of it; the text completes "the peer …"."""


@dataclass
class Element:
    """One element with everything inside it."""

    namespace: str
    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def find(self, namespace: str, name: str) -> Element | None:
        """The first child of that name."""
        return next((c for c in self.children if (c.namespace, c.name) == (namespace, name)), None)


class Reader:
    """Reads one stream as it arrives: `header` once it was seen, then every complete child of the root in `elements`."""

    def __init__(self) -> None:
        self.header: Element | None = None
        self.elements: list[Element] = []
        self.ended = False
        """True when the peer closed the stream with `</stream:stream>`."""
        self.namespaces: set[str] = set()
        """What the header declares; dialback is announced so by servers without its feature (XEP-0220 §2.4.1)."""
        self._path: list[Element] = []
        self._bytes = self._count = 0
        parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartNamespaceDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = lambda *_: _refuse("sent a document type, which RFC 6120 §11.1 forbids")
        parser.EntityDeclHandler = lambda *_: _refuse("declared an entity, which RFC 6120 §11.1 forbids")
        parser.ProcessingInstructionHandler = lambda *_: _refuse("sent a processing instruction, which RFC 6120 §11.1 forbids")
        parser.CommentHandler = lambda *_: _refuse("sent a comment, which RFC 6120 §11.1 forbids")
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)  # an answer must be seen when it is there, not with the next packet
        self._parser = parser

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises Misbehaviour."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise Misbehaviour(f"sent more than {MAX_BYTES // 1024} KB before anything was asked of it")
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError as error:
            shown = data[:40].decode("ascii", "replace").replace("\n", " ")
            raise Misbehaviour(f"sent no XML ({expat.ErrorString(error.code)}): {printable(shown)!r}") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self.ended:
            _refuse("went on after the end of its stream")
        if len(self._path) >= MAX_DEPTH or self._count > MAX_ELEMENTS or len(attributes) > MAX_ATTRIBUTES:
            _refuse(f"sent XML beyond reason (depth {MAX_DEPTH}, {MAX_ELEMENTS} elements, {MAX_ATTRIBUTES} attributes)")
        namespace, _, local = name.rpartition(" ")
        element = Element(namespace, local, attributes)
        if not self._path:
            if (namespace, local) != (STREAMS, "stream"):
                _refuse(f"answered with <{printable(local)}> instead of a stream (is it another service?)")
            self.header = element
        elif len(self._path) > 1:
            self._path[-1].children.append(element)
        self._path.append(element)

    def _end(self, _: str) -> None:
        element = self._path.pop()
        if not self._path:
            self.ended = True
        elif len(self._path) == 1:
            self.elements.append(element)

    def _characters(self, text: str) -> None:
        if len(self._path) > 1:
            self._path[-1].text += text

    def _declared(self, _: str | None, uri: str | None) -> None:
        if uri and len(self._path) == 0:
            self.namespaces.add(uri)


def _refuse(what: str) -> NoReturn:
    raise Misbehaviour(what)


def printable(text: str, limit: int = 120) -> str:
    """A peer's text made safe for a terminal: no control characters, one line, bounded."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


# --- what is written --------------------------------------------------------------------------------------------------


def header(own: str, peer: str) -> bytes:
    """The opening of a stream between servers (RFC 6120 §4.7), with dialback's namespace (XEP-0220 §2.1)."""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' xmlns:db='{DIALBACK}' "
        f"from={quoteattr(own)} to={quoteattr(peer)} version='1.0' xml:lang='en'>"
    ).encode()


STARTTLS = f"<starttls xmlns='{TLS}'/>".encode()
END = b"</stream:stream>"


def dialback(own: str, peer: str, key: str) -> bytes:
    """The only question beyond the opening, and only with ``--dialback``: a key that nobody will confirm (XEP-0220 §2.1.1)."""
    return f"<db:result from={quoteattr(own)} to={quoteattr(peer)}>{key}</db:result>".encode()

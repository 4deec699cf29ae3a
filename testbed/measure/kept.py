"""A server that goes on after a pair measured alone, for the next pair of its own: its start takes more than a second of a core.

Rule: as good as a fresh one is only who is not known to behave differently among other peers, and has met neither this peer nor
its address since it was started. `forecast` says who may be kept, `alone` keeps and ends them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.engine.berths import Berth

MEETS = 12
"""Peers that one start serves at most: the addresses of all of them must stay free of the next peer."""


@dataclass
class Kept:
    """A server that runs while no pair of its own is measured."""

    phase: str
    domain: str
    berth: Berth
    names: Berth
    """Its name server: the address stands in its /etc/resolv.conf."""
    client: str
    """The client that is logged in."""
    since: str
    """The epoch that started it."""
    met: dict[str, str] = field(default_factory=dict)
    """Domain of each peer -> IPv4 address that the peer had."""

    @property
    def key(self) -> tuple[str, str]:
        """Phase and domain: of one domain no more than one server is kept."""
        return self.phase, self.domain

    def may_meet(self, peer: str) -> bool:
        """Whether the next pair may be with the server of this domain."""
        return peer not in self.met and len(self.met) < MEETS

"""s2s federation mesh testbed: which pairs of XMPP servers stop talking when encryption becomes mandatory, and why."""

__version__ = "0.1.0"

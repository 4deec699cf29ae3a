"""Knows whether the containers of a run were given their time, and decides nothing.

`agent.py` runs in a container beside them, `meter.py` is the host's side of it, `protocol.py` all that the two say to each other.
`stalls.py` keeps what was read and finds the worst window of time of an attempt, without any I/O.
"""

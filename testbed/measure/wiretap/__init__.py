"""Sees what crosses between servers, and decides nothing of what it means.

`agent.py` runs in a container on the engine's host network (capture, gate, tshark), `wiretap.py` is the host's side of it,
`protocol.py` all that the two say to each other. `dissect.py` turns tshark's lines into facts per TCP stream, without any I/O.
"""

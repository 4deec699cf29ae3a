"""What speaks XMPP inside the mesh: one client per server.

`agent.py` runs in a container there, `driver.py` is the host's side of it, `protocol.py` all that the two say to each other.
"""

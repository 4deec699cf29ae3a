"""Asks live servers, as any stranger may, how they federate; and says which policies would still talk to them.

`ask` is the only file that opens connections, `names` the only one that asks DNS; `stream`, `tls`, `certificate` and `ladder`
turn bytes into facts and facts into verdicts without any I/O; `text` draws. Nothing here knows of runs, images or containers.
"""

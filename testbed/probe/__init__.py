"""Asks live servers, as any stranger may, how they federate; and says which policies would still talk to them.

`visit` alone opens connections (each a `wire`), `names` alone asks DNS. `stream`, `tls`, `certificate`, `possible` and `ladder`
turn bytes into facts and facts into verdicts without any I/O; `story` and `table` draw. It knows no run, image or container.
"""

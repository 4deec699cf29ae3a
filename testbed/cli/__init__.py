"""The command line: arguments in, text and exit status out. Decides nothing about servers.

One file per family of commands; `app` has the table of all. Exit status: 0 done and as expected · 1 done, with surprises or
regressions · 2 the input is wrong · 3 the testbed could not tell.
"""

from testbed.cli.app import app, main

__all__ = ["app", "main"]

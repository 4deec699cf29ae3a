"""The command line: arguments in, text and exit status out. Decides nothing about servers.

One file per family of commands; `app` has the table of all. Exit status: 0 done and as expected · 1 done, with surprises or
regressions · 2 the input is wrong · 3 the testbed could not tell, or failed · 141 nobody reads the output any more.
"""

import sys

from testbed import interruption


def main() -> None:
    """Entry point of the console script: from here on, a signal ends the command in one way. Imports the commands itself."""
    with interruption.handled(limit=interruption.REMOVAL):
        try:
            with interruption.held():  # a module that is imported half fails in words of its own
                from testbed.cli.app import main as command
            command()
        except SystemExit as end:  # Typer makes this status of a KeyboardInterrupt, and says nothing
            if end.code != interruption.STATUS:
                raise
        except KeyboardInterrupt:
            pass
        else:
            return
        interruption.write("interrupted")
        sys.exit(interruption.STATUS)

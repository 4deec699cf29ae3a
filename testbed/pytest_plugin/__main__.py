"""The process that measures for a pytest session: `python -m testbed.pytest_plugin ORDER`."""

import sys
from pathlib import Path

from testbed.pytest_plugin import main

main(Path(sys.argv[1]))

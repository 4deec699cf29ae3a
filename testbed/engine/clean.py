"""Removes what the testbed left on an engine: containers and networks of dead runs, images, the private engine and its data.

Rule: what a run still needs stays, and so does an engine that is not ours.
"""

from __future__ import annotations

import contextlib

from testbed.display import Say
from testbed.engine import federation, host, images
from testbed.model import EngineError


def clean(say: Say, *, everything: bool = False) -> None:
    """Remove containers and networks of dead runs, and stop the private engine; ``everything``: also images and its data."""
    engine = None
    with contextlib.suppress(EngineError):
        engine = host.find()
    if engine:
        containers, networks = federation.reap(engine)
        say(f"removed {containers} containers and {networks} networks")
        if alive := federation.running(engine):
            say(f"{alive} containers belong to a run that is still going: left alone")
            return
        if everything and not engine.private:
            images.remove_all(engine)
    if engine is None or engine.private:
        host.stop(say)
        if everything:
            host.remove_data(say)

"""The images of a plan: the packaged releases, built side by side, and the candidates that a user brings.

Rule: a packaged release that cannot be built is a reason in `Images`, and its servers become unavailable; a candidate that cannot
be had is an error, because it is the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.display import Display
from testbed.engine.host import Engine
from testbed.engine.images import PARTS, Builder, Images, tag_of
from testbed.model import EngineError, Implementation, InputError
from testbed.plan.catalog import Candidate, Catalog


def prepare(
    engine: Engine, catalog: Catalog, implementations: Iterable[Implementation], display: Display, *, jobs: int | None = None
) -> Images:
    """The images of ``implementations``, candidates among them; ``jobs``: images built at once.

    Raises InputError or EngineError for a candidate whose image is not there or cannot be built, EngineError for one of the
    testbed's own parts.
    """
    wanted, builder = set(implementations), Builder(engine, catalog)
    candidates = [c for c in catalog.candidates if c.implementation in wanted]
    ids = {tag_of(c.implementation): _existing(builder, c, c.image) for c in candidates if c.image}
    configured = [c for c in candidates if not c.image and not c.build]
    packaged = wanted - {c.implementation for c in candidates} | {c.packaged for c in configured}
    images = build(engine, catalog, packaged, display, jobs=jobs)
    for candidate in candidates:
        if candidate.build:
            tag = tag_of(candidate.implementation)
            suite = catalog.image(candidate.implementation).spec.releases[candidate.implementation.release].suite
            ids[tag] = builder.build(candidate.build, suite, tag, display.say)
    for candidate in configured:
        if (image := images.server(candidate.packaged)) is None:
            reason = images.reason(candidate.packaged)
            raise EngineError(f"{candidate.packaged}, which the configuration is for, is unavailable: {reason}")
        ids[tag_of(candidate.implementation)] = image
    images.ids |= ids
    images.versions |= {tag_of(c.implementation): c.version for c in candidates if c.version}
    return images


def recorded(engine: Engine, catalog: Catalog, ids: Mapping[str, str], unavailable: Mapping[str, str]) -> Images:
    """Of the images with which a run began (tag -> id) those that are on the engine, and fit their folders; builds nothing.

    What was ``unavailable`` then still is: nothing is tried again.
    """
    builder = Builder(engine, catalog)
    given = {tag_of(c.implementation): c for c in catalog.candidates}
    there = {tag: (i if builder.has(i) else None) if tag in given else builder.current(tag) for tag, i in ids.items()}
    versions = {tag: c.version for tag, c in given.items() if c.version}
    return Images({tag: i for tag, i in there.items() if i}, dict(unavailable), versions)


def build(
    engine: Engine, catalog: Catalog, packaged: Iterable[Implementation], display: Display, *, jobs: int | None = None
) -> Images:
    """Build or keep images of packaged releases; a failure is said at once, and again as a warning when all is done."""
    wanted = set(packaged)
    display.stage("images", len(wanted) + len(PARTS))

    def progress(tag: str, event: str) -> None:
        if tag.startswith(("debian:", "base:")):
            if event == "building" and tag.startswith("debian:"):
                display.say(f"base system {tag.partition(':')[2]}")
            return
        if event.startswith("failed"):
            display.say(f"{tag}: {event}")
        if event != "building":
            display.advance("images")

    images = Builder(engine, catalog, progress=progress).ensure(wanted, jobs=jobs)
    for tag, reason in images.unavailable.items():
        display.warn(f"{tag} is unavailable: {reason}")
    return images


def _existing(builder: Builder, candidate: Candidate, image: str) -> str:
    """The id of a candidate's image that is on the engine. Raises InputError."""
    try:
        return builder.find(image)
    except InputError:
        if not candidate.recorded:
            raise
        raise InputError(
            f"the image of {candidate.implementation} in that run is gone from this engine",
            value=image,
            hint=f"measure the scenario anew, with {' '.join(candidate.source)}",
        ) from None

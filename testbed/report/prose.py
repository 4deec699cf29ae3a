"""The templates of those reports that are sentences rather than tables or pictures: their words stand in ``templates/``.

Rule: a template is given finished values and says them; it decides no more than what is left out and what is plural. Only a
template of HTML escapes what it is given; the others get texts that are marked up already.
"""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed.report import words


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("testbed.report", "templates"),
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"count": words.count, "plural": words.plural, "number": words.number}
    return environment


def say(template: str, **values: Any) -> str:
    """A template of the folder with its values put in. jinja2.UndefinedError for a value that it lacks."""
    return _environment().get_template(template).render(values)

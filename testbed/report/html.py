"""``report.html``: the whole run as one page that needs no network, no server and no second file.

Rule: Python says what the page says (words, colours, classes, the opening paragraph); the scripts in ``html/`` only lay
out, filter and draw it. Everything comes out of ``verdicts.json``; every string in it is taken as hostile: it reaches the
page as escaped text or as JSON without a ``<``, and the page's own policy lets nothing run or load but the two hashed blocks.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping
from importlib.resources import files
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from testbed.causes import UNKNOWN, VOCABULARY, Group
from testbed.judge.unmeasured import STRAINED, TESTBED
from testbed.record.verdicts import PhaseEntry, ServerEntry, Verdicts
from testbed.report import busy, circumstances, failed, unfinished, words
from testbed.report.captions import captions
from testbed.report.cell import GATHERED, THIS_MACHINE
from testbed.report.changes import CHANGES, Change
from testbed.report.grid import KINDS, Grid, Kind, Member, State, grid, state
from testbed.report.interruptions import parts
from testbed.report.opening import meaning, mends, opening, split_explanation
from testbed.report.tones import COLOURINGS, cause_tones

SCRIPTS = (
    # what there is, and what follows from it: pure
    "data.js",
    "address.js",
    "words.js",
    "view.js",
    "order.js",
    "layout.js",
    "scene.js",
    # how it is shown, and what is done with it
    "theme.js",
    "draw.js",
    "elements.js",
    "matrix.js",
    "pointer.js",
    "controls.js",
    "story.js",
    "reasons.js",
    "lists.js",
    "tables.js",
    "page.js",
)
"""Parts of the page's one script, in the order in which they are put together."""
SENDER, RECEIVER = "\ue000", "\ue001"
"""Stand for the cell's two domains in a string that many cells share. Taken out of what a run says, where it has them."""
ADDRESS_KEYS = {"id", "phase", "sender", "receiver", "exchange", "seconds", "evidence"}
"""Keys of a cell that are its own; all others, also those that a later release adds, are shared between cells that agree."""
OWN_KEYS = ("evidence", "state", "mend", "remedy", "share")
"""Keys of a row that are made here."""
STORM_KEYS: tuple[Literal["phase", "sender", "receiver", "cut"], ...] = ("phase", "sender", "receiver", "cut")
LINE = "observations.jsonl#"
POLICY = "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"
"""What the browser is to allow the page: its two blocks, and nothing else."""


# --- the data -----------------------------------------------------------------------------------------------------------


class Pool:
    """Values that are kept once and named by their number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: Any) -> int:
        """The number of a JSON value; the same for equal values."""
        scalar = value is None or isinstance(value, str | int | float)
        key: Hashable = (type(value), value) if scalar else json.dumps(value, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


def shared(value: Any, sender: str, receiver: str) -> Any:
    """The value with the two domains taken out of its strings, so that cells which only differ in them are equal."""
    if isinstance(value, str):
        text = value.replace(SENDER, "\ufffd").replace(RECEIVER, "\ufffd")
        # The longer first: one domain may end in the other.
        for domain, stand_in in sorted(((sender, SENDER), (receiver, RECEIVER)), key=lambda pair: -len(pair[0])):
            text = text.replace(domain, stand_in) if domain else text
        return text
    if isinstance(value, Mapping):
        return {k: shared(v, sender, receiver) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [shared(v, sender, receiver) for v in value]
    return value


def data(verdicts: Verdicts) -> dict[str, Any]:
    """What the page's script is given: every cell, each string once. KeyError if a key that schema 1 demands is absent.

    ``cells`` holds, per phase and exchange, one flat list: sender, receiver, row, milliseconds (-1: none), how many lines of
    the record, those lines; and so on. A ``row`` is a list of numbers of ``values``, one for each key of ``keys``.
    """
    g = grid(verdicts)
    places = {member.domain: place for place, member in enumerate(g.members)}
    groups = mends(g)
    group_of = {address: place for place, group in enumerate(groups) for address in group.cells}
    members_of = {member.domain: member for member in g.members}
    values, rows = Pool(), Pool()
    keys = list(dict.fromkeys(k for cell in verdicts["cells"] for k in cell if k not in ADDRESS_KEYS))
    keys += OWN_KEYS
    cells: list[list[list[int]]] = [[[] for _ in g.exchanges] for _ in g.phases]
    for p, phase in enumerate(g.phases):
        for (sender, receiver, exchange), cell in g.cells[phase].items():
            if sender not in members_of or receiver not in members_of:
                continue
            evidence = [str(e) for e in cell.get("evidence") or []]
            lines = [
                int(e[len(LINE) :])
                for e in evidence
                if e.startswith(LINE) and e[len(LINE) :].isascii() and e[len(LINE) :].isdigit()
            ]
            explanation, remedy = split_explanation(cell)
            whole: dict[str, Any] = {k: v for k, v in cell.items() if k not in ADDRESS_KEYS}
            whole |= {
                "explanation": explanation,
                "remedy": remedy or None,
                "share": circumstances.share(cell) or None,
                "evidence": [e for e in evidence if not e.startswith(LINE)],
                "state": list(State).index(state(cell)),
                "mend": group_of.get((phase, sender, receiver, exchange)),
            }
            row = rows.number([values.number(shared(whole.get(k), sender, receiver)) for k in keys])
            seconds = cell.get("seconds")
            flat = cells[p][g.exchanges.index(exchange)]
            flat += [places[sender], places[receiver], row, -1 if seconds is None else round(seconds * 1000), len(lines), *lines]
    raw = {s["domain"]: s for s in verdicts["servers"]}
    defined: dict[str, dict[str, Any]] = {
        c.word: {
            "means": c.meaning,
            "clause": c.clause if c.clause != "-" else "",
            "remedy": c.remedy,
            "failed": c.group is not Group.TESTBED or c.word == UNKNOWN,
            "gathered": c.word in GATHERED,
            "place": THIS_MACHINE if c.word == STRAINED else "",
        }
        for c in VOCABULARY
    }
    ended = [unfinished.cut_off(c) for c in verdicts["cells"] if c.get("cause") == TESTBED]
    if ended and all(ended):  # that one is the user's, then
        remedy = unfinished.resume(verdicts) or defined[TESTBED]["remedy"]
        defined[TESTBED] |= {"words": unfinished.CAUSE, "means": unfinished.CAUSE, "remedy": remedy}

    def plain(cause: str) -> str:
        return defined.get(cause, {}).get("words") or words.cause(cause)

    failures = Counter(cause for c in verdicts["cells"] if (cause := c.get("cause")))
    return {
        "run": verdicts.get("run"),
        "storms": [{k: storm[k] for k in STORM_KEYS} for storm in verdicts.get("storms") or []],
        "failed": [
            {"phase": entry["phase"], "domain": entry["domain"], "text": failed.sentence(entry)}
            for entry in verdicts.get("failed_servers") or []
        ],
        "complete": bool(verdicts.get("complete", False)),
        "servers": [_server(m, raw[m.domain]) for m in g.members],
        "phases": [{"name": p["name"], "settings": _settings(g, p)} for p in verdicts["phases"]],
        "exchanges": list(g.exchanges),
        "keys": keys,
        "values": values.values,
        "rows": rows.values,
        "cells": cells,
        "states": [s.value for s in State],
        "kinds": [k.value for k in Kind],
        "kind_of_state": [list(Kind).index(KINDS[s]) for s in State],
        "changes": [c.value for c in Change],
        "change": [[list(Change).index(CHANGES[a, b]) for b in Kind] for a in Kind],
        "colourings": {
            name: [vars(tone) for tone in tones]
            for name, tones in (COLOURINGS | {"cause": cause_tones([name for name, _ in failures.most_common()], plain)}).items()
        },
        "causes": {name: {"words": words.cause(name)} | defined.get(name, {}) for name in failures},
        "mends": [group.to_json(places) for group in groups],
        "words": captions(len(g.phases)),
    }


def _server(member: Member, raw: ServerEntry) -> dict[str, Any]:
    return {
        "domain": member.domain,
        "number": member.number,
        "implementation": member.implementation,
        "title": raw.get("title"),
        "version": member.version,
        "unavailable": raw.get("unavailable"),
        "mine": bool(raw.get("mine")),
    }


def _settings(g: Grid, phase: PhaseEntry) -> list[dict[str, Any]]:
    place = g.phases.index(phase["name"])
    settings_of = []
    for member in g.members:
        settings = (phase.get("settings") or {}).get(member.domain)
        settings_of.append(
            {
                "policy": member.policies[place],
                "certificate": member.certificates[place],
                "meaning": meaning((settings.get("dimensions") or {}) if settings else {}),
                "unsupported": settings.get("unsupported") if settings else None,
            }
        )
    return settings_of


# --- the file -----------------------------------------------------------------------------------------------------------


@functools.cache
def asset(name: str) -> str:
    """A file of ``html/``, as it is installed beside this one."""
    return files("testbed.report").joinpath("html", name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embed(value: Any) -> str:
    """JSON that may stand inside a script element: without any ``<``, and without what once ended a line of script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def render(verdicts: Verdicts) -> str:
    """The page. KeyError if the verdicts lack a key that schema 1 demands."""
    script = '"use strict";\n(() => {\n' + "\n".join(asset(name) for name in SCRIPTS) + "})();\n"
    style = asset("page.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(asset("page.html")).render(
        title=str(verdicts.get("title") or verdicts.get("scenario") or "Run"),
        opening=opening(verdicts),
        facts=facts(verdicts),
        policy=POLICY.format(script=_sha256(script), style=_sha256(style)),
        style=Markup(style),
        script=Markup(script),
        data=Markup(embed(data(verdicts))),
    )


def facts(verdicts: Verdicts) -> list[tuple[str, str]]:
    """What was run, when, with what: name and value, of what the verdicts have."""
    g = grid(verdicts)
    machine = verdicts.get("machine") or {}
    controls = verdicts.get("controls") or []
    seconds = (verdicts.get("timing") or {}).get("total")
    rows: list[tuple[str, object]] = [
        ("Run", verdicts.get("run")),
        ("Scenario", verdicts.get("scenario")),
        ("Started", str(verdicts.get("started") or "").replace("T", " ").replace("+00:00", " UTC")),
        ("Measured", parts(verdicts)),
        ("Took", f"{seconds:,.0f} s" if isinstance(seconds, int | float) else None),
        ("Timers", words.timers_of(verdicts, long=True)),
        (
            "Pairs measured",
            "each pair alone, in a federation of just the two"
            if verdicts.get("isolated")
            else "all in one mesh; doubtful ones again, alone",
        ),
        (
            "Control pair",
            f"got through in {sum(bool(c.get('ok')) for c in controls)} of {len(controls)} checks" if controls else None,
        ),
        ("Phases", ", ".join(g.phases)),
        ("Exchanges", ", ".join(g.exchanges)),
        *((f"{name}", ", ".join(versions)) for name, versions in g.versions.items()),
        ("Machine", ", ".join(f"{k}: {v}" for k, v in machine.items()) if isinstance(machine, Mapping) else machine),
        ("Busy machine", " ".join(busy.made_again(verdicts))),
        ("Source revision", verdicts.get("revision")),
        ("Seed", verdicts.get("seed")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


RENDERS = {"report.html": render}

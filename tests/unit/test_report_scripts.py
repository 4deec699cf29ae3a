"""The page's scripts read what Python embeds and nothing else, use all that they define, and keep to the house's habits.

The scan is a simple one: comments are taken out, names are looked for. It finds what is unused or misspelt, not what is wrong;
types are checked by ``tsc`` (tests/browser/test_script_types.py).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fake_verdicts import verdicts

from testbed.causes import CAUSES
from testbed.report import captions, html
from testbed.report.tones import COLOURINGS, cause_tones

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "testbed" / "report" / "html"
REFERENCE: dict[str, Any] = json.loads((ROOT / "results" / "reference" / "derived" / "verdicts.json").read_text())
WIDTH = 130
PURE = ("address.js", "view.js", "order.js", "layout.js", "scene.js", "words.js")
"""What follows from the data and the state alone: these ask neither the document nor the window."""

TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`", re.DOTALL)


def code(name: str) -> str:
    """A script without its comments."""
    return TOKEN.sub(lambda m: "" if m[0].startswith(("//", "/*")) else m[0], html.asset(name))


ALL = "\n".join(code(name) for name in html.SCRIPTS)
STRINGS = [m[0][1:-1] for m in TOKEN.finditer(ALL)]


def records() -> dict[str, set[str]]:
    """Record -> keys, of the types that ``data.js`` gives to what Python embeds."""
    found: dict[str, set[str]] = {}
    for comment in re.findall(r"/\*\*.*?\*/", html.asset("data.js"), re.DOTALL):
        if name := re.search(r"@typedef \{object\} (\w+)", comment):
            found[name[1]] = set(re.findall(r"@property \{.*\} \[?(\w+)", comment))
    return found


def table(name: str, script: str) -> set[str]:
    """The keys of an object literal at the top level of a script, one key a line."""
    match = re.search(rf"^const {name} = \{{\n(.*?)^\}};", code(script), re.DOTALL | re.MULTILINE)
    assert match, name
    return {key.strip('"') for key in re.findall(r"^  ([\w-]+|\"[^\"]+\"):", match[1], re.MULTILINE)}


def rich() -> dict[str, Any]:
    """Verdicts in which every record turns up, and every key that a cell may have."""
    made = json.loads(json.dumps(REFERENCE))
    made["cells"][0] |= {"history_dependent": {}, "flaky": [], "shares": {}, "interference": {}, "confirmed": True}
    return dict(made)


# --- data ---------------------------------------------------------------------------------------------------------------


def test_every_embedded_key_has_a_type_and_every_typed_key_is_embedded() -> None:
    made = html.data(rich())
    embedded = {
        "Run": made,
        "Server": made["servers"][0],
        "Phase": made["phases"][0],
        "Settings": made["phases"][0]["settings"][0],
        "Tone": made["colourings"]["outcome"][0],
        "Cause": next(cause for name, cause in made["causes"].items() if name in CAUSES),
        "Mend": made["mends"][0],
        "Storm": made["storms"][0],
        "Words": made["words"],
    }
    for name, record in embedded.items():
        assert records()[name] == set(record), name
    # A row holds all keys of cells, also of later releases; those that the page adds are all read.
    assert set(html.OWN_KEYS) <= records()["Row"] - {"number"} <= set(made["keys"])


def test_every_typed_key_is_read() -> None:
    unread = {
        f"{record}.{key}" for record, keys in records().items() for key in keys if not re.search(rf"(?:\.|[{{,]\s*){key}\b", ALL)
    }
    assert not unread


@pytest.mark.parametrize(("holder", "record"), [("run", "Run"), (r"run\.words", "Words"), ("row", "Row"), ("whole", "Row")])
def test_every_key_that_is_read_is_embedded(holder: str, record: str) -> None:
    scripts = "".join(code(name) for name in html.SCRIPTS if name != "draw.js")  # there a row is one of the matrix
    read = set(re.findall(rf"\b{holder}\.(\w+)", scripts))
    read |= {
        key.split(":")[0].split("=")[0].strip()
        for keys in re.findall(rf"\{{([^{{}}]*)\}} = (?:\w+\.)*{holder};", scripts)
        for key in keys.split(",")
    }
    assert read
    assert read <= records()[record]


def test_states_kinds_and_changes_are_called_as_in_python() -> None:
    made = html.data(verdicts(2))
    for name, words in (("STATE", made["states"]), ("KIND", made["kinds"]), ("CHANGE", made["changes"])):
        asked = {a or b for a, b in re.findall(rf"\b{name}(?:\.(\w+)|\[\"([\w-]+)\"\])", ALL)}
        assert asked
        assert asked <= set(words), name


def test_what_python_names_the_scripts_can_do_and_nothing_else() -> None:
    attributes = table("ATTRIBUTES", "view.js")
    assert table("MARKED", "view.js") == set(captions.MARKS)
    assert table("LISTS", "lists.js") == set(captions.LISTS)
    assert table("LEVELS", "order.js") | {"number", "failures"} == set(captions.ORDERS)
    assert {f"{role}-{a}" for role, a in product(("sender", "receiver"), attributes - {"version"})} | {
        "cause",
        "mend",
        "mark",
    } == set(captions.FACETS)
    assert table("TONE_OF_JUDGED", "view.js") | {"outcome", "change"} == set(captions.COLOURINGS) == {*COLOURINGS, "cause"}
    used = {tone.mark for tones in (*COLOURINGS.values(), cause_tones(CAUSES)) for tone in tones}
    assert {mark for mark in used if not mark.startswith("text:")} - {"question"} == table("MARKS", "draw.js")


@pytest.mark.parametrize("name", [name for name in COLOURINGS if name not in ("outcome", "change")])
def test_every_tone_is_one_that_the_scripts_give(name: str) -> None:
    given = set(re.findall(r'"([^"\n]+)"', code("view.js"))) | {k.value for k in html.Kind}
    assert {tone.key for tone in COLOURINGS[name] if not tone.key.startswith("TLSv")} <= given


# --- the page -----------------------------------------------------------------------------------------------------------


def patterns(found: list[str]) -> list[re.Pattern[str]]:
    """Names in scripts as patterns: ``tab-${name}`` is any tab."""
    return [re.compile(".+".join(map(re.escape, re.split(r"\$\{[^}]*\}", name)))) for name in found]


def matched(name: str, among: list[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(name) for pattern in among)


STYLE = re.sub(r"/\*.*?\*/", "", html.asset("page.css"), flags=re.DOTALL)
SELECTORS = re.findall(r"([^{};]+)\{", STYLE)
MARKUP = html.asset("page.html")
MADE_IDS = [
    *re.findall(r'\bid: [`"]([^`"]+)[`"]', ALL),
    *re.findall(r'\b(?:selectField|segments)\("([\w-]+)"', ALL),
]
ASKED_IDS = [
    *re.findall(r'\b(?:byId|controlById|jump)\([`"]([^`"]+)[`"]', ALL),
    *re.findall(r'(?:"aria-controls"|for): "([\w-]+)"', ALL),
    *re.findall(r'"aria-labelledby", [`"]([^`"]+)[`"]', ALL),
    *re.findall(r'closest\("#([\w-]+)"\)', ALL),
]


def test_every_id_that_is_asked_for_is_there() -> None:
    there = {*re.findall(r'\bid="([\w-]+)"', MARKUP), *(name for name in MADE_IDS if "$" not in name)}
    made = patterns(MADE_IDS)
    jumps = {f"{name}-heading" for name in re.findall(r'data-jump(?:="|": ")([\w-]+)"', MARKUP + ALL)}
    for name in {*ASKED_IDS, *jumps} - {"matrix"}:
        asked = patterns([name])
        assert any(matched(each, asked) for each in there) or matched(name, made) or name in MADE_IDS, name
    styled = set(re.findall(r"#([a-z][\w-]*)", " ".join(SELECTORS)))
    assert styled <= there


def test_every_id_is_used() -> None:
    own = set(re.findall(r'\bid="([\w-]+)"', MARKUP))
    referred = set(re.findall(r'(?:aria-labelledby|aria-describedby|for)="([\w-]+)"', MARKUP)) | set(
        re.findall(r'href="#([\w-]+)"', MARKUP)
    )
    styled = set(re.findall(r"#([a-z][\w-]*)", " ".join(SELECTORS)))
    asked = patterns([*ASKED_IDS, *STRINGS])
    for name in own | {name for name in MADE_IDS if "$" not in name}:
        assert name in referred | styled or matched(name, asked), name
    assert Counter(re.findall(r'\bid="([\w-]+)"', MARKUP)).most_common(1)[0][1] == 1


def test_every_class_has_a_style_and_every_style_a_class() -> None:
    given = {c for value in re.findall(r'\bclass="([^"]+)"', MARKUP) for c in value.split()}
    given |= {c for value in re.findall(r'\bclass: "([^"]+)"', ALL) for c in value.split()}
    given |= set(re.findall(r'span\([^"\n]*(?:"[^"\n]*", |, )"([a-z]+)"\)', ALL))
    given |= set(re.findall(r'classList\.toggle\("(\w+)"', ALL))
    styled = set(re.findall(r"\.([a-z][\w-]*)", " ".join(SELECTORS)))
    assert given == styled


def test_every_variable_of_the_style_is_set_and_used() -> None:
    used = set(re.findall(r"var\((--[\w-]+)\)", STYLE)) | set(re.findall(r'"(--[\w-]+)"', ALL))
    assert used == set(re.findall(r"(--[\w-]+):", STYLE))


def test_what_the_template_is_given_it_shows() -> None:
    shown = set(re.findall(r"\{\{ (\w+)|\bin (\w+)", " ".join(re.findall(r"\{[{%].*?[%}]\}", MARKUP))))
    assert {a or b for a, b in shown} - {"alarm", "point", "name", "value"} == {
        "title",
        "opening",
        "facts",
        "policy",
        "style",
        "script",
        "data",
    }


# --- the scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*html.SCRIPTS, "page.html", "page.css"])
def test_lines_are_no_wider_than_python_s(name: str) -> None:
    for number, line in enumerate(html.asset(name).splitlines(), 1):
        assert len(line) <= WIDTH, f"{name}:{number}"
        assert line == line.rstrip(), f"{name}:{number}"
        assert "\t" not in line, f"{name}:{number}"


@pytest.mark.parametrize("name", html.SCRIPTS)
def test_each_script_opens_with_its_rule_is_typed_and_short(name: str) -> None:
    text = html.asset(name)
    assert re.match(r"// Rule: [^\n]+\n(// [^\n]+\n)*// @ts-check\n", text)
    assert len(text.splitlines()) <= 300


def test_nothing_is_defined_and_not_used() -> None:
    names = re.findall(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", ALL, re.MULTILINE)
    names += re.findall(r"^const \w+ = .*?, (\w+) = ", ALL, re.MULTILINE)
    assert len(names) > 150
    assert [name for name in names if len(re.findall(rf"\b{name}\b", ALL)) < 2] == []
    assert [name for name, times in Counter(names).items() if times > 1] == []
    types = re.findall(r"@typedef (?:\{object\}|\{.*\}) (\w+)", "".join(map(html.asset, html.SCRIPTS)))
    everything = "".join(map(html.asset, html.SCRIPTS))
    assert [name for name in types if len(re.findall(rf"\b{name}\b", everything)) < 2] == []


def test_every_text_of_a_script_s_table_is_shown() -> None:
    tables = re.findall(r"^const (TEXT|\w+_TEXT|DIRECTIONS) = \{(.*?)\};", ALL, re.DOTALL | re.MULTILINE)
    assert len(tables) >= 6
    for name, body in tables:
        for key in re.findall(r"(?:^|[{,])\s*(\w+): [\"\[]", body, re.MULTILINE):
            assert re.search(rf"\b{name}\.{key}\b", ALL) or re.search(rf"\{{[^}}]*\b{key}\b[^}}]*\}} = {name};", ALL), key


@pytest.mark.parametrize("name", PURE)
def test_what_is_shown_and_where_follows_from_data_and_state_alone(name: str) -> None:
    assert not re.search(r"\b(document|window|location|history|localStorage|page|pane|canvas|byId|element)\b[.(]", code(name))
    assert not re.search(r"^let ", code(name), re.MULTILINE)


def test_drawing_decides_nothing() -> None:
    assert not re.search(r"\b(document|window|page|pane|run|CELLS|STATE|KIND|CHANGE|view|state|layout)\b", code("draw.js"))


def test_only_drawing_draws() -> None:
    others = "".join(code(name) for name in html.SCRIPTS if name != "draw.js")
    assert not re.search(r"\.(fillRect|fillText|strokeRect|stroke|fill|beginPath|lineTo|arc|clip)\((?!NO_TONE|0\))", others)

"""The page holds every cell and every state, stays small, says what is doubtful first, and lets nothing of a run act in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fake_verdicts import verdicts

from testbed.causes import CAUSES
from testbed.report import html, looks, renderers
from testbed.report.changes import CHANGES, Change, changes
from testbed.report.grid import Kind, State, grid, state
from testbed.report.opening import meaning, mends, opening, split_explanation
from testbed.report.tones import COLOURINGS, cause_tones

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "derived" / "verdicts.json"
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028&\"'` <!-- "
HOSTILE_DOMAIN = "a\"><svg onload=alert(1)>'.example"


class Page(HTMLParser):
    """The page as a browser cuts it: tags with their attributes, the text of script elements, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in self.blocks else ""
        if self.inside:
            self.blocks[tag].append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 -- the base class names it
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks[self.inside][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self) -> dict[str, Any]:
        found = json.loads(self.blocks["script"][0])
        assert isinstance(found, dict)
        return found


def unpack(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells, by id, as the page's script reads them."""
    cells = {}
    for p, x in product(range(len(data["phases"])), range(len(data["exchanges"]))):
        flat, at = data["cells"][p][x], 0
        while at < len(flat):
            s, r, row, ms, n = flat[at : at + 5]
            sender, receiver = data["servers"][s]["domain"], data["servers"][r]["domain"]
            fields = {k: data["values"][v] for k, v in zip(data["keys"], data["rows"][row], strict=True)}
            whole = json.loads(
                json.dumps(fields, ensure_ascii=False)
                .replace(html.SENDER, json.dumps(sender, ensure_ascii=False)[1:-1])
                .replace(html.RECEIVER, json.dumps(receiver, ensure_ascii=False)[1:-1])
            )
            whole["seconds"] = None if ms < 0 else ms / 1000
            whole["evidence"] = [f"observations.jsonl#{line}" for line in flat[at + 5 : at + 5 + n]] + whole["evidence"]
            cells[f"{data['phases'][p]['name']}/{sender}/{receiver}/{data['exchanges'][x]}"] = whole
            at += 5 + n
    return cells


@pytest.mark.parametrize(
    "made",
    [
        json.loads(REFERENCE.read_text()),
        verdicts(12, ("before", "test-day", "after"), exchanges=("message", "iq"), noise=0.3),
        verdicts(3, ("now",), complete=False),
    ],
    ids=["reference", "three phases", "cut short"],
)
def test_every_cell_is_there_with_all_that_is_known_of_it(made: dict[str, Any]) -> None:
    found = unpack(Page(html.render(made)).data)
    assert set(found) == {cell["id"] for cell in made["cells"]}
    for cell in made["cells"]:
        shown = found[cell["id"]]
        assert list(State)[shown["state"]] is state(cell)
        assert cell["explanation"].startswith(shown["explanation"])
        assert cell["explanation"].endswith(shown["remedy"] or "")
        assert sorted(shown["evidence"]) == sorted(cell["evidence"])
        for key in cell.keys() - html.ADDRESS_KEYS - {"explanation"}:
            assert shown[key] == cell[key], key
        assert shown["seconds"] == cell["seconds"]


def test_keys_that_a_later_release_adds_are_kept() -> None:
    made = verdicts(2)
    by = {"sender": "x.example", "receiver": made["cells"][0]["sender"], "because": f"{made['cells'][0]['receiver']} was busy"}
    made["cells"][0] |= {"interference": {"mesh": "lost", "alone": "delivered", "by": [by]}, "not-thought-of": [1, {"a": None}]}
    found = unpack(html.data(made))[made["cells"][0]["id"]]
    assert found["interference"]["by"] == [by]
    assert found["not-thought-of"] == [1, {"a": None}]
    assert unpack(html.data(made))[made["cells"][1]["id"]]["interference"] is None


def test_domains_of_which_one_ends_in_the_other_do_not_mix() -> None:
    for a, b in (("b.example", "a.b.example"), ("a.b.example", "b.example"), ("x", "xx")):
        text = f"{a} wrote to {b}, {b} refused {a}"
        assert html.shared(text, a, b).replace(html.SENDER, a).replace(html.RECEIVER, b) == text
    assert html.shared({"k": ["\ue000", 1, None]}, "a", "b") == {"k": ["\ufffd", 1, None]}


def test_ten_thousand_cells_fit_into_five_megabytes() -> None:
    made = verdicts(72)
    assert len(made["cells"]) > 10_000
    for number, cell in enumerate(made["cells"]):  # the worst case: no two cells tell the same story, and each has its evidence
        cell["explanation"] += f", and this is the {number}th " + "word " * 30
        cell["evidence"] = [f"observations.jsonl#{number * 10 + k}" for k in range(6)]
        cell["evidence"] += [f"evidence/{cell['phase']}/alone-{number}/{d}.log.gz" for d in (cell["sender"], cell["receiver"])]
    assert len(html.render(made).encode()) < 5_000_000


def hostile() -> dict[str, Any]:
    made = verdicts(4, ("before", HOSTILE))
    made["title"] = made["scenario"] = made["run"] = made["timers"] = HOSTILE
    swap = {made["servers"][0]["domain"]: HOSTILE_DOMAIN}
    text = json.dumps(made)
    for old, new in swap.items():
        text = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    made = json.loads(text)
    made["servers"][1] |= {"version": HOSTILE, "implementation": HOSTILE, "unavailable": HOSTILE}
    for phase in made["phases"]:
        for settings in phase["settings"].values():
            settings |= {"policy": HOSTILE, "dimensions": {"encryption": "none", HOSTILE: HOSTILE}, "unsupported": HOSTILE}
    for cell in made["cells"]:
        cell |= {"outcome": "bounced", "cause": HOSTILE, "fault": "sender", "explanation": f"{HOSTILE}; at the sender, {HOSTILE}"}
        cell["evidence"] = ["observations.jsonl#" + HOSTILE, "evidence/../../../../etc/passwd", HOSTILE]
    made["controls"] = [{"phase": HOSTILE, "when": "first", "ok": False, "reason": HOSTILE}]
    return made


def test_nothing_of_a_run_becomes_markup() -> None:
    quiet, loud = Page(html.render(verdicts(4))), Page(html.render(hostile()))
    assert {tag for tag, _ in loud.tags} <= {tag for tag, _ in quiet.tags} | {"section", "ul", "li"}
    assert not [a for _, attributes in loud.tags for a in attributes if a.startswith("on") or a == "style"]
    assert len(loud.blocks["script"]) == 2
    assert "<" not in loud.blocks["script"][0]
    assert "\u2028" not in loud.blocks["script"][0]
    assert loud.data["run"] == HOSTILE
    assert any(HOSTILE in text for text in loud.text)


def test_nothing_is_loaded_and_only_the_two_blocks_of_this_package_count() -> None:
    page = Page(html.render(hostile()))
    policy = (
        next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy") or ""
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, block in (("script", page.blocks["script"][1]), ("style", page.blocks["style"][0])):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [a for _, a in page.tags if a.get("src")]
    assert {a["href"] for _, a in page.tags if a.get("href")} == {
        "#matrix-heading",
        "verdicts.json",
        "../observations.jsonl",
        "../manifest.json",
        "../evidence/",
    }


@pytest.mark.parametrize("name", html.SCRIPTS)
def test_the_script_makes_elements_never_markup(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.srcdoc|https?://|setAttribute\(\"on"
    )
    assert not re.findall(forbidden, html.asset(name))


TEMPLATES = {p.name for p in (ROOT / "testbed" / "report" / "templates").iterdir()}


def test_every_asset_is_put_in_and_installed_with_the_package() -> None:
    there = {p.name for p in (ROOT / "testbed" / "report" / "html").iterdir()}
    assert there == {*html.SCRIPTS, "page.html", "page.css"}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["testbed.report"]
    assert {p.name for pattern in patterns for p in (ROOT / "testbed" / "report").glob(pattern)} - TEMPLATES == there


def test_every_state_change_and_cause_can_be_shown() -> None:
    assert [t.key for t in COLOURINGS["outcome"]] == [s.value for s in State]
    assert [t.key for t in COLOURINGS["change"]] == [c.value for c in Change]
    change = html.data(verdicts(2))["change"]
    for before, after in product(Kind, Kind):
        assert list(Change)[change[list(Kind).index(before)][list(Kind).index(after)]] is CHANGES[before, after]
    for tones in (*COLOURINGS.values(), cause_tones(CAUSES)):
        assert len({t.key for t in tones}) == len(tones)
        seen = {(t.mark, t.fill) for t in tones}
        assert len(seen) == len(tones), "two tones of one colouring look the same"
        for tone in tones:
            assert tone.mark.startswith("text:") or tone.mark in {look.mark for look in (looks.STATES | looks.CHANGES).values()}


@pytest.mark.parametrize("dark", [False, True])
def test_marks_can_be_seen_on_their_colour(dark: bool) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for tone in (t for tones in (*COLOURINGS.values(), cause_tones(CAUSES)) for t in tones):
        fill, ink = tone.dark if dark and tone.dark else (tone.fill, tone.ink)
        low, high = sorted((luminance(fill), luminance(ink)))
        wanted = 1.8 if tone.key in ("missing", "kept", "fine", "delivered") else 2.2  # what is calm may be faint
        assert (high + 0.05) / (low + 0.05) >= wanted, (tone.key, fill, ink)


RUNS: dict[str, dict[str, Any]] = {
    "small": {"servers": 12},
    "none broken": {"servers": 12, "only": "delivered"},
    "all broken": {"servers": 12, "only": "bounced"},
    "all inconclusive": {"servers": 12, "only": "inconclusive"},
    "all unsupported": {"servers": 12, "only": "unsupported"},
    "one phase": {"servers": 12, "phases": ("now",)},
    "many phases": {"servers": 4, "phases": tuple(f"day-{i}" for i in range(12))},
    "cut short": {"servers": 12, "complete": False},
    "two exchanges": {"servers": 12, "exchanges": ("message", "iq")},
    "two servers": {"servers": 2},
    "one server": {"servers": 1},
    "no server": {"servers": 0},
    "no phase": {"servers": 12, "phases": ()},
    "much noise": {"servers": 12, "noise": 0.5},
}


@pytest.mark.parametrize("name", RUNS)
def test_any_run_has_an_opening_in_plain_words(name: str) -> None:
    made = verdicts(**RUNS[name])
    assert html.render(made)
    found = opening(made)
    assert 5 < len(found.headline) < 100
    for text in (found.paragraph, *(point.text for point in found.points), *found.alarms):
        assert text.endswith("."), text
        assert text[0].isupper() or text[0].isdigit()
        assert "None" not in text
        assert "  " not in text
        assert ".." not in text
        assert not re.search(r"\b1 (pairs|servers|results|cases|attempts|phases|are|were)\b", text), text


def test_the_opening_tells_what_broke_why_and_what_would_mend_it() -> None:
    found = opening(json.loads(REFERENCE.read_text()))
    broken = sum(c is Change.NEWLY_BROKEN for c in changes(grid(json.loads(REFERENCE.read_text())), "before", "after").values())
    assert found.headline == f"{broken} of the 82 pairs that could talk stop talking"
    assert "3 servers went from 'opportunistic' to 'encrypted'" in found.paragraph
    said = {point.heading: point.text for point in found.points}
    assert "the receiver offers none (9)" in said["Why they broke"]
    assert said["What would fix most"].startswith("Changing the 3 servers set to 'cleartext' fixes all 18.")
    assert not found.alarms


def test_what_cannot_be_said_is_never_called_sound() -> None:
    made = verdicts(4, noise=0, only="delivered")
    assert opening(made).headline == "Nothing that worked stopped working"
    made["cells"][-1]["outcome"] = "inconclusive"
    assert opening(made).headline == "Nothing that worked is known to have stopped working"
    made = verdicts(4, ("now",), noise=0, only="delivered")
    assert opening(made).headline == "All 12 pairs of servers can talk"
    made["cells"][-1]["outcome"] = "inconclusive"
    assert opening(made).headline == "All 11 pairs of servers that could be judged can talk"
    assert opening(verdicts(4, ("now",), only="unsupported")).headline == "No pair of servers could be judged"


def test_the_users_own_servers_come_first() -> None:
    made = verdicts(12, noise=0)
    assert not [p for p in opening(made).points if p.heading.startswith("Your")]
    made["servers"][0]["mine"] = True
    first = opening(made).points[0]
    mine = made["servers"][0]["domain"]
    broken = [a for a, c in changes(grid(made), "before", "after").items() if c is Change.NEWLY_BROKEN and mine in a]
    assert first.heading == "Your server"
    assert first.text.endswith(f"; {len(broken)} are newly broken.")


def test_what_was_neither_measured_alone_nor_confirmed_is_counted_so() -> None:
    made = verdicts(12, noise=0)
    for cell in made["cells"]:
        cell["surprise"] = False
    made["cells"][0] |= {"outcome": "inconclusive", "cause": "unstable", "surprise": True, "confirmed": False}
    said = opening(made)
    assert "1 result was not the same every time (1 of them not measured alone: the option --confirm allows it)" in said.alarms[0]
    (note,) = [p.text for p in said.points if p.heading == "Note"]
    assert "1 differ from what the standards predict (1 of them not confirmed)" in note


def test_what_makes_a_run_doubtful_is_said_first() -> None:
    made = verdicts(12, complete=False, noise=0.3)
    made["controls"] = [
        {"phase": "before", "when": "first", "ok": True, "reason": None},
        {"phase": "after", "when": "last", "ok": False, "reason": "the message was lost"},
    ]
    cut, control, inconclusive = opening(made).alarms
    assert "88 results are missing" in cut
    assert control.startswith("A control failed (last in 'after')")
    assert "the message was lost" in control
    assert "cannot say" in inconclusive
    page = html.render(made)
    assert page.index("Before you read on") < page.index('id="headline"')
    assert 'role="alert"' not in html.render(verdicts(12, noise=0))


def test_mends_group_failures_by_what_the_party_at_fault_is_set_to() -> None:
    made = verdicts(48, noise=0)
    found = mends(grid(made))
    assert [len(m.cells) for m in found] == sorted((len(m.cells) for m in found), reverse=True)
    cells = [cell for m in found for cell in m.cells]
    assert len(cells) == len(set(cells)) == sum(c["fault"] in ("sender", "receiver") for c in made["cells"])
    assert {m.attribute for m in found} == {"policy", "certificate"}
    expired = next(m for m in found if m.label == "expired")
    at_fault = {
        c["sender" if c["fault"] == "sender" else "receiver"] for c in made["cells"] if c["cause"] == "certificate-expired"
    }
    assert set(expired.domains) == at_fault


ANY = {"role": None, "domain": None, "title": None, "text": "do", "set": None}
AT_SENDER = {"role": "sender", "domain": "a.example", "title": "X", "text": "do; this", "set": None}
AT_RECEIVER = {"role": "receiver", "domain": "b.example", "title": "Y", "text": "do that", "set": None}


@pytest.mark.parametrize(
    ("reason", "fault", "remedies", "fix"),
    [
        ("no TLS (an error came back to the sender)", "sender", [AT_SENDER], "fix at the sender, X: do; this"),
        ("no TLS", "both", [AT_SENDER, AT_RECEIVER], "fix at the sender, X: do; this; fix at the receiver, Y: do that"),
        ("no TLS", "network", [ANY], "to fix it: do"),
        ("a conflict", None, [AT_RECEIVER], "fix at the receiver, Y: do that"),
        (
            "a conflict",
            None,
            [AT_SENDER, AT_RECEIVER],
            "fix at either side: at the sender, X: do; this — or at the receiver, Y: do that",
        ),
        ("delivered over TLSv1.3", None, [], ""),
    ],
)
def test_the_remedy_is_parted_from_what_happened(
    reason: str, fault: str | None, remedies: list[dict[str, Any]], fix: str
) -> None:
    cell = {"explanation": f"{reason}; {fix}", "reason": reason, "fault": fault, "remedies": remedies}
    assert split_explanation(cell) == (reason, fix)


def test_verdicts_of_before_the_key_remedies_say_both_in_one_sentence() -> None:
    assert split_explanation({"explanation": "no TLS; to mend it: do"}) == ("no TLS; to mend it: do", "")


def test_a_policy_is_told_in_plain_words() -> None:
    dims = {
        "encryption": "required",
        "authentication": ["external"],
        "tls_min": "1.2",
        "tls_max": None,
        "forward_secrecy": "any",
        "bidi": "on",
    }
    assert meaning(dims) == "demands encryption; demands a certificate that verifies; TLS 1.2 or newer; bidi: on"
    assert meaning({}) == ""


def test_the_page_is_drawn_with_every_report_and_the_same_each_time() -> None:
    assert renderers()["report.html"] is html.render
    assert html.render(verdicts(12)) == html.render(verdicts(12))


def test_what_the_verdicts_do_not_say_is_not_among_the_facts() -> None:
    """A file that was kept may lack whatever is NotRequired; `Timers: None` says nothing."""
    lacking = {"Timers": "timers", "Seed": "seed", "Took": "timing", "Machine": "machine", "Source revision": "revision"}
    bare: Any = {key: value for key, value in verdicts().items() if key not in {*lacking.values(), "stretch"}}
    assert not set(lacking) & {name for name, _ in html.facts(bare)}
    assert not any("None" in value for _, value in html.facts(bare))
    assert dict(html.facts({**bare, "timers": "short", "stretch": 3}))["Timers"].startswith("short: ")
    assert "3 times" in dict(html.facts({**bare, "timers": "stock", "stretch": 3}))["Timers"]

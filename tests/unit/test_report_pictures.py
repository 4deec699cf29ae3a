"""Pictures and text hold every pair at every size, and the same verdicts give the same bytes."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib.image
import pytest
from fake_verdicts import verdicts

from testbed import report
from testbed.report import heatmap, looks
from testbed.report.changes import changes
from testbed.report.grid import grid
from testbed.report.text import plain, render_text

SVG = "{http://www.w3.org/2000/svg}"


def words_of(svg: bytes) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("servers", [1, 2, 12, 48, 96])
def test_svg_parses_and_names_every_server(servers: int) -> None:
    made = verdicts(servers)
    for svg in (heatmap.render_phase(made, "after", "message", "svg"), heatmap.render_cutover(made, "message", "svg")):
        found = words_of(svg)
        assert made["title"] in " ".join(found)
        for server in made["servers"]:
            # Once at its row and once at its column.
            assert found.count(str(server["index"])) >= 2
        for name in {f"{s['implementation']}@{s['release']}" for s in made["servers"]}:
            assert found.count(name) >= 2
        assert any(made["run"] in line for line in found)


@pytest.mark.parametrize("servers", [2, 12, 48])
def test_png_parses_and_is_not_blank(servers: int) -> None:
    png = heatmap.render_phase(verdicts(servers), "before", "message", "png")
    pixels = matplotlib.image.imread(io.BytesIO(png), format="png")
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 400
    assert pixels[..., :3].min() < 0.2


@pytest.mark.parametrize("fmt", ["png", "svg"])
def test_same_verdicts_same_bytes(fmt: Any) -> None:
    one, two = (heatmap.render_cutover(verdicts(12), "message", fmt) for _ in range(2))
    assert one == two
    assert b"matplotlib.org" not in one


def test_a_title_may_hold_anything() -> None:
    made = verdicts(12)
    made["title"] = "a $ sign, $x^$ and <b> & “quotes” " + "very long " * 30
    made["servers"][0]["implementation"] = "some-implementation-with-a-name-that-never-ends"
    assert any("$x^$ and <b>" in line for line in words_of(heatmap.render_phase(made, "before", "message", "svg")))


def test_wrong_arguments_are_named() -> None:
    made = verdicts(2, ("only",))
    with pytest.raises(ValueError, match="no phase 'after'; there are: only"):
        heatmap.render_phase(made, "after", "message", "svg")
    with pytest.raises(ValueError, match="one phase alone"):
        heatmap.render_cutover(made, "message", "svg")
    with pytest.raises(ValueError, match="format 'gif'"):
        heatmap.render_phase(made, "only", "message", "gif")  # type: ignore[arg-type]


def matrices(text: str, servers: int) -> list[dict[int, str]]:
    """The cells of every row, of every matrix in the text, with blocks of columns joined; the key's rows are no matrix."""
    allowed = {look.char for table in (looks.STATES, looks.CHANGES) for look in table.values()} | set("\\| ")
    found: list[dict[int, str]] = []
    current: dict[int, str] = {}
    for line in text.splitlines():
        if line.startswith("=="):
            found.append(current := {})
            continue
        number, cells = _split(line)
        if number is not None and 0 <= number < servers and cells and set(cells) <= allowed:
            current[number] = current.get(number, "") + cells.replace(" ", "").replace("|", "")
    return [rows for rows in found if len(rows) == servers and all(len(cells) == servers for cells in rows.values())]


def _split(line: str) -> tuple[int | None, str]:
    parts = line.split()
    for place, part in enumerate(parts[:5]):
        if part.isdigit():
            return int(part), " ".join(parts[place + 1 :])
    return None, ""


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("servers", [2, 12, 48, 96])
def test_text_holds_every_pair_and_keeps_to_the_width(servers: int, width: int) -> None:
    made = verdicts(servers)
    text = render_text(made, colour=False, width=width)
    assert max(map(len, text.splitlines())) <= width
    before, after, change = matrices(text, servers)
    g = grid(made)
    place = {member.domain: column for column, member in enumerate(g.members)}
    number = {member.domain: member.number for member in g.members}
    for matrix, phase in ((before, "before"), (after, "after")):
        for (sender, receiver, _), found in g.states(phase):
            assert matrix[number[sender]][place[receiver]] == looks.STATES[found].char
    for (sender, receiver, _), became in changes(g, "before", "after").items():
        assert change[number[sender]][place[receiver]] == looks.CHANGES[became].char
    for member in g.members:
        assert any(line.split()[:1] == [str(member.number)] and member.implementation[:6] in line for line in text.splitlines())


def test_colour_only_adds_sequences() -> None:
    made = verdicts(12)
    bare = render_text(made, colour=False, width=100)
    assert "\x1b" not in bare
    assert plain(render_text(made, colour=True, width=100)) == bare


def test_surprises_come_first_and_are_limited() -> None:
    text = render_text(verdicts(12, noise=0.5), colour=False, width=100)
    assert text.index("Not what the standards predict") < text.index("12 servers: rows send")
    assert text.count("expected ") <= 25
    assert " more\n" in text


def test_every_report_is_drawn_under_its_name() -> None:
    made = verdicts(3, exchanges=("message",))
    made["phases"][1]["name"] = "a/b"
    for c in made["cells"]:
        c["phase"] = "a/b" if c["phase"] == "after" else c["phase"]
    drawn = dict(report.render_all(made))
    assert {
        "summary.json",
        "matrix.txt",
        "matrix-before.png",
        "matrix-before.svg",
        "matrix-a%2Fb.png",
        "matrix-a%2Fb.svg",
        "cutover.png",
        "cutover.svg",
    } <= set(drawn)
    assert json.loads(drawn["summary.json"])["servers"] == 3
    assert all(isinstance(content, bytes) for content in drawn.values())


def test_exchanges_and_single_phases_change_the_names() -> None:
    names = [name for name, _ in report.render_all(verdicts(2, ("now",), exchanges=("message", "iq")))]
    assert {"matrix-now-message.png", "matrix-now-iq.svg"} <= set(names)
    assert not [name for name in names if name.startswith("cutover")]


def test_renderers_is_a_table() -> None:
    assert report.RENDERERS is report.renderers()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = report.nonsense

"""Every kind of picture, at every size and in every format: nothing is clipped, numbers add up, wrong arguments are named."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from fake_verdicts import verdicts
from typer.testing import CliRunner

from testbed import report
from testbed.cli.app import app
from testbed.model import InputError
from testbed.report import canvas, flow, looks, plots, times
from testbed.report.changes import CHANGES, Change, changes
from testbed.report.grid import DELIVERED, KINDS, Kind, State, grid

SVG = "{http://www.w3.org/2000/svg}"
REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
RUNS: dict[str, Any] = {
    "12": lambda: verdicts(12),
    "48": lambda: verdicts(48, ("before", "test-day", "after")),
    "many phases": lambda: verdicts(6, tuple(f"a-phase-with-a-long-name-{i}" for i in range(12))),
    "two exchanges": lambda: verdicts(12, exchanges=("message", "iq")),
    "cut short": lambda: verdicts(12, complete=False),
    "none broken": lambda: verdicts(6, only="delivered", noise=0),
    "all broken": lambda: verdicts(6, only="lost"),
    "all unsupported": lambda: verdicts(6, only="unsupported"),
    "long names": lambda: long_names(),
    "two servers": lambda: verdicts(2),
    "one server": lambda: verdicts(1),
    "no server": lambda: verdicts(0),
}


def long_names() -> dict[str, Any]:
    made = verdicts(48)
    for server in made["servers"]:
        server["implementation"] = "an-implementation-with-a-name-that-never-ends-" * 2 + server["implementation"]
    made["title"] = "a $ sign, $x^$ and <b> & “quotes” " + "very long " * 30
    return made


def texts(svg: bytes) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float, float, float]]:
    """Every horizontal text that is drawn: what, from where to where, and how large the paper is, in inches."""
    found: list[tuple[str, float, float, float, float]] = []
    real = canvas.Canvas.text

    def text(self: canvas.Canvas, x: float, y: float, words: str, size: float, **more: Any) -> None:
        if not more.get("rotation"):
            wide = canvas.extent(words, size, more.get("weight", "normal"))
            start = x - {"left": 0.0, "center": wide / 2, "right": wide}[more.get("ha", "left")]
            width, height = self.figure.get_size_inches()
            assert 0 <= y <= height, words
            found.append((words, start, start + wide, width, y))
        real(self, x, y, words, size, **more)

    monkeypatch.setattr(canvas.Canvas, "text", text)
    return found


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("kind", plots.PLOTS)
def test_no_text_is_clipped(kind: str, name: str, placed: list[tuple[str, float, float, float, float]]) -> None:
    svg = plots.draw(RUNS[name](), kind, "svg")
    assert placed
    for words, start, stop, width, _ in placed:
        assert start >= 0, words
        assert stop <= width, words
    assert RUNS[name]()["run"] in " ".join(texts(svg))


@pytest.mark.parametrize("name", ["12", "48", "long names", "many phases", "two exchanges"])
@pytest.mark.parametrize("kind", ["flow", "causes", "times", "reachability"])
def test_no_text_lies_on_another(kind: str, name: str, placed: list[tuple[str, float, float, float, float]]) -> None:
    plots.draw(RUNS[name](), kind, "svg")
    for i, (one, a, b, _, y) in enumerate(placed):
        for two, c, d, _, z in placed[i + 1 :]:
            assert abs(y - z) > 0.075 or b <= c + 0.005 or d <= a + 0.005, (one, two)


@pytest.mark.parametrize(
    ("kind", "fmt"), [*((kind, fmt) for kind in plots.PLOTS for fmt in ("png", "svg")), ("matrix", "pdf"), ("flow", "pdf")]
)
def test_same_verdicts_same_bytes_in_every_format(kind: str, fmt: str) -> None:
    one, two = (plots.draw(verdicts(6), kind, fmt) for _ in range(2))
    assert one == two
    if fmt == "png":
        pixels = matplotlib.image.imread(io.BytesIO(one), format="png")
        assert pixels[..., :3].min() < 0.2
    elif fmt == "svg":
        assert set(re.findall(r"font-family: ([^;\"]+)", one.decode())) == {"'DejaVu Sans', sans-serif"}
        assert texts(one)
    else:
        # The fonts that are named are embedded, as outlines that can be searched.
        assert re.search(rb"/BaseFont /\w{6}\+DejaVuSans", one)
        assert b"/FontFile2" in one
        assert not re.search(rb"CreationDate|Producer|Creator", one)


def test_the_flow_counts_every_pair_once_per_step() -> None:
    made = verdicts(48, ("before", "test-day", "after"))
    g = grid(made)
    expected: Counter[Change] = Counter()
    for before, after in pairwise(g.phases):
        expected.update(changes(g, before, after).values())
    shown = texts(plots.draw(made, "flow", "svg"))
    for change, look in looks.CHANGES.items():
        assert any(t.startswith(look.label) and t.endswith(f" {expected[change]:,}") for t in shown) == (expected[change] > 0)


def test_labels_move_apart_by_as_little_as_it_takes() -> None:
    assert flow._apart([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    crowded = flow._apart([1.0, 1.01, 1.02, 1.03])
    assert crowded == sorted(crowded)
    assert all(b - a > flow.LINE * 0.999 for a, b in pairwise(crowded))
    assert flow._apart([]) == []


def test_causes_are_counted_on_both_sides() -> None:
    made = verdicts(12, noise=0)
    shown = texts(plots.draw(made, "causes", "svg", phase="after"))
    g = grid(made)
    broken = [a for a, s in g.states("after") if KINDS[s] is Kind.BROKEN]
    totals = [re.fullmatch(r"([\d,]+) of ([\d,]+)", t) for t in shown]
    assert sum(int(m.group(1)) for m in totals if m) == 2 * len(broken)
    assert "Phase “after”: why 48 ordered pairs did not get through" in shown
    assert any(t.startswith("tls-not-offered (") for t in shown)


def test_more_causes_than_colours_are_put_together() -> None:
    made = verdicts(12, only="bounced")
    for n, cell in enumerate(made["cells"]):
        cell["cause"] = f"cause-{n % 13}"
    shown = texts(plots.draw(made, "causes", "svg"))
    assert sum(t.startswith("cause-") for t in shown) == len(looks.SERIES)
    assert any(t.startswith("5 other causes (") for t in shown)


def test_times_are_of_answers_alone() -> None:
    made = verdicts(4, ("now",), only="delivered", noise=0)
    made["cells"][0] |= {"outcome": "lost", "seconds": None}
    made["cells"][1] |= {"outcome": "bounced", "seconds": 0.0}
    made["cells"][2] |= {"outcome": "bounced", "seconds": 10.2}
    shown = texts(plots.draw(made, "times", "svg"))
    assert "1 without any answer: no time to draw" in shown
    assert "≤ 0.001 s" in shown
    assert "100 s" in shown
    assert "10.2 s" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.001, "1 ms"), (0.0994, "99 ms"), (0.1, "0.10 s"), (0.996, "1.0 s"), (10.04, "10.0 s"), (200.2, "200 s")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert times._seconds(seconds) == text


def test_a_quantile_is_a_time_that_was_measured() -> None:
    assert times._quantile([1.0], 0.95) == 1.0
    assert times._quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert times._quantile([float(n) for n in range(1, 101)], 0.95) == 95.0


def test_reachability_says_the_same_as_the_summary() -> None:
    made = verdicts(12)
    counted = report.renderers()["summary.json"](made)
    assert counted
    shown = texts(plots.draw(made, "reachability", "svg"))
    g = grid(made)
    for phase in g.phases:
        found = Counter(s for _, s in g.states(phase))
        good = sum(n for s, n in found.items() if KINDS[s] in DELIVERED)
        assert f"{good:,} of {good + found[State.BOUNCED] + found[State.LOST]:,}" in shown


def test_order_has_every_state_and_every_band_a_look() -> None:
    assert len(looks.ORDER) == len(set(looks.ORDER)) == len(State)
    assert set(CHANGES.values()) <= set(looks.CHANGES)
    assert len(set(looks.SERIES)) == len(looks.SERIES)


def test_only_what_a_run_has_is_drawn_at_every_run() -> None:
    two, one = (dict(report.render_all(verdicts(4, phases))) for phases in (("before", "after"), ("now",)))
    assert {"flow.png", "causes.png", "reachability.png"} <= two.keys()
    assert "times.png" not in two
    assert "flow.png" not in one


@pytest.mark.parametrize(
    ("kind", "fmt", "more", "said"),
    [
        ("pie", "svg", {}, "no picture `pie`\n  allowed: matrix, cutover, flow, causes, times, reachability"),
        ("flow", "gif", {}, "no format `gif`\n  allowed: png, svg, pdf"),
        ("flow", "svg", {"phase": "after"}, "shows all phases at once"),
        ("matrix", "svg", {"phase": "later"}, "no phase `later` in this run\n  allowed: before, after"),
        ("matrix", "svg", {"exchange": "iq"}, "no exchange `iq` in this run\n  allowed: message"),
    ],
)
def test_wrong_arguments_are_named(kind: str, fmt: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as raised:
        plots.draw(verdicts(2), kind, fmt, **more)
    assert said in str(raised.value)


@pytest.mark.parametrize("kind", ["flow", "cutover"])
def test_one_phase_has_no_change_to_draw(kind: str) -> None:
    with pytest.raises(InputError, match="compares phases, and this run has 1"):
        plots.draw(verdicts(2, ("only",)), kind, "svg")


def test_a_picture_from_the_command_line(tmp_path: Path) -> None:
    runner, target = CliRunner(), tmp_path / "flow.svg"
    result = runner.invoke(app, ["plot", str(REFERENCE), "flow", "--output", str(target)])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert texts(target.read_bytes())
    assert runner.invoke(app, ["plot", str(REFERENCE), "matrix", "--format", "png"]).stdout_bytes.startswith(b"\x89PNG")
    for kind in plots.PLOTS:
        assert f"{kind}: " in runner.invoke(app, ["plot", "--help"]).stdout


def test_help_loads_no_plotter() -> None:
    code = "import sys, testbed.cli; sys.exit('matplotlib' in sys.modules or 'duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

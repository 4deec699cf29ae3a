"""What a person does with report.html, done in a real browser: look, click, walk, filter, link, go back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import ROOT, scheme, size
from fake_verdicts import verdicts
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from testbed.report import looks
from testbed.report.changes import Change, changes
from testbed.report.grid import KINDS, Kind, grid

pytestmark = pytest.mark.browser

REFERENCE: dict[str, Any] = json.loads((ROOT / "results" / "reference" / "derived" / "verdicts.json").read_text())
A, B = "ejabberd-trixie-opportunistic.example", "jabberd2-trixie-authenticated.example"
PAIR = f"sender={A}&receiver={B}"
Page = Callable[..., str]


def find(browser: Chrome, css: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, css)


def address(browser: Chrome) -> dict[str, list[str]]:
    return parse_qs(urlsplit(browser.current_url).fragment)


def story(browser: Chrome) -> str:
    return find(browser, "#story").text


def until(browser: Chrome, test: Callable[[], bool]) -> None:
    WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: test())


def painted(browser: Chrome) -> None:
    """Wait until what was asked for is drawn."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")


def middle(browser: Chrome) -> tuple[int, int]:
    """Where the cell that has the grid's focus is, in the window."""
    x, y = browser.execute_script(
        "const id = document.getElementById('matrix').getAttribute('aria-activedescendant');"
        "const box = document.getElementById(id).getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    return round(x), round(y)


def focused(browser: Chrome) -> str:
    return str(
        browser.execute_script(
            "return document.getElementById(document.getElementById('matrix').getAttribute('aria-activedescendant')).ariaLabel"
        )
    )


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser, duration=10).send_keys(*keys).perform()


def colours(browser: Chrome) -> dict[str, str]:
    """The colour that each square really has on the screen, by what a screen reader says of it; walks through all of them."""
    painted(browser)
    found: dict[str, str] = browser.execute_script(
        """
        const grid = document.getElementById('matrix'), canvas = document.getElementById('matrix-canvas');
        const c = canvas.getContext('2d'), scale = canvas.width / canvas.clientWidth, found = {};
        const key = (key, ctrlKey = false) => grid.dispatchEvent(new KeyboardEvent('keydown', { key, ctrlKey, bubbles: true }));
        grid.focus();
        key('Home', true);
        const rows = Number(grid.getAttribute('aria-rowcount')), columns = Number(grid.getAttribute('aria-colcount'));
        for (let i = 0; i < rows; i++) {
          key('Home');
          for (let j = 0; j < columns; j++) {
            const cell = document.getElementById(grid.getAttribute('aria-activedescendant'));
            if (Number(cell.getAttribute('aria-colindex')) !== j + 1) throw new Error('walked astray');
            const at = new DOMMatrix(getComputedStyle(cell).transform), side = parseFloat(cell.style.width);
            const pixel = c.getImageData((at.e + side * 0.14) * scale, (at.f + side * 0.5) * scale, 1, 1).data;
            found[cell.ariaLabel] = '#' + [...pixel].slice(0, 3).map((n) => n.toString(16).padStart(2, '0')).join('');
            key('ArrowRight');
          }
          key('ArrowDown');
        }
        grid.blur();
        return found;
        """
    )
    return found


def ends(label: str) -> tuple[str, str]:
    """The two domains out of what is said of a square: ``5 a.example to 11 b.example, bounced …``."""
    sender, receiver = label.split(",")[0].split(" to ")
    return sender.split()[1], receiver.split()[1]


# --- what is drawn ------------------------------------------------------------------------------------------------------


def test_every_square_has_the_colour_of_what_became_of_its_pair(browser: Chrome, page: Page) -> None:
    page(REFERENCE, "#phase=after")
    g = grid(REFERENCE)
    found = {ends(label): colour for label, colour in colours(browser).items() if "itself" not in label}
    assert found == {address[:2]: looks.STATES[s].fill for address, s in g.states("after")}
    page(REFERENCE, "#from=before&to=after")
    found = {ends(label): colour for label, colour in colours(browser).items() if "itself" not in label}
    assert found == {address[:2]: looks.CHANGES[c].fill for address, c in changes(g, "before", "after").items()}


@pytest.mark.parametrize("by", ["encryption", "authentication", "tls", "cause", "surprise"])
def test_each_colouring_colours_every_square_and_explains_its_colours(browser: Chrome, page: Page, by: str) -> None:
    made = verdicts(12, ("before", "test-day", "after"), noise=0.3)
    page(made, f"#phase=test-day&by={by}")
    assert Select(find(browser, "#by")).first_selected_option.get_attribute("value") == by
    cells = colours(browser)
    assert len(cells) == 144
    legend = browser.find_elements(By.CSS_SELECTOR, "#legend button")
    assert len(legend) > 1
    assert sum(int(b.find_element(By.CSS_SELECTOR, ".n").text) for b in legend) == 132
    labels = {b.find_element(By.CSS_SELECTOR, "span").text for b in legend}
    assert all(any(f", {label}" in said for label in labels) for said in cells if "itself" not in said)


def test_the_first_view_says_what_breaks_and_why(browser: Chrome, page: Page) -> None:
    page(REFERENCE)
    assert find(browser, "h1").text == "18 of the 82 pairs that could talk stop talking"
    assert "18 pairs newly broken" in find(browser, "#status").text
    assert "the receiver insists on encryption" in story(browser)
    assert "3 servers set to 'cleartext'" in story(browser)
    assert not browser.find_elements(By.CSS_SELECTOR, ".alarms:not(noscript *)")


def test_what_is_doubtful_is_said_on_top(browser: Chrome, page: Page) -> None:
    made = verdicts(6, complete=False) | {"controls": [{"phase": "after", "when": "last", "ok": False, "reason": "lost"}]}
    page(made)
    alarm = find(browser, "[role=alert]")
    assert "A control failed" in alarm.text
    assert "cut short" in alarm.text
    assert alarm.location["y"] < find(browser, "h1").location["y"]


# --- choosing a pair ----------------------------------------------------------------------------------------------------


def test_a_click_tells_the_story_and_the_back_button_takes_it_back(browser: Chrome, page: Page) -> None:
    page(REFERENCE, f"#phase=after&{PAIR}")
    x, y = middle(browser)
    find(browser, "#story .bar button").click()
    until(browser, lambda: "sender" not in address(browser))
    assert "The way back" not in story(browser)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(x, y)
    actions.click().perform()
    until(browser, lambda: "sender" in address(browser))
    assert address(browser) == {"phase": ["after"], "sender": [A], "receiver": [B]}
    told = story(browser)
    cell = next(c for c in REFERENCE["cells"] if c["id"] == f"after/{A}/{B}/message")
    assert cell["cause"] in told
    assert cell["expected"]["because"] in told
    assert "surprise" in told
    links = {a.get_attribute("href") for a in browser.find_elements(By.CSS_SELECTOR, "#story .evidence a")}
    run = browser.current_url.partition("/derived/")[0]
    assert {f"{run}/{path}" for path in cell["evidence"] if not path.startswith("observations")} <= links
    assert f"{run}/observations.jsonl" in links
    commands = [code.text for code in browser.find_elements(By.CSS_SELECTOR, "#story code")]
    assert [c.split()[1] for c in commands] == ["explain", "rerun"]
    assert all(c.startswith(".venv/bin/testbed ") and c.endswith(f" {A} {B}") for c in commands)
    browser.back()
    until(browser, lambda: "sender" not in address(browser))
    assert A not in story(browser)
    browser.forward()
    until(browser, lambda: A in story(browser))


def test_the_grid_is_walked_with_the_keyboard(browser: Chrome, page: Page) -> None:
    page(REFERENCE, "#phase=after")
    for _ in range(40):
        press(browser, Keys.TAB)
        if browser.switch_to.active_element.get_attribute("id") == "matrix":
            break
    assert browser.switch_to.active_element.get_attribute("role") == "grid"
    domains = [m.domain for m in grid(REFERENCE).members]
    press(browser, Keys.HOME)
    assert "does not write to itself" in focused(browser)
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert ends(focused(browser)) == (domains[1], domains[3])
    press(browser, Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.END)
    assert ends(focused(browser)) == (domains[0], domains[11])
    assert focused(browser).endswith("bounced: an error came back to the sender, tls-required")
    press(browser, Keys.PAGE_DOWN)
    assert ends(focused(browser)) == (domains[4], domains[11])
    press(browser, Keys.ENTER)
    until(browser, lambda: address(browser).get("sender") == [domains[4]])
    assert browser.switch_to.active_element.get_attribute("id") == "story-heading"
    press(browser, Keys.ESCAPE)
    until(browser, lambda: "sender" not in address(browser))
    assert browser.switch_to.active_element.get_attribute("id") == "matrix"
    assert ends(focused(browser)) == (domains[4], domains[11])


def test_a_list_leads_to_its_cells(browser: Chrome, page: Page) -> None:
    page(REFERENCE)
    tabs = {t.text.splitlines()[0]: t for t in browser.find_elements(By.CSS_SELECTOR, "[role=tab]")}
    assert list(tabs)[:6] == [
        "Surprises",
        "Newly broken",
        "Silently lost",
        "Still in cleartext",
        "History-dependent",
        "Disturbed",
    ]
    assert tabs["Surprises"].get_attribute("aria-selected") == "true"
    surprises = sum(c["surprise"] for c in REFERENCE["cells"])
    assert tabs["Surprises"].text.split() == ["Surprises", str(surprises)]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#list a.pair")) == surprises
    tabs["Newly broken"].click()
    until(browser, lambda: address(browser).get("list") == ["broken"])
    links = browser.find_elements(By.CSS_SELECTOR, "#list a.pair")
    assert len(links) == 18
    there = parse_qs(urlsplit(str(links[3].get_attribute("href"))).fragment)
    links[3].click()
    until(browser, lambda: "sender" in address(browser))
    assert address(browser) == there
    assert there["sender"][0] in story(browser)
    assert "newly broken" in story(browser)
    top = "return document.getElementById('matrix-heading').getBoundingClientRect().y"
    until(browser, lambda: abs(browser.execute_script(top)) < 60)


def test_history_interference_and_doubt_are_told(browser: Chrome, page: Page) -> None:
    made = verdicts(4, noise=0)
    a, b, c = (s["domain"] for s in made["servers"][:3])
    cell = next(x for x in made["cells"] if x["id"] == f"after/{a}/{b}/message")
    cell |= {"history_dependent": {"cold": "bounced", "warm": "delivered"}, "flaky": ["bounced", "lost"], "confirmed": False}
    cell["interference"] = {
        "mesh": "lost",
        "alone": "bounced",
        "by": [{"sender": c, "receiver": b, "because": "it tried without pause"}],
    }
    cell["shares"] = {"cold": [5, 8], "warm": [8, 8], "interval": {"cold": [0.31, 0.86], "warm": [0.68, 1]}}
    made["servers"][0]["mine"] = True
    page(made, f"#phase=after&sender={a}&receiver={b}&list=history")
    told = story(browser)
    assert "Depends on history: bounced if the two had not talked before, delivered if they had" in told
    assert "Attempts of one kind disagreed: bounced, lost" in told
    share = "delivers in 5 of 8 cold starts (31 to 86 %) and in 8 of 8 warm tries (68 to 100 %)"
    assert f"By itself this pair {share}." in told
    assert share in find(browser, "#list").text
    assert "Disturbed by third parties: lost in the mesh, bounced with just the two" in told
    assert f"{c} → {b}: it tried without pause" in told
    assert "no: it was measured once" in told
    assert "★ yours" in told
    assert len(browser.find_elements(By.CSS_SELECTOR, "#list a.pair")) == 1


# --- filters and states ---------------------------------------------------------------------------------------------------


def test_text_and_facets_filter_the_matrix_and_the_lists(browser: Chrome, page: Page) -> None:
    page(REFERENCE, "#phase=after")
    find(browser, "#q").send_keys("jabberd2 tls-required")
    wanted = [
        c for c in REFERENCE["cells"]
        if c["phase"] == "after" and c["cause"] == "tls-required" and "jabberd2" in c["sender"] + c["receiver"] + c["explanation"]
    ]  # fmt: skip
    until(browser, lambda: f"{len(wanted)} of 132 squares pass the filter" in find(browser, "#status").text)
    assert address(browser)["q"] == ["jabberd2 tls-required"]
    facet = find(browser, "[data-facet=sender-policy]")
    facet.find_element(By.CSS_SELECTOR, "summary").click()
    box = facet.find_element(By.CSS_SELECTOR, "input[value=cleartext]")
    box.click()
    policy = {d: s["policy"] for d, s in REFERENCE["phases"][1]["settings"].items()}
    left = [c for c in wanted if policy[c["sender"]] == "cleartext"]
    until(browser, lambda: f"{len(left)} of 132 squares" in find(browser, "#status").text)
    find(browser, "#tab-view").click()
    assert find(browser, "#tab-view .n").text == str(len(left))
    find(browser, "#clear").click()
    until(browser, lambda: "filter" not in find(browser, "#status").text)
    assert not box.is_selected()
    find(browser, "#legend button[data-tone=cleartext]").click()
    until(browser, lambda: "6 of 132 squares" in find(browser, "#status").text)
    find(browser, "#fold").click() if find(browser, "#fold").is_displayed() else None
    until(browser, lambda: find(browser, "#matrix").get_attribute("aria-rowcount") == "3")


STATES = [
    "#phase=before&by=tls",
    "#from=before&to=after&by=cause",
    f"#phase=after&by=cause&order=policy&q=jabberd2&sender-policy=cleartext&sender-policy=encrypted&fold=1&size=21&list=lost&{PAIR}",
    "#phase=after&by=surprise&order=failures&mark=surprise&list=disturbed",
    "#from=after&to=before&order=certificate&mend=policy%3Acleartext&tone=restored",
]


@pytest.mark.parametrize("fragment", STATES)
def test_a_link_to_a_state_opens_that_state(browser: Chrome, page: Page, fragment: str) -> None:
    page(REFERENCE, fragment)
    shown = parse_qs(fragment[1:])
    if "by" in shown:
        assert Select(find(browser, "#by")).first_selected_option.get_attribute("value") == shown["by"][0]
    if "order" in shown:
        assert Select(find(browser, "#order")).first_selected_option.get_attribute("value") == shown["order"][0]
    assert find(browser, "#q").get_attribute("value") == shown.get("q", [""])[0]
    pressed = find(browser, "[data-view][aria-pressed=true]").text
    assert pressed == (shown["phase"][0] if "phase" in shown else "What changed")
    if "list" in shown:
        assert find(browser, f"#tab-{shown['list'][0]}").get_attribute("aria-selected") == "true"
    if "sender" in shown:
        assert shown["sender"][0] in story(browser)
        assert story(browser).index("In 'after'") < story(browser).index("In 'before'")
    # Any change keeps all the rest: the address that is written has what was read.
    Select(find(browser, "#order")).select_by_value("number")
    until(browser, lambda: address(browser).get("order") == ["number"])
    assert address(browser) == shown | {"order": ["number"]}


def test_what_cannot_be_said_is_never_called_sound(browser: Chrome, page: Page) -> None:
    page(verdicts(4, complete=False))
    assert "cannot be compared" in find(browser, "#status").text
    page(verdicts(4, only="inconclusive"))
    assert "12 cannot be compared" in find(browser, "#status").text
    assert "Nothing is known to have broken" in story(browser)
    find(browser, "[data-view='0']").click()
    until(browser, lambda: find(browser, "#status").text == "In 'before': no pair could be judged.")
    assert "Nothing is known to have failed" in story(browser)


def test_an_old_link_is_no_error(browser: Chrome, page: Page) -> None:
    page(
        REFERENCE,
        "#phase=gone&by=__proto__&order=toString&list=constructor&sender=x&receiver=y&size=NaN&exchange=iq&cause=&q=%zz",
    )
    assert find(browser, "[data-view][aria-pressed=true]").text == "What changed"


def test_phase_colouring_order_and_exchange_are_switched(browser: Chrome, page: Page) -> None:
    made = verdicts(12, ("before", "test-day", "after"), exchanges=("message", "iq"), noise=0.1)
    page(made)
    find(browser, "[data-view='1']").click()
    until(browser, lambda: "In 'test-day'" in find(browser, "#status").text)
    Select(find(browser, "#exchange")).select_by_visible_text("iq")
    until(browser, lambda: address(browser).get("exchange") == ["iq"])
    g = grid(made)
    good = sum(KINDS[s] in (Kind.TLS, Kind.CLEARTEXT, Kind.UNSEEN) for _, s in g.states("test-day", "iq"))
    assert f"{good} of" in find(browser, "#status").text
    for order in ("version", "policy", "certificate", "number", "failures"):
        Select(find(browser, "#order")).select_by_value(order)
        until(browser, lambda order=order: address(browser).get("order") == [order])
        assert len(colours(browser)) == 144
    find(browser, "[data-view=change]").click()
    Select(find(browser, "#from")).select_by_visible_text("test-day")
    until(browser, lambda: "From 'test-day' to 'after'" in find(browser, "#status").text)
    broken = sum(c is Change.NEWLY_BROKEN for c in changes(g, "test-day", "after", "iq").values())
    assert f"{broken} pair" in find(browser, "#status").text
    for _ in range(4):
        browser.back()
    until(browser, lambda: address(browser).get("order") == ["certificate"])


# --- light, dark, small, large, hostile ---------------------------------------------------------------------------------


def background(browser: Chrome) -> int:
    found = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
    return int(sum(found[:3]))


def test_dark_follows_the_system_and_the_switch(browser: Chrome, page: Page) -> None:
    page(REFERENCE, "#phase=after")
    assert background(browser) > 600
    scheme(browser, "dark")
    assert background(browser) < 120
    dark = colours(browser)
    find(browser, "[data-theme-choice=light]").click()
    assert background(browser) > 600
    find(browser, "[data-theme-choice=dark]").click()
    scheme(browser, "light")
    assert background(browser) < 120
    assert colours(browser) == dark
    browser.refresh()  # it is remembered
    assert background(browser) < 120
    find(browser, "[data-theme-choice=auto]").click()
    assert background(browser) > 600


@pytest.mark.parametrize(
    "fragment", ["", f"#phase=after&{PAIR}", "#phase=after&list=view", "#from=before&to=after&by=cause&size=40"]
)
def test_a_phone_scrolls_only_downwards(browser: Chrome, page: Page, fragment: str) -> None:
    size(browser, 390, 844, phone=True)
    page(REFERENCE, fragment)
    painted(browser)
    facet = find(browser, "[data-facet=sender-policy] summary")
    browser.execute_script("arguments[0].click()", facet)
    width, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert (width, inner) == (390, 390)
    for control in browser.find_elements(By.CSS_SELECTOR, "button, select, input, summary, a.pair"):
        if control.is_displayed():
            assert control.rect["x"] >= 0 and control.rect["x"] + control.rect["width"] <= 390, control.text  # noqa: PT018


def test_a_tap_on_a_phone_leads_to_the_story(browser: Chrome, page: Page) -> None:
    size(browser, 390, 844, phone=True)
    page(REFERENCE, f"#phase=after&{PAIR}")
    find(browser, "#story .bar button").click()
    browser.execute_script("document.getElementById('matrix').scrollIntoView()")
    x, y = middle(browser)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(x, y)
    actions.click().perform()
    until(browser, lambda: A in story(browser))
    until(browser, lambda: browser.execute_script("return document.getElementById('story').getBoundingClientRect().y") < 200)


def test_a_hundred_and_fifty_servers_stay_usable(browser: Chrome, page: Page) -> None:
    """22,350 cells a phase: what is drawn and what is in the document does not grow with them; clocks only catch a hang."""
    page(verdicts(150))
    painted(browser)
    assert len(browser.page_source) < 3_000_000
    width, height = browser.execute_script("const c = document.getElementById('matrix-canvas'); return [c.width, c.height]")
    assert width <= 1400
    assert height <= 900
    assert browser.execute_script("return document.getElementsByTagName('*').length") < 8000

    def took(script: str) -> float:
        return float(
            browser.execute_async_script(
                f"const done = arguments[0], t = performance.now(); {script};"
                "requestAnimationFrame(() => setTimeout(() => done(performance.now() - t)))"
            )
        )

    # On two idle cores 0.3 s, 0.2 s and 0.03 s.
    assert took("document.querySelector(\"[data-view='0']\").click()") < 10_000
    assert (
        took("const q = document.getElementById('q'); q.value = 'cleartext expired'; q.dispatchEvent(new Event('input'))")
        < 10_000
    )
    assert took("document.getElementById('matrix').scrollTop += 200") < 3000
    assert "of 22,350 squares pass the filter" in find(browser, "#status").text
    find(browser, "#matrix").send_keys(Keys.CONTROL, Keys.END)
    assert find(browser, "[aria-colindex='150']").find_element(By.XPATH, "..").get_attribute("aria-rowindex") == "150"
    assert browser.execute_script("return document.getElementById('matrix').scrollTop") > 300


def hostile() -> Iterator[dict[str, Any]]:
    nasty = "</script><img src=x onerror=\"document.title='hit'\">'; $(touch /tmp/x)"
    made = json.loads(json.dumps(verdicts(3)).replace("s00.mesh.example", "<svg onload=document.title='hit'>.example"))
    made["title"] = made["run"] = nasty
    for cell in made["cells"]:
        cell |= {"explanation": nasty, "cause": nasty, "outcome": "bounced", "surprise": True}
        cell["evidence"] = ["javascript:document.title='hit'", "../../../etc/passwd", "evidence/<b>.log.gz"]
    yield made


def test_what_a_run_says_is_text_and_never_acts(browser: Chrome, page: Page) -> None:
    made = next(hostile())
    sender, receiver = made["servers"][0]["domain"], made["servers"][1]["domain"]
    page(made, "#phase=after")
    find(browser, "#list a.pair").click()
    until(browser, lambda: "The way back" in story(browser))
    for tab in browser.find_elements(By.CSS_SELECTOR, "[role=tab]"):
        tab.click()
    for facet in browser.find_elements(By.CSS_SELECTOR, ".facet summary"):
        facet.click()
    assert browser.title.startswith("</script><img")
    assert sender in find(browser, "body").text
    assert receiver in story(browser)
    assert not browser.find_elements(By.CSS_SELECTOR, "img, svg, b[onload], iframe")
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    links = [a.get_attribute("href") or "" for a in browser.find_elements(By.CSS_SELECTOR, "#story a")]
    assert all(link.startswith("file:///") for link in links)
    run = browser.current_url.partition("/derived/")[0]
    assert all(link.startswith((run + "/", browser.current_url.partition("#")[0])) for link in links)


def test_commands_quote_what_the_shell_would_act_on(browser: Chrome, page: Page, tmp_path: Path) -> None:
    made = json.loads(json.dumps(verdicts(3)).replace("s00.mesh.example", "a'b$(x).example"))
    page(made, "#phase=after&sender=a'b%24(x).example&receiver=s01.mesh.example")
    command = find(browser, "#story code").text
    folder = tmp_path / "results" / "run-1"
    assert command == f".venv/bin/testbed explain {folder} 'a'\\''b$(x).example' s01.mesh.example"
    made["run"] = "run-1"  # lies in results/: then its name is enough
    page(made, "#phase=after&sender=s01.mesh.example&receiver=s02.mesh.example")
    assert find(browser, "#story code").text == ".venv/bin/testbed explain run-1 s01.mesh.example s02.mesh.example"


def test_paper_shows_the_matrix_whole_and_no_controls(browser: Chrome, page: Page) -> None:
    page(REFERENCE, "#phase=after")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not find(browser, "#controls").is_displayed()
        assert find(browser, "#matrix-canvas").is_displayed()
        assert len(browser.print_page()) > 20_000
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize(
    "made",
    [verdicts(0), verdicts(1), verdicts(2), verdicts(4, ()), verdicts(4, ("now",)), verdicts(3, only="inconclusive")],
    ids=["no server", "one server", "two servers", "no phase", "one phase", "inconclusive"],
)
def test_odd_runs_open_without_a_complaint(browser: Chrome, page: Page, made: dict[str, Any]) -> None:
    page(made)
    assert find(browser, "h1").text


def test_everything_that_can_be_used_has_a_name(browser: Chrome, page: Page) -> None:
    page(REFERENCE, f"#phase=after&{PAIR}")
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, a, select, input, summary, [role=grid], [role=tabpanel], [role=group]')]"
        ".filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')"
        " || (e.labels && e.labels.length))).map((e) => e.outerHTML.slice(0, 120))"
    )
    assert nameless == []
    assert browser.execute_script("return new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == len(
        browser.find_elements(By.CSS_SELECTOR, "[id]")
    )
    assert find(browser, "#matrix").get_attribute("aria-label") or find(browser, "#matrix").get_attribute("aria-labelledby")

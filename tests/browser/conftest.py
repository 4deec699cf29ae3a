"""A real Chromium, without a window, and pages made for it. Nothing here looks at a page.

Without Debian's chromium and its driver these tests are skipped, and say what is missing; where CI is set that is a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from testbed.report import html

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))  # for fake_verdicts

Open = Callable[..., Path]


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """One browser for all tests; each opens its own page in it."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        message = f"{' and '.join(missing)} not found: as root `make browser`, else install Debian's chromium and chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    options.add_argument("--headless=new")
    options.add_argument("--disable-gpu")
    options.add_argument("--disable-dev-shm-usage")
    if os.geteuid() == 0:  # root has no sandbox
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=Service(str(programs["chromedriver"]))) as driver:
        yield driver


@pytest.fixture(autouse=True)
def no_complaint(browser: Chrome) -> Iterator[None]:
    """Whatever a test does, the page must not log an error, and must not have loaded anything."""
    browser.get_log("browser")
    size(browser, 1400, 900)
    scheme(browser, "light")
    yield
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert [message for message in said if "willReadFrequently" not in message] == []  # that one is of the tests that read pixels
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []


@pytest.fixture
def page(browser: Chrome, tmp_path: Path) -> Callable[..., str]:
    """Write a run's page as a run does, open it from disk in a fresh document, and say its address without the part after #."""

    def make(verdicts: dict[str, Any], fragment: str = "") -> str:
        folder = tmp_path / "results" / "run-1" / "derived"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(html.render(verdicts))
        address = (folder / "report.html").as_uri()
        browser.get("about:blank")
        browser.get(address + fragment)
        return address

    return make


def size(browser: Chrome, width: int, height: int, *, phone: bool = False) -> None:
    """The size of the page's window, in CSS pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone},
    )


def scheme(browser: Chrome, name: str) -> None:
    """What the system is said to prefer: ``light`` or ``dark``."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})

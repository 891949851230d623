"""The report in a real browser: no request, no sideways scrolling on a phone, readable on paper."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stingar_dagster_tests.report.test_report import hostile_site, report
from stingar_dagster_tests.support import Site

try:
    from playwright.sync_api import Browser, sync_playwright
except ImportError:
    pytest.skip("playwright is not there: pip install playwright", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

CHROMIUM = os.environ.get("STINGAR_CHROMIUM") or shutil.which("chromium") or ""
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
LOOK = """() => ({
    wide: document.documentElement.scrollWidth - innerWidth,
    cut: [...document.querySelectorAll('td.t')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).length,
    sideways: innerWidth < 1000 ? 0 : [...document.querySelectorAll('.wide')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).length,
    ran: window.owned !== undefined,
    headers: [...document.querySelectorAll('table')].every(
        t => t.caption && t.tHead.rows.length == 1
            && [...t.tHead.querySelectorAll('th')].every(h => h.scope == 'col' && h.innerText)),
    named: [...document.querySelectorAll('svg[role=img]')].every(s => s.querySelector('title')),
    hidden: [...document.querySelectorAll('svg:not([role=img])')]
        .every(s => s.ariaHidden == 'true'),
    styled: getComputedStyle(document.body).maxWidth != 'none',
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).is_file():
        pytest.skip("Chromium is not there: install it, or set STINGAR_CHROMIUM to its program")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of events that attack."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_bytes(report(hostile_site(Site.at(folder))))
    return path


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_and_fits(
    browser: Browser, html: Path, size: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.goto(html.as_uri())
    found = page.evaluate(LOOK)
    assert asked == [html.as_uri()]
    assert told == []  # a style that its own policy refuses would be told here
    light, dark = (
        ("rgb(255, 255, 255)", "rgb(28, 30, 33)"),
        ("rgb(22, 24, 28)", "rgb(232, 234, 237)"),
    )
    assert (found.pop("paper"), found.pop("ink")) == (light if scheme == "light" else dark)
    assert found == {
        "wide": 0, "cut": 0, "sideways": 0, "ran": False, "headers": True, "named": True,
        "hidden": True, "styled": True,
    }  # fmt: skip
    context.close()


def test_on_paper_it_is_dark_on_white_whatever_the_screen_is(browser: Browser, html: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(html.as_uri())
    page.emulate_media(media="print")
    found = page.evaluate(LOOK)
    assert (found["paper"], found["ink"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    context.close()

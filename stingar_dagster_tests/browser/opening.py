"""A browser with a page of the UI, and when a page is there to be looked at.

Shared by the tests and by the pictures for the documentation (`screenshots`). Not here: the servers
(`a_lake`, `reliability.serving`).
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

CHROMIUM: Final = os.environ.get("STINGAR_CHROMIUM") or shutil.which("chromium") or ""
HOW_TO_GET_IT: Final = "Chromium is not there: install it, or set STINGAR_CHROMIUM to its program"
PATIENCE: Final = 60_000
"""Milliseconds that anything may take to show: on a machine with much else to do."""
DESK: Final[ViewportSize] = {"width": 1600, "height": 1200}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
_OPTIONS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run",
)  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_OPTIONS])
        yield browser
        browser.close()


def new_page(browser: Browser, size: ViewportSize | None = None, **context: Any) -> Page:
    """A page whose times are UTC, on every machine the same."""
    settings: dict[str, Any] = {"timezone_id": "UTC", "locale": "en-GB", **context}
    page = browser.new_context(viewport=size or DESK, **settings).new_page()
    page.set_default_timeout(PATIENCE)
    return page


def asset_path(name: str, view: str = "overview", check: str = "") -> str:
    """Where the UI shows an asset of the stream."""
    return f"/assets/stingar/{name}?view={view}" + (f"&checkDetail={check}" if check else "")


def group_path(stream: str = "stingar") -> str:
    """Where the UI shows the graph of all assets, with those of one stream unfolded."""
    return f"/asset-groups?expanded=global%40global%3A{stream}"


def look_at(page: Page, address: str, *texts: str) -> None:
    """Open an address, and wait until it shows these texts."""
    page.goto(address, wait_until="domcontentloaded")
    for text in texts:
        page.get_by_text(text).first.wait_for()


def look_at_partition(page: Page, address: str, asset: str, partition: str) -> None:
    """Open an asset's partitions, and choose one as people do."""
    look_at(page, address + asset_path(asset, "partitions"), "Partitions Selected")
    page.get_by_placeholder("Filter by name").fill(partition)
    named = page.get_by_text(partition, exact=True).filter(visible=True)
    named.first.click()
    expect(named).to_have_count(2)  # in the list, and above what it holds


def metadata(page: Page, title: str) -> Locator:
    """The row of the open page's metadata with this title."""
    return page.locator("tr").filter(has=page.get_by_role("cell", name=title, exact=True)).last

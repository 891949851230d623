"""The pictures of the documentation: `make screenshots`, which takes about three minutes.

Starts `stingar demo` in a temporary folder, waits until all of its traffic is worked up, and looks
at it as people do. Pages are as the UI shows them, but for the temporary folder's name. Not here:
what the pictures must show (`test_dagster_ui`).
"""

import io
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl
from playwright.sync_api import Browser, Page, ViewportSize, expect
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from stingar_dagster import lake
from stingar_dagster.ip_page import page as ip_page
from stingar_dagster.partitions import DAY, HOUR, day_key, hour_key
from stingar_dagster_tests.browser.opening import (
    CHROMIUM,
    HOW_TO_GET_IT,
    PHONE,
    asset_path,
    chromium,
    group_path,
    look_at,
    look_at_partition,
    new_page,
)
from stingar_dagster_tests.reliability.serving import ROOT, asked, free_port, started

IMAGES: Final = ROOT / "docs" / "images"
NEUTRAL: Final = "/srv/stingar"
"""Stands in pictures for the temporary folder."""
SIZE: Final[ViewportSize] = {"width": 1280, "height": 960}
MIDDLE: Final[ViewportSize] = {"width": 1280, "height": 1080}
TALL: Final[ViewportSize] = {"width": 1280, "height": 1400}
LARGEST_BYTES: Final = 200_000
_DEMO: Final = "from stingar_dagster.cli import main; main()"
_MOST_SECONDS: Final = 900
_AT_REST_SECONDS: Final = 40
"""Without a run for so long, nothing is left to do: sensors look every few seconds."""
_RUNS: Final = "{ runsOrError(limit: 1) { ... on Runs { results { runId status } } } }"
_FINISHED: Final = ("SUCCESS", "FAILURE", "CANCELED")
_RENAME: Final = """([from, to]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode;
        if (node.data.includes(from)) node.data = node.data.replaceAll(from, to);
    }
}"""


def main() -> int:
    """Write all pictures; 2 if the browser is not there."""
    if not Path(CHROMIUM).is_file():
        print(HOW_TO_GET_IT, file=sys.stderr)
        return 2
    IMAGES.mkdir(exist_ok=True)
    # A process of the demo may write something while it ends.
    with tempfile.TemporaryDirectory(prefix="stingar-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        with demo(folder) as address:
            wait_until_at_rest(address)
            with chromium() as browser:
                Camera(browser, address, folder).take_all()
    return 0


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The address of a demo that lands nothing new."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in [*os.environ]:
        if name.startswith(("STINGAR_", "DAGSTER_", "AZURE_")) and name != "STINGAR_CHROMIUM":
            del os.environ[name]
    port = free_port()
    command = [sys.executable, "-c", _DEMO, "demo", "--paused", "--port", str(port)]
    with started(command, folder, port) as address:
        yield address


def wait_until_at_rest(address: str) -> None:
    """Until nothing has run for a while.

    Raises:
        TimeoutError: it takes too long.
    """
    began = quiet_since = time.monotonic()
    latest = None
    while time.monotonic() - quiet_since < _AT_REST_SECONDS:
        if time.monotonic() - began > _MOST_SECONDS:
            raise TimeoutError("the demo's runs do not come to an end")
        time.sleep(2)
        runs = asked(address, _RUNS)["data"]["runsOrError"]["results"]
        if not runs or runs[0] != latest or runs[0]["status"] not in _FINISHED:
            quiet_since, latest = time.monotonic(), runs[0] if runs else None


class Camera:
    """Takes the pictures of one demo."""

    def __init__(self, browser: Browser, address: str, folder: Path) -> None:
        self.browser, self.address, self.folder = browser, address, folder
        self.now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.hour = hour_key(self.now - 3 * HOUR)
        self.yesterday, self.today = day_key(self.now - DAY), day_key(self.now)

    def take_all(self) -> None:
        pictures: dict[str, Callable[[Page], None]] = {
            "lineage": self.lineage,
            "lineage-dns": self.lineage_of_dns,
            "asset": self.asset,
            "partitions": self.partition,
            "checks": self.checks,
            "backfill": self.backfill,
        }
        for name, prepare in pictures.items():
            page = new_page(self.browser, SIZE)
            prepare(page)
            self.keep(page, name)
        day = self.folder / f"data/lake/stingar/reports/date={self.yesterday}/report.html"
        for name, size, scheme in (
            ("report", SIZE, "light"),
            ("report-phone", PHONE, "dark"),
        ):
            page = new_page(self.browser, size, color_scheme=scheme)
            page.goto(day.as_uri())
            self.keep(page, name)
        page = new_page(self.browser, SIZE)
        page.set_content(self.terminal())
        self.keep(page, "ip")

    def keep(self, page: Page, name: str) -> None:
        """Write what a page shows.

        Raises:
            ValueError: it shows this machine, or is too large for a repository.
        """
        page.wait_for_timeout(1000)  # for what moves in
        page.evaluate(_RENAME, [str(self.folder), NEUTRAL])
        shown = page.locator("body").inner_text()
        for secret in (self.folder.name, str(Path.home()), str(ROOT), socket.gethostname()):
            if len(secret) > 3 and secret in shown and secret not in ("localhost", "/root"):
                raise ValueError(f"{name}.png would show {secret}")
        data = page.screenshot(animations="disabled", caret="hide")
        if len(data) > LARGEST_BYTES:
            raise ValueError(f"{name}.png has {len(data):,} bytes")
        (IMAGES / f"{name}.png").write_bytes(data)
        print(f"docs/images/{name}.png: {len(data):,} bytes")
        page.context.close()

    def lineage(self, page: Page) -> None:
        page.set_viewport_size(MIDDLE)
        look_at(page, self.address + group_path(), "daily_report")
        page.get_by_text("Hide navigation").click()

    def lineage_of_dns(self, page: Page) -> None:
        """With the other stream folded, and what goes from it into a table of this one."""
        look_at(page, self.address + group_path("dns"), "daily_exposures")
        page.get_by_text("Hide navigation").click()

    def asset(self, page: Page) -> None:
        look_at(page, self.address + asset_path("daily_hours"), "Row count")
        page.set_viewport_size(MIDDLE)
        expect(page.get_by_role("img", name="events an hour")).to_be_visible()
        page.get_by_text("Hide navigation").click()

    def partition(self, page: Page) -> None:
        look_at_partition(page, self.address, "cleaned_events", self.hour)
        expect(page.get_by_text("first rows")).to_be_visible()
        # Ten hours in the list, not one; and room for what is beside it, the first rows included.
        page.get_by_placeholder("Filter by name").fill(self.hour[: len("2026-05-19-1")])
        page.get_by_text("Hide navigation").click()
        page.set_viewport_size(TALL)
        expect(page.get_by_role("img", name="events by honeypot software")).to_be_visible()

    def checks(self, page: Page) -> None:
        path = asset_path("landed_events", "checks", check="volume_is_usual")
        look_at(page, self.address + path, "Execute all", "Not Evaluated")
        page.get_by_role("button", name="Execute all").click()
        expect(page.get_by_text("Not Evaluated")).to_have_count(0)
        expect(page.get_by_text("In progress")).to_have_count(0)
        expect(page.get_by_text("learning")).to_be_visible()

    def backfill(self, page: Page) -> None:
        look_at(page, self.address + asset_path("cleaned_events", "partitions"), "Materialized")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog").first
        hours = dialog.locator("input[type=text]").first
        hours.fill(f"[{hour_key(self.now - 14 * HOUR)}...{self.hour}]")
        hours.press("Enter")
        expect(dialog.get_by_text("12 partitions").first).to_be_visible()

    def terminal(self) -> str:
        """`stingar ip` of a busy source, as a terminal shows it."""
        url = str(self.folder / "data/lake")
        sources = lake.daily("daily_sources", self.yesterday, self.today, url=url).collect()
        by_reach = sources.sort(pl.col("apps").list.len(), "events", descending=True)
        source = by_reach["src_ip"][0]
        terminal = Console(
            record=True, force_terminal=True, width=118, highlight=False, file=io.StringIO()
        )
        terminal.print(Text(f"$ stingar ip {source} --top 5", style="bold"))
        terminal.print(ip_page(lake.ip(source, url=url), 5), markup=False)
        html = terminal.export_html(theme=MONOKAI)
        return html.replace("<body>", '<body style="margin: 20px; font-size: 14px">')


if __name__ == "__main__":
    sys.exit(main())

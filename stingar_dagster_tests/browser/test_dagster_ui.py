"""What people see of the assets in Dagster's UI, and what a click does.

Not here: text that attacks, on every page (`reliability.test_hostile_text_in_the_ui`), the server
that only shows (`analysts`), and the report's fit and colours (`report.test_in_a_browser`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stingar_dagster.lake.daily import REPORT
from stingar_dagster.partitions import day_key, hour_key
from stingar_dagster.streams import STREAMS, Stream
from stingar_dagster_tests.reliability.serving import asked

try:
    from playwright.sync_api import Browser, Page, ViewportSize, expect
except ImportError:
    pytest.skip("playwright is not there: pip install playwright", allow_module_level=True)

from stingar_dagster_tests.browser.a_lake import (
    DAY,
    LATEST,
    TO_ASK_FOR,
    Served,
    daemon,
    served_lake,
)
from stingar_dagster_tests.browser.opening import (
    CHROMIUM,
    DESK,
    HOW_TO_GET_IT,
    PATIENCE,
    PHONE,
    asset_path,
    chromium,
    group_path,
    look_at,
    look_at_partition,
    metadata,
    new_page,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PICTURES = """() => [...document.querySelectorAll('img')].filter(i => i.alt).map(i => ({
    title: i.alt, scheme: i.src.split(':')[0], drawn: i.complete && i.naturalWidth > 0}))"""
ATTACK_WORKED = """() => window.owned !== undefined
    || document.querySelector('img[src="x"], img[src*="192.0.2.66"]') !== null"""
RUNS = """query Runs($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { partitionNames runs(limit: 9) { status } } } }"""
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if not Path(CHROMIUM).is_file():
        pytest.skip(HOW_TO_GET_IT)
    with served_lake(tmp_path_factory.mktemp("ui")) as served:
        yield served


@pytest.fixture(scope="module")
def browser(lake: Served) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return new_page(browser)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
def test_the_graph_shows_every_asset(stream: Stream, lake: Served, page: Page) -> None:
    # Only what lies in view is drawn.
    page.set_viewport_size({"width": DESK["width"], "height": 2 * DESK["height"]})
    look_at(page, lake.address + group_path(stream.name))
    events = ("captures", "landed_events", "quarantined_events", "cleaned_events")
    for name in (*events, *(table.name for table in stream.every_table), REPORT):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_an_assets_page_says_what_it_is(lake: Served, page: Page) -> None:
    look_at(page, lake.address + asset_path("cleaned_events"), "sorted by time")
    expect(page.get_by_text("Address the traffic came from")).to_be_visible()
    expect(page.get_by_text("Row count")).to_be_visible()


def test_numbers_are_drawn_over_time(lake: Served, page: Page) -> None:
    look_at(page, lake.address + asset_path("landed_events"), "Plots")
    page.get_by_text("Plots", exact=True).first.click()
    # Over partitions it draws the latest ones, and the traffic here is of a fixed day.
    page.get_by_role("button", name="Events").click()
    expect(page.get_by_text("quarantined", exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()


@pytest.mark.parametrize(
    ("asset", "partition", "titles"),
    [
        ("cleaned_events", hour_key(LATEST), ["events by honeypot software", "delay from logged"]),
        ("landed_events", hour_key(LATEST), ["quarantine by reason"]),
        ("daily_sources", day_key(DAY), ["top sources"]),
        ("daily_hours", day_key(DAY), ["events an hour, 00 to 23 UTC"]),
    ],
)
def test_a_partitions_pictures_are_drawn(
    lake: Served, page: Page, asset: str, partition: str, titles: list[str]
) -> None:
    look_at_partition(page, lake.address, asset, partition)
    for title in titles:
        expect(page.get_by_role("img", name=title)).to_be_visible()
    shown = page.evaluate(PICTURES)
    assert len(shown) == len(titles)
    assert all(picture["drawn"] and picture["scheme"] == "data" for picture in shown), shown


def test_first_rows_show_what_an_attacker_typed_as_text(lake: Served, page: Page) -> None:
    look_at_partition(page, lake.address, "cleaned_events", hour_key(LATEST))
    rows = metadata(page, "first rows")
    expect(rows.get_by_text("<img src=x onerror=window.owned=1>")).to_be_visible()
    expect(rows.get_by_text("event_kind")).to_be_visible()
    assert not page.evaluate(ATTACK_WORKED)


def test_the_quarantine_shows_why_and_what(lake: Served, page: Page) -> None:
    look_at_partition(page, lake.address, "quarantined_events", hour_key(LATEST))
    expect(metadata(page, "reason not_json")).to_contain_text("1")
    expect(metadata(page, "first rows").get_by_text("<img src=x onerror")).to_be_visible()
    assert not page.evaluate(ATTACK_WORKED)


def test_a_check_says_what_it_found(lake: Served, page: Page) -> None:
    path = asset_path("landed_events", "checks", check="counts_reconcile")
    look_at(page, lake.address + path, "Passed")
    expect(page.get_by_text("10 landed hours add up")).to_be_visible()
    expect(
        page.get_by_text("Every event of every capture is cleaned or quarantined")
    ).to_be_visible()
    for others in ("latest_hour_is_there", "no_sequence_gaps", "volume_is_usual"):
        expect(page.get_by_text(others).first).to_be_visible()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_days_report_opens_as_a_file(
    lake: Served, browser: Browser, size: ViewportSize
) -> None:
    """The one that the UI's run published; everything on it fits, nothing is asked for."""
    report = lake.folder / "data" / "lake" / "stingar" / f"reports/date={day_key(DAY)}/report.html"
    page = new_page(browser, size)
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading").first).to_contain_text("Tuesday 2026-11-03")
    assert asked_for == [report.as_uri()]
    assert page.locator("script").count() == 0
    assert not page.evaluate(ATTACK_WORKED)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(media="print")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()


def test_a_backfill_launched_by_clicking_runs(lake: Served, page: Page) -> None:
    """The last test of this module: it changes what there is to see."""
    first, last = hour_key(TO_ASK_FOR[0]), hour_key(TO_ASK_FOR[-1])
    assert not any(map(lake.site.events, TO_ASK_FOR))
    look_at_partition(page, lake.address, "cleaned_events", first)
    expect(page.get_by_text("No metadata")).to_be_visible()

    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog").first
    hours = dialog.locator("input[type=text]").first
    hours.fill(f"[{first}...{last}]")
    hours.press("Enter")
    expect(dialog.get_by_text("3 partitions").first).to_be_visible()
    with daemon(lake):
        dialog.get_by_role("button", name="Launch").click()
        expect(dialog).not_to_be_visible()
        (backfill,) = asked(lake.address, BACKFILLS)["data"]["partitionBackfillsOrError"]["results"]
        page.goto(f"{lake.address}/runs/b/{backfill['id']}?tab=runs")
        expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=2 * PATIENCE)
    told = asked(lake.address, RUNS, id=backfill["id"])["data"]["partitionBackfillOrError"]
    assert sorted(told["partitionNames"]) == sorted(map(hour_key, TO_ASK_FOR))
    assert [run["status"] for run in told["runs"]] == ["SUCCESS"]
    assert all(map(lake.site.events, TO_ASK_FOR))
    look_at_partition(page, lake.address, "cleaned_events", last)
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    expect(metadata(page, "first rows")).to_be_visible()

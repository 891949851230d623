"""The page on an address: its days as bars, its width, and what is left out of long lists."""

from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stingar_dagster import lake
from stingar_dagster.ip_page import bars, page
from stingar_dagster_tests.support import HOUR, NOON, Site, event


def days(first: date, events: list[int], unpublished: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {
            "date": (first + timedelta(days=index)).isoformat(),
            "events": count,
            "published_hours": 0 if index in unpublished else 24,
        }
        for index, count in enumerate(events)
    ]


def test_a_day_stands_under_the_same_day_of_the_month_before() -> None:
    told = bars(days(date(2026, 1, 30), [8, 0, 1, 0, 4], unpublished=(3,)))
    assert told == [("2026-01", " " * 29 + "█·", 8), ("2026-02", "▁?▄", 5)]


def test_a_single_event_is_seen_beside_a_million() -> None:
    assert bars(days(date(2026, 1, 1), [1, 1_000_000])) == [("2026-01", "▁█", 1_000_001)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site.at(tmp_path_factory.mktemp("page"))
    bodies = [
        event(
            NOON + minute * HOUR / 60,
            src_ip=f"203.0.113.{minute % 3}",
            signature="command entered",
            command=f"echo {minute} " + "ünicode 漢字 " * 40,
            dest_port=minute,
            sensor="s" * 300,
        )
        for minute in range(30)
    ]
    site.put(bodies)
    site.run()
    return site


def shown(site: Site, source: str, width: int, most: int = 5) -> list[str]:
    written = StringIO()
    console = Console(file=written, width=width, force_terminal=True, color_system=None)
    console.print(page(lake.ip(source, url=site.lake), most), markup=False)
    return written.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(site: Site, width: int) -> None:
    from rich.cells import cell_len

    told = shown(site, "203.0.113.0/24", width)
    assert max(map(cell_len, told)) <= width
    assert len(told) < 90


def test_what_is_left_out_is_said(site: Site) -> None:
    told = "\n".join(shown(site, "203.0.113.0/24", 120))
    assert "30 events from 3 addresses in 30 sessions" in told
    assert "Commands   5 of 30; --top shows more, --json all" in told
    assert "Sessions, the fullest   5 of 30" in told
    all_of_them = "\n".join(shown(site, "203.0.113.0/24", 120, most=30))
    assert "--top" not in all_of_them


def test_nothing_in_it_is_taken_for_markup(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = Site.at(tmp_path_factory.mktemp("markup"))
    site.put([event(NOON, sensor="[red]x[/red]", app="[/nothing]", username="[link=x]y")])
    site.run()
    told = "\n".join(shown(site, "192.0.2.7", 120))
    assert all(text in told for text in ("[red]x[/red]", "[/nothing]", "[link=x]y"))


def test_the_page_of_an_address_lists_no_addresses(site: Site) -> None:
    assert not any(line.startswith("Addresses") for line in shown(site, "203.0.113.1", 80))
    assert any(line.startswith("Addresses") for line in shown(site, "203.0.113.0/30", 80))


def test_an_address_in_two_spellings_is_one_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    site = Site.at(tmp_path_factory.mktemp("spellings"))
    site.put([event(NOON, src_ip=source) for source in ("203.0.113.9", "::ffff:cb00:7109")])
    site.run()
    told = shown(site, "203.0.113.9", 120)
    assert any(line.startswith("2 events in 2 sessions") for line in told)


@pytest.mark.parametrize("width", [60, 80, 118])
def test_in_a_narrow_terminal_links_give_way_before_numbers_and_times(
    tmp_path: Path, width: int
) -> None:
    site = Site.at(tmp_path)
    site.put([event(NOON, url="http://192.0.2.1/" + "d" * 200)] * 44)
    site.run()
    console = Console(width=width, file=StringIO(), record=True)
    console.print(page(lake.ip("192.0.2.7", url=site.lake), 5), markup=False)
    (line,) = [line for line in console.export_text().splitlines() if "ddd" in line]
    assert line.rstrip().endswith("…      44  2026-11-03 12:00:00")

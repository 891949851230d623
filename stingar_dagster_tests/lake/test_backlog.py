"""What is pending is told by comparing state: the same after a crash, a lost message, a restart."""

from dataclasses import replace

from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, Site, captures, event, pending

DAY = day_of(NOON)


def test_nothing_is_pending_where_nothing_landed(site: Site) -> None:
    assert pending(site.pipeline()) == ([], [], [])


def test_each_step_makes_the_next_one_pending(site: Site) -> None:
    site.put([event(NOON - HOUR), b"nonsense"])
    pipeline = site.pipeline()
    assert pending(pipeline) == ([NOON], [], [])
    pipeline.land_hour(NOON)
    # What could not become an event is counted in a daily table, which is due already.
    assert pending(pipeline) == ([], [NOON - HOUR], [DAY])
    pipeline.publish_hour(NOON - HOUR)
    assert pending(pipeline) == ([], [], [DAY])
    pipeline.roll_day(DAY)
    assert pending(pipeline) == ([], [], [])


def test_only_captures_that_the_ledger_does_not_have_are_new(site: Site) -> None:
    site.put([event(NOON)])
    site.run()
    new = site.put([event(NOON)], first=1, start=NOON + MINUTE)
    pipeline = site.pipeline()
    hours = backlog.by_landed_hour(pipeline.lake, captures(pipeline))
    unlanded = backlog.unlanded(pipeline.lake, hours)
    assert [item.name.path for item in unlanded[NOON]] == [new]
    assert len(hours[NOON]) == 2


def test_an_hour_whose_quarantine_was_not_published_is_pending(site: Site) -> None:
    site.put([b"nonsense"])
    site.run()
    (record,) = site.objects("state/quarantine")
    site.lake_store.remove(record)
    pipeline = site.pipeline()
    hours = backlog.by_landed_hour(pipeline.lake, captures(pipeline))
    assert backlog.unlanded(pipeline.lake, hours) == {NOON: []}
    site.run()
    assert len(site.quarantined()) == 1
    assert pending(site.pipeline()) == ([], [], [])


def test_what_is_pending_changes_its_text_when_its_work_changes(site: Site) -> None:
    site.put([event(NOON)])
    pipeline = site.pipeline()
    pipeline.land_hour(NOON)
    first = backlog.unpublished_hours(pipeline.lake, [NOON])
    assert backlog.unpublished_hours(pipeline.lake, [NOON]) == first
    site.put([event(NOON)], first=1, start=NOON + 20 * MINUTE)
    pipeline.land_hour(NOON)
    second = backlog.unpublished_hours(pipeline.lake, [NOON])
    assert first.keys() == second.keys() == {NOON}
    assert first != second


def test_a_landed_hour_is_compared_without_the_others_that_touch_the_same_event_hour(
    site: Site,
) -> None:
    site.put([event(NOON)])
    site.put([event(NOON)], first=1, start=NOON + HOUR)
    site.run()
    pipeline = site.pipeline()
    assert backlog.unpublished_hours(pipeline.lake, [NOON]) == {}
    assert backlog.unpublished_hours(pipeline.lake, [NOON + HOUR]) == {}


def test_a_lost_record_makes_its_hour_pending(site: Site) -> None:
    site.put([event(NOON)])
    site.run()
    tree = site.tree()
    (record,) = site.objects("state/events")
    site.lake_store.remove(record)
    assert pending(site.pipeline())[1] == [NOON]
    site.run()
    assert site.tree() == tree


def test_a_table_without_its_record_makes_its_day_pending(site: Site) -> None:
    site.put([event(NOON)])
    site.run()
    more = replace(STINGAR, tables=(*STINGAR.tables, replace(STINGAR.tables[0], name="daily_new")))
    assert pending(site.pipeline(more)) == ([], [], [DAY])


def test_landed_hours_are_those_with_a_ledger_in_a_half_open_range(site: Site) -> None:
    for number in range(3):
        site.put([event(NOON)], first=number, start=NOON + number * HOUR)
    site.run()
    lake = site.pipeline().lake
    assert backlog.landed_hours(lake) == [NOON, NOON + HOUR, NOON + 2 * HOUR]
    assert backlog.landed_hours(lake, NOON + HOUR, NOON + 2 * HOUR) == [NOON + HOUR]
    assert backlog.published_days(lake) == [DAY]

"""A day's report: true to what is published, the same again, made again with its day."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stingar_dagster.lake import backlog
from stingar_dagster.lake.daily import kept_digests
from stingar_dagster.report import history
from stingar_dagster.report.facts import Facts, Novelty, gaps_in
from stingar_dagster.report.page import LONGEST, page
from stingar_dagster.report.publishing import day_facts, publish_report
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import STINGAR
from stingar_dagster.verify.again import differences
from stingar_dagster_tests.reliability.hostile import cases
from stingar_dagster_tests.support import HOUR, Site, capture, event, readable

DAY = datetime(2026, 11, 3, tzinfo=UTC)
DAYS = timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.at(tmp_path)


def facts(site: Site, day: datetime = DAY) -> Facts:
    return day_facts(site.pipeline().lake, day)


def report(site: Site, day: datetime = DAY) -> bytes:
    """What is published."""
    return site.lake_store.read(site.pipeline().lake.layout.report(day))


def login(moment: datetime, password: str, **fields: Any) -> bytes:
    signature = "SSH login attempted on cowrie honeypot"
    tried = {"ssh_username": "root", "ssh_password": password}
    return event(moment, signature=signature, **tried, **fields)


def command(moment: datetime, text: str, **fields: Any) -> bytes:
    return event(moment, signature="command attempted on cowrie honeypot", command=text, **fields)


def put(site: Site, start: datetime, *bodies: bytes) -> None:
    """Land a capture of its own, whose sequence numbers follow those that are there."""
    captures = len(site.blobs)
    first = sum(len(readable(blob)) for blob in site.blobs.values())
    site.put(bodies, start=start + timedelta(seconds=captures), first=first)


def new(found: Facts, kind: str) -> Novelty:
    return next(novelty for novelty in found.new if novelty.kind == kind)


# ---- numbers


def test_numbers_are_those_of_a_plain_recount_over_published_lines(site: Site) -> None:
    start = DAY - DAYS
    landed: dict[datetime, list[bytes]] = {}
    for sample in traffic(start, DAY + DAYS, events_per_hour=25, seed=5):
        hour = sample.arrived.replace(minute=0, second=0, microsecond=0)
        landed.setdefault(hour, []).append(sample.body)
    for hour, bodies in landed.items():
        put(site, hour, *bodies)
    site.run()
    found = facts(site)
    events = site.rows("events/date=2026-11-03")
    quarantine = site.rows("quarantine/date=2026-11-03")
    ledger = site.rows("ledger/date=2026-11-03")

    def credentials(rows: list[dict[str, Any]]) -> Counter[tuple[Any, Any]]:
        tries = (e for e in rows if e["event_kind"] in ("login_attempt", "login_success"))
        pairs = ((e.get("username"), e.get("password")) for e in tries)
        return Counter(pair for pair in pairs if pair != (None, None))

    def artifacts(rows: list[dict[str, Any]]) -> set[str]:
        return {a for e in rows for a in (*e.get("urls", ()), *e.get("hashes", ()))}

    numbers = {number.title: number.value for number in found.numbers}
    assert numbers == {
        "Events": len(events),
        "Source addresses": len({e["src_ip"] for e in events if "src_ip" in e}),
        "Sensors": len({e["sensor"] for e in events if "sensor" in e}),
        "Credentials tried": len(credentials(events)),
        "Links and files fetched": len(artifacts(events)),
    }
    before = site.rows("events/date=2026-11-02")
    assert {n.title: n.earlier for n in found.numbers}["Events"] == (None,) * 6 + (len(before),)
    assert new(found, "credentials").count == len(credentials(events).keys() - credentials(before))
    assert new(found, "downloads").count == len(artifacts(events) - artifacts(before))
    shown = Counter({(r["username"], r["password"]): r["times"] for r in found.credentials})
    assert sorted(shown.values()) == sorted(
        (count for _, count in credentials(events).most_common(10))
    )
    assert shown <= credentials(events)
    by_app = Counter(e["app"] for e in events if "app" in e)
    (busiest, _) = by_app.most_common(1)[0]
    assert sum(found.hours_by_app[busiest]) == by_app[busiest]
    assert sum(map(sum, found.hours_by_app.values())) == len(events)
    assert found.reasons == dict(Counter(line["reason"] for line in quarantine))
    trust = found.trust
    assert trust.captured == sum(line["events"] for line in ledger)
    assert trust.captured == trust.cleaned + trust.quarantined
    assert trust.published == len(events)
    assert [hour.events for hour in trust.hours] == [
        sum(e["@timestamp"][11:13] == f"{hour:02}" for e in events) for hour in range(24)
    ]
    html = report(site).decode()
    assert f"arrived {trust.captured:,} = cleaned" in html
    assert f"<b>{len(events):,}</b>" in html


def test_sources_of_several_sensors_tell_who_saw_them_first(site: Site) -> None:
    noon = DAY + 12 * HOUR
    put(
        site,
        noon,
        event(noon + timedelta(seconds=9), src_ip="192.0.2.1", sensor="a"),
        event(noon + timedelta(seconds=5), src_ip="192.0.2.1", sensor="b"),
        event(noon, src_ip="192.0.2.2", sensor="a"),
        event(noon, src_ip="192.0.2.2", sensor="a"),
    )
    site.run()
    found = facts(site)
    assert found.shared_count == 1
    (row,) = found.shared
    assert (row["src_ip"], row["first_sensor"], row["sensors"]) == ("192.0.2.1", "b", ["a", "b"])


def test_fields_whose_names_are_not_told_are_counted(site: Site) -> None:
    put(site, DAY, event(DAY, **{f"f{n:03}": n for n in range(70)}))
    site.run()
    found = facts(site)
    assert (found.drift_count, found.drift_not_named) == (64, 6)
    assert "6 more came with names that are not told" in page(found).decode()
    assert all(row["field"] for row in found.drift)
    site.check()


def test_fields_that_drifted_are_told_by_sensor(site: Site) -> None:
    put(site, DAY, event(DAY, geo={"x": 1}, sensor="a"), event(DAY, command=7, sensor="b"))
    site.run()
    drift = {(r["sensor"], r["field"], r["declared_as"], r["sent_as"]) for r in facts(site).drift}
    assert drift == {("a", "geo", "not declared", "object"), ("b", "command", "text", "number")}


# ---- trust


def test_a_day_is_open_until_something_landed_after_it(site: Site) -> None:
    put(site, DAY + 2 * HOUR, event(DAY), event(DAY + HOUR), event(DAY + 2 * HOUR))
    site.run()
    trust = facts(site).trust
    assert [hour.is_open for hour in trust.hours] == [False] * 2 + [True] * 22
    assert trust.verdict == "So far everything adds up."
    # Of the last hour one capture of many.
    put(site, DAY + 23 * HOUR, event(DAY + 23 * HOUR))
    site.run()
    trust = facts(site).trust
    assert not trust.is_over
    assert [hour.hour for hour in trust.hours if hour.is_open] == [23]
    put(site, DAY + DAYS, event(DAY + DAYS))
    assert DAY in site.run().rolled
    trust = facts(site).trust
    assert trust.is_over
    assert trust.verdict == "Yes, everything adds up."
    assert report(site) == page(facts(site))


@pytest.mark.parametrize(
    ("after", "is_over"),
    [
        ([(0, timedelta())], False),
        ([(0, timedelta()), (1, timedelta())], True),
        ([(0, timedelta(minutes=35))], True),
        ([(0, 5 * HOUR)], True),
        ([(0, 3 * DAYS)], True),
        ([(7, timedelta())], False),
    ],
    ids=["a partition", "both", "later than any", "hours later", "days later", "another one"],
)
def test_a_day_is_over_once_each_partition_was_captured_after_it_or_one_much_later(
    site: Site, after: list[tuple[int, timedelta]], is_over: bool
) -> None:
    for partition in (0, 1):
        site.put([event(DAY)], start=DAY + 23 * HOUR, partition=partition)
    for partition, later in after:
        site.put([event(DAY)], start=DAY + DAYS + later, first=1, partition=partition)
    site.run()
    assert facts(site).trust.is_over is is_over


def test_a_quiet_hour_that_was_captured_is_no_failure(site: Site) -> None:
    for hour in range(-1, 25):
        put(site, DAY + hour * HOUR, *([event(DAY + hour * HOUR)] if hour != 3 else []))
    site.run()
    trust = facts(site).trust
    assert (trust.empty_hours, trust.missing_hours) == ([3], [])
    assert trust.verdict == "Yes, everything adds up."
    assert (
        "no event was logged in 1 hour (03), and no capture is missing"
        in page(facts(site)).decode()
    )


@pytest.mark.parametrize("missed", [0, 3, 23])
def test_an_hour_without_any_capture_between_others_is_a_failure(site: Site, missed: int) -> None:
    for hour in range(-1, 25):
        # It writes a capture for each window, as its empty ones show.
        if hour != missed:
            put(site, DAY + hour * HOUR, *([event(DAY + hour * HOUR)] if hour != 7 else []))
    site.run()
    trust = facts(site).trust
    assert (trust.empty_hours, trust.missing_hours) == ([7], [missed])
    assert not trust.is_well
    told = f"no capture landed in 1 hour ({missed:02}), but before and after"
    assert told in page(facts(site)).decode()


def test_a_hub_that_writes_no_empty_captures_misses_none_while_its_numbers_go_on(
    site: Site,
) -> None:
    for hour in (-1, 2, 9, 25):
        put(site, DAY + hour * HOUR, event(DAY + hour * HOUR))
    site.run()
    trust = facts(site).trust
    assert trust.is_well
    assert trust.missing_hours == []
    assert len(trust.empty_hours) == 22
    site.put([event(DAY)], start=DAY + 15 * HOUR, first=9)
    site.run()
    trust = facts(site).trust
    assert trust.gaps == ("hub/0 3-8",)
    assert 12 in trust.missing_hours


def test_before_the_first_capture_of_all_none_is_missing(site: Site) -> None:
    for hour in (5, 6, 24):
        put(site, DAY + hour * HOUR, *([event(DAY + hour * HOUR)] if hour != 6 else []))
    site.run()
    assert facts(site).trust.missing_hours == [*range(7, 24)]


def test_a_sensor_that_fell_silent_is_named(site: Site) -> None:
    put(site, DAY - DAYS, event(DAY - DAYS, sensor="gone"), event(DAY - DAYS, sensor="here"))
    put(site, DAY, event(DAY, sensor="here"))
    site.run()
    (silent,) = facts(site).trust.silent
    assert (silent.sensor, silent.last_day, silent.events) == ("gone", DAY - DAYS, 1)
    assert "gone" in report(site).decode()
    # After a week nobody waits for it.
    assert facts(site, DAY + 7 * DAYS).trust.silent[0].sensor == "here"


def test_missing_sequence_numbers_are_named(site: Site) -> None:
    site.put([event(DAY)] * 3, start=DAY, first=0)
    site.put([event(DAY)] * 3, start=DAY + HOUR, first=5)
    site.put([event(DAY)] * 2, start=DAY + HOUR, first=1, partition=1)
    # The same events in a capture once more are no gap.
    site.put([event(DAY)] * 3, start=DAY + 2 * HOUR, first=5)
    site.run()
    found = facts(site)
    assert found.trust.gaps == ("hub/0 3-4",)
    assert found.trust.duplicates == 3
    assert not found.trust.is_well
    assert gaps_in({}) == []


def test_numbers_that_miss_between_two_days_are_named_on_the_second(site: Site) -> None:
    site.put([event(DAY)] * 3, start=DAY - HOUR, first=0)
    site.put([event(DAY)] * 3, start=DAY, first=5)
    site.run()
    assert facts(site).trust.gaps == ("hub/0 3-4",)
    assert facts(site, DAY - DAYS).trust.gaps == ()


def test_a_hub_that_was_made_again_misses_no_numbers(site: Site) -> None:
    site.put([event(DAY)] * 3, start=DAY, first=90_000)
    # Within the hour, and numbers start over.
    site.put([event(DAY)] * 3, start=DAY + timedelta(minutes=40), first=0)
    site.put([event(DAY)] * 3, start=DAY + HOUR, first=3)
    site.run()
    assert facts(site).trust.gaps == ()
    site.put([event(DAY)] * 3, start=DAY + 2 * HOUR, first=8)
    site.run()
    assert facts(site).trust.gaps == ("hub/0 6-7",)


def test_what_damage_explains_is_told_as_damage_and_not_as_a_gap(site: Site) -> None:
    site.put([event(DAY)] * 3, start=DAY, first=0)
    whole = capture([event(DAY)] * 9, first=3, received=DAY + HOUR, block_bytes=1)
    site.put_blob(whole[: len(whole) // 2], start=DAY + HOUR)
    site.age(next(iter([*site.blobs][-1:])), DAYS)
    site.put([event(DAY)] * 3, start=DAY + 2 * HOUR, first=12)
    site.run()
    trust = facts(site).trust
    assert trust.damaged == 1
    assert trust.gaps == ()


# ---- history


def test_on_the_first_day_nothing_is_said_to_be_new(site: Site) -> None:
    put(site, DAY, login(DAY, "one"))
    site.run()
    found = facts(site)
    assert new(found, "credentials").count is None
    assert {number.comparison for number in found.numbers} == {"no earlier day to compare with"}
    html = page(found).decode()
    assert "No earlier day is known" in html
    assert "new</h3>" not in html


def test_what_was_seen_in_the_last_thirty_days_is_not_new(site: Site) -> None:
    put(site, DAY - 31 * DAYS, login(DAY - 31 * DAYS, "forgotten"))
    put(site, DAY - 30 * DAYS, login(DAY - 30 * DAYS, "remembered"))
    put(site, DAY, *(login(DAY, text) for text in ("forgotten", "remembered", "never", "never")))
    site.run()
    credentials = new(facts(site), "credentials")
    assert [row["password"] for row in credentials.rows] == ["never", "forgotten"]
    assert credentials.count == 2
    assert new(facts(site), "ports").count == 0


def test_a_day_remembers_so_many_values_and_the_report_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_VALUES", 2)
    before = DAY - DAYS
    put(site, before, *(login(before, text) for text in ("a", "a", "b", "b", "c")))
    put(site, DAY, login(DAY, "a"), login(DAY, "c"))
    site.run()
    credentials = new(facts(site), "credentials")
    assert [row["password"] for row in credentials.rows] == ["c"]
    assert credentials.is_cut
    assert "some may not be new" in report(site).decode()
    lake = site.pipeline().lake
    digest = history.digests_before(lake, DAY, kept_digests(lake))[before]
    assert len(digest.seen["credentials"]) == 2 * 8


def test_a_digest_that_was_lost_is_made_from_the_days_tables(site: Site) -> None:
    put(site, DAY - DAYS, login(DAY - DAYS, "one"), command(DAY - DAYS, "ls"))
    put(site, DAY, login(DAY, "one"), command(DAY, "id"))
    site.run()
    lake = site.pipeline().lake
    before = page(facts(site))
    for part in ("numbers", "seen"):
        path = kept_digests(lake)[part, DAY - DAYS]
        site.lake_store.remove(path)
        assert page(facts(site)) == before
        # It is missed, and made again with its day.
        assert DAY - DAYS in site.run().rolled
        assert site.lake_store.etag(path)
        site.lake_store.write(path, b"of another release")
        assert page(facts(site)) == before


# ---- publication


def test_the_same_bytes_come_again(site: Site) -> None:
    put(site, DAY - DAYS, login(DAY - DAYS, "one"))
    put(site, DAY, login(DAY, "two"), event(DAY, geo=1), b"nonsense")
    site.run()
    pipeline = site.pipeline()
    pipeline.roll_day(DAY)  # with the day before it there, whichever was made first
    before, versions = report(site), site.versions("reports", "state/digests")
    pipeline.land_hour(DAY, again=True)
    pipeline.publish_hour(DAY)
    pipeline.roll_day(DAY)
    assert report(site) == before
    assert page(facts(site)) == before
    assert site.versions("state/digests") == {
        path: version for path, version in versions.items() if "digests" in path
    }
    site.check()


def settled(site: Site, order: list[datetime]) -> dict[str, bytes]:
    """Every report, the days having been made one by one in an order, once nothing is pending."""
    pipeline = site.pipeline()
    for day in order:
        pipeline.roll_day(day)
    site.run()
    return site.objects("reports")


def test_reports_come_to_the_same_bytes_in_whatever_order_days_are_made(
    tmp_path: Path,
) -> None:
    days = [DAY + number * DAYS for number in range(4)]
    found = []
    for place, order in enumerate((days, days[::-1], [days[i] for i in (2, 0, 3, 1)])):
        site = Site.at(tmp_path / str(place))
        for number, day in enumerate(days):
            put(site, day, *(login(day, f"p{n}", sensor=f"s{n}") for n in range(number, 4)), b"x")
        pipeline = site.pipeline()
        for day in days:
            pipeline.land_hour(day)
            pipeline.publish_hour(day)
        found.append(settled(site, order))
        site.check()
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(days)


def test_a_late_event_asks_for_the_reports_of_a_week_and_a_new_value_for_those_of_a_month(
    site: Site,
) -> None:
    after = [DAY + back * DAYS for back in (1, 7, 8, 30, 31)]
    put(site, DAY, command(DAY, "ls"))
    for day in after:
        put(site, day, command(day, "ls"), command(day, "id"))
    site.run()
    put(site, after[-1] + HOUR, command(DAY + HOUR, "ls"))
    assert {*site.run().rolled} == {DAY, *after[:2], after[-1]}  # the last is where it arrived
    put(site, after[-1] + 2 * HOUR, command(DAY + HOUR, "id"))
    tables = site.versions("events")
    assert {*site.run().rolled} == {DAY, *after}
    changed = {path for path, version in site.versions("events").items() if tables[path] != version}
    assert all("date=2026-11-03" in path for path in changed)
    for day in after:
        assert report(site, day) == page(facts(site, day))
    site.check()


def test_a_report_that_is_not_of_what_is_there_is_found_when_every_step_is_done_again(
    site: Site,
) -> None:
    put(site, DAY, login(DAY, "one"))
    site.run()
    path = site.pipeline().lake.layout.report(DAY)
    site.lake_store.write(path, report(site).replace(b"one", b"two"))
    assert [problem.place for problem in differences(site.pipeline(), [DAY])] == [path]


def test_a_report_that_was_not_made_is_pending(site: Site) -> None:
    put(site, DAY, event(DAY))
    pipeline = site.pipeline()
    pipeline.land_hour(DAY)
    pipeline.publish_hour(DAY)
    pipeline.roll_day(DAY, [table.name for table in STINGAR.tables])
    assert [*backlog.unpublished_days(pipeline.lake, [DAY])] == [DAY]
    pipeline.roll_day(DAY, ["daily_report"])
    assert backlog.unpublished_days(pipeline.lake, [DAY]) == {}
    assert site.objects("reports")


def test_what_arrived_for_other_days_alone_is_told_when_asked(site: Site) -> None:
    put(site, DAY, event(DAY - 3 * DAYS), event(DAY - 3 * DAYS))
    assert [*dict.fromkeys(site.run().rolled)] == [DAY - 3 * DAYS]
    found = facts(site)
    assert (found.trust.captured, found.trust.published) == (2, 0)
    assert b"arrived 2 = cleaned 2 + quarantined 0" in page(found)
    old = facts(site, DAY - 3 * DAYS).trust
    assert (old.captured, old.published, old.is_over) == (0, 2, True)
    assert old.missing_hours == []


def test_of_a_day_without_anything_there_is_no_report(site: Site) -> None:
    record = publish_report(site.pipeline().lake, DAY)
    assert record.rows == 0
    assert site.objects() == {}
    assert b"Nothing is known of this day." in page(facts(site))


def test_the_first_days_of_the_calendar_have_a_report(site: Site) -> None:
    put(site, DAY, event(DAY))
    site.run()
    assert facts(site, datetime(1, 1, 5, tzinfo=UTC)).looked_back == 0


def test_what_is_missing_is_left_out(site: Site) -> None:
    put(site, DAY, login(DAY, "one"), command(DAY, "ls"))
    site.run()
    for path in site.objects("daily"):
        if "daily_commands" in path or "daily_hours" in path:
            site.lake_store.remove(path)
    found = facts(site)
    assert found.commands == ()
    assert found.hours_by_app == {}
    assert found.credentials
    assert page(found)
    ports = replace(STINGAR, tables=(STINGAR.table("daily_ports"),))
    few = replace(site, stream=ports)
    few.pipeline().roll_day(DAY)
    assert facts(few).ports
    assert [number.title for number in facts(few).numbers] == []
    assert page(facts(few))


# ---- hostile text

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://203.0.113.9/x onerror=alert(1)>',
    "</title></svg></style><a href=javascript:alert(1)>x</a>",
    "{{ 7*7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "\x1b[2J\x1b]0;owned\x07",
    "a\x00b",
    "&lt;b&gt; ' \" ` \u2028",
    "x" * 100_000,
    "]]><!-- -->",
)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_site(site: Site) -> Site:
    for place, text in enumerate(HOSTILE):
        names = {"sensor": text, "src_ip": text, "app": text, "transport": text, text[:200]: text}
        others = {"src_ip": text, "sensor": f"other {place}", "url": f"http://x/{text}"}
        put(
            site,
            DAY,
            login(DAY, text, **names),
            login(DAY, text, **(names | {"sensor": f"{text}2"})),
            command(DAY, text, **others),
        )
        put(site, DAY - DAYS, login(DAY - DAYS, "usual", sensor=f"gone {text}"))
    put(site, DAY, *(case.body for case in cases(DAY)))
    site.run()
    return site


def test_no_text_of_an_event_becomes_markup(site: Site) -> None:
    site.put([event(DAY)], start=DAY, partition=3)
    site.run()
    plain = _Elements()
    plain.feed(report(site).decode())
    data = report(hostile_site(site))
    found = _Elements()
    found.feed(data.decode())
    allowed = plain.tags.keys() | {"caption", "td", "tr", "th", "thead", "tbody", "table", "div"}
    allowed |= {"svg", "rect", "path", "text", "desc", "circle", "title", "h3", "p"}
    assert found.tags.keys() <= allowed
    assert not found.tags.keys() & {"script", "a", "img", "iframe", "link", "base", "form"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert not found.attributes & {"href", "src", "style", "srcset", "action"}
    text = "".join(found.texts)
    assert "<script>alert(1)</script>" in text  # as letters
    assert "{{ 7*7 }}" in text
    assert not set(data.decode()) & {"\x00", "\x1b", "\u202e", "\u2066", "\u2028", "\x07"}
    assert r"\u202egnp.exe" in text
    assert max(map(len, text.split())) <= 6 * LONGEST
    assert len(data) < 150_000


# ---- the command


@pytest.fixture
def stingar(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    from click.testing import CliRunner

    from stingar_dagster.cli import main

    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    monkeypatch.chdir(Path(site.lake).parent)

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return run


def test_the_command_writes_what_is_published(
    site: Site, stingar: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    put(site, DAY, login(DAY, "one"))
    site.run()
    code, told = stingar("report", "2026-11-03")
    assert code == 0
    assert told.startswith("stingar-2026-11-03.html: 1 events, ")
    assert (tmp_path / "stingar-2026-11-03.html").read_bytes() == report(site)
    assert stingar("report", "2026-11-03", "--output", "-") == (0, report(site).decode())
    code, told = stingar("report", "2026-11-04", "-o", "empty.html")
    assert (code, "nothing is published of 2026-11-04" in told) == (0, True)
    code, told = stingar("report", "2026-11-03T05")
    assert (code, "is not a day" in told) == (2, True)
    code, told = stingar("report", "2026-11-03", "-o", "no/such/folder.html")
    assert code == 2
    assert len(told.splitlines()) == 1


def test_the_lake_is_read_as_json_by_nobody_who_expects_events(site: Site) -> None:
    put(site, DAY, event(DAY))
    site.run()
    assert [path.split("/")[1] for path in site.objects() if path.endswith(".html")] == ["reports"]
    assert all(
        json.loads(line) for data in site.objects("daily").values() for line in [*data.splitlines()]
    )

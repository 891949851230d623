"""Discovery by notice: captures are known at once, and nothing but the time depends on notices."""

import random
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest

from stingar_dagster import notices
from stingar_dagster.lake.expected import expected_hours
from stingar_dagster.settings import Settings
from stingar_dagster.verify import verify
from stingar_dagster.watch import LISTING_EVERY
from stingar_dagster_tests.azure_servers import (
    Mailbox,
    Servers,
    as_cloud_event,
    azure_servers,
    blob_created,
    capture_created,
)
from stingar_dagster_tests.orchestration.daemon import Daemon, asked, keys
from stingar_dagster_tests.support import HOUR, MINUTE, Site, capture, event, pending

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

ANCIENT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=40)
"""Listing goes back a week at most once it has seen everything."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with azure_servers() as running:
        yield running


@pytest.fixture(scope="module")
def hearing() -> dg.Definitions:
    """The definitions as they are with notices on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stingar_dagster.definitions import build_definitions

        defs = build_definitions(
            Settings(notices="https://account.queue.core.windows.net/captures")
        )
        dg.Definitions.validate_loadable(defs)
    return defs


@dataclass
class Office:
    """A landing container with a queue of notices, a lake, and Dagster's daemon."""

    site: Site
    mailbox: Mailbox
    daemon: Daemon
    root: str
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, bodies: list[bytes], **where: Any) -> dict[str, Any]:
        """Land a capture; returns the event that Event Hubs would send of it."""
        path = self.site.put(bodies, **where)
        first = where.get("first", 0)
        size = len(self.site.blobs[path])
        return capture_created(self.url(path), size, len(bodies), first, first + len(bodies) - 1)

    def url(self, path: str) -> str:
        return f"{self.root}/{path}"

    def tick(self) -> list[str]:
        """Partitions that a tick of the landing sensor asks for."""
        return asked(self.daemon.tick("new_captures"))

    def skip(self) -> str:
        return self.daemon.tick("new_captures").skip_message or ""

    def open(self) -> None:
        """Look at everything that is there, without running anything; looks since are short."""
        self.put([event(recently())], start=recently(), partition=9)
        for _ in range(20):
            self.tick()
            until = self.cursor()["marks"].get("looked_until")
            if until is not None and datetime.fromisoformat(until) > datetime.now(UTC):
                return
        raise AssertionError("the present is never reached")

    def catch_up(self) -> None:
        """Bring out all that is there; looks since then are short."""
        for _ in range(20):
            self.daemon.settle()
            until = self.cursor()["marks"].get("looked_until")
            if until is not None and datetime.fromisoformat(until) > datetime.now(UTC):
                return
        raise AssertionError("the present is never reached")

    def cursor(self) -> dict[str, Any]:
        return msgspec.json.decode(self.daemon.cursors["new_captures"] or "{}")  # type: ignore[no-any-return]

    def age_cursor(self, **changes: Any) -> None:
        cursor = self.cursor()
        for part in ("marks", "queue"):
            cursor[part].update({k: v for k, v in changes.items() if k in cursor[part]})
        self.daemon.cursors["new_captures"] = msgspec.json.encode(cursor).decode()

    def checks(self) -> list[dg.AssetCheckEvaluation]:
        """Evaluations of the check that captures are as told, oldest first."""
        key = dg.AssetCheckKey(dg.AssetKey(["stingar", "landed_events"]), "captures_are_as_told")
        storage = self.daemon.instance.event_log_storage
        records = storage.get_asset_check_execution_history(key, limit=100)
        found = [record.evaluation for record in reversed(records)]
        return [one for one in found if isinstance(one, dg.AssetCheckEvaluation)]


@pytest.fixture
def office(
    servers: Servers,
    hearing: dg.Definitions,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Office]:
    for name in ("STINGAR_CAPTURE_FORMAT", "STINGAR_MAX_BODY_BYTES"):
        monkeypatch.delenv(name, raising=False)
    container, mailbox = servers.new_container(), servers.new_queue()
    site = Site(f"az://{container}/landing", str(tmp_path / "lake"))
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", servers.connection_string)
    monkeypatch.setenv("STINGAR_START", f"{ANCIENT - timedelta(days=2):%Y-%m-%d}")
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    monkeypatch.setenv("STINGAR_NOTICES", mailbox.url)
    yield Office(site, mailbox, Daemon(hearing, instance), f"{servers.blob}/{container}/landing")
    mailbox.client.close()


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def recently() -> datetime:
    return this_hour() - HOUR


# ---- known at once


def test_a_notice_makes_its_hour_known_however_old_it_is(office: Office) -> None:
    office.open()
    notice = office.put([event(ANCIENT)], start=ANCIENT, partition=1)
    assert office.tick() == []
    office.mailbox.send([notice])
    assert office.tick() == keys(ANCIENT)


@pytest.mark.parametrize("schema", [dict, as_cloud_event])
@pytest.mark.parametrize("kind", [blob_created, None])
def test_either_event_in_either_schema_will_do(office: Office, schema: Any, kind: Any) -> None:
    office.open()
    notice = office.put([event(ANCIENT)], start=ANCIENT, partition=1)
    if kind is not None:
        notice = kind(notice["data"]["fileUrl"])
    office.mailbox.send(schema(notice))
    assert office.tick() == keys(ANCIENT)


def test_several_captures_of_an_hour_are_one_request(office: Office) -> None:
    office.open()
    for partition in range(5):
        office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=partition)])
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT + HOUR, partition=1, first=1)])
    assert office.tick() == keys(ANCIENT, ANCIENT + HOUR)


def test_where_notices_come_the_last_hours_are_listed_once_a_minute(office: Office) -> None:
    office.open()
    office.put([event(this_hour())], start=this_hour(), partition=1)
    assert office.tick() == []
    long_ago = datetime.now(UTC) - LISTING_EVERY
    office.age_cursor(looked_at=long_ago.isoformat())
    assert office.tick() == keys(this_hour())


# ---- at least once


def test_a_message_is_deleted_at_the_tick_after_its_hour_is_in_the_cursor(office: Office) -> None:
    office.open()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    office.tick()
    assert office.mailbox.waiting() == 1
    office.tick()
    assert office.mailbox.waiting() == 0
    assert datetime.fromisoformat(office.cursor()["marks"]["open_hours"][0]) == ANCIENT


def test_what_a_slow_queue_leaves_is_deleted_at_a_later_tick(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.open()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    office.tick()
    taken = office.cursor()["queue"]["taken"]
    with monkeypatch.context() as at_once:
        at_once.setattr(notices, "SECONDS_A_TICK", -1.0)
        office.tick()
    assert office.cursor()["queue"]["taken"] == taken
    assert office.mailbox.waiting() == 1
    office.tick()
    assert office.mailbox.waiting() == 0


def test_a_tick_that_is_lost_loses_no_notice(office: Office) -> None:
    office.open()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    before = office.daemon.cursors["new_captures"]
    office.tick()
    taken = [tuple(one) for one in office.cursor()["queue"]["taken"]]
    office.daemon.cursors["new_captures"] = before
    assert office.tick() == []
    office.mailbox.give_back(taken)
    assert office.tick() == keys(ANCIENT)


def test_an_hour_told_of_stays_open_until_it_is_landed(office: Office) -> None:
    office.put([event(recently())], start=recently())
    office.catch_up()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    result = office.daemon.tick("new_captures")
    assert asked(result) == keys(ANCIENT)
    for _ in range(3):
        assert "1 landed hours are pending" in office.skip()
    office.daemon.run("land", result)
    office.daemon.settle()
    assert office.skip() == "all landed hours are up to date"
    assert len(office.site.events()) == 2


def test_a_message_that_is_never_done_with_is_left_to_listing(
    office: Office, capfd: pytest.CaptureFixture[str]
) -> None:
    office.open()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    before = office.daemon.cursors["new_captures"]
    for _ in range(5):
        assert office.tick() == keys(ANCIENT)
        taken = [tuple(one) for one in office.cursor()["queue"]["taken"]]
        office.mailbox.give_back(taken)
        office.daemon.cursors["new_captures"] = before
    assert office.tick() == []
    assert "was handed out 6 times and never done with" in "".join(capfd.readouterr())
    office.tick()
    assert office.mailbox.waiting() == 0


# ---- nothing but the time depends on notices


@pytest.mark.parametrize("seed", range(2))
def test_with_notices_lost_doubled_late_and_forged_the_lake_holds_the_same_bytes(
    office: Office,
    hearing: dg.Definitions,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(seed)
    hours = [ANCIENT, recently(), recently() - 3 * HOUR]
    late: list[Any] = [forged(office, chance) for _ in range(6)]
    for number in range(10):
        hour = chance.choice(hours)
        bodies = [event(hour - chance.randrange(3) * HOUR), b"no json"][: chance.randrange(1, 3)]
        start = hour + number * MINUTE
        notice = office.put(bodies, start=start, partition=number % 2, first=2 * number)
        late += [notice] * chance.randrange(3)
        chance.shuffle(late)
        for one in late[: chance.randrange(3)]:
            late.remove(one)
            office.mailbox.send(one) if isinstance(one, dict) else office.mailbox.send_text(one)
        if chance.random() < 0.4:
            office.daemon.settle()
    for one in late:
        office.mailbox.send(one) if isinstance(one, dict) else office.mailbox.send_text(one)
    office.daemon.settle()
    office.daemon.cursors.pop("new_captures")  # so that ancient captures without a notice are seen
    office.catch_up()
    office.site.check()

    by_listing = office.site.with_lake(str(tmp_path / "other"))
    monkeypatch.setenv("STINGAR_LAKE", by_listing.lake)
    monkeypatch.delenv("STINGAR_NOTICES")
    with dg.DagsterInstance.ephemeral() as other:
        replace(office, daemon=Daemon(hearing, other)).catch_up()
    for site in (office.site, by_listing):
        make_old_reports_anew(site)
    told = {path for path in office.site.tree() if "/state/notices/" in path}
    for folder in ("events", "daily", "quarantine", "ledger", "schema", "rollups", "state"):
        heard = {path: data for path, data in office.site.tree(folder).items() if path not in told}
        assert heard == by_listing.tree(folder), folder


def make_old_reports_anew(site: Site) -> None:
    """What landed around a day makes its report anew; sensors look back 35 days, this looks back
    as `stingar run` does. Nothing else may be left to do."""
    pipeline = site.pipeline()
    unlanded, unpublished, days = pending(pipeline)
    assert (unlanded, unpublished) == ([], [])
    for day in days:
        pipeline.roll_day(day)
    assert pending(pipeline) == ([], [], [])


def forged(office: Office, chance: random.Random) -> Any:
    """Something that must not matter."""
    path = f"ns/hub/0/{ANCIENT:%Y/%m/%d/%H}/00/00.avro"
    other = office.root.rsplit("/", 1)[0]
    return chance.choice([
        "nonsense",
        "[" * 1000,
        blob_created(office.url(path)),
        blob_created(office.url("ns/hub/0/2099/05/19/18/00/00.avro")),
        blob_created(office.url("ns/hub/0/1999/05/19/18/00/00.avro")),
        blob_created(office.url("ns/hub/0/2022/13/19/18/00/00.avro")),
        blob_created(office.url("../../../etc/passwd")),
        blob_created(f"{other}/elsewhere/{path}"),
        blob_created(f"https://other.blob.core.windows.net/captures/landing/{path}"),
        capture_created(office.url(path.replace("hub/0", "hub/7")), 5, 0, -1, -1),
        blob_created(office.url(path), eventType="Microsoft.Storage.BlobDeleted"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "https://other.blob.core.windows.net/{container}/landing/{path}",
        "{account}/other/landing/{path}",
        "{account}/{container}/landing-of-others/{path}",
        "{account}/{container}/{path}",
        "{account}/{container}/landing/{path}.tmp",
        "{account}/{container}/landing/x/{path}",
        "http://[",
        "",
        "\u202eoverride",
    ],
)
def test_a_notice_of_something_else_asks_for_nothing(office: Office, url: str) -> None:
    office.open()
    path = office.site.put([event(ANCIENT)], start=ANCIENT, partition=1)
    account, container, _ = office.root.rsplit("/", 2)
    office.mailbox.send(
        capture_created(url.format(account=account, container=container, path=path), 1, 1, 1, 1)
    )
    assert office.tick() == []
    office.tick()
    assert office.mailbox.waiting() == 0
    assert office.site.objects("state/notices") == {}


def test_the_data_lakes_endpoint_names_the_same_capture(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.open()
    path = office.site.put([event(ANCIENT)], start=ANCIENT, partition=1)
    account, container, _ = office.root.rsplit("/", 2)
    name = account.rsplit("/", 1)[1]
    for service in ("dfs", "blob"):
        url = f"https://{name}.{service}.core.windows.net/{container}/landing/{path}"
        cursor = office.daemon.cursors["new_captures"]
        office.mailbox.send(blob_created(url))
        assert office.tick() == keys(ANCIENT), service
        office.daemon.cursors["new_captures"] = cursor


def test_a_flood_of_hours_is_heard_a_part_at_a_time(office: Office) -> None:
    office.open()
    for number in range(60):
        start = ANCIENT + number * HOUR
        office.mailbox.send(blob_created(office.url(f"ns/hub/0/{start:%Y/%m/%d/%H}/00/00.avro")))
    assert office.tick() == []
    assert len(office.cursor()["queue"]["taken"]) == 48
    office.tick()
    assert office.mailbox.waiting() == 12


# ---- what Event Hubs said is held against what is found


def land_other_than_told(office: Office, **wrong: int) -> str:
    """A capture that the notice of says something else of; returns its path."""
    office.open()
    notice = office.put([event(ANCIENT)] * 379, start=ANCIENT, first=1000, partition=1)
    notice["data"].update(wrong)
    office.mailbox.send([notice])
    office.daemon.settle()
    return str(notice["data"]["fileUrl"]).removeprefix(f"{office.root}/")


def test_a_capture_that_is_as_told_passes(office: Office) -> None:
    land_other_than_told(office)
    assert all(check.passed for check in office.checks())
    proof = verify(office.site.pipeline())
    assert not [problem for problem in proof.problems if problem.kind == "told"]
    assert expected_hours(office.site.pipeline().lake) == [ANCIENT]


@pytest.mark.parametrize(
    "wrong",
    [
        {"eventCount": 380, "lastSequenceNumber": 1379},
        {"firstSequenceNumber": 999},
        {"sizeInBytes": 1},
        {"eventCount": 0, "firstSequenceNumber": -1, "lastSequenceNumber": -1},
    ],
)
def test_a_capture_that_is_not_as_told_shows_in_the_check_and_in_the_proof(
    office: Office, wrong: dict[str, int]
) -> None:
    path = land_other_than_told(office, **wrong)
    failed = [check for check in office.checks() if not check.passed]
    assert [check.severity for check in failed] == [dg.AssetCheckSeverity.WARN]
    assert path in (failed[0].description or "")
    (problem,) = (one for one in verify(office.site.pipeline()).problems if one.kind == "told")
    assert problem.place == path
    assert "it has 379 events, 1000 to 1378, in " in problem.detail
    # Nothing waits for it.
    assert len(office.site.events()) == 379


def test_a_notice_that_comes_after_the_landing_is_compared_all_the_same(office: Office) -> None:
    notice = office.put([event(recently())] * 3, start=recently())
    office.catch_up()
    assert all(check.passed for check in office.checks())
    notice["data"]["eventCount"] = 4
    office.mailbox.send([notice])
    assert office.tick() == []
    assert not office.checks()[-1].passed


def test_a_false_notice_beside_the_true_one_changes_nothing(office: Office) -> None:
    notice = office.put([event(recently())] * 3, start=recently())
    false = {**notice, "data": {**notice["data"], "eventCount": 4}}
    office.mailbox.send([false])
    office.mailbox.send([notice])
    office.catch_up()
    assert verify(office.site.pipeline()).holds
    assert all(check.passed for check in office.checks())


def test_a_capture_that_was_told_of_and_is_nowhere_is_a_problem(office: Office) -> None:
    office.put([event(recently())], start=recently())
    lost = office.put([event(recently())], start=recently() + MINUTE, first=1)
    path = str(lost["data"]["fileUrl"]).removeprefix(f"{office.root}/")
    office.site.remove(path)
    office.mailbox.send([lost])
    office.catch_up()
    (problem,) = verify(office.site.pipeline()).problems
    assert (problem.kind, problem.place) == ("told", path)
    assert "neither in landing nor in the ledger" in problem.detail


def test_a_capture_that_is_gone_since_it_was_landed_is_no_problem(office: Office) -> None:
    notice = office.put([event(recently())], start=recently())
    office.mailbox.send([notice])
    office.catch_up()
    office.site.remove(str(notice["data"]["fileUrl"]).removeprefix(f"{office.root}/"))
    assert verify(office.site.pipeline()).holds


def test_of_a_damaged_capture_the_proof_says_what_was_lost(office: Office) -> None:
    blob = capture([event(recently())] * 9, received=recently(), block_bytes=600)
    marker = blob[-16:]
    at = blob.index(marker, blob.index(marker) + 16)  # behind the first block
    spoilt = blob[:at] + bytes(16) + blob[at + 16 :]
    path = office.site.put_blob(spoilt, start=recently())
    office.mailbox.send([capture_created(office.url(path), len(blob), 9, 0, 8)])
    office.catch_up()
    proof = verify(office.site.pipeline())
    assert not [problem for problem in proof.problems if problem.kind == "told"]
    (note,) = (note for note in proof.notes if "Event Grid told of 9 events, 0 to 8" in note)
    assert note.startswith(f"{path} is damaged")


def test_what_was_said_of_old_hours_is_forgotten(office: Office) -> None:
    land_other_than_told(office)
    assert expected_hours(office.site.pipeline().lake) == [ANCIENT]
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    office.age_cursor(looked_at=long_ago, reconciled_at=long_ago)
    office.tick()
    assert expected_hours(office.site.pipeline().lake) == []


# ---- a queue that can't be used


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("STINGAR_NOTICES", "captures", "is not the address of a queue"),
        ("STINGAR_NOTICES", "{queue}/missing", "there is no such queue"),
        ("STINGAR_NOTICES", "http://127.0.0.1:1/devstoreaccount1/captures", "not reachable"),
        ("STINGAR_LANDING", "{folder}", "is for captures on Azure"),
    ],
)
def test_a_queue_that_can_not_be_used_is_one_line_and_listing_goes_on(
    office: Office,
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    line: str,
) -> None:
    folder = tmp_path / "landing"
    monkeypatch.setenv(name, value.format(queue=servers.queue, folder=folder))
    site = Site(str(folder), office.site.lake) if name == "STINGAR_LANDING" else office.site
    site.put([event(recently())], start=recently())
    assert office.tick() == keys(recently())
    for number in (1, 2):
        # Each tick says it, and lists.
        skip = office.skip()
        assert line in skip
        assert "\n" not in skip
        site.put([event(this_hour())], start=this_hour(), partition=number)
        office.tick()
        assert office.cursor()["marks"]["open_hours"][-1].startswith(f"{this_hour():%Y-%m-%dT%H}")


def test_a_queue_that_works_again_is_heard_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.open()
    with monkeypatch.context() as broken:
        broken.setenv("STINGAR_NOTICES", f"{office.mailbox.url}x")
        assert "no such queue" in office.skip()
    office.mailbox.send([office.put([event(ANCIENT)], start=ANCIENT, partition=1)])
    assert office.tick() == []  # it is left alone for a minute
    office.age_cursor(failed_at=1.0)
    assert office.tick() == keys(ANCIENT)
    assert "queue" not in office.skip()


def test_an_address_with_a_token_is_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secrets.token_hex(8)
    monkeypatch.setenv("STINGAR_NOTICES", f"{office.mailbox.url}?sig={secret}")
    skip = office.skip()
    assert skip.startswith("STINGAR_NOTICES: write the address without a token")
    assert secret not in skip

"""Where sources come from, by real MMDB files of several vendors; and nothing without any."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from stingar_dagster import lake
from stingar_dagster.cli import main
from stingar_dagster.errors import SettingsError, UsageError
from stingar_dagster.lake.reader import origins
from stingar_dagster.lake.reader.origins import Databases
from stingar_dagster.verify import verify
from stingar_dagster_tests.support import HOUR, Site, event

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
RANGE = ("2026-11-03", "2026-11-04")
DUTCH, SIX, UNKNOWN = "203.0.113.9", "2001:db8::7", "192.0.2.1"

Make = Callable[..., str]


def wrote(path: Path, networks: Mapping[str, Any], kind: str = "GeoLite2-Country") -> str:
    """An MMDB file; put in place whole, as vendors' tools do."""
    version = 6 if any(":" in network for network in networks) else 4
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    new.rename(path)
    return str(path)


def built(path: str) -> str:
    import maxminddb

    with maxminddb.open_database(path) as reader:
        return f"{datetime.fromtimestamp(reader.metadata().build_epoch, UTC):%Y-%m-%d}"


def country(code: str) -> dict[str, Any]:
    return {"country": {"iso_code": code, "names": {"en": "Country"}}}


@pytest.fixture
def countries(tmp_path: Path) -> str:
    return wrote(
        tmp_path / "country.mmdb",
        {"203.0.113.0/24": country("NL"), "2001:db8::/32": country("DE")},
    )


@pytest.fixture
def systems(tmp_path: Path) -> str:
    record = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example B.V."}
    return wrote(tmp_path / "asn.mmdb", {"203.0.113.0/24": record}, "GeoLite2-ASN")


def found(databases: Databases, *addresses: str | None) -> list[tuple[Any, ...]]:
    frame = pl.DataFrame({"src_ip": addresses}, schema={"src_ip": pl.String()})
    added = databases.enriched(frame)
    assert dict(added.drop("src_ip").schema) == origins.SCHEMA
    assert added["src_ip"].to_list() == list(addresses)
    return added.select("src_country", "src_asn", "src_as_org").rows()


def test_addresses_of_all_spellings_are_found_and_others_are_not(
    countries: str, systems: str
) -> None:
    dutch = ("NL", 64500, "Example B.V.")
    nothing = (None, None, None)
    spellings = {
        DUTCH: dutch,
        "::ffff:203.0.113.9": dutch,
        "::ffff:cb00:7109": dutch,
        SIX: ("DE", None, None),  # in the second file there are only IPv4 addresses
        "2001:0DB8:0::7": ("DE", None, None),
        UNKNOWN: nothing,
        "": nothing,
        "203.0.113.9.": nothing,
        "sensor\x00": nothing,
        None: nothing,
    }
    assert found(Databases([countries, systems]), *spellings) == list(spellings.values())
    assert found(Databases([countries]), DUTCH, None, DUTCH) == [("NL", None, None), nothing,
                                                                ("NL", None, None)]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "origin"),
    [
        # MaxMind GeoLite2-City and DB-IP; GeoIP2-ISP; GeoIP2-Enterprise
        ({**country("NL"), "city": {"geoname_id": 1}}, ("NL", None, None)),
        (
            {"autonomous_system_number": 64500, "isp": "x", "organization": "y"},
            (None, 64500, None),
        ),
        (
            country("NL")
            | {"traits": {"autonomous_system_number": 1, "autonomous_system_organization": "A"}},
            ("NL", 1, "A"),
        ),
        # IPinfo Lite, IPinfo country and ASN, IPinfo ASN
        (
            {"country": "Netherlands", "country_code": "NL", "asn": "AS64500", "as_name": "B"},
            ("NL", 64500, "B"),
        ),
        ({"country": "NL", "country_name": "Netherlands", "asn": "AS1"}, ("NL", 1, None)),
        ({"asn": "AS64500", "name": "B", "type": "isp"}, (None, 64500, "B")),
        # IPLocate
        ({"asn": 64500, "org": "B", "name": "b", "country_code": "nl"}, ("NL", 64500, "B")),
        # A name alone is none of a system's; shapes that nobody promised
        ({"name": "B", "registered_country": {"iso_code": "NL"}}, (None, None, None)),
        ({"country": "Netherlands", "asn": "AS", "traits": "x"}, (None, None, None)),
        ({"country": {"iso_code": 7}, "asn": "AS99999999999"}, (None, None, None)),
        ("text", (None, None, None)),
    ],
)
def test_files_of_any_vendor_are_understood(
    tmp_path: Path, record: Any, origin: tuple[Any, ...]
) -> None:
    databases = Databases([wrote(tmp_path / "x.mmdb", {"203.0.113.0/24": record})])
    assert found(databases, DUTCH) == [origin]


def test_the_first_file_that_knows_counts(tmp_path: Path, countries: str) -> None:
    second = wrote(
        tmp_path / "lite.mmdb",
        {"203.0.113.0/24": {"country_code": "US"}, "192.0.2.0/24": {"country_code": "US"}},
    )
    databases = Databases([countries, second])
    assert [row[0] for row in found(databases, DUTCH, UNKNOWN)] == ["NL", "US"]


def test_beside_the_values_stand_name_and_date_of_the_databases(
    countries: str, systems: str
) -> None:
    frame = pl.DataFrame({"src_ip": [DUTCH, UNKNOWN, None]})
    told = f"GeoLite2-Country {built(countries)}, GeoLite2-ASN {built(systems)}"
    enriched = Databases([countries, systems]).enriched(frame)
    assert enriched["geo_database"].to_list() == [told] * 3


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, countries: str) -> None:
    databases = Databases([countries])
    assert found(databases, DUTCH) == [("NL", None, None)]
    wrote(tmp_path / "country.mmdb", {"203.0.113.0/24": country("BE")}, "DBIP-Country-Lite")
    assert found(databases, DUTCH, SIX) == [("BE", None, None), (None, None, None)]
    told = databases.enriched(pl.DataFrame({"src_ip": [DUTCH]}))["geo_database"][0]
    assert told.startswith("DBIP-Country-Lite ")
    os.unlink(countries)
    with pytest.raises(SettingsError, match="No such file"):
        found(databases, DUTCH)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a page of HTML": lambda data: b"<html>Sign in</html>",
    "gzip": lambda data: b"\x1f\x8b" + data,
    "tree": lambda data: b"\xff" * 300 + data[300:],
}


@pytest.mark.parametrize("damage", ["empty", "cut", "a page of HTML", "tree"])
def test_a_damaged_file_is_one_clear_line(countries: str, damage: str) -> None:
    path = Path(countries)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(SettingsError) as told:
        found(Databases([countries]), DUTCH)
    line = str(told.value)
    assert line.startswith(f"STINGAR_GEO: {countries} can't be used: it is ")
    assert "\n" not in line


@pytest.mark.parametrize("name", ["nowhere.mmdb", ""])
def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"^STINGAR_GEO: .* can't be used: "):
        Databases([str(tmp_path / name)])


# ---- reading


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site.at(tmp_path_factory.mktemp("filled"))
    site.put(
        [
            event(NOON, src_ip=DUTCH, command="id", signature="command entered"),
            event(NOON + HOUR, src_ip=SIX),
            event(NOON + HOUR, src_ip=UNKNOWN),
            event(NOON + 2 * HOUR, src_ip=None),
        ],
        start=NOON + 5 * HOUR,
    )
    site.run()
    return site


@pytest.fixture
def site(filled: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STINGAR_LAKE", filled.lake)
    monkeypatch.setenv("STINGAR_LANDING", filled.landing)
    monkeypatch.delenv("STINGAR_GEO", raising=False)
    return filled


@pytest.fixture
def known(site: Site, countries: str, systems: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("STINGAR_GEO", f"{countries},{systems}")
    return site


def stingar(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_events_are_enriched_when_they_are_read(known: Site) -> None:
    events = lake.events(*RANGE, enrich=True)
    assert events.select("src_ip", "src_country", "src_asn").collect().rows() == [
        (DUTCH, "NL", 64500), (SIX, "DE", None), (UNKNOWN, None, None), (None, None, None),
    ]  # fmt: skip
    german = events.filter(pl.col("src_country") == "DE", pl.col("dest_port") == 22)
    assert german.collect()["src_ip"].to_list() == [SIX]
    assert events.head(1).collect().height == 1
    plain = lake.events(*RANGE).collect()
    assert events.collect().drop(origins.SCHEMA).equals(plain)


def test_nobody_asks_the_databases_for_columns_that_nobody_asks_for(
    known: Site, countries: str
) -> None:
    events = lake.events(*RANGE, enrich=True)
    os.unlink(countries)
    assert events.select("src_ip").collect().height == 4
    with pytest.raises(SettingsError, match="No such file"):
        events.collect()


def test_daily_tables_and_sessions_are_enriched_too(known: Site) -> None:
    sources = lake.enrich(lake.daily("daily_sources", *RANGE)).collect()
    assert dict(sources.select("src_ip", "src_country").rows())[DUTCH] == "NL"
    sessions = lake.enrich(lake.sessions(lake.events(*RANGE))).collect()
    assert sessions["src_country"].to_list() == ["NL", "DE", None, None] or sessions.height == 4
    with pytest.raises(UsageError, match="no column 'src_ip'"):
        lake.enrich(lake.daily("daily_hours", *RANGE))


def test_a_search_shows_origins_where_it_is_asked_to(known: Site, countries: str) -> None:
    plain, enriched = (
        stingar("events", "--since", RANGE[0], "--until", RANGE[1], "--format", "json", *more)
        for more in ((), ("--enrich",))
    )
    rows = [json.loads(line) for line in enriched.stdout.splitlines()]
    assert [row.get("src_country") for row in rows] == ["NL", "DE", None, None]
    assert all(built(countries) in row.pop("geo_database") for row in rows)
    for row in rows:
        for name in origins.SCHEMA:
            row.pop(name, None)
    assert rows == [json.loads(line) for line in plain.stdout.splitlines()]
    table = stingar("events", "--since", RANGE[0], "--until", RANGE[1], "--enrich").stdout
    assert "src_country" in table.splitlines()[0]
    assert "Example B.V." in table
    written = stingar(
        "events", "--since", RANGE[0], "--until", RANGE[1], "--enrich", "--format", "csv"
    ).stdout
    assert written.splitlines()[0].endswith("src_country,src_asn,src_as_org,geo_database")


def test_the_page_of_an_address_says_where_it_comes_from(known: Site, countries: str) -> None:
    lines = stingar("ip", DUTCH).stdout.splitlines()
    assert lines[2].startswith(f"NL, AS64500 Example B.V. (GeoLite2-Country {built(countries)}, ")
    # Also of one that was never seen.
    assert "Origin not known (GeoLite2" in stingar("ip", "198.51.100.1").stdout
    network = stingar("ip", "203.0.113.0/24").stdout
    assert "AS64500 Example B.V." in network
    (origin,) = json.loads(stingar("ip", DUTCH, "--json").stdout)["origins"]
    assert (origin["src_country"], origin["src_asn"]) == ("NL", 64500)
    profile = lake.ip(DUTCH)
    assert profile.origins is not None
    assert profile.origins["src_country"].to_list() == ["NL"]


def test_hostile_text_in_a_database_is_shown_harmlessly(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"asn": "AS1", "as_name": "[red]\x1b[2J\u202ex"}
    path = wrote(tmp_path / "x.mmdb", {"203.0.113.0/24": record}, "ty\x1bpe")
    monkeypatch.setenv("STINGAR_GEO", path)
    shown = stingar("ip", DUTCH).stdout
    assert "AS1 [red]\\u001b[2J\\u202ex (ty\\u001bpe" in shown


def test_without_a_setting_nothing_is_different(site: Site) -> None:
    assert lake.ip(DUTCH).origins is None
    assert "origins" not in json.loads(stingar("ip", DUTCH, "--json").stdout)
    assert "GeoLite" not in stingar("ip", DUTCH).stdout
    refused = stingar("events", "--enrich")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("stingar: no database of origins is set: ")
    with pytest.raises(UsageError, match="STINGAR_GEO"):
        lake.events(*RANGE, enrich=True)


def test_a_damaged_file_ends_a_command_with_one_line(known: Site, countries: str) -> None:
    Path(countries).write_bytes(b"x")
    for command in (("ip", DUTCH), ("events", "--enrich")):
        refused = stingar(*command)
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"stingar: STINGAR_GEO: {countries} can't be used: ")
        assert refused.stderr.count("\n") == 1


def test_without_the_package_the_line_says_how_to_get_it(
    known: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "maxminddb", None)
    refused = stingar("ip", DUTCH)
    assert (refused.exit_code, "stingar-dagster[geo]" in refused.stderr) == (2, True)


def test_a_database_changes_nothing_that_is_published(tmp_path: Path, countries: str) -> None:
    site = Site.at(tmp_path / "site")
    site.put([event(NOON, src_ip=DUTCH)], start=NOON + HOUR)
    os.environ["STINGAR_GEO"] = countries
    try:
        site.run()
        assert verify(site.pipeline(), again=True).holds
    finally:
        del os.environ["STINGAR_GEO"]
    assert not any(
        "NL" in json.dumps(row) for row in [*site.events(), *site.daily("daily_sources")]
    )

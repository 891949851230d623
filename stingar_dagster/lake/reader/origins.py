"""Where source addresses come from: country and network operator, by databases in MMDB files.

At reading, never in what is published: published hours and daily tables are functions of captures
alone, and a new database every month would change history. Beside the values stands which database
said so, with the date it was built.

Any vendor's file will do (MaxMind's GeoLite2 and GeoIP2, DB-IP, IPinfo, IPLocate and others made
for the same readers): the fields are told by their names. Format and metadata: the MaxMind DB File
Format Specification, version 2.0. Not here: where the files are (`settings`), and which frames are
enriched (`frames`, `profile`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from stingar_dagster.errors import SettingsError, UsageError
from stingar_dagster.lake.reader.query import SOURCE
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.stream import Column

if TYPE_CHECKING:
    from maxminddb.reader import Reader

SETTING: Final = "STINGAR_GEO"

COLUMNS: Final = (
    Column("src_country", pl.String(), "Country of the source address, ISO 3166-1 alpha-2"),
    Column("src_asn", pl.Int64(), "Number of the autonomous system that announces the address"),
    Column("src_as_org", pl.String(), "Who runs that autonomous system"),
    Column("geo_database", pl.String(), "The databases that were asked, with the day (UTC) each "
           "was built; there also where they don't know the address"),
)  # fmt: skip
"""What is added to a frame, with meanings."""

SCHEMA: Final = {column.name: column.dtype for column in COLUMNS}

_REMEMBERED: Final = 1 << 17
"""Addresses, before all are forgotten: a day has some ten thousand."""

Origin = tuple[str | None, int | None, str | None]
"""Country, number and name of the autonomous system."""


class Databases:
    """One or several MMDB files; the first that knows a value counts.

    A file that was replaced is opened again at the next look. Replace it by renaming, as
    geoipupdate does: a file that is written over while it is read has neither content.

    Args:
        paths: of the files.

    Raises:
        SettingsError: the package that reads them is missing, or a file can't be read; also
            raised later, when a file is damaged inside or was replaced by something else.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._opened = self._open(self._identities())

    def enriched(self, frame: pl.DataFrame, column: str = SOURCE) -> pl.DataFrame:
        """The frame with `COLUMNS`, in the place of columns of the same names.

        Args:
            frame: with a column of addresses as text.
            column: its name.
        """
        return frame.with_columns(self.of(frame[column]).struct.unnest().get_columns())

    def of(self, addresses: pl.Series) -> pl.Series:
        """For each address a struct of `COLUMNS`; null where it is no address or not known."""
        opened = self._opened
        identities = self._identities()
        if identities != opened.identities:
            # In one step, since frames are collected in several threads.
            opened = self._opened = self._open(identities)
        distinct = addresses.unique().cast(pl.String)
        found = [opened.origin(address) for address in distinct]
        values: list[tuple[Any, ...]] = [(*origin, opened.told) for origin in found]
        origins = pl.DataFrame(values, schema=SCHEMA, orient="row").to_struct("origin")
        known = pl.DataFrame([distinct.alias("address"), origins])
        asked = pl.DataFrame([addresses.cast(pl.String).alias("address")])
        return asked.join(known, on="address", how="left", nulls_equal=True, maintain_order="left")[
            "origin"
        ]

    def _identities(self) -> tuple[tuple[int, ...], ...]:
        identities = []
        for path in self._paths:
            try:
                status = os.stat(path)
            except OSError as error:
                raise _unreadable(path, error.strerror or str(error)) from None
            identities.append((status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(identities)

    def _open(self, identities: tuple[tuple[int, ...], ...]) -> "_Opened":
        readers = {path: _reader(path) for path in self._paths}
        told = ", ".join(_told(path, reader) for path, reader in readers.items())
        return _Opened(identities, readers, told)


@dataclass(frozen=True)
class _Opened:
    """Files as they were at one moment.

    Attributes:
        identities: what tells them from files that take their place.
        readers: by path.
        told: their names and dates.
        known: addresses that were asked for.
    """

    identities: tuple[tuple[int, ...], ...]
    readers: Mapping[str, "Reader"]
    told: str
    known: dict[str, Origin] = field(default_factory=dict)

    def origin(self, address: str | None) -> Origin:
        if address is None:
            return None, None, None
        origin = self.known.get(address)
        if origin is None:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            origin = self.known[address] = self._looked_up(address)
        return origin

    def _looked_up(self, text: str) -> Origin:
        address = _address(text)
        country: str | None = None
        system: tuple[int | None, str | None] = None, None
        if address is not None:
            for path, reader in self.readers.items():
                record = _record(path, reader, address)
                country = country or _country(record)
                system = system if system[0] is not None else _system(record)
        return country, *system


def databases(paths: Sequence[str]) -> Databases | None:
    """The databases that the settings name; None where they name none."""
    return Databases(paths) if paths else None


def wanted(paths: Sequence[str]) -> Databases:
    """The same, where somebody asked for them.

    Raises:
        UsageError: the settings name none.
    """
    if not paths:
        raise UsageError(
            f"no database of origins is set: put the path of an MMDB file, such as "
            f"GeoLite2-Country.mmdb, into {SETTING}; several are parted by commas"
        )
    return Databases(paths)


def _reader(path: str) -> "Reader":
    try:
        import maxminddb
    except ImportError:
        raise SettingsError(
            f"{SETTING} is set, but what reads MMDB files is not there: "
            "pip install 'stingar-dagster[geo]'"
        ) from None
    try:
        return maxminddb.open_database(path)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except (maxminddb.InvalidDatabaseError, ValueError):
        raise _unreadable(path, "it is not a whole MMDB file") from None


def _unreadable(path: str, reason: str) -> SettingsError:
    return SettingsError(
        f"{SETTING}: {visible(path, 200)} can't be used: {reason}; "
        "get it again from its vendor, or take it out of the setting"
    )


def _told(path: str, reader: "Reader") -> str:
    metadata = reader.metadata()
    try:
        built = f"{datetime.fromtimestamp(metadata.build_epoch, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        raise _unreadable(path, "its build date is none") from None
    # The type is the vendor's; some leave it empty.
    return f"{visible(metadata.database_type or Path(path).name, 100)} {built}"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address; an IPv4-mapped one (RFC 4291, 2.5.5.2) means the IPv4 one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _record(path: str, reader: "Reader", address: IPv4Address | IPv6Address) -> Mapping[str, Any]:
    import maxminddb

    try:
        record = reader.get(address)
    except ValueError:
        # An IPv6 address, and a database of IPv4 ones.
        return {}
    except (maxminddb.InvalidDatabaseError, UnicodeDecodeError):
        raise _unreadable(path, "it is damaged inside") from None
    return record if isinstance(record, dict) else {}


def _country(record: Mapping[str, Any]) -> str | None:
    """MaxMind, DB-IP and IP2Location: country.iso_code. IPinfo Lite, IPLocate: country_code, the
    country being its name. IPinfo's other files: country."""
    country = record.get("country")
    if isinstance(country, dict):
        country = country.get("iso_code")
    code = record.get("country_code") or country
    is_code = isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha()
    return str(code).upper() if is_code else None


def _system(record: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """MaxMind and DB-IP: autonomous_system_number and _organization, in some products below
    traits. IPinfo: asn, as text with AS before it, and as_name, in some files name. IPLocate: asn
    and org or name."""
    traits = record.get("traits")
    for members in (record, traits if isinstance(traits, dict) else {}):
        number = _number(members.get("autonomous_system_number", members.get("asn")))
        if number is not None:
            names = ("autonomous_system_organization", "as_name", "org", "name")
            texts = (members.get(name) for name in names)
            return number, next((t for t in texts if isinstance(t, str) and t), None)
    return None, None


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.upper().removeprefix("AS")
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 32
    return value if is_number else None

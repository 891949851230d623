"""What to look for in published events, checked once and before anything is read.

Here: the words of a search, and the condition that decides whether an event matches. Not here:
how matches are found without reading everything (`candidates`, `presence`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)  # fmt: skip
from operator import and_
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

from stingar_dagster.errors import UsageError
from stingar_dagster.safe_text import visible
from stingar_dagster.streams import Stream

Network = IPv4Network | IPv6Network

SOURCE: Final = "src_ip"
TIME: Final = "@timestamp"

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. Every criterion that is given must hold; None or nothing: any.

    Attributes:
        since, until: half-open range of the events' own time; without a zone: UTC.
        src_ip: source address, in any of its spellings.
        network: source addresses of a network, such as 203.0.113.0/24 or 2001:db8::/32.
        dest_port, sensor, app, event_kind: one of these values.
        username, password: of a login attempt, exactly.
        command: text that stands in the command line, upper or lower case of ASCII letters alike.
        where: condition in SQL over the published columns of each event by itself.
        source_column: where a source's address stands.
        source: `src_ip` or `network`, as a network.

    Raises:
        UsageError: an address, a network or a text is none; the range is none.
    """

    since: datetime
    until: datetime
    src_ip: str | None = None
    network: str | None = None
    dest_port: tuple[int, ...] = ()
    sensor: tuple[str, ...] = ()
    app: tuple[str, ...] = ()
    event_kind: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = None
    command: str | None = None
    where: str | None = None
    source_column: str = SOURCE
    source: Network | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            object.__setattr__(self, name, utc(getattr(self, name)))
        if self.until <= self.since:
            raise UsageError(f"{stamp(self.until)} does not lie after {stamp(self.since)}")
        if self.src_ip is not None and self.network is not None:
            raise UsageError("look for an address or for a network, not for both")
        if self.src_ip is not None:
            object.__setattr__(self, "source", parse_source(self.src_ip, address=True))
        elif self.network is not None:
            object.__setattr__(self, "source", parse_source(self.network))
        for name, values in {**self.values, "command": (self.command,)}.items():
            for value in values:
                _check_text(name, value)
        _check_text("where", self.where)

    @property
    def values(self) -> Mapping[str, tuple[str | int, ...]]:
        """By column, the values of which an event has one; columns that are not asked for left
        out."""
        asked: dict[str, tuple[str | int, ...]] = {
            "dest_port": self.dest_port,
            "sensor": self.sensor,
            "app": self.app,
            "event_kind": self.event_kind,
            "username": () if self.username is None else (self.username,),
            "password": () if self.password is None else (self.password,),
        }
        return {name: values for name, values in asked.items() if values}

    def condition(self, stream: Stream) -> pl.Expr:
        """Whether an event matches, but for its source, which polars has no words for.

        Raises:
            UsageError: the stream has no such column, or `where` is no SQL condition that each
                event fulfils or not by itself.
        """
        time = pl.col(TIME)
        # ISO 8601 with Z sorts like the times it stands for.
        conditions = [time >= stamp(self.since), time < stamp(self.until)]
        asked = [*self.values, *(["command"] if self.command is not None else [])]
        for name in [*asked, *([self.source_column] if self.source is not None else [])]:
            if name not in stream.schema:
                raise UsageError(f"the stream {stream.name} has no column {name}")
        conditions += [pl.col(name).is_in(values) for name, values in self.values.items()]
        if self.command is not None:
            conditions.append(pl.col("command").str.contains(_any_case(self.command)))
        if self.where is not None:
            conditions.append(_sql(self.where, stream))
        return reduce(and_, conditions)

    def of_source(self, sources: pl.Series) -> pl.Expr | None:
        """The condition that an event came from the source.

        Args:
            sources: the addresses among which it will be asked.

        Returns:
            None where all of them do.
        """
        if self.source is None:
            return None
        written = sources.unique()
        inside = [value for value in written if lies_in(value, self.source)]
        return None if len(inside) == len(written) else pl.col(self.source_column).is_in(inside)

    def refused(self, error: pl.exceptions.PolarsError) -> UsageError:
        """What to say where the condition fails over an hour's values."""
        return _not_usable(self.where or "", error)


def parse_source(text: str, *, address: bool = False) -> Network:
    """An address or a network (CIDR), as a network.

    Args:
        text: IPv4 or IPv6; an IPv4-mapped address or network (RFC 4291, 2.5.5.2) means the IPv4
            one.
        address: whether only a single address will do.

    Raises:
        UsageError: it is neither.
    """
    told = visible(text, 60)
    try:
        if "/" not in text:
            return ip_network(_unmapped(ip_address(text.strip())))
        if address:
            raise UsageError(f"{told!r} is a network, not an address; ask for it as a network")
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        wanted = "an IPv4 or IPv6 address" if address else "an address or a network"
        example = "203.0.113.9 or 2001:db8::7" + ("" if address else ", or 203.0.113.0/24")
        raise UsageError(f"{told!r} is not {wanted}; write it like {example}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = _unmapped(network.network_address)
        return ip_network(f"{first}/{network.prefixlen - _MAPPED.prefixlen}")
    return network


def lies_in(address: str | None, network: Network) -> bool:
    """Whether an event's source address, in any spelling, lies in a network.

    Text that is no address never does. An IPv4-mapped address lies where its IPv4 address does:
    cleaning folds the usual spelling alone, `::ffff:203.0.113.9`.
    """
    parsed = None if address is None else _parsed(address)
    return parsed is not None and parsed in network


def utc(time: datetime) -> datetime:
    """A time in UTC; one without a zone is meant so."""
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{time} lies outside the years 1 to 9999 in UTC") from None


def stamp(time: datetime) -> str:
    """A time as events are stamped; a part of a millisecond counts as the next one, which keeps
    a range half-open over stamps of whole milliseconds."""
    time = time.replace(tzinfo=None)
    rest = timedelta(microseconds=time.microsecond % 1000)
    if rest and time < datetime.max - _MILLISECOND:
        time += _MILLISECOND - rest
    return time.isoformat(timespec="milliseconds") + "Z"


@lru_cache(maxsize=1 << 16)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return _unmapped(ip_address(address))
    except ValueError:
        return None


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv4-mapped one means; any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _check_text(name: str, value: str | int | None) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # an argument that is not UTF-8
            raise UsageError(f"{name}: {visible(ascii(value), 60)} is not text in UTF-8") from None


def _any_case(text: str) -> str:
    """A pattern for a text, upper or lower case of ASCII letters alike.

    Not the Unicode kind: its foldings change the length of texts, and what can be told from bytes
    alone would not be the same.
    """
    return "".join(
        f"[{character.lower()}{character.upper()}]"
        if character.isascii() and character.isalpha()
        else re.escape(character)
        for character in text
    )


def _sql(where: str, stream: Stream) -> pl.Expr:
    try:
        expression = pl.sql_expr(where)
        probe = pl.DataFrame(schema=stream.schema).select(expression)
    except pl.exceptions.PolarsError as error:
        raise _not_usable(where, error) from None
    if probe.dtypes != [pl.Boolean]:
        raise UsageError(f"--where {where!r} is not a condition: it gives no true or false")
    if not _is_of_one_row(expression, stream):
        raise UsageError(
            f"--where {where!r} looks at more than one event: aggregates, window functions and "
            "UNNEST can't be used, nor DATE without a format, nor = NULL for IS NULL; each event "
            "has to match or not by itself, such as dest_port = 22 AND event_kind = 'command'"
        )
    return expression


def _is_of_one_row(condition: pl.Expr, stream: Stream) -> bool:
    """Whether a condition depends on nothing but its row.

    What a search finds would otherwise depend on which lines were parsed together. Polars decides
    it, where it counts: to a source, which reads in batches, it hands a filter only if batches
    can't be told by it. `Expr.meta.is_row_separable` would look at the outermost operation alone,
    and knows no schema, which `IN` needs.
    """
    handed: list[pl.Expr | None] = []

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        handed.append(predicate)
        yield pl.DataFrame(schema=stream.schema).select(with_columns or list(stream.schema))

    # Within a CASE it is handed over whole or not at all, and not worked out beforehand.
    whole = pl.when(pl.col(TIME) != "").then(condition).otherwise(pl.col(TIME) == "")
    register_io_source(source, schema=stream.schema).filter(whole).collect()
    return all(predicate is not None for predicate in handed)


def _not_usable(where: str, error: pl.exceptions.PolarsError) -> UsageError:
    reason = str(error).splitlines()[0].split("; valid columns")[0]
    return UsageError(
        f"--where {where!r}: {reason}; write a SQL condition over the published "
        "columns of an event, without subqueries, such as dest_port = 22 AND event_kind = 'command'"
    )

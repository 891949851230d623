"""Logs of zeek in its own form: cells between tabs, and a header that names the columns.

`-` is no value, `(empty)` an empty string or vector, commas part the items of a vector, and `\\xNN`
stands for a byte that could be mistaken (zeek's ASCII writer). Which columns a line has, the header
above it in the same body says; else a list of columns that has as many. A line that has another
number of cells, or a cell that is not of its column's type, is none: nothing is put into a wrong
column. Not here: which lists of columns there are (the stream's declaration).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
import polars as pl

from stingar_dagster.streams.formats.format import ORIGINAL_BODY, Objects

_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?"
_COUNT: Final = r"-?(?:0|[1-9][0-9]{0,18})"
_TYPES: Final[Mapping[str, str]] = {
    "time": r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?",
    "interval": _NUMBER,
    "double": _NUMBER,
    "count": _COUNT,
    "int": _COUNT,
    "port": _COUNT,
    "bool": r"[TF]",
    "addr": r"[0-9A-Fa-f:.]{2,45}",
    "subnet": r"[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}",
}
"""What cells of a type hold; those of any other type are text."""
_BARE: Final = frozenset(("time", "interval", "double", "count", "int", "port"))
"""Types whose cells are numbers in JSON as they are."""

_VECTOR: Final = re.compile(r"(?:vector|set)\[(\w+)\]", re.ASCII)
_NAME: Final = re.compile(r"[\w.@:-]{1,100}", re.ASCII)
_LONGEST_HEADER: Final = 8192
"""Characters of the line that names columns. Each name may stand in every event again."""

_PLAIN: Final = r'[^\t"\\\x00-\x1f\x7f]*'
"""Text that JSON writes as it is."""
_PLAIN_ITEM: Final = r'[^\t,"\\\x00-\x1f\x7f]*'
_NO_ITEM: Final = r",-(?:[,\t]|$)|\t-,"
"""Somewhere a vector has an item without a value."""

_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(\\))")
_TAB: Final = "\\x09"

_encode: Final = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type, and whether it holds a vector of that type."""

    name: str
    type: str
    is_vector: bool

    @property
    def key(self) -> str:
        """Its name as a key of JSON."""
        return _encode(self.name).decode() + ":"

    @property
    def plain(self) -> str:
        """A pattern of cells that need nothing done to them."""
        known = _TYPES.get(self.type)
        if not self.is_vector:
            return known or _PLAIN
        item = known or _PLAIN_ITEM
        return f"{item}(?:,{item})*"


@dataclass(frozen=True, slots=True)
class Columns:
    """How lines are to be read.

    Attributes:
        columns: in their order.
        separator: parts items of a vector.
        empty, unset: cells that mean an empty value, and none.
    """

    columns: tuple[Column, ...]
    separator: str = ","
    empty: str = "(empty)"
    unset: str = "-"

    @property
    def is_usual(self) -> bool:
        return (self.separator, self.empty, self.unset) == (",", "(empty)", "-")


def column(name: str, sent_type: str) -> Column:
    """A column of a type as headers name it, such as `vector[string]`."""
    vector = _VECTOR.fullmatch(sent_type)
    return Column(name, vector[1] if vector else sent_type, vector is not None)


class ZeekTsv:
    """Lines of one of zeek's logs.

    Args:
        types: of the log's columns, by name: what is used where no header tells.
        known: lists of columns, by which lines without a header are read: by that which has as
            many as the line has cells.
        required: columns without which it is another log.

    Raises:
        ValueError: two lists are of the same length, or lack what is required.
    """

    name: Final = "zeek TSV"
    header_mark: Final = "#"

    def __init__(
        self, types: Mapping[str, str], known: Sequence[Sequence[str]], required: Sequence[str]
    ) -> None:
        self._types = dict(types)
        self._required = tuple(required)
        self._known = {
            len(names): Columns(tuple(column(name, types.get(name, "string")) for name in names))
            for names in known
        }
        if len(self._known) < len(known):
            raise ValueError("two lists of columns can't be told from each other")
        if any(set(required) - set(names) or len(set(names)) < len(names) for names in known):
            raise ValueError(f"a list of columns has one twice, or lacks {', '.join(required)}")
        # A header stands above many lines, and in many bodies.
        self._columns_of = lru_cache(maxsize=256)(self._read_header)

    def claims(self, lines: pl.Series) -> pl.Series:
        return lines.str.contains("\t", literal=True)

    def objects(self, lines: pl.Series, header: Sequence[str]) -> Objects:
        columns = self._columns_of(tuple(header)) if header else None
        if columns is not None:
            return _objects(lines, columns)
        cells = lines.str.count_matches("\t", literal=True) + 1
        found = [None] * len(lines)
        json = pl.Series(found, dtype=pl.String)
        unfit: dict[int, str] = {}
        for count in cells.unique().to_list():
            places = (cells == count).arg_true()
            known = self._known.get(count)
            if known is None:
                wanted = " or ".join(str(number) for number in sorted(self._known))
                problem = f"{count} columns, no header above them, and known are lists of {wanted}"
                unfit |= dict.fromkeys(places.to_list(), problem)
                continue
            part = _objects(lines.gather(places), known)
            json = json.scatter(places, part.json)
            at = places.to_list()
            unfit |= {at[place]: problem for place, problem in part.unfit.items()}
        return Objects(json, unfit)

    def _read_header(self, lines: tuple[str, ...]) -> "Columns | str | None":
        """How the lines below a header are to be read; what is wrong with it; None where it does
        not name columns."""
        said: dict[str, str] = {}
        for line in lines:
            # The separator's own line is parted by a blank.
            name, _, value = line[1:].partition(" " if line.startswith("#separator ") else "\t")
            said[name] = value
        if "fields" not in said:
            return None
        if said.get("separator", _TAB) != _TAB:
            return "the header names a separator other than a tab"
        if max(len(said["fields"]), len(said.get("types", ""))) > _LONGEST_HEADER:
            return f"the header names columns in more than {_LONGEST_HEADER:,} characters"
        names = said["fields"].split("\t")
        types = said["types"].split("\t") if "types" in said else None
        if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            return "the header has a column twice, or a name that is none"
        if types is not None and len(types) != len(names):
            return f"the header names {len(names)} columns and {len(types)} types"
        lacking = [name for name in self._required if name not in names]
        if lacking:
            return f"the header has no column {lacking[0]}: it is another log's"
        pairs = zip(names, types or [self._types.get(n, "string") for n in names], strict=True)
        return Columns(
            tuple(column(name, sent_type) for name, sent_type in pairs),
            said.get("set_separator") or ",",
            said.get("empty_field", "(empty)"),
            said.get("unset_field", "-"),
        )


def _objects(lines: pl.Series, columns: Columns | str) -> Objects:
    """The objects of lines that have the same columns."""
    if isinstance(columns, str):
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(lines))
        return Objects(nothing, dict.fromkeys(range(len(lines)), columns))
    plain = _are_plain(lines, columns)
    json = _plain_objects(lines, columns)
    rest = (~plain).arg_true()
    if not len(rest):
        return Objects(json, {})
    unfit: dict[int, str] = {}
    read: list[str | None] = []
    for place, line in zip(rest.to_list(), lines.gather(rest), strict=True):
        try:
            read.append(read_line(line, columns))
        except ValueError as error:
            unfit[place] = str(error)
            read.append(None)
    return Objects(json.scatter(rest, pl.Series(read, dtype=pl.String)), unfit)


def _are_plain(lines: pl.Series, columns: Columns) -> pl.Series:
    """Which lines have all their cells, each of its type, with nothing in them to be changed."""
    if not columns.is_usual or any(c.is_vector and c.type == "bool" for c in columns.columns):
        return pl.repeat(False, len(lines), eager=True)
    return lines.str.contains(_pattern(columns)) & ~lines.str.contains(_NO_ITEM)


@lru_cache(maxsize=256)
def _pattern(columns: Columns) -> str:
    cells = (rf"(?:-|\(empty\)|{column.plain})" for column in columns.columns)
    return "^" + r"\t".join(cells) + "$"


def _plain_objects(lines: pl.Series, columns: Columns) -> pl.Series:
    """The objects of plain lines; of others anything."""
    if len(columns.columns) == 1:
        cells = lines.to_frame("field_0")
    else:
        cells = lines.str.split_exact("\t", len(columns.columns) - 1).struct.unnest()
    members = [
        _plain_member(pl.col(f"field_{place}"), item) for place, item in enumerate(columns.columns)
    ]
    joined = pl.concat_str(members, separator=",", ignore_nulls=True)
    return cells.select(pl.concat_str(pl.lit("{"), joined, pl.lit("}"))).to_series()


def _plain_member(cell: pl.Expr, item: Column) -> pl.Expr:
    key = item.key
    says_something = (cell != "-") & (cell != "(empty)")
    if item.type == "bool":
        true, false = pl.lit(f"{key}true"), pl.lit(f"{key}false")
        return pl.when(cell == "T").then(true).when(cell == "F").then(false)
    quote = "" if item.type in _BARE else '"'
    begin, end = (f"{key}[{quote}", f"{quote}]") if item.is_vector else (f"{key}{quote}", quote)
    if item.is_vector and quote:
        cell = cell.str.replace_all(",", '","', literal=True)
    return pl.when(says_something).then(pl.concat_str(pl.lit(begin), cell, pl.lit(end)))


def read_line(line: str, columns: Columns) -> str:
    """One line's object: what the fast way gives for plain lines, and it for the others.

    Raises:
        ValueError: the line has not these columns; the message says what is wrong.
    """
    cells = line.split("\t")
    if len(cells) != len(columns.columns):
        raise ValueError(f"{len(cells)} columns where there should be {len(columns.columns)}")
    members: list[str] = []
    is_changed = False
    for cell, item in zip(cells, columns.columns, strict=True):
        if cell in (columns.unset, columns.empty):
            continue
        of_item = _reader(item)
        if item.is_vector:
            items = cell.split(columns.separator)
            read = ["null" if each == columns.unset else of_item(each) for each in items]
            members.append(f"{item.key}[{','.join(read)}]")
        else:
            members.append(item.key + of_item(cell))
        is_changed |= "\\" in cell and item.type not in _TYPES
    if is_changed and all(item.name != ORIGINAL_BODY for item in columns.columns):
        members.append(f"{_encode(ORIGINAL_BODY).decode()}:{_encode(line).decode()}")
    return "{" + ",".join(members) + "}"


def _reader(item: Column) -> Callable[[str], str]:
    if item.type not in _TYPES:
        return lambda cell: _encode(unescaped(cell)).decode()
    pattern = re.compile(_TYPES[item.type])

    def read(cell: str) -> str:
        if not pattern.fullmatch(cell):
            raise ValueError(f"column {item.name} is not of type {item.type}")
        if item.type == "bool":
            return "true" if cell == "T" else "false"
        return cell if item.type in _BARE else f'"{cell}"'

    return read


def unescaped(cell: str) -> str:
    r"""Text with zeek's escapes read; where they stand for bytes that are no UTF-8, as it is.

    `\xNN` stands for a byte, `\\` for a backslash.
    """
    if "\\" not in cell:
        return cell
    # Latin-1 keeps a byte for each escape; what was text before is UTF-8 again behind it.
    parts: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(cell):
        parts += [cell[end : found.start()].encode(), bytes.fromhex(found[1] or "5c")]
        end = found.end()
    try:
        return b"".join([*parts, cell[end:].encode()]).decode()
    except UnicodeDecodeError:
        return cell

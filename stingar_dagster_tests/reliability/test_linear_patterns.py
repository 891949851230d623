"""Every regular expression of the package takes time in proportion to the text, at worst.

Expressions are found in the source, so that a new one can't be forgotten; the texts that are hard
for one are made from it: what nearly matches, again and again. Both engines are tried with what
calls them, Python's and polars' (Rust's, which never backtracks, but has slow ways of its own).
"""

import ast
import importlib
import pkgutil
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import polars as pl
import pytest

import stingar_dagster
from stingar_dagster.streams import dns
from stingar_dagster.streams.formats import zeek

SIZE: Final = 1_000_000
MOST_SECONDS: Final = 0.1
_PYTHON: Final = {"compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub"}
_POLARS: Final = {
    "contains", "count_matches", "extract", "extract_all", "extract_groups", "find", "replace",
    "replace_all", "split_regex",
}  # fmt: skip
_NOT_CALLED_ON_EVENTS: Final = {
    "capture.names._TOKEN", "instance._CREDENTIALS", "instance._UNSET",
    "storage.azure_access._CONTAINER", "storage.azure_access._HOST", "storage.queue._NAME",
}  # fmt: skip
"""Only the operator's own settings are read with these."""
_NEEDS_A_BROKER: Final = {"stingar_dagster.celery_app"}
"""Can only be imported by a worker, and reads no event."""
_OF_WHOLE_LINES: Final = {"streams.formats.bind._LINE"}
"""Never looked for somewhere in a text."""
_MADE: Final = {
    "_generic_name": dns._generic_name("TYPE"),
    "_pattern": zeek._pattern(
        zeek.Columns(tuple(zeek.column(name, of) for name, of in dns.COLUMN_TYPES.items()))
    ),
}
"""What functions make of declarations, by their names."""
_MADE_OF_TEXT: Final = {"_any_case"}
"""Functions that make a pattern of what an analyst looks for: letters one by one, no repeats."""


@dataclass(frozen=True)
class Expression:
    """A pattern, and whether polars' engine runs it."""

    place: str
    pattern: str | bytes
    flags: int
    in_polars: bool


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(stingar_dagster.__path__, "stingar_dagster."):
        if found.name not in _NEEDS_A_BROKER:
            yield importlib.import_module(found.name)


def expressions() -> Iterator[Expression]:
    """Compiled patterns, and the patterns in calls that take one."""
    for module in modules():
        assert module.__file__ is not None
        for name, value in vars(module).items():
            place = f"{module.__name__}.{name}"
            allowed = place.removeprefix("stingar_dagster.") in _NOT_CALLED_ON_EVENTS
            if isinstance(value, re.Pattern) and not allowed:
                yield Expression(place, value.pattern, value.flags, False)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Call):
                yield from called_with(node, module)


def called_with(node: ast.Call, module: ModuleType) -> Iterator[Expression]:
    place = f"{module.__name__}:{node.lineno}"
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if isinstance(node.func, ast.Attribute):
        name, owner = node.func.attr, node.func.value
        in_module = isinstance(owner, ast.Name) and owner.id == "re"
        in_column = isinstance(owner, ast.Attribute) and owner.attr == "str"
        literal = "literal" in keywords
        if in_module and name in _PYTHON and name != "compile":
            yield Expression(place, known(node.args[0], module, place), 0, False)
        elif in_column and name in _POLARS and not literal and not made_of_text(node.args[0]):
            yield Expression(place, known(node.args[0], module, place), 0, True)
        elif name == "Meta" and "pattern" in keywords:
            yield Expression(place, known(keywords["pattern"], module, place), 0, False)


def made_of_text(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _MADE_OF_TEXT
    )


def known(node: ast.expr, module: ModuleType, place: str) -> Any:
    """A pattern as it is written, or as the module names it."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MADE:
        return _MADE[node.func.id]
    assert isinstance(node, ast.Name), f"{place}: name the pattern, so that it can be tried"
    return getattr(module, node.id)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Dagster, as it is imported
    EXPRESSIONS: Final = list(expressions())


# Texts that are hard for a pattern


def example(tree: Any, most: int) -> str:
    """A text that matches, repeats taken up to `most` times."""
    made = ""
    for kind, value in tree:
        match str(kind):
            case "LITERAL":
                made += chr(value)
            case "NOT_LITERAL":
                made += "a" if value != ord("a") else "b"
            case "ANY":
                made += "a"
            case "IN":
                made += member(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                made += example(value[2], most) * max(min(int(value[1]), most), value[0])
            case "SUBPATTERN":
                made += example(value[3], most)
            case "ATOMIC_GROUP":
                made += example(value, most)
            case "BRANCH":
                made += example(value[1][0], most)
    return made


def member(choices: list[Any]) -> str:
    """A character of a class."""
    shown = {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
    kinds = [str(kind) for kind, _ in choices]
    if "NEGATE" in kinds:
        out = {chr(value) for kind, value in choices if str(kind) == "LITERAL"}
        return next(c for c in "a1xé" if c not in out)
    kind, value = choices[0]
    if str(kind) == "LITERAL":
        return chr(value)
    return chr(value[0]) if str(kind) == "RANGE" else shown[str(value)]


def hard(pattern: str | bytes) -> Iterator[str]:
    """Texts of a megabyte that nearly match, everywhere or at one place for long."""
    text = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
    text = text.replace(r"(?-u:\b)", r"\b").replace(r"\z", r"\Z")
    text = re.sub(r"\(\?<(?=[a-z])", "(?P<", text)
    tree = re._parser.parse(text)  # type: ignore[attr-defined]
    for most in (1, 3, 40):
        whole = example(tree, most) or "a"
        for piece in (whole, whole[:-1], whole[1:], whole[: len(whole) // 2], whole + "!"):
            if piece:
                yield piece * (SIZE // len(piece))
        for place in sorted({0, 1, len(whole) // 2, len(whole) - 1}):
            yield whole[:place] + whole[place : place + 1] * (SIZE - len(whole)) + "\n!"
    for unit in ('"', "\\", '\\"', "{", "[", ":", "1", "0", "-", " ", "a", "f", "://", "\n"):
        yield unit * (SIZE // len(unit))
    yield "é" + "0123456789abcdef" * (SIZE // 16)
    yield "é" + "f" * 127 + "g" + "f" * 31 + " é" * (SIZE // 3)
    yield "http://é" * (SIZE // 9)


def seconds(work: Any, text: Any) -> float:
    """Processor time, the best of three: other processes don't count."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        work(text)
        best = min(best, time.process_time() - started)
        if best < MOST_SECONDS:
            break
    return best


def works(expression: Expression) -> Iterator[Any]:
    pattern = expression.pattern
    if expression.in_polars:
        assert isinstance(pattern, str)
        yield lambda column: column.str.contains(pattern)
        yield lambda column: column.str.extract_all(pattern)
        yield lambda column: column.str.replace_all(pattern, "")
    else:
        compiled = re.compile(pattern, expression.flags)
        yield compiled.fullmatch
        if expression.place.removeprefix("stingar_dagster.") in _OF_WHOLE_LINES:
            return
        yield compiled.search
        yield lambda text: next(iter(compiled.finditer(text, SIZE // 2)), None)
        yield lambda text: compiled.split(text, maxsplit=1000)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: e.place)
def test_a_megabyte_of_what_is_hardest_takes_a_tenth_of_a_second(expression: Expression) -> None:
    for text in hard(expression.pattern):
        given: Any = text
        if expression.in_polars:
            given = pl.Series([text])
        elif isinstance(expression.pattern, bytes):
            given = text.encode()
        for number, work in enumerate(works(expression)):
            took = seconds(work, given)
            assert took < MOST_SECONDS, (expression.pattern, number, text[:60], took)


def test_the_expressions_are_found() -> None:
    places = " ".join(expression.place for expression in EXPRESSIONS)
    for module in (
        "cleaning.exact", "cleaning.kinds", "cleaning.times", "streams.expressions",
        "streams.stingar", "lake.lines", "lake.reader.candidates", "capture.records", "safe_text",
    ):  # fmt: skip
        assert f"stingar_dagster.{module}" in places
    assert sum(expression.in_polars for expression in EXPRESSIONS) > 10

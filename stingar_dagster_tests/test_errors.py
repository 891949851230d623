"""Errors: the tree is as drawn, and every error reaches another process as it was raised."""

import pickle
from collections.abc import Iterator

import pytest

from stingar_dagster import errors
from stingar_dagster.errors import StingarError


def tree(kind: type[StingarError]) -> Iterator[type[StingarError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


@pytest.mark.parametrize("kind", list(tree(StingarError)))
def test_an_error_is_the_same_after_a_way_between_processes(kind: type[StingarError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what, where, what to do")))
    assert type(error) is kind
    assert str(error) == "what, where, what to do"


@pytest.mark.parametrize("kind", list(tree(StingarError)))
def test_every_error_stands_in_the_drawing(kind: type[StingarError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")

"""One stream's part of the lake: the store, the layout and the stream together.

The object that the steps and readers pass around. Not here: anything it is used for.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from stingar_dagster.lake.layout import Layout
from stingar_dagster.storage import Store
from stingar_dagster.streams import Stream

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8
"""Requests under way at once: enough to hide a store's latency, few enough to be polite."""


@dataclass(frozen=True)
class Lake:
    """Where one stream's results stand."""

    store: Store
    stream: Stream

    @property
    def layout(self) -> Layout:
        return Layout(self.stream.name)


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results of store requests for many objects, in order."""
    listed = list(items)
    if len(listed) < 2:
        return [function(item) for item in listed]
    with ThreadPoolExecutor(min(_THREADS, len(listed))) as pool:
        return list(pool.map(function, listed))

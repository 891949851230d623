"""Stores that fail on request: a file system of fsspec, and stores that fail, stop or forget.

`FaultyFileSystem` is what a bucket of any provider looks like to fsspec, held in memory. A `Plan`
says which request is hit and how. Not here: faults of a network (`proxy`), and faults that the
kernel makes itself (`reliability/test_storage_faults`).
"""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final, TypeVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from stingar_dagster.errors import Conflict, StoreUnavailable
from stingar_dagster.storage import Entry, Store
from stingar_dagster.storage.base import ANY_VERSION, Expected, Version
from stingar_dagster.storage.local import LocalStore

T = TypeVar("T")


class Kind(StrEnum):
    """Requests, as they are counted."""

    READ = "read"
    INFO = "info"
    LIST = "list"
    WRITE = "write"
    REMOVE = "remove"


class Fault(StrEnum):
    """What happens to a request."""

    FULL = "full"
    DENIED = "denied"
    TIMEOUT = "timeout"
    RESET = "reset"
    LOST = "lost"
    """The request is carried out, and its answer is lost."""
    STALE = "stale"
    """The answer is that of when the plan was made."""


@dataclass
class Plan:
    """Which requests are hit: from the `first` of a kind on, `times` of them.

    Attributes:
        seen: how many requests of each kind there were.
        hit: how many were hit.
    """

    kind: Kind | None = None
    fault: Fault = Fault.RESET
    first: int = 0
    times: int = 1
    seen: Counter[Kind] = field(default_factory=Counter)
    hit: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def hits(self, kind: Kind) -> bool:
        with self._lock:
            number = self.seen[kind]
            self.seen[kind] += 1
            hit = kind is self.kind and self.first <= number < self.first + self.times
            self.hit += hit
            return hit


class FaultyFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Objects in memory behind `faulty://`; `plan` decides about every request of a caller."""

    protocol: ClassVar[str] = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    plan: ClassVar[Plan] = Plan()
    _old: ClassVar[dict[str, Any]] = {}
    _inside: Final = threading.local()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = path.removeprefix("faulty://").strip("/")
        return f"/{path}" if path else ""

    @classmethod
    def follow(cls, plan: Plan) -> Plan:
        """Follow this plan from now on."""
        cls._old = dict(cls.store)
        cls.plan = plan
        return plan

    def cat_file(self, path: str, **options: Any) -> bytes:
        data: bytes = self._do(
            Kind.READ, path, lambda: super(FaultyFileSystem, self).cat_file(path)
        )
        return data

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return self._do(Kind.INFO, path, lambda: super(FaultyFileSystem, self).info(path))

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        return self._do(Kind.LIST, path, lambda: super(FaultyFileSystem, self).ls(path, detail))

    def find(self, path: str, **options: Any) -> Any:
        return self._do(
            Kind.LIST, path, lambda: super(FaultyFileSystem, self).find(path, **options)
        )

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self._do(Kind.WRITE, path, lambda: super(FaultyFileSystem, self).pipe_file(path, value))

    def rm_file(self, path: str) -> None:
        self._do(Kind.REMOVE, path, lambda: super(FaultyFileSystem, self)._rm(path))

    def _do(self, kind: Kind, path: str, act: Callable[[], T]) -> T:
        if getattr(self._inside, "deep", False):  # one method is made of others
            return act()
        self._inside.deep = True
        try:
            if not self.plan.hits(kind):
                return act()
            if self.plan.fault is Fault.STALE:
                return self._as_before(act)
            if self.plan.fault is Fault.LOST:
                act()
            raise _error(self.plan.fault, path)
        finally:
            self._inside.deep = False

    def _as_before(self, act: Callable[[], T]) -> T:
        cls = type(self)
        now, cls.store = cls.store, cls._old
        try:
            return act()
        finally:
            cls.store = now


def _error(fault: Fault, path: str) -> OSError:
    match fault:
        case Fault.FULL:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        case Fault.DENIED:
            return PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        case Fault.TIMEOUT:
            return TimeoutError("the read timed out")
        case _:
            return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)


class PassingStore:
    """Passes every call on through one method."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url

    def read(self, path: str) -> bytes:
        return self._call("read", path)  # type: ignore[no-any-return]

    def read_start(self, path: str, most: int) -> bytes:
        return self._call("read_start", path, most)  # type: ignore[no-any-return]

    def etag(self, path: str) -> str | None:
        return self._call("etag", path)  # type: ignore[no-any-return]

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        self._call("write", path, data, expected)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        self._call("remove", path, expected)

    def find(self, folder: str) -> list[Entry]:
        return self._call("find", folder)  # type: ignore[no-any-return]

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        return self._call("children", folder)  # type: ignore[no-any-return]

    def describe(self, path: str) -> str:
        return self._store.describe(path)

    def _call(self, call: str, *rest: Any) -> Any:
        return getattr(self._store, call)(*rest)


class FailingStore(PassingStore):
    """Can't be reached at a share of calls, before or after they did their work."""

    def __init__(self, store: Store, share: float, seed: int) -> None:
        super().__init__(store)
        self._share = share
        self._random = Random(seed)

    def _call(self, call: str, *rest: Any) -> Any:
        fails = self._random.random() < self._share
        if fails and self._random.random() < 0.5:
            raise StoreUnavailable("the store is away")
        result = super()._call(call, *rest)
        if fails:
            raise StoreUnavailable("the store's answer is lost")
        return result


class DyingStore(LocalStore):
    """Stops its process before it changes anything more than so many times."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root, str(root))
        self.left = changes

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        self._change()
        super().write(path, data, expected)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        self._change()
        super().remove(path, expected)

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped


class Stopped(BaseException):
    """Not an Exception, so that nothing in between can make up for it."""


class ForgetfulStore(LocalStore):
    """A local store that replaces an object and does not say so, as a network can make it.

    Args:
        root: the folder.
        lost: which write's answer is lost, counted from 0.
        retried: the client asked again, and was told that the object is another one by now.
        meanwhile: called before the answer is lost.
    """

    def __init__(
        self,
        root: Path,
        lost: int,
        retried: bool,
        meanwhile: Callable[[str], None] = lambda path: None,
    ) -> None:
        super().__init__(root, str(root))
        self.left = lost
        self._retried = retried
        self._meanwhile = meanwhile

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        super().write(path, data, expected)
        self.left -= 1
        if self.left == -1:
            self._meanwhile(path)
            if self._retried and expected is not ANY_VERSION:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile")
            raise StoreUnavailable(f"{self.describe(path)}: not reachable; run again")

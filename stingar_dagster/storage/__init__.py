"""Folders on a local disk, Azure or any fsspec URL, with the three guarantees the lake stands on.

An object appears whole or not at all; it is replaced whole; a replacement can be made conditional
on the version that was read (compare-and-swap), so that two writers never lose an update.
`open_store` picks the implementation: `local` for folders, `azure` (with its neighbours
`azure_*`) where Azure's conditional writes give compare-and-swap over the network, `objects`
for every other fsspec store.

Not here: what the objects are called or hold (`lake`, `capture`).
"""

from stingar_dagster.storage.base import ANY_VERSION, Entry, Store
from stingar_dagster.storage.opening import open_store

__all__ = ["ANY_VERSION", "Entry", "Store", "open_store"]

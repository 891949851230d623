"""The lake: what is published, and the internal files it is made from.

`from stingar_dagster import lake` is what analysts' notebooks import: `events`, `daily`,
`quarantine`, `ip`, `sessions`, `enrich` and `tables` (`reader.frames` tells about them). The rest
serves the pipeline: `layout` holds every path; `ledger`, `segments`, `quarantine`, `hours` and
`daily` one kind of file each; `publication` the compare-and-swap by which a published object is
replaced; `backlog` what is staged and not yet published; `reader` what readers need. Not here: in
which order the steps go (`pipeline`), and nothing of Dagster.
"""

# The functions `daily` and `quarantine` bear the names of modules, which are loaded before them
# and stay importable by their full names: `from stingar_dagster.lake.daily import publish_daily`.
from stingar_dagster.lake.reader.frames import (
    daily,
    enrich,
    events,
    ip,
    quarantine,
    sessions,
    tables,
)

__all__ = ["daily", "enrich", "events", "ip", "quarantine", "sessions", "tables"]

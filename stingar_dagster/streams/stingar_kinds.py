"""What counts as a login tried and as a command entered, for every table of the stingar stream.

Expressions over an event's published columns. Not here: how an event's kind is told (`stingar`).
"""

from typing import Final

import polars as pl

KIND: Final = pl.col("event_kind")
TRIES: Final = KIND.is_in(["login_attempt", "login_success"])
# A command that failed is sent twice, as "command" and as "unknown command".
ENTERED: Final = (KIND == "command") & ~pl.col("signature").str.to_lowercase().str.contains(
    "unknown command"
).fill_null(False)

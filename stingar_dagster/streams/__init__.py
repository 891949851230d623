"""What differs between kinds of logs, as data: one module a stream.

A stream declares its fields, time stamps, cleaning expressions and daily tables (`stream`,
`tables`); the engine knows none of them by name. Not here: how bodies are decoded (`cleaning`) or
where results are written (`lake`).
"""

from stingar_dagster.streams.stingar import STINGAR
from stingar_dagster.streams.stream import Stream

STREAMS: dict[str, Stream] = {stream.name: stream for stream in (STINGAR,)}
"""Every declared stream by name."""

__all__ = ["STINGAR", "STREAMS", "Stream"]

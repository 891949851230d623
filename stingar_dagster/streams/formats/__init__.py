"""Text formats of log lines: one module a format, each from a line to a JSON object.

What a parser makes of a line is the body that a JSON shipper would have sent for it: after that
there is one way for all bodies. A parser takes time in proportion to the line, and is a function
of the line and the header that stands above it in the same body: what came in other bodies does
not count, since captures are decoded in any order, by any process. Not here: which formats a
stream takes (its declaration), and how bodies are cut into lines (`cleaning.lines`).
"""

from stingar_dagster.streams.formats.bind import BindQueryLog
from stingar_dagster.streams.formats.format import ORIGINAL_BODY, Objects, TextFormat
from stingar_dagster.streams.formats.zeek import ZeekTsv

__all__ = ["ORIGINAL_BODY", "BindQueryLog", "Objects", "TextFormat", "ZeekTsv"]

"""Why something could not become an event.

A reason is a short code that is published, so codes are only ever added. Damage of whole blocks
brings the codes of `capture.reader.DamageKind`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Codes for bodies; `meaning` says it for a person."""

    NULL_BODY = "null_body"
    EMPTY_BODY = "empty_body"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    NO_EVENTS = "no_events"
    UNKNOWN_FORMAT = "unknown_format"
    BAD_LINE = "bad_line"
    ONLY_HEADER = "only_header"

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    Reason.NULL_BODY: "the capture holds no body for this event",
    Reason.EMPTY_BODY: "the body has no content",
    Reason.TOO_LARGE: "the body is larger than STINGAR_MAX_BODY_BYTES",
    Reason.NOT_UTF8: "the body is not UTF-8 text",
    Reason.NOT_JSON: "the body is not JSON",
    Reason.NOT_AN_OBJECT: "the body is JSON, but not an object",
    Reason.TOO_DEEP: "objects and lists are nested too deep",
    Reason.DUPLICATE_KEY: "a key appears twice, so its value is not known",
    Reason.NO_EVENTS: "the body is a list without events",
    Reason.UNKNOWN_FORMAT: "the line is of none of the stream's formats",
    Reason.BAD_LINE: "the line is of a known format, but does not hold what that has",
    Reason.ONLY_HEADER: "the body is a log file's header without a line below it",
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A body, or one event of a body with several, that could not become an event.

    Attributes:
        record: position in the batch's records.
        sub: position in the body, -1 where the body is one event.
        reason: why.
        detail: where in the body, or which key; never the body's text.
        body: the raw bytes.
    """

    record: int
    sub: int
    reason: Reason
    detail: str
    body: bytes

"""Names of capture files: the configured format, parsed and matched.

Event Hubs lets the operator order the tokens of the format freely and put constant folders
between them; all tokens are mandatory (Microsoft, "Capture events through Azure Event Hubs").
The time in a name is the start of the capture window. Not here: listing (`discovery`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from stingar_dagster.errors import CaptureNameError, SettingsError

SUFFIX: Final = ".avro"
TIME_TOKENS: Final = ("Year", "Month", "Day", "Hour", "Minute", "Second")
_PATTERNS: Final = {
    "Namespace": r"[^/]+?",
    "EventHub": r"[^/]+?",
    "PartitionId": r"\d{1,9}",
    "Year": r"\d{4}",
    "Month": r"\d{2}",
    "Day": r"\d{2}",
    "Hour": r"\d{2}",
    "Minute": r"\d{2}",
    "Second": r"\d{2}",
}
_TOKEN: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class CaptureName:
    """What a capture's name says.

    Attributes:
        path: relative to the landing folder.
        namespace, event_hub, partition: where the events were captured.
        start: start of the capture window (UTC), to the second.
    """

    path: str
    namespace: str
    event_hub: str
    partition: int
    start: datetime

    @property
    def source(self) -> str:
        """`namespace/hub/partition`: with a sequence number, the identity of an event."""
        return f"{self.namespace}/{self.event_hub}/{self.partition}"

    @property
    def landed_hour(self) -> datetime:
        return self.start.replace(minute=0, second=0)


class CaptureFormat:
    """A name format, such as `{Namespace}/{EventHub}/{PartitionId}/{Year}/.../{Second}`.

    Raises:
        SettingsError: a token is missing, doubled or unknown.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip("/").removesuffix(SUFFIX)
        tokens = _TOKEN.findall(self.text)
        for token in _PATTERNS:
            if tokens.count(token) != 1:
                raise SettingsError(
                    f"STINGAR_CAPTURE_FORMAT={text!r}: the token {{{token}}} must appear once; "
                    "copy the format from the Event Hub's Capture settings"
                )
        if unknown := set(tokens) - set(_PATTERNS):
            raise SettingsError(
                f"STINGAR_CAPTURE_FORMAT={text!r}: unknown token {{{sorted(unknown)[0]}}}"
            )
        self.levels: list[Level] = [Level(part) for part in (self.text + SUFFIX).split("/")]

    def path(self, namespace: str, event_hub: str, partition: int, start: datetime) -> str:
        """The name of the capture of one window, relative to the landing folder."""
        known = {"Namespace": namespace, "EventHub": event_hub, "PartitionId": str(partition)}
        known |= time_tokens(start)
        return "/".join(level.fill(known) for level in self.levels)

    def parse(self, path: str) -> CaptureName:
        """Read a name.

        Raises:
            CaptureNameError: the name does not match, or its time does not exist.
        """
        parts = path.split("/")
        known: dict[str, str] = {}
        if len(parts) == len(self.levels):
            for level, part in zip(self.levels, parts, strict=True):
                found = level.match(part)
                if found is None:
                    break
                known |= found
            else:
                try:
                    start = datetime(*(int(known[t]) for t in TIME_TOKENS), tzinfo=UTC)  # type: ignore[misc,arg-type]
                except ValueError:
                    raise self._mismatch(path) from None
                return CaptureName(
                    path, known["Namespace"], known["EventHub"], int(known["PartitionId"]), start
                )
        raise self._mismatch(path)

    def _mismatch(self, path: str) -> CaptureNameError:
        return CaptureNameError(
            f"{path!r} does not match the capture name format {self.text!r}; set "
            "STINGAR_CAPTURE_FORMAT to the Event Hub's Capture format, or move the file away"
        )


class Level:
    """One part of the format between two slashes: constant text and tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: tuple[str, ...] = tuple(_TOKEN.findall(text))
        pieces = _TOKEN.split(text)
        self._regex = re.compile(
            "".join(
                f"(?P<{piece}>{_PATTERNS[piece]})" if index % 2 else re.escape(piece)
                for index, piece in enumerate(pieces)
            ),
            re.ASCII,
        )

    def match(self, name: str) -> dict[str, str] | None:
        """The tokens in a folder's or file's name, None where it does not match."""
        found = self._regex.fullmatch(name)
        return found.groupdict() if found else None

    def fill(self, known: dict[str, str]) -> str:
        return _TOKEN.sub(lambda token: known[token[1]], self.text)


def can_be_named(text: str) -> bool:
    """Whether a namespace or Event Hub of this name can stand in a capture's name."""
    return bool(text) and "/" not in text and not text.startswith(".")


def time_tokens(start: datetime) -> dict[str, str]:
    """The time tokens of a window's start, zero-padded as Capture writes them."""
    text = start.strftime("%Y-%m-%d-%H-%M-%S")
    return dict(zip(TIME_TOKENS, text.split("-"), strict=True))

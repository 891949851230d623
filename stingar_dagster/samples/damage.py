"""Bodies that are no event, and never will be. What is odd but readable stands in `drift`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random


def damage(rng: Random, body: bytes) -> bytes:
    return rng.choice(_DAMAGES)(rng, body)


def _not_json(rng: Random, body: bytes) -> bytes:
    return rng.choice(
        (
            b"<134>sensor-01 shipper[7]: connection to output lost, retrying",
            b"ids_type=network type=cowrie.sessions src_ip=198.51.100.7",
            b"\x00" * 64,
        )
    )


def _truncated(rng: Random, body: bytes) -> bytes:
    return body[: rng.randrange(1, len(body))]


def _not_utf8(rng: Random, body: bytes) -> bytes:
    """A Latin-1 letter inside the first text."""
    at = body.index(b'"') + 1
    return body[:at] + b"caf\xe9" + body[at:]


def _empty(rng: Random, body: bytes) -> bytes:
    return b""


_DAMAGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _not_json,
    _truncated,
    _not_utf8,
    _empty,
)

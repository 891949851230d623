"""How long a store that is asked over a network is waited for.

Here: numbers, without the library that keeps to them. Not here: requests (`azure`).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request to Azure is waited for, in seconds.

    Azure's library tries a request again where the service did not answer or was busy. By default
    it waits 18 seconds before the first of these tries, which would stop a step for every request
    that a network drops. A request takes at most `tries` times the longer time-out, and the waits
    between them: with these numbers less than five minutes where the service accepts requests and
    never answers, less than one where nothing can be connected to.

    Attributes:
        connect: for a connection.
        read: for the next bytes of an answer.
        tries: of one request.
        wait, base, jitter: before further try n stand `wait` and `base` to the power of n, give or
            take `jitter`.
    """

    connect: float = 10
    read: float = 60
    tries: int = 4
    wait: float = 1
    base: float = 2
    jitter: float = 0.5


PATIENCE: Final = Patience()

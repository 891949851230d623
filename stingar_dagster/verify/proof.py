"""What a proof comes to: balances, and what does not add up. Not here: how it is found."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Count:
    """The balance of one landed hour and partition; `captured` is the sum of the others.

    Attributes:
        captured: records in the captures.
        cleaned: of which events are published.
        quarantined: that could not become an event.
        duplicates: captured more than once in the hour.
    """

    landed_hour: str
    source: str
    captured: int
    cleaned: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not add up.

    Attributes:
        kind: pending, lost, doubled, invented, misplaced, gap, told, ledger, daily, unstable or
            unreadable.
        place: landed hour, partition, event hour, day or published object.
        detail: what was found.
    """

    kind: str
    place: str
    detail: str


@dataclass(slots=True)
class Proof:
    """What was compared, and what did not add up."""

    counts: list[Count] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    days: int = 0

    @property
    def holds(self) -> bool:
        return not self.problems

    def total(self, name: str) -> int:
        """A sum over the counts: captured, cleaned, quarantined or duplicates."""
        return sum(getattr(count, name) for count in self.counts)

    def __add__(self, other: "Proof") -> "Proof":
        """Two streams' proofs as one."""
        return Proof(
            self.counts + other.counts,
            self.problems + other.problems,
            self.notes + other.notes,
            self.days + other.days,
        )
